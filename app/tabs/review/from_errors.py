"""The list of the tab Errors as a queue of questions."""

from app.analysis.filter import chips
from app.analysis.service import Desk
from app.tabs.errors.state import found, from_query, listed
from app.tabs.review.session import Asked, Reviewing

PATIENCE = 120.0  # seconds: the tab Errors has worked it out before, unless the studio was started anew


def picked(desk: Desk, reviewing: Reviewing, query: str) -> tuple[tuple[Asked, ...], str]:
    """The questions in the list's order, each object once; and the filter in words.

    query: what the tab Errors has chosen, see app.tabs.errors.state. Raises: ValueError.
    """
    chosen = from_query(query)
    opening = desk.open(reviewing.project)
    try:
        now = opening.wait(PATIENCE)
    finally:
        opening.leave()
    if now.findings is None:
        raise ValueError(f"The list of errors is not there: {now.words}")
    findings = found(desk, now.findings, chosen)
    questions = reviewing.listed(findings, listed(findings, chosen).rows.tolist())
    words = ", ".join(chip.words for chip in chips(findings, chosen.filter)) or "all"
    return questions, f"Errors: {words}"
