"""Operations on run-length encoded masks: encoding and decoding pixels, area, boxes, union and IoU.

Those of whole tracks see their masks as spans on one axis per video (frame after frame, pixel after pixel).
COCO's C library does not validate its input: an RLE from outside passes `masks.json` or `rle.check_texts` first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tevit.boxes import xywh_to_xyxy
from tevit.masks.rle import (
    LIST_END,
    TEXT_END,
    RleError,
    Runs,
    coco,
    decode_joined,
    decode_lists,
    decode_texts,
    parse_numbers,
)
from tevit.results import RLE

_MAX_BATCH = 255  # pycocotools' area keeps the number of masks in a byte


def encode(mask: np.ndarray) -> RLE:
    """A mask, bool or uint8 (H, W), nonzero where the object is, as RLE."""
    return encode_batch(mask[None])[0]


def encode_batch(masks: np.ndarray) -> list[RLE]:
    """N masks, bool or uint8 (N, H, W), as RLE."""
    if masks.ndim != 3 or 0 in masks.shape[1:]:
        raise ValueError(f"expected masks of shape (N, H, W), got {masks.shape}")
    binary = masks if masks.dtype == bool else masks != 0
    return [coco.encode(np.asfortranarray(mask.view(np.uint8))) for mask in binary]


class MaskPart(NamedTuple):
    """A mask known within a rectangle and empty outside it: bool (h, w), and the rectangle's first column and row."""

    pixels: np.ndarray
    left: int
    top: int


def encode_parts(parts: Sequence[MaskPart], size_hw: Sequence[int]) -> tuple[list[RLE], np.ndarray]:
    """N masks of one size, height and width, as RLE, and their areas, float64 (N,), pixels."""
    sides = np.array([part.pixels.shape for part in parts], np.int64).reshape(-1, 2)
    sizes = (sides[:, 0] + 1) * sides[:, 1]
    ends = np.cumsum(sizes)
    begins = ends - sizes
    # An empty pixel follows each column, so that every run ends in the column where it began.
    flat = np.zeros(int(ends[-1]) + 1 if len(parts) else 1, bool)
    for part, (rows, columns), begin, end in zip(parts, sides.tolist(), begins.tolist(), ends.tolist(), strict=True):
        flat[1 + begin : 1 + end].reshape(columns, rows + 1)[:, :rows] = part.pixels.T
    places = np.flatnonzero(flat[1:] != flat[:-1])
    corners = np.array([part[1:] for part in parts], np.int64).reshape(-1, 2)
    return encode_changes(places, sides, corners, size_hw)


def encode_changes(
    places: np.ndarray, sides: np.ndarray, corners: np.ndarray, size_hw: Sequence[int]
) -> tuple[list[RLE], np.ndarray]:
    """N masks of one size as RLE, and their areas, float64 (N,), from where the pixels of their rectangles change.

    places: int64 (E,), ascending: the positions of pixels that differ from the one before, when all columns of all
    rectangles lie one after another, each followed by an empty pixel. sides: int64 (N, 2), rows and columns of each
    rectangle. corners: int64 (N, 2), its first column and row. size_hw: of the whole masks.
    """
    height, width = size_hw
    edges, owner = _run_edges(places, sides, corners, height)
    areas = np.bincount(owner[::2], weights=edges[1::2] - edges[::2], minlength=len(sides))
    first = np.searchsorted(owner, np.arange(len(sides) + 1))
    # All masks lie on one axis, one after another: runs are the differences between edges and ends of masks.
    ends = np.arange(len(sides) + 1) * (height * width)
    runs = np.diff(np.insert(edges + ends[owner], first, ends)).astype(np.uint32)
    stops = first[1:] + np.arange(len(sides)) + 1
    counts = [runs if runs[-1] else runs[:-1] for runs in np.split(runs, stops[:-1])] if len(sides) else []
    plain = [{"size": [height, width], "counts": runs} for runs in counts]
    return coco.frPyObjects(plain, height, width) if plain else [], areas


def _run_edges(
    places: np.ndarray, sides: np.ndarray, corners: np.ndarray, height: int
) -> tuple[np.ndarray, np.ndarray]:
    """Begins and ends of foreground runs, alternating, int64 (E,), and the mask of each, int64 (E,).

    An edge is a position in the column-major pixels of the whole mask.
    """
    ends = np.cumsum((sides[:, 0] + 1) * sides[:, 1])
    owner = np.searchsorted(ends, places, side="right")
    rows = sides[owner, 0] + 1
    column, row = np.divmod(places - (ends[owner] - rows * sides[owner, 1]), rows)
    edges = (corners[owner, 0] + column) * height + corners[owner, 1] + row
    # A run that ends where the next column's begins is one run.
    touching = np.flatnonzero((edges[1:-1:2] == edges[2::2]) & (owner[1:-1:2] == owner[2::2])) * 2 + 1
    separate = np.delete(np.arange(len(edges)), [*touching, *(touching + 1)])
    return edges[separate], owner[separate]


def decode(rle: RLE) -> np.ndarray:
    """The mask of an RLE, uint8 (H, W), 1 where the object is."""
    return coco.decode([rle])[:, :, 0]


def decode_within(rle: RLE, box_xyxy: tuple[int, int, int, int]) -> np.ndarray:
    """`decode(rle)[y1:y2, x1:x2]` without decoding the rest. box_xyxy: whole pixels, within the picture."""
    (height, width), (x1, y1, x2, y2) = rle["size"], box_xyxy
    lengths = decode_texts([rle["counts"]], np.array([height * width])).lengths.ravel()
    edges = np.clip(np.cumsum(lengths), x1 * height, x2 * height)
    ones = np.arange(len(edges)) % 2 == 1
    columns = np.repeat(ones, np.diff(edges, prepend=x1 * height)).reshape(-1, height)
    return np.ascontiguousarray(columns[:, y1:y2].T).view(np.uint8)


def empty(size_hw: Sequence[int]) -> RLE:
    """The mask without any pixel."""
    return encode(np.zeros(tuple(size_hw), bool))


def to_json(rle: RLE) -> dict:
    """The RLE as data sets write it in JSON: size, and counts as text."""
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode()}


def union(rles: Sequence[RLE]) -> RLE:
    """The union of one or more masks of the same size."""
    return coco.merge(list(rles)) if len(rles) > 1 else rles[0]


def areas(rles: Sequence[RLE | None]) -> np.ndarray:
    """float64 (N,): pixels of each mask, 0 for None."""
    result = np.zeros(len(rles))
    present = [i for i, rle in enumerate(rles) if rle is not None]
    for i in range(0, len(present), _MAX_BATCH):
        batch = present[i : i + _MAX_BATCH]
        result[batch] = coco.area([rles[j] for j in batch])
    return result


def to_box_xyxy(rle: RLE) -> np.ndarray:
    """float32 (4,): the mask's box by its pixels' outer edges (x2 and y2 exclusive); NaN for a mask without pixels."""
    return to_boxes_xyxy([rle])[0]


def to_boxes_xyxy(rles: Sequence[RLE | None]) -> np.ndarray:
    """float32 (N, 4): boxes by the pixels' outer edges (x2 and y2 exclusive); NaN for None and masks without pixels."""
    boxes = np.full((len(rles), 4), np.nan, np.float32)
    present = [i for i, rle in enumerate(rles) if rle is not None]
    if present:
        xywh = coco.toBbox([rles[i] for i in present])
        xywh[xywh[:, 2] * xywh[:, 3] == 0] = np.nan
        boxes[present] = xywh_to_xyxy(xywh)
    return boxes


def intersections(a: Sequence[RLE], b: Sequence[RLE], areas_a: np.ndarray | None = None) -> np.ndarray:
    """float64 (A, B): common pixels of every mask of `a` with every mask of `b`, exact; 0 where sizes differ.

    areas_a: float64 (A,), the areas of `a` if they are known already.
    """
    if not a or not b:
        return np.zeros((len(a), len(b)))
    # If every b is a crowd, the library divides by the area of a alone: multiplying gives the exact integer back.
    shares = coco.iou(list(a), list(b), [1] * len(b))
    return np.rint(np.maximum(shares, 0) * (areas(a) if areas_a is None else areas_a)[:, None])


def overlaps(a: Sequence[Sequence[RLE | None]], b: Sequence[Sequence[RLE | None]]) -> tuple[np.ndarray, np.ndarray]:
    """Intersections and unions of every track of `a` with every track of `b`, each float64 (A, B, T), pixels.

    T: frames of the longest track. In a pair, both are 0 in frames after the end of the shorter track, and in frames in
    which both have a mask but of different sizes. None counts as a mask without pixels.

    Source: the sums of these over frames are the YouTube-VIS evaluation API's track IoU.
    """
    length = max((len(track) for track in [*a, *b]), default=0)
    areas_a, exists_a = _padded_areas(a, length)
    areas_b, exists_b = _padded_areas(b, length)
    intersection = np.zeros((len(a), len(b), length))
    total = (areas_a[:, None] + areas_b[None]) * (exists_a[:, None] & exists_b[None])
    for t in range(length):
        rows, masks_a = _masks_at(a, t)
        columns, masks_b = _masks_at(b, t)
        if rows and columns:
            cell = np.ix_(rows, columns, [t])
            intersection[cell] = intersections(masks_a, masks_b, areas_a[rows, t])[..., None]
            sizes_a, sizes_b = (np.array([rle["size"] for rle in rles]) for rles in (masks_a, masks_b))
            total[cell] *= (sizes_a[:, None] == sizes_b[None]).all(-1)[..., None]
    return intersection, total - intersection


def _padded_areas(tracks: Sequence[Sequence[RLE | None]], length: int) -> tuple[np.ndarray, np.ndarray]:
    """Areas, float64 (N, T), and bool (N, T): the frames that a track has."""
    result = np.zeros((len(tracks), length))
    for i, track in enumerate(tracks):
        result[i, : len(track)] = areas(track)
    lengths = np.array([len(track) for track in tracks], int)
    return result, np.arange(length) < lengths[:, None]


def _masks_at(tracks: Sequence[Sequence[RLE | None]], t: int) -> tuple[list[int], list[RLE]]:
    """The indices of the tracks that have a mask in frame t, and these masks."""
    present = [(i, rle) for i, track in enumerate(tracks) if t < len(track) and (rle := track[t]) is not None]
    return [i for i, _ in present], [rle for _, rle in present]


def track_iou(a: Sequence[RLE | None], b: Sequence[RLE | None]) -> float:
    """Intersection over union, each summed over the frames that both tracks have; 0 where there is no pixel."""
    intersection, union = overlaps([a], [b])
    return float(intersection.sum() / union.sum()) if union.any() else 0.0


def pixel_iou(a: np.ndarray, b: np.ndarray) -> float:
    """IoU of two masks, bool (H, W); 1 where both are without pixels."""
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 1.0


# --- masks of whole tracks as spans: they are compared as run lengths, never as pixels

MAX_PIXELS = 1 << 31
_MAX_SPANS = 1 << 17  # compared at once, but for a longer track


class BadMaskError(ValueError):
    """A mask that is none. track, frame: positions from 0; reason: what is wrong, in words."""

    def __init__(self, track: int, frame: int, reason: str):
        super().__init__(f"track {track}, frame {frame}: {reason}")
        self.track, self.frame, self.reason = track, frame, reason


class EncodedMasks(NamedTuple):
    """One track's masks, not checked yet.

    length: frames of the track, T. frames: int64 (M,), those that have a mask. sizes_hw: int64 (M, 2), pixels.
    counts: M, as COCO's text or as plain run lengths; or all joined as in `masks.json.EncodedTrack`, with its `digits`.
    """

    length: int
    frames: np.ndarray
    sizes_hw: np.ndarray
    counts: Sequence[bytes | list[int]] | bytes
    digits: bool = False

    @classmethod
    def of_frames(cls, masks: Sequence[tuple[Sequence[int], bytes | list[int]] | None]) -> "EncodedMasks":
        """masks: (size, counts) for each frame, None where the object is absent."""
        frames = np.array([frame for frame, mask in enumerate(masks) if mask], np.int64)
        sizes_hw = np.array([mask[0] for mask in masks if mask], np.int64).reshape(-1, 2)
        return cls(len(masks), frames, sizes_hw, [mask[1] for mask in masks if mask])


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
