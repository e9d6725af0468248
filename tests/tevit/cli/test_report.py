"""The page of a training run's curves."""

import json
from pathlib import Path

import pytest

from tevit.cli.main import main, read_metrics


def line(iteration: int) -> dict:
    """A step as the loop logs it."""
    losses = {f"stage{stage}_{kind}": 5.0 / iteration for stage in (0, 1) for kind in ("class", "l1", "giou", "dice")}
    costs = {"seconds": 2.0, "data_wait": 0.5, "clips_per_s": 8.0, "memory_gb": 3.25}
    return {
        "kind": "train",
        "iteration": iteration,
        "lr": 1e-4,
        "grad_norm": 3.0,
        "total": 40.0 / iteration,
        **losses,
        **costs,
    }


def run_folder(folder: Path, lines: list[dict], tail: str = "") -> Path:
    (folder / "metrics.jsonl").write_text("".join(json.dumps(item) + "\n" for item in lines) + tail)
    return folder


def test_the_page_has_all_curves_and_needs_no_network(tmp_path, capsys):
    figures = {"AP": 41.5, "AP50": 70.0, "AP75": 40.0, "AR1": 30.0, "AR10": 50.0}
    lines = [*map(line, range(1, 60)), {"kind": "eval", "iteration": 50, **figures}]
    assert main(["report", str(run_folder(tmp_path, lines, tail='{"kind": "tr'))]) == 0
    page = (tmp_path / "report.html").read_text()
    for part in ("Loss of each stage", "Gradient norm", "Evaluation", "41.5", "25 %", "3.2 GB", "59 iterations"):
        assert part in page
    assert "<script src" not in page and "<link" not in page


def test_without_an_evaluation_there_is_none_to_see(tmp_path):
    assert main(["report", str(run_folder(tmp_path, [line(1)])), "--out", str(tmp_path / "a.html")]) == 0
    page = (tmp_path / "a.html").read_text()
    assert "best AP" not in page and ">Evaluation<" not in page


def test_a_name_is_text_not_markup(tmp_path):
    folder = tmp_path / "<b>run"
    folder.mkdir()
    assert main(["report", str(run_folder(folder, [line(1)]))]) == 0
    assert "<b>run" not in (folder / "report.html").read_text()


def test_wrong_folders_and_files_are_named(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    assert "found no metrics.jsonl" in capsys.readouterr().err
    run_folder(tmp_path, [])
    assert main(["report", str(tmp_path)]) == 2
    assert "no step has been logged yet" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"metrics.jsonl, line 1: expected one JSON object, got 'nonsense'"):
        read_metrics(run_folder(tmp_path, [], tail="nonsense\n" + json.dumps(line(1))))
