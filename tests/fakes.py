"""A model without weights that really segments: red, green and blue squares on black are its three objects."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from tevit.configs import TEVIT_MSGSHIFT
from tevit.model.backbones import Pyramid
from tevit.model.tevit import StageOutput

CONFIG = replace(
    TEVIT_MSGSHIFT, name="fake", categories=((1, "red"), (2, "green"), (3, "blue")), queries=3, scale=(96, 160)
)
SURE, UNSURE = 3.0, -3.0  # logits of a square that is seen, and of everything else


class FakeModel:
    """Query q finds the square of colour q; where there is none its box is empty. Frames may be turned darker: the
    brighter a square, the higher its score."""

    config = CONFIG

    def __init__(self) -> None:
        self.clips: list[int] = []  # how many frames each call saw

    def __call__(self, frames: Tensor, sizes_hw: Tensor, chunk: int | None = None) -> list[StageOutput]:
        self.clips.append(frames.shape[1])
        logits = torch.full((1, frames.shape[1], 3, 3), UNSURE)
        boxes = torch.zeros(1, frames.shape[1], 3, 4)
        for t, frame in enumerate(frames[0]):
            for query in range(3):
                pixels = self._object_mask(frame, query).nonzero()
                if len(pixels):
                    (top, left), (bottom, right) = pixels.min(0).values, pixels.max(0).values + 1
                    boxes[0, t, query] = torch.tensor([left, top, right, bottom])
                    logits[0, t, query, query] = SURE
        features = torch.zeros(1, frames.shape[1], 3, 1)
        pyramid = Pyramid.from_maps([torch.zeros(frames.shape[1], 1, 1, 1)])
        return [StageOutput(logits, boxes, features, features, pyramid)]

    def mask_logits(self, output: StageOutput, rows: Tensor, labels: Tensor, stage: int = -1) -> Tensor:
        boxes = output.boxes_xyxy.flatten(0, 2)[rows]
        seen = (boxes[:, 2:] > boxes[:, :2]).all(1)
        return torch.where(seen, 9.0, -9.0)[:, None, None].expand(-1, 28, 28)

    def _object_mask(self, frame: Tensor, query: int) -> Tensor:
        others = [channel for channel in range(3) if channel != query]
        return (frame[query] > 0.5) & (frame[others] < 0.5).all(0)


def squares(length: int, size_hw: tuple[int, int], paths) -> np.ndarray:
    """uint8 RGB (T, H, W, 3). paths: for each colour a function frame -> (x, y) of a 12-pixel square, or None."""
    video = np.zeros((length, *size_hw, 3), np.uint8)
    for t in range(length):
        for colour, path in enumerate(paths):
            at = path(t)
            if at is not None:
                video[t, at[1] : at[1] + 12, at[0] : at[0] + 12, colour] = 255
    return video


def write_frames(folder: Path, video: np.ndarray) -> Path:
    """The frames as PNG files, named by their number."""
    folder.mkdir(parents=True, exist_ok=True)
    for t, frame in enumerate(video):
        cv2.imwrite(str(folder / f"{t:05d}.png"), frame[..., ::-1])
    return folder
