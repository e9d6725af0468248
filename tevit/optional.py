"""Optional packages, and pretrained models of the transformers library."""

import importlib
from collections.abc import Callable
from typing import Any


def optional_package(name: str, needed_by: str, extras: str) -> Any:
    """Import a package of an optional extra.

    needed_by: begins the sentence of the error. extras: of tevit-studio, separated by commas.
    Raises: ValueError where the package is missing.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        install = f"pip install 'tevit-studio[{extras}]'"
        raise ValueError(f"{needed_by}: it needs the package {name}: {install} ({error})") from None


def load_pretrained(load: Callable[[str], Any], checkpoint: str) -> Any:
    """What `load`, a from_pretrained of transformers, returns for a local folder or a name on the Hugging Face hub.

    Raises: ValueError where the checkpoint is missing or of another kind.
    """
    try:
        return load(checkpoint)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        reason = str(error).strip().split("\n")[0]
        expected = "expected a folder with the model's files, or a name on the Hugging Face hub"
        raise ValueError(f"checkpoint {checkpoint!r}: {expected} ({reason})") from None
