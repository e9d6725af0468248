"""Which of PyTorch's operators the time of a pass goes to."""

import os
from collections.abc import Callable

import torch
from torch.autograd.profiler import profile

from tevit.benchmarks.record import Figures, spread

LEAST = 2.0  # per cent of the time from which an operator has a line of its own


def shares(work: Callable[[], object], device: torch.device) -> Figures:
    """Per cent of the operators' own time, largest first, on the device where it has a clock, else on the processor."""
    cuda = device.type == "cuda"
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler's library says when it begins and ends
    with profile(use_device="cuda" if cuda else None, use_kineto=cuda) as found:
        work()
    own = "self_device_time_total" if cuda else "self_cpu_time_total"
    assert found is not None  # as without `enabled`
    times = {event.key: float(getattr(event, own)) for event in found.key_averages()}
    whole = sum(times.values())
    percent = {name.split("::")[-1]: 100 * times[name] / whole for name in sorted(times, key=times.__getitem__)[::-1]}
    large = {name: value for name, value in percent.items() if value >= LEAST}
    return {f"{name}, % of operators": spread([value]) for name, value in large.items()} | {
        "all others, % of operators": spread([100 - sum(large.values())])
    }
