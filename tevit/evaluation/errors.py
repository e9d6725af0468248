"""Error types of predictions and missed ground truth, where identities switch and tracks break, and the AP each costs.

Source: the types are TIDE's (arXiv 2008.08115), the split of localisation errors in space and time is TIVE's (arXiv
2210.08856). The base is the official matching: what the metric ignores is ignored here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from tevit.evaluation.matching import IgnoreMasks, match_all
from tevit.evaluation.oracle import UNMATCHABLE, OracleAP
from tevit.evaluation.overlaps import Overlaps, VideoPairs

FALSE_POSITIVES = ("classification", "spatial", "temporal", "both", "duplicate", "background")
TYPES = (*FALSE_POSITIVES, "missed", UNMATCHABLE)
"""The error types, in the order of reports. The last one occurs only where an annotation has the id 0."""
ALL_TYPES = (*TYPES, "correct", "explained", "ignored")
"""All types of tracks. explained: ground truth for which an error of class or place stands. ignored: tracks that do not
count: crowds, predictions matched to crowds, and what the metric leaves out."""


_NAME = f"<U{max(map(len, ALL_TYPES))}"  # dtype of arrays of types


@dataclass(frozen=True)
class Limits:
    """IoU limits in [0, 1] and a share of frames.

    positive: IoU from which a prediction matches ground truth. background: IoU below which a prediction is on nothing.
    overlap: frame IoU above which two tracks meet in a frame. spatial: share of frames with such an overlap from which
    a localisation error is spatial, not temporal. cover: frame IoU from which a prediction covers a track in a frame.
    """

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
class TrackTypes:
    """predictions: str (N,), ground_truth: str (G,), the type of each track, by row of Inputs' tables.

    ground_truth_of: int64 (N,), prediction_of: int64 (G,): the row of the matched, confused or explaining track of the
    other side, -1 for none.
    """

    predictions: np.ndarray
    ground_truth: np.ndarray
    ground_truth_of: np.ndarray
    prediction_of: np.ndarray


@dataclass(frozen=True, eq=False)
class ErrorCosts:
    """ap: AP at `limits.positive`, in [0, 1]; -1: no ground truth. dap: error type -> AP gained by fixing that type
    alone, UNMATCHABLE only where an annotation has the id 0. oracle_ap: AP with all errors fixed. types: of every
    track."""

    limits: Limits
    types: TrackTypes
    ap: float
    dap: Mapping[str, float]
    oracle_ap: float


def find_costs(overlaps: Overlaps, limits: Limits) -> ErrorCosts:
    """The type of every track and what each error type costs. overlaps: with all pairs, classes not pooled."""
    if len(overlaps.pairs) != len(overlaps.inputs.videos) or overlaps.agnostic:
        raise ValueError("errors need the overlaps of all pairs, by class: measure with all_pairs=True")
    types = assign_types(overlaps, limits)
    ground_truth, predictions = overlaps.inputs.ground_truth, overlaps.inputs.predictions
    rows = np.flatnonzero(types.predictions != "ignored")
    order = np.lexsort((rows, predictions.videos[rows], -predictions.scores[rows]))
    oracle = OracleAP(
        types=types.predictions[rows],
        categories=predictions.categories[rows],
        ground_truth=types.ground_truth_of[rows],
        order=np.argsort(order),
        ground_truth_categories=ground_truth.categories,
        counting=~ground_truth.crowd,
        missed=np.zeros(len(ground_truth.ids), bool),
        matchable=ground_truth.ids != 0,
        classes=len(overlaps.inputs.categories),
    )
    explaining = oracle.covering_errors()
    explained = oracle.ground_truth[explaining]
    types.ground_truth[explained], types.prediction_of[explained] = "explained", rows[explaining]
    oracle = replace(oracle, missed=types.ground_truth == "missed")
    ap = oracle.ap(())
    has_id_0 = (~ground_truth.crowd & (ground_truth.ids == 0)).any()
    dap = {type: oracle.ap((type,)) - ap for type in TYPES if has_id_0 or type != UNMATCHABLE}
    return ErrorCosts(limits, types, ap, dap, oracle.ap(TYPES))


def assign_types(overlaps: Overlaps, limits: Limits) -> TrackTypes:
    """The type of every prediction; ground truth is correct, ignored or missed (explained tracks are missed here)."""
    ground_truth, predictions = overlaps.inputs.ground_truth, overlaps.inputs.predictions
    nothing = IgnoreMasks(np.zeros((1, len(ground_truth.ids)), bool), np.zeros((1, len(predictions.ids)), bool))
    matches = match_all(overlaps.groups, ground_truth, predictions, nothing, np.array([limits.positive]))
    types = np.full(len(predictions.ids), "ignored", _NAME)  # also what is beyond the 100 predictions that count
    types[matches.predictions] = np.where(matches.ignored[0, 0], "ignored", "")
    correct = matches.correct[0, 0]
    matched, rows = matches.predictions[correct], matches.matched[0, 0, correct]
    types[matched] = "correct"
    ground_truth_of, prediction_of = np.full(len(types), -1), np.full(len(ground_truth.ids), -1)
    ground_truth_of[matched], prediction_of[rows] = rows, matched
    of_ground_truth = np.where(ground_truth.crowd, "ignored", np.where(prediction_of >= 0, "correct", "missed"))
    of_ground_truth = of_ground_truth.astype(_NAME)
    fits_id_0 = (matches.matched[0, 0] >= 0) & ~correct & ~matches.ignored[0, 0]
    matched, rows = matches.predictions[fits_id_0], matches.matched[0, 0, fits_id_0]
    types[matched] = of_ground_truth[rows] = UNMATCHABLE
    ground_truth_of[matched], prediction_of[rows] = rows, matched
    result = TrackTypes(types, of_ground_truth, ground_truth_of, prediction_of)
    for pairs in overlaps.pairs:
        _assign_video(overlaps, pairs, result, limits)
    return result


def _assign_video(overlaps: Overlaps, pairs: VideoPairs, result: TrackTypes, limits: Limits) -> None:
    """Fill in the types of one video's false positives: the first in the order of the help text that applies."""
    ground_truth, predictions = overlaps.inputs.ground_truth, overlaps.inputs.predictions
    rows = pairs.predictions
    types, about = np.full(len(rows), "background", _NAME), np.full(len(rows), -1)
    if pairs.ground_truth.size:
        ious, counting = pairs.ious(), ~ground_truth.crowd[pairs.ground_truth]
        same = predictions.categories[rows][:, None] == ground_truth.categories[pairs.ground_truth]
        of_same, of_other = _best(ious, same & counting), _best(ious, ~same & counting)
        positive = min(limits.positive, 1 - 1e-10)
        # A later assignment overwrites an earlier one, so the type of highest precedence comes last.
        for least, names in ((limits.background, ("spatial", "both")), (positive, ("duplicate", "classification"))):
            for (g, iou), name in ((of_other, names[1]), (of_same, names[0])):
                applies = iou >= least
                types[applies], about[applies] = name, g[applies]
    unassigned = np.flatnonzero(result.predictions[rows] == "")
    near = unassigned[types[unassigned] == "spatial"]
    frame_ious = pairs.frame_ious() if len(near) else None
    for d in near.tolist():
        assert frame_ious is not None
        present = (pairs.ground_truth_areas[about[d]] > 0) | (pairs.prediction_areas[d] > 0)
        if not (frame_ious[d, about[d], present] > limits.overlap).mean() >= limits.spatial:
            types[d] = "temporal"
    result.predictions[rows[unassigned]] = types[unassigned]
    about = about[unassigned]
    result.ground_truth_of[rows[unassigned]] = np.where(about >= 0, np.append(pairs.ground_truth, -1)[about], -1)


def _best(ious: np.ndarray, among: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ious: (D, G), G > 0. The position of each row's highest, int64 (D,), and its IoU, float64 (D,), -1: none."""
    values = np.where(among, ious, -1.0)
    g = ious.shape[1] - 1 - np.argmax(values[:, ::-1], axis=1)  # the later of equal ones, as in the official matching
    return g, values[np.arange(len(values)), g]


# --- coverage, frame by frame


@dataclass(frozen=True, eq=False)
class Coverage:
    """Of one video with G tracks of the ground truth and D predictions.

    switches: for each track of the ground truth the frames at which another prediction covers it best. switchers: bool
    (D,), predictions that take part in such a switch. broken: bool (G,), ground truth that is covered, then not, then
    again, by any prediction. broken_by: bool (D, G), the same by one prediction alone.
    """

    switches: list[tuple[int, ...]]
    switchers: np.ndarray
    broken: np.ndarray
    broken_by: np.ndarray


def coverage(pairs: VideoPairs, frame_ious: np.ndarray, cover: float) -> Coverage:
    """frame_ious: float32 (D, G, T). cover: frame IoU from which a prediction covers a track."""
    covers = (frame_ious >= cover) & (pairs.intersection > 0)
    switches, switchers = [], np.zeros(len(pairs.predictions), bool)
    broken, broken_by = [], np.zeros(covers.shape[:2], bool)
    for g, areas in enumerate(pairs.ground_truth_areas):
        frames, best = best_covering(covers[:, g], frame_ious[:, g])
        changes = np.flatnonzero(np.diff(best)) + 1
        switches.append(tuple(frames[changes].tolist()))
        switchers[best if len(changes) else []] = True
        present = covers[:, g][:, areas > 0]
        broken.append(bool(_broken(np.logical_or.reduce(present, axis=0, keepdims=True))[0]))
        broken_by[:, g] = _broken(present)
    return Coverage(switches, switchers, np.array(broken, bool), broken_by)


def best_covering(covers: np.ndarray, frame_ious: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The frames in which a track of the ground truth is covered, and the best prediction in each; int64 (n,).

    covers, frame_ious: (D, T). Of equal frame IoUs the prediction of highest score is the best, so that copies of one
    track do not take turns.
    """
    frames = np.flatnonzero(covers.any(axis=0))
    return frames, np.argmax(np.where(covers, frame_ious, -1)[:, frames], axis=0) if len(frames) else frames


def _broken(covered: np.ndarray) -> np.ndarray:
    """bool (n,): covered, then not, then again. covered: bool (n, T), frames in which the ground truth is present."""
    begins = covered[:, 1:] & ~covered[:, :-1]
    return covered[:, :1].sum(axis=1) + begins.sum(axis=1) > 1
