"""Reading videos and image folders, and making the network's input of a frame.

A `Video` holds no decoded frame: `frames()` decodes one after the other, from the start each time it is called.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter
from av.video.stream import VideoStream

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
SCALE_RANGE = (32, 4096)
STRIDE = 32
# Demuxers that make a "video" of what is none, such as text as a terminal would show it.
_NOT_VIDEO = ("tty", "hls", "concat", "dash", "image2")
_UNSPECIFIED = 2  # AVCOL_SPC_UNSPECIFIED


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
    file_names: of images, in order. duration: seconds. warnings: what went wrong in the last pass over `frames()`,
    a sentence each, complete once the pass has ended.
    """

    name: str
    path: Path
    size_hw: tuple[int, int]
    length: int | None
    fps: Fraction | None
    duration: float | None
    file_names: tuple[str, ...] = ()
    has_audio: bool = False
    warnings: list[str] = field(default_factory=list)

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
    data = np.frombuffer(file.read_bytes(), np.uint8)
    bgr = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if bgr is None:
        raise ValueError(f"{file}: not an image that can be read")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


# --- video files


def _open_file(path: Path) -> Video:
    with closing(_container(path)) as container:
        stream = video_stream(container, path)
        first = next(_decoded(container, stream, _Report()), None)
        if first is None:
            raise ValueError(f"{path}: the video holds no frame that can be decoded")
        height, width = _upright(_rgb(first, VideoReformatter()), first).shape[:2]
        fps = stream.average_rate or stream.guessed_rate or None
        duration = _stated_end(container, stream)
        length = stream.frames or (round(duration * fps) if duration and fps else None)
        sound = bool(container.streams.audio)
        return _File(path.stem, path, (height, width), length, fps, duration, has_audio=sound)


def _container(path: Path) -> InputContainer:
    """Open for reading; only files may be touched, whatever a playlist inside says."""
    try:
        container = av.open(f"file:{path.resolve()}", container_options={"protocol_whitelist": "file"})
    except PermissionError:
        raise PermissionError(f"{path}: no permission to read it") from None
    except av.FFmpegError as error:
        raise ValueError(
            f"{path}: not a video that can be read, or cut off before its index ({error.strerror})"
        ) from None
    if container.format.name in _NOT_VIDEO or container.format.name.endswith("_pipe"):
        kind = container.format.name
        container.close()
        raise ValueError(f"{path}: not a video (it looks like {kind})")
    return container


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The first stream of moving pictures; a cover picture is none.

    Raises: ValueError, telling sound without pictures from neither.
    """
    covers = av.stream.Disposition.attached_pic
    for stream in container.streams.video:
        if not stream.disposition & covers:
            stream.thread_type = "NONE"
            return stream
    kind = "only sound, no video" if container.streams.audio else "neither video nor sound"
    raise ValueError(f"{path}: it holds {kind}")


@dataclass
class _Report:
    """What a pass over a file saw: decoded frames, damaged ones, and to what second there was data."""

    decoded: int = 0
    damaged: int = 0
    rescaled: int = 0
    end: float = 0.0

    def saw(self, packet: av.Packet) -> None:
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is not None and packet.time_base:
            self.end = max(self.end, float((stamp + (packet.duration or 0)) * packet.time_base))


def _decoded(container: InputContainer, stream: VideoStream, report: _Report) -> Iterator[av.VideoFrame]:
    """All frames that decode; what does not is counted and passed over."""
    packets = container.demux()
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:
            return
        if packet is None:
            return
        report.saw(packet)
        if packet.stream.index == stream.index:
            yield from _decode(packet, report)


def _decode(packet: av.Packet, report: _Report) -> list[av.VideoFrame]:
    try:
        frames = packet.decode()
    except av.FFmpegError:
        report.damaged += 1
        return []
    report.decoded += len(frames)
    report.damaged += sum(frame.is_corrupt for frame in frames)
    return frames


@dataclass(eq=False)
class _File(Video):
    def frames(self) -> Iterator[Frame]:
        self.warnings.clear()
        report = _Report()
        with closing(_container(self.path)) as container:
            stream = video_stream(container, self.path)
            clock = _Clock(container.format.name == "avi", 1 / self.fps if self.fps else Fraction(1, 25))
            reformatter = VideoReformatter()
            for index, frame in enumerate(_decoded(container, stream, report)):
                yield Frame(index, clock.seconds(frame), self._picture(frame, reformatter, report))
            self.warnings += _warnings(self, report, _stated_end(container, stream))

    def _picture(self, frame: av.VideoFrame, reformatter: VideoReformatter, report: _Report) -> np.ndarray:
        rgb = _upright(_rgb(frame, reformatter), frame)
        if rgb.shape[:2] != self.size_hw:
            report.rescaled += 1
            rgb = cv2.resize(rgb, self.size_hw[::-1], interpolation=cv2.INTER_AREA)
        return rgb


class _Clock:
    """Seconds since the first frame, strictly increasing.

    AVI stores no presentation times and what is made up for them is out of order with B-frames; the decoding time of
    the packet that let a frame out is in order. A frame without any time comes one step after the one before.
    """

    def __init__(self, by_dts: bool, step: Fraction):
        self._by_dts = by_dts
        self._step = step
        self._first: Fraction | None = None
        self._last: Fraction | None = None

    def seconds(self, frame: av.VideoFrame) -> float:
        stamp = frame.dts if self._by_dts else frame.pts
        now = stamp * frame.time_base if stamp is not None and frame.time_base else None
        if now is None:
            now = self._last + self._step if self._last is not None else Fraction(0)
        if self._last is not None and now <= self._last:
            now = self._last + Fraction(1, 1000)
        self._first = now if self._first is None else self._first
        self._last = now
        return float(now - self._first)


def _rgb(frame: av.VideoFrame, reformatter: VideoReformatter) -> np.ndarray:
    """uint8 (H, W, 3) by the frame's own colour matrix and range.

    Where the matrix is not stated, players go by size, and so does this: BT.709 from 1280 pixels of width or more than
    576 of height on, BT.601 below. An unstated range is the pixel format's: limited but for the `yuvj` ones.
    """
    matrix = None
    if frame.colorspace == _UNSPECIFIED:
        matrix = Colorspace.ITU709 if frame.width >= 1280 or frame.height > 576 else Colorspace.ITU601
    try:
        picture = reformatter.reformat(
            frame, format="rgb24", src_colorspace=matrix, interpolation=Interpolation.BILINEAR, threads=1
        )
    except av.FFmpegError as error:
        raise ValueError(f"pixels of format {frame.format.name} cannot be read ({error.strerror})") from None
    return picture.to_ndarray()


def _upright(rgb: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
    """Turn and mirror as the display matrix says: x' = a x + c y, y' = b x + d y for pixels (x, y)."""
    a, b, c, d = _display_matrix(frame)
    turned = abs(b) + abs(c) > abs(a) + abs(d)
    if turned:
        rgb, a, d = rgb.swapaxes(0, 1), c, b
    return np.ascontiguousarray(rgb[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def _display_matrix(frame: av.VideoFrame) -> tuple[int, int, int, int]:
    # `frame.rotation` reads a mirrored frame as turned by 180 degrees, hence the matrix itself.
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return 1, 0, 0, 1
    matrix = np.frombuffer(bytes(data)[:36], np.int32).tolist()
    return matrix[0], matrix[1], matrix[3], matrix[4]


def _stated_end(container: InputContainer, stream: VideoStream) -> float | None:
    """Seconds from the container's zero to the end of the video, as the file states it."""
    if stream.duration and stream.time_base:
        return float((stream.duration + (stream.start_time or 0)) * stream.time_base)
    return container.duration / av.time_base if container.duration else None


def _warnings(video: Video, report: _Report, stated_end: float | None) -> list[str]:
    name, found = video.path.name, []
    step = float(1 / video.fps) if video.fps else 0.04
    if stated_end and report.end < stated_end - max(0.1, 2 * step):
        of = f" of {video.length}" if video.length else ""
        found.append(
            f"{name} is cut off: {report.decoded}{of} frames could be read, {report.end:.1f} of {stated_end:.1f} s"
        )
    if report.damaged:
        found.append(f"{name} is damaged: {report.damaged} frames could not be read or only in part")
    if report.rescaled:
        found.append(f"{name}: {report.rescaled} frames of another size were scaled to {_size(video.size_hw)}")
    return found
