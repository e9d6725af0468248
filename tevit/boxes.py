"""Operations on boxes as in torchvision.ops, in numpy: arrays (..., 4), pixels, NaN where there is no box."""

import math

import numpy as np


def xywh_to_xyxy(boxes_xywh: np.ndarray) -> np.ndarray:
    """Boxes x, y, width, height as x1, y1, x2, y2; shape and dtype stay."""
    return np.concatenate([boxes_xywh[..., :2], boxes_xywh[..., :2] + boxes_xywh[..., 2:]], axis=-1)


def xyxy_to_xywh(boxes_xyxy: np.ndarray) -> np.ndarray:
    """Boxes x1, y1, x2, y2 as x, y, width, height; shape and dtype stay."""
    return np.concatenate([boxes_xyxy[..., :2], boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]], axis=-1)


def to_json(boxes_xyxy: np.ndarray) -> list[list[float] | None]:
    """Boxes (N, 4) as data sets write them: x, y, width, height, null where a side is NaN."""
    xywh = xyxy_to_xywh(boxes_xyxy.astype(np.float64))
    return [None if any(map(math.isnan, box)) else box for box in xywh.tolist()]
