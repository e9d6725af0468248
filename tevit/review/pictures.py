"""Small pictures of a track before and after, for a page that stands alone: frames where there are any, else grey."""

import base64
import os
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from tevit.io.ytvis import FPS, Dataset
from tevit.results import Track, VideoResult
from tevit.review.changes import Change
from tevit.video.overlay import overlay

_WIDTH = 320  # pixels
_GREY = 96


class Pictures:
    """Draws the pictures of one data set's changes. missing: why videos are on grey, a sentence each."""

    def __init__(self, dataset: Dataset, frames: str | os.PathLike | None):
        self._dataset, self._root = dataset, frames
        self._files: dict[int, list[Path] | None] = {}
        self.missing: list[str] = []

    def pair(self, change: Change) -> tuple[str, str]:
        """The picture before and the one after, as data URIs of JPEG."""
        picture = _quiet(self._frame(change.video_id, change.frame))
        return self._draw(picture, change, change.before), self._draw(picture, change, change.after)

    def _draw(self, picture: np.ndarray, change: Change, track: Track | None) -> str:
        info = self._dataset.videos[change.video_id]
        shown = () if track is None else (track,)
        times = np.arange(info.length) / FPS
        result = VideoResult(info.id, info.name, info.size_hw, times, self._dataset.categories, shown)
        drawn = overlay(picture, result, change.frame, opacity=0.55, labels=False)
        if drawn.shape[1] > _WIDTH:
            size = _WIDTH, max(1, round(drawn.shape[0] * _WIDTH / drawn.shape[1]))
            drawn = cv2.resize(drawn, size, interpolation=cv2.INTER_AREA)
        _, data = cv2.imencode(".jpg", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 82])
        return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()

    def _frame(self, video: int, frame: int) -> np.ndarray:
        height, width = self._dataset.videos[video].size_hw
        files = self._found(video)
        try:
            if files:
                with Image.open(files[frame]) as image:
                    return np.asarray(image.convert("RGB").resize((width, height)))
        except OSError as error:
            self.missing.append(f"frame {frame} of video {video} cannot be read: {error}")
        return np.full((height, width, 3), _GREY, np.uint8)

    def _found(self, video: int) -> list[Path] | None:
        if video not in self._files:
            self._files[video] = None
            try:
                if self._root is not None:
                    self._files[video] = self._dataset.frame_files(video, self._root)
            except (OSError, ValueError) as error:
                self.missing.append(str(error))
        return self._files[video]


def _quiet(picture: np.ndarray) -> np.ndarray:
    """Darker and without colours, so that the mask is what one sees: uint8 (H, W, 3)."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return np.repeat((0.7 * grey).astype(np.uint8)[..., None], 3, axis=2)
