"""Operations on run-length encoded masks: encoding and decoding pixels, area, boxes, union and IoU.

COCO's C library does not validate its input: an RLE from outside passes `masks.json` or `rle.check_texts` first.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tevit.boxes import xywh_to_xyxy
from tevit.masks.rle import coco, decode_texts
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
