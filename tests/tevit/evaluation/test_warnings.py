"""What files of other tools have and the metric does not count is said, under the name of the file that it is in."""

import gzip
import json

import pytest

from tests import annotations as make
from tevit import evaluate
from tevit.cli import main as cli

SQUARE, BAR = make.rectangle(1, 2, 4, 5), make.rectangle(0, 6, 6, 8)


def id_zero(place: int = 0) -> tuple[dict, list]:
    """The sample with one annotation of the id 0, and predictions equal to it."""
    data = make.sample()
    data["annotations"][place]["id"] = 0
    results = [
        make.prediction(5, 4, 0.9, [SQUARE, SQUARE, None]),
        make.prediction(5, 2, 0.8, [None, BAR, BAR]),
        make.prediction(8, 4, 0.7, [BAR, SQUARE]),
    ]
    return data, results


@pytest.mark.parametrize("place", [0, 1, 2])
def test_annotation_0_is_named_and_can_be_renumbered(tmp_path, capsys, place):
    data, results = id_zero(place)
    gt, predictions = make.save(tmp_path, "gt.json", data), make.save(tmp_path, "results.json", results)
    sentence = (
        f"tevit: {gt}: 1 annotations have the id 0, which the official evaluation can never match, so that they count "
        "as missed (`tevit validate --fix` renumbers them)\n"
    )
    for command in ("evaluate", "errors"):
        assert cli.main([command, str(gt), str(predictions), "--json"]) == 0
        assert capsys.readouterr().err == sentence
    assert evaluate(gt, predictions).figures["AP"] < 1
    assert cli.main(["validate", str(gt), "--fix"]) == 1
    assert evaluate(tmp_path / "gt.fixed.json", predictions).figures["AP"] == pytest.approx(1)


@pytest.mark.parametrize("cut", [1, 2])
def test_labels_shorter_than_their_video_are_counted(tmp_path, capsys, cut):
    data, results = make.sample(), make.submission()
    for entry in data["annotations"][:2]:
        for key in ("segmentations", "areas", "bboxes"):
            entry[key] = entry[key][:-cut]
    gt, predictions = make.save(tmp_path, "gt.json", data), make.save(tmp_path, "results.json", results)
    assert cli.main(["evaluate", str(gt), str(predictions)]) == 0
    text = "2 annotations have more or fewer frames than their video; only common frames count"
    assert f"tevit: {gt}: {text}\n" in capsys.readouterr().err


@pytest.mark.parametrize("annotations", [None, "drop"])
def test_missing_annotations_are_named(tmp_path, capsys, annotations):
    data = make.sample() | {"annotations": None}
    if annotations == "drop":
        del data["annotations"]
    gt, predictions = make.save(tmp_path, "gt.json", data), make.save(tmp_path, "results.json", make.submission())
    assert cli.main(["evaluate", str(gt), str(predictions)]) == 0
    assert capsys.readouterr().err == f"tevit: {gt}: there are no annotations (null or missing) to evaluate by\n"


def test_faults_of_each_side_are_under_its_own_name_and_said_once(tmp_path, capsys):
    data, results = make.sample(), make.submission()
    data["annotations"][0]["category_id"] = 99
    results[0]["category_id"] = 98
    gt = make.save(tmp_path, "gt.json", data)
    both = [make.save(tmp_path, name, results) for name in ("a.json", "b.json")]
    assert cli.main(["evaluate", str(gt), *map(str, both)]) == 0
    assert capsys.readouterr().err.splitlines() == [
        f"tevit: {gt}: 1 annotations left out: the ground truth does not list their category (ids 99)",
        f"tevit: {both[0]}: 1 predictions left out: the ground truth does not list their category (ids 98)",
        f"tevit: {both[1]}: 1 predictions left out: the ground truth does not list their category (ids 98)",
    ]


@pytest.mark.parametrize("compressed", ["gt", "results"])
def test_gzip_is_evaluated(tmp_path, compressed):
    files = {
        "gt": make.save(tmp_path, "gt.json", make.sample()),
        "results": make.save(tmp_path, "r.json", make.submission()),
    }
    expected = evaluate(files["gt"], files["results"]).figures
    packed = tmp_path / f"{compressed}.json.gz"
    packed.write_bytes(gzip.compress(json.dumps(json.loads(files[compressed].read_text())).encode()))
    assert evaluate(**(files | {compressed: packed})).figures == expected  # type: ignore[arg-type]


def test_ids_counted_from_0_in_each_video(tmp_path, capsys):
    """Two annotations 0 and two 1: each is named, the repaired copy has all four, and no command writes the id 0."""
    tracks = [(0, 8, [BAR, SQUARE]), (1, 8, [SQUARE, None]), (0, 5, [SQUARE, SQUARE, None]), (1, 5, [None, BAR, BAR])]
    data = make.data_set([make.video(8, 2), make.video(5, 3)], [make.annotation(id, v, 4, m) for id, v, m in tracks])
    results = [make.prediction(video, 4, 0.9, masks) for _, video, masks in tracks]
    gt, predictions = make.save(tmp_path, "gt.json", data), make.save(tmp_path, "results.json", results)
    for command in ("evaluate", "errors"):
        assert cli.main([command, str(gt), str(predictions)]) == 0
        message = capsys.readouterr().err
        assert "2 annotations have the id 0" in message and "2 annotations have one id with another" in message
    assert cli.main(["validate", str(gt), "--fix"]) == 1
    fixed = json.loads((tmp_path / "gt.fixed.json").read_text())["annotations"]
    assert len({one["id"] for one in fixed} - {0}) == 4
    assert evaluate(tmp_path / "gt.fixed.json", predictions).figures["AP"] == pytest.approx(1)
    assert cli.main(["split", str(gt), "--val", "0.5", "--out", str(tmp_path / "parts")]) == 0
    assert cli.main(["formats", str(gt), "--to", "coco", "--out", str(tmp_path / "coco.json")]) == 0
    assert (
        cli.main(["formats", str(tmp_path / "coco.json"), "--to", "ytvis", "--out", str(tmp_path / "back.json")]) == 0
    )
    for name in ("parts/train.json", "parts/val.json", "coco.json", "back.json"):
        assert 0 not in {one["id"] for one in json.loads((tmp_path / name).read_text())["annotations"]}
    assert evaluate(tmp_path / "back.json", predictions).figures["AP"] == pytest.approx(1)
