"""A GPU that is lent for one call at a time (ZeroGPU, through the package `spaces`): the model's work goes there.

There a call runs in a process of its own, forked from this one, with only its arguments; models are loaded in that
process, and what it yields comes back pickled: results of numpy arrays, never a tensor. Elsewhere nothing changes.
"""

import importlib
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from importlib.util import find_spec
from typing import Any, ParamSpec, TypeVar

from app.tabs.segment.models import Load, Models, Predictor
from app.tabs.segment.run import LOADING
from tevit.configs import MODELS
from tevit.progress import Progress, ResumeState
from tevit.results import VideoResult

Asked = ParamSpec("Asked")
Given = TypeVar("Given")

# Not measured there: a guess on the safe side, since what is asked for and not used is not charged.
START = 20.0  # seconds until a model is on the GPU
RATE = 15.0  # frames a second
UNKNOWN = 1000  # frames of a video that does not say how many it has
MOST = 120  # seconds that every visitor may ask for
CAUGHT = (MemoryError, OSError, ValueError)


def gpu(work: Callable[Asked, Iterator[Given]], seconds: Callable[Asked, int]) -> Callable[Asked, Iterator[Given]]:
    """`work` with a GPU lent to every call, for as long as `seconds` says of its arguments; else `work` itself.

    work: a generator function. To be called before the page is launched, and before anything touches CUDA.
    """
    found = find_spec("spaces")
    if found is None or found.origin is None:  # none, or merely a folder of that name
        return work
    return importlib.import_module("spaces").GPU(duration=seconds)(work)


def duration(frames: int | None) -> int:
    """Seconds to ask for, for a video of so many frames; None where that is unknown."""
    return min(MOST, round(START + (UNKNOWN if frames is None else frames) / RATE))


def lent(load: Load) -> Load:
    """`load`, or where GPUs are lent: predictors that work there, with models that `load` makes there."""
    models = Models(load)  # filled in the process that has the GPU, which stays as long as it is in demand

    def segment(
        model: str, video: Any, window: int | None, max_tracks: int, score_threshold: float
    ) -> Iterator[VideoResult | list[str] | Exception]:
        options = {"window": window, "max_tracks": max_tracks, "score_threshold": score_threshold}
        try:
            predictor = models.get(model)
            yield video.warnings  # none yet: it begins
            yield from predictor.stream(video, **options, progress=None)
            yield video.warnings
            return
        except CAUGHT as error:
            answer = _plain(error)
        if isinstance(answer, MemoryError):
            models.keep_only(model)
        yield answer  # as a value: of what is raised there only the class's name arrives

    there = gpu(segment, lambda model, video, window, max_tracks, score_threshold: duration(video.length))
    return load if there is segment else lambda model: _Lent(_there_is(model), there)


def _plain(error: Exception) -> Exception:
    """The same sentence in an exception that can be pickled."""
    return next(kind for kind in CAUGHT if isinstance(error, kind))(str(error))


def _there_is(model: str) -> str:
    """Do here what needs no GPU: download the weights, import what every new process would import again."""
    from tevit.download import weights

    if model in MODELS:
        weights(model)
    importlib.import_module("tevit.inference.predictor")
    return model


class _Lent(Predictor):
    """Works wherever the GPU is."""

    def __init__(self, model: str, there: Callable[..., Iterator[Any]]):
        self._model = model
        self._there = there

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
        """As `Predictor.stream`, but `progress` hears of whole windows and `resume` gets nothing: it would lie
        where the GPU is.

        Raises: OSError too, with a sentence, where no GPU can be had or it was taken away.
        """
        note = progress or (lambda stage, done, total: None)
        note(LOADING, 0, None)  # also the stage in which a run that waits for a GPU can be cancelled at once
        done = 0
        with closing(_answers(self._there(self._model, source, window, max_tracks, score_threshold))) as answers:
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
                if isinstance(answer, VideoResult):
                    done = answer.length
                    yield answer
                else:
                    source.warnings[:] = answer
                note("segmenting", done, source.length and max(source.length, done))


def _answers(stream: Iterator[Any]) -> Generator[Any]:
    """What comes from the GPU; what ZeroGPU has to say against it as an OSError."""
    try:
        yield from stream
    except Exception as error:
        from gradio.exceptions import Error

        if isinstance(error, Error):
            raise OSError(f"ZeroGPU: {error.message}") from error
        raise
