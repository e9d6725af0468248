"""`tevit benchmark video` and `memory`: prediction from file to results.json, and memory over a video's length."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import count, islice
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from tevit.benchmarks.record import Figures, spread, time_call
from tevit.configs import PredictOptions
from tevit.inference.postprocess import Detections
from tevit.inference.predictor import Predictor
from tevit.inference.stream_file import stream_to_folder
from tevit.io.ytvis import write_results
from tevit.memory import peak_memory, resident_memory
from tevit.progress import Progress
from tevit.results import WindowResult
from tevit.synthetic import dataset as shapes
from tevit.video.overlay import VideoWriter
from tevit.video.reader import Video
from tevit.video.transforms import geometry, preprocess

FPS = Fraction(6)
SETTLED = 200  # frames after which memory must no longer grow


class TimedPredictor(Predictor):
    """A predictor that adds up the seconds spent in the model and in pasting and encoding masks."""

    model_seconds, mask_seconds = 0.0, 0.0

    def detections(self, *args, **options) -> Detections:
        """As `Predictor.detections`; the result is on the CPU, so the device has finished."""
        start = time.perf_counter()
        detections = super().detections(*args, **options)
        self.model_seconds += time.perf_counter() - start
        return detections

    def _window_result(self, *args, **options) -> WindowResult:
        start = time.perf_counter()
        result = super()._window_result(*args, **options)
        self.mask_seconds += time.perf_counter() - start
        return result


def measure(predictor: Predictor, video: Video, rounds: int, window: int | None = None) -> Figures:
    """Frames per second of each stage, over `rounds` passes, after one that does not count."""
    passes = [_pass(predictor, video, window) for _ in range(rounds + 1)][1:]
    figures = {f"{name}, frames/s": spread(rates[name] for rates in passes) for name in passes[0]}
    return figures | {"peak memory, MB": spread([peak_memory(predictor.device) / 1e6])}


def _pass(predictor: Predictor, video: Video, window: int | None) -> dict[str, float]:
    """Decoding and the network's input are timed alone, the rest within the whole."""
    timed = TimedPredictor(predictor.model, predictor.device, predictor.dtype)
    sizes = geometry(video.size_hw, predictor.config.scale)
    with tempfile.TemporaryDirectory(prefix="tevit-benchmark-") as folder:
        start = time.perf_counter()
        result = timed(video, window=window)
        predicted = time.perf_counter()
        write_results(Path(folder) / "results.json", [result])
        end = time.perf_counter()
    decode = time_call(lambda: sum(1 for _ in video.frames()), predictor.device).seconds
    both = time_call(
        lambda: [preprocess(frame.rgb, sizes) is None for frame in video.frames()], predictor.device
    ).seconds
    seconds = {
        "end to end": end - start,
        "decode": decode,
        "resize and normalise": both - decode,
        "model": timed.model_seconds,
        "paste and RLE": timed.mask_seconds,
        "write results.json": end - predicted,
    }
    return {name: result.length / value for name, value in seconds.items()}


class MemorySample(NamedTuple):
    """frames: predicted so far. megabytes: resident memory then."""

    frames: int
    megabytes: float


def sample_memory(
    predictor: Predictor, video: Video, window: int | None, progress: Progress | None = None
) -> tuple[list[MemorySample], float]:
    """Resident memory after each window of a prediction that is streamed to disk, and the seconds it took."""
    samples: list[MemorySample] = []

    def sample(window_result: WindowResult) -> None:
        samples.append(MemorySample(window_result.first + len(window_result.times), resident_memory() / 1e6))

    options = PredictOptions(window=window)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="tevit-benchmark-") as folder:
        stream_to_folder(predictor, video, Path(folder), options, about={}, progress=progress, on_window=sample)
    return samples, time.perf_counter() - start


def memory_figures(samples: Sequence[MemorySample], seconds: float, marks: Sequence[int]) -> Figures:
    """Memory at the end of the first window that reaches each mark, and its largest deviation after SETTLED frames.

    marks: numbers of frames. Raises: ValueError where fewer than two samples come after SETTLED frames.
    """
    settled = [sample.megabytes for sample in samples if sample.frames >= SETTLED]
    if len(settled) < 2:
        raise ValueError(f"expected more than {SETTLED} frames in several windows, got {samples[-1].frames}")
    mean = sum(settled) / len(settled)
    reached = {mark: next((item for item in samples if item.frames >= mark), None) for mark in marks}
    figures = {f"at frame {mark}, MB": spread([item.megabytes]) for mark, item in reached.items() if item}
    figures[f"from frame {SETTLED} on, MB"] = spread(settled)
    deviation = max(abs(value - mean) for value in settled)
    figures[f"from frame {SETTLED} on, % off the mean"] = spread([100 * deviation / mean])
    return figures | {"frames/s": spread([samples[-1].frames / seconds])}


def synthetic_frames(length: int, size_hw: tuple[int, int], seed: int = 0) -> Iterator[np.ndarray]:
    """Frames of the synthetic shapes, scene after scene: uint8 (H, W, 3) RGB, the same for the same seed."""
    scenes = (frame for index in count() for frame in shapes.video(seed, index).frames())
    for frame in islice(scenes, length):
        yield cv2.resize(frame, size_hw[::-1], interpolation=cv2.INTER_LINEAR)


def write_synthetic_video(path: Path, length: int, size_hw: tuple[int, int]) -> Path:
    """Write `synthetic_frames` as an H.264 file; returns its path."""
    with VideoWriter(path, size_hw, fps=FPS) as writer:
        for index, frame in enumerate(synthetic_frames(length, size_hw)):
            writer.write(frame, float(index / FPS))
    return path
