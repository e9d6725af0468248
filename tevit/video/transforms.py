"""From a frame to the network's input: resize, normalise, pad; and the factor that takes boxes back; and hard cuts."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from tevit.video.reader import Frame

SCALE_RANGE = (32, 4096)
STRIDE = 32


@dataclass(frozen=True, eq=False)
class Geometry:
    """How a frame becomes the network's input: all sizes as (height, width) in pixels.

    original_hw: the frame. resized_hw: after the resize that keeps the ratio. padded_hw: with zeros on the right and
    at the bottom, multiples of 32. scale_factor: float32 (4,), new_w / w, new_h / h, and the same again: multiplies
    xyxy boxes of the original frame to those of the resized one. The two differ a little, since sizes are whole.
    """

    original_hw: tuple[int, int]
    resized_hw: tuple[int, int]
    padded_hw: tuple[int, int]
    scale_factor: np.ndarray


def geometry(size_hw: tuple[int, int], scale: tuple[int, int] = (360, 640)) -> Geometry:
    """The sizes for frames of `size_hw` pixels; `scale` bounds the short and the long side, in either order.

    Small frames are enlarged. A side becomes int(side * ratio + 0.5): halves are rounded up.
    Raises: ValueError for a bound outside 32..4096, or if a side would vanish.
    Source: mmcv 1.4.8 `rescale_size` and mmdetection's `Resize` and `Pad`, as recorded from the original.
    """
    short, long = min(scale), max(scale)
    low, high = SCALE_RANGE
    if not low <= short <= long <= high:
        raise ValueError(f"scale: expected two bounds between {low} and {high} pixels, got {scale[0]}x{scale[1]}")
    height, width = size_hw
    ratio = min(long / max(height, width), short / min(height, width))
    new_h, new_w = int(height * ratio + 0.5), int(width * ratio + 0.5)
    if min(new_h, new_w) < 1:
        raise ValueError(
            f"frames of {height}x{width} are too narrow: at scale {short}x{long} nothing of a side is left"
        )
    factor = np.array([new_w / width, new_h / height] * 2, np.float32)
    padded_h, padded_w = (-(-side // STRIDE) * STRIDE for side in (new_h, new_w))
    return Geometry((height, width), (new_h, new_w), (padded_h, padded_w), factor)


def preprocess(frame_rgb: np.ndarray, geometry: Geometry) -> np.ndarray:
    """uint8 RGB (H, W, 3) -> float32 (3, Hp, Wp): resized, normalised, zero-padded right and below.
    Raises: ValueError if the frame is not uint8 of the geometry's size.
    Source: the test pipeline of the original's configurations; equal to it bit for bit.
    """
    expected = (*geometry.original_hw, 3)
    if frame_rgb.shape != expected or frame_rgb.dtype != np.uint8:
        raise ValueError(f"expected a uint8 frame of {expected}, got {frame_rgb.dtype} of {frame_rgb.shape}")
    height, width = geometry.resized_hw
    # OpenCV's bilinear resize on 8 bit, without antialiasing: others differ by a grey level, which moves boxes by
    # pixels.
    resized = cv2.resize(frame_rgb, (width, height), interpolation=cv2.INTER_LINEAR)
    out = np.zeros((3, *geometry.padded_hw), np.float32)
    for channel, levels in enumerate(normalised_levels()):
        out[channel, :height, :width] = levels[resized[..., channel]]
    return out


def normalised_levels() -> np.ndarray:
    """float32 (3, 256): the normalised value of each of the levels 0..255 in R, G and B.

    Mean and standard deviation are float32 numbers; each step is float64 rounded to float32, as in the original.
    """
    mean = np.array([[123.675], [116.28], [103.53]], np.float32).astype(np.float64)
    inverse = 1 / np.array([[58.395], [57.12], [57.375]], np.float32).astype(np.float64)
    centred = (np.arange(256) - mean).astype(np.float32)
    return (centred * inverse).astype(np.float32)


MIN_CHANGE = 0.25  # change of a frame that may begin a scene
MIN_RATIO = 3  # to the changes of the frames near it; below, it is fast motion, a flash or noise
NEAR = 2  # frames before and after that count as near
MIN_DIFFERENCE, MIN_AREA = 16, 0.5  # levels by which half of the frame must differ: an object that jumps is no cut
_SAMPLED_SIZE, _THUMBNAIL_SIZE = (256, 144), (32, 18)  # width, height


def mark_cuts(frames: Iterable[Frame]) -> Iterator[tuple[Frame, bool]]:
    """Every frame, and whether a scene begins with it; `NEAR` frames late."""
    changes = deque([0.0] * NEAR, maxlen=2 * NEAR + 1)
    waiting = deque[tuple[Frame, bool]]()
    before: np.ndarray | None = None

    def decided() -> tuple[Frame, bool]:
        frame, differs = waiting.popleft()
        near = [change for place, change in enumerate(changes) if place != NEAR]
        return frame, differs and changes[NEAR] >= MIN_CHANGE and changes[NEAR] >= MIN_RATIO * max(near)

    for frame in frames:
        small = _thumbnail(frame.rgb)
        changes.append(0.0 if before is None else _change(before, small))
        differing = 0.0 if before is None else float((np.abs(small - before).max(1) > MIN_DIFFERENCE).mean())
        waiting.append((frame, differing >= MIN_AREA))
        before = small
        if len(waiting) > NEAR:
            yield decided()
    while waiting:
        changes.append(0.0)
        if len(changes) == changes.maxlen:
            yield decided()


def _thumbnail(rgb: np.ndarray) -> np.ndarray:
    """float32 (18 * 32, 3) of mean 0. rgb: uint8 (H, W, 3)."""
    # Sampling a large frame first takes a tenth of the time.
    sampled = cv2.resize(rgb, _SAMPLED_SIZE, interpolation=cv2.INTER_NEAREST)
    small = cv2.resize(sampled, _THUMBNAIL_SIZE, interpolation=cv2.INTER_AREA).reshape(-1, 3).astype(np.float32)
    return small - small.mean(0)


def _change(before: np.ndarray, after: np.ndarray) -> float:
    """1 - the correlation of two thumbnails: 0 for equal ones up to brightness, 1 for unrelated ones; 0 if uniform."""
    norms = float(np.linalg.norm(before) * np.linalg.norm(after))
    return 1 - float((before * after).sum()) / norms if norms else 0.0
