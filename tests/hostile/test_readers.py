"""Damaged files, and values of the wrong type in each field, end in one sentence that commands report with code 2."""

import json
import zipfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests import annotations as make
from tests.hostile import files
from tests.hostile.cases import CASES, run_case
from tests.hostile.mutations import WRONG, encoded, fields, replaced, without
from tests.hostile.readers import READERS, configuration, read, with_configuration
from tevit.cli.main import main
from tevit.io.ytvis import read_results
from tevit.review.decisions import from_line
from tevit.video.reader import open_pipe, open_video

JSON = [name for name, reader in READERS.items() if reader.is_json]


@pytest.mark.parametrize("name", JSON)
def test_each_wrong_type_in_each_field_is_one_sentence(name: str, tmp_path: Path):
    reader = READERS[name]
    value = json.loads(reader.make())
    for place in fields(value):
        for wrong in (*WRONG, without):
            changed = replaced(value, place, wrong) if wrong is not without else without(value, place) if place else {}
            read(reader, tmp_path / name, encoded(changed))


def test_each_wrong_type_in_the_configuration_of_a_checkpoint_is_one_sentence(tmp_path: Path):
    """2^64 stages were made one after the other for more than 30 seconds."""
    reader, config = READERS["model.safetensors"], configuration()
    tried = [replaced(config, place, wrong) for place in fields(config) for wrong in (None, "text", -1, 2**64, [], {})]
    tried += [replaced(config, ("backbone", "depths"), [2**40] * 4), replaced(config, ("channels",), 63)]
    for changed in tried:
        read(reader, tmp_path / "m.safetensors", with_configuration(changed))
    text = read(reader, tmp_path / "m.safetensors", with_configuration(config | {"stages": 2**63 - 1}))
    assert text.endswith("expected stages up to 100, got 9223372036854775807")


@pytest.mark.parametrize("kind", sorted(CASES))
@settings(max_examples=8, deadline=None)
@given(number=st.integers(0, 1 << 40))
@example(number=17)
@example(number=850)
@example(number=1084)
@example(number=2016)
def test_damage_is_one_sentence(kind: str, number: int, tmp_path_factory: pytest.TempPathFactory):
    """`python -m tests.hostile` draws more of them."""
    run_case(kind, number, tmp_path_factory.getbasetemp())


def damaged_zip(path: Path, method: int, place: int, value: int) -> Path:
    """An archive of results with one other byte. place: from the end where negative."""
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("results.json", json.dumps(make.submission() * 20))
    data = bytearray(path.read_bytes())
    data[place] = value
    path.write_bytes(data)
    return path


FAULTS = {
    "zlib": (zipfile.ZIP_DEFLATED, 60, 0xFF),
    "lzma": (zipfile.ZIP_LZMA, 52, 0xFF),
    "bzip2": (zipfile.ZIP_BZIP2, 60, 0xFF),
    "method": (zipfile.ZIP_DEFLATED, -80 + 10, 77),
    "encrypted": (zipfile.ZIP_DEFLATED, -80 + 8, 1),
    "name": (zipfile.ZIP_STORED, 30, 0),
    "directory": (zipfile.ZIP_DEFLATED, -80, 0),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_damaged_zips_are_one_sentence(fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = damaged_zip(tmp_path / "r.zip", *FAULTS[fault])
    gt = make.save(tmp_path, "gt.json", make.sample())
    assert main(["evaluate", str(gt), str(path)]) == 2
    message = capsys.readouterr().err
    assert (
        message.startswith(f"tevit: {path}")
        and message.count("\n") == 1
        and "cannot be read from the archive: " in message
    )


def test_a_name_of_nothing_in_a_zip_is_one_sentence(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "r.zip", "w") as archive:
        archive.writestr("a.json", "[]")
    (tmp_path / "r.zip").write_bytes((tmp_path / "r.zip").read_bytes().replace(b"a.json", b"\0.json"))
    with pytest.raises(ValueError, match=r"r\.zip: a file in the archive has no name"):
        read_results(tmp_path / "r.zip")


def test_huge_masks_and_ids_in_a_log_are_one_sentence():
    line = json.loads(READERS["decision.json"].make())
    mask = {"size": [10**19, 10**19], "counts": "0"}
    for place, wrong, text in (
        (("action", "masks", 0), mask, "expected int <= 268435456 in action.masks[0].size[0]"),
        (("video_id",), 10**30, "expected int <= 9007199254740992 in video_id"),
        (("frames",), [0, 10**12], "expected int <= 1048576 in frames[1]"),
    ):
        with pytest.raises(ValueError) as error:
            from_line(json.dumps(replaced(line, place, wrong)), "log, line 1")
        assert str(error.value) == f"log, line 1: {text}"


@pytest.mark.parametrize("suffix", ["xb", "bin", "idf", "adf", "ans", "mp4"])
def test_text_drawn_by_ffmpeg_is_no_video(suffix: str, tmp_path: Path):
    xbin = b"XBIN\x1a" + (80).to_bytes(2, "little") + (2).to_bytes(2, "little") + b"\x10\x00" + b"A\x07" * 160
    idf = b"\x041.4\x00\x00\x00\x00\x4f\x00\x15\x00" + b"A\x07" * 2000 + bytes(4096 + 48)
    data = {"xb": xbin, "idf": idf, "adf": b"\x01" + bytes(192 + 4096) + b"A\x07" * 4000}.get(suffix, b"A\x07" * 4000)
    (tmp_path / f"art.{suffix}").write_bytes(data)
    with pytest.raises(ValueError, match=r"art\.\w+: (not a |expected a )"):
        open_video(tmp_path / f"art.{suffix}")


def test_titles_in_any_encoding_are_no_fault(tmp_path: Path):
    import av

    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width = stream.height = 16
        stream.metadata["title"] = "TITLE"
        container.mux(stream.encode(av.VideoFrame(16, 16, "yuv420p")))
        container.mux(stream.encode())
    path = tmp_path / "b.mkv"
    path.write_bytes((tmp_path / "a.mkv").read_bytes().replace(b"TITLE", b"T\xff\xfeLE"))
    with path.open("rb") as file:
        for video in (open_video(path), open_pipe(file)):
            assert len(list(video.frames())) == 1


def test_images_that_opencv_asserts_on_are_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With its own exception where only the header's pixels are above our limit's."""
    monkeypatch.setenv("TEVIT_LIMITS", "pixels=1e12")
    (tmp_path / "head.png").write_bytes(files.png(60_000, 13_000))
    (tmp_path / "huge.bmp").write_bytes(files.bmp_header(40_000, 40_000))
    for name in ("head.png", "huge.bmp"):
        with pytest.raises(ValueError, match=f"{name}: not an image that can be read"):
            open_video(tmp_path / name)
