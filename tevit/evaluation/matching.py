"""Matching of predictions to ground truth by the official metric's rule, for all videos and classes.

Source: the YouTube-VIS evaluation API, itself after COCO's. Its oddities are kept on purpose.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tevit.evaluation.inputs import Tracks

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
MAX_PREDICTIONS = 100  # of one video and one class


@dataclass(frozen=True, eq=False)
class VideoClassPairs:
    """The ground truth and the predictions of one video and one class.

    video, category: positions in Inputs' lists. ground_truth: int64 (G,), rows of Inputs' table in file order.
    predictions: int64 (D,), rows of the table, best score first, equal ones in file order. ious: float64 (D, G).
    """

    video: int
    category: int
    ground_truth: np.ndarray
    predictions: np.ndarray
    ious: np.ndarray


@dataclass(frozen=True, eq=False)
class Matches:
    """The match of every prediction under each of A IgnoreMasks (area ranges, say) and T IoU thresholds.

    predictions: int64 (N,), rows of the table, by category, then video, then rank. categories, ranks: int64 (N,); the
    rank counts from 0 within video and class. scores: float64 (N,). matched: int64 (A, T, N), the row of the matched
    ground truth, -1 for none. correct, ignored: bool (A, T, N); all others are false positives.
    """

    predictions: np.ndarray
    categories: np.ndarray
    ranks: np.ndarray
    scores: np.ndarray
    matched: np.ndarray
    correct: np.ndarray
    ignored: np.ndarray


@dataclass(frozen=True, eq=False)
class IgnoreMasks:
    """Which tracks do not count, A times. ground_truth: bool (A, G), ignored in addition to crowds.

    predictions: bool (A, D), those that are ignored instead of false positives where they match nothing.
    """

    ground_truth: np.ndarray
    predictions: np.ndarray


def match_greedy(ious: np.ndarray, ignored: np.ndarray, crowd: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Match the predictions of one video and class, best score first, to its ground truth.

    A prediction matches the free ground truth of highest IoU that reaches the threshold; one that counts goes before
    all ignored ones, and of equal ones the later goes first.

    ious: (D, G), predictions best first. ignored: bool (A, G), ground truth that does not count. crowd: bool (G,),
    ground truth that any number of predictions may match. thresholds: (T,).
    Returns int64 (A, T, D): the column of the matched ground truth, -1 for none.
    """
    count = ious.shape[1]
    matched = np.full((len(ignored), len(thresholds), len(ious)), -1)
    least = _least_iou(thresholds)
    free = np.ones((len(ignored), len(thresholds), count), bool)
    counting = ~ignored[:, None, :]
    for d in np.flatnonzero((ious >= least.min()).any(axis=1)):
        candidates = free & (ious[d] >= least)
        preferred = candidates & counting
        candidates = np.where(preferred.any(axis=2, keepdims=True), preferred, candidates)
        best = count - 1 - np.argmax(np.where(candidates, ious[d], -1)[..., ::-1], axis=2)
        where = np.nonzero(candidates.any(axis=2))
        matched[:, :, d][where] = best[where]
        free[(*where, best[where])] = crowd[best[where]]
    return matched


def _least_iou(thresholds: np.ndarray) -> np.ndarray:
    """float64 (T, 1)."""
    return np.minimum(thresholds, 1 - 1e-10)[:, None]


def match_all(
    groups: Sequence[VideoClassPairs],
    ground_truth: Tracks,
    predictions: Tracks,
    ignore: IgnoreMasks,
    thresholds: np.ndarray = IOU_THRESHOLDS,
) -> Matches:
    """Match all groups, which are sorted by category and then by video."""
    ignored = ignore.ground_truth | ground_truth.crowd
    sizes = np.array([len(group.predictions) for group in groups], np.int64)
    stops = np.cumsum(sizes)
    order = np.concatenate([np.zeros(0, np.int64), *(group.predictions for group in groups)])
    matched = np.full((len(ignored), len(thresholds), len(order)), -1)
    _match_single(matched, groups, stops, ground_truth.crowd, thresholds)
    for group, stop in zip(groups, stops.tolist(), strict=True):
        if group.ious.size and len(group.ground_truth) > 1:
            rows = group.ground_truth
            columns = match_greedy(group.ious, ignored[:, rows], ground_truth.crowd[rows], thresholds)
            matched[:, :, stop - len(group.predictions) : stop] = np.where(columns < 0, -1, rows[columns])
    correct, prediction_ignored = _judge(matched, ground_truth.ids, ignored, ignore.predictions[:, order])
    return Matches(
        predictions=order,
        categories=np.repeat(np.array([group.category for group in groups], np.int64), sizes),
        ranks=np.arange(len(order)) - np.repeat(stops - sizes, sizes),
        scores=predictions.scores[order],
        matched=matched,
        correct=correct,
        ignored=prediction_ignored,
    )


def _match_single(
    matched: np.ndarray, groups: Sequence[VideoClassPairs], stops: np.ndarray, crowd: np.ndarray, thresholds: np.ndarray
) -> None:
    """Fill in `matched` (A, T, N) for groups with a single track of ground truth, the usual case, all at once.

    The first prediction that reaches it matches it, or all that do if it is crowd, whether it counts or not.
    """
    single = [k for k, group in enumerate(groups) if len(group.ground_truth) == 1 and len(group.predictions)]
    if not single:
        return
    sizes = np.array([len(groups[k].predictions) for k in single])
    ends = np.cumsum(sizes)
    rows = np.repeat(np.concatenate([groups[k].ground_truth for k in single]), sizes)
    reached = np.concatenate([groups[k].ious[:, 0] for k in single]) >= _least_iou(thresholds)
    total = np.cumsum(reached, axis=1)
    before = np.concatenate([np.zeros((len(thresholds), 1), np.int64), total[:, ends[:-1] - 1]], axis=1)
    matches = reached & ((total - np.repeat(before, sizes, axis=1) == 1) | crowd[rows])
    matched[:, :, np.arange(len(rows)) + np.repeat(stops[single] - ends, sizes)] = np.where(matches, rows, -1)


def _judge(
    matched: np.ndarray, truth_ids: np.ndarray, ignored: np.ndarray, unmatched_ignored: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Whether each prediction is correct and whether it is ignored, bool (A, T, N)."""
    if not len(truth_ids):
        return np.zeros(matched.shape, bool), np.broadcast_to(unmatched_ignored[:, None], matched.shape).copy()
    hit = (matched >= 0) & (truth_ids[matched] != 0)  # an annotation with id 0 is used up, yet counts as not found
    of_ignored = np.stack([row[indices] for row, indices in zip(ignored, matched, strict=True)]) & (matched >= 0)
    prediction_ignored = of_ignored | (~hit & unmatched_ignored[:, None])
    return hit & ~prediction_ignored, prediction_ignored
