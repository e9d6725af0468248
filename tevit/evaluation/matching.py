"""Matching of predictions to ground truth, precision-recall curves, the official twelve figures, breakdowns.

Source: the YouTube-VIS evaluation API, itself after COCO's. Its oddities are kept on purpose: every number is meant to
equal its, to rounding.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tevit.evaluation.inputs import Inputs, Tracks
from tevit.evaluation.overlaps import Overlaps, VideoClassPairs

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)


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


# --- one-to-one assignment


@lru_cache(maxsize=1)
def _linear_sum_assignment() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """scipy's, of its extension module alone: all of scipy.optimize takes longer to import than `tevit evaluate` does
    to read its files."""
    spec = find_spec("scipy")  # which does not import it
    folders = [Path(folder, "optimize") for folder in (spec and spec.submodule_search_locations) or ()]
    for file in (Path(folder, f"_lsap{suffix}") for folder in folders for suffix in EXTENSION_SUFFIXES):
        if "scipy.optimize" not in sys.modules and file.is_file():
            loader = ExtensionFileLoader("_lsap", str(file))
            try:
                module = module_from_spec(ModuleSpec("_lsap", loader, origin=str(file)))
                loader.exec_module(module)
                return module.linear_sum_assignment
            except (ImportError, AttributeError):  # another version of scipy may have it elsewhere
                break
    from scipy.optimize import linear_sum_assignment

    return linear_sum_assignment


def assign(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns, int64 (n,), of the one-to-one assignment with the highest sum. scores: float64 (R, C)."""
    return _linear_sum_assignment()(scores, maximize=True)


# --- precision-recall curves


RECALL_POINTS = np.linspace(0.0, 1.0, 101)
AREA_RANGES = {"all": (0, 1e10), "small": (0, 128**2), "medium": (128**2, 256**2), "large": (256**2, 1e10)}
"""Mean area of a track, pixels; both limits belong to the range."""
LENGTHS = {"up to 16 frames": (0, 16), "17 to 32 frames": (17, 32), "33 frames and more": (33, np.inf)}
"""Frames in which a track is present; the limits are those of TIVE (arXiv 2210.08856)."""
VIDEO_LENGTHS = {"short": (0, 36), "long": (37, np.inf)}
"""Frames of a video; those of YouTube-VIS 2019 and 2021 have at most 36, the long ones that 2022 adds have more."""
NOTHING = "no ground truth"
PREDICTION_LIMITS = (1, 10, 100)
"""How many predictions of one video and one class count."""


class Figure(NamedTuple):
    """array: "precision" or "recall". threshold: position of the IoU threshold, None for the mean of all ten.
    area, limit: positions in AREA_RANGES and PREDICTION_LIMITS."""

    array: str
    threshold: int | None
    area: int
    limit: int


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
    """precision, scores: float64 (T, R, K, A, M): IoU thresholds, recall points, classes, IgnoreMasks, limits.
    recall: float64 (T, K, A, M), the last of each curve. -1 where there is no ground truth."""

    precision: np.ndarray
    recall: np.ndarray
    scores: np.ndarray


def curves(matches: Matches, positives: np.ndarray, limits: tuple[int, ...] = PREDICTION_LIMITS) -> Curves:
    """The curves of every class. positives: int64 (A, K), how many tracks of the ground truth count."""
    masks, thresholds, _ = matches.correct.shape
    shape = (thresholds, len(RECALL_POINTS), positives.shape[1], masks, len(limits))
    precision, scores = np.full(shape, -1.0), np.full(shape, -1.0)
    recall = np.full((thresholds, *shape[2:]), -1.0)
    bounds = np.searchsorted(matches.categories, np.arange(positives.shape[1] + 1))
    for k in np.flatnonzero(positives.any(axis=0)):
        of_class = np.arange(bounds[k], bounds[k + 1])
        of_class, before = of_class[np.argsort(-matches.scores[of_class], kind="stable")], 0
        for m, limit in enumerate(limits):
            chosen = of_class[matches.ranks[of_class] < limit]
            if m and len(chosen) == before:
                for array in (precision, recall, scores):
                    array[..., k, :, m] = array[..., k, :, m - 1]
                continue
            before = len(chosen)
            counted = np.flatnonzero(positives[:, k])
            values = _class_curves(matches, chosen, counted, positives[counted, k])
            for array, own in zip((precision, recall, scores), values, strict=True):
                array[..., k, counted, m] = np.moveaxis(own, 0, -1)
    return Curves(precision, recall, scores)


def _class_curves(
    matches: Matches, chosen: np.ndarray, counted: np.ndarray, positives: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision (A, T, R), recall (A, T) and scores (A, T, R) of predictions in the order of their scores.

    counted: the IgnoreMasks that leave ground truth, positives: how much of it; both (A,).
    """
    correct, ignored = matches.correct[counted][..., chosen], matches.ignored[counted][..., chosen]
    hits = np.cumsum(correct, axis=2, dtype=np.float64)
    misses = np.cumsum(~correct & ~ignored, axis=2, dtype=np.float64)
    precision = hits / (misses + hits + np.spacing(1))
    precision = np.maximum.accumulate(precision[..., ::-1], axis=2)[..., ::-1]
    total = hits[..., -1] if len(chosen) else np.zeros(hits.shape[:2])
    at = _first_reaching(correct, total.astype(np.int64), positives)
    # One more column stands for the points that are never reached.
    precision = np.concatenate([precision, np.zeros((*total.shape, 1))], axis=2)
    precision = np.take_along_axis(precision, at, axis=2)
    return precision, total / positives[:, None], np.append(matches.scores[chosen], 0)[at]


def _first_reaching(correct: np.ndarray, total: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """int64 (A, T, R): the first of n predictions with which each recall point is reached, n where none does.

    correct: bool (A, T, n). total: int64 (A, T), how many are correct. positives: (A,).
    """
    needed = np.stack([np.searchsorted(np.arange(count + 1) / count, RECALL_POINTS) for count in positives])[:, None]
    hits = np.append(np.nonzero(correct)[2], correct.shape[2])  # the columns, row after row
    stops = np.cumsum(total).reshape(total.shape)[..., None]
    places = np.where(needed <= total[..., None], stops - total[..., None] + needed - 1, len(hits) - 1)
    return np.where(needed, hits[places], 0)


def figure(curves: Curves, name: str, categories: slice | int = slice(None)) -> float:
    """One of the twelve, of all classes or of one (its position), in [0, 1]; -1 where there is no ground truth."""
    array, threshold, area, limit = FIGURES[name]
    values = getattr(curves, array)[..., categories, area, limit]
    return mean_of_known(values if threshold is None else values[threshold])


def percent(value: float) -> str:
    """A figure in [0, 1] as 46.3; -1 in words."""
    return NOTHING if value < 0 else f"{100 * value:.1f}"


def mean_of_known(values: np.ndarray) -> float:
    """The mean of all that is not -1; -1 where there is nothing."""
    known = values[values > -1]
    return float(known.mean()) if known.size else -1.0


def by_area(inputs: Inputs) -> IgnoreMasks:
    """The official four area ranges."""
    return by_range(inputs.ground_truth.areas, inputs.predictions.areas, list(AREA_RANGES.values()))


def by_range(ground_truth: np.ndarray, predictions: np.ndarray, ranges: list[tuple[float, float]]) -> IgnoreMasks:
    """Ignore tracks whose number lies outside each range, limits included. The arrays: a number for each track."""
    sides = (ground_truth, predictions)
    return IgnoreMasks(*(np.stack([(side < low) | (side > high) for low, high in ranges]) for side in sides))


def count_positives(inputs: Inputs, ignore: IgnoreMasks, agnostic: bool = False) -> np.ndarray:
    """int64 (A, K): the ground truth of each class that counts; one class where all are pooled."""
    ground_truth = inputs.ground_truth
    kinds = ground_truth.categories * (not agnostic)
    counting = ~(ignore.ground_truth | ground_truth.crowd)
    return np.stack([np.bincount(kinds[row], minlength=1 if agnostic else len(inputs.categories)) for row in counting])


# --- parts of a data set


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


def by_size(overlaps: Overlaps) -> Mapping[str, BreakdownRow]:
    """The official area ranges; an unmatched prediction counts in the range of its own area."""
    return dict(zip(AREA_RANGES, _rows(overlaps, by_area(overlaps.inputs)), strict=True))


def by_length(overlaps: Overlaps) -> Mapping[str, BreakdownRow]:
    """Ranges of track length; an unmatched prediction counts in the range of its own length."""
    ignore = by_range(overlaps.ground_truth_frames, overlaps.prediction_frames, list(LENGTHS.values()))
    return dict(zip(LENGTHS, _rows(overlaps, ignore), strict=True))


def _rows(overlaps: Overlaps, ignore: IgnoreMasks) -> list[BreakdownRow]:
    inputs = overlaps.inputs
    matches = match_all(overlaps.groups, inputs.ground_truth, inputs.predictions, ignore)
    positives = count_positives(inputs, ignore, overlaps.agnostic)
    arrays = curves(matches, positives)
    return [_row(arrays, a, int(positives[a].sum())) for a in range(len(positives))]


def _row(curves: Curves, a: int, truths: int) -> BreakdownRow:
    precision, recall = curves.precision[..., a, -1], curves.recall[:, :, a]
    figures = [mean_of_known(values) for values in (precision, precision[0], precision[5])]
    return BreakdownRow(truths, *figures, *(mean_of_known(recall[..., m]) for m in range(3)))


def by_video(overlaps: Overlaps, matches: Matches) -> Mapping[int, BreakdownRow]:
    """Video id -> figures of each video as if it were the whole data set.

    matches: with the official IgnoreMasks, of which the first (all areas) are used.
    """
    return {video.id: _part(overlaps, matches, np.array([place])) for place, video in enumerate(overlaps.inputs.videos)}


def by_video_length(overlaps: Overlaps, matches: Matches) -> Mapping[str, BreakdownRow]:
    """Figures of the short and of the long videos, each as if they were the whole data set, as for YouTube-VIS 2022.

    matches: as for `by_video`.
    """
    lengths = np.array([video.length for video in overlaps.inputs.videos], np.int64)
    return {
        name: _part(overlaps, matches, np.flatnonzero((lengths >= low) & (lengths <= high)))
        for name, (low, high) in VIDEO_LENGTHS.items()
    }


def _part(overlaps: Overlaps, matches: Matches, videos: np.ndarray) -> BreakdownRow:
    """Figures of some videos. videos: int64, positions in Inputs' list; matches: as for `by_video`."""
    ground_truth = overlaps.inputs.ground_truth
    kinds = ground_truth.categories * (not overlaps.agnostic)
    size = 1 if overlaps.agnostic else len(overlaps.inputs.categories)
    positives = np.bincount(kinds[np.isin(ground_truth.videos, videos) & ~ground_truth.crowd], minlength=size)
    present = np.flatnonzero(positives)
    of_prediction = overlaps.inputs.predictions.videos[matches.predictions]
    chosen = np.flatnonzero(np.isin(of_prediction, videos) & np.isin(matches.categories, present))
    own = Matches(
        predictions=matches.predictions[chosen],
        categories=np.searchsorted(present, matches.categories[chosen]),
        ranks=matches.ranks[chosen],
        scores=matches.scores[chosen],
        matched=matches.matched[:1, :, chosen],
        correct=matches.correct[:1, :, chosen],
        ignored=matches.ignored[:1, :, chosen],
    )
    return _row(curves(own, positives[None, present]), 0, int(positives.sum()))
