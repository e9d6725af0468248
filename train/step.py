"""A step: gradients of a global batch's slots one after the other; AdamW with the original's groups and schedule."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.nn.parallel import DistributedDataParallel

from tevit.model.tevit import TeViT

from .data import Batch
from .distributed import World
from .losses import SlotLoss, count_positives
from .recipes import Recipe


def parameter_rule(name: str, recipe: Recipe) -> tuple[float, float]:
    """(learning-rate factor, weight decay) of a parameter, by its name in our model.

    Source: `paramwise_cfg` of the original's configurations.
    """
    # mmcv applies only the longest matching key: norms of Swin-L's backbone decay, those of its heads do not.
    if not recipe.norm_decay and "relative_position_bias_table" in name:
        return 1.0, 0.0
    if name.startswith("backbone."):
        return recipe.backbone_lr, recipe.weight_decay
    return 1.0, 0.0 if not recipe.norm_decay and "norm" in name else recipe.weight_decay


def build_optimiser(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW over the trainable parameters, one group for each (factor, decay)."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault(parameter_rule(name, recipe), []).append(parameter)
    settings = [
        {"params": parameters, "lr_factor": factor, "weight_decay": decay}
        for (factor, decay), parameters in groups.items()
    ]
    return torch.optim.AdamW(settings, lr=recipe.lr, betas=recipe.betas, eps=recipe.eps, fused=True)


def learning_rate(recipe: Recipe, iteration: int) -> float:
    """The learning rate of an iteration, counted from 0, before the groups' factors."""
    if recipe.lr_schedule == "cosine":
        rate = recipe.lr * 0.5 * (1 + math.cos(math.pi * iteration / recipe.iterations))
    else:
        rate = recipe.lr * recipe.lr_factor ** sum(iteration >= step for step in recipe.lr_steps)
    if iteration < recipe.warmup_iterations:
        rate *= 1 - (1 - iteration / recipe.warmup_iterations) * (1 - recipe.warmup_ratio)
    return rate


def set_learning_rate(optimiser: torch.optim.Optimizer, recipe: Recipe, iteration: int) -> float:
    """Set every group's learning rate for an iteration; returns the rate before the factors."""
    rate = learning_rate(recipe, iteration)
    for group in optimiser.param_groups:
        group["lr"] = rate * group["lr_factor"]
    return rate


Slots = Sequence[tuple[int, Batch]]
"""(slot, batch): the slots of a global batch that one process computes."""


class Step:
    """Gradients of a global batch, the same on any number of processes.

    Batch norm in the mask heads normalises by its own slot; only slot 0 updates the running statistics. Random numbers
    (drop path) are seeded by (seed, iteration, slot). Losses are divided by the positives of all slots.
    """

    def __init__(self, module: SlotLoss, recipe: Recipe, seed: int, world: World):
        self.model = module.model
        self.recipe, self.seed, self.world = recipe, seed, world
        # DDP broadcasts rank 0's buffers: it has slot 0, whose statistics count.
        self.module = DistributedDataParallel(module) if world.size > 1 else module

    def gradients(self, iteration: int, slots: Slots, check: Callable[[], None] | None = None) -> dict[str, Tensor]:
        """Compute the gradients of an iteration into `.grad`.

        check: called before and after the modules, forward and backward; what it raises ends the computation.
        Returns this process's share of the global batch's losses; the shares of all processes add up to the loss.
        """
        device, count = self.world.device, self.recipe.slots
        positives = sum(count_positives(batch.targets, self.model.config.queries) for _, batch in slots)
        total_positives = self.world.all_reduce(torch.tensor(float(positives), device=device)).item()
        # Positives a slot, the mean over the global batch; at least one in all.
        mean_positives = max(total_positives, 1.0) / count
        totals: dict[str, Tensor] = {}
        for number, (slot, batch) in enumerate(slots):
            mixed = torch.autocast(device.type, torch.bfloat16, enabled=self.recipe.precision == "bfloat16")
            with self._slot(iteration, slot, last=number == len(slots) - 1), mixed, called_often(check):
                losses = self.module(batch_to(batch, device), mean_positives)
                total = torch.stack(list(losses.values())).sum()
                (total * (self.world.size / count)).backward()  # DDP divides by the number of processes
            for name, loss in losses.items():
                totals[name] = totals.get(name, 0.0) + loss.detach() / count
        return totals

    @contextmanager
    def _slot(self, iteration: int, slot: int, last: bool) -> Iterator[None]:
        """Seed a slot's random numbers; synchronise gradients after the last slot; freeze statistics but for slot 0."""
        torch.manual_seed(slot_seed(self.seed, iteration, slot))
        with ExitStack() as stack:
            if isinstance(self.module, DistributedDataParallel) and not last:
                stack.enter_context(self.module.no_sync())
            if slot != 0:
                stack.enter_context(frozen_statistics(self.model))
            yield


@contextmanager
def called_often(check: Callable[[], None] | None) -> Iterator[None]:
    """Call `check` after the forward pass of every module and before its backward pass; None: no calls.

    PyTorch runs a CPU's backward pass in the calling thread, so that what `check` raises ends it, too.
    """
    if check is None:
        yield
        return

    def after_forward(module: nn.Module, inputs: object, output: object) -> None:
        check()
        if isinstance(output, Tensor) and output.requires_grad:
            output.register_hook(lambda gradient: check())

    handle = register_module_forward_hook(after_forward)
    try:
        yield
    finally:
        handle.remove()


def slot_seed(seed: int, iteration: int, slot: int) -> int:
    """Seed of a slot's random numbers, below 2**63."""
    return int(np.random.SeedSequence((seed, iteration, slot)).generate_state(1, np.uint64)[0] >> np.uint64(1))


@contextmanager
def frozen_statistics(model: nn.Module) -> Iterator[None]:
    """Batch norms in training mode still normalise by their batch, but don't update their running statistics."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d) and module.training]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


def batch_to(batch: Batch, device: torch.device) -> Batch:
    """The batch with frames and sizes on a device; `SlotLoss` moves the ground truth."""
    return replace(
        batch, frames=batch.frames.to(device, non_blocking=True), sizes_hw=batch.sizes_hw.to(device, non_blocking=True)
    )


def compile_model(model: TeViT, backend: str = "inductor") -> None:
    """Compile backbone and stages, each by itself; the weights keep their names. backend: of `torch.compile`."""
    for part in (model.backbone, *model.stages):
        part.compile(backend=backend)
