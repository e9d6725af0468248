"""What the model list offers: checkpoints given at the start, published models, files in the checkpoints folder."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tevit.configs import MODELS, TEVIT_DEMO
from tevit.download import checkpoint_path, demo_path, home

SUFFIXES = (".safetensors", ".pth")


@dataclass(frozen=True)
class Choice:
    """value: what tevit.load takes. label: its line in the list. advice: why it cannot run yet; empty where it can."""

    value: str
    label: str
    advice: str = ""


def choices(given: Sequence[Path]) -> list[Choice]:
    """Everything that can be chosen now, what can run first; the folder is read anew at every call.

    given: checkpoint files named at the start, first in the list.
    """
    published = [_published(name) for name in MODELS]
    ready = [choice for choice in published if not choice.advice]
    missing = [choice for choice in published if choice.advice]
    demo = _demo()
    here, gone = ([demo], []) if not demo.advice else ([], [demo])
    return [*_files(given), *ready, *_files(_others(given)), *here, *gone, *missing]


def find(value: str | None, given: Sequence[Path]) -> Choice:
    """The choice of that value, ready to run.

    Raises: ValueError where it is not offered, or its weights are not here.
    """
    if not value:
        raise ValueError("Choose a model first.")
    found = next((choice for choice in choices(given) if choice.value == value), None)
    if found is None:
        raise ValueError(f"{Path(value).name} is not here any more: choose another model.")
    if found.advice:
        raise ValueError(found.advice)
    return found


def _demo() -> Choice:
    path = demo_path()
    if path.is_file():
        return Choice(TEVIT_DEMO.name, f"{TEVIT_DEMO.name} (shapes)")
    advice = f"The demo model is not in this installation: put {path.name} into {path.parent}, or choose another model."
    return Choice(TEVIT_DEMO.name, f"{TEVIT_DEMO.name} (not here)", advice)


def _published(name: str) -> Choice:
    path = checkpoint_path(MODELS[name])
    if path.is_file():
        return Choice(name, f"{name} (AP {MODELS[name].ap})")
    how = f"get them with `tevit models --get {name}`, or put {path.name} into {path.parent}."
    return Choice(name, f"{name} (no weights)", f"The weights of {name} are not on this machine: {how}")


def _files(paths: Iterable[Path]) -> list[Choice]:
    return [Choice(str(path), path.name) for path in paths]


def _others(given: Sequence[Path]) -> list[Path]:
    """Files in the checkpoints folder that are neither published models nor given at the start."""
    known = {path.resolve() for path in given} | {checkpoint_path(model).resolve() for model in MODELS.values()}
    folder = home() / "checkpoints"
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in found if path.suffix in SUFFIXES and path.is_file() and path.resolve() not in known]
