"""`python -m app.benchmark findings`: time and memory to open a data set, to filter its errors and to open a video.
`python -m app.benchmark review`: how fast the tab Review responds when the log is long.
`python -m app.benchmark player`: what preparing a video for the player costs, beside a run of the demo model.

Each opening runs in a process of its own, as after a start of the server, with a cache of its own.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from .analysis.comparison import Comparison
    from .analysis.service import EvaluationService

GOALS = {
    "first_open_seconds": 20.0,
    "second_open_seconds": 2.0,
    "filter_seconds": 0.3,
    "limits_seconds": 1.0,
    "cutoff_seconds": 1.0,
    "cutoff_rest_seconds": 1.0,
    "video_seconds": 1.0,
    "megabytes": 2000.0,
}
"""Of the studio on two cores, for 300 videos, 40 classes and 10 predictions a video. A score cut-off is applied in two
steps: figures, list and most charts; then the oracle gaps, and the charts by size and by length."""
REVIEW_GOALS = {
    "open_seconds": 2.0,
    "decision_seconds": 0.25,
    "next_seconds": 0.3,
    "undo_seconds": 0.3,
    "redo_seconds": 0.3,
}
"""Of the tab Review on two cores with ten thousand decisions; of all but open_seconds the median."""
PLAYER_SHARE = 0.15  # at most, of a run's processor time, for preparing its video
_PARTS = [name for name in GOALS if name.endswith("seconds") and "open" not in name]
_ROOT = Path(__file__).resolve().parents[1]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="app.benchmark", description=__doc__)
    top.add_argument("measurement", choices=["findings", "review", "player", "open"], help="open: used by findings")
    top.add_argument("--videos", type=int, default=300, help="of the synthetic data set (default 300)")
    top.add_argument("--dataset", type=Path, metavar="JSON", help="your own ground truth instead")
    top.add_argument("--predictions", type=Path, metavar="JSON", action="append", default=[], help="repeatable")
    top.add_argument("--models", type=int, default=1, help="number of synthetic models (default 1)")
    top.add_argument("--decisions", type=int, default=10_000, help="in the log of review at the start (default 10000)")
    top.add_argument("--frames", type=int, default=300, help="of player's video (default 300)")
    top.add_argument("--out", type=Path, metavar="JSON", help="write the result there, too")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, or 1 where a goal was missed."""
    args = parser().parse_args(argv)
    if args.measurement == "open":
        print(json.dumps(_open(args.dataset, args.predictions)))
        return 0
    with tempfile.TemporaryDirectory(prefix="tevit-benchmark-") as folder:
        if args.measurement == "review":
            measured = _measure_review(Path(folder), args.videos, args.decisions)
            print(json.dumps(measured, indent=2))
            return int(any(measured[name] > goal for name, goal in REVIEW_GOALS.items()))
        if args.measurement == "player":
            measured = _measure_player(Path(folder), args.frames)
            print(json.dumps(measured, indent=2))
            return int(measured["as_it_is_share"] > PLAYER_SHARE)
        gt, predictions = args.dataset, args.predictions
        if not gt:
            from tevit.synthetic.dataset import write_sets

            print(f"making a data set of {args.videos} videos", file=sys.stderr)
            gt, results = write_sets(Path(folder), args.videos)
            predictions = [results, *(_write_variant(results, index) for index in range(1, args.models))]
        result = _measure(gt, predictions, Path(folder) / "home")
    print(json.dumps(result, indent=2))
    if args.out:
        from tevit.io.files import atomic

        with atomic(args.out) as path:
            path.write_text(json.dumps(result, indent=2) + "\n")
    return int(not all(result["met"].values()))


def _write_variant(results: Path, index: int) -> Path:
    """Another model: the same tracks with other scores, a tenth of them removed."""
    import numpy as np

    rng = np.random.default_rng(index)
    items = [item for item in json.loads(results.read_text()) if rng.random() > 0.1]
    for item in items:
        item["score"] = float(np.clip(item["score"] + rng.normal(0, 0.15), 0, 1))
    path = results.with_name(f"other{index}.json")
    path.write_text(json.dumps(items))
    return path


def _measure(gt: Path, predictions: Sequence[Path], home: Path) -> dict:
    paths = os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "TEVIT_HOME": str(home), "PYTHONPATH": paths}
    command = [sys.executable, "-m", "app.benchmark", "open", "--dataset", str(gt)]
    command += [word for path in predictions for word in ("--predictions", str(path))]
    first, second = (
        json.loads(subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout)
        for _ in range(2)
    )
    best = {
        "first_open_seconds": first["open_seconds"],
        "second_open_seconds": second["open_seconds"],
        "megabytes": max(first["megabytes"], second["megabytes"]),
        **{name: min(first[name], second[name])[0] for name in _PARTS},
    }
    system = f"{platform.system()} {platform.machine()}"
    return {
        "date": date.today().isoformat(),
        "machine": f"{system}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "load": round(os.getloadavg()[0], 1),
        "videos": first["videos"],
        "models": len(predictions),
        "tracks": first["tracks"],
        "megabytes_of_json": round(sum(path.stat().st_size for path in (gt, *predictions)) / 1e6, 1),
        "processor_seconds": {name: round(min(first[name][1], second[name][1]), 6) for name in _PARTS},
        "measured": {name: round(value, 6) for name, value in best.items()},
        "goals": GOALS,
        "met": {name: best[name] <= goal for name, goal in GOALS.items()},
    }


def _open(gt: Path, predictions: Sequence[Path]) -> dict:
    """Measure in this process: everything that a page needs, from opening the data set on."""
    from .analysis.filter import select
    from .analysis.service import EvaluationService
    from .projects.project import open_project
    from .tabs.errors import views

    started = time.perf_counter()
    project = open_project(gt, None, predictions)
    service = EvaluationService()
    end = service.open(project).wait()
    if end.result is None:
        raise ValueError(end.message)
    comparison = end.result
    _ = views.error_types(comparison), views.figures(comparison), views.error_groups(comparison)
    _ = views.below(comparison, select(comparison), 0)
    seconds = time.perf_counter() - started
    return {
        "open_seconds": seconds,
        **_parts(service, comparison),
        "videos": len(project.dataset.videos),
        "tracks": sum(len(results.predictions) for results in project.results),
        "megabytes": _megabytes(),
    }


def _parts(service: "EvaluationService", comparison: "Comparison") -> dict[str, list[float]]:
    """Seconds of each part of the work, wall clock and processor, of its slowest example."""
    from tevit.evaluation.errors import Limits

    from .analysis.comparison import video_rows
    from .analysis.filter import Filter, select
    from .tabs.errors import views

    def apply_filter(chosen: Filter) -> None:
        selection = select(comparison, chosen)
        _ = [comparison.table.record(index) for index in selection.rows[:50].tolist()]
        views.below(comparison, selection, 0)

    def apply_cutoff(cutoff: float) -> None:
        at = service.with_limits(comparison, Limits(), cutoff)
        _ = at.figures, views.error_types(at), views.precision_recall(at), views.ap_by_threshold(at)
        _ = views.ap_by_class(at), views.below(at, select(at), 0)

    def apply_cutoff_rest(cutoff: float) -> None:
        at = service.with_limits(comparison, Limits(), cutoff)
        _ = views.figures(at), views.error_groups(at)

    filters = [
        Filter(),
        Filter(model=comparison.models[0].name, types=("classification",)),
        Filter(text="class 1"),
        Filter(lens="tracking", scores=(0.5, 1.0)),
        Filter(ious=(0.1, 0.6), lengths=(10, 30)),
    ]
    limits = [Limits(positive=iou) for iou in (0.6, 0.75, 0.4)]
    rows = video_rows(comparison.project, comparison)
    videos = [row.id for row in rows[:: max(1, len(comparison.video_places) // 10)]]
    return {
        "filter_seconds": _slowest(partial(apply_filter, chosen) for chosen in filters),
        "limits_seconds": _slowest(partial(service.with_limits, comparison, limit, 0.0) for limit in limits),
        "cutoff_seconds": _slowest(partial(apply_cutoff, cutoff) for cutoff in (0.2, 0.5)),
        "cutoff_rest_seconds": _slowest(partial(apply_cutoff_rest, cutoff) for cutoff in (0.2, 0.5)),
        "video_seconds": _slowest(partial(_open_video, comparison, id) for id in videos),
    }


def _open_video(comparison: "Comparison", video: int) -> None:
    """Everything that opening a video takes: tracks, table, marks, difference, the first masks and pictures."""
    from .analysis.comparison import match_rows, timeline_marks
    from .analysis.filter import Filter, select
    from .analysis.service import ThumbnailCache, differences, filmstrip_frames
    from .player.component import Layer, PlayerView, mask_chunk, payload
    from .player.proxy import dataset_frames

    project = comparison.project
    truth = project.ground_truth(video)
    layers = [Layer("ground truth", True, truth)] if truth else []
    for index, model in enumerate(comparison.models):
        layers.append(Layer(model.name, False, project.predictions(project.model_index(model.name), video)))
        _ = match_rows(comparison, index, video), timeline_marks(comparison, index, video)
    differences(project, 0, video)
    frames = dataset_frames(project, video)
    view = PlayerView("0", frames, 0, len(frames.times), tuple(layers))
    _ = payload(view), mask_chunk(view, 0), frames.picture(0)
    for index in select(comparison, Filter(video=video)).rows[:1].tolist():
        cache = ThumbnailCache()
        _ = [cache.picture(comparison, index, picture.frame) for picture in filmstrip_frames(comparison, index)]


def _slowest(works: Iterable[Callable[[], object]]) -> list[float]:
    """Wall clock and processor time of the slowest, seconds. Processor time is less affected by a busy machine."""
    times = []
    for work in works:
        started, processor = time.perf_counter(), time.process_time()
        work()
        times.append([time.perf_counter() - started, time.process_time() - processor])
    return max(times)


def _megabytes() -> float:
    """Peak memory of this process plus that of its largest subprocess."""
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    own, others = (resource.getrusage(who).ru_maxrss / unit for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own + others


# --- the tab Review


def _measure_review(folder: Path, videos: int, decisions: int) -> dict[str, float]:
    """The server's work for one page: the first question of a computed queue, with the log read from the disk; then one
    decision after the other, the next question, undo and redo."""
    os.environ["TEVIT_HOME"] = str(folder)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    import gradio as gr

    from tevit.synthetic.dataset import write_sets

    from .analysis.service import EvaluationService
    from .player.component import ViewRegistry
    from .projects.project import open_project
    from .tabs.review.events import ReviewTab
    from .tabs.review.session import ReviewSession
    from .tabs.review.views import build_layout

    gt, results = write_sets(folder, videos)
    session = ReviewSession(project := open_project(gt, None, [results], folder / "project"))
    queue = session.queue(session.models[0])
    session.store.extend(_synthetic_log(session, decisions))
    session.store.close()
    with gr.Blocks():
        review = ReviewTab(build_layout(), lambda request: project, ViewRegistry(), EvaluationService())
    request: Any = SimpleNamespace(session_hash="page")
    page = review.page(request)
    begin, processor = time.perf_counter(), time.process_time()
    review.first_question(page, (queue, ""), [])
    measured = {"open_seconds": time.perf_counter() - begin, "open_processor_seconds": time.process_time() - processor}
    for kind, count in (("save", 30), ("next", 10), ("undo", 10), ("redo", 10)):
        measured |= _measure_event(review, request, kind, count)
    return {
        **{name: round(value, 3) for name, value in measured.items()},
        "decisions": decisions,
        "questions": len(queue),
    }


def _measure_event(review: Any, request: Any, kind: str, count: int) -> dict[str, float]:
    """Seconds of an event that is repeated: median and slowest by wall clock, median of processor time."""
    page, wall, processor = review.page(request), [], []
    for _ in range(count):
        begin, begin_processor = time.perf_counter(), time.process_time()
        event = {"kind": kind, "key": "1", "item": page.question_name, "reviewer": "cleo", "note": ""}
        review.on_event(request, cast(Any, SimpleNamespace(_data=event)))
        wall.append(time.perf_counter() - begin)
        processor.append(time.process_time() - begin_processor)
    name, median = "decision" if kind == "save" else kind, statistics.median
    return {
        f"{name}_seconds": median(wall),
        f"slowest_{name}_seconds": max(wall),
        f"{name}_processor_seconds": median(processor),
    }


def _synthetic_log(session: Any, count: int) -> list:
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


# --- the player


def _measure_player(folder: Path, frames: int) -> dict[str, float]:
    """Processor seconds of this process: to open a 720p video of so many frames, to prepare it as it is and by a copy,
    and for a run of the demo model; and the shares of that run. With OMP_NUM_THREADS=1 no thread counts that waits."""
    import tevit

    from .player.proxy import VideoSource, make_displayable

    source = VideoSource("clip.mp4", _write_clip(folder / "clip.mp4", frames))
    predictor = tevit.load("tevit_demo")
    works: dict[str, Callable[[], object]] = {
        "open": source.read,
        "as_it_is": lambda: make_displayable(source, folder / "proxy.mp4", True, lambda *_: None),
        "copy": lambda: make_displayable(source, folder / "proxy.mp4", False, lambda *_: None),
        "run": lambda: list(predictor.stream(source.read())),
    }
    seconds = {name: _slowest([work])[1] for name, work in works.items()}
    return {
        "frames": frames,
        **{f"{name}_processor_seconds": round(value, 3) for name, value in seconds.items()},
        **{f"{name}_share": round(seconds[name] / seconds["run"], 4) for name in ("as_it_is", "copy")},
    }


def _write_clip(path: Path, frames: int) -> Path:
    """H.264 at 30 frames a second: a part of a smooth picture that moves over it, and a square over that."""
    from fractions import Fraction

    import cv2
    import numpy as np

    from tevit.video.overlay import VideoWriter

    coarse = np.random.default_rng(0).integers(0, 255, (60, 100, 3), dtype=np.uint8)
    whole = cv2.resize(coarse, (2600, 1500), interpolation=cv2.INTER_CUBIC)
    with VideoWriter(path, (720, 1280), fps=Fraction(30)) as writer:
        for frame in range(frames):
            left, top = 3 * frame % 1300, int(80 + 60 * np.sin(frame / 20))
            picture = whole[top : top + 720, left : left + 1280].copy()
            picture[200:400, 5 * frame % 1000 :][:, :200] = (200, 60, 40)
            writer.write(picture, frame / 30)
    return path


if __name__ == "__main__":
    sys.exit(main())
