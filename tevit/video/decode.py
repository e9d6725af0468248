"""Decoding of images and video files, with PyAV: which stream is the video, presentation times, orientation, colours.

`tevit.video.reader` is the interface that the rest of the project uses. Every fault is one sentence; the size that a
header states is checked first.
"""

import errno
import io
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import IO, BinaryIO

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter
from av.video.stream import VideoStream
from PIL import Image

from tevit.limits import LimitError, input_limits

# What PIL raises for damaged files; its own limit of pixels is checked here, too.
IMAGE_FAULTS = (
    OSError,
    ValueError,
    TypeError,
    SyntaxError,
    EOFError,
    LookupError,
    ArithmeticError,
    AttributeError,
    MemoryError,
    struct.error,
    Image.DecompressionBombError,
)


@contextmanager
def reading_image(subject: str) -> Iterator[None]:
    """Raise every fault of PIL as one sentence that begins with `subject`. Raises: ValueError, MemoryError."""
    try:
        yield
    except LimitError:
        raise
    except MemoryError:
        raise MemoryError(f"{subject} cannot be read (not enough memory)") from None
    except IMAGE_FAULTS as error:
        raise ValueError(f"{subject} cannot be read ({str(error) or type(error).__name__})") from None


def _has_header(file: IO[bytes], name: str) -> bool:
    """Whether an image's header is recognised. Raises: LimitError where it states more pixels than are read."""
    limits = input_limits()
    try:
        with Image.open(file) as image:
            width, height = image.size
    except Image.DecompressionBombError as error:  # from twice PIL's own limit on, which ours may exceed
        match = re.search(r"\d+", str(error))
        limits.check("pixels", int(match[0]) if match else limits.pixels + 1, name)
        return True
    except IMAGE_FAULTS:
        return False
    limits.check_size(width, height, name)
    return True


def decode_image(data: bytes, name: str, flags: int = cv2.IMREAD_COLOR) -> np.ndarray | None:
    """The picture of an image file's bytes as OpenCV decodes it, BGR; None where it cannot be read.

    name: of the file, for messages. flags: OpenCV's. Raises: LimitError for more pixels than are read; MemoryError.
    """
    if not data or not _has_header(io.BytesIO(data), name):
        return None
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError(f"{name}: not enough memory to decode it") from None
        return None


def decode_page(file: Path, page: int, flags: int) -> np.ndarray | None:
    """A page of a TIFF file as OpenCV decodes it; None where it cannot be read. Its size is checked by the caller.

    Raises: MemoryError.
    """
    try:
        read, pages = cv2.imreadmulti(str(file), start=page, count=1, flags=flags)
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError(f"{file}: not enough memory to decode it") from None
        return None
    return np.asarray(pages[0]) if read else None


def bits_of(largest: int) -> tuple[int | None, list[str]]:
    """Bits of the values of 16-bit images, 10 or 12, by the largest of them; None where all are used. And a note."""
    if not 0 < largest < 1 << 12:
        return None, []
    bits = 10 if largest < 1 << 10 else 12
    return bits, [f"the 16-bit images hold values up to {largest}: they are read as {bits} bit"]


def to_8_bit(values: np.ndarray, bits: int) -> np.ndarray:
    """uint8, of uint16 values of so many bits."""
    return np.minimum(np.right_shift(values, bits - 8), 255).astype(np.uint8)


# Within half a level of the formula; the default is a level too dark on average and repeats chroma instead of blending.
ACCURATE = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
# Demuxers that decode files that are no videos, such as text as a terminal would show it.
_NOT_VIDEO = ("tty", "hls", "concat", "dash", "image2", "adf", "bin", "idf", "xbin", "txd", "cdg", "lavfi", "data")
# Demuxers that open the files that are named in the one they read.
_OPENS_OTHERS = ("hls", "applehttp", "dash", "imf", "concat", "vobsub", "sdp", "rtsp", "hds", "webm_dash_manifest")
_PLAYLISTS = ((b"#EXTM3U", "HLS"), (b"<MPD", "DASH"), (b"ffconcat", "concat"), (b"CompositionPlaylist", "IMF"))
_TEXT_CODECS = ("ansi", "bintext", "idf", "xbin")  # whatever file they are in
_UNSPECIFIED = 2  # AVCOL_SPC_UNSPECIFIED


def open_container(path: Path) -> InputContainer:
    """Open a file for reading; no other file is opened, so that a playlist is refused.
    Raises: PermissionError; ValueError if the file is no video.
    """
    try:
        _refuse_playlist(path)
        container = open_input(f"file:{path.resolve()}")
    except PermissionError:
        raise PermissionError(f"{path}: no permission to read it") from None
    except FFmpegError as error:
        raise ValueError(f"{path}: not a readable video, or cut off before its index ({error.strerror})") from None
    kind = container.format.name
    if kind in _NOT_VIDEO or kind.endswith("_pipe"):
        container.close()
        raise ValueError(f"{path}: not a video (it looks like {kind})")
    return container


def open_input(source: str | BinaryIO) -> InputContainer:
    """FFmpeg's container of a file's address or a stream, within the limits, so that no other file is opened.

    Raises: FFmpegError, OSError.
    """
    return av.open(
        source,
        "r",
        options={"max_pixels": input_limits().decoder_pixels},  # of the decoders with which the streams are examined
        container_options={"protocol_whitelist": "file", "format_whitelist": _single_file_formats()},
        metadata_errors="replace",  # titles and the like in any encoding
    )


@cache
def _single_file_formats() -> str:
    """FFmpeg's option `format_whitelist`: all formats but those whose demuxers open other files."""
    return ",".join(sorted(set(av.formats_available) - {*_OPENS_OTHERS}))


def _refuse_playlist(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(4096)
    for mark, kind in _PLAYLISTS:
        # XML may have a declaration and comments before its element.
        if head.startswith(mark) or (mark in head and head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")):
            raise ValueError(f"{path}: not a video, but a playlist ({kind}), which names other files")


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The first video stream that is not a cover picture, set up to decode.
    Raises: ValueError where there is none; LimitError.
    """
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            check_stream(container, stream, path)
            # With frame threads a damaged file loses more frames, and not the same ones in every pass.
            stream.thread_type = "NONE"
            return stream
    kind = "only sound, no video" if container.streams.audio else "neither video nor sound"
    raise ValueError(f"{path}: expected a video, but it holds {kind}")


def check_stream(container: InputContainer, stream: VideoStream, path: Path) -> None:
    """Compare what a file states of its video with the limits, before a frame is decoded.

    Raises: ValueError for text that FFmpeg draws as a picture; LimitError.
    """
    limits, codec = input_limits(), stream.codec_context
    if codec is None or codec.codec is None:
        raise ValueError(f"{path}: its video cannot be decoded (unknown codec)")
    if codec.codec.name in _TEXT_CODECS:
        raise ValueError(f"{path}: not a video (it holds {codec.codec.name}, text)")
    limits.check_size(codec.width, codec.height, str(path))
    limits.check("frames", stream.frames, str(path))
    start, end = stated_span(container, stream)
    limits.check("seconds", (end or 0) - start, str(path))
    codec.options = {**codec.options, "max_pixels": limits.decoder_pixels}  # the size may change later


def stated_span(container: InputContainer, stream: VideoStream) -> tuple[float, float | None]:
    """Start and end of the video in seconds of the file's own clock, as the file states them."""
    base = stream.time_base or Fraction(0)
    start = float((stream.start_time or 0) * base)
    # The duration of a cut AVI is that of the rest; its header still has the number of frames, which are its ticks.
    ticks = max(stream.duration or 0, stream.frames if container.format.name == "avi" else 0)
    if ticks:
        return start, start + float(ticks * base)
    if not container.duration:
        return start, None
    # Matroska's duration counts from zero, unless the file was cut out of a longer one.
    end = container.duration / av.time_base
    return start, end if end > start else start + end


@dataclass
class DecodeReport:
    """One pass over a file.

    decoded, damaged, rescaled: numbers of frames. end: seconds, of the last data. jumps: frames whose time stamp lies
    before that of the frame before, with the time they got. untimed: number of frames without a time
    stamp.
    """

    decoded: int = 0
    damaged: int = 0
    rescaled: int = 0
    end: float = 0.0
    jumps: list[tuple[int, float]] = field(default_factory=list)
    untimed: int = 0


def decode_frames(container: InputContainer, stream: VideoStream, report: DecodeReport) -> Iterator[av.VideoFrame]:
    """All frames that can be decoded; the others are counted in `report`. Raises: MemoryError."""

    def packets() -> Iterator[av.Packet | None]:
        with suppress(FFmpegError):
            yield from container.demux()
        yield None  # returns the frames that the decoder still has

    for packet in packets():
        if packet is not None:
            stamp = packet.pts if packet.pts is not None else packet.dts
            if stamp is not None:
                report.end = max(report.end, float((stamp + (packet.duration or 0)) * packet.time_base))
            if packet.stream.index != stream.index:
                continue
        try:
            frames = stream.decode(packet)
        except EOFError:  # the decoder has no more
            continue
        except FFmpegError as error:
            if error.errno == errno.ENOMEM:
                raise MemoryError("not enough memory to decode a frame") from None
            report.damaged += 1
            continue
        report.decoded += len(frames)
        report.damaged += sum(frame.is_corrupt for frame in frames)
        yield from frames


class Clock:
    """Presentation times in seconds since the first frame, strictly increasing.

    jumps: (number of the frame, its time) of every frame where the stamps went back by two frames or more, as in
    concatenated files; from there on times continue by one step. untimed: number of frames without a stamp.
    """

    def __init__(self, by_dts: bool, step: Fraction):
        """by_dts: use decoding times. step: seconds from one frame to the next where a frame has no time."""
        # AVI stores no presentation times, and those that FFmpeg computes are out of order with B-frames; the decoding
        # time of the packet after which a frame was returned is in order.
        self._by_dts = by_dts
        self._step = step
        self._first: Fraction | None = None
        self._last = Fraction(0)  # time of the last frame, on the file's clock plus `_offset`
        self._stamp = Fraction(0)  # of the last frame, on the file's clock
        self._offset, self._before = Fraction(0), Fraction(0)
        self._count = 0
        self.jumps: list[tuple[int, float]] = []
        self.untimed = 0

    def seconds(self, frame: av.VideoFrame) -> float:
        """The frame's time. To be called once for each frame, in order."""
        ticks = frame.dts if self._by_dts else frame.pts
        self.untimed += (frame.pts is None and frame.dts is None) or not frame.time_base
        if self._first is None:
            stamp = Fraction(0) if ticks is None or not frame.time_base else ticks * frame.time_base
            self._first = now = stamp
        else:
            stamp = self._stamp + self._step if ticks is None or not frame.time_base else ticks * frame.time_base
            if self._offset and stamp > self._before and stamp - self._stamp > 2 * self._step:
                self._offset = Fraction(0)  # a single wrong stamp: the file's clock is right again
            now = stamp + self._offset
            if self._last - now >= 2 * self._step:
                self._before, self._offset = self._stamp, self._last + self._step - stamp
                now = stamp + self._offset
                self.jumps.append((self._count, float(now - self._first)))
            elif now <= self._last:
                now = self._last + Fraction(1, 1000)
        self._last, self._stamp = now, stamp
        self._count += 1
        return float(now - self._first)


class ToRgb:
    """Converts the frames of one stream to upright uint8 RGB (H, W, 3), by each frame's colour matrix and range.

    A matrix that is not stated follows from the size, as in players: BT.709 from 1280 pixels of width or more than 576
    of height on, BT.601 below. A range that is not stated is the pixel format's: limited, except for `yuvj` formats.
    The orientation is that of the first frame.
    """

    def __init__(self, path: Path | None = None):
        """path: named in errors."""
        self._prefix = f"{path}: " if path else ""
        self._reformatter = VideoReformatter()
        self._matrix: tuple[int, int, int, int] | None = None

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        """Raises: ValueError for a pixel format or matrix that cannot be converted."""
        # Reading a frame's side data ties it into a reference cycle: for every frame, memory would grow by hundreds
        # of MB.
        self._matrix = self._matrix or display_matrix(frame)
        matrix = None
        if frame.colorspace == _UNSPECIFIED:
            matrix = Colorspace.ITU709 if frame.width >= 1280 or frame.height > 576 else Colorspace.ITU601
        try:
            picture = self._reformatter.reformat(frame, format="rgb24", src_colorspace=matrix, interpolation=ACCURATE)
        except FFmpegError as error:
            reason = f"pixels of format {frame.format.name} cannot be read ({error.strerror})"
            raise ValueError(f"{self._prefix}{reason}") from None
        rgb, (a, b, c, d) = picture.to_ndarray(), self._matrix
        if abs(b) + abs(c) > abs(a) + abs(d):
            rgb, a, d = rgb.swapaxes(0, 1), c, b
        return np.ascontiguousarray(rgb[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def display_matrix(frame: av.VideoFrame) -> tuple[int, int, int, int]:
    """(a, b, c, d) of the frame's orientation: x' = a x + c y, y' = b x + d y."""
    # `frame.rotation` describes a mirrored frame as one that is rotated by 180 degrees, hence the matrix itself.
    try:
        data = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # the frame has side data of a kind that PyAV has no name for
        cos, sin = {0: (1, 0), 90: (0, 1), -90: (0, -1)}.get(frame.rotation, (-1, 0))
        return cos, -sin, sin, cos
    if data is None:
        return 1, 0, 0, 1
    matrix = np.frombuffer(bytes(data)[:36], np.int32).tolist()
    return matrix[0], matrix[1], matrix[3], matrix[4]
