"""Error types of predictions and missed ground truth, where identities switch and tracks break, and the AP each costs.

Source: the types are TIDE's (arXiv 2008.08115), the split of localisation errors in space and time is TIVE's (arXiv
2210.08856). The base is the official matching: what the metric ignores is ignored here. AP if one error type were fixed
is TIDE's, on the official metric's AP at one IoU threshold; AP if tracking, classes and masks were fixed, one upon the
other, is after the idea of arXiv 2606.07394, not its exact numbers: there, identities and classes are assigned by one
integer programme over a whole video; here, frame by frame, and a reassigned track keeps its sources' majority.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np

from tevit.evaluation.inputs import Tracks
from tevit.evaluation.matching import (
    LENGTHS,
    IgnoreMasks,
    Matches,
    assign,
    by_range,
    count_positives,
    curves,
    match_all,
    mean_of_known,
)
from tevit.evaluation.overlaps import MAX_PREDICTIONS, Overlaps, VideoClassPairs, VideoPairs

UNMATCHABLE = "unmatchable id 0"
"""A prediction that fits an annotation with the id 0, which the official metric never counts as found, and that
annotation. Fixed by counting the match. Without that an error about such an annotation gains nothing when it is fixed:
the prediction would still count as wrong, and the annotation as not found."""
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


MOVED = ("classification", "spatial", "temporal")
"""Fixed by matching them to the ground truth they are about, unless a better prediction has it; other types are fixed
by removing the predictions."""


@dataclass(frozen=True, eq=False)
class OracleAP:
    """N predictions that count, and G tracks of the ground truth.

    types: str (N,). categories, ground_truth: int64 (N,): class, and row of the ground truth that each is about, -1:
    none. order: int64 (N,), ranks by falling score. ground_truth_categories: int64 (G,). counting: bool (G,), not
    crowd. missed: bool (G,). matchable: bool (G,), False for the id 0. classes: K.
    """

    types: np.ndarray
    categories: np.ndarray
    ground_truth: np.ndarray
    order: np.ndarray
    ground_truth_categories: np.ndarray
    counting: np.ndarray
    missed: np.ndarray
    matchable: np.ndarray
    classes: int

    def ap(self, fixed: Collection[str]) -> float:
        """AP in [0, 1] with the errors of these types fixed; -1: no ground truth.

        The classes are those with ground truth before anything is fixed. A class whose ground truth was all missed, and
        is fixed, counts 1 where no false positive is left, else 0.
        """
        correct = self.types == "correct"
        unmatchable = np.flatnonzero(self.types == UNMATCHABLE) if UNMATCHABLE in fixed else np.zeros(0, np.int64)
        matchable = self.matchable | (UNMATCHABLE in fixed)
        moved = np.concatenate([self._moved(fixed), unmatchable])
        keep = ~np.isin(self.types, list(fixed))
        keep[moved] = True
        moved = moved[matchable[self.ground_truth[moved]]]
        correct[moved] = True
        categories = self.categories.copy()
        categories[moved] = self.ground_truth_categories[self.ground_truth[moved]]
        counting = self.counting & ~(self.missed & matchable) if "missed" in fixed else self.counting
        before, after = (
            np.bincount(self.ground_truth_categories[c], minlength=self.classes) for c in (self.counting, counting)
        )
        rows = np.flatnonzero(keep)
        rows = rows[np.lexsort((self.order[rows], categories[rows]))]
        matches = Matches(
            predictions=rows,
            categories=categories[rows],
            ranks=np.zeros(len(rows), np.int64),
            scores=-self.order[rows].astype(np.float64),
            matched=self.ground_truth[rows][None, None],
            correct=correct[rows][None, None],
            ignored=np.zeros((1, 1, len(rows)), bool),
        )
        precision = curves(matches, after[None], (1,)).precision[0, :, :, 0, 0]
        values = np.where(after > 0, precision.mean(axis=0), -1.0)
        emptied = (before > 0) & (after == 0)
        values[emptied] = np.bincount(categories[keep], minlength=self.classes)[emptied] == 0
        return mean_of_known(values)

    def covering_errors(self) -> np.ndarray:
        """int64: of all errors of class or place, the best one for each track of the ground truth that is not found."""
        return self._moved(MOVED)

    def _moved(self, fixed: Collection[str]) -> np.ndarray:
        """int64: of the predictions that are moved to their ground truth, the best one for each that is not matched."""
        matched = self.ground_truth[np.isin(self.types, ("correct", UNMATCHABLE))]
        free = ~np.isin(self.ground_truth, matched)
        rows = np.flatnonzero(np.isin(self.types, [type for type in MOVED if type in fixed]) & free)
        rows = rows[np.argsort(self.order[rows])]
        return rows[np.unique(self.ground_truth[rows], return_index=True)[1]]


# --- tracking, classes, masks

_TINY = 1e-9
MIN_IOU = 0.1
"""Frame IoU below which a mask is not assigned to ground truth."""
INSTANCES = {"1": (1, 1), "2 to 3": (2, 3), "4 to 6": (4, 6), "7 and more": (7, np.inf)}
"""Tracks of the ground truth in the video."""


@dataclass(frozen=True)
class Gap:
    """AP in [0, 1], mean over the ten IoU thresholds; -1: no ground truth. truths: how many tracks count.

    ap: as predicted. tracked: with every mask in the right track. classified: and every such track in its class.
    """

    truths: int
    ap: float
    tracked: float
    classified: float

    @property
    def tracking(self) -> float:
        """AP gained by perfect tracking; NaN without ground truth."""
        return self.tracked - self.ap if self.truths else float("nan")

    @property
    def classification(self) -> float:
        """AP gained by perfect classes on top; NaN without ground truth."""
        return self.classified - self.tracked if self.truths else float("nan")

    @property
    def masks(self) -> float:
        """The rest: masks that do not fit, and missed objects; NaN without ground truth."""
        return 1 - self.classified if self.truths else float("nan")


@dataclass(frozen=True)
class Gaps:
    """Of the whole data set, by track length and by the number of tracks in the video."""

    whole: Gap
    by_length: Mapping[str, Gap]
    by_instances: Mapping[str, Gap]


@dataclass(frozen=True, eq=False)
class _Stage:
    """Predictions of one stage: groups and table as `match_all` takes them. frames: int64 (N,), of each track."""

    groups: list[VideoClassPairs]
    predictions: Tracks
    frames: np.ndarray


def find_gaps(overlaps: Overlaps, parts: bool = True) -> Gaps:
    """Split the lost AP. overlaps: with all pairs, classes not pooled. parts: by length and instances, too."""
    if len(overlaps.pairs) != len(overlaps.inputs.videos) or overlaps.agnostic:
        raise ValueError("gaps need the overlaps of all pairs, by class: measure with all_pairs=True")
    reassigned = [_reassign(overlaps, pairs) for pairs in overlaps.pairs]
    stages = [
        _Stage(overlaps.groups, overlaps.inputs.predictions, overlaps.prediction_frames),
        _stage(overlaps, reassigned, true_classes=False),
        _stage(overlaps, reassigned, true_classes=True),
    ]
    ground_truth = overlaps.inputs.ground_truth
    instances = np.bincount(ground_truth.videos[~ground_truth.crowd], minlength=len(overlaps.inputs.videos))
    positives, aps = np.zeros((0, 0)), []
    for stage in stages:
        ignore = _ignore_masks(overlaps, stage, instances, parts)
        positives = count_positives(overlaps.inputs, ignore)
        matches = match_all(stage.groups, ground_truth, stage.predictions, ignore)
        precision = curves(matches, positives, (MAX_PREDICTIONS,)).precision
        aps.append([mean_of_known(precision[..., a, 0]) for a in range(len(positives))])
    whole, *rest = [Gap(int(count), *values) for count, *values in zip(positives.sum(axis=1), *aps, strict=True)]
    return Gaps(
        whole=whole,
        by_length=dict(zip(LENGTHS, rest, strict=False)),
        by_instances=dict(zip(INSTANCES, rest[len(LENGTHS) :], strict=False)),
    )


def _ignore_masks(overlaps: Overlaps, stage: _Stage, instances: np.ndarray, parts: bool) -> IgnoreMasks:
    """First nothing ignored; with `parts` then all but each range of track length, then of `instances` (V,)."""
    ground_truth = overlaps.inputs.ground_truth
    lengths: list[tuple[float, float]] = [(0, np.inf), *(LENGTHS.values() if parts else ())]
    ignore = by_range(overlaps.ground_truth_frames, stage.frames, lengths)
    if not parts:
        return ignore
    more = by_range(instances[ground_truth.videos], instances[stage.predictions.videos], list(INSTANCES.values()))
    return IgnoreMasks(
        np.concatenate([ignore.ground_truth, more.ground_truth]), np.concatenate([ignore.predictions, more.predictions])
    )


@dataclass(frozen=True, eq=False)
class _ReassignedTracks:
    """n tracks of one video after its masks were reassigned to the ground truth.

    sources: int64 (n,), the prediction (position in pairs) that gives class and score. ground_truth: int64 (n,), the
    track (position in pairs) whose masks these are, -1 for masks that stay in their own track. ious: float64 (n, G).
    frames: int64 (n,); of masks that stay, as many as the track had before, so that it counts by its own length.
    """

    pairs: VideoPairs
    sources: np.ndarray
    ground_truth: np.ndarray
    ious: np.ndarray
    frames: np.ndarray


def _reassign(overlaps: Overlaps, pairs: VideoPairs) -> _ReassignedTracks:
    source = assign_masks(pairs, overlaps.inputs.ground_truth.crowd[pairs.ground_truth])
    assigned = np.flatnonzero((source >= 0).any(axis=1))
    present = pairs.prediction_areas > 0
    used = np.zeros(present.shape, bool)
    where = np.nonzero(source >= 0)
    used[source[where], where[1]] = True
    left = np.flatnonzero((present & ~used).any(axis=1) | ~present.any(axis=1))
    ious = np.zeros((len(assigned) + len(left), len(pairs.ground_truth)))
    for row, g in enumerate(assigned):
        frames = np.flatnonzero(source[g] >= 0)
        masks = source[g][frames], frames
        ious[row] = _ious(pairs, masks, source[g] < 0)
    for row, d in enumerate(left.tolist(), start=len(assigned)):
        frames = np.flatnonzero(~used[d])
        ious[row] = _ious(pairs, (np.full(len(frames), d), frames), used[d])
    kinds = overlaps.inputs.predictions.categories[pairs.predictions]
    return _ReassignedTracks(
        pairs=pairs,
        sources=np.array([*(_majority(source[g][source[g] >= 0], kinds) for g in assigned), *left], np.int64),
        ground_truth=np.array([*assigned, *np.full(len(left), -1)], np.int64),
        ious=ious,
        frames=np.array([*(source[assigned] >= 0).sum(axis=1), *present[left].sum(axis=1)], np.int64),
    )


def _ious(pairs: VideoPairs, masks: tuple[np.ndarray, np.ndarray], absent: np.ndarray) -> np.ndarray:
    """float64 (G,): of a track of some masks (positions of predictions; frames). absent: bool (T,), other frames."""
    predictions, frames = masks
    intersection = pairs.intersection[predictions, :, frames].sum(axis=0, dtype=np.float64)
    union = pairs.union[predictions, :, frames].sum(axis=0, dtype=np.float64)
    return intersection / np.maximum(union + pairs.ground_truth_areas[:, absent].sum(axis=1, dtype=np.float64), 1)


def _majority(sources: np.ndarray, kinds: np.ndarray) -> int:
    """The prediction that most frames come from, of the class that most come from; of equal ones the best score's."""
    counts = np.bincount(sources, minlength=len(kinds))
    of_kind = np.bincount(kinds, weights=counts)[kinds]
    return int(np.lexsort((-np.arange(len(kinds)), counts, of_kind * (counts > 0)))[-1])


def assign_masks(pairs: VideoPairs, crowd: np.ndarray) -> np.ndarray:
    """int64 (G, T): the prediction whose mask each track of the ground truth gets in each frame, -1 for none."""
    ious = pairs.frame_ious().astype(np.float64)
    ious[:, crowd] = 0
    ious[ious < MIN_IOU] = 0
    ious -= np.where(ious > 0, _TINY * np.arange(len(ious))[:, None, None], 0)  # of copies, the best score's
    source = np.where(ious.any(axis=0), ious.argmax(axis=0), -1) if len(ious) else np.full(ious.shape[1:], -1)
    # Where no two tracks have the same best prediction, the best of each is the best of all together.
    ordered = np.sort(source, axis=0)
    for t in np.flatnonzero(((ordered[1:] == ordered[:-1]) & (ordered[1:] >= 0)).any(axis=0)):
        predictions, truths = assign(ious[..., t])
        good = ious[predictions, truths, t] > 0
        source[:, t] = -1
        source[truths[good], t] = predictions[good]
    return source


def _stage(overlaps: Overlaps, videos: list[_ReassignedTracks], true_classes: bool) -> _Stage:
    rows = [tracks.pairs.predictions[tracks.sources] for tracks in videos]
    table, inputs = overlaps.inputs.predictions, overlaps.inputs
    every = np.concatenate([np.zeros(0, np.int64), *rows])
    categories = table.categories[every]
    if true_classes:
        assigned = [
            np.where(v.ground_truth >= 0, np.append(v.pairs.ground_truth, -1)[v.ground_truth], -1) for v in videos
        ]
        truth = np.concatenate([np.zeros(0, np.int64), *assigned])
        categories = np.where(truth >= 0, np.append(inputs.ground_truth.categories, 0)[truth], categories)
    predictions = replace(
        table,
        ids=np.arange(1, len(every) + 1),
        videos=table.videos[every],
        categories=categories,
        scores=table.scores[every],
        areas=np.zeros(len(every)),
        crowd=np.zeros(len(every), bool),
    )
    starts = np.cumsum([0, *map(len, rows)])
    groups = [
        group
        for tracks, start in zip(videos, starts.tolist(), strict=False)
        for group in _groups(inputs.ground_truth, predictions, tracks, start)
    ]
    groups.sort(key=lambda group: (group.category, group.video))
    return _Stage(groups, predictions, np.concatenate([np.zeros(0, np.int64), *(tracks.frames for tracks in videos)]))


def _groups(ground_truth: Tracks, predictions: Tracks, tracks: _ReassignedTracks, start: int) -> list[VideoClassPairs]:
    """start: the row of the video's first prediction."""
    rows = start + np.arange(len(tracks.sources))
    rows = rows[np.argsort(-predictions.scores[rows], kind="stable")]
    pairs = tracks.pairs
    kinds_t, kinds_p = ground_truth.categories[pairs.ground_truth], predictions.categories[rows]
    groups = []
    for kind in sorted({*kinds_t.tolist(), *kinds_p.tolist()}):
        of_t, own = np.flatnonzero(kinds_t == kind), rows[kinds_p == kind][:MAX_PREDICTIONS]
        ious = tracks.ious[np.ix_(own - start, of_t)]
        groups.append(VideoClassPairs(pairs.video, kind, pairs.ground_truth[of_t], own, ious))
    return groups
