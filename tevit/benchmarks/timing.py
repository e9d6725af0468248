"""Taking time: warmed up, the device waited for, several works in turns, so that what else goes on meets all."""

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch


class Took(NamedTuple):
    """seconds: of the clock on the wall. processor: seconds of all cores of this process together."""

    seconds: float
    processor: float


def wait_for(device: torch.device) -> None:
    """Until all that was asked of a device is done."""
    if device.type in ("cuda", "mps"):
        torch.accelerator.synchronize(device)


def took(work: Callable[[], object], device: torch.device) -> Took:
    """How long one call takes."""
    wait_for(device)
    start, processor = time.perf_counter(), time.process_time()
    work()
    wait_for(device)
    return Took(time.perf_counter() - start, time.process_time() - processor)


def in_turns(works: Mapping[str, Callable[[], Took]], rounds: int, warm_up: int = 1) -> dict[str, list[Took]]:
    """All works one after the other, `rounds` times; the first `warm_up` times do not count."""
    found: dict[str, list[Took]] = {name: [] for name in works}
    for number in range(warm_up + rounds):
        for name, work in works.items():
            took = work()
            if number >= warm_up:
                found[name].append(took)
    return found
