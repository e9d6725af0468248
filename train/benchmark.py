"""`python -m train.benchmark RECIPE --data DIR`: throughput of the training loop and of data loading."""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path

from .recipes import RECIPES, Recipe, add_flags, override, recipe_named

WARM_UP = 2  # steps left out: allocators, compilers, caches

DESCRIPTION = """\
Run some optimiser steps of a recipe as `tevit train` does, in a folder that is deleted afterwards, then draw the
same batches without training. Printed are medians of the steps:

  clips a second      of the whole step
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
        "waiting for data": f"{100 * statistics.median(line['data_wait'] / line['seconds'] for line in lines):.1f} %",
        "clips a second, data alone": round(clips / _loading(recipe, args), 1),
        "peak memory, GB": round(max(line["memory_gb"] for line in lines), 2),
    }


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
