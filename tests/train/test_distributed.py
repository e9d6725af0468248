"""The same step on any hardware: two processes that share the slots do what one does that takes them in turn."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import ProcessContext, start_processes

from tests.processes import fork_server
from tests.train import tiny
from tests.train.test_resume import CountedStop, count_checks
from train.distributed import World
from train.loop import Loop, StopRequest, newest, set_learning_rate
from train.report import Log

# With Adam's usual epsilon, rounding noise in a gradient near zero moves a weight by a full step.
RECIPE = replace(tiny.RECIPE, eps=1e-3)
STEPS = 3
SEED = 7  # with the usual 5 rounding turns a mask target over in the third step


def steps(world: World) -> dict[str, torch.Tensor]:
    """Gradients of the first step before the clip; losses, weights and buffers of every step."""
    run = tiny.run(Path(), RECIPE, SEED, world)
    model, out = run.step.model, {}
    batches = tiny.stream(0, STEPS, world.slots(RECIPE.slots))
    for iteration, slots in enumerate(batches):
        set_learning_rate(run.optimiser, RECIPE, iteration + 100)
        run.optimiser.zero_grad()
        losses = run.step.gradients(iteration, slots)
        out[f"{iteration}/loss"] = world.all_reduce(torch.stack(list(losses.values())).sum())
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            if iteration == 0:
                out[f"0/gradient/{name}"] = parameter.grad.clone()
        torch.nn.utils.clip_grad_norm_(model.parameters(), RECIPE.clip_norm)
        run.optimiser.step()
        out |= {f"{iteration}/after/{name}": value.clone() for name, value in model.state_dict().items()}
    return out


@contextmanager
def pair(rank: int, folder: str) -> Iterator[World]:
    """One of two processes."""
    meeting, patience = f"file://{folder}/meeting", timedelta(minutes=5)
    dist.init_process_group("gloo", meeting, rank=rank, world_size=2, timeout=patience)
    try:
        yield World(rank, 2, torch.device("cpu"))
    finally:
        dist.destroy_process_group()


def together(rank: int, folder: str) -> dict[str, torch.Tensor]:
    """The steps of one of two processes."""
    with pair(rank, folder) as processes:
        return steps(processes)


def child(_: int, folder: str) -> None:
    """The other one."""
    torch.set_num_threads(1)
    torch.save(together(1, folder), f"{folder}/1.pt")


def start(function: Callable[..., None], *arguments: Any) -> ProcessContext:
    """The second process."""
    fork_server()  # with PyTorch imported
    other = start_processes(function, arguments, nprocs=1, join=False, start_method="forkserver")
    assert other is not None
    return other


def test_two_processes_are_one_that_accumulates(tmp_path):
    other = start(child, str(tmp_path))
    one = steps(tiny.ALONE)
    first = together(0, str(tmp_path))
    while not other.join():
        pass
    second = torch.load(tmp_path / "1.pt")
    assert one.keys() == first.keys()
    for name, value in one.items():
        # Later steps amplify rounding: a mask target may flip. A mistake shows in the first one.
        scale = value.float().abs().max().item() if name.startswith("0/") else 10.0
        torch.testing.assert_close(first[name], value, rtol=0, atol=max(1e-5 * scale, 1e-7), msg=name)
    counters = [name for name in one if name.endswith("num_batches_tracked")]
    assert counters and all(one[name] == int(name[0]) + 1 for name in counters), "slot 0 alone moves the statistics"
    weights = [name for name, _ in tiny.model().named_parameters()]
    assert all(torch.equal(first[f"{STEPS - 1}/after/{name}"], second[f"{STEPS - 1}/after/{name}"]) for name in weights)


def train(rank: int, folder: str, stop: StopRequest) -> int:
    """Train as one of two processes; returns the iterations done."""
    with pair(rank, folder) as processes, stop, Log(Path(folder), 0, STEPS, processes.is_main) as log:
        loop = Loop(tiny.run(Path(folder), RECIPE, SEED, processes), 0, log, stop)
        return loop.run(tiny.stream(0, STEPS, processes.slots(RECIPE.slots)))


def stopped_child(_: int, folder: str, checks: int) -> None:
    """The other one; a signal arrives with one of its checks."""
    torch.set_num_threads(1)
    Path(folder, "done.txt").write_text(str(train(1, folder, CountedStop(checks))))


def test_a_process_that_leaves_within_a_step_does_not_keep_the_others_waiting(tmp_path):
    """Rank 1 gets a signal in the middle of its second step; rank 0, which gets none, waits in an exchange."""
    checks = 3 * count_checks(tmp_path / "one") // 2  # as many slots a process as there
    other = start(stopped_child, str(tmp_path), checks)
    with pytest.raises(
        ConnectionError, match="another process ended after iteration 1; the same command resumes there"
    ):
        train(0, str(tmp_path), StopRequest())
    while not other.join():
        pass
    assert (tmp_path / "done.txt").read_text() == "1"
    saved = newest(tmp_path)
    assert saved is not None and saved.iteration == 1


def test_an_error_of_one_process_ends_all_and_rank_0_reports_it(tmp_path):
    other = start(faulty_child, str(tmp_path))
    with pair(0, str(tmp_path)) as processes, pytest.raises(ValueError, match=r"^process 1: no such frame$"):
        with processes.agreed():
            pass
    while not other.join():
        pass
    assert (tmp_path / "code.txt").read_text() == "2"


def faulty_child(_: int, folder: str) -> None:
    try:
        with pair(1, folder) as processes, processes.agreed():
            raise FileNotFoundError("no such frame")
    except SystemExit as stop:
        Path(folder, "code.txt").write_text(str(stop.code))
