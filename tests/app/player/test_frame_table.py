"""Which files are served as they are, and the times of their frames."""

import os
import random
import subprocess
import sys
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from app.player.decoding import KEYFRAME_DISTANCE, FrameTable, NotPlayableError, read_frame_table, seconds_of, stamp_of
from tests.pictures import SIZE, pictures, write_video
from tevit.limits import LimitError
from tevit.video.reader import open_video

ROOT = Path(__file__).parents[3]
NTSC = Fraction(30000, 1001)
B_FRAMES = {"bf": "3", "x264-params": "b-adapt=0:scenecut=0:keyint=12"}
Make = Callable[[Path], Path]


def read(path: Path, max_side: int = 1920) -> FrameTable:
    return read_frame_table(path, max_side)


def encoded(name: str, count: int = 30, **options: Any) -> Make:
    options = {"fps": 25, **options}
    return lambda folder: write_video(folder / name, pictures(16) * (count // 16 + 1), **options)


def encoded_in_a_process(name: str, codec: str, preset: str) -> Make:
    """As `encoded`. SVT-AV1 gives a process of root the highest real-time priority, which its children inherit."""
    call = (
        f"write_video(Path(sys.argv[1]), pictures(16) * 2, fps=25, codec={codec!r}, options={{'preset': {preset!r}}})"
    )
    lines = ["import sys", "from pathlib import Path", "from tests.pictures import pictures, write_video", call]

    def write(folder: Path) -> Path:
        path = folder / name
        subprocess.run([sys.executable, "-c", "\n".join(lines), path], cwd=ROOT, check=True)
        assert os.sched_getscheduler(0) == os.SCHED_OTHER
        return path

    return write


def copied(
    make: Make,
    name: str,
    options: Mapping[str, str] | None = None,
    shift: int = 0,
    metadata: Mapping[str, str] | None = None,
    format: str | None = None,
) -> Make:
    """The packets of another file, `shift` ticks later. options: of the container's format."""

    def write(folder: Path) -> Path:
        path = folder / name
        with av.open(str(make(folder))) as source, av.open(str(path), "w", format, options=dict(options or {})) as out:
            out.metadata.update(metadata or {})
            stream = out.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.pts is not None and packet.dts is not None:
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = stream
                    out.mux(packet)
        return path

    return write


def cut(make: Make, name: str, packets: int | None = None) -> Make:
    """Two thirds of the bytes, or all of the first `packets` packets."""

    def write(folder: Path) -> Path:
        path = make(folder)
        data = path.read_bytes()
        size = len(data) * 2 // 3
        if packets is not None:
            with av.open(str(path)) as container:
                size = max(packet.pos + packet.size for packet in [*container.demux(video=0)][:packets] if packet.pos)
        (folder / name).write_bytes(data[:size])
        return folder / name

    return write


def doubled(folder: Path) -> Path:
    """With the video in two streams."""
    path = folder / "doubled.mp4"
    with av.open(str(path), "w") as out:
        streams = [out.add_stream("libx264", rate=25) for _ in range(2)]
        for stream in streams:
            stream.height, stream.width = SIZE
        for rgb in pictures(9):
            for stream in streams:
                out.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format="yuv420p")))
        for stream in streams:
            out.mux(stream.encode(None))
    return path


VP9: dict[str, Any] = {"codec": "libvpx-vp9", "sound": "libopus"}
PLAYED: dict[str, Make] = {
    "H.264": encoded("a.mp4"),
    "29.97 with B-frames and sound": encoded("a.mp4", fps=NTSC, options=B_FRAMES, sound="aac"),
    "12.5 a second": encoded("a.mp4", fps=Fraction(25, 2)),
    "full range": encoded("a.mp4", pix_fmt="yuvj420p"),
    "mov": encoded("a.mov"),
    "VP9 in mp4": encoded("a.mp4", codec="libvpx-vp9"),
    "VP9": encoded("a.webm", fps=NTSC, **VP9),
    "AV1": encoded_in_a_process("a.webm", codec="libsvtav1", preset="12"),
    "milliseconds": copied(encoded("b.mp4", fps=60), "a.mp4", {"video_track_timescale": "1000"}),
}


@pytest.mark.parametrize("make", PLAYED.values(), ids=PLAYED)
def test_a_file_that_browsers_play_has_the_frames_and_times_of_its_decoder(make: Make, tmp_path: Path):
    path = make(tmp_path)
    table = read(path)
    frames = list(open_video(path).frames())
    assert table.times == pytest.approx([frame.time for frame in frames], abs=1e-9)
    assert table.size_hw == frames[0].rgb.shape[:2]
    assert table.suffix == (".webm" if path.suffix == ".webm" else ".mp4")


def test_the_files_of_the_table_have_frames_out_of_order(tmp_path: Path):
    with av.open(str(PLAYED["29.97 with B-frames and sound"](tmp_path))) as container:
        stamps = [packet.pts for packet in container.demux(video=0) if packet.pts is not None]
    assert stamps != sorted(stamps)


UNEVEN = [Fraction(n * 40 + 10 * (n == 3), 1000) for n in range(32)]
REFUSED: dict[str, tuple[Make, str]] = {
    "mkv": (encoded("a.mkv"), "container is matroska"),
    "mkv named webm": (copied(encoded("b.mp4"), "a.webm", format="matroska"), "container is matroska"),
    "ts": (encoded("a.ts"), "container is mpegts"),
    "MPEG-4": (encoded("a.mp4", codec="mpeg4"), "codec is mpeg4"),
    "VP8": (encoded("a.webm", codec="libvpx"), "codec is vp8"),
    "10 bits": (encoded("a.mp4", pix_fmt="yuv420p10le"), "pixels are yuv420p10le"),
    "4:4:4": (encoded("a.mp4", pix_fmt="yuv444p"), "pixels are yuv444p"),
    "lossless": (encoded("a.mp4", options={"qp": "0"}), "profile High 4:4:4 Predictive"),
    "rotated": (encoded("a.mp4", rotation=(90, False, False)), "rotated or mirrored"),
    "mirrored": (encoded("a.mp4", rotation=(0, False, True)), "rotated or mirrored"),
    "wide pixels": (encoded("a.mp4", sample_aspect_ratio=2), "pixels are 2 wide"),
    "variable rate": (encoded("a.mp4", times=UNEVEN, count=31), "rate is not constant"),
    "a frame left out": (
        encoded("a.mp4", times=[Fraction(n, 25) for n in [*range(9), *range(10, 33)]], count=31),
        "rate is not constant",
    ),
    "high rate": (encoded("a.mp4", fps=500), "rate is too high"),
    "late start": (copied(encoded("b.mp4"), "a.mp4", shift=512), "not at 0"),
    "late start of webm": (copied(encoded("b.webm", codec="libvpx-vp9"), "a.webm", shift=40), "not at 0"),
    "one frame": (lambda folder: write_video(folder / "a.mp4", pictures(1)), "only one"),
    "interlaced": (encoded("a.mp4", options={"x264-params": "tff=1"}), "interlaced"),
    "keyframes far apart": (
        encoded("a.mp4", count=KEYFRAME_DISTANCE + 1, gop_size=1000, options={"x264-params": "scenecut=0"}),
        "keyframes are more than",
    ),
    "open groups": (
        encoded("a.mp4", options={**B_FRAMES, "x264-params": "b-adapt=0:scenecut=0:keyint=12:open-gop=1"}),
        "before a keyframe",
    ),
    "odd sides": (
        lambda folder: write_video(folder / "a.webm", pictures(9, (47, 63)), codec="libvpx-vp9"),
        "frames are 63x47",
    ),
    "PCM": (encoded("a.mov", sound="pcm_s16le"), "sound has another codec"),
    "another stream": (doubled, "holds 2 streams"),
    "a place": (copied(encoded("b.mp4"), "a.mp4", metadata={"location": "+52.5+013.4/"}), "where it was recorded"),
    "fragments": (
        copied(encoded("b.mp4", options={"bf": "0"}), "a.mp4", {"movflags": "frag_keyframe+empty_moov"}),
        "states 0 frames",
    ),
    "cut off": (cut(encoded("b.mp4"), "a.mp4"), "left out or damaged"),
    "cut off between frames": (cut(encoded("b.mp4"), "a.mp4", packets=20), "it states 32 frames and holds 20"),
    "webm cut off": (cut(encoded("b.webm", codec="libvpx-vp9"), "a.webm"), "cut off"),
    "webm without length": (copied(encoded("b.webm", codec="libvpx-vp9"), "a.webm", {"live": "1"}), "not stated"),
}


@pytest.mark.parametrize(("make", "reason"), REFUSED.values(), ids=REFUSED)
def test_other_files_are_refused_for_their_reason(make: Make, reason: str, tmp_path: Path):
    with pytest.raises(NotPlayableError) as error:
        read(make(tmp_path))
    assert reason in str(error.value)


def test_a_cut_of_the_file_at_its_edit_list_is_refused(tmp_path: Path):
    """As of a phone's app: frames before the first one that is shown are in the file."""
    path = copied(encoded("b.mp4", options=B_FRAMES), "a.mp4", shift=-512 * 4)(tmp_path)
    with av.open(str(path)) as container:
        assert any(packet.is_discard for packet in container.demux(video=0))
    with pytest.raises(NotPlayableError, match="left out"):
        read(path)


def test_large_pictures_and_too_many_frames_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = encoded("a.webm", codec="libvpx-vp9")(tmp_path)
    assert read(path, max_side=SIZE[1]).size_hw == SIZE
    with pytest.raises(NotPlayableError, match=f"frames are {SIZE[1]}x{SIZE[0]}"):
        read(path, max_side=SIZE[1] - 1)
    monkeypatch.setenv("TEVIT_LIMITS", "frames=5")
    with pytest.raises(LimitError, match="frames"):
        read(path)


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), NTSC, Fraction(60000, 1001), Fraction(25, 2), Fraction(240)])
@pytest.mark.parametrize("base", [Fraction(1, 1000), Fraction(1, 600), Fraction(1, 90000), Fraction(1, 10**9)], ids=str)
def test_a_time_gives_the_stamp_that_it_came_from(rate: Fraction, base: Fraction):
    """For a day of frames; also after a detour over microseconds, as browsers count."""
    for frame in [*range(1000), *random.Random(0).choices(range(int(86_400 * rate)), k=1000)]:
        stamp = round(frame / rate / base)
        seconds = seconds_of(stamp, base)
        assert stamp_of(seconds, base) == stamp
        if base > Fraction(1, 10**6):
            assert stamp_of(round(seconds * 10**6) / 10**6, base) == stamp
