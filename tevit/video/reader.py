"""Reading videos and image folders, making the network's input of a frame, and writing videos.

A `Video` holds no decoded frame: `frames()` decodes one after the other, from the start each time it is called.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import av
import cv2
import numpy as np
from av import VideoFrame
from av.container import InputContainer
from av.error import FFmpegError

from tevit.video.decode import Clock, Report, ToRgb, decoded, open_container, stated_span, video_stream

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")


@dataclass(frozen=True, eq=False)
class Frame:
    """index: from 0. time: seconds since the first frame. rgb: uint8 (H, W, 3), upright."""

    index: int
    time: float
    rgb: np.ndarray


@dataclass(eq=False)
class Video(ABC):
    """An opened source: a video file, an image folder or a list of images. Make one with `open_video`, `open_images`.

    size_hw: height and width of the upright frames, pixels. length: number of frames, exact for images; for files
    what the container states or duration times rate, None if neither is known. fps: average frames per second.
    file_names: of images, in order. duration: seconds. pixel_aspect: width to height of a pixel. warnings: what went
    wrong in the last pass over `frames()`, a sentence each, complete once the pass has ended. start: seconds from the
    file's first frame to this video's, known of a part once its first frame was decoded. end: when a part's last frame
    gives way to what is left out, seconds on its own clock, known after its last frame; None where nothing is left out.
    """

    name: str
    path: Path
    size_hw: tuple[int, int]
    length: int | None
    fps: Fraction | None
    duration: float | None
    file_names: tuple[str, ...] = ()
    has_audio: bool = False
    pixel_aspect: Fraction = Fraction(1)
    warnings: list[str] = field(default_factory=list)
    start: float = 0.0
    end: float | None = None

    @abstractmethod
    def frames(self) -> Iterator[Frame]:
        """Decode from the start, a frame at a time; times increase strictly.

        Raises: ValueError for what cannot be decoded at all: an image that is none or has another size.
        """


def open_video(source: str | os.PathLike) -> Video:
    """Open a video file, a folder of images (in the order of their names) or a single image.

    Raises: FileNotFoundError, PermissionError; ValueError for a folder without images and for a file that is no
    video, has only sound, or holds no frame that decodes.
    """
    path = Path(source)
    if path.is_dir():
        return open_images(_images_in(path), path.resolve().name, path=path)
    if not path.exists():
        raise FileNotFoundError(f"no such file or folder: {path}")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return open_images([path], path.stem)
    return _open_file(path)


def _images_in(folder: Path) -> list[Path]:
    files = [item for item in folder.iterdir() if item.suffix.lower() in IMAGE_SUFFIXES and item.name[0] != "."]
    if not files:
        raise ValueError(f"no image in the folder {folder}: expected files ending in {', '.join(IMAGE_SUFFIXES)}")
    return sorted(files, key=lambda file: file.name)


# --- images


def open_images(files: Sequence[Path], name: str, fps: Fraction = Fraction(6), path: Path | None = None) -> Video:
    """Images as a video, in the order given, `fps` to the second.

    Read as the original reads them: OpenCV's default colour flag, so that EXIF rotation is applied, grey becomes three
    channels, 16 bit become 8 and transparency is dropped. PyAV decodes JPEG to other levels and is not used here.

    Raises: ValueError for an empty list or a first image that cannot be read; FileNotFoundError if it is missing.
    """
    if not files:
        raise ValueError(f"video {name!r}: expected at least one image, got none")
    height, width = _read_image(files[0]).shape[:2]
    names = tuple(file.name for file in files)
    duration = float(len(files) / fps)
    return _Images(name, path or files[0], (height, width), len(files), fps, duration, names, files=tuple(files))


@dataclass(eq=False)
class _Images(Video):
    files: tuple[Path, ...] = ()

    def frames(self) -> Iterator[Frame]:
        rate = self.fps or Fraction(1)
        for index, file in enumerate(self.files):
            rgb = _read_image(file)
            if rgb.shape[:2] != self.size_hw:
                raise ValueError(
                    f"{file}: expected {_size(self.size_hw)} pixels like {self.files[0].name}, "
                    f"got {_size(rgb.shape)}; all images of a video must have one size"
                )
            yield Frame(index, float(index / rate), rgb)


def _size(shape: Sequence[int]) -> str:
    return f"{shape[1]}x{shape[0]}"


def _read_image(file: Path) -> np.ndarray:
    try:
        data = np.frombuffer(file.read_bytes(), np.uint8)
    except FileNotFoundError:
        raise FileNotFoundError(f"no such image: {file}") from None
    bgr = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if bgr is None:
        raise ValueError(f"{file}: not an image that can be read")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


# --- video files


def _open_file(path: Path) -> Video:
    with closing(open_container(path)) as container:
        stream = video_stream(container, path)
        first = next(decoded(container, stream, Report()), None)
        if first is None:
            raise ValueError(f"{path}: the video holds no frame that can be decoded")
        height, width = picture(path, first, ToRgb()).shape[:2]
        start, end = stated_span(container, stream)
        duration = end - start if end is not None else None
        fps = stream.average_rate or stream.guessed_rate or None
        length = stream.frames or (round(duration * fps) if duration and fps else None)
        aspect = stream.sample_aspect_ratio or Fraction(1)
        return _File(
            path.stem,
            path,
            (height, width),
            length,
            fps,
            duration,
            has_audio=bool(container.streams.audio),
            pixel_aspect=aspect if (first.height, first.width) == (height, width) else 1 / aspect,
        )


def picture(path: Path, frame: VideoFrame, to_rgb: ToRgb) -> np.ndarray:
    """uint8 RGB (H, W, 3), upright. Raises: ValueError that names the file."""
    try:
        return to_rgb(frame)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


@dataclass(eq=False)
class _File(Video):
    def frames(self) -> Iterator[Frame]:
        self.warnings.clear()
        report, rescaled = Report(), 0
        with closing(open_container(self.path)) as container:
            stream = video_stream(container, self.path)
            clock = Clock(container.format.name == "avi", 1 / self.fps if self.fps else Fraction(1, 25))
            to_rgb = ToRgb()
            for index, frame in enumerate(decoded(container, stream, report)):
                rgb = picture(self.path, frame, to_rgb)
                if rgb.shape[:2] != self.size_hw:
                    rgb = cv2.resize(rgb, self.size_hw[::-1], interpolation=cv2.INTER_AREA)
                    rescaled += 1
                yield Frame(index, clock.seconds(frame), rgb)
            self._warn(report, rescaled, stated_span(container, stream)[1])

    def _warn(self, report: Report, rescaled: int, end: float | None) -> None:
        name, step = self.path.name, float(1 / self.fps) if self.fps else 0.04
        if end is not None and report.end < end - max(0.1, 2 * step):
            of = f" of {self.length}" if self.length else ""
            reach = f"{report.end:.1f} of {end:.1f} s"
            self.warnings.append(f"{name} is cut off: {report.decoded}{of} frames could be read, {reach}")
        if report.damaged:
            self.warnings.append(f"{name} is damaged: {report.damaged} frame(s) could not be read, or only in part")
        if rescaled:
            self.warnings.append(f"{name}: {rescaled} frames of another size were scaled to {_size(self.size_hw)}")


# --- parts of a video


def video_slice(video: Video, first: int, stop: int) -> Video:
    """The frames first..stop-1 of a video as a video: index from 0, times from its own first frame.

    Frames before it are decoded and passed over, so that it holds exactly the frames that the whole would give.

    Raises: ValueError for an empty range; from `frames()` where the video ends before `first`.
    """
    if not 0 <= first < stop:
        raise ValueError(f"{video.name}: expected a range of at least one frame, got {first} to {stop}")
    length = None if video.length is None else max(min(stop, video.length) - first, 0)
    return _Part(
        video.name,
        video.path,
        video.size_hw,
        length,
        video.fps,
        float(length / video.fps) if length is not None and video.fps else None,
        video.file_names[first:stop],
        video.has_audio,
        video.pixel_aspect,
        video.warnings,
        whole=video,
        first=first,
        stop=stop,
    )


@dataclass(eq=False)
class _Part(Video):
    whole: Video = field(kw_only=True)
    first: int = field(kw_only=True)
    stop: int = field(kw_only=True)

    def frames(self) -> Iterator[Frame]:
        seen = 0
        for frame in self.whole.frames():
            if frame.index == self.stop:
                self.end = frame.time - self.start
                break
            seen += 1
            if frame.index == self.first:
                self.start = frame.time
            if frame.index >= self.first:
                yield Frame(frame.index - self.first, frame.time - self.start, frame.rgb)
        if seen <= self.first:
            raise ValueError(f"{self.name}: expected a frame {self.first}, but the video holds {seen} frames")


def resized_video(video: Video, size_hw: tuple[int, int]) -> Video:
    """The same frames in another size, height and width: one row or column too many is cut, else they are scaled."""
    return _Fitted(
        video.name,
        video.path,
        size_hw,
        video.length,
        video.fps,
        video.duration,
        video.file_names,
        video.has_audio,
        video.pixel_aspect,
        video.warnings,
        whole=video,
    )


@dataclass(eq=False)
class _Fitted(Video):
    whole: Video = field(kw_only=True)

    def frames(self) -> Iterator[Frame]:
        height, width = self.size_hw
        for frame in self.whole.frames():
            rgb = frame.rgb
            if rgb.shape[0] - height in (0, 1) and rgb.shape[1] - width in (0, 1):
                rgb = np.ascontiguousarray(rgb[:height, :width])
            else:
                rgb = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_LINEAR)
            yield Frame(frame.index, frame.time, rgb)


# --- pipes


def open_pipe(file: BinaryIO, name: str = "stdin") -> Video:
    """A video from a stream that cannot go back, such as standard input; its frames can be had once.

    Matroska, MPEG-TS and MP4 with its index in front can be read like this.
    Raises: ValueError for what is no video, or none that can be read without going back.
    """
    path = Path(name)
    try:
        container = av.open(file, "r")
    except (FFmpegError, OSError) as error:
        raise ValueError(
            f"{name}: expected a video that can be read from a pipe (MPEG-TS, Matroska, MP4 with its index in front), "
            f"got {error.strerror or error}"
        ) from None
    stream, report = video_stream(container, path), Report()
    frames = decoded(container, stream, report)
    first = next(frames, None)
    if first is None:
        raise ValueError(f"{name}: the video holds no frame that can be decoded")
    to_rgb = ToRgb()
    size_hw = picture(path, first, to_rgb).shape[:2]
    fps, aspect = stream.average_rate or stream.guessed_rate or None, stream.sample_aspect_ratio or Fraction(1)
    found = _Pipe(name, path, size_hw, None, fps, None, pixel_aspect=aspect, container=container)
    found.coming = chain([first], frames)
    found.to_rgb = to_rgb
    return found


@dataclass(eq=False)
class _Pipe(Video):
    container: InputContainer = field(kw_only=True)
    coming: Iterator[VideoFrame] | None = None
    to_rgb: ToRgb = field(default_factory=ToRgb)

    def frames(self) -> Iterator[Frame]:
        if self.coming is None:
            raise ValueError(f"{self.name}: a pipe can be read once only")
        coming, self.coming = self.coming, None
        clock = Clock(False, 1 / self.fps if self.fps else Fraction(1, 25))
        with closing(self.container):
            for index, frame in enumerate(coming):
                rgb = picture(self.path, frame, self.to_rgb)
                if rgb.shape[:2] != self.size_hw:
                    rgb = cv2.resize(rgb, self.size_hw[::-1], interpolation=cv2.INTER_AREA)
                yield Frame(index, clock.seconds(frame), rgb)
