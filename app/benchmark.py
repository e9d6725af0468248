"""`python -m app.benchmark findings`: how fast a data set opens, a filter and a video answer, in what memory.

Every opening is a process of its own, as after a start of the server; what it keeps lies in a folder of its own.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import date
from functools import partial
from pathlib import Path

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
"""What the studio promises on two cores for 300 videos, 40 classes and 10 predictions a video. A cut-off moves in two
steps: the figures, the list and most plots; then the rest, which is the second lens, sizes and lengths."""
_PARTS = [name for name in GOALS if name.endswith("seconds") and "open" not in name]
_ROOT = Path(__file__).resolve().parents[1]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="app.benchmark", description=__doc__)
    top.add_argument("what", choices=["findings", "open"], help="findings: everything; open: used by it")
    top.add_argument("--videos", type=int, default=300, help="of the made-up data set (default 300)")
    top.add_argument("--dataset", type=Path, metavar="JSON", help="your own ground truth instead")
    top.add_argument("--predictions", type=Path, metavar="JSON", action="append", default=[], help="repeatable")
    top.add_argument("--models", type=int, default=1, help="so many made-up models (default 1)")
    top.add_argument("--out", type=Path, metavar="JSON", help="write the result there, too")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, or 1 where a goal was missed."""
    args = parser().parse_args(argv)
    if args.what == "open":
        print(json.dumps(_open(args.dataset, args.predictions)))
        return 0
    with tempfile.TemporaryDirectory(prefix="tevit-benchmark-") as folder:
        gt, predictions = _files(args, Path(folder))
        result = _measure(gt, predictions, Path(folder) / "home")
    print(json.dumps(result, indent=2))
    if args.out:
        from tevit.io.files import atomic

        with atomic(args.out) as path:
            path.write_text(json.dumps(result, indent=2) + "\n")
    return int(not all(result["met"].values()))


def _files(args: argparse.Namespace, folder: Path) -> tuple[Path, list[Path]]:
    if args.dataset:
        return args.dataset, args.predictions
    from tevit.synthetic.results import write_sets

    print(f"making a data set of {args.videos} videos", file=sys.stderr)
    gt, results = write_sets(folder, args.videos)
    return gt, [results, *(_other(results, index) for index in range(1, args.models))]


def _other(results: Path, index: int) -> Path:
    """Another model: the same tracks with other scores, a tenth of them gone."""
    import numpy as np

    rng = np.random.default_rng(index)
    items = [item for item in json.loads(results.read_text()) if rng.random() > 0.1]
    for item in items:
        item["score"] = float(np.clip(item["score"] + rng.normal(0, 0.15), 0, 1))
    path = results.with_name(f"other{index}.json")
    path.write_text(json.dumps(items))
    return path


def _measure(gt: Path, predictions: Sequence[Path], home: Path) -> dict:
    first, second = (_elsewhere(gt, predictions, home) for _ in range(2))
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


def _elsewhere(gt: Path, predictions: Sequence[Path], home: Path) -> dict:
    paths = os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "TEVIT_HOME": str(home), "PYTHONPATH": paths}
    command = [sys.executable, "-m", "app.benchmark", "open", "--dataset", str(gt)]
    command += [word for path in predictions for word in ("--predictions", str(path))]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def _open(gt: Path, predictions: Sequence[Path]) -> dict:
    """In this process: everything that a page asks for, from opening on."""
    from app.analysis.filter import select
    from app.analysis.service import EvaluationService
    from app.projects.opening import open_project
    from app.tabs.errors import views

    started = time.perf_counter()
    project = open_project(gt, None, predictions)
    desk = EvaluationService()
    now = desk.open(project).wait()
    if now.result is None:
        raise ValueError(now.message)
    findings = now.result
    _ = views.error_types(findings), views.figures(findings), views.error_groups(findings)
    _ = views.below(findings, select(findings), 0)
    opened = time.perf_counter() - started
    return {
        "open_seconds": opened,
        **_parts(desk, findings),
        "videos": len(project.dataset.videos),
        "tracks": sum(len(results.predictions) for results in project.results),
        "megabytes": _megabytes(),
    }


def _parts(desk, findings) -> dict[str, list[float]]:
    from app.analysis.filter import Filter, select
    from app.analysis.matches import video_rows
    from app.tabs.errors import views
    from tevit.evaluation.errors import Limits

    model = findings.models[0].name
    filters = [
        Filter(),
        Filter(model=model, types=("classification",)),
        Filter(text="class 1"),
        Filter(lens="tracking", scores=(0.5, 1.0)),
        Filter(ious=(0.1, 0.6), lengths=(10, 30)),
    ]

    def filtered(chosen: Filter) -> None:
        selection = select(findings, chosen)
        _ = [findings.row(index) for index in selection.rows[:50].tolist()]
        views.below(findings, selection, 0)

    def moved(cutoff: float) -> None:
        at = desk.with_limits(findings, Limits(), cutoff)
        selection = select(at)
        _ = at.figures, views.error_types(at), views.precision_recall(at), views.ap_by_threshold(at)
        _ = views.ap_by_class(at), views.below(at, selection, 0)

    def rest(cutoff: float) -> None:
        at = desk.with_limits(findings, Limits(), cutoff)
        _ = views.figures(at), views.error_groups(at)

    ids = [found.id for found in video_rows(findings.project, findings)[:: max(1, len(findings.video_places) // 10)]]
    works = {
        "filter_seconds": [partial(filtered, chosen) for chosen in filters],
        "limits_seconds": [partial(desk.with_limits, findings, Limits(positive=at), 0.0) for at in (0.6, 0.75, 0.4)],
        "cutoff_seconds": [partial(moved, cutoff) for cutoff in (0.2, 0.5)],
        "cutoff_rest_seconds": [partial(rest, cutoff) for cutoff in (0.2, 0.5)],
        "video_seconds": [partial(_show, findings, id) for id in ids],
    }
    return {name: _worst(*own) for name, own in works.items()}


def _show(findings, video: int) -> None:
    """Everything that opening a video takes: tracks, table, marks, difference, the first masks and pictures."""
    from app.analysis.filter import Filter, select
    from app.analysis.matches import lines, marks
    from app.analysis.thumbnails import ThumbnailCache, differences, filmstrip_frames
    from app.player.component import Layer, PlayerView, mask_chunk, payload
    from app.player.proxy import dataset_frames

    project = findings.project
    layers = [Layer("ground truth", True, project.ground_truth(video))]
    for index, model in enumerate(findings.models):
        layers.append(Layer(model.name, False, project.predictions(project.model_index(model.name), video)))
        _ = lines(findings, index, video), marks(findings, index, video)
    differences(project, 0, video)
    frames = dataset_frames(project, video)
    view = PlayerView("0", frames, 0, len(frames.times), tuple(layers))
    _ = payload(view), mask_chunk(view, 0), frames.picture(0)
    for index in select(findings, Filter(video=video)).rows[:1].tolist():
        strips = ThumbnailCache()
        _ = [strips.picture(findings, index, picture.frame) for picture in filmstrip_frames(findings, index)]


def _worst(*works: Callable[[], object]) -> list[float]:
    """Wall clock and processor time, seconds, of the slowest; the second tells what a busy machine's first hides."""
    found = []
    for work in works:
        started, busy = time.perf_counter(), time.process_time()
        work()
        found.append([time.perf_counter() - started, time.process_time() - busy])
    return max(found)


def _megabytes() -> float:
    """The most that this process and any that it waited for held at once, each by itself, added up."""
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    own, others = (resource.getrusage(who).ru_maxrss / unit for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own + others


if __name__ == "__main__":
    sys.exit(main())
