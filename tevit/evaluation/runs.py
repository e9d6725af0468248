"""Run-length masks by the thousand: decoded and checked in one go.

A mask of h x w pixels is, column by column, a list of runs that starts with background. Here a mask is rows of two
runs, background then foreground, the last one padded with a run of 0 where it must be. Nothing is handed to a C
library, so nothing needs to be trusted.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

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
    """N checked masks.

    lengths: int64 (R, 2), pixels: a background run and the foreground run after it. first: int64 (N + 1,): mask i has
    the rows first[i] to first[i + 1]. areas: int64 (N,), pixels.
    """

    lengths: np.ndarray
    first: np.ndarray
    areas: np.ndarray


def from_texts(texts: Sequence[str], pixels: np.ndarray) -> Runs:
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


def from_lists(lists: Sequence[list[int]], pixels: np.ndarray) -> Runs:
    """Take plain run lengths: N lists, N > 0. pixels: int64 (N,).

    Raises: BadRunsError as `from_texts`.
    """
    counts = np.fromiter(map(len, lists), np.int64, len(lists))
    _refuse(counts == 0, "there are no run lengths")
    try:  # three times as fast as numpy's own way with lists
        packed = struct.pack(f"{counts.sum()}q", *chain.from_iterable(lists))
    except struct.error:
        longest = np.array([max(map(abs, item)) >> 62 for item in lists], object)
        raise BadRunsError(int(np.argmax(longest)), "a run length exceeds the picture") from None
    values = np.frombuffer(packed, np.int64)
    values = np.insert(values, np.cumsum(counts)[counts & 1 == 1], 0)
    return _checked(values.reshape(-1, 2), _first_rows(counts), pixels)


def _refuse(bad: np.ndarray, reason: str) -> None:
    if bad.any():
        raise BadRunsError(int(np.argmax(bad)), reason)


def _characters(texts: Sequence[str], stops: np.ndarray) -> np.ndarray:
    """The texts in a row as uint8 0..63, a 0 after each."""
    try:
        joined = "0".join([*texts, ""]).encode("ascii")
    except UnicodeEncodeError:
        _refuse(np.array([not text.isascii() for text in texts]), _STRANGE)
        raise
    characters = np.frombuffer(joined, np.uint8) - np.uint8(48)
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
