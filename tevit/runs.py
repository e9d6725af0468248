"""Are these run lengths a mask? Checked for a hundred thousand masks at once, before COCO's C library sees any.

COCO's text holds run lengths in column order, zeros first. A run is written in groups of five bits, lowest first, one
character (code 48 + group, 32 added where the run goes on) a group, the last group signed; from the fourth run on it
is the difference to the run two places before. The C library trusts the text: a run that goes on past the end, or runs
that do not fill the picture, make it read and write out of bounds.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

MAX_PIXELS = 1 << 28
_CHUNK = 1 << 17  # characters at a time: every array of a chunk stays in the processor's cache
_MAX_GROUPS = 7
_TOO_LONG = MAX_PIXELS + 1
_END = 1 << 30
_NO_RUNS = "there are no runs"


class Checked(NamedTuple):
    """What `check_counts` found.

    areas: float64 (N,), pixels of each mask, 0 where it is faulty. faults: position -> what is wrong, in words.
    """

    areas: np.ndarray
    faults: dict[int, str]


def check_counts(counts: Sequence[bytes | str], sizes_hw: Sequence[Sequence[int]] | np.ndarray) -> Checked:
    """Check the compressed texts of N masks without decoding them to pixels.

    counts: N texts as COCO writes them. sizes_hw: (N, 2) heights and widths, pixels. Memory is bounded: the texts are
    taken in chunks of about a hundred thousand characters.
    """
    sizes = np.asarray(sizes_hw, np.int64).reshape(-1, 2)
    if len(sizes) != len(counts):
        raise ValueError(f"expected a size for each of {len(counts)} masks, got {len(sizes)}")
    areas = np.zeros(len(counts))
    faults: dict[int, str] = {}
    for first, texts in _chunks(counts):
        chunk = slice(first, first + len(texts))
        _check_chunk(texts, sizes[chunk], areas[chunk], faults, first)
    return Checked(areas, faults)


def check_runs(runs: np.ndarray, lengths: np.ndarray, sizes_hw: np.ndarray) -> Checked:
    """Check the uncompressed run lengths of N masks.

    runs: int64, all runs of all masks one after another. lengths: (N,), how many runs each mask has.
    sizes_hw: (N, 2) heights and widths, pixels.
    """
    sizes = np.asarray(sizes_hw, np.int64).reshape(-1, 2)
    empty = lengths == 0
    if empty.any():
        return _without_empty(runs, lengths, sizes, empty)
    if len(lengths) == 0:
        return Checked(np.zeros(0), {})
    starts = np.cumsum(lengths) - lengths
    pixels = sizes[:, 0] * sizes[:, 1]
    low, high = np.minimum.reduceat(runs, starts), np.maximum.reduceat(runs, starts)
    odd = (np.arange(len(runs)) - np.repeat(starts, lengths)) & 1
    bad = _odd_sizes(sizes) | (low < 0) | (high > pixels) | (np.add.reduceat(runs, starts) != pixels)
    areas = np.where(bad, 0, np.add.reduceat(runs * odd, starts)).astype(float)
    ends = starts + lengths
    return Checked(areas, {i: _runs_fault(runs[starts[i] : ends[i]], *sizes[i].tolist()) for i in _places(bad)})


def _without_empty(runs: np.ndarray, lengths: np.ndarray, sizes: np.ndarray, empty: np.ndarray) -> Checked:
    """check_runs where some masks have no runs at all."""
    rest = np.flatnonzero(~empty)
    inner = check_runs(runs, lengths[rest], sizes[rest])
    areas = np.zeros(len(lengths))
    areas[rest] = inner.areas
    faults = {int(rest[i]): fault for i, fault in inner.faults.items()}
    return Checked(areas, faults | {i: _NO_RUNS for i in _places(empty)})


def _places(which: np.ndarray) -> list[int]:
    return np.flatnonzero(which).tolist()


def _odd_sizes(sizes: np.ndarray) -> np.ndarray:
    """bool (N,): sizes that `_size_fault` says something about."""
    return (sizes < 1).any(1) | (sizes > MAX_PIXELS).any(1) | (sizes[:, 0] * sizes[:, 1] > MAX_PIXELS)


def _runs_fault(runs: np.ndarray, height: int, width: int) -> str:
    if fault := _size_fault(height, width):
        return fault
    if runs.min() < 0:
        return f"a run is negative ({runs.min()})"
    if runs.max() > MAX_PIXELS:
        return "a run is longer than any picture"
    return _sum_fault(int(runs.sum()), height, width)


def _sum_fault(total: int, height: int, width: int) -> str:
    return f"the runs sum to {total} pixels, expected {height * width} ({height} x {width})"


def _size_fault(height: int, width: int) -> str | None:
    if height < 1 or width < 1:
        return f"expected a height and width of at least 1, got {height} x {width}"
    if height * width > MAX_PIXELS:
        return f"a mask of {height} x {width} is larger than the {MAX_PIXELS} pixels that are supported"
    return None


def _chunks(counts: Sequence[bytes | str]) -> Iterator[tuple[int, Sequence[bytes | str]]]:
    """(first position, texts) of about _CHUNK characters each."""
    first, size = 0, 0
    for i, text in enumerate(counts):
        size += len(text)
        if size > _CHUNK:
            if i > first:
                yield first, counts[first:i]
            first, size = i, len(text)
    if first < len(counts):
        yield first, counts[first:]


def _check_chunk(
    texts: Sequence[bytes | str], sizes: np.ndarray, areas: np.ndarray, faults: dict[int, str], first: int
) -> None:
    """Fill `areas` and add to `faults` (under `first` + place in the chunk)."""
    data = [t.encode("utf-8", "replace") if isinstance(t, str) else t for t in texts]
    lengths = np.fromiter(map(len, data), np.int64, len(data))
    bad = _odd_sizes(sizes) | (lengths == 0)
    if bad.any():
        data = [b"0" if b else t for t, b in zip(data, bad, strict=True)]
        lengths[bad] = 1
    starts = np.concatenate([[0], np.cumsum(lengths)])
    runs = _decode(np.frombuffer(b"".join(data), np.uint8) - np.uint8(48), starts)
    totals, areas[:], negative = _sums(runs)
    bad |= runs.malformed | negative | (totals != sizes[:, 0] * sizes[:, 1])
    for i in _places(bad):
        fault, areas[i] = _explain(texts[i], int(sizes[i, 0]), int(sizes[i, 1]))
        if fault:
            faults[first + i] = fault


class _Runs(NamedTuple):
    """deltas: int32, the written numbers of all texts in a row. starts: (N + 1,), where each text's begin."""

    deltas: np.ndarray
    starts: np.ndarray
    malformed: np.ndarray


def _decode(characters: np.ndarray, starts: np.ndarray) -> _Runs:
    """characters: uint8, codes less 48, N texts in a row, none empty. starts: (N + 1,) character positions."""
    goes_on = characters >= 32
    malformed = goes_on[starts[1:] - 1]
    goes_on[starts[1:] - 1] = False
    if characters.max() > 63:
        _mark(malformed, starts, characters > 63)
    more = np.flatnonzero(goes_on)
    np.logical_not(goes_on, out=goes_on)
    last_groups = characters[goes_on]
    last_groups &= 31
    last_groups ^= 16
    deltas = last_groups.astype(np.int32)
    deltas -= 16
    run_starts = starts - np.searchsorted(more, starts)
    _join_groups(deltas, characters, more)
    if max(deltas.max(), -deltas.min()) > MAX_PIXELS:
        huge = np.abs(deltas) > MAX_PIXELS
        _mark(malformed, run_starts, huge)
        deltas[huge] = 0
    return _Runs(deltas, run_starts, malformed)


def _mark(texts: np.ndarray, starts: np.ndarray, which: np.ndarray) -> None:
    """Set `texts` where one of the text's elements is in `which`."""
    texts[np.searchsorted(starts, np.flatnonzero(which), "right") - 1] = True


def _join_groups(deltas: np.ndarray, characters: np.ndarray, more: np.ndarray) -> None:
    """Add to each number, which holds its last group so far, the groups before. more: positions of those."""
    if len(more) == 0:
        return
    owner = more - np.arange(len(more))
    firsts = np.concatenate([[0], np.flatnonzero(owner[1:] != owner[:-1]) + 1])
    groups = np.diff(firsts, append=len(more))
    owner, last = owner[firsts], more[firsts] + groups
    numbers = deltas[owner].astype(np.int64)
    rows = np.arange(len(owner))
    for back in range(1, min(int(groups.max()), _MAX_GROUPS) + 1):
        rows = rows[groups[rows] >= back]
        numbers[rows] = numbers[rows] * 32 + (characters[last[rows] - back] & np.uint8(31))
    numbers[groups >= _MAX_GROUPS] = _TOO_LONG
    deltas[owner] = np.clip(numbers, -_TOO_LONG, _TOO_LONG)


def _sums(runs: _Runs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each of N texts: the sum of all runs, the sum of every second run, and whether any run is negative.

    Differences are to the run two places before: two interleaved chains, summed up over the whole chunk. A text's
    own runs are those sums less what stood before it began, which need not be taken from each of them.

    The sums may overflow their 32 bits, and hide nothing: no number exceeds 2**28, so that from one run to the next
    none but an overflow changes more than that. Where all runs of a text seem to lie between 0 and their total, a
    picture's 2**28 pixels at most, there was no overflow; elsewhere the text is looked at again in exact numbers.
    """
    even, odd = _Chain.of(runs.deltas[0::2]), _Chain.of(runs.deltas[1::2])
    sum_e, before_e, first_e, count_e, low_e = even.per_text((runs.starts + 1) // 2)
    sum_o, before_o, first_o, count_o, low_o = odd.per_text(runs.starts // 2)
    at_even = runs.starts[:-1] % 2 == 0
    first_run = np.where(at_even, first_e - before_e, first_o - before_o)
    base_e = np.where(at_even, first_e, before_e)
    base_o = np.where(at_even, before_o, first_o)
    own_e, own_o = sum_e - count_e * base_e, sum_o - count_o * base_o
    negative = (first_run < 0) | ((count_e > 0) & (low_e < base_e)) | ((count_o > 0) & (low_o < base_o))
    return own_e + own_o + first_run, np.where(at_even, own_o, own_e), negative


class _Chain(NamedTuple):
    """sums: int32, the running sum of every second number of a chunk, a 0 before and _END after."""

    sums: np.ndarray

    @classmethod
    def of(cls, deltas: np.ndarray) -> "_Chain":
        sums = np.empty(len(deltas) + 2, np.int32)
        sums[0], sums[-1] = 0, _END
        np.cumsum(deltas, out=sums[1:-1])
        return cls(sums)

    def per_text(self, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Sum of the running sums, the one before the text, its first, their number and the lowest; each (N,)."""
        count = np.diff(starts)
        begins = starts[:-1] + 1
        total = np.add.reduceat(self.sums, begins, dtype=np.int64)
        total[-1] -= _END
        total[count == 0] = 0
        low = np.minimum.reduceat(self.sums, begins)
        return total, self.sums[begins - 1].astype(np.int64), self.sums[begins].astype(np.int64), count, low


def _explain(text: bytes | str, height: int, width: int) -> tuple[str | None, int]:
    """(what is wrong with one text or None, area), run by run in exact numbers."""
    fault = _size_fault(height, width)
    if fault or not text:
        return fault or _NO_RUNS, 0
    runs: list[int] = []
    number = groups = 0
    for place, character in enumerate(text if isinstance(text, bytes) else text.encode("utf-8", "replace")):
        group = character - 48
        if not 0 <= group < 64:
            return f"character {place} ({chr(character)!r}) cannot stand in run-length text", 0
        number |= (group & 31) << 5 * groups
        groups += 1
        if groups > _MAX_GROUPS:
            return f"the run at character {place} goes on for more than {_MAX_GROUPS} characters", 0
        if group & 32:
            continue
        number -= 1 << 5 * groups if group & 16 else 0
        runs.append(number + (runs[-2] if len(runs) > 2 else 0))
        number = groups = 0
    if groups:
        return "the text breaks off within a run", 0
    negative = next((run for run in runs if run < 0), None)
    if negative is not None:
        return f"a run is negative ({negative})", 0
    if sum(runs) != height * width:
        return _sum_fault(sum(runs), height, width), 0
    return None, sum(runs[1::2])
