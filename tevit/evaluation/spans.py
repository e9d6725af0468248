"""Masks of whole tracks as spans on one axis per video (frame after frame, pixel after pixel), and their overlaps.

Masks are compared as run lengths, never as pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tevit.evaluation.inputs import EncodedMasks
from tevit.masks.rle import (
    LIST_END,
    TEXT_END,
    RleError,
    Runs,
    decode_joined,
    decode_lists,
    decode_texts,
    parse_numbers,
)

MAX_PIXELS = 1 << 31
_MAX_SPANS = 1 << 17  # compared at once, but for a longer track


class BadMaskError(ValueError):
    """A mask that is none. track, frame: positions from 0; reason: what is wrong, in words."""

    def __init__(self, track: int, frame: int, reason: str):
        super().__init__(f"track {track}, frame {frame}: {reason}")
        self.track, self.frame, self.reason = track, frame, reason


@dataclass(frozen=True, eq=False)
class Spans:
    """The foreground of N tracks of one video, as spans on the video's axis.

    edges: float64 (R, 2), begin and end of each span. masks: int64 (N + 1,), track i has the masks masks[i] to
    masks[i + 1]. rows: int64 (M + 1,), mask m has the spans rows[m] to rows[m + 1]. frames: int64 (M,). areas: float64
    (N, T), pixels, 0 without mask. sizes: int64 (N, T), a number for the mask's height and width, 0 without mask.
    lengths: int64 (N,), frames of each track.
    """

    edges: np.ndarray
    masks: np.ndarray
    rows: np.ndarray
    frames: np.ndarray
    areas: np.ndarray
    sizes: np.ndarray
    lengths: np.ndarray

    def of_track(self, track: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Its edges in one row, the frame of each of its masks, and the position of each mask's first span."""
        masks = slice(self.masks[track], self.masks[track + 1])
        rows = slice(self.rows[masks.start], self.rows[masks.stop])
        return self.edges[rows].ravel(), self.frames[masks], self.rows[masks] - rows.start


def decode_spans(tracks: Sequence[EncodedMasks], length: int, stride: int) -> Spans:
    """Decode and check the masks of N tracks of one video.

    length: T, the largest number of frames of a track of the video. stride: the largest number of pixels of a mask.
    Raises: BadMaskError.
    """
    owner = np.repeat(np.arange(len(tracks)), [len(track.frames) for track in tracks])
    frames = np.concatenate([np.zeros(0, np.int64), *(track.frames for track in tracks)])
    sizes_hw = np.concatenate([np.zeros((0, 2), np.int64), *(track.sizes_hw for track in tracks)])
    pixels = sizes_hw.prod(axis=1)
    try:
        runs = _decode(tracks, sizes_hw, pixels)
    except RleError as error:
        raise BadMaskError(int(owner[error.index]), int(frames[error.index]), error.reason) from None
    areas, sizes = np.zeros((len(tracks), length)), np.zeros((len(tracks), length), np.int64)
    areas[owner, frames], sizes[owner, frames] = runs.areas, sizes_hw[:, 0] * MAX_PIXELS + sizes_hw[:, 1]
    # The first run of a mask reaches from the end of the mask before it. numpy sums up 32 bits twice as fast.
    steps = runs.lengths.astype(np.int32 if length * stride < 1 << 31 else np.int64, copy=False)
    begins = frames * stride
    steps[runs.first[:-1], 0] += (begins - np.concatenate([[0], (begins + pixels)[:-1]])).astype(steps.dtype)
    return Spans(
        edges=np.cumsum(steps.ravel(), dtype=steps.dtype).reshape(-1, 2).astype(np.float64),
        masks=np.searchsorted(owner, np.arange(len(tracks) + 1)),
        rows=runs.first,
        frames=frames,
        areas=areas,
        sizes=sizes,
        lengths=np.array([track.length for track in tracks], np.int64),
    )


def _decode(tracks: Sequence[EncodedMasks], sizes_hw: np.ndarray, pixels: np.ndarray) -> Runs:
    """sizes_hw, pixels: of all masks."""
    if not len(pixels):
        none = np.zeros(0, np.int64)
        return Runs(none.reshape(0, 2), np.zeros(1, np.int64), none)
    wrong = (sizes_hw < 1).any(axis=1) | (sizes_hw >= MAX_PIXELS).any(axis=1) | (pixels >= MAX_PIXELS)
    if wrong.any():
        index = int(np.argmax(wrong))
        raise RleError(index, f"a mask of {sizes_hw[index, 0]} x {sizes_hw[index, 1]} (height x width) cannot be", "")
    present = [track for track in tracks if len(track.frames)]
    joined, digits = [track.counts for track in present], {track.digits for track in present}
    texts = [item for item in joined if isinstance(item, bytes)]
    if len(texts) == len(joined) and len(digits) == 1:
        return (
            decode_joined(LIST_END.join(texts), pixels)
            if digits == {True}
            else decode_texts(TEXT_END.join(texts), pixels)
        )
    # Several forms side by side are rare: all are decoded as plain run lengths.
    counts = [item for track in present for item in _separate(track)]
    texts = [item for item in counts if isinstance(item, bytes)]
    if len(texts) == len(counts):
        return decode_texts(texts, pixels)
    return decode_lists([_plain(i, item, pixels) for i, item in enumerate(counts)], pixels)


def _separate(track: EncodedMasks) -> Sequence[bytes | list[int] | np.ndarray]:
    """The counts mask by mask, those that are digits as run lengths."""
    if not isinstance(track.counts, bytes):
        return track.counts
    return (
        [parse_numbers([item])[0] for item in track.counts.split(LIST_END)]
        if track.digits
        else track.counts.split(TEXT_END)
    )


def _plain(index: int, counts: bytes | list[int] | np.ndarray, pixels: np.ndarray) -> list[int] | np.ndarray:
    if not isinstance(counts, bytes):
        return counts
    try:
        return decode_texts([counts], pixels[index : index + 1]).lengths.ravel()
    except RleError as error:
        raise RleError(index, error.reason, error.detail) from None


def max_extent(tracks: Sequence[EncodedMasks]) -> tuple[int, int]:
    """The largest number of frames of a track, and of pixels of a mask."""
    length = max((track.length for track in tracks), default=0)
    sizes_hw = np.concatenate([np.zeros((0, 2), np.int64), *(track.sizes_hw for track in tracks)])
    return length, int(sizes_hw.prod(axis=1).max(initial=0))


def frame_overlaps(a: Spans, b: Spans, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Intersection and union of pairs of tracks of one video in each frame.

    pairs: int64 (n, 2), tracks of a and of b. Returns two float64 (n, T), whole numbers of pixels; both are 0 in frames
    that only one of the two tracks has, and in frames in which their masks differ in size.
    """
    first, second = pairs.T
    intersection = np.zeros((len(pairs), a.areas.shape[1]))
    order = np.lexsort((first, second))
    # Tracks of `a` that stand together are compared with one of `b` at once, up to a number of spans.
    block = a.rows[a.masks[first[order]]] // _MAX_SPANS
    apart = (np.diff(second[order]) != 0) | (np.diff(first[order]) != 1) | (np.diff(block) != 0)
    track, knots, covered = -1, np.zeros(0), np.zeros(0)
    for rows in np.split(order, np.flatnonzero(apart) + 1):
        if len(rows) and second[rows[0]] != track:
            track = second[rows[0]]
            knots = b.of_track(track)[0]
            # The number of covered pixels before a point grows by one a pixel or not at all between two knots, so that
            # linear interpolation of it is exact.
            covered = np.zeros(len(knots))
            covered[1::2] = np.cumsum(knots[1::2] - knots[0::2])
            covered[2::2] = covered[1:-1:2]
        if len(rows) and len(knots):
            _fill_intersection(intersection, a, knots, covered, int(first[rows[0]]), rows)
    shorter = np.minimum(a.lengths[first], b.lengths[second])
    counts = np.arange(intersection.shape[1]) < shorter[:, None]
    size_a, size_b = a.sizes[first], b.sizes[second]
    counts &= (size_a == size_b) | (size_a == 0) | (size_b == 0)
    intersection *= counts
    return intersection, (a.areas[first] + b.areas[second]) * counts - intersection


def _fill_intersection(
    result: np.ndarray, a: Spans, knots: np.ndarray, covered: np.ndarray, first: int, rows: np.ndarray
) -> None:
    """Fill in rows of `result`: of the tracks of `a` from `first` on with a track of which `covered` pixels are before
    each of `knots`."""
    masks = a.masks[first : first + len(rows) + 1]
    spans = a.rows[masks[0] : masks[-1] + 1]
    inside = np.interp(a.edges[spans[0] : spans[-1]].ravel(), knots, covered)
    if len(inside):
        sums = np.add.reduceat(inside[1::2] - inside[0::2], spans[:-1] - spans[0])
        result[np.repeat(rows, np.diff(masks)), a.frames[masks[0] : masks[-1]]] = sums


def track_ious(intersection: np.ndarray, union: np.ndarray) -> np.ndarray:
    """float64 (n,): the sums over frames divided, 0 where the union is empty. intersection, union: (n, T)."""
    total = union.sum(axis=-1, dtype=np.float64)
    area = intersection.sum(axis=-1, dtype=np.float64)
    return np.divide(area, total, out=np.zeros(total.shape), where=total > 0)
