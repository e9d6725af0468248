"""Any video to tracks: load a model, run it on the video's windows, join them, report and stop on request."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from tevit.checkpoint import load_model
from tevit.configs import published
from tevit.download import weights
from tevit.inference.accumulate import Collected, Part
from tevit.inference.association import Linker, Linking
from tevit.inference.compiled import CompiledModel
from tevit.inference.postprocess import ClipModel, Detections, detect, to_tracks
from tevit.inference.windows import WINDOW, Input, ahead, network_inputs, windows
from tevit.model.cpu.malloc import keep_freed_memory
from tevit.model.cpu.packed import can_pack, pack
from tevit.progress import Progress, Unfinished
from tevit.results import VideoResult
from tevit.video.reader import Geometry, Video, geometry, open_video

DEFAULT = Linking()
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load(
    name_or_file: str | os.PathLike,
    *,
    device: str = "auto",
    dtype: str = "float32",
    model: str | None = None,
    compile: bool = False,
    progress: Progress | None = None,
) -> "Predictor":
    """A predictor from a published model's name (its weights are downloaded once) or from a checkpoint file.

    device: "auto" (CUDA, then MPS, then CPU), "cpu", "cuda", "cuda:1", "mps". dtype: "float32", or "bfloat16" or
    "float16" for mixed precision. model: for a file, the published model whose architecture it must have.
    compile: let `torch.compile` make a program for each size of a clip, which takes minutes the first time.
    Raises: ValueError, OSError: one sentence on what is wrong with the name, the file, the device or the network.
    """
    chosen = _device(device)
    if dtype not in DTYPES:
        raise ValueError(f"dtype: expected one of {', '.join(DTYPES)}, got {dtype!r}")
    expected = published(model) if model else None
    if isinstance(name_or_file, str) and not _looks_like_file(name_or_file):
        expected = published(name_or_file)
        name_or_file = weights(name_or_file, progress)
    loaded = load_model(name_or_file, expected=expected)
    if chosen.type == "cpu" and can_pack(DTYPES[dtype]) and not compile:
        pack(loaded.eval(), WINDOW * loaded.config.queries, DTYPES[dtype])
    return Predictor(loaded, chosen, DTYPES[dtype], compile=compile)


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

    def __init__(
        self,
        model: ClipModel,
        device: torch.device | None = None,
        dtype: torch.dtype = torch.float32,
        compile: bool = False,
    ):
        self.device = device or torch.device("cpu")
        self.dtype = dtype
        self.config = model.config
        self.model = model
        self.chunk = 6 if self.device.type == "cpu" else 32
        # Threads decode the frames to come and make the masks of those before while the device is at work. On a CPU
        # they gain nothing: the model keeps all cores busy.
        self.overlap = self.device.type != "cpu"
        if self.device.type == "cpu":
            keep_freed_memory()
        if isinstance(model, nn.Module):
            model.to(self.device).eval()
        if compile:
            self.model = CompiledModel(model, self.device)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What does not run as it was asked for, a sentence each."""
        failed = self.model.failed if isinstance(self.model, CompiledModel) else ""
        return (failed,) if failed else ()

    def __call__(
        self,
        source: str | os.PathLike | Video,
        *,
        window: int | None = None,
        max_tracks: int = 10,
        score_threshold: float = 0.0,
        size: tuple[int, int] | None = None,
        cuts: bool = True,
        progress: Progress | None = None,
    ) -> VideoResult:
        """All tracks of a video; arguments and errors as for `stream`."""
        options = {"window": window, "max_tracks": max_tracks, "size": size, "cuts": cuts, "progress": progress}
        return deque(self.stream(source, score_threshold=score_threshold, **options), maxlen=1)[0]

    @torch.inference_mode()
    def stream(
        self,
        source: str | os.PathLike | Video,
        *,
        window: int | None = None,
        max_tracks: int = 10,
        score_threshold: float = 0.0,
        size: tuple[int, int] | None = None,
        cuts: bool = True,
        progress: Progress | None = None,
        unfinished: Unfinished | None = None,
    ) -> Iterator[VideoResult]:
        """The tracks of the frames done so far, after every window; the last one is the whole video.

        source: a video file, a folder of images, or an opened `Video`. window: 0 for one pass over the whole video,
        as the original does it; None for one pass up to 48 frames and windows of 24 that overlap by 4 beyond; or a
        number of frames. Windows see keyframes of the past besides. max_tracks: how many are computed a window and
        kept for every 48 frames, 100 at most, so that a long video keeps what is seen for a while. score_threshold:
        tracks below are left out. size: (short, long) bounds of the resized frame, by default the model's. cuts: no
        window, and so no track, reaches over a hard cut; False looks for none. progress: called as work goes on; what
        it raises comes out of here, and what was yielded stays valid. unfinished: given again after a cancel, with the
        same video and options, it goes on there.
        Raises: ValueError, OSError for wrong input; MemoryError that says what to lower.
        """
        check_threshold(score_threshold)
        video = source if isinstance(source, Video) else open_video(source)
        kept = unfinished.held if unfinished else None
        collected, resume = kept or (Collected(video, self.config), None)
        options = {"window": window, "max_tracks": max_tracks, "size": size, "cuts": cuts, "progress": progress}
        for part, linker in self.parts(video, **options, resume=resume):
            result = collected.add(part, linker, score_threshold)
            if unfinished is not None:
                unfinished.held, unfinished.length = (collected, linker.dump()), result.length
            yield result

    @torch.inference_mode()
    def parts(
        self,
        video: Video,
        *,
        window: int | None = None,
        max_tracks: int = 10,
        size: tuple[int, int] | None = None,
        cuts: bool = True,
        linking: Linking = DEFAULT,
        resume: bytes | None = None,
        progress: Progress | None = None,
    ) -> Iterator[tuple[Part, Linker]]:
        """What each window adds, at a memory that does not grow with the video; arguments and errors as for `stream`.

        linking: how windows are joined; a window shorter than its overlap overlaps by all frames but one.
        resume: what the linker of an interrupted pass had dumped after its last part; it goes on behind that.
        Yields: the part, and the linker, which knows the best tracks so far; where threads overlap, one window late.
        """
        _check(window, max_tracks)
        sizes = geometry(video.size_hw, size or self.config.scale)
        linking = replace(linking, overlap=min(linking.overlap, (window or WINDOW) - 1))
        linker = Linker(linking, max_tracks)
        if resume is not None:
            linker.load(resume)
        frames = network_inputs(video, sizes, linker, window or WINDOW, cuts and window != 0, progress)
        found = self._found(frames, video, window, sizes, linker, linking.overlap, max_tracks, progress)
        with ThreadPoolExecutor(1, "masks") as thread, closing(found) as clips:
            waiting: Callable[[], Part] | None = None  # of the window before, whose masks are made meanwhile
            try:
                for clip in clips:
                    if waiting:
                        part, waiting = waiting, None
                        yield part(), linker
                    ids = linker.add(clip.numbers, clip.found, tuple(dict(self.config.categories)))
                    make = partial(self._part, clip, ids, sizes)
                    if self.overlap:
                        waiting = thread.submit(make).result
                    else:
                        yield make(), linker
            except Exception:  # a Cancel, say: what is done is not lost
                if waiting:
                    yield waiting(), linker
                raise
            if waiting:
                yield waiting(), linker

    def _found(
        self,
        frames: Generator[Input],
        video: Video,
        window: int | None,
        sizes: Geometry,
        linker: Linker,
        overlap: int,
        max_tracks: int,
        progress: Progress | None,
    ) -> Generator["_Clip"]:
        """What the model says of each window; before it is asked for the next one, the linker is to know it."""
        memory: dict[int, np.ndarray] = {}
        with closing(ahead(frames) if self.overlap else frames) as coming:
            for clip in windows(coming, window, linker, overlap, memory):
                done, own = linker.length, clip[0].number
                older = [Input(number, 0.0, memory[number]) for number in sorted(memory) if number < own]
                numbers = [frame.number for frame in (*older, *clip)]
                stage = self._stage(len(numbers), sizes)
                with _reporting(self.model, progress, stage, done, clip[-1].number + 1, video.length):
                    found = self._detect([frame.pixels for frame in (*older, *clip)], sizes, max_tracks)
                yield _Clip(numbers, [frame.time for frame in clip[done - own :]], found, own == 0)
                pixels = memory | {frame.number: frame.pixels for frame in clip}
                memory.clear()
                memory.update({number: pixels[number] for number in linker.keyframes})

    def _stage(self, frames: int, sizes: Geometry) -> str:
        waits = isinstance(self.model, CompiledModel) and self.model.waits(frames, sizes.padded_hw)
        return "compiling" if waits else "segmenting"

    def _part(self, clip: "_Clip", ids: list[int], sizes: Geometry) -> Part:
        """The tracks of a clip in its new frames, the last ones."""
        seen, new = len(clip.numbers), len(clip.times)
        tracks = to_tracks(clip.found.frames(seen - new), sizes.original_hw, dict(self.config.categories), ids=ids)
        return Part(clip.numbers[-1] + 1 - new, clip.times, tracks, seen, clip.whole)

    @torch.inference_mode()
    def detections(self, clip: Tensor, sizes: Geometry, max_tracks: int = 10) -> Detections:
        """What the model says of one clip. clip: float32 (1, T, 3, Hp, Wp), as `preprocess` has it, on the device."""
        # Both small tensors are there before the model begins: to bring one later would wait for it.
        size = torch.tensor([sizes.resized_hw], device=self.device)
        scale = torch.from_numpy(sizes.scale_factor).to(self.device)
        with self.precision():
            return detect(self.model, self.model(clip, size, self.chunk)[-1], scale, max_tracks)

    def _detect(self, frames: list[np.ndarray], sizes: Geometry, max_tracks: int) -> Detections:
        try:
            return self.detections(torch.from_numpy(np.stack(frames))[None].to(self.device), sizes, max_tracks)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not _out_of_memory(error):
                raise
            height, width = sizes.padded_hw
            raise MemoryError(
                f"out of memory with {len(frames)} frames of {width}x{height} at once: lower the window or the size"
            ) from error

    @contextmanager
    def precision(self) -> Iterator[None]:
        """Mixed precision where asked for; else true float32, without the shortened products that CUDA takes."""
        if self.dtype != torch.float32:
            with torch.autocast(self.device.type, self.dtype):
                yield
        elif self.device.type == "cuda":
            with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
                yield
        else:
            yield


class _Clip(NamedTuple):
    """numbers: of its frames: known ones, then new ones. times: seconds, of the new ones. found: in all its frames.
    whole: its window began with the video."""

    numbers: list[int]
    times: list[float]
    found: Detections
    whole: bool


def check_threshold(score_threshold: float) -> None:
    """Raises: ValueError for what is no probability."""
    if not 0 <= score_threshold <= 1:
        raise ValueError(f"score_threshold: expected a probability from 0 to 1, got {score_threshold}")


def _check(window: int | None, max_tracks: int) -> None:
    if window is not None and (window < 0 or window == 1):
        raise ValueError(f"window: expected 0 (the whole video) or at least 2 frames, got {window}")
    if max_tracks < 1:
        raise ValueError(f"max_tracks: expected at least 1, got {max_tracks}")


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


@contextmanager
def _reporting(
    model: ClipModel, progress: Progress | None, stage: str, start: int, stop: int, total: int | None
) -> Iterator[None]:
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
        progress(stage, start + (stop - start) * len(seen) // (len(layers) + 1), total)

    progress(stage, start, total)
    handles = [layer.register_forward_hook(passed) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
    progress(stage, stop, total)
