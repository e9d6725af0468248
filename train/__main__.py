"""`python -m train RECIPE --data DIR --out RUN`, the same under torchrun. The same command again goes on."""

import argparse
import os
import sys
from pathlib import Path

from train.flags import add_flags, changed
from train.recipes import RECIPES, recipe_named


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="python -m train",
        description="Train a model. Interrupted by Ctrl-C, SIGTERM or a crash, the same command goes on from the last "
        "checkpoint. Several GPUs: torchrun --nproc-per-node 8 -m train RECIPE …",
    )
    top.add_argument("recipe", metavar="RECIPE", help=f"one of {', '.join(RECIPES)}")
    top.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder with annotations and frames")
    top.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder of this run")
    top.add_argument("--init", type=Path, metavar="FILE", help="checkpoint to start from: what fits is loaded")
    top.add_argument("--split", default="train", help="split to train on (default: train)")
    top.add_argument("--eval-split", default="valid", help="labelled split to evaluate on (default: valid)")
    top.add_argument("--eval-data", type=Path, metavar="DIR", help="folder of that split (default: that of --data)")
    top.add_argument("--skip-missing", action="store_true", help="leave out frames whose files are missing")
    top.add_argument("--seed", type=int, metavar="N", help="seed of everything random (default: 0)")
    top.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    top.add_argument("--fresh", action="store_true", help="start over: an earlier run in RUN is deleted")
    top.add_argument("--dry-run", action="store_true", help="say what would be done, read nothing but the labels, end")
    add_flags(top)
    return top


def main(argv: list[str] | None = None) -> int:
    """Train; returns the exit code: 0 at the end, 128 + signal where stopped, 1 for a loss that is not finite, else 2.

    What a user can get wrong is one sentence on standard error. TEVIT_TRACEBACK=1 shows where it comes from.
    """
    args = parser().parse_args(argv)
    try:
        recipe = changed(recipe_named(args.recipe), args)
        from train.setup import start  # here, so that `--help` does not wait for PyTorch

        return start(recipe, args)
    except FloatingPointError as error:
        print(f"train: {error}", file=sys.stderr)
        return 1
    except (ValueError, OSError, MemoryError) as error:
        if os.environ.get("TEVIT_TRACEBACK"):
            raise
        print(f"train: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
