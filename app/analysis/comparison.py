"""What was found out about one or several models on one data set; limits and score cut-off can be moved.

The heavy part was worked out before (`app.analysis.evaluating`) and is shared by everybody; what is moved is quick.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from app.analysis.evaluating import NAMES, SAMPLES, Kept
from app.projects.project import Project
from tevit.evaluation.api import Evaluation, conclude
from tevit.evaluation.bootstrap import Interval, differences, draw_weights, intervals, resample
from tevit.evaluation.breakdown import Part, by_length, by_size, by_video
from tevit.evaluation.curves import Curves, count_positives, curves, figure
from tevit.evaluation.error_columns import Columns, Geometry, columns, geometry
from tevit.evaluation.errors import Errors, Limits, find_costs, find_errors
from tevit.evaluation.matching import Outcome, Question, settle
from tevit.evaluation.oracle_gaps import Gap, Gaps, find_gaps
from tevit.evaluation.overlaps import Measured
from tevit.evaluation.score_filter import above

FEWER_SAMPLES = 200  # at a cut-off, so that it is answered at once
DEFAULT = Limits()


@dataclass(frozen=True, eq=False)
class ModelFindings:
    """One model at certain limits and with the predictions from `cutoff` on alone.

    figures: AP, AP50, AP75, AR1, AR10 (and more), in [0, 1], -1: no ground truth. ap: at `limits.positive`; dap: type
    -> AP gained by mending it; mended: AP with all mended. columns: a record a track. Everything else is worked out
    when it is asked for.
    """

    name: str
    kept: Kept
    limits: Limits
    cutoff: float
    measured: Measured
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
        return conclude(self.measured)

    @cached_property
    def quick(self) -> tuple[Outcome, Curves]:
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
        """The second lens: what tracking, classes and masks cost."""
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


def of_model(name: str, kept: Kept) -> ModelFindings:
    """A model as it was kept, at the default limits."""
    head = kept.head
    return ModelFindings(
        name, kept, DEFAULT, 0.0, kept.measured, head.figures, kept.columns, head.ap, head.dap, head.mended
    )


def moved(found: ModelFindings, limits: Limits, cutoff: float) -> ModelFindings:
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


def _quick(measured: Measured) -> tuple[Outcome, Curves]:
    """Without the sizes, that would take three times as long again."""
    inputs = measured.inputs
    everything = Question(np.zeros((1, len(inputs.truths.ids)), bool), np.zeros((1, len(inputs.predictions.ids)), bool))
    outcome = settle(measured.groups, inputs.truths, inputs.predictions, everything)
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
class Findings:
    """Models in the order of the project; the first is A, the second B. Shared by everybody who looks at them."""

    project: Project
    models: tuple[ModelFindings, ...]

    @property
    def limits(self) -> Limits:
        """The same for all models."""
        return self.models[0].limits

    @property
    def cutoff(self) -> float:
        """The least score that counts."""
        return self.models[0].cutoff

    @property
    def measured(self) -> Measured:
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

    def moved(self, limits: Limits, cutoff: float, known: Mapping[int, ModelFindings] | None = None) -> "Findings":
        """The same models at other limits. known: some that are there already, by the `id` of what they were kept as.

        Raises: ValueError for a cut-off that is no number.
        """
        if not np.isfinite(cutoff):
            raise ValueError(f"expected a score to cut off at, got {cutoff}")
        there = known or {}
        models = (there.get(id(model.kept)) or moved(model, limits, float(cutoff)) for model in self.models)
        return replace(self, models=tuple(models))

    def chosen(self, names: Sequence[str]) -> "Findings":
        """Some of the models, in that order: the first becomes A. Raises: ValueError for a name that is none's."""
        known = {model.name: model for model in self.models}
        strange = next((name for name in names if name not in known), None)
        if strange is not None or not names:
            raise ValueError(f"expected some of the models {', '.join(known)}, got {strange!r}")
        return replace(self, models=tuple(known[name] for name in names))


def _spread(figures: Mapping[str, float], samples: Mapping[str, np.ndarray]) -> Mapping[str, Interval | None]:
    return intervals({name: figures[name] for name in samples}, samples)
