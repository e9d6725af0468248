"""How fast a model is and how much memory it needs: `tevit benchmark model`, `video` and `memory`.

`model`: from frames on the device to masks as run lengths, as a whole and part by part; in the same rounds run the
yardstick (timm's PVTv2-B1), a matrix product and a convolution at the machine's peak, and variants of the model without
an optimisation. `video`: prediction from file to results.json. `memory`: over a video's length.
"""

import os
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from functools import partial
from itertools import count, islice, pairwise
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch.autograd.profiler import profile
from torch.utils.flop_counter import FlopCounterMode

from tevit.benchmarks.record import (
    Figures,
    Timing,
    Yardstick,
    conv_workload,
    interleave,
    matmul_workload,
    spread,
    synchronize,
    time_call,
)
from tevit.checkpoint import load_model, save_model
from tevit.configs import BUNDLED_MODELS, ModelConfig, PredictOptions, published
from tevit.download import bundled_path
from tevit.inference.postprocess import Detections, to_tracks
from tevit.inference.predictor import WINDOW, CompiledModel, Predictor
from tevit.inference.stream_file import stream_to_folder
from tevit.io.ytvis import write_results
from tevit.limits import peak_memory, resident_memory
from tevit.model.cpu import can_pack, default_exclusions, pack
from tevit.model.tevit import TeViT
from tevit.progress import Progress
from tevit.results import WindowResult
from tevit.synthetic import dataset as shapes
from tevit.video.overlay import VideoWriter
from tevit.video.reader import Video
from tevit.video.transforms import Geometry, geometry, preprocess

TRACKS = 10
PARTS = ("backbone", "FPN", "stages", "mask head", "paste and RLE")
PEAKS = {"matmul": matmul_workload, "convolution": conv_workload}
MIN_SHARE = 2.0  # per cent of the time from which an operator has a line of its own


class BenchmarkClip(NamedTuple):
    """pixels: float32 (1, T, 3, Hp, Wp), seeded noise in the frame, zero in the padding; on the device."""

    pixels: torch.Tensor
    sizes: Geometry


def random_clip(frames: int, size_hw: tuple[int, int], device: torch.device) -> BenchmarkClip:
    """A clip of noise. Raises: ValueError for a size that the network cannot take."""
    sizes = geometry(size_hw, size_hw)
    pixels = torch.zeros(1, frames, 3, *sizes.padded_hw)
    noise = torch.randn(frames, 3, *size_hw, generator=torch.Generator().manual_seed(0))
    pixels[0, :, :, : size_hw[0], : size_hw[1]] = noise
    return BenchmarkClip(pixels.to(device), sizes)


@contextmanager
def checkpoint_file(name: str, checkpoint: str | None = None) -> Iterator[Path]:
    """The weights to measure: `checkpoint`, the demo model's, or random ones of a published model in a temporary file.

    Random weights need no download and are as fast as the real ones.
    Raises: ValueError for an unknown name.
    """
    if checkpoint or name in BUNDLED_MODELS:
        yield Path(checkpoint or bundled_path(name))
        return
    config = published(name)
    with tempfile.TemporaryDirectory(prefix="tevit-benchmark-") as folder:
        file = Path(folder) / "seeded.safetensors"
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            save_model(file, TeViT(config, all_masks=False))
        yield file


def variant_name(optimisation: str) -> str:
    """ "without packed", or "with winograd" where this machine's default leaves it out."""
    return f"{'with' if optimisation in default_exclusions() else 'without'} {optimisation}"


def load_variant(file: Path, predictor: Predictor, without: str) -> Predictor:
    """A predictor as `predictor`, of the same file, without one of OPTIMISATIONS, or with it where this one has it not.

    Raises: ValueError where it cannot be used.
    """
    device, dtype = predictor.device, predictor.dtype
    compiled = isinstance(predictor.model, CompiledModel)
    if device.type != "cpu" or compiled or not can_pack(dtype) or (without == "winograd" and dtype != torch.float32):
        how = f"on {device} in {str(dtype).removeprefix('torch.')}" + (", compiled" if compiled else "")
        raise ValueError(f"--without {without}: expected a model that uses this optimisation, got one {how}")
    model = load_model(file)
    pack(model, WINDOW * model.config.queries, dtype, without={without} ^ set(default_exclusions()))
    return Predictor(model, device, dtype)


def measure_model(
    predictor: Predictor,
    clip: BenchmarkClip,
    rounds: int,
    variants: Mapping[str, Callable[[], Predictor]] | None = None,
) -> Figures:
    """All figures of one model on one clip, over `rounds`. The parts of a compiled model are measured uncompiled.

    variants: by name, loads other predictors of the same model that are timed in the same rounds.
    """
    device, eager = predictor.device, predictor.model
    if isinstance(eager, CompiledModel):
        eager = eager.plain
    in_parts = Predictor(eager, device, predictor.dtype)
    _predict(predictor, clip)
    memory = peak_memory(device) / 1e6
    others = {name: make() for name, make in (variants or {}).items()}  # loaded after the peak memory was read
    passes: list[dict[str, Timing]] = []
    own = str(predictor.dtype).removeprefix("torch.")
    dtypes = {"yardstick": own} | ({} if own == "float32" else {"float32 yardstick": "float32"})
    frames, size_hw = clip.pixels.shape[1], clip.sizes.padded_hw
    with predictor.precision(), torch.inference_mode(), ExitStack() as processes:
        peaks = {name: make(device) for name, make in PEAKS.items()}
        functions: dict[str, Callable[[], Timing]] = {}
        functions["model"] = partial(time_call, partial(_predict, predictor, clip), device)
        for name, other in others.items():
            functions[name] = partial(time_call, partial(_predict, other, clip), device)
        for name, dtype in dtypes.items():
            functions[name] = processes.enter_context(Yardstick(frames, size_hw, device, dtype))
        functions["parts"] = lambda: time_call(lambda: passes.append(time_parts(in_parts, clip)), device)
        functions |= {name: partial(time_call, function, device) for name, (function, _) in peaks.items()}
        timings = interleave(functions, rounds)
    best = {name: gflop / min(timing.seconds for timing in timings[name]) for name, (_, gflop) in peaks.items()}
    figures = _whole_figures(timings, frames, others) | _part_figures(
        predictor.config, clip, passes[1:], max(best.values())
    )
    figures |= {f"{name} peak, GFLOP/s": spread([value]) for name, value in best.items()}
    figures |= operator_shares(partial(_predict, predictor, clip), device)
    return figures | {"peak memory, MB": spread([memory])}


def _predict(predictor: Predictor, clip: BenchmarkClip) -> object:
    return _paste(predictor, clip, predictor.detections(clip.pixels, clip.sizes, TRACKS))


def _paste(predictor: Predictor, clip: BenchmarkClip, detections: Detections) -> object:
    return to_tracks(detections, clip.sizes.original_hw, dict(predictor.config.categories))


def _whole_figures(timings: dict[str, list[Timing]], frames: int, variants: Collection[str]) -> Figures:
    model = timings["model"]
    figures = {
        "model, ms a frame": spread(1e3 * timing.seconds / frames for timing in model),
        "model, ms of a core a frame": spread(1e3 * timing.processor / frames for timing in model),
    }
    pairs = [("model", name) for name in timings if name.endswith("yardstick")] + [(name, "model") for name in variants]
    for above, below in pairs:
        name, turns = below if above == "model" else above, list(zip(timings[above], timings[below], strict=True))
        figures[f"{name}, ms a frame"] = spread(1e3 * timing.seconds / frames for timing in timings[name])
        figures[f"{above} / {below}"] = spread(a.seconds / b.seconds for a, b in turns)
        figures[f"{above} / {below}, time of a core"] = spread(a.processor / b.processor for a, b in turns)
    return figures


def _part_figures(config: ModelConfig, clip: BenchmarkClip, passes: list[dict[str, Timing]], peak: float) -> Figures:
    gflop, figures, frames = count_gflop(config, clip), {}, clip.pixels.shape[1]
    for name in PARTS:
        seconds = [timings[name].seconds for timings in passes]
        figures[f"{name}, ms a frame"] = spread(1e3 * value / frames for value in seconds)
        processor = (1e3 * timings[name].processor / frames for timings in passes)
        figures[f"{name}, ms of a core a frame"] = spread(processor)
        if name in gflop:
            figures[f"{name}, GFLOP a frame"] = spread([gflop[name] / frames])
            figures[f"{name}, GFLOP/s"] = spread(gflop[name] / value for value in seconds)
            figures[f"{name}, % of the machine's peak"] = spread(100 * gflop[name] / value / peak for value in seconds)
    return figures


def time_parts(predictor: Predictor, clip: BenchmarkClip) -> dict[str, Timing]:
    """Time each part of one pass; the device is synchronised after each.

    FPN: with the table that RoIAlign reads. Stages: with their RoIAlign. Mask head: with the selection of the tracks.
    """
    model = predictor.model
    assert isinstance(model, TeViT)
    marks: list[Timing] = []

    def mark(*_: object) -> None:
        synchronize(predictor.device)
        marks.append(Timing(time.perf_counter(), time.process_time()))

    mark()
    hooks = [model.backbone.register_forward_hook(mark), model.stages[0].register_forward_pre_hook(mark)]
    hooks.append(model.stages[-1].register_forward_hook(mark))
    try:
        detections = predictor.detections(clip.pixels, clip.sizes, TRACKS)
    finally:
        for hook in hooks:
            hook.remove()
    mark()
    _paste(predictor, clip, detections)
    mark()
    spans = zip(PARTS, pairwise(marks), strict=True)
    return {name: Timing(*(b - a for a, b in zip(before, after, strict=True))) for name, (before, after) in spans}


def count_gflop(config: ModelConfig, clip: BenchmarkClip) -> dict[str, float]:
    """GFLOP of each part for a clip, computed from shapes alone; a multiplication and an addition are two.

    Matrix products and convolutions are counted, the products of attention are not.
    """
    with torch.device("meta"), torch.no_grad():
        model = TeViT(config, all_masks=False).requires_grad_(False).eval()
        rows = torch.empty(TRACKS * clip.pixels.shape[1], dtype=torch.long)
        with FlopCounterMode(display=False) as counter:
            output = model(torch.empty(clip.pixels.shape), torch.empty(1, 2))[-1]
            without_masks = counter.get_total_flops() / 1e9
            model.mask_logits(output, rows, rows)
    counts = {name: sum(flops.values()) / 1e9 for name, flops in counter.get_flop_counts().items()}
    backbone, fpn = counts["TeViT.backbone"], counts["TeViT.fpn"]
    masks = counter.get_total_flops() / 1e9 - without_masks
    return {"backbone": backbone, "FPN": fpn, "stages": without_masks - backbone - fpn, "mask head": masks}


def operator_shares(function: Callable[[], object], device: torch.device) -> Figures:
    """Per cent of the time that each PyTorch operator takes itself, largest first; on CUDA the device's time."""
    cuda = device.type == "cuda"
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler's library logs when it begins and ends
    with profile(use_device="cuda" if cuda else None, use_kineto=cuda) as profiler:
        function()
    attribute = "self_device_time_total" if cuda else "self_cpu_time_total"
    assert profiler is not None  # None is for enabled=False
    times = {event.key: float(getattr(event, attribute)) for event in profiler.key_averages()}
    total = sum(times.values())
    percent = {name.split("::")[-1]: 100 * times[name] / total for name in sorted(times, key=times.__getitem__)[::-1]}
    large = {name: value for name, value in percent.items() if value >= MIN_SHARE}
    return {f"{name}, % of operators": spread([value]) for name, value in large.items()} | {
        "all others, % of operators": spread([100 - sum(large.values())])
    }


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


def measure_video(predictor: Predictor, video: Video, rounds: int, window: int | None = None) -> Figures:
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
