"""Frames and times of torchcodec are PyAV's, bit for bit: by the package where it is installed, and by a fake of it.

The fake has the package's demuxer and decoder; it also gives the pixel formats of NVDEC.
"""

import sys
import threading
from collections.abc import Iterator
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import torch
from av.error import FFmpegError

from tests.pictures import SIZE, pictures, quadrants, write_images, write_video
from tevit.video.reader import open_video


def missing() -> str:
    """Why the package cannot be used; empty where it can."""
    if find_spec("torchcodec") is None:
        return "needs the package torchcodec, which is not installed"
    try:
        from torchcodec.decoders import Demuxer  # pyright: ignore[reportMissingImports]

        Demuxer(b"")
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        return f"torchcodec finds no FFmpeg: {reason}" if "libtorchcodec" in reason else ""
    return ""


def samples(frame: av.VideoFrame) -> list[torch.Tensor]:
    """A tensor for each component, as torchcodec has them: views of rows that are longer."""
    wide = "10" in frame.format.name
    planes = []
    for plane in frame.planes:
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size).copy()
        planes.append(torch.from_numpy(rows.view(np.uint16 if wide else np.uint8)))
    components = frame.format.components
    if frame.format.name in ("nv12", "p010le"):
        views = [planes[0], planes[1][:, 0::2], planes[1][:, 1::2]]
    else:
        views = [planes[component.plane] for component in components]
    return [view[: part.height, : part.width] for view, part in zip(views, components, strict=True)]


def fake_package(surface: str | None) -> dict[str, ModuleType]:
    """torchcodec and its module of decoders. surface: the pixel format of all frames; None for the file's own."""

    class Demuxer:
        def __init__(self, source: Path, *, streams: int):
            self._container = av.open(str(source))
            stream = self._container.streams[streams]
            self._packets = self._container.demux(stream)
            self.streams = (SimpleNamespace(make_decoder=lambda device: Decoder(stream)),)

        def __iter__(self) -> Iterator[av.Packet]:
            yield from (packet for packet in self._packets if packet.size)

    class Decoder:
        def __init__(self, stream: Any):
            self._stream = stream

        def decode(self, packet: av.Packet | None) -> list[Any]:
            try:
                return [self._raw(frame) for frame in self._stream.decode(packet)]
            except FFmpegError as error:
                raise RuntimeError("Failed to send packet to decoder") from error

        def drain(self) -> list[Any]:
            return self.decode(None)

        def _raw(self, frame: av.VideoFrame) -> Any:
            base = self._stream.time_base
            seconds = float("nan") if frame.pts is None else float(frame.pts * base)
            frame = frame.reformat(format=surface) if surface else frame
            size = {"width": frame.width, "height": frame.height, "pixel_format": frame.format.name}
            return SimpleNamespace(**size, pts_seconds=seconds, duration_seconds=0.1, planes=samples(frame))

    parent, decoders = ModuleType("torchcodec"), ModuleType("torchcodec.decoders")
    decoders.__dict__["Demuxer"] = Demuxer
    return {"torchcodec": parent, "torchcodec.decoders": decoders}


@pytest.fixture(params=["package", "fake"])
def torchcodec(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "package" and (reason := missing()):
        pytest.skip(reason)
    if request.param == "fake":
        use_fake(monkeypatch)
    return request.param


def use_fake(monkeypatch: pytest.MonkeyPatch, surface: str | None = None) -> None:
    for name, module in fake_package(surface).items():
        monkeypatch.setitem(sys.modules, name, module)


def assert_same(path: Path) -> None:
    """The same frames, times and properties; a second pass is the same."""
    expected, video = open_video(path), open_video(path, decoder="torchcodec")
    assert (video.size_hw, video.length, video.fps, video.name) == (
        expected.size_hw,
        expected.length,
        expected.fps,
        expected.name,
    )
    frames = list(expected.frames())
    for _ in range(2):
        decoded = list(video.frames())
        assert [(frame.index, frame.time) for frame in decoded] == [(frame.index, frame.time) for frame in frames]
        for one, other in zip(decoded, frames, strict=True):
            np.testing.assert_array_equal(one.rgb, other.rgb)
        assert video.warnings == expected.warnings


KINDS = {
    "a.mp4": {},
    "a.mov": {"pix_fmt": "yuv420p10le"},
    "a.mkv": {"pix_fmt": "yuv444p"},
    "a.webm": {"codec": "libvpx-vp9"},
    "full.mp4": {"pix_fmt": "yuvj420p"},
    "rgb.mkv": {"codec": "libx264rgb", "pix_fmt": "rgb24"},
    "turned.mp4": {"rotation": (90, False, False)},
    "mirrored.mp4": {"rotation": (0, True, False)},
    "late.mkv": {"times": [Fraction(3) + Fraction(t, 1000) for t in (0, 40, 41, 500, 2000, 2033)]},
    "b-frames.mp4": {"options": {"bf": "2", "b_strategy": "0", "sc_threshold": "0"}},
    "raw.h264": {},
}


@pytest.mark.parametrize("name", KINDS)
def test_frames_and_times_are_those_of_pyav(torchcodec, tmp_path, name):
    assert_same(write_video(tmp_path / name, pictures(6), **KINDS[name]))


def test_odd_sizes_and_times_that_go_back(torchcodec, tmp_path):
    assert_same(write_video(tmp_path / "odd.webm", pictures(3, (47, 63)), codec="libvpx-vp9"))
    one = write_video(tmp_path / "one.ts", pictures(5), fps=12)
    large = write_video(tmp_path / "large.ts", pictures(5, (96, 64)), fps=12)
    (tmp_path / "all.ts").write_bytes(one.read_bytes() + large.read_bytes())
    assert_same(tmp_path / "all.ts")


def test_a_file_that_is_cut_off_is_read_up_to_there(torchcodec, tmp_path):
    data = write_video(tmp_path / "whole.mp4", pictures(40, (96, 128))).read_bytes()
    (tmp_path / "a.mp4").write_bytes(data[: len(data) * 6 // 10])
    video, expected = (
        open_video(tmp_path / "a.mp4", decoder="torchcodec"),
        list(open_video(tmp_path / "a.mp4").frames()),
    )
    frames = list(video.frames())
    assert [frame.time for frame in frames] == [frame.time for frame in expected]
    assert f"a.mp4 is cut off: {len(frames)} of 40 frames could be read" in video.warnings[0]


@pytest.mark.parametrize(
    ("surface", "kind"), [("nv12", "yuv420p"), ("nv12", "yuvj420p"), ("p010le", "yuv420p10le")], ids=str
)
def test_frames_in_the_formats_of_nvdec_are_the_same(surface, kind, tmp_path, monkeypatch):
    use_fake(monkeypatch, surface)
    assert_same(write_video(tmp_path / "a.mp4", pictures(4), pix_fmt=kind))


def test_a_format_that_is_not_known_to_be_the_same_is_an_error(tmp_path, monkeypatch):
    use_fake(monkeypatch, "nv12")
    path = write_video(tmp_path / "a.mp4", pictures(2), pix_fmt="yuv444p")
    with pytest.raises(ValueError, match=r"a\.mp4: --decoder torchcodec does not read pixels of format nv12"):
        list(open_video(path, decoder="torchcodec").frames())


def test_threads_end_with_the_consumer(torchcodec, tmp_path):
    path = write_video(tmp_path / "a.mp4", pictures(30))
    frames = open_video(path, decoder="torchcodec").frames()
    assert next(frames).index == 0
    frames.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert not any(thread.name.startswith("rgb") for thread in threading.enumerate())


def test_avi_and_what_torchcodec_cannot_open_are_errors(tmp_path, monkeypatch):
    use_fake(monkeypatch)
    with pytest.raises(ValueError, match=r"a\.avi: --decoder torchcodec does not read the times of AVI"):
        open_video(write_video(tmp_path / "a.avi", pictures(2), codec="mpeg4"), decoder="torchcodec")

    def failing(source: Path, *, streams: int) -> None:
        raise RuntimeError("Could not load libtorchcodec.\nA long list of reasons")

    monkeypatch.setattr(sys.modules["torchcodec.decoders"], "Demuxer", failing)
    path = write_video(tmp_path / "a.mp4", pictures(2))
    with pytest.raises(ValueError, match=r"a\.mp4: .* torchcodec cannot open it \(it finds no FFmpeg libraries"):
        open_video(path, decoder="torchcodec")


def test_without_the_package_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchcodec", None)
    monkeypatch.delitem(sys.modules, "torchcodec.decoders", raising=False)
    with pytest.raises(ValueError, match=r"--decoder torchcodec: it needs .* pip install 'tevit-studio\[torchcodec\]'"):
        open_video(write_video(tmp_path / "a.mp4", pictures(2)), decoder="torchcodec")


def test_images_are_read_as_ever(tmp_path):
    folder = write_images(tmp_path / "f", {"a.png": quadrants(SIZE)})
    (frame,) = open_video(folder, decoder="torchcodec").frames()
    np.testing.assert_array_equal(frame.rgb, quadrants(SIZE))
