"""Filmstrips: thumbnails of an error's frames, cropped around the object, with the masks of both sides.

Drawn on request; the last ones are cached in memory for all pages.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cachetools import LRUCache

from tevit.masks import ops as masks
from tevit.results import RLE, Track, VideoResult

from ..player.proxy import FrameSource, dataset_frames
from ..projects.project import Project
from .comparison import Comparison
from .matches import COLOURS, difference, row_curve, tracks_above

if TYPE_CHECKING:
    import numpy as np

HEIGHT, WIDTH = 96, 128  # pixels
LIMIT = 48_000_000  # bytes of thumbnails in the cache
MAX_VIDEOS = 12  # whose masks are cached: a page of errors is often of few videos
MAX_FRAMES = 5  # of a filmstrip
_MARGIN, _MIN_HEIGHT = 0.35, 48  # of the crop: around the object, of its larger side; the least height, pixels
_QUALITY, _OPACITY = 80, 0.45


@dataclass(frozen=True)
class Thumbnail:
    """One frame of a filmstrip. role: "worst", "median", "best" or "" for one between."""

    frame: int
    iou: float | None
    role: str


class ThumbnailCache:
    """Thumbnails as JPEG; safe to use from any thread. limit: bytes."""

    def __init__(self, limit: int = LIMIT):
        self._thumbnails: LRUCache[tuple, bytes] = LRUCache(limit, getsizeof=len)
        self._videos: LRUCache[tuple, VideoResult] = LRUCache(MAX_VIDEOS)
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """Bytes in use."""
        return int(self._thumbnails.currsize)

    def picture(self, comparison: Comparison, index: int, frame: int) -> bytes:
        """JPEG of HEIGHT x WIDTH: one frame of a row of the error table.

        Raises: IndexError for a frame that does not exist; ValueError, OSError where files cannot be read.
        """
        record, project = comparison.table.record(index), comparison.project
        sides = record.truth_id, record.prediction_id
        return self.cut(project, project.model_index(record.model), record.video_id, sides, frame)

    def cut(
        self, project: Project, model: int, video_id: int, sides: tuple[int | None, int | None], frame: int
    ) -> bytes:
        """The same by ids. sides: annotation id and prediction's place in the file, None for none. Raises: the same."""
        key = (project.id, project.models[model].file.sha256, video_id, *sides, frame, str(project.frames))
        with self._lock:
            if key in self._thumbnails:
                return self._thumbnails[key]
        file = project.models[model]
        sources = (
            (("truth", project.id, video_id), lambda: project.ground_truth(video_id)),
            ((file.file.sha256, str(file.categories), video_id), lambda: project.predictions(model, video_id)),
        )
        tracks: list[Track | None] = []
        for id, (name, load) in zip(sides, sources, strict=True):
            video = None if id is None else self._video(name, load)
            tracks.append(None if video is None else next((track for track in video.tracks if track.id == id), None))
        jpeg = _draw(dataset_frames(project, video_id), frame, tracks)
        with self._lock:
            self._thumbnails[key] = jpeg
        return jpeg

    def _video(self, key: tuple, load: Callable[[], VideoResult | None]) -> VideoResult | None:
        with self._lock:
            if key in self._videos:
                return self._videos[key]
        result = load()
        if result is not None:
            with self._lock:
                self._videos[key] = result
        return result


def filmstrip_frames(comparison: Comparison, index: int, count: int = MAX_FRAMES) -> list[Thumbnail]:
    """The frames of a row of the error table: worst, median, best and some between, in temporal order."""
    curve = row_curve(comparison, index)
    roles = {curve.best: "best", curve.median: "median", curve.worst: "worst"}
    named = [frame for frame in roles if frame is not None]
    spread = list(curve.frames)
    if len(spread) > count:
        last = len(spread) - 1
        spread = [spread[round(i * last / (count - 1))] for i in range(count)] if count > 1 else spread[:1]
    between = [frame for frame in spread if frame not in named]
    shown = sorted([*named, *between[: max(0, count - len(named))]])
    return [Thumbnail(frame, curve.ious[frame], roles.get(frame, "")) for frame in shown]


# --- drawing


def _draw(frames: FrameSource, frame: int, tracks: Sequence[Track | None]) -> bytes:
    """tracks: of the ground truth and the prediction."""
    import cv2
    import numpy as np

    picture = cv2.imdecode(np.frombuffer(frames.picture(frame), np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError(f"{frames.name}: frame {frame} cannot be read")
    rles = [track.rles[frame] if track is not None and frame < len(track.rles) else None for track in tracks]
    top, left, height, width = _crop(rles, frames.size_hw)
    painted = _paint(picture, rles, frames.size_hw)
    ratio = picture.shape[0] / frames.size_hw[0], picture.shape[1] / frames.size_hw[1]
    rows = slice(int(top * ratio[0]), max(int((top + height) * ratio[0]), int(top * ratio[0]) + 1))
    columns = slice(int(left * ratio[1]), max(int((left + width) * ratio[1]), int(left * ratio[1]) + 1))
    small = cv2.resize(painted[rows, columns], (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()


def _crop(rles: Sequence[RLE | None], size_hw: tuple[int, int]) -> tuple[float, float, float, float]:
    """Top, left, height and width of the crop, pixels of the video, in the thumbnail's aspect ratio."""
    present = [rle for rle in rles if rle is not None]
    height, width = size_hw
    x1, y1, x2, y2 = masks.to_box_xyxy(masks.union(present)).tolist() if present else (0, 0, width, height)
    margin = _MARGIN * max(x2 - x1, y2 - y1)
    crop_height = max(y2 - y1 + 2 * margin, (x2 - x1 + 2 * margin) * HEIGHT / WIDTH, _MIN_HEIGHT)
    crop_height = min(crop_height, height)
    crop_width = min(crop_height * WIDTH / HEIGHT, width)
    top = min(max((y1 + y2 - crop_height) / 2, 0), height - crop_height)
    left = min(max((x1 + x2 - crop_width) / 2, 0), width - crop_width)
    return top, left, crop_height, crop_width


def _paint(picture: "np.ndarray", rles: Sequence[RLE | None], size_hw: tuple[int, int]) -> "np.ndarray":
    """A copy with agreed, missed and invented pixels in their colours. picture: BGR, at most the video's size."""
    import cv2
    import numpy as np

    decoded = [np.zeros(size_hw, np.uint8) if rle is None else masks.decode(rle) for rle in rles]
    if picture.shape[:2] != size_hw:
        size = picture.shape[1], picture.shape[0]
        decoded = [cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST) for mask in decoded]
    truth, prediction = (mask.astype(bool) for mask in decoded)
    result = picture.copy()
    kinds = {"agreed": truth & prediction, "missed": truth & ~prediction, "invented": prediction & ~truth}
    for kind, pixels in kinds.items():
        colour = np.array(COLOURS[kind][::-1], np.float32)
        result[pixels] = ((1 - _OPACITY) * result[pixels] + _OPACITY * colour).astype(np.uint8)
    return result


def differences(project: Project, model: int, video_id: int, cutoff: float = 0.0) -> VideoResult | None:
    """The difference of a whole video, see `app.analysis.matches`; None without ground truth. Raises: ValueError."""
    truth = project.ground_truth(video_id)
    return None if truth is None else difference(truth, tracks_above(project.predictions(model, video_id), cutoff))
