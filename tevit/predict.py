"""Any video to tracks: load a model, cut the video into windows, run them, join them, report and stop on request."""

import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
from torch import nn

from tevit.checkpoint import load_model
from tevit.configs import ModelConfig, published
from tevit.download import weights
from tevit.linking import Linker
from tevit.postprocess import ClipModel, detect, to_tracks
from tevit.progress import Progress
from tevit.tracks import Track, VideoResult
from tevit.video import Geometry, Video, geometry, open_video, preprocess

ONE_PASS = 48  # a video of at most so many frames is one window
WINDOW, OVERLAP = 24, 4
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load(
    name_or_file: str | os.PathLike,
    *,
    device: str = "auto",
    dtype: str = "float32",
    model: str | None = None,
    progress: Progress | None = None,
) -> "Predictor":
    """A predictor from a published model's name (its weights are downloaded once) or from a checkpoint file.

    device: "auto" (CUDA, then MPS, then CPU), "cpu", "cuda", "cuda:1", "mps". dtype: "float32", or "bfloat16" or
    "float16" for mixed precision. model: for a file, the published model whose architecture it must have.
    Raises: ValueError, OSError: one sentence on what is wrong with the name, the file, the device or the network.
    """
    chosen = _device(device)
    if dtype not in DTYPES:
        raise ValueError(f"dtype: expected one of {', '.join(DTYPES)}, got {dtype!r}")
    expected = published(model) if model else None
    if isinstance(name_or_file, str) and not _looks_like_file(name_or_file):
        expected = published(name_or_file)
        name_or_file = weights(name_or_file, progress)
    return Predictor(load_model(name_or_file, expected=expected), chosen, DTYPES[dtype])


def _looks_like_file(name: str) -> bool:
    return Path(name).suffix in (".pth", ".pt", ".safetensors") or os.sep in name or Path(name).is_file()


def _device(name: str) -> torch.device:
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        return accelerator if accelerator is not None and accelerator.type in ("cuda", "mps") else torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"device: expected auto, cpu, cuda or mps, got {name!r}") from None
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device.type not in available:
        raise ValueError(f"device: expected auto, cpu, cuda or mps, got {name!r}")
    if not available[device.type]:
        raise ValueError(f"device {name!r} was asked for, but this machine has none that PyTorch can use")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device {name!r}: this machine has {torch.cuda.device_count()} CUDA devices, counted from 0")
    return device


class Predictor:
    """Runs a model on videos. One at a time: it holds no state between calls, but the device's memory is one."""

    def __init__(self, model: ClipModel, device: torch.device | None = None, dtype: torch.dtype = torch.float32):
        self.device = device or torch.device("cpu")
        self.dtype = dtype
        self.config = model.config
        self.model = model
        self.chunk = 4 if self.device.type == "cpu" else 32
        if isinstance(model, nn.Module):
            model.to(self.device).eval()

    def __call__(
        self,
        source: str | os.PathLike | Video,
        *,
        window: int | None = None,
        max_tracks: int = 10,
        score_threshold: float = 0.0,
        size: tuple[int, int] | None = None,
        progress: Progress | None = None,
    ) -> VideoResult:
        """All tracks of a video; arguments and errors as for `stream`."""
        parts = self.stream(
            source, window=window, max_tracks=max_tracks, score_threshold=score_threshold, size=size, progress=progress
        )
        return deque(parts, maxlen=1)[0]

    @torch.inference_mode()
    def stream(
        self,
        source: str | os.PathLike | Video,
        *,
        window: int | None = None,
        max_tracks: int = 10,
        score_threshold: float = 0.0,
        size: tuple[int, int] | None = None,
        progress: Progress | None = None,
    ) -> Iterator[VideoResult]:
        """The tracks of the frames done so far, after every window; the last one is the whole video.

        source: a video file, a folder of images, or an opened `Video`. window: 0 for one pass over the whole video,
        as the original does it; None for one pass up to 48 frames and windows of 24 that overlap by 4 beyond; or a
        number of frames. max_tracks: how many are computed a window and kept of the video. score_threshold: tracks
        below are left out. size: (short, long) bounds of the resized frame, by default the model's. progress: called
        as work goes on; what it raises comes out of here, and what was yielded stays valid.
        Raises: ValueError, OSError for wrong input; MemoryError that says what to lower.
        """
        _check(window, max_tracks, score_threshold)
        video = source if isinstance(source, Video) else open_video(source)
        sizes = geometry(video.size_hw, size or self.config.scale)
        linker, times = Linker(), []
        for start, clip in _windows(video, sizes, window):
            with _reporting(self.model, progress, linker.length, start + len(clip), video.length):
                tracks = self._tracks(clip, sizes, max_tracks)
            times += [time for time, _ in clip[linker.length - start :]]
            linker.add(start, len(clip), tracks)
            whole = tracks if start == 0 else linker.tracks(max_tracks)  # one window is the original's answer as it is
            kept = tuple(track for track in whole if track.score >= score_threshold)
            yield _result(video, self.config, times, kept)

    def _tracks(self, clip: "Clip", sizes: Geometry, max_tracks: int) -> tuple[Track, ...]:
        try:
            frames = torch.from_numpy(np.stack([frame for _, frame in clip]))[None].to(self.device)  # (1, T, 3, H, W)
            with self._precision():
                output = self.model(frames, torch.tensor([sizes.resized_hw], device=self.device), self.chunk)[-1]
                detections = detect(self.model, output, sizes.scale_factor, max_tracks)
            return to_tracks(detections, sizes.original_hw, dict(self.config.categories))
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not _out_of_memory(error):
                raise
            height, width = sizes.padded_hw
            raise MemoryError(
                f"out of memory with {len(clip)} frames of {width}x{height} at once: lower the window or the size"
            ) from error

    @contextmanager
    def _precision(self) -> Iterator[None]:
        """Mixed precision where asked for; else true float32, without the shortened products that CUDA takes."""
        if self.dtype != torch.float32:
            with torch.autocast(self.device.type, self.dtype):
                yield
        elif self.device.type == "cuda":
            with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
                yield
        else:
            yield


Clip = list[tuple[float, np.ndarray]]
"""Frames of a window: (time in seconds, network input float32 (3, Hp, Wp))."""


def _check(window: int | None, max_tracks: int, score_threshold: float) -> None:
    if window is not None and (window < 0 or window == 1):
        raise ValueError(f"window: expected 0 (the whole video) or at least 2 frames, got {window}")
    if max_tracks < 1:
        raise ValueError(f"max_tracks: expected at least 1, got {max_tracks}")
    if not 0 <= score_threshold <= 1:
        raise ValueError(f"score_threshold: expected a probability from 0 to 1, got {score_threshold}")


def _windows(video: Video, sizes: Geometry, window: int | None) -> Iterator[tuple[int, Clip]]:
    """(first frame, frames) of each window; at most one window of frames is held.

    The last window is as long as the others: it begins earlier instead.
    """
    stream = ((frame.time, preprocess(frame.rgb, sizes)) for frame in video.frames())
    whole = ONE_PASS if window is None else window
    head = list(islice(stream, whole + 1) if whole else stream)
    if not whole or len(head) <= whole:
        yield 0, head
        return
    size = window or WINDOW
    start, clip, ahead = 0, head[:size], deque(head[size:])
    head.clear()
    stream = chain((ahead.popleft() for _ in range(len(ahead))), stream)  # a frame is let go as soon as it is used
    while clip:
        yield start, clip
        new = list(islice(stream, size - min(OVERLAP, size - 1)))
        start += len(new)
        clip = (clip + new)[-size:] if new else []


def _result(video: Video, config: ModelConfig, times: list[float], tracks: tuple[Track, ...]) -> VideoResult:
    names = video.file_names[: len(times)]
    return VideoResult(1, video.name, video.size_hw, np.array(times), dict(config.categories), tracks, names)


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


@contextmanager
def _reporting(model: ClipModel, progress: Progress | None, start: int, stop: int, total: int | None) -> Iterator[None]:
    """Call `progress` between the model's layers, so that a pass over many frames moves on and can be stopped.

    start, stop: frames done before and after this window; in between, layers count as equal parts of the way.
    """
    if progress is None:
        yield
        return
    total = None if total is None else max(total, stop)
    layers = [] if not isinstance(model, nn.Module) else [item for item in model.modules() if not any(item.children())]
    seen: set[int] = set()

    def passed(layer: nn.Module, *_: object) -> None:
        seen.add(id(layer))
        progress("segmenting", start + (stop - start) * len(seen) // (len(layers) + 1), total)

    progress("segmenting", start, total)
    handles = [layer.register_forward_hook(passed) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
    progress("segmenting", stop, total)
