"""Limits on what is read from files, compared with what their headers state before anything is decoded; and on memory.

The environment variable TEVIT_LIMITS changes them, for this process and those that it starts, as in
"pixels=100e6,frames=500"; with "public" as its first entry they are the smaller ones of a public server.
"""

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


VARIABLE = "TEVIT_LIMITS"
PUBLIC = "public"
_UNITS = {"upload_bytes": "bytes", "json_bytes": "bytes", "unpacked_bytes": "bytes", "unpacked_ratio": "times its size"}
_RATIO_FROM = 64_000_000  # bytes unpacked: below it no ratio costs much


class LimitError(ValueError):
    """A file that exceeds a limit: one sentence with the file, what it has, the limit and its setting."""


@dataclass(frozen=True)
class InputLimits:
    """Each the largest value that is accepted.

    upload_bytes: of the files sent to the studio in one upload. pixels: of an image or a video frame. frames, seconds:
    of a video. tracks: annotations of a data set. predictions: of a results file. json_bytes: of a JSON file, unpacked.
    unpacked_bytes: of all files in an archive, or of all pictures of an animated one. unpacked_ratio: of those bytes to
    the archive's, where they are more than 64 MB. archive_files: number of files in an archive. worker_bytes: memory of
    a process in which the studio decodes a file, worker_seconds: its time for a file, worker_stall_seconds: without any
    progress. workers: number of these processes at work, beside two that are soon done.
    """

    upload_bytes: int = 2_000_000_000
    pixels: int = 64_000_000
    frames: int = 1_000_000
    seconds: int = 24 * 3600
    tracks: int = 2_000_000
    predictions: int = 4_000_000
    json_bytes: int = 8_000_000_000
    unpacked_bytes: int = 16_000_000_000
    unpacked_ratio: int = 200
    archive_files: int = 200_000
    worker_bytes: int = 8_000_000_000
    worker_seconds: int = 6 * 3600
    worker_stall_seconds: int = 300
    workers: int = 8

    @classmethod
    def public(cls) -> "InputLimits":
        """Those of a server that anybody can reach."""
        return cls(
            upload_bytes=200_000_000,
            frames=20_000,
            seconds=900,
            tracks=100_000,
            predictions=200_000,
            json_bytes=1_000_000_000,
            unpacked_bytes=1_000_000_000,
            unpacked_ratio=100,
            archive_files=20_000,
            worker_bytes=4_000_000_000,
            worker_seconds=1800,
            worker_stall_seconds=60,
            workers=4,
        )

    def updated(self, entries: Iterable[str], source: str) -> "InputLimits":
        """With changes such as "pixels=100e6". source: of the entries, for messages. Raises: ValueError."""
        changes: dict[str, Any] = {}
        names = [field.name for field in fields(self)]
        for entry in entries:
            name, _, text = (part.strip() for part in entry.partition("="))
            if name not in names:
                raise ValueError(f"{source}: expected NAME=NUMBER with one of {', '.join(names)}, got {entry[:60]!r}")
            try:
                value = int(float(text))
            except (ValueError, OverflowError):
                value = 0
            if value < 1:
                raise ValueError(f"{source}: expected a number from 1 on for {name}, got {text[:40]!r}")
            changes[name] = value
        return replace(self, **changes)

    def check(self, name: str, value: float, subject: str, stated_value: str = "") -> None:
        """Compare a value with the limit of this name.

        subject: the file, as the message begins. stated_value: a description of the value, by default the number.
        Raises: LimitError.
        """
        limit = getattr(self, name)
        if value <= limit:
            return
        unit = _UNITS.get(name, name.replace("_", " "))
        stated = stated_value or f"{value:,.0f} {unit}"
        raise LimitError(f"{subject}: {stated}, more than the limit of {limit:,} {unit} ({name} in {VARIABLE})")

    @property
    def decoder_pixels(self) -> str:
        """FFmpeg's option max_pixels, for sizes that no header states; with room for padded sides."""
        return str(self.pixels + self.pixels // 8 + (1 << 16))

    def check_size(self, width: int, height: int, subject: str) -> None:
        """Compare the size of a picture with the limit of pixels. Raises: LimitError."""
        self.check("pixels", width * height, subject, f"{width:,} x {height:,} pixels")

    def check_archive(self, packed: int, unpacked: int, files: int, subject: str) -> None:
        """Compare what an archive's directory states. packed, unpacked: bytes. Raises: LimitError."""
        self.check("archive_files", files, subject)
        self.check("unpacked_bytes", unpacked, subject, f"unpacks to {unpacked:,} bytes")
        ratio = unpacked / max(packed, 1)
        if unpacked > _RATIO_FROM:
            self.check("unpacked_ratio", ratio, subject, f"unpacks to {unpacked:,} bytes, {ratio:,.0f} times its size")


def input_limits() -> InputLimits:
    """The limits of this process. Raises: ValueError for a TEVIT_LIMITS that cannot be read."""
    return _parsed(os.environ.get(VARIABLE, ""))


def set_limits(entries: Iterable[str], public: bool = False) -> None:
    """Change the limits of this process, and of those that it starts from now on, by entries such as "pixels=100e6".

    public: those of a public server for all that TEVIT_LIMITS does not change. Raises: ValueError for an entry that
    cannot be read.
    """
    entries, before = list(entries), os.environ.get(VARIABLE, "")
    input_limits().updated(entries, "--limit")
    if public and before.split(",")[0].strip() != PUBLIC:
        before = f"{PUBLIC},{before}"
    os.environ[VARIABLE] = ",".join(filter(None, [*before.split(","), *entries]))


@lru_cache(maxsize=8)
def _parsed(text: str) -> InputLimits:
    entries = [entry.strip() for entry in text.split(",") if entry.strip()]
    public = PUBLIC in entries[:1]
    return (InputLimits.public() if public else InputLimits()).updated(entries[public:], VARIABLE)


# --- memory of this process and of the machine, bytes


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
