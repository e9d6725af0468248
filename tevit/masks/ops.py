"""Operations on run-length encoded masks: encoding and decoding pixels, area, boxes, union and IoU.

COCO's C library does not validate its input: an RLE from outside passes `masks.json` or `rle.check_texts` first.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tevit.boxes import xywh_to_xyxy
from tevit.masks.rle import coco, decode_texts
from tevit.results import RLE

_AT_ONCE = 255  # pycocotools' area keeps the number of masks in a byte


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
    """A mask of which only a part is known, the rest being empty: bool (h, w), and its first column and row."""

    pixels: np.ndarray
    left: int
    top: int


def encode_parts(parts: Sequence[MaskPart], size_hw: Sequence[int]) -> tuple[list[RLE], np.ndarray]:
    """N masks of one size, height and width, of each of which a part is known; and float64 (N,), their pixels."""
    height, width = size_hw
    edges, owner = _edges(parts, height)
    areas = np.bincount(owner[::2], weights=edges[1::2] - edges[::2], minlength=len(parts))
    first = np.searchsorted(owner, np.arange(len(parts) + 1))
    # All masks on one axis, one behind the other: runs lie between edges, and between a mask's ends and its edges.
    ends = np.arange(len(parts) + 1) * (height * width)
    runs = np.diff(np.insert(edges + ends[owner], first, ends)).astype(np.uint32)
    stops = first[1:] + np.arange(len(parts)) + 1
    counts = [found if found[-1] else found[:-1] for found in np.split(runs, stops[:-1])] if len(parts) else []
    plain = [{"size": [height, width], "counts": found} for found in counts]
    return coco.frPyObjects(plain, height, width) if plain else [], areas


def _edges(parts: Sequence[MaskPart], height: int) -> tuple[np.ndarray, np.ndarray]:
    """int64 (E,): where stretches of foreground begin and end, in turns, column after column of each whole mask; and
    which mask each is of."""
    sides = np.array([part.pixels.shape for part in parts], np.int64).reshape(-1, 2)
    sizes = (sides[:, 0] + 1) * sides[:, 1]
    ends = np.cumsum(sizes)
    begins = ends - sizes
    # An empty pixel goes after each column, so that every stretch ends in the column where it began.
    flat = np.zeros(int(ends[-1]) + 1 if len(parts) else 1, bool)
    for part, (rows, columns), begin, end in zip(parts, sides.tolist(), begins.tolist(), ends.tolist(), strict=True):
        flat[1 + begin : 1 + end].reshape(columns, rows + 1)[:, :rows] = part.pixels.T
    places = np.flatnonzero(flat[1:] != flat[:-1])
    owner = np.searchsorted(ends, places, side="right")
    column, row = np.divmod(places - begins[owner], sides[owner, 0] + 1)
    left, top = (np.array([getattr(part, name) for part in parts], np.int64)[owner] for name in ("left", "top"))
    edges = (left + column) * height + top + row
    on = np.flatnonzero((edges[1:-1:2] == edges[2::2]) & (owner[1:-1:2] == owner[2::2])) * 2 + 1  # in the next column
    kept = np.delete(np.arange(len(edges)), [*on, *(on + 1)])
    return edges[kept], owner[kept]


def decode(rle: RLE) -> np.ndarray:
    """The mask of an RLE, uint8 (H, W), 1 where the object is."""
    return coco.decode([rle])[:, :, 0]


def decode_within(rle: RLE, box_xyxy: tuple[int, int, int, int]) -> np.ndarray:
    """`decode(rle)[y1:y2, x1:x2]` without the rest of the picture. box_xyxy: whole pixels, within it."""
    (height, width), (x1, y1, x2, y2) = rle["size"], box_xyxy
    lengths = decode_texts([rle["counts"]], np.array([height * width])).lengths.ravel()
    edges = np.clip(np.cumsum(lengths), x1 * height, x2 * height)
    ones = np.arange(len(edges)) % 2 == 1
    columns = np.repeat(ones, np.diff(edges, prepend=x1 * height)).reshape(-1, height)
    return np.ascontiguousarray(columns[:, y1:y2].T).view(np.uint8)


def empty(size_hw: Sequence[int]) -> RLE:
    """The mask of no pixel at all."""
    return encode(np.zeros(tuple(size_hw), bool))


def to_json(rle: RLE) -> dict:
    """The RLE as JSON has it: size, counts as text."""
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode()}


def union(rles: Sequence[RLE]) -> RLE:
    """The union of masks of one size, at least one."""
    return coco.merge(list(rles)) if len(rles) > 1 else rles[0]


def areas(rles: Sequence[RLE | None]) -> np.ndarray:
    """float64 (N,): pixels of each mask, 0 for None."""
    result = np.zeros(len(rles))
    where = [i for i, rle in enumerate(rles) if rle is not None]
    for i in range(0, len(where), _AT_ONCE):
        part = where[i : i + _AT_ONCE]
        result[part] = coco.area([rles[j] for j in part])
    return result


def to_box_xyxy(rle: RLE) -> np.ndarray:
    """float32 (4,): the mask's box by its pixels' outer edges (x2 and y2 exclusive); NaN for a mask of no pixel."""
    return to_boxes_xyxy([rle])[0]


def to_boxes_xyxy(rles: Sequence[RLE | None]) -> np.ndarray:
    """float32 (N, 4): boxes by the pixels' outer edges (x2 and y2 exclusive); NaN where None or of no pixel."""
    boxes = np.full((len(rles), 4), np.nan, np.float32)
    where = [i for i, rle in enumerate(rles) if rle is not None]
    if where:
        xywh = coco.toBbox([rles[i] for i in where])
        xywh[xywh[:, 2] * xywh[:, 3] == 0] = np.nan
        boxes[where] = xywh_to_xyxy(xywh)
    return boxes


def intersections(a: Sequence[RLE], b: Sequence[RLE], areas_a: np.ndarray | None = None) -> np.ndarray:
    """float64 (A, B): common pixels of every mask of `a` with every one of `b`, exact; 0 where sizes differ.

    areas_a: float64 (A,), the masks' own areas where they are known already.
    """
    if not a or not b:
        return np.zeros((len(a), len(b)))
    # With every b a "crowd" the library divides by the area of a alone, so that its quotient gives back the integer.
    shares = coco.iou(list(a), list(b), [1] * len(b))
    return np.rint(np.maximum(shares, 0) * (areas(a) if areas_a is None else areas_a)[:, None])


def overlaps(
    a: Sequence[Sequence[RLE | None]],
    b: Sequence[Sequence[RLE | None]],
    areas_a: Sequence[np.ndarray] | None = None,
    areas_b: Sequence[np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Intersections and unions of every track of `a` with every one of `b`, each float64 (A, B, T), pixels.

    T: the longest track's frames. Of a pair, frames beyond the shorter one's end are 0 in both, and so are frames in
    which both have a mask but of different sizes. None counts as a mask of no pixel.
    areas_a, areas_b: each track's own mask areas, float64 (its frames,), where they are known already.

    Source: the sums of these over frames are the YouTube-VIS evaluation API's track IoU.
    """
    length = max((len(track) for track in [*a, *b]), default=0)
    size_a, seen_a = _padded(a, areas_a, length)
    size_b, seen_b = _padded(b, areas_b, length)
    common = np.zeros((len(a), len(b), length))
    total = (size_a[:, None] + size_b[None]) * (seen_a[:, None] & seen_b[None])
    for t in range(length):
        rows, masks_a = _present(a, t)
        columns, masks_b = _present(b, t)
        if rows and columns:
            cell = np.ix_(rows, columns, [t])
            common[cell] = intersections(masks_a, masks_b, size_a[rows, t])[..., None]
            total[cell] *= _same_sizes(masks_a, masks_b)[..., None]
    return common, total - common


def _padded(
    tracks: Sequence[Sequence[RLE | None]], known: Sequence[np.ndarray] | None, length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Areas, float64 (N, T), and bool (N, T): the frames that a track has."""
    sizes = np.zeros((len(tracks), length))
    for i, track in enumerate(tracks):
        sizes[i, : len(track)] = areas(track) if known is None else known[i]
    lengths = np.array([len(track) for track in tracks], int)
    return sizes, np.arange(length) < lengths[:, None]


def _present(tracks: Sequence[Sequence[RLE | None]], t: int) -> tuple[list[int], list[RLE]]:
    """The tracks that have a mask at frame t, and the masks."""
    found = [(i, rle) for i, track in enumerate(tracks) if t < len(track) and (rle := track[t]) is not None]
    return [i for i, _ in found], [rle for _, rle in found]


def _same_sizes(a: Sequence[RLE], b: Sequence[RLE]) -> np.ndarray:
    """bool (A, B)."""
    sizes_a, sizes_b = np.array([m["size"] for m in a]), np.array([m["size"] for m in b])
    return (sizes_a[:, None] == sizes_b[None]).all(-1)


def track_iou(a: Sequence[RLE | None], b: Sequence[RLE | None]) -> float:
    """Common pixels over united pixels, each summed over the frames that both have; 0 where there is no pixel."""
    common, union = overlaps([a], [b])
    return float(common.sum() / union.sum()) if union.any() else 0.0


def frame_ious(a: Sequence[RLE | None], b: Sequence[RLE | None]) -> np.ndarray:
    """float64 (T,): IoU frame by frame, NaN where neither has a pixel (or their sizes differ)."""
    common, union = overlaps([a], [b])
    return np.divide(common[0, 0], union[0, 0], out=np.full(union.shape[2], np.nan), where=union[0, 0] > 0)
