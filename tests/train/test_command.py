"""`python -m train` as a user runs it: from the shapes on disk to checkpoints, killed and started again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.train.test_resume import figures, same
from tevit import shapes
from tevit.checkpoint import load_model, read_checkpoint
from tevit.commands.convert import convert
from train.__main__ import main
from train.log import read_lines

SMALL = ("--scales", "96x64", "--frames", "2", "--slots", "1", "--clips-per-slot", "1", "--workers", "0")
RUN = (*SMALL, "--iterations", "6", "--save-every", "2", "--log-every", "1", "--eval-every", "0", "--device", "cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A folder of two training videos and one to evaluate on."""
    folder = tmp_path_factory.mktemp("shapes")
    shapes.write(folder, 2, 5, "train")
    shapes.write(folder, 1, 6, "valid")
    return folder


def command(data: Path, out: Path, *more: str) -> list[str]:
    return ["demo", "--data", str(data), "--out", str(out), *RUN, *more]


def start(argv: list[str]) -> subprocess.Popen:
    """The command in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen([sys.executable, "-m", "train", *argv], env=environment, stderr=subprocess.PIPE, text=True)


def wait_for(path: Path, process: subprocess.Popen) -> None:
    """Until a file is there."""
    end = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None and time.monotonic() < end, process.stderr and process.stderr.read()
        time.sleep(0.01)


def test_a_killed_run_ends_as_if_it_had_not_been_killed(data, tmp_path, capsys):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert main(command(data, whole)) == 0
    process = start(command(data, broken))
    wait_for(broken / "checkpoints/2", process)
    process.kill()
    process.wait()
    assert main(command(data, broken)) == 0
    assert same(whole / "checkpoints/6", broken / "checkpoints/6")
    assert figures(whole) == figures(broken)


def test_sigterm_saves_and_leaves(data, tmp_path):
    process = start(command(data, tmp_path, "--iterations", "100000", "--save-every", "100000"))
    wait_for(tmp_path / "metrics.jsonl", process)
    while not read_lines(tmp_path / "metrics.jsonl"):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 128 + signal.SIGTERM
    (saved,) = (tmp_path / "checkpoints").iterdir()
    assert (saved / "training.safetensors").exists()
    assert read_lines(tmp_path / "metrics.jsonl")[-1]["iteration"] == int(saved.name)


def test_the_same_command_goes_on_and_fresh_starts_over(data, tmp_path, capsys):
    assert main(command(data, tmp_path, "--lr-schedule", "step", "--iterations", "2")) == 0
    assert main(command(data, tmp_path, "--lr-schedule", "step")) == 0
    assert "going on from" in capsys.readouterr().out
    whole = tmp_path / "whole"
    assert main(command(data, whole, "--lr-schedule", "step")) == 0
    assert same(tmp_path / "checkpoints/6", whole / "checkpoints/6")
    assert figures(tmp_path) == figures(whole)
    (whole / "mine.txt").write_text("stays")
    assert main(command(data, whole, "--lr-schedule", "step", "--iterations", "2", "--fresh", "--seed", "3")) == 0
    assert [path.name for path in (whole / "checkpoints").iterdir()] == ["2"]
    assert (whole / "mine.txt").exists()
    assert json.loads((whole / "recipe.json").read_text())["seed"] == 3


def test_a_trained_model_is_evaluated_reported_and_exported(data, tmp_path, capsys):
    from tevit.cli import main as tevit

    assert main(command(data, tmp_path, "--iterations", "2", "--eval-every", "2")) == 0
    line = read_lines(tmp_path / "metrics.jsonl")[-1]
    assert line["kind"] == "eval" and 0 <= line["AP"] <= line["AP50"] <= 100
    weights = tmp_path / "checkpoints/2/model.safetensors"
    assert load_model(weights).config.name == "tevit_demo"
    assert same_weights(tmp_path / "best/model.safetensors", weights)
    lean = tmp_path / "lean.safetensors"
    assert convert(weights, lean, None, inference=True)["dropped"] > 0
    assert lean.stat().st_size < 0.8 * weights.stat().st_size < 20e6
    convert(weights, tmp_path / "original.pth", None, inference=False)
    assert tevit(["report", str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text()
    assert "Loss of each stage" in page and "best AP" in page and 'src="http' not in page


def same_weights(a: Path, b: Path) -> bool:
    first, second = load_file(a), load_file(b)
    return all(first[key].equal(second[key]) for key in second)


def test_custom_takes_classes_from_the_data_and_the_rest_from_the_checkpoint(data, tmp_path, capsys):
    assert main(command(data, tmp_path / "a", "--iterations", "2")) == 0
    init = tmp_path / "a/checkpoints/2/model.safetensors"
    annotations = json.loads((data / "train.json").read_text())
    annotations["categories"].append({"id": 77, "name": "moon"})
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "train.json").write_text(json.dumps(annotations))
    (mine / "JPEGImages").symlink_to(data / "JPEGImages")
    argv = ["custom", "--data", str(mine), "--out", str(tmp_path / "b"), "--init", str(init), *RUN]
    assert main([*argv, "--iterations", "1", "--save-every", "1"]) == 0
    said = capsys.readouterr().out
    assert "of another shape: stages.0.class_logits.weight" in said and "stages.2.mask.logits.bias" in said
    config, _ = read_checkpoint(tmp_path / "b/checkpoints/1/model.safetensors")
    assert (config.name, config.num_classes, config.categories[-1]) == ("tevit_demo", 9, (77, "moon"))
    assert config.backbone.messengers == 8 and config.queries == 16


def test_a_dry_run_says_all_and_leaves_nothing(data, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(command(data, out, "--dry-run")) == 0
    said = capsys.readouterr().out
    for part in ("--clip-norm 1.0", "labelled frames of 2 videos, 8 classes", "memory of each process: about 0."):
        assert part in said
    assert not out.exists()


def wrong(argv: list[str], capsys) -> str:
    """The sentence that a wrong command ends with."""
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert error.startswith("train: ") and error.count("\n") == 1
    return error


def test_wrong_input_gets_a_sentence(data, tmp_path, capsys):
    out = tmp_path / "run"
    assert "did you mean 'demo'" in wrong(["dmo", *command(data, out)[1:]], capsys)
    assert "no such data folder" in wrong(command(tmp_path / "nowhere", out), capsys)
    assert "no such checkpoint" in wrong(command(data, out, "--init", "nothing.pth"), capsys)
    assert "expected auto, cpu or cuda" in wrong(command(data, out, "--device", "abacus"), capsys)
    assert "the data has 8 classes" in wrong(["tevit-msgshift-mst", *command(data, out)[1:]], capsys)
    assert "no annotations of the split 'test'" in wrong(
        command(data, out, "--eval-every", "2", "--eval-split", "test"), capsys
    )
    assert not out.exists()


def test_a_run_of_another_model_is_not_gone_on_with(data, tmp_path, capsys):
    assert main(command(data, tmp_path, "--iterations", "1")) == 0
    capsys.readouterr()
    assert "got the architecture of tevit_demo" in wrong(command(data, tmp_path, "--messengers", "0"), capsys)
