"""Confidence of figures: their spread on data sets of as many videos, drawn with replacement."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tevit.evaluation.matching import FIGURES, PREDICTION_LIMITS, RECALL_POINTS, Matches, by_area
from tevit.evaluation.overlaps import Overlaps

if TYPE_CHECKING:  # it imports a progress bar, which takes a while
    from tevit.progress import Progress

_BATCH = 100  # samples
_ALL = tuple(FIGURES)


@dataclass(frozen=True)
class Interval:
    """low, high: the middle 95 % of the samples. better: the share of samples above 0, meaningful for differences."""

    low: float
    high: float
    better: float


Samples = Mapping[str, np.ndarray]
"""Figure -> float64 (S,), its value on each sample, NaN where a sample has no ground truth."""


def draw_weights(videos: int, samples: int, seed: int = 0) -> np.ndarray:
    """int64 (S, V): how often each video is in each sample."""
    return np.random.default_rng(seed).multinomial(videos, np.full(videos, 1 / videos), size=samples)


def resample(
    overlaps: Overlaps,
    matches: Matches,
    weights: np.ndarray,
    progress: "Progress | None" = None,
    names: Sequence[str] = _ALL,
) -> Samples:
    """The figures on samples of the videos.

    Two copies of a video count as two videos; in the order of scores the copies of a prediction stand together.

    matches: with the official IgnoreMasks, or with the first alone where `names` need no others. weights: int64 (S, V),
    as from `draw_weights`; the same ones for two models make their difference paired. names: of FIGURES; without the
    sizes it takes a quarter as long.
    """
    ignore = by_area(overlaps.inputs)
    counting = ~(ignore.ground_truth | overlaps.inputs.ground_truth.crowd)
    batches = []
    for start in range(0, len(weights), _BATCH):
        batches.append(_figures(overlaps, matches, weights[start : start + _BATCH], counting, names))
        if progress:
            progress("drawing samples", min(start + _BATCH, len(weights)), len(weights))
    return {name: np.concatenate([batch[name] for batch in batches]) for name in names}


def _figures(
    overlaps: Overlaps, matches: Matches, weights: np.ndarray, counting: np.ndarray, names: Sequence[str]
) -> Samples:
    inputs = overlaps.inputs
    kinds = inputs.ground_truth.categories * (not overlaps.agnostic)
    videos = inputs.predictions.videos[matches.predictions]
    classes = np.unique(kinds)
    shape = (len(classes), len(counting), len(weights), matches.correct.shape[1])
    precision, recall = np.full(shape, np.nan), np.full((len(PREDICTION_LIMITS), *shape), np.nan)
    for k, kind in enumerate(classes):
        rows = np.flatnonzero(matches.categories == kind)
        rows = rows[np.argsort(-matches.scores[rows], kind="stable")]
        for a in {FIGURES[name].area for name in names}:
            positives = weights[:, inputs.ground_truth.videos[counting[a] & (kinds == kind)]].sum(axis=1)
            known = positives > 0
            values = _class_figures(matches, rows, a, weights[known][:, videos[rows]], positives[known])
            precision[k, a, known], recall[:, k, a, known] = values
    result = {}
    for name in names:
        array, threshold, area, limit = FIGURES[name]
        values = precision[:, area] if array == "precision" else recall[limit, :, area]
        values = values.mean(axis=2) if threshold is None else values[..., threshold]  # (K, S)
        known = ~np.isnan(values)
        count = known.sum(axis=0)
        result[name] = np.where(count, np.where(known, values, 0).sum(axis=0) / np.maximum(count, 1), np.nan)
    return result


def _class_figures(
    matches: Matches, rows: np.ndarray, a: int, weights: np.ndarray, positives: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """AP (S, T) and recall (M, S, T) of one class. rows: its predictions, best first; weights: (S, n), of these."""
    correct, ignored = matches.correct[a][:, rows], matches.ignored[a][:, rows]
    recall = [(weights * (matches.ranks[rows] < limit)) @ correct.T / positives[:, None] for limit in PREDICTION_LIMITS]
    hits_at = np.flatnonzero(correct.any(axis=0))  # recall grows nowhere else, and precision is highest there
    hits = np.cumsum(weights[:, None] * correct, axis=2)[..., hits_at]
    misses = np.cumsum(weights[:, None] * (~correct & ~ignored), axis=2)[..., hits_at]
    best = np.maximum.accumulate((hits / (hits + misses + np.spacing(1)))[..., ::-1], axis=2)[..., ::-1]
    reached = np.searchsorted(RECALL_POINTS, hits / positives[:, None, None], side="right")
    gained = np.diff(reached, axis=2, prepend=0)
    return (best * gained).sum(axis=2) / len(RECALL_POINTS), np.stack(recall)


def interval(value: float, samples: np.ndarray) -> Interval | None:
    """The spread of one figure's samples (or a difference's) around its value on the data set itself.

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
    """Of all figures in `samples`, within [0, 1]. figures: their values on the data set itself."""
    spreads = {name: interval(figures[name], samples[name]) for name in samples}
    return {name: i and replace(i, low=max(i.low, 0.0), high=min(i.high, 1.0)) for name, i in spreads.items()}


def differences(
    figures: Mapping[str, float], samples: Samples, base: Mapping[str, float], base_samples: Samples
) -> Mapping[str, Interval | None]:
    """Of one model's figures minus those of another, `base`, on samples of the same videos."""
    return {name: interval(figures[name] - base[name], samples[name] - base_samples[name]) for name in samples}
