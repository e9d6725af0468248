"""Any model on a video: the interface of a model, the checks of what it returns, and the predictor that runs it.

A model is an object, or a module, with `predict`: it gets the frames of a video one after the other and yields, for
each frame in order, the objects in it by track id. docs/bring_your_model.md describes it; a model is found by its name
in `tevit.inference.model_source`. PyTorch is not needed here.
"""

import operator
import traceback
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Unpack, runtime_checkable

import msgspec
import numpy as np

from tevit.configs import DEFAULT_OPTIONS, PredictOptions, PredictOverrides, fold_name
from tevit.masks import json as segmentations
from tevit.masks import ops
from tevit.progress import Progress, ResumeState
from tevit.results import RLE, Track, VideoResult, WindowResult

if TYPE_CHECKING:
    from tevit.video.reader import Source, Video

BATCH = 24  # frames between two partial results
MAX_TRACKS = 100  # of a video by default: as many as the official metric takes
MAX_KNOWN = 2000  # tracks whose scores are kept; beyond that, those with the lowest sum are dropped
REPEATING = "repeating the finished frames"  # progress stage of a prediction that is resumed
PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, eq=False)
class Instance:
    """One object in one frame.

    category: name of the class, or its id: a key of the model's `classes`, a position where those are a list. score:
    probability of the category, 0 to 1. mask: bool or uint8 (H, W), nonzero where the object is, or an RLE (`size`
    [height, width], `counts` compressed text or run lengths); of the frame's size. Without any pixel the object is
    absent.
    """

    category: str | int
    score: float
    mask: np.ndarray | RLE | Mapping[str, Any]


@runtime_checkable
class VideoModel(Protocol):
    """The interface of a model.

    Optional attributes: `classes`, id -> name, or a list of names; `delay`, by how many frames its results are late at
    most, 0 for a result before the next frame is read; `device`, for the report of `tevit models check`.
    """

    def predict(self, frames: Iterator[np.ndarray]) -> Iterator[Mapping[int, Instance]]:
        """Yield the instances of each frame by track id, in the order of the frames; results may be late.

        frames: uint8 RGB (H, W, 3), all of one size. A track id stands for one object of this video. Instead of a
        mapping, `supervision.Detections` with `tracker_id` and `mask` may be yielded. The generator is closed where a
        prediction is cancelled.
        """
        ...


class Observed(NamedTuple):
    """A checked instance: its mask has pixels and the frame's size."""

    id: int
    category_id: int
    score: float
    rle: RLE


# --- what a model returns


class CategoryIds:
    """The category ids of a model. Without `classes` names are numbered from 1 in the order of their appearance."""

    def __init__(self, classes: Mapping[int, str] | Sequence[str] | None):
        """Raises: ValueError where `classes` is neither a mapping of ids to names nor a list of names."""
        self.declared = classes is not None
        self._positions = classes is not None and not isinstance(classes, Mapping)
        self.names: dict[int, str] = {}
        if classes is None:
            pass
        elif isinstance(classes, str) or not all(isinstance(name, str) for name in _names(classes)):
            raise ValueError(f"classes: expected a list of names or a mapping of ids to names, got {classes!r:.60}")
        elif isinstance(classes, Mapping):
            self.names = {operator.index(id): name for id, name in classes.items()}
        else:
            self.names = dict(enumerate(classes, 1))
        self._ids = {fold_name(name): id for id, name in self.names.items()}

    @property
    def numbered(self) -> bool:
        """Whether the ids are the model's own: False where names are numbered by their appearance."""
        return self.declared or any(name == f"class {id}" for id, name in self.names.items())

    def restore(self, names: Mapping[int, str]) -> None:
        """Continue an earlier pass of the same model, which had these categories."""
        if not self.declared:
            self.names = dict(names)
            self._ids = {fold_name(name): id for id, name in names.items()}

    def id_of(self, category: str | int) -> int:
        """Raises: ValueError for a class that the model does not have."""
        if not self.declared and self.names and isinstance(category, str) == self.numbered:
            raise ValueError(f"expected class names in all instances or ids in all, got {category!r} beside the other")
        if isinstance(category, str):
            key = fold_name(category)
            if key not in self._ids and not self.declared:
                self._ids[key] = len(self.names) + 1
                self.names[self._ids[key]] = category
            if key not in self._ids:
                raise ValueError(f"the model has no class {category!r}; its classes are {_listed(self.names)}")
            return self._ids[key]
        id = operator.index(category) + self._positions
        if not self.declared:
            self.names.setdefault(id, f"class {id}")
        if id not in self.names:
            expected = f"0 to {len(self.names) - 1}" if self._positions else ", ".join(map(str, list(self.names)[:6]))
            raise ValueError(f"expected a class id of {expected}, got {category}")
        return id


def _names(classes: Mapping[int, str] | Sequence[str]) -> Iterable[str]:
    return classes.values() if isinstance(classes, Mapping) else classes


def _listed(names: Mapping[int, str]) -> str:
    shown = list(names.values())
    return ", ".join(shown[:6]) + (f" and {len(shown) - 6} more" if len(shown) > 6 else "")


def read_output(output: Any, size_hw: tuple[int, int], categories: CategoryIds) -> list[Observed]:
    """The checked instances of one frame, those without pixels left out.

    output: what a model yielded: a mapping of track ids to `Instance`, or `supervision.Detections`. size_hw: height and
    width of the frame.
    Raises: ValueError that names the track and what is wrong with it.
    """
    if hasattr(output, "tracker_id") and hasattr(output, "mask"):
        pairs = _of_detections(output)
    elif isinstance(output, Mapping):
        pairs = output.items()
    else:
        expected = "a mapping of track ids to Instance, or supervision.Detections with tracker_id and mask"
        raise ValueError(f"expected {expected}, got {type(output).__name__}")
    observed = []
    for id, instance in pairs:
        try:
            number = operator.index(id)
            if not -(2**63) <= number < 2**63:
                raise ValueError("expected a track id of at most 64 bits")
            rle = _encoded(instance.mask, size_hw)
            score = float(instance.score)
            if not 0 <= score <= 1:
                raise ValueError(f"expected a score from 0 to 1, got {score}")
            if rle is not None:
                observed.append(Observed(number, categories.id_of(instance.category), score, rle))
        except (TypeError, AttributeError) as error:
            expected = "a whole number as track id and an Instance with category, score and mask"
            raise ValueError(f"track {id}: expected {expected} ({error})") from None
        except ValueError as error:
            raise ValueError(f"track {id}: {error}") from None
    return observed


def _of_detections(detections: Any) -> Iterator[tuple[int, Instance]]:
    """The pairs of a `supervision.Detections`. Raises: ValueError without masks or track ids."""
    count = len(detections)
    if not count:
        return
    for name in ("tracker_id", "mask"):
        if getattr(detections, name) is None:
            raise ValueError(f"Detections of {count} objects: expected {name} to be set, got None")
    scores = [1.0] * count if detections.confidence is None else detections.confidence
    names = (detections.data or {}).get("class_name")
    categories = names if names is not None else detections.class_id
    for index in range(count):
        id = int(detections.tracker_id[index])
        if id >= 0:  # trackers number objects that are not confirmed yet -1
            category = "object" if categories is None else categories[index]
            category = str(category) if isinstance(category, str) else operator.index(category)
            yield id, Instance(category, scores[index], np.asarray(detections.mask[index]))


def _encoded(mask: Any, size_hw: tuple[int, int]) -> RLE | None:
    """A mask as checked RLE, None without pixels. Raises: ValueError for another size, shape or type."""
    if isinstance(mask, Mapping):
        if not {"size", "counts"} <= mask.keys():
            raise ValueError(
                f"expected an RLE with size and counts, got one with {', '.join(map(str, mask)) or 'neither'}"
            )
        return segmentations.from_json({**mask, "size": [int(side) for side in mask["size"]]}, size_hw)
    if not isinstance(mask, np.ndarray) or mask.dtype not in (np.bool_, np.uint8):
        kind = f"an array of {mask.dtype}" if isinstance(mask, np.ndarray) else type(mask).__name__
        raise ValueError(f"expected a mask of bool or uint8, or an RLE, got {kind}")
    if mask.shape != tuple(size_hw):
        raise ValueError(f"expected a mask of the frame's size {tuple(size_hw)}, got {mask.shape}")
    return ops.encode(mask) if mask.any() else None


# --- tracks


class TrackTotal(msgspec.Struct):
    """What the class and the score of a track are computed from. frames: in which it is present. votes: category id ->
    sum of its scores. last: the latest of the frames."""

    id: int
    frames: int = 0
    votes: dict[int, float] = {}
    last: int = 0

    @property
    def category_id(self) -> int:
        """The class with the highest score sum."""
        return max(sorted(self.votes), key=lambda category: self.votes[category])

    @property
    def score_sum(self) -> float:
        """Over its frames."""
        return sum(self.votes.values())

    @property
    def score(self) -> float:
        """Mean over its frames."""
        return self.score_sum / max(self.frames, 1)


class _TableState(msgspec.Struct):
    length: int = 0
    tracks: dict[int, TrackTotal] = {}
    categories: dict[int, str] = {}


class TrackTable:
    """The tracks of the frames so far, without masks; of constant size."""

    def __init__(self, max_tracks: int, categories: CategoryIds):
        """max_tracks: that `best` returns at most. categories: part of the state."""
        self._max_tracks, self._categories = max_tracks, categories
        self._state = _TableState()

    @property
    def length(self) -> int:
        """Frames so far."""
        return self._state.length

    @property
    def tracks(self) -> dict[int, TrackTotal]:
        """All tracks that are kept, by id."""
        return self._state.tracks

    @property
    def best(self) -> list[TrackTotal]:
        """The tracks with the highest score sum, best mean score first."""
        tracks = sorted(self._state.tracks.values(), key=lambda track: (-track.score_sum, track.id))
        return sorted(tracks[: self._max_tracks], key=lambda track: -track.score)

    def add(self, instances: Sequence[Observed]) -> None:
        """The next frame."""
        state = self._state
        for item in instances:
            track = state.tracks.setdefault(item.id, TrackTotal(item.id))
            track.frames, track.last = track.frames + 1, state.length
            track.votes[item.category_id] = track.votes.get(item.category_id, 0.0) + item.score
        state.length += 1
        if len(state.tracks) > MAX_KNOWN:
            old = sorted(state.tracks.values(), key=lambda track: (track.last < state.length - BATCH, -track.score_sum))
            state.tracks = {track.id: track for track in old[:MAX_KNOWN]}

    def dump(self) -> bytes:
        """The whole state."""
        self._state.categories = self._categories.names
        return msgspec.msgpack.encode(self._state)

    def load(self, state: bytes) -> None:
        """Restore what `dump` returned. Raises: ValueError for anything else."""
        self._state = msgspec.msgpack.decode(state, type=_TableState)
        self._categories.restore(self._state.categories)


@dataclass
class _TrackMasks:
    """The frames of one track, in order, with its score and mask in each."""

    frames: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    rles: list[RLE] = field(default_factory=list)

    def track(self, total: TrackTotal, first: int, length: int) -> Track:
        """The track in `length` frames from `first` on."""
        rles: list[RLE | None] = [None] * length
        scores = np.full(length, np.nan, np.float32)
        for frame, score, rle in zip(self.frames, self.scores, self.rles, strict=True):
            rles[frame - first], scores[frame - first] = rle, score
        boxes, areas = ops.to_boxes_xyxy(rles), ops.areas(rles)
        return Track(total.id, total.category_id, total.score, tuple(rles), boxes, areas, frame_scores=scores)


class _Masks:
    """The masks of the frames from `first` on, by track."""

    def __init__(self, first: int = 0):
        self.first, self.times = first, list[float]()
        self._tracks: dict[int, _TrackMasks] = {}

    def add(self, time: float, instances: Sequence[Observed]) -> None:
        """The next frame. time: seconds."""
        for item in instances:
            track = self._tracks.setdefault(item.id, _TrackMasks())
            track.frames.append(self.first + len(self.times))
            track.scores.append(item.score)
            track.rles.append(item.rle)
        self.times.append(time)

    def keep(self, ids: Collection[int]) -> None:
        """Drop all other tracks."""
        for id in self._tracks.keys() - set(ids):
            del self._tracks[id]

    def tracks(self, totals: Iterable[TrackTotal]) -> tuple[Track, ...]:
        """Those of the tracks that are present in these frames."""
        length = len(self.times)
        return tuple(
            self._tracks[total.id].track(total, self.first, length) for total in totals if total.id in self._tracks
        )


# --- running a model


class _Feed:
    """The frames of a video for a model, and their times for the results. done: results so far."""

    def __init__(self, name: str, video: "Video", delay: int | None, report: Callable[[], None]):
        """delay: results that may be missing when a frame is read; None: any number. report: called for each frame."""
        self.times: deque[float] = deque()
        self.read, self.done = 0, 0
        self.error: BaseException | None = None
        self._name, self._video, self._delay, self._report = name, video, delay, report

    def frames(self) -> Generator[np.ndarray]:
        """uint8 RGB (H, W, 3). Whatever is raised here is kept in `error`: a model may catch it."""
        try:
            self._report()
            for frame in self._video.frames():
                self.times.append(frame.time)
                self.read += 1
                yield frame.rgb
                self._check_delay()
                self._report()
        except GeneratorExit:
            raise
        except BaseException as error:
            self.error = error
            raise

    def _check_delay(self) -> None:
        if self._delay is not None and self.read - self.done > self._delay:
            late = f"frame {self.read} was requested before the result of frame {self.done} was returned"
            raise ValueError(f"{self._name}: expected results at most {self._delay} frames late (its delay): {late}")


class ExternalPredictor:
    """Runs a model that has the interface `VideoModel` on videos, one at a time.

    about: what its results depend on, such as the digest of its file and its parameters; recorded where a prediction
    can be resumed.
    Raises: ValueError where the model lacks `predict`, or its `classes` or `delay` are wrong.
    """

    windowed = False  # a smaller window would not need less memory

    def __init__(self, model: VideoModel, name: str, about: Mapping[str, Any] | None = None):
        if not callable(getattr(model, "predict", None)):
            raise ValueError(f"{name}: expected an object with predict(frames), got {type(model).__name__}")
        self.model, self.name = model, name
        self.about = dict(about or {"weights": name})
        try:
            self._categories = CategoryIds(getattr(model, "classes", None))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{name}: {error}") from None
        self.delay = getattr(model, "delay", None)
        if self.delay is not None and (not isinstance(self.delay, int) or self.delay < 0):
            raise ValueError(f"{name}: delay: expected a number of frames from 0 or None, got {self.delay!r}")

    @property
    def categories(self) -> dict[int, str]:
        """Category id -> name; without `classes` those that have appeared so far."""
        return dict(self._categories.names)

    @property
    def numbered(self) -> bool:
        """Whether the category ids are the model's own: False where names are numbered by their appearance."""
        return self._categories.numbered

    @property
    def warnings(self) -> tuple[str, ...]:
        """None: what is wrong with a model is an error."""
        return ()

    def __call__(
        self,
        source: "Source",
        options: PredictOptions = DEFAULT_OPTIONS,
        *,
        progress: Progress | None = None,
        **overrides: Unpack[PredictOverrides],
    ) -> VideoResult:
        """All tracks of a video; arguments and errors as for `stream`."""
        from tevit.video.reader import open_source

        video = open_source(source)
        result = deque(self.stream(video, options, progress=progress, **overrides), maxlen=1)[0]
        return replace(result, source=None if video.is_read_once else video)

    def stream(
        self,
        source: "Source",
        options: PredictOptions = DEFAULT_OPTIONS,
        *,
        progress: Progress | None = None,
        resume: ResumeState | None = None,
        **overrides: Unpack[PredictOverrides],
    ) -> Iterator[VideoResult]:
        """The tracks of the frames so far, every `BATCH` frames; the last result is the whole video.

        As `Predictor.stream`; of the options `max_tracks` and `score_threshold` apply. resume: the model gets the
        frames from the start again, and its results are used from the first unfinished frame on.
        Raises: ValueError with one sentence for wrong input and for a model that breaks the interface.
        """
        from tevit.video.reader import open_source

        options = options.updated(**overrides)
        video = open_source(source)
        saved = resume.state if resume else None
        table, masks = saved or (TrackTable(options.max_tracks, self._categories), _Masks())
        result: VideoResult | None = None
        for time, instances in self.frames(video, progress, table.length):
            table.add(instances)
            masks.add(time, instances)
            result = None
            if table.length % BATCH == 0:
                result = self._result(video, table, masks, options.score_threshold)
                if resume is not None:
                    resume.state, resume.length = (table, masks), table.length
                yield result
        if result is None:
            yield self._result(video, table, masks, options.score_threshold)

    def _result(self, video: "Video", table: TrackTable, masks: _Masks, score_threshold: float) -> VideoResult:
        masks.keep(table.tracks)
        tracks = masks.tracks(total for total in table.best if total.score >= score_threshold)
        times, names = np.array(masks.times), video.file_names[: len(masks.times)]
        return VideoResult(1, video.name, video.size_hw, times, self.categories, tracks, names)

    def window_results(
        self,
        video: "Video",
        options: PredictOptions = DEFAULT_OPTIONS,
        *,
        resume: bytes | None = None,
        progress: Progress | None = None,
    ) -> Iterator[tuple[WindowResult, TrackTable]]:
        """The tracks in every `BATCH` frames, at constant memory; errors as for `stream`.

        resume: `TrackTable.dump` after the last frames of an interrupted pass, which the model gets again.
        """
        table = TrackTable(options.max_tracks, self._categories)
        if resume is not None:
            table.load(resume)
        masks = _Masks(table.length)

        def window() -> tuple[WindowResult, TrackTable]:
            # All tracks: which are the best ones is known at the end.
            tracks = masks.tracks(table.tracks.values())
            return WindowResult(masks.first, masks.times, tracks, len(masks.times)), table

        for time, instances in self.frames(video, progress, table.length):
            table.add(instances)
            masks.add(time, instances)
            if len(masks.times) == BATCH:
                yield window()
                masks = _Masks(table.length)
        if masks.times:
            yield window()

    def frames(
        self, video: "Video", progress: Progress | None = None, skip: int = 0
    ) -> Generator[tuple[float, list[Observed]]]:
        """The checked instances of each frame, with its time, behind the first `skip` ones.

        progress: called for each frame; the model's generator is closed where it raises.
        Raises: ValueError with one sentence that names the frame where the model breaks the interface.
        """

        def report() -> None:
            if progress is None:
                return
            if feed.done < skip:
                progress(REPEATING, feed.done, skip)
            elif not feed.done and feed.read > 1:  # a model that reads the whole video first
                progress("reading frames", feed.read, video.length)
            else:
                progress("segmenting", feed.done, None if video.length is None else max(video.length, feed.read))

        feed = _Feed(self.name, video, self.delay, report)
        with closing(feed.frames()) as frames, closing(self._outputs(feed, frames)) as outputs:
            for output in outputs:
                if not feed.times:
                    raise ValueError(f"{self.name}: it returned {feed.done + 1} results for {feed.read} frames")
                try:
                    instances = read_output(output, video.size_hw, self._categories)
                except ValueError as error:
                    raise ValueError(f"{self.name}: frame {feed.done}, {error}") from None
                time = feed.times.popleft()
                feed.done += 1
                if feed.done > skip:
                    yield time, instances
                report()

    def _outputs(self, feed: _Feed, frames: Generator[np.ndarray]) -> Generator[Any]:
        """What the model yields. Raises: what the feed raised; ValueError where the model fails or ends early."""
        outputs: Any = None
        try:
            outputs = iter(self.model.predict(frames))
            for output in outputs:
                if feed.error is not None:
                    raise feed.error
                yield output
        except Exception as error:
            if feed.error is not None:
                raise feed.error from None
            raise failure(self.name, error) from error
        finally:
            if hasattr(outputs, "close"):
                outputs.close()
        if feed.error is not None:
            raise feed.error
        if feed.times or next(frames, None) is not None:
            expected = f"at least {feed.read}" if feed.read > feed.done else "more"
            raise ValueError(f"{self.name}: it ended after the results of {feed.done} frames, the video has {expected}")


def failure(name: str, error: Exception) -> Exception:
    """The exception with one sentence for what a model's own code raised, with file and line.

    Sentences of this package's models, and lack of memory, are kept as they are.
    """
    places = traceback.extract_tb(error.__traceback__)
    file = Path(places[-1].filename) if places else Path()
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return MemoryError(f"{name}: out of memory")
    if isinstance(error, ValueError | OSError) and file.is_relative_to(PACKAGE):
        return error
    line = places[-1].lineno if places else 0
    return ValueError(f"{name}: {str(error) or 'an error'} ({type(error).__name__} in {file.name}, line {line})")


# --- results of other programs


def from_supervision(
    detections: Iterable[Any], source: "Source", classes: Mapping[int, str] | Sequence[str] | None = None
) -> VideoResult:
    """The tracks of a video of which another program has found the objects.

    detections: a `supervision.Detections` for each frame, with `tracker_id` and `mask`. source: the video, as for a
    predictor. classes: id -> name, or a list of names; by default those of `data["class_name"]`, numbered from 1 in the
    order of their appearance. A track's class is that of the highest summed confidence, its score their mean.
    Raises: ValueError with one sentence that names the frame where something does not fit.
    """
    predictor = ExternalPredictor(_GivenResults(detections, classes), "detections")
    return predictor(source, max_tracks=MAX_KNOWN)


class _GivenResults:
    """A model that returns given results."""

    def __init__(self, results: Iterable[Any], classes: Mapping[int, str] | Sequence[str] | None):
        self.results, self.classes = results, classes

    def predict(self, frames: Iterator[np.ndarray]) -> Iterator[Any]:
        results = iter(self.results)
        for frame, _ in enumerate(frames):
            result = next(results, None)
            if result is None:
                raise ValueError(f"expected detections for each frame, got {frame} and then no more")
            yield result
        if next(results, None) is not None:
            raise ValueError("expected detections for each frame, got more than there are frames")
