"""Atomic writes, which never leave an incomplete file or folder, tables as CSV, and the natural order of file names."""

import csv
import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


class FileKindError(ValueError):
    """A readable file of another kind than its place among the arguments expects, such as predictions as labels."""


@contextmanager
def atomic(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `path`, with its suffix; renamed to `path` on success, removed on any exception.

    The parent folder is created. An existing file is replaced only by a complete new one.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.stem}-", suffix=target.suffix, dir=target.parent)
    os.close(handle)
    try:
        yield Path(name)
        umask = os.umask(0)  # it can only be read by setting it
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)
        os.replace(name, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(name)
        raise


@contextmanager
def atomic_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary folder beside `path`, renamed to `path` on success, removed with its content on any exception.

    Raises: FileExistsError where `path` is a file or a folder that is not empty.
    """
    target = Path(path)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FileExistsError(f"{target}: expected a new or an empty folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        os.replace(temporary, target)  # replaces an empty folder
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_rows(file: IO[str], columns: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a table as CSV, as `pandas.read_csv` reads it: one header line, then a line for each row.

    None and NaN are empty cells, booleans 1 and 0. Text that a spreadsheet would take for a formula gets a leading
    apostrophe, unless it is a number. file: opened with newline="" and encoding="utf-8".
    """
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float) and math.isnan(value):
        return ""
    if isinstance(value, str) and value.startswith(_FORMULA) and not _NUMBER.fullmatch(value):
        return f"'{value}"
    return value


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key in which numbers inside a name count by value: a2 before a10."""
    parts = (part for part in re.split(r"(\d+)", name) if part)
    return tuple((0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts)


def order_note(names: Iterable[str]) -> str | None:
    """A note where natural and alphabetical order of file names differ, with the first name that moves."""
    names = list(names)
    natural, plain = sorted(names, key=natural_key), sorted(names)
    if natural == plain:
        return None
    first = next(index for index, (a, b) in enumerate(zip(natural, plain, strict=True)) if a != b)
    return (
        f"frames are in natural order ({natural[first]!r} is number {first + 1}), not alphabetical "
        f"({plain[first]!r} would be)"
    )
