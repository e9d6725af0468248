"""Decisions from a log that may be damaged, JSON lines or the studio's database: every row that can be read is kept.

Nothing here relies on the file being consistent: SQLite's pages are read one by one from the bytes, and what is left
is searched for JSON that begins like a decision.
"""

import hashlib
import json
import os
import re
import struct
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

from tevit.io import json as jsonfile
from tevit.io.files import FileKindError
from tevit.review.decisions import Decision, from_line

SQLITE_HEADER = b"SQLite format 3\0"
_BEGINNING = b'{"id":"'  # of every line that the studio writes
_LEAF = 0x0D  # type of a page that holds rows of a table
_INTEGER_SIZES = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8, 7: 8, 8: 0, 9: 0}  # bytes by serial type
_Pages = Mapping[int, bytes]  # by number, from 1


class StoredRow(NamedTuple):
    """A row as it was found. number: its place in the log from 1, 0: unknown. line: JSON. chain: checksum of this row
    and all before it, "": unknown. where: its place in the file, for messages."""

    number: int
    line: bytes
    chain: str = ""
    where: str = ""


@dataclass(frozen=True)
class RecoveredLog:
    """What could be read of a log.

    decisions: in order. total: number of rows that there were, as far as can be told. lost: number of a row that could
    not be read -> why. changed: places in `decisions`, from 1, of those that do not match their checksum or exist in
    several versions.
    """

    decisions: tuple[Decision, ...]
    total: int
    lost: Mapping[int, str]
    changed: tuple[int, ...] = ()

    @property
    def missing(self) -> int:
        """Number of rows that could not be read."""
        return self.total - len(self.decisions)

    def sentences(self, name: str) -> list[str]:
        """One for each row that could not be read, of more than ten only one; one for those that may be changed."""
        texts = [f"{name}, {why}" for why in self.lost.values()] if self.missing else []
        if len(texts) > 10 or len(texts) > self.missing:
            texts[10:] = [f"{name}: {self.missing} could not be read, of the numbers {ranges(self.lost)}"]
        if self.changed:
            texts.append(f"{name}: {self.unverified}")
        return texts

    @property
    def unverified(self) -> str:
        """Which decisions may have been changed, in words."""
        one = len(self.changed) == 1
        text = "1 does not match its checksum" if one else f"{len(self.changed)} do not match their checksums"
        return f"{text} and may be changed ({'number' if one else 'numbers'} {ranges(self.changed)})"


def ranges(numbers: Iterable[int], limit: int = 12) -> str:
    """Numbers as text, neighbours joined: "3, 17 to 28"; of many ranges the first `limit`."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    texts = [str(a) if a == b else f"{a} to {b}" for a, b in spans[:limit]]
    return ", ".join(texts) + (", …" if len(spans) > limit else "")


def chained(before: str, line: bytes) -> str:
    """The checksum of a row and all before it. before: that of the row before, "" for the first."""
    return hashlib.sha256(before.encode() + b"\n" + line).hexdigest()


def recover_log(path: str | os.PathLike) -> RecoveredLog:
    """All decisions that can be read of JSON lines, or of the studio's database and its -wal file.

    Raises: OSError; FileKindError for another kind of file; ValueError where it has text, but no decision.
    """
    data = Path(path).read_bytes()
    if data.startswith(SQLITE_HEADER):
        wal = Path(f"{path}-wal")
        return combine(*database_rows(data, wal.read_bytes() if wal.is_file() else b""))
    return recover_lines(data, str(path))


def recover_lines(data: bytes, name: str) -> RecoveredLog:
    """The same from the bytes of JSON lines. name: of the file, for messages."""
    recovered = combine(line_rows(data))
    if not recovered.decisions and recovered.lost:
        if len(recovered.lost) > 1 and jsonfile.fits(data, dict):
            raise FileKindError(f"{name} is one JSON object, expected a log of decisions, one object a line")
        raise ValueError("\n".join(recovered.sentences(name)))
    return recovered


# --- rows of a file


def line_rows(data: bytes) -> Iterator[StoredRow]:
    """Rows of JSON lines, numbered without the empty ones. Lines that ran together are taken apart."""
    number = 0
    for place, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        for part in _parts(line) if line.strip() else ():
            number += 1
            yield StoredRow(number, part, where=f"line {place}")


def _parts(line: bytes) -> list[bytes]:
    """What of a line may be one decision each."""
    starts = [match.start() for match in re.finditer(re.escape(_BEGINNING), line)]
    if not starts:
        return [line]
    before = [line[: starts[0]]] if starts[0] > 2 * len(_BEGINNING) else []  # long enough for a damaged decision
    return before + [line[start:end] for start, end in pairwise([*starts, len(line)])]


def raw_rows(data: bytes) -> Iterator[StoredRow]:
    """Rows wherever in the bytes JSON begins like a decision."""
    decoder, text, at = json.JSONDecoder(), data.decode("latin-1"), data.find(_BEGINNING)
    while at >= 0:
        try:
            end = decoder.raw_decode(text, at)[1]
        except (ValueError, RecursionError):  # damaged, or continued on another page
            end = 0
        if end:
            yield StoredRow(0, data[at:end], where=f"byte {at}")
        at = data.find(_BEGINNING, at + 1)


def database_rows(data: bytes, wal: bytes = b"") -> tuple[list[StoredRow], int]:
    """Rows of a database that may be damaged, and the number of rows that it states, 0 where that cannot be read.

    wal: content of its -wal file. The same row may come several times.
    """
    main, written = _pages(data), _wal_pages(wal)
    rows, counts = [], [0]
    for pages in ({**main, **written}, main) if wal else (main,):
        for where, number, values in _table_rows(pages, pages, _reserved(data)):
            if row := _as_row(where, number, values):
                rows.append(row)
            elif len(values) == 3 and isinstance(values[1], int):
                counts.append(values[1])
    rows += [*raw_rows(data), *raw_rows(wal)]
    return rows, counts[1] if len(counts) > 1 and 0 <= counts[1] <= len(data) + len(wal) else 0


def ignored_rows(data: bytes, wal: bytes) -> Iterator[StoredRow]:
    """Rows in a -wal file that SQLite may ignore without an error: those behind its first damage, and all where the
    database's header is damaged; not those of an unfinished transaction, which nothing follows.

    Also rows that the database has had for long. data: the database's content.
    """
    committed, valid = _valid_length(wal)
    # Where the file is damaged, or ends within a page, the end of a finished transaction may be missing.
    rest = wal[32:committed] if valid == len(wal) else wal[32:]
    pages, written = _pages(data) | _wal_pages(wal), _wal_pages(wal[:32] + rest)
    for where, number, values in _table_rows(written, pages | written, _reserved(data)):
        if row := _as_row(where, number, values):
            yield row
    yield from raw_rows(rest)


def _valid_length(wal: bytes) -> tuple[int, int]:
    """Bytes of a -wal file up to the last finished transaction, and up to the first page whose checksum is wrong; 32
    where that of its header is."""
    size, order = int.from_bytes(wal[8:12], "big"), "big" if wal[:4] == b"\x37\x7f\x06\x83" else "little"
    sums = _wal_checksum(wal[:24], (0, 0), order)
    if not 512 <= size <= 65536 or _words(wal[24:32], "big") != sums:
        return 32, 32
    committed = end = 32
    while end + 24 + size <= len(wal):
        head = wal[end : end + 24]
        sums = _wal_checksum(head[:8] + wal[end + 24 : end + 24 + size], sums, order)
        if head[8:16] != wal[16:24] or _words(head[16:24], "big") != sums:
            break
        end += 24 + size
        committed = end if any(head[4:8]) else committed
    return committed, end


def _wal_checksum(data: bytes, sums: tuple[int, ...], order: Literal["big", "little"]) -> tuple[int, ...]:
    """Source: SQLite's file format, 4.2."""
    first, second = sums
    words = _words(data, order)
    for a, b in zip(words[::2], words[1::2], strict=True):
        first = (first + a + second) & 0xFFFFFFFF
        second = (second + b + first) & 0xFFFFFFFF
    return first, second


def _words(data: bytes, order: Literal["big", "little"]) -> tuple[int, ...]:
    count = len(data) // 8 * 2
    return struct.unpack(f"{'>' if order == 'big' else '<'}{count}I", data[: 4 * count])


def _as_row(where: str, number: int, values: list) -> StoredRow | None:
    if len(values) != 4 or not all(isinstance(value, bytes) for value in values[1:]):
        return None
    return StoredRow(number, values[2], values[3].decode("latin-1"), f"decision {number} ({where})")


def _pages(data: bytes) -> dict[int, bytes]:
    size = int.from_bytes(data[16:18], "big")
    size = 65536 if size == 1 else size
    if size < 512 or size & (size - 1):  # damaged
        size = 4096
    return {start // size + 1: data[start : start + size] for start in range(0, len(data), size)}


def _reserved(data: bytes) -> int:
    """Unused bytes at the end of each page, 0 in every database of the studio."""
    return data[20] if len(data) > 20 and data[20] <= 32 else 0


def _wal_pages(wal: bytes) -> dict[int, bytes]:
    """The newest version of each page in a -wal file: a header of 32 bytes, then pages behind 24 bytes each."""
    size = int.from_bytes(wal[8:12], "big")
    if size < 512 or size > 65536 or size & (size - 1):
        size = 4096
    starts = range(32, len(wal) - 24, size + 24)
    return {int.from_bytes(wal[at : at + 4], "big"): wal[at + 24 : at + 24 + size] for at in starts}


def _table_rows(leaves: _Pages, pages: _Pages, reserved: int) -> Iterator[tuple[str, int, list]]:
    """Place, row id and values (int, bytes or None) of every row on one of `leaves` that can be decoded.

    pages: those that long rows continue on.
    """
    for number, page in leaves.items():
        head = 100 if number == 1 else 0
        if page[head : head + 1] != bytes([_LEAF]):
            continue
        cells = min(int.from_bytes(page[head + 3 : head + 5], "big"), len(page) // 2)
        for cell in range(cells):
            at = head + 8 + 2 * cell
            try:
                id, values = _decode_cell(pages, page, int.from_bytes(page[at : at + 2], "big"), reserved)
            except (IndexError, KeyError, ValueError):
                continue
            yield f"page {number}", id, values


def _decode_cell(pages: _Pages, page: bytes, at: int, reserved: int) -> tuple[int, list]:
    """Row id and values. Raises: IndexError, KeyError, ValueError where the cell is damaged."""
    length, at = _varint(page, at)
    id, at = _varint(page, at)
    usable = len(page) - reserved
    local, least = usable - 35, (usable - 12) * 32 // 255 - 23  # as in SQLite's file format, 1.6
    if length > local:
        local_size = least + (length - least) % (usable - 4)
        local_size = local_size if local_size <= local else least
        overflow = int.from_bytes(page[at + local_size : at + local_size + 4], "big")
        payload = page[at : at + local_size] + _overflow(pages, overflow, length - local_size, usable)
    else:
        payload = page[at : at + length]
    return id, _decode_record(payload)


def _overflow(pages: _Pages, number: int, length: int, usable: int) -> bytes:
    """What of a row did not fit on its page. A part that cannot be read leaves it too short."""
    parts, visited = [], set()
    while number in pages and number not in visited and length > 0:
        visited.add(number)
        parts.append(pages[number][4:usable][:length])
        length -= len(parts[-1])
        number = int.from_bytes(pages[number][:4], "big")
    return b"".join(parts)


def _decode_record(payload: bytes) -> list:
    """Values of a row; text that is cut off stays cut off. Raises: IndexError, ValueError."""
    end, at = _varint(payload, 0)
    types = []
    while at < end:
        kind, at = _varint(payload, at)
        types.append(kind)
    values = []
    for kind in types:
        size = _INTEGER_SIZES[kind] if kind in _INTEGER_SIZES else (kind - 12) // 2
        if size < 0:
            raise ValueError("not a type of SQLite")
        content = payload[at : at + size]
        at += size
        if kind >= 12:
            values.append(content)
        else:
            values.append(None if kind == 0 else kind - 8 if kind >= 8 else int.from_bytes(content, "big", signed=True))
    return values


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of 1 to 9 bytes, and the place after it. Raises: IndexError."""
    value = 0
    for place in range(at, at + 8):
        value = value << 7 | data[place] & 0x7F
        if data[place] < 0x80:
            return value, place + 1
    return value << 8 | data[at + 8], at + 9


# --- one log from all rows


@dataclass
class _Candidate:
    """One decision: its number and checksum, its versions, the first the preferred one, and all numbers that its rows
    have, with their checksums."""

    number: int
    chain: str
    versions: dict[bytes, Decision]
    places: dict[int, str]


def combine(rows: Iterable[StoredRow], count: int = 0) -> RecoveredLog:
    """One log from rows that may repeat: those that come first are preferred, unless another matches the checksum.

    count: number of rows that there should be, 0: unknown. A row without number goes where its time belongs.
    """
    candidates: dict[str, _Candidate] = {}
    chains = {0: ""}
    faults: dict[int, str] = {}
    for row in rows:
        if row.number and row.chain:
            chains.setdefault(row.number, row.chain)
        try:
            line, decision = _decode(row)
        except (ValueError, OverflowError, MemoryError, RecursionError) as error:
            if row.number:
                faults.setdefault(row.number, str(error) or f"{row.where}: too large")
            continue
        entry = candidates.setdefault(decision.id, _Candidate(row.number, row.chain, {}, {}))
        entry.number, entry.chain = entry.number or row.number, entry.chain or row.chain
        entry.versions.setdefault(line, decision)
        if row.number and not entry.places.get(row.number):
            entry.places[row.number] = row.chain
    return _assemble(candidates, chains, faults, count)


def _decode(row: StoredRow) -> tuple[bytes, Decision]:
    """A row's decision and its line, without damage that stands behind it."""
    try:
        return row.line.strip(), from_line(row.line, row.where)
    except (ValueError, OverflowError, MemoryError, RecursionError):
        line = next((part.line for part in raw_rows(row.line)), None)
        if line is None:
            raise
        return line, from_line(line, row.where)


def _assemble(
    candidates: dict[str, _Candidate], chains: dict[int, str], faults: dict[int, str], count: int
) -> RecoveredLog:
    limit = count + 2 * (len(candidates) + len(faults)) + 1000
    for entry in candidates.values():
        entry.number = entry.number if 0 < entry.number <= limit else 0  # a damaged number
    faults = {number: why for number, why in faults.items() if 0 < number <= limit}
    _mend_numbers(candidates.values(), chains, count)
    _mend_checksums(candidates.values(), chains)
    _mend_numbers(candidates.values(), chains, count)  # by the checksums that are right now
    whole = {entry.number: version for entry in candidates.values() if (version := _verified(entry, chains))}
    # A row whose id was changed has the number of the one that it was.
    ordered = _in_order([e for e in candidates.values() if not (e.chain and e.number in whole) or _verified(e, chains)])
    taken = {entry.number for entry in ordered}
    total = max(count, *taken, len(ordered) + len(faults.keys() - taken), 0)
    lost = {n: faults.get(n, f"decision {n}: not there") for n in range(1, total + 1) if n not in taken}
    decisions = tuple(_verified(entry, chains) or next(iter(entry.versions.values())) for entry in ordered)
    changed = tuple(
        n for n, (d, e) in enumerate(zip(decisions, ordered, strict=True), 1) if _doubtful(d, e, whole, chains)
    )
    return RecoveredLog(decisions, total, lost, changed)


def _mend_numbers(candidates: Collection[_Candidate], chains: dict[int, str], count: int) -> None:
    """Give rows whose number is damaged, in place, the number that their checksum confirms; or, where another row has
    theirs for sure, one of a copy."""
    shared = Counter(entry.number for entry in candidates)
    doubtful: list[_Candidate] = []
    whole: set[int] = set()
    for entry in candidates:
        if _verified(entry, chains):
            whole.add(entry.number)
        else:
            doubtful.append(entry)
    for entry in doubtful:
        places = list(entry.places.items())
        if entry.chain and (shared[entry.number] > 1 or entry.number > count > 0):
            places += [(number + 1, entry.chain) for number in chains if number + 1 not in whole]
        for number, chain in places:
            if _matching(entry, number, chain, chains):
                entry.number, entry.chain = number, chain
                chains[number] = chain or chains[number]
                break
        else:
            free = next((number for number in entry.places if number not in whole), 0)
            if free and entry.number in whole:  # another row has its number for sure
                entry.number, entry.chain = free, entry.places[free]


def _mend_checksums(candidates: Iterable[_Candidate], chains: dict[int, str]) -> None:
    """Replace, in place, a checksum that no version of its row matches, by that of the version with which the next row
    matches its own."""
    at: dict[int, list[_Candidate]] = {}
    for entry in candidates:
        at.setdefault(entry.number, []).append(entry)
    lines = {number: [line for entry in entries for line in entry.versions] for number, entries in at.items()}
    for number in sorted(at.keys() - {0}):
        before, after = chains.get(number - 1), chains.get(number + 1)
        own = [] if before is None else [chained(before, line) for line in lines[number]]
        if after is None or chains.get(number) in own:
            continue
        confirmed = (c for c in own if any(chained(c, line) == after for line in lines.get(number + 1, ())))
        if (chain := next(confirmed, None)) is not None:
            chains[number] = chain
            for entry in at[number]:
                entry.chain = entry.chain and chain


def _in_order(candidates: Sequence[_Candidate]) -> list[_Candidate]:
    """By number; those without one before the first that is later."""

    def time(entry: _Candidate) -> str:
        return next(iter(entry.versions.values())).time

    numbered = sorted((entry for entry in candidates if entry.number), key=lambda entry: (entry.number, time(entry)))
    others = sorted((entry for entry in candidates if not entry.number), key=time, reverse=True)
    ordered: list[_Candidate] = []
    for entry in numbered:
        while others and time(others[-1]) < time(entry):
            ordered.append(others.pop())
        ordered.append(entry)
    return ordered + others[::-1]


def _verified(entry: _Candidate, chains: Mapping[int, str]) -> Decision | None:
    """The version that matches the checksum. chains: checksums by number."""
    return _matching(entry, entry.number, entry.chain, chains) if entry.number else None


def _matching(entry: _Candidate, number: int, chain: str, chains: Mapping[int, str]) -> Decision | None:
    """The version that matches a checksum as the row of a number. chain: "": that of the number."""
    before, own = chains.get(number - 1), chain or chains.get(number)
    if not own or before is None:
        return None
    return next((decision for line, decision in entry.versions.items() if chained(before, line) == own), None)


def _doubtful(chosen: Decision, entry: _Candidate, whole: Mapping[int, Decision], chains: Mapping[int, str]) -> bool:
    """Whether something contradicts the version that was chosen: its checksum, another version, or its number."""
    if entry.number in whole:
        return whole[entry.number] is not chosen
    checkable = entry.number and entry.chain and (entry.number - 1) in chains
    return bool(checkable) or len(entry.versions) > 1
