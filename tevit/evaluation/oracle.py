"""AP if some errors were not made: each error type fixed alone; and tracking, classes and masks, one upon the other.

Source: the first are the oracles of TIDE (arXiv 2008.08115), on the official metric's AP at one IoU threshold. The
second are after the idea of arXiv 2606.07394, not its exact numbers: there, identities and classes are assigned by one
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

# --- error types

MOVED = ("classification", "spatial", "temporal")
"""Fixed by matching them to the ground truth they are about, unless a better prediction has it; other types are fixed
by removing the predictions."""
UNMATCHABLE = "unmatchable id 0"
"""A prediction that fits an annotation with the id 0, which the official metric never counts as found, and that
annotation. Fixed by counting the match. Without that an error about such an annotation gains nothing when it is fixed:
the prediction would still count as wrong, and the annotation as not found."""


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
