"""From a frame to the network's input: resize, normalise, pad; and the factor that takes boxes back."""

from dataclasses import dataclass

import cv2
import numpy as np

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
