"""A GPU that is lent for one call at a time (ZeroGPU, through the package `spaces`): the model runs there.

Each call runs in a forked process that gets only its arguments and loads the models; what it yields is pickled: results
of numpy arrays, never a tensor. Without the package nothing changes.
"""

import importlib
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from importlib.util import find_spec
from typing import Any, ParamSpec, TypeVar

from tevit.configs import MODELS
from tevit.progress import Progress, ResumeState
from tevit.results import VideoResult

from .models import Load, ModelCache, Parameters, VideoPredictor
from .run import LOADING

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
