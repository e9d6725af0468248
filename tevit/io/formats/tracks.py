"""What the format readers share: tracks and videos from masks of single frames, names of videos for files."""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np

from tevit.io.ytvis import FPS
from tevit.masks import ops
from tevit.results import RLE, Track, VideoResult


class FrameMask(NamedTuple):
    """One mask of one track. box_xyxy, area: as stated in the file, None: of the mask."""

    rle: RLE
    box_xyxy: np.ndarray | None = None
    area: float | None = None


def make_track(
    id: int,
    category_id: int,
    length: int,
    masks: Mapping[int, Sequence[FrameMask]],
    score: float = 1.0,
    iscrowd: bool = False,
) -> Track:
    """A track of `length` frames from the masks of some of them.

    masks: frame -> parts, which are united; a mask without pixels counts as absent.
    """
    rles: list[RLE | None] = [None] * length
    boxes, areas = np.full((length, 4), np.nan, np.float32), np.zeros(length)
    for frame, parts in masks.items():
        mask = parts[0] if len(parts) == 1 else FrameMask(ops.union([part.rle for part in parts]))
        area = float(ops.areas([mask.rle])[0])
        if not area:
            continue
        rles[frame] = mask.rle
        boxes[frame] = ops.to_box_xyxy(mask.rle) if mask.box_xyxy is None else mask.box_xyxy
        areas[frame] = area if mask.area is None else mask.area
    return Track(id, category_id, score, tuple(rles), boxes, areas, iscrowd)


def make_video(
    id: int,
    name: str,
    size_hw: tuple[int, int],
    file_names: Sequence[str],
    categories: Mapping[int, str],
    tracks: Iterable[Track],
    fps: float = FPS,
) -> VideoResult:
    """A video whose frames have file names and a constant rate."""
    times = np.arange(len(file_names)) / fps
    return VideoResult(id, name, size_hw, times, categories, tuple(tracks), tuple(file_names))


def unique_name(result: VideoResult, names: set[str]) -> str:
    """The video's name for a file or folder, with its id where another video in `names` has it; added to `names`."""
    name = result.name.replace("/", "_")
    # Neither the folder itself nor the one above.
    name = f"video {result.video_id}" if name in ("", ".", "..") else name
    while name in names:
        name = f"{name}-{result.video_id}"
    names.add(name)
    return name


def check_rate(fps: float, where: str) -> None:
    """where: what has the rate, for messages. Raises: ValueError where times by it are infinite or all the same."""
    if not 1e-3 <= fps <= 1e6:
        raise ValueError(f"{where}: expected 0.001 to 1000000 frames per second, got {fps:g}")


def frame_rate(result: VideoResult) -> float:
    """Mean frames per second by a video's times; YouTube-VIS' rate where there is only one frame."""
    return float((result.length - 1) / result.times[-1]) if result.length > 1 else FPS


def rectangle(box_xyxy: Sequence[float], size_hw: tuple[int, int]) -> RLE:
    """The mask of a box, rounded to whole pixels and clipped to the image."""
    height, width = size_hw
    x1, y1, x2, y2 = (round(side) for side in box_xyxy)
    mask = np.zeros(size_hw, np.uint8)
    mask[max(y1, 0) : min(max(y2, 0), height), max(x1, 0) : min(max(x2, 0), width)] = 1
    return ops.encode(mask)


def image_index(names: Iterable[str]) -> dict[str, str]:
    """Names of files by themselves and by their names without suffix, for `find_image`."""
    keys = [(unicodedata.normalize("NFC", name), name) for name in names]  # macOS stores letters and accents apart
    return {str(PurePosixPath(key).with_suffix("")): name for key, name in keys} | dict(keys)


def find_image(index: Mapping[str, str], folder: str, subset: str, name: str) -> str | None:
    """The place of an image among the files of an export of CVAT or Datumaro, relative to its folder `images`.

    folder: of the annotations' task. name: with or without suffix (CVAT states none for frames of a video).
    """
    for inner in (f"images/{subset}", "images", subset, ""):
        place = "/".join(part for part in (folder, inner.rstrip("/"), name) if part)
        if (key := unicodedata.normalize("NFC", place)) in index:
            return index[key].removeprefix("images/")
    return None
