"""How far a figure can be trusted: the same figures on data sets of as many videos, drawn with replacement."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tevit.evaluation.curves import FIGURES, MOST, RECALL_POINTS, by_area
from tevit.evaluation.matching import Matches
from tevit.evaluation.overlaps import Overlaps

if TYPE_CHECKING:  # it imports a progress bar, which takes a while
    from tevit.progress import Progress

_AT_ONCE = 100  # samples
_ALL = tuple(FIGURES)


@dataclass(frozen=True)
class Interval:
    """low, high: the middle 95 % of the samples. better: the share of them above 0, telling for differences."""

    low: float
    high: float
    better: float


Samples = Mapping[str, np.ndarray]
"""Figure -> float64 (S,), its value on each sample, NaN where a sample has no ground truth."""


def draw_weights(videos: int, samples: int, seed: int = 0) -> np.ndarray:
    """int64 (S, V): how often each video is in each sample."""
    return np.random.default_rng(seed).multinomial(videos, np.full(videos, 1 / videos), size=samples)


def resample(
    measured: Overlaps,
    outcome: Matches,
    weights: np.ndarray,
    progress: "Progress | None" = None,
    names: Sequence[str] = _ALL,
) -> Samples:
    """The twelve figures on samples of the videos, or those of `names`: without the sizes it takes a quarter as long.

    weights: int64 (S, V), as from `draw_weights`; the same ones for two models make their difference paired.
    outcome: of the official question. Two copies of a video count as two videos; in the order of
    scores the copies of a prediction stand together.
    """
    inputs = measured.inputs
    question = by_area(inputs)
    counting = ~(question.truth_ignored | inputs.ground_truth.crowd)
    found = []
    for start in range(0, len(weights), _AT_ONCE):
        found.append(_figures(measured, outcome, weights[start : start + _AT_ONCE], counting, names))
        if progress:
            progress("drawing samples", min(start + _AT_ONCE, len(weights)), len(weights))
    return {name: np.concatenate([part[name] for part in found]) for name in names}


def _figures(
    measured: Overlaps, outcome: Matches, weights: np.ndarray, counting: np.ndarray, names: Sequence[str]
) -> Samples:
    inputs = measured.inputs
    kinds = inputs.ground_truth.categories * (not measured.agnostic)
    videos = inputs.predictions.videos[outcome.predictions]
    classes = np.unique(kinds)
    shape = (len(classes), len(counting), len(weights), outcome.right.shape[1])
    precision, recall = np.full(shape, np.nan), np.full((len(MOST), *shape), np.nan)
    for k, kind in enumerate(classes):
        here = np.flatnonzero(outcome.categories == kind)
        here = here[np.argsort(-outcome.scores[here], kind="stable")]
        for a in {FIGURES[name].area for name in names}:
            counts = counting[a]
            positives = weights[:, inputs.ground_truth.videos[counts & (kinds == kind)]].sum(axis=1)
            known = positives > 0
            found = _class_figures(outcome, here, a, weights[known][:, videos[here]], positives[known])
            precision[k, a, known], recall[:, k, a, known] = found
    return {
        name: _mean_of_classes(
            precision[:, f.area] if f.array == "precision" else recall[f.most, :, f.area], f.threshold
        )
        for name, f in ((name, FIGURES[name]) for name in names)
    }


def _class_figures(
    outcome: Matches, here: np.ndarray, a: int, weights: np.ndarray, positives: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """AP (S, T) and recall (M, S, T) of one class. here: its predictions, best first; weights: (S, n), of these."""
    right, ignored = outcome.right[a][:, here], outcome.ignored[a][:, here]
    recall = [(weights * (outcome.ranks[here] < limit)) @ right.T / positives[:, None] for limit in MOST]
    turns = np.flatnonzero(right.any(axis=0))  # recall grows nowhere else, and precision is highest there
    hits = np.cumsum(weights[:, None] * right, axis=2)[..., turns]
    misses = np.cumsum(weights[:, None] * (~right & ~ignored), axis=2)[..., turns]
    best = np.maximum.accumulate((hits / (hits + misses + np.spacing(1)))[..., ::-1], axis=2)[..., ::-1]
    reached = np.searchsorted(RECALL_POINTS, hits / positives[:, None, None], side="right")
    gained = np.diff(reached, axis=2, prepend=0)
    return (best * gained).sum(axis=2) / len(RECALL_POINTS), np.stack(recall)


def _mean_of_classes(values: np.ndarray, threshold: int | None) -> np.ndarray:
    """values: (K, S, T), NaN where unknown. Returns (S,)."""
    values = values.mean(axis=2) if threshold is None else values[..., threshold]
    known = ~np.isnan(values)
    count = known.sum(axis=0)
    return np.where(count, np.where(known, values, 0).sum(axis=0) / np.maximum(count, 1), np.nan)


def interval(value: float, samples: np.ndarray) -> Interval | None:
    """The spread of one figure's samples (or of a difference's) round its value on the data set itself.

    Only the spread is taken: a sample has fewer different videos, and AP is higher the fewer there are, because it
    reads the best precision still to come. None where there is no ground truth.
    """
    known = samples[~np.isnan(samples)]
    if not len(known):
        return None
    centred = value + known - known.mean()
    low, high = np.percentile(centred, [2.5, 97.5])
    return Interval(float(low), float(high), float((centred > 0).mean()))


def intervals(figures: Mapping[str, float], samples: Samples) -> Mapping[str, Interval | None]:
    """Of all that were drawn, within [0, 1]. figures: their values on the data set itself."""
    found = {name: interval(figures[name], samples[name]) for name in samples}
    return {name: i and replace(i, low=max(i.low, 0.0), high=min(i.high, 1.0)) for name, i in found.items()}


def differences(
    figures: Mapping[str, float], samples: Samples, base: Mapping[str, float], base_samples: Samples
) -> Mapping[str, Interval | None]:
    """Of what one model has more than another, whose samples are of the same videos."""
    return {name: interval(figures[name] - base[name], samples[name] - base_samples[name]) for name in samples}
