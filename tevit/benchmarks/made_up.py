"""A made-up video of any length: the synthetic shapes, one scene after the other, as an H.264 file."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import count, islice
from pathlib import Path

import cv2
import numpy as np

from tevit.synthetic import dataset as shapes
from tevit.video.writer import VideoWriter

FPS = Fraction(6)


def frames(length: int, size_hw: tuple[int, int], seed: int = 0) -> Iterator[np.ndarray]:
    """uint8 (H, W, 3) RGB, one after the other, the same for the same seed."""
    scenes = (frame for index in count() for frame in shapes.video(seed, index).frames())
    for frame in islice(scenes, length):
        yield cv2.resize(frame, size_hw[::-1], interpolation=cv2.INTER_LINEAR)


def write(path: Path, length: int, size_hw: tuple[int, int]) -> Path:
    """Write such a video."""
    with VideoWriter(path, size_hw, fps=FPS) as writer:
        for index, frame in enumerate(frames(length, size_hw)):
            writer.write(frame, float(index / FPS))
    return path
