"""Reading video files, image folders and pipes as upright RGB frames with presentation times.

A `Video` holds no decoded frame: `frames()` decodes one after the other, from the start each time it is called.
"""

import os
import zipfile
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, fields
from fractions import Fraction
from itertools import accumulate, chain
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal, TypeVar

import cv2
import numpy as np
from av import VideoFrame
from av.container import InputContainer
from av.error import FFmpegError
from PIL import Image, ImageOps

from tevit.io.files import files_inside, natural_order, order_note, reading_archive
from tevit.limits import input_limits
from tevit.video.decode import (
    IMAGE_FAULTS,
    Clock,
    DecodeReport,
    ToRgb,
    bits_of,
    decode_frames,
    decode_image,
    decode_page,
    open_container,
    open_input,
    reading_image,
    stated_span,
    to_8_bit,
    video_stream,
)

_PAGED = (".tif", ".tiff", ".webp", ".png")  # may hold several pictures
T = TypeVar("T")
Decoder = Literal["pyav", "torchcodec"]
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")


@dataclass(frozen=True, eq=False)
class Frame:
    """index: from 0. time: seconds since the first frame. rgb: uint8 (H, W, 3), upright."""

    index: int
    time: float
    rgb: np.ndarray


@dataclass(eq=False)
class Video(ABC):
    """A source of frames: a video file, an image folder or a list of images, from `open_video` or `open_images`.

    size_hw: height and width of the upright frames, pixels. length: number of frames, exact for images; for files
    what the container states or duration times rate, None if neither is known. fps: average frames per second.
    file_names: of images, in order. duration: seconds. pixel_aspect: width to height of a pixel. warnings: one sentence
    for each problem of the last pass over `frames()`, complete once the pass has ended. notes: observations on the
    files of an image sequence, which `warnings` begin with. start: of a slice, seconds from the file's first frame to
    the slice's, known once that was decoded. end: of a slice, the time on its own clock of the first frame behind it,
    known after its last frame; None where no frame follows.
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
    notes: list[str] = field(default_factory=list)
    start: float = 0.0
    end: float | None = None

    @property
    def is_read_once(self) -> bool:
        """Whether `frames()` can be called once only."""
        return False

    @abstractmethod
    def frames(self) -> Iterator[Frame]:
        """Decode from the start, a frame at a time; times increase strictly.
        Raises: ValueError for an image that cannot be read or has another size.
        """


Source = str | os.PathLike | Video | np.ndarray | Iterable[np.ndarray | Image.Image]
"""What a predictor accepts as a video, see `open_source`."""


def open_video(source: str | os.PathLike, decoder: Decoder = "pyav", device: str = "cpu") -> Video:
    """Open a video file, an image, a file of several images, or a folder or zip archive of images in natural order.

    decoder: of video files: PyAV, or torchcodec, which decodes on `device`, "cpu" or a CUDA device, to the same frames
    and times; images are read as ever.

    Numbers in names count by value: 2.png before 10.png. Of files with the same name but for the suffix, those of the
    most frequent suffix are read; `warnings` says where that or the order matters.

    Raises: FileNotFoundError, PermissionError; ValueError for a folder or archive without images, an archive with
    images in several folders, and for a file that is no video, has only sound, or holds no frame that can be decoded;
    also for what torchcodec cannot read, or where it is missing.
    """
    path = Path(source)
    if path.is_dir() or (path.suffix.lower() == ".zip" and path.exists()):
        files, notes = _frames_of_folder(_images_inside(path))
        video = open_images(files, path.resolve().name if path.is_dir() else path.stem, path=path)
        video.notes += notes
        return video
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        pages = _count_pages(path)
        return open_images([path], path.stem) if pages == 1 else _open_pages(path, pages)
    video = _open_file(path)
    if decoder == "pyav":
        return video
    from tevit.video.torchcodec import open_torchcodec

    return open_torchcodec(video, device)


# --- images


ImageFile = Path | zipfile.Path
"""An image on disk or in a zip archive."""


def _images_inside(path: Path) -> list[ImageFile]:
    """The images in a folder, or in the only folder of an archive that has some."""
    suffixes = f"expected files ending in {', '.join(IMAGE_SUFFIXES)}"
    if path.is_dir():
        images = [item for item in path.iterdir() if item.suffix.lower() in IMAGE_SUFFIXES and item.name[0] != "."]
        if not images:
            raise ValueError(f"no image in the folder {path}: {suffixes}")
        return [*images]
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path}: expected a zip archive of images, got a file that is none")
    names = [PurePosixPath(name) for name in files_inside(path)]
    names = [name for name in names if name.suffix.lower() in IMAGE_SUFFIXES]
    folders = sorted({str(name.parent) for name in names})
    if not names:
        raise ValueError(f"no image in the archive {path}: {suffixes}")
    if len(folders) > 1:
        raise ValueError(
            f"{path}: expected the images of one video in one folder of the archive, found images in {len(folders)} "
            f"folders ({', '.join(folders[:3])}{', …' if len(folders) > 3 else ''})"
        )
    with reading_archive(f"{path}: the list of its files"):
        root = zipfile.Path(path)  # the list is read once
    return [root / str(name) for name in names]


def _frames_of_folder(files: list[ImageFile]) -> tuple[list[ImageFile], list[str]]:
    """The images in natural order, one for each stem, and notes on what was left out or ordered anew."""
    notes = []
    stems = Counter(file.stem for file in files)
    if len(stems) < len(files):
        suffixes = Counter(file.suffix.lower() for file in files)
        # Photographs beside masks or depth maps of the same names: the more frequent kind, JPEG where they are equal.
        best = max(suffixes, key=lambda suffix: (suffixes[suffix], suffix in (".jpg", ".jpeg"), suffix))
        chosen = {file.stem: file for file in files if file.suffix.lower() == best}
        rest = [file for file in files if file.stem not in chosen]
        notes.append(f"{len(files) - len(chosen) - len(rest)} images have the name of a {best} image and were left out")
        files = [*chosen.values(), *rest]
    names = [file.name for file in files]
    notes += [note] if (note := order_note(names)) else []
    return natural_order(files), notes


def open_images(
    files: Sequence[ImageFile], name: str, fps: Fraction = Fraction(6), path: Path | None = None
) -> "_ImageSequence":
    """Images as a video, in the given order, at `fps` frames per second.

    Raises: ValueError for an empty list or a first image that cannot be read; FileNotFoundError if it is missing.
    """
    if not files:
        raise ValueError(f"video {name!r}: expected at least one image, got none")
    bits, notes = _bits(files)
    height, width = _read_image(files[0], bits).shape[:2]
    names = tuple(file.name for file in files)
    duration = float(len(files) / fps)
    images = {"files": tuple(files), "bits": bits, "notes": notes + _further_pictures(files)}
    return _ImageSequence(
        name, path or Path(str(files[0])), (height, width), len(files), fps, duration, names, **images
    )


@dataclass(eq=False)
class _ImageSequence(Video):
    """bits: of the values of 16-bit images, None where all are used."""

    files: tuple[ImageFile, ...] = ()
    bits: int | None = None

    def frames(self) -> Iterator[Frame]:
        self.warnings[:] = self.notes
        rate = self.fps or Fraction(1)
        for index, file in enumerate(self.files):
            rgb = _read_image(file, self.bits)
            if rgb.shape[:2] != self.size_hw:
                raise ValueError(
                    f"{file}: expected {_size(self.size_hw)} pixels like {self.files[0].name}, "
                    f"got {_size(rgb.shape)}; all images of a video must have one size"
                )
            yield Frame(index, float(index / rate), rgb)


def _size(shape: Sequence[int]) -> str:
    return f"{shape[1]}x{shape[0]}"


def _bits(files: Sequence[ImageFile]) -> tuple[int | None, list[str]]:
    """Bits of the values of 16-bit images that use only 10 or 12 of them, by a sample of eight; else None."""
    largest = 0
    for file in (file for file in _sample(files) if file.is_file()):
        values = _read_16_bit(file)
        if values is None:
            return None, []
        largest = max(largest, int(values.max()))
    return bits_of(largest)


def _sample(items: Sequence[T]) -> Sequence[T]:
    """At most 16 of the items, evenly spaced."""
    return items[:: max(1, len(items) // 8)]


def _read_16_bit(file: ImageFile) -> np.ndarray | None:
    """The values of a 16-bit image; None for any other file. Only what can have 16 bits is decoded."""
    with reading_archive(f"{file}:"), file.open("rb") as opened:
        head = opened.read(25)
    png = head.startswith(b"\x89PNG") and head[24:25] == b"\x10"  # the header states the bits
    if not png and not head.startswith((b"II", b"MM", b"P5", b"P6")):
        return None
    values = decode_image(_read_bytes(file), str(file), cv2.IMREAD_UNCHANGED)
    return values if values is not None and values.dtype == np.uint16 else None


def _read_bytes(file: ImageFile) -> bytes:
    """Raises: FileNotFoundError; ValueError for one that cannot be unpacked."""
    try:
        if isinstance(file, Path):
            return file.read_bytes()
        with reading_archive(f"{file}:"):
            return file.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"{file}: no such image") from None


def _read_image(file: ImageFile, bits: int | None = None) -> np.ndarray:
    data = _read_bytes(file)
    if bits is not None:
        values = decode_image(data, str(file), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
        if values is not None and values.dtype == np.uint16:
            return cv2.cvtColor(to_8_bit(np.asarray(values), bits), cv2.COLOR_BGR2RGB)
    # As the original: OpenCV with its default colour flag, which applies EXIF rotation, repeats grey as three channels,
    # reduces 16 bit to 8 and drops transparency. PyAV decodes JPEG to other levels.
    bgr = decode_image(data, str(file))
    if bgr is None:
        raise ValueError(f"{file}: not an image that can be read")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def _further_pictures(files: Sequence[ImageFile]) -> list[str]:
    """A note where files that are a frame each hold more pictures, by a sample first, then with their number."""
    candidates = [file for file in files if file.suffix.lower() in _PAGED and file.is_file()]
    if all(_count_pages(file) == 1 for file in _sample(candidates)):
        return []
    count = sum(_count_pages(file) > 1 for file in candidates)
    return [f"{count} of {len(files)} images hold several pictures each, of which the first is read"]


def _count_pages(file: ImageFile) -> int:
    """Number of images in a file: pages of a TIFF, frames of an animated WebP or PNG."""
    if file.suffix.lower() not in _PAGED:  # further pictures of a JPEG file are previews or depth maps
        return 1
    try:
        with reading_archive(f"{file}:"), file.open("rb") as opened, Image.open(opened) as image:
            pages = getattr(image, "n_frames", 1)
    except IMAGE_FAULTS:  # the reader of single images says why
        return 1
    input_limits().check("frames", pages, str(file))
    return pages


def _open_pages(file: Path, pages: int) -> Video:
    """A file of several images; times are those of the file, else 6 a second as for folders."""
    with reading_image(f"{file}: its pictures"), Image.open(file) as image:
        size_hw, fps = (image.height, image.width), Fraction(6)
        durations, animated = [], file.suffix.lower() not in (".tif", ".tiff")
        if animated:  # all are decoded for their times
            limits, size = input_limits(), pages * 3 * image.width * image.height
            stated_value = f"{pages:,} pictures of {image.width:,} x {image.height:,} pixels are {size:,} bytes"
            limits.check("unpacked_bytes", size, str(file), stated_value)
        for page in range(pages):
            image.seek(page)
            input_limits().check_size(*image.size, f"{file}, page {page + 1}")
            if animated:
                image.load()  # a WebP's duration is known after decoding
                durations.append(Fraction(image.info.get("duration", 0)) / 1000)
    bits, notes = _bits_of_pages(file, pages)
    if all(durations) and durations:
        fps = pages / sum(durations, Fraction(0))
    else:
        durations = [1 / fps] * pages
    times = tuple(accumulate(durations[:-1], initial=Fraction(0)))
    names = tuple(f"{file.stem}/{page:05d}.jpg" for page in range(pages))
    more = {"times": times, "bits": bits, "notes": notes}
    return _ImagePages(file.stem, file, size_hw, pages, fps, float(sum(durations)), names, **more)


def _bits_of_pages(file: Path, pages: int) -> tuple[int | None, list[str]]:
    largest = 0
    for page in _sample(range(pages)) if file.suffix.lower() in (".tif", ".tiff") else ():
        values = decode_page(file, page, cv2.IMREAD_UNCHANGED)
        if values is None or values.dtype != np.uint16:
            return None, []
        largest = max(largest, int(np.max(values)))
    return bits_of(largest)


@dataclass(eq=False)
class _ImagePages(Video):
    """bits: of the values of 16-bit pages, None where all are used."""

    times: tuple[Fraction, ...] = ()
    bits: int | None = None

    def frames(self) -> Iterator[Frame]:
        self.warnings[:] = self.notes
        for index, time in enumerate(self.times):
            rgb = self._page(index)
            if rgb.shape[:2] != self.size_hw:
                raise ValueError(
                    f"{self.path}: expected {_size(self.size_hw)} pixels on page {index + 1} like on the first one, "
                    f"got {_size(rgb.shape)}"
                )
            yield Frame(index, float(time), rgb)

    def _page(self, index: int) -> np.ndarray:
        # TIFF by OpenCV, like every single image; it cannot read a single frame of an animation.
        if self.path.suffix.lower() in (".tif", ".tiff"):
            flags = cv2.IMREAD_COLOR if self.bits is None else cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
            page = decode_page(self.path, index, flags)
            if page is None:
                raise ValueError(f"{self.path}: page {index + 1} cannot be read")
            return cv2.cvtColor(page if self.bits is None else to_8_bit(page, self.bits), cv2.COLOR_BGR2RGB)
        with reading_image(f"{self.path}: picture {index + 1}"), Image.open(self.path) as image:
            image.seek(index)
            return np.array(image.convert("RGB"))


# --- video files and pipes


def _open_file(path: Path) -> Video:
    with closing(open_container(path)) as container:
        stream = video_stream(container, path)
        first = next(decode_frames(container, stream, DecodeReport()), None)
        if first is None:
            raise ValueError(f"{path}: the video holds no frame that can be decoded")
        height, width = ToRgb(path)(first).shape[:2]
        start, end = stated_span(container, stream)
        duration = end - start if end is not None else None
        fps = stream.average_rate or stream.guessed_rate or None
        length = stream.frames or (round(duration * fps) if duration and fps else None)
        aspect = stream.sample_aspect_ratio or Fraction(1)
        return _VideoFile(
            path.stem,
            path,
            (height, width),
            length,
            fps,
            duration,
            has_audio=bool(container.streams.audio),
            pixel_aspect=aspect if (first.height, first.width) == (height, width) else 1 / aspect,
        )


def timed_frames(
    video: Video, decoded: Iterable[tuple[VideoFrame, np.ndarray]], report: DecodeReport, by_dts: bool = False
) -> Iterator[Frame]:
    """Decoded frames, each with its pixels as RGB, in the video's size and with times."""
    clock = Clock(by_dts, 1 / video.fps if video.fps else Fraction(1, 25))
    limits = input_limits()
    for index, (frame, rgb) in enumerate(decoded):
        limits.check("frames", index + 1, str(video.path))
        if rgb.shape[:2] != video.size_hw:
            rgb = cv2.resize(rgb, video.size_hw[::-1], interpolation=cv2.INTER_AREA)
            report.rescaled += 1
        yield Frame(index, clock.seconds(frame), rgb)
        report.jumps, report.untimed = clock.jumps, clock.untimed


def _time_warnings(name: str, report: DecodeReport, fps: Fraction | None) -> list[str]:
    """Sentences on time stamps that go back and frames without any."""
    places = [f"{index} ({time:.2f} s)" for index, time in report.jumps]
    more = f" and {len(places) - 3} more" if len(places) > 3 else ""
    rate = f"{float(fps or 25):g} frames a second"
    texts = {
        f"{report.untimed} frames have no time stamp and follow the one before at {rate}": report.untimed,
        f"time stamps go back at frame {', '.join(places[:3])}{more}; times continue from there": places,
    }
    return [f"{name}: {text}" for text, applies in texts.items() if applies]


def pass_warnings(video: Video, report: DecodeReport, end: float | None) -> list[str]:
    """Sentences on what a pass over a file met. end: of the video as the file states it, seconds of its own clock."""
    warnings, name, step = [], video.path.name, float(1 / video.fps) if video.fps else 0.04
    if end is not None and report.end < end - max(0.1, 2 * step):
        of = f" of {video.length}" if video.length else ""
        reach = f"{report.end:.1f} of {end:.1f} s"
        warnings.append(f"{name} is cut off: {report.decoded}{of} frames could be read, {reach}")
    if report.damaged:
        warnings.append(f"{name} is damaged: {report.damaged} frame(s) could not be read, or only in part")
    if report.rescaled:
        size = _size(video.size_hw)
        warnings.append(f"{name}: {report.rescaled} frames of another size were scaled to {size}")
    return warnings + _time_warnings(name, report, video.fps)


@dataclass(eq=False)
class _VideoFile(Video):
    def frames(self) -> Iterator[Frame]:
        self.warnings.clear()
        report, to_rgb = DecodeReport(), ToRgb(self.path)
        with closing(open_container(self.path)) as container:
            stream = video_stream(container, self.path)
            decoded = ((frame, to_rgb(frame)) for frame in decode_frames(container, stream, report))
            yield from timed_frames(self, decoded, report, container.format.name == "avi")
            end = stated_span(container, stream)[1]
        self.warnings += pass_warnings(self, report, end)


def open_pipe(file: BinaryIO, name: str = "stdin") -> Video:
    """A video from a stream without random access, such as standard input; `frames()` can be called once.

    Matroska, MPEG-TS and MP4 with its index in front can be read like this.
    Raises: ValueError for what is no video, or cannot be read without random access.
    """
    path = Path(name)
    try:
        container = open_input(file)
    except (FFmpegError, OSError) as error:
        raise ValueError(
            f"{name}: expected a video that can be read from a pipe (MPEG-TS, Matroska, MP4 with its index in front), "
            f"got {error.strerror or error}"
        ) from None
    stream = video_stream(container, path)
    frames = decode_frames(container, stream, DecodeReport())
    first = next(frames, None)
    if first is None:
        raise ValueError(f"{name}: the video holds no frame that can be decoded")
    to_rgb = ToRgb(path)
    size_hw = to_rgb(first).shape[:2]
    fps, aspect = stream.average_rate or stream.guessed_rate or None, stream.sample_aspect_ratio or Fraction(1)
    decoded = chain([first], frames)
    return _VideoPipe(
        name, path, size_hw, None, fps, None, pixel_aspect=aspect, container=container, decoded=decoded, to_rgb=to_rgb
    )


@dataclass(eq=False)
class _VideoPipe(Video):
    """decoded: the frames; None once they were read."""

    container: InputContainer = field(kw_only=True)
    decoded: Iterator[VideoFrame] | None = field(kw_only=True)
    to_rgb: ToRgb = field(kw_only=True)

    @property
    def is_read_once(self) -> bool:
        return True

    def frames(self) -> Iterator[Frame]:
        if self.decoded is None:
            raise ValueError(f"{self.name}: a pipe can be read once only")
        decoded, self.decoded = self.decoded, None
        report = DecodeReport()
        with closing(self.container):
            yield from timed_frames(self, ((frame, self.to_rgb(frame)) for frame in decoded), report)
        self.warnings += _time_warnings(self.name, report, self.fps)


# --- slices and other sizes of a video


def video_slice(video: Video, first: int, stop: int) -> Video:
    """The frames first..stop-1 of a video as a video: index from 0, times from its own first frame.

    Earlier frames are decoded and skipped, so that the slice has exactly the frames that the whole video has there.
    Raises: ValueError for an empty range; from `frames()` where the video ends before `first`.
    """
    if not 0 <= first < stop:
        raise ValueError(f"{video.name}: expected a range of at least one frame, got {first} to {stop}")
    length = None if video.length is None else max(min(stop, video.length) - first, 0)
    duration = float(length / video.fps) if length is not None and video.fps else None
    names = video.file_names[first:stop]
    properties = video_properties(video, length=length, duration=duration, file_names=names)
    return _VideoSlice(**properties, whole=video, first=first, stop=stop)


def video_properties(video: Video, **changes: Any) -> dict[str, Any]:
    """Arguments for a video derived from this one."""
    names = {item.name for item in fields(Video)} - {"start", "end"}
    return {name: getattr(video, name) for name in names} | changes


@dataclass(eq=False)
class _VideoSlice(Video):
    whole: Video = field(kw_only=True)
    first: int = field(kw_only=True)
    stop: int = field(kw_only=True)

    def frames(self) -> Iterator[Frame]:
        count = 0
        for frame in self.whole.frames():
            if frame.index == self.stop:
                self.end = frame.time - self.start
                break
            count += 1
            if frame.index == self.first:
                self.start = frame.time
            if frame.index >= self.first:
                yield Frame(frame.index - self.first, frame.time - self.start, frame.rgb)
        if count <= self.first:
            raise ValueError(f"{self.name}: expected a frame {self.first}, but the video holds {count} frames")


def resized_video(video: Video, size_hw: tuple[int, int]) -> Video:
    """The same frames in another size: one row or column too many is cropped, otherwise they are scaled."""
    return _ResizedVideo(**video_properties(video, size_hw=size_hw), whole=video)


@dataclass(eq=False)
class _ResizedVideo(Video):
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


# --- frames in memory


def open_frames(
    frames: "np.ndarray | Iterable[np.ndarray | Image.Image]", name: str = "frames", fps: Fraction | float = 6
) -> Video:
    """Frames in memory as a video: an array uint8 RGB (T, H, W, 3), or arrays (H, W, 3) and PIL images one by one.

    An iterator is read once, as the frames are needed. fps: frames per second.
    Raises: ValueError without frames, or for one of another type, shape or size; also from `frames()`.
    """
    if not isinstance(frames, Iterable):
        raise ValueError(f"{name}: expected an array (T, H, W, 3) or frames one by one, got {type(frames).__name__}")
    if isinstance(frames, np.ndarray) and frames.ndim != 4:
        raise ValueError(f"{name}: expected an array (T, H, W, 3), got {frames.shape}")
    known = len(frames) if isinstance(frames, np.ndarray | Sequence) else None
    items = iter(frames)
    first = next(items, None)
    if first is None:
        raise ValueError(f"{name}: expected at least one frame, got none")
    height, width = _rgb_array(first, f"{name}, frame 0").shape[:2]
    rate = Fraction(fps).limit_denominator(1001)
    duration = None if known is None else float(known / rate)
    rest = frames if known is not None else chain([first], items)
    return _FramesInMemory(name, Path(name), (height, width), known, rate, duration, items=rest)


@dataclass(eq=False)
class _FramesInMemory(Video):
    """items: None once an iterator was read."""

    items: "np.ndarray | Iterable[np.ndarray | Image.Image] | None" = None

    @property
    def is_read_once(self) -> bool:
        return self.length is None

    def frames(self) -> Iterator[Frame]:
        if self.items is None:
            raise ValueError(f"{self.name}: an iterator can be read once only")
        items, self.items = self.items, None if self.is_read_once else self.items
        for index, item in enumerate(items):
            rgb = _rgb_array(item, f"{self.name}, frame {index}")
            if rgb.shape[:2] != self.size_hw:
                got = _size(rgb.shape)
                raise ValueError(f"{self.name}, frame {index}: expected {_size(self.size_hw)} pixels, got {got}")
            yield Frame(index, float(index / (self.fps or 1)), rgb)


def _rgb_array(frame: "np.ndarray | Image.Image", where: str) -> np.ndarray:
    """uint8 (H, W, 3), upright. Raises: ValueError."""
    if isinstance(frame, Image.Image):
        return np.asarray(ImageOps.exif_transpose(frame).convert("RGB"))
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        got = f"{frame.dtype} {frame.shape}" if isinstance(frame, np.ndarray) else type(frame).__name__
        raise ValueError(f"{where}: expected uint8 RGB (H, W, 3) or a PIL image, got {got}")
    return frame


def open_source(source: Source) -> Video:
    """A video of whatever a predictor accepts: an opened video, a path (see `open_video`) or `open_frames`'s."""
    if isinstance(source, Video):
        return source
    return open_video(source) if isinstance(source, str | os.PathLike) else open_frames(source)
