"""Training data: clips drawn and augmented as the original does it, without state between draws."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor


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
class Batch:
    """The clips of a slot.

    frames: float32 (B, T, 3, H, W), normalised RGB, zero-padded on the right and bottom to the largest clip.
    sizes_hw: int64 (B, 2), resized and not padded. targets: one a clip.
    """

    frames: Tensor
    sizes_hw: Tensor
    targets: list[ClipTarget]
