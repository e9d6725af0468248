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

from tevit.masks import ops as masks
from tevit.masks.rle import MAX_PIXELS, Checked, check_counts, check_runs, numbers
from tevit.results import RLE


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
    """Masks of one track and one size, not checked yet: their frames, and their texts or runs as `Texts` has them."""

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
_SIZE = rb'"size"\s*:\s*\[\s*(\d{1,9})\s*,\s*(\d{1,9})\s*\]\s*'
_HEAD = re.compile(rb"\{\s*" + _SIZE + rb',\s*"counts"\s*:\s*"')
_RUNS_HEAD = re.compile(rb"\{\s*(?:" + _SIZE + rb',\s*)?"counts"\s*:\s*\[')
_RUNS_TAIL = re.compile(rb"\]\s*,\s*" + _SIZE + rb"\}")
_BEFORE, _BETWEEN, _AFTER = re.compile(rb"\[(null,)*"), re.compile(rb"\},(null,)*"), re.compile(rb"\}(,null)*\]")


def read(raws: Sequence[bytes | msgspec.Raw], size_hw: Sequence[int] | None) -> tuple[list[TrackMasks], list[Fault]]:
    """The masks of N tracks from the JSON of their `segmentations`, and every fault; faulty frames are None.

    size_hw: the video's height and width, for polygons, which do not say it; None: polygons are a fault. A mask's own
    size is not compared with it.
    """
    batch = _Batch([], [], [], [])
    for track, raw in enumerate(raws):
        json = bytes(raw)
        batch.tracks.append(_read_quick(json, track, batch) or _read_track(json, track, size_hw, batch))
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
    """One track's masks, not checked yet: of one size (height, width), in `frames` of its `length`.

    counts: the compressed texts, or what stands between the brackets of plain runs.
    """

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
    return _texts((int(head[1]), int(head[2])), nulls, counts)


def read_runs(json: bytes) -> Texts | None:
    """The usual case of ground truth: objects of one size and plain runs, in either order, and nulls. Else None.

    The runs are whole numbers, for `runs.from_digits`.
    """
    head = _RUNS_HEAD.search(json)
    size = _RUNS_TAIL.search(json) if head and head[1] is None else head
    if head is None or size is None:
        return None
    tails = [] if size is head else json.split(size[0])
    pieces = (b"]}".join(tails) or json).split(head[0])
    if tails and len(tails) != len(pieces):  # one without its size
        return None
    *parts, end = b"]".join(pieces).split(b"]")
    counts, gaps = parts[1::2], parts[0::2]
    if len(parts) != 2 * len(pieces) - 1 or end.strip():  # what is not such an object has brackets of its own
        return None
    nulls = _nulls([*gaps[:-1], gaps[-1] + b"]"])
    side = int(size[1]), int(size[2])
    return None if nulls is None or 0 in side or not _whole(counts) else _texts(side, nulls, counts)


def _texts(size: tuple[int, int], nulls: list[int], counts: list[bytes]) -> Texts:
    frames = list(map(add, accumulate(nulls[:-1]), range(len(counts))))
    return Texts(size, len(counts) + sum(nulls), frames, counts)


def _whole(counts: list[bytes]) -> bool:
    """Whether each of what stands between brackets is one whole number or more, as `runs.numbers` wants them."""
    return not b"".join(counts).translate(None, _PLAIN) and all(map(bytes.strip, counts))


def _read_quick(json: bytes, track: int, batch: _Batch) -> TrackMasks | None:
    for read, groups in ((read_texts, batch.texts), (read_runs, batch.runs)):
        if found := read(json):
            groups.append(_Counts(track, found.size, found.frames, found.counts))
            return TrackMasks([None] * found.length, np.zeros(found.length))
    return None


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
        counts = bytes(segment.counts) if isinstance(segment, _Segment) else b""
        if isinstance(segment, _Segment) and counts[:1] in (b'"', b"["):
            text = counts[:1] == b'"'
            group = (texts if text else runs).setdefault(segment.size, _Counts(track, segment.size, [], []))
            group.frames.append(frame)
            group.counts.append(_TEXT.decode(counts).encode() if text else counts[1:-1])
        elif segment is not None:
            odd = _as_json(segment.size, counts) if isinstance(segment, _Segment) else segment
            _read_one(odd, size_hw, Fault(track, frame, ""), result, batch)
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
    counts = [counts for group in batch.runs for counts in group.counts]
    if not _whole(counts):
        _read_each(batch)
        return
    runs, lengths = numbers(counts)
    sizes = _sizes(batch.runs)
    checked = check_runs(runs, lengths, sizes)
    _keep(batch, batch.runs, masks.compress(runs, lengths, sizes, checked), checked)


def _read_each(batch: _Batch) -> None:
    """Runs of which some are not plain lists of digits, mask by mask."""
    for group in batch.runs:
        for frame, counts in zip(group.frames, group.counts, strict=True):
            segment = _as_json(group.size, b"[%b]" % counts)
            _read_one(segment, None, Fault(group.track, frame, ""), batch.tracks[group.track], batch)


def _as_json(size: tuple[int, int], counts: bytes) -> dict:
    return {"size": size, "counts": msgspec.json.decode(counts)}


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
