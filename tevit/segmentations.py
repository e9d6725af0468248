"""The `segmentations` of YouTube-VIS JSON, one entry a frame, as checked RLE: a whole video's tracks in one go.

Three forms occur: COCO's compressed text, plain run lengths, polygons. What is between them and the masks is done for
all masks of a video at once, because a data set has a hundred thousand of them.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from operator import add
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np

from tevit import masks
from tevit.runs import MAX_PIXELS, Checked, check_counts, check_runs
from tevit.tracks import RLE


class TrackMasks(NamedTuple):
    """One track's masks as the file has them.

    rles: T masks, None for null (a mask of no pixel stays one). areas: float64 (T,), the masks' own pixels.
    """

    rles: list[RLE | None]
    areas: np.ndarray


class Fault(NamedTuple):
    """What is wrong with one frame of one track; frame None: with the whole track. Positions count from 0."""

    track: int
    frame: int | None
    text: str


Side = Annotated[int, msgspec.Meta(ge=1, le=MAX_PIXELS)]
"""Height or width of a mask, pixels."""


class _Segment(msgspec.Struct):
    size: tuple[Side, Side]
    counts: msgspec.Raw


class _Counts(NamedTuple):
    """Masks of one track and one size, not checked yet: their frames, and their compressed texts or plain runs."""

    track: int
    size: tuple[int, int]
    frames: list[int]
    counts: list[bytes]


class _Batch(NamedTuple):
    """What waits until a whole video is together, so that it is checked and compressed in one go."""

    tracks: list[TrackMasks]
    texts: list[_Counts]
    runs: list[_Counts]
    faults: list[Fault]


_FRAMES = msgspec.json.Decoder(list[_Segment | list[Any] | None])
_TEXT = msgspec.json.Decoder(str)
_PLAIN = b"0123456789, \t\r\n"
_HEAD = re.compile(rb'\{\s*"size"\s*:\s*\[\s*(\d{1,9})\s*,\s*(\d{1,9})\s*\]\s*,\s*"counts"\s*:\s*"')
_BEFORE, _BETWEEN, _AFTER = re.compile(rb"\[(null,)*"), re.compile(rb"\},(null,)*"), re.compile(rb"\}(,null)*\]")


def read(raws: Sequence[bytes | msgspec.Raw], size_hw: Sequence[int] | None) -> tuple[list[TrackMasks], list[Fault]]:
    """The masks of N tracks from the JSON of their `segmentations`, and every fault; faulty frames are None.

    size_hw: the video's height and width, for polygons, which do not say it; None: polygons are a fault. A mask's own
    size is not compared with it.
    """
    batch = _Batch([], [], [], [])
    for track, raw in enumerate(raws):
        json = bytes(raw)
        batch.tracks.append(_read_texts(json, track, batch) or _read_track(json, track, size_hw, batch))
    _finish_texts(batch)
    _finish_runs(batch)
    return batch.tracks, sorted(batch.faults, key=lambda fault: (fault.track, fault.frame or 0))


def forms(raw: bytes | msgspec.Raw) -> list[str]:
    """What each frame of one track is: "null", "text", "runs" (plain), "polygons" or "strange"."""
    try:
        return [_form(frame) for frame in _FRAMES.decode(raw)]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ["strange"] * len(msgspec.json.decode(raw, type=list))


def _form(frame: _Segment | list | None) -> str:
    if frame is None:
        return "null"
    if isinstance(frame, list):
        return "polygons"
    return {b'"': "text", b"[": "runs"}.get(bytes(frame.counts)[:1], "strange")


class Texts(NamedTuple):
    """One track's compressed masks, not checked yet: of one size (height, width), in `frames` of its `length`."""

    size: tuple[int, int]
    length: int
    frames: list[int]
    counts: list[bytes]


def read_texts(json: bytes) -> Texts | None:
    """The usual case of results, by far the fastest: objects of size and compressed text, of one size, and nulls.

    Such JSON repeats itself between its texts; whatever does not is None here and left to the JSON reader.
    """
    head = _HEAD.search(json)
    if head is None:
        return None
    pieces = json.split(b"\\")  # to search for one character is by far the quickest
    if any(pieces[1::2]) or not len(pieces) & 1:  # an escape but the backslash's own
        return None
    pieces = b"\\".join(pieces[::2]).split(head[0])
    parts = b'"'.join(pieces).split(b'"')
    counts, nulls = parts[1::2], _nulls(parts[0::2])
    if nulls is None or len(parts) != 2 * len(pieces) - 1:  # what is not such a head has quotation marks of its own
        return None
    frames = list(map(add, accumulate(nulls[:-1]), range(len(counts))))
    return Texts((int(head[1]), int(head[2])), len(counts) + sum(nulls), frames, counts)


def _read_texts(json: bytes, track: int, batch: _Batch) -> TrackMasks | None:
    found = read_texts(json)
    if found is None:
        return None
    batch.texts.append(_Counts(track, found.size, found.frames, found.counts))
    return TrackMasks([None] * found.length, np.zeros(found.length))


def _nulls(gaps: list[bytes]) -> list[int] | None:
    """How many nulls stand before, between and after objects; None where anything else does."""
    between = {gap: _count(_BETWEEN, gap) for gap in set(gaps[1:-1])}
    found = [_count(_BEFORE, gaps[0]), *map(between.__getitem__, gaps[1:-1]), _count(_AFTER, gaps[-1])]
    return None if -1 in found else found


@lru_cache(maxsize=256)
def _count(form: re.Pattern[bytes], gap: bytes) -> int:
    return gap.count(b"null") if form.fullmatch(b"".join(gap.split())) else -1


def _read_track(json: bytes, track: int, size_hw: Sequence[int] | None, batch: _Batch) -> TrackMasks:
    try:
        frames = _FRAMES.decode(json)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _read_strange(json, track, size_hw, batch)
    result = TrackMasks([None] * len(frames), np.zeros(len(frames)))
    texts: dict[tuple[int, int], _Counts] = {}
    runs: dict[tuple[int, int], _Counts] = {}
    for frame, segment in enumerate(frames):
        if isinstance(segment, _Segment):
            counts = bytes(segment.counts)
            if text := counts[:1] == b'"':
                counts = _TEXT.decode(counts).encode()
            group = (texts if text else runs).setdefault(segment.size, _Counts(track, segment.size, [], []))
            group.frames.append(frame)
            group.counts.append(counts)
        elif segment is not None:
            _read_one(segment, size_hw, Fault(track, frame, ""), result, batch)
    batch.texts.extend(texts.values())
    batch.runs.extend(runs.values())
    return result


def _read_strange(json: bytes, track: int, size_hw: Sequence[int] | None, batch: _Batch) -> TrackMasks:
    """Frame by frame, to say which frames are wrong and keep the others."""
    try:
        frames = msgspec.json.decode(json, type=list)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = json[:40].decode("utf-8", "replace")
        batch.faults.append(Fault(track, None, f"expected a list of segmentations, got {found}"))
        return TrackMasks([], np.zeros(0))
    result = TrackMasks([None] * len(frames), np.zeros(len(frames)))
    for frame, segment in enumerate(frames):
        _read_one(segment, size_hw, Fault(track, frame, ""), result, batch)
    return result


def _read_one(segment: object, size_hw: Sequence[int] | None, where: Fault, result: TrackMasks, batch: _Batch) -> None:
    frame = where.frame or 0
    try:
        result.rles[frame] = masks.parse(segment, size_hw)
    except ValueError as error:
        batch.faults.append(where._replace(text=str(error)))
    result.areas[frame] = masks.areas([result.rles[frame]])[0]


def _finish_texts(batch: _Batch) -> None:
    texts = [text for group in batch.texts for text in group.counts]
    checked = check_counts(texts, _sizes(batch.texts))
    _keep(batch, batch.texts, texts, checked)


def _finish_runs(batch: _Batch) -> None:
    inside = [counts[1:-1] for group in batch.runs for counts in group.counts]
    together = b",".join(inside)
    if together.translate(None, _PLAIN) or not all(counts.strip() for counts in inside):
        _read_each(batch)
        return
    lengths = np.array([counts.count(b",") + 1 for counts in inside], int)
    runs = np.fromstring(together, np.int64, sep=",") if inside else np.zeros(0, np.int64)
    sizes = _sizes(batch.runs)
    checked = check_runs(runs, lengths, sizes)
    _keep(batch, batch.runs, masks.compress(runs, lengths, sizes, checked), checked)


def _read_each(batch: _Batch) -> None:
    """Runs of which some are not plain lists of digits, mask by mask."""
    for group in batch.runs:
        for frame, counts in zip(group.frames, group.counts, strict=True):
            segment = {"size": group.size, "counts": msgspec.json.decode(counts)}
            _read_one(segment, None, Fault(group.track, frame, ""), batch.tracks[group.track], batch)


def _sizes(groups: list[_Counts]) -> np.ndarray:
    """int64 (N, 2): the size of every mask of the groups."""
    sizes = np.array([group.size for group in groups], np.int64).reshape(-1, 2)
    return np.repeat(sizes, [len(group.frames) for group in groups], axis=0)


def _keep(batch: _Batch, groups: list[_Counts], texts: list[bytes], checked: Checked) -> None:
    """Hand the checked masks to their tracks. texts: of all groups, in their order."""
    start = 0
    for group in groups:
        rles, areas = batch.tracks[group.track]
        end = start + len(group.frames)
        areas[group.frames] = checked.areas[start:end]
        size = list(group.size)
        for frame, text in zip(group.frames, texts[start:end], strict=True):
            rles[frame] = {"size": size, "counts": text}
        for i in checked.faults.keys() & range(start, end) if checked.faults else ():
            rles[group.frames[i - start]] = None
            batch.faults.append(Fault(group.track, group.frames[i - start], checked.faults[i]))
        start = end
