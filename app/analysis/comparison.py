"""One or several evaluated models on one data set at chosen limits and score threshold, with a table of all tracks.

The slow part (`StoredEvaluation`) is computed once by `app.analysis.service` and shared by all pages; other limits are
quick.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import msgspec
import numpy as np

from app.projects.project import Project
from tevit.evaluation.api import Evaluation, accumulate
from tevit.evaluation.bootstrap import Interval, differences, draw_weights, intervals, resample
from tevit.evaluation.curves import BreakdownRow, Curves, by_length, by_size, by_video, count_positives, curves, figure
from tevit.evaluation.error_table import ALL_TYPES, Columns, Errors, Geometry, columns, find_errors, geometry
from tevit.evaluation.errors import TYPES, Limits, find_costs
from tevit.evaluation.matching import IgnoreMasks, Matches, match_all
from tevit.evaluation.oracle import Gap, Gaps, find_gaps
from tevit.evaluation.overlaps import Overlaps, above

FIGURE_NAMES = ("AP", "AP50", "AP75", "AR1", "AR10")
SAMPLES = 1000  # of the bootstrap
FEWER_SAMPLES = 200  # above a score threshold: computed on demand
DEFAULT = Limits()


class EvaluationSummary(msgspec.Struct):
    """The scalars of a stored evaluation. ap, dap, mended: at the default limits. gaps_by_…: see `Gaps`."""

    format: int
    figures: dict[str, float]
    per_class: dict[int, dict[str, float]]
    ap: float
    dap: dict[str, float]
    mended: float
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
    columns: Columns
    precision: np.ndarray
    samples: Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class ModelAnalysis:
    """One model at certain limits, with only the predictions of at least `cutoff` in score.

    figures: AP, AP50, AP75, AR1, AR10 (and more), in [0, 1], -1: no ground truth. ap: at `limits.positive`. dap: error
    type -> AP gained by fixing it. mended: AP with all errors fixed. columns: a row per track. The properties are
    computed on first use.
    """

    name: str
    stored: StoredEvaluation
    limits: Limits
    cutoff: float
    overlaps: Overlaps
    figures: Mapping[str, float]
    columns: Columns
    ap: float
    dap: Mapping[str, float]
    mended: float

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

    @cached_property
    def errors(self) -> Errors:
        """With a record per track, as `tevit errors` writes them."""
        return find_errors(self.overlaps, self.limits)

    @cached_property
    def geometry(self) -> Geometry:
        """What does not change with the limits."""
        return geometry(self.overlaps, self.limits.cover)

    @classmethod
    def of(cls, name: str, stored: StoredEvaluation) -> "ModelAnalysis":
        """A stored model at the default limits."""
        s = stored.summary
        return cls(name, stored, DEFAULT, 0.0, stored.overlaps, s.figures, stored.columns, s.ap, s.dap, s.mended)

    def with_limits(self, limits: Limits, cutoff: float) -> "ModelAnalysis":
        """The same model at other limits. cutoff: the lowest score that counts."""
        if (limits, cutoff) == (self.limits, self.cutoff):
            return self
        base = ModelAnalysis.of(self.name, self.stored)
        overlaps = self.overlaps if cutoff == self.cutoff else above(self.stored.overlaps, cutoff)
        whole = overlaps is self.stored.overlaps
        if whole and limits == DEFAULT:
            return replace(base, cutoff=cutoff)
        source = self if overlaps is self.overlaps and limits.cover == self.limits.cover else None
        tracks = source.geometry if source else geometry(overlaps, limits.cover)
        matched = None if whole else source.matched if source else _match(overlaps)
        costs = find_costs(overlaps, limits)
        result = replace(
            base,
            limits=limits,
            cutoff=cutoff,
            overlaps=overlaps,
            figures={name: figure(matched[1], name) for name in FIGURE_NAMES} if matched else base.figures,
            columns=columns(overlaps, costs, tracks),
            ap=costs.ap,
            dap=costs.dap,
            mended=costs.mended,
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
    def table(self) -> "TrackTable":
        """All tracks of all models."""
        return _table(self)

    def row(self, index: int) -> "ErrorRow":
        """One row of the table. index: in 0 to N - 1."""
        t = self.table
        video = self.overlaps.inputs.videos[int(t.video[index])]
        has_t, has_p = bool(t.truth_row[index] >= 0), bool(t.prediction_row[index] >= 0)
        return ErrorRow(
            key=_key(t, index),
            model=self.models[int(t.model[index])].name,
            video_id=video.id,
            video=video.name,
            type=ALL_TYPES[int(t.type[index])],
            truth=bool(t.truth[index]),
            truth_id=int(t.truth_id[index]) if has_t else None,
            prediction_id=int(t.prediction_id[index]) if has_p else None,
            truth_class=self.class_name(int(t.truth_class[index])) if has_t else None,
            predicted_class=self.class_name(int(t.predicted_class[index])) if has_p else None,
            score=float(t.score[index]) if has_p else None,
            iou=float(t.iou[index]),
            share=float(t.share[index]),
            frames=int(t.frames[index]),
            length=int(t.length[index]),
            worst=int(t.worst[index]) if t.worst[index] >= 0 else None,
            identity_switch=bool(t.switch[index]),
            fragmentation=bool(t.broken[index]),
            outcome=OUTCOME_WORDS.get(OUTCOMES[int(t.outcome[index])], ""),
        )

    @cached_property
    def _row_keys(self) -> Mapping[str, int]:
        return {_key(self.table, index): index for index in range(len(self.table.model))}

    def find_row(self, key: str) -> int | None:
        """The index of a row by its key; None where there is no such row at these limits."""
        return self._row_keys.get(key)

    def with_limits(
        self, limits: Limits, cutoff: float, computed: Mapping[int, ModelAnalysis] | None = None
    ) -> "Comparison":
        """The same models at other limits. computed: analyses at these limits, by the `id` of their `stored`.

        Raises: ValueError where `cutoff` is not finite.
        """
        if not np.isfinite(cutoff):
            raise ValueError(f"expected a score to cut off at, got {cutoff}")
        ready = computed or {}
        models = (ready.get(id(m.stored)) or m.with_limits(limits, float(cutoff)) for m in self.models)
        return replace(self, models=tuple(models))

    def select_models(self, names: Sequence[str]) -> "Comparison":
        """Some of the models, in that order: the first becomes A. Raises: ValueError for a name of no model."""
        models = {model.name: model for model in self.models}
        unknown = next((name for name in names if name not in models), None)
        if unknown is not None or not names:
            raise ValueError(f"expected some of the models {', '.join(models)}, got {unknown!r}")
        return replace(self, models=tuple(models[name] for name in names))


# --- the table of tracks

LENSES = {
    "tracking": "Identity switches, fragments, and tracks that are right in some frames only",
    "classification": "Tracks in a wrong class",
    "masks": "Masks that do not fit, objects missed, tracks of nothing and tracks too many",
}
"""Groups of the oracle gaps; a track may belong to several."""
OUTCOMES = ("", "fixed", "broken", "both wrong", "both right")
OUTCOME_WORDS = {
    "fixed": "fixed by B",
    "broken": "broken by B",
    "both wrong": "wrong in both",
    "both right": "right in both",
}
_CODE = {type: code for code, type in enumerate(ALL_TYPES)}


@dataclass(frozen=True, eq=False)
class TrackTable:
    """N rows: model by model, predictions before truths. Classes and videos are positions in the comparison' lists.

    model: int16 (N,). truth: bool (N,), a truth's row. type: int8 (N,), position in ALL_TYPES. video, truth_class,
    predicted_class: int64 (N,). truth_id, prediction_id: int64 (N,), meaningless where truth_row or prediction_row
    is -1. score: float64 (N,), NaN without prediction. iou, share: float64 (N,). frames: int64 (N,), in how many either
    track is there; length: int64 (N,), frames of the truth, of the prediction where there is none. worst: int64 (N,),
    -1 for none. switch, broken: bool (N,). outcome: int8 (N,), position in OUTCOMES: what became of the row's truth in
    B after A; of a row without truth, or with one model alone, "".
    """

    model: np.ndarray
    truth: np.ndarray
    type: np.ndarray
    video: np.ndarray
    truth_row: np.ndarray
    prediction_row: np.ndarray
    truth_id: np.ndarray
    prediction_id: np.ndarray
    truth_class: np.ndarray
    predicted_class: np.ndarray
    score: np.ndarray
    iou: np.ndarray
    share: np.ndarray
    frames: np.ndarray
    length: np.ndarray
    worst: np.ndarray
    switch: np.ndarray
    broken: np.ndarray
    outcome: np.ndarray
    words: Sequence[str]

    @cached_property
    def error(self) -> np.ndarray:
        """bool (N,): rows that are errors: false positives and missed truths."""
        return self.type < len(TYPES)

    @cached_property
    def confused(self) -> np.ndarray:
        """bool (N,): rows that the class confusion matrix counts."""
        of_prediction = np.isin(self.type, [_CODE["correct"], _CODE["classification"]]) & ~self.truth
        return of_prediction | self.is_type("background", "missed")

    @cached_property
    def order(self) -> np.ndarray:
        """int64 (N,): rows by highest ΔAP first; then by score, model and place."""
        score = np.nan_to_num(self.score, nan=1.0)
        return np.lexsort((np.arange(len(self.model)), -score, -self.share))

    def is_type(self, *types: str) -> np.ndarray:
        """bool (N,): rows of any of the types."""
        return np.isin(self.type, [_CODE[type] for type in types])

    def seen_through(self, lens: str) -> np.ndarray:
        """bool (N,): what belongs to a lens, see LENSES; switches and fragments of truths that were found, too."""
        if lens == "tracking":
            return (self.switch | self.broken | self.is_type("temporal")) & ~self.is_type("ignored")
        if lens == "classification":
            return self.is_type("classification", "both")
        return self.is_type("spatial", "missed", "background", "duplicate")


def _table(comparison: Comparison) -> TrackTable:
    parts = [_part(comparison, index, model) for index, model in enumerate(comparison.models)]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return TrackTable(
        **joined,
        outcome=_outcomes(comparison, joined["truth_row"]),
        words=_words(comparison, joined),
    )


def _part(comparison: Comparison, index: int, model: ModelAnalysis) -> dict[str, np.ndarray]:
    found, inputs = model.columns, model.overlaps.inputs
    truths, predictions = inputs.ground_truth, inputs.predictions
    rows_t, rows_p = found.truths, found.predictions
    has_t, has_p = rows_t >= 0, rows_p >= 0
    frames_t, frames_p = _at(model.overlaps.ground_truth_frames, rows_t), _at(model.overlaps.prediction_frames, rows_p)
    return {
        "model": np.full(len(rows_t), index, np.int16),
        "truth": found.truth,
        "type": found.type,
        "video": np.where(has_p, _at(predictions.videos, rows_p), _at(truths.videos, rows_t)),
        "truth_row": rows_t,
        "prediction_row": rows_p,
        "truth_id": np.where(has_t, _at(truths.ids, rows_t), -1),
        "prediction_id": np.where(has_p, _at(predictions.ids, rows_p), -1),
        "truth_class": np.where(has_t, _at(truths.categories, rows_t), -1),
        "predicted_class": np.where(has_p, _at(predictions.categories, rows_p), -1),
        "score": np.where(has_p, _at(predictions.scores, rows_p), np.nan),
        "iou": found.ious,
        "share": found.shares,
        "frames": found.frames,
        "length": np.where(has_t, frames_t, frames_p),
        "worst": found.worst,
        "switch": found.switch,
        "broken": found.broken,
    }


def _at(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return values[rows] if len(values) else np.zeros(len(rows), values.dtype)


def matched_ground_truth(model: ModelAnalysis) -> np.ndarray:
    """bool (G,): the truths that a model finds, by row of the truths."""
    found, columns = np.zeros(len(model.overlaps.inputs.ground_truth.ids), bool), model.columns
    found[columns.truths[columns.truth]] = columns.type[columns.truth] == _CODE["correct"]
    return found


def _outcomes(comparison: Comparison, rows: np.ndarray) -> np.ndarray:
    if len(comparison.models) < 2:
        return np.zeros(len(rows), np.int8)
    in_a, in_b = (_at(matched_ground_truth(model), rows) for model in comparison.models[:2])
    codes = np.select([~in_a & in_b, in_a & ~in_b, ~in_a & ~in_b], [1, 2, 3], 4).astype(np.int8)
    return np.where(rows >= 0, codes, 0).astype(np.int8)


def _words(comparison: Comparison, joined: dict[str, np.ndarray]) -> list[str]:
    """What a search looks through, in lower case."""
    videos = [f"{video.name} {video.id}" for video in comparison.overlaps.inputs.videos]
    names = [*(f"{name} {name.replace('_', ' ')}" for name in comparison.categories.values()), ""]
    return [
        f"{videos[video]} {ALL_TYPES[type]} {names[truth_class]} {names[predicted_class]}".casefold()
        for video, type, truth_class, predicted_class in zip(
            *(joined[name].tolist() for name in ("video", "type", "truth_class", "predicted_class")), strict=True
        )
    ]


@dataclass(frozen=True)
class ErrorRow:
    """One row for the list. key: names it in events. Ids and classes None where there is no such track; worst None
    without frames; share: of the AP lost, in [0, 1]. outcome: in words, "" where there is none."""

    key: str
    model: str
    video_id: int
    video: str
    type: str
    truth: bool
    truth_id: int | None
    prediction_id: int | None
    truth_class: str | None
    predicted_class: str | None
    score: float | None
    iou: float
    share: float
    frames: int
    length: int
    worst: int | None
    identity_switch: bool
    fragmentation: bool
    outcome: str


def _key(t: TrackTable, index: int) -> str:
    """Model, side, row of its side's table: the same at all limits."""
    side, number = ("t", t.truth_row[index]) if t.truth[index] else ("p", t.prediction_row[index])
    return f"{t.model[index]}{side}{number}"
