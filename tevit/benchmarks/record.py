"""What a benchmark has measured: figures by name, and what they were measured on; as a table, JSON, side by side."""

import json
import os
import platform
import shlex
import statistics
import sys
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tevit.io.files import atomic

if TYPE_CHECKING:
    import torch

Figures = dict[str, dict[str, float]]
"""Name with unit -> median, low and high over the rounds."""


def spread(values: Iterable[float]) -> dict[str, float]:
    """Median and extremes, four digits each."""
    found = sorted(values)
    picked = {"median": statistics.median(found), "low": found[0], "high": found[-1]}
    return {name: float(f"{value:.4g}") for name, value in picked.items()}


def record(kind: str, device: "torch.device", settings: Mapping[str, Any], figures: Figures) -> dict[str, Any]:
    """Everything that is to be known of a measurement. kind: which benchmark. settings: what was asked for."""
    return {
        "benchmark": kind,
        "date": date.today().isoformat(),
        "machine": hardware(device),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "command": shlex.join(["tevit", *sys.argv[1:]]),
        "settings": dict(settings),
        "figures": figures,
    }


def hardware(device: "torch.device") -> str:
    """System, processor, cores and threads, accelerator, versions."""
    import torch

    cores = f"{_processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"
    gpu = f", {torch.cuda.get_device_name(device)}" if device.type == "cuda" else ""
    versions = f"Python {platform.python_version()}, PyTorch {torch.__version__}"
    return f"{platform.system()} {platform.machine()}, {cores}{gpu}, {versions}"


def _processor() -> str:
    """Its name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown processor"
    )


def table(found: Mapping[str, Any]) -> str:
    """For people: a line a figure."""
    settings = ", ".join(f"{name} {value}" for name, value in found["settings"].items())
    lines = [f"{found['machine']}; load {found['load']}", settings, ""]
    return "\n".join(lines + [f"{name:42s} {_said(value)}" for name, value in found["figures"].items()])


def _said(value: Mapping[str, float]) -> str:
    if value["low"] == value["high"]:
        return f"{value['median']:10.4g}"
    return f"{value['median']:10.4g}   {value['low']:.4g} to {value['high']:.4g}"


def report(found: Mapping[str, Any], out: Path | None) -> None:
    """Print the table, then one line of JSON; the same JSON goes to `out`."""
    print(table(found) + "\n")
    print(json.dumps(found))
    if out:
        with atomic(out) as path:
            path.write_text(json.dumps(found, indent=2) + "\n")


def read(path: Path) -> dict[str, Any]:
    """A written measurement. Raises: FileNotFoundError; ValueError for what is none."""
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        found = json.loads(path.read_text())
    except ValueError:
        found = None
    if not isinstance(found, dict) or not {"benchmark", "settings", "figures"} <= found.keys():
        raise ValueError(f"{path}: expected what `tevit benchmark model, video or memory --out` wrote")
    return found


def compared(first: Path, second: Path) -> str:
    """Two measurements of one kind side by side: medians, and the second by the first.

    Raises: as `read`; ValueError where they are of different kinds.
    """
    one, other = read(first), read(second)
    if one["benchmark"] != other["benchmark"]:
        raise ValueError(
            f"expected two measurements of one kind, got {first} of {one['benchmark']} and {second} of "
            f"{other['benchmark']}"
        )
    lines = [f"a: {first}: {one['machine']}; load {one['load']}", f"b: {second}: {other['machine']}"]
    lines[1] += f"; load {other['load']}"
    for name in one["settings"].keys() | other["settings"].keys():
        if one["settings"].get(name) != other["settings"].get(name):
            lines.append(f"not the same: {name} {one['settings'].get(name)} and {other['settings'].get(name)}")
    lines += ["", f"{'':42s} {'a':>10s} {'b':>10s} {'b / a':>8s}"]
    shared = [name for name in one["figures"] if name in other["figures"]]
    return "\n".join(lines + [_beside(name, one["figures"][name], other["figures"][name]) for name in shared])


def _beside(name: str, one: Mapping[str, float], other: Mapping[str, float]) -> str:
    a, b = one["median"], other["median"]
    return f"{name:42s} {a:10.4g} {b:10.4g} " + (f"{b / a:8.3f}" if a else f"{'-':>8s}")
