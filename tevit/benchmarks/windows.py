"""`python -m tevit.benchmarks.windows DATASET FRAMES`: AP and cost of a window's length, overlap and keyframes.

Each configuration predicts the data set's videos anew. Printed and recorded are AP, identity switches, the number of
frames that the model processed for each frame of the video, and frames per second from image files to results.
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

from tevit import evaluate, find_errors
from tevit.benchmarks.record import hardware, time_call
from tevit.configs import PredictOptions
from tevit.inference.association import AssociationOptions, ResultAccumulator
from tevit.inference.dataset import open_frames
from tevit.inference.predictor import DEFAULT_ASSOCIATION, Predictor, load
from tevit.io.files import atomic
from tevit.io.ytvis import Dataset, open_dataset, write_results
from tevit.progress import TerminalProgress
from tevit.results import VideoResult

CONFIGURATIONS: tuple[tuple[int, AssociationOptions], ...] = (
    (0, DEFAULT_ASSOCIATION),
    *((window, replace(DEFAULT_ASSOCIATION, keyframes=keyframes)) for window in (8, 12, 16) for keyframes in (0, 2, 4)),
    *((12, replace(DEFAULT_ASSOCIATION, overlap=overlap)) for overlap in (2, 6)),
    *((12, replace(DEFAULT_ASSOCIATION, appearance_weight=weight)) for weight in (0.0, 0.1, 1.0)),
    (12, replace(DEFAULT_ASSOCIATION, reid_threshold=2.0)),
)
"""Window (0: one pass over the whole video) and association; a `reid_threshold` above 1 never applies."""

_RECORDED_NAMES = {"appearance_weight": "likeness", "reid_threshold": "alike"}  # those of recorded tables


def main() -> int:
    """Measure all configurations; returns the exit code."""
    parser = argparse.ArgumentParser(prog="tevit.benchmarks.windows", description="Compare ways of joining windows.")
    parser.add_argument("dataset", type=Path, help="annotations in YouTube-VIS form")
    parser.add_argument("frames", type=Path, help="folder below which the frames lie")
    parser.add_argument("--model", default="tevit_demo", help="name or checkpoint (default %(default)s)")
    parser.add_argument("--out", type=Path, metavar="JSON", help="write the table there, too")
    args = parser.parse_args()
    predictor, dataset = load(args.model), open_dataset(args.dataset)
    rows = []
    for window, association in CONFIGURATIONS:
        settings = {_RECORDED_NAMES.get(name, name): value for name, value in asdict(association).items()}
        rows.append({"window": window, **settings, **_measure(predictor, dataset, args, window, association)})
        print("  ".join(f"{name} {value:.4g}" for name, value in rows[-1].items()), flush=True)
    if args.out:
        with atomic(args.out) as path:
            about = {"date": str(date.today()), "machine": hardware(predictor.device), "model": args.model}
            report = {**about, "videos": len(dataset.videos), "ways": rows}
            path.write_text(json.dumps(report, indent=2) + "\n")
    return 0


def _measure(
    predictor: Predictor, dataset: Dataset, args: argparse.Namespace, window: int, association: AssociationOptions
) -> dict[str, float]:
    processed, frames = 0, 0  # by the model, and of the videos

    def predict(progress: TerminalProgress) -> Iterator[VideoResult]:
        nonlocal processed, frames
        for index, video_id in enumerate(dataset.videos):
            progress("predicting", index, len(dataset.videos))
            video = open_frames(dataset.frame_files(video_id, args.frames), video_id)
            accumulator, results = ResultAccumulator(video, predictor.config), deque[VideoResult](maxlen=1)
            for part, associator in predictor.window_results(video, PredictOptions(window), association=association):
                results.append(accumulator.add(part, associator))
                processed += part.clip_length
                frames += len(part.times)
            yield replace(results[0], video_id=video_id)

    with tempfile.TemporaryDirectory() as folder, TerminalProgress("video") as progress:
        path = Path(folder) / "results.json"
        seconds = time_call(lambda: write_results(path, predict(progress)), predictor.device).seconds
        figures = evaluate(args.dataset, path).figures
        errors = find_errors(args.dataset, path)
    switches = sum(len(record.switches) for record in errors.records if record.kind == "truth")
    cost = {"frames_seen": processed / frames, "frames_per_second": frames / seconds}
    return {"AP": figures["AP"], "AP50": figures["AP50"], "switches": switches, **cost}


if __name__ == "__main__":
    sys.exit(main())
