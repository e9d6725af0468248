"""`python -m train.benchmark RECIPE --data DIR`: throughput of the training loop and of data loading."""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import NamedTuple, Self

from .recipes import RECIPES, Recipe, add_flags, override, recipe_named

WARM_UP = 2  # steps left out: allocators, compilers, caches

DESCRIPTION = """\
Run some optimiser steps of a recipe as `tevit train` does, in a folder that is deleted afterwards, then draw the
same batches without training. Printed are medians of the steps:

  clips a second      of the whole step
  forward, backward, optimiser    seconds of a step and, in brackets, of its cores' time; backward with the clipping
  waiting for data    the share of a step in which the model had nothing to do
  clips a second, data alone    how many the loader could deliver
  peak memory         of the device, or of the process on a CPU
"""


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="python -m train.benchmark", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("recipe", metavar="RECIPE", help=f"one of {', '.join(RECIPES)}")
    top.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder with annotations and frames")
    top.add_argument("--split", default="train", help="split to train on (default: train)")
    top.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    top.add_argument("--steps", type=int, default=10, help="optimiser steps that count (default: 10)")
    top.add_argument("--json", type=Path, metavar="FILE", help="write the result there, too")
    add_flags(top)
    return top


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code: 0, or 2 for a user error, which is printed as one sentence."""
    args = parser().parse_args(argv)
    try:
        if args.steps < 1:
            raise ValueError(f"--steps: expected at least 1, got {args.steps}")
        result = measure(override(recipe_named(args.recipe), args), args)
    except (ValueError, OSError, MemoryError, FloatingPointError) as error:
        print(f"train.benchmark: {error}", file=sys.stderr)
        return 2
    print("\n".join(f"{name:28s} {value}" for name, value in result.items()))
    if args.json:
        from tevit.io.files import atomic

        with atomic(args.json) as path:
            path.write_text(json.dumps(result, indent=2) + "\n")
    return 0


def measure(recipe: Recipe, args: argparse.Namespace) -> dict[str, object]:
    """Run the benchmark; returns its figures by name, with machine and date."""
    steps = WARM_UP + args.steps
    recipe = replace(recipe, iterations=steps, log_every=1, save_every=steps, eval_every=0)
    with Phases(args.device) as phases:
        lines = _train(recipe, args)[WARM_UP:]
    seconds = statistics.median(line["seconds"] for line in lines)
    clips = recipe.slots * recipe.clips_per_slot
    return {
        "recipe": recipe.name,
        "batch": f"{clips} clips of {recipe.frames} frames",
        "machine": _machine(args.device),
        "date": date.today().isoformat(),
        "steps": len(lines),
        "seconds a step": round(seconds, 3),
        "clips a second": round(clips / seconds, 3),
        **phases.medians(recipe.slots),
        "waiting for data": f"{100 * statistics.median(line['data_wait'] / line['seconds'] for line in lines):.1f} %",
        "clips a second, data alone": round(clips / _loading(recipe, args), 1),
        "peak memory, GB": round(max(line["memory_gb"] for line in lines), 2),
    }


class Span(NamedTuple):
    """seconds: by the clock. processor: seconds of all threads' processor time."""

    seconds: float
    processor: float


class Phases(AbstractContextManager):
    """While entered, times the phases of all training steps in this process by PyTorch's global hooks."""

    def __init__(self, device: str):
        self._device = device
        self._spans: dict[str, list[Span]] = {"forward": [], "backward": [], "optimiser": []}
        self._last = Span(0, 0)

    def __enter__(self) -> Self:
        from torch.nn.modules import module
        from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

        from .losses import SlotLoss

        def before_forward(called: object, *_: object) -> None:
            if isinstance(called, SlotLoss):
                self._end("backward")

        def after_forward(called: object, *_: object) -> None:
            if isinstance(called, SlotLoss):
                self._end("forward")

        self._handles = [
            module.register_module_forward_pre_hook(before_forward),
            module.register_module_forward_hook(after_forward),
            register_optimizer_step_pre_hook(lambda *_: self._end("backward")),
            register_optimizer_step_post_hook(lambda *_: self._end("optimiser")),
        ]
        return self

    def _end(self, phase: str) -> None:
        """A phase ends. What comes before a step's first forward pass, e.g. loading its data, is no backward pass."""
        import torch

        if self._device != "cpu" and torch.cuda.is_available():
            torch.cuda.synchronize()
        now = Span(time.perf_counter(), time.process_time())
        idle = phase == "backward" and len(self._spans["forward"]) == len(self._spans["backward"])
        if not idle:
            self._spans[phase].append(Span(*(b - a for a, b in zip(self._last, now, strict=True))))
        self._last = now

    def medians(self, slots: int) -> dict[str, str]:
        """Of the steps after the warm-up, each the sum of its slots."""
        figures = {}
        for phase, spans in self._spans.items():
            size = 1 if phase == "optimiser" else slots
            steps = [spans[first : first + size] for first in range(WARM_UP * size, len(spans), size)]
            wall, cores = (
                statistics.median(sum(getattr(span, name) for span in step) for step in steps)
                for name in ("seconds", "processor")
            )
            figures[f"{phase}, seconds"] = f"{wall:.3f} ({cores:.3f})"
        return figures

    def __exit__(self, *exc: object) -> None:
        for handle in self._handles:
            handle.remove()


def _train(recipe: Recipe, args: argparse.Namespace) -> list[dict]:
    """Train; returns the lines of metrics.jsonl."""
    from .__main__ import parser as train_parser
    from .report import METRICS, read_lines
    from .setup import start

    with tempfile.TemporaryDirectory(prefix="train-benchmark-") as folder:
        argv = [recipe.name, "--data", str(args.data), "--out", folder, "--split", args.split, "--device", args.device]
        if code := start(recipe, train_parser().parse_args(argv)):
            raise ValueError(f"the training ended with exit code {code}")
        return [line for line in read_lines(Path(folder) / METRICS) if line["kind"] == "train"]


def _loading(recipe: Recipe, args: argparse.Namespace) -> float:
    """Mean seconds of loading a global batch, without training and without the first."""
    from .data import open_training_data, slot_batch, slot_stream
    from .sources import annotation_file

    data = open_training_data(annotation_file(args.data, args.split), args.data, recipe.task, skip_missing=False)
    stream = slot_stream(
        partial(slot_batch, data, 0, recipe=recipe), range(recipe.iterations), range(recipe.slots), recipe.workers
    )
    times = [time.perf_counter() for _ in stream]
    return (times[-1] - times[0]) / (len(times) - 1)


def _machine(device: str) -> str:
    import torch

    gpu = device != "cpu" and torch.cuda.is_available()
    name = torch.cuda.get_device_name() if gpu else f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"
    return f"{platform.system()} {platform.machine()}, {name}, PyTorch {torch.__version__}"


if __name__ == "__main__":
    sys.exit(main())
