"""From a video file to results.json, as `tevit predict` does it, and how long each part of that takes."""

import tempfile
import time
from pathlib import Path

from tevit.benchmarks.machine import peak_memory
from tevit.benchmarks.record import Figures, spread
from tevit.benchmarks.timing import took
from tevit.inference.accumulate import Part
from tevit.inference.postprocess import Detections
from tevit.inference.predictor import Predictor
from tevit.io.ytvis import write_results
from tevit.video.reader import Video, geometry, preprocess


class Watched(Predictor):
    """A predictor that knows how long its model, and what is made of the answers, have taken: seconds."""

    model_seconds, mask_seconds = 0.0, 0.0

    def detections(self, *args, **options) -> Detections:
        """As `Predictor.detections`, whose answer lies on the CPU: nothing is left to wait for."""
        start = time.perf_counter()
        found = super().detections(*args, **options)
        self.model_seconds += time.perf_counter() - start
        return found

    def _part(self, *args, **options) -> Part:
        start = time.perf_counter()
        found = super()._part(*args, **options)
        self.mask_seconds += time.perf_counter() - start
        return found


def measure(predictor: Predictor, video: Video, rounds: int, window: int | None = None) -> Figures:
    """Frames a second by part, over `rounds` passes, after one that does not count."""
    passes = [_pass(predictor, video, window) for _ in range(rounds + 1)][1:]
    figures = {f"{name}, frames/s": spread(found[name] for found in passes) for name in passes[0]}
    return figures | {"peak memory, MB": spread([peak_memory(predictor.device)])}


def _pass(predictor: Predictor, video: Video, window: int | None) -> dict[str, float]:
    """Decoding and the network's input are timed alone, the rest within the whole."""
    watched = Watched(predictor.model, predictor.device, predictor.dtype)
    sizes = geometry(video.size_hw, predictor.config.scale)
    with tempfile.TemporaryDirectory(prefix="tevit-benchmark-") as folder:
        start = time.perf_counter()
        result = watched(video, window=window)
        found = time.perf_counter()
        write_results(Path(folder) / "results.json", [result])
        end = time.perf_counter()
    decode = took(lambda: sum(1 for _ in video.frames()), predictor.device).seconds
    both = took(lambda: [preprocess(frame.rgb, sizes) is None for frame in video.frames()], predictor.device).seconds
    seconds = {
        "end to end": end - start,
        "decode": decode,
        "resize and normalise": both - decode,
        "model": watched.model_seconds,
        "paste and RLE": watched.mask_seconds,
        "write results.json": end - found,
    }
    return {name: result.length / value for name, value in seconds.items()}
