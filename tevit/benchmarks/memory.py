"""Resident memory over the length of a video that is predicted window by window to disk."""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tevit.benchmarks.machine import resident_memory
from tevit.benchmarks.record import Figures, spread
from tevit.inference.accumulate import Part
from tevit.inference.predictor import Predictor
from tevit.inference.stream_file import stream
from tevit.progress import Progress
from tevit.video.reader import Video

SETTLED = 200  # frames after which memory must no longer grow


class Sample(NamedTuple):
    """frames: done so far. megabytes: resident then."""

    frames: int
    megabytes: float


def watch(
    predictor: Predictor, video: Video, window: int | None, progress: Progress | None = None
) -> tuple[list[Sample], float]:
    """Memory after each window of a streamed prediction, and the seconds it took."""
    samples: list[Sample] = []

    def note(part: Part) -> None:
        samples.append(Sample(part.first + len(part.times), resident_memory()))

    options = {"window": window, "max_tracks": 10, "size": None}
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="tevit-benchmark-") as folder:
        stream(predictor, video, Path(folder), options=options, about={}, progress=progress, written=note)
    return samples, time.perf_counter() - start


def figures(samples: Sequence[Sample], seconds: float, marks: Sequence[int]) -> Figures:
    """Memory at the first window's end that reaches each of the marks, and how far from the mean it gets later on.

    Raises: ValueError where nothing comes after the frame from which on it is to be flat.
    """
    settled = [sample.megabytes for sample in samples if sample.frames >= SETTLED]
    if len(settled) < 2:
        raise ValueError(f"expected more than {SETTLED} frames in several windows, got {samples[-1].frames}")
    mean = sum(settled) / len(settled)
    reached = {mark: next((item for item in samples if item.frames >= mark), None) for mark in marks}
    found = {f"at frame {mark}, MB": spread([item.megabytes]) for mark, item in reached.items() if item}
    found[f"from frame {SETTLED} on, MB"] = spread(settled)
    furthest = max(abs(value - mean) for value in settled)
    found[f"from frame {SETTLED} on, % off the mean"] = spread([100 * furthest / mean])
    return found | {"frames/s": spread([samples[-1].frames / seconds])}
