"""The annotations of a data set while decisions are applied: what nobody touches stays byte for byte as it stands."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from tevit import boxes
from tevit.io import json as jsonfile
from tevit.masks import json as segmentations
from tevit.masks import ops as masks
from tevit.masks.json import TrackMasks
from tevit.results import RLE
from tevit.review.decisions import TRACK_CREATING, Decision, Mask, TrackRef

Original = bytes | Mapping[str, Any]
"""A data set as the bytes of its file or as the object that it holds."""
Fields = dict[str, Any]


class NotApplicableError(ValueError):
    """A decision that these labels have no place for; the message says why."""


class VideoShape(NamedTuple):
    """size_hw: pixels. length: frames."""

    size_hw: tuple[int, int]
    length: int


class _AnnotationHead(msgspec.Struct):
    id: object = None
    video_id: object = None


class _VideoFields(msgspec.Struct):
    id: int
    width: int
    height: int
    length: int | None = None
    file_names: list[str] | None = None

    @property
    def facts(self) -> VideoShape:
        return VideoShape((self.height, self.width), self.length or len(self.file_names or ()))


class _CategoryFields(msgspec.Struct):
    id: int
    name: object = None


def content_hash(original: Original) -> str:
    """SHA-256 of the labels' content, 64 hexadecimal digits: white space and the order of keys do not count.

    Raises: ValueError where the bytes are not JSON.
    """
    content = jsonfile.decode(original, Any, "the labels") if isinstance(original, bytes) else original
    return hashlib.sha256(msgspec.json.encode(content, order="deterministic")).hexdigest()


@dataclass(eq=False)
class Labels:
    """fields: the file's top level, annotations aside. entries: None where one was deleted. changed: positions whose
    masks are new, so that areas and boxes must be. refs: positions by the name that decisions use."""

    fields: Fields
    entries: list[Any]
    videos: dict[int, VideoShape]
    categories: set[int]
    owners: list[object]
    refs: dict[TrackRef, int]
    twice: set[object]
    numbers: dict[str, int]
    changed: set[int] = field(default_factory=set)
    touched: bool = False
    _masks: dict[int, list[Any]] = field(default_factory=dict)
    _sound: set[int] = field(default_factory=set)

    def find(self, decision: Decision, ref: TrackRef) -> int:
        """The position of a track of the decision's video. Raises: NotApplicableError."""
        place = self.refs.get(ref)
        if ref in self.twice:
            raise NotApplicableError(f"more than one annotation has the id {ref}")
        if place is None:
            made = isinstance(ref, str)
            raise NotApplicableError(
                f"there is no track made by decision {ref}" if made else f"there is no annotation {ref}"
            )
        if self.entries[place] is None:
            raise NotApplicableError(f"track {ref} was deleted or merged by an earlier decision")
        if self.owners[place] != decision.video_id:
            raise NotApplicableError(f"track {ref} is of video {self.owners[place]}, not of video {decision.video_id}")
        return place

    def video(self, decision: Decision) -> VideoShape:
        """The decision's video. Raises: NotApplicableError."""
        if decision.video_id not in self.videos:
            raise NotApplicableError(f"there is no video {decision.video_id}")
        return self.videos[decision.video_id]

    def get(self, place: int, key: str) -> Any:
        """One value of an annotation."""
        return _plain(self._open(place).get(key))

    def set(self, place: int, key: str, value: object) -> None:
        """Replace one value of an annotation; the original object stays as it is."""
        entry = dict(self._open(place))
        entry[key] = value
        self.entries[place], self.touched = entry, True

    def masks(self, decision: Decision, place: int) -> list[Any]:
        """The segmentations of a track, one a frame, each as it stands. Raises: NotApplicableError."""
        if place not in self._masks:
            raw = self._open(place).get("segmentations")
            found = msgspec.json.decode(raw, type=list[msgspec.Raw]) if isinstance(raw, msgspec.Raw) else raw
            if not isinstance(found, list) or len(found) != self.video(decision).length:
                count = len(found) if isinstance(found, list) else "no"
                length = self.video(decision).length
                raise NotApplicableError(
                    f"the track has {count} segmentations, expected {length}, one a frame of its video"
                )
            self._masks[place] = [None if isinstance(m, msgspec.Raw) and bytes(m) == b"null" else m for m in found]
        return list(self._masks[place])

    def set_masks(self, place: int, found: list[Any]) -> None:
        """Replace a track's segmentations."""
        self._masks[place] = found
        self.changed.add(place)
        self.touched = True

    def check(self, decision: Decision, place: int) -> None:
        """Check once that a track's masks can be read. Raises: NotApplicableError."""
        if place not in self._sound:
            self.rles(decision, self.masks(decision, place))
            self._sound.add(place)

    def rles(self, decision: Decision, found: Sequence[Any]) -> TrackMasks:
        """Segmentations read and checked. Raises: NotApplicableError."""
        size = self.video(decision).size_hw
        tracks, faults = segmentations.read([msgspec.json.encode(found)], size)
        for fault in faults:
            raise NotApplicableError(f"the track's frame {fault.frame} cannot be read: {fault.text}")
        for frame, rle in enumerate(tracks[0].rles):
            if rle is not None and tuple(rle["size"]) != size:
                raise NotApplicableError(
                    f"the track's mask in frame {frame} is of {tuple(rle['size'])}, expected {size}"
                )
        return tracks[0]

    def add(self, decision: Decision, entry: Fields, found: list[Any]) -> None:
        """A new annotation at the end, named by the decision that makes it."""
        place = len(self.entries)
        self.entries.append({"id": self.numbers[decision.id], **entry})
        self.owners.append(decision.video_id)
        self.refs[decision.id] = place
        self._sound.add(place)
        self.set_masks(place, found)

    def delete(self, place: int) -> None:
        """An annotation goes."""
        self.entries[place], self.touched = None, True

    def fields_of(self, place: int) -> Fields:
        """All of an annotation as its file has it."""
        return dict(self._open(place))

    def _open(self, place: int) -> Fields:
        entry = self.entries[place]
        if isinstance(entry, msgspec.Raw):
            entry = self.entries[place] = msgspec.json.decode(entry, type=dict[str, msgspec.Raw])
        return entry

    def finish(self) -> Fields:
        """The whole object: areas and boxes of changed tracks computed, tracks left without any mask left out."""
        for place in sorted(self.changed):
            if self.entries[place] is not None:
                self._measure(place)
        kept = [entry for entry in self.entries if entry is not None]
        return {**self.fields, "annotations": kept}

    def _measure(self, place: int) -> None:
        found = self._masks[place]
        tracks, _ = segmentations.read([msgspec.json.encode(found)], self.videos[_int(self.owners[place])].size_hw)
        track = tracks[0]
        if not track.areas.any():
            self.delete(place)
            return
        self.set(place, "segmentations", found)
        self.set(place, "bboxes", _boxes(track.rles))
        self.set(place, "areas", [int(area) or None for area in track.areas])


def open_labels(original: Original, log: Sequence[Decision]) -> Labels:
    """Get labels ready for the decisions of a log; ids of new tracks follow the highest, in the log's order.

    Every decision that makes a track takes a number, whether it counts or not, so that undo moves nobody else's.

    Raises: ValueError where it is not a data set.
    """
    is_file = isinstance(original, bytes)
    fields: Fields = dict(jsonfile.decode(original, dict[str, msgspec.Raw], "the labels") if is_file else original)
    entries = _list(fields, "annotations", optional=True)
    heads = [_as(entry, _AnnotationHead, "annotations") for entry in entries]
    ids = [head.id for head in heads]
    videos = [_as(item, _VideoFields, "videos") for item in _list(fields, "videos")]
    highest = max((id for id in ids if type(id) is int and id > 0), default=0)
    makers = [decision.id for decision in log if isinstance(decision.action, TRACK_CREATING)]
    return Labels(
        fields=fields,
        entries=entries,
        videos={video.id: video.facts for video in videos},
        categories={_as(item, _CategoryFields, "categories").id for item in _list(fields, "categories")},
        owners=[head.video_id for head in heads],
        refs={id: place for place, id in enumerate(ids) if type(id) is int},
        twice={id for id, count in Counter(id for id in ids if type(id) is int).items() if count > 1},
        numbers={id: number for number, id in enumerate(makers, highest + 1)},
    )


def to_json(mask: Mask | RLE | None) -> dict | None:
    """One frame's segmentation as the file has it; null for a mask of no pixel."""
    rle = mask.rle if isinstance(mask, Mask) else mask
    return masks.to_json(rle) if rle is not None and masks.areas([rle])[0] else None


def _list(fields: Fields, key: str, optional: bool = False) -> list[Any]:
    value = fields.get(key)
    if isinstance(value, msgspec.Raw):
        value = jsonfile.decode(bytes(value), list[msgspec.Raw] | None, f"the labels, {key}")
    if value is None and optional:
        return []
    if not isinstance(value, list):
        raise ValueError(f"the labels: expected a list {key}, got {'nothing' if value is None else type(value)}")
    return list(value)


def _as(item: Any, shape: type, key: str) -> Any:
    if isinstance(item, msgspec.Raw):
        return jsonfile.decode(bytes(item), shape, f"the labels, {key}")
    try:
        return msgspec.convert(item, shape)
    except msgspec.ValidationError as error:
        raise ValueError(f"the labels, {key}: {error}") from None


def _plain(value: Any) -> Any:
    return msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value


def _boxes(rles: Sequence[RLE | None]) -> list[list[float] | None]:
    """x, y, width, height, null where there is no pixel."""
    return boxes.to_json(masks.to_boxes_xyxy(rles))
