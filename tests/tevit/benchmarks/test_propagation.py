"""`tevit benchmark propagate` on one bundled video."""

import json
from pathlib import Path

import pytest

from tevit.cli.main import main

SHAPES = Path(__file__).parents[3] / "assets" / "shapes"


def test_propagation_is_compared_with_interpolation_and_copies(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    data = json.loads((SHAPES / "valid.json").read_text())
    video = data["videos"][0]
    annotations = [annotation for annotation in data["annotations"] if annotation["video_id"] == video["id"]]
    labels = tmp_path / "valid.json"
    labels.write_text(json.dumps(data | {"videos": [video], "annotations": annotations}))
    assert main(["benchmark", "propagate", str(labels), "--frames", str(SHAPES), "--length", "11"]) == 0
    rows = {line[:14].strip(): line[14:].split() for line in capsys.readouterr().out.splitlines()}
    propagated, _, copied = map(float, rows["between, 5"])
    assert propagated > copied
    assert [len(rows[case]) for case in ("between, 10", "after, 1", "after, 10")] == [3, 2, 2]
