"""The data of the charts of an evaluation, and their colours: the report and the studio draw the same numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tevit.evaluation.error_table import ErrorTable
from tevit.evaluation.matching import IOU_THRESHOLDS, RECALL_POINTS, BreakdownRow, mean_of_known
from tevit.evaluation.oracle import UNMATCHABLE, Gap

# Every colour has a contrast of at least 3:1 to the light page (#ffffff) and to the dark one (#1a1f27).
ACCENT = "#4a80e8"
TYPE_COLOURS: Mapping[str, str] = {
    "classification": "#8f72f5",
    "spatial": "#2490d0",
    "temporal": "#159a8a",
    "both": "#858f9d",
    "duplicate": "#b8860b",
    "background": "#d9653b",
    "missed": "#d94a70",
    UNMATCHABLE: "#b06ab3",
    "correct": "#2c9a5b",
    "explained": "#7f8a98",
}
MODEL_COLOURS = (ACCENT, "#8590a0", "#b0833c", "#6c9a8b")
TRUTH_TYPES = ("correct", "explained", "missed", UNMATCHABLE)
BINS = 25
MAX_CLASSES = 60


@dataclass(frozen=True)
class Bars:
    """values: one for each name, in points of AP; None without ground truth."""

    names: tuple[str, ...]
    values: tuple[float | None, ...]


@dataclass(frozen=True)
class Line:
    """y: None where it is unknown."""

    x: tuple[float, ...]
    y: tuple[float | None, ...]


@dataclass(frozen=True)
class Histogram:
    """edges: of the bins, one more than there are bins. right, wrong: predictions in each bin."""

    edges: tuple[float, ...]
    right: tuple[int, ...]
    wrong: tuple[int, ...]

    @property
    def centres(self) -> tuple[float, ...]:
        """Of the bins."""
        return tuple(round((low + high) / 2, 4) for low, high in zip(self.edges, self.edges[1:], strict=False))


@dataclass(frozen=True)
class ConfusionMatrix:
    """classes: positions of n classes, the last one -1 for nothing. counts: n x n tracks, rows: class of the ground
    truth, columns: class of the prediction. shares: counts divided by their row's sum, in [0, 1]."""

    classes: tuple[int, ...]
    counts: tuple[tuple[int, ...], ...]
    shares: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Points:
    """Ground-truth tracks of one type. rows: of the error table. lengths: in frames. ious: with the prediction that
    matches or best overlaps each, in [0, 1]."""

    rows: tuple[int, ...]
    lengths: tuple[int, ...]
    ious: tuple[float, ...]


def error_costs(dap: Mapping[str, float], ap: float) -> Bars:
    """AP gained by fixing each type of error. ap: -1: no ground truth."""
    return Bars(tuple(dap), tuple(None if ap < 0 else round(100 * cost, 3) for cost in dap.values()))


def oracle_gaps(gap: Gap) -> Bars:
    """AP lost to tracking, to classes and to masks."""
    values = (gap.tracking, gap.classification, gap.masks)
    known = gap.truths and gap.ap >= 0
    names = ("tracking", "classes", "masks and misses")
    return Bars(names, tuple(round(100 * value, 3) if known else None for value in values))


def ap_bars(names: Sequence[str], aps: Sequence[float]) -> Bars:
    """AP, in [0, 1], -1: no ground truth, such as that of each class."""
    return Bars(tuple(names), tuple(None if value < 0 else round(100 * value, 2) for value in aps))


def ap_by_part(parts: Mapping[str, BreakdownRow]) -> Bars:
    """AP of the parts of a data set that have ground truth, with the number of their tracks."""
    known = {f"{name} ({part.truths})": part.AP for name, part in parts.items() if part.truths}
    return ap_bars(list(known), list(known.values()))


def ap_by_threshold(precision: np.ndarray) -> Line:
    """AP at each IoU threshold, in percent. precision: float64 (T, R, K), -1: no ground truth."""
    values = [mean_of_known(row) for row in precision]
    points = tuple(None if value < 0 else round(100 * value, 2) for value in values)
    return Line(tuple(IOU_THRESHOLDS.round(2).tolist()), points)


def precision_by_recall(precision: np.ndarray, threshold: int, category: int | None = None) -> Line | None:
    """The precision-recall curve at one IoU threshold; None without ground truth.

    precision: float64 (T, R, K), -1: no ground truth. threshold: index of the IoU threshold, 0: 0.50, 5: 0.75.
    category: position of one class, None: the mean of all.
    """
    known = np.flatnonzero(precision[0, 0] > -1)
    chosen = known if category is None else known[known == category]
    if not len(chosen):
        return None
    return Line(tuple(RECALL_POINTS.tolist()), tuple(precision[threshold][:, chosen].mean(axis=1).round(4).tolist()))


def confusion_matrix(table: ErrorTable, rows: np.ndarray, count: int) -> ConfusionMatrix:
    """Which classes are taken for which; of more than MAX_CLASSES those that are confused most often.

    rows: bool (N,), of `table.confused`. count: of all classes.
    """
    counts = np.zeros((count + 1, count + 1), np.int64)
    np.add.at(counts, (table.truth_class[rows], table.predicted_class[rows]), 1)  # -1 is the last row and column
    totals = counts.sum(axis=0) + counts.sum(axis=1)
    present, wrong = np.flatnonzero(totals[:-1]), totals - 2 * counts.diagonal()
    shown = np.sort(present[np.lexsort((present, -wrong[present]))][:MAX_CLASSES])
    counts = counts[np.ix_([*shown, -1], [*shown, -1])]
    shares = (counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)).round(4)
    return ConfusionMatrix(
        (*shown.tolist(), -1), tuple(map(tuple, counts.tolist())), tuple(map(tuple, shares.tolist()))
    )


def score_histogram(table: ErrorTable, rows: np.ndarray, every: np.ndarray) -> Histogram:
    """Right and wrong predictions by score.

    rows: bool (N,). every: bool (N,), predictions whose scores the bins span, beside [0, 1].
    """
    scores = table.score[every]
    edges = np.linspace(min(0.0, scores.min(initial=0)), max(1.0, scores.max(initial=1)), BINS + 1)
    chosen = rows & ~table.error, rows & table.error
    right, wrong = (tuple(np.histogram(table.score[own], edges)[0].tolist()) for own in chosen)
    return Histogram(tuple(edges.tolist()), right, wrong)


def iou_by_length(table: ErrorTable, rows: np.ndarray) -> Mapping[str, Points]:
    """Ground truth by length and IoU, for each of TRUTH_TYPES that occurs. rows: bool (N,), of ground truth."""
    result = {}
    for type in TRUTH_TYPES:
        own = np.flatnonzero(rows & table.is_type(type))
        if len(own):
            result[type] = Points(*(tuple(v.tolist()) for v in (own, table.length[own], table.iou[own].round(4))))
    return result
