"""The processes of a run: torch.distributed, started by torchrun; a run of one process needs none of it.

Slots of the global batch are split evenly over the ranks, so that the same clips make a step on any number of
processes.
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

from tevit.io.files import fault_sentence


@dataclass(frozen=True)
class World:
    """rank: this process's number, from 0. size: number of processes. device: where this one computes."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def slots(self, count: int) -> range:
        """This process's slots of a global batch: consecutive ones, the first to rank 0.

        Raises: ValueError where they cannot be split evenly.
        """
        if count % self.size:
            raise ValueError(
                f"{count} slots cannot be split evenly over {self.size} processes: expected a divisor of {count}"
            )
        share = count // self.size
        return range(self.rank * share, (self.rank + 1) * share)

    def all_reduce(self, values: Tensor) -> Tensor:
        """The sum of a tensor over all processes."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def all_gather(self, value: Any) -> list[Any]:
        """A picklable value of every process, in the order of ranks, on every process."""
        values: list[Any] = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(values, value)
        return values

    def broadcast_buffers(self, model: nn.Module) -> None:
        """Copy rank 0's buffers to every process: only slot 0, which is on rank 0, updates running statistics."""
        for buffer in model.buffers() if self.size > 1 else ():
            dist.broadcast(buffer, 0)

    def print(self, text: str) -> None:
        """Print a line on rank 0 only."""
        if self.is_main:
            print(text, flush=True)

    @contextmanager
    def agreed(self) -> Iterator[None]:
        """Run a block on every process; an error of one of them ends all, and the main process reports it.

        Raises: the main process's ValueError or OSError, else ValueError with the first other one; SystemExit on the
        other processes.
        """
        fault: Exception | None = None
        try:
            yield
        except (ValueError, OSError) as error:
            fault = error
        texts = self.all_gather(None if fault is None else fault_sentence(fault))
        first = next((rank for rank, text in enumerate(texts) if text is not None), None)
        if first is None:
            return
        if not self.is_main:
            raise SystemExit(2)
        raise fault or ValueError(f"process {first}: {texts[first]}")

    def barrier(self) -> None:
        """Wait for all processes."""
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
    # DDP warns at the first step that a depth-wise convolution's gradient has other strides; it copies it.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield World(int(os.environ["RANK"]), size, chosen)
    finally:
        dist.destroy_process_group()


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdecimal()):
        raise ValueError(f"--device: expected auto, cpu or cuda, got {name!r}")
    if kind == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ValueError(f"--device {name}: this machine has no CUDA device that PyTorch can use")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", index or 0)))
    torch.cuda.set_device(device)
    return device
