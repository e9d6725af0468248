"""Paths of the frames of a data set's video on disk."""

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol

SPLITS = ("train", "valid", "val", "test")
FOLDERS = (".", "JPEGImages", "images", *(f"{split}{inner}" for split in SPLITS for inner in ("/JPEGImages", "")))
"""Where video folders lie below a data set's folder, as `find_frames` tries them."""


class VideoEntry(Protocol):
    """A video as listed in a data set."""

    @property
    def name(self) -> str:
        """For messages."""
        ...

    @property
    def file_names(self) -> Sequence[str]:
        """One per frame, "/" between folders."""
        ...


def find_frames(video: VideoEntry, root: str | os.PathLike, hint: str = "") -> list[Path]:
    """The files of a video's frames below `root`, in the video's order; some of them may not exist.

    root: the data's folder (<root>/<split>/JPEGImages/<video>/<frame>.jpg or
    <root>/<split>/<video>/<frame>.jpg), a split's, the folder of the video folders, or the one with `images` of an
    export of CVAT or Datumaro. hint: the split to try first.

    Raises: FileNotFoundError where no frame exists; ValueError for a name that leaves `root`.
    """
    for name in video.file_names:
        if not inside(name):
            raise ValueError(f"video {video.name!r}: expected file names inside the frames' folder, got {name!r}")
    others = {*SPLITS} - {hint}
    for folder in sorted(FOLDERS, key=lambda folder: folder.partition("/")[0] in others):
        files = [Path(root, folder, name) for name in video.file_names]
        if any(file.is_file() for file in files):
            return files
    first = video.file_names[0] if video.file_names else "no file names"
    places = ", ".join(["JPEGImages", "images", *SPLITS])
    raise FileNotFoundError(
        f"video {video.name!r}: none of its frames ({first}, …) is in {root}, nor in {places} there"
    )


def inside(file_name: str) -> bool:
    """Whether a frame's relative file name stays inside the folder that it is relative to."""
    path = PurePosixPath(file_name)
    return not path.is_absolute() and ".." not in path.parts
