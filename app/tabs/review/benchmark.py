"""`python -m app.tabs.review.benchmark`: how fast the tab Review responds when the log is long.

Measured is the server's work for one page on a synthetic data set: the first question of a computed queue, with the log
read from the disk; then one decision after the other.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

GOALS = {"open_seconds": 2.0, "decision_seconds": 0.25}
"""Of the tab on two cores with ten thousand decisions; decision_seconds: the median."""


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, or 1 where a goal was missed."""
    parser = argparse.ArgumentParser(prog="python -m app.tabs.review.benchmark", description=__doc__)
    parser.add_argument("--videos", type=int, default=300, help="of the made-up data set (default 300)")
    parser.add_argument("--decisions", type=int, default=10_000, help="in the log at the start (default 10000)")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="tevit-benchmark-") as folder:
        os.environ["TEVIT_HOME"] = folder
        measured = _measure(Path(folder), args.videos, args.decisions)
    print(json.dumps(measured, indent=2))
    return int(any(measured[name] > goal for name, goal in GOALS.items()))


def _measure(folder: Path, videos: int, decisions: int) -> dict[str, float]:
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    import gradio as gr

    from tevit.synthetic.results import write_sets

    from ...analysis.service import EvaluationService
    from ...player.routes import ViewRegistry
    from ...projects.opening import open_project
    from .events import ReviewTab
    from .layout import build_layout
    from .session import ReviewSession

    gt, results = write_sets(folder, videos)
    project = open_project(gt, None, [results], folder / "project")
    session = ReviewSession(project)
    queue = session.queue(session.models[0])
    session.store.extend(_log(session, decisions))
    session.store.close()
    with gr.Blocks():
        review = ReviewTab(build_layout(), lambda request: project, ViewRegistry(), EvaluationService())
    request: Any = SimpleNamespace(session_hash="page")
    page = review.page(request)
    times = []
    begin = time.perf_counter()
    review.first_question(page, (queue, ""), [])
    opened = time.perf_counter() - begin
    for _ in range(30):
        begin = time.perf_counter()
        event = {"kind": "save", "key": "1", "item": page.question_name, "reviewer": "cleo", "note": ""}
        review.on_event(request, cast(Any, SimpleNamespace(_data=event)))
        times.append(time.perf_counter() - begin)
    return {
        "open_seconds": round(opened, 3),
        "decision_seconds": round(statistics.median(times), 3),
        "slowest_decision_seconds": round(max(times), 3),
        "decisions": decisions,
        "questions": len(queue),
    }


def _log(session: Any, count: int) -> list:
    """Two reviewers in turn give every label another class; every fifth decision is undone."""
    from tevit.review.decisions import ChangeClass, Undo, decide

    labels, classes = session.project.dataset.annotations, list(session.project.dataset.categories)
    log: list = []
    while len(log) < count:
        number = len(log)
        label, reviewer = labels[number % len(labels)], ("ann", "ben")[number % 2]
        action = ChangeClass(label.id, classes[number % len(classes)])
        log.append(decide(session.hash, label.video_id, "label is wrong", action, reviewer))
        if number % 5 == 0:
            log.append(decide(session.hash, label.video_id, None, Undo(log[-1].id), reviewer))
    return log[:count]


if __name__ == "__main__":
    raise SystemExit(main())
