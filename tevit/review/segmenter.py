"""Proposing one object's mask from points and a box, and propagating it: an interface, and GrabCut with optical flow.

`create_segmenter` makes one by its name; SAM 2.1 is in `tevit.review.sam2`.

Source: Rother et al., "GrabCut": Interactive Foreground Extraction using Iterated Graph Cuts, SIGGRAPH 2004.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import cv2
import numpy as np

from tevit.progress import Progress
from tevit.review.propagate import Propagation, propagate

Point = tuple[float, float, bool]
"""x, y in pixels, and whether it is on the object."""
BoxXYXY = tuple[float, float, float, float]

SEGMENTERS = ("grabcut", "sam2")
"""Names of `create_segmenter`."""

_WORKING_SIDE = 320  # pixels: a larger picture is scaled down
_POINT_RADIUS = 3  # pixels around a point that are taken to be the same, in the scaled picture, at least
_POINT_REACH = 0.2  # of the picture's width: without a box, the object lies within this distance of a point on it


class Segmenter(Protocol):
    """What proposes and propagates masks. name: for the page."""

    name: str

    def propose(
        self, frame: np.ndarray, points: Sequence[Point] = (), boxes: Sequence[BoxXYXY] = ()
    ) -> list[np.ndarray]:
        """Masks, bool (H, W): one for each box; of one object for points alone. frame: RGB, uint8 (H, W, 3).

        Raises: ValueError without a point on the object or a box, or with one outside the frame.
        """
        ...

    def propagate(
        self,
        frames: Sequence[np.ndarray],
        keys: Mapping[int, np.ndarray],
        *,
        first: int = 0,
        last: int | None = None,
        predictions: Mapping[int, np.ndarray] | None = None,
        progress: Progress | None = None,
    ) -> Propagation:
        """As `tevit.review.propagate.propagate`."""
        ...


def create_segmenter(name: str = "grabcut", checkpoint: str | None = None, device: str = "cpu") -> Segmenter:
    """A segmenter by its name, one of `SEGMENTERS`.

    checkpoint: of sam2: a local folder, or a name on the Hugging Face hub. device: of sam2, PyTorch's name.
    Raises: ValueError for another name, and where sam2's package or checkpoint is missing.
    """
    if name not in SEGMENTERS:
        raise ValueError(f"segmenter: expected {' or '.join(SEGMENTERS)}, got {name!r}")
    if name == "grabcut":
        return GrabCutSegmenter()
    if not checkpoint:
        raise ValueError("segmenter sam2: expected a checkpoint: a folder with SAM 2.1 of transformers, got none")
    from tevit.review.sam2 import sam2

    return sam2(checkpoint, device)


def check_prompts(frame: np.ndarray, points: Sequence[Point], boxes: Sequence[BoxXYXY]) -> None:
    """Raises: ValueError as `Segmenter.propose`."""
    height, width = frame.shape[:2]
    if not boxes and not any(on for _, _, on in points):
        raise ValueError("expected a point on the object or a box, got neither")
    for x, y, _ in points:
        if not (0 <= x < width and 0 <= y < height):
            raise ValueError(f"expected points within {width} x {height} pixels, got ({x:g}, {y:g})")
    for x1, y1, x2, y2 in boxes:
        if not (x1 < x2 and y1 < y2 and x1 < width and y1 < height and x2 > 0 and y2 > 0):
            raise ValueError(f"expected boxes within {width} x {height} pixels, got {x1:g}, {y1:g} to {x2:g}, {y2:g}")


class GrabCutSegmenter:
    """GrabCut for proposals, optical flow and colour for propagation; no weights."""

    name = "GrabCut and optical flow"

    def propose(
        self, frame: np.ndarray, points: Sequence[Point] = (), boxes: Sequence[BoxXYXY] = ()
    ) -> list[np.ndarray]:
        """As `Segmenter`."""
        check_prompts(frame, points, boxes)
        height, width = frame.shape[:2]
        scale = min(1.0, _WORKING_SIDE / max(height, width))
        small_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = cv2.resize(np.ascontiguousarray(frame), small_wh, interpolation=cv2.INTER_AREA)
        masks = [_cut(small, _seeds(small.shape[:2], scale, points, box)) for box in boxes or [None]]
        return [cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR) > 0.5 for mask in masks]

    def propagate(
        self,
        frames: Sequence[np.ndarray],
        keys: Mapping[int, np.ndarray],
        *,
        first: int = 0,
        last: int | None = None,
        predictions: Mapping[int, np.ndarray] | None = None,
        progress: Progress | None = None,
    ) -> Propagation:
        """As `Segmenter`."""
        return propagate(frames, keys, first=first, last=last, predictions=predictions, progress=progress)


def _seeds(size_hw: Sequence[int], scale: float, points: Sequence[Point], box: BoxXYXY | None) -> np.ndarray:
    """GrabCut's labels, uint8 (h, w). Outside the box, or far from all points on the object, is background."""
    height, width = size_hw[:2]
    seeds = np.full((height, width), cv2.GC_BGD, np.uint8)
    certain = max(_POINT_RADIUS, round(0.03 * width))  # with less GrabCut often finds nothing but the seeds
    inner = [(int(x * scale), int(y * scale)) for x, y, on in points if on]
    if box is not None:
        x1, y1, x2, y2 = (round(side * scale) for side in box)
        seeds[max(0, y1) : max(1, y2), max(0, x1) : max(1, x2)] = cv2.GC_PR_BGD
        centre, axes = ((x1 + x2) // 2, (y1 + y2) // 2), (max(1, (x2 - x1) // 2), max(1, (y2 - y1) // 2))
        for label, share in ((cv2.GC_PR_FGD, 0.8), (cv2.GC_FGD, 0.15)):
            if label != cv2.GC_FGD or not inner:
                cv2.ellipse(seeds, centre, (round(share * axes[0]), round(share * axes[1])), 0, 0, 360, label, -1)
    else:
        for label, share in ((cv2.GC_PR_BGD, 1), (cv2.GC_PR_FGD, 0.4)):
            for point in inner:
                cv2.circle(seeds, point, max(2, round(share * _POINT_REACH * width)), label, -1)
    for x, y, on in points:
        place = (int(x * scale), int(y * scale))
        cv2.circle(seeds, place, certain if on else _POINT_RADIUS, cv2.GC_FGD if on else cv2.GC_BGD, -1)
    return seeds


def _cut(picture: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """The object, float32 (h, w), 0 or 1. Where the seeds are all of one side they are the result."""
    possible = (seeds == cv2.GC_FGD) | (seeds == cv2.GC_PR_FGD)
    if possible.all() or not possible.any():
        return possible.astype(np.float32)
    labels = seeds.copy()
    cv2.setRNGSeed(0)  # GrabCut begins with k-means
    cv2.grabCut(picture, labels, (0, 0, 1, 1), np.zeros((1, 65)), np.zeros((1, 65)), 5, cv2.GC_INIT_WITH_MASK)
    return ((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)).astype(np.float32)
