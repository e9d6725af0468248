"""Which prediction takes which truth: the official metric's rule, for all videos and classes.

Source: the YouTube-VIS evaluation API, itself after COCO's. What is odd in it is kept on purpose.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tevit.evaluation.inputs import Tracks

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
MOST_PREDICTIONS = 100  # of one video and one class


@dataclass(frozen=True, eq=False)
class VideoClassPairs:
    """The truths and predictions of one video and one class.

    video, category: positions in Inputs' lists. truths: int64 (G,), rows of the table in file order. predictions:
    int64 (D,), rows of the table, best score first, equal ones in file order. ious: float64 (D, G).
    """

    video: int
    category: int
    ground_truth: np.ndarray
    predictions: np.ndarray
    ious: np.ndarray


@dataclass(frozen=True, eq=False)
class Matches:
    """What became of every prediction, under each of A questions (area ranges, say) and T thresholds.

    predictions: int64 (N,), rows of the table, by category, then video, then rank. categories, ranks: int64 (N,); the
    rank counts from 0 within video and class. scores: float64 (N,). taken: int64 (A, T, N), the row of the truth that
    it takes, -1 for none. right, ignored: bool (A, T, N); what is neither is a false positive.
    """

    predictions: np.ndarray
    categories: np.ndarray
    ranks: np.ndarray
    scores: np.ndarray
    taken: np.ndarray
    right: np.ndarray
    ignored: np.ndarray


def match_greedy(ious: np.ndarray, ignored: np.ndarray, crowd: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Deal the truths of one video and class out to its predictions, one after another.

    ious: (D, G), predictions best first. ignored: bool (A, G), truths that do not count, a row a question. crowd:
    bool (G,), truths that may be taken again and again. thresholds: (T,).
    Returns int64 (A, T, D): the column of the truth that each prediction takes, -1 for none.

    A prediction takes the free truth of highest IoU that reaches the threshold; one that counts goes before all that
    are ignored, and of equal ones the later goes first.
    """
    count = ious.shape[1]
    taken = np.full((len(ignored), len(thresholds), len(ious)), -1)
    reach = _reach(thresholds)
    free = np.ones((len(ignored), len(thresholds), count), bool)
    counting = ~ignored[:, None, :]
    for d in np.flatnonzero((ious >= reach.min()).any(axis=1)):
        open_ = free & (ious[d] >= reach)
        first = open_ & counting
        open_ = np.where(first.any(axis=2, keepdims=True), first, open_)
        best = count - 1 - np.argmax(np.where(open_, ious[d], -1)[..., ::-1], axis=2)
        found = np.nonzero(open_.any(axis=2))
        taken[:, :, d][found] = best[found]
        free[(*found, best[found])] = crowd[best[found]]
    return taken


def _deal_lone(
    taken: np.ndarray, groups: Sequence[VideoClassPairs], stops: np.ndarray, crowd: np.ndarray, thresholds: np.ndarray
) -> None:
    """Fill `taken`, as `match_all` has it, for groups of one truth, the usual case, all at once.

    The first that reaches the truth takes it, or all that do if it is crowd; whether it counts makes no difference.
    """
    lone = [k for k, group in enumerate(groups) if len(group.ground_truth) == 1 and len(group.predictions)]
    if not lone:
        return
    sizes = np.array([len(groups[k].predictions) for k in lone])
    ends = np.cumsum(sizes)
    rows = np.repeat(np.concatenate([groups[k].ground_truth for k in lone]), sizes)
    reached = np.concatenate([groups[k].ious[:, 0] for k in lone]) >= _reach(thresholds)
    total = np.cumsum(reached, axis=1)
    before = np.concatenate([np.zeros((len(thresholds), 1), np.int64), total[:, ends[:-1] - 1]], axis=1)
    found = reached & ((total - np.repeat(before, sizes, axis=1) == 1) | crowd[rows])
    taken[:, :, np.arange(len(rows)) + np.repeat(stops[lone] - ends, sizes)] = np.where(found, rows, -1)


def _reach(thresholds: np.ndarray) -> np.ndarray:
    """float64 (T, 1): the least IoU that is enough."""
    return np.minimum(thresholds, 1 - 1e-10)[:, None]


@dataclass(frozen=True, eq=False)
class IgnoreMasks:
    """Which tracks count, A times over. truth_ignored: bool (A, truths), beside crowds, which never count.

    outside: bool (A, predictions), those that are ignored rather than false where they take nothing.
    """

    truth_ignored: np.ndarray
    outside: np.ndarray


def match_all(
    groups: Sequence[VideoClassPairs],
    truths: Tracks,
    predictions: Tracks,
    question: IgnoreMasks,
    thresholds: np.ndarray = IOU_THRESHOLDS,
) -> Matches:
    """Deal out the truths of all groups, which come by category and then by video."""
    ignored = question.truth_ignored | truths.crowd
    sizes = np.array([len(group.predictions) for group in groups], np.int64)
    stops = np.cumsum(sizes)
    order = np.concatenate([np.zeros(0, np.int64), *(group.predictions for group in groups)])
    taken = np.full((len(ignored), len(thresholds), len(order)), -1)
    _deal_lone(taken, groups, stops, truths.crowd, thresholds)
    for group, stop in zip(groups, stops.tolist(), strict=True):
        if group.ious.size and len(group.ground_truth) > 1:
            found = match_greedy(
                group.ious, ignored[:, group.ground_truth], truths.crowd[group.ground_truth], thresholds
            )
            taken[:, :, stop - len(group.predictions) : stop] = np.where(found < 0, -1, group.ground_truth[found])
    right, prediction_ignored = _judge(taken, truths.ids, ignored, question.outside[:, order])
    return Matches(
        predictions=order,
        categories=np.repeat(np.array([group.category for group in groups], np.int64), sizes),
        ranks=np.arange(len(order)) - np.repeat(stops - sizes, sizes),
        scores=predictions.scores[order],
        taken=taken,
        right=right,
        ignored=prediction_ignored,
    )


def _judge(
    taken: np.ndarray, truth_ids: np.ndarray, ignored: np.ndarray, outside: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Right and ignored, bool (A, T, N)."""
    if not len(truth_ids):
        return np.zeros(taken.shape, bool), np.broadcast_to(outside[:, None], taken.shape).copy()
    hit = (taken >= 0) & (truth_ids[taken] != 0)  # a truth with the id 0 is used up, yet nobody has found it
    of_ignored = np.stack([row[indices] for row, indices in zip(ignored, taken, strict=True)]) & (taken >= 0)
    prediction_ignored = of_ignored | (~hit & outside[:, None])
    return hit & ~prediction_ignored, prediction_ignored
