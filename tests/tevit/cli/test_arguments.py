"""A missing file or swapped arguments: one sentence that names the file and what is expected in its place."""

import pytest

from tevit.cli.main import COMMANDS, main
from tevit.download import assets_folder

SHAPES = assets_folder() / "shapes"
GT = str(SHAPES / "valid.json")
RESULTS = str(SHAPES / "predictions" / "tevit_demo.json")
FRAMES = str(SHAPES / "JPEGImages")
GT_FIRST = "; the ground truth comes first, predictions after it"
MISSING = "nothere.json: no such file or folder"


def error(argv: list[str], capsys) -> str:
    """The sentence on standard error, without the prefix."""
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("tevit: ") and err.count("\n") == 1, err
    return err.removeprefix("tevit: ").strip()


MISSING_FILES = [
    ["evaluate", "nothere.json", RESULTS],
    ["evaluate", GT, "nothere.json"],
    ["errors", "nothere.json", RESULTS],
    ["errors", GT, RESULTS.replace("tevit_demo", "../nothere")],
    ["validate", "nothere.json"],
    ["split", "nothere.json", "--val", "0.1", "--out", "out"],
    ["formats", "nothere.json", "--to", "coco", "--out", "out.json"],
    ["review", "queue", "nothere.json", RESULTS],
    ["review", "queue", GT, "nothere.json"],
    ["review", "check", "nothere.json", GT],
    ["review", "apply", "nothere.json", GT, "--out", "out.json"],
    ["review", "report", "nothere.json", GT, "--out", "out"],
    ["predict", "--dataset", "nothere.json", "--frames", FRAMES, "--out", "out", "--model", "tevit_demo"],
]


MISSING_FILES_IN_WORDS = [
    (["predict", "nothere.mp4", "--out", "out"], "nothere.mp4: no such file or folder"),
    (["predict", "a.mp4", "--checkpoint", "nothere.pth", "--out", "out"], "a.mp4: no such file or folder"),
    (["models", "check", "nothere.py:create"], "nothere.py: no such file"),
    (["models", "check", "motion", "--video", "nothere.mp4"], "nothere.mp4: no such file or folder"),
    (["convert", "nothere.pth", "a.safetensors"], "nothere.pth: no such checkpoint"),
    (
        ["convert", "out.safetensors", str(assets_folder() / "tevit_demo.safetensors")],
        "out.safetensors: no such checkpoint; the file to read comes first, then the one to write",
    ),
    (["errors", GT, RESULTS, "--out", "out", "--frames", "nothere"], "--frames nothere: no such folder"),
    (["validate", GT, "--frames", "nothere"], "--frames nothere: no such folder"),
    (["split", GT, "--videos", "nothere.txt", "--out", "out"], "nothere.txt: no such file or folder"),
    (["formats", RESULTS, "--gt", "nothere.json", "--to", "coco", "--out", "out.json"], MISSING),
    (["report", "nothere"], "nothere: no such folder"),
    (["benchmark", "--compare", "nothere.json", "nothere.json"], "nothere.json: no such file"),
    (["benchmark", "video", "nothere.mp4", "--model", "tevit_demo"], "nothere.mp4: no such file or folder"),
    (["benchmark", "model", "--checkpoint", "nothere.pth"], "nothere.pth: no such checkpoint"),
    (["benchmark", "masks", "--gt", "nothere.json", "--frames", FRAMES], MISSING),
    (["benchmark", "masks", "--gt", GT, "--frames", "nothere"], "--frames nothere: no such folder"),
    (["benchmark", "propagate", "nothere.json", "--frames", FRAMES], MISSING),
    (["benchmark", "propagate", GT, "--frames", "nothere"], "--frames nothere: no such folder"),
    (["benchmark", "evaluate", "--gt", "nothere.json", "--results", RESULTS], MISSING),
]


@pytest.mark.parametrize(("argv", "sentence"), MISSING_FILES_IN_WORDS, ids=lambda value: " ".join(value[:2]))
def test_a_missing_file_is_named_in_the_same_words_by_all_commands(argv, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert error(argv, capsys) == sentence
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("argv", MISSING_FILES, ids=lambda argv: " ".join(argv[:2]))
def test_a_missing_file_is_named(argv, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert error(argv, capsys).endswith(MISSING)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["evaluate", RESULTS, GT], f"{RESULTS} is a list of predictions, expected a data set{GT_FIRST}"),
        (["errors", RESULTS, GT], f"{RESULTS} is a list of predictions, expected a data set{GT_FIRST}"),
        (["review", "queue", RESULTS, GT], f"{RESULTS} is a list of predictions, expected a data set{GT_FIRST}"),
        (["evaluate", GT, GT], f"{GT} is a data set, expected a list of predictions{GT_FIRST}"),
        (
            ["split", RESULTS, "--val", "0.1", "--out", "out"],
            f"{RESULTS} is a list of predictions, expected a data set",
        ),
        (
            ["review", "apply", GT, RESULTS, "--out", "out.json"],
            f"{GT} is one JSON object, expected a log of decisions, one object a line; the log comes first, the labels "
            "after it",
        ),
        (
            ["predict", GT, "--out", "out"],
            f"{GT} is JSON, expected a video: a data set is named by --dataset, its folder by --frames",
        ),
        (["predict", "--dataset", GT, "--frames", "nowhere", "--out", "out"], "--frames nowhere: no such folder"),
        (["evaluate", GT, FRAMES], f"{FRAMES} is a folder, expected a list of predictions in YouTube-VIS' form"),
        (
            ["benchmark", "evaluate", "--gt", RESULTS, "--results", GT],
            f"{RESULTS} is a list of predictions, expected a data set{GT_FIRST}",
        ),
        (["errors", GT, RESULTS, "--out", GT], f"{GT}: a file, expected a folder"),
        (["shapes", GT], f"{GT}: a file, expected a folder"),
        (["shapes", f"{GT}/below"], f"{GT}: a file, expected a folder"),
        (
            ["benchmark", "propagate", RESULTS, "--frames", "."],
            f"{RESULTS} is a list of predictions, expected a data set with masks as GT",
        ),
        (["errors", GT, RESULTS, "--out", "out", "--frames", GT], f"--frames {GT}: a file, expected a folder"),
        (["report", FRAMES], f"{FRAMES}: expected the folder of a training run, found no metrics.jsonl in it"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
)
def test_a_file_of_another_kind_is_named_with_what_is_expected(argv, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert error(argv, capsys) == sentence
    assert not list(tmp_path.iterdir())


def test_every_command_has_help(capsys):
    for name in COMMANDS:
        with pytest.raises(SystemExit) as stop:
            main([name, "--help"])
        assert stop.value.code == 0 and capsys.readouterr().out.startswith(f"usage: tevit {name} ")
