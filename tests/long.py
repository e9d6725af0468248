"""Long videos made of the sample clips, again and again: for tests of whole programs."""

from collections.abc import Iterator
from itertools import chain, cycle, islice
from pathlib import Path

import cv2
import numpy as np

from tevit.video.overlay import VideoWriter
from tevit.video.reader import Video, open_video

CLIPS = Path(__file__).resolve().parents[1] / "assets" / "clips"
SIZE_HW = (720, 1280)


def clips() -> list[Video]:
    """The sample clips, opened; all of one size and rate."""
    return [open_video(clip) for clip in sorted(CLIPS.glob("*.mp4"))]


def again_and_again(length: int) -> Iterator[np.ndarray]:
    """Their frames, uint8 RGB (H, W, 3), from the beginning after the last one: so many."""
    frames = chain.from_iterable(clip.frames() for clip in cycle(clips()))
    return (frame.rgb for frame in islice(frames, length))


def write_ten_minutes(path: Path) -> int:
    """Ten minutes of 720p; how many frames they have."""
    fps = clips()[0].fps
    assert fps is not None
    length = int(600 * fps)
    with VideoWriter(path, SIZE_HW, fps=fps) as writer:
        for index, rgb in enumerate(again_and_again(length)):
            writer.write(cv2.resize(rgb, SIZE_HW[::-1]), float(index / fps))
    return length
