"""Track and VideoResult: the result type of predictions and of ground truth.

Arrays are numpy, masks run-length encoded; coordinates are pixels, times seconds of the original video.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import numpy as np

from tevit.io.files import atomic, write_rows

if TYPE_CHECKING:
    import pandas
    import supervision
    from PIL.Image import Image

    from tevit.display import DrawOptions
    from tevit.video.reader import Video


class RLE(TypedDict):
    """A binary mask as COCO's compressed run lengths: `size` [height, width], `counts` COCO's text as bytes."""

    size: list[int]
    counts: bytes


@dataclass(frozen=True, eq=False, repr=False)
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

    def __repr__(self) -> str:
        frames = f"{int(self.present.sum())} of {len(self.rles)} frames"
        return f"Track({self.id}, category {self.category_id}, score {self.score:.2f}, {frames})"

    @property
    def present(self) -> np.ndarray:
        """bool (T,): the frames in which the object is present."""
        return np.array([rle is not None for rle in self.rles], bool)


@dataclass(frozen=True, eq=False, repr=False)
class VideoResult:
    """All tracks of one video.

    size_hw: height and width of the original frames, pixels. times: float64 (T,), seconds from the start of the
    video, strictly increasing. categories: category id -> name. file_names: T names for an image folder, else empty.
    source: the video, which `draw` and `save` decode again; None where it is not known.
    """

    video_id: int
    name: str
    size_hw: tuple[int, int]
    times: np.ndarray
    categories: Mapping[int, str]
    tracks: tuple[Track, ...]
    file_names: tuple[str, ...] = ()
    source: "Video | None" = None

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

    def __repr__(self) -> str:
        height, width = self.size_hw
        return f"VideoResult({self.name!r}, {self.length} frames of {width}x{height}, {len(self.tracks)} tracks)"

    def _repr_html_(self) -> str:
        from tevit.display import video_html

        return video_html(self)

    @property
    def length(self) -> int:
        """Number of frames T."""
        return len(self.times)

    def category_name(self, category_id: int) -> str:
        """The name of a category, "class <id>" where it has none."""
        return self.categories.get(category_id, f"class {category_id}")

    def check_frame(self, frame: int) -> None:
        """Raises: ValueError for a frame that the video does not have."""
        if not 0 <= frame < self.length:
            raise ValueError(f"video {self.name!r}: expected a frame from 0 to {self.length - 1}, got {frame}")

    def masks(self, frame: int) -> np.ndarray:
        """bool (N, H, W): the masks of all N tracks in a frame, in the order of `tracks`; empty where one is absent."""
        from tevit.masks import ops

        self.check_frame(frame)
        result = np.zeros((len(self.tracks), *self.size_hw), bool)
        for mask, track in zip(result, self.tracks, strict=True):
            rle = track.rles[frame]
            if rle is not None:
                mask[:] = ops.decode(rle)
        return result

    def draw(
        self, frame: int, picture: "np.ndarray | Image | None" = None, **options: "Unpack[DrawOptions]"
    ) -> np.ndarray:
        """uint8 RGB (H, W, 3): a frame with masks, contours and labels on it.

        picture: the frame; by default it is decoded from `source`, and grey without one. options: see `DrawOptions`.
        Raises: ValueError for a frame that the video does not have, or a picture of another size.
        """
        from tevit.display import draw

        return draw(self, frame, picture, **options)

    def draw_pil(
        self, frame: int, picture: "np.ndarray | Image | None" = None, **options: "Unpack[DrawOptions]"
    ) -> "Image":
        """The same as a PIL image."""
        from PIL import Image

        return Image.fromarray(self.draw(frame, picture, **options))

    def save(self, folder: str | os.PathLike) -> list[Path]:
        """Write results.json (YouTube-VIS submission), tracks.csv and, where `source` is known, overlay.mp4.

        Returns the files. Raises: OSError; no file is incomplete.
        """
        from tevit.io.ytvis import RESULTS_NAME, write_results

        files = [Path(folder) / RESULTS_NAME, Path(folder) / "tracks.csv"]
        write_results(files[0], [self])
        write_csv(self, files[1])
        if self.source is not None:
            from tevit.video.overlay import write_overlay

            files.append(Path(folder) / "overlay.mp4")
            write_overlay(self.source, self, files[2])
        return files

    def to_records(self) -> list[dict[str, Any]]:
        """A record for each track and frame in which it is present, track by track; keys: CSV_COLUMNS.

        frame: from 0. time: seconds. x1, y1, x2, y2: pixels, NaN without a box. area: pixels.
        """
        return list(_records(self))

    def to_dataframe(self) -> "pandas.DataFrame":
        """`to_records` as a table; pandas must be installed."""
        import pandas

        return pandas.DataFrame(self.to_records(), columns=list(CSV_COLUMNS))

    def to_supervision(self, frame: int) -> "supervision.Detections":
        """The tracks that are present in a frame; supervision must be installed.

        tracker_id: track ids. class_id: category ids, their names in `data["class_name"]`. confidence: track scores.
        """
        import supervision

        from tevit.masks import ops

        masks = self.masks(frame)
        present = [i for i, track in enumerate(self.tracks) if track.rles[frame] is not None]
        tracks = [self.tracks[i] for i in present]
        return supervision.Detections(
            xyxy=ops.to_boxes_xyxy([track.rles[frame] for track in tracks]),
            mask=masks[present],
            confidence=np.array([track.score for track in tracks], np.float32),
            class_id=np.array([track.category_id for track in tracks], int),
            tracker_id=np.array([track.id for track in tracks], int),
            data={"class_name": np.array([self.category_name(track.category_id) for track in tracks], str)},
        )


CSV_COLUMNS = (
    *("video", "track", "category_id", "category", "score", "frame", "time"),
    *("x1", "y1", "x2", "y2", "area"),
)
_NUMBER_FORMATS = {"score": ".6g", "time": ".6f", "area": ".15g"}


@dataclass(frozen=True, eq=False)
class WindowResult:
    """The new frames of one window.

    first: index of its first frame. times: seconds, of its frames. tracks: over these frames alone, with the ids of
    the video's tracks and this window's score and class. clip_length: frames that the model received, known ones
    included. whole: the window began with the video.
    """

    first: int
    times: list[float]
    tracks: tuple[Track, ...]
    clip_length: int
    whole: bool = False


def absent_track(id: int, category_id: int, score: float, length: int) -> Track:
    """A track that is absent in all of `length` frames."""
    boxes, frame_scores = np.full((length, 4), np.nan, np.float32), np.full(length, np.nan, np.float32)
    return Track(id, category_id, score, (None,) * length, boxes, np.zeros(length), frame_scores=frame_scores)


def _records(result: VideoResult, first: int = 0) -> Iterator[dict[str, Any]]:
    """See `VideoResult.to_records`. first: number of the first frame."""
    for track in result.tracks:
        named = {"video": result.name, "track": track.id, "category_id": track.category_id}
        named |= {"category": result.categories.get(track.category_id, ""), "score": float(track.score)}
        for frame in np.flatnonzero(track.present).tolist():
            box = dict(zip(("x1", "y1", "x2", "y2"), track.boxes_xyxy[frame].tolist(), strict=True))
            times = {"frame": first + frame, "time": float(result.times[frame])}
            yield named | times | box | {"area": float(track.areas[frame])}


def write_csv(result: VideoResult | Iterable[VideoResult], path: str | os.PathLike) -> None:
    """Write a table with one row for each track and frame in which it is present, track by track.

    result: a video, or consecutive segments of one, whose rows are then written segment by segment.
    Columns: frame from 0; time in seconds; x1, y1, x2, y2 in pixels of the original video, empty if there is no box;
    area in pixels; category, empty if the id has no name.
    """
    segments = [result] if isinstance(result, VideoResult) else result
    with atomic(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        write_rows(file, CSV_COLUMNS, _csv_rows(segments))


def _csv_rows(segments: Iterable[VideoResult]) -> Iterator[Iterable[object]]:
    first = 0
    for segment in segments:
        for record in _records(segment, first):
            texts = {side: f"{record[side]:.2f}" if np.isfinite(record[side]) else None for side in CSV_COLUMNS[7:11]}
            texts |= {name: f"{record[name]:{form}}" for name, form in _NUMBER_FORMATS.items()}
            yield (record | texts).values()
        first += segment.length
