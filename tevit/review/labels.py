"""Annotations of a data set while decisions are applied: untouched ones stay byte for byte as they are.

Predictions are a source of masks for them: which overlap a label, and which show the object that it lies beside.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import numpy as np

from tevit import boxes
from tevit.io import json as jsonfile
from tevit.io.ytvis import Dataset, Results
from tevit.masks import json as segmentations
from tevit.masks import ops as masks
from tevit.masks.json import TrackMasks
from tevit.results import RLE, Track, VideoResult
from tevit.review.decisions import TRACK_CREATING, AcceptMasks, Decision, Mask, TrackRef, to_mask

Original = bytes | Mapping[str, Any]
"""A data set as the bytes of its file or as the object that it holds."""
Fields = dict[str, Any]


class NotApplicableError(ValueError):
    """A decision cannot be applied to these labels; the message says why."""


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


class _CategoryFields(msgspec.Struct):
    id: int


def content_hash(original: Original) -> str:
    """SHA-256 of the labels' content, 64 hexadecimal digits, regardless of white space and the order of keys.

    Raises: ValueError where the bytes are not JSON.
    """
    content = jsonfile.decode(original, Any, "the labels") if isinstance(original, bytes) else original
    return hashlib.sha256(msgspec.json.encode(content, order="deterministic")).hexdigest()


class Labels:
    """Labels to which the decisions of a log are applied; the original object is not changed.

    entries: annotations by position, None where one was deleted. videos: shapes by id. categories: ids. new_ids: id of
    a decision that creates a track -> the annotation's id. renumbered: position -> new id of annotations with the id 0,
    which decisions name by 0. touched: whether anything was changed.
    """

    def __init__(self, original: Original, log: Sequence[Decision]):
        """Raises: ValueError where `original` is not a data set."""
        is_file = isinstance(original, bytes)
        self._fields: Fields = dict(
            jsonfile.decode(original, dict[str, msgspec.Raw], "the labels") if is_file else original
        )
        self.entries = _list(self._fields, "annotations", optional=True)
        heads = [_convert(entry, _AnnotationHead, "annotations") for entry in self.entries]
        videos = [_convert(item, _VideoFields, "videos") for item in _list(self._fields, "videos")]
        self.videos = {v.id: VideoShape((v.height, v.width), v.length or len(v.file_names or ())) for v in videos}
        self.categories = {
            _convert(item, _CategoryFields, "categories").id for item in _list(self._fields, "categories")
        }
        ids = [head.id for head in heads if type(head.id) is int]
        highest = max((id for id in ids if id > 0), default=0)
        # The official evaluation can never match the id 0, so it is never written.
        zeros = [place for place, head in enumerate(heads) if type(head.id) is int and head.id == 0]
        self.renumbered = {place: number for number, place in enumerate(zeros, highest + 1)}
        # Every creating decision has a number, whether it counts or not: an undo leaves the ids of others alone.
        creating = [decision.id for decision in log if isinstance(decision.action, TRACK_CREATING)]
        self.new_ids = {id: number for number, id in enumerate(creating, highest + len(zeros) + 1)}
        self.touched = bool(zeros)
        self._positions: dict[TrackRef, int] = {h.id: place for place, h in enumerate(heads) if type(h.id) is int}
        self._duplicates = {id for id, count in Counter(ids).items() if count > 1}
        self._owners = [head.video_id for head in heads]  # video ids by position
        self._masks: dict[int, list[Any]] = {}
        self._changed: set[int] = set()  # positions whose masks are new
        self._checked: set[int] = set()  # positions whose masks can be read

    def video(self, decision: Decision) -> VideoShape:
        """The shape of the decision's video. Raises: NotApplicableError."""
        if decision.video_id not in self.videos:
            raise NotApplicableError(f"there is no video {decision.video_id}")
        return self.videos[decision.video_id]

    def find(self, decision: Decision, ref: TrackRef) -> int:
        """The position of a track of the decision's video. Raises: NotApplicableError."""
        if ref in self._duplicates:
            raise NotApplicableError(f"more than one annotation has the id {ref}")
        place = self._positions.get(ref)
        if place is None:
            kind = "track made by decision" if isinstance(ref, str) else "annotation"
            raise NotApplicableError(f"there is no {kind} {ref}")
        if self.entries[place] is None:
            raise NotApplicableError(f"track {ref} was deleted or merged by an earlier decision")
        if self._owners[place] != decision.video_id:
            raise NotApplicableError(f"track {ref} is of video {self._owners[place]}, not of video {decision.video_id}")
        return place

    def fields_of(self, place: int) -> Fields:
        """All values of an annotation."""
        entry = self.entries[place]
        if isinstance(entry, msgspec.Raw):
            entry = self.entries[place] = msgspec.json.decode(entry, type=dict[str, msgspec.Raw])
        return entry

    def set(self, place: int, **values: object) -> None:
        """Replace values of an annotation."""
        self.entries[place], self.touched = {**self.fields_of(place), **values}, True

    def masks(self, decision: Decision, place: int) -> list[Any]:
        """The segmentations of a track as they are stored, one a frame. Raises: NotApplicableError."""
        if place not in self._masks:
            raw = self.fields_of(place).get("segmentations")
            stored = msgspec.json.decode(raw, type=list[msgspec.Raw]) if isinstance(raw, msgspec.Raw) else raw
            length = self.video(decision).length
            if not isinstance(stored, list) or len(stored) != length:
                count = len(stored) if isinstance(stored, list) else "no"
                raise NotApplicableError(
                    f"the track has {count} segmentations, expected {length}, one a frame of its video"
                )
            self._masks[place] = [None if isinstance(m, msgspec.Raw) and bytes(m) == b"null" else m for m in stored]
        return list(self._masks[place])

    def set_masks(self, place: int, stored: list[Any]) -> None:
        """Replace a track's segmentations."""
        self._masks[place] = stored
        self._changed.add(place)
        self.touched = True

    def check(self, decision: Decision, place: int) -> None:
        """Check once that a track's masks can be read. Raises: NotApplicableError."""
        if place not in self._checked:
            self.read(decision, self.masks(decision, place))
            self._checked.add(place)

    def read(self, decision: Decision, stored: Sequence[Any]) -> TrackMasks:
        """Decode and check segmentations. Raises: NotApplicableError."""
        size = self.video(decision).size_hw
        (track,), faults = segmentations.read([msgspec.json.encode(stored)], size)
        for fault in faults:
            raise NotApplicableError(f"the track's frame {fault.frame} cannot be read: {fault.text}")
        for frame, rle in enumerate(track.rles):
            if rle is not None and tuple(rle["size"]) != size:
                size_hw = tuple(rle["size"])
                raise NotApplicableError(f"the track's mask in frame {frame} is of {size_hw}, expected {size}")
        return track

    def add(self, decision: Decision, entry: Fields, stored: list[Any]) -> None:
        """Append an annotation that the decision creates."""
        place = len(self.entries)
        self.entries.append({"id": self.new_ids[decision.id], **entry})
        self._owners.append(decision.video_id)
        self._positions[decision.id] = place
        self._checked.add(place)
        self.set_masks(place, stored)

    def delete(self, place: int) -> None:
        """Remove an annotation."""
        self.entries[place], self.touched = None, True

    def finish(self) -> Fields:
        """The whole data set: areas and boxes of changed tracks computed, tracks without any mask removed, no id 0."""
        for place, number in self.renumbered.items():
            if self.entries[place] is not None:
                self.set(place, id=number)
        for place in sorted(self._changed):
            if self.entries[place] is None:
                continue
            stored, owner = self._masks[place], self._owners[place]
            assert isinstance(owner, int)
            (track,), _ = segmentations.read([msgspec.json.encode(stored)], self.videos[owner].size_hw)
            if not track.areas.any():
                self.delete(place)
                continue
            boxes_xywh = boxes.to_json(masks.to_boxes_xyxy(track.rles))
            areas = [int(area) or None for area in track.areas]
            self.set(place, segmentations=stored, bboxes=boxes_xywh, areas=areas)
        return {**self._fields, "annotations": [entry for entry in self.entries if entry is not None]}


def to_json(mask: Mask | RLE | None) -> dict | None:
    """One frame's segmentation as the file has it; null for a mask without pixels."""
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


def _convert(item: Any, shape: type, key: str) -> Any:
    if isinstance(item, msgspec.Raw):
        return jsonfile.decode(bytes(item), shape, f"the labels, {key}")
    try:
        return msgspec.convert(item, shape)
    except msgspec.ValidationError as error:
        raise ValueError(f"the labels, {key}: {error}") from None


# --- predictions as a source of masks

_MAX_OFFSET = 1.5  # between the centres of a label and the object beside it, in widths and heights of the label
_STEADY = 0.35  # standard deviation of that offset, in widths and heights
_SIMILAR = 0.6  # smaller area divided by the larger one, mean over frames
_TOGETHER = 0.5  # frames with both masks, of those with either


@dataclass(frozen=True)
class OverlappingPrediction:
    """A prediction that overlaps a label. place: in the results, from 1. iou: of the whole tracks. frames: number of
    frames with common pixels."""

    place: int
    category_id: int
    score: float
    iou: float
    frames: int


def overlapping_predictions(
    label: Track, predictions: VideoResult, place: int | None = None
) -> list[OverlappingPrediction]:
    """Every prediction of the video with a pixel in common with the label, highest IoU first.

    place: of one that is listed in any case.
    """
    tracks = predictions.tracks
    common, union = masks.overlaps([track.rles for track in tracks], [label.rles])
    ious = common.sum(axis=(1, 2)) / np.maximum(union.sum(axis=(1, 2)), 1)
    frames = (common > 0).sum(axis=(1, 2))
    overlapping = [
        OverlappingPrediction(track.id, track.category_id, track.score, float(iou), int(count))
        for track, iou, count in zip(tracks, ious, frames, strict=True)
        if count or track.id == place
    ]
    return sorted(overlapping, key=lambda prediction: -prediction.iou)


def predicted_masks(dataset: Dataset, results: Results, video: int, place: int) -> tuple[Mask | None, ...]:
    """One prediction's masks in the form of decisions, one for each frame of the video. place: from 1.

    Raises: ValueError where the video has no such prediction, or its masks cannot be read.
    """
    info, positions = dataset.videos[video], results.by_video.get(video, [])
    if place - 1 not in positions:
        raise ValueError(f"video {video} has no prediction {place}")
    track = results.masks(video, info.size_hw)[positions.index(place - 1)]
    rles = [rle if area else None for rle, area in zip(track.rles, track.areas, strict=True)]
    return tuple(map(to_mask, (rles + [None] * info.length)[: info.length]))


def take_masks(track: TrackRef, predicted: Sequence[Mask | None], frames: tuple[int, int] | None = None) -> AcceptMasks:
    """The masks of a prediction for a label. frames: first and last one; None: all.

    Raises: ValueError where the video has no such frames.
    """
    first, last = frames or (0, len(predicted) - 1)
    if not 0 <= first <= last < len(predicted):
        raise ValueError(f"expected frames from 0 to {len(predicted) - 1}, got {first} to {last}")
    return AcceptMasks(track, first, tuple(predicted[first : last + 1]))


def lies_beside(label: Track, prediction: Track) -> bool:
    """Whether the prediction has the label's class and size, and stays at a constant distance (a shifted label)."""
    both, either = label.present & prediction.present, label.present | prediction.present
    if label.category_id != prediction.category_id or both.sum() < max(1, _TOGETHER * either.sum()):
        return False
    boxes, others = label.boxes_xyxy[both].astype(float), prediction.boxes_xyxy[both].astype(float)
    size = (boxes[:, 2:] - boxes[:, :2]).mean(axis=0)
    offsets = (others - boxes).reshape(-1, 2, 2).mean(axis=1) / size
    areas = label.areas[both], prediction.areas[both]
    similar = (np.minimum(*areas) / np.maximum(np.maximum(*areas), 1)).mean()
    near, steady = np.abs(offsets.mean(axis=0)) <= _MAX_OFFSET, offsets.std(axis=0) <= _STEADY
    return bool(similar >= _SIMILAR and near.all() and steady.all())
