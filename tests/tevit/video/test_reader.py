"""The network's input against the original's recordings; image folders, slices and other sizes."""

import gzip
import hashlib
import json
import zipfile
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.oracle import GOLDENS, crc, make_video
from tests.pictures import SIZE, bar, frame_pixels, pictures, quadrants, write_images, write_video
from tevit.video.reader import open_images, open_video, resized_video, video_slice
from tevit.video.transforms import geometry, normalised_levels, preprocess

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
    """The inverse of normalisation: float32 (3, H, W) to uint8 (H, W, 3)."""
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
def test_the_scale_bounds_both_sides_and_one_bound_is_reached(height, width, one, other):
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
def test_a_scale_out_of_range_is_an_error(scale):
    with pytest.raises(ValueError, match=rf"between 32 and 4096 pixels, got {scale[0]}x{scale[1]}"):
        geometry((480, 640), scale)


def test_a_frame_of_another_size_is_an_error():
    with pytest.raises(ValueError, match=r"\(48, 64, 3\), got uint8 of \(48, 60, 3\)"):
        preprocess(np.zeros((48, 60, 3), np.uint8), geometry(SIZE))


# --- folders of images


@pytest.mark.parametrize("pattern", ["{}.png", "frame_{}.png", "cam2-{}.png"])
def test_a_folder_is_read_in_natural_order(tmp_path, pattern):
    shots = pictures(3)
    names = [pattern.format(number) for number in (1, 9, 10)]
    folder = write_images(tmp_path / "walk", dict(zip(names, shots, strict=True)))
    (folder / "notes.txt").write_text("no image")
    (folder / "._1.png").write_bytes(b"a resource fork of macOS")
    video = open_video(folder)
    frames = list(video.frames())
    assert video.file_names == tuple(names) and video.name == "walk" and video.length == 3
    for frame, shot in zip(frames, shots, strict=True):
        np.testing.assert_array_equal(frame.rgb, shot)
    assert [frame.time for frame in frames] == [0, 1 / 6, 2 / 6]
    assert video.duration == 0.5 and not video.has_audio
    assert video.warnings == [
        f"frames are in natural order ({names[1]!r} is number 2), not alphabetical ({names[2]!r} would be)"
    ]


@pytest.mark.parametrize("inner", ["", "walk/", "a/b/"])
def test_an_archive_of_images_is_a_video_in_natural_order(tmp_path, inner):
    shots = pictures(3)
    folder = write_images(tmp_path / "walk", {f"{n}.png": shot for n, shot in zip((1, 2, 10), shots, strict=True)})
    with zipfile.ZipFile(tmp_path / "frames.ZIP", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, inner + file.name)
        archive.writestr("__MACOSX/walk/._1.png", b"a resource fork of macOS")
        archive.writestr(f"{inner}notes.txt", b"no image")
    video = open_video(tmp_path / "frames.ZIP")
    assert (video.name, video.file_names, video.length) == ("frames", ("1.png", "2.png", "10.png"), 3)
    for _ in range(2):
        for frame, shot in zip(video.frames(), shots, strict=True):
            np.testing.assert_array_equal(frame.rgb, shot)
    assert video.warnings == ["frames are in natural order ('2.png' is number 2), not alphabetical ('10.png' would be)"]


def test_an_archive_without_the_images_of_one_video_is_an_error(tmp_path):
    shot = write_images(tmp_path / "f", {"0.png": pictures(1)[0]}) / "0.png"
    archives = {"empty": ["a.txt"], "two": ["a/0.png", "b/0.png", "b/1.png"]}
    for name, members in archives.items():
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            for member in members:
                archive.write(shot, member)
    with pytest.raises(ValueError, match=r"no image in the archive .*empty\.zip"):
        open_video(tmp_path / "empty.zip")
    with pytest.raises(ValueError, match=r"images of one video in one folder .*, found images in 2 folders \(a, b\)"):
        open_video(tmp_path / "two.zip")
    (tmp_path / "no.zip").write_bytes(b"PK no archive")
    with pytest.raises(ValueError, match=r"no\.zip: expected a zip archive of images"):
        open_video(tmp_path / "no.zip")
    with zipfile.ZipFile(tmp_path / "damaged.zip", "w") as archive:
        archive.write(shot, "0.png")
    data = (tmp_path / "damaged.zip").read_bytes()
    (tmp_path / "damaged.zip").write_bytes(data[:60] + bytes([data[60] ^ 255]) + data[61:])
    with pytest.raises(ValueError, match=r"0\.png: cannot be read from the archive: Bad CRC-32"):
        open_video(tmp_path / "damaged.zip")


def test_values_of_16_bit_images_in_an_archive_are_scaled_as_in_a_folder(tmp_path):
    values = np.full((4, 6, 3), 1000, np.uint16)
    encoded = cv2.imencode(".png", values)[1].tobytes()
    with zipfile.ZipFile(tmp_path / "f.zip", "w") as archive:
        archive.writestr("0.png", encoded)
    video = open_video(tmp_path / "f.zip")
    assert next(video.frames()).rgb[0, 0].tolist() == [250, 250, 250]
    assert video.notes == ["the 16-bit images hold values up to 1000: they are read as 10 bit"]


def test_padded_names_are_in_both_orders(tmp_path):
    folder = write_images(tmp_path / "f", {f"{number:03d}.png": pictures(1)[0] for number in (1, 2, 10)})
    video = open_video(folder)
    assert [*map(bar, (frame.rgb for frame in video.frames()))] == [0] * 3 and video.warnings == []


@pytest.mark.parametrize(("suffix", "other"), [(".jpg", ".png"), (".JPG", ".webp")])
def test_images_of_one_name_are_one_frame(tmp_path, suffix, other):
    shots = pictures(4)
    folder = write_images(tmp_path / "f", {f"{n}{suffix}": shots[n] for n in range(2)})
    write_images(folder, {f"{n}{other}": shots[n + 2] for n in range(2)})
    video = open_video(folder)
    assert [bar(frame.rgb) for frame in video.frames()] == [0, 1]
    assert video.warnings == ["2 images have the name of a .jpg image and were left out"]


@pytest.mark.parametrize(("largest", "bits"), [(1000, 10), (4095, 12), (2000, 12)])
def test_sixteen_bit_images_of_fewer_bits(tmp_path, largest, bits):
    grey = np.linspace(0, largest, 48 * 64).astype(np.uint16).reshape(SIZE)
    (tmp_path / "f").mkdir()
    for number in range(2):
        assert cv2.imwrite(str(tmp_path / "f" / f"{number}.png"), grey)
    video = open_video(tmp_path / "f")
    for frame in video.frames():
        np.testing.assert_array_equal(frame.rgb[..., 0], grey >> (bits - 8))
    assert video.warnings == [f"the 16-bit images hold values up to {largest}: they are read as {bits} bit"]


@pytest.mark.parametrize("pages", [2, 5])
def test_all_pages_of_a_tiff_are_frames(tmp_path, pages):
    shots = pictures(pages)
    assert cv2.imwritemulti(str(tmp_path / "scan.tif"), [shot[..., ::-1] for shot in shots])
    video = open_video(tmp_path / "scan.tif")
    frames = list(video.frames())
    assert video.length == len(frames) == pages and video.name == "scan"
    for frame, shot in zip(frames, shots, strict=True):
        np.testing.assert_array_equal(frame.rgb, shot)
    assert [frame.time for frame in frames] == pytest.approx(np.arange(pages) / 6)


@pytest.mark.parametrize(("suffix", "durations"), [(".webp", [100, 100, 250]), (".png", [40, 500, 40])])
def test_all_frames_of_an_animation_with_their_times(tmp_path, suffix, durations):
    first, *rest = map(Image.fromarray, pictures(3))
    path = tmp_path / f"dance{suffix}"
    first.save(path, save_all=True, append_images=rest, duration=durations, lossless=True)
    video = open_video(path)
    frames = list(video.frames())
    for frame, shot in zip(frames, pictures(3), strict=True):
        np.testing.assert_array_equal(frame.rgb, shot)
    assert [frame.time for frame in frames] == pytest.approx([0, durations[0] / 1000, sum(durations[:2]) / 1000])
    assert video.duration == pytest.approx(sum(durations) / 1000) and video.length == 3


def test_images_keep_the_given_order(tmp_path):
    folder = write_images(tmp_path / "f", {"a.png": pictures(2)[0], "b.png": pictures(2)[1]})
    video = open_images([folder / "b.png", folder / "a.png"], "mine", fps=Fraction(2))
    assert [bar(frame.rgb) for frame in video.frames()] == [1, 0]
    assert video.name == "mine" and [frame.time for frame in video.frames()] == [0, 0.5]


def test_a_jpeg_is_decoded_as_by_opencv(tmp_path):
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


def test_an_empty_folder_and_a_missing_image_are_errors(tmp_path):
    with pytest.raises(ValueError, match=f"no image in the folder {tmp_path}"):
        open_video(tmp_path)
    with pytest.raises(ValueError, match="video 'x': expected at least one image"):
        open_images([], "x")
    with pytest.raises(FileNotFoundError, match=r"gone\.png: no such image"):
        open_images([Path("gone.png")], "x")


# --- parts


def test_a_slice_of_a_file_has_exactly_the_frames_of_the_whole(tmp_path):
    uneven = [Fraction(ms, 1000) for ms in (0, 40, 73, 140, 173, 700, 733)]
    whole = open_video(write_video(tmp_path / "a.mp4", pictures(7), uneven))
    some = video_slice(whole, 2, 5)
    frames = list(some.frames())
    assert [bar(frame.rgb) for frame in frames] == [2, 3, 4] and [frame.index for frame in frames] == [0, 1, 2]
    assert [frame.time for frame in frames] == pytest.approx([0, 0.067, 0.1])
    assert (some.length, some.size_hw, some.start) == (3, whole.size_hw, pytest.approx(0.073))
    last = video_slice(whole, 5, 99)
    assert [bar(frame.rgb) for frame in last.frames()] == [5, 6] and last.length == 2


def test_a_slice_of_images_keeps_their_names(tmp_path):
    folder = write_images(tmp_path / "f", {f"{index}.png": shot for index, shot in enumerate(pictures(5))})
    some = video_slice(open_video(folder), 1, 3)
    assert (some.file_names, some.length, some.duration) == (("1.png", "2.png"), 2, pytest.approx(1 / 3))
    assert [(bar(frame.rgb), frame.time) for frame in some.frames()] == [(1, 0), (2, pytest.approx(1 / 6))]


@pytest.mark.parametrize(("first", "stop"), [(-1, 3), (3, 3), (4, 2)])
def test_an_empty_slice_is_an_error(tmp_path, first, stop):
    video = open_video(write_video(tmp_path / "a.mp4", pictures(4)))
    with pytest.raises(ValueError, match=f"a range of at least one frame, got {first} to {stop}"):
        video_slice(video, first, stop)


def test_a_slice_beyond_the_end_is_an_error_with_the_number_of_frames(tmp_path):
    video = open_video(write_video(tmp_path / "a.mp4", pictures(4)))
    with pytest.raises(ValueError, match="a: expected a frame 4, but the video holds 4 frames"):
        list(video_slice(video, 4, 6).frames())


def test_resized_frames_are_cropped_by_a_row_or_scaled(tmp_path):
    video = open_video(write_video(tmp_path / "a.mp4", pictures(3)))
    whole = next(video.frames()).rgb
    cut = resized_video(video, (SIZE[0] - 1, SIZE[1]))
    np.testing.assert_array_equal(next(cut.frames()).rgb, whole[:-1])
    large = resized_video(video, (2 * SIZE[0], 2 * SIZE[1]))
    assert next(large.frames()).rgb.shape == (*large.size_hw, 3) == (96, 128, 3)


@pytest.mark.parametrize(("suffix", "format"), [(".tif", "TIFF"), (".webp", "WEBP"), (".png", "PNG")])
def test_a_folder_of_files_with_several_pictures_each_is_noted(tmp_path, suffix, format):
    """One frame a file: that further pictures are not read is said, with the count; in a data set's frames, too."""
    pages = [Image.fromarray(np.full((6, 8, 3), 50 * n + 20, np.uint8)) for n in range(3)]
    for n in range(3):
        more = pages[1:] if n else []
        pages[0].save(tmp_path / f"{n}{suffix}", format, save_all=True, append_images=more, lossless=True)
    video = open_video(tmp_path)
    assert [frame.rgb[0, 0, 0] for frame in video.frames()] == [20] * 3
    assert video.warnings == ["2 of 3 images hold several pictures each, of which the first is read"]
    assert open_images(video.files, "v").notes == video.warnings  # type: ignore[attr-defined]


@pytest.mark.parametrize("size", [(3, 4), (6, 8)])
def test_further_pictures_of_a_jpeg_file_are_previews(tmp_path, size):
    pages = [Image.new("RGB", shape, "white") for shape in ((8, 6), size[::-1])]
    pages[0].save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=pages[1:])
    video = open_video(tmp_path / "a.jpg")
    assert (video.length, video.size_hw, len(list(video.frames()))) == (1, (6, 8), 1)


@pytest.mark.parametrize(("largest", "bits", "level"), [(1000, 10, 250), (4000, 12, 250), (60_000, None, 234)])
def test_sixteen_bit_pages_of_fewer_bits(tmp_path, largest, bits, level):
    pages = [Image.fromarray(np.full((6, 8), value, np.uint16)) for value in (largest // 2, largest, 0)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    video = open_video(tmp_path / "a.tif")
    levels = [int(frame.rgb[0, 0, 0]) for frame in video.frames()]
    assert levels == [level // 2, level, 0]
    text = f"the 16-bit images hold values up to {largest}: they are read as {bits} bit"
    assert video.warnings == ([text] if bits else [])
