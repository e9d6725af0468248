"""Any video to tracks: load a model, run it on the video's windows, associate their tracks, report progress."""

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, Unpack, cast

import numpy as np
import torch
from torch import Tensor, nn

from tevit.checkpoint import load_model
from tevit.configs import DEFAULT_OPTIONS, PredictOptions, PredictOverrides, published
from tevit.download import weights
from tevit.inference.association import ONE_PASS, AssociationOptions, ResultAccumulator, TrackAssociator
from tevit.inference.postprocess import ClipModel, Detections, detect, to_tracks
from tevit.model.cpu import can_pack, keep_freed_memory, pack
from tevit.model.tevit import StageOutput
from tevit.progress import Progress, ResumeState
from tevit.results import VideoResult, WindowResult
from tevit.video.reader import Frame, Source, Video, open_source
from tevit.video.transforms import Geometry, geometry, mark_cuts, preprocess

# --- frames on their way to a GPU

BUFFERS = 2


class Upload:
    """Copies frames of one shape to a CUDA device, for several threads.

    Two buffers in pinned memory, which the device reads by itself, alternate: one is filled while the other is copied.
    """

    def __init__(self, device: torch.device, shape: tuple[int, ...]):
        self._device = device
        self._stream = torch.cuda.Stream(device)
        # An event that was not recorded yet has happened.
        self._buffers = [(self._pinned(shape), torch.cuda.Event()) for _ in range(BUFFERS)]
        self._count = 0
        self._lock = threading.Lock()

    def __call__(self, pixels: np.ndarray) -> Tensor:
        """The frame on the device, where it is complete for what `stack` returns. pixels: float32, of the shape.

        Raises: MemoryError where the device has no memory left.
        """
        with self._lock:
            buffer, copied = self._buffers[self._count % BUFFERS]
            self._count += 1
            copied.synchronize()
            buffer.numpy()[...] = pixels
            try:
                with torch.cuda.stream(self._stream):
                    frame = self._send(buffer)
                    copied.record()
            except torch.OutOfMemoryError as error:
                raise MemoryError("out of memory with the next frames: lower the window or the size") from error
        return frame

    def stack(self, frames: Sequence[Tensor]) -> Tensor:
        """The frames as one tensor (T, …), after their copies; nothing here waits for the device."""
        current = torch.cuda.current_stream(self._device)
        current.wait_stream(self._stream)
        for frame in frames:
            frame.record_stream(current)  # its memory is the other stream's
        return torch.stack(list(frames))

    def _pinned(self, shape: tuple[int, ...]) -> Tensor:
        return torch.empty(shape, pin_memory=True)

    def _send(self, buffer: Tensor) -> Tensor:
        return buffer.to(self._device, non_blocking=True)


# --- the model compiled

MAX_SIZES = 8  # of (T, H, W) with programs of their own; as many as PyTorch keeps of one function

_Output = TypeVar("_Output")


class CompiledModel:
    """A ClipModel with the outputs of `model`, up to rounding: `torch.compile`, on CUDA as graphs.

    Each clip size gets a program of its own, whose compiling takes up to minutes: for many clips of one size. Where the
    compiler fails, and for sizes beyond the first MAX_SIZES, the model runs uncompiled.
    plain: the uncompiled model. failure: the compiler's error as a sentence; empty without one.
    """

    def __init__(self, model: ClipModel, device: torch.device, backend: str | Callable[..., Any] = "inductor"):
        """backend: of `torch.compile`."""
        self.config = model.config
        self.failure = ""
        self.plain = model
        self._graphs = device.type == "cuda" and backend == "inductor"
        options: dict[str, Any] = {"backend": backend, "dynamic": False}
        options |= {"mode": "reduce-overhead"} if self._graphs else {}
        self._last_stage = torch.compile(lambda frames, sizes_hw: model(frames, sizes_hw)[-1], **options)
        self._masks = torch.compile(model.mask_logits, **options)
        self._sizes: set[tuple[int, ...]] = set()
        self._compiled = False  # whether the current clip runs compiled

    def must_compile(self, frames: int, size_hw: tuple[int, int]) -> bool:
        """Whether the next clip of this size is compiled first."""
        return not self.failure and (frames, *size_hw) not in self._sizes and len(self._sizes) < MAX_SIZES

    def __call__(self, frames: Tensor, sizes_hw: Tensor, chunk: int | None = None) -> list[StageOutput]:
        """As `TeViT.forward`, but only the last stage's output and, where it runs compiled, without chunks."""
        size = frames.shape[1], *frames.shape[3:]
        if self.must_compile(frames.shape[1], (frames.shape[3], frames.shape[4])):
            self._sizes.add(size)
        self._compiled = not self.failure and size in self._sizes
        if self._graphs:
            torch.compiler.cudagraph_mark_step_begin()  # the previous clip's outputs may be overwritten
        output = self._run(lambda: self._last_stage(frames, sizes_hw), lambda: self.plain(frames, sizes_hw, chunk)[-1])
        return [output]

    def mask_logits(self, output: StageOutput, rows: Tensor, labels: Tensor, stage: int = -1) -> Tensor:
        """As `TeViT.mask_logits`, of the last clip."""
        arguments = output, rows, labels, stage
        return self._run(lambda: self._masks(*arguments), lambda: self.plain.mask_logits(*arguments))

    def _run(self, compiled: Callable[[], _Output], plain: Callable[[], _Output]) -> _Output:
        if self._compiled:
            from torch._dynamo.exc import TorchDynamoException  # takes seconds to import

            try:
                return compiled()
            except TorchDynamoException as error:
                self._compiled = False
                cause = getattr(error, "inner_exception", error)
                reason = f"{type(cause).__name__}: {next(iter(str(cause).splitlines()), '')}"
                self.failure = f"compiling failed ({reason}): the model runs as it is, not compiled"
        return plain()


DEFAULT_ASSOCIATION = AssociationOptions()
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
    compile: `torch.compile` builds a program for each clip size, which takes minutes the first time.
    Raises: ValueError, OSError: one sentence on what is wrong with the name, the file, the device or the network.
    """
    target = resolve_device(device)
    if dtype not in DTYPES:
        raise ValueError(f"dtype: expected one of {', '.join(DTYPES)}, got {dtype!r}")
    expected = published(model) if model else None
    if isinstance(name_or_file, str):
        path = Path(name_or_file)
        if path.suffix not in (".pth", ".pt", ".safetensors") and os.sep not in name_or_file and not path.is_file():
            expected = published(name_or_file)
            name_or_file = weights(name_or_file, progress)
    loaded = load_model(name_or_file, expected=expected)
    if target.type == "cpu" and can_pack(DTYPES[dtype]) and not compile:
        pack(loaded.eval(), WINDOW * loaded.config.queries, DTYPES[dtype])
    predictor = Predictor(loaded, target, DTYPES[dtype], compile=compile)
    predictor.weights_file = Path(name_or_file)
    return predictor


def resolve_device(name: str) -> torch.device:
    """The device of a name: auto (CUDA, then MPS, then CPU), cpu, cuda, cuda:1, mps. Raises: ValueError."""
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
        raise ValueError(f"device {name!r}: this machine has none that PyTorch can use")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device {name!r}: this machine has {torch.cuda.device_count()} CUDA devices, counted from 0")
    return device


class Predictor:
    """Runs a model on videos. It holds no state between calls, but calls share the device's memory: one at a time."""

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
        self.weights_file: Path | None = None  # that the model was loaded from
        self.chunk = 6 if self.device.type == "cpu" else 32
        # Threads decode the next frames and encode the masks of the last window while the device computes. On a CPU
        # they gain nothing: the model keeps all cores busy.
        self.overlap = self.device.type != "cpu"
        self.make_upload: Callable[[tuple[int, ...]], Upload] | None = None
        self._mask_stream: torch.cuda.Stream | None = None  # where masks are pasted during the next window
        if self.device.type == "cuda":
            self.make_upload = partial(Upload, self.device)
            self._mask_stream = torch.cuda.Stream(self.device)
        if self.device.type == "cpu":
            keep_freed_memory()
        if isinstance(model, nn.Module):
            model.to(self.device).eval()
        if compile:
            self.model = CompiledModel(model, self.device)

    @classmethod
    def from_pretrained(
        cls,
        folder_or_repository: str | os.PathLike,
        *,
        revision: str | None = None,
        device: str = "auto",
        dtype: str = "float32",
    ) -> "Predictor":
        """A predictor from a local folder or a repository "user/name" of the Hugging Face Hub.

        revision: branch, tag or commit of a repository. device, dtype: see `load`.
        Raises: ValueError, OSError: one sentence on what is missing or wrong.
        """
        from tevit.inference.huggingface import fetch_weights

        return load(fetch_weights(folder_or_repository, revision), device=device, dtype=dtype)

    def save_pretrained(self, folder: str | os.PathLike) -> None:
        """Write weights, configuration and model card into a folder for `from_pretrained`."""
        from tevit.inference.huggingface import save_pretrained

        save_pretrained(self, folder)

    def push_to_hub(self, repository: str, *, private: bool = False, token: str | None = None) -> str:
        """Upload what `save_pretrained` writes to a repository "user/name"; returns its address."""
        from tevit.inference.huggingface import push_to_hub

        return push_to_hub(self, repository, private=private, token=token)

    numbered = True  # category ids are the model's own

    @property
    def categories(self) -> dict[int, str]:
        """Category id -> name."""
        return dict(self.config.categories)

    def __repr__(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        return f"Predictor({self.config.name}, {self.config.num_classes} classes, {dtype} on {self.device})"

    def _repr_html_(self) -> str:
        from tevit.display import predictor_html

        return predictor_html(self)

    @property
    def warnings(self) -> tuple[str, ...]:
        """One sentence for each requested feature that is not in use."""
        failure = self.model.failure if isinstance(self.model, CompiledModel) else ""
        return (failure,) if failure else ()

    def __call__(
        self,
        source: Source,
        options: PredictOptions = DEFAULT_OPTIONS,
        *,
        progress: Progress | None = None,
        **overrides: Unpack[PredictOverrides],
    ) -> VideoResult:
        """All tracks of a video; arguments and errors as for `stream`."""
        video = open_source(source)
        result = deque(self.stream(video, options, progress=progress, **overrides), maxlen=1)[0]
        return replace(result, source=None if video.is_read_once else video)

    @torch.inference_mode()
    def stream(
        self,
        source: Source,
        options: PredictOptions = DEFAULT_OPTIONS,
        *,
        progress: Progress | None = None,
        resume: ResumeState | None = None,
        **overrides: Unpack[PredictOverrides],
    ) -> Iterator[VideoResult]:
        """The tracks of the frames predicted so far, after every window; the last result is the whole video.

        source: a video file, a folder of images, an opened `Video`, an array uint8 RGB (T, H, W, 3), or arrays
        (H, W, 3) or PIL images one by one; an iterator is read as the frames are needed. overrides: fields of
        `PredictOptions` by keyword. progress: called as work advances; what it raises is raised here, and earlier
        results stay valid.
        resume: updated after every window; passed again after a cancel, with the same video and options, prediction
        continues from there.
        Raises: ValueError, OSError for wrong input; MemoryError that says what to lower.
        """
        options = options.updated(**overrides)
        video = open_source(source)
        saved = resume.state if resume else None
        accumulator, associator_state = saved or (ResultAccumulator(video, self.config), None)
        for window, associator in self.window_results(video, options, resume=associator_state, progress=progress):
            result = accumulator.add(window, associator, options.score_threshold)
            if resume is not None:
                resume.state, resume.length = (accumulator, associator.dump()), result.length
            yield result

    @torch.inference_mode()
    def window_results(
        self,
        video: Video,
        options: PredictOptions = DEFAULT_OPTIONS,
        *,
        association: AssociationOptions = DEFAULT_ASSOCIATION,
        resume: bytes | None = None,
        progress: Progress | None = None,
    ) -> Iterator[tuple[WindowResult, TrackAssociator]]:
        """The result of each window, at constant memory; errors as for `stream`.

        association: how windows are joined; a window shorter than its overlap overlaps by all frames but one.
        resume: `TrackAssociator.dump` after the last window of an interrupted pass.
        Yields: the window, and the associator with the best tracks so far; with threads one window late.
        """
        sizes = geometry(video.size_hw, options.size or self.config.scale)
        overlap = min(association.overlap, (options.window or WINDOW) - 1)
        associator = TrackAssociator(replace(association, overlap=overlap), options.max_tracks)
        if resume is not None:
            associator.load(resume)
        detections = self._detect_windows(video, sizes, associator, options, progress)
        with ThreadPoolExecutor(1, "masks") as thread, closing(detections) as clips:
            pending: Callable[[], WindowResult] | None = None  # the previous window, whose masks a thread encodes
            try:
                for clip in clips:
                    if pending:
                        previous, pending = pending, None
                        yield previous(), associator
                    ids = associator.add(clip.indices, clip.detections, tuple(dict(self.config.categories)))
                    encode = partial(self._window_result, clip, ids, sizes)
                    if self.overlap:
                        pending = thread.submit(encode).result
                    else:
                        yield encode(), associator
            except Exception:  # a Cancelled, for example: the previous window is complete
                if pending:
                    yield pending(), associator
                raise
            if pending:
                yield pending(), associator

    def _detect_windows(
        self,
        video: Video,
        sizes: Geometry,
        associator: TrackAssociator,
        options: PredictOptions,
        progress: Progress | None,
    ) -> Generator["_ClipDetections"]:
        """The model's output for each window; the associator must have added it before the next one is requested."""
        keyframes: dict[int, Pixels] = {}
        upload = self.make_upload((3, *sizes.padded_hw)) if self.make_upload else None
        frames = network_frames(video, associator, options, progress)
        with closing(network_inputs(frames, sizes, upload, threads=self.overlap)) as inputs:
            for window in split_windows(inputs, options.window, associator, keyframes):
                done, first = associator.length, window[0].index
                older = [InputFrame(index, 0.0, keyframes[index]) for index in sorted(keyframes) if index < first]
                clip = [*older, *window]
                wait = isinstance(self.model, CompiledModel) and self.model.must_compile(len(clip), sizes.padded_hw)
                stage = "compiling" if wait else "segmenting"
                with _layer_progress(self.model, progress, stage, done, window[-1].index + 1, video.length):
                    detections = self._detect([frame.pixels for frame in clip], upload, sizes, options.max_tracks)
                times = [frame.time for frame in window[done - first :]]
                yield _ClipDetections([frame.index for frame in clip], times, detections, first == 0)
                pixels = keyframes | {frame.index: frame.pixels for frame in window}
                keyframes.clear()
                keyframes.update({index: pixels[index] for index in associator.keyframes})

    def _window_result(self, clip: "_ClipDetections", ids: list[int], sizes: Geometry) -> WindowResult:
        """The tracks of a clip in its new frames, which are its last ones. ids: of its tracks."""
        length, new = len(clip.indices), len(clip.times)
        detections = clip.detections.frames(length - new)
        # The masks are complete: `detect` has waited for them.
        with torch.cuda.stream(self._mask_stream) if self._mask_stream else nullcontext():
            tracks = to_tracks(detections, sizes.original_hw, dict(self.config.categories), ids=ids)
        return WindowResult(clip.indices[-1] + 1 - new, clip.times, tracks, length, clip.whole)

    @torch.inference_mode()
    def detections(self, clip: Tensor, sizes: Geometry, max_tracks: int = 10) -> Detections:
        """The model's output for one clip. clip: float32 (1, T, 3, Hp, Wp), as from `preprocess`, on the device."""
        # Both small tensors are moved before the model starts: moving one later would wait for it.
        size = torch.tensor([sizes.resized_hw], device=self.device)
        scale = torch.from_numpy(sizes.scale_factor).to(self.device)
        with self.precision():
            return detect(self.model, self.model(clip, size, self.chunk)[-1], scale, max_tracks)

    def _detect(self, frames: "list[Pixels]", upload: Upload | None, sizes: Geometry, max_tracks: int) -> Detections:
        try:
            if upload:
                clip = upload.stack(cast(list[Tensor], frames))
            else:
                clip = torch.from_numpy(np.stack(cast(list[np.ndarray], frames))).to(self.device)
            return self.detections(clip[None], sizes, max_tracks)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            # On a CPU PyTorch raises a plain RuntimeError.
            known = isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)
            if not known:
                raise
            height, width = sizes.padded_hw
            raise MemoryError(
                f"out of memory with {len(frames)} frames of {width}x{height} at once: lower the window or the size"
            ) from error

    @contextmanager
    def precision(self) -> Iterator[None]:
        """Mixed precision, or true float32 without CUDA's TF32 products."""
        if self.dtype != torch.float32:
            with torch.autocast(self.device.type, self.dtype):
                yield
        elif self.device.type == "cuda":
            with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
                yield
        else:
            yield


class _ClipDetections(NamedTuple):
    """indices: of the clip's frames: known ones, then new ones. times: seconds, of the new ones. detections: in all
    its frames. whole: the window began with the video."""

    indices: list[int]
    times: list[float]
    detections: Detections
    whole: bool


@contextmanager
def _layer_progress(
    model: ClipModel, progress: Progress | None, stage: str, start: int, stop: int, total: int | None
) -> Iterator[None]:
    """Call `progress` after each of the model's layers, so that a pass over many frames advances and can be cancelled.

    start, stop: frames done before and after this window; each layer counts as an equal share of the difference.
    """
    if progress is None:
        yield
        return
    total = None if total is None else max(total, stop)
    layers = [] if not isinstance(model, nn.Module) else [item for item in model.modules() if not any(item.children())]
    finished: set[int] = set()

    def on_layer(layer: nn.Module, *_: object) -> None:
        finished.add(id(layer))
        progress(stage, start + (stop - start) * len(finished) // (len(layers) + 1), total)

    progress(stage, start, total)
    handles = [layer.register_forward_hook(on_layer) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
    progress(stage, stop, total)


# --- the frames of each window


WINDOW = 24  # frames in a window of a video that is longer than ONE_PASS
PREFETCH = 24  # frames that are decoded in advance
THREADS = 4  # that resize and normalise frames, beside the one that decodes
SKIPPING = "finding the place"  # progress stage: frames predicted before a stop are skipped

Pixels = np.ndarray | Tensor
"""float32 (3, Hp, Wp): an array, or a tensor on a CUDA device, see `Upload`."""


@dataclass(frozen=True, eq=False)
class InputFrame:
    """A frame as the network's input. index: from 0. time: seconds. cut: the first frame of a scene."""

    index: int
    time: float
    pixels: Pixels
    cut: bool = False


def network_frames(
    video: Video, associator: TrackAssociator, options: PredictOptions, progress: Progress | None
) -> Generator[tuple[Frame, bool]]:
    """All frames, and whether a scene begins there; of a resumed video the keyframes and those from one window before
    the first new frame on."""
    first, keyframes = associator.length - (options.window or WINDOW), set(associator.keyframes)
    cuts = options.cuts and options.window != 0
    for frame, cut in mark_cuts(video.frames()) if cuts else zip(video.frames(), repeat(False), strict=False):
        if frame.index >= first or frame.index in keyframes:
            yield frame, cut
        elif progress:
            progress(SKIPPING, frame.index + 1, first)


def network_inputs(
    frames: Generator[tuple[Frame, bool]], sizes: Geometry, upload: Upload | None, threads: bool
) -> Generator[InputFrame]:
    """The frames as the network's input, with `threads` computed in advance."""

    def finish(item: tuple[Frame, bool]) -> InputFrame:
        frame, cut = item
        pixels = preprocess(frame.rgb, sizes)
        return InputFrame(frame.index, frame.time, upload(pixels) if upload else pixels, cut)

    with closing(frames):
        yield from prefetch(frames, finish) if threads else map(finish, frames)


_Item = TypeVar("_Item")


def prefetch(items: Iterator[_Item], finish: Callable[[_Item], InputFrame]) -> Generator[InputFrame]:
    """`finish` of each item, in order, computed in advance: one thread draws the items, others finish them."""
    with ThreadPoolExecutor(THREADS, "frames") as threads, ThreadPoolExecutor(1, "decoder") as thread:

        def draw() -> Future[InputFrame] | None:
            item = next(items, None)
            return None if item is None else threads.submit(finish, item)

        pending = deque(thread.submit(draw) for _ in range(PREFETCH))
        try:
            while (frame := pending.popleft().result()) is not None:
                pending.append(thread.submit(draw))
                yield frame.result()
        finally:
            for future in pending:
                future.cancel()


def split_windows(
    inputs: Iterator[InputFrame], window: int | None, associator: TrackAssociator, keyframes: dict[int, Pixels]
) -> Iterator[list[InputFrame]]:
    """The frames of each window.

    A video that fits into one window is one. Otherwise no window contains a cut. The last window of a scene begins
    earlier, so that it is as long as the others, if the scene is. window: as in `PredictOptions`. keyframes: pixels
    by index; cleared at a cut; filled here where prediction is resumed.
    """
    size, clip, new = window or WINDOW, [], []
    if associator.length:
        # Resumed: the frames before the first new one. If the scene has fewer, the next frame is a cut.
        first, indices = associator.length - size, set(associator.keyframes)
        for frame in islice(inputs, len(indices | set(range(max(0, first), associator.length)))):
            if frame.index in indices:
                keyframes[frame.index] = frame.pixels
            if frame.index >= first:
                clip.append(frame)
    else:
        whole = ONE_PASS if window is None else window
        head = deque(islice(inputs, whole + 1) if whole else inputs)
        if not whole or len(head) <= whole:
            yield list(head)
            return
        inputs = chain((head.popleft() for _ in range(len(head))), inputs)  # frees each frame when it is used
    for frame in inputs:
        if frame.cut:
            if new:
                yield (clip + new)[-size:]
            associator.cut()
            keyframes.clear()
            clip, new = [], []
        new.append(frame)
        if len(new) == size - (associator.overlap if clip else 0):
            clip, new = (clip + new)[-size:], []
            yield clip
    if new:
        yield (clip + new)[-size:]
