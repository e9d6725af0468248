"""Pictures of a data set's video, and grey ones in the place of those that are not there."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from app.player import component as player
from app.player import proxy as footage
from app.projects.allowed import Allowed
from tevit.io.frames import find_frames
from tevit.io.ytvis import FPS, VideoInfo

GREY = 96  # of 255: coloured masks are seen well on it, in the light and in the dark


@dataclass(frozen=True, eq=False)
class PlaceholderFrames:
    """A video of which some or all pictures are missing. reason: a sentence for people. files: of the first frames."""

    name: str
    size_hw: tuple[int, int]
    times: tuple[float, ...]
    reason: str
    files: tuple[Path, ...] = ()
    pixel_aspect: float = 1.0

    @property
    def shown_hw(self) -> tuple[int, int]:
        """Height and width of what is shown."""
        return footage.shown_size(self.size_hw)

    @property
    def video(self) -> Path | None:
        """There is no file that browsers play."""
        return None

    @property
    def warnings(self) -> Sequence[str]:
        """Why pictures are grey."""
        return (self.reason,)

    def picture(self, index: int) -> bytes:
        """A frame as JPEG, grey where its file is not there. Raises: IndexError for a frame that is not there."""
        if not 0 <= index < len(self.times):
            raise IndexError(f"{self.name}: expected a frame from 0 to {len(self.times) - 1}, got {index}")
        if index < len(self.files) and self.files[index].is_file():
            here = footage.BrowserVideo(self.name, self.size_hw, self.times, files=self.files)
            return here.picture(index)
        return _grey(self.shown_hw)


@lru_cache(maxsize=16)
def _grey(size_hw: tuple[int, int]) -> bytes:
    import cv2
    import numpy as np

    return cv2.imencode(".jpg", np.full((*size_hw, 3), GREY, np.uint8))[1].tobytes()


def picture_of(info: VideoInfo, root: Path | None, hint: str, within: Allowed | None = None) -> player.FrameSource:
    """A video's frames below `root`, at the 6 frames a second of YouTube-VIS; PlaceholderFrames where any is missing.

    hint: the split to look in first. within: where files may lie, None: anywhere. Raises: ValueError for a video
    without frames.
    """
    if info.length < 1:
        raise ValueError(f"video {info.name!r} has no frames")
    times = tuple(index / FPS for index in range(info.length))
    files, reason = _found(info, root, hint)
    if within is not None and not all(map(within.holds, files)):
        files, reason = (), f"Frames of {info.name!r} lead out of the allowed folders: masks are shown on grey."
    if reason:
        return PlaceholderFrames(info.name, info.size_hw, times, reason, files)
    return footage.BrowserVideo(info.name, info.size_hw, times, files=files)


def _found(info: VideoInfo, root: Path | None, hint: str) -> tuple[tuple[Path, ...], str]:
    if root is None:
        return (), "No folder of frames was named, so masks are shown on grey."
    if not root.is_dir():
        return (), f"The folder of frames {root} is not there, so masks are shown on grey."
    try:
        files = tuple(find_frames(info, root, hint))
    except (FileNotFoundError, ValueError) as error:
        return (), f"{str(error)[:1].upper()}{str(error)[1:]}; masks are shown on grey."
    return files, _complaint(info, files)


def _complaint(info: VideoInfo, files: Sequence[Path]) -> str:
    if len(files) != info.length:
        return f"Video {info.name!r}: expected {info.length} names of frames, got {len(files)}; the others are grey."
    missing = [file.name for file in files if not os.path.isfile(file)]
    return f"{len(missing)} of {len(files)} frames are missing ({missing[0]}, …) and shown grey." if missing else ""
