"""What the format readers share: tracks and videos from masks of single frames, names of videos for files."""

from collections.abc import Iterable, Mapping, Sequence
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


def united(masks: Sequence[FrameMask]) -> FrameMask:
    """Several parts of one track in one frame as one mask."""
    return masks[0] if len(masks) == 1 else FrameMask(ops.union([mask.rle for mask in masks]))


def make_track(
    id: int,
    category_id: int,
    length: int,
    masks: Mapping[int, Sequence[FrameMask]],
    score: float = 1.0,
    iscrowd: bool = False,
) -> Track:
    """A track of `length` frames from the masks of some of them; masks without pixels count as absent."""
    rles: list[RLE | None] = [None] * length
    boxes, areas = np.full((length, 4), np.nan, np.float32), np.zeros(length)
    for frame, parts in masks.items():
        mask = united(parts)
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
    name = f"{name}-{result.video_id}" if name in names else name
    names.add(name)
    return name


def rectangle(box_xyxy: Sequence[float], size_hw: tuple[int, int]) -> RLE:
    """The mask of a box, rounded to whole pixels and clipped to the image."""
    height, width = size_hw
    x1, y1, x2, y2 = (round(side) for side in box_xyxy)
    mask = np.zeros(size_hw, np.uint8)
    mask[max(y1, 0) : min(max(y2, 0), height), max(x1, 0) : min(max(x2, 0), width)] = 1
    return ops.encode(mask)
