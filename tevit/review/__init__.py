"""Review of labels with a model's help: a log of decisions, and the corrected labels as a function of it.

`queue` lists disagreements with likely answers, `apply` writes the changes and their effect on AP.
"""

from tevit.review.apply import Applicability, Corrected, apply, check_applicable, correct, other_versions
from tevit.review.decisions import Decision, decide, from_line, parse_log, read_log, to_line, write_log
from tevit.review.labels import content_hash
from tevit.review.log import Disagreement, LogState

__all__ = [
    "Applicability",
    "Corrected",
    "Decision",
    "Disagreement",
    "LogState",
    "apply",
    "check_applicable",
    "content_hash",
    "correct",
    "decide",
    "from_line",
    "other_versions",
    "parse_log",
    "read_log",
    "to_line",
    "write_log",
]
