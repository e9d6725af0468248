"""One video's labels as the log has them by now: what people see of their decisions, without waiting for all videos."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace

import msgspec

from app.tabs.review.log_state import IndexedLog
from tevit.io import json as jsonfile
from tevit.io.ytvis import parse_dataset
from tevit.results import VideoResult
from tevit.review.apply import correct
from tevit.review.decisions import Keep


@dataclass(frozen=True)
class Now:
    """result: the corrected tracks. changes: how many decisions have changed something. made: decision -> the id of
    the track that it made, the same as in the corrected labels of all videos."""

    result: VideoResult
    changes: int
    made: Mapping[str, int]


class _Head(msgspec.Struct):
    id: int
    video_id: int = 0


class _File(msgspec.Struct):
    videos: list[msgspec.Raw]
    categories: msgspec.Raw
    annotations: list[msgspec.Raw] | None = None


class Originals:
    """The original labels, video by video. original: the file's bytes. Raises: ValueError where they are no labels."""

    def __init__(self, original: bytes):
        content = jsonfile.decode(original, _File, "the labels")
        self._categories = content.categories
        self._videos = {msgspec.json.decode(raw, type=_Head).id: raw for raw in content.videos}
        self._annotations: dict[int, list[msgspec.Raw]] = defaultdict(list)
        self._highest = 0
        for raw in content.annotations or ():
            head = msgspec.json.decode(raw, type=_Head)
            self._annotations[head.video_id].append(raw)
            self._highest = max(self._highest, head.id)

    def now(self, video: int, ledger: IndexedLog) -> Now:
        """A video as the log has it. Raises: ValueError where its masks cannot be read."""
        found = correct(self._labels(video), ledger.of_video(video), only_fitting=True)
        made = {id: self._highest + ledger.track_numbers[id] for id in found.new_ids}
        numbers = {number: made[id] for id, number in found.new_ids.items()}
        result = parse_dataset(found.data, "the corrected labels").video(video)
        tracks = tuple(replace(track, id=numbers.get(track.id, track.id)) for track in result.tracks)
        changes = sum(not isinstance(decision.action, Keep) for decision in found.applied)
        return Now(replace(result, tracks=tracks), changes, made)

    def _labels(self, video: int) -> bytes:
        """A data set of this video alone."""
        own = {"videos": [self._videos[video]], "categories": self._categories}
        return msgspec.json.encode(own | {"annotations": self._annotations.get(video, [])})
