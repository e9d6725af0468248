"""Generated video files of every kind: containers, times, orientation, colours; damaged files and other errors."""

import gc
import itertools
import os
from fractions import Fraction
from pathlib import Path
from typing import cast
from unittest.mock import patch

import av
import numpy as np
import pytest
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition

from tests.oracle import crc
from tests.pictures import COLORS, SIZE, bar, pictures, quadrants, times, write_images, write_video
from tevit.video import decode
from tevit.video.decode import Clock, DecodeReport, decode_frames, open_container
from tevit.video.overlay import VideoWriter
from tevit.video.reader import open_pipe, open_video

CONTAINERS = {
    "a.mp4": ("libx264", "yuv420p"),
    "a.mov": ("libx264", "yuv420p10le"),
    "a.mkv": ("libx264", "yuv444p"),
    "a.webm": ("libvpx-vp9", "yuv420p"),
    "a.avi": ("mpeg4", "yuv420p"),
    "b-frames.avi": ("libx264", "yuv420p"),
    "a.gif": ("gif", "rgb8"),
    "a.ts": ("libx264", "yuv420p"),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_all_containers(tmp_path, name):
    codec, pix_fmt = CONTAINERS[name]
    options = {"bf": "2", "b_strategy": "0", "sc_threshold": "0"} if name == "b-frames.avi" else None
    path = write_video(tmp_path / name, pictures(12), codec=codec, pix_fmt=pix_fmt, options=options)
    video = open_video(path)
    next(video.frames())
    frames = list(video.frames())  # every pass starts from the first frame
    assert [bar(frame.rgb) for frame in frames] == list(range(12))
    assert [frame.index for frame in frames] == list(range(12))
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(12) / 10, atol=1e-9)
    assert video.warnings == []
    assert (video.size_hw, video.length, video.fps, video.has_audio) == (SIZE, 12, 10, False)
    assert video.duration == pytest.approx(1.2)
    assert all(frame.rgb.shape == (*SIZE, 3) and frame.rgb.flags.c_contiguous for frame in frames)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov"])
def test_variable_frame_rate_keeps_its_times(tmp_path, name):
    due = [Fraction(t, 1000) for t in (0, 40, 41, 500, 2000, 2033)]
    assert times(write_video(tmp_path / name, pictures(6), due)) == pytest.approx([float(t) for t in due], abs=1e-6)


def test_times_count_from_the_first_frame(tmp_path):
    due = [Fraction(3) + Fraction(t, 10) for t in range(4)]
    assert times(write_video(tmp_path / "late.mkv", pictures(4), due)) == pytest.approx([0, 0.1, 0.2, 0.3])


def test_frames_without_times_follow_at_the_average_rate(tmp_path):
    path = write_video(tmp_path / "raw.h264", pictures(6), fps=25)
    with av.open(str(path)) as container:
        assert all(frame.pts is None for frame in container.decode(video=0)), "the file should have no times"
    assert np.diff(times(path)) == pytest.approx([0.04] * 5)
    for video in (open_video(path), open_pipe(path.open("rb"))):
        list(video.frames())
        text = "6 frames have no time stamp and follow the one before at 25 frames a second"
        assert [warning.partition(": ")[2] for warning in video.warnings] == [text]


def test_times_increase_even_where_the_file_repeats_them():
    def due(pts: int | None) -> av.VideoFrame:
        frame = av.VideoFrame(2, 2)
        frame.pts, frame.time_base = pts, Fraction(1, 10)
        return frame

    clock = Clock(by_dts=False, step=Fraction(1, 10))
    assert [clock.seconds(due(pts)) for pts in (5, 6, 6, 5, 8, None)] == [0, 0.1, 0.101, 0.102, 0.3, 0.4]


@pytest.mark.parametrize(
    ("stamps", "expected", "jumps"),
    [
        # concatenated: from the jump on, times continue by the frame's step
        ((0, 1, 2, 0, 1, 2, 3), [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [(3, 0.3)]),
        ((0, 1, 2, 3, 0, 1, 2, 3, 0, 1), [t / 10 for t in range(10)], [(4, 0.4), (8, 0.8)]),
        # frames without a stamp before those that start at 0
        ((None, None, None, 0, 1), [0, 0.1, 0.2, 0.3, 0.4], [(3, 0.3)]),
        # one wrong stamp: the others keep their times
        ((0, 1, 2, 3, 0, 5, 6), [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [(4, 0.4)]),
    ],
)
def test_time_that_goes_back_continues(stamps, expected, jumps):
    clock = Clock(by_dts=False, step=Fraction(1, 10))
    times = []
    for stamp in stamps:
        frame = av.VideoFrame(2, 2)
        frame.pts, frame.time_base = stamp, Fraction(1, 10)
        times.append(clock.seconds(frame))
    assert times == pytest.approx(expected) and clock.jumps == [(i, pytest.approx(t)) for i, t in jumps]
    assert clock.untimed == stamps.count(None)


@pytest.mark.parametrize("copies", [2, 3])
def test_concatenated_transport_streams(tmp_path, copies):
    one = write_video(tmp_path / "one.ts", pictures(12), fps=12)
    (tmp_path / "all.ts").write_bytes(one.read_bytes() * copies)
    video = open_video(tmp_path / "all.ts")
    frames = list(video.frames())
    assert [bar(frame.rgb) for frame in frames] == [*range(12)] * copies
    assert [frame.time for frame in frames] == pytest.approx(np.arange(12 * copies) / 12)
    places = ", ".join(f"{12 * n} ({n:.2f} s)" for n in range(1, copies))
    assert video.warnings == [f"all.ts: time stamps go back at frame {places}; times continue from there"]


TURNS = {
    (0, False, False): lambda x: x,
    (90, False, False): lambda x: np.rot90(x, 1),
    (180, False, False): lambda x: np.rot90(x, 2),
    (-90, False, False): lambda x: np.rot90(x, -1),
    (0, True, False): lambda x: x[:, ::-1],
    (0, False, True): lambda x: x[::-1],
}


@pytest.mark.parametrize("rotation", TURNS)
def test_frames_are_upright(tmp_path, rotation):
    shot = quadrants(SIZE)
    path = write_video(tmp_path / "a.mp4", [shot] * 3, rotation=rotation, options={"crf": "5"})
    video = open_video(path)
    upright = TURNS[rotation](shot)
    frames = [frame.rgb for frame in video.frames()]
    assert video.size_hw == upright.shape[:2]
    assert all(np.abs(rgb.astype(int) - upright).mean() < 12 for rgb in frames)


@pytest.mark.parametrize("size_hw", [(47, 63), (48, 63), (1, 1), (2, 6)])
def test_odd_sizes_are_read(tmp_path, size_hw):
    path = write_video(tmp_path / "a.webm", pictures(3, size_hw), codec="libvpx-vp9", pix_fmt="yuv420p")
    assert [frame.rgb.shape for frame in open_video(path).frames()] == [(*size_hw, 3)] * 3


MATRICES = {"BT.601": (0.299, 0.114, 6), "BT.709": (0.2126, 0.0722, 1), "BT.2020": (0.2627, 0.0593, 9)}


def flat_video(path: Path, size_hw: tuple[int, int], matrix: str, full: bool, bits: int, tagged: bool) -> Path:
    """One frame in each of `COLORS`, converted by the textbook formula of the matrix."""
    red, blue, tag = MATRICES[matrix]
    pix_fmt = "yuv420p" if bits == 8 else "yuv420p10le"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "1"})
        stream.height, stream.width = size_hw
        stream.pix_fmt = pix_fmt
        stream.codec_context.colorspace = tag if tagged else 2
        stream.codec_context.color_range = 2 if full else 1
        for index, rgb in enumerate(COLORS):
            r, g, b = (level / 255 for level in rgb)
            y = red * r + (1 - red - blue) * g + blue * b
            u, v = (b - y) / (2 * (1 - blue)), (r - y) / (2 * (1 - red))
            levels = (y * 255, u * 255 + 128, v * 255 + 128) if full else (16 + 219 * y, 128 + 224 * u, 128 + 224 * v)
            if full and bits == 10:
                levels = (y * 255.75, u * 255.75 + 128, v * 255.75 + 128)
            frame = av.VideoFrame(size_hw[1], size_hw[0], pix_fmt)
            for plane, level in zip(frame.planes, levels, strict=True):
                kind = np.uint8 if bits == 8 else np.uint16
                count = plane.buffer_size // np.dtype(kind).itemsize
                plane.update(np.full(count, round(level * 2 ** (bits - 8)), kind).tobytes())
            frame.pts, frame.time_base = index, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(("matrix", "full", "bits"), list(itertools.product(MATRICES, (False, True), (8, 10))))
def test_colours_follow_the_stated_matrix_and_range(tmp_path, matrix, full, bits):
    path = flat_video(tmp_path / "a.mp4", SIZE, matrix, full, bits, tagged=True)
    for frame, rgb in zip(open_video(path).frames(), COLORS, strict=True):
        assert np.abs(frame.rgb.astype(int) - rgb).max() <= 2, (frame.rgb[0, 0], rgb)


@pytest.mark.parametrize(("size_hw", "matrix"), [((48, 64), "BT.601"), ((16, 1280), "BT.709"), ((578, 16), "BT.709")])
def test_an_unstated_matrix_is_decided_by_size(tmp_path, size_hw, matrix):
    path = flat_video(tmp_path / "a.mp4", size_hw, matrix, False, 8, tagged=False)
    for frame, rgb in zip(open_video(path).frames(), COLORS, strict=True):
        assert np.abs(frame.rgb.astype(int) - rgb).max() <= 2, (frame.rgb[0, 0], rgb)


# --- wrong and broken files


def test_a_missing_file_is_an_error():
    with pytest.raises(FileNotFoundError, match=r"gone\.mp4: no such file or folder"):
        open_video("gone.mp4")


@pytest.mark.parametrize("content", [b"", b"hello, this is text\n" * 50, os.urandom(3000), b"[section]\nname = 1\n"])
def test_a_file_that_is_no_video_is_an_error(tmp_path, content):
    for name in ("a.mp4", "a.txt", "a.m3u8"):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"not a readable video|not a video|neither video nor sound") as error:
            open_video(path)
        assert str(path) in str(error.value) and "\n" not in str(error.value)


PLAYLISTS = {
    "HLS": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\na.ts\n#EXT-X-ENDLIST\n",
    "DASH": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period></Period></MPD>\n',
    "concat": "ffconcat version 1.0\nfile a.ts\n",
    "IMF": '<?xml version="1.0"?>\n<CompositionPlaylist xmlns="x"></CompositionPlaylist>\n',
}


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("name", ["list.m3u8", "list.mp4"])
def test_a_playlist_is_refused_before_it_opens_other_files(tmp_path, kind, name):
    (tmp_path / name).write_text(PLAYLISTS[kind])
    with (
        patch.object(av, "open") as opened,
        pytest.raises(ValueError, match=rf"not a video, but a playlist \({kind}\)"),
    ):
        open_container(tmp_path / name)
    opened.assert_not_called()


@pytest.mark.parametrize("kind", PLAYLISTS)
def test_an_unknown_playlist_opens_no_other_files(tmp_path, kind):
    write_video(tmp_path / "a.ts", pictures(3))
    (tmp_path / "list.m3u8").write_text(PLAYLISTS[kind])
    with (
        patch.object(decode, "_PLAYLISTS", ()),
        pytest.raises(ValueError, match=r"Invalid argument|Invalid data found"),
    ):
        open_container(tmp_path / "list.m3u8")


def test_a_file_with_only_audio_is_an_error(tmp_path):
    with av.open(str(tmp_path / "a.m4a"), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=48000)
        for tick in range(5):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 2048), np.int16), "s16", "stereo")
            frame.sample_rate, frame.pts = 48000, tick * 1024
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(ValueError, match=r"a\.m4a: expected a video, but it holds only sound"):
        open_video(tmp_path / "a.m4a")


def test_a_cover_picture_is_no_video(tmp_path):
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=48000)
        cover = container.add_stream("mjpeg", rate=1, pix_fmt="yuvj420p", width=64, height=48)
        cover.disposition = Disposition.attached_pic
        frame = av.VideoFrame.from_ndarray(quadrants(SIZE)).reformat(format="yuvj420p")
        frame.pts, frame.time_base = 0, Fraction(1)
        container.mux([*cover.encode(frame), *cover.encode(None)])
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.int16), "s16", "stereo")
        silence.sample_rate, silence.pts = 48000, 0
        container.mux([*sound.encode(silence), *sound.encode(None)])
    with av.open(str(path)) as container:
        assert container.streams.video, "the file should have a picture"
    with pytest.raises(ValueError, match="it holds only sound"):
        open_video(path)


def test_an_image_with_a_video_suffix_is_an_error(tmp_path):
    folder = write_images(tmp_path / "f", {"a.png": quadrants(SIZE)})
    (folder / "a.png").rename(folder / "a.mp4")
    with pytest.raises(ValueError, match=r"a\.mp4: not a video"):
        open_video(folder / "a.mp4")


def test_frames_before_a_read_error_are_decoded(tmp_path):
    path = write_video(tmp_path / "a.mp4", [quadrants(SIZE)] * 12)

    class Failing:
        def __init__(self, container):
            self.format, self._packets = container.format, container.demux()

        def demux(self):
            yield from (packet for packet in self._packets if packet.size)
            raise FFmpegError(5, "the disk failed")

    with av.open(str(path)) as container:
        failing, stream = cast(InputContainer, Failing(container)), container.streams.video[0]
        assert len(list(decode_frames(failing, stream, DecodeReport()))) == 12


def test_a_video_without_frames_is_an_error(tmp_path):
    path = write_video(tmp_path / "a.mkv", pictures(2))
    with av.open(str(path)) as source, av.open(str(tmp_path / "none.mkv"), "w") as out:
        out.add_stream_from_template(source.streams.video[0], opaque=True)
        out.start_encoding()
    with pytest.raises(ValueError, match=r"none\.mkv"):
        open_video(tmp_path / "none.mkv")


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm", "a.avi"])
def test_a_truncated_file_is_decoded_up_to_the_cut_with_a_warning(tmp_path, name):
    codec = CONTAINERS[name][0]
    path = write_video(tmp_path / f"whole-{name}", pictures(40, (96, 128)), codec=codec)
    data = path.read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) * 6 // 10])
    video = open_video(tmp_path / name)
    frames = list(video.frames())
    with av.open(str(tmp_path / name)) as container:
        packets = sum(packet.size > 0 for packet in container.demux(video=0))
    assert 8 < packets - 1 <= len(frames) < 40, "all but the packet at the cut are decoded"
    whole = [frame.rgb for frame in open_video(path).frames()]
    for frame in frames[: len(frames) - 3]:
        np.testing.assert_array_equal(frame.rgb, whole[frame.index])
    assert f"{name} is cut off: {len(frames)} of {video.length} frames could be read" in video.warnings[0]
    warnings = list(video.warnings)
    assert len(list(video.frames())) == len(frames) and video.warnings == warnings, "every pass is the same"


def test_an_mp4_without_its_index_is_an_error(tmp_path):
    path = tmp_path / "a.mp4"
    with VideoWriter(path, SIZE) as writer:
        writer.write(pictures(1)[0], 0)
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"moov")])
    with pytest.raises(ValueError, match="not a readable video, or cut off before its index"):
        open_video(path)


def test_damage_is_reported(tmp_path):
    path = write_video(tmp_path / "a.mp4", pictures(40, (96, 128)))
    data = bytearray(path.read_bytes())
    for place in np.random.default_rng(0).integers(len(data) // 3, len(data) * 2 // 3, 30):
        data[place] ^= 0xFF
    path.write_bytes(data)
    video = open_video(path)
    first, second = ([crc(frame.rgb) for frame in video.frames()] for _ in range(2))
    assert first == second and len(first) > 20
    assert any("a.mp4 is damaged" in warning for warning in video.warnings)


def test_frames_of_another_size_are_scaled(tmp_path):
    small, large = (write_video(tmp_path / f"{h}.ts", pictures(5, (h, 64))) for h in (48, 96))
    (tmp_path / "a.ts").write_bytes(small.read_bytes() + large.read_bytes())
    video = open_video(tmp_path / "a.ts")
    assert {frame.rgb.shape for frame in video.frames()} == {(48, 64, 3)}
    assert any("frames of another size were scaled to 64x48" in warning for warning in video.warnings)


def test_memory_does_not_grow_with_the_video(tmp_path):
    size_hw = (360, 640)
    shot = quadrants(size_hw)
    path = write_video(
        tmp_path / "long.mp4", (np.roll(shot, 4 * i, 1) for i in range(320)), options={"preset": "ultrafast"}
    )
    gc.collect()
    gc.disable()  # so that reference cycles count
    try:
        sizes = [resident() for frame in open_video(path).frames() if frame.index in (20, 319)]
    finally:
        gc.enable()
    frame_mb = size_hw[0] * size_hw[1] * 3 / 2**20
    assert sizes[1] - sizes[0] < 30 * frame_mb, sizes


def resident() -> float:
    """Resident memory of this process, MB; skips the test where there is no /proc."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("needs /proc")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
