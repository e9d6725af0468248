"""The `segmentations` of YouTube-VIS JSON, one entry per frame, read as checked RLE for all tracks of a video at once.

Three forms occur: COCO's compressed text, plain run lengths and polygons. A fast path without JSON objects reads tracks
of one size and one of the first two forms; a general path reads everything else.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np

from tevit.masks import ops, rle
from tevit.results import RLE

_MAX_SIDE = 1 << 40  # longer sides and runs are clipped to this, so that they fit into 64 bits
_MAX_REACH = 100  # polygon points farther outside than this many picture sizes are refused


class TrackMasks(NamedTuple):
    """One track's masks as stored in the file.

    rles: T masks, None for null; a mask without pixels stays a mask. areas: float64 (T,), pixels of the masks.
    """

    rles: list[RLE | None]
    areas: np.ndarray


class MaskFault(NamedTuple):
    """A fault in one frame of one track; frame None: in the whole track. Positions count from 0."""

    track: int
    frame: int | None
    text: str

    @property
    def place(self) -> str:
        """ ", frame 3: text", to be appended to the name of the track."""
        return ("" if self.frame is None else f", frame {self.frame}") + f": {self.text}"


class EncodedTrack(NamedTuple):
    """One track's masks, not checked yet.

    length: frames of the track, T. frames: int64 (M,), those with a mask. sizes_hw: int64 (M, 2), pixels. joined: M
    compressed texts with `rle.TEXT_END` between them or, if `digits`, plain runs as JSON lists without brackets with
    `rle.LIST_END` between them.
    """

    length: int
    frames: np.ndarray
    sizes_hw: np.ndarray
    joined: bytes
    digits: bool

    @property
    def counts(self) -> list[bytes]:
        """M compressed texts or, if `digits`, lists for `rle.parse_numbers`."""
        return self.joined.split(rle.LIST_END if self.digits else rle.TEXT_END) if len(self.frames) else []


_Side = Annotated[int, msgspec.Meta(ge=1, le=rle.MAX_PIXELS)]


class _EncodedMask(msgspec.Struct, gc=False):
    size: tuple[_Side, _Side]
    counts: str | list[int]


class _Sized(msgspec.Struct, gc=False):
    size: tuple[_Side, _Side]


_SEGMENTS = msgspec.json.Decoder(list[_EncodedMask | None])
_SIZES = msgspec.json.Decoder(list[_Sized | list | None])
_PLAIN = b"0123456789, \t\r\n"
_SIZE = rb'"size"\s*:\s*\[\s*(\d{1,9})\s*,\s*(\d{1,9})\s*\]\s*'
_HEAD = re.compile(rb"\{\s*" + _SIZE + rb',\s*"counts"\s*:\s*"')
_RUNS_HEAD = re.compile(rb"\{\s*(?:" + _SIZE + rb',\s*)?"counts"\s*:\s*\[')
_RUNS_TAIL = re.compile(rb"\]\s*,\s*" + _SIZE + rb"\}")
_BEFORE, _BETWEEN, _AFTER = re.compile(rb"\[(null,)*"), re.compile(rb"\},(null,)*"), re.compile(rb"\}(,null)*\]")


def read(
    raws: Sequence[bytes | msgspec.Raw], size_hw: Sequence[int] | None
) -> tuple[list[TrackMasks], list[MaskFault]]:
    """The masks of N tracks from the JSON of their `segmentations`, and every fault; faulty frames are None.

    size_hw: the video's height and width, for polygons, which do not state it; None: polygons are a fault. A mask's
    own size is not compared with it.
    """
    tracks: list[TrackMasks] = []
    faults: list[MaskFault] = []
    encoded: list[tuple[int, EncodedTrack]] = []
    for index, raw in enumerate(raws):
        track = read_encoded(bytes(raw))
        if track is None:
            tracks.append(_read_each(bytes(raw), index, size_hw, faults))
        else:
            tracks.append(TrackMasks([None] * track.length, np.zeros(track.length)))
            encoded.append((index, track))
    for digits in (False, True):
        _check(tracks, faults, [item for item in encoded if item[1].digits == digits], digits)
    return tracks, sorted(faults, key=lambda fault: (fault.track, fault.frame or 0))


def _check(
    tracks: list[TrackMasks], faults: list[MaskFault], encoded: list[tuple[int, EncodedTrack]], digits: bool
) -> None:
    """Check tracks of one form, all at once, and store their masks in `tracks`, their faults in `faults`."""
    texts = [text for _, track in encoded for text in track.counts]
    sizes = np.concatenate([np.zeros((0, 2), np.int64), *(track.sizes_hw for _, track in encoded)])
    if digits:
        values, lengths = rle.parse_numbers(texts)
        checked = rle.check_runs(values, lengths, sizes)
        texts = rle.encode_runs(values, lengths, sizes, checked)
    else:
        checked = rle.check_texts(texts, sizes)
    shared: dict[tuple[int, int], list[int]] = {}  # one list per size: a data set has a hundred thousand masks
    start = 0
    for index, (_, own_frames, sizes_hw, _, _) in encoded:
        (rles, areas), frames = tracks[index], own_frames.tolist()
        end = start + len(frames)
        areas[frames] = checked.areas[start:end]
        for frame, (height, width), text in zip(frames, sizes_hw.tolist(), texts[start:end], strict=True):
            rles[frame] = {"size": shared.setdefault((height, width), [height, width]), "counts": text}
        for i in checked.faults.keys() & range(start, end) if checked.faults else ():
            rles[frames[i - start]] = None
            faults.append(MaskFault(index, frames[i - start], checked.faults[i]))
        start = end


def read_encoded(json: bytes) -> EncodedTrack | None:
    """A track's unchecked masks; None if it has polygons, two forms of run lengths, or is malformed."""
    if track := read_texts(json) or read_runs(json):
        return track
    try:
        segments = _SEGMENTS.decode(json)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    present = [(frame, segment) for frame, segment in enumerate(segments) if segment is not None]
    digits = any(isinstance(segment.counts, list) for _, segment in present)
    counts: list[bytes] = []
    for _, segment in present:
        if isinstance(segment.counts, str) == digits or segment.counts == []:
            return None
        text = segment.counts if isinstance(segment.counts, str) else repr(segment.counts)[1:-1]  # as JSON writes it
        counts.append(text.encode("utf-8", "replace"))
    if any((b"-" if digits else rle.TEXT_END) in text for text in counts):
        return None
    frames = np.array([frame for frame, _ in present], np.int64)
    sizes = np.array([segment.size for _, segment in present], np.int64).reshape(-1, 2)
    return EncodedTrack(len(segments), frames, sizes, (rle.LIST_END if digits else rle.TEXT_END).join(counts), digits)


def read_texts(json: bytes) -> EncodedTrack | None:
    """The usual case of results, by far the fastest: objects of one size with compressed text, and nulls. Else None.

    Such JSON repeats itself between its texts, so it is cut there instead of being parsed.
    """
    head = _HEAD.match(json, json.find(b"{"))
    if head is None:
        return None
    pieces = json.split(b"\\")
    if any(pieces[1::2]) or not len(pieces) & 1:  # an escape other than the backslash's own
        return None
    return _encoded(head, _cut(b"\\".join(pieces[::2]), head[0], b'"', rle.TEXT_END), digits=False)


def read_runs(json: bytes) -> EncodedTrack | None:
    """The usual case of ground truth: objects of one size and plain runs, in either order, and nulls. Else None."""
    head = _RUNS_HEAD.match(json, json.find(b"{"))
    size = _RUNS_TAIL.search(json) if head and head[1] is None else head
    if head is None or size is None or 0 in (int(size[1]), int(size[2])):
        return None
    stretches = _cut(json, head[0], b"]" if size is head else size[0][:-1], rle.LIST_END)
    track = _encoded(size, stretches, digits=True)
    if track is None or len(track.joined.translate(None, _PLAIN)) != len(track.frames) - 1:  # not whole numbers alone
        return None
    ends = [end for content in stretches.contents for end in (content.lstrip()[:1], content.rstrip()[-1:])]
    return None if b"," in ends or b"" in ends else track


class _Stretches(NamedTuple):
    """contents: of the objects, those of one stretch joined. gaps: what is before, between and after the stretches.
    size: objects in all."""

    contents: list[bytes]
    gaps: list[bytes]
    size: int


def _cut(json: bytes, head: bytes, tail: bytes, end: bytes) -> _Stretches:
    """Cut JSON at objects' equal heads and tails; where only a comma is between two of them, to `end`."""
    contents, gaps, place, size, separator = [], [], 0, 0, b""
    while (at := json.find(head, place)) >= 0:
        start = at + len(head)
        stop = json.find(tail, start)
        following = -1 if separator else json.find(head, stop)
        if following >= 0 and _count_nulls(_BETWEEN, json[stop + len(tail) : following]) == 0:
            separator = json[stop : following + len(head)]
            parts = json.split(separator)
            json, size = end.join(parts), len(parts) - 1
            stop = json.find(tail, start) if all(map(bytes.strip, parts[1:-1])) else -1
        if stop < 0:  # an object without contents, or without an end
            break
        contents.append(json[start:stop])
        gaps.append(json[place:at])
        place = stop + len(tail)
    return _Stretches(contents, [*gaps, json[place:]], size + len(contents))


def _encoded(size: re.Match[bytes], stretches: _Stretches, digits: bool) -> EncodedTrack | None:
    """size: the match with the height and width. None if there is anything but objects and nulls."""
    contents, gaps, count = stretches
    nulls, end = _nulls(gaps), rle.LIST_END if digits else rle.TEXT_END
    if nulls is None:
        return None
    sizes = [content.count(end) + 1 for content in contents] if len(contents) > 1 else [count]
    frames = np.arange(count)
    frames += np.repeat(np.cumsum(nulls[:-1]), sizes) if any(nulls) else 0
    sizes_hw = np.full((count, 2), (int(size[1]), int(size[2])), np.int64)
    return EncodedTrack(count + sum(nulls), frames, sizes_hw, end.join(contents), digits)


def _nulls(gaps: list[bytes]) -> list[int] | None:
    """The number of nulls before, between and after objects; None if anything else is there."""
    between = {gap: _count_nulls(_BETWEEN, gap) for gap in set(gaps[1:-1])}
    nulls = [_count_nulls(_BEFORE, gaps[0]), *map(between.__getitem__, gaps[1:-1]), _count_nulls(_AFTER, gaps[-1])]
    return None if -1 in nulls else nulls


@lru_cache(maxsize=256)
def _count_nulls(form: re.Pattern[bytes], gap: bytes) -> int:
    return gap.count(b"null") if form.fullmatch(b"".join(gap.split())) else -1


def _read_each(json: bytes, track: int, size_hw: Sequence[int] | None, faults: list[MaskFault]) -> TrackMasks:
    """The general path: frame by frame, so that faults are located and the other frames are kept."""
    try:
        segments = msgspec.json.decode(json, type=list)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        beginning = json[:40].decode("utf-8", "replace")
        faults.append(MaskFault(track, None, f"expected a list of segmentations, got {beginning}"))
        return TrackMasks([], np.zeros(0))
    rles: list[RLE | None] = []
    for frame, segment in enumerate(segments):
        try:
            rles.append(parse(segment, size_hw))
        except ValueError as error:
            rles.append(None)
            faults.append(MaskFault(track, frame, str(error)))
    return TrackMasks(rles, ops.areas(rles))


def extent(raw: bytes | msgspec.Raw) -> tuple[tuple[int, int] | None, int]:
    """Height and width of a track's first mask, None where no mask states it, and the number of frames."""
    if track := read_texts(bytes(raw)) or read_runs(bytes(raw)):
        height, width = track.sizes_hw[0].tolist()
        return (height, width), track.length
    try:
        segments = _SIZES.decode(raw)
    except msgspec.DecodeError:
        return None, 0
    return next((segment.size for segment in segments if isinstance(segment, _Sized)), None), len(segments)


def uncompressed(raw: bytes | msgspec.Raw) -> dict[int, str]:
    """The frames of a track that have plain runs ("runs") or polygons ("polygons")."""
    if track := read_encoded(bytes(raw)):
        return dict.fromkeys(track.frames.tolist(), "runs") if track.digits else {}
    forms: dict[int, str] = {}
    for frame, segment in enumerate(msgspec.json.decode(raw, type=list)):
        if isinstance(segment, list):
            forms[frame] = "polygons"
        elif isinstance(segment, dict) and isinstance(segment.get("counts"), list):
            forms[frame] = "runs"
    return forms


def from_json(segmentation: object, size_hw: Sequence[int]) -> RLE | None:
    """One frame's segmentation as a checked RLE; None for null and for a mask without pixels.

    segmentation: null, compressed text, plain run lengths or a list of polygons (x, y alternating, pixels).
    size_hw: the video's height and width; a size that the segmentation states must agree.

    Raises: ValueError where it is none of these, its size differs or its runs do not fill the picture.
    """
    mask = parse(segmentation, size_hw)
    if mask is not None and tuple(mask["size"]) != tuple(size_hw):
        raise ValueError(f"expected a mask of {tuple(size_hw)} (height, width), got {tuple(mask['size'])}")
    return mask if mask is not None and ops.areas([mask])[0] else None


def parse(segmentation: Any, size_hw: Sequence[int] | None) -> RLE | None:
    """Like `from_json`, but the mask's own size may differ, and a mask without pixels stays one.

    size_hw: used for polygons, which do not state it; None: polygons are not accepted.
    """
    if segmentation is None:
        return None
    if isinstance(segmentation, list):
        if size_hw is None:
            raise ValueError("expected run lengths, got polygons, which do not say of what size the picture is")
        return from_polygons(segmentation, size_hw)
    if not isinstance(segmentation, dict) or not {"size", "counts"} <= segmentation.keys():
        raise ValueError(f"expected null, polygons or an object with size and counts, got {str(segmentation)[:60]}")
    size, counts = segmentation["size"], segmentation["counts"]
    if not (isinstance(size, list | tuple) and len(size) == 2 and all(type(side) is int for side in size)):
        raise ValueError(f"expected a mask's size as two whole numbers, got {str(size)[:60]}")
    size = [max(min(side, _MAX_SIDE), -_MAX_SIDE) for side in size]
    if isinstance(counts, str | bytes):
        text = counts.encode("utf-8", "replace") if isinstance(counts, str) else counts
        checked = rle.check_texts([text], [size])
    elif isinstance(counts, list) and all(
        type(run) is int or (type(run) is float and run.is_integer()) for run in counts
    ):
        runs = np.array([max(min(int(run), _MAX_SIDE), -1) for run in counts], np.int64)
        lengths, sizes = np.array([len(runs)]), np.array([size])
        checked = rle.check_runs(runs, lengths, sizes)
        text = rle.encode_runs(runs, lengths, sizes, checked)[0]
    else:
        raise ValueError(f"expected counts as text or a list of whole numbers, got {str(counts)[:60]}")
    for fault in checked.faults.values():
        raise ValueError(fault)
    return {"size": size, "counts": text}


def from_polygons(polygons: Sequence[object], size_hw: Sequence[int]) -> RLE:
    """The union of polygons, each a list of x, y, x, y … in pixels, as RLE.

    Raises: ValueError for a polygon of less than three points, of odd length, or far outside the picture.
    """
    height, width = size_hw
    reach = _MAX_REACH * max(height, width)
    for polygon in polygons:
        if not isinstance(polygon, list) or not all(isinstance(x, int | float) for x in polygon):
            raise ValueError(f"expected a polygon as a list of numbers, got {str(polygon)[:60]}")
        if len(polygon) < 6 or len(polygon) % 2:
            raise ValueError(f"expected a polygon of at least three points x, y, got {len(polygon)} numbers")
        if not all(abs(x) <= reach for x in polygon):
            raise ValueError(f"a polygon's point lies far outside the picture of {height} x {width}")
    return rle.coco.merge(rle.coco.frPyObjects(list(polygons), height, width)) if polygons else ops.empty(size_hw)
