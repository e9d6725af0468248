"""One optimiser step: the slots of a global batch in turn, each by itself, then one update."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tevit.model.tevit import TeViT
from train.data import Batch
from train.distributed import World
from train.losses import SlotLoss, count_positives
from train.recipes import Recipe

Slots = Sequence[tuple[int, Batch]]
"""Numbered slots of a global batch that fall to one process."""


class Step:
    """Gradients of a global batch, the same on any number of processes.

    Batch norm in the mask heads normalises by its own slot; its running statistics are moved by slot 0 alone. Random
    numbers (drop path) are seeded by (seed, iteration, slot). Losses are divided by the positives of all slots.
    """

    def __init__(self, module: SlotLoss, recipe: Recipe, seed: int, world: World):
        self.model = module.model
        self.recipe, self.seed, self.world = recipe, seed, world
        # DDP hands rank 0's buffers round: it has slot 0, whose statistics are the ones kept.
        self.module = DistributedDataParallel(module) if world.size > 1 else module

    def gradients(self, iteration: int, slots: Slots) -> dict[str, Tensor]:
        """Fill the gradients of this iteration; returns the losses of the global batch, this process's share of them.

        The shares of all processes add up to the loss.
        """
        positives = self._positives(slots)
        totals: dict[str, Tensor] = {}
        for number, (slot, batch) in enumerate(slots):
            with self._slot(iteration, slot, last=number == len(slots) - 1), self._precision():
                losses = self.module(on_device(batch, self.world.device), positives)
                total = torch.stack(list(losses.values())).sum()
                (total * (self.world.size / self.recipe.slots)).backward()  # DDP divides by the number of processes
            for name, loss in losses.items():
                totals[name] = totals.get(name, 0.0) + loss.detach() / self.recipe.slots
        return totals

    def _positives(self, slots: Slots) -> float:
        """Positives a slot, averaged over the whole global batch; at least one in all."""
        queries = self.model.config.queries
        count = sum(count_positives(batch.targets, queries) for _, batch in slots)
        total = self.world.sum(torch.tensor(float(count), device=self.world.device))
        return max(total.item(), 1.0) / self.recipe.slots

    def _precision(self) -> torch.autocast:
        mixed = self.recipe.precision == "bfloat16"
        return torch.autocast(self.world.device.type, torch.bfloat16, enabled=mixed)

    @contextmanager
    def _slot(self, iteration: int, slot: int, last: bool) -> Iterator[None]:
        torch.manual_seed(slot_seed(self.seed, iteration, slot))
        with ExitStack() as stack:
            if isinstance(self.module, DistributedDataParallel) and not last:
                stack.enter_context(self.module.no_sync())
            if slot != 0:
                stack.enter_context(frozen_statistics(self.model))
            yield


def slot_seed(seed: int, iteration: int, slot: int) -> int:
    """Seed of a slot's random numbers, well mixed."""
    return int(np.random.SeedSequence((seed, iteration, slot)).generate_state(1, np.uint64)[0] >> np.uint64(1))


@contextmanager
def frozen_statistics(model: nn.Module) -> Iterator[None]:
    """Batch norms in training mode go on normalising by their batch, but leave their running statistics alone."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d) and module.training]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


def on_device(batch: Batch, device: torch.device) -> Batch:
    """The batch with its frames and sizes on a device; the ground truth follows in the losses."""
    return replace(
        batch, frames=batch.frames.to(device, non_blocking=True), sizes_hw=batch.sizes_hw.to(device, non_blocking=True)
    )


def compile_parts(model: TeViT, backend: str = "inductor") -> None:
    """Compile backbone and stages, each by itself; the weights keep their names. backend: of `torch.compile`."""
    for part in (model.backbone, *model.stages):
        part.compile(backend=backend)
