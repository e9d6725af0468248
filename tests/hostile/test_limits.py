"""What is large once it is read is refused by its header, in one sentence, before it is decoded."""

import gzip
import json
import time
import zipfile
from pathlib import Path

import pytest

from tests.hostile import files
from tevit.cli.main import main
from tevit.io.files import open_archive
from tevit.io.ytvis import open_dataset, read_results
from tevit.limits import InputLimits, LimitError, _group_memory, free_memory, input_limits, set_limits
from tevit.video.decode import decode_image
from tevit.video.reader import open_images, open_video

QUICK = 2.0  # seconds; decoding any of these takes more


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch):
    return lambda text: monkeypatch.setenv("TEVIT_LIMITS", text)


def refused(path: Path, text: str) -> None:
    began = time.monotonic()
    with pytest.raises(LimitError, match=text) as error:
        list(open_video(path).frames())
    assert time.monotonic() - began < QUICK and "\n" not in str(error.value) and path.name in str(error.value)


def test_a_picture_of_30_000_by_30_000_is_refused_by_its_header(tmp_path: Path):
    (tmp_path / "black.png").write_bytes(files.black_png(30_000))
    refused(tmp_path / "black.png", r"900,000,000 pixels, more than the limit of 64,000,000 pixels")


def test_a_header_of_60_000_by_60_000_alone_is_refused(tmp_path: Path):
    (tmp_path / "head.png").write_bytes(files.png(60_000, 60_000))
    refused(tmp_path / "head.png", "3,600,000,000 pixels")


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif", "webp", "ppm"])
def test_the_pixels_of_every_kind_of_image_are_limited(suffix: str, tmp_path: Path, limit):
    from PIL import Image

    Image.new("RGB", (40, 30)).save(tmp_path / f"a.{suffix}")
    assert open_images([tmp_path / f"a.{suffix}"], "a").size_hw == (30, 40)
    limit("pixels=1000")
    refused(tmp_path / f"a.{suffix}", r"40 x 30 pixels, more than the limit of 1,000 pixels \(pixels in TEVIT_LIMITS")


def test_later_pages_are_limited_too(tmp_path: Path, limit):
    from PIL import Image

    small, large = Image.new("RGB", (20, 20)), Image.new("RGB", (40, 30))
    small.save(tmp_path / "pages.tif", save_all=True, append_images=[large])
    limit("pixels=1000")
    refused(tmp_path / "pages.tif", r"pages\.tif, page 2: 40 x 30 pixels")
    limit("frames=1")
    refused(tmp_path / "pages.tif", "2 frames, more than the limit of 1 frames")


def test_videos_are_refused_by_what_they_state(tmp_path: Path, limit, monkeypatch: pytest.MonkeyPatch):
    path = files.video(tmp_path / "a.mp4", (32, 64), frames=12)
    monkeypatch.setattr("tevit.video.reader.decode_frames", lambda *args: pytest.fail("a frame was decoded"))
    limit("pixels=2047")
    refused(path, "64 x 32 pixels, more than the limit of 2,047 pixels")
    limit("frames=11")
    refused(path, "12 frames, more than the limit of 11 frames")
    limit("seconds=1")
    refused(path, "1 seconds, more than the limit of 1 seconds")


def test_frames_are_limited_where_the_file_states_none(tmp_path: Path, limit):
    path = files.video(tmp_path / "a.ts", frames=12)
    limit("frames=11")
    refused(path, "12 frames, more than the limit of 11 frames")


def test_a_size_that_changes_later_is_limited(tmp_path: Path, limit):
    small, large = files.video(tmp_path / "s.ts", (32, 32)), files.video(tmp_path / "l.ts", (512, 512), frames=6)
    both = tmp_path / "both.ts"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    assert len(list(open_video(both).frames())) == 9
    limit("pixels=2000")
    video = open_video(both)
    assert len(list(video.frames())) == 3 and "damaged" in " ".join(video.warnings)


def test_a_zip_of_tiny_predictions_is_refused_by_its_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = files.tiny_predictions(tmp_path / "tiny.zip", 1_000_000)
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *args: pytest.fail("it was unpacked"))
    with pytest.raises(LimitError, match=r"tiny\.zip: unpacks to 69,000,\d\d\d bytes, 29\d times its size"):
        read_results(path)


def test_gzip_is_stopped_while_it_is_unpacked(tmp_path: Path):
    """Its own number of bytes is that of the last part alone."""
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(b" " * 200_000_000) + gzip.compress(b"[]"))
    with pytest.raises(LimitError, match=r"unpacks to [0-9,]* bytes, [0-9,]* times its size"):
        read_results(tmp_path / "a.json.gz")


@pytest.mark.parametrize("key", ["video_id", r"\u0076ideo_id"])
def test_the_number_of_tracks_is_limited_before_they_are_read(key: str, tmp_path: Path, limit):
    one = f'{{"{key}": 1, "category_id": 1, "score": 0.5, "segmentations": []}}'
    (tmp_path / "r.json").write_text(f"[{', '.join([one] * 30)}]")
    assert len(read_results(tmp_path / "r.json").predictions) == 30
    limit("predictions=29")
    with pytest.raises(LimitError, match=r"r\.json: about 30 predictions, more than the limit of 29 predictions"):
        read_results(tmp_path / "r.json")
    annotations = [{"id": n, "video_id": 1, "category_id": 1} for n in range(30)]
    content = {"videos": [], "categories": [], "annotations": annotations}
    (tmp_path / "d.json").write_text(json.dumps(content))
    limit("tracks=29")
    with pytest.raises(LimitError, match="about 30 tracks, more than the limit of 29 tracks"):
        open_dataset(tmp_path / "d.json")
    limit("json_bytes=100")
    with pytest.raises(LimitError, match="more than the limit of 100 bytes"):
        open_dataset(tmp_path / "d.json")


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_pictures_of_an_animation_are_limited_before_they_are_decoded(
    suffix: str, tmp_path: Path, limit, monkeypatch: pytest.MonkeyPatch
):
    from PIL import Image

    frames = [Image.new("RGB", (40, 30), (10 * n, 0, 0)) for n in range(5)]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], duration=40)
    assert open_video(tmp_path / f"a.{suffix}").length == 5
    limit("unpacked_bytes=17999")
    monkeypatch.setattr("tevit.video.reader.accumulate", None)  # of their times, which are read while decoding
    refused(tmp_path / f"a.{suffix}", r"5 pictures of 40 x 30 pixels are 18,000 bytes, more than the limit of 17,999")


def test_memory_is_compared_with_what_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tevit.io.json._MANY", 10)
    monkeypatch.setattr("tevit.io.json._LARGE", 5000)
    monkeypatch.setattr("tevit.io.json.free_memory", lambda: 1000)
    with pytest.raises(ValueError, match=r"about 40 predictions: reading it needs about .* GB of memory, but 0\.0 GB"):
        read_results(files.tiny_predictions(tmp_path / "r.zip", 40))


def test_archives_are_limited(tmp_path: Path, limit):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in "abc":
            archive.writestr(f"{name}.png", b"1234")
    for text, fault in (("archive_files=2", "3 archive files"), ("unpacked_bytes=11", "unpacks to 12 bytes")):
        limit(text)
        with pytest.raises(LimitError, match=fault), open_archive(tmp_path / "a.zip"):
            pass
        refused(tmp_path / "a.zip", fault)


def test_free_memory_is_that_of_the_container(tmp_path: Path):
    for folder, names in (("2", ("max", "current", "")), ("1", ("limit_in_bytes", "usage_in_bytes", "total_"))):
        group = tmp_path / folder / ("memory" if folder == "1" else "")
        group.mkdir(parents=True)
        (group / f"memory.{names[0]}").write_text("1000\n")
        (group / f"memory.{names[1]}").write_text("700\n")
        (group / "memory.stat").write_text(f"anon 5\n{names[2]}inactive_file 100\n")
        assert _group_memory(tmp_path / folder) == 400
    (tmp_path / "2" / "memory.max").write_text("max\n")
    assert _group_memory(tmp_path / "2") is None and _group_memory(tmp_path / "nowhere") is None
    assert (free_memory() or 1) > 0


def test_settings(limit, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    limit("")
    assert input_limits() == InputLimits()
    set_limits(["pixels=100e6"])
    assert input_limits().pixels == 100_000_000
    set_limits(["frames = 7"], public=True)
    assert input_limits() == InputLimits.public().updated(["pixels=100e6", "frames=7"], "")
    assert input_limits().frames == 7 and input_limits().upload_bytes == 200_000_000
    set_limits([], public=True)
    assert input_limits().frames == 7
    for text in ("pixels", "pixels=0", "pixels=nan", "pixel=5", "pixels=1e999"):
        with pytest.raises(ValueError, match=r"^--limit: expected "):
            set_limits([text])
    limit("pixels=no")
    (tmp_path / "a.json").write_text("[]")
    assert main(["evaluate", str(tmp_path / "a.json"), str(tmp_path / "a.json")]) == 2
    assert "TEVIT_LIMITS: expected a number from 1 on for pixels" in capsys.readouterr().err


def test_images_that_are_no_images():
    assert decode_image(b"", "a") is None and decode_image(b"no image", "a") is None
    assert decode_image(files.png(60, 60), "a") is None
