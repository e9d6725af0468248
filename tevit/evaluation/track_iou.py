"""How much the tracks of a video overlap, frame by frame, on the run lengths of all its masks at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np

from tevit.masks.rle import RleError, Runs, decode_lists, decode_runs, decode_texts, parse_numbers

_MOST_PIXELS = 1 << 31


class Masks(NamedTuple):
    """One track's masks, not checked yet.

    length: frames of the track, T. frames: int64 (M,), those that have a mask. sizes_hw: int64 (M, 2), pixels.
    counts: M, as COCO's text or as plain run lengths; digits: the latter as JSON has them, for `rle.parse_numbers`.
    """

    length: int
    frames: np.ndarray
    sizes_hw: np.ndarray
    counts: Sequence[bytes | list[int]]
    digits: bool = False


def together(masks: Sequence[tuple[Sequence[int], bytes | list[int]] | None]) -> Masks:
    """A track of (size, counts) a frame, None where the object is absent; see Masks."""
    frames = np.array([frame for frame, mask in enumerate(masks) if mask], np.int64)
    sizes = np.array([mask[0] for mask in masks if mask], np.int64).reshape(-1, 2)
    return Masks(len(masks), frames, sizes, [mask[1] for mask in masks if mask])


class BadMaskError(ValueError):
    """A mask that is none. track, frame: positions from 0; reason: what is wrong, in words."""

    def __init__(self, track: int, frame: int, reason: str):
        super().__init__(f"track {track}, frame {frame}: {reason}")
        self.track, self.frame, self.reason = track, frame, reason


@dataclass(frozen=True, eq=False)
class Spans:
    """N tracks of one video as stretches of foreground on one axis, frame after frame and pixel after pixel.

    edges: float64 (R, 2), where each stretch begins and ends. masks: int64 (N + 1,): track i has the masks masks[i] to
    masks[i + 1]. rows: int64 (M + 1,): mask m has the stretches rows[m] to rows[m + 1]. frames: int64 (M,).
    areas: float64 (N, T), pixels, 0 where there is no mask. sizes: int64 (N, T), a number that stands for the mask's
    height and width, 0 where there is no mask. lengths: int64 (N,), the frames that each track has.
    """

    edges: np.ndarray
    masks: np.ndarray
    rows: np.ndarray
    frames: np.ndarray
    areas: np.ndarray
    sizes: np.ndarray
    lengths: np.ndarray

    def of_track(self, track: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Its edges in a row, the frame of each of its masks, and where in the edges' pairs each mask begins."""
        masks = slice(self.masks[track], self.masks[track + 1])
        rows = slice(self.rows[masks.start], self.rows[masks.stop])
        return self.edges[rows].ravel(), self.frames[masks], self.rows[masks] - rows.start


def spans(tracks: Sequence[Masks], length: int, stride: int) -> Spans:
    """Decode and check the masks of N tracks of one video.

    length: T, the most frames that a track of the video has. stride: the most pixels that a mask of the video has.
    Raises: BadMaskError.
    """
    owner = np.repeat(np.arange(len(tracks)), [len(track.counts) for track in tracks])
    frames = np.concatenate([np.zeros(0, np.int64), *(track.frames for track in tracks)])
    sizes_hw = np.concatenate([np.zeros((0, 2), np.int64), *(track.sizes_hw for track in tracks)])
    try:
        decoded = _decode(tracks, sizes_hw)
    except RleError as error:
        raise BadMaskError(int(owner[error.index]), int(frames[error.index]), error.reason) from None
    areas, sizes = np.zeros((len(tracks), length)), np.zeros((len(tracks), length), np.int64)
    areas[owner, frames], sizes[owner, frames] = decoded.areas, sizes_hw[:, 0] * _MOST_PIXELS + sizes_hw[:, 1]
    return Spans(
        edges=_edges(decoded, frames * stride, sizes_hw.prod(axis=1)),
        masks=np.searchsorted(owner, np.arange(len(tracks) + 1)),
        rows=decoded.first,
        frames=frames,
        areas=areas,
        sizes=sizes,
        lengths=np.array([track.length for track in tracks], np.int64),
    )


def _decode(tracks: Sequence[Masks], sizes_hw: np.ndarray) -> Runs:
    """sizes_hw: of all masks."""
    counts = list(chain.from_iterable(track.counts for track in tracks))
    if not counts:
        none = np.zeros(0, np.int64)
        return Runs(none.reshape(0, 2), np.zeros(1, np.int64), none)
    pixels = sizes_hw.prod(axis=1)
    wrong = (sizes_hw < 1).any(axis=1) | (sizes_hw >= _MOST_PIXELS).any(axis=1) | (pixels >= _MOST_PIXELS)
    if wrong.any():
        index = int(np.argmax(wrong))
        raise RleError(index, f"a mask of {sizes_hw[index, 0]} x {sizes_hw[index, 1]} (height x width) cannot be", "")
    texts = [found for found in counts if isinstance(found, bytes)]
    kinds = {track.digits for track in tracks if len(track.counts)}
    if len(texts) == len(counts) and len(kinds) == 1:
        return decode_runs(*parse_numbers(texts), pixels) if kinds == {True} else decode_texts(texts, pixels)
    digits = chain.from_iterable([track.digits] * len(track.counts) for track in tracks)
    return decode_lists(
        [_plain(*item, pixels) for item in zip(range(len(counts)), counts, digits, strict=True)], pixels
    )


def _plain(index: int, counts: bytes | list[int], digits: bool, pixels: np.ndarray) -> list[int] | np.ndarray:
    """Several forms side by side are rare, and then all are taken as run lengths."""
    if not isinstance(counts, bytes):
        return counts
    if digits:
        return parse_numbers([counts])[0]
    try:
        return decode_texts([counts], pixels[index : index + 1]).lengths.ravel()
    except RleError as error:
        raise RleError(index, error.reason, error.detail) from None


def _edges(decoded: Runs, begins: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """float64 (R, 2). begins: where on the axis each mask begins; pixels: how many it takes."""
    ends = begins + pixels
    decoded.lengths[decoded.first[:-1], 0] += begins - np.concatenate([[0], ends[:-1]])
    steps = decoded.lengths.ravel().copy()
    steps[1:] += decoded.lengths.ravel()[:-1]
    steps = steps.reshape(-1, 2)  # from begin to begin and from end to end: numpy sums columns up far faster than rows
    return np.cumsum(steps, axis=0, out=steps).astype(np.float64)


def frame_overlaps(a: Spans, b: Spans, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Intersections and unions of pairs of tracks of one video, frame by frame.

    pairs: int64 (n, 2), tracks of a and of b. Returns two float64 (n, T), pixels, whole numbers. Frames that only one
    of the two tracks has are 0 in both, and so are frames in which their masks differ in size.
    """
    first, second = pairs.T
    common = np.zeros((len(pairs), a.areas.shape[1]))
    rows: dict[int, list[int]] = {}
    for row, track in enumerate(second.tolist()):
        rows.setdefault(track, []).append(row)
    for track, own in rows.items():
        _fill(common, a, b.of_track(track)[0], first[own].tolist(), own)
    shorter = np.minimum(a.lengths[first], b.lengths[second])
    counts = np.arange(common.shape[1]) < shorter[:, None]
    size_a, size_b = a.sizes[first], b.sizes[second]
    counts &= (size_a == size_b) | (size_a == 0) | (size_b == 0)
    common *= counts
    return common, (a.areas[first] + b.areas[second]) * counts - common


def _fill(common: np.ndarray, a: Spans, knots: np.ndarray, tracks: list[int], rows: list[int]) -> None:
    """Rows of `common`: of those tracks of a with the one whose edges are `knots`.

    The pixels covered before a knot grow, up to the next one, by one a pixel or not at all: so they can be
    interpolated, exactly.
    """
    if not len(knots):
        return
    covered = np.zeros(len(knots))
    covered[1::2] = np.cumsum(knots[1::2] - knots[0::2])
    covered[2::2] = covered[1:-1:2]
    for row, track in zip(rows, tracks, strict=True):
        edges, frames, begins = a.of_track(track)
        if len(frames):
            inside = np.interp(edges, knots, covered)
            common[row, frames] = np.add.reduceat(inside[1::2] - inside[0::2], begins)


def track_ious(common: np.ndarray, union: np.ndarray) -> np.ndarray:
    """float64 (n,): the sums over frames divided, 0 where there is nothing to unite."""
    total = union.sum(axis=1)
    return np.divide(common.sum(axis=1), total, out=np.zeros(len(total)), where=total > 0)
