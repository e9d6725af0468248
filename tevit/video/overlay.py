"""Drawing tracks on frames: masks, outlines, labels; and whole overlay videos."""

import os
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from itertools import chain

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tevit.masks import ops as masks
from tevit.progress import Progress
from tevit.results import RLE, Track, VideoResult
from tevit.video.reader import Video
from tevit.video.writer import VideoWriter

# Found by taking, again and again, the colour farthest from those before in OKLab, seen with normal vision and with
# protanopia, deuteranopia and tritanopia, among colours neither dark nor pale.
PALETTE = (
    (90, 195, 255),
    (240, 225, 60),
    (195, 30, 0),
    (120, 0, 240),
    (210, 150, 105),
    (135, 255, 240),
    (165, 105, 165),
    (120, 135, 255),
    (240, 0, 105),
    (255, 180, 150),
    (135, 60, 165),
    (195, 195, 0),
)
_INK, _PAPER = (20, 20, 20), (255, 255, 255)


def color(track_id: int) -> tuple[int, int, int]:
    """The RGB colour of a track, 0..255: the same in every frame, told apart by colour-blind people too.

    Twelve colours, then from the start again.
    """
    return PALETTE[track_id % len(PALETTE)]


def overlay(
    frame_rgb: np.ndarray,
    result: VideoResult,
    index: int,
    *,
    opacity: float = 0.5,
    contours: bool = True,
    labels: bool = True,
    min_score: float = 0.0,
) -> np.ndarray:
    """A copy of a frame with the tracks of frame `index` drawn on it; the better the score, the farther in front.

    frame_rgb: uint8 (H, W, 3) of the result's size. opacity: of the masks, 0 to 1. min_score: tracks below it are
    left out.

    Raises: ValueError if the frame's size is not the result's.
    """
    if frame_rgb.shape != (*result.size_hw, 3):
        raise ValueError(f"video {result.name!r}: expected a frame of {(*result.size_hw, 3)}, got {frame_rgb.shape}")
    out = np.array(frame_rgb, np.uint8, order="C")
    shown = _shown(result, index, min_score)
    boxes = _whole_boxes([rle for _, rle in shown], result.size_hw)
    unit = _unit(result.size_hw)
    for (track, rle), box in zip(shown, boxes, strict=True):
        _draw_mask(out, rle, box, color(track.id), opacity, unit if contours else 0)
    if labels:
        _draw_labels(out, [(track, box) for (track, _), box in zip(shown, boxes, strict=True)], result, unit)
    return out


def _shown(result: VideoResult, index: int, min_score: float) -> list[tuple[Track, RLE]]:
    """Tracks seen in a frame with their masks, the best score last."""
    tracks = sorted((track for track in result.tracks if track.score >= min_score), key=lambda track: track.score)
    return [(track, rle) for track in tracks if (rle := track.rles[index]) is not None]


def _whole_boxes(rles: list[RLE], size_hw: tuple[int, int]) -> list[tuple[int, int, int, int]]:
    """x1, y1, x2, y2 of each mask in whole pixels, one pixel wider on each side where the picture allows."""
    height, width = size_hw
    boxes = []
    for x1, y1, x2, y2 in masks.to_boxes_xyxy(rles) if rles else ():
        boxes.append((max(int(x1) - 1, 0), max(int(y1) - 1, 0), min(int(x2) + 1, width), min(int(y2) + 1, height)))
    return boxes


def _unit(size_hw: tuple[int, int]) -> float:
    """What lines and letters scale with: 1 for a short side of 360 pixels."""
    return max(min(size_hw) / 360, 0.5)


def _draw_mask(
    out: np.ndarray,
    rle: RLE,
    box: tuple[int, int, int, int],
    rgb: tuple[int, int, int],
    opacity: float,
    line: float,
) -> None:
    x1, y1, x2, y2 = box
    if x1 >= x2 or y1 >= y2:
        return
    mask = masks.decode_within(rle, box)
    region = out[y1:y2, x1:x2]
    cv2.copyTo(cv2.LUT(region, _blend(rgb, opacity)), mask, region)
    if line:
        _draw_outline(out, mask, (x1, y1), rgb, line)


def _draw_outline(
    out: np.ndarray, mask: np.ndarray, corner: tuple[int, int], rgb: tuple[int, int, int], line: float
) -> None:
    outlines, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=corner)
    # Leaving out points within 0.75 pixels smoothes the pixels' stairs and makes drawing four times as fast.
    smooth = [cv2.approxPolyDP(points, 0.75, True) for points in outlines]
    cv2.polylines(out, smooth, True, rgb, max(1, round(1.5 * line)), cv2.LINE_AA)


@lru_cache(maxsize=64)
def _blend(rgb: tuple[int, int, int], opacity: float) -> np.ndarray:
    """A table of what each level becomes under a colour, channel by channel: uint8 (1, 256, 3)."""
    levels = np.arange(256)[None, :, None] * (1 - opacity) + np.array(rgb) * opacity
    return np.round(levels).astype(np.uint8)


# --- labels


def _draw_labels(
    out: np.ndarray, tracks: list[tuple[Track, tuple[int, int, int, int]]], result: VideoResult, unit: float
) -> None:
    """The best score first, so that it stands where it belongs; a label larger than the picture is left out."""
    taken: list[tuple[int, int, int, int]] = []
    for track, box in reversed(tracks):
        name = result.categories.get(track.category_id, f"class {track.category_id}").replace("_", " ")
        plate = _plate(f"{name} {track.score:.2f}", color(track.id), max(9, round(13 * unit)))
        height, width = plate.shape[:2]
        if height > out.shape[0] or width > out.shape[1]:
            continue
        x, y = _place(box, (height, width), out.shape[:2], taken)
        taken.append((x, y, x + width, y + height))
        out[y : y + height, x : x + width] = plate


@lru_cache(maxsize=512)
def _plate(text: str, rgb: tuple[int, int, int], size: int) -> np.ndarray:
    """A label, uint8 (h, w, 3): letters of `size` pixels on the track's colour, dark or white as reads better."""
    font = _font(size)
    left, _, right, _ = font.getbbox(text)
    _, high, _, low = font.getbbox("Ag")
    pad = max(2, size // 4)
    plate = Image.new("RGB", (round(right - left) + 2 * pad, round(low - high) + 2 * pad), rgb)
    bright = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]
    ImageDraw.Draw(plate).text((pad - left, pad - high), text, font=font, fill=_INK if bright > 128 else _PAPER)
    return np.asarray(plate)


@lru_cache(maxsize=16)
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    return font


def _place(
    box: tuple[int, int, int, int],
    size_hw: tuple[int, int],
    picture_hw: tuple[int, ...],
    taken: list[tuple[int, int, int, int]],
) -> tuple[int, int]:
    """Left and top of a label: over its box, else inside its top, and lower where another label stands already."""
    height, width = size_hw
    x = min(max(box[0], 0), picture_hw[1] - width)
    above = box[1] - height
    y = first = above if above >= 0 else min(max(box[1], 0), picture_hw[0] - height)
    while (hit := _overlapping((x, y, x + width, y + height), taken)) is not None:
        y = hit[3]
        if y + height > picture_hw[0]:
            return x, first
    return x, y


def _overlapping(
    box: tuple[int, int, int, int], others: list[tuple[int, int, int, int]]
) -> tuple[int, int, int, int] | None:
    for other in others:
        if box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]:
            return other
    return None


# --- video

_WAITING = 4  # drawn frames


class _Behind:
    """Writes in a thread, in order, while the next frames are drawn. What fails there is raised by a later call, or at
    the end."""

    def __init__(self, writer: VideoWriter):
        self._writer, self._thread = writer, ThreadPoolExecutor(1, "encoder")
        self._waiting: deque[Future[float]] = deque()

    def __enter__(self) -> "_Behind":
        return self

    def write(self, rgb: np.ndarray, time: float) -> None:
        self._waiting.append(self._thread.submit(self._writer.write, rgb, time))
        if len(self._waiting) > _WAITING:
            self._waiting.popleft().result()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._thread.shutdown(cancel_futures=kind is not None)
        for future in self._waiting if kind is None else ():
            future.result()


def write_overlay(
    video: Video,
    result: VideoResult | Iterable[VideoResult],
    path: str | os.PathLike,
    *,
    progress: Progress | None = None,
    min_score: float = 0.0,
    opacity: float = 0.5,
    contours: bool = True,
    labels: bool = True,
    sound: bool = True,
) -> None:
    """Decode the video again, draw the tracks and write an mp4 with the original's times and sound.

    result: of the video, or its parts in order, of successive frames. It ends where the result ends, the sound too.
    What became of the sound is added to `video.warnings`. sound: False
    leaves it out; the other choices are those of `overlay`.

    Raises: what `Video.frames` and `VideoWriter` raise, and whatever `progress` does; then no file appears.
    """
    whole = isinstance(result, VideoResult)
    parts, total = ([result], result.length) if whole else (result, video.length)
    frames = video.frames()
    first = next(frames, None)  # before the writer opens: only then is it known where a part begins
    writer = VideoWriter(
        path,
        video.size_hw,
        fps=video.fps,
        audio_from=video.path if sound and video.has_audio else None,
        audio_start=video.start,
        pixel_aspect=video.pixel_aspect,
    )
    with writer, _Behind(writer) as behind:
        known = ((part, index) for part in parts for index in range(part.length))
        for frame in frames if first is None else chain([first], frames):
            here = next(known, None)
            if here is None:
                writer.end_sound(frame.time)
                break
            drawn = overlay(frame.rgb, *here, opacity=opacity, contours=contours, labels=labels, min_score=min_score)
            behind.write(drawn, frame.time)
            if progress is not None:
                progress("drawing", frame.index + 1, total)
        else:
            if video.end is not None:
                writer.end_sound(video.end)
    video.warnings += writer.warnings
