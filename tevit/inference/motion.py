"""The model `motion`: moving objects of a video by optical flow and colour, without learned weights.

For each frame, on a picture of at most `SIDE` pixels: dense flow to the frames before and after it (DIS), minus the
camera's motion (a robust homography); what moves otherwise than everything that is connected to the frame's border (a
barrier distance) is evidence of an object. Evidence is accumulated along the flow, over the frames before and the next
`AHEAD`, cut out by colour (GrabCut), and joined into tracks by the flow. Tracks without evidence in several frames are
dropped. Frames are processed one after the other at constant memory, results are `MotionModel.delay` frames late.

Source: Papazoglou and Ferrari, Fast object segmentation in unconstrained video, 2013 (flow, then colour); Zhang et al.,
Minimum barrier salient object detection at 80 FPS, 2015 (distance to the border). Parameters are our own.
"""

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, NamedTuple, TypeVar

import cv2
import numpy as np

from tevit.inference.external import Instance
from tevit.video.reader import Frame
from tevit.video.transforms import mark_cuts

CLASS = "moving object"
SIDE = 432  # pixels, longer side of the picture that is processed
GAPS = (1, 2, 4)  # frames between which flow is computed: longer where nothing moves far enough
AHEAD = 8  # frames after a frame whose evidence counts for it
CONFIRM = 8  # frames from a track's first one on in which it must be confirmed
MIN_MOVING = 5  # frames with evidence of motion that confirm a track
MAX_STILL = 30  # frames without evidence after which a track ends

CLEAR_MOTION = 2.0  # pixels that the fastest 2 % move, otherwise a longer gap is used
LOW_MOTION, MIN_MOTION = 0.7, 1.2  # pixels: of a region, and of its fastest 5 %
RELATIVE_MOTION = 0.4  # of a region's fastest 5 %: slower pixels do not belong to it
MIN_BACKGROUND = 0.2  # share of the frame that follows the camera's motion to one pixel
MEMORY = 0.85  # weight of the frame before in the accumulated evidence
FEEDBACK = 0.5  # weight of the cut-out mask in the evidence that the next frame gets
THRESHOLD, CERTAIN = 0.4, 0.85  # accumulated evidence of an object, and of pixels that colour cannot remove
MAX_CUT_PIXELS = 160 * 160  # GrabCut is computed on a smaller picture for larger regions
MOVING_SHARE = 0.2  # mean evidence in a track from which it moves in that frame
MIN_SHARE = 0.25  # of the largest track in a region: smaller ones become part of it
_BARRIER_SCALE = 0.25

Item = TypeVar("Item")


class _Picture(NamedTuple):
    """A frame at working size. rgb: uint8 (h, w, 3). grey: uint8 (h, w). size_hw: of the frame, pixels."""

    rgb: np.ndarray
    grey: np.ndarray
    size_hw: tuple[int, int]


class _Moving(NamedTuple):
    """A picture, the evidence of motion in it, float32 (h, w), 0 to 1, and the flow to the frames before and after it,
    float32 (h, w, 2), pixels, None at the ends of a scene."""

    picture: _Picture
    evidence: np.ndarray
    to_previous: np.ndarray | None
    to_next: np.ndarray | None


class _Labelled(NamedTuple):
    """labels: int32 (h, w), the track of each pixel, 0 for none. scores: of each track, 0 to 1. moving: tracks with
    evidence of motion in this frame. size_hw: of the frame, pixels."""

    labels: np.ndarray
    scores: Mapping[int, float]
    moving: frozenset[int]
    size_hw: tuple[int, int]


class MotionModel:
    """Moving objects without classes; see the module's docstring. It has the interface `VideoModel`."""

    classes = (CLASS,)
    delay = 2 + max(GAPS) + AHEAD + CONFIRM

    def __init__(self, min_area: float = 0.0006):
        """min_area: smallest object, share of the frame."""
        if not 0 < min_area < 1:
            raise ValueError(f"min_area: expected a share of the frame between 0 and 1, got {min_area}")
        self.min_area = min_area

    def predict(self, frames: Iterator[np.ndarray]) -> Iterator[dict[int, Instance]]:
        """The objects of each frame; frames: uint8 RGB (H, W, 3)."""
        last_id = 0
        for scene in _scenes(frames):
            segmenter = _Segmenter(self.min_area, last_id)
            labelled = (segmenter.step(*item) for item in _with_future(_with_motion(map(_picture, scene))))
            yield from _confirmed(labelled)
            last_id = segmenter.last_id


@dataclass(frozen=True)
class MotionParameters:
    """Of `create`."""

    min_area: float = field(default=0.0006, metadata={"help": "smallest object, as a share of the frame"})


parameters = MotionParameters


def create(min_area: float = 0.0006) -> MotionModel:
    """The model. min_area: smallest object, share of the frame."""
    return MotionModel(min_area)


def _scenes(frames: Iterator[np.ndarray]) -> Iterator[Iterator[np.ndarray]]:
    """The frames between hard cuts."""
    scene = 0

    def number(item: tuple[Frame, bool]) -> int:
        nonlocal scene
        scene += item[1]
        return scene

    for _, items in groupby(mark_cuts(Frame(i, float(i), rgb) for i, rgb in enumerate(frames)), number):
        yield (frame.rgb for frame, _ in items)


def _picture(rgb: np.ndarray) -> _Picture:
    height, width = rgb.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    size = max(16, round(width * scale)), max(16, round(height * scale))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    return _Picture(small, cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), (height, width))


def _neighbourhoods(items: Iterable[Item], before: int, after: int) -> Iterator[tuple[list[Item], int]]:
    """For each item: the list of those up to `before` places before and `after` places after it, and its place."""
    window, place = deque[Item](), 0
    for item in items:
        window.append(item)
        if len(window) - place > after:
            yield list(window), place
            place += 1
        if place > before:
            window.popleft()
            place -= 1
    while place < len(window):
        yield list(window), place
        place += 1
        if place > before:
            window.popleft()
            place -= 1


# --- motion


def _with_motion(pictures: Iterable[_Picture]) -> Iterator[_Moving]:
    """Evidence of motion and flow of each picture of a scene."""
    # Any: by the type stubs an initial flow has to be passed.
    flow: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    start = 0

    def flows(window: list[_Picture], place: int, gap: int) -> dict[int, np.ndarray]:
        others = {sign: place + sign * gap for sign in (-1, 1) if 0 <= place + sign * gap < len(window)}
        return {sign: flow.calc(window[place].grey, window[other].grey, None) for sign, other in others.items()}

    for window, place in _neighbourhoods(pictures, max(GAPS), max(GAPS)):
        near = flows(window, place, 1)
        distance = np.zeros(window[place].grey.shape, np.float32)
        for index in range(start, len(GAPS)):
            flow_pair = near if GAPS[index] == 1 else flows(window, place, GAPS[index])
            distance = _object_motion(flow_pair) if flow_pair else distance
            start = max(0, index - 1)  # the next frame begins near the gap that this one needed
            if np.percentile(distance, 98) >= CLEAR_MOTION:
                break
        yield _Moving(window[place], _evidence(distance), near.get(-1), near.get(1))


def _object_motion(flows: Mapping[int, np.ndarray]) -> np.ndarray:
    """By how much each pixel moves otherwise than all that is connected to the border, float32 (h, w), pixels.

    flows: to a frame before (-1) and after (1), or one of them. Of both the one that agrees better with the camera's
    motion counts, since flow is wrong where a pixel is covered in the other frame.
    """
    residuals = [sign * _camera_residual(flow) for sign, flow in flows.items()]
    lengths = [np.linalg.norm(residual, axis=2) for residual in residuals]
    first = (lengths[0] <= lengths[-1])[..., None]
    residual, length = np.where(first, residuals[0], residuals[-1]), np.minimum(lengths[0], lengths[-1])
    if (length < 1).mean() < MIN_BACKGROUND:
        return np.zeros_like(length)  # no background is visible, or there is nothing but noise
    small = cv2.resize(residual, None, fx=_BARRIER_SCALE, fy=_BARRIER_SCALE, interpolation=cv2.INTER_AREA)
    barrier = cv2.resize(barrier_distance(small), length.shape[::-1])
    return np.minimum(barrier, length)


def _camera_residual(flow: np.ndarray) -> np.ndarray:
    """The flow minus that of a homography fitted to most of it, float32 (h, w, 2), pixels."""
    height, width = flow.shape[:2]
    places = np.dstack(np.meshgrid(np.arange(width), np.arange(height))).astype(np.float32)
    sampled = places[4::8, 4::8].reshape(-1, 2)
    targets = sampled + flow[4::8, 4::8].reshape(-1, 2)
    homography, _ = cv2.findHomography(sampled, targets, cv2.USAC_MAGSAC, 0.5, maxIters=500, confidence=0.999)
    if homography is None:
        return flow - np.median(flow, axis=(0, 1))
    return places + flow - cv2.perspectiveTransform(places.reshape(-1, 1, 2), homography).reshape(flow.shape)


def barrier_distance(vectors: np.ndarray) -> np.ndarray:
    """For each place of a field, float32 (h, w, C), the least range of values along a path to the border, (h, w).

    The range is the largest over the channels. An approximation: each direction is swept once.
    Source: Zhang et al. 2015, FastMBD, by whole rows.
    """
    field = np.ascontiguousarray(vectors.transpose(2, 0, 1), np.float32)
    low, high = field.copy(), field.copy()
    distance = np.full(field.shape[1:], np.inf, np.float32)
    distance[[0, -1]] = distance[:, [0, -1]] = 0
    arrays = (field, low, high, distance)
    _sweep(*arrays)
    _sweep(*(array[..., ::-1, :] for array in arrays))
    _sweep(*(array.swapaxes(-1, -2) for array in arrays))
    _sweep(*(array.swapaxes(-1, -2)[..., ::-1, :] for array in arrays))
    return distance


_SHIFTS = (
    (slice(None), slice(None)),
    (slice(1, None), slice(None, -1)),
    (slice(None, -1), slice(1, None)),
)  # columns of a row and their neighbours in the row before


def _sweep(field: np.ndarray, low: np.ndarray, high: np.ndarray, distance: np.ndarray) -> None:
    """Extend the paths of each row to the next one, in place."""
    for row in range(1, distance.shape[0]):
        for to, source in _SHIFTS:
            values = field[:, row, to]
            lowest, highest = np.minimum(low[:, row - 1, source], values), np.maximum(high[:, row - 1, source], values)
            length = (highest - lowest).max(0)
            shorter = length < distance[row, to]
            np.copyto(distance[row, to], length, where=shorter)
            np.copyto(low[:, row, to], lowest, where=shorter)
            np.copyto(high[:, row, to], highest, where=shorter)


def _evidence(distance: np.ndarray) -> np.ndarray:
    """float32 (h, w), 0 to 1, from the motion in pixels, relative to the fastest part of each connected region."""
    result = np.zeros_like(distance)
    count, labels, stats, _ = cv2.connectedComponentsWithStats((distance > LOW_MOTION).astype(np.uint8))
    for label in range(1, count):
        x, y, width, height, area = stats[label]
        if area < 60:
            continue
        part = np.s_[y : y + height, x : x + width]
        inside = labels[part] == label
        fast = float(np.percentile(distance[part][inside], 95))
        if fast > MIN_MOTION:
            threshold = max(LOW_MOTION, RELATIVE_MOTION * fast)
            result[part] += np.clip(distance[part] / threshold - 0.5, 0, 1) * inside
    return result


def _with_future(moving: Iterable[_Moving]) -> Iterator[tuple[_Moving, np.ndarray]]:
    """Each picture and the evidence of the frames from it on, accumulated along the flow, float32 (h, w)."""
    for window, place in _neighbourhoods(moving, 0, AHEAD):
        future = window[-1].evidence
        for item in reversed(window[place:-1]):
            assert item.to_next is not None
            future = MEMORY * _warped(future, item.to_next) + (1 - MEMORY) * item.evidence
        yield window[place], future


def _warped(values: np.ndarray, flow: np.ndarray, interpolation: int = cv2.INTER_LINEAR) -> np.ndarray:
    """The values of another frame at the places where the flow to it ends; 0 outside."""
    height, width = flow.shape[:2]
    x, y = (
        flow[..., 0] + np.arange(width, dtype=np.float32),
        flow[..., 1] + np.arange(height, dtype=np.float32)[:, None],
    )
    return cv2.remap(values, x, y, interpolation, borderMode=cv2.BORDER_CONSTANT, borderValue=0)


# --- regions and tracks


class _Segmenter:
    """Cuts out objects frame by frame and gives them track ids. last_id: the highest so far."""

    def __init__(self, min_area: float, last_id: int):
        self.last_id = last_id
        self._min_area = min_area
        self._past: np.ndarray | None = None
        self._labels: np.ndarray | None = None
        self._still = Counter[int]()

    def step(self, moving: _Moving, future: np.ndarray) -> _Labelled:
        """The next frame. future: as of `_with_future`."""
        past, before = moving.evidence, np.zeros(future.shape, np.int32)
        if moving.to_previous is not None and self._past is not None and self._labels is not None:
            past = MEMORY * _warped(self._past, moving.to_previous) + (1 - MEMORY) * moving.evidence
            moved = _warped(self._labels.astype(np.float32), moving.to_previous, cv2.INTER_NEAREST)
            before = moved.astype(np.int32)
        support = (past + future) / 2
        mask = self._cut_out(moving.picture.rgb, support)
        self._past = (1 - FEEDBACK) * past + FEEDBACK * mask.astype(np.float32)
        self._labels = self._assign(mask, before)
        return self._labelled(support, moving)

    def _cut_out(self, rgb: np.ndarray, support: np.ndarray) -> np.ndarray:
        """bool (h, w): the regions of enough evidence, refined by colour."""
        result = np.zeros(support.shape, bool)
        count, labels, stats, _ = cv2.connectedComponentsWithStats((support > THRESHOLD).astype(np.uint8))
        smallest = self._min_area * support.size
        for label in range(1, count):
            x, y, width, height, area = map(int, stats[label])
            if area < smallest:
                continue
            margin = int(0.35 * max(width, height)) + 6
            part = np.s_[max(0, y - margin) : y + height + margin, max(0, x - margin) : x + width + margin]
            result[part] |= _cut_region(rgb[part], labels[part] == label, support[part])
        _, labels, stats, _ = cv2.connectedComponentsWithStats(result.astype(np.uint8))
        large = stats[:, cv2.CC_STAT_AREA] >= smallest
        large[0] = False
        return large[labels.astype(np.intp)]

    def _assign(self, mask: np.ndarray, before: np.ndarray) -> np.ndarray:
        """The tracks of the pixels, int32 (h, w). before: those of the last frame, moved here."""
        result = np.zeros(mask.shape, np.int32)
        sizes = np.bincount(before.ravel())
        count, regions = cv2.connectedComponents(mask.astype(np.uint8))
        for region in range(1, count):
            inside = regions == region
            common = np.bincount(before[inside], minlength=len(sizes))
            common[0] = 0
            ids = [int(id) for id in np.flatnonzero(common > 0.1 * sizes) if common[id] >= MIN_SHARE * common.max()]
            if not ids:
                self.last_id += 1
                ids = [self.last_id]
            result[inside] = ids[0] if len(ids) == 1 else _nearest(before, ids)[inside]
        return result

    def _labelled(self, support: np.ndarray, moving: _Moving) -> _Labelled:
        """The tracks of this frame; those that have not moved for long are ended."""
        labels, past = self._labels, self._past
        assert labels is not None and past is not None
        flat = labels.ravel()
        areas, evidence, supports = (np.bincount(flat, x.ravel()) for x in (flat > 0, moving.evidence, support))
        scores, moves = dict[int, float](), set[int]()
        for id in map(int, np.flatnonzero(areas)):
            if evidence[id] > MOVING_SHARE * areas[id]:
                moves.add(id)
            self._still[id] = 0 if id in moves else self._still[id] + 1
            if self._still[id] > MAX_STILL:
                past[labels == id] = 0
                labels[labels == id] = 0
            else:
                scores[id] = min(1.0, float(supports[id] / areas[id]))
        return _Labelled(labels, scores, frozenset(moves), moving.picture.size_hw)


def _cut_region(rgb: np.ndarray, region: np.ndarray, support: np.ndarray) -> np.ndarray:
    """A region by GrabCut, bool (h, w). support: accumulated evidence."""
    states = np.where(region, np.where(support > CERTAIN, cv2.GC_FGD, cv2.GC_PR_FGD), cv2.GC_PR_BGD).astype(np.uint8)
    margin = int(0.25 * np.sqrt(region.sum())) + 6
    near = cv2.dilate(region.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1,) * 2))
    states[near == 0] = cv2.GC_BGD
    scale = min(1.0, (MAX_CUT_PIXELS / region.size) ** 0.5)
    if scale < 1:
        rgb = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        states = cv2.resize(states, rgb.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    if not ((states == cv2.GC_BGD) | (states == cv2.GC_PR_BGD)).any():
        return region
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(np.ascontiguousarray(rgb), states, (0, 0, 0, 0), *models, 2, cv2.GC_INIT_WITH_MASK)
    cut = ((states == cv2.GC_FGD) | (states == cv2.GC_PR_FGD)).astype(np.uint8)
    return cv2.resize(cut * 255, region.shape[::-1], interpolation=cv2.INTER_LINEAR) > 127 if scale < 1 else cut > 0


def _nearest(labels: np.ndarray, ids: list[int]) -> np.ndarray:
    """int32 (h, w): of the ids the one whose region is nearest to each pixel."""
    distances = [cv2.distanceTransform((labels != id).astype(np.uint8), cv2.DIST_L2, 3) for id in ids]
    return np.array(ids, np.int32)[np.argmin(distances, axis=0)]


def _confirmed(labelled: Iterable[_Labelled]) -> Iterator[dict[int, Instance]]:
    """The instances of each frame whose tracks have moved in `MIN_MOVING` frames by `CONFIRM` frames later."""
    frames, waiting = Counter[int](), deque[_Labelled]()

    def instances() -> dict[int, Instance]:
        item = waiting.popleft()
        return {
            id: Instance(CLASS, score, _full_size(item.labels == id, item.size_hw))
            for id, score in item.scores.items()
            if frames[id] >= MIN_MOVING
        }

    for item in labelled:
        waiting.append(item)
        frames.update(item.moving)
        if len(waiting) > CONFIRM:
            yield instances()
    while waiting:
        yield instances()


def _full_size(mask: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """The mask in the frame's size, bool (H, W)."""
    return cv2.resize(mask.astype(np.uint8) * 255, size_hw[::-1], interpolation=cv2.INTER_LINEAR) > 127
