"""`python -m train RECIPE --data DIR --out RUN`, the same under torchrun. The same command again resumes."""

import argparse
import os
import sys
from pathlib import Path

from .recipes import RECIPES, add_flags, override, recipe_named


def parser(prog: str = "python -m train") -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog=prog,
        description="Train a model. Interrupted by Ctrl-C, SIGTERM or a crash, the same command resumes from the last "
        "checkpoint. Several GPUs: torchrun --nproc-per-node 8 -m train RECIPE …",
    )
    top.add_argument("recipe", metavar="RECIPE", help=f"one of {', '.join(RECIPES)}")
    top.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder with annotations and frames")
    top.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder of this run")
    top.add_argument("--init", type=Path, metavar="FILE", help="checkpoint to start from; weights that fit are loaded")
    top.add_argument("--split", default="train", help="split to train on (default: train)")
    top.add_argument("--eval-split", default="valid", help="labelled split to evaluate on (default: valid)")
    top.add_argument("--eval-data", type=Path, metavar="DIR", help="folder of that split (default: that of --data)")
    top.add_argument("--skip-missing", action="store_true", help="leave out frames whose files are missing")
    top.add_argument("--seed", type=int, metavar="N", help="seed of everything random (default: 0)")
    top.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    top.add_argument("--fresh", action="store_true", help="start over: an earlier run in RUN is deleted")
    top.add_argument("--dry-run", action="store_true", help="print what would be done, read only the labels, and exit")
    add_flags(top)
    return top


def main(argv: list[str] | None = None, prog: str = "python -m train") -> int:
    """Train; returns the exit code: 0 at the end, 128 + signal where stopped, 1 for a loss that is not finite, else 2.

    User errors are printed as one sentence; TEVIT_TRACEBACK=1 shows the traceback.
    """
    args = parser(prog).parse_args(argv)
    try:
        recipe = override(recipe_named(args.recipe), args)
        from .setup import start  # here, so that `--help` does not wait for PyTorch

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
