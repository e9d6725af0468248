"""Filmstrips: small pictures of an error's frames, cut out round the object, with the masks of both sides.

Made when they are asked for; the last ones are kept, in memory, for everybody.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cachetools import LRUCache

from app.analysis.comparison import Comparison
from app.analysis.matches import COLOURS, difference, row_curve, tracks_above
from app.player.proxy import FrameSource, dataset_frames
from app.projects.project import Project
from tevit.masks import ops as masks
from tevit.results import RLE, Track, VideoResult

if TYPE_CHECKING:
    import numpy as np

HEIGHT, WIDTH = 96, 128  # pixels of a picture
LIMIT = 48_000_000  # bytes of pictures kept
VIDEOS = 12  # whose masks are kept: a page of errors is often of few videos
FRAMES = 5  # of a strip
_MARGIN, _LEAST = 0.35, 48  # round the object: of its larger side; the least side that is cut out, pixels
_QUALITY, _OPACITY = 80, 0.45


@dataclass(frozen=True)
class Thumbnail:
    """A picture of a filmstrip. role: "worst", "median", "best" or "" for one between."""

    frame: int
    iou: float | None
    role: str


class ThumbnailCache:
    """May be used from any thread."""

    def __init__(self, limit: int = LIMIT):
        self._pictures: LRUCache[tuple, bytes] = LRUCache(limit, getsizeof=len)
        self._videos: LRUCache[tuple, VideoResult] = LRUCache(VIDEOS)
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """Bytes of pictures kept."""
        return int(self._pictures.currsize)

    def picture(self, comparison: Comparison, index: int, frame: int) -> bytes:
        """JPEG of HEIGHT x WIDTH: one frame of a row of the table.

        Raises: IndexError for a frame that is not there; ValueError, OSError where files cannot be read.
        """
        found, project = comparison.table.record(index), comparison.project
        sides = found.truth_id, found.prediction_id
        return self.cut(project, project.model_index(found.model), found.video_id, sides, frame)

    def cut(
        self, project: Project, model: int, video_id: int, sides: tuple[int | None, int | None], frame: int
    ) -> bytes:
        """The same by ids. sides: annotation id and prediction's place in the file, None for none. Raises: the same."""
        key = (project.id, project.models[model].file.sha256, video_id, *sides, frame, str(project.frames))
        with self._lock:
            if key in self._pictures:
                return self._pictures[key]
        picture = _draw(dataset_frames(project, video_id), frame, *self._tracks(project, model, video_id, sides))
        with self._lock:
            self._pictures[key] = picture
        return picture

    def _tracks(
        self, project: Project, model: int, video_id: int, sides: tuple[int | None, int | None]
    ) -> tuple[Track | None, Track | None]:
        names = (("truth", project.id), (project.models[model].file.sha256, str(project.models[model].categories)))
        found = []
        for side, (name, id) in enumerate(zip(names, sides, strict=True)):
            result = None if id is None else self._video(project, model if side else -1, video_id, name)
            found.append(result and next((track for track in result.tracks if track.id == id), None))
        return found[0], found[1]

    def _video(self, project: Project, model: int, video_id: int, name: tuple) -> VideoResult | None:
        """model: -1 for the truths."""
        key = (*name, video_id)
        with self._lock:
            if key in self._videos:
                return self._videos[key]
        result = project.ground_truth(video_id) if model < 0 else project.predictions(model, video_id)
        if result is not None:
            with self._lock:
                self._videos[key] = result
        return result


def filmstrip_frames(comparison: Comparison, index: int, most: int = FRAMES) -> list[Thumbnail]:
    """Which frames tell a row's story: worst, median and best, and some between, in the order of time."""
    found = row_curve(comparison, index)
    named = {found.best: "best", found.median: "median", found.worst: "worst"}
    named.pop(None, None)
    frames = [frame for frame in named if frame is not None]
    more = [frame for frame in _spread(found.frames, most) if frame not in named]
    shown = sorted([*frames, *more[: max(0, most - len(frames))]])
    return [Thumbnail(frame, found.ious[frame], named.get(frame, "")) for frame in shown]


def _spread(frames: Sequence[int], count: int) -> list[int]:
    if len(frames) <= count:
        return list(frames)
    return [frames[round(i * (len(frames) - 1) / (count - 1))] for i in range(count)] if count > 1 else [frames[0]]


# --- drawing


def _draw(footage: FrameSource, frame: int, truth: Track | None, prediction: Track | None) -> bytes:
    import cv2
    import numpy as np

    data = np.frombuffer(footage.picture(frame), np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError(f"{footage.name}: frame {frame} cannot be read")
    sides = [_mask(track, frame) for track in (truth, prediction)]
    top, left, height, width = _window(sides, footage.size_hw)
    painted = _painted(picture, sides, footage.size_hw)
    ratio = picture.shape[0] / footage.size_hw[0], picture.shape[1] / footage.size_hw[1]
    rows = slice(int(top * ratio[0]), max(int((top + height) * ratio[0]), int(top * ratio[0]) + 1))
    columns = slice(int(left * ratio[1]), max(int((left + width) * ratio[1]), int(left * ratio[1]) + 1))
    small = cv2.resize(painted[rows, columns], (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()


def _mask(track: Track | None, frame: int) -> RLE | None:
    return track.rles[frame] if track is not None and frame < len(track.rles) else None


def _window(sides: Sequence[RLE | None], size_hw: tuple[int, int]) -> tuple[float, float, float, float]:
    """Top, left, height and width of what is cut out, pixels of the video, in the shape of the pictures."""
    there = [rle for rle in sides if rle is not None]
    height, width = size_hw
    x1, y1, x2, y2 = masks.to_box_xyxy(masks.union(there)).tolist() if there else (0, 0, width, height)
    margin = _MARGIN * max(x2 - x1, y2 - y1)
    tall = max(y2 - y1 + 2 * margin, (x2 - x1 + 2 * margin) * HEIGHT / WIDTH, _LEAST)
    tall, wide = min(tall, height), min(tall * WIDTH / HEIGHT, width)
    top = min(max((y1 + y2 - tall) / 2, 0), height - tall)
    left = min(max((x1 + x2 - wide) / 2, 0), width - wide)
    return top, left, tall, wide


def _painted(picture: "np.ndarray", sides: Sequence[RLE | None], size_hw: tuple[int, int]) -> "np.ndarray":
    """A copy with agreed, missed and invented pixels in their colours. picture: BGR, perhaps smaller than the video."""
    import cv2
    import numpy as np

    decoded = [np.zeros(size_hw, np.uint8) if rle is None else masks.decode(rle) for rle in sides]
    if picture.shape[:2] != size_hw:
        size = picture.shape[1], picture.shape[0]
        decoded = [cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST) for mask in decoded]
    truth, prediction = (mask.astype(bool) for mask in decoded)
    result = picture.copy()
    kinds = {"agreed": truth & prediction, "missed": truth & ~prediction, "invented": prediction & ~truth}
    for kind, where in kinds.items():
        colour = np.array(COLOURS[kind][::-1], np.float32)
        result[where] = ((1 - _OPACITY) * result[where] + _OPACITY * colour).astype(np.uint8)
    return result


def differences(project: Project, model: int, video_id: int, cutoff: float = 0.0) -> VideoResult | None:
    """The difference of a whole video, see `app.analysis.matches`; None without ground truth. Raises: ValueError."""
    truth = project.ground_truth(video_id)
    return None if truth is None else difference(truth, tracks_above(project.predictions(model, video_id), cutoff))
