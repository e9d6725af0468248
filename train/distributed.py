"""The processes of a run: PyTorch's own engine, started by torchrun; a run of one process needs none of it.

Slots of the global batch are dealt out in turn, so that the same 16 clips make a step on any number of processes.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True)
class World:
    """rank: this process's number, from 0. size: how many there are. device: where this one computes."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def slots(self, count: int) -> range:
        """The slots of a global batch that fall to this process: consecutive ones, the first to rank 0.

        Raises: ValueError where they cannot be dealt out evenly.
        """
        if count % self.size:
            raise ValueError(
                f"{count} slots cannot be dealt out to {self.size} processes: expected a divisor of {count}"
            )
        share = count // self.size
        return range(self.rank * share, (self.rank + 1) * share)

    def sum(self, values: Tensor) -> Tensor:
        """The sum of a tensor over all processes."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def gather(self, value: Any) -> list[Any]:
        """A picklable value of every process, in the order of ranks, on every process."""
        if self.size == 1:
            return [value]
        out: list[Any] = [None] * self.size
        dist.all_gather_object(out, value)
        return out

    def share_buffers(self, model: nn.Module) -> None:
        """Give every process the first one's buffers: it alone moves the running statistics (slot 0 is its)."""
        for buffer in model.buffers() if self.size > 1 else ():
            dist.broadcast(buffer, 0)

    def say(self, sentence: str) -> None:
        """Print a sentence once, not once a process."""
        if self.is_first:
            print(sentence, flush=True)

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def world(device: str) -> Iterator[World]:
    """The processes that torchrun started, or this one alone.

    device: "auto" (CUDA if there is one), "cpu", "cuda" (under torchrun, each process takes its own).
    Raises: ValueError for a device that is not there.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    chosen = _device(device)
    if "RANK" not in os.environ:
        yield World(0, 1, chosen)
        return
    # DDP says at the first step that a depth-wise convolution's gradient lies otherwise in memory; it copies it.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield World(int(os.environ["RANK"]), size, chosen)
    finally:
        dist.destroy_process_group()


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"--device: expected auto, cpu or cuda, got {name!r}") from None
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"--device: expected auto, cpu or cuda, got {name!r}")
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise ValueError(f"--device {name}: this machine has no CUDA device that PyTorch can use")
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", device.index or 0)))
        torch.cuda.set_device(device)
    return device
