"""Clips: decode, resize, flip, normalise and pad frames and their ground truth."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from tevit.masks import ops
from tevit.results import RLE
from tevit.video.transforms import Geometry, geometry, normalised_levels

from .sampling import Augmentation
from .sources import TrainingVideo


@dataclass(frozen=True, eq=False)
class ClipTarget:
    """The ground truth of a clip of T frames with N instances.

    labels: int64 (N,), class index from 0. ids: int64 (N,), sorted, unique. boxes_xyxy: float32 (T, N, 4), pixels of
    the resized frame. present: bool (T, N), whether the instance is in the frame; elsewhere box and mask are zero.
    masks: uint8 (T, N, H, W), 0 or 1, zero-padded on the right and bottom to the clip's own padded size.
    """

    labels: np.ndarray
    ids: np.ndarray
    boxes_xyxy: np.ndarray
    present: np.ndarray
    masks: np.ndarray


@dataclass(frozen=True, eq=False)
class Clip:
    """frames: float32 (T, 3, H, W), normalised RGB, zero-padded on the right and bottom to multiples of 32.
    size_hw: resized and not padded.
    """

    frames: np.ndarray
    size_hw: tuple[int, int]
    target: ClipTarget


def make_clip(video: TrainingVideo, frames: Sequence[int], augmentation: Augmentation) -> Clip:
    """A clip of a video's frames in the given order (repeats are allowed), with one augmentation for all.

    Raises: OSError, ValueError naming the file of a frame that cannot be read or has another size than annotated, or
    the annotation of a mask that cannot be read.
    """
    size = geometry(video.size_hw, augmentation.scale)
    pixels = np.zeros((len(frames), 3, *size.padded_hw), np.float32)
    levels = normalised_levels()
    height, width = size.resized_hw
    for out, frame in zip(pixels, frames, strict=True):
        bgr = cv2.resize(_read(video.files[frame], video.size_hw), (width, height), interpolation=cv2.INTER_LINEAR)
        # Flipped in 8 bit and normalised by table: the values of the reader's `preprocess` in less time.
        flipped = np.asarray(bgr[:, ::-1] if augmentation.flip else bgr, np.uint8)
        for channel, values in enumerate(levels):
            out[channel, :height, :width] = np.take(values, flipped[..., 2 - channel])
    return Clip(pixels, size.resized_hw, _target(video, frames, size, augmentation.flip))


def _read(file: Path, size_hw: tuple[int, int]) -> np.ndarray:
    """BGR (H, W, 3), read with OpenCV's default flag like the original: EXIF rotation applied, grey in 3 channels."""
    try:
        data = np.frombuffer(file.read_bytes(), np.uint8)
    except FileNotFoundError:
        raise FileNotFoundError(f"no such frame: {file}") from None
    bgr = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if bgr is None:
        raise ValueError(f"{file}: not an image that can be read")
    if bgr.shape[:2] != size_hw:
        expected, got = (f"{width}x{height}" for height, width in (size_hw, bgr.shape[:2]))
        raise ValueError(f"{file}: expected {expected} pixels as the annotations say, got {got}")
    return bgr


def _target(video: TrainingVideo, frames: Sequence[int], size: Geometry, flip: bool) -> ClipTarget:
    tracks = video.masks()
    rles = [[track[frame] for frame in frames] for track in tracks]
    masked = np.array([[rle is not None for rle in track] for track in rles], bool).reshape(len(rles), len(frames))
    present = video.usable[:, list(frames)] & masked
    order = np.argsort(video.ids, kind="stable")
    indices = order[present[order].any(1)]
    boxes = resize_boxes(video.boxes_xyxy[indices][:, list(frames)].transpose(1, 0, 2), size)
    if flip:
        boxes[..., [0, 2]] = np.float32(size.resized_hw[1]) - boxes[..., [2, 0]]
    visible = present[indices].T
    boxes[~visible] = 0
    masks = resize_masks([rles[index] for index in indices], visible, size, flip)
    return ClipTarget(video.labels[indices], video.ids[indices], boxes, visible, masks)


def resize_boxes(boxes_xyxy: np.ndarray, size: Geometry) -> np.ndarray:
    """Boxes of the original in the resized frame: float32 (..., 4), pixels, clipped to 0..width and 0..height."""
    height, width = size.resized_hw
    limits = np.array([width, height, width, height], np.float32)
    return np.clip(boxes_xyxy * size.scale_factor, 0, limits)


def resize_masks(rles: Sequence[Sequence[RLE | None]], visible: np.ndarray, size: Geometry, flip: bool) -> np.ndarray:
    """N tracks of T masks -> uint8 (T, N, Hp, Wp). visible: bool (T, N); other masks stay empty. flip: horizontally."""
    # OpenCV's nearest neighbour takes source index floor(i * (1 / (new / old))), other libraries another.
    height, width = size.resized_hw
    out = np.zeros((*visible.shape, *size.padded_hw), np.uint8)
    for t, n in np.argwhere(visible):
        rle = rles[n][t]
        assert rle is not None
        transposed = ops.decode(rle).T  # run lengths are column-major, so this is contiguous
        resized = cv2.resize(transposed, (height, width), interpolation=cv2.INTER_NEAREST)
        out[t, n, :height, :width] = (resized[::-1] if flip else resized).T
    return out
