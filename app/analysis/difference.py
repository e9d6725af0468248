"""Where two sets of masks agree, and what only one of them has: as three tracks that the player can draw."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tevit.masks import ops as masks
from tevit.masks.rle import from_texts
from tevit.results import RLE, Track, VideoResult

KINDS = {1: "agreed", 2: "missed", 3: "invented"}
"""Track id, and category id, of each kind of pixels -> its name."""
COLOURS = {"agreed": (59, 174, 109), "missed": (217, 74, 112), "invented": (227, 160, 32)}
"""RGB, told apart by colour-blind people too: their brightness differs."""


def difference(
    truth: VideoResult, prediction: VideoResult, truth_id: int | None = None, prediction_id: int | None = None
) -> VideoResult:
    """Pixels of both, of the truth alone, of the prediction alone: tracks 1, 2, 3 of the classes KINDS.

    truth_id, prediction_id: of one track each; None: all of that side together (crowds are left out). What is nowhere
    there is left out. Raises: ValueError for a track that is not there, or videos of different sizes or lengths.
    """
    if (truth.size_hw, truth.length) != (prediction.size_hw, prediction.length):
        raise ValueError(
            f"expected both sides of {truth.size_hw} and {truth.length} frames, got {prediction.size_hw} and "
            f"{prediction.length}"
        )
    a, b = (
        _together(_chosen(truth, truth_id), truth.length),
        _together(_chosen(prediction, prediction_id), truth.length),
    )
    kinds = (_both(a, b), _both(a, _complements(b)), _both(b, _complements(a)))
    tracks = [_track(id, rles) for id, rles in zip(KINDS, kinds, strict=True) if any(rles)]
    return replace(truth, categories=KINDS, tracks=tuple(tracks))


def _chosen(result: VideoResult, id: int | None) -> list[Track]:
    found = [track for track in result.tracks if (not track.iscrowd if id is None else track.id == id)]
    if id is not None and not found:
        raise ValueError(f"video {result.name!r} has no track {id}")
    return found


def _together(tracks: Sequence[Track], length: int) -> list[RLE | None]:
    found = []
    for frame in range(length):
        here = [rle for track in tracks if (rle := track.rles[frame]) is not None]
        found.append(masks.union(here) if here else None)
    return found


def _both(a: Sequence[RLE | None], b: Sequence[RLE | bool | None]) -> list[RLE | None]:
    """The common pixels in each frame; True in b: everything."""
    found: list[RLE | None] = []
    for one, other in zip(a, b, strict=True):
        if one is None or other is None or other is False:
            found.append(None)
        else:
            found.append(one if isinstance(other, bool) else masks.coco.merge([one, other], intersect=True))
    areas = masks.areas(found)
    return [rle if area else None for rle, area in zip(found, areas.tolist(), strict=True)]


def _complements(rles: Sequence[RLE | None]) -> list[RLE | bool]:
    """Everything but the mask in each frame, on the run lengths; True where there is none."""
    there = [rle for rle in rles if rle is not None]
    if not there:
        return [True] * len(rles)
    pixels = np.array([rle["size"][0] * rle["size"][1] for rle in there], np.int64)
    decoded = from_texts([rle["counts"] for rle in there], pixels)
    parts = (decoded.lengths[start:stop].ravel() for start, stop in zip(decoded.first, decoded.first[1:], strict=False))
    plain = [{"size": rle["size"], "counts": _flipped(runs)} for rle, runs in zip(there, parts, strict=True)]
    height, width = there[0]["size"]
    made = iter(masks.coco.frPyObjects(plain, height, width))
    return [True if rle is None else next(made) for rle in rles]


def _flipped(runs: np.ndarray) -> np.ndarray:
    """Run lengths of the complement, uint32: foreground first, so that a leading 0 goes or comes."""
    runs = runs[:-1] if runs[-1] == 0 else runs
    return (runs[1:] if runs[0] == 0 else np.concatenate([[0], runs])).astype(np.uint32)


def _track(id: int, rles: list[RLE | None]) -> Track:
    return Track(id, id, 1.0, tuple(rles), masks.to_boxes_xyxy(rles), masks.areas(rles))
