"""Filmstrips: thumbnails of an error's frames, cropped around the object, with the masks of both sides.

Drawn on request; the last ones are cached in memory for all pages.
"""

import threading
from collections.abc import Callable, Sequence

from cachetools import LRUCache

from tevit.evaluation.filmstrip import MAX_FRAMES, Thumbnail, choose_frames, draw_thumbnail
from tevit.results import RLE, Track, VideoResult

from ..isolation import isolated
from ..player.proxy import dataset_frames
from ..projects.project import Project
from .comparison import Comparison
from .matches import difference, row_curve, tracks_above

LIMIT = 48_000_000  # bytes of thumbnails in the cache
MAX_VIDEOS = 12  # whose masks are cached: a page of errors is often of few videos


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
        frames = dataset_frames(project, video_id)
        rles = [track.rles[frame] if track is not None and frame < len(track.rles) else None for track in tracks]
        subject = f"{frames.name}: frame {frame}"
        jpeg = isolated(_draw, frames.picture(frame), frames.size_hw, rles, returns=bytes, subject=subject)
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
    return choose_frames({frame: curve.ious[frame] for frame in curve.frames}, roles, count)


# --- drawing


def _draw(jpeg: bytes, size_hw: tuple[int, int], rles: Sequence[RLE | None]) -> bytes:
    """jpeg: the frame. rles: of the ground truth and the prediction."""
    import cv2
    import numpy as np

    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError("the frame cannot be read")
    return draw_thumbnail(picture, size_hw, *rles)


def differences(project: Project, model: int, video_id: int, cutoff: float = 0.0) -> VideoResult | None:
    """The difference of a whole video, see `app.analysis.matches`; None without ground truth. Raises: ValueError."""
    truth = project.ground_truth(video_id)
    return None if truth is None else difference(truth, tracks_above(project.predictions(model, video_id), cutoff))
