"""The models that can run: the options of the model lists, loaded models, a run's time and memory, parameters.

The GPU of a Space is lent for one call at a time (ZeroGPU, through the package `spaces`): each call runs in a forked
process that gets only its arguments and loads the models; what it yields is pickled: results of numpy arrays, never a
tensor. Without the package nothing changes.
"""

import gc
import importlib
import json
import re
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar

from cachetools import LRUCache

from tevit.configs import BUNDLED_MODELS, MODELS, PublishedModel, published
from tevit.download import bundled_path, checkpoint_path, home, partial_bytes, weights
from tevit.inference.model_source import FROM_HUB, ModelParameter, find_source, model_parameters, named_models
from tevit.io.files import atomic
from tevit.limits import free_memory as machine_memory
from tevit.progress import Progress, ResumeState
from tevit.results import VideoResult

from ...tasks import Runner, Task

LOADING = "loading the model"
RECOMMENDED = "tevit_msgshift"  # offered first for a real video
SUFFIXES = (".safetensors", ".pth")
MAX_MODELS = 3  # loaded at once
MEASURED_FRAMES = 12  # of a run, at least, whose speed is recorded
MIN_FREE_BYTES = 3_000_000_000  # before another model is loaded: a run with windows takes about as much

# Fitted to the peak of a process that ran one window of random pictures in float32 on a CPU, in GB, with 20 tracks:
# tevit_demo, 12, 24, 48 frames: 1.05, 1.17, 1.50; tevit_msgshift, 4, 12, 24: 2.10, 2.55, 3.57; tevit_r50, 8: 2.51;
# tevit_swin_l_mst, 4, 8: 3.11, 3.60; tevit_demo with 24 frames of 1080x1920: 1.20. Of these it is at most 0.3 GB off.
BASE_BYTES = 0.9e9  # Python with PyTorch, and the least that a pass needs
BYTES_PER_PIXEL = 400  # of a window's frames as the network sees them
BUNDLED_BYTES_PER_PIXEL = 250  # of the bundled model, which has a quarter of the channels
MAX_WHOLE, WINDOW = 48, 24  # frames at once: all of a video up to 48, else 24, as in tevit.inference.predictor
_DEFAULT_SCALE = (360, 640)  # of a checkpoint whose configuration is not known: that of most models


# --- the options of the model lists


@dataclass(frozen=True)
class ModelOption:
    """value: argument of tevit.load. label: text in the list. advice: why it cannot run yet; "" where it can. get: text
    of the button that downloads its weights; "" where there is nothing to download."""

    value: str
    label: str
    advice: str = ""
    get: str = ""


def model_options(checkpoints: Sequence[Path]) -> list[ModelOption]:
    """All models that can be selected now, those that can run first. The checkpoints folder is read at every call.

    checkpoints: files named at the start, first in the list. Models that are not TeViT's come last, as "other models":
    those of files, and those that download weights, only where they were named at the start, so that a page never
    chooses code or a download.
    """
    files = {str(path): source for path in checkpoints if (source := find_source(str(path)))}
    own = [*files.values(), *(source for name, source in named_models().items() if name not in FROM_HUB | files.keys())]
    external = [ModelOption(item.name, f"other models: {Path(item.name).name}") for item in own]
    checkpoints = [path for path in checkpoints if str(path) not in files]
    options = []
    for name, model in MODELS.items():
        ready = ModelOption(name, f"{name} (AP {model.ap})")
        options.append(ready if checkpoint_path(model).is_file() else _without_weights(name, model))
    bundled = []
    for name in BUNDLED_MODELS:
        path = bundled_path(name)
        how = f"put {path.name} into {path.parent}, or choose another model."
        missing = ModelOption(name, f"{name} (not here)", f"The demo model is not in this installation: {how}")
        bundled.append(ModelOption(name, f"{name} (shapes)") if path.is_file() else missing)
    known = {path.resolve() for path in (*checkpoints, *map(checkpoint_path, MODELS.values()))}
    folder = home() / "checkpoints"
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    others = [path for path in files if path.suffix in SUFFIXES and path.is_file() and path.resolve() not in known]
    given, in_folder = ([ModelOption(str(path), path.name) for path in paths] for paths in (checkpoints, others))
    ready = [option for option in options if not option.advice]
    missing = [option for option in (*bundled, *options) if option.advice]
    bundled = [option for option in bundled if not option.advice]
    return [*given, *ready, *in_folder, *bundled, *external, *missing]


def _without_weights(name: str, model: PublishedModel) -> ModelOption:
    path, done = checkpoint_path(model), partial_bytes(model) // 1_000_000
    how = f"get them with “tevit models --get {name}”, put {path.name} into {path.parent}"
    advice = f"The weights of {name} are not on this machine: {how}, or start the studio with --checkpoint FILE."
    size = f"{done} of {model.megabytes} MB" if done else f"{model.megabytes} MB"
    return ModelOption(name, f"{name} (no weights)", advice, f"{'Resume' if done else 'Get'} {name}, {size}")


def preferred_option(options: Sequence[ModelOption], current: str | None) -> ModelOption | None:
    """The model to select for a real video instead of `current`: a published one where that is the demo model.

    Of several the first whose weights are here, else the first. None where `current` stays.
    """
    if current not in BUNDLED_MODELS:
        return None
    own = [option for option in options if option.value in MODELS]
    return next((option for option in own if not option.advice), next(o for o in own if o.value == RECOMMENDED))


class WeightDownloads:
    """Downloads of published weights, one at a time for each model, shared by all pages; they outlive a page."""

    def __init__(self):
        self._runner = Runner(2, "downloads")
        self._tasks: dict[str, Task[Path]] = {}
        self._lock = threading.Lock()

    def start(self, name: str) -> Task[Path]:
        """The download of a model's weights: the one in progress, else a new one, which resumes."""
        with self._lock:
            task = self._tasks.get(name)
            if task is None or task.over:
                message = "Cancelled: what was downloaded is kept, and the same button resumes."
                task = Task(name, partial(weights, name), unit="bytes", cancel_message=message)
                self._tasks[name] = self._runner.submit(task)
            return task

    def close(self) -> None:
        """Cancel all."""
        self._runner.close()


def model_file(model: str) -> Path | None:
    """The file that holds a model's weights or code; None for one that is named without a file."""
    source = find_source(model)
    path = source.file if source else Path(model)
    return path if path is not None and path.is_file() else None


def find_model(value: str | None, checkpoints: Sequence[Path]) -> ModelOption:
    """The option of a value. Raises: ValueError where it is not offered, or its weights are missing."""
    if not value:
        raise ValueError("Choose a model first.")
    option = next((option for option in model_options(checkpoints) if option.value == value), None)
    if option is None:
        raise ValueError(f"{Path(value).name} is not here any more: choose another model.")
    if option.advice:
        raise ValueError(option.advice)
    return option


# --- loaded models


class VideoPredictor(Protocol):
    """The part of tevit.inference.predictor.Predictor that is used here."""

    def stream(
        self,
        source: Any,
        *,
        window: int | None,
        max_tracks: int,
        score_threshold: float,
        progress: Progress | None,
        resume: ResumeState | None = None,
    ) -> Iterator[VideoResult]: ...


Parameters = tuple[tuple[str, Any], ...]
"""Values of a model's parameters by name, those that are not the defaults."""
Load = Callable[..., VideoPredictor]
"""Called with a model's name or file, and `parameters=` where there are any."""


class ModelCache:
    """Loaded models; the least recently used are dropped first. For one thread.

    max_models: loaded at once. free: returns the available bytes, None where unknown.
    """

    def __init__(self, load: Load, max_models: int = MAX_MODELS, free: Callable[[], int | None] | None = None):
        self._load = load
        self._free = free or free_memory
        self._models: LRUCache[tuple[str, int, Parameters], VideoPredictor] = LRUCache(max_models)

    def get(self, model: str, parameters: Parameters = ()) -> VideoPredictor:
        """A model, loaded on first use and again after its file has changed. Raises: what loading raises."""
        path = model_file(model)
        key = (model, path.stat().st_mtime_ns if path else 0, parameters)
        if key not in self._models:
            for other in [other for other in self._models if other[0] == model and other[1] != key[1]]:
                del self._models[other]  # of a file that has changed
            while self._models and (
                len(self._models) >= self._models.maxsize
                or ((free := self._free()) is not None and free < MIN_FREE_BYTES)
            ):
                self._models.popitem()
                _release_memory()
            self._models[key] = self._load(model, parameters=dict(parameters)) if parameters else self._load(model)
        return self._models[key]

    def keep_only(self, model: str) -> None:
        """Drop all other models, after memory ran out while this one worked."""
        for key in [key for key in self._models if key[0] != model]:
            del self._models[key]
        _release_memory()


def free_memory() -> int | None:
    """Available bytes: of the machine or, where one is in use, of the GPU, whichever is less. None where unknown."""
    known = [free for free in (machine_memory(), _gpu_memory()) if free is not None]
    return min(known, default=None)


def _gpu_memory() -> int | None:
    torch = sys.modules.get("torch")  # never the reason that it is imported
    if torch is None or not torch.cuda.is_initialized():
        return None
    # Memory that PyTorch has reserved without using it is free for it.
    unused = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    return torch.cuda.mem_get_info()[0] + unused


def _release_memory() -> None:
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


# --- estimates


@dataclass(frozen=True)
class Estimate:
    """seconds: None until this server has run the model once. gigabytes: of the whole process, approximate; None for a
    model that is not TeViT's."""

    seconds: float | None
    gigabytes: float | None


class Speeds:
    """Measured frames per second of each model, stored in a JSON file."""

    def __init__(self, path: Path):
        self._path = path
        self._lock = threading.Lock()
        try:
            rates = json.loads(path.read_text())
            self._rates = {str(name): float(rate) for name, rate in rates.items() if float(rate) > 0}
        except (OSError, ValueError, TypeError, AttributeError):
            self._rates = {}  # no file yet, or a broken one: measured again

    def record(self, model: str, rate: float) -> None:
        """Add a run's rate, frames per second; recent runs weigh most."""
        name = Path(model).name
        with self._lock:
            self._rates[name] = (self._rates.get(name, rate) + rate) / 2
            try:
                with atomic(self._path) as part:
                    part.write_text(json.dumps(self._rates))
            except OSError:
                pass  # a full disk is no reason to fail

    def estimate(self, model: str, size_hw: tuple[int, int], frames: int) -> Estimate:
        """Time and memory of a run. model: a published name or a checkpoint's path."""
        rate = self._rates.get(Path(model).name)
        gigabytes = None if find_source(model) else estimate_memory(model, size_hw, frames) / 1e9
        return Estimate(frames / rate if rate else None, gigabytes)


def estimate_memory(model: str, size_hw: tuple[int, int], frames: int) -> float:
    """Bytes that the process needs for a video of that size and length, approximately.

    Raises: ValueError for frames too narrow for the model.
    """
    from tevit.video.transforms import geometry

    known = model in MODELS or model in BUNDLED_MODELS
    height, width = geometry(size_hw, published(model).scale if known else _DEFAULT_SCALE).padded_hw
    if model in MODELS:
        weights = MODELS[model].params_m[1] * 4e6
    else:
        weights = Path(model).stat().st_size if Path(model).is_file() else 16e6
    of_pixel = BUNDLED_BYTES_PER_PIXEL if model in BUNDLED_MODELS else BYTES_PER_PIXEL
    return BASE_BYTES + weights + of_pixel * (frames if frames <= MAX_WHOLE else WINDOW) * height * width


# --- a GPU that is lent for one call

Arguments = ParamSpec("Arguments")
Item = TypeVar("Item")

# Not measured there: generous guesses, since time that was requested and not used is not charged.
START_SECONDS = 20.0  # until a model is on the GPU
FRAMES_PER_SECOND = 15.0
DEFAULT_FRAMES = 1000  # of a video that does not state its length
MAX_SECONDS = 120  # that every visitor may request
CAUGHT = (MemoryError, OSError, ValueError)


def gpu(
    work: Callable[Arguments, Iterator[Item]], seconds: Callable[Arguments, int]
) -> Callable[Arguments, Iterator[Item]]:
    """`work` with a GPU for each call, or `work` itself where `spaces` is not installed.

    work: a generator function. seconds: GPU time to request, from the same arguments. To be called before the page is
    launched, and before anything initialises CUDA.
    """
    spec = find_spec("spaces")
    if spec is None or spec.origin is None:  # not installed, or merely a folder of that name
        return work
    return importlib.import_module("spaces").GPU(duration=seconds)(work)


def duration(frames: int | None) -> int:
    """GPU seconds to request for a video of that length; None where it is unknown."""
    return min(MAX_SECONDS, round(START_SECONDS + (DEFAULT_FRAMES if frames is None else frames) / FRAMES_PER_SECOND))


def with_gpu(load: Load) -> Load:
    """`load`, or where GPUs are lent a loader of predictors that run there, with models that `load` loads there."""
    models = ModelCache(load)  # filled in the process that has the GPU, which lives as long as it is in demand

    def segment(
        model: str,
        video: Any,
        window: int | None,
        max_tracks: int,
        score_threshold: float,
        parameters: Parameters = (),
    ) -> Iterator[VideoResult | list[str] | float | Exception]:
        options = {"window": window, "max_tracks": max_tracks, "score_threshold": score_threshold}
        try:
            predictor = models.get(model, parameters)
            yield video.warnings  # none yet: the start of the run
            for result in predictor.stream(video, **options, progress=None):
                yield video.start
                yield result
            yield video.warnings
            return
        except CAUGHT as error:
            # The same sentence in an exception that can be pickled.
            failure = next(kind for kind in CAUGHT if isinstance(error, kind))(str(error))
        if isinstance(failure, MemoryError):
            models.keep_only(model)
        yield failure  # as a value: of a raised exception only the class's name arrives

    def remote_model(model: str, parameters: Mapping[str, Any] | None = None) -> VideoPredictor:
        return _RemotePredictor(_prepare(model), remote, tuple((parameters or {}).items()))

    remote = gpu(
        segment, lambda model, video, window, max_tracks, score_threshold, parameters=(): duration(video.length)
    )
    return load if remote is segment else remote_model


def _prepare(model: str) -> str:
    """Download the weights and import here what every new process would import again."""
    from tevit.download import weights

    if model in MODELS:
        weights(model)
    importlib.import_module("tevit.inference.predictor")
    return model


class _RemotePredictor(VideoPredictor):
    """Runs in the process that has the GPU."""

    def __init__(self, model: str, remote: Callable[..., Iterator[Any]], parameters: Parameters = ()):
        self._model = model
        self._remote = remote
        self._parameters = parameters

    def stream(
        self,
        source: Any,
        *,
        window: int | None,
        max_tracks: int,
        score_threshold: float,
        progress: Progress | None,
        resume: ResumeState | None = None,
    ) -> Iterator[VideoResult]:
        """As `Predictor.stream`, but `progress` is called once a window, and `resume` stays empty: its state would
        be in the other process.

        Raises: also OSError with a sentence, where no GPU can be had or it was taken away.
        """
        report = progress or (lambda stage, done, total: None)
        report(LOADING, 0, None)  # in this stage a run that waits for a GPU can be cancelled at once
        done = 0
        arguments = self._model, source, window, max_tracks, score_threshold, self._parameters
        with closing(_receive(self._remote(*arguments))) as items:
            for item in items:
                if isinstance(item, Exception):
                    raise item
                if isinstance(item, VideoResult):
                    done = item.length
                    yield item
                elif isinstance(item, float):
                    source.start = item
                else:
                    source.warnings[:] = item
                report("segmenting", done, source.length and max(source.length, done))


def _receive(stream: Iterator[Any]) -> Generator[Any]:
    """The items of the remote call. Raises: OSError with ZeroGPU's own sentence."""
    try:
        yield from stream
    except Exception as error:
        from gradio.exceptions import Error

        if isinstance(error, Error):
            raise OSError(f"ZeroGPU: {error.message}") from error
        raise


# --- the parameters of a model that is not TeViT's, as fields of a form. The component's value is {"model", "fields",
# "values", "problem"}: the browser writes the values, by field, which Python never trusts; its property `errors` has a
# sentence for each wrong one.

MAX_TEXT = 10_000  # characters of a value that a page remembers


def known_parameters(model: str) -> tuple[ModelParameter, ...]:
    """Those of a model, which may import its file. Raises: ValueError, OSError, one sentence, where it cannot."""
    file = model_file(model)
    return _parameters(model, file.stat().st_mtime_ns if file else 0)


@lru_cache(maxsize=64)
def _parameters(model: str, mtime_ns: int) -> tuple[ModelParameter, ...]:
    source = find_source(model)
    return tuple(model_parameters(source)) if source is not None else ()


def form(model: str | None, values: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The component's value. values: by field, as the browser wrote them; the others have their defaults."""
    try:
        parameters, problem = known_parameters(model or ""), ""
    except (ValueError, OSError) as error:
        parameters, problem = (), str(error)
    defaults = {parameter.name: _shown(parameter) for parameter in parameters}
    given = {name: value for name, value in (values or {}).items() if name in defaults}
    fields = [_field(parameter) for parameter in parameters]
    return {"model": model, "fields": fields, "values": defaults | given, "problem": problem}


def _field(parameter: ModelParameter) -> dict[str, Any]:
    kind = "choice" if parameter.choices else {bool: "flag", int: "whole", float: "number"}.get(parameter.kind, "text")
    if kind == "flag" and parameter.optional:
        kind = "choice"
    choices = [_text(choice) for choice in parameter.choices or ((False, True) if kind == "choice" else ())]
    expected = f"expected {parameter.expected}"
    return {
        "name": parameter.name,
        "kind": kind,
        "choices": [*([""] if parameter.optional else []), *choices] if kind == "choice" else [],
        "help": parameter.help,
        "placeholder": "none" if parameter.optional else "required" if parameter.required else "",
        "expected": expected,
    }


def _text(value: Any) -> str:
    return value.name if isinstance(value, Enum) else str(value)


def _shown(parameter: ModelParameter) -> Any:
    """The default as the browser shows it: a text, or bool for a check box."""
    if parameter.required:
        return (parameter.kind is bool and False) or ""
    if parameter.kind is bool and not parameter.optional:
        return parameter.default
    return "" if parameter.default is None else _text(parameter.default)


def given(model: str, value: Mapping[str, Any]) -> dict[str, str | bool]:
    """Of the component's value those of the model's fields, as the browser wrote them, each at most MAX_TEXT long.

    Raises: as `known_parameters`.
    """
    written = value.get("values")
    written = written if isinstance(written, Mapping) else {}
    kept: dict[str, str | bool] = {}
    for parameter in known_parameters(model):
        raw = written.get(parameter.name)
        if isinstance(raw, str | bool):
            kept[parameter.name] = raw[:MAX_TEXT] if isinstance(raw, str) else raw
    return kept


def read_form(model: str, value: Any) -> tuple[Parameters, dict[str, str]]:
    """The values that are not the defaults, and a sentence for each wrong one.

    value: of the component, as the browser sent it; that of another model counts as empty.
    Raises: as `known_parameters`.
    """
    given = value.get("values") if isinstance(value, Mapping) and value.get("model") == model else {}
    given = given if isinstance(given, Mapping) else {}
    values, errors = {}, {}
    for parameter in known_parameters(model):
        raw = given.get(parameter.name, _shown(parameter))
        try:
            parsed = parameter.parse(raw) if isinstance(raw, str) else parameter.check(raw)
            if parameter.required or parsed != parameter.default:
                values[parameter.name] = parsed
        except ValueError as error:
            errors[parameter.name] = str(error).removeprefix(f"{parameter.name}: ")
    return tuple(sorted(values.items())), errors


def errors_of(model: str, message: str) -> dict[str, str]:
    """The sentences of a failed run that are about a parameter: `…: name: sentence`."""
    try:
        names = [parameter.name for parameter in known_parameters(model)]
    except (ValueError, OSError):
        return {}
    matched = {name: re.search(rf"(?:^|: |parameter ){re.escape(name)}: (.*)", message) for name in names}
    return {name: match[1] for name, match in matched.items() if match}
