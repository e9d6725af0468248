"""Time and memory of this machine, and benchmark results: record, JSON file, table, comparison of two files."""

import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tevit.io.files import atomic

if TYPE_CHECKING:
    import torch  # imported late: `tevit benchmark --compare` works without it

Figures = dict[str, dict[str, float]]
"""Name with unit -> median, low and high over the rounds."""

YARDSTICK = "pvt_v2_b1"  # of timm
CHANNELS, SIZE_HW = 256, (96, 160)  # the most expensive convolution of the model


# --- time


class Timing(NamedTuple):
    """seconds: wall clock. processor: CPU seconds of all cores of this process."""

    seconds: float
    processor: float


def synchronize(device: "torch.device") -> None:
    """Wait for all work queued on a CUDA or MPS device."""
    import torch

    if device.type in ("cuda", "mps"):
        torch.accelerator.synchronize(device)


def time_call(function: Callable[[], object], device: "torch.device") -> Timing:
    """Time one call, including the device's work."""
    synchronize(device)
    start, processor = time.perf_counter(), time.process_time()
    function()
    synchronize(device)
    return Timing(time.perf_counter() - start, time.process_time() - processor)


def interleave(functions: Mapping[str, Callable[[], Timing]], rounds: int, warm_up: int = 1) -> dict[str, list[Timing]]:
    """Timings by name over `rounds`, after `warm_up` rounds that are not counted.

    The functions run in turns, so that other load on the machine affects all of them.
    """
    timings: dict[str, list[Timing]] = {name: [] for name in functions}
    for number in range(warm_up + rounds):
        for name, function in functions.items():
            timing = function()
            if number >= warm_up:
                timings[name].append(timing)
    return timings


# --- the yardstick


class Yardstick(AbstractContextManager):
    """timm's PVTv2-B1 with all its features, without our kernels, on frames of noise (T, 3, H, W), float32 or autocast.

    Its process runs it once per request, and has neither our allocator settings nor our memory.
    """

    def __init__(self, frames: int, size_hw: tuple[int, int], device: "torch.device", dtype: str):
        settings = json.dumps([frames, *size_hw, str(device), dtype])
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import run_yardstick; run_yardstick()", settings],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self) -> Timing:
        """Run the model once. Raises: ValueError where the process has ended."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write("run\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise ValueError(f"the yardstick {YARDSTICK} has ended: its message stands above")
        return Timing(*json.loads(answer))

    def __exit__(self, *exc: object) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def run_yardstick() -> None:
    """In the yardstick's process: run the model for each line of standard input, and print its `Timing` as JSON.

    The settings, a JSON list of frames, height, width, device and dtype, are the process's argument.
    """
    import timm
    import torch

    frames, height, width, name, dtype = json.loads(sys.argv[1])
    device = torch.device(name)
    model = timm.create_model(YARDSTICK, features_only=True).eval().to(device)
    x = torch.rand(frames, 3, height, width, device=device)
    mixed = nullcontext() if dtype == "float32" else torch.autocast(device.type, getattr(torch, dtype))
    torch.backends.cudnn.allow_tf32 = False
    with torch.inference_mode(), mixed:
        for _ in sys.stdin:
            print(json.dumps(time_call(lambda: model(x), device)), flush=True)


# --- the machine


def matmul_workload(device: "torch.device") -> tuple[Callable[[], object], float]:
    """A large square matrix product, and its GFLOP."""
    import torch

    side = 2048 if device.type == "cpu" else 8192
    a, b = (torch.rand(side, side, device=device) for _ in range(2))
    return lambda: a @ b, 2 * side**3 / 1e9


def conv_workload(device: "torch.device") -> tuple[Callable[[], object], float]:
    """A 3x3 convolution of 256 channels, channels last, and its GFLOP."""
    import torch
    import torch.nn.functional as F

    count = 1 if device.type == "cpu" else 32
    x, weight = (
        torch.rand(*shape, device=device).contiguous(memory_format=torch.channels_last)
        for shape in ((count, CHANNELS, *SIZE_HW), (CHANNELS, CHANNELS, 3, 3))
    )
    return lambda: F.conv2d(x, weight, padding=1), 2 * count * SIZE_HW[0] * SIZE_HW[1] * 9 * CHANNELS**2 / 1e9


def hardware(device: "torch.device") -> str:
    """System, processor, cores and threads, accelerator, versions."""
    import torch

    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
        processor = next(names, "unknown processor")
    except OSError:
        processor = platform.processor() or "unknown processor"
    cores = f"{processor}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"
    gpu = f", {torch.cuda.get_device_name(device)}" if device.type == "cuda" else ""
    versions = f"Python {platform.python_version()}, PyTorch {torch.__version__}"
    return f"{platform.system()} {platform.machine()}, {cores}{gpu}, {versions}"


# --- results


def spread(values: Iterable[float]) -> dict[str, float]:
    """Median and extremes, rounded to four significant digits."""
    ordered = sorted(values)
    summary = {"median": statistics.median(ordered), "low": ordered[0], "high": ordered[-1]}
    return {name: float(f"{value:.4g}") for name, value in summary.items()}


def record(kind: str, device: "torch.device", settings: Mapping[str, Any], figures: Figures) -> dict[str, Any]:
    """A benchmark result with date, machine, load and command. kind: the benchmark. settings: its options."""
    return {
        "benchmark": kind,
        "date": date.today().isoformat(),
        "machine": hardware(device),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "command": shlex.join(["tevit", *sys.argv[1:]]),
        "settings": dict(settings),
        "figures": figures,
    }


def report(result: Mapping[str, Any], out: Path | None) -> None:
    """Print a table with one line per figure, then the result as one line of JSON, which is also written to `out`."""
    settings = ", ".join(f"{name} {value}" for name, value in result["settings"].items())
    lines = [f"{result['machine']}; load {result['load']}", settings, ""]
    for name, value in result["figures"].items():
        extremes = f"   {value['low']:.4g} to {value['high']:.4g}" if value["low"] != value["high"] else ""
        lines.append(f"{name:42s} {value['median']:10.4g}{extremes}")
    print("\n".join(lines) + "\n")
    print(json.dumps(result))
    if out:
        with atomic(out) as path:
            path.write_text(json.dumps(result, indent=2) + "\n")


def read(path: Path) -> dict[str, Any]:
    """Read a result that `report` wrote. Raises: FileNotFoundError; ValueError for another kind of file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        result = json.loads(path.read_text())
    except ValueError:
        result = None
    if not isinstance(result, dict) or not {"benchmark", "settings", "figures"} <= result.keys():
        raise ValueError(f"{path}: expected what `tevit benchmark model, video or memory --out` wrote")
    return result


def compare(first: Path, second: Path) -> str:
    """A table of two results of one kind: medians a and b, and b / a.

    Raises: as `read`; ValueError where the results are of different kinds.
    """
    a, b = read(first), read(second)
    if a["benchmark"] != b["benchmark"]:
        raise ValueError(
            f"expected two measurements of one kind, got {first} of {a['benchmark']} and {second} of {b['benchmark']}"
        )
    lines = [f"a: {first}: {a['machine']}; load {a['load']}", f"b: {second}: {b['machine']}; load {b['load']}"]
    for name in a["settings"].keys() | b["settings"].keys():
        if a["settings"].get(name) != b["settings"].get(name):
            lines.append(f"not the same: {name} {a['settings'].get(name)} and {b['settings'].get(name)}")
    lines += ["", f"{'':42s} {'a':>10s} {'b':>10s} {'b / a':>8s}"]
    for name in (name for name in a["figures"] if name in b["figures"]):
        one, other = a["figures"][name]["median"], b["figures"][name]["median"]
        lines.append(f"{name:42s} {one:10.4g} {other:10.4g} " + (f"{other / one:8.3f}" if one else f"{'-':>8s}"))
    return "\n".join(lines)
