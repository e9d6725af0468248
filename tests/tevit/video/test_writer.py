"""Written videos: times, colours, sizes, properties that browsers need, and the audio of another file."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pictures import COLORS, SIZE, bar, onsets, pictures, quadrants, times, write_video
from tevit.video.overlay import VideoWriter
from tevit.video.reader import open_video


def test_written_frames_are_read_back(tmp_path):
    path = tmp_path / "new" / "a.mp4"
    due = [0, 1001 / 30000, 2002 / 30000, 0.5, 0.5001, 7.25]
    with VideoWriter(path, SIZE, fps=Fraction(30000, 1001)) as writer:
        for shot, time in zip(pictures(6), due, strict=True):
            writer.write(shot, time)
    video = open_video(path)
    frames = list(video.frames())
    assert [bar(frame.rgb) for frame in frames] == list(range(6))
    assert [frame.time for frame in frames] == pytest.approx(due, abs=1 / 90000)
    assert video.duration == pytest.approx(7.25 + 1001 / 30000, abs=1e-3), "the last frame lasts too"


@settings(max_examples=10, deadline=None)
@given(st.lists(st.floats(0.0001, 20), min_size=1, max_size=12))
def test_times_are_kept(tmp_path_factory, steps):
    due = np.cumsum([0, *steps])
    path = tmp_path_factory.mktemp("t") / "a.mp4"
    with VideoWriter(path, (16, 16)) as writer:
        for time in due:
            writer.write(np.zeros((16, 16, 3), np.uint8), float(time))
    np.testing.assert_allclose(times(path), due, atol=1 / 90000)


def test_the_file_has_the_properties_that_browsers_need(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", SIZE, pixel_aspect=Fraction(4, 3)) as writer:
        for index in range(40):
            writer.write(quadrants(SIZE), index / 10)
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "the index must come first"
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec.name, stream.pix_fmt, stream.sample_aspect_ratio) == ("h264", "yuv420p", Fraction(4, 3))
        assert (stream.colorspace, stream.color_range, stream.color_primaries, stream.color_trc) == (1, 1, 1, 1)
        keys = [packet.is_keyframe for packet in container.demux(stream) if packet.size]
    assert [index for index, key in enumerate(keys) if key] == [0, 15, 30]
    assert open_video(tmp_path / "a.mp4").pixel_aspect == Fraction(4, 3)


def test_written_colours_are_right(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", SIZE) as writer:
        for index, rgb in enumerate(COLORS):
            writer.write(np.full((*SIZE, 3), rgb, np.uint8), index)
    for frame, rgb in zip(open_video(tmp_path / "a.mp4").frames(), COLORS, strict=True):
        assert np.abs(frame.rgb.astype(int) - rgb).max() <= 4


@pytest.mark.parametrize("size_hw", [(47, 63), (48, 63), (47, 64), (1, 1)])
def test_odd_sizes_get_one_more_row_and_column(tmp_path, size_hw):
    ramp = np.linspace(40, 200, size_hw[1]).astype(np.uint8)[None, :, None].repeat(size_hw[0], 0).repeat(3, 2)
    with VideoWriter(tmp_path / "a.mp4", size_hw) as writer:
        writer.write(ramp, 0)
    rgb = next(open_video(tmp_path / "a.mp4").frames()).rgb
    height, width = size_hw
    assert rgb.shape == (height + height % 2, width + width % 2, 3)
    assert np.abs(rgb[:height, :width].astype(int) - ramp).mean() < 4
    assert np.abs(rgb[:, -1].astype(int) - ramp[0, -1]).mean() < 6


def test_an_error_leaves_no_file(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"an older file")
    with pytest.raises(KeyboardInterrupt), VideoWriter(path, SIZE) as writer:
        writer.write(pictures(1)[0], 0)
        raise KeyboardInterrupt
    with pytest.raises(ValueError, match=r"expected a uint8 frame"), VideoWriter(path, SIZE) as writer:
        writer.write(np.zeros((5, 5, 3), np.uint8), 0)
    with pytest.raises(ValueError, match="no frame was written"), VideoWriter(path, SIZE):
        pass
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"] and path.read_bytes() == b"an older file"


SOUNDS = {
    "aac.mp4": ("libx264", "aac", "aac"),
    "opus.webm": ("libvpx-vp9", "libopus", "opus"),
    "mp3.mkv": ("libx264", "libmp3lame", "mp3"),
    "flac.mkv": ("libx264", "flac", "flac"),
    "pcm.mov": ("libx264", "pcm_s16le", "aac"),
    "ac3.mkv": ("libx264", "ac3", "aac"),
    "adts.ts": ("libx264", "aac", "aac"),
}


@pytest.mark.parametrize("name", SOUNDS)
def test_audio_is_copied_in_sync(tmp_path, name):
    codec, sound, written = SOUNDS[name]
    source = open_video(write_video(tmp_path / name, pictures(25), codec=codec, sound=sound))
    assert source.has_audio
    with VideoWriter(tmp_path / "out.mp4", SIZE, fps=source.fps, audio_from=source.path) as writer:
        for frame in source.frames():
            writer.write(frame.rgb, frame.time)
    assert writer.warnings == []
    assert onsets(tmp_path / "out.mp4") == pytest.approx([0, 1, 2], abs=0.03)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.audio[0].codec.canonical_name == written
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert sum(frame.samples for frame in container.decode(audio=0)) >= 2.5 * 48000 - 1
    if written == "aac" and sound == "aac" and name.endswith("mp4"):
        assert sound_bytes(tmp_path / "out.mp4") == sound_bytes(source.path), "copied, not encoded anew"


def sound_bytes(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


@pytest.mark.parametrize("sound", ["aac", "pcm_s16le"])
def test_audio_stays_in_sync_where_the_video_starts_later(tmp_path, sound):
    due = [Fraction(1) + Fraction(t, 10) for t in range(25)]
    source = open_video(write_video(tmp_path / "a.mkv", pictures(25), due, sound=sound))
    assert source.duration == pytest.approx(2.5, abs=0.05)
    with VideoWriter(tmp_path / "out.mp4", SIZE, audio_from=source.path) as writer:
        for frame in source.frames():
            writer.write(frame.rgb, frame.time)
    assert source.warnings == []
    assert onsets(tmp_path / "out.mp4") == pytest.approx([0, 1], abs=0.06)
    with av.open(str(tmp_path / "out.mp4")) as container:
        early = [packet.pts * packet.time_base for packet in container.demux(audio=0) if packet.pts is not None]
    assert min(early) > -0.15, "what was to be heard before the first picture is left out"


def test_a_source_without_audio_gives_none(tmp_path):
    source = write_video(tmp_path / "a.mp4", pictures(3))
    with VideoWriter(tmp_path / "out.mp4", SIZE, audio_from=source) as writer:
        writer.write(pictures(1)[0], 0)
    assert not open_video(tmp_path / "out.mp4").has_audio
