"""Videos from a pipe: what cannot go back, such as standard input."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import av
import cv2
from av import VideoFrame
from av.container import InputContainer
from av.error import FFmpegError

from tevit.video.decode import Clock, Report, ToRgb, decoded, video_stream
from tevit.video.reader import Frame, Video, picture


def open_pipe(file: BinaryIO, name: str = "stdin") -> Video:
    """A video from a stream that cannot go back, such as standard input; its frames can be had once.

    Matroska, MPEG-TS and MP4 with its index in front can be read like this.
    Raises: ValueError for what is no video, or none that can be read without going back.
    """
    path = Path(name)
    try:
        container = av.open(file, "r")
    except (FFmpegError, OSError) as error:
        raise ValueError(
            f"{name}: expected a video that can be read from a pipe (MPEG-TS, Matroska, MP4 with its index in front), "
            f"got {error.strerror or error}"
        ) from None
    stream, report = video_stream(container, path), Report()
    frames = decoded(container, stream, report)
    first = next(frames, None)
    if first is None:
        raise ValueError(f"{name}: the video holds no frame that can be decoded")
    to_rgb = ToRgb()
    size_hw = picture(path, first, to_rgb).shape[:2]
    fps, aspect = stream.average_rate or stream.guessed_rate or None, stream.sample_aspect_ratio or Fraction(1)
    found = _Pipe(name, path, size_hw, None, fps, None, pixel_aspect=aspect, container=container)
    found.coming = chain([first], frames)
    found.to_rgb = to_rgb
    return found


@dataclass(eq=False)
class _Pipe(Video):
    container: InputContainer = field(kw_only=True)
    coming: Iterator[VideoFrame] | None = None
    to_rgb: ToRgb = field(default_factory=ToRgb)

    def frames(self) -> Iterator[Frame]:
        if self.coming is None:
            raise ValueError(f"{self.name}: a pipe can be read once only")
        coming, self.coming = self.coming, None
        clock = Clock(False, 1 / self.fps if self.fps else Fraction(1, 25))
        with closing(self.container):
            for index, frame in enumerate(coming):
                rgb = picture(self.path, frame, self.to_rgb)
                if rgb.shape[:2] != self.size_hw:
                    rgb = cv2.resize(rgb, self.size_hw[::-1], interpolation=cv2.INTER_AREA)
                yield Frame(index, clock.seconds(frame), rgb)
