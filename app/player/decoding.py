"""Video files of users: opened and decoded in a worker process, see `app.isolation`; and which of them browsers play.

For the latter packets are read, and only the first frame is decoded. A file passes where page and server give each of
its frames the same number: by its time, which begins at 0 and goes on at a constant rate.
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol, get_type_hints

import msgspec
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from tevit.limits import input_limits
from tevit.video.decode import DecodeReport, decode_frames, display_matrix, open_container, stated_span, video_stream
from tevit.video.overlay import MP4_SOUND
from tevit.video.reader import Frame, Video

from ..isolation import Check, isolated, isolated_items


class Readable(Protocol):
    """name: for messages."""

    @property
    def name(self) -> str: ...

    def read(self) -> Video:
        """Open it in this process. Raises: ValueError, OSError."""
        ...


def open_isolated(source: Readable, check: Check | None = None) -> Video:
    """`source.read()` in a worker process; frames are decoded in one, too, and `check` is called while they are waited
    for. Raises: as `isolated`."""
    facts = msgspec.structs.asdict(isolated(_read_facts, source, returns=_Facts, subject=source.name, check=check))
    height, width = facts["size_hw"]
    input_limits().check_size(width, height, source.name)
    return _IsolatedVideo(**facts, source=source, check=check)


# The fields of `Video`, as a worker answers with them.
_Facts = msgspec.defstruct("_Facts", list(get_type_hints(Video).items()))


class _FrameInfo(msgspec.Struct):
    """Of a `Frame`. shape: of its picture."""

    index: int
    time: float
    shape: tuple[int, ...]


def _read_facts(source: Readable) -> msgspec.Struct:
    video = source.read()
    return _Facts(**{name: getattr(video, name) for name in _Facts.__struct_fields__})


def _read_frames(source: Readable) -> Any:
    """Yields each frame's facts and picture; returns the warnings."""
    video = source.read()
    for frame in video.frames():
        yield _FrameInfo(frame.index, frame.time, frame.rgb.shape), frame.rgb
    return video.warnings


@dataclass(eq=False)
class _IsolatedVideo(Video):
    source: Readable = field(kw_only=True)
    check: Check | None = field(kw_only=True)

    def __getstate__(self) -> dict[str, Any]:
        """Without `check`, for another process, as where GPUs are lent: it cannot be stopped there."""
        return vars(self) | {"check": None}

    def frames(self) -> Iterator[Frame]:
        self.warnings[:] = self.notes
        self.warnings[:] = yield from self._frames()

    def _frames(self) -> Any:
        frames = isolated_items(
            _read_frames,
            self.source,
            info=_FrameInfo,
            returns=list[str],
            buffer=self._picture,
            subject=self.source.name,
            check=self.check,
        )
        while True:
            try:
                info, rgb = next(frames)
            except StopIteration as end:
                return end.value
            yield Frame(info.index, info.time, rgb)

    def _picture(self, info: _FrameInfo) -> np.ndarray:
        """Raises: ValueError where the file has changed since it was opened."""
        shape = (*self.size_hw, 3)
        if info.shape != shape:
            raise ValueError(f"{self.source.name}: expected frames of shape {shape}, got {info.shape}")
        return np.empty(shape, np.uint8)


KEYFRAME_DISTANCE = 250  # frames, what x264 allows; to decode them takes 0.3 s of processor time at 1280x720
MIN_INTERVAL = Fraction(1, 250)  # seconds between frames; the page tells times apart that differ by a millisecond
FINE_TICKS = 8  # ticks of a file's clock between frames from which on rounding to them is no change of rate
# Containers, with the codecs that browsers play in them.
_PICTURE = {".mp4": ("h264", "vp9", "av1"), ".webm": ("vp9", "av1")}
_SOUND = {".mp4": MP4_SOUND, ".webm": ("opus", "vorbis")}
_PROFILES = ("Constrained Baseline", "Baseline", "Main", "High", "Profile 0")  # 8 bits, 4:2:0
_PIXELS = ("yuv420p", "yuvj420p")
_TAGS = ("avc1", "vp09", "av01")  # of mp4: parameters that stand in the header, once
_WEBM = b"\x42\x82\x84webm"  # the element DocType
_UPRIGHT = (1 << 16, 0, 0, 1 << 16)  # a display matrix in fixed point


class NotPlayableError(ValueError):
    """Why a file is not served as it is."""


@dataclass(frozen=True)
class FrameTable:
    """suffix: of a file with this container. times: of all frames, seconds, strictly increasing."""

    suffix: str
    size_hw: tuple[int, int]
    times: tuple[float, ...]


@dataclass
class _Packets:
    """Of a video stream, in the file's order. stamps: presentation times in ticks. keys: places of keyframes.
    end: of all streams, seconds. fault: "" or why they cannot be trusted."""

    stamps: list[int] = field(default_factory=list)
    keys: list[int] = field(default_factory=list)
    end: float = 0.0
    fault: str = ""


def read_frame_table(path: Path, max_side: int) -> FrameTable:
    """The times of a file's frames. max_side: of its pictures, pixels.

    Raises: NotPlayableError; ValueError, OSError, LimitError as `open_container` and `video_stream`.
    """
    with closing(open_container(path)) as container:
        stream = video_stream(container, path)
        suffix = _suffix(container, path)
        _refuse(_stream_faults(container, stream, suffix))
        packets = _read_packets(container, stream, path)
        _refuse(_packet_faults(container, stream, packets))
        container.seek(0)
        first = next(decode_frames(container, stream, DecodeReport()), None)
        if first is None or first.pts != 0:
            raise NotPlayableError("its first frame cannot be decoded")
        _refuse(_picture_faults(stream, first, max_side))
        base = stream.time_base or Fraction(0)
        times = tuple(seconds_of(stamp, base) for stamp in sorted(packets.stamps))
        return FrameTable(suffix, (first.height, first.width), times)


def seconds_of(stamp: int, base: Fraction) -> float:
    """The time of a stamp in ticks of `base` seconds."""
    return float(stamp * base)


def stamp_of(seconds: float, base: Fraction) -> int:
    """The stamp that has this time, also where the time was rounded, by less than half a tick."""
    return round(Fraction(seconds) / base)


def _refuse(faults: Iterator[str]) -> None:
    for fault in faults:
        raise NotPlayableError(fault)


def _suffix(container: InputContainer, path: Path) -> str:
    """The key of `_PICTURE`, "" for any other container."""
    if "mp4" in container.format.name.split(","):
        return ".mp4"
    with path.open("rb") as file:  # FFmpeg reads Matroska's other kinds alike
        is_webm = container.format.name == "matroska,webm" and _WEBM in file.read(256)
    return ".webm" if is_webm else ""


def _stream_faults(container: InputContainer, stream: VideoStream, suffix: str) -> Iterator[str]:
    if not suffix:
        yield f"its container is {container.format.name}"
        return
    sound = container.streams.audio
    # Other streams may say where it was recorded, and with another file nobody else gets them.
    if len(container.streams) != 1 + len(sound) or len(sound) > 1:
        yield f"it holds {len(container.streams)} streams"
    if any("location" in key.lower() for key in (*container.metadata, *stream.metadata)):
        yield "it says where it was recorded"
    codec = stream.codec_context
    if codec.codec.canonical_name not in _PICTURE[suffix]:
        yield f"its codec is {codec.codec.canonical_name}"
    if codec.profile not in _PROFILES or codec.pix_fmt not in _PIXELS:
        yield f"its pixels are {codec.pix_fmt}, its profile {codec.profile}"
    if suffix == ".mp4" and codec.codec_tag not in _TAGS:
        yield f"its codec's tag is {codec.codec_tag}"
    for other in sound:
        if other.codec_context is None or other.codec_context.codec.canonical_name not in _SOUND[suffix]:
            yield "its sound has another codec"
    if {stream.sample_aspect_ratio, codec.sample_aspect_ratio} - {None, Fraction(0), Fraction(1)}:
        yield f"its pixels are {stream.sample_aspect_ratio} wide"


def _read_packets(container: InputContainer, stream: VideoStream, path: Path) -> _Packets:
    """Raises: LimitError for too many frames."""
    packets, limits = _Packets(), input_limits()
    try:
        for packet in container.demux():
            if not packet.size:
                continue
            if packet.pts is not None:
                packets.end = max(packets.end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream.index != stream.index:
                continue
            if packet.pts is None or packet.is_discard or packet.is_corrupt or packet.has_sidedata("new_extradata"):
                packets.fault = (
                    f"its frame {len(packets.stamps)} has no time, is left out or damaged, or changes the format"
                )
                break
            limits.check("frames", len(packets.stamps) + 1, str(path))
            if packet.is_keyframe:
                packets.keys.append(len(packets.stamps))
            packets.stamps.append(packet.pts)
    except FFmpegError:
        packets.fault = "it is damaged"
    return packets


def _packet_faults(container: InputContainer, stream: VideoStream, packets: _Packets) -> Iterator[str]:
    if packets.fault:
        yield packets.fault
        return
    stamps, keys, base = packets.stamps, packets.keys, stream.time_base or Fraction(0)
    if len(stamps) < 2 or min(stamps) != 0:
        yield "its first frame is not at 0, or its only one"
        return
    steps = [after - before for before, after in pairwise(sorted(stamps))]
    if max(steps) - min(steps) > (min(steps) >= FINE_TICKS):
        yield "its rate is not constant"
    if min(steps) * base < MIN_INTERVAL:
        yield "its rate is too high"
    # The number in the header of an mp4; 0 in one of fragments, whose frames browsers find late.
    if container.format.name != "matroska,webm" and stream.frames != len(stamps):
        yield f"it states {stream.frames} frames and holds {len(stamps)}"
    end = stated_span(container, stream)[1]
    if end is None or packets.end < end - float(2 * max(steps) * base):
        yield "its length is not stated, or it is cut off"
    edges = [*keys, len(stamps)]
    if keys[:1] != [0] or max(after - before for before, after in pairwise(edges)) > KEYFRAME_DISTANCE:
        yield f"its keyframes are more than {KEYFRAME_DISTANCE} frames apart"
    # Frames behind a keyframe that are shown before it need those of before: a seek to them fails.
    if any(min(stamps[first:stop]) != stamps[first] for first, stop in pairwise(edges)):
        yield "frames before a keyframe follow it"


def _picture_faults(stream: VideoStream, first: VideoFrame, max_side: int) -> Iterator[str]:
    codec, sides = stream.codec_context, (first.width, first.height)
    if sides != (codec.width, codec.height) or max(sides) > max_side or first.width % 2 or first.height % 2:
        yield f"its frames are {first.width}x{first.height}"
    if first.interlaced_frame or codec.field_order not in (0, 1):  # unknown, progressive
        yield "it is interlaced"
    if first.format.name not in _PIXELS:
        yield f"its pixels are {first.format.name}"
    if display_matrix(first) not in ((1, 0, 0, 1), _UPRIGHT):
        yield "it is rotated or mirrored"
