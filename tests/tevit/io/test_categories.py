"""Predictions whose category ids are indices of the data set's categories: found, said, and read so where chosen."""

import gzip
import json

import pytest

from tests import annotations as make
from tevit.cli import main as cli
from tevit.evaluation.api import evaluate
from tevit.io import categories
from tevit.io.ytvis import open_dataset, read_results

SQUARE, BAR = make.rectangle(1, 2, 4, 5), make.rectangle(0, 6, 6, 8)
# The sample's categories are 2 earless_seal, 4 dog and 7; those of its annotations 4, 2 and 4.
FITTING = [(5, 4, [SQUARE, SQUARE, None]), (5, 2, [None, BAR, BAR]), (8, 4, [BAR, SQUARE])]


def saved(folder, numbers: dict[int, int], name: str = "results.json"):
    """The ground truth's file, and predictions equal to it whose category ids are numbered otherwise."""
    results = [make.prediction(video, numbers[id], 0.9, masks) for video, id, masks in FITTING]
    return make.save(folder, "gt.json", make.sample()), make.save(folder, name, results)


FROM_0, FROM_1 = {2: 0, 4: 1}, {2: 1, 4: 2}


@pytest.mark.parametrize(("numbers", "start"), [(FROM_0, 0), (FROM_1, 1)])
@pytest.mark.parametrize("command", ["evaluate", "errors"])
def test_indices_are_refused_and_read_on_request(tmp_path, capsys, command, numbers, start):
    gt, results = map(str, saved(tmp_path, numbers))
    assert cli.main([command, gt, results]) == 2
    streams = capsys.readouterr()
    assert (
        f"indices from {start} of the sorted categories: --map-classes contiguous (or --class-map FILE)" in streams.err
    )
    assert not streams.out
    assert cli.main([command, gt, results, "--json", "--map-classes", "contiguous"]) == 0
    streams = capsys.readouterr()
    figures = json.loads(streams.out)
    assert (figures if command == "evaluate" else figures["figures"])["AP"] == pytest.approx(1)
    assert (
        streams.err == f"tevit: {results}: the category ids are read as indices from {start} of the sorted categories\n"
    )
    assert cli.main([command, gt, results, "--json", "--map-classes", "keep"]) == 0
    streams = capsys.readouterr()
    assert "predictions left out" in streams.err and f"indices from {start}" in streams.err


@pytest.mark.parametrize(("numbers", "start"), [(FROM_0, 0), (FROM_1, 1)])
def test_validate_says_so_and_repairs(tmp_path, capsys, numbers, start):
    gt, results = saved(tmp_path, numbers)
    assert cli.main(["validate", str(results), "--gt", str(gt)]) == 1
    assert f"note: the ids ({start} to {start + 1}) are indices from {start}" in capsys.readouterr().out
    options = ["--gt", str(gt), "--fix", "--map-classes", "contiguous"]
    assert cli.main(["validate", str(results), *options]) == 1
    fixed = tmp_path / "results.fixed.json"
    assert [entry["category_id"] for entry in json.loads(fixed.read_text())] == [4, 2, 4]
    assert cli.main(["validate", str(fixed), "--gt", str(gt)]) == 0


def test_a_class_map_has_ids_or_names(tmp_path, capsys):
    gt, results = map(str, saved(tmp_path, {2: 90, 4: 91}))
    for command in ("evaluate", "errors"):
        assert cli.main([command, gt, results]) == 2
        assert "(90, 91); --class-map FILE gives its classes for them" in capsys.readouterr().err
    file = make.save(tmp_path, "map.json", {"90": "Earless Seal", "91": 4})
    assert cli.main(["evaluate", gt, results, "--json", "--class-map", str(file)]) == 0
    assert json.loads(capsys.readouterr().out)["AP"] == pytest.approx(1)
    assert cli.main(["validate", results, "--gt", gt, "--fix", "--class-map", str(file)]) == 1
    assert evaluate(gt, tmp_path / "results.fixed.json").figures["AP"] == pytest.approx(1)
    for content, words in (({"dog": 4}, "got 'dog'"), ({"90": "cat"}, "has no class 'cat'"), ({"90": 3}, "class 3")):
        file = make.save(tmp_path, "map.json", content)
        assert cli.main(["evaluate", gt, results, "--class-map", str(file)]) == 2
        assert words in capsys.readouterr().err


def test_where_both_fit_equally_the_choice_is_left(tmp_path, capsys):
    """An index of 1 alone may be the first or the second category; here neither is annotated in the video."""
    content = make.sample()
    content["annotations"] = [entry for entry in content["annotations"] if entry["video_id"] == 5]
    gt = make.save(tmp_path, "gt.json", content)
    results = make.save(tmp_path, "results.json", [make.prediction(8, 1, 0.9, [BAR, SQUARE])])
    assert cli.main(["evaluate", str(gt), str(results)]) == 2
    assert "--map-classes from-0 or from-1" in capsys.readouterr().err
    assert cli.main(["evaluate", str(gt), str(results), "--map-classes", "contiguous"]) == 2
    assert "--map-classes from-0 or from-1" in capsys.readouterr().err
    assert cli.main(["evaluate", str(gt), str(results), "--map-classes", "from-1"]) == 0
    assert cli.main(["evaluate", str(gt), str(results), "--map-classes", "from-0"]) == 0


def test_other_ids_are_no_indices(tmp_path, capsys):
    gt, results = saved(tmp_path, {2: 2, 4: 99})
    assert cli.main(["evaluate", str(gt), str(results)]) == 0  # some are right: a warning, as before
    captured = capsys.readouterr().err
    assert "2 predictions left out" in captured and "sorted categories" not in captured
    assert cli.main(["evaluate", str(gt), str(results), "--map-classes", "contiguous"]) == 2
    assert "are no such indices" in capsys.readouterr().err


def test_ids_that_are_all_known_are_never_mapped(tmp_path):
    dataset = open_dataset(make.save(tmp_path, "gt.json", make.sample()))
    results = read_results(make.save(tmp_path, "results.json", make.submission()))
    for option in (None, "contiguous", "keep"):
        assert categories.with_known_classes(results, dataset, option) == (results, [])


def test_the_library_warns(tmp_path):
    gt, results = saved(tmp_path, FROM_0)
    evaluation = evaluate(gt, results)
    assert evaluation.figures["AP"] == 0
    assert any(
        "indices from 0 of the sorted categories: --map-classes contiguous" in text for text in evaluation.warnings
    )


def test_gzip_and_more_classes_than_the_data_set_has(tmp_path):
    gt, results = saved(tmp_path, {2: 3, 4: 4})
    packed = tmp_path / "results.json.gz"
    packed.write_bytes(gzip.compress(results.read_bytes()))
    predicted = categories.count_classes(read_results(packed))
    assert predicted == {(5, 4): 1, (5, 3): 1, (8, 4): 1}
    assert categories.index_mappings(predicted, open_dataset(gt).categories) == []
