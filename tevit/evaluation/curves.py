"""Precision against recall, and the official twelve figures that are read off it.

Source: the YouTube-VIS evaluation API; every number is meant to equal its, to rounding, oddities included.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tevit.evaluation.inputs import Inputs
from tevit.evaluation.matching import IgnoreMasks, Matches, match_all
from tevit.evaluation.overlaps import Overlaps

RECALL_POINTS = np.linspace(0.0, 1.0, 101)
AREA_RANGES = {"all": (0, 1e10), "small": (0, 128**2), "medium": (128**2, 256**2), "large": (256**2, 1e10)}
"""Mean area of a track, pixels; both limits belong to the range."""
MOST = (1, 10, 100)
"""How many predictions of one video and one class are looked at."""


class Figure(NamedTuple):
    """array: "precision" or "recall". threshold: position of the IoU threshold, None for the mean of all ten.
    area, most: positions in AREA_RANGES and MOST."""

    array: str
    threshold: int | None
    area: int
    most: int


FIGURES = {
    "AP": Figure("precision", None, 0, 2),
    "AP50": Figure("precision", 0, 0, 2),
    "AP75": Figure("precision", 5, 0, 2),
    "APs": Figure("precision", None, 1, 2),
    "APm": Figure("precision", None, 2, 2),
    "APl": Figure("precision", None, 3, 2),
    "AR1": Figure("recall", None, 0, 0),
    "AR10": Figure("recall", None, 0, 1),
    "AR100": Figure("recall", None, 0, 2),
    "ARs": Figure("recall", None, 1, 2),
    "ARm": Figure("recall", None, 2, 2),
    "ARl": Figure("recall", None, 3, 2),
}


@dataclass(frozen=True, eq=False)
class Curves:
    """precision, scores: float64 (T, R, K, A, M), at each IoU threshold, recall point, class, question and limit.
    recall: float64 (T, K, A, M), the last of each curve. -1 where there is no ground truth."""

    precision: np.ndarray
    recall: np.ndarray
    scores: np.ndarray


def curves(outcome: Matches, positives: np.ndarray, most: tuple[int, ...] = MOST) -> Curves:
    """The curves of every class. positives: int64 (A, K), the truths that count."""
    questions, thresholds, _ = outcome.right.shape
    shape = (thresholds, len(RECALL_POINTS), positives.shape[1], questions, len(most))
    precision, scores = np.full(shape, -1.0), np.full(shape, -1.0)
    recall = np.full((thresholds, *shape[2:]), -1.0)
    bounds = np.searchsorted(outcome.categories, np.arange(positives.shape[1] + 1))
    for k in np.flatnonzero(positives.any(axis=0)):
        here = np.arange(bounds[k], bounds[k + 1])
        here, before = here[np.argsort(-outcome.scores[here], kind="stable")], 0
        for m, limit in enumerate(most):
            chosen = here[outcome.ranks[here] < limit]
            if m and len(chosen) == before:
                for array in (precision, recall, scores):
                    array[..., k, :, m] = array[..., k, :, m - 1]
                continue
            before = len(chosen)
            counted = np.flatnonzero(positives[:, k])
            found = _curves(outcome, chosen, counted, positives[counted, k])
            for array, values in zip((precision, recall, scores), found, strict=True):
                array[..., k, counted, m] = np.moveaxis(values, 0, -1)
    return Curves(precision, recall, scores)


def _curves(
    outcome: Matches, chosen: np.ndarray, counted: np.ndarray, positives: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision (A, T, R), recall (A, T) and scores (A, T, R) of predictions in the order of their scores.

    counted: the questions that have truths, positives: how many; both (A,).
    """
    right, ignored = outcome.right[counted][..., chosen], outcome.ignored[counted][..., chosen]
    hits = np.cumsum(right, axis=2, dtype=np.float64)
    misses = np.cumsum(~right & ~ignored, axis=2, dtype=np.float64)
    precision = hits / (misses + hits + np.spacing(1))
    precision = np.maximum.accumulate(precision[..., ::-1], axis=2)[..., ::-1]
    total = hits[..., -1] if len(chosen) else np.zeros(hits.shape[:2])
    at = _reached(right, total.astype(np.int64), positives)
    # One more column stands for the points that are never reached.
    precision = np.concatenate([precision, np.zeros((*total.shape, 1))], axis=2)
    precision = np.take_along_axis(precision, at, axis=2)
    return precision, total / positives[:, None], np.append(outcome.scores[chosen], 0)[at]


def _reached(right: np.ndarray, total: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """int64 (A, T, R): the first of n predictions with which each recall point is reached, n where none does.

    right: bool (A, T, n). total: int64 (A, T), how many are right. positives: (A,).
    """
    needed = np.stack([np.searchsorted(np.arange(count + 1) / count, RECALL_POINTS) for count in positives])[:, None]
    hits = np.append(np.nonzero(right)[2], right.shape[2])  # the columns, row after row
    stops = np.cumsum(total).reshape(total.shape)[..., None]
    places = np.where(needed <= total[..., None], stops - total[..., None] + needed - 1, len(hits) - 1)
    return np.where(needed, hits[places], 0)


def figure(found: Curves, name: str, categories: slice | int = slice(None)) -> float:
    """One of the twelve, of all classes or of one (its position), in [0, 1]; -1 where there is no ground truth."""
    array, threshold, area, most = FIGURES[name]
    values = getattr(found, array)[..., categories, area, most]
    return mean_of_known(values if threshold is None else values[threshold])


def mean_of_known(values: np.ndarray) -> float:
    """The mean of all that is not -1; -1 where there is nothing."""
    known = values[values > -1]
    return float(known.mean()) if known.size else -1.0


def by_area(inputs: Inputs) -> IgnoreMasks:
    """The official four area ranges."""
    return by_range(inputs.ground_truth.areas, inputs.predictions.areas, list(AREA_RANGES.values()))


def by_range(truths: np.ndarray, predictions: np.ndarray, ranges: list[tuple[float, float]]) -> IgnoreMasks:
    """Tracks whose number lies in each range, limits included. truths, predictions: a number for each track."""
    ignored, outside = (
        np.stack([(numbers < low) | (numbers > high) for low, high in ranges]) for numbers in (truths, predictions)
    )
    return IgnoreMasks(ignored, outside)


def count_positives(inputs: Inputs, question: IgnoreMasks, agnostic: bool = False) -> np.ndarray:
    """int64 (A, K): the truths of each class that count; one class where all are pooled."""
    truths = inputs.ground_truth
    kinds = np.zeros(len(truths.ids), np.int64) if agnostic else truths.categories
    counting = ~(question.truth_ignored | truths.crowd)
    return np.stack([np.bincount(kinds[row], minlength=1 if agnostic else len(inputs.categories)) for row in counting])


LENGTHS = {"up to 16 frames": (0, 16), "17 to 32 frames": (17, 32), "33 frames and more": (33, np.inf)}
"""Frames in which a track is there; the limits are those of TIVE (arXiv 2210.08856)."""


@dataclass(frozen=True)
class BreakdownRow:
    """truths: how many tracks count. AP …: figures of these alone, in [0, 1], -1 where there is no ground truth."""

    truths: int
    AP: float
    AP50: float
    AP75: float
    AR1: float
    AR10: float
    AR100: float


def by_size(measured: Overlaps) -> Mapping[str, BreakdownRow]:
    """The official area ranges; a prediction that takes nothing counts in the range of its own area."""
    inputs = measured.inputs
    question = by_range(inputs.ground_truth.areas, inputs.predictions.areas, list(AREA_RANGES.values()))
    return dict(zip(AREA_RANGES, _parts(measured, question), strict=True))


def by_length(measured: Overlaps) -> Mapping[str, BreakdownRow]:
    """Ranges of track length; a prediction that takes nothing counts in the range of its own length."""
    question = by_range(measured.ground_truth_frames, measured.prediction_frames, list(LENGTHS.values()))
    return dict(zip(LENGTHS, _parts(measured, question), strict=True))


def _parts(measured: Overlaps, question: IgnoreMasks) -> list[BreakdownRow]:
    inputs = measured.inputs
    outcome = match_all(measured.groups, inputs.ground_truth, inputs.predictions, question)
    positives = count_positives(inputs, question, measured.agnostic)
    found = curves(outcome, positives)
    return [_part(found, a, int(positives[a].sum())) for a in range(len(positives))]


def _part(found: Curves, a: int, truths: int) -> BreakdownRow:
    precision, recall = found.precision[..., a, -1], found.recall[:, :, a]
    return BreakdownRow(
        truths,
        mean_of_known(precision),
        mean_of_known(precision[0]),
        mean_of_known(precision[5]),
        *(mean_of_known(recall[..., m]) for m in range(3)),
    )


def by_video(measured: Overlaps, outcome: Matches) -> Mapping[int, BreakdownRow]:
    """Each video as if it were the whole data set; video id -> its figures.

    outcome: of the official question, of which the first row (all areas) is used.
    """
    truths = measured.inputs.ground_truth
    of_prediction = measured.inputs.predictions.videos[outcome.predictions]
    kinds = truths.categories * (not measured.agnostic)
    size = 1 if measured.agnostic else len(measured.inputs.categories)
    result = {}
    for place, video in enumerate(measured.inputs.videos):
        positives = np.bincount(kinds[(truths.videos == place) & ~truths.crowd], minlength=size)
        present = np.flatnonzero(positives)
        found = curves(_restrict(outcome, np.flatnonzero(of_prediction == place), present), positives[None, present])
        result[video.id] = _part(found, 0, int(positives.sum()))
    return result


def _restrict(outcome: Matches, chosen: np.ndarray, categories: np.ndarray) -> Matches:
    """Some predictions of some classes, which are numbered anew."""
    chosen = chosen[np.isin(outcome.categories[chosen], categories)]
    return Matches(
        predictions=outcome.predictions[chosen],
        categories=np.searchsorted(categories, outcome.categories[chosen]),
        ranks=outcome.ranks[chosen],
        scores=outcome.scores[chosen],
        taken=outcome.taken[:1, :, chosen],
        right=outcome.right[:1, :, chosen],
        ignored=outcome.ignored[:1, :, chosen],
    )
