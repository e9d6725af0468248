"""One annotation or one prediction of a file: every fault, and the entry as it would be repaired.

An entry is its JSON fields, unread: what has no fault is copied byte by byte.
"""

import math
from collections import Counter
from collections.abc import Callable, Container, Mapping
from typing import Any, NamedTuple

import msgspec
import numpy as np

from tevit import boxes
from tevit.io.frames import inside
from tevit.masks import json as segmentations
from tevit.masks import ops as masks
from tevit.masks.json import TrackMasks
from tevit.results import RLE

Fields = dict[str, msgspec.Raw]

NULL = msgspec.Raw(b"null")
REMOVED = "removed"


class Issue(NamedTuple):
    """One fault. frame: from 0, None for the whole entry. repair: what a repaired copy does, None: nothing."""

    frame: int | None
    text: str
    repair: str | None


class Expected(NamedTuple):
    """What a video's masks must be. size_hw: pixels; length: frames; None where nothing says it."""

    size_hw: tuple[int, int] | None
    length: int | None


class Entry:
    """The fields of one entry, repaired as they are checked.

    removed: it cannot be kept. found: the video's size and length as the entry states or shows them. masks: how many
    of its frames have one.
    """

    def __init__(self, raw: msgspec.Raw):
        self.issues: list[Issue] = []
        self.removed = False
        self.found = Expected(None, None)
        self.masks = 0
        self.fields: Fields = {}
        try:
            self.fields = msgspec.json.decode(raw, type=Fields)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.remove(f"expected an object, got {shown(bytes(raw))}")

    def add(self, text: str, repair: str | None = None, frame: int | None = None) -> None:
        """Note a fault."""
        self.issues.append(Issue(frame, text, repair))

    def remove(self, text: str) -> None:
        """Note a fault that leaves nothing to keep."""
        self.add(text, REMOVED)
        self.removed = True

    def get(self, key: str) -> Any:
        """The value of a field, None where it is null or absent."""
        try:
            return msgspec.json.decode(self.fields.get(key, NULL))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return shown(self.fields[key])

    def shown(self, key: str) -> str:
        """The beginning of a field's JSON, for a message."""
        return shown(self.fields.get(key, b"nothing"))

    def set(self, key: str, value: object) -> None:
        """Replace a field."""
        self.fields[key] = msgspec.Raw(msgspec.json.encode(value))

    def number(self, key: str) -> int | None:
        """A field that must be a whole number; the entry is removed where it is not."""
        value = self.get(key)
        if type(value) is not int:
            self.remove(f"expected {key} as a whole number, got {self.shown(key)}")
            return None
        return value


def shown(raw: bytes | msgspec.Raw) -> str:
    """The beginning of a piece of JSON, for a message."""
    text = bytes(raw[:200] if isinstance(raw, bytes) else bytes(raw)[:200]).decode("utf-8", "replace")
    return text if len(text) <= 40 else text[:40] + "…"


def check_video(raw: msgspec.Raw) -> Entry:
    """An entry of `videos`."""
    entry = Entry(raw)
    numbers = [] if entry.removed else [entry.number(key) for key in ("id", "height", "width")]
    if entry.removed:
        return entry
    height, width = numbers[1] or 0, numbers[2] or 0
    if min(height, width) < 1:
        entry.remove(f"expected a height and width of at least 1, got {height} x {width}")
    names = entry.get("file_names")
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        entry.add(f"expected file_names as a list of texts, got {entry.shown('file_names')}")
        names = None
    _check_names(entry, names or [])
    entry.found = Expected((height, width), _length(entry, names))
    return entry


def _check_names(entry: Entry, names: list[str]) -> None:
    if len(set(names)) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        entry.add(f"the file name {twice!r} stands there twice")
    outside = next((name for name in names if not inside(name)), None)
    if outside is not None:
        entry.add(f"the file name {outside!r} leads out of the frames' folder")


def _length(entry: Entry, names: list[str] | None) -> int | None:
    length = entry.get("length")
    if type(length) is not int or (names and length != len(names)) or length < 1:
        expected = f"{len(names)} as it has file names" if names else "at least 1"
        found = entry.shown("length")
        entry.add(f"expected a length of {expected}, got {found}", f"set to {len(names)}" if names else None)
        if not names:
            return None
        entry.set("length", length := len(names))
    return length


def check_category(raw: msgspec.Raw) -> Entry:
    """An entry of `categories`."""
    entry = Entry(raw)
    id = None if entry.removed else entry.number("id")
    if id is not None and not isinstance(entry.get("name"), str):
        found = entry.shown("name")
        entry.add(f"expected a name as text, got {found}", f"set to 'category {id}'")
        entry.set("name", f"category {id}")
    return entry


def check_annotation(raw: msgspec.Raw, videos: Mapping[int, Expected], categories: Container[int]) -> Entry:
    """A ground-truth track of a data set. Its id is looked at elsewhere: it must differ from all others'."""
    entry = Entry(raw)
    expected = None if entry.removed else _check_references(entry, videos, categories)
    if expected is None:
        return entry
    if entry.get("iscrowd") not in (0, 1):
        entry.add(f"expected iscrowd 0 or 1, got {entry.shown('iscrowd')}", "set to 0")
        entry.set("iscrowd", 0)
    kept = _check_masks(entry, expected, text_only=False)
    if kept is not None:
        _check_beside(entry, "areas", kept, kept.areas.tolist(), _is_area)
        _check_beside(entry, "bboxes", kept, _boxes(kept.rles), _is_box)
    return entry


def check_prediction(
    raw: msgspec.Raw, videos: Mapping[int, Expected] | None, categories: Container[int] | None
) -> Entry:
    """A predicted track of a submission. videos, categories: the ground truth's, None where it is not known."""
    entry = Entry(raw)
    expected = None if entry.removed else _check_references(entry, videos, categories)
    if expected is None:
        return entry
    score = entry.get("score")
    if type(score) not in (int, float) or not math.isfinite(score):
        entry.remove(f"expected a finite score, got {entry.shown('score')}")
        return entry
    _check_masks(entry, expected, text_only=True)
    return entry


def _check_references(
    entry: Entry, videos: Mapping[int, Expected] | None, categories: Container[int] | None
) -> Expected | None:
    video, category = entry.number("video_id"), entry.number("category_id")
    if video is not None and videos is not None and video not in videos:
        entry.remove(f"there is no video {video}")
    if category is not None and categories is not None and category not in categories:
        entry.remove(f"there is no category {category}")
    if entry.removed or video is None:
        return None
    return Expected(None, None) if videos is None else videos[video]


class _Kept(NamedTuple):
    """The masks that remain after repair, one a frame; dropped: frames whose mask was faulty."""

    rles: list[RLE | None]
    areas: np.ndarray
    dropped: set[int]


def _check_masks(entry: Entry, expected: Expected, text_only: bool) -> _Kept | None:
    if "segmentations" not in entry.fields:
        entry.remove("it has no segmentations")
        return None
    raw = bytes(entry.fields["segmentations"])
    tracks, faults = segmentations.read([raw], expected.size_hw)
    if any(fault.frame is None for fault in faults):
        entry.remove(faults[0].text)
        return None
    track = tracks[0]
    replaced: dict[int, RLE | None] = {}
    for fault in faults:
        entry.add(fault.text, "set to null", fault.frame)
        replaced[fault.frame or 0] = None
    for frame, rle in enumerate(track.rles):
        if rle is not None and expected.size_hw is not None and tuple(rle["size"]) != expected.size_hw:
            entry.add(f"expected a mask of {expected.size_hw}, got {tuple(rle['size'])}", "set to null", frame)
            replaced[frame] = None
    if text_only:
        _want_text(entry, raw, track, replaced)
    return _rewrite(entry, raw, track, replaced, expected.length)


def _want_text(entry: Entry, raw: bytes, track: TrackMasks, replaced: dict[int, RLE | None]) -> None:
    for frame, form in segmentations.uncompressed(raw).items():
        if frame not in replaced:
            entry.add(f"expected compressed run-length text, got {form}", "compressed", frame)
            replaced[frame] = track.rles[frame]


def _rewrite(entry: Entry, raw: bytes, track: TrackMasks, replaced: dict[int, RLE | None], length: int | None) -> _Kept:
    rles = [replaced.get(frame, rle) for frame, rle in enumerate(track.rles)]
    if length is None:
        length = len(rles)
    if len(rles) != length:
        _wrong_length(entry, "segmentations", len(rles), length)
    if replaced or len(rles) != length:
        items = msgspec.json.decode(raw, type=list[msgspec.Raw])
        for frame, rle in replaced.items():
            items[frame] = NULL if rle is None else msgspec.Raw(msgspec.json.encode(masks.to_json(rle)))
        entry.set("segmentations", _fit(items, length, NULL))
    rles = _fit(rles, length, None)
    areas = masks.areas(rles)
    sizes = [tuple(rle["size"]) for rle in rles if rle is not None]
    entry.found, entry.masks = Expected(sizes[0] if sizes else None, length), int(np.count_nonzero(areas))
    return _Kept(rles, areas, {frame for frame, rle in replaced.items() if rle is None})


def _wrong_length(entry: Entry, key: str, found: int, length: int) -> None:
    repair = f"cut to {length}" if found > length else f"filled up with null to {length}"
    entry.add(f"expected {length} {key}, one a frame of its video, got {found}", repair)


def _fit(items: list, length: int, filling: object) -> list:
    return (items + [filling] * length)[:length]


def _check_beside(entry: Entry, key: str, kept: _Kept, computed: list, is_right: Callable[[Any], bool]) -> None:
    """Areas or boxes: one a frame, right where there is a mask, null (or zero) where there is none."""
    values = entry.get(key)
    if not isinstance(values, list):
        entry.add(f"expected {key} as a list, got {entry.shown(key)}", "computed from the masks")
        entry.set(key, [value or None for value in computed])
        return
    if len(values) != len(computed):
        _wrong_length(entry, key, len(values), len(computed))
    right = _fit(values, len(computed), None)
    for frame, (value, own) in enumerate(zip(right, computed, strict=True)):
        if own and not is_right(value):
            entry.add(f"there is a mask, but {_WHAT[key]} {_text(value)}", "computed from the mask", frame)
            right[frame] = own
        elif not own and value not in (None, 0, [0, 0, 0, 0]):
            if frame not in kept.dropped:
                entry.add(f"there is no mask, but {_WHAT[key]} {_text(value)}", "set to null", frame)
            right[frame] = None
    if right != values:
        entry.set(key, right)


def _text(value: object) -> str:
    return shown(msgspec.json.encode(value))


_WHAT = {"areas": "the area", "bboxes": "the box"}


def _is_area(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0 and math.isfinite(value)


def _is_box(value: object) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(_is_side(side) for side in value) and min(value[2:]) > 0


def _is_side(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _boxes(rles: list[RLE | None]) -> list[list[float] | None]:
    """x, y, width, height, null where there is no pixel."""
    return boxes.to_json(masks.to_boxes_xyxy(rles))
