"""Decoding video files with torchcodec, on a CUDA device by NVDEC, to the frames and times that PyAV gives.

torchcodec decodes to the samples of the codec (YUV); they become RGB on the CPU, in threads, as those of PyAV do. What
a file states, its time base and its colours are read with PyAV.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import torch
from av import VideoFrame

from tevit.download import optional_package
from tevit.video.decode import DecodeReport, ToRgb, decode_frames, open_container, stated_span, video_stream
from tevit.video.reader import Frame, Video, pass_warnings, timed_frames, video_properties

THREADS = 4  # that convert to RGB
AHEAD = 8  # frames that are decoded before the first of them is needed
# PyAV's pixel format -> NVDEC's for the same samples.
SURFACES = {"yuv420p": "nv12", "yuvj420p": "nv12", "yuv420p10le": "p010le"}
_FULL_RANGE = 2  # AVCOL_RANGE_JPEG


def open_torchcodec(video: Video, device: str) -> Video:
    """A video file that `open_video` has opened, to be decoded by torchcodec. device: "cpu", or a CUDA device.

    Raises: ValueError where torchcodec or its FFmpeg is missing or cannot read the file, and for AVI.
    """
    with closing(open_container(video.path)) as container:
        if container.format.name == "avi":
            raise ValueError(f"{video.path}: --decoder torchcodec does not read the times of AVI files; leave it out")
        _open(video.path, video_stream(container, video.path).index)
    return _TorchcodecFile(**video_properties(video), device=device)


@dataclass(eq=False)
class _TorchcodecFile(Video):
    device: str = field(kw_only=True)

    def frames(self) -> Iterator[Frame]:
        self.warnings.clear()
        report, converters = DecodeReport(), SimpleQueue[_Converter]()
        with closing(open_container(self.path)) as container:
            stream = video_stream(container, self.path)
            index, base, end = stream.index, stream.time_base or Fraction(1), stated_span(container, stream)[1]
            first = next(decode_frames(container, stream, DecodeReport()))
        for _ in range(THREADS):
            converters.put(_Converter(self.path, first, base, self.device))

        def convert(raw: Any) -> tuple[VideoFrame, np.ndarray]:
            converter = converters.get()
            try:
                return converter(raw)
            finally:
                converters.put(converter)

        with closing(_raw_frames(self.path, index, self.device, report)) as raws:
            with closing(_in_threads(convert, raws)) as pairs:
                yield from timed_frames(self, pairs, report)
        self.warnings += pass_warnings(self, report, end)


def _open(path: Path, index: int) -> Any:
    """torchcodec's demuxer of a stream. Raises: ValueError."""
    optional_package("torchcodec", "--decoder torchcodec", "torchcodec")
    try:
        return import_module("torchcodec.decoders").Demuxer(path, streams=index)
    except (RuntimeError, ImportError, OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        if "libtorchcodec" in reason:
            reason = "it finds no FFmpeg libraries of a version that it can use"
        raise ValueError(f"{path}: --decoder torchcodec: torchcodec cannot open it ({reason})") from None


def _raw_frames(path: Path, index: int, device: str, report: DecodeReport) -> Generator[Any]:
    """torchcodec's frames of a stream, in order; what cannot be decoded is counted in `report`."""
    demuxer = _open(path, index)
    stream = _own_stream(device)

    def decoded(function: Callable[..., list[Any]], *arguments: Any) -> list[Any]:
        try:
            with torch.cuda.stream(stream) if stream else nullcontext():
                frames = function(*arguments)
        except RuntimeError:
            report.damaged += 1
            return []
        if stream:
            stream.synchronize()  # other streams copy the samples
        report.decoded += len(frames)
        report.end = max([report.end, *(frame.pts_seconds + frame.duration_seconds for frame in frames)])
        return frames

    decoder = demuxer.streams[0].make_decoder(device)
    for packet in demuxer:
        yield from decoded(decoder.decode, packet)
    yield from decoded(decoder.drain)


def _own_stream(device: str) -> torch.cuda.Stream | None:
    """A stream on which nothing waits for the model, which has the default one; None on a CPU."""
    return torch.cuda.Stream(device) if device.startswith("cuda") else None


def _in_threads(function: Callable[[Any], Any], items: Iterator[Any]) -> Generator[Any]:
    """`function` of each item, in order, computed by threads for up to AHEAD items in advance."""
    with ThreadPoolExecutor(THREADS, "rgb") as threads:
        pending = deque[Future[Any]]()
        for item in items:
            pending.append(threads.submit(function, item))
            if len(pending) > AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


class _Converter:
    """Makes torchcodec's frames PyAV's, and these RGB; for one thread at a time."""

    def __init__(self, path: Path, first: VideoFrame, base: Fraction, device: str):
        """first: of PyAV, for orientation and colours. base: seconds of a tick. device: that has the samples."""
        self._path, self._base, self._stream = path, base, _own_stream(device)
        self._format, self._matrix = first.format.name, first.colorspace
        self._range = _FULL_RANGE if self._format.startswith("yuvj") else first.color_range
        self._to_rgb = ToRgb(path)
        self._to_rgb(first)
        # What is made of this one has all properties of the first frame, of which some, such as where the samples of
        # the chroma lie, cannot be set.
        self._small = first.reformat(16, 16, "gray16le")

    def __call__(self, raw: Any) -> tuple[VideoFrame, np.ndarray]:
        """Raises: ValueError for a pixel format whose samples are not known to be the same."""
        name = raw.pixel_format
        frame = self._small.reformat(raw.width, raw.height, name)
        owners = [component.plane for component in frame.format.components]
        own = name == self._format and len(set(owners)) == len(owners)
        if not own and name != SURFACES.get(self._format):
            reason = f"does not read pixels of format {name}; leave it out"
            raise ValueError(f"{self._path}: --decoder torchcodec {reason}")
        with torch.cuda.stream(self._stream) if self._stream else nullcontext():
            samples = [component.cpu().numpy() for component in raw.planes]
        for number, plane in enumerate(frame.planes):
            parts = [part for part, owner in zip(samples, owners, strict=True) if owner == number]
            rows = np.stack(parts, 2).reshape(len(parts[0]), -1).view(np.uint8)  # U and V take turns in NVDEC's formats
            np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : rows.shape[1]] = rows
        frame.colorspace, frame.color_range = self._matrix, self._range
        frame.pts = round(raw.pts_seconds / self._base) if np.isfinite(raw.pts_seconds) else None
        frame.time_base = self._base
        return frame, self._to_rgb(frame)
