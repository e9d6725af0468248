"""Propagation of one object's mask from key frames to the frames between and after them: optical flow and colour.

From each key frame the flow is followed frame by frame, checked by the flow back, and corrected by matching the frame
with the key frame directly; the mask is warped once with the sum, at a higher resolution than that of the flow. Then
each pixel near the border is labelled by colour, too: by histograms and by GrabCut.

Source: optical flow: Kroeger et al., Fast Optical Flow using Dense Inverse Search, ECCV 2016; the check of it: Sundaram
et al., Dense Point Trajectories by GPU-Accelerated Large Displacement Optical Flow, ECCV 2010; GrabCut: Rother et al.,
Interactive Foreground Extraction using Iterated Graph Cuts, SIGGRAPH 2004; the filter that moves the border to edges of
the picture: He et al., Guided Image Filtering, ECCV 2010.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, pairwise
from typing import NamedTuple

import cv2
import numpy as np

from tevit.masks import ops
from tevit.progress import Progress

MIN_CONFIDENCE = 0.6
"""From one key frame alone, propagation ends before the first frame with a lower confidence."""
FLOW_PIXELS = 60_000
"""For the flow a larger crop around the object is scaled down to about this many pixels."""
MASK_PIXELS = 200_000
"""The same for warping the mask and refining its border, which cost less."""

CUT_PIXELS = 12_000
"""GrabCut has a smaller picture of the crop."""
PARTS = ("check", "direct", "colour", "grabcut")
"""What can be left out to measure its gain: the forward-backward check, the match with the key frame itself, and at the
border histograms of colours and edges, and GrabCut."""

_ERROR_SCALE = 8.0  # difference of colours, summed over L, a and b, that halves and more a side's weight
_CHECK_SCALE = 3.0  # pixels between a pixel and where the flow back ends, that reduce its trust to 1/e
_CHECK_ERROR = 6.0  # difference of colours that a pixel without trust counts as
_CUT, _MAX_CUT = 0.1, 0.4  # log-odds by which GrabCut counts, for each frame since the key frame, and at most
_BETWEEN = 0.3  # of a prediction's weight, between two key frames
_MIN_AGREEMENT = 0.7  # IoU with the propagated mask from which a prediction of the frame is used
_MARGIN = 24  # pixels of the flow around an object's box, at least
_MIN_FLOW_SIDE = 48  # pixels of a picture for DIS
_BINS = 32  # of the colour histograms, along each of L, a and b


@dataclass(frozen=True, eq=False)
class Propagation:
    """Result of `propagate`, by frame; frames that were not reached are absent.

    masks: bool (H, W). confidence: 0 to 1, an estimate of the mask's IoU; 1 at key frames.
    """

    masks: Mapping[int, np.ndarray]
    confidence: Mapping[int, float]


Box = tuple[int, int, int, int]
"""x1, y1, x2, y2 in whole pixels of a scaled frame, the last two exclusive."""


class _Warped(NamedTuple):
    """A key frame's mask in another frame, within a box: probability, float32 (h, w); error, float32 (h, w): difference
    of the two frames' colours along the flow, more where the check fails; flow, float32 (h, w, 2); trust, float32
    (h, w), 0 to 1: whether the check holds along all steps; confidence: 0 to 1."""

    probability: np.ndarray
    error: np.ndarray
    flow: np.ndarray
    trust: np.ndarray
    confidence: float
    box: Box


class _ColourModel:
    """Histograms of an object's and its surroundings' colours; log-likelihood ratio by colour, float32 (BINS³,)."""

    def __init__(self, lab: np.ndarray, mask: np.ndarray):
        near = cv2.dilate(mask, np.ones((1, 61), np.uint8))
        near = cv2.dilate(near, np.ones((61, 1), np.uint8))
        inside, outside = (_histogram(lab, weights) for weights in (mask, (1 - mask) * near))
        self.ratio = np.log((inside + 2e-5) / (outside + 2e-5)).clip(-3, 3)
        self._lab, self._mask = lab, mask

    def __call__(self, lab: np.ndarray) -> np.ndarray:
        return self.ratio[_bins(lab)]

    @cached_property
    def mixtures(self) -> tuple[np.ndarray, np.ndarray] | None:
        """GrabCut's Gaussian mixtures of the surroundings and the object, None where one of them has no pixel."""
        x1, y1, x2, y2 = _around(self._mask, (0, 0), self._mask.shape)
        lab, mask = _smaller(self._lab[y1:y2, x1:x2], self._mask[y1:y2, x1:x2])
        labels = np.where(mask > 0.5, cv2.GC_PR_FGD, cv2.GC_BGD).astype(np.uint8)
        if labels.min() == labels.max():
            return None
        surroundings, inside = np.zeros((1, 65)), np.zeros((1, 65))
        cv2.setRNGSeed(0)  # GrabCut begins with k-means
        cv2.grabCut(lab, labels, (0, 0, 1, 1), surroundings, inside, 1, cv2.GC_INIT_WITH_MASK)
        return surroundings, inside


class _Pictures:
    """Scaled frames in Lab and grey. scale: their pixels per pixel of the video."""

    def __init__(self, frames: Sequence[np.ndarray], scale: float):
        self.frames, self.scale = frames, scale
        self._converted: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def __call__(self, t: int) -> tuple[np.ndarray, np.ndarray]:
        """Lab, uint8 (h, w, 3), and grey, uint8 (h, w)."""
        if t not in self._converted:
            picture = _resize(np.ascontiguousarray(self.frames[t]), self.scale)
            self._converted[t] = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB), cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        return self._converted[t]

    @cached_property
    def dis(self) -> cv2.DISOpticalFlow:
        """At full resolution: the preset's half costs 0.02 of IoU."""
        dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        dis.setFinestScale(0)
        return dis

    @cached_property
    def coarse_dis(self) -> cv2.DISOpticalFlow:
        """For the check: the preset's half resolution, in a quarter of the time."""
        return cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)


def propagate(
    frames: Sequence[np.ndarray],
    keys: Mapping[int, np.ndarray],
    *,
    first: int = 0,
    last: int | None = None,
    predictions: Mapping[int, np.ndarray] | None = None,
    min_confidence: float = MIN_CONFIDENCE,
    parts: Collection[str] = PARTS,
    progress: Progress | None = None,
) -> Propagation:
    """Propagate masks from key frames to the frames from `first` to `last` (default: all), both included.

    frames: RGB, uint8 (H, W, 3). keys: frame -> mask, bool (H, W); an empty mask means that the object is not visible.
    predictions: frame -> mask of a model, bool (H, W); each is used where it agrees with the propagated mask. Between
    two key frames each counts by its distance. Before the first and after the last one propagation ends where the
    confidence falls below `min_confidence`. parts: of `PARTS`, to measure what each gains. progress: may raise
    `tevit.progress.Cancelled`.

    Raises: ValueError where no key frame is given, or a key frame or range is outside the video, or sizes differ.
    """
    last = len(frames) - 1 if last is None else last
    check_keys(frames, keys, first, last)
    scales = [_scale(list(keys.values()), pixels) for pixels in (FLOW_PIXELS, MASK_PIXELS)]
    done = {t: mask.astype(bool) for t, mask in keys.items() if first <= t <= last}
    masks, confidence, total = dict(done), dict.fromkeys(done, 1.0), last - first + 1
    for segment in _segments(sorted(keys), first, last):
        pictures, fine = (_Pictures(frames, scale) for scale in scales)  # anew: they keep those of one segment
        for t, mask, value in _segment(pictures, fine, keys, segment, predictions or {}, parts):
            if len(segment.keys) == 1 and value < min_confidence:
                break
            masks[t], confidence[t] = mask, value
            if progress is not None:
                progress("propagating", len(masks), total)
    return Propagation(dict(sorted(masks.items())), dict(sorted(confidence.items())))


def check_keys(frames: Sequence[np.ndarray], keys: Mapping[int, np.ndarray], first: int, last: int) -> None:
    """Raises: ValueError as `propagate`."""
    if not keys:
        raise ValueError("expected a mask in one frame at least to propagate from, got none")
    if not 0 <= first <= last < len(frames):
        raise ValueError(f"expected a range within frames 0 to {len(frames) - 1}, got {first} to {last}")
    for t, mask in keys.items():
        if not 0 <= t < len(frames):
            raise ValueError(f"expected key frames from 0 to {len(frames) - 1}, got {t}")
        if mask.shape != frames[t].shape[:2]:
            raise ValueError(f"frame {t}: expected a mask of {frames[t].shape[:2]} pixels, got {mask.shape}")


# --- segments: frames between two key frames, or beyond the outer ones


class _Segment(NamedTuple):
    """keys: the one or two key frames. frames: to propagate to, those nearest to the first key first."""

    keys: tuple[int, ...]
    frames: range


def _segments(keys: Sequence[int], first: int, last: int) -> Iterator[_Segment]:
    if first < keys[0]:
        yield _Segment((keys[0],), range(min(keys[0] - 1, last), first - 1, -1))
    for left, right in pairwise(keys):
        yield _Segment((left, right), range(max(left + 1, first), min(right - 1, last) + 1))
    if last > keys[-1]:
        yield _Segment((keys[-1],), range(max(keys[-1] + 1, first), last + 1))


def _segment(
    pictures: _Pictures,
    fine: _Pictures,
    keys: Mapping[int, np.ndarray],
    segment: _Segment,
    predictions: Mapping[int, np.ndarray],
    parts: Collection[str],
) -> Iterator[tuple[int, np.ndarray, float]]:
    """Frame, mask and confidence, in the segment's order. pictures: for the flow; fine: for the masks."""
    small, large = (
        {key: _resize(keys[key].astype(np.float32), scale) for key in segment.keys}
        for scale in (pictures.scale, fine.scale)
    )
    visible = [key for key in segment.keys if small[key].max() > 0.5]
    if not visible or not segment.frames:
        yield from ((t, np.zeros(keys[segment.keys[0]].shape, bool), 1.0) for t in segment.frames)
        return
    colours = [_ColourModel(fine(key)[0], large[key]) for key in visible]
    sides = [_reach(pictures, key, small[key], segment.frames, parts) for key in segment.keys]
    if len(sides) == 2:  # it is followed against the order in which frames are returned
        sides[1] = iter(list(sides[1])[::-1])
    for t, *warped in zip(segment.frames, *sides, strict=True):
        distances = [abs(t - key) for key in segment.keys]
        pairs = zip(warped, segment.keys, strict=True)
        p, box, confidence = _blend([_rewarped(side, small[key], large[key]) for side, key in pairs], distances)
        if "colour" in parts:
            p = _label_by_colour(p, fine(t), box, colours, min(distances), "grabcut" in parts)
        mask = _enlarge(p, box, fine(t)[1].shape, keys[segment.keys[0]].shape)
        weight = (1 - confidence) * (_BETWEEN if len(segment.keys) == 2 else 1)
        yield t, _with_prediction(mask, predictions.get(t), weight) > 0.5, confidence


def _reach(pictures: _Pictures, key: int, mask: np.ndarray, frames: range, parts: Collection[str]) -> Iterator[_Warped]:
    """The key frame's mask in each of these frames, the nearest first; also the frames on the way are followed."""
    way = range(key + 1, max(frames) + 1) if key < min(frames) else range(key - 1, min(frames) - 1, -1)
    return islice(_follow(pictures, key, mask, way, parts), len(way) - len(frames), None)


def _follow(
    pictures: _Pictures, key: int, mask: np.ndarray, frames: range, parts: Collection[str]
) -> Iterator[_Warped]:
    """The key frame's mask in each of these frames, which are adjacent, the first one next to the key frame."""
    if mask.max() <= 0.5:
        nothing = np.zeros((1, 1, 2), np.float32)
        flat = nothing[..., 0]
        yield from (_Warped(flat, flat, nothing, flat, 0.5, (0, 0, 1, 1)) for _ in frames)
        return
    size_hw = mask.shape
    box, before, warped = _around(mask, (0, 0), size_hw), key, None
    for t in frames:
        way = _flow(pictures, t, before, box)
        trust = _check(pictures, t, before, box, way) if "check" in parts else np.ones(way.shape[:2], np.float32)
        direct = None
        if warped is not None:
            offset = box[0] - warped.box[0], box[1] - warped.box[1]
            trust = np.minimum(trust, _sample(warped.trust, way, offset))
            way = way + _sample(warped.flow, way, offset)
            direct = _flow(pictures, t, key, box, way) if "direct" in parts else None
        warped = _better(pictures, t, key, mask, box, way, trust, direct)
        yield warped
        before, box = t, _around(warped.probability, box[:2], size_hw, box)


def _check(pictures: _Pictures, t: int, before: int, box: Box, step: np.ndarray) -> np.ndarray:
    """Trust in the steps to the frame before, float32 (h, w), 0 to 1: 1 where the flow back ends where it began."""
    back = _flow(pictures, before, t, box, dis=pictures.coarse_dis)
    error = step + _sample(back, step, (0, 0))
    return np.exp(-(error**2).sum(-1) / _CHECK_SCALE**2)


def _better(
    pictures: _Pictures,
    t: int,
    key: int,
    mask: np.ndarray,
    box: Box,
    way: np.ndarray,
    trust: np.ndarray,
    direct: np.ndarray | None,
) -> _Warped:
    """Of the flow along the frames and the direct one, for each pixel that under which the colours match better. Where
    the check of the former fails, its colours count as different."""
    chosen, agreement = way, 1.0
    error = _colour_error(pictures, t, key, box, way) + _CHECK_ERROR * (1 - trust)
    if direct is not None:
        direct_error = _colour_error(pictures, t, key, box, direct)
        is_direct = direct_error < error
        chosen, trust = np.where(is_direct[..., None], direct, way), np.where(is_direct, np.float32(1), trust)
        error = np.minimum(error, direct_error)
        agreement = ops.pixel_iou(_sample(mask, way, box[:2]) > 0.5, _sample(mask, direct, box[:2]) > 0.5)
    probability = _sample(mask, chosen, box[:2])
    match = float((np.exp(-error / _ERROR_SCALE / 4) * probability).sum() / max(probability.sum(), 1.0))
    return _Warped(probability, error, chosen, trust, (agreement * match) ** 0.4, box)


def _rewarped(warped: _Warped, small: np.ndarray, large: np.ndarray) -> _Warped:
    """At the resolution of `large`, the key frame's mask, instead of `small`."""
    if small.shape == large.shape:
        return warped
    fx, fy = large.shape[1] / small.shape[1], large.shape[0] / small.shape[0]
    x1, y1, x2, y2 = (round(side * factor) for side, factor in zip(warped.box, (fx, fy, fx, fy), strict=True))
    flow = cv2.resize(warped.flow, (x2 - x1, y2 - y1)) * np.array([fx, fy], np.float32)
    error = cv2.resize(warped.error, (x2 - x1, y2 - y1))
    return _Warped(_sample(large, flow, (x1, y1)), error, flow, warped.trust, warped.confidence, (x1, y1, x2, y2))


def _blend(warped: Sequence[_Warped], distances: Sequence[int]) -> tuple[np.ndarray, Box, float]:
    """Probability within a box, and confidence. The nearer side, and that of the more similar colours, counts more."""
    if len(warped) == 1:
        return warped[0].probability, warped[0].box, warped[0].confidence
    boxes = np.array([side.box for side in warped])
    box = (*boxes[:, :2].min(0).tolist(), *boxes[:, 2:].max(0).tolist())
    nearness = [distances[1] / sum(distances), distances[0] / sum(distances)]
    p, weights = (np.zeros((box[3] - box[1], box[2] - box[0]), np.float32) for _ in range(2))
    masks = []
    for side, near in zip(warped, nearness, strict=True):
        rows, columns = (slice(side.box[i] - box[i], side.box[i + 2] - box[i]) for i in (1, 0))
        weight = np.full(p.shape, near, np.float32)
        weight[rows, columns] *= np.exp(-side.error / _ERROR_SCALE)
        own = np.zeros(p.shape, np.float32)
        own[rows, columns] = side.probability
        p += weight * own
        weights += weight
        masks.append(own > 0.5)
    single = sum(side.confidence * near for side, near in zip(warped, nearness, strict=True))
    return p / (weights + 1e-9), box, 0.5 * single + 0.5 * ops.pixel_iou(*masks)


def _with_prediction(p: np.ndarray, prediction: np.ndarray | None, weight: float) -> np.ndarray:
    """A model's mask counts by its weight, 0 to 1; not at all where the two do not overlap enough."""
    if prediction is None or ops.pixel_iou(p > 0.5, prediction.astype(bool)) < _MIN_AGREEMENT:
        return p
    return (1 - weight) * p + weight * prediction


# --- flow


def _flow(
    pictures: _Pictures,
    at: int,
    to: int,
    box: Box,
    start: np.ndarray | None = None,
    dis: cv2.DISOpticalFlow | None = None,
) -> np.ndarray:
    """Where the pixels of a box of frame `at` are in frame `to`, relative, float32 (h, w, 2). start: an estimate. dis:
    None: at full resolution."""
    x1, y1, x2, y2 = box
    own, other = pictures(at)[1], pictures(to)[1]
    # The other frame is cut where the object was: DIS finds no motion out of the box.
    dx, dy = (0, 0) if start is None else np.rint(np.median(start.reshape(-1, 2), 0)).astype(int)
    rows, columns = np.arange(y1 + dy, y2 + dy).clip(0, len(other) - 1), np.arange(x1 + dx, x2 + dx)
    other = other[np.ix_(rows, columns.clip(0, other.shape[1] - 1))]
    shift = np.array([dx, dy], np.float32)
    estimate = np.zeros((*other.shape, 2), np.float32) if start is None else start - shift
    own = own[y1:y2, x1:x2]
    # Pictures of few pixels end in an error of DIS or even of the process.
    missing = 0, max(0, _MIN_FLOW_SIDE - own.shape[0]), 0, max(0, _MIN_FLOW_SIDE - own.shape[1])
    own, other, estimate = (cv2.copyMakeBorder(x, *missing, cv2.BORDER_REPLICATE) for x in (own, other, estimate))
    return (dis or pictures.dis).calc(own, other, estimate)[: y2 - y1, : x2 - x1] + shift


def _sample(values: np.ndarray, flow: np.ndarray, offset_xy: Sequence[int]) -> np.ndarray:
    """The values at the ends of the flow. offset_xy: of the flow's first pixel among the values."""
    rows, columns = flow.shape[:2]
    x = flow[..., 0] + np.arange(offset_xy[0], offset_xy[0] + columns, dtype=np.float32)
    y = flow[..., 1] + np.arange(offset_xy[1], offset_xy[1] + rows, dtype=np.float32)[:, None]
    return cv2.remap(values, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _colour_error(pictures: _Pictures, t: int, key: int, box: Box, flow: np.ndarray) -> np.ndarray:
    own = pictures(t)[0][box[1] : box[3], box[0] : box[2]]
    difference = cv2.absdiff(_sample(pictures(key)[0], flow, box[:2]), own)
    return cv2.GaussianBlur(difference.astype(np.float32).sum(-1), (0, 0), 3)


def _around(p: np.ndarray, offset_xy: Sequence[int], size_hw: Sequence[int], otherwise: Box | None = None) -> Box:
    """The box of an object with the space that it may move into. otherwise: where the object has no pixel."""
    ys, xs = np.flatnonzero(p.max(1) > 0.3), np.flatnonzero(p.max(0) > 0.3)
    if not len(ys):
        return otherwise or (0, 0, size_hw[1], size_hw[0])
    sides = []
    for place, offset, size in ((xs, offset_xy[0], size_hw[1]), (ys, offset_xy[1], size_hw[0])):
        low, high = place[0] + offset, place[-1] + 1 + offset
        margin = max(_MARGIN, round(0.25 * (high - low)))
        sides.append((int(max(0, low - margin)), int(min(size, high + margin))))
    return sides[0][0], sides[1][0], sides[0][1], sides[1][1]


# --- colours and edges


def _label_by_colour(
    p: np.ndarray,
    picture: tuple[np.ndarray, np.ndarray],
    box: Box,
    colours: Sequence[_ColourModel],
    age: int,
    cut: bool,
) -> np.ndarray:
    """The probability with the colours near the border taken into account, the border moved to edges of the picture.

    age: frames since the nearest key frame: the larger, the wider the strip, and the more the colours count. cut: with
    GrabCut.
    """
    lab, grey = (image[box[1] : box[3], box[0] : box[2]] for image in picture)
    width = min(1 + 0.7 * age, 12.0, 0.5 + 0.06 * float(p.sum()) ** 0.5)
    prior = cv2.GaussianBlur(p, (0, 0), width)
    log_odds = np.log((prior + 0.02) / (1.02 - prior))
    log_odds += min(1.0, 0.1 + 0.1 * age) * sum(colour(lab) for colour in colours) / len(colours)
    if cut and age > 1:
        log_odds += min(_MAX_CUT, _CUT * (age - 1)) * _cut(lab, 1 / (1 + np.exp(-log_odds)), colours)
    return _guided_filter(grey.astype(np.float32) / 255, (1 / (1 + np.exp(-log_odds))).astype(np.float32))


def _cut(lab: np.ndarray, p: np.ndarray, colours: Sequence[_ColourModel]) -> np.ndarray:
    """GrabCut's labels where p is from 0.2 to 0.8, float32 (h, w): 1 for the object, -1 beside it; elsewhere 0."""
    votes = np.zeros(p.shape, np.float32)
    small, smaller_p = _smaller(lab, p)
    kinds = np.array([cv2.GC_BGD, cv2.GC_PR_BGD, cv2.GC_PR_FGD, cv2.GC_FGD], np.uint8)
    for mixtures in (colour.mixtures for colour in colours):
        if mixtures is not None:
            surroundings, inner = (values.copy() for values in mixtures)  # GrabCut writes into them
            own = kinds[np.digitize(smaller_p, (0.2, 0.5, 0.8))]
            cv2.grabCut(small, own, (0, 0, 1, 1), surroundings, inner, 1, cv2.GC_EVAL_FREEZE_MODEL)
            inside = ((own == cv2.GC_FGD) | (own == cv2.GC_PR_FGD)).astype(np.float32)
            votes += cv2.resize(2 * inside - 1, p.shape[::-1])
    return votes / len(colours) * ((p > 0.2) & (p < 0.8))


def _smaller(lab: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both scaled down to at most about CUT_PIXELS pixels."""
    scale = min(1.0, (CUT_PIXELS / values.size) ** 0.5)
    size = max(2, round(values.shape[1] * scale)), max(2, round(values.shape[0] * scale))
    lab = cv2.resize(np.ascontiguousarray(lab), size, interpolation=cv2.INTER_AREA)
    return lab, cv2.resize(values, size, interpolation=cv2.INTER_AREA)


def _guided_filter(guide: np.ndarray, values: np.ndarray, radius: int = 3, smoothness: float = 3e-4) -> np.ndarray:
    """The values, locally a linear function of the guide."""

    def mean(x: np.ndarray) -> np.ndarray:
        return cv2.blur(x, (2 * radius + 1, 2 * radius + 1))

    mean_guide, mean_values = mean(guide), mean(values)
    slope = (mean(guide * values) - mean_guide * mean_values) / (mean(guide * guide) - mean_guide**2 + smoothness)
    return mean(slope) * guide + mean(mean_values - slope * mean_guide)


def _bins(lab: np.ndarray) -> np.ndarray:
    """The bin of each pixel's colour; a and b, which rarely leave the middle half, by halves."""
    lightness, a, b = (lab[..., i].astype(np.int32) for i in range(3))
    return ((lightness >> 3) * _BINS + ((a - 64).clip(0, 127) >> 2)) * _BINS + ((b - 64).clip(0, 127) >> 2)


def _histogram(lab: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Shares of colours, smoothed, float32 (BINS³,)."""
    counts = np.bincount(_bins(lab).ravel(), weights.ravel(), minlength=_BINS**3).reshape(_BINS, _BINS, _BINS)
    for axis in range(3):
        ends = np.pad(counts, [(1, 1) if i == axis else (0, 0) for i in range(3)])
        before, after = (np.take(ends, np.arange(i, i + _BINS), axis) for i in (0, 2))
        counts = 0.25 * before + 0.5 * counts + 0.25 * after
    return (counts / max(counts.sum(), 1.0)).ravel().astype(np.float32)


# --- sizes


def _scale(masks: Sequence[np.ndarray], max_pixels: int) -> float:
    """At which the crop around the largest object has this many pixels at most; 1 for small objects."""
    pixels = 1.0
    for mask in masks:
        ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if len(ys):
            pixels = max(pixels, 2.25 * (ys[-1] + 1 - ys[0]) * (xs[-1] + 1 - xs[0]))
    return min(1.0, (max_pixels / pixels) ** 0.5)


def _resize(picture: np.ndarray, scale: float) -> np.ndarray:
    if scale == 1:
        return picture
    height, width = (max(1, round(side * scale)) for side in picture.shape[:2])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


def _enlarge(p: np.ndarray, box: Box, small_hw: Sequence[int], size_hw: Sequence[int]) -> np.ndarray:
    """The probability in the whole frame, float32 (H, W)."""
    whole = np.zeros(small_hw, np.float32)
    whole[box[1] : box[3], box[0] : box[2]] = p
    if tuple(small_hw) == tuple(size_hw):
        return whole
    return cv2.resize(whole, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_LINEAR)
