"""The console script `tevit`: one subcommand a job; the module of the same name says what each takes."""

import argparse
import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module

# In the order of `tevit --help`. A module offers `register(commands)`; it imports nothing heavy before it runs.
COMMANDS: tuple[str, ...] = (
    "predict",
    "models",
    "convert",
    "evaluate",
    "errors",
    "validate",
    "split",
    "formats",
    "shapes",
    "benchmark",
    "report",
    "review",
)


def parser(names: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    """The command line, of these commands only, as an argparse parser."""
    top = argparse.ArgumentParser(prog="tevit", description="Video instance segmentation with TeViT.")
    top.add_argument("--version", action="store_true", help="print the version and exit")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    for name in names:
        import_module(f"tevit.cli.{name}").register(commands)
    return top


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code. What a user can get wrong is one sentence on standard error and code 2.

    Set TEVIT_TRACEBACK=1 to see where such an error comes from.
    """
    given = (sys.argv[1:] if argv is None else argv)[:1]
    top = parser(given if given and given[0] in COMMANDS else COMMANDS)  # what another command imports costs time
    args = top.parse_args(argv)
    if args.version:
        from importlib.metadata import version

        print(version("tevit-studio"))
        return 0
    if args.command is None:
        top.print_help()
        return 2
    try:
        code = args.run(args)
        sys.stdout.flush()  # here, where a reader that is gone can still be told from other errors
        if argv is None and "torch" not in sys.modules:
            gc.freeze()  # the process ends: without a last search for garbage, which takes 20 ms and only torch misses
        return code
    except KeyboardInterrupt:
        print("tevit: stopped; nothing half-written is left", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read the answer, `head` for one, has enough of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ValueError, OSError, MemoryError) as error:
        if os.environ.get("TEVIT_TRACEBACK"):
            raise
        print(f"tevit: {error}", file=sys.stderr)
        return 2
