"""Which kind of error each prediction is: the official matching first, then what the overlaps say.

Source: the types are TIDE's (arXiv 2008.08115), the split of localisation in space and time is TIVE's (arXiv
2210.08856). As the base is the official metric, so is the matching: what it ignores is ignored here.
"""

from dataclasses import dataclass

import numpy as np

from tevit.evaluation.inputs import Tracks
from tevit.evaluation.matching import IgnoreMasks, match_all
from tevit.evaluation.overlaps import Overlaps, VideoPairs

FALSE_POSITIVES = ("classification", "spatial", "temporal", "both", "duplicate", "background")
TYPES = (*FALSE_POSITIVES, "missed")
"""The kinds of errors, in the order of reports. Other types of records: correct, explained, ignored."""


@dataclass(frozen=True)
class Limits:
    """positive: IoU from which a prediction has found its truth. background: below it, it has found nothing.
    overlap: frame IoU above which two tracks meet in a frame. spatial: the share of such frames from which an error is
    one of space, not of time. cover: frame IoU from which a prediction covers a truth in a frame."""

    positive: float = 0.5
    background: float = 0.1
    overlap: float = 0.1
    spatial: float = 0.7
    cover: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.background <= self.positive <= 1:
            raise ValueError(
                f"expected 0 < background <= positive <= 1, got background {self.background}, positive {self.positive}"
            )


@dataclass(eq=False)
class Verdicts:
    """predictions, truths: str (N,) and (G,), the types, by row of the tables. truths_of, predictions_of: int64 (N,)
    and (G,), the row of the other track, -1 for none."""

    predictions: np.ndarray
    truths_of: np.ndarray
    truths: np.ndarray
    predictions_of: np.ndarray


def judge(measured: Overlaps, limits: Limits) -> Verdicts:
    """The type of every prediction; truths are correct, ignored or, so far, missed."""
    verdicts = _start(measured, limits)
    for pairs in measured.pairs:
        _judge_video(measured, pairs, verdicts, limits)
    return verdicts


def _start(measured: Overlaps, limits: Limits) -> Verdicts:
    """What the official matching says: correct and ignored; the rest is left open."""
    truths, predictions = measured.inputs.truths, measured.inputs.predictions
    nothing = IgnoreMasks(np.zeros((1, len(truths.ids)), bool), np.zeros((1, len(predictions.ids)), bool))
    outcome = match_all(measured.groups, truths, predictions, nothing, np.array([limits.positive]))
    types = np.full(len(predictions.ids), "ignored", "<U14")  # among them what is beyond the hundred that count
    types[outcome.predictions] = np.where(outcome.ignored[0, 0], "ignored", "")
    right = outcome.right[0, 0]
    found, taken = outcome.predictions[right], outcome.taken[0, 0, right]
    types[found] = "correct"
    truths_of, predictions_of = np.full(len(types), -1), np.full(len(truths.ids), -1)
    truths_of[found], predictions_of[taken] = taken, found
    truth_types = np.where(truths.crowd, "ignored", np.where(predictions_of >= 0, "correct", "missed")).astype("<U14")
    return Verdicts(types, truths_of, truth_types, predictions_of)


def _judge_video(measured: Overlaps, pairs: VideoPairs, verdicts: Verdicts, limits: Limits) -> None:
    inputs = measured.inputs
    rows = pairs.predictions
    open_ = np.flatnonzero(verdicts.predictions[rows] == "")
    types, truths = _types(pairs, inputs.truths, inputs.predictions, limits)
    frame_ious = pairs.frame_ious() if (types[open_] == "spatial").any() else None
    for d in open_[types[open_] == "spatial"].tolist():
        assert frame_ious is not None
        if not _is_spatial(pairs, frame_ious, d, int(truths[d]), limits):
            types[d] = "temporal"
    verdicts.predictions[rows[open_]] = types[open_]
    found = truths[open_]
    verdicts.truths_of[rows[open_]] = np.where(found >= 0, np.append(pairs.truths, -1)[found], -1)


def _types(pairs: VideoPairs, truths: Tracks, predictions: Tracks, limits: Limits) -> tuple[np.ndarray, np.ndarray]:
    """Of every prediction, were it a false positive: its type, str (D,), and the truth it is about, int64 (D,), -1."""
    count = len(pairs.predictions)
    types, about = np.full(count, "background", "<U14"), np.full(count, -1)
    if not pairs.truths.size:
        return types, about
    ious, counting = pairs.ious(), ~truths.crowd[pairs.truths]
    same = predictions.categories[pairs.predictions][:, None] == truths.categories[pairs.truths]
    of_same, of_other = _best(ious, same & counting), _best(ious, ~same & counting)
    positive = min(limits.positive, 1 - 1e-10)
    # The last that fits stays, so what goes first comes last.
    for least, names in ((limits.background, ("spatial", "both")), (positive, ("duplicate", "classification"))):
        for (g, iou), name in ((of_other, names[1]), (of_same, names[0])):
            fits = iou >= least
            types[fits], about[fits] = name, g[fits]
    return types, about


def _best(ious: np.ndarray, among: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ious: (D, G), G > 0. The position of each row's highest, the later of equal ones as in the official matching,
    int64 (D,); and the IoU, float64 (D,), -1 where there is none."""
    values = np.where(among, ious, -1.0)
    g = ious.shape[1] - 1 - np.argmax(values[:, ::-1], axis=1)
    return g, values[np.arange(len(values)), g]


def _is_spatial(pairs: VideoPairs, frame_ious: np.ndarray, d: int, g: int, limits: Limits) -> bool:
    """Whether the two tracks meet in enough of the frames in which either is there."""
    frames = (pairs.truth_areas[g] > 0) | (pairs.prediction_areas[d] > 0)
    return bool((frame_ious[d, g, frames] > limits.overlap).mean() >= limits.spatial)
