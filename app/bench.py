"""The data set that the tabs Compare and Errors are about, with what is worked out of it."""

from dataclasses import dataclass

from app.data.project import Project
from app.findings.desk import Desk
from app.findings.strips import Strips


@dataclass(frozen=True, eq=False)
class Bench:
    """May be used from any thread; shared by all pages."""

    project: Project
    desk: Desk
    strips: Strips
