"""Ten minutes of 720p, made of the sample clips: for tests of whole programs on a long video."""

from itertools import chain, cycle, islice
from pathlib import Path

import cv2

from tevit.encode import VideoWriter
from tevit.video import open_video

CLIPS = Path(__file__).resolve().parents[1] / "assets" / "clips"
SIZE_HW = (720, 1280)


def write_ten_minutes(path: Path) -> int:
    """Write it; how many frames it has."""
    clips = [open_video(clip) for clip in sorted(CLIPS.glob("*.mp4"))]
    fps = clips[0].fps
    assert fps is not None
    length = int(600 * fps)
    frames = islice(chain.from_iterable(clip.frames() for clip in cycle(clips)), length)
    with VideoWriter(path, SIZE_HW, fps=fps) as writer:
        for index, frame in enumerate(frames):
            writer.write(cv2.resize(frame.rgb, SIZE_HW[::-1]), float(index / fps))
    return length
