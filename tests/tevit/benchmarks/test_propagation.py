"""`tevit benchmark propagate` on one bundled video."""

import json
from pathlib import Path

import pytest

from tevit.cli.benchmark import PROPAGATION_PARTS
from tevit.cli.main import main
from tevit.review.propagate import PARTS

SHAPES = Path(__file__).parents[3] / "assets" / "shapes"


def one_video(folder: Path) -> Path:
    """The labels of the first bundled video."""
    data = json.loads((SHAPES / "valid.json").read_text())
    video = data["videos"][0]
    annotations = [annotation for annotation in data["annotations"] if annotation["video_id"] == video["id"]]
    labels = folder / "valid.json"
    labels.write_text(json.dumps(data | {"videos": [video], "annotations": annotations}))
    return labels


def scores(text: str) -> dict[str, list[float]]:
    """Case -> mean IoU of each method that has it."""
    rows = text[text.index("between, 5") :].splitlines()
    return {line[:14].strip(): [float(word) for word in line[14:].split()] for line in rows}


def test_propagation_is_compared_with_interpolation_and_copies(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    labels = one_video(tmp_path)
    assert main(["benchmark", "propagate", str(labels), "--frames", str(SHAPES), "--length", "11"]) == 0
    rows = scores(capsys.readouterr().out)
    propagated, _, copied = rows["between, 5"]
    assert propagated > copied
    assert [len(rows[case]) for case in ("between, 10", "after, 1", "after, 10")] == [3, 2, 2]


def test_parts_of_the_method_can_be_left_out_and_predictions_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    labels, truth = one_video(tmp_path), tmp_path / "truth.json"
    annotations = json.loads(labels.read_text())["annotations"]
    truth.write_text(
        json.dumps(
            [
                {key: a[key] for key in ("video_id", "category_id", "segmentations")} | {"score": 1.0}
                for a in annotations
            ]
        )
    )
    command = ["benchmark", "propagate", str(labels), "--frames", str(SHAPES), "--length", "11"]
    figures = []
    for options in ([], ["--without", *PARTS], ["--predictions", str(truth)]):
        assert main([*command, *options]) == 0
        figures.append(scores(capsys.readouterr().out))
    whole, bare, helped = figures
    for case in ("between, 10", "after, 10"):
        assert bare[case][0] != whole[case][0] < helped[case][0]
    assert PROPAGATION_PARTS == PARTS
