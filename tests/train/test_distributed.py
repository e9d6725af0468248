"""The same step on any hardware: two processes that share the slots do what one does that takes them in turn."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from tests.train import tiny
from train.distributed import World
from train.step import set_learning_rate

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


def together(rank: int, folder: str) -> dict[str, torch.Tensor]:
    """One of two processes."""
    meeting, patience = f"file://{folder}/meeting", timedelta(minutes=5)
    dist.init_process_group("gloo", meeting, rank=rank, world_size=2, timeout=patience)
    try:
        return steps(World(rank, 2, torch.device("cpu")))
    finally:
        dist.destroy_process_group()


def child(_: int, folder: str) -> None:
    """The other one."""
    torch.set_num_threads(1)
    torch.save(together(1, folder), f"{folder}/1.pt")


def test_two_processes_are_one_that_accumulates(tmp_path):
    other = spawn(child, (str(tmp_path),), nprocs=1, join=False)
    assert other is not None
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
