"""Filmstrips of errors: frames cropped around the object, with the masks of ground truth and prediction."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from tevit.display import encode_jpeg, jpeg_uri
from tevit.evaluation.error_table import ErrorRecord
from tevit.io.ytvis import Dataset, Results
from tevit.masks import ops as masks
from tevit.results import RLE, VideoResult

if TYPE_CHECKING:
    import numpy as np

HEIGHT, WIDTH = 96, 128  # of a thumbnail, pixels
MAX_FRAMES = 5  # of a filmstrip
COLOURS = {"agreed": (59, 174, 109), "missed": (217, 74, 112), "invented": (227, 160, 32)}
"""RGB of pixels in both, in the ground truth alone, in the prediction alone; distinguishable by colour-blind people
too: their brightness differs."""
_MARGIN, _MIN_HEIGHT = 0.35, 48  # of the crop: around the object, of its larger side; the least height, pixels
_OPACITY, _GREY, _BRIGHT = 0.45, 96, 150
_VIDEOS = 8  # whose masks are kept decoded from JSON
_Masks = Mapping[int, Sequence[RLE | None]]


@dataclass(frozen=True)
class Thumbnail:
    """One frame of a filmstrip. role: "worst", "median", "best" or "" for one between."""

    frame: int
    iou: float | None
    role: str


def choose_frames(
    ious: Mapping[int, float | None], roles: Mapping[int | None, str], count: int = MAX_FRAMES
) -> list[Thumbnail]:
    """Frames with a role and some between, in temporal order. ious: of the frames where either track is present."""
    named = [frame for frame in roles if frame is not None]
    spread = list(ious)
    if len(spread) > count:
        last = len(spread) - 1
        spread = [spread[round(i * last / (count - 1))] for i in range(count)] if count > 1 else spread[:1]
    between = [frame for frame in spread if frame not in named]
    shown = sorted([*named, *between[: max(0, count - len(named))]])
    return [Thumbnail(frame, ious[frame], roles.get(frame, "")) for frame in shown]


def draw_thumbnail(picture: "np.ndarray", size_hw: tuple[int, int], truth: RLE | None, prediction: RLE | None) -> bytes:
    """JPEG of HEIGHT x WIDTH, cropped around both masks. picture: BGR, at most the video's size, which is size_hw."""
    import cv2
    import numpy as np

    crop = _crop([rle for rle in (truth, prediction) if rle is not None], size_hw)
    small = _cut(picture, crop, size_hw, cv2.INTER_AREA)
    decoded = [np.zeros(size_hw, np.uint8) if rle is None else masks.decode(rle) for rle in (truth, prediction)]
    sides = [_cut(mask, crop, size_hw, cv2.INTER_NEAREST).astype(bool) for mask in decoded]
    return encode_jpeg(_paint(small, *sides))


def _cut(
    image: "np.ndarray", crop: tuple[float, float, float, float], size_hw: tuple[int, int], interpolation: int
) -> "np.ndarray":
    """The crop of an image, HEIGHT x WIDTH. crop: as `_crop` returns it, pixels of the video."""
    import cv2

    top, left, height, width = crop
    ratio = image.shape[0] / size_hw[0], image.shape[1] / size_hw[1]
    rows = slice(int(top * ratio[0]), max(int((top + height) * ratio[0]), int(top * ratio[0]) + 1))
    columns = slice(int(left * ratio[1]), max(int((left + width) * ratio[1]), int(left * ratio[1]) + 1))
    return cv2.resize(image[rows, columns], (WIDTH, HEIGHT), interpolation=interpolation)


def _crop(present: Sequence[RLE], size_hw: tuple[int, int]) -> tuple[float, float, float, float]:
    """Top, left, height and width of the crop, pixels of the video, in the thumbnail's aspect ratio."""
    height, width = size_hw
    x1, y1, x2, y2 = masks.to_box_xyxy(masks.union(present)).tolist() if present else (0, 0, width, height)
    margin = _MARGIN * max(x2 - x1, y2 - y1)
    crop_height = max(y2 - y1 + 2 * margin, (x2 - x1 + 2 * margin) * HEIGHT / WIDTH, _MIN_HEIGHT)
    crop_height = min(crop_height, height)
    crop_width = min(crop_height * WIDTH / HEIGHT, width)
    top = min(max((y1 + y2 - crop_height) / 2, 0), height - crop_height)
    left = min(max((x1 + x2 - crop_width) / 2, 0), width - crop_width)
    return top, left, crop_height, crop_width


def _paint(picture: "np.ndarray", truth: "np.ndarray", prediction: "np.ndarray") -> "np.ndarray":
    """A copy with agreed, missed and invented pixels in their colours, outlined in their full colours, and around all a
    line that is dark on bright and bright on dark pictures. truth, prediction: bool."""
    import cv2
    import numpy as np

    result, kernel = picture.copy(), np.ones((3, 3), np.uint8)
    kinds = {"agreed": truth & prediction, "missed": truth & ~prediction, "invented": prediction & ~truth}
    for kind, pixels in kinds.items():
        colour = np.array(COLOURS[kind][::-1], np.float32)
        edge = pixels & ~cv2.erode(pixels.astype(np.uint8), kernel, borderValue=1).astype(bool)
        result[pixels] = ((1 - _OPACITY) * result[pixels] + _OPACITY * colour).astype(np.uint8)
        result[edge] = colour.astype(np.uint8)
    either = truth | prediction
    around = cv2.dilate(either.astype(np.uint8), kernel).astype(bool) & ~either
    if around.any():
        result[around] = 0 if picture[around].mean() > _BRIGHT else 255
    return result


# --- of a data set on disk


class FramePictures:
    """A data set's frames for small pictures; grey where there is none. missing: why, a sentence each."""

    def __init__(self, dataset: Dataset, root: str | os.PathLike | None):
        self.missing: list[str] = []
        self._dataset, self._root = dataset, root
        self._files: dict[int, list[Path]] = {}

    def read(self, video_id: int, frame: int) -> "np.ndarray":
        """A frame in its video's size, uint8 (H, W, 3), BGR."""
        import cv2
        import numpy as np

        from tevit.video.images import decode_image

        if video_id not in self._files:
            self._files[video_id] = []
            try:
                if self._root is not None:
                    self._files[video_id] = self._dataset.frame_files(video_id, self._root)
            except (OSError, ValueError) as error:
                self.missing.append(str(error))
        height, width = self._dataset.videos[video_id].size_hw
        if files := self._files[video_id]:
            try:
                picture = decode_image(files[frame].read_bytes(), str(files[frame]))
                if picture is not None:
                    return picture if picture.shape[:2] == (height, width) else cv2.resize(picture, (width, height))
                self.missing.append(f"{files[frame]}: not an image that can be read")
            except (OSError, ValueError) as error:  # removed since, or too large
                self.missing.append(str(error))
        return np.full((height, width, 3), _GREY, np.uint8)


class ErrorFilmstrips:
    """Filmstrips of errors from a data set's frames; a missing frame is grey. missing: why, a sentence each."""

    def __init__(self, dataset: Dataset, results: Results, root: str | os.PathLike):
        self._dataset, self._results, self._frames = dataset, results, FramePictures(dataset, root)
        self.missing = self._frames.missing
        self._tracks = lru_cache(_VIDEOS)(self._read_tracks)

    def pictures(self, record: ErrorRecord) -> list[dict[str, str]]:
        """The frames of an error in temporal order: "uri" (of a JPEG) and "caption" of each."""
        ious = dict(zip(record.frames, record.frame_ious, strict=True))
        order = sorted(ious, key=lambda frame: ious[frame])
        if not order:
            return []
        best = max(ious, key=lambda frame: ious[frame])
        roles = {best: "best", order[(len(order) - 1) // 2]: "median", record.worst_frame: "worst"}
        info, sides = self._dataset.videos[record.video_id], self._tracks(record.video_id)
        ids = record.truth_id, record.prediction_id
        tracks = [None if id is None else side.get(id) for side, id in zip(sides, ids, strict=True)]
        pictures = []
        for item in choose_frames(ious, roles):
            truth, prediction = (track[item.frame] if track is not None else None for track in tracks)
            jpeg = draw_thumbnail(self._frames.read(record.video_id, item.frame), info.size_hw, truth, prediction)
            caption = f"frame {item.frame}, IoU {item.iou:.2f}" + (f", {item.role}" if item.role else "")
            pictures.append({"uri": jpeg_uri(jpeg), "caption": caption})
        return pictures

    def _read_tracks(self, video_id: int) -> tuple[_Masks, _Masks]:
        """The masks of ground truth and predictions by their ids."""
        info, names = self._dataset.videos[video_id], self._dataset.categories
        videos: tuple[VideoResult, VideoResult] = self._dataset.video(video_id), self._results.video(info, names)
        truth, prediction = ({track.id: track.rles for track in video.tracks} for video in videos)
        return truth, prediction
