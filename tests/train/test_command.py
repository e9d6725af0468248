"""`tevit train` as a user runs it: from the shapes on disk to checkpoints, killed and started again."""

import json
import re
import shlex
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.processes import ForkedProgram, start_python
from tests.train.test_resume import figures, same
from tevit.checkpoint import load_model, read_checkpoint
from tevit.cli.models import convert
from tevit.synthetic import dataset as shapes
from train.__main__ import main, parser
from train.recipes import override, recipe_named
from train.report import read_lines

SMALL = ("--scales", "96x64", "--frames", "2", "--slots", "1", "--clips-per-slot", "1", "--workers", "0")
EVERY = ("--save-every", "2", "--log-every", "1", "--eval-every", "0")
RUN = (*SMALL, "--iterations", "6", *EVERY, "--lr-schedule", "step", "--device", "cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A folder of two training videos and one to evaluate on."""
    folder = tmp_path_factory.mktemp("shapes")
    shapes.write(folder, 2, 5, "train")
    shapes.write(folder, 1, 6, "valid")
    return folder


def command(data: Path, out: Path, *more: str) -> list[str]:
    return ["demo", "--data", str(data), "--out", str(out), *RUN, *more]


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory) -> Path:
    """A run that was never stopped; for reading only."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert main(command(data, folder)) == 0
    return folder


def wait_for(path: Path, process: ForkedProgram) -> None:
    """Until a file is there."""
    end = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None and time.monotonic() < end, process.stderr.read_text()
        time.sleep(0.01)


def test_a_killed_run_ends_as_if_it_had_not_been_killed(data, whole, tmp_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("output")
    process = start_python("-m", "train", *command(data, tmp_path), folder=folder)
    wait_for(tmp_path / "checkpoints/2", process)
    process.kill()
    process.wait()
    assert main(command(data, tmp_path)) == 0
    assert same(whole / "checkpoints/6", tmp_path / "checkpoints/6")
    assert figures(whole) == figures(tmp_path)


def test_sigterm_saves_and_leaves(data, tmp_path, capsys):
    terminated = threading.Thread(target=terminate, args=(tmp_path / "metrics.jsonl", threading.main_thread()))
    terminated.start()
    code = main(command(data, tmp_path, "--iterations", "100000", "--save-every", "100000"))
    terminated.join()
    assert code == 128 + signal.SIGTERM
    (saved,) = (tmp_path / "checkpoints").iterdir()
    assert (saved / "training.safetensors").exists()
    assert read_lines(tmp_path / "metrics.jsonl")[-1]["iteration"] == int(saved.name)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"stopped after {saved.name} of 100000 iterations; the same command resumes"


def terminate(metrics: Path, main_thread: threading.Thread) -> None:
    """Ask this process to stop as soon as the run has written its first line."""
    end = time.monotonic() + 120
    while time.monotonic() < end and not (metrics.exists() and read_lines(metrics)):
        time.sleep(0.01)
    signal.pthread_kill(main_thread.ident or 0, signal.SIGTERM)


def test_the_same_command_goes_on_and_fresh_starts_over(data, whole, tmp_path, capsys):
    assert main(command(data, tmp_path, "--iterations", "2")) == 0
    assert main(command(data, tmp_path)) == 0
    assert "resuming from" in capsys.readouterr().out
    assert same(tmp_path / "checkpoints/6", whole / "checkpoints/6")
    assert figures(tmp_path) == figures(whole)
    (tmp_path / "mine.txt").write_text("stays")
    assert main(command(data, tmp_path, "--iterations", "2", "--fresh", "--seed", "3")) == 0
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["2"]
    assert (tmp_path / "mine.txt").exists()
    assert json.loads((tmp_path / "recipe.json").read_text())["seed"] == 3


def test_a_trained_model_is_evaluated_reported_and_exported(data, tmp_path, capsys):
    from tevit.cli.main import main as tevit

    assert main(command(data, tmp_path, "--iterations", "2", "--eval-every", "2")) == 0
    best = tmp_path / "best/model.safetensors"
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"the model: {best} (AP ")
    line = read_lines(tmp_path / "metrics.jsonl")[-1]
    assert line["kind"] == "eval" and 0 <= line["AP"] <= line["AP50"] <= 100
    weights = tmp_path / "checkpoints/2/model.safetensors"
    assert load_model(weights).config.name == "tevit_demo"
    assert same_weights(tmp_path / "best/model.safetensors", weights)
    lean = tmp_path / "lean.safetensors"
    assert convert(weights, lean, None, inference=True)["dropped"] > 0
    assert lean.stat().st_size < 0.8 * weights.stat().st_size < 30e6
    convert(weights, tmp_path / "original.pth", None, inference=False)
    assert tevit(["report", str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text()
    assert "Loss of each stage" in page and "best AP" in page and 'src="http' not in page


def same_weights(a: Path, b: Path) -> bool:
    first, second = load_file(a), load_file(b)
    return all(first[key].equal(second[key]) for key in second)


def test_custom_takes_classes_from_the_data_and_the_rest_from_the_checkpoint(data, whole, tmp_path, capsys):
    init = whole / "checkpoints/6/model.safetensors"
    annotations = json.loads((data / "train.json").read_text())
    annotations["categories"].append({"id": 77, "name": "moon"})
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "train.json").write_text(json.dumps(annotations))
    (mine / "JPEGImages").symlink_to(data / "JPEGImages")
    argv = ["custom", "--data", str(mine), "--out", str(tmp_path / "b"), "--init", str(init), *RUN]
    assert main([*argv, "--iterations", "1", "--save-every", "1"]) == 0
    output = capsys.readouterr().out
    assert "start afresh: class logits of stages 0-5 (of another shape)" in output
    config, _ = read_checkpoint(tmp_path / "b/checkpoints/1/model.safetensors")
    assert (config.name, config.num_classes, config.categories[-1]) == ("tevit_demo", 9, (77, "moon"))
    assert config.backbone.messengers == 8 and config.queries == 16


def test_a_dry_run_says_all_and_leaves_nothing(data, tmp_path, capsys):
    out = tmp_path / "a run"
    assert main(command(data, out, "--dry-run")) == 0
    output = capsys.readouterr().out
    for part in ("labelled frames of 2 videos, 8 classes", "memory of each process: about 0.", "start: random weights"):
        assert part in output
    assert f"data: {data / 'train.json'}: " in output and "evaluation: none (--eval-every 0)" in output
    assert not out.exists()
    pasted = shlex.split(output[output.index("tevit train") : output.index("\ndata:")].replace("\\\n", ""))
    given, printed = (parser().parse_args(argv) for argv in (command(data, out), pasted[2:]))
    assert override(recipe_named("demo"), printed) == override(recipe_named("demo"), given)
    assert (printed.data, printed.out, printed.device) == (data, out, "cpu")


def test_a_dry_run_opens_the_start_file(data, whole, tmp_path, capsys):
    dry = ("--dry-run", "--init")
    assert main(command(data, tmp_path / "run", *dry, "tevit_demo")) == 0
    output = capsys.readouterr().out
    assert re.search(
        r"tevit_demo.safetensors fills (\d+) of \d+ tensors: backbone (\d+) of \2, messengers 1 of 1", output
    )
    assert "; start afresh: class logits of stages 0-4, mask heads of stages 0-4\n" in output
    assert main(command(data, whole, *dry, "nothing.pth")) == 0
    assert f"start: resumes from {whole / 'checkpoints/6'}" in capsys.readouterr().out
    small = ("custom", *command(data, tmp_path / "run", *dry, "tevit_demo")[1:], "--model", "queryinst_pvtv2b1_coco")
    sentence = wrong([*small], capsys)
    assert "fills less than half of the model: " in sentence and "; --init-partial accepts that" in sentence
    assert main([*small, "--init-partial"]) == 0
    assert not (tmp_path / "run").exists()


def test_a_start_file_that_is_not_here_is_named_with_how_to_fetch_it(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TEVIT_HOME", str(tmp_path))
    sentence = wrong(command(data, tmp_path / "run", "--init", "queryinst_pvtv2b1_coco"), capsys)
    assert "`tevit models --get queryinst_pvtv2b1_coco` fetches them" in sentence


def test_random_weights_are_warned_of_where_the_recipe_fine_tunes(data, tmp_path, capsys):
    argv = ["custom", "--model", "tevit_demo", *command(data, tmp_path / "run", "--dry-run")[1:]]
    assert main(argv) == 0
    output = capsys.readouterr().out
    assert "start: random weights (warning: custom fine-tunes, expected --init: a trained model)" in output


@pytest.mark.parametrize("labels", [False, True], ids=["no file", "no annotations"])
def test_without_a_valid_split_training_goes_on_without_evaluation(data, tmp_path, capsys, labels):
    mine = tmp_path / "mine"
    mine.mkdir()
    for name in ("JPEGImages", "train.json"):
        (mine / name).symlink_to(data / name)
    if labels:
        content = json.loads((data / "valid.json").read_text())
        (mine / "valid.json").write_text(json.dumps(content | {"annotations": []}))
    run = command(mine, tmp_path / "run", "--iterations", "2", "--eval-every", "2")
    assert main(run) == 0
    output = capsys.readouterr().out.splitlines()
    reason = "has no annotations to evaluate by" if labels else "no annotations of the split 'valid'; expected one of"
    assert any(line.startswith("evaluation: none: ") and reason in line for line in output)
    assert output[-1] == f"the model: {tmp_path / 'run/checkpoints/2/model.safetensors'}"
    assert "--eval-every 0 trains without evaluation" in wrong([*run, "--eval-split", "valid"], capsys)


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


def test_a_run_of_another_model_is_not_gone_on_with(data, whole, tmp_path, capsys):
    shutil.copytree(whole, tmp_path / "run")
    assert "got the architecture of tevit_demo" in wrong(command(data, tmp_path / "run", "--messengers", "0"), capsys)
