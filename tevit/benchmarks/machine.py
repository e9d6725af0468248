"""What a machine can do at best: the speed of a large matrix product and of a convolution, and memory in use."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

CHANNELS, SIZE_HW = 256, (96, 160)  # the dearest convolution of the model


def matmul(device: torch.device) -> tuple[Callable[[], object], float]:
    """A square matrix product, and its GFLOP."""
    side = 2048 if device.type == "cpu" else 8192
    a, b = (torch.rand(side, side, device=device) for _ in range(2))
    return lambda: a @ b, 2 * side**3 / 1e9


def convolution(device: torch.device) -> tuple[Callable[[], object], float]:
    """A 3x3 convolution of 256 channels, channels last, and its GFLOP."""
    count = 1 if device.type == "cpu" else 32
    x, weight = (
        torch.rand(*shape, device=device).contiguous(memory_format=torch.channels_last)
        for shape in ((count, CHANNELS, *SIZE_HW), (CHANNELS, CHANNELS, 3, 3))
    )
    return lambda: F.conv2d(x, weight, padding=1), 2 * count * SIZE_HW[0] * SIZE_HW[1] * 9 * CHANNELS**2 / 1e9


def peak_memory(device: torch.device) -> float:
    """The most that was in use so far, megabytes: of a CUDA device by PyTorch, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    if sys.platform == "win32":
        raise ValueError("the peak memory of a process is not known on Windows")
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def resident_memory() -> float:
    """Of this process now, megabytes; where the system does not tell that, the most so far."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return peak_memory(torch.device("cpu"))
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
