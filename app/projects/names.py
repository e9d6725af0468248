"""What predictions are called: by their files."""

from collections.abc import Sequence
from pathlib import Path


def names_of(paths: Sequence[Path]) -> list[str]:
    """The files' names without suffix, with as many folders as they need to differ.

    Raises: ValueError for a file twice.
    """
    stems = [path.with_suffix("") for path in paths]
    if len(set(paths)) < len(paths):
        twice = next(path for path in paths if paths.count(path) > 1)
        raise ValueError(f"--predictions: expected every file once, got {twice} twice")
    for depth in range(1, max((len(path.parts) for path in stems), default=1) + 1):
        names = ["/".join(path.parts[-depth:]) for path in stems]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]  # they differ in their suffix alone


def free_name(path: Path, taken: Sequence[str]) -> str:
    """The file's name without suffix, with as many folders as it needs to be nobody else's."""
    parts = path.with_suffix("").parts
    names = ("/".join(parts[-depth:]) for depth in range(1, len(parts) + 1))
    return next((name for name in names if name not in taken), str(path))
