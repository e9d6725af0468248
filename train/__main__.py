"""`tevit train RECIPE --data DIR --out RUN`, the same under torchrun. The same command again resumes."""

import argparse
import os
import sys
from contextlib import nullcontext, redirect_stderr
from io import StringIO
from pathlib import Path

from tevit.io.files import fault_sentence

from .recipes import RECIPES, add_flags, override, recipe_named


def parser(prog: str = "tevit train") -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog=prog,
        description="Train a model. Interrupted by Ctrl-C, SIGTERM or a crash, the same command resumes from the last "
        "checkpoint. Several GPUs: torchrun --nproc-per-node 8 -m tevit train RECIPE …",
    )
    top.add_argument("recipe", metavar="RECIPE", help=f"one of {', '.join(RECIPES)}")
    top.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder with annotations and frames")
    top.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder of this run")
    init = "checkpoint to start from, a file or a name of `tevit models`; weights that fit are loaded"
    top.add_argument("--init", metavar="FILE", help=init)
    top.add_argument("--init-partial", action="store_true", help="start even where --init fills less than half")
    top.add_argument("--split", default="train", help="split to train on (default: train)")
    split = "labelled split to evaluate on (default: valid; without one, training goes on without evaluation)"
    top.add_argument("--eval-split", metavar="SPLIT", help=split)
    top.add_argument("--eval-data", type=Path, metavar="DIR", help="folder of that split (default: that of --data)")
    top.add_argument("--skip-missing", action="store_true", help="leave out frames whose files are missing")
    top.add_argument("--seed", type=int, metavar="N", help="seed of everything random (default: 0)")
    top.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    top.add_argument("--fresh", action="store_true", help="start over: an earlier run in RUN is deleted")
    top.add_argument("--dry-run", action="store_true", help="check data and --init, print what would be done, and exit")
    log_to = "also log the metrics to an experiment tracker, where it is installed (default: none)"
    top.add_argument("--log-to", choices=("trackio", "wandb"), help=log_to)
    add_flags(top)
    return top


def main(argv: list[str] | None = None, prog: str = "tevit train") -> int:
    """Train; returns the exit code: 0 at the end, 128 + signal where stopped, 1 for a loss that is not finite, else 2.

    User errors are printed as one sentence; TEVIT_TRACEBACK=1 shows the traceback.
    """
    quiet = os.environ.get("RANK", "0") != "0"  # torchrun starts every process with the same arguments
    try:
        with redirect_stderr(StringIO()) if quiet else nullcontext():
            args = parser(prog).parse_args(argv)
        try:
            recipe = override(recipe_named(args.recipe), args)
        except ValueError:
            if quiet:
                return 2
            raise
        from .setup import start  # here, so that `--help` does not wait for PyTorch

        return start(recipe, args)
    except FloatingPointError as error:  # the same on every process
        print("" if quiet else f"train: {error}\n", end="", file=sys.stderr)
        return 1
    except (ValueError, OSError, MemoryError) as error:
        if os.environ.get("TEVIT_TRACEBACK"):
            raise
        print(f"train: {fault_sentence(error)}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
