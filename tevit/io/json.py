"""Typed reading of JSON files that may be large or malformed; errors state the place."""

import codecs
import gzip
import io
import json
import logging
import os
import re
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import msgspec

from tevit.io.files import files_inside, forward_slashes, is_content, open_archive, open_inside, reading_archive
from tevit.limits import free_memory, input_limits

WholeNumber = Annotated[int, msgspec.Meta(ge=-(1 << 53), le=1 << 53)]
"""An id in JSON: every reader of JSON holds these numbers exactly, and they fit into 64 bits."""
FrameNumber = Annotated[int, msgspec.Meta(ge=-(1 << 20), le=1 << 20)]
"""A frame, or a number of frames: lists of that length are made. 2^20 are two days at 6 frames a second."""
Side = Annotated[int, msgspec.Meta(ge=-(1 << 28), le=1 << 28)]
"""A height or width in pixels."""
Coordinate = Annotated[float, msgspec.Meta(ge=-(1 << 28), le=1 << 28)]
"""Of a box, in pixels; beyond, float32 has no fractions, and from 3.4e38 on it is infinite."""
_LARGE = 1 << 30
_MEMORY_PER_BYTE = 1.3
_MEMORY_PER_TRACK = 450  # bytes of an object and what is computed of it, beside its JSON
_MIN_TRACK_BYTES = 36  # of the JSON of an annotation with its three ids
_MANY = 1_000_000  # tracks: fewer are a small part of the memory
_PART = 1 << 26  # bytes unpacked at once
_NOT_NUMBER = re.compile(rb'"(?:[^"\\]|\\.)*+"|(-?(?:NaN|Infinity))')  # matches strings to skip them


def read(path: str | os.PathLike, member: str | None = None) -> bytes:
    """The bytes of a JSON file, plain, gzip or in a zip archive, without a byte order mark.

    member: the file's name in an archive; one whose only JSON file has another name is read, too. For a file of more
    than a gigabyte, the memory it takes is logged as a warning.

    Raises: ValueError for an empty file, one that is not UTF-8, an archive without the member, or one that exceeds a
    limit or the free memory.
    """
    if zipfile.is_zipfile(path):
        data = _read_member(path, member)
    else:
        _check_bytes(path, os.path.getsize(path))
        data = Path(path).read_bytes()
    return _text(data, path)


def read_inside(path: str | os.PathLike, name: str) -> bytes:
    """`read` for one of `files.files_inside` of a folder or zip archive. Raises: as `read`."""
    if os.path.isdir(path):
        return read(Path(path, name))
    with open_inside(path, name) as file:
        return _text(file.read(), f"{path}, {name}")


def _text(data: bytes, path: str | os.PathLike) -> bytes:
    """Unpacked if it is gzip, without a byte order mark; not empty."""
    if data.startswith(b"\x1f\x8b"):
        data = _gunzip(data, path)
    data = data.removeprefix(b"\xef\xbb\xbf")
    if not data or data.isspace():
        raise ValueError(f"{path} is empty: expected JSON")
    if not data.isascii():
        _check_utf8(data, path)
    return data


def _check_utf8(data: bytes, path: str | os.PathLike) -> None:
    """Here once, since parts of the file are decoded in many places."""
    decoder, place = codecs.getincrementaldecoder("utf-8")(), 0
    try:
        while place < len(data):
            decoder.decode(data[place : place + _PART], final=place + _PART >= len(data))
            place += _PART
    except UnicodeDecodeError as error:
        # The decoder begins with what was left of the part before.
        at = data.find(error.object[error.start :][:16], max(0, place - 4))
        raise ValueError(f"{path}: not JSON: expected UTF-8 text, but byte {at} is {data[at]:#04x}") from None


def _gunzip(data: bytes, path: str | os.PathLike) -> bytes:
    _check_bytes(path, int.from_bytes(data[-4:], "little"))  # gzip's own count of bytes, modulo 4 GiB
    parts: list[bytes] = []
    size = 0
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            while part := file.read(_PART):
                parts.append(part)
                size += len(part)
                input_limits().check_archive(len(data), size, 1, str(path))  # what it states may be wrong
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read as gzip: {error}") from None
    return b"".join(parts)


def _read_member(path: str | os.PathLike, member: str | None) -> bytes:
    with open_archive(path) as archive:
        files = [
            info for info in archive.infolist() if not info.is_dir() and is_content(forward_slashes(info.filename))
        ]
        named = [info for info in files if PurePosixPath(forward_slashes(info.filename)).name == member]
        named = named or [info for info in files if info.filename.endswith((".json", ".json.gz"))] or files
        if len(named) != 1:
            names = ", ".join(info.filename for info in (named or files)[:5]) or "nothing"
            raise ValueError(f"{path}: expected one file {member or '*.json'} in the archive, found {names}")
        _check_bytes(path, named[0].file_size)
        if named[0].filename.lower().endswith(".zip"):
            raise ValueError(f"{path}: {named[0].filename} is an archive inside the archive: unpack the outer one")
        with reading_archive(f"{path}: {named[0].filename}"):
            return archive.read(named[0])


def memory_needed(size: int) -> int:
    """Approximate bytes of memory for reading and keeping a JSON file of `size` bytes."""
    return int(size * _MEMORY_PER_BYTE)


def _check_bytes(path: str | os.PathLike, size: int) -> None:
    """Raises: LimitError; ValueError where it does not fit into the free memory."""
    input_limits().check("json_bytes", size, str(path))
    if size >= _LARGE:
        _check_memory(f"{path} has {size / 1e9:.1f} GB", memory_needed(size))


def _check_memory(subject: str, needed: float) -> None:
    free = free_memory()
    message = f"{subject}: reading it needs about {needed / 1e9:.1f} GB of memory"
    if free is not None and needed > free:
        raise ValueError(f"{message}, but {free / 1e9:.1f} GB are free")
    logging.getLogger(__name__).warning(message)


def check_tracks(data: bytes, limit: str, path: str | os.PathLike) -> None:
    """Check the number of annotations or predictions in JSON bytes, by their keys, before objects are made of them.

    limit: "tracks" or "predictions", its name. Raises: LimitError; ValueError where they do not fit into the memory.
    """
    limits = input_limits()
    if len(data) // _MIN_TRACK_BYTES <= min(getattr(limits, limit), _MANY):
        return  # counting takes half as long as decoding
    # A key may be written with escapes; run lengths have none of this form.
    count = data.count(b'"video_id"') + data.count(b"\\u")
    limits.check(limit, count, str(path), f"about {count:,} {limit}")
    if (needed := memory_needed(len(data)) + _MEMORY_PER_TRACK * count) >= _LARGE and count > _MANY:
        _check_memory(f"{path} has about {count:,} {limit}", needed)


def decode(data: bytes, shape: Any, path: str | os.PathLike) -> Any:
    """Decode JSON bytes as `shape`, any type that msgspec supports.

    Raises: ValueError with the place: line and column for malformed JSON, the path of the value for an unexpected one.
    """
    try:
        return msgspec.json.decode(data, type=shape)
    except msgspec.ValidationError as error:
        raise ValueError(f"{path}: {_fault(error)}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: {malformed(data, error)}") from None


def convert(value: Any, shape: Any, subject: str) -> Any:
    """A decoded JSON value as `shape`, any type of msgspec's. Raises: ValueError that begins with `subject`."""
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        raise ValueError(f"{subject}: {_fault(error)}") from None


def _fault(error: msgspec.ValidationError) -> str:
    """The sentence of msgspec, and the place in words."""
    text, _, place = str(error).replace("`", "").partition(" - at $")
    place = f" in {place.removeprefix('.')}" if place.removeprefix(".") else ""
    return f"{text[:1].lower()}{text[1:]}{place}"


def fits(data: bytes, shape: Any) -> bool:
    """Whether JSON bytes can be decoded as `shape`."""
    try:
        decode(data, shape, "")
    except ValueError:
        return False
    return True


def malformed(data: bytes, error: Exception) -> str:
    """Describe the fault of JSON bytes whose decoding raised `error`, with line and column, counted from 1."""
    if isinstance(error, RecursionError):
        return "malformed JSON: nested too deeply"
    if len(data) > _LARGE // 4:
        return f"malformed JSON: {error}"
    try:
        json.loads(data.decode())
    except json.JSONDecodeError as fault:
        return f"malformed JSON at line {fault.lineno}, column {fault.colno}: {fault.msg[:1].lower()}{fault.msg[1:]}"
    except UnicodeDecodeError as fault:
        return f"not JSON: expected UTF-8 text, but byte {fault.start} is {data[fault.start]:#04x}"
    token = first_not_number(data)
    return f"{token} is not JSON: numbers must be finite" if token else f"malformed JSON: {error}"


def first_not_number(data: bytes) -> str | None:
    """The first NaN or Infinity with its line and column, as text; None if there is none."""
    match = next((match for match in _NOT_NUMBER.finditer(data) if match[1]), None)
    if match is None:
        return None
    line = data.count(b"\n", 0, match.start()) + 1
    column = match.start() - data.rfind(b"\n", 0, match.start())
    return f"{match[1].decode()} at line {line}, column {column}"


def without_nan(data: bytes) -> bytes:
    """The same JSON with NaN and Infinity, which Python writes although JSON forbids them, as strings."""
    return _NOT_NUMBER.sub(lambda match: b'"%b"' % match[1] if match[1] else match[0], data)


def encode(value: Any) -> bytes:
    """Compact JSON."""
    return msgspec.json.encode(value)


def dump_pretty(value: Any) -> str:
    """Indented JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def other_format(path: str | os.PathLike) -> str | None:
    """What annotations in a format that only `tevit formats` reads are, for messages; None for any other file."""
    if os.path.isdir(path):
        return "a folder"
    return _kind_of_archive(files_inside(path)) or _kind_of_file(Path(path))


def _kind_of_archive(names: Sequence[str]) -> str | None:
    if any(name.lower().endswith(".xml") for name in names):
        return "an archive with CVAT's XML"
    subsets = sum(PurePosixPath(name).name.startswith("instances_") for name in names)
    return "an archive of COCO JSON" if subsets > 1 else None


def _kind_of_file(path: Path) -> str | None:
    try:
        data = read(path).lstrip()
    except (ValueError, OSError):
        return None
    if data.startswith(b"<"):
        return "XML (CVAT)"
    try:
        keys = msgspec.json.decode(data, type=dict[str, msgspec.Raw]).keys()
    except msgspec.DecodeError:
        return None
    if "videos" in keys and "tracks" not in keys:
        return None
    return "COCO JSON" if "images" in keys else "BURST JSON" if "sequences" in keys else None
