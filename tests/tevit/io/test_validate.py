"""tevit validate: every fault is reported with its place, and a repaired copy has no repairable fault."""

import copy
import json
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import annotations as make
from tevit.cli import main as cli
from tevit.io import ytvis
from tevit.io.validate import validate
from tevit.io.validation_report import ValidationReport

SQUARE, BAR = make.rectangle(1, 2, 4, 5), make.rectangle(0, 6, 6, 8)


def report_of(folder, content: object, **options) -> ValidationReport:
    return validate(make.save(folder, "file.json", content), **options)


def messages(report: ValidationReport) -> list[str]:
    return [str(fault) for fault in report.faults]


def test_valid_files_have_no_fault(tmp_path):
    report = report_of(tmp_path, make.sample())
    assert (report.kind, report.faults, report.notes) == ("data set", [], [])
    assert report.counts == {"annotations": 3, "masks": 6, "videos": 2, "categories": 3}
    gt = ytvis.open_dataset(tmp_path / "file.json")
    report = report_of(tmp_path, make.submission(), gt=gt)
    assert (report.kind, report.faults, report.notes) == ("submission", [], [])
    assert report.counts == {"predictions": 3, "videos": 2}


def test_written_files_are_valid(tmp_path):
    path = make.save(tmp_path, "gt.json", make.sample())
    dataset = ytvis.open_dataset(path)
    ytvis.save_dataset(tmp_path / "again.json", dataset.results())
    ytvis.write_results(tmp_path / "results.json", dataset.results())
    ytvis.write_zip(tmp_path / "results.zip", tmp_path / "results.json")
    for name in ("again.json", "results.json", "results.zip"):
        assert validate(tmp_path / name, gt=dataset).faults == []


def change(*path: Any, value: Any = None, drop: bool = False):
    """A function that changes one value of a file's content."""

    def apply(content: Any) -> None:
        for key in path[:-1]:
            content = content[key]
        if drop:
            del content[path[-1]]
        elif callable(value):
            content[path[-1]] = value(content[path[-1]])
        else:
            content[path[-1]] = value

    return apply


def runs(*counts: int) -> dict:
    return {"size": [6, 9], "counts": list(counts)}


ANNOTATION = ("annotations", 0)
DATA_SET_FAULTS = {
    "length": (
        change("videos", 1, "length", value=4),
        ["video 5: expected a length of 3 as it has file names, got 4"],
    ),
    "no length": (change("videos", 1, "length", drop=True), ["video 5: expected a length of 3 .*, got nothing"]),
    "names": (
        change("videos", 1, "file_names", 2, value="film5/00000.jpg"),
        ["video 5: the file name 'film5/00000.jpg' stands there twice"],
    ),
    "names outside": (
        change("videos", 1, "file_names", 2, value="../x.jpg"),
        ["video 5: the file name '../x.jpg' leads out of the frames' folder"],
    ),
    "second video": (
        change("videos", value=lambda videos: [*videos, videos[0]]),
        ["video 8: there is another video 8 before"],
    ),
    "video size": (
        change("videos", 0, "width", value=0),
        ["video 8: expected a height and width of at least 1, got 6 x 0", "annotation 3: there is no video 8"],
    ),
    "category name": (change("categories", 1, "name", value=3), ["category 2: expected a name as text, got 3"]),
    "second category": (
        change("categories", value=lambda categories: [*categories, {"id": 4, "name": "x"}]),
        ["category 4: there is another category 4 before"],
    ),
    "id taken": (change(*ANNOTATION, "id", value=12), ["annotation 12: there is another annotation 12 before"]),
    "id zero": (change(*ANNOTATION, "id", value=0), ["video 5, annotation 0: its id is 0"]),
    "no id": (change(*ANNOTATION, "id", drop=True), ["video 5, annotation: expected id as a whole number"]),
    "video": (change(*ANNOTATION, "video_id", value=77), ["video 77, annotation 11: there is no video 77"]),
    "category": (change(*ANNOTATION, "category_id", value=5), ["annotation 11: there is no category 5"]),
    "category text": (
        change(*ANNOTATION, "category_id", value="4"),
        ['annotation 11: expected category_id as a whole number, got "4"'],
    ),
    "crowd": (change(*ANNOTATION, "iscrowd", value=None), ["annotation 11: expected iscrowd 0 or 1, got null"]),
    "no object": (change("annotations", 0, value=[7]), [r"annotation: expected an object, got \[7\]"]),
    "no masks": (change(*ANNOTATION, "segmentations", drop=True), ["annotation 11: it has no segmentations"]),
    "masks no list": (
        change(*ANNOTATION, "segmentations", value={"size": 1}),
        ["annotation 11: expected a list of segmentations"],
    ),
    "too few masks": (
        change(*ANNOTATION, "segmentations", value=lambda masks: masks[:2]),
        ["annotation 11: expected 3 segmentations, one a frame of its video, got 2"],
    ),
    "too many masks": (
        change(*ANNOTATION, "segmentations", value=lambda masks: [*masks, masks[0]]),
        ["annotation 11: expected 3 segmentations, one a frame of its video, got 4"],
    ),
    "too few areas": (
        change(*ANNOTATION, "areas", value=[9]),
        ["expected 3 areas, one a frame of its video, got 1", "frame 1: there is a mask, but the area null"],
    ),
    "no boxes": (change(*ANNOTATION, "bboxes", drop=True), ["expected bboxes as a list, got nothing"]),
    "sum": (
        change(*ANNOTATION, "segmentations", 1, value=runs(10, 20)),
        [r"video 5, annotation 11, frame 1: the runs sum to 30 pixels, expected 54 \(6 x 9\)"],
    ),
    "negative": (
        change(*ANNOTATION, "segmentations", 1, value=runs(55, -1)),
        [r"frame 1: a run is negative \(-1\)"],
    ),
    "text": (
        change(*ANNOTATION, "segmentations", 0, value={"size": [6, 9], "counts": "f1P"}),
        ["frame 0: the text breaks off within a run"],
    ),
    "mask size": (
        change(*ANNOTATION, "segmentations", 0, value={"size": [9, 6], "counts": [20, 34]}),
        [r"frame 0: expected a mask of \(6, 9\), got \(9, 6\)"],
    ),
    "polygon": (
        change(*ANNOTATION, "segmentations", 0, value=[[1, 2, 3]]),
        ["frame 0: expected a polygon of at least three points"],
    ),
    "no mask at all": (change(*ANNOTATION, "segmentations", 0, value=5), ["frame 0: expected null, polygons or"]),
    "area": (
        change(*ANNOTATION, "areas", value=[9, -4, 3]),
        ["frame 1: there is a mask, but the area -4", "frame 2: there is no mask, but the area 3"],
    ),
    "box": (
        change(*ANNOTATION, "bboxes", value=[[1, 2, 3], [1, 2, 0, 4], [1, 2, 3, 4]]),
        [
            r"frame 0: there is a mask, but the box \[1,2,3\]",
            r"frame 1: there is a mask, but the box \[1,2,0,4\]",
            r"frame 2: there is no mask, but the box \[1,2,3,4\]",
        ],
    ),
}
BEYOND_REPAIR = {"names", "names outside"}


@pytest.mark.parametrize("name", DATA_SET_FAULTS)
def test_faults_of_data_sets(tmp_path, name):
    apply, expected = DATA_SET_FAULTS[name]
    content = make.sample()
    apply(content)
    report = report_of(tmp_path, content, fixed=tmp_path / "fixed.json")
    actual = messages(report)
    assert len(actual) == len(expected)
    assert all(re.search(pattern, text) for pattern, text in zip(expected, actual, strict=True)), actual
    assert all((fault.repair is None) == (name in BEYOND_REPAIR) for fault in report.faults)
    fixed = validate(tmp_path / "fixed.json")
    assert [fault.text for fault in fixed.faults] == [f.text for f in report.faults if f.repair is None]


GT = make.sample()
SUBMISSION_FAULTS = {
    "too short": (
        change(0, "segmentations", value=lambda masks: masks[:2]),
        ["video 5, prediction 1: expected 3 segmentations, one a frame of its video, got 2"],
    ),
    "unknown video": (change(0, "video_id", value=77), ["video 77, prediction 1: there is no video 77"]),
    "unknown category": (change(1, "category_id", value=5), ["video 8, prediction 2: there is no category 5"]),
    "no category": (
        change(1, "category_id", drop=True),
        ["prediction 2: expected category_id as a whole number, got nothing"],
    ),
    "no score": (change(2, "score", value=None), ["video 5, prediction 3: expected a finite score, got null"]),
    "nan": (
        change(2, "score", value=float("nan")),
        ["^NaN at line 1, column [0-9]+ is not JSON", 'prediction 3: expected a finite score, got "NaN"'],
    ),
    "plain runs": (
        change(0, "segmentations", 1, value=make.uncompressed(BAR)),
        ["prediction 1, frame 1: expected compressed run-length text, got runs"],
    ),
    "polygons": (
        change(0, "segmentations", 1, value=[[0, 0, 3, 0, 3, 3]]),
        ["prediction 1, frame 1: expected compressed run-length text, got polygons"],
    ),
    "size": (
        change(0, "segmentations", 1, value=make.compressed(BAR.T)),
        [r"prediction 1, frame 1: expected a mask of \(6, 9\), got \(9, 6\)"],
    ),
    "sum": (
        change(0, "segmentations", 2, "counts", value="f1f1"),
        ["video 5, prediction 1, frame 2: the runs sum to 108 pixels"],
    ),
    "both": (
        change(0, "segmentations", value=[None, runs(1, 2), make.uncompressed(BAR), None]),
        ["frame 1: the runs sum to 3", "frame 2: expected compressed", "expected 3 segmentations"],
    ),
    "empty": (lambda content: content.clear(), ["^there is no prediction"]),
}


@pytest.mark.parametrize("name", SUBMISSION_FAULTS)
def test_faults_of_submissions(tmp_path, name):
    apply, expected = SUBMISSION_FAULTS[name]
    gt = ytvis.open_dataset(make.save(tmp_path, "gt.json", GT))
    content = make.submission()
    apply(content)
    report = report_of(tmp_path, content, gt=gt, fixed=tmp_path / "fixed.json")
    actual = messages(report)
    assert len(actual) == len(expected)
    assert all(re.search(pattern, text) for pattern, text in zip(expected, actual, strict=True)), actual
    fixed = validate(tmp_path / "fixed.json", gt=gt)
    assert [fault.text for fault in fixed.faults] == [f.text for f in report.faults if f.repair is None]


@pytest.mark.parametrize(
    ("place", "value", "message", "key", "repaired"),
    [
        (("annotations", 0, "video_id"), "5", 'expected video_id as a whole number, got "5"', "video_id", 5),
        (("annotations", 0, "video_id"), 5.0, "expected video_id as a whole number, got 5.0", "video_id", 5),
        (("annotations", 1, "category_id"), "2", 'expected category_id as a whole number, got "2"', "category_id", 2),
        (("videos", 0, "height"), 6.0, "expected height as a whole number, got 6.0", "height", 6),
        (("videos", 0, "width"), " 9 ", 'expected width as a whole number, got " 9 "', "width", 9),
        (("categories", 0, "id"), "4", 'expected id as a whole number, got "4"', "id", 4),
    ],
)
def test_evident_numbers_are_repaired(tmp_path, place, value, message, key, repaired):
    content = make.sample()
    change(*place, value=value)(content)
    report = report_of(tmp_path, content, fixed=tmp_path / "fixed.json")
    assert any(message in text for text in messages(report)), messages(report)
    assert [fault.repair for fault in report.faults] == [f"set to {repaired}"]
    entry = json.loads((tmp_path / "fixed.json").read_text())[place[0]][place[1]]
    assert entry[key] == repaired and type(entry[key]) is int
    assert validate(tmp_path / "fixed.json").faults == []


@pytest.mark.parametrize(("score", "repaired"), [("0.8", 0.8), ("1e-3", 0.001)])
def test_a_score_in_text_is_repaired(tmp_path, score, repaired):
    predictions = make.submission()
    predictions[0]["score"] = score
    report = report_of(tmp_path, predictions, fixed=tmp_path / "fixed.json")
    assert [fault.repair for fault in report.faults] == [f"set to {repaired:g}"]
    assert json.loads((tmp_path / "fixed.json").read_text())[0]["score"] == repaired


def test_swapped_sides_are_swapped_back(tmp_path):
    content = make.sample()
    content["videos"][1] |= {"height": 9, "width": 6}
    report = report_of(tmp_path, content, fixed=tmp_path / "fixed.json")
    assert messages(report) == ["video 5: expected height 6 and width 9 as all its masks have, got 9 and 6"]
    fixed = json.loads((tmp_path / "fixed.json").read_text())
    assert [fixed["videos"][1][key] for key in ("height", "width")] == [6, 9]
    assert fixed["annotations"] == content["annotations"]
    content["annotations"][0]["segmentations"][0] = {"size": [9, 6], "counts": [54]}
    report = report_of(tmp_path, content)
    assert not any(fault.repair == "swapped" for fault in report.faults), "masks of both kinds prove nothing"


@pytest.mark.parametrize("mask", [SQUARE, make.rectangle(0, 0, 6, 9), make.rectangle(2, 3, 3, 8)])
def test_counts_that_python_printed_are_unwrapped(tmp_path, mask):
    predictions = make.submission()
    counts = make.compressed(mask)["counts"]
    predictions[2]["segmentations"][0] = {"size": [6, 9], "counts": str(counts.encode())}
    report = report_of(tmp_path, predictions, fixed=tmp_path / "fixed.json")
    assert [fault.repair for fault in report.faults] == ["unwrapped"]
    fixed = json.loads((tmp_path / "fixed.json").read_text())
    assert fixed[2]["segmentations"][0] == {"size": [6, 9], "counts": counts}


FIRST = ("annotations", 0)


@pytest.mark.parametrize(
    ("place", "value", "repaired"),
    [
        ((*FIRST, "id"), "11", 11),
        ((*FIRST, "id"), 11.0, 11),
        ((*FIRST, "iscrowd"), "1", 1),
        ((*FIRST, "segmentations", 0, "size"), [6.0, 9.0], [6, 9]),
        ((*FIRST, "segmentations", 1, "size"), ["6", "9"], [6, 9]),
        (
            (*FIRST, "segmentations", 0, "counts"),
            [str(run) for run in make.plain_runs(SQUARE)],
            make.plain_runs(SQUARE),
        ),
        (("annotations", 1, "segmentations", 1, "counts"), 'b"T1<6"', "T1<6"),
        (("categories", 0, "name"), 5, "5"),
        (("videos", 0, "length"), "2", 2),
    ],
)
def test_what_is_evident_is_kept(tmp_path, place, value, repaired):
    content = make.sample()
    del content["videos"][0]["file_names"]
    change(*place, value=value)(content)
    report = report_of(tmp_path, content, fixed=tmp_path / "fixed.json")
    assert len(report.faults) == 1 and report.faults[0].repair is not None
    value = json.loads((tmp_path / "fixed.json").read_text())
    for key in place:
        value = value[key]
    assert value == repaired and type(value) is type(repaired)
    assert validate(tmp_path / "fixed.json").faults == []


@pytest.mark.parametrize("swapped", [2, 3])
def test_a_copy_without_most_masks_is_not_written(tmp_path, capsys, swapped):
    """Predictions of transposed masks: their entries would stay, empty."""
    gt = make.save(tmp_path, "gt.json", make.sample())
    predictions = make.submission()
    for prediction in predictions[:swapped]:
        for segment in filter(None, prediction["segmentations"]):
            segment["size"] = segment["size"][::-1]
    path = make.save(tmp_path, "results.json", predictions)
    assert cli.main(["validate", str(path), "--gt", str(gt), "--fix"]) == 1
    lost = {2: 4, 3: 6}[swapped]
    assert f"no repaired copy: {lost} of 6 masks would be set to null; --force writes" in capsys.readouterr().out
    assert not (tmp_path / "results.fixed.json").exists()
    assert cli.main(["validate", str(path), "--gt", str(gt), "--fix", "--force"]) == 1
    assert (tmp_path / "results.fixed.json").exists()


def test_a_copy_without_most_entries_is_not_written(tmp_path, capsys):
    predictions = make.submission()
    for prediction in predictions[:2]:
        prediction["video_id"] = "unknown"
    path = make.save(tmp_path, "results.json", predictions)
    assert cli.main(["validate", str(path), "--fix"]) == 1
    assert "no repaired copy: 2 of 3 predictions would be removed; --force writes it" in capsys.readouterr().out
    assert [file.name for file in tmp_path.iterdir()] == ["results.json"]
    assert cli.main(["validate", str(path), "--fix", "--force"]) == 1
    assert len(json.loads((tmp_path / "results.fixed.json").read_text())) == 1


def test_backslashes_are_noted(tmp_path):
    content = make.sample()
    content["videos"][0]["file_names"] = ["film8\\00000.jpg", "film8\\00005.jpg"]
    assert report_of(tmp_path, content).notes == ["videos whose file names have backslashes, read as /: 1"]


def test_repairs_keep_valid_values(tmp_path):
    content = make.sample()
    before = copy.deepcopy(content)
    content["annotations"][0]["segmentations"] = [make.uncompressed(SQUARE), runs(1, 2)]
    content["annotations"][0]["extra"] = {"occlusion": [1, 2]}
    content["annotations"][0]["id"] = 12
    report_of(tmp_path, content, fixed=tmp_path / "fixed.json")
    fixed = json.loads((tmp_path / "fixed.json").read_text())
    assert list(fixed) == list(before) and fixed["info"] == before["info"]
    assert fixed["annotations"][1:] == [before["annotations"][1] | {"id": 13}, before["annotations"][2]]
    assert fixed["annotations"][0] == before["annotations"][0] | {
        "id": 12,
        "segmentations": [make.uncompressed(SQUARE), None, None],
        "areas": [9, None, None],
        "bboxes": [make.box_xywh(SQUARE), None, None],
        "extra": {"occlusion": [1, 2]},
    }


def test_repairs_of_a_submission_compress_and_fill(tmp_path):
    content = make.submission()
    content[0]["segmentations"] = [make.uncompressed(SQUARE), [[6, 0, 8, 0, 8, 6, 6, 6]]]
    gt = ytvis.open_dataset(make.save(tmp_path, "gt.json", GT))
    report_of(tmp_path, content, gt=gt, fixed=tmp_path / "fixed.json")
    fixed = json.loads((tmp_path / "fixed.json").read_text())
    assert fixed[0]["segmentations"] == [make.compressed(SQUARE), make.compressed(BAR), None]
    assert fixed[1:] == make.submission()[1:]


def test_a_valid_file_is_copied_unchanged(tmp_path):
    report_of(tmp_path, make.sample(), fixed=tmp_path / "fixed.json")
    assert json.loads((tmp_path / "fixed.json").read_text()) == make.sample()


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_several_faults_at_once_are_reported_and_repaired(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("faults")
    content = make.sample()
    names = data.draw(
        st.lists(st.sampled_from(sorted(DATA_SET_FAULTS.keys() - BEYOND_REPAIR)), max_size=4, unique=True)
    )
    for name in names:
        try:
            DATA_SET_FAULTS[name][0](content)
        except (KeyError, IndexError, TypeError):
            continue  # the place is gone already
    report = report_of(folder, content, fixed=folder / "fixed.json", force=True)
    assert (report.faults == []) == (content == make.sample())
    assert messages(validate(folder / "fixed.json")) == []
    for result in ytvis.open_dataset(folder / "fixed.json").results():
        assert all(np.isfinite(track.areas).all() for track in result.tracks)


def test_without_ground_truth_predictions_of_a_video_are_compared(tmp_path):
    content = make.submission()
    content[2]["segmentations"] = [make.compressed(SQUARE[:, :8]), None]
    report = report_of(tmp_path, content)
    assert messages(report) == [
        "video 5, prediction 3: expected 3 segmentations as in the video's first prediction, got 2",
        "video 5, prediction 3: expected masks of (6, 9) as in the video's first prediction, got (6, 8)",
    ]
    assert "without the ground truth" in report.notes[0]


def test_notes(tmp_path):
    content = make.sample()
    content["annotations"][2] |= {"segmentations": [None] * 2, "areas": [None] * 2, "bboxes": [None] * 2}
    assert "annotations without a mask in any frame: 1" in report_of(tmp_path, content).notes[0]
    assert "no annotations" in report_of(tmp_path, make.data_set([make.video(1, 2)], None)).notes[0]
    gt = ytvis.open_dataset(make.save(tmp_path, "gt.json", GT))
    many = [make.prediction(5, 4, 1.5, [SQUARE] * 3)] * 103
    notes = report_of(tmp_path, many, gt=gt).notes
    assert [note[:24] for note in notes] == [
        "videos without a predict",
        "scores outside 0 to 1: 1",
        "predictions that do not ",
    ]


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("", "^is empty"),
        ('{"videos": [}', "^malformed JSON at line 1, column 13"),
        ('{"videos": []}', "^expected a list categories"),
        ('{"videos": [], "categories": [], "annotations": 3}', "^expected annotations as a list"),
        ("7", "^expected (object|array)"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_files_that_are_neither_data_set_nor_submission(tmp_path, text, pattern):
    path = tmp_path / "file.json"
    path.write_text(text)
    actual = messages(validate(path, fixed=tmp_path / "fixed.json"))
    assert any(re.search(pattern, text) for text in actual), actual
    assert not (tmp_path / "fixed.json").exists()


def test_missing_frames(tmp_path):
    path = make.save(tmp_path, "gt.json", make.sample())
    root = tmp_path / "frames"
    for name in make.sample()["videos"][1]["file_names"][:2]:
        (root / "train/JPEGImages" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "train/JPEGImages" / name).touch()
    first, second = messages(validate(path, frames=root))
    assert "video 'film8': none of its frames" in first
    assert re.search(r"^video 5, frame 2: .*film5/00010.jpg does not exist$", second)
    with pytest.raises(FileNotFoundError, match="no such folder of frames"):
        validate(path, frames=tmp_path / "nowhere")


def test_the_file_itself_is_never_replaced(tmp_path):
    path = make.save(tmp_path, "gt.json", make.sample())
    with pytest.raises(ValueError, match="itself"):
        validate(path, fixed=path)


# --- the command


def test_command_prints_faults_and_exits_with_1(tmp_path, capsys):
    good = make.save(tmp_path, "good.json", make.sample())
    assert cli.main(["validate", str(good)]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "  correct"
    bad = make.sample()
    bad["annotations"][0]["segmentations"][1] = runs(10, 20)
    before = make.save(tmp_path, "bad.json", bad).read_bytes()
    assert cli.main(["validate", str(good), str(tmp_path / "bad.json"), "--fix"]) == 1
    out = capsys.readouterr().out
    assert "  video 5, annotation 11, frame 1: the runs sum to 30 pixels, expected 54 (6 x 9) -> set to null" in out
    assert "faults: 1, of which --fix can repair 1" in out and "bad.fixed.json" in out
    assert (tmp_path / "bad.json").read_bytes() == before
    assert not (tmp_path / "good.fixed.json").exists()
    assert cli.main(["validate", str(tmp_path / "bad.fixed.json")]) == 0


def test_command_as_json(tmp_path, capsys):
    gt = make.save(tmp_path, "gt.json", make.sample())
    bad = make.submission()
    bad[0]["video_id"] = 77
    results = make.save(tmp_path, "results.json", bad)
    assert cli.main(["validate", str(results), "--gt", str(gt), "--json"]) == 1
    (report,) = json.loads(capsys.readouterr().out)
    assert (report["kind"], report["correct"]) == ("submission", False)
    assert report["faults"][0] == {
        "what": "prediction",
        "text": "there is no video 77",
        "id": 1,
        "video": 77,
        "frame": None,
        "repair": "removed",
        "message": "video 77, prediction 1: there is no video 77",
    }


def test_command_reports_a_missing_file(tmp_path, capsys):
    assert cli.main(["validate", str(tmp_path / "none.json")]) == 2
    assert "none.json" in capsys.readouterr().err
