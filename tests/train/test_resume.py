"""Checkpoints and interruptions: N steps are N/2 steps, the end of the process, and N/2 steps, to the last bit."""

import signal
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file

from tests.train import tiny
from train import checkpoints
from train.log import Log, read_lines
from train.loop import Loop
from train.stop import StopRequest

RECIPE = replace(tiny.RECIPE, save_every=4)


def go(folder: Path, stop_after: int | None = None) -> int:
    """Start or go on in `folder`, as the command does; asked to stop after an iteration, if given."""
    run = tiny.run(folder, RECIPE)
    saved = checkpoints.newest(folder)
    if saved:
        checkpoints.restore(saved, run.step.model, tiny.CONFIG, run.optimiser)
    done = saved.iteration if saved else 0
    with StopRequest() as stop, Log(folder, done, RECIPE.iterations) as log:

        def stream():
            for number, slots in enumerate(tiny.stream(done, RECIPE.iterations, range(RECIPE.slots)), done + 1):
                if number == stop_after:
                    stop.signum = signal.SIGTERM
                yield slots

        return Loop(run, done, log, stop).run(stream())


def figures(folder: Path) -> list[dict]:
    """metrics.jsonl without what depends on the machine."""
    lines = read_lines(folder / "metrics.jsonl")
    return [
        {k: v for k, v in line.items() if k not in ("seconds", "data_wait", "clips_per_s", "memory_gb")}
        for line in lines
    ]


def same_files(a: Path, b: Path) -> bool:
    """Whether two safetensors hold the same bits under the same names."""
    first, second = load_file(a), load_file(b)
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def test_an_interrupted_run_is_the_uninterrupted_one_bit_for_bit(tmp_path):
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    assert go(whole) == 8
    assert go(halves, stop_after=3) == 3
    assert go(halves, stop_after=6) == 6
    assert go(halves) == 8
    for name in (checkpoints.WEIGHTS, checkpoints.TRAINING):
        assert same_files(whole / "checkpoints/8" / name, halves / "checkpoints/8" / name)
    assert figures(whole) == figures(halves)
    first = load_file(whole / "checkpoints/4" / checkpoints.WEIGHTS)
    last = load_file(whole / "checkpoints/8" / checkpoints.WEIGHTS)
    assert any(not torch.equal(first[key], last[key]) for key in first if "running_mean" in key)
    assert any(not torch.equal(first[key], last[key]) for key in first if "messengers" in key)
