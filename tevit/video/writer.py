"""Writing H.264 in mp4 as browsers play it, with the sound of another file."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import cv2
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.error import FFmpegError
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from av.video.stream import VideoStream

from tevit.io.files import atomic
from tevit.video.decode import open_container, stated_span, video_stream

CLOCK = Fraction(1, 90000)  # the usual clock of video: finer than any frame rate
_ACCURATE = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
_BT709 = 1  # the code of matrix, primaries and transfer alike
# What both mp4 and browsers take as it is.
_COPIED = ("aac", "mp3", "opus", "flac")
# Decoders need a few packets from before the first sound that is heard.
_RUN_UP = 0.1


class VideoWriter:
    """A context manager that writes an H.264 video; the file appears only when all went well.

    size_hw: height and width of the frames to come, pixels. Odd sizes get one more row or column, the last repeated,
    so that pixels keep their coordinates. fps: states the last frame's duration (the others last until the next).
    audio_from: a file whose sound is carried along, copied where mp4 and browsers take it, else made AAC; from
    `audio_start` on, in seconds since that file's first frame. pixel_aspect: width to height of a pixel. clock: times
    are rounded to its multiples. warnings: what became of the sound, a sentence each.

    yuv420p, BT.709, limited range, a keyframe at least every 15 frames, index at the start of the file.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        size_hw: tuple[int, int],
        *,
        fps: Fraction | None = None,
        audio_from: Path | None = None,
        audio_start: float = 0.0,
        pixel_aspect: Fraction | None = None,
        clock: Fraction = CLOCK,
    ):
        self.warnings: list[str] = []
        self._path = Path(path)
        self._size_hw = size_hw
        self._fps = fps or Fraction(25)
        self._audio_from = audio_from
        self._audio_start = audio_start
        self._pixel_aspect = pixel_aspect
        self._clock = clock
        self._reformatter = VideoReformatter()
        self._stack = ExitStack()
        self._sound: _Sound | None = None
        self._last = -1
        self._sound_end = float("inf")

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            file = stack.enter_context(atomic(self._path))
            options = {"movflags": "+faststart"}
            self._container = stack.enter_context(
                av.open(f"file:{file.resolve()}", "w", "mp4", container_options=options)
            )
            self._stream = self._add_stream(self._container)
            if self._audio_from is not None:
                self._sound = _open_sound(self._audio_from, self._audio_start, self._container, stack, self.warnings)
            stack.push(self._finish)
            self._stack = stack.pop_all()
        return self

    def _add_stream(self, container: OutputContainer) -> VideoStream:
        codec = "libx264" if "libx264" in av.codecs_available else "h264"
        stream = container.add_stream(codec, rate=self._fps, options={"crf": "21", "preset": "veryfast", "bf": "0"})
        assert isinstance(stream, VideoStream)
        stream.height, stream.width = (side + side % 2 for side in self._size_hw)
        stream.pix_fmt = "yuv420p"
        stream.gop_size = 15
        context = stream.codec_context
        context.time_base = self._clock
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = ColorRange.MPEG
        if self._pixel_aspect:
            context.sample_aspect_ratio = self._pixel_aspect
        return stream

    def write(self, rgb: np.ndarray, time: float) -> float:
        """Add a frame: uint8 (H, W, 3), due `time` seconds from the start of the video; times must increase.

        Returns the time that the file states: a whole number of the clock's ticks, later than the frame before.

        Raises: ValueError for a frame of another size.
        """
        if rgb.shape != (*self._size_hw, 3) or rgb.dtype != np.uint8:
            raise ValueError(f"expected a uint8 frame of {(*self._size_hw, 3)}, got {rgb.dtype} of {rgb.shape}")
        frame = self._frame(rgb)
        frame.pts = self._last = max(round(time / self._clock), self._last + 1)
        frame.time_base = self._clock
        self._container.mux(self._stream.encode(frame))
        if self._sound is not None:
            self._sound.carry(time)
        return float(self._last * self._clock)

    def end_sound(self, time: float) -> None:
        """No frame comes any more, and the sound stops at `time` seconds instead of going on to its own end."""
        self._sound_end = time

    def _frame(self, rgb: np.ndarray) -> av.VideoFrame:
        height, width = self._size_hw
        if height % 2 or width % 2:
            rgb = cv2.copyMakeBorder(rgb, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        return self._reformatter.reformat(
            av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            interpolation=_ACCURATE,
        )

    def _finish(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            return
        if self._last < 0:
            raise ValueError(f"{self._path}: no frame was written")
        self._container.mux(self._stream.encode(None))
        if self._sound is not None:
            self._sound.carry(self._sound_end)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._stack.__exit__(kind, error, trace)


def _open_sound(
    path: Path, skip: float, output: OutputContainer, stack: ExitStack, warnings: list[str]
) -> "_Sound | None":
    container = open_container(path)
    stack.callback(container.close)
    if not container.streams.audio:
        return None
    source = container.streams.audio[0]
    if not source.codec_context:
        warnings.append(f"{path.name}: its sound has a format that cannot be read and is left out")
        return None
    start, _ = stated_span(container, video_stream(container, path))
    return _Sound(path.name, container.demux(source), source, output, start + skip, warnings)


class _Sound:
    """Carries the sound of a file over, as far as the pictures have come, on their clock."""

    def __init__(
        self,
        name: str,
        packets: Iterator[av.Packet],
        source: AudioStream,
        output: OutputContainer,
        start: float,
        warnings: list[str],
    ):
        self._name = name
        self._start = start
        self._output = output
        self._warnings = warnings
        self._copied = source.codec.canonical_name in _COPIED
        self._stream = output.add_stream_from_template(source) if self._copied else _aac(source, output)
        self._ready = self._convert(packets)
        self._next: tuple[float, list[av.Packet]] | None = (0.0, [])

    def carry(self, until: float) -> None:
        """Write the sound up to `until` seconds; what is broken ends it with a warning."""
        while self._next is not None and self._next[0] <= until:
            try:
                self._output.mux(self._next[1])
                self._next = next(self._ready, None)
            except FFmpegError as error:
                self._warnings.append(f"{self._name}: its sound is damaged and ends early ({error.strerror})")
                self._next = None

    def _convert(self, packets: Iterator[av.Packet]) -> Iterator[tuple[float, list[av.Packet]]]:
        """Packets to write, each with the second from which they are heard."""
        for packet in packets:
            if packet.dts is None or packet.pts is None:
                continue
            time = float(packet.pts * packet.time_base) - self._start
            if time >= -_RUN_UP:
                yield time, self._copy(packet) if self._copied else self._encode(packet)
        if not self._copied:
            yield float("inf"), self._stream.encode(None)

    def _copy(self, packet: av.Packet) -> list[av.Packet]:
        shift = round(self._start / packet.time_base)
        packet.stream = self._stream
        packet.pts, packet.dts = (packet.pts or 0) - shift, (packet.dts or 0) - shift
        return [packet]

    def _encode(self, packet: av.Packet) -> list[av.Packet]:
        out = []
        for frame in packet.decode():
            frame.pts = frame.pts - round(self._start / frame.time_base) if frame.pts is not None else None
            out += self._stream.encode(frame)
        return out


def _aac(source: AudioStream, output: OutputContainer) -> AudioStream:
    stream = output.add_stream("aac", rate=48000)
    stream.layout = "mono" if source.codec_context.channels == 1 else "stereo"
    return stream
