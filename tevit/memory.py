"""Memory that this process uses and may use, bytes."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def peak_memory(device: "torch.device | None" = None) -> int:
    """Peak so far: allocated by PyTorch on a CUDA device, else resident in this process.

    Raises: ValueError on Windows, where the peak of a process is not known.
    """
    if device is not None and device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        raise ValueError("the peak memory of a process is not known on Windows")
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def resident_memory() -> int:
    """Resident now; the peak so far where there is no /proc."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return peak_memory()
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


_CGROUP = Path("/sys/fs/cgroup")


def free_memory() -> int | None:
    """Available without swapping: of the machine or, where less, of this process's control group, as in a container.

    None where the system does not report it.
    """
    known = [free for free in (_machine_memory(), _group_memory(_CGROUP)) if free is not None]
    return min(known, default=None)


def _machine_memory() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return None


def _group_memory(folder: Path) -> int | None:
    """folder: of the control group, version 2 or, below `memory`, version 1; None where it has no limit."""
    names = ("memory.max", "memory.current", "memory.stat", "inactive_file")
    if (folder / "memory").is_dir():
        folder = folder / "memory"
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat", "total_inactive_file")
    try:
        limit, used = (int((folder / name).read_text()) for name in names[:2])
        lines = dict(line.split() for line in (folder / names[2]).read_text().splitlines())
        return max(0, limit - used + int(lines.get(names[3], 0)))  # cached files give way
    except (OSError, ValueError):  # ValueError: "max", no limit
        return None
