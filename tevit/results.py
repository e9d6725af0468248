"""Track and VideoResult: the result type of predictions and of ground truth.

Arrays are numpy, masks run-length encoded; coordinates are pixels, times seconds of the original video.
"""

import csv
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from tevit.io.files import atomic


class RLE(TypedDict):
    """A binary mask as COCO's compressed run lengths: `size` [height, width], `counts` COCO's text as bytes."""

    size: list[int]
    counts: bytes


@dataclass(frozen=True, eq=False)
class Track:
    """One object over all T frames of a video.

    id: identity inside the video. score: probability in [0, 1], 1.0 for ground truth.
    rles: T masks of the video's size; None where the object is absent (never a mask without pixels).
    boxes_xyxy: float32 (T, 4), pixels of the original video, NaN where there is no box.
    areas: float64 (T,), pixels, 0 where absent; of ground truth the file's values, which the official metric uses, else
        those of the masks.
    frame_scores: float32 (T,), probability of the class in each frame, whose mean is the score; None if unknown.
    """

    id: int
    category_id: int
    score: float
    rles: tuple[RLE | None, ...]
    boxes_xyxy: np.ndarray
    areas: np.ndarray
    iscrowd: bool = False
    frame_scores: np.ndarray | None = None

    def __post_init__(self) -> None:
        length = len(self.rles)
        if self.boxes_xyxy.shape != (length, 4):
            raise ValueError(f"track {self.id}: expected boxes of shape ({length}, 4), got {self.boxes_xyxy.shape}")
        if self.areas.shape != (length,):
            raise ValueError(f"track {self.id}: expected {length} areas, got shape {self.areas.shape}")
        if self.frame_scores is not None and self.frame_scores.shape != (length,):
            raise ValueError(f"track {self.id}: expected {length} frame scores, got {self.frame_scores.shape}")
        if not np.isfinite(self.score):
            raise ValueError(f"track {self.id}: expected a finite score, got {self.score}")

    @property
    def present(self) -> np.ndarray:
        """bool (T,): the frames in which the object is present."""
        return np.array([rle is not None for rle in self.rles], bool)


@dataclass(frozen=True, eq=False)
class VideoResult:
    """All tracks of one video.

    size_hw: height and width of the original frames, pixels. times: float64 (T,), seconds from the start of the
    video, strictly increasing. categories: category id -> name. file_names: T names for an image folder, else empty.
    """

    video_id: int
    name: str
    size_hw: tuple[int, int]
    times: np.ndarray
    categories: Mapping[int, str]
    tracks: tuple[Track, ...]
    file_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for track in self.tracks:
            if len(track.rles) != self.length:
                raise ValueError(
                    f"video {self.name!r}, track {track.id}: expected {self.length} frames, got {len(track.rles)}"
                )
            for frame, rle in enumerate(track.rles):
                if rle is not None and tuple(rle["size"]) != self.size_hw:
                    raise ValueError(
                        f"video {self.name!r}, track {track.id}, frame {frame}: expected a mask of "
                        f"{self.size_hw}, got {tuple(rle['size'])}"
                    )

    @property
    def length(self) -> int:
        """Number of frames T."""
        return len(self.times)


CSV_COLUMNS = (
    *("video", "track", "category_id", "category", "score", "frame", "time"),
    *("x1", "y1", "x2", "y2", "area"),
)


def write_csv(result: VideoResult | Iterable[VideoResult], path: str | os.PathLike) -> None:
    """Write a table with one row for each track and frame in which it is present, track by track.

    result: a video, or consecutive segments of one, whose rows are then written segment by segment.
    Columns: frame from 0; time in seconds; x1, y1, x2, y2 in pixels of the original video, empty if there is no box;
    area in pixels; category, empty if the id has no name.
    """
    first = 0
    with atomic(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(CSV_COLUMNS)
        for segment in [result] if isinstance(result, VideoResult) else result:
            for track in segment.tracks:
                category = segment.categories.get(track.category_id, "")
                columns = [segment.name, track.id, track.category_id, category, f"{track.score:.6g}"]
                for frame in np.flatnonzero(track.present):
                    box = [f"{side:.2f}" if np.isfinite(side) else "" for side in track.boxes_xyxy[frame]]
                    time, area = f"{segment.times[frame]:.6f}", f"{track.areas[frame]:.15g}"
                    table.writerow([*columns, first + frame, time, *box, area])
            first += segment.length
