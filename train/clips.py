"""From files and annotations to a clip that the network can take: decode, resize, flip, normalise, pad."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from tevit.masks import ops as masks
from tevit.results import RLE
from tevit.video.reader import Geometry, geometry, normalised_levels
from train.sampling import Augmentation
from train.sources import Source


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


def make_clip(source: Source, frames: Sequence[int], augmentation: Augmentation) -> Clip:
    """The given frames of a video, in this order (one may come twice), all resized and flipped alike.

    Raises: OSError, ValueError naming the file of a frame that cannot be read or has another size than the annotations
    say, or the annotation of a mask that cannot be read.
    """
    size = geometry(source.size_hw, augmentation.scale)
    pixels = np.zeros((len(frames), 3, *size.padded_hw), np.float32)
    levels = normalised_levels()
    for out, frame in zip(pixels, frames, strict=True):
        _fill(out, _read(source.files[frame], source.size_hw), size, augmentation.flip, levels)
    return Clip(pixels, size.resized_hw, _target(source, frames, size, augmentation.flip))


def _fill(out: np.ndarray, bgr: np.ndarray, size: Geometry, flip: bool, levels: np.ndarray) -> None:
    """As `tevit.video.reader.preprocess`, but mirrored in 8 bit and written to its place: in less time."""
    height, width = size.resized_hw
    resized = cv2.resize(bgr, (width, height), interpolation=cv2.INTER_LINEAR)
    turned = np.asarray(resized[:, ::-1] if flip else resized, np.uint8)
    for channel, values in enumerate(levels):
        out[channel, :height, :width] = np.take(values, turned[..., 2 - channel])


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


def _target(source: Source, frames: Sequence[int], size: Geometry, flip: bool) -> ClipTarget:
    tracks = source.masks()
    rles = [[track[frame] for frame in frames] for track in tracks]
    masked = np.array([[rle is not None for rle in track] for track in rles], bool).reshape(len(rles), len(frames))
    present = source.usable[:, list(frames)] & masked
    order = np.argsort(source.ids, kind="stable")
    columns = order[present[order].any(1)]
    boxes = resize_boxes(source.boxes_xyxy[columns][:, list(frames)].transpose(1, 0, 2), size)
    if flip:
        boxes[..., [0, 2]] = np.float32(size.resized_hw[1]) - boxes[..., [2, 0]]
    shown = present[columns].T
    boxes[~shown] = 0
    drawn = resize_masks([rles[column] for column in columns], shown, size, flip)
    return ClipTarget(source.labels[columns], source.ids[columns], boxes, shown, drawn)


def resize_boxes(boxes_xyxy: np.ndarray, size: Geometry) -> np.ndarray:
    """float32 (..., 4) from pixels of the original to pixels of the resized frame, clipped to it (width and height
    themselves can occur).
    """
    height, width = size.resized_hw
    limits = np.array([width, height, width, height], np.float32)
    return np.clip(boxes_xyxy * size.scale_factor, 0, limits)


def resize_masks(rles: Sequence[Sequence[RLE | None]], shown: np.ndarray, size: Geometry, flip: bool) -> np.ndarray:
    """N tracks of T masks -> uint8 (T, N, Hp, Wp), mirrored if asked; shown: bool (T, N), the others stay empty.

    By OpenCV's nearest neighbour: source index floor(i * (1 / (new / old))), which other libraries do not share.
    """
    height, width = size.resized_hw
    out = np.zeros((*shown.shape, *size.padded_hw), np.uint8)
    for t, n in np.argwhere(shown):
        rle = rles[n][t]
        assert rle is not None
        columns = masks.decode(rle).T  # run lengths go down the columns, so that this way the rows lie in one piece
        resized = cv2.resize(columns, (height, width), interpolation=cv2.INTER_NEAREST)
        out[t, n, :height, :width] = (resized[::-1] if flip else resized).T
    return out
