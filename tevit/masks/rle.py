"""Run-length masks by the thousand: decoded, and checked before COCO's C library sees any.

A mask of h x w pixels is, column by column, a list of runs that starts with background. COCO's text writes a run in
groups of five bits, lowest first, one character (code 48 + group, 32 added where the run goes on) a group, the last
group signed; from the fourth run on it is the difference to the run two places before. The C library trusts the text:
a run that goes on past the end, or runs that do not fill the picture, make it read and write out of bounds. Nothing
here is handed to a C library.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

MAX_PIXELS = 1 << 28
_CHUNK = 1 << 17  # characters at a time: every array of a chunk stays in the processor's cache
_NO_RUNS = "there are no runs"
_MOST_CHARACTERS = 7  # of one number of the compressed text: 35 bits hold a run of any mask that fits in memory
_TOO_LONG = -1 << 40  # in place of a number that is longer than that: no run of a mask, however they add up
_STRANGE = "a character is outside '0' to 'o'"


class BadRunsError(ValueError):
    """Run lengths that are no mask. `index`: which of the masks given; `reason`: what is wrong, in words."""

    def __init__(self, index: int, reason: str):
        super().__init__(f"mask {index}: {reason}")
        self.index = index
        self.reason = reason


@dataclass(frozen=True, eq=False)
class Runs:
    """N checked masks, each as rows of two runs, the last one padded with a run of 0 where it must be.

    lengths: int64 (R, 2), pixels: a background run and the foreground run after it. first: int64 (N + 1,): mask i has
    the rows first[i] to first[i + 1]. areas: int64 (N,), pixels.
    """

    lengths: np.ndarray
    first: np.ndarray
    areas: np.ndarray


def from_texts(texts: Sequence[bytes], pixels: np.ndarray) -> Runs:
    """Decode COCO's compressed text.

    texts: N of them, N > 0. pixels: int64 (N,), height * width of each.
    Raises: BadRunsError where a text is not well formed or its runs do not make exactly that many pixels.
    Source: COCO's form: 5 bits a character, lowest first; from the fourth on a number is what the run has more than
    the last but one.
    """
    sizes = np.fromiter(map(len, texts), np.int64, len(texts))
    _refuse(sizes == 0, "there are no run lengths")
    # A zero goes after each text; it is kept, as padding, where the text has an odd number of runs.
    stops = np.cumsum(sizes + 1) - 1
    characters = _characters(texts, stops)
    more = np.flatnonzero(characters > 31)
    unfinished = np.diff(np.searchsorted(more, stops), prepend=0)
    counts = sizes - unfinished
    keep = characters < 32
    keep[stops] = counts & 1
    values = ((characters.view(np.int8) ^ 16) - 16)[keep].astype(np.int64)
    even = 1 - (counts & 1)
    zeros_dropped = np.repeat(np.cumsum(even) - even, unfinished)
    _lengthen(values, characters, more, more - np.arange(len(more)) - zeros_dropped)
    lengths, first = values.reshape(-1, 2), _first_rows(counts)
    _undo_differences(lengths, first, counts)
    return _checked(lengths, first, pixels)


def from_lists(lists: Sequence[list[int] | np.ndarray], pixels: np.ndarray) -> Runs:
    """Take plain run lengths: N lists or int64 arrays, N > 0. pixels: int64 (N,).

    Raises: BadRunsError as `from_texts`.
    """
    counts = np.fromiter(map(len, lists), np.int64, len(lists))
    return _from_numbers(np.concatenate([_array(i, item) for i, item in enumerate(lists)]), counts, pixels)


def from_digits(texts: Sequence[bytes], pixels: np.ndarray) -> Runs:
    """Take plain run lengths as JSON has them, see `numbers`: N texts, N > 0. pixels: int64 (N,).

    Raises: BadRunsError as `from_texts`.
    """
    return _from_numbers(*numbers(texts), pixels)


def numbers(texts: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """All numbers, int64, one text after the other, and how many each text has, int64 (N,).

    texts: one or more whole numbers each, with commas between; white space does not matter. Nothing else may be in
    them. A number too large for 64 bits is taken for 2^63 - 1.
    """
    counts = np.fromiter((text.count(b",") + 1 for text in texts), np.int64, len(texts))
    return np.fromstring(b",".join(texts), np.int64, sep=",") if texts else np.zeros(0, np.int64), counts


def _array(index: int, item: list[int] | np.ndarray) -> np.ndarray:
    if isinstance(item, np.ndarray):
        return item
    try:  # three times as fast as numpy's own way with lists
        return np.frombuffer(struct.pack(f"{len(item)}q", *item), np.int64)
    except struct.error:
        raise BadRunsError(index, "a run length exceeds the picture") from None


def _from_numbers(values: np.ndarray, counts: np.ndarray, pixels: np.ndarray) -> Runs:
    _refuse(counts == 0, "there are no run lengths")
    values = np.insert(values, np.cumsum(counts)[counts & 1 == 1], 0)
    return _checked(values.reshape(-1, 2), _first_rows(counts), pixels)


def _refuse(bad: np.ndarray, reason: str) -> None:
    if bad.any():
        raise BadRunsError(int(np.argmax(bad)), reason)


def _characters(texts: Sequence[bytes], stops: np.ndarray) -> np.ndarray:
    """The texts in a row as uint8 0..63, a 0 after each."""
    characters = np.frombuffer(b"0".join([*texts, b""]), np.uint8) - np.uint8(48)
    if characters.max() > 63:
        index = int(np.searchsorted(stops, np.argmax(characters > 63)))
        raise BadRunsError(index, _STRANGE)
    _refuse(characters[stops - 1] > 31, "the text ends inside a number")
    return characters


def _lengthen(values: np.ndarray, characters: np.ndarray, more: np.ndarray, owner: np.ndarray) -> None:
    """Complete the numbers of more than one character, of which `values` has the last.

    more: positions of the characters that a further one follows. owner: the number each belongs to.
    """
    start = np.flatnonzero(np.diff(owner, prepend=-1))
    size = np.diff(start, append=len(owner))
    last, owner = more[start] + size, owner[start]
    for back in range(1, int(size.max(initial=0)) + 1):
        if back > 1:
            here = size >= back
            last, owner, size = last[here], owner[here], size[here]
        if back >= _MOST_CHARACTERS:
            values[owner] = _TOO_LONG
        else:
            values[owner] = values[owner] * 32 + (characters[last - back] & 31)


def _first_rows(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum((counts + 1) // 2)])


def _undo_differences(lengths: np.ndarray, first: np.ndarray, counts: np.ndarray) -> None:
    """From what was written to run lengths, in place: either column is summed up, anew at each mask."""
    second = first[:-1][counts > 2]
    lengths[second + 1, 0] -= lengths[second, 0]  # the third number stands for itself
    lengths[first[1:-1]] -= np.add.reduceat(lengths, first[:-1], axis=0)[:-1]
    np.cumsum(lengths, axis=0, out=lengths)
    lengths[first[1:][counts & 1 == 1] - 1, 1] = 0


def _checked(lengths: np.ndarray, first: np.ndarray, pixels: np.ndarray) -> Runs:
    if lengths.min() < 0:
        raise BadRunsError(_mask_of(lengths < 0, first), "a run length is negative")
    if lengths.max() > pixels.max():  # looked at before the sums, which might overflow
        raise BadRunsError(_mask_of(lengths > pixels.max(), first), "a run length exceeds the picture")
    totals = np.add.reduceat(lengths, first[:-1], axis=0)
    sums = totals.sum(axis=1)
    if (sums != pixels).any():
        index = int(np.argmax(sums != pixels))
        raise BadRunsError(index, f"the run lengths sum to {sums[index]}, expected {pixels[index]} pixels")
    return Runs(lengths, first, totals[:, 1])


def _mask_of(bad: np.ndarray, first: np.ndarray) -> int:
    return int(np.searchsorted(first, np.argmax(bad.any(axis=1)), side="right")) - 1


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
    """Fill `areas` and add to `faults` (under `first` + place in the chunk): all at once, or where that fails each."""
    data = [text.encode("utf-8", "replace") if isinstance(text, str) else text for text in texts]
    if not _odd_sizes(sizes).any():
        try:
            areas[:] = from_texts(data, sizes[:, 0] * sizes[:, 1]).areas
            return
        except BadRunsError:
            pass
    for i, text in enumerate(data):
        fault, areas[i] = _explain(text, int(sizes[i, 0]), int(sizes[i, 1]))
        if fault:
            faults[first + i] = fault


def _explain(text: bytes, height: int, width: int) -> tuple[str | None, int]:
    """(what is wrong with one text or None, area), run by run in exact numbers."""
    fault = _size_fault(height, width)
    if fault or not text:
        return fault or _NO_RUNS, 0
    runs: list[int] = []
    number = groups = 0
    for place, character in enumerate(text):
        group = character - 48
        if not 0 <= group < 64:
            return f"character {place} ({chr(character)!r}) cannot stand in run-length text", 0
        number |= (group & 31) << 5 * groups
        groups += 1
        if groups > _MOST_CHARACTERS:
            return f"the run at character {place} goes on for more than {_MOST_CHARACTERS} characters", 0
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
