"""The list of the tab Errors as a queue of questions."""

from app.analysis.filter import chips
from app.analysis.service import EvaluationService
from app.tabs.errors.routes import from_query, selected_models, sorted_selection
from app.tabs.review.session import Asked, Reviewing

PATIENCE = 120.0  # seconds: the tab Errors has worked it out before, unless the studio was started anew


def picked(desk: EvaluationService, reviewing: Reviewing, query: str) -> tuple[tuple[Asked, ...], str]:
    """The questions in the list's order, each object once; and the filter in words.

    query: what the tab Errors has chosen, see app.tabs.errors.routes. Raises: ValueError.
    """
    chosen = from_query(query)
    opening = desk.open(reviewing.project)
    try:
        now = opening.wait(PATIENCE)
    finally:
        opening.leave()
    if now.result is None:
        raise ValueError(f"The list of errors is not there: {now.message}")
    findings = selected_models(desk, now.result, chosen)
    questions = reviewing.listed(findings, sorted_selection(findings, chosen).rows.tolist())
    words = ", ".join(chip.words for chip in chips(findings, chosen.filter)) or "all"
    return questions, f"Errors: {words}"
