"""Decoding video files with PyAV: what is a video, when a frame is due, which way up it is, what colours it has.

`tevit.video.reader` is what the rest of the project uses; this is its half that knows the library.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter
from av.video.stream import VideoStream

# Demuxers that make a "video" of what is none, such as text as a terminal would show it.
_NOT_VIDEO = ("tty", "hls", "concat", "dash", "image2")
_UNSPECIFIED = 2  # AVCOL_SPC_UNSPECIFIED
# Within half a level of the formula; the default is a level too dark on average and repeats chroma instead of blending.
_ACCURATE = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT


def open_container(path: Path) -> InputContainer:
    """Open a file for reading. Only files can be touched, whatever a playlist inside may name.

    Raises: PermissionError; ValueError if the file is no video.
    """
    try:
        container = av.open(f"file:{path.resolve()}", container_options={"protocol_whitelist": "file"})
    except PermissionError:
        raise PermissionError(f"{path}: no permission to read it") from None
    except FFmpegError as error:
        raise ValueError(f"{path}: not a readable video, or cut off before its index ({error.strerror})") from None
    kind = container.format.name
    if kind in _NOT_VIDEO or kind.endswith("_pipe"):
        container.close()
        raise ValueError(f"{path}: not a video (it looks like {kind})")
    return container


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The first stream of moving pictures, set up to decode; a cover picture is none.

    Raises: ValueError, telling sound without pictures from neither.
    """
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            # With frame threads a damaged file loses more frames, and not the same ones in every pass.
            stream.thread_type = "NONE"
            return stream
    kind = "only sound, no video" if container.streams.audio else "neither video nor sound"
    raise ValueError(f"{path}: expected a video, but it holds {kind}")


def stated_span(container: InputContainer, stream: VideoStream) -> tuple[float, float | None]:
    """Start and end of the video in seconds of the file's own clock, as the file states them."""
    base = stream.time_base or Fraction(0)
    start = float((stream.start_time or 0) * base)
    # Of a cut AVI the duration is what is left; its header still has the number of frames, which are its ticks.
    ticks = max(stream.duration or 0, stream.frames if container.format.name == "avi" else 0)
    if ticks:
        return start, start + float(ticks * base)
    if not container.duration:
        return start, None
    # Matroska's duration counts from zero, unless the file was cut out of a longer one.
    end = container.duration / av.time_base
    return start, end if end > start else start + end


@dataclass
class Report:
    """What a pass over a file saw: frames decoded and damaged, and up to what second of any stream there was data."""

    decoded: int = 0
    damaged: int = 0
    end: float = 0.0

    def saw(self, packet: av.Packet) -> None:
        """Note how far the file goes."""
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is not None:
            self.end = max(self.end, float((stamp + (packet.duration or 0)) * packet.time_base))


def decoded(container: InputContainer, stream: VideoStream, report: Report) -> Iterator[av.VideoFrame]:
    """All frames that decode; what does not is counted and passed over."""
    for packet in _until_broken(container.demux()):
        report.saw(packet)
        if packet.stream.index == stream.index:
            yield from _decode(stream, packet, report)
    yield from _decode(stream, None, report)


def _until_broken(packets: Iterator[av.Packet]) -> Iterator[av.Packet]:
    try:
        yield from packets
    except FFmpegError:
        return


def _decode(stream: VideoStream, packet: av.Packet | None, report: Report) -> list[av.VideoFrame]:
    try:
        frames = stream.decode(packet)
    except EOFError:  # flushed before
        return []
    except FFmpegError:
        report.damaged += 1
        return []
    report.decoded += len(frames)
    report.damaged += sum(frame.is_corrupt for frame in frames)
    return frames


class Clock:
    """Seconds since the first frame, strictly increasing.

    AVI stores no presentation times and what is made up for them is out of order with B-frames; the decoding time of
    the packet that let a frame out is in order. A frame without any time comes one step after the one before.
    """

    def __init__(self, by_dts: bool, step: Fraction):
        self._by_dts = by_dts
        self._step = step
        self._first: Fraction | None = None
        self._last = Fraction(0)

    def seconds(self, frame: av.VideoFrame) -> float:
        """When this frame is due; called once for each frame, in order."""
        stamp = frame.dts if self._by_dts else frame.pts
        now = stamp * frame.time_base if stamp is not None and frame.time_base else self._last + self._step
        if self._first is None:
            self._first = now
        elif now <= self._last:
            now = self._last + Fraction(1, 1000)
        self._last = now
        return float(now - self._first)


class ToRgb:
    """Makes uint8 (H, W, 3), upright, of the frames of one stream, by each frame's own colour matrix and range.

    Where the matrix is not stated, players go by size, and so does this: BT.709 from 1280 pixels of width or more than
    576 of height on, BT.601 below. An unstated range is the pixel format's: limited but for the `yuvj` ones. Which
    way up is taken from the first frame.
    """

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        self._matrix: tuple[int, int, int, int] | None = None

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        """Raises: ValueError for a pixel format or matrix that cannot be converted."""
        # Looking at a frame's side data ties it into a cycle: of every frame, memory would grow by hundreds of MB.
        self._matrix = self._matrix or _display_matrix(frame)
        matrix = None
        if frame.colorspace == _UNSPECIFIED:
            matrix = Colorspace.ITU709 if frame.width >= 1280 or frame.height > 576 else Colorspace.ITU601
        try:
            picture = self._reformatter.reformat(frame, format="rgb24", src_colorspace=matrix, interpolation=_ACCURATE)
        except FFmpegError as error:
            raise ValueError(f"pixels of format {frame.format.name} cannot be read ({error.strerror})") from None
        return _upright(picture.to_ndarray(), self._matrix)


def _upright(rgb: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """Turn and mirror as the display matrix (a, b, c, d) says: x' = a x + c y, y' = b x + d y."""
    a, b, c, d = matrix
    if abs(b) + abs(c) > abs(a) + abs(d):
        rgb, a, d = rgb.swapaxes(0, 1), c, b
    return np.ascontiguousarray(rgb[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def _display_matrix(frame: av.VideoFrame) -> tuple[int, int, int, int]:
    # `frame.rotation` takes a mirrored frame for one turned by 180 degrees, hence the matrix itself.
    try:
        data = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # a frame carries side data of a kind that PyAV has no name for
        cos, sin = {0: (1, 0), 90: (0, 1), -90: (0, -1)}.get(frame.rotation, (-1, 0))
        return cos, -sin, sin, cos
    if data is None:
        return 1, 0, 0, 1
    matrix = np.frombuffer(bytes(data)[:36], np.int32).tolist()
    return matrix[0], matrix[1], matrix[3], matrix[4]
