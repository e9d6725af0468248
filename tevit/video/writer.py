"""Writing H.264 in mp4 as browsers play it, with the audio of another file."""

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
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from av.video.stream import VideoStream

from tevit.io.files import atomic
from tevit.video.decode import ACCURATE, open_container, stated_span, video_stream

CLOCK = Fraction(1, 90000)  # the usual time base of video: finer than any frame rate
_BT709 = 1  # the code of matrix, primaries and transfer
_COPIED = ("aac", "mp3", "opus", "flac")  # audio codecs that both mp4 and browsers support
_RUN_UP = 0.1  # seconds of audio before the start: decoders need a few earlier packets


class VideoWriter:
    """A context manager that writes an H.264 video; the file appears only when all went well.

    yuv420p, BT.709, limited range, a keyframe at least every 15 frames, index at the start of the file. warnings: one
    sentence for each problem with the audio.
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
        """size_hw: of the frames, pixels. Odd sizes get one more row or column, the last one repeated, so that pixels
        keep their coordinates. fps: sets the last frame's duration; the others last until the next. audio_from: a file
        whose audio is added, copied where mp4 and browsers support it, otherwise encoded as AAC. audio_start: seconds
        of it to skip, from that file's first frame. pixel_aspect: width to height of a pixel. clock: times are rounded
        to its multiples."""
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
        self._audio: _AudioCopier | None = None
        self._audio_end = float("inf")
        self._last = -1

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            file = f"file:{stack.enter_context(atomic(self._path)).resolve()}"
            container = stack.enter_context(av.open(file, "w", "mp4", container_options={"movflags": "+faststart"}))
            codec = "libx264" if "libx264" in av.codecs_available else "h264"
            options = {"crf": "21", "preset": "veryfast", "bf": "0"}
            stream = container.add_stream(codec, rate=self._fps, options=options)
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
            self._container, self._stream = container, stream
            if self._audio_from is not None:
                self._audio = _open_audio(self._audio_from, self._audio_start, container, stack, self.warnings)
            stack.push(self._finish)
            self._stack = stack.pop_all()
        return self

    def write(self, rgb: np.ndarray, time: float) -> float:
        """Add a frame: uint8 (H, W, 3), presented `time` seconds from the start; times must increase.
        Returns the time that the file states: a multiple of the clock, later than the previous frame's.
        Raises: ValueError for a frame of another size.
        """
        height, width = self._size_hw
        if rgb.shape != (height, width, 3) or rgb.dtype != np.uint8:
            raise ValueError(f"expected a uint8 frame of {(height, width, 3)}, got {rgb.dtype} of {rgb.shape}")
        if height % 2 or width % 2:
            rgb = cv2.copyMakeBorder(rgb, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        frame = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            interpolation=ACCURATE,
        )
        frame.pts = self._last = max(round(time / self._clock), self._last + 1)
        frame.time_base = self._clock
        self._container.mux(self._stream.encode(frame))
        if self._audio is not None:
            self._audio.copy_until(time)
        return float(self._last * self._clock)

    def end_audio(self, time: float) -> None:
        """End the audio at `time` seconds instead of its own end. To be called after the last frame."""
        self._audio_end = time

    def _finish(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            return
        if self._last < 0:
            raise ValueError(f"{self._path}: no frame was written")
        self._container.mux(self._stream.encode(None))
        if self._audio is not None:
            self._audio.copy_until(self._audio_end)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._stack.__exit__(kind, error, trace)


def _open_audio(
    path: Path, skip: float, output: OutputContainer, stack: ExitStack, warnings: list[str]
) -> "_AudioCopier | None":
    """skip: seconds from the file's first frame. stack: closes the file."""
    container = open_container(path)
    stack.callback(container.close)
    if not container.streams.audio:
        return None
    source = container.streams.audio[0]
    if not source.codec_context:
        warnings.append(f"{path.name}: its sound has a format that cannot be read and is left out")
        return None
    start, _ = stated_span(container, video_stream(container, path))
    return _AudioCopier(path.name, container.demux(source), source, output, start + skip, warnings)


class _AudioCopier:
    """Copies or encodes the audio of a file, interleaved with the frames that are written."""

    def __init__(
        self,
        name: str,
        packets: Iterator[av.Packet],
        source: AudioStream,
        output: OutputContainer,
        start: float,
        warnings: list[str],
    ):
        """start: seconds of the source's clock that become 0."""
        self._name = name
        self._start = start
        self._output = output
        self._warnings = warnings
        self._copied = source.codec.canonical_name in _COPIED
        if self._copied:
            self._stream = output.add_stream_from_template(source)
        else:
            self._stream = output.add_stream("aac", rate=48000)
            self._stream.layout = "mono" if source.codec_context.channels == 1 else "stereo"
        self._packets = self._convert(packets)
        self._next: tuple[float, list[av.Packet]] | None = (0.0, [])

    def copy_until(self, until: float) -> None:
        """Write the audio up to `until` seconds; damaged audio ends there, with a warning."""
        while self._next is not None and self._next[0] <= until:
            try:
                self._output.mux(self._next[1])
                self._next = next(self._packets, None)
            except FFmpegError as error:
                self._warnings.append(f"{self._name}: its sound is damaged and ends early ({error.strerror})")
                self._next = None

    def _convert(self, packets: Iterator[av.Packet]) -> Iterator[tuple[float, list[av.Packet]]]:
        """Packets to write, each with the time in seconds at which they begin."""
        for packet in packets:
            if packet.dts is None or packet.pts is None:
                continue
            time = float(packet.pts * packet.time_base) - self._start
            if time < -_RUN_UP:
                continue
            if self._copied:
                shift = round(self._start / packet.time_base)
                packet.stream = self._stream
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                yield time, [packet]
            else:
                encoded = []
                for frame in packet.decode():
                    frame.pts = frame.pts - round(self._start / frame.time_base) if frame.pts is not None else None
                    encoded += self._stream.encode(frame)
                yield time, encoded
        if not self._copied:
            yield float("inf"), self._stream.encode(None)
