"""The data set that the tabs Compare and Errors are about, with what is worked out of it."""

from dataclasses import dataclass

from app.desk import Desk
from app.project import Project
from app.strips import Strips


@dataclass(frozen=True, eq=False)
class Bench:
    """May be used from any thread; shared by all pages."""

    project: Project
    desk: Desk
    strips: Strips
