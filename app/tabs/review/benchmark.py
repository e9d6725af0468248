"""`python -m app.tabs.review.benchmark`: how fast the tab Review answers when the log is long.

Measured is what the server does for one page, on a made-up data set: the first question of a queue that is worked out
already, with the log read from the disk; then one decision after the other.
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
from typing import Any

GOALS = {"open_seconds": 2.0, "decision_seconds": 0.25}
"""What the tab promises on two cores at ten thousand decisions; of the decisions the median."""


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
    from app.projects.opening import open_project
    from app.tabs.review.session import Reviewing
    from tevit.synthetic.results import write_sets

    gt, results = write_sets(folder, videos)
    project = open_project(gt, None, [results], folder / "project")
    before = Reviewing(project)
    queue = before.queue(before.models[0])
    before.store.extend(_log(before, decisions))
    before.store.close()
    return _timed(Reviewing(project), queue) | {"decisions": decisions, "questions": len(queue)}


def _log(reviewing: Any, count: int) -> list:
    """One of two reviewers in turn gives every label another class; every fifth time that is undone."""
    from tevit.review.decisions import ChangeClass, Undo, decide

    labels, classes = reviewing.project.dataset.annotations, list(reviewing.project.dataset.categories)
    found: list = []
    while len(found) < count:
        number = len(found)
        label, who = labels[number % len(labels)], ("ann", "ben")[number % 2]
        action = ChangeClass(label.id, classes[number % len(classes)])
        found.append(decide(reviewing.hash, label.video_id, "label is wrong", action, who))
        if number % 5 == 0:
            found.append(decide(reviewing.hash, label.video_id, None, Undo(found[-1].id), who))
    return found[:count]


def _timed(reviewing: Any, queue: Sequence) -> dict[str, float]:
    import gradio as gr

    from app.player.routes import ViewRegistry
    from app.tabs.review.events import Review
    from app.tabs.review.layout import build_layout

    with gr.Blocks():
        review = Review(build_layout(), reviewing, ViewRegistry())
    request: Any = SimpleNamespace(session_hash="page")
    begin = time.perf_counter()
    review._first(review._page(request), (queue, ""), [])
    opened = time.perf_counter() - begin
    times = []
    for _ in range(30):
        begin = time.perf_counter()
        _decide(review, request)
        times.append(time.perf_counter() - begin)
    return {
        "open_seconds": round(opened, 3),
        "decision_seconds": round(statistics.median(times), 3),
        "slowest_decision_seconds": round(max(times), 3),
    }


def _decide(review: Any, request: Any) -> None:
    item = review.looking.name(review._page(request))
    said = {"kind": "save", "key": "1", "item": item, "reviewer": "cleo", "note": ""}
    review.heard(request, SimpleNamespace(_data=said))


if __name__ == "__main__":
    raise SystemExit(main())
