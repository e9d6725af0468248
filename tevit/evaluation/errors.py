"""Which kind of error each prediction is: the official matching first, then what the overlaps say.

Source: the types are TIDE's (arXiv 2008.08115), the split of localisation in space and time is TIVE's (arXiv
2210.08856). As the base is the official metric, so is the matching: what it ignores is ignored here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from tevit.evaluation.inputs import Tracks
from tevit.evaluation.matching import IgnoreMasks, match_all
from tevit.evaluation.oracle import OracleAP, covering_error
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
    truths, predictions = measured.inputs.ground_truth, measured.inputs.predictions
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
    types, truths = _types(pairs, inputs.ground_truth, inputs.predictions, limits)
    frame_ious = pairs.frame_ious() if (types[open_] == "spatial").any() else None
    for d in open_[types[open_] == "spatial"].tolist():
        assert frame_ious is not None
        if not _is_spatial(pairs, frame_ious, d, int(truths[d]), limits):
            types[d] = "temporal"
    verdicts.predictions[rows[open_]] = types[open_]
    found = truths[open_]
    verdicts.truths_of[rows[open_]] = np.where(found >= 0, np.append(pairs.ground_truth, -1)[found], -1)


def _types(pairs: VideoPairs, truths: Tracks, predictions: Tracks, limits: Limits) -> tuple[np.ndarray, np.ndarray]:
    """Of every prediction, were it a false positive: its type, str (D,), and the truth it is about, int64 (D,), -1."""
    count = len(pairs.predictions)
    types, about = np.full(count, "background", "<U14"), np.full(count, -1)
    if not pairs.ground_truth.size:
        return types, about
    ious, counting = pairs.ious(), ~truths.crowd[pairs.ground_truth]
    same = predictions.categories[pairs.predictions][:, None] == truths.categories[pairs.ground_truth]
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


@dataclass(frozen=True, eq=False)
class Coverage:
    """Of one video with G truths and D predictions.

    switches: for each truth, the frames at which another prediction takes over. switchers: bool (D,), predictions that
    take part in such a change. broken: bool (G,), truths that are covered, then not, then again, by any prediction.
    broken_by: bool (D, G), the same by one prediction alone.
    """

    switches: list[tuple[int, ...]]
    switchers: np.ndarray
    broken: np.ndarray
    broken_by: np.ndarray


def coverage(pairs: VideoPairs, frame_ious: np.ndarray, least: float) -> Coverage:
    """frame_ious: float32 (D, G, T). least: frame IoU from which a prediction covers a truth.

    The best of several is that of highest frame IoU; of equal ones that of highest score, so that copies of one track
    do not take turns.
    """
    covers = (frame_ious >= least) & (pairs.common > 0)
    switches, switchers = [], np.zeros(len(pairs.predictions), bool)
    broken, broken_by = [], np.zeros(covers.shape[:2], bool)
    for g, areas in enumerate(pairs.truth_areas):
        best = np.argmax(np.where(covers[:, g], frame_ious[:, g], -1), axis=0) if len(covers) else areas
        frames = np.flatnonzero(covers[:, g].any(axis=0))
        changes = np.flatnonzero(np.diff(best[frames])) + 1
        switches.append(tuple(frames[changes].tolist()))
        switchers[best[frames] if len(changes) else []] = True
        seen = covers[:, g][:, areas > 0]
        broken.append(bool(_broken(np.logical_or.reduce(seen, axis=0, keepdims=True))[0]))
        broken_by[:, g] = _broken(seen)
    return Coverage(switches, switchers, np.array(broken, bool), broken_by)


def _broken(covered: np.ndarray) -> np.ndarray:
    """covered: bool (n, T), in the frames in which the truth is there. bool (n,): covered, then not, then again."""
    begins = covered[:, 1:] & ~covered[:, :-1]
    return covered[:, :1].sum(axis=1) + begins.sum(axis=1) > 1


def resumptions(
    pairs: VideoPairs, frame_ious: np.ndarray, least: float
) -> tuple[list[list[int]], list[list[list[int]]]]:
    """The frames at which coverage begins again after it had stopped: of each truth by any prediction, and
    [prediction][truth] by one alone. Frames in which the truth is absent are no stop. Arguments as of `coverage`."""
    covers = (frame_ious >= least) & (pairs.common > 0)
    seen = [np.flatnonzero(areas > 0) for areas in pairs.truth_areas]
    by_any = [_again(np.logical_or.reduce(covers[:, g], axis=0), frames) for g, frames in enumerate(seen)]
    return by_any, [[_again(own[g], frames) for g, frames in enumerate(seen)] for own in covers]


def _again(covered: np.ndarray, frames: np.ndarray) -> list[int]:
    """covered: bool (T,). frames: those that count."""
    begins = frames[np.diff(covered[frames], prepend=False) & covered[frames]]
    return begins[1:].tolist()


@dataclass(frozen=True, eq=False)
class Costs:
    """Errors without their records: what each track is, and what each type costs. Fields as of `Errors`."""

    limits: Limits
    verdicts: Verdicts
    ap: float
    dap: Mapping[str, float]
    mended: float


def find_costs(measured: Overlaps, limits: Limits) -> Costs:
    """The quick part of `find_errors`."""
    if len(measured.pairs) != len(measured.inputs.videos) or measured.agnostic:
        raise ValueError("errors need the overlaps of all pairs, by class: measure with all_pairs=True")
    verdicts = judge(measured, limits)
    oracle, rows = _oracle_ap(measured, verdicts)
    _explain(verdicts, oracle, rows)
    oracle = replace(oracle, missed=verdicts.truths == "missed")
    ap = oracle.ap(())
    dap = {type: oracle.ap((type,)) - ap for type in TYPES}
    return Costs(limits, verdicts, ap, dap, oracle.ap(TYPES))


def _oracle_ap(measured: Overlaps, verdicts: Verdicts) -> tuple[OracleAP, np.ndarray]:
    """Also the rows of the predictions that it holds."""
    truths, predictions = measured.inputs.ground_truth, measured.inputs.predictions
    rows = np.flatnonzero(verdicts.predictions != "ignored")
    order = np.lexsort((rows, predictions.videos[rows], -predictions.scores[rows]))
    oracle = OracleAP(
        types=verdicts.predictions[rows],
        categories=predictions.categories[rows],
        truths=verdicts.truths_of[rows],
        order=np.argsort(order),
        truth_categories=truths.categories,
        counting=~truths.crowd,
        missed=np.zeros(len(truths.ids), bool),
        classes=len(measured.inputs.categories),
    )
    return oracle, rows


def _explain(verdicts: Verdicts, oracle: OracleAP, rows: np.ndarray) -> None:
    """Truths that an error of class or place stands for are not missed."""
    found = covering_error(oracle)
    explained = oracle.truths[found]
    verdicts.truths[explained] = "explained"
    verdicts.predictions_of[explained] = rows[found]
