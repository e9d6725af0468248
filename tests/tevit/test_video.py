"""Videos in and out: the network's input against the original's recordings, and every kind of file made on the spot."""

import gc
import gzip
import hashlib
import itertools
import json
import os
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import cv2
import numpy as np
import pytest
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle import GOLDENS, crc, make_video
from tests.pictures import COLORS, frame_pixels, onsets, quadrants, write_video
from tevit.decode import Clock, Report, decoded
from tevit.video import VideoWriter, geometry, normalised_levels, open_images, open_video, preprocess

SIZE = (48, 64)


def pictures(count: int, size_hw: tuple[int, int] = SIZE) -> list[np.ndarray]:
    """Noise with a bright bar that moves on with each frame, so that a wrong frame shows."""
    noise = np.random.default_rng(0).integers(0, 60, (count, *size_hw, 3), dtype=np.uint8)
    for index, frame in enumerate(noise):
        frame[:, index * 4 % size_hw[1] :][:, :4] = 250
    return list(noise)


def bar(rgb: np.ndarray) -> int:
    """Which frame of `pictures` this is, up to 16."""
    return int(rgb[..., 1].mean(0).argmax()) // 4


def times(path: Path) -> list[float]:
    return [frame.time for frame in open_video(path).frames()]


# --- geometry and preprocessing


def test_sizes_and_factors_are_the_recorded_ones():
    golden = np.load(GOLDENS / "pipeline_sizes.npz")
    for row, factor in zip(golden["sizes"].tolist(), golden["scales"], strict=True):
        height, width, *scale = row[:4]
        sizes = geometry((height, width), (scale[0], scale[1]))
        assert (*sizes.resized_hw, *sizes.padded_hw) == tuple(row[4:]), row
        np.testing.assert_array_equal(sizes.scale_factor, np.concatenate([factor, factor]))
    assert geometry(SIZE).scale_factor.dtype == np.float32


def test_levels_are_the_recorded_ones():
    np.testing.assert_array_equal(normalised_levels(), np.load(GOLDENS / "pipeline_sizes.npz")["levels"])


def recorded_pictures():
    with gzip.open(GOLDENS / "pipeline_transforms.json.gz", "rt") as file:
        return json.load(file)


@pytest.mark.parametrize("case", recorded_pictures(), ids=lambda c: f"{c['height']}x{c['width']}-{c['scale'][0]}")
def test_preprocessing_is_the_recorded_one(case):
    bgr = frame_pixels(case["height"], case["width"], case["frame"], case["seed"])
    sizes = geometry(bgr.shape[:2], tuple(case["scale"]))
    out = preprocess(np.ascontiguousarray(bgr[..., ::-1]), sizes)
    height, width = sizes.resized_hw
    assert out.shape == (3, *case["pad_shape"][:2]) and out.dtype == np.float32
    assert not out[:, height:].any() and not out[:, :, width:].any()
    if case["flip"]:
        out[..., :width] = out[..., :width][..., ::-1]
    rows, columns = np.array(case["positions_yx"]).T
    np.testing.assert_array_equal(out[:, rows, columns].T, np.float32(case["normalised_rgb"]))
    resized = levels_of(out[:, :height, :width])[..., ::-1]
    assert hashlib.sha256(resized.tobytes()).hexdigest() == case["resized_bgr_sha256"]


def levels_of(normalised: np.ndarray) -> np.ndarray:
    """Back from float32 (3, H, W) to the uint8 (H, W, 3) it was made of."""
    channels = [np.searchsorted(levels, values) for levels, values in zip(normalised_levels(), normalised, strict=True)]
    return np.stack(channels, axis=-1).astype(np.uint8)


def test_resized_frames_are_those_the_models_were_recorded_with():
    golden = np.load(GOLDENS / "pipeline_resized.npz")
    frames = make_video(1234, 5, 120, 200)
    assert crc(frames) == golden["original_crc"]
    sizes = geometry((120, 200), (320, 180))
    resized = [levels_of(preprocess(frame, sizes)[:, :180, :300]) for frame in frames]
    np.testing.assert_array_equal([frame[::12, ::12] for frame in resized], golden["resized_slice"])
    assert [crc(frame) for frame in resized] == golden["resized_crc"].tolist()


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(32, 1400), st.integers(32, 1400))
def test_the_scale_bounds_both_sides_and_one_is_reached(height, width, one, other):
    try:
        sizes = geometry((height, width), (one, other))
    except ValueError as error:
        assert "too narrow" in str(error) and max(height, width) > 32 * min(height, width)
        return
    low, high = sorted(sizes.resized_hw)
    assert low <= min(one, other) and high <= max(one, other)
    assert low == min(one, other) or high == max(one, other)
    assert all(0 <= p - r < 32 and p % 32 == 0 for p, r in zip(sizes.padded_hw, sizes.resized_hw, strict=True))
    assert sizes.resized_hw == geometry((height, width), (other, one)).resized_hw


@pytest.mark.parametrize("scale", [(0, 640), (16, 640), (360, 100_000), (-360, 640)])
def test_a_scale_out_of_range_is_told(scale):
    with pytest.raises(ValueError, match=rf"between 32 and 4096 pixels, got {scale[0]}x{scale[1]}"):
        geometry((480, 640), scale)


def test_a_frame_of_another_size_is_told():
    with pytest.raises(ValueError, match=r"\(48, 64, 3\), got uint8 of \(48, 60, 3\)"):
        preprocess(np.zeros((48, 60, 3), np.uint8), geometry(SIZE))


# --- folders of images


def write_images(folder: Path, frames: dict[str, np.ndarray]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, rgb in frames.items():
        assert cv2.imwrite(str(folder / name), rgb[..., ::-1])
    return folder


def test_a_folder_is_read_in_the_order_of_names(tmp_path):
    shots = pictures(3)
    folder = write_images(tmp_path / "walk", {"10.png": shots[1], "9.png": shots[2], "1.png": shots[0]})
    (folder / "notes.txt").write_text("no image")
    (folder / "._1.png").write_bytes(b"what a Mac leaves behind")
    video = open_video(folder)
    frames = list(video.frames())
    assert video.file_names == ("1.png", "10.png", "9.png") and video.name == "walk" and video.length == 3
    for frame, shot in zip(frames, shots, strict=True):
        np.testing.assert_array_equal(frame.rgb, shot)
    assert [frame.time for frame in frames] == [0, 1 / 6, 2 / 6]
    assert video.duration == 0.5 and not video.has_audio


def test_images_keep_the_given_order(tmp_path):
    folder = write_images(tmp_path / "f", {"a.png": pictures(2)[0], "b.png": pictures(2)[1]})
    video = open_images([folder / "b.png", folder / "a.png"], "mine", fps=Fraction(2))
    assert [bar(frame.rgb) for frame in video.frames()] == [1, 0]
    assert video.name == "mine" and [frame.time for frame in video.frames()] == [0, 0.5]


def test_a_jpeg_has_the_levels_that_opencv_gives(tmp_path):
    folder = write_images(tmp_path / "f", {"a.jpg": pictures(1, (37, 51))[0]})
    expected = cv2.imread(str(folder / "a.jpg"))
    assert expected is not None
    np.testing.assert_array_equal(next(open_video(folder).frames()).rgb, expected[..., ::-1])
    np.testing.assert_array_equal(next(open_video(folder / "a.jpg").frames()).rgb, expected[..., ::-1])


def test_grey_sixteen_bit_and_transparent_images_become_rgb(tmp_path):
    grey = np.arange(48 * 64, dtype=np.uint16).reshape(SIZE) * 20
    clear = np.dstack([quadrants(SIZE)[..., ::-1], np.zeros(SIZE, np.uint8)])
    for name, data in {"8": (grey >> 8).astype(np.uint8), "16": grey, "alpha": clear}.items():
        assert cv2.imwrite(str(tmp_path / f"{name}.png"), data)
    seen = {name: next(open_video(tmp_path / f"{name}.png").frames()).rgb for name in ("8", "16", "alpha")}
    np.testing.assert_array_equal(seen["8"], np.repeat((grey >> 8).astype(np.uint8)[..., None], 3, axis=2))
    assert seen["16"].shape == (*SIZE, 3) and seen["16"].dtype == np.uint8
    np.testing.assert_array_equal(seen["alpha"], quadrants(SIZE))


def test_exif_orientation_is_applied(tmp_path):
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    Image.fromarray(quadrants(SIZE)).save(tmp_path / "a.jpg", exif=exif, quality=95)
    video = open_video(tmp_path)
    assert video.size_hw == (64, 48)
    assert np.abs(next(video.frames()).rgb.astype(int) - np.rot90(quadrants(SIZE), -1)).mean() < 6


def test_the_first_image_of_another_size_is_named(tmp_path):
    small = np.zeros((40, 64, 3), np.uint8)
    write_images(tmp_path, {"a.png": pictures(1)[0], "b.png": small, "c.png": small})
    with pytest.raises(ValueError, match=r"b\.png: expected 64x48 pixels like a\.png, got 64x40"):
        list(open_video(tmp_path).frames())


def test_an_unreadable_image_is_named(tmp_path):
    write_images(tmp_path, {"a.png": pictures(1)[0]})
    for content in (b"", b"no image at all"):
        (tmp_path / "b.png").write_bytes(content)
        with pytest.raises(ValueError, match=r"b\.png: not an image that can be read"):
            list(open_video(tmp_path).frames())


def test_an_empty_folder_and_a_missing_image_are_told(tmp_path):
    with pytest.raises(ValueError, match=f"no image in the folder {tmp_path}"):
        open_video(tmp_path)
    with pytest.raises(ValueError, match="video 'x': expected at least one image"):
        open_images([], "x")
    with pytest.raises(FileNotFoundError, match=r"no such image: gone\.png"):
        open_images([Path("gone.png")], "x")


# --- video files

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
def test_every_container(tmp_path, name):
    codec, pix_fmt = CONTAINERS[name]
    options = {"bf": "2", "b_strategy": "0", "sc_threshold": "0"} if name == "b-frames.avi" else None
    path = write_video(tmp_path / name, pictures(12), codec=codec, pix_fmt=pix_fmt, options=options)
    video = open_video(path)
    next(video.frames())
    frames = list(video.frames())  # a pass starts from the first frame, whatever the one before did
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
        assert all(frame.pts is None for frame in container.decode(video=0)), "this file was to have no times"
    assert np.diff(times(path)) == pytest.approx([0.04] * 5)


def test_times_increase_even_where_the_file_repeats_them():
    def due(pts: int | None) -> av.VideoFrame:
        frame = av.VideoFrame(2, 2)
        frame.pts, frame.time_base = pts, Fraction(1, 10)
        return frame

    clock = Clock(by_dts=False, step=Fraction(1, 10))
    assert [clock.seconds(due(pts)) for pts in (5, 6, 6, 5, 8, None)] == [0, 0.1, 0.101, 0.102, 0.3, 0.4]


TURNS = {
    (0, False, False): lambda x: x,
    (90, False, False): lambda x: np.rot90(x, 1),
    (180, False, False): lambda x: np.rot90(x, 2),
    (-90, False, False): lambda x: np.rot90(x, -1),
    (0, True, False): lambda x: x[:, ::-1],
    (0, False, True): lambda x: x[::-1],
}


@pytest.mark.parametrize("rotation", TURNS)
def test_frames_come_upright(tmp_path, rotation):
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


def test_a_missing_file_is_told():
    with pytest.raises(FileNotFoundError, match=r"no such file or folder: gone\.mp4"):
        open_video("gone.mp4")


@pytest.mark.parametrize("content", [b"", b"hello, this is text\n" * 50, os.urandom(3000), b"[section]\nname = 1\n"])
def test_what_is_no_video_is_told(tmp_path, content):
    for name in ("a.mp4", "a.txt", "a.m3u8"):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"not a readable video|not a video|neither video nor sound") as error:
            open_video(path)
        assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_playlist_cannot_reach_for_other_files(tmp_path):
    write_video(tmp_path / "a.ts", pictures(3))
    (tmp_path / "a.m3u8").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\na.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(ValueError, match="not a"):
        open_video(tmp_path / "a.m3u8")


def test_only_sound_is_told(tmp_path):
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
        assert container.streams.video, "this file was to have a picture"
    with pytest.raises(ValueError, match="it holds only sound"):
        open_video(path)


def test_a_picture_under_a_video_s_name_is_told(tmp_path):
    folder = write_images(tmp_path / "f", {"a.png": quadrants(SIZE)})
    (folder / "a.png").rename(folder / "a.mp4")
    with pytest.raises(ValueError, match=r"a\.mp4: not a video"):
        open_video(folder / "a.mp4")


def test_a_read_error_ends_the_video_but_loses_no_frame(tmp_path):
    path = write_video(tmp_path / "a.mp4", [quadrants(SIZE)] * 12)

    class Failing:
        def __init__(self, container):
            self.format, self._packets = container.format, container.demux()

        def demux(self):
            yield from (packet for packet in self._packets if packet.size)
            raise FFmpegError(5, "the disk failed")

    with av.open(str(path)) as container:
        assert len(list(decoded(cast(InputContainer, Failing(container)), container.streams.video[0], Report()))) == 12


def test_a_video_without_frames_is_told(tmp_path):
    path = write_video(tmp_path / "a.mkv", pictures(2))
    with av.open(str(path)) as source, av.open(str(tmp_path / "none.mkv"), "w") as out:
        out.add_stream_from_template(source.streams.video[0], opaque=True)
        out.start_encoding()
    with pytest.raises(ValueError, match=r"none\.mkv"):
        open_video(tmp_path / "none.mkv")


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm", "a.avi"])
def test_a_truncated_file_gives_what_decodes_and_says_how_much(tmp_path, name):
    codec = CONTAINERS[name][0]
    path = write_video(tmp_path / f"whole-{name}", pictures(40, (96, 128)), codec=codec)
    data = path.read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) * 6 // 10])
    video = open_video(tmp_path / name)
    frames = list(video.frames())
    with av.open(str(tmp_path / name)) as container:
        packets = sum(packet.size > 0 for packet in container.demux(video=0))
    assert 8 < packets - 1 <= len(frames) < 40, "all but the packet at the cut are to be decoded"
    whole = [frame.rgb for frame in open_video(path).frames()]
    for frame in frames[: len(frames) - 3]:
        np.testing.assert_array_equal(frame.rgb, whole[frame.index])
    assert f"{name} is cut off: {len(frames)} of {video.length} frames could be read" in video.warnings[0]
    warnings = list(video.warnings)
    assert len(list(video.frames())) == len(frames) and video.warnings == warnings, "each pass is like the one before"


def test_an_mp4_without_its_index_is_told(tmp_path):
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


def test_a_change_of_size_on_the_way_is_scaled(tmp_path):
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
    gc.disable()  # what only the collector frees counts as held
    try:
        sizes = [resident() for frame in open_video(path).frames() if frame.index in (20, 319)]
    finally:
        gc.enable()
    frame_mb = size_hw[0] * size_hw[1] * 3 / 2**20
    assert sizes[1] - sizes[0] < 30 * frame_mb, sizes


def resident() -> float:
    """MB of this process in memory now; a test that calls it is skipped where the system does not tell."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("needs /proc")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


# --- writing


def test_what_is_written_comes_back(tmp_path):
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
def test_any_times_survive(tmp_path_factory, steps):
    due = np.cumsum([0, *steps])
    path = tmp_path_factory.mktemp("t") / "a.mp4"
    with VideoWriter(path, (16, 16)) as writer:
        for time in due:
            writer.write(np.zeros((16, 16, 3), np.uint8), float(time))
    np.testing.assert_allclose(times(path), due, atol=1 / 90000)


def test_browsers_can_play_it(tmp_path):
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


def test_nothing_half_written_is_left(tmp_path):
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
def test_sound_is_carried_in_step(tmp_path, name):
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
def test_sound_stays_in_step_when_pictures_start_later(tmp_path, sound):
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


def test_sound_from_a_silent_file_is_no_sound(tmp_path):
    source = write_video(tmp_path / "a.mp4", pictures(3))
    with VideoWriter(tmp_path / "out.mp4", SIZE, audio_from=source) as writer:
        writer.write(pictures(1)[0], 0)
    assert not open_video(tmp_path / "out.mp4").has_audio
