"""Atomic writes, which never leave an incomplete file or folder, files inside folders and archives, tables as CSV, and
the natural order of file names.
"""

import csv
import errno
import io
import lzma
import math
import os
import re
import shutil
import struct
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import IO, TypeVar

from tevit.limits import input_limits

_LEFT_SECONDS = 24 * 3600  # age from which a temporary file is no longer being written


class FileKindError(ValueError):
    """A readable file of another kind than its place among the arguments expects, such as predictions as labels."""


_FAULTS = {
    errno.ENOENT: "no such file or folder",
    errno.EISDIR: "a folder, expected a file",
    errno.ENOTDIR: "a file, expected a folder",
    errno.EEXIST: "exists already",
    errno.EACCES: "permission denied",
}


def fault_sentence(error: Exception) -> str:
    """The text of an error, with the file's name first where the system reports it."""
    if isinstance(error, OSError) and error.filename is not None and error.errno in _FAULTS:
        path = Path(os.fsdecode(error.filename))
        if error.errno in (errno.ENOTDIR, errno.EEXIST):  # a folder was to be made where, or below which, a file is
            file = next((part for part in (path, *path.parents) if part.is_file()), None)
            return f"{file or path}: {_FAULTS[errno.ENOTDIR if file else error.errno]}"
        return f"{path}: {_FAULTS[error.errno]}"
    return str(error)


@contextmanager
def atomic(path: str | os.PathLike, mode: int = 0o666) -> Iterator[Path]:
    """Yield a temporary path beside `path`, with its suffix; renamed to `path` on success, removed on any exception.

    The parent folder is created. An existing file is replaced only by a complete new one. mode: of the file, less the
    umask.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.stem}-", suffix=target.suffix, dir=target.parent)
    os.close(handle)
    try:
        yield Path(name)
        umask = os.umask(0)  # it can only be read by setting it
        os.umask(umask)
        os.chmod(name, mode & ~umask)
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


def link_or_copy(source: Path, target: Path) -> None:
    """Make `target` a second name of a file, or a copy of it where the file system has none.

    A copy that fails leaves a part of it. Raises: OSError.
    """
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def remove_left(path: str | os.PathLike) -> None:
    """Remove what killed processes have left of `atomic` for this path, where it is a day old."""
    target, oldest = Path(path), time.time() - _LEFT_SECONDS
    temporary = re.compile(rf"\.{re.escape(target.stem)}-[a-z0-9_]{{8}}{re.escape(target.suffix)}")
    for file in target.parent.glob(".*"):
        with suppress(OSError):
            if temporary.fullmatch(file.name) and file.stat().st_mtime < oldest:
                file.unlink()


def forward_slashes(file_name: str) -> str:
    """A file name written on Windows with the separators of every other system."""
    return file_name.replace("\\", "/")


def files_inside(path: str | os.PathLike) -> list[str]:
    """Names of all files in a folder or zip archive, relative to it with "/", in natural order; none for another file.

    Hidden files and the ones that macOS adds to archives (__MACOSX) are not listed.

    Raises: OSError, ValueError where it cannot be read.
    """
    root = Path(path)
    if root.is_dir():
        names = [file.relative_to(root).as_posix() for file in root.rglob("*") if file.is_file()]
    elif zipfile.is_zipfile(root):
        with open_archive(root) as archive:
            names = [forward_slashes(info.filename) for info in archive.infolist() if not info.is_dir()]
    else:
        return []
    return sorted((name for name in names if is_content(name)), key=natural_key)


def is_content(name: str) -> bool:
    """Whether a relative file name is neither hidden nor in macOS' folder of additions to archives, __MACOSX."""
    parts = PurePosixPath(name).parts
    return bool(parts) and parts[0] != "__MACOSX" and not any(part.startswith(".") for part in parts)


@contextmanager
def open_inside(path: str | os.PathLike, name: str) -> Iterator[IO[bytes]]:
    """Open one of `files_inside` of a folder or zip archive; with the name "" the file `path` itself.

    Raises: OSError; ValueError for an archive that cannot be read.
    """
    if not name or os.path.isdir(path):
        with open(Path(path, name), "rb") as file:
            yield file
        return
    with open_archive(path) as archive, reading_archive(f"{path}: {name}"):
        member = next(info for info in archive.infolist() if forward_slashes(info.filename) == name)
        with archive.open(member) as file:
            yield file


# What zipfile raises for damaged archives, unknown methods of compression and encrypted members.
_ARCHIVE_FAULTS = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    RuntimeError,  # NotImplementedError is one
    OverflowError,
    UnicodeDecodeError,
)


@contextmanager
def reading_archive(subject: str) -> Iterator[None]:
    """Raise every fault of an archive as one sentence that begins with `subject`.

    Raises: ValueError where the archive is damaged, encrypted or compressed in an unknown way.
    """
    try:
        yield
    except _ARCHIVE_FAULTS as error:
        reason = str(error) or type(error).__name__
    except OSError as error:
        if type(error) is not OSError or error.filename is not None:
            raise  # of the file itself
        reason = str(error)  # a place outside of the file
    else:
        return
    raise ValueError(f"{subject} cannot be read from the archive: {reason}") from None


@contextmanager
def open_archive(path: str | os.PathLike) -> Iterator[zipfile.ZipFile]:
    """A zip archive for reading, whose directory is within the limits.

    Raises: OSError; ValueError, LimitError.
    """
    with reading_archive(f"{path}: the list of its files"):
        archive = zipfile.ZipFile(path)
    with archive:
        infos = archive.infolist()
        if not all(info.filename for info in infos):
            raise ValueError(f"{path}: a file in the archive has no name")
        unpacked = sum(info.file_size for info in infos)
        input_limits().check_archive(os.path.getsize(path), unpacked, len(infos), str(path))
        yield archive


def without_suffix(path: Path) -> Path:
    """The path of a JSON file without `.json`, `.json.gz` or whatever suffix it has."""
    return path.with_name(path.name.removesuffix(".gz")).with_suffix("")


_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
# The wide ones are those that spreadsheets in Japanese and Chinese take for the others.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def write_rows(file: IO[str], columns: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a table as CSV, as `pandas.read_csv` reads it: one header line, then a line for each row.

    None and NaN are empty cells, booleans 1 and 0. Text that a spreadsheet would take for a formula gets a leading
    apostrophe, unless it is a number; `read_rows` removes it. file: opened with newline="" and encoding="utf-8".
    """
    line = io.StringIO(newline="")
    # With this end of a line csv quotes cells with \r as well, at which its reader would begin another row.
    writer = csv.writer(line, lineterminator="\r\n")
    for row in chain([columns], rows):
        writer.writerow([_cell(value) for value in row])
        file.write(line.getvalue().removesuffix("\r\n") + "\n")
        line.seek(0)
        line.truncate()


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float) and math.isnan(value):
        return ""
    if isinstance(value, str) and _is_guarded(value):
        return f"'{value}"
    return value


def _is_guarded(text: str) -> bool:
    """Whether a text is written with an apostrophe before it: formulas, and those that have apostrophes already."""
    bare = text.lstrip("'")
    return bare.startswith(_FORMULA) and not _NUMBER.fullmatch(bare)


def read_rows(file: IO[str]) -> list[list[str]]:
    """The rows of a table that `write_rows` wrote, its header first, each cell with the text that was given."""
    return [
        [cell[1:] if cell.startswith("'") and _is_guarded(cell[1:]) else cell for cell in row]
        for row in csv.reader(file)
    ]


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key in which numbers inside a name count by value: a2 before a10."""
    parts = (part for part in re.split(r"(\d+)", name) if part)
    return tuple((0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts)


_File = TypeVar("_File", bound=Path | zipfile.Path)


def natural_order(files: Iterable[_File]) -> list[_File]:
    """Files in the natural order of their names."""
    return sorted(files, key=lambda file: natural_key(file.name))


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
