"""`python -m tevit.benchmarks.windows DATASET FRAMES`: AP and cost of a window's length, overlap and keyframes.

Each way of joining windows predicts the data set's videos anew; printed and kept are AP, identity switches, how many
frames the model saw for each frame of the video, and frames a second from picture files to results.
"""

import argparse
import json
import sys
import tempfile
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path

from tevit import evaluate
from tevit.benchmarks.record import hardware, time_call
from tevit.evaluation.error_table import find_errors
from tevit.evaluation.inputs import read_inputs
from tevit.evaluation.overlaps import compute_overlaps
from tevit.inference.accumulate import Collected
from tevit.inference.association import Linking
from tevit.inference.dataset import in_order
from tevit.inference.predictor import DEFAULT, Predictor, load
from tevit.io.files import atomic
from tevit.io.ytvis import Dataset, open_dataset, write_results
from tevit.progress import TerminalProgress
from tevit.results import VideoResult
from tevit.video.reader import Video

WAYS: tuple[tuple[int, Linking], ...] = (
    (0, DEFAULT),
    *((window, replace(DEFAULT, keyframes=keyframes)) for window in (8, 12, 16) for keyframes in (0, 2, 4)),
    *((12, replace(DEFAULT, overlap=overlap)) for overlap in (2, 6)),
    *((12, replace(DEFAULT, likeness=likeness)) for likeness in (0.0, 0.1, 1.0)),
    (12, replace(DEFAULT, alike=2.0)),
)
"""Window (0: one pass over the whole video) and how windows are joined; an `alike` above 1 never applies."""


def main() -> int:
    """Measure all ways; returns the exit code."""
    parser = argparse.ArgumentParser(prog="tevit.benchmarks.windows", description="Compare ways of joining windows.")
    parser.add_argument("dataset", type=Path, help="annotations in YouTube-VIS form")
    parser.add_argument("frames", type=Path, help="folder below which the frames lie")
    parser.add_argument("--model", default="tevit_demo", help="name or checkpoint (default %(default)s)")
    parser.add_argument("--out", type=Path, metavar="JSON", help="write the table there, too")
    args = parser.parse_args()
    predictor, dataset = load(args.model), open_dataset(args.dataset)
    rows = []
    for window, linking in WAYS:
        rows.append({"window": window, **asdict(linking), **_measured(predictor, dataset, args, window, linking)})
        print(_line(rows[-1]), flush=True)
    if args.out:
        with atomic(args.out) as path:
            about = {"date": str(date.today()), "machine": hardware(predictor.device), "model": args.model}
            report = {**about, "videos": len(dataset.videos), "ways": rows}
            path.write_text(json.dumps(report, indent=2) + "\n")
    return 0


def _line(row: dict) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in row.items())


def _measured(
    predictor: Predictor, dataset: Dataset, args: argparse.Namespace, window: int, linking: Linking
) -> dict[str, float]:
    seen = [0, 0]
    with tempfile.TemporaryDirectory() as folder, TerminalProgress("video") as progress:
        path = Path(folder) / "results.json"
        results = _results(predictor, dataset, args.frames, window, linking, seen, progress)
        seconds = time_call(lambda: write_results(path, results), predictor.device).seconds
        figures = evaluate(args.dataset, path).figures
        errors = find_errors(compute_overlaps(read_inputs(args.dataset, path), all_pairs=True))
    switches = sum(len(record.switches) for record in errors.records if record.kind == "truth")
    cost = {"frames_seen": seen[0] / seen[1], "frames_per_second": seen[1] / seconds}
    return {"AP": figures["AP"], "AP50": figures["AP50"], "switches": switches, **cost}


def _results(
    predictor: Predictor,
    dataset: Dataset,
    root: Path,
    window: int,
    linking: Linking,
    seen: list[int],
    progress: TerminalProgress,
) -> Iterator[VideoResult]:
    for index, video_id in enumerate(dataset.videos):
        progress("predicting", index, len(dataset.videos))
        video = in_order(dataset.frame_files(video_id, root), video_id)
        yield replace(_joined(predictor, video, window, linking, seen), video_id=video_id)


def _joined(predictor: Predictor, video: Video, window: int, linking: Linking, seen: list[int]) -> VideoResult:
    """One video. seen: gets the frames that the model looked at, and the video's, added."""
    collected, results = Collected(video, predictor.config), deque[VideoResult](maxlen=1)
    for part, linker in predictor.parts(video, window=window, linking=linking):
        results.append(collected.add(part, linker))
        seen[0] += part.seen
        seen[1] += len(part.times)
    return results[0]


if __name__ == "__main__":
    sys.exit(main())
