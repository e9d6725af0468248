"""Likely label errors, video by video: for each kind a priority in [0, 1].

It is high where labels and confident predictions would agree much better with the label corrected in this way.
Duplicates and swapped identities also show without a model: two labels on one object, two labels that jump.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from tevit.evaluation.overlaps import Overlaps, Spans, VideoPairs, decode_spans, frame_overlaps, max_extent, track_ious

COVERS = 0.5  # IoU from which two masks are taken to show the same object
_TOUCHES = 0.05  # IoU of whole tracks from which a misplaced label may still be of the prediction's object


@dataclass(frozen=True)
class Suspicion:
    """One possible label error. kind: "class", "missing", "misplaced", "duplicate", "identity" or "unpredicted".

    priority: in [0, 1], higher is likelier. labels: rows of the ground truth's table. prediction: row of predictions,
    -1 for none. frame: the most informative one. at: from which frame on identities are swapped, -1 for other kinds.
    same: rows of further predictions on the same object, which has no label.
    """

    kind: str
    priority: float
    labels: tuple[int, ...]
    prediction: int
    frame: int
    at: int = -1
    same: tuple[int, ...] = ()


class VideoEvidence:
    """What suspicions about one video are computed from. d and g: positions of predictions and labels in `pairs`.

    trust: float64 (D,), in [0, 1): 1/2 where the score is that of a usual correct prediction. classes_d, classes_g:
    int64. ious: (D, G), frame_ious: (D, G, T). labels: the labels' masks; later: the same, one frame later.
    predictions: the predictions' masks. recall: fraction of all labels that some prediction covers.
    """

    def __init__(self, overlaps: Overlaps, pairs: VideoPairs, usual_score: float, recall: float):
        """usual_score: the median score of correct predictions."""
        ground_truth, predictions = overlaps.inputs.ground_truth, overlaps.inputs.predictions
        scores = np.maximum(predictions.scores[pairs.predictions], 0)
        self.pairs, self.recall = pairs, recall
        self.trust = scores / np.maximum(scores + usual_score, 1e-9)
        self.classes_d = predictions.categories[pairs.predictions]
        self.classes_g, self.crowd = ground_truth.categories[pairs.ground_truth], ground_truth.crowd[pairs.ground_truth]
        self.ious, self.frame_ious = pairs.ious(), pairs.frame_ious()
        masks_g = ground_truth.read_masks(pairs.ground_truth.tolist())
        masks_d = predictions.read_masks(pairs.predictions.tolist())
        later = [m._replace(length=m.length + 1, frames=m.frames + 1) for m in masks_g]
        length, stride = max_extent([*later, *masks_d])
        self.labels, self.later = decode_spans(masks_g, length, stride), decode_spans(later, length, stride)
        self.predictions = decode_spans(masks_d, length, stride)

    def suspicion(
        self, kind: str, priority: float, labels: Sequence[int], d: int, frame: int | np.integer, at: int = -1
    ) -> Suspicion:
        """Positions in `pairs` become rows of the tables; d: -1 for no prediction."""
        rows = tuple(int(self.pairs.ground_truth[g]) for g in labels)
        row = int(self.pairs.predictions[d]) if d >= 0 else -1
        return Suspicion(kind, float(np.clip(priority, 0, 1)), rows, row, int(frame), at)


def suspicions(evidence: VideoEvidence) -> Iterator[Suspicion]:
    """Every possible label error of one video, in no particular order."""
    for find in (_wrong_classes, _missing, _misplaced, _duplicates, _swapped_identities, _unpredicted):
        yield from find(evidence)


def _wrong_classes(e: VideoEvidence) -> Iterator[Suspicion]:
    """A prediction covers the label but has another class; lower where the label's class is predicted there, too."""
    for d, g in zip(*np.nonzero(e.ious >= COVERS), strict=True):
        if e.classes_d[d] == e.classes_g[g] or e.crowd[g]:
            continue
        backed = e.trust[(e.classes_d == e.classes_g[g]) & (e.ious[:, g] >= COVERS)].max(initial=0)
        against = e.trust[d] / max(e.trust[d] + backed, 1e-9)
        either = (e.pairs.prediction_areas[d] > 0) | (e.pairs.ground_truth_areas[g] > 0)
        agreement = float((e.frame_ious[d, g, either] >= COVERS).mean())
        yield e.suspicion("class", e.trust[d] * agreement * against, (g,), d, np.argmax(e.frame_ious[d, g]))


def _missing(e: VideoEvidence) -> Iterator[Suspicion]:
    """Lasting predictions on something without a label; of several on one object the best."""
    areas = e.pairs.prediction_areas.astype(float)
    covered = e.pairs.intersection.max(axis=1, initial=0).sum(axis=1) / np.maximum(areas.sum(axis=1), 1)
    lasting = (areas > 0).mean(axis=1) if areas.size else np.zeros(len(areas))
    priorities = e.trust * np.maximum(1 - 2 * covered, 0) * np.sqrt(lasting)
    order = np.argsort(-priorities, kind="stable")
    left = order[priorities[order] > 0]
    while len(left):
        d = int(left[0])
        same = _track_ious(e.predictions, [d], left)[0] >= COVERS
        rows = tuple(e.pairs.predictions[left[same]].tolist())
        yield replace(e.suspicion("missing", priorities[d], (), d, np.argmax(areas[d])), same=rows)
        left = left[1:][~same[1:]]


def _track_ious(tracks: Spans, a: Sequence[int], b: Sequence[int] | np.ndarray) -> np.ndarray:
    """IoU of whole tracks, float64 (len(a), len(b))."""
    pairs = np.stack(np.meshgrid(a, b, indexing="ij"), axis=-1).reshape(-1, 2).astype(np.int64)
    return track_ious(*frame_overlaps(tracks, tracks, pairs)).reshape(len(a), len(b))


def _misplaced(e: VideoEvidence) -> Iterator[Suspicion]:
    """Label and prediction are each other's nearest, of similar size, and equally far apart in every frame."""
    if not e.ious.size:
        return
    for d, g in zip(*np.nonzero((e.ious >= _TOUCHES) & (e.ious < COVERS)), strict=True):
        if e.crowd[g] or e.ious[d].argmax() != g or e.ious[:, g].max() >= COVERS:
            continue
        areas_d, areas_g = e.pairs.prediction_areas[d].astype(float), e.pairs.ground_truth_areas[g].astype(float)
        either, both = (areas_d > 0) | (areas_g > 0), (areas_d > 0) & (areas_g > 0)
        similar = (np.minimum(areas_d, areas_g)[either] / np.maximum(areas_d, areas_g)[either]).mean()
        steady = 1 - min(1.0, float(e.frame_ious[d, g, either].std()) / max(float(e.ious[d, g]), 0.1))
        same_class = 1.0 if e.classes_d[d] == e.classes_g[g] else 0.5
        priority = e.trust[d] * similar * steady * (1 - e.ious[d, g]) * same_class
        worst = np.argmin(np.where(both, e.frame_ious[d, g], 2)) if both.any() else 0
        yield e.suspicion("misplaced", priority, (g,), d, worst)


def _duplicates(e: VideoEvidence) -> Iterator[Suspicion]:
    """Two labels on one object; predictions play no part."""
    every = range(len(e.classes_g))
    ious = _track_ious(e.labels, every, every) if len(every) > 1 else np.zeros((1, 1))
    for a, b in combinations(every, 2):
        iou = 0.0 if e.crowd[a] or e.crowd[b] else float(ious[a, b])
        if iou >= COVERS:
            both = np.minimum(e.pairs.ground_truth_areas[a], e.pairs.ground_truth_areas[b])
            weight = 1.0 if e.classes_g[a] == e.classes_g[b] else 0.8
            yield e.suspicion("duplicate", iou * weight, (a, b), -1, np.argmax(both))


def _swapped_identities(e: VideoEvidence) -> Iterator[Suspicion]:
    """Two labels that change places: a prediction follows one, then the other; and both would jump less if swapped."""
    length = e.frame_ious.shape[2]
    if len(e.classes_g) < 2 or length < 2:
        return
    smoother = _continuity_gains(e)[..., :length]
    for a, b in combinations(range(len(e.classes_g)), 2):
        if e.crowd[a] or e.crowd[b]:
            continue
        gains, followers = _follower_gains(e, a, b)
        total = gains + smoother[a, b]
        at = int(np.argmax(total[1:])) + 1
        if total[at] > 0:
            yield e.suspicion("identity", min(float(total[at]), 1.0), (a, b), int(followers[at]), at, at)


def _follower_gains(e: VideoEvidence, a: int, b: int) -> tuple[np.ndarray, np.ndarray]:
    """For a swap at each frame: the IoU that the most trusted follower of each label gains; the better follower, or -1.

    Returns float64 and int64 (T,).
    """
    length = e.frame_ious.shape[2]
    if not len(e.trust):
        return np.zeros(length), np.full(length, -1)
    before = e.ious[:, [a, b]].max(axis=1, keepdims=True)
    swapped = _swapped_ious(e, a, b), _swapped_ious(e, b, a)
    gains = [e.trust[:, None] * np.maximum(iou - before, 0) * (iou >= COVERS) for iou in swapped]
    best = np.maximum(gains[0], gains[1])
    return gains[0].max(axis=0) + gains[1].max(axis=0), np.where(best.max(axis=0) > 0, best.argmax(axis=0), -1)


def _swapped_ious(e: VideoEvidence, a: int, b: int) -> np.ndarray:
    """IoU of every prediction with label a before each frame and label b from it on, float64 (D, T)."""
    sums = []
    for table in (e.pairs.intersection, e.pairs.union):
        first, second = table[:, a].astype(float), table[:, b].astype(float)
        before = np.cumsum(first, axis=1) - first
        sums.append(before + np.cumsum(second[:, ::-1], axis=1)[:, ::-1])
    return sums[0] / np.maximum(sums[1], 1)


def _continuity_gains(e: VideoEvidence) -> np.ndarray:
    """How much closer two labels' masks are to those a frame earlier if swapped there: float64 (G, G, T), mean IoU.

    0 where one of the two has no mask in that frame or the one before.
    """
    count = len(e.classes_g)
    pairs = np.indices((count, count)).reshape(2, -1).T
    common, union = frame_overlaps(e.later, e.labels, pairs)
    across = (common / np.maximum(union, 1)).reshape(count, count, -1)
    own = across[np.arange(count), np.arange(count)]
    gain = (across + across.transpose(1, 0, 2) - own[:, None] - own[None]) / 2
    present = (e.later.areas > 0) & (e.labels.areas > 0)
    return gain * (present[:, None] & present[None])


def _unpredicted(e: VideoEvidence) -> Iterator[Suspicion]:
    """A label without a prediction nearby, by a model that finds most others."""
    for g in np.flatnonzero(~e.crowd).tolist():
        near = e.ious[:, g].max(initial=0)
        if near < COVERS / 2:
            priority = 0.5 * e.recall * (1 - 2 * near)
            yield e.suspicion("unpredicted", priority, (g,), -1, np.argmax(e.pairs.ground_truth_areas[g]))
