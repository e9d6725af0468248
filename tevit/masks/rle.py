"""COCO run-length encoding: one vectorised decoder that checks thousands of masks at once, and the encoder.

A mask of h x w pixels is, column by column, a list of runs that starts with background. COCO's text writes each run in
groups of five bits, lowest first, one character (code 48 + group, plus 32 if another follows) per group; the last
group is signed. From the fourth run on, the number is the difference to the run two places before. COCO's C library
does not validate the text: malformed runs make it read and write out of bounds. So it gets only runs checked here.
"""

import re
import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as typed_coco

coco: Any = typed_coco  # its type stubs only allow calls with a single mask

MAX_PIXELS = 1 << 28
_CHUNK = 1 << 17  # characters decoded at once: every array of a chunk fits into the processor's cache
_MAX_CHARACTERS = 7  # of one number: 35 bits hold a run of any mask that fits in memory
_TOO_LONG = -1 << 40  # replaces a longer number, -2^30 in 32 bits: negative, so no sum of valid numbers makes it a run
TEXT_END, LIST_END = b"\n", b",-1,"
"""What joins COCO's texts, and JSON lists without their brackets, into one: neither occurs in them."""
_OVERLONG = re.compile(rb"[P-o]{%d}" % _MAX_CHARACTERS)


class RleError(ValueError):
    """Run lengths that do not describe a mask.

    index: position of the mask. reason: the fault. detail: the fault with its place in the text or the value.
    total: pixels of all its runs where that is the fault, else None.
    """

    def __init__(self, index: int, reason: str, detail: str, total: int | None = None):
        super().__init__(f"mask {index}: {reason}")
        self.index = index
        self.reason = reason
        self.detail = detail
        self.total = total


class Runs(NamedTuple):
    """N checked masks, each as rows of two runs; the last row is padded with a run of 0 if needed.

    lengths: int32 or int64 (R, 2), pixels: a background run and the foreground run after it. first: int64 (N + 1,):
    mask i has the rows first[i] to first[i + 1]. areas: int64 (N,), pixels.
    """

    lengths: np.ndarray
    first: np.ndarray
    areas: np.ndarray


class Checked(NamedTuple):
    """areas: float64 (N,), pixels of each mask, 0 if faulty. faults: position -> message."""

    areas: np.ndarray
    faults: dict[int, str]


def decode_texts(texts: bytes | Sequence[bytes], pixels: np.ndarray) -> Runs:
    """Decode COCO's compressed text.

    texts: N of them, N > 0, or with TEXT_END between them in one. pixels: int64 (N,), height * width of each.
    Raises: RleError where a text is malformed or its runs do not sum to that many pixels.
    Source: pycocotools, maskApi.c, rleFrString.
    """
    if not isinstance(texts, bytes):
        if TEXT_END in b"".join(texts):
            index = next(i for i, text in enumerate(texts) if TEXT_END in text)
            raise _outside(index, texts[index])
        texts = TEXT_END.join(texts)
    if pixels.max() <= MAX_PIXELS:
        try:
            # Exact: before a first wrong run, sums are at most MAX_PIXELS, and numbers less than 2^30 + 1.
            return _decode_texts(texts, pixels, np.dtype(np.int32))
        except RleError:
            pass  # raised again with the exact numbers
    try:
        return _decode_texts(texts, pixels, np.dtype(np.int64))
    except RleError as error:
        if overlong := _OVERLONG.search(texts.split(TEXT_END)[error.index]):
            place = overlong.start() + _MAX_CHARACTERS
            error.total = None
            error.detail = f"the run at character {place} goes on for more than {_MAX_CHARACTERS} characters"
        raise


def _decode_texts(joined: bytes, pixels: np.ndarray, dtype: np.dtype) -> Runs:
    """dtype: of the run lengths."""
    characters, stops = _characters(joined, len(pixels))
    # The zero that follows each text is kept, as padding, where the text has an odd number of runs.
    more = np.flatnonzero(characters > 31)
    continued = np.diff(np.searchsorted(more, stops), prepend=0)
    counts = np.diff(stops, prepend=-1) - 1 - continued
    keep = characters < 32
    keep[stops] = counts & 1
    values = ((characters[keep].view(np.int8) ^ 16) - 16).astype(dtype)
    even = 1 - (counts & 1)
    zeros_dropped = np.repeat(np.cumsum(even) - even, continued)
    _add_lower_groups(values, characters, more, more - np.arange(len(more)) - zeros_dropped)
    lengths, first = values.reshape(-1, 2), _first_rows(counts)
    # From differences to run lengths, in place: both columns are summed up, restarting at each mask.
    second = first[:-1][counts > 2]
    lengths[second + 1, 0] -= lengths[second, 0]  # the third number is absolute
    np.cumsum(lengths, axis=0, dtype=dtype, out=lengths)
    before = lengths[first[1:-1] - 1]
    lengths[first[1] :] -= np.repeat(before, np.diff(first[1:]), axis=0)
    lengths[first[1:][counts & 1 == 1] - 1, 1] = 0
    return _checked(lengths, first, pixels)


def _characters(joined: bytes, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The texts as uint8 0..63, each followed by a 0, and the positions of these zeros. count: of the texts."""
    characters = np.frombuffer(joined + TEXT_END, np.uint8) - np.uint8(48)
    stops = np.flatnonzero(characters == (TEXT_END[0] - 48) % 256)
    if len(stops) != count:
        raise ValueError(f"expected {count} run-length texts, got {len(stops)}")
    _refuse_empty(np.diff(stops, prepend=-1) - 1)
    characters[stops] = 0
    if characters.max() > 63:
        index = int(np.searchsorted(stops, np.argmax(characters > 63)))
        raise _outside(index, joined.split(TEXT_END)[index])
    unterminated = characters[stops - 1] > 31
    if unterminated.any():
        index = int(np.argmax(unterminated))
        raise RleError(index, "the text ends inside a number", "the text breaks off within a run")
    return characters, stops


def _outside(index: int, text: bytes) -> RleError:
    """A text with a character that is none of COCO's."""
    place, code = next((i, code) for i, code in enumerate(text) if not 48 <= code < 112)
    detail = f"character {place} ({chr(code)!r}) cannot stand in run-length text"
    return RleError(index, "a character is outside '0' to 'o'", detail)


def _add_lower_groups(values: np.ndarray, characters: np.ndarray, more: np.ndarray, owner: np.ndarray) -> None:
    """Complete, in place, numbers of several characters, of which `values` has the last group.

    more: positions of the characters that another one follows. owner: index of the number each belongs to.
    """
    start = np.flatnonzero(np.diff(owner, prepend=-1))
    size = np.diff(start, append=len(owner))
    last, owner = more[start] + size, owner[start]
    for back in range(1, int(size.max(initial=0)) + 1):
        if back > 1:
            longer = size >= back
            last, owner, size = last[longer], owner[longer], size[longer]
        if back >= _MAX_CHARACTERS:
            values[owner] = max(_TOO_LONG, -1 << (values.itemsize * 8 - 2))
        else:
            values[owner] = values[owner] * 32 + (characters[last - back] & 31)


def decode_lists(lists: Sequence[list[int] | np.ndarray], pixels: np.ndarray) -> Runs:
    """Take plain run lengths: N lists or int64 arrays, N > 0. pixels: int64 (N,).

    Raises: RleError as `decode_texts`.
    """
    arrays = []
    for i, item in enumerate(lists):
        try:  # struct is three times as fast as np.array for lists
            array = (
                item if isinstance(item, np.ndarray) else np.frombuffer(struct.pack(f"{len(item)}q", *item), np.int64)
            )
        except struct.error:
            raise RleError(i, "a run length exceeds the picture", "a run is longer than any picture") from None
        arrays.append(array)
    return decode_runs(np.concatenate(arrays), np.fromiter(map(len, lists), np.int64, len(lists)), pixels)


def decode_runs(values: np.ndarray, counts: np.ndarray, pixels: np.ndarray) -> Runs:
    """Take the plain run lengths of N > 0 masks, one mask after another.

    values: int64, all runs. counts: int64 (N,), runs of each mask. pixels: int64 (N,).
    Raises: RleError as `decode_texts`.
    """
    _refuse_empty(counts)
    values = np.insert(values, np.cumsum(counts)[counts & 1 == 1], 0)
    return _checked(values.reshape(-1, 2), _first_rows(counts), pixels)


def decode_joined(lists: bytes, pixels: np.ndarray) -> Runs:
    """Take plain run lengths as of `parse_numbers`, N > 0 lists with LIST_END between them. pixels: int64 (N,).

    Raises: RleError as `decode_texts`.
    """
    values = np.fromstring(lists + LIST_END[:-1], np.int64, sep=",")
    stops = np.flatnonzero(values == -1)
    counts = np.diff(stops, prepend=-1) - 1
    _refuse_empty(counts)
    keep = np.ones(len(values), bool)
    keep[stops] = counts & 1  # as padding where the number of runs is odd
    values[stops] = 0
    return _checked(values[keep].reshape(-1, 2), _first_rows(counts), pixels)


def parse_numbers(texts: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """All numbers of JSON lists without their brackets, int64, and how many each text has, int64 (N,).

    texts: one or more whole numbers each, separated by commas and white space, and nothing else. A number that exceeds
    64 bits becomes 2^63 - 1.
    """
    counts = np.fromiter((text.count(b",") + 1 for text in texts), np.int64, len(texts))
    return np.fromstring(b",".join(texts), np.int64, sep=",") if texts else np.zeros(0, np.int64), counts


def _refuse_empty(counts: np.ndarray) -> None:
    if not counts.all():
        raise RleError(int(np.argmin(counts)), "there are no run lengths", "there are no runs")


def _first_rows(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum((counts + 1) // 2)])


def _checked(lengths: np.ndarray, first: np.ndarray, pixels: np.ndarray) -> Runs:
    limit = pixels.max()
    if lengths.min() < 0 or lengths.max() > limit:  # before the sums, which might overflow
        negative = bool(lengths.min() < 0)
        rows = ((lengths < 0) if negative else (lengths > limit)).any(axis=1)
        index = int(np.searchsorted(first, np.argmax(rows), side="right")) - 1
        runs = lengths[first[index] : first[index + 1]].ravel()
        if negative:
            raise RleError(index, "a run length is negative", f"a run is negative ({runs[runs < 0][0]})")
        total = None if runs.max() > MAX_PIXELS else int(runs.sum())
        raise RleError(index, "a run length exceeds the picture", "a run is longer than any picture", total)
    # numpy converts 32 bits while it adds only slowly; all of a mask's runs may need more.
    fits = 2 * int(np.diff(first).max()) * int(lengths.max()) < 1 << 31
    lengths_64 = lengths if fits else lengths.astype(np.int64)
    totals = np.add.reduceat(lengths_64, first[:-1], axis=0, dtype=lengths_64.dtype).astype(np.int64)
    sums = totals.sum(axis=1)
    if (sums != pixels).any():
        index = int(np.argmax(sums != pixels))
        reason = f"the run lengths sum to {sums[index]}, expected {pixels[index]} pixels"
        raise RleError(index, reason, reason, int(sums[index]))
    return Runs(lengths, first, totals[:, 1])


def check_texts(texts: Sequence[bytes | str], sizes_hw: Sequence[Sequence[int]] | np.ndarray) -> Checked:
    """Check the compressed texts of N masks without decoding them to pixels.

    sizes_hw: (N, 2) heights and widths, pixels. The texts are decoded in chunks, so memory is bounded.
    """
    sizes = np.asarray(sizes_hw, np.int64).reshape(-1, 2)
    if len(sizes) != len(texts):
        raise ValueError(f"expected a size for each of {len(texts)} masks, got {len(sizes)}")
    areas, faults = np.zeros(len(texts)), dict[int, str]()
    ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)))
    first = 0
    while first < len(texts):
        before = ends[first - 1] if first else 0
        last = max(int(np.searchsorted(ends, before + _CHUNK, side="right")), first + 1)
        data = [text.encode("utf-8", "replace") if isinstance(text, str) else text for text in texts[first:last]]
        checked = _check(data, sizes[first:last], lambda pixels, data=data: decode_texts(data, pixels), decode_texts)
        areas[first:last] = checked.areas
        faults |= {first + i: fault for i, fault in checked.faults.items()}
        first = last
    return Checked(areas, faults)


def check_runs(values: np.ndarray, counts: np.ndarray, sizes_hw: np.ndarray) -> Checked:
    """Check the plain run lengths of N masks, as `decode_runs` takes them. sizes_hw: (N, 2), pixels."""
    if len(counts) == 0:
        return Checked(np.zeros(0), {})
    sizes = np.asarray(sizes_hw, np.int64).reshape(-1, 2)
    lists = np.split(values, np.cumsum(counts)[:-1])
    return _check(lists, sizes, lambda pixels: decode_runs(values, counts, pixels), decode_lists)


def _check(
    items: Sequence[Any], sizes: np.ndarray, decode_all: Callable[[np.ndarray], Runs], decode: Callable[..., Runs]
) -> Checked:
    """Decode all masks at once or, where that fails, one by one. sizes: int64 (N, 2)."""
    wrong_size = (sizes < 1).any(1) | (sizes > MAX_PIXELS).any(1) | (sizes[:, 0] * sizes[:, 1] > MAX_PIXELS)
    if not wrong_size.any():
        try:
            return Checked(decode_all(sizes[:, 0] * sizes[:, 1]).areas.astype(float), {})
        except RleError:
            pass
    areas, faults = np.zeros(len(items)), dict[int, str]()
    for i, (item, (height, width)) in enumerate(zip(items, sizes.tolist(), strict=True)):
        if height < 1 or width < 1:
            faults[i] = f"expected a height and width of at least 1, got {height} x {width}"
        elif height * width > MAX_PIXELS:
            faults[i] = f"a mask of {height} x {width} is larger than the {MAX_PIXELS} pixels that are supported"
        else:
            try:
                areas[i] = decode([item], np.array([height * width])).areas[0]
            except RleError as error:
                expected = f"{height * width} ({height} x {width})"
                is_sum = error.total is not None
                faults[i] = f"the runs sum to {error.total} pixels, expected {expected}" if is_sum else error.detail
    return Checked(areas, faults)


def encode_runs(values: np.ndarray, counts: np.ndarray, sizes_hw: np.ndarray, checked: Checked) -> list[bytes]:
    """COCO's texts of N masks given as run lengths, as `check_runs` takes them; "" for faulty ones.

    checked: the result of `check_runs` for them.
    """
    lists = np.split(values.astype(np.uint32), np.cumsum(counts)[:-1])
    valid = [i for i in range(len(counts)) if i not in checked.faults]
    plain = [{"size": size, "counts": lists[i]} for i, size in zip(valid, sizes_hw[valid].tolist(), strict=True)]
    texts = [b""] * len(counts)
    for i, rle in zip(valid, coco.frPyObjects(plain, 0, 0) if plain else (), strict=True):
        texts[i] = rle["counts"]
    return texts
