"""The batches of a process in order, prepared ahead by other processes; a place in the stream is all its state."""

import signal
from collections.abc import Callable, Iterator

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from tevit.evaluation.parallel import usable_cores
from train.data import Batch
from train.step import Slots

Draw = Callable[[int, int], Batch]
"""draw(iteration, slot) -> the batch that belongs there, whoever asks and whenever."""


class _Drawn(Dataset):
    def __init__(self, draw: Draw):
        self.draw = draw

    def __getitem__(self, place: tuple[int, int]) -> tuple[int, Batch]:
        return place[1], self.draw(*place)


class _Places(Sampler):
    def __init__(self, iterations: range, slots: range):
        self.iterations, self.slots = iterations, slots

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((iteration, slot) for iteration in self.iterations for slot in self.slots)

    def __len__(self) -> int:
        return len(self.iterations) * len(self.slots)


def slot_stream(draw: Draw, iterations: range, slots: range, workers: int) -> Iterator[Slots]:
    """For each iteration, this process's (slot, batch) pairs.

    workers: processes that draw ahead, at most one for each core; 0 draws when asked.
    """
    loader = DataLoader(
        _Drawn(draw),
        sampler=_Places(iterations, slots),
        batch_size=None,
        num_workers=min(workers, usable_cores()),
        worker_init_fn=_quiet if workers else None,
    )
    batches = iter(loader)
    for _ in iterations:
        yield [next(batches) for _ in slots]


def _quiet(worker: int) -> None:
    """Ctrl-C and SIGTERM are the training process's to answer; it ends its workers itself."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
