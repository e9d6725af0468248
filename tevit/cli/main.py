"""The console script `tevit`; its subcommands are in the modules of this package."""

import argparse
import os
import sys
from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import tevit
from tevit.io.files import FileKindError, fault_sentence

# Command -> module of this package, in the order of `tevit --help`. A module's `register(commands)` adds its commands;
# heavy packages are imported when one runs.
COMMANDS = {
    "studio": "main",
    "predict": "predict",
    "models": "models",
    "convert": "models",
    "evaluate": "evaluate",
    "errors": "errors",
    "validate": "datasets",
    "split": "datasets",
    "formats": "datasets",
    "shapes": "datasets",
    "train": "main",
    "benchmark": "benchmark",
    "report": "report",
    "review": "review",
}


def parser(names: Iterable[str] = COMMANDS) -> argparse.ArgumentParser:
    """The command line, of these commands and those beside them, as an argparse parser."""
    top = argparse.ArgumentParser(prog="tevit", description="Video instance segmentation with TeViT.")
    top.add_argument("--version", action="store_true", help="print the version and exit")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    for module in dict.fromkeys(COMMANDS[name] for name in names):
        import_module(f"tevit.cli.{module}").register(commands)
    return top


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code. A user's error is one sentence on standard error and code 2.

    With TEVIT_TRACEBACK=1 in the environment such an error is raised.
    """
    arguments = (sys.argv[1:] if argv is None else argv)[:1]
    top = parser(
        arguments if arguments and arguments[0] in COMMANDS else COMMANDS
    )  # importing all commands takes longer
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
        sys.stdout.flush()  # here, so that a closed pipe is not taken for another error
        return code
    except KeyboardInterrupt:
        print("tevit: stopped; nothing half-written is left", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of the output, such as `head`, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ValueError, OSError, MemoryError) as error:
        if os.environ.get("TEVIT_TRACEBACK"):
            raise
        print(f"tevit: {_sentence(error, args)}", file=sys.stderr)
        return 2


def console() -> NoReturn:
    """Run the command of sys.argv and end the process."""
    code = main()
    if sys.argv[1:2] in (["evaluate"], ["errors"]):
        # They leave nothing to clean up, and freeing each object of large files would take a twentieth of their time.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _sentence(error: Exception, args: argparse.Namespace) -> str:
    """What is wrong: with the file's name first where the system reports it, and with the order of the arguments."""
    return fault_sentence(error) + (_order(args) if isinstance(error, FileKindError) else "")


def _order(args: argparse.Namespace) -> str:
    if hasattr(args, "log"):
        return "; the log comes first, the labels after it"
    return "; the ground truth comes first, predictions after it" if hasattr(args, "gt") else ""


# --- the studio and training, which are packages of their own, started from anywhere


def register(commands) -> None:
    """Add both subcommands; all their arguments are parsed by the program that is started."""
    for name, run, help in (
        ("studio", run_studio, "open the studio in the browser"),
        ("train", run_training, "train a model by a recipe"),
    ):
        # Without a usable prefix character nothing is an option here, not even --help.
        part = commands.add_parser(name, help=help, add_help=False, prefix_chars="\0")
        part.add_argument("arguments", nargs="*")
        part.set_defaults(run=run)


def run_studio(args: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C; returns the exit code. Raises: ValueError where gradio is not installed."""
    if find_spec("gradio") is None:
        raise ValueError("the studio needs gradio: pip install 'tevit-studio[app]'")
    return import_module(f"{package('tevit_studio', 'app')}.app").main(args.arguments, prog="tevit studio")


def run_training(args: argparse.Namespace) -> int:
    """Train; returns the exit code."""
    return import_module(f"{package('tevit_train', 'train')}.__main__").main(args.arguments, prog="tevit train")


def package(installed: str, in_checkout: str) -> str:
    """The name by which a package beside `tevit` is imported: in the wheel, or in a checkout, which is put on sys.path.

    Raises: ValueError where it is not part of this installation.
    """
    root = Path(tevit.__file__).resolve().parents[1]
    if (root / installed).is_dir():
        return installed
    if not (root / in_checkout / "__main__.py").is_file():
        raise ValueError(f"expected the package {installed} in {root}, beside tevit: install the whole wheel")
    sys.path.insert(0, str(root))  # first: the current folder may have packages of these names
    return in_checkout
