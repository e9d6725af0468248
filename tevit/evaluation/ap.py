"""The official metric of YouTube-VIS: AP, AP50 … ARl and the whole precision, recall and score arrays behind them.

Source: the YouTube-VIS evaluation API; every number is meant to equal its, to rounding, oddities included.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tevit.evaluation.inputs import Found, Source, read_inputs
from tevit.evaluation.matching import Outcome, Question, settle
from tevit.evaluation.measuring import Measured, measure
from tevit.progress import Progress

RECALL_POINTS = np.linspace(0.0, 1.0, 101)
AREA_RANGES = {"all": (0, 1e10), "small": (0, 128**2), "medium": (128**2, 256**2), "large": (256**2, 1e10)}
"""Mean area of a track, pixels; both limits belong to the range."""
MOST = (1, 10, 100)
"""How many predictions of one video and one class are looked at."""


@dataclass(frozen=True, eq=False)
class Curves:
    """precision, scores: float64 (T, R, K, A, M): at each IoU threshold, recall point, class, question and limit.
    recall: float64 (T, K, A, M). -1 where there is no ground truth."""

    precision: np.ndarray
    recall: np.ndarray
    scores: np.ndarray


def curves(outcome: Outcome, positives: np.ndarray, most: tuple[int, ...] = MOST) -> Curves:
    """Precision against recall. positives: int64 (A, K), the truths that count."""
    kinds, thresholds, _ = outcome.right.shape
    shape = (thresholds, len(RECALL_POINTS), positives.shape[1], kinds, len(most))
    precision, scores = np.full(shape, -1.0), np.full(shape, -1.0)
    recall = np.full((thresholds, *shape[2:]), -1.0)
    bounds = np.searchsorted(outcome.categories, np.arange(positives.shape[1] + 1))
    for k in np.flatnonzero(positives.any(axis=0)):
        here = np.arange(bounds[k], bounds[k + 1])
        here = here[np.argsort(-outcome.scores[here], kind="stable")]
        for m, limit in enumerate(most):
            chosen = here[outcome.ranks[here] < limit]
            for a in np.flatnonzero(positives[:, k]):
                found = _curve(outcome, chosen, int(a), positives[a, k])
                precision[:, :, k, a, m], recall[:, k, a, m], scores[:, :, k, a, m] = found
    return Curves(precision, recall, scores)


def _curve(outcome: Outcome, chosen: np.ndarray, a: int, positives: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision (T, R), recall (T,) and scores (T, R) of predictions in the order of their scores."""
    right = outcome.right[a][:, chosen]
    hits = np.cumsum(right, axis=1, dtype=np.float64)
    misses = np.cumsum(~right & ~outcome.ignored[a][:, chosen], axis=1, dtype=np.float64)
    recall = hits / positives
    precision = hits / (misses + hits + np.spacing(1))
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    at = np.stack([np.searchsorted(row, RECALL_POINTS) for row in recall])
    beyond = at == len(chosen)
    # One more column stands for the points that are never reached.
    precision = np.take_along_axis(np.pad(precision, ((0, 0), (0, 1))), at, axis=1)
    scores = np.where(beyond, 0, np.append(outcome.scores[chosen], 0)[at])
    return precision, recall[:, -1] if len(chosen) else np.zeros(len(recall)), scores


FIGURES = {
    "AP": ("precision", None, 0, 2),
    "AP50": ("precision", 0, 0, 2),
    "AP75": ("precision", 5, 0, 2),
    "APs": ("precision", None, 1, 2),
    "APm": ("precision", None, 2, 2),
    "APl": ("precision", None, 3, 2),
    "AR1": ("recall", None, 0, 0),
    "AR10": ("recall", None, 0, 1),
    "AR100": ("recall", None, 0, 2),
    "ARs": ("recall", None, 1, 2),
    "ARm": ("recall", None, 2, 2),
    "ARl": ("recall", None, 3, 2),
}
"""The twelve figures: the array, the IoU threshold (None: the mean of all ten), the area range and the limit."""


def figure(curves: Curves, name: str, categories: slice | int = slice(None)) -> float:
    """One of the twelve, of all classes or of one (its position); -1 where there is no ground truth."""
    array, threshold, area, most = FIGURES[name]
    values = getattr(curves, array)[..., categories, area, most]
    return mean_of_known(values if threshold is None else values[threshold])


def mean_of_known(values: np.ndarray) -> float:
    """The mean of all that is not -1; -1 where there is nothing."""
    known = values[values > -1]
    return float(known.mean()) if known.size else -1.0


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The official metric of one set of predictions.

    figures: the twelve, by name, in [0, 1]; -1 means that there is no ground truth to measure by. per_class: category
    id -> the same twelve. names: category id -> name; one entry, -1 -> "all", where classes were pooled. curves: the
    arrays behind. warnings: what did not count, a sentence each. measured, outcome: what further questions start from.
    """

    figures: Mapping[str, float]
    per_class: Mapping[int, Mapping[str, float]]
    names: Mapping[int, str]
    curves: Curves
    measured: Measured
    outcome: Outcome
    warnings: tuple[str, ...]


def evaluate(gt: Source, results: Found, *, agnostic: bool = False, progress: Progress | None = None) -> Evaluation:
    """Evaluate predictions as the official evaluator of YouTube-VIS does.

    gt, results: paths, opened files or VideoResults. agnostic: take all classes for one.
    Raises: OSError or ValueError where something cannot be read or does not fit together.
    """
    measured = measure(read_inputs(gt, results), agnostic, progress)
    return conclude(measured, agnostic)


def conclude(measured: Measured, agnostic: bool = False) -> Evaluation:
    """The figures of what has been measured."""
    inputs = measured.inputs
    names = {-1: "all"} if agnostic else inputs.categories
    question = by_area(measured)
    outcome = settle(measured.groups, inputs.truths, inputs.predictions, question)
    found = curves(outcome, count_positives(measured, question, agnostic))
    return Evaluation(
        figures={name: figure(found, name) for name in FIGURES},
        per_class={id: {name: figure(found, name, k) for name in FIGURES} for k, id in enumerate(names)},
        names=names,
        curves=found,
        measured=measured,
        outcome=outcome,
        warnings=measured.warnings,
    )


def by_area(measured: Measured) -> Question:
    """The official four area ranges."""
    sides = [measured.inputs.truths.areas, measured.inputs.predictions.areas]
    ignored, outside = (
        np.stack([(areas < low) | (areas > high) for low, high in AREA_RANGES.values()]) for areas in sides
    )
    return Question(ignored, outside)


def count_positives(measured: Measured, question: Question, agnostic: bool = False) -> np.ndarray:
    """int64 (A, K): the truths of each class that count."""
    truths = measured.inputs.truths
    kinds = np.zeros(len(truths.ids), np.int64) if agnostic else truths.categories
    size = 1 if agnostic else len(measured.inputs.categories)
    counting = ~(question.truth_ignored | truths.crowd)
    return np.stack([np.bincount(kinds[row], minlength=size) for row in counting])
