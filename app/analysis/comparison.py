"""One or several evaluated models on one data set at chosen limits and score threshold, with a table of all tracks.

The slow part (`StoredEvaluation`) is computed once by `app.analysis.service` and shared by all pages; other limits are
quick. Of one video: which ground truth is matched to which prediction, frame by frame, where identities switch, and the
difference of masks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import msgspec
import numpy as np

from tevit.evaluation.api import Evaluation, Interval, accumulate, differences, draw_weights, intervals, resample
from tevit.evaluation.error_table import (
    ErrorRecord,
    Errors,
    ErrorTable,
    TrackGeometry,
    build_table,
    concatenate,
    track_geometry,
)
from tevit.evaluation.errors import Gap, Gaps, Limits, find_costs, find_gaps
from tevit.evaluation.identity import measure_identity, video_events
from tevit.evaluation.matching import (
    BreakdownRow,
    Curves,
    IgnoreMasks,
    Matches,
    by_length,
    by_size,
    by_video,
    count_positives,
    curves,
    figure,
    match_all,
)
from tevit.evaluation.overlaps import Overlaps, filter_scores
from tevit.masks import ops as masks
from tevit.masks.rle import decode_texts
from tevit.results import RLE, Track, VideoResult

from ..projects.project import Project

FIGURE_NAMES = ("AP", "AP50", "AP75", "AR1", "AR10")
IDENTITY_NAMES = ("HOTA", "DetA", "AssA", "LocA", "IDF1", "switches", "fragments")
SAMPLES = 1000  # of the bootstrap
FEWER_SAMPLES = 200  # above a score threshold: computed on demand
DEFAULT = Limits()


class EvaluationSummary(msgspec.Struct):
    """The scalars of a stored evaluation. ap, dap, oracle_ap: at the default limits. gaps_by_…: see `Gaps`.

    identity: IDENTITY_NAMES of all predictions. hota_by_score: score thresholds, ascending, and HOTA at each.
    """

    format: int
    figures: dict[str, float]
    per_class: dict[int, dict[str, float]]
    identity: dict[str, float]
    hota_by_score: tuple[list[float], list[float]]
    ap: float
    dap: dict[str, float]
    oracle_ap: float
    gap: Gap
    gaps_by_length: dict[str, Gap]
    gaps_by_instances: dict[str, Gap]
    by_size: dict[str, BreakdownRow]
    by_length: dict[str, BreakdownRow]
    by_video: dict[int, BreakdownRow]


class StoredEvaluation(msgspec.Struct):
    """One model's evaluation as stored on disk.

    precision: float64 (T, R, K, 4): IoU thresholds, recall points, classes; all tracks, then each size; at most 100
    predictions a video and class. samples: figure -> float64 (S,), the bootstrap's.
    """

    summary: EvaluationSummary
    overlaps: Overlaps
    table: ErrorTable
    precision: np.ndarray
    samples: Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class ModelAnalysis:
    """One model at certain limits, with only the predictions of at least `cutoff` in score.

    figures: AP, AP50, AP75, AR1, AR10 (and more), in [0, 1], -1: no ground truth. ap: at `limits.positive`. dap: error
    type -> AP gained by fixing it. oracle_ap: AP with all errors fixed. table: a row per track. The properties are
    computed on first use.
    """

    name: str
    stored: StoredEvaluation
    limits: Limits
    cutoff: float
    overlaps: Overlaps
    figures: Mapping[str, float]
    table: ErrorTable
    ap: float
    dap: Mapping[str, float]
    oracle_ap: float

    @property
    def whole(self) -> bool:
        """Whether no prediction is below the score threshold."""
        return self.overlaps is self.stored.overlaps

    @cached_property
    def evaluation(self) -> Evaluation:
        """All official figures and curves."""
        return accumulate(self.overlaps)

    @cached_property
    def matched(self) -> tuple[Matches, Curves]:
        """The matches and curves of tracks of all sizes together."""
        return _match(self.overlaps)

    @cached_property
    def per_class(self) -> Mapping[int, Mapping[str, float]]:
        """Category id -> AP, AP50, AP75, AR1, AR10 (and more)."""
        if self.whole:
            return self.stored.summary.per_class
        ids = self.overlaps.inputs.categories
        return {id: {name: figure(self.matched[1], name, k) for name in FIGURE_NAMES} for k, id in enumerate(ids)}

    @cached_property
    def identity(self) -> Mapping[str, float]:
        """IDENTITY_NAMES: shares in [0, 1], -1 without detections, and numbers of events."""
        if self.whole:
            return self.stored.summary.identity
        return measure_identity(self.overlaps, thresholds=np.array([-np.inf])).figures

    @property
    def precision(self) -> np.ndarray:
        """float64 (T, R, K): at each IoU threshold, recall point and class. -1: unknown."""
        return self.stored.precision[..., 0] if self.whole else self.matched[1].precision[..., 0, 2]

    @cached_property
    def samples(self) -> Mapping[str, np.ndarray]:
        """The five figures on bootstrap samples of the videos, the same samples for every model."""
        if self.whole:
            return self.stored.samples
        weights = draw_weights(len(self.overlaps.inputs.videos), FEWER_SAMPLES)
        return resample(self.overlaps, self.matched[0], weights, names=FIGURE_NAMES)

    @cached_property
    def by_size(self) -> Mapping[str, BreakdownRow]:
        """All, small, medium, large tracks."""
        return self.stored.summary.by_size if self.whole else by_size(self.overlaps)

    @cached_property
    def by_length(self) -> Mapping[str, BreakdownRow]:
        """Short, medium and long tracks."""
        return self.stored.summary.by_length if self.whole else by_length(self.overlaps)

    @cached_property
    def by_video(self) -> Mapping[int, BreakdownRow]:
        """Video id -> figures of that video alone."""
        return self.stored.summary.by_video if self.whole else by_video(self.overlaps, self.matched[0])

    @cached_property
    def gap(self) -> Gap:
        """Oracle gaps: AP lost to tracking, classes and masks."""
        return self.stored.summary.gap if self.whole else find_gaps(self.overlaps, parts=False).whole

    @cached_property
    def gaps(self) -> Gaps:
        """Oracle gaps by track length and number of instances; above a score threshold it takes a second or two."""
        summary = self.stored.summary
        if self.whole:
            return Gaps(summary.gap, summary.gaps_by_length, summary.gaps_by_instances)
        return find_gaps(self.overlaps)

    @property
    def errors(self) -> Errors:
        """With a record per track, as `tevit errors` writes them."""
        return Errors(self.limits, self.ap, self.dap, self.oracle_ap, self.table)

    @cached_property
    def geometry(self) -> TrackGeometry:
        """What does not change with the limits."""
        return track_geometry(self.overlaps, self.limits.cover)

    @classmethod
    def of(cls, name: str, stored: StoredEvaluation) -> "ModelAnalysis":
        """A stored model at the default limits."""
        s = stored.summary
        table = replace(stored.table, models=(name,))
        return cls(name, stored, DEFAULT, 0.0, stored.overlaps, s.figures, table, s.ap, s.dap, s.oracle_ap)

    def with_limits(self, limits: Limits, cutoff: float) -> "ModelAnalysis":
        """The same model at other limits. cutoff: the lowest score that counts."""
        if (limits, cutoff) == (self.limits, self.cutoff):
            return self
        base = ModelAnalysis.of(self.name, self.stored)
        overlaps = self.overlaps if cutoff == self.cutoff else filter_scores(self.stored.overlaps, cutoff)
        whole = overlaps is self.stored.overlaps
        if whole and limits == DEFAULT:
            return replace(base, cutoff=cutoff)
        source = self if overlaps is self.overlaps and limits.cover == self.limits.cover else None
        tracks = source.geometry if source else track_geometry(overlaps, limits.cover)
        matched = None if whole else source.matched if source else _match(overlaps)
        costs = find_costs(overlaps, limits)
        result = replace(
            base,
            limits=limits,
            cutoff=cutoff,
            overlaps=overlaps,
            figures={name: figure(matched[1], name) for name in FIGURE_NAMES} if matched else base.figures,
            table=build_table(overlaps, costs, tracks, self.name),
            ap=costs.ap,
            dap=costs.dap,
            oracle_ap=costs.oracle_ap,
        )
        result.__dict__.update({"geometry": tracks} | ({"matched": matched} if matched else {}))  # cached properties
        return result


def _match(overlaps: Overlaps) -> tuple[Matches, Curves]:
    # Without the ranges of size, which take three times as long again.
    inputs = overlaps.inputs
    shapes = (1, len(inputs.ground_truth.ids)), (1, len(inputs.predictions.ids))
    nothing = IgnoreMasks(*(np.zeros(shape, bool) for shape in shapes))
    matches = match_all(overlaps.groups, inputs.ground_truth, inputs.predictions, nothing)
    return matches, curves(matches, count_positives(inputs, nothing))


@dataclass(frozen=True)
class FigureRow:
    """One figure of every model. values: in [0, 1], -1: no ground truth. spreads: intervals of 95 % of the samples,
    None without ground truth. differences: of every model to the first; the first's is None."""

    name: str
    values: tuple[float, ...]
    spreads: tuple[Interval | None, ...]
    differences: tuple[Interval | None, ...]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Models in the order of the project; the first is A, the second B. Shared by all pages."""

    project: Project
    models: tuple[ModelAnalysis, ...]

    @property
    def limits(self) -> Limits:
        """The same for all models."""
        return self.models[0].limits

    @property
    def cutoff(self) -> float:
        """The lowest score that counts."""
        return self.models[0].cutoff

    @property
    def overlaps(self) -> Overlaps:
        """Of the first model; all models have the same videos, categories and ground truth."""
        return self.models[0].overlaps

    @cached_property
    def figures(self) -> tuple[FigureRow, ...]:
        """AP, AP50, AP75, AR1, AR10."""
        base = self.models[0]
        spreads = [intervals({name: m.figures[name] for name in m.samples}, m.samples) for m in self.models]
        changes = [differences(m.figures, m.samples, base.figures, base.samples) for m in self.models[1:]]
        return tuple(
            FigureRow(
                name,
                tuple(model.figures[name] for model in self.models),
                tuple(spread[name] for spread in spreads),
                (None, *(change[name] for change in changes)),
            )
            for name in FIGURE_NAMES
        )

    @property
    def samples(self) -> int:
        """The number of bootstrap samples."""
        return SAMPLES if self.models[0].whole else FEWER_SAMPLES

    @cached_property
    def video_places(self) -> Mapping[int, int]:
        """Video id -> its position in all lists."""
        return {video.id: place for place, video in enumerate(self.overlaps.inputs.videos)}

    @property
    def categories(self) -> Mapping[int, str]:
        """Category id -> name, ascending by id: the order of all class positions."""
        return self.overlaps.inputs.categories

    def class_name(self, place: int) -> str:
        """place: position of the class, -1 for nothing."""
        names = list(self.categories.values())
        return names[place].replace("_", " ") if 0 <= place < len(names) else "nothing"

    @cached_property
    def table(self) -> ErrorTable:
        """All tracks of all models."""
        return concatenate([model.table for model in self.models])

    def with_limits(
        self, limits: Limits, cutoff: float, computed: Mapping[tuple[str, int], ModelAnalysis] | None = None
    ) -> "Comparison":
        """The same models at other limits. computed: analyses at these limits, by name and the `id` of their `stored`.

        Raises: ValueError where `cutoff` is not finite.
        """
        if not np.isfinite(cutoff):
            raise ValueError(f"expected a score to cut off at, got {cutoff}")
        ready = computed or {}
        models = (ready.get((m.name, id(m.stored))) or m.with_limits(limits, float(cutoff)) for m in self.models)
        return replace(self, models=tuple(models))

    def select_models(self, names: Sequence[str]) -> "Comparison":
        """Some of the models, in that order: the first becomes A. Raises: ValueError for a name of no model."""
        models = {model.name: model for model in self.models}
        unknown = next((name for name in names if name not in models), None)
        if unknown is not None or not names:
            raise ValueError(f"expected some of the models {', '.join(models)}, got {unknown!r}")
        return replace(self, models=tuple(models[name] for name in names))


# --- one video: matches, differences, the list of videos

VideoOrder = Literal["file", "name", "AP", "errors", "cost", "length"]
VIDEO_ORDERS: tuple[VideoOrder, ...] = ("file", "name", "AP", "errors", "cost", "length")

Marks = Mapping[int, list[dict]]
"""Track id -> [{"frame": f, "kind": "switch" | "fragment"}], in the order of frames."""


def match_rows(comparison: Comparison, model: int, video_id: int) -> list[tuple[ErrorRecord, bool]]:
    """The tracks of a video, and whether a prediction is matched to ground truth or explains it.

    Matches come first, by falling score, then missed ground truth, then the other predictions.
    Raises: ValueError for an unknown video.
    """
    t = comparison.table
    rows = np.flatnonzero((t.model == model) & (t.video == _video_place(comparison, video_id)))
    of_truths, of_predictions = rows[t.truth[rows]], rows[~t.truth[rows]]
    with_truth = np.isin(t.prediction_row[of_predictions], t.prediction_row[of_truths])
    missed = of_truths[t.prediction_row[of_truths] < 0]

    def records(rows: np.ndarray, matched: bool = False) -> list[tuple[ErrorRecord, bool]]:
        own = sorted(map(t.record, rows.tolist()), key=lambda record: -(record.score or 0))
        return [(record, matched) for record in own]

    return [*records(of_predictions[with_truth], True), *records(missed), *records(of_predictions[~with_truth])]


def _video_place(comparison: Comparison, video_id: int) -> int:
    place = comparison.video_places.get(video_id)
    if place is None:
        raise ValueError(f"{comparison.project.name} has no video {video_id}")
    return place


# --- frame by frame


@dataclass(frozen=True)
class IouCurve:
    """IoU in every frame of the video, in [0, 1], None where neither track is present; of a track alone the highest
    with any of the other side. worst, median, best: frames, None where there is none."""

    ious: tuple[float | None, ...]
    worst: int | None
    median: int | None
    best: int | None

    @property
    def frames(self) -> tuple[int, ...]:
        """Those in which either track is present."""
        return tuple(frame for frame, iou in enumerate(self.ious) if iou is not None)


def iou_curve(
    comparison: Comparison, model: int, video_id: int, truth_id: int | None, prediction_id: int | None
) -> IouCurve:
    """Of a pair, or of a track alone. Raises: ValueError for an unknown video or track."""

    def position(ids: np.ndarray, id: int | None, kind: str) -> int | None:
        positions = np.flatnonzero(ids == id)
        if id is not None and not len(positions):
            raise ValueError(f"this video has no {kind} {id} at this cut-off")
        return None if id is None else int(positions[0])

    overlaps, place = comparison.models[model].overlaps, _video_place(comparison, video_id)
    pairs, inputs = overlaps.pairs[place], overlaps.inputs
    g = position(inputs.ground_truth.ids[pairs.ground_truth], truth_id, "annotation")
    d = position(inputs.predictions.ids[pairs.predictions], prediction_id, "prediction")
    length = inputs.videos[place].length
    present, ious = (values[:length] for values in pairs.track_ious(d, g))
    values = [round(iou, 4) if known else None for iou, known in zip(ious.tolist(), present.tolist(), strict=True)]
    values += [None] * (length - len(values))
    frames = np.flatnonzero(present)
    if not len(frames):
        return IouCurve(tuple(values), None, None, None)
    order = frames[np.argsort(ious[frames].round(6), kind="stable")].tolist()
    best = int(frames[np.argmax(ious[frames])])
    return IouCurve(tuple(values), order[0], order[(len(order) - 1) // 2], best)


def row_curve(comparison: Comparison, index: int) -> IouCurve:
    """The curve of a row of the table."""
    record = comparison.table.record(index)
    return iou_curve(
        comparison, int(comparison.table.model[index]), record.video_id, record.truth_id, record.prediction_id
    )


def timeline_marks(comparison: Comparison, model: int, video_id: int) -> tuple[Marks, Marks]:
    """Marks on the timelines of the ground truth and of one model's predictions: the identity switches and fragments
    that `tevit evaluate --metrics id` counts, of all predictions.

    On ground truth: where it passes to another prediction, and where it is matched again after a gap. On a prediction:
    where it takes a track over, and where it is the one that is matched again. Raises: ValueError for an unknown video.
    """
    overlaps = comparison.models[model].overlaps
    switches, fragments = video_events(overlaps, overlaps.pairs[_video_place(comparison, video_id)])
    events = [(event.frame, "switch", event.truth, event.after) for event in switches]
    events += [(event.frame, "fragment", event.truth, event.prediction) for event in fragments]
    truths: dict[int, list[dict]] = {}
    predictions: dict[int, list[dict]] = {}
    for frame, kind, truth, prediction in sorted(events):
        mark = {"frame": frame, "kind": kind}
        truths.setdefault(int(overlaps.inputs.ground_truth.ids[truth]), []).append(mark)
        predictions.setdefault(int(overlaps.inputs.predictions.ids[prediction]), []).append(mark)
    return truths, predictions


def tracks_above(result: VideoResult, cutoff: float) -> VideoResult:
    """The tracks of at least this score."""
    return replace(result, tracks=tuple(track for track in result.tracks if track.score >= cutoff))


# --- differences of masks

KINDS = {1: "agreed", 2: "missed", 3: "invented"}
"""Track id, and category id, of each kind of pixels -> its name."""


def difference(
    truth: VideoResult, prediction: VideoResult, truth_id: int | None = None, prediction_id: int | None = None
) -> VideoResult:
    """Pixels of both, of the ground truth alone, of the prediction alone: tracks 1, 2, 3 of the classes KINDS.

    truth_id, prediction_id: of one track each; None: all of that side together (crowds are left out). Empty kinds are
    left out. Raises: ValueError for an unknown track, or videos of different sizes or lengths.
    """
    if (truth.size_hw, truth.length) != (prediction.size_hw, prediction.length):
        raise ValueError(
            f"expected both sides of {truth.size_hw} and {truth.length} frames, got {prediction.size_hw} and "
            f"{prediction.length}"
        )
    a, b = _side_union(truth, truth_id), _side_union(prediction, prediction_id)
    kinds = _intersect(a, b), _intersect(a, _complement(b)), _intersect(b, _complement(a))
    tracks = []
    for id, kind in zip(KINDS, kinds, strict=True):
        if any(kind):
            tracks.append(Track(id, id, 1.0, tuple(kind), masks.to_boxes_xyxy(kind), masks.areas(kind)))
    return replace(truth, categories=KINDS, tracks=tuple(tracks))


def _side_union(result: VideoResult, id: int | None) -> list[RLE | None]:
    """The union of the chosen tracks' masks in each frame."""
    tracks = [track for track in result.tracks if (not track.iscrowd if id is None else track.id == id)]
    if id is not None and not tracks:
        raise ValueError(f"video {result.name!r} has no track {id}")
    frames = ([rle for track in tracks if (rle := track.rles[f]) is not None] for f in range(result.length))
    return [masks.union(rles) if rles else None for rles in frames]


def _intersect(a: Sequence[RLE | None], b: Sequence[RLE | bool | None]) -> list[RLE | None]:
    """The common pixels in each frame; True in b: everything."""
    result: list[RLE | None] = []
    for one, other in zip(a, b, strict=True):
        if one is None or other is None or other is False:
            result.append(None)
        else:
            result.append(one if isinstance(other, bool) else masks.coco.merge([one, other], intersect=True))
    areas = masks.areas(result)
    return [rle if area else None for rle, area in zip(result, areas.tolist(), strict=True)]


def _complement(rles: Sequence[RLE | None]) -> list[RLE | bool]:
    """Everything but the mask in each frame, on the run lengths; True where there is none."""

    def complement(runs: np.ndarray) -> np.ndarray:
        runs = runs[:-1] if runs[-1] == 0 else runs
        return (runs[1:] if runs[0] == 0 else np.concatenate([[0], runs])).astype(np.uint32)

    known = [rle for rle in rles if rle is not None]
    if not known:
        return [True] * len(rles)
    pixels = np.array([rle["size"][0] * rle["size"][1] for rle in known], np.int64)
    decoded = decode_texts([rle["counts"] for rle in known], pixels)
    runs = (decoded.lengths[start:stop].ravel() for start, stop in zip(decoded.first, decoded.first[1:], strict=False))
    plain = [{"size": rle["size"], "counts": complement(own)} for rle, own in zip(known, runs, strict=True)]
    height, width = known[0]["size"]
    complements = iter(masks.coco.frPyObjects(plain, height, width))
    return [True if rle is None else next(complements) for rle in rles]


# --- the list of videos


@dataclass(frozen=True)
class VideoRow:
    """A row of the list of videos. length: frames. truths: tracks of ground truth, None without any. predictions:
    tracks of each model. For each model, once evaluated: ap in [0, 1], None without ground truth in the video; errors;
    cost, as share of the AP lost."""

    id: int
    name: str
    length: int
    truths: int | None
    predictions: tuple[int, ...]
    ap: tuple[float | None, ...] = ()
    errors: tuple[int, ...] = ()
    cost: tuple[float, ...] = ()


def video_rows(project: Project, comparison: Comparison | None = None) -> list[VideoRow]:
    """All videos in the order of the file. comparison: of the project's models, or of some of them."""
    results = project.results
    if comparison is not None:
        results = [project.results[project.model_index(model.name)] for model in comparison.models]
    rows = [
        VideoRow(info.id, info.name, info.length, None, tuple(len(own.of_video(info.id)) for own in results))
        for info in project.dataset.videos.values()
    ]
    if comparison is None:
        return rows
    table, places = comparison.table, comparison.video_places
    shape = len(comparison.models), len(places)
    cells = table.model.astype(np.int64) * len(places) + table.video
    errors = np.bincount(cells[table.error], minlength=shape[0] * shape[1]).reshape(shape)
    cost = np.bincount(cells, weights=table.share, minlength=shape[0] * shape[1]).reshape(shape)
    measured = []
    for row in rows:
        figures, place = [model.by_video[row.id] for model in comparison.models], places[row.id]
        measured.append(
            replace(
                row,
                truths=figures[0].truths,
                ap=tuple(None if figure.AP < 0 else figure.AP for figure in figures),
                errors=tuple(errors[:, place].tolist()),
                cost=tuple(cost[:, place].tolist()),
            )
        )
    return measured


def filter_videos(
    rows: Sequence[VideoRow], text: str = "", order: VideoOrder = "file", model: int = 0
) -> list[VideoRow]:
    """Rows whose name or id has all words of `text`; lowest AP, most errors, highest cost or longest first.

    model: index of the model whose AP, errors and cost count. Raises: ValueError for an unknown order.
    """
    if order not in VIDEO_ORDERS:
        raise ValueError(f"expected to sort by one of {', '.join(VIDEO_ORDERS)}, got {str(order)[:40]!r}")
    words = text.casefold().split()
    matching = [row for row in rows if all(word in f"{row.name} {row.id}".casefold() for word in words)]

    def of_model(values: Sequence[Any]) -> Any:
        return values[model] if model < len(values) else None

    keys = {
        "file": lambda row: 0,
        "name": lambda row: row.name,
        "AP": lambda row: 2 if of_model(row.ap) is None else of_model(row.ap),
        "errors": lambda row: -(of_model(row.errors) or 0),
        "cost": lambda row: -(of_model(row.cost) or 0),
        "length": lambda row: -row.length,
    }
    return sorted(matching, key=keys[order])


def neighbour_video(rows: Sequence[VideoRow], video_id: int, step: int) -> int | None:
    """Id of the video `step` rows after another (before it, if negative); None beyond the ends."""
    ids = [row.id for row in rows]
    place = ids.index(video_id) + step if video_id in ids else -1
    return ids[place] if 0 <= place < len(ids) else None
