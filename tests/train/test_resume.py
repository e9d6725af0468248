"""Checkpoints and interruptions: N steps are N/2 steps, the end of the process, and N/2 steps, to the last bit."""

import errno
import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.oracle import GOLDENS
from tests.train import tiny
from tevit.progress import Cancelled
from train import loop
from train.loop import Loop, StopRequest
from train.recipes import Recipe
from train.report import Log, evaluated, read_lines

RECIPE = replace(tiny.RECIPE, save_every=4, slots=2)
TIMES = ("seconds", "data_wait", "clips_per_s", "memory_gb")


def go(folder: Path, stop_in: int | None = None, spoil: int | None = None, recipe: Recipe = RECIPE) -> int:
    """Start or resume in `folder`, as the command does; returns the iterations done.

    stop_in: a signal arrives at the start of that iteration, from 1. spoil: its batch holds a value that is not a
    number.
    """
    run = tiny.run(folder, recipe)
    saved = loop.newest(folder)
    if saved:
        loop.restore(saved, run.step.model, tiny.CONFIG, run.optimiser)
    start = saved.iteration if saved else 0
    with StopRequest() as stop, Log(folder, start, recipe.iterations) as log:

        def stream():
            for number, slots in enumerate(tiny.stream(start, recipe.iterations, range(recipe.slots)), start + 1):
                if number == stop_in:
                    os.kill(os.getpid(), signal.SIGTERM)
                if number == spoil:
                    slots[1][1].frames[0, 0, 0, 0, 0] = torch.nan
                yield slots

        return Loop(run, start, log, stop).run(stream())


def figures(folder: Path) -> list[dict]:
    """metrics.jsonl without what depends on the machine."""
    lines = read_lines(folder / "metrics.jsonl")
    return [{key: value for key, value in line.items() if key not in TIMES} for line in lines]


def same(a: Path, b: Path) -> bool:
    """Whether two checkpoints hold the same bits under the same names."""
    for name in (loop.WEIGHTS, loop.TRAINING):
        first, second = load_file(a / name), load_file(b / name)
        if first.keys() != second.keys() or not all(torch.equal(first[key], second[key]) for key in first):
            return False
    return True


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run that was never stopped; for reading only."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert go(folder) == 8
    return folder


@pytest.fixture(scope="module")
def stopped(tmp_path_factory) -> Path:
    """A run that was stopped after each of its first three iterations, in the next one; for reading only."""
    folder = tmp_path_factory.mktemp("runs") / "stopped"
    assert [go(folder, stop_in) for stop_in in (2, 3, 4)] == [1, 2, 3]
    return folder


@pytest.fixture
def parts(stopped, tmp_path) -> Path:
    """A copy of the stopped run."""
    return Path(shutil.copytree(stopped, tmp_path / "parts"))


def test_an_interrupted_run_is_the_uninterrupted_one_bit_for_bit(whole, parts):
    assert go(parts, stop_in=7) == 6
    assert go(parts) == 8
    assert same(whole / "checkpoints/8", parts / "checkpoints/8")
    assert figures(whole) == figures(parts)
    first, last = (load_file(whole / "checkpoints" / name / loop.WEIGHTS) for name in "48")
    for part in ("running_mean", "messengers", "query_boxes", "class_logits.bias"):
        assert any(not torch.equal(first[key], last[key]) for key in first if part in key), f"{part} did not move"


def test_a_step_that_cannot_be_interrupted_is_finished_first(whole, tmp_path):
    compiled = replace(RECIPE, compile=True)  # only the loop reads it here
    assert go(tmp_path, stop_in=4, recipe=compiled) == 4
    assert same(whole / "checkpoints/4", tmp_path / "checkpoints/4")


class CountedStop(StopRequest):
    """A signal arrives with one of the calls of `check`, counted from 1."""

    def __init__(self, at: int = 0):
        super().__init__()
        self.at, self.calls = at, 0

    def check(self) -> None:
        self.calls += 1
        if self.calls == self.at:
            os.kill(os.getpid(), signal.SIGTERM)
        super().check()


def count_checks(folder: Path) -> int:
    """How often one step checks for a signal."""
    with CountedStop() as stop, Log(folder, 0, 1) as log:
        training = Loop(tiny.run(folder, replace(RECIPE, iterations=1)), 0, log, stop)
        assert training.run(tiny.stream(0, 1, range(RECIPE.slots))) == 1
    return stop.calls


@pytest.fixture(scope="module")
def checks(tmp_path_factory) -> int:
    """How often one step checks for a signal."""
    return count_checks(tmp_path_factory.mktemp("runs") / "one")


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Path:
    """A run of two iterations; for reading only."""
    folder = tmp_path_factory.mktemp("runs") / "two"
    assert go(folder, recipe=replace(RECIPE, iterations=2)) == 2
    return folder


@pytest.mark.parametrize("share", [0.0, 0.3, 0.45, 0.8, 1.0])
def test_a_signal_anywhere_in_a_step_throws_it_away(whole, two, checks, tmp_path, share):
    """share: of the third step's checks; the second half are those of slot 1, after slot 0 moved the statistics."""
    at, folder = 2 * checks + max(1, round(share * checks)), tmp_path / "run"
    with CountedStop(at) as stop, Log(folder, 0, RECIPE.iterations) as log:
        training = Loop(tiny.run(folder, RECIPE), 0, log, stop)
        assert training.run(tiny.stream(0, RECIPE.iterations, range(RECIPE.slots))) == 2
        assert stop.calls == at, "nothing runs on after the signal"
    assert same(folder / "checkpoints/2", two / "checkpoints/2")
    assert go(folder) == 8
    assert same(folder / "checkpoints/8", whole / "checkpoints/8") and figures(folder) == figures(whole)


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> None:
    """All arithmetic in float64: rounding in float32 turns a mask target here and there, on every processor another."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)


def make_known(model: torch.nn.Module) -> None:
    """In float64, with values of numpy: PyTorch's normal numbers differ in the last bit from processor to processor."""
    numbers = np.random.default_rng(5)
    for name, values in model.double().named_parameters():
        if name == "query_boxes":  # anywhere: on the corners of cells ties would be decided by rounding
            values.data.copy_(torch.from_numpy(numbers.uniform(0.3, 0.7, values.shape)))
        elif values.dim() > 1:
            fan_in = max(1, values[0].numel())
            values.data.copy_(torch.from_numpy(numbers.standard_normal(values.shape) / fan_in**0.5))


@pytest.mark.usefixtures("double")
def test_a_seeded_run_repeats_a_stored_loss_curve(tmp_path):
    recipe = replace(RECIPE, iterations=20, save_every=20, lr=1e-4)
    run = tiny.run(tmp_path, recipe)
    make_known(run.step.model)
    batches = ([(slot, replace(b, frames=b.frames.double())) for slot, b in s] for s in tiny.stream(0, 20, range(2)))
    with StopRequest() as stop, Log(tmp_path, 0, 20) as log:
        Loop(run, 0, log, stop).run(batches)
    totals = [line["total"] for line in read_lines(tmp_path / "metrics.jsonl")]
    stored = json.loads((GOLDENS / "train_curve.json").read_text())
    assert totals == pytest.approx(stored, rel=1e-6)  # one or two threads: 1e-15; without AVX: 5e-9
    assert sum(totals[-5:]) < 0.85 * sum(totals[:5])


def test_lines_of_lost_iterations_are_dropped(parts):
    go(parts, stop_in=6)
    for path in (parts / "checkpoints/5").iterdir():
        path.unlink()
    (parts / "checkpoints/5").rmdir()
    with open(parts / "metrics.jsonl", "a") as file:
        file.write('{"kind": "train", "iter')
    assert go(parts, stop_in=7) == 6
    assert [line["iteration"] for line in read_lines(parts / "metrics.jsonl")] == list(range(1, 7))


def test_a_full_disk_leaves_the_previous_checkpoint(parts, monkeypatch):
    names = sorted(path.name for path in (parts / "checkpoints").iterdir())
    before = (parts / "checkpoints/3" / loop.TRAINING).read_bytes()

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(loop, "save_file", full)
    with pytest.raises(OSError, match="checkpoints/4 could not be written"):
        go(parts)
    monkeypatch.undo()
    assert sorted(path.name for path in (parts / "checkpoints").iterdir()) == names
    assert (parts / "checkpoints/3" / loop.TRAINING).read_bytes() == before
    assert go(parts, stop_in=5) == 4


def test_what_a_killed_process_left_half_written_is_no_checkpoint(parts):
    part = parts / "checkpoints/.4.part"
    part.mkdir()
    (part / loop.WEIGHTS).write_bytes(b"half")
    newest = loop.newest(parts)
    assert newest is not None and newest.iteration == 3
    assert not part.exists()


def test_a_broken_checkpoint_gives_way_to_the_one_before(parts):
    broken = parts / "checkpoints/3" / loop.TRAINING
    broken.write_bytes(broken.read_bytes()[:1000])
    newest = loop.newest(parts)
    assert newest is not None and newest.iteration == 2
    broken = parts / "checkpoints/2" / loop.TRAINING
    broken.write_bytes(b"")
    with pytest.raises(ValueError, match="no checkpoint of this run can be read"):
        loop.newest(parts)


def test_old_checkpoints_keep_their_weights_alone(stopped):
    states = [(path / loop.TRAINING).exists() for _, path in loop.checkpoints(stopped)]
    weights = [(path / loop.WEIGHTS).exists() for _, path in loop.checkpoints(stopped)]
    assert states == [False, True, True] and all(weights)


def test_a_loss_that_is_not_finite_stops_with_the_batch_and_the_weights(parts):
    with pytest.raises(FloatingPointError, match=r"iteration 5: loss nan"):
        go(parts, spoil=6)
    folder = parts / "not-finite-5"
    stored = torch.load(folder / "slot1.pt", weights_only=False)
    assert stored["frames"].isnan().sum() == 1
    assert all(value.isfinite().all() for value in load_file(folder / loop.WEIGHTS).values())
    assert sorted(path.name for path in folder.iterdir()) == ["model.safetensors", *(f"slot{i}.pt" for i in range(2))]


APS = {2: 20.0, 4: 40.0, 6: 30.0, 8: 39.5}


def evaluated_run(folder: Path, cancel_at: int = 0) -> None:
    """A run that is evaluated every other iteration; asked to stop in the middle of one evaluation."""
    recipe = replace(RECIPE, eval_every=2, save_every=2)
    saved = loop.newest(folder)
    start = saved.iteration if saved else 0
    with StopRequest() as stop, Log(folder, start, 8) as log:

        def evaluate(model, stopping):
            if training.done == cancel_at:
                os.kill(os.getpid(), signal.SIGTERM)
                assert stopping()
                raise Cancelled
            model.eval()
            return {"AP": APS[training.done]}

        run = replace(tiny.run(folder, recipe), evaluate=evaluate)
        if saved:
            loop.restore(saved, run.step.model, tiny.CONFIG, run.optimiser)
        training = Loop(run, start, log, stop)
        training.run(tiny.stream(start, 8, range(RECIPE.slots)))


def test_evaluations_are_logged_the_best_weights_kept_and_an_interrupted_one_made_up_for(whole, tmp_path):
    evaluated_run(tmp_path, cancel_at=4)
    assert evaluated(tmp_path, 2) and not evaluated(tmp_path, 4)
    evaluated_run(tmp_path)
    aps = {line["iteration"]: line["AP"] for line in read_lines(tmp_path / "metrics.jsonl") if line["kind"] == "eval"}
    assert aps == APS
    best, fourth = (load_file(tmp_path / name / loop.WEIGHTS) for name in ("best", "checkpoints/4"))
    assert all(torch.equal(best[key], fourth[key]) for key in fourth)
    assert same(tmp_path / "checkpoints/8", whole / "checkpoints/8"), "evaluation must not change the training"
