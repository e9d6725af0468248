"""What one window of a long video adds; and all parts together as one result."""

from dataclasses import dataclass, field, replace

import numpy as np

from tevit.configs import ModelConfig
from tevit.inference.association import Identity, Linker
from tevit.results import RLE, Track, VideoResult
from tevit.video.reader import Video


@dataclass(frozen=True, eq=False)
class Part:
    """first: index of its first frame. times: seconds, of its frames. tracks: over these frames alone, their ids those
    of the video, score and class what this window says. seen: how many frames the model looked at for it. whole: the
    window began with the video, nothing is joined."""

    first: int
    times: list[float]
    tracks: tuple[Track, ...]
    seen: int
    whole: bool = False


@dataclass(eq=False)
class _Rows:
    """What is known of an identity in every frame so far, part by part; NaN where a window did not find it."""

    rles: list[RLE | None] = field(default_factory=list)
    boxes: list[np.ndarray] = field(default_factory=list)
    areas: list[np.ndarray] = field(default_factory=list)
    scores: list[np.ndarray] = field(default_factory=list)

    def pad(self, length: int) -> None:
        missing = length - len(self.rles)
        if missing:
            self.rles += [None] * missing
            self.boxes.append(np.full((missing, 4), np.nan, np.float32))
            self.areas.append(np.zeros(missing))
            self.scores.append(np.full(missing, np.nan, np.float32))

    def extend(self, track: Track) -> None:
        assert track.frame_scores is not None
        self.rles += track.rles
        self.boxes.append(track.boxes_xyxy)
        self.areas.append(track.areas)
        self.scores.append(track.frame_scores)


class Collected:
    """The parts of a video in memory: as long as its masks fit there."""

    def __init__(self, video: Video, config: ModelConfig):
        self._video, self._categories = video, dict(config.categories)
        self._times: list[float] = []
        self._rows: dict[int, _Rows] = {}

    def add(self, part: Part, linker: Linker, score_threshold: float = 0.0) -> VideoResult:
        """The video so far, with the next part, which the linker knows; tracks below the threshold are left out."""
        self._times += part.times
        for track in part.tracks:
            rows = self._rows.setdefault(track.id, _Rows())
            rows.pad(part.first)
            rows.extend(track)
        ids = linker.ids
        self._rows = {id: rows for id, rows in self._rows.items() if id in ids}
        for rows in self._rows.values():
            rows.pad(len(self._times))
        # One window is the original's answer as it is.
        tracks = part.tracks if part.whole else [self._track(identity) for identity in linker.best]
        return self._result(tuple(track for track in tracks if track.score >= score_threshold))

    def _track(self, identity: Identity) -> Track:
        rows = self._rows[identity.id]
        boxes, areas, scores = (np.concatenate(some) for some in (rows.boxes, rows.areas, rows.scores))
        found = Track(identity.id, identity.category_id, identity.score, tuple(rows.rles), boxes, areas)
        return replace(found, frame_scores=scores)

    def _result(self, tracks: tuple[Track, ...]) -> VideoResult:
        video, length = self._video, len(self._times)
        times, names = np.array(self._times), video.file_names[:length]
        return VideoResult(1, video.name, video.size_hw, times, self._categories, tracks, names)
