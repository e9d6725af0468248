"""Reading JSON files that may be large or broken: typed, fast, and with the place of what is wrong."""

import json
import os
import re
from pathlib import Path
from typing import Any

import msgspec

_LARGE = 1 << 30
_MEMORY_PER_BYTE = 1.3
_NOT_NUMBER = re.compile(rb'"(?:[^"\\]|\\.)*+"|(-?(?:NaN|Infinity))')  # texts are matched so as to be passed over


def read(path: str | os.PathLike, member: str | None = None) -> bytes:
    """The bytes of a JSON file, without a byte order mark; of `member` where the file is a zip archive.

    A file of more than a gigabyte is announced on the log with the memory that it takes.

    Raises: ValueError for an empty file, an archive without the member, or one too large for the free memory.
    """
    if member is not None and _is_zip(path):
        data = _read_member(path, member)
    else:
        _announce(path, os.path.getsize(path))
        data = Path(path).read_bytes()
    data = data.removeprefix(b"\xef\xbb\xbf")
    if not data or data.isspace():
        raise ValueError(f"{path} is empty: expected JSON")
    return data


def _is_zip(path: str | os.PathLike) -> bool:
    with open(path, "rb") as file:
        if file.read(2) != b"PK":
            return False
    import zipfile  # here, for it takes as long to import as a small file to read

    return zipfile.is_zipfile(path)


def _read_member(path: str | os.PathLike, member: str) -> bytes:
    import zipfile

    with zipfile.ZipFile(path) as archive:
        files = [info for info in archive.infolist() if not info.is_dir()]
        named = [info for info in files if Path(info.filename).name == member] or files
        if len(named) != 1:
            found = ", ".join(info.filename for info in files[:5]) or "nothing"
            raise ValueError(f"{path}: expected one file {member} in the archive, found {found}")
        _announce(path, named[0].file_size)
        try:
            return archive.read(named[0])
        except (zipfile.BadZipFile, RuntimeError, EOFError) as error:
            raise ValueError(f"{path}: {named[0].filename} cannot be read from the archive: {error}") from None


def memory_needed(size: int) -> int:
    """Bytes of memory, about, that reading and keeping a JSON file of `size` bytes takes."""
    return int(size * _MEMORY_PER_BYTE)


def _announce(path: str | os.PathLike, size: int) -> None:
    if size < _LARGE:
        return
    free = free_memory()
    story = f"{path} has {size / 1e9:.1f} GB: reading it needs about {memory_needed(size) / 1e9:.1f} GB of memory"
    if free is not None and memory_needed(size) > free:
        raise ValueError(f"{story}, but {free / 1e9:.1f} GB are free")
    import logging  # here, for it takes as long to import as a small file to read

    logging.getLogger(__name__).warning(story)


def free_memory() -> int | None:
    """Bytes that can be had without swapping; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return None


def decode(data: bytes, shape: Any, path: str | os.PathLike) -> Any:
    """JSON bytes as `shape`, any type that msgspec knows.

    Raises: ValueError that says where: line and column for malformed JSON, the path of the value for an unexpected one.
    """
    try:
        return msgspec.json.decode(data, type=shape)
    except msgspec.ValidationError as error:
        raise ValueError(f"{path}: {_readable(str(error))}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: {malformed(data, error)}") from None


def _readable(message: str) -> str:
    """msgspec's sentence in the words of a JSON file."""
    story, _, place = message.replace("`", "").partition(" - at $")
    place = place.removeprefix(".")
    return f"{story[:1].lower()}{story[1:]}" + (f" in {place}" if place else "")


def malformed(data: bytes, error: Exception) -> str:
    """What is malformed in JSON bytes that gave `error`, with line and column, counted from 1."""
    if isinstance(error, RecursionError):
        return "malformed JSON: nested too deeply"
    if len(data) > _LARGE // 4:
        return f"malformed JSON: {error}"
    try:
        json.loads(data.decode())
    except json.JSONDecodeError as found:
        return f"malformed JSON at line {found.lineno}, column {found.colno}: {found.msg[:1].lower()}{found.msg[1:]}"
    except UnicodeDecodeError as found:
        return f"expected UTF-8 text, but byte {found.start} is {data[found.start]:#04x}"
    token = first_not_number(data)
    return f"{token} is not JSON: numbers must be finite" if token else f"malformed JSON: {error}"


def first_not_number(data: bytes) -> str | None:
    """The first NaN or Infinity with its line and column, in words; None where there is none."""
    found = next((match for match in _NOT_NUMBER.finditer(data) if match[1]), None)
    if found is None:
        return None
    line = data.count(b"\n", 0, found.start()) + 1
    column = found.start() - data.rfind(b"\n", 0, found.start())
    return f"{found[1].decode()} at line {line}, column {column}"


def without_nan(data: bytes) -> bytes:
    """The same JSON with NaN and Infinity, which Python writes although JSON has no such numbers, as texts."""
    return _NOT_NUMBER.sub(lambda match: b'"%b"' % match[1] if match[1] else match[0], data)


def encode(value: Any) -> bytes:
    """Compact JSON."""
    return msgspec.json.encode(value)


def dump_pretty(value: Any) -> str:
    """JSON to be read by people and machines on a terminal."""
    return json.dumps(value, indent=2, ensure_ascii=False)
