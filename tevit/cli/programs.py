"""`tevit studio` and `tevit train`: the studio and training, which are packages of their own, started from anywhere."""

import argparse
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import tevit


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
