"""Files as other tools leave them, through every command that reads them: the same values, and what is odd is said."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests import annotations as make
from tevit.cli import main as cli

SIZE = (32, 48)
SQUARE, BAR = make.rectangle(4, 4, 20, 20, SIZE), make.rectangle(2, 30, 30, 46, SIZE)
READERS = {
    "evaluate": "evaluate {gt} {results} --json",
    "errors": "errors {gt} {results} --json",
    "validate": "validate {gt} --json",
    "split": "split {gt} --val 0.5 --out {out}/parts --json",
    "formats": "formats {gt} --to coco --out {out}/coco.json --json",
    "predict": "predict --model motion --dataset {gt} --frames {frames} --out {out}/predicted --json",
    "queue": "review queue {gt} {results} --json",
    "apply": "review apply {log} {gt} --out {out}/corrected.json --json",
    "report": "review report {log} {gt} --out {out}/report --predictions {results} --json",
}
OF_RESULTS = {
    "evaluate": READERS["evaluate"],
    "errors": READERS["errors"],
    "validate": "validate {results} --gt {gt} --json",
    "formats": "formats {results} --gt {gt} --to ytvis --out {out}/results.json --json",
    "queue": READERS["queue"],
    "report": READERS["report"],
}


def labels() -> dict[str, Any]:
    tracks = [
        make.annotation(11, 5, 4, [SQUARE, SQUARE, None]),
        make.annotation(12, 5, 2, [None, BAR, BAR]),
        make.annotation(3, 8, 4, [BAR, SQUARE]),
    ]
    return make.data_set([make.video(8, 2, SIZE), make.video(5, 3, SIZE)], tracks)


def predictions() -> list[dict[str, Any]]:
    return [
        make.prediction(5, 4, 0.9, [SQUARE] * 3),
        make.prediction(8, 4, 0.8, [SQUARE, SQUARE]),
        make.prediction(5, 2, 0.7, [BAR] * 3),
    ]


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    """The paths that commands name, with frames of both videos and an empty log."""
    (tmp_path / "log.jsonl").touch()
    for video in labels()["videos"]:
        for name in video["file_names"]:
            (tmp_path / "frames" / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((*SIZE, 3), 90, np.uint8)).save(tmp_path / "frames" / name)
    return {
        "gt": make.save(tmp_path, "gt.json", labels()),
        "results": make.save(tmp_path, "found.json", predictions()),
        "frames": tmp_path / "frames",
        "log": tmp_path / "log.jsonl",
        "out": tmp_path / "out",
    }


def run(command: str, places: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = cli.main([part.format(**places) for part in command.split()])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def zipped(file: Path) -> Path:
    """The file beside it as gzip, which alone is left."""
    packed = file.with_name(f"{file.name}.gz")
    packed.write_bytes(gzip.compress(file.read_bytes()))
    file.unlink()
    return packed


@pytest.mark.parametrize(
    ("side", "command"), [("gt", item) for item in READERS.items()] + [("results", item) for item in OF_RESULTS.items()]
)
def test_gzip_is_read(side, command, places, capsys):
    plain = run(command[1], places, capsys)
    places |= {side: zipped(places[side]), "out": places["out"].with_name("again")}
    code, out, err = run(command[1], places, capsys)
    name = places[side].name
    out, err = (text.replace(name, name.removesuffix(".gz")).replace("/again", "/out") for text in (out, err))
    assert (code, json.loads(out), err) == (plain[0], json.loads(plain[1]), plain[2]) and code == 0


NULL = {
    "evaluate": "tevit: {gt}: there are no annotations (null or missing) to evaluate by\n",
    "errors": "tevit: {gt}: there are no annotations (null or missing) to evaluate by\n",
    "queue": "tevit: {gt}: there are no annotations (null or missing) to evaluate by\n",
    "report": "tevit: {gt}: there are no annotations (null or missing) to evaluate by\n",
}


@pytest.mark.parametrize("annotations", [None, "missing"])
@pytest.mark.parametrize("reader", [*NULL, "validate", "split", "formats"])
def test_missing_annotations_are_said(reader, annotations, places, capsys):
    content = labels() | {"annotations": None}
    if annotations == "missing":
        del content["annotations"]
    places["gt"].write_text(json.dumps(content))
    code, out, err = run(READERS[reader], places, capsys)
    assert code == 0
    output = json.loads(out)
    if reader in NULL:
        assert err == NULL[reader].format(**places)
    elif reader == "validate":
        assert "there are no annotations (null or missing), as in" in " ".join(output[0]["notes"])
    elif reader == "split":
        assert output["has_annotations"] is False
        code, out, err = run(READERS[reader].removesuffix(" --json"), places, capsys)
        assert "there are no annotations (null or missing): the videos were split without" in out
    else:
        assert output["notes"] == ["there are no annotations (null or missing)"]


FAULTS = {
    "a list": lambda content: content.update(annotations={"id": 1}),
    "a mask": lambda content: content["annotations"][0]["segmentations"][0].update(counts=[1]),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("reader", [name for name in READERS if name != "validate"])
def test_faults_of_labels_are_under_their_own_name(reader, fault, places, capsys):
    content = labels()
    FAULTS[fault](content)
    places["gt"].write_text(json.dumps(content))
    code, _, err = run(READERS[reader], places, capsys)
    reads_masks = reader not in ("split", "predict", "apply")
    assert code == (2 if fault == "a list" or reads_masks else 0)
    if code:
        assert err.splitlines()[-1].startswith(f"tevit: {places['gt']}") and "found.json" not in err


@pytest.mark.parametrize("fault", ["kind", "mask"])
@pytest.mark.parametrize("reader", [name for name in OF_RESULTS if name != "validate"])
def test_faults_of_results_are_under_their_own_name(reader, fault, places, capsys):
    content = predictions()
    if fault == "kind":
        content[1]["video_id"] = "8"
    else:
        content[1]["segmentations"][0]["counts"] = "1"
    places["results"].write_text(json.dumps(content))
    code, _, err = run(OF_RESULTS[reader], places, capsys)
    assert code == 2
    assert err.splitlines()[-1].startswith(f"tevit: {places['results']}") and str(places["gt"]) not in err


@pytest.mark.parametrize("numbers", [{2: 0, 4: 1}, {2: 80, 4: 81}])
@pytest.mark.parametrize("reader", [name for name in OF_RESULTS if name != "validate"])
def test_category_ids_of_another_numbering_are_refused(reader, numbers, places, capsys):
    results = [item | {"category_id": numbers[item["category_id"]]} for item in predictions()]
    places["results"].write_text(json.dumps(results))
    code, out, err = run(OF_RESULTS[reader], places, capsys)
    assert code == 2 and not out and f"tevit: {places['results']}: 3 of 3 predictions have category ids that" in err
    assert ("--map-classes contiguous" in err) == (0 in numbers.values())
    file = make.save(places["log"].parent, "map.json", {str(theirs): ours for ours, theirs in numbers.items()})
    code, out, err = run(f"{OF_RESULTS[reader]} --class-map {file}", places, capsys)
    places["results"].write_text(json.dumps(predictions()))
    assert code == 0 and "the category ids are read as the class map has them" in out + err
    repeated = json.loads(run(OF_RESULTS[reader], places | {"out": places["out"].with_name("two")}, capsys)[1])
    mapped = json.loads(out)
    for key in ("notes", "written", "files"):
        if isinstance(repeated, dict):
            repeated.pop(key, None)
            mapped.pop(key, None)
    assert mapped == repeated


@pytest.mark.parametrize("reader", [name for name in OF_RESULTS if name != "validate"])
def test_results_for_other_videos_are_refused(reader, places, capsys):
    for ids in ((77,), (6, 7)):
        results = [item | {"video_id": id} for item, id in zip(predictions(), ids, strict=False)]
        places["results"].write_text(json.dumps(predictions() + results))
        code, _, err = run(OF_RESULTS[reader], places, capsys)
        assert code == 2 and f"(ids {', '.join(map(str, ids))})" in err


LEFT_OUT = {
    "orphans": lambda content: content["annotations"][0].update(video_id=99),
    "categories": lambda content: content["annotations"][1].update(category_id=99),
}


@pytest.mark.parametrize("odd", LEFT_OUT)
@pytest.mark.parametrize("reader", ["evaluate", "errors", "queue", "report", "validate", "split", "formats"])
def test_annotations_that_are_left_out_are_counted(reader, odd, places, capsys):
    content = labels()
    LEFT_OUT[odd](content)
    places["gt"].write_text(json.dumps(content))
    _, out, err = run(READERS[reader], places, capsys)
    if reader in ("evaluate", "errors", "queue", "report"):
        sentence = {
            "orphans": "1 annotations left out: their video is not in the file",
            "categories": "1 annotations left out: the ground truth does not list their category (ids 99)",
        }[odd]
        assert f"tevit: {places['gt']}: {sentence}\n" in err
    elif reader == "formats":
        sentence = {
            "orphans": "1 annotations left out: their video is not in the file",
            "categories": "1 annotations left out: their category is not listed (ids 99)",
        }[odd]
        assert sentence in json.loads(out)["notes"]
    elif reader == "validate":
        word = {"orphans": "there is no video 99", "categories": "there is no category 99"}[odd]
        assert word in out
    else:
        key = {"orphans": "orphaned_annotations", "categories": "unlisted_categories"}[odd]
        assert json.loads(out)[key] == 1
        assert ": 1, " in run(READERS[reader].removesuffix(" --json"), places, capsys)[1]


BACKSLASHES = {
    "windows": lambda name: name.replace("/", "\\"),
    "relative": lambda name: ".\\" + name.replace("/", "\\"),
}


@pytest.mark.parametrize("form", BACKSLASHES)
@pytest.mark.parametrize("reader", READERS)
def test_backslashes_are_separators(reader, form, places, capsys):
    """Names, videos and frames are the same; in the second form the original has ./ as well."""
    forward = labels()
    windows = labels()
    for ours, theirs in zip(forward["videos"], windows["videos"], strict=True):
        theirs["file_names"] = [BACKSLASHES[form](name) for name in ours["file_names"]]
        ours["file_names"] = [name.replace("\\", "/") for name in theirs["file_names"]]
    places["gt"].write_text(json.dumps(forward))
    expected = run(READERS[reader], places, capsys)
    places["gt"].write_text(json.dumps(windows))
    code, out, err = run(READERS[reader], places | {"out": places["out"].with_name("again")}, capsys)
    actual, plain = json.loads(out.replace("/again", "/out")), json.loads(expected[1])
    if reader == "validate":
        assert actual[0].pop("notes") == ["videos whose file names have backslashes, read as /: 2"]
        plain[0].pop("notes")
    assert (code, actual, err) == (expected[0], plain, expected[2]) and code == 0
    if reader == "formats":
        written = [(places["out"].with_name(name) / "coco.json").read_bytes() for name in ("out", "again")]
        assert written[0] == written[1]


NUMBERS = {
    "video_id": (("annotations", 0, "video_id"), "5"),
    "height": (("videos", 0, "height"), "32"),
    "category": (("categories", 0, "id"), "4"),
}


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("reader", [name for name in READERS if name not in ("validate", "apply")])
def test_numbers_in_text_are_refused_with_their_place(reader, number, places, capsys):
    """No reader guesses; `validate --fix` writes the number."""
    content, ((kind, index, key), value) = labels(), NUMBERS[number]
    content[kind][index][key] = value
    places["gt"].write_text(json.dumps(content))
    code, out, err = run(READERS[reader], places, capsys)
    assert code == 2 and not out
    assert err == f"tevit: {places['gt']}: expected int, got str in {kind}[{index}].{key}\n"
    assert run("validate {gt} --fix", places, capsys)[0] == 1
    places["gt"] = places["gt"].with_name("gt.fixed.json")
    assert run(READERS[reader], places, capsys)[0] == 0


@pytest.mark.parametrize("reader", [name for name in OF_RESULTS if name != "validate"])
def test_a_score_in_text_is_refused_with_its_place(reader, places, capsys):
    results = predictions()
    results[2]["score"] = "0.7"
    places["results"].write_text(json.dumps(results))
    code, out, err = run(OF_RESULTS[reader], places, capsys)
    assert code == 2 and not out
    assert err == f"tevit: {places['results']}: expected float, got str in [2].score\n"


MISMATCHES = {
    "short": "1 annotations have more or fewer frames than their video; only common frames count",
    "size": "1 annotations have masks of another size than their video; in those frames nothing matches",
}


@pytest.mark.parametrize("odd", MISMATCHES)
@pytest.mark.parametrize("reader", ["evaluate", "errors", "queue", "report", "validate", "formats"])
def test_labels_that_do_not_fit_their_video_are_counted(reader, odd, places, capsys):
    content = labels()
    if odd == "short":
        for key in ("segmentations", "areas", "bboxes"):
            content["annotations"][0][key].pop()
    else:
        content["annotations"][0]["segmentations"][0] = make.compressed(make.rectangle(1, 1, 9, 9, (20, 20)))
    places["gt"].write_text(json.dumps(content))
    code, out, err = run(READERS[reader], places, capsys)
    if reader == "formats":
        assert code == 2 and err.startswith(f"tevit: {places['gt']}: video 'film5', ") and " 11" in err
    elif reader == "validate":
        assert code == 1 and "annotation 11" in out
    else:
        assert code == 0 and err.startswith(f"tevit: {places['gt']}: 1 annotations have "), err
        assert MISMATCHES[odd].split(" have ")[1][:20] in err


@pytest.mark.parametrize("roots", [("a", "b"), ("x/a", "y/a")])
def test_videos_of_one_folder_name_are_told_apart(roots, places, capsys):
    """In tables, CSV files, reports and lists: two cameras of two recordings."""
    content = labels()
    for video, root in zip(content["videos"], roots, strict=True):
        video["file_names"] = [f"{root}/cam/{t:05d}.jpg" for t in range(video["length"])]
    places["gt"].write_text(json.dumps(content))
    names = [f"{root}/cam" for root in roots]
    table = run("evaluate {gt} {results} --per-video", places, capsys)[1]
    assert all(f" {name} " in table for name in names)
    assert run("errors {gt} {results} --out {out}/errors", places, capsys)[0] == 0
    for file in ("errors.csv", "report.html"):
        text = (places["out"] / "errors" / file).read_text()
        assert all(name in text for name in names), file
    queue = run("review queue {gt} {results}", places, capsys)[1]
    assert f"{names[0]}, frame" in queue or f"{names[1]}, frame" in queue
    places["names"] = places["log"].with_name("names.txt")
    places["names"].write_text(f"{names[1]}\n")
    split = json.loads(run("split {gt} --videos {names} --out {out} --json", places, capsys)[1])
    assert split["val_videos"] == [names[1]]
    places["names"].write_text("cam\n")
    code, _, err = run("split {gt} --videos {names} --out {out}", places, capsys)
    assert code == 2 and f"several videos 'cam': expected one of '{names[0]}', '{names[1]}'" in err
