"""The model alone: from frames on the device to masks as run lengths, as a whole and part by part.

Beside it, in turns: the yardstick, and what the machine can do at best.
"""

import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from tevit.benchmarks import machine
from tevit.benchmarks.operators import shares
from tevit.benchmarks.record import Figures, spread
from tevit.benchmarks.timing import Took, in_turns, took, wait_for
from tevit.benchmarks.yardstick import Yardstick
from tevit.checkpoint import save_model
from tevit.configs import ModelConfig, published
from tevit.inference.compiled import CompiledModel
from tevit.inference.postprocess import Detections, to_tracks
from tevit.inference.predictor import Predictor, load
from tevit.model.tevit import TeViT
from tevit.video.reader import Geometry, geometry

TRACKS = 10
PARTS = ("backbone", "FPN", "stages", "mask head", "paste and RLE")
PEAKS = {"matmul": machine.matmul, "convolution": machine.convolution}


class Clip(NamedTuple):
    """pixels: float32 (1, T, 3, Hp, Wp), noise by seed in the frame, zero in the padding; on the device."""

    pixels: torch.Tensor
    sizes: Geometry

    @property
    def length(self) -> int:
        """T."""
        return self.pixels.shape[1]


def seeded(name: str, device: str, dtype: str, compile: bool = False) -> Predictor:
    """A predictor of a published architecture with weights by seed: nothing to download, and as fast as the real one.

    Raises: ValueError as `load`.
    """
    config = published(name)
    with torch.random.fork_rng([]), tempfile.TemporaryDirectory(prefix="tevit-benchmark-") as folder:
        torch.manual_seed(0)
        file = Path(folder) / "seeded.safetensors"
        save_model(file, TeViT(config, all_masks=False))
        return load(file, device=device, dtype=dtype, model=name, compile=compile)


def made_up_clip(frames: int, size_hw: tuple[int, int], device: torch.device) -> Clip:
    """Raises: ValueError for a size that the network cannot take."""
    sizes = geometry(size_hw, size_hw)
    pixels = torch.zeros(1, frames, 3, *sizes.padded_hw)
    noise = torch.randn(frames, 3, *size_hw, generator=torch.Generator().manual_seed(0))
    pixels[0, :, :, : size_hw[0], : size_hw[1]] = noise
    return Clip(pixels.to(device), sizes)


def measure(predictor: Predictor, clip: Clip, rounds: int) -> Figures:
    """All figures of one model on one clip, over `rounds` turns; of a compiled one, the parts as they run plain."""
    device, plain = predictor.device, predictor.model
    if isinstance(plain, CompiledModel):
        plain = plain.plain
    in_parts = Predictor(plain, device, predictor.dtype)
    _track(predictor, clip)
    memory = machine.peak_memory(device)
    passes: list[dict[str, Took]] = []
    with predictor.precision(), torch.inference_mode():
        peaks = {name: make(device) for name, make in PEAKS.items()}
        with ExitStack() as running:
            works: dict[str, Callable[[], Took]] = {"model": lambda: took(lambda: _track(predictor, clip), device)}
            works |= {name: running.enter_context(found) for name, found in _yardsticks(predictor, clip).items()}
            works["parts"] = lambda: took(lambda: passes.append(parts(in_parts, clip)), device)
            works |= {name: partial(took, work, device) for name, (work, _) in peaks.items()}
            found = in_turns(works, rounds)
    best = {name: peaks[name][1] / min(item.seconds for item in found[name]) for name in peaks}
    figures = _whole(found, clip.length) | _of_parts(predictor.config, clip, passes[1:], max(best.values()))
    figures |= {f"{name} peak, GFLOP/s": spread([value]) for name, value in best.items()}
    figures |= shares(lambda: _track(predictor, clip), device)
    return figures | {"peak memory, MB": spread([memory])}


def _track(predictor: Predictor, clip: Clip) -> object:
    return _paste(predictor, clip, predictor.detections(clip.pixels, clip.sizes, TRACKS))


def _paste(predictor: Predictor, clip: Clip, found: Detections) -> object:
    return to_tracks(found, clip.sizes.original_hw, dict(predictor.config.categories))


def _yardsticks(predictor: Predictor, clip: Clip) -> dict[str, Yardstick]:
    """By name: of the same type, and beside mixed precision the one in float32, which most figures are told by."""
    own = str(predictor.dtype).removeprefix("torch.")
    dtypes = {"yardstick": own} | ({} if own == "float32" else {"float32 yardstick": "float32"})
    return {
        name: Yardstick(clip.length, clip.sizes.padded_hw, predictor.device, dtype) for name, dtype in dtypes.items()
    }


def _whole(found: dict[str, list[Took]], frames: int) -> Figures:
    model = found["model"]
    figures = {
        "model, ms a frame": spread(1e3 * item.seconds / frames for item in model),
        "model, ms of a core a frame": spread(1e3 * item.processor / frames for item in model),
    }
    for name in (name for name in found if name.endswith("yardstick")):
        turns = list(zip(model, found[name], strict=True))
        figures[f"{name}, ms a frame"] = spread(1e3 * item.seconds / frames for item in found[name])
        figures[f"model / {name}"] = spread(a.seconds / b.seconds for a, b in turns)
        figures[f"model / {name}, time of a core"] = spread(a.processor / b.processor for a, b in turns)
    return figures


def _of_parts(config: ModelConfig, clip: Clip, passes: list[dict[str, Took]], peak: float) -> Figures:
    gflop, figures = arithmetic(config, clip), {}
    for name in PARTS:
        seconds = [found[name].seconds for found in passes]
        figures[f"{name}, ms a frame"] = spread(1e3 * value / clip.length for value in seconds)
        processor = (1e3 * found[name].processor / clip.length for found in passes)
        figures[f"{name}, ms of a core a frame"] = spread(processor)
        if name in gflop:
            figures[f"{name}, GFLOP a frame"] = spread([gflop[name] / clip.length])
            figures[f"{name}, GFLOP/s"] = spread(gflop[name] / value for value in seconds)
            figures[f"{name}, % of the machine's peak"] = spread(100 * gflop[name] / value / peak for value in seconds)
    return figures


# --- parts


def parts(predictor: Predictor, clip: Clip) -> dict[str, Took]:
    """The time of each part of one pass; the device is waited for after each.

    FPN: with the table that RoIAlign reads. Stages: with their RoIAlign. Mask head: with the choice of the tracks.
    """
    model = predictor.model
    assert isinstance(model, TeViT)
    marks = [_now(predictor)]

    def mark(*_: object) -> None:
        marks.append(_now(predictor))

    hooks = [model.backbone.register_forward_hook(mark), model.stages[0].register_forward_pre_hook(mark)]
    hooks.append(model.stages[-1].register_forward_hook(mark))
    try:
        found = predictor.detections(clip.pixels, clip.sizes, TRACKS)
    finally:
        for hook in hooks:
            hook.remove()
    mark()
    _paste(predictor, clip, found)
    mark()
    spans = zip(PARTS, pairwise(marks), strict=True)
    return {name: Took(*(b - a for a, b in zip(before, after, strict=True))) for name, (before, after) in spans}


def _now(predictor: Predictor) -> Took:
    wait_for(predictor.device)
    return Took(time.perf_counter(), time.process_time())


def arithmetic(config: ModelConfig, clip: Clip) -> dict[str, float]:
    """GFLOP of each part for a clip, by the shapes alone: two for a multiplication and an addition.

    Matrix products and convolutions are counted; what attention does between queries and keys is not.
    """
    with torch.device("meta"), torch.no_grad():
        model = TeViT(config, all_masks=False).requires_grad_(False).eval()
        rows = torch.empty(TRACKS * clip.length, dtype=torch.long)
        with FlopCounterMode(display=False) as counter:
            output = model(torch.empty(clip.pixels.shape), torch.empty(1, 2))[-1]
            before = counter.get_total_flops()
            model.mask_logits(output, rows, rows)
    counts = {name: sum(found.values()) / 1e9 for name, found in counter.get_flop_counts().items()}
    backbone, fpn = counts["TeViT.backbone"], counts["TeViT.fpn"]
    whole, all_masks = before / 1e9, counter.get_total_flops() / 1e9
    return {"backbone": backbone, "FPN": fpn, "stages": whole - backbone - fpn, "mask head": all_masks - whole}
