"""How likely a disagreement is the label's fault: figures in [0, 1] for each kind of label error, video by video.

Each answers: how much better would labels and confident predictions agree if the label were corrected in this way?
Duplicates and swapped identities also show without any model: two labels on one object, two labels that jump.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from tevit.evaluation.overlaps import Overlaps, Spans, VideoPairs, extent, frame_overlaps, spans, track_ious

COVERS = 0.5  # IoU from which a mask is taken to show the same object
_MEETS = 0.05  # IoU of whole tracks from which a misplaced label is still thought to be of this object


@dataclass(frozen=True)
class Suspicion:
    """One possible label error. kind: "class", "missing", "misplaced", "duplicate", "identity" or "unpredicted".

    priority: in [0, 1], higher is likelier. truths: rows of the table of truths. prediction: row of predictions, -1
    for none. frame: the one to look at. at: from which frame on identities are swapped, -1 for other kinds. same: rows
    of further predictions on the same object, which no label shows.
    """

    kind: str
    priority: float
    truths: tuple[int, ...]
    prediction: int
    frame: int
    at: int = -1
    same: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class VideoEvidence:
    """One video as the questions need it; d and g are positions in `pairs`.

    trust: float64 (D,), in [0, 1): 1/2 where the score is that of a usual right prediction. classes_d, classes_g:
    int64. ious: (D, G), frame_ious: (D, G, T). labels, later: the truths' masks, and the same a frame later. found: the
    predictions' masks. recall: the share of all truths that some prediction finds.
    """

    pairs: VideoPairs
    trust: np.ndarray
    classes_d: np.ndarray
    classes_g: np.ndarray
    crowd: np.ndarray
    ious: np.ndarray
    frame_ious: np.ndarray
    labels: Spans
    later: Spans
    found: Spans
    recall: float


def video_evidence(measured: Overlaps, pairs: VideoPairs, usual: float, recall: float) -> VideoEvidence:
    """usual: the median score of right predictions."""
    truths, predictions = measured.inputs.ground_truth, measured.inputs.predictions
    scores = np.maximum(predictions.scores[pairs.predictions], 0)
    masks_t, masks_p = truths.masks(pairs.ground_truth.tolist()), predictions.masks(pairs.predictions.tolist())
    later = [m._replace(length=m.length + 1, frames=m.frames + 1) for m in masks_t]
    length, stride = extent([*later, *masks_p])
    return VideoEvidence(
        pairs=pairs,
        trust=scores / np.maximum(scores + usual, 1e-9),
        classes_d=predictions.categories[pairs.predictions],
        classes_g=truths.categories[pairs.ground_truth],
        crowd=truths.crowd[pairs.ground_truth],
        ious=pairs.ious(),
        frame_ious=pairs.frame_ious(),
        labels=spans(masks_t, length, stride),
        later=spans(later, length, stride),
        found=spans(masks_p, length, stride),
        recall=recall,
    )


def suspicions(evidence: VideoEvidence) -> Iterator[Suspicion]:
    """Every possible label error of one video, in no order."""
    yield from _classes(evidence)
    yield from _missing(evidence)
    yield from _misplaced(evidence)
    yield from _duplicates(evidence)
    yield from _identities(evidence)
    yield from _unpredicted(evidence)


def _classes(s: VideoEvidence) -> Iterator[Suspicion]:
    """A prediction fits in place and time, its class does not; less so if the label's class is predicted there too."""
    for d, g in zip(*np.nonzero(s.ious >= COVERS), strict=True):
        if s.classes_d[d] == s.classes_g[g] or s.crowd[g]:
            continue
        backed = s.trust[(s.classes_d == s.classes_g[g]) & (s.ious[:, g] >= COVERS)].max(initial=0)
        against = s.trust[d] / max(s.trust[d] + backed, 1e-9)
        yield _found(s, "class", s.trust[d] * _agreement(s, d, g) * against, (g,), d, _best_frame(s, d, g))


def _missing(s: VideoEvidence) -> Iterator[Suspicion]:
    """Predictions that last, on something that no label shows; of several on one object the best."""
    areas = s.pairs.prediction_areas.astype(float)
    covered = s.pairs.common.max(axis=1, initial=0).sum(axis=1) / np.maximum(areas.sum(axis=1), 1)
    lasting = (areas > 0).mean(axis=1) if areas.size else np.zeros(len(areas))
    priorities = s.trust * np.maximum(1 - 2 * covered, 0) * np.sqrt(lasting)
    order = np.argsort(-priorities, kind="stable")
    left = order[priorities[order] > 0]
    while len(left):
        d = int(left[0])
        same = _all_ious(s.found, s.found, [d], left)[0] >= COVERS
        rows = tuple(s.pairs.predictions[left[same]].tolist())
        yield replace(_found(s, "missing", priorities[d], (), d, int(np.argmax(areas[d]))), same=rows)
        left = left[1:][~same[1:]]


def _all_ious(a: Spans, b: Spans, of_a: Sequence[int] | np.ndarray, of_b: Sequence[int] | np.ndarray) -> np.ndarray:
    """IoU of whole tracks, float64 (len(of_a), len(of_b))."""
    pairs = np.stack(np.meshgrid(of_a, of_b, indexing="ij"), axis=-1).reshape(-1, 2).astype(np.int64)
    return track_ious(*frame_overlaps(a, b, pairs)).reshape(len(of_a), len(of_b))


def _misplaced(s: VideoEvidence) -> Iterator[Suspicion]:
    """Label and prediction are each other's nearest, of one size, and apart by as much in every frame."""
    if not s.ious.size:
        return
    for d, g in zip(*np.nonzero((s.ious >= _MEETS) & (s.ious < COVERS)), strict=True):
        if s.crowd[g] or s.ious[d].argmax() != g or s.ious[:, g].max() >= COVERS:
            continue
        areas_d, areas_g = s.pairs.prediction_areas[d].astype(float), s.pairs.truth_areas[g].astype(float)
        either = (areas_d > 0) | (areas_g > 0)
        alike = (np.minimum(areas_d, areas_g)[either] / np.maximum(areas_d, areas_g)[either]).mean()
        steady = 1 - min(1.0, float(s.frame_ious[d, g, either].std()) / max(float(s.ious[d, g]), 0.1))
        same = 1.0 if s.classes_d[d] == s.classes_g[g] else 0.5
        priority = s.trust[d] * alike * steady * (1 - s.ious[d, g]) * same
        yield _found(s, "misplaced", priority, (g,), d, _worst_frame(s, d, g))


def _duplicates(s: VideoEvidence) -> Iterator[Suspicion]:
    """Two labels on one object, whatever the model says."""
    every = range(len(s.classes_g))
    ious = _all_ious(s.labels, s.labels, every, every) if len(every) > 1 else np.zeros((1, 1))
    for a, b in combinations(every, 2):
        iou = 0.0 if s.crowd[a] or s.crowd[b] else float(ious[a, b])
        if iou >= COVERS:
            both = np.minimum(s.pairs.truth_areas[a], s.pairs.truth_areas[b])
            weight = 1.0 if s.classes_g[a] == s.classes_g[b] else 0.8
            yield _found(s, "duplicate", iou * weight, (a, b), -1, int(np.argmax(both)))


def _identities(s: VideoEvidence) -> Iterator[Suspicion]:
    """Two labels that change places: a prediction follows one, then the other; and both would jump less if swapped."""
    length = s.frame_ious.shape[2]
    if len(s.classes_g) < 2 or length < 2:
        return
    smoother = _continuity(s)[..., :length]
    for a, b in combinations(range(len(s.classes_g)), 2):
        if s.crowd[a] or s.crowd[b]:
            continue
        gains, followers = _follow(s, a, b)
        total = gains + smoother[a, b]
        at = int(np.argmax(total[1:])) + 1
        if total[at] <= 0:
            continue
        follower = int(followers[at])
        yield _found(s, "identity", min(float(total[at]), 1.0), (a, b), follower, at, at)


def _follow(s: VideoEvidence, a: int, b: int) -> tuple[np.ndarray, np.ndarray]:
    """For a swap at each frame: what the most trusted follower and its counterpart gain in IoU; and the follower, -1
    where there is none. float64 and int64 (T,)."""
    length = s.frame_ious.shape[2]
    if not len(s.trust):
        return np.zeros(length), np.full(length, -1)
    one, two = _swapped(s, a, b), _swapped(s, b, a)  # (D, T)
    before = s.ious[:, [a, b]].max(axis=1, keepdims=True)
    gains = [s.trust[:, None] * np.maximum(iou - before, 0) * (iou >= COVERS) for iou in (one, two)]
    best = np.maximum(gains[0], gains[1])
    return gains[0].max(axis=0) + gains[1].max(axis=0), np.where(best.max(axis=0) > 0, best.argmax(axis=0), -1)


def _swapped(s: VideoEvidence, a: int, b: int) -> np.ndarray:
    """IoU of every prediction with label a up to each frame and label b from it on, float64 (D, T)."""
    parts = []
    for table in (s.pairs.common, s.pairs.union):
        first, second = table[:, a].astype(float), table[:, b].astype(float)
        before = np.cumsum(first, axis=1) - first
        parts.append(before + np.cumsum(second[:, ::-1], axis=1)[:, ::-1])
    return parts[0] / np.maximum(parts[1], 1)


def _continuity(s: VideoEvidence) -> np.ndarray:
    """How much better two labels would go on if they were swapped at a frame: float64 (G, G, T), IoU, mean of both.

    0 where one of the two is not seen in that frame or the one before.
    """
    count = len(s.classes_g)
    pairs = np.indices((count, count)).reshape(2, -1).T
    common, union = frame_overlaps(s.later, s.labels, pairs)
    across = (common / np.maximum(union, 1)).reshape(count, count, -1)
    own = across[np.arange(count), np.arange(count)]
    gain = (across + across.transpose(1, 0, 2) - own[:, None] - own[None]) / 2
    seen = (s.later.areas > 0) & (s.labels.areas > 0)
    return gain * (seen[:, None] & seen[None])


def _unpredicted(s: VideoEvidence) -> Iterator[Suspicion]:
    """A label that no prediction comes near, by a model that finds most others."""
    for g in np.flatnonzero(~s.crowd).tolist():
        near = s.ious[:, g].max(initial=0)
        if near < COVERS / 2:
            priority = 0.5 * s.recall * (1 - 2 * near)
            yield _found(s, "unpredicted", priority, (g,), -1, int(np.argmax(s.pairs.truth_areas[g])))


def _found(
    s: VideoEvidence, kind: str, priority: float, truths: Sequence[int], d: int, frame: int, at: int = -1
) -> Suspicion:
    rows = tuple(int(s.pairs.ground_truth[g]) for g in truths)
    row = int(s.pairs.predictions[d]) if d >= 0 else -1
    return Suspicion(kind, float(np.clip(priority, 0, 1)), rows, row, frame, at)


def _agreement(s: VideoEvidence, d: int, g: int) -> float:
    """The share of frames, of those in which either is there, in which the two masks show one object."""
    either = (s.pairs.prediction_areas[d] > 0) | (s.pairs.truth_areas[g] > 0)
    return float((s.frame_ious[d, g, either] >= COVERS).mean())


def _best_frame(s: VideoEvidence, d: int, g: int) -> int:
    return int(np.argmax(s.frame_ious[d, g]))


def _worst_frame(s: VideoEvidence, d: int, g: int) -> int:
    both = (s.pairs.prediction_areas[d] > 0) & (s.pairs.truth_areas[g] > 0)
    return int(np.argmin(np.where(both, s.frame_ious[d, g], 2))) if both.any() else 0
