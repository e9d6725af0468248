"""Reading videos and image folders, making the network's input of a frame, and writing videos.

A `Video` holds no decoded frame: `frames()` decodes one after the other, from the start each time it is called.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from av import VideoFrame

from tevit.video.decode import Clock, Report, ToRgb, decoded, open_container, stated_span, video_stream
from tevit.video.writer import VideoWriter as VideoWriter

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
SCALE_RANGE = (32, 4096)
STRIDE = 32


@dataclass(frozen=True, eq=False)
class Geometry:
    """How a frame becomes the network's input: all sizes as (height, width) in pixels.

    original_hw: the frame. resized_hw: after the resize that keeps the ratio. padded_hw: with zeros on the right and
    at the bottom, multiples of 32. scale_factor: float32 (4,), new_w / w, new_h / h, and the same again: it takes
    xyxy boxes from the original to the resized frame. The two differ a little, since sizes are whole.
    """

    original_hw: tuple[int, int]
    resized_hw: tuple[int, int]
    padded_hw: tuple[int, int]
    scale_factor: np.ndarray


@dataclass(frozen=True, eq=False)
class Frame:
    """index: from 0. time: seconds since the first frame. rgb: uint8 (H, W, 3), upright."""

    index: int
    time: float
    rgb: np.ndarray


def geometry(size_hw: tuple[int, int], scale: tuple[int, int] = (360, 640)) -> Geometry:
    """The sizes for frames of `size_hw` pixels; `scale` bounds the short and the long side, in either order.

    Small frames are enlarged. A size ends as int(side * ratio + 0.5): halves go up.

    Raises: ValueError for a bound outside 32..4096, or if a side would vanish.
    Source: mmcv 1.4.8 `rescale_size` and mmdetection's `Resize` and `Pad`, as recorded from the original.
    """
    short, long = min(scale), max(scale)
    low, high = SCALE_RANGE
    if not low <= short <= long <= high:
        raise ValueError(f"scale: expected two bounds between {low} and {high} pixels, got {scale[0]}x{scale[1]}")
    height, width = size_hw
    ratio = min(long / max(height, width), short / min(height, width))
    new_h, new_w = int(height * ratio + 0.5), int(width * ratio + 0.5)
    if min(new_h, new_w) < 1:
        raise ValueError(
            f"frames of {height}x{width} are too narrow: at scale {short}x{long} nothing of a side is left"
        )
    factor = np.array([new_w / width, new_h / height] * 2, np.float32)
    return Geometry((height, width), (new_h, new_w), (_padded(new_h), _padded(new_w)), factor)


def _padded(side: int) -> int:
    return -(-side // STRIDE) * STRIDE


def preprocess(frame_rgb: np.ndarray, geometry: Geometry) -> np.ndarray:
    """uint8 RGB (H, W, 3) -> float32 (3, Hp, Wp): resized, normalised, zero-padded right and below.

    The resize is OpenCV's bilinear one on 8 bit, without antialiasing; other resamplers differ by a grey level, which
    moves boxes by pixels.

    Raises: ValueError if the frame is not uint8 of the geometry's size.
    Source: the test pipeline of the original's configurations; equal to it bit for bit.
    """
    expected = (*geometry.original_hw, 3)
    if frame_rgb.shape != expected or frame_rgb.dtype != np.uint8:
        raise ValueError(f"expected a uint8 frame of {expected}, got {frame_rgb.dtype} of {frame_rgb.shape}")
    height, width = geometry.resized_hw
    resized = cv2.resize(frame_rgb, (width, height), interpolation=cv2.INTER_LINEAR)
    out = np.zeros((3, *geometry.padded_hw), np.float32)
    for channel, levels in enumerate(normalised_levels()):
        out[channel, :height, :width] = levels[resized[..., channel]]
    return out


def normalised_levels() -> np.ndarray:
    """float32 (3, 256): what each of the levels 0..255 becomes in R, G and B.

    Mean and standard deviation are float32 numbers; each step is float64 rounded to float32, as in the original.
    """
    mean = np.array([[123.675], [116.28], [103.53]], np.float32).astype(np.float64)
    inverse = 1 / np.array([[58.395], [57.12], [57.375]], np.float32).astype(np.float64)
    centred = (np.arange(256) - mean).astype(np.float32)
    return (centred * inverse).astype(np.float32)


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


def part(video: Video, first: int, stop: int) -> Video:
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


def fitted(video: Video, size_hw: tuple[int, int]) -> Video:
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
