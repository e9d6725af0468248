"""What AP would be if some kinds of errors were not made.

Source: the oracles of TIDE (arXiv 2008.08115), on the official metric's AP at one IoU threshold.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np

from tevit.evaluation.curves import LENGTHS, by_range, count_positives, curves, mean_of_known
from tevit.evaluation.inputs import Tracks
from tevit.evaluation.matching import MOST_PREDICTIONS, IgnoreMasks, Matches, VideoClassPairs, match_all
from tevit.evaluation.overlaps import Overlaps, VideoPairs

MOVED = ("classification", "spatial", "temporal")
"""Mended by giving them the truth they are about, unless something better has it; all others by taking them away."""


@dataclass(frozen=True, eq=False)
class OracleAP:
    """What every prediction and truth counts for.

    types: str (N,), of the predictions that count. categories, truths: int64 (N,): their class, and the row of the
    truth that each is about, -1 for none. order: int64 (N,), their places in the order of falling scores.
    truth_categories: int64 (G,). counting: bool (G,), not crowd. missed: bool (G,). classes: K.
    """

    types: np.ndarray
    categories: np.ndarray
    truths: np.ndarray
    order: np.ndarray
    truth_categories: np.ndarray
    counting: np.ndarray
    missed: np.ndarray
    classes: int

    def ap(self, mended: Collection[str]) -> float:
        """AP in [0, 1] with the errors of these types mended; -1: no ground truth.

        The classes are those that have truths before anything is mended. A class of which every truth was missed, and
        mended, is perfect if no false positive is left, else worth nothing.
        """
        right = self.types == "correct"
        moved = self._moved(mended)
        keep = ~np.isin(self.types, list(mended))
        keep[moved] = right[moved] = True
        categories = self.categories.copy()
        categories[moved] = self.truth_categories[self.truths[moved]]
        counting = self.counting & ~self.missed if "missed" in mended else self.counting
        before, after = (
            np.bincount(self.truth_categories[c], minlength=self.classes) for c in (self.counting, counting)
        )
        values = self._class_aps(np.flatnonzero(keep), right, categories, after)
        emptied = (before > 0) & (after == 0)
        values[emptied] = np.bincount(categories[keep], minlength=self.classes)[emptied] == 0
        return mean_of_known(values)

    def _moved(self, mended: Collection[str]) -> np.ndarray:
        """int64: of those that are given their truth, the best one for each truth that is not taken."""
        taken = self.truths[self.types == "correct"]
        asking = np.isin(self.types, [type for type in MOVED if type in mended]) & ~np.isin(self.truths, taken)
        rows = np.flatnonzero(asking)
        rows = rows[np.argsort(self.order[rows])]
        return rows[np.unique(self.truths[rows], return_index=True)[1]]

    def _class_aps(self, rows: np.ndarray, right: np.ndarray, categories: np.ndarray, truths: np.ndarray) -> np.ndarray:
        """float64 (K,). rows: the predictions that are left; right, categories: of all."""
        rows = rows[np.lexsort((self.order[rows], categories[rows]))]
        outcome = Matches(
            predictions=rows,
            categories=categories[rows],
            ranks=np.zeros(len(rows), np.int64),
            scores=-self.order[rows].astype(np.float64),
            taken=self.truths[rows][None, None],
            right=right[rows][None, None],
            ignored=np.zeros((1, 1, len(rows)), bool),
        )
        precision = curves(outcome, truths[None], (1,)).precision[0, :, :, 0, 0]
        return np.where(truths > 0, precision.mean(axis=0), -1.0)


def covering_error(oracle: OracleAP) -> np.ndarray:
    """int64: of all errors of class or place, the one that stands for each truth that nothing has found."""
    return oracle._moved(MOVED)


_TINY = 1e-9
LEAST_IOU = 0.1
"""Frame IoU below which a mask is not dealt to a truth."""
INSTANCES = {"1": (1, 1), "2 to 3": (2, 3), "4 to 6": (4, 6), "7 and more": (7, np.inf)}
"""Truths in the video."""


@dataclass(frozen=True)
class Gap:
    """AP in [0, 1], mean over the ten IoU thresholds; -1: no ground truth. truths: how many count.

    ap: as predicted. tracked: with every mask in the right track. classified: and every such track in its class.
    """

    truths: int
    ap: float
    tracked: float
    classified: float

    @property
    def tracking(self) -> float:
        """What perfect tracking would gain; NaN without ground truth."""
        return self.tracked - self.ap if self.truths else float("nan")

    @property
    def classification(self) -> float:
        """What perfect classes would gain on top; NaN without ground truth."""
        return self.classified - self.tracked if self.truths else float("nan")

    @property
    def masks(self) -> float:
        """What is left: masks that do not fit, and objects that are missed; NaN without ground truth."""
        return 1 - self.classified if self.truths else float("nan")


@dataclass(frozen=True)
class Gaps:
    """Of the whole data set, by track length and by how many truths the video has."""

    whole: Gap
    by_length: Mapping[str, Gap]
    by_instances: Mapping[str, Gap]


@dataclass(frozen=True, eq=False)
class _Stage:
    """Predictions of one stage: groups and table as `match_all` takes them. frames: int64 (N,), in how many each is."""

    groups: list[VideoClassPairs]
    predictions: Tracks
    frames: np.ndarray


def find_gaps(measured: Overlaps, parts: bool = True) -> Gaps:
    """Take the lost AP apart. measured: with all pairs, and classes not pooled. parts: by length and instances, too."""
    if len(measured.pairs) != len(measured.inputs.videos) or measured.agnostic:
        raise ValueError("gaps need the overlaps of all pairs, by class: measure with all_pairs=True")
    dealt = [_deal(measured, pairs) for pairs in measured.pairs]
    stages = [
        _Stage(measured.groups, measured.inputs.predictions, measured.prediction_frames),
        _stage(measured, dealt, true_classes=False),
        _stage(measured, dealt, true_classes=True),
    ]
    truths = measured.inputs.ground_truth
    instances = np.bincount(truths.videos[~truths.crowd], minlength=len(measured.inputs.videos))
    ask = _question if parts else _whole_question
    questions = [ask(measured, stage, instances) for stage in stages]
    positives = count_positives(measured.inputs, questions[0])
    aps = [_aps(measured, stage, question, positives) for stage, question in zip(stages, questions, strict=True)]
    whole, *rest = [Gap(int(count), *values) for count, *values in zip(positives.sum(axis=1), *aps, strict=True)]
    return Gaps(
        whole=whole,
        by_length=dict(zip(LENGTHS, rest, strict=False)),
        by_instances=dict(zip(INSTANCES, rest[len(LENGTHS) :], strict=False)),
    )


def _whole_question(measured: Overlaps, stage: _Stage, instances: np.ndarray) -> IgnoreMasks:
    """Everything."""
    return IgnoreMasks(
        np.zeros((1, len(measured.inputs.ground_truth.ids)), bool), np.zeros((1, len(stage.predictions.ids)), bool)
    )


def _question(measured: Overlaps, stage: _Stage, instances: np.ndarray) -> IgnoreMasks:
    """Everything first, then the ranges of track length, then those of truths in the video."""
    of_truths = instances[measured.inputs.ground_truth.videos]
    parts = [
        by_range(measured.ground_truth_frames, stage.frames, [(0, np.inf), *LENGTHS.values()]),
        by_range(of_truths, instances[stage.predictions.videos], list(INSTANCES.values())),
    ]
    return IgnoreMasks(np.concatenate([p.truth_ignored for p in parts]), np.concatenate([p.outside for p in parts]))


def _aps(measured: Overlaps, stage: _Stage, question: IgnoreMasks, positives: np.ndarray) -> list[float]:
    """AP for each row of the question."""
    outcome = match_all(stage.groups, measured.inputs.ground_truth, stage.predictions, question)
    precision = curves(outcome, positives, (MOST_PREDICTIONS,)).precision
    return [mean_of_known(precision[..., a, 0]) for a in range(len(positives))]


@dataclass(frozen=True, eq=False)
class _Dealt:
    """n tracks of one video after its masks were dealt anew.

    sources: int64 (n,), the prediction (position in pairs) that gives class and score. truths: int64 (n,), the truth
    (position in pairs) that a track was dealt for, -1 for what stayed in its own track. ious: float64 (n, G).
    frames: int64 (n,), of what stayed as many as the track had before: it belongs with tracks of that length.
    """

    pairs: VideoPairs
    sources: np.ndarray
    truths: np.ndarray
    ious: np.ndarray
    frames: np.ndarray


def _deal(measured: Overlaps, pairs: VideoPairs) -> _Dealt:
    source = _assign(pairs, measured.inputs.ground_truth.crowd[pairs.ground_truth])
    dealt = np.flatnonzero((source >= 0).any(axis=1))
    present = pairs.prediction_areas > 0
    used = np.zeros(present.shape, bool)
    where = np.nonzero(source >= 0)
    used[source[where], where[1]] = True
    left = np.flatnonzero((present & ~used).any(axis=1) | ~present.any(axis=1))
    tables = [_dealt_overlaps(pairs, source[g]) for g in dealt]
    tables += [_left_overlaps(pairs, d, used[d]) for d in left.tolist()]
    kinds = measured.inputs.predictions.categories[pairs.predictions]
    majority = [_majority(source[g][source[g] >= 0], kinds) for g in dealt]
    return _Dealt(
        pairs=pairs,
        sources=np.array([*majority, *left], np.int64),
        truths=np.array([*dealt, *np.full(len(left), -1)], np.int64),
        ious=np.array([common / np.maximum(union, 1) for common, union in tables]).reshape(
            len(tables), len(pairs.ground_truth)
        ),
        frames=np.array([*(source[dealt] >= 0).sum(axis=1), *present[left].sum(axis=1)], np.int64),
    )


def _majority(sources: np.ndarray, kinds: np.ndarray) -> int:
    """The prediction that most frames come from, of the class that most come from; of equal ones the best score's."""
    counts = np.bincount(sources, minlength=len(kinds))
    of_kind = np.bincount(kinds, weights=counts)[kinds]
    return int(np.lexsort((-np.arange(len(kinds)), counts, of_kind * (counts > 0)))[-1])


def _assign(pairs: VideoPairs, crowd: np.ndarray) -> np.ndarray:
    """int64 (G, T): the prediction whose mask each truth gets in each frame, -1 for none."""
    from scipy.optimize import linear_sum_assignment

    ious = pairs.frame_ious().astype(np.float64)
    ious[:, crowd] = 0
    ious[ious < LEAST_IOU] = 0
    ious -= np.where(ious > 0, _TINY * np.arange(len(ious))[:, None, None], 0)  # of copies, the best score's
    source = np.where(ious.any(axis=0), ious.argmax(axis=0), -1) if len(ious) else np.full(ious.shape[1:], -1)
    for t in np.flatnonzero(_disputed(source)):
        found, truths = linear_sum_assignment(ious[..., t], maximize=True)
        good = ious[found, truths, t] > 0
        source[:, t] = -1
        source[truths[good], t] = found[good]
    return source


def _disputed(source: np.ndarray) -> np.ndarray:
    """bool (T,): frames in which two truths have the same best prediction. Elsewhere the best of each is the best of
    all together."""
    ordered = np.sort(source, axis=0)
    return ((ordered[1:] == ordered[:-1]) & (ordered[1:] >= 0)).any(axis=0)


def _dealt_overlaps(pairs: VideoPairs, source: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Intersection and union with every truth, float64 (G,), of a track that has the masks of `source` (T,)."""
    frames, absent = np.flatnonzero(source >= 0), source < 0
    common = pairs.common[source[frames], :, frames].sum(axis=0, dtype=np.float64)
    union = pairs.union[source[frames], :, frames].sum(axis=0, dtype=np.float64)
    return common, union + pairs.truth_areas[:, absent].sum(axis=1, dtype=np.float64)


def _left_overlaps(pairs: VideoPairs, d: int, used: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Intersection and union with every truth, float64 (G,), of a track that has lost the masks `used` (T,)."""
    common = pairs.common[d][:, ~used].sum(axis=1, dtype=np.float64)
    union = pairs.union[d][:, ~used].sum(axis=1, dtype=np.float64)
    return common, union + pairs.truth_areas[:, used].sum(axis=1, dtype=np.float64)


def _stage(measured: Overlaps, videos: list[_Dealt], true_classes: bool) -> _Stage:
    rows = [dealt.pairs.predictions[dealt.sources] for dealt in videos]
    table, inputs = measured.inputs.predictions, measured.inputs
    every = np.concatenate([np.zeros(0, np.int64), *rows])
    categories = table.categories[every]
    if true_classes:
        truth_rows = [np.where(d.truths >= 0, np.append(d.pairs.ground_truth, -1)[d.truths], -1) for d in videos]
        truth = np.concatenate([np.zeros(0, np.int64), *truth_rows])
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
        for dealt, start in zip(videos, starts.tolist(), strict=False)
        for group in _groups(inputs.ground_truth, predictions, dealt, start)
    ]
    groups.sort(key=lambda group: (group.category, group.video))
    frames = np.concatenate([np.zeros(0, np.int64), *(dealt.frames for dealt in videos)])
    return _Stage(groups, predictions, frames)


def _groups(truths: Tracks, predictions: Tracks, dealt: _Dealt, start: int) -> list[VideoClassPairs]:
    """start: the row of the video's first prediction."""
    rows = start + np.arange(len(dealt.sources))
    rows = rows[np.argsort(-predictions.scores[rows], kind="stable")]
    kinds_t, kinds_p = truths.categories[dealt.pairs.ground_truth], predictions.categories[rows]
    groups = []
    for kind in sorted({*kinds_t.tolist(), *kinds_p.tolist()}):
        of_t, own = np.flatnonzero(kinds_t == kind), rows[kinds_p == kind][:MOST_PREDICTIONS]
        ious = dealt.ious[np.ix_(own - start, of_t)]
        groups.append(VideoClassPairs(dealt.pairs.video, kind, dealt.pairs.ground_truth[of_t], own, ious))
    return groups
