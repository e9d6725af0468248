"""A fake model without weights: squares that move over the picture, window by window, at a chosen speed."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np

from tevit.masks import ops as masks
from tevit.progress import Progress, ResumeState
from tevit.results import RLE, Track, VideoResult
from tevit.video.reader import Video

WINDOW = 6
HELD_SECONDS = 0.01  # between two questions whether a frame is still held
CATEGORIES = {1: "person", 2: "dog"}


class FakePredictor:
    """seconds: slept for every frame. fails_at: the frame at which it raises `error`. fits: frames at once for which
    the memory suffices. second_score: of its second track. windows: as requested. seen: number of frames processed.
    held: asked with that number after each frame; while it answers True no other frame is processed."""

    def __init__(
        self,
        seconds: float = 0.0,
        fails_at: int | None = None,
        error: Exception | None = None,
        fits: int = 99,
        second_score: float = 0.41,
        held: Callable[[int], object] = lambda seen: False,
    ):
        self.second_score, self.held = second_score, held
        self.seconds, self.fails_at, self.error, self.fits = seconds, fails_at, error, fits
        self.windows: list[int | None] = []
        self.seen = 0
        self.begins: Callable[[int | None], None] = self.windows.append

    def stream(
        self,
        source: Video,
        *,
        window: int | None = None,
        max_tracks: int,
        score_threshold: float,
        progress: Progress | None,
        resume: ResumeState | None = None,
    ) -> Iterator[VideoResult]:
        self.begins(window)
        state = resume or ResumeState()
        if (window or 48) > self.fits:
            raise MemoryError(f"out of memory with {window or 48} frames at once")
        times: list[float] = []
        for frame in source.frames():
            if frame.index == self.fails_at and self.error:
                raise self.error
            times.append(frame.time)
            if frame.index < state.length:
                continue
            time.sleep(self.seconds)
            self.seen += 1
            if progress:
                progress("segmenting", len(times), source.length)
            while self.held(self.seen):
                time.sleep(HELD_SECONDS)
                if progress:
                    progress("segmenting", len(times), source.length)
            if len(times) % WINDOW == 0:
                state.length = len(times)
                yield self._tracks(source, times, max_tracks, score_threshold)
        yield self._tracks(source, times, max_tracks, score_threshold)

    def _tracks(self, source: Video, times: list[float], max_tracks: int, score_threshold: float) -> VideoResult:
        options = max_tracks, score_threshold, self.second_score
        return walking_squares(source.name, source.size_hw, times, *options)


def walking_squares(
    name: str,
    size_hw: tuple[int, int],
    times: list[float],
    max_tracks: int,
    score_threshold: float,
    second_score: float = 0.41,
) -> VideoResult:
    """Two tracks of a tenth of the picture's height; the second is seen in every other stretch of five frames."""
    tracks = [_track(1, 2, 0.93, size_hw, len(times)), _track(2, 1, second_score, size_hw, len(times))]
    selected = tuple(track for track in tracks if track.score >= score_threshold)[:max_tracks]
    return VideoResult(1, name, size_hw, np.array(times), CATEGORIES, selected)


def _track(number: int, category: int, score: float, size_hw: tuple[int, int], length: int) -> Track:
    side = size_hw[0] // 5
    boxes = np.array([_box(number, frame, side, size_hw) for frame in range(length)], np.float32)
    absent = np.array([number == 2 and frame // 5 % 2 == 1 for frame in range(length)])
    boxes[absent] = np.nan
    rles = tuple(None if gone else _rle(box, size_hw) for box, gone in zip(boxes, absent, strict=True))
    return Track(number, category, score, rles, boxes, np.where(absent, 0.0, float(side * side)))


def _box(number: int, frame: int, side: int, size_hw: tuple[int, int]) -> tuple[int, int, int, int]:
    left = 4 * frame % (size_hw[1] - side)
    top = (number - 1) * 2 * side
    return left, top, left + side, top + side


def _rle(box: np.ndarray, size_hw: tuple[int, int]) -> RLE:
    mask = np.zeros(size_hw, np.uint8)
    left, top, right, bottom = box.astype(int)
    mask[top:bottom, left:right] = 1
    return masks.encode(mask)


def make_video(path: Path, frames: int = 18, size_hw: tuple[int, int] = (96, 160), grey: int = 90) -> Path:
    """A plain H.264 clip of 10 frames a second in which a bright column moves."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width = size_hw
        stream.pix_fmt = "yuv420p"
        for index in range(frames):
            picture = np.full((*size_hw, 3), grey, np.uint8)
            picture[:, 4 * index % size_hw[1]][:, :] = 230
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode())
    return path


def damage_frame(path: Path, index: int) -> Path:
    """Replace the packet of a frame by zeros."""
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][index]
        start, size = packet.pos or 0, packet.size
    data = bytearray(path.read_bytes())
    data[start : start + size] = bytes(size)
    path.write_bytes(data)
    return path
