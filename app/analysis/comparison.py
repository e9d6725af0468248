"""One or several evaluated models on one data set at chosen limits and score threshold, with a table of all tracks.

The slow part (`StoredEvaluation`) is computed once by `app.analysis.service` and shared by all pages; other limits are
quick.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import msgspec
import numpy as np

from tevit.evaluation.api import Evaluation, accumulate
from tevit.evaluation.bootstrap import Interval, differences, draw_weights, intervals, resample
from tevit.evaluation.error_table import (
    Errors,
    ErrorTable,
    TrackGeometry,
    build_table,
    concatenate,
    track_geometry,
)
from tevit.evaluation.errors import Limits, find_costs
from tevit.evaluation.identity import measure_identity
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
from tevit.evaluation.oracle import Gap, Gaps, find_gaps
from tevit.evaluation.overlaps import Overlaps, filter_scores

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
