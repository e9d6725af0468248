"""One or several evaluated models on one data set, at chosen limits and score cut-off, with a table of all tracks.

The slow part is computed before (`app.analysis.evaluating`) and shared by all pages; other limits are quick.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from app.analysis.evaluating import NAMES, SAMPLES, StoredEvaluation
from app.projects.project import Project
from tevit.evaluation.api import Evaluation, accumulate
from tevit.evaluation.bootstrap import Interval, differences, draw_weights, intervals, resample
from tevit.evaluation.breakdown import Part, by_length, by_size, by_video
from tevit.evaluation.curves import Curves, count_positives, curves, figure
from tevit.evaluation.error_columns import ALL_TYPES, Columns, Geometry, columns, geometry
from tevit.evaluation.error_types import TYPES
from tevit.evaluation.errors import Errors, Limits, find_costs, find_errors
from tevit.evaluation.matching import IgnoreMasks, Matches, match_all
from tevit.evaluation.oracle_gaps import Gap, Gaps, find_gaps
from tevit.evaluation.overlaps import Overlaps
from tevit.evaluation.score_filter import above

FEWER_SAMPLES = 200  # at a cut-off, so that it is answered at once
DEFAULT = Limits()


@dataclass(frozen=True, eq=False)
class ModelAnalysis:
    """One model at certain limits and with the predictions from `cutoff` on alone.

    figures: AP, AP50, AP75, AR1, AR10 (and more), in [0, 1], -1: no ground truth. ap: at `limits.positive`; dap: type
    -> AP gained by mending it; mended: AP with all mended. columns: a record per track. Everything else is computed
    on first use.
    """

    name: str
    kept: StoredEvaluation
    limits: Limits
    cutoff: float
    measured: Overlaps
    figures: Mapping[str, float]
    columns: Columns
    ap: float
    dap: Mapping[str, float]
    mended: float

    @property
    def at(self) -> tuple[Limits, float]:
        """Limits and cut-off."""
        return self.limits, self.cutoff

    @property
    def whole(self) -> bool:
        """Whether all predictions count."""
        return self.measured is self.kept.measured

    @cached_property
    def evaluation(self) -> Evaluation:
        """All official figures and curves."""
        return accumulate(self.measured)

    @cached_property
    def quick(self) -> tuple[Matches, Curves]:
        """What became of every prediction, and the curves, of all sizes together."""
        return _quick(self.measured)

    @cached_property
    def per_class(self) -> Mapping[int, Mapping[str, float]]:
        """Category id -> AP, AP50, AP75, AR1, AR10 (and more)."""
        if self.whole:
            return self.kept.head.per_class
        ids = self.measured.inputs.categories
        return {id: {name: figure(self.quick[1], name, k) for name in NAMES} for k, id in enumerate(ids)}

    @property
    def precision(self) -> np.ndarray:
        """float64 (T, R, K): at each IoU threshold, recall point and class. -1: unknown."""
        return self.kept.precision[..., 0] if self.whole else self.quick[1].precision[..., 0, 2]

    @cached_property
    def samples(self) -> Mapping[str, np.ndarray]:
        """The five figures on samples of the videos, the same ones for every model."""
        if self.whole:
            return self.kept.samples
        weights = draw_weights(len(self.measured.inputs.videos), FEWER_SAMPLES)
        return resample(self.measured, self.quick[0], weights, names=NAMES)

    @cached_property
    def by_size(self) -> Mapping[str, Part]:
        """All, small, medium, large tracks."""
        return self.kept.head.by_size if self.whole else by_size(self.measured)

    @cached_property
    def by_length(self) -> Mapping[str, Part]:
        """Short, middle and long tracks."""
        return self.kept.head.by_length if self.whole else by_length(self.measured)

    @cached_property
    def by_video(self) -> Mapping[int, Part]:
        """Video id -> figures of it alone."""
        return self.kept.head.by_video if self.whole else by_video(self.measured, self.quick[0])

    @cached_property
    def gap(self) -> Gap:
        """Oracle gaps: AP lost to tracking, classes and masks."""
        return self.kept.head.gap if self.whole else find_gaps(self.measured, parts=False).whole

    @cached_property
    def gaps(self) -> Gaps:
        """The same by parts; at a cut-off it takes a second or two."""
        return self.kept.head.gaps if self.whole else find_gaps(self.measured)

    @cached_property
    def errors(self) -> Errors:
        """With a record a track, as `tevit errors` has them."""
        return find_errors(self.measured, self.limits)

    @cached_property
    def geometry(self) -> Geometry:
        """What does not change with the limits."""
        return geometry(self.measured, self.limits.cover)


def of_model(name: str, kept: StoredEvaluation) -> ModelAnalysis:
    """A model as it was kept, at the default limits."""
    head = kept.head
    return ModelAnalysis(
        name, kept, DEFAULT, 0.0, kept.measured, head.figures, kept.columns, head.ap, head.dap, head.mended
    )


def with_limits(found: ModelAnalysis, limits: Limits, cutoff: float) -> ModelAnalysis:
    """The same model at other limits. cutoff: the least score that counts."""
    if (limits, cutoff) == (found.limits, found.cutoff):
        return found
    base = of_model(found.name, found.kept)
    measured = found.measured if cutoff == found.cutoff else above(found.kept.measured, cutoff)
    whole = measured is found.kept.measured
    if whole and limits == DEFAULT:
        return replace(base, cutoff=cutoff)
    source = found if measured is found.measured and limits.cover == found.limits.cover else None
    known = source.geometry if source else geometry(measured, limits.cover)
    quick = None if whole else source.quick if source else _quick(measured)
    costs = find_costs(measured, limits)
    result = replace(
        base,
        limits=limits,
        cutoff=cutoff,
        measured=measured,
        figures=base.figures if quick is None else {name: figure(quick[1], name) for name in NAMES},
        columns=columns(measured, costs, known),
        ap=costs.ap,
        dap=costs.dap,
        mended=costs.mended,
    )
    result.__dict__.update({"geometry": known} | ({} if quick is None else {"quick": quick}))
    return result


def _quick(measured: Overlaps) -> tuple[Matches, Curves]:
    """Without the sizes, that would take three times as long again."""
    inputs = measured.inputs
    everything = IgnoreMasks(
        np.zeros((1, len(inputs.truths.ids)), bool), np.zeros((1, len(inputs.predictions.ids)), bool)
    )
    outcome = match_all(measured.groups, inputs.truths, inputs.predictions, everything)
    return outcome, curves(outcome, count_positives(inputs, everything))


@dataclass(frozen=True)
class FigureRow:
    """One figure of every model. values: in [0, 1], -1: no ground truth. spreads: 95 % of the samples, None where
    there is no ground truth. differences: of every model to the first, the first's None."""

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
        """The least score that counts."""
        return self.models[0].cutoff

    @property
    def measured(self) -> Overlaps:
        """Of the first model: its videos, categories and truths are everybody's."""
        return self.models[0].measured

    @cached_property
    def figures(self) -> tuple[FigureRow, ...]:
        """AP, AP50, AP75, AR1, AR10."""
        base = self.models[0]
        spreads = [_spread(model.figures, model.samples) for model in self.models]
        more = [differences(m.figures, m.samples, base.figures, base.samples) for m in self.models[1:]]
        return tuple(
            FigureRow(
                name,
                tuple(model.figures[name] for model in self.models),
                tuple(spread[name] for spread in spreads),
                (None, *(found[name] for found in more)),
            )
            for name in NAMES
        )

    @property
    def samples(self) -> int:
        """How many samples the spreads are of."""
        return SAMPLES if self.models[0].whole else FEWER_SAMPLES

    @cached_property
    def video_places(self) -> Mapping[int, int]:
        """Video id -> its position in all lists."""
        return {video.id: place for place, video in enumerate(self.measured.inputs.videos)}

    @property
    def categories(self) -> Mapping[int, str]:
        """Category id -> name, ascending by id: the order of all class positions."""
        return self.measured.inputs.categories

    def class_name(self, place: int) -> str:
        """place: of the class, -1 for nothing."""
        return (
            list(self.categories.values())[place].replace("_", " ") if 0 <= place < len(self.categories) else "nothing"
        )

    @cached_property
    def table(self) -> "TrackTable":
        """All tracks of all models."""
        return _table(self)

    def row(self, index: int) -> "ErrorRow":
        """One row of the table. index: in 0 to N - 1."""
        t = self.table
        video = self.measured.inputs.videos[int(t.video[index])]
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
        self, limits: Limits, cutoff: float, known: Mapping[int, ModelAnalysis] | None = None
    ) -> "Comparison":
        """The same models at other limits. known: some that are there already, by the `id` of what they were kept as.

        Raises: ValueError for a cut-off that is no number.
        """
        if not np.isfinite(cutoff):
            raise ValueError(f"expected a score to cut off at, got {cutoff}")
        there = known or {}
        models = (there.get(id(model.kept)) or with_limits(model, limits, float(cutoff)) for model in self.models)
        return replace(self, models=tuple(models))

    def select_models(self, names: Sequence[str]) -> "Comparison":
        """Some of the models, in that order: the first becomes A. Raises: ValueError for a name that is none's."""
        known = {model.name: model for model in self.models}
        strange = next((name for name in names if name not in known), None)
        if strange is not None or not names:
            raise ValueError(f"expected some of the models {', '.join(known)}, got {strange!r}")
        return replace(self, models=tuple(known[name] for name in names))


def _spread(figures: Mapping[str, float], samples: Mapping[str, np.ndarray]) -> Mapping[str, Interval | None]:
    return intervals({name: figures[name] for name in samples}, samples)


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
    found, inputs = model.columns, model.measured.inputs
    truths, predictions = inputs.truths, inputs.predictions
    rows_t, rows_p = found.truths, found.predictions
    has_t, has_p = rows_t >= 0, rows_p >= 0
    frames_t, frames_p = _at(model.measured.truth_frames, rows_t), _at(model.measured.prediction_frames, rows_p)
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


def found_ground_truth(model: ModelAnalysis) -> np.ndarray:
    """bool (G,): the truths that a model finds, by row of the truths."""
    found, columns = np.zeros(len(model.measured.inputs.truths.ids), bool), model.columns
    found[columns.truths[columns.truth]] = columns.type[columns.truth] == _CODE["correct"]
    return found


def _outcomes(comparison: Comparison, rows: np.ndarray) -> np.ndarray:
    if len(comparison.models) < 2:
        return np.zeros(len(rows), np.int8)
    in_a, in_b = (_at(found_ground_truth(model), rows) for model in comparison.models[:2])
    codes = np.select([~in_a & in_b, in_a & ~in_b, ~in_a & ~in_b], [1, 2, 3], 4).astype(np.int8)
    return np.where(rows >= 0, codes, 0).astype(np.int8)


def _words(comparison: Comparison, joined: dict[str, np.ndarray]) -> list[str]:
    """What a search looks through, in lower case."""
    videos = [f"{video.name} {video.id}" for video in comparison.measured.inputs.videos]
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
