"""Track association: the tracks of successive windows become tracks of the whole video, at constant memory.

Each window contains frames of earlier ones: the last frames of the window before, and keyframes, in which objects
were clearly visible. A track of the new window extends a track of the video where their masks in those frames
overlap; after an absence, where class and query features agree. The assignment is Hungarian.

`TrackAssociator.dump` and `load` save and restore the state, so that an interrupted prediction can be resumed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from tevit.configs import ModelConfig
from tevit.inference.postprocess import SIDE, Detections, bilinear_weights
from tevit.results import Track, VideoResult, WindowResult, absent_track
from tevit.video.reader import Video

SAME_CLASS = 0.01  # decides between equal masks: one query may appear under several classes
ONE_PASS = 48  # a video of at most so many frames is one window
MAX_TRACKS = 100  # of a video: as many as the official metric takes
MAX_ACTIVE = 64  # tracks that may still be extended; beyond that, those with the lowest score are finished


@dataclass(frozen=True)
class AssociationOptions:
    """How windows are joined; the defaults are those of the table in benchmarks/windows.json.

    overlap: frames that a window shares with the one before. keyframes: number of older frames in a window.
    min_iou: lower bound of the soft IoU over the shared frames. appearance_weight: of the features' cosine beside the
    IoU. reid_threshold: cosine from which an object of the same class that was absent is re-identified.
    """

    overlap: int = 4
    keyframes: int = 2
    min_iou: float = 0.3
    appearance_weight: float = 0.5
    reid_threshold: float = 0.9


class Observation(msgspec.Struct, frozen=True):
    """An object in one frame: box xyxy in pixels, mask probabilities over it as 28 x 28 bytes, 255 for 1.

    score: the class's probability, 0 where the mask is empty.
    """

    box: tuple[float, float, float, float]
    probabilities: bytes
    score: float


class TrackState(msgspec.Struct):
    """A track that grows with the video; of its past only what may be needed again.

    frames: number of frames of the windows that contain it. score_sum: over those frames.
    votes: category id -> score sum. feature: sum of its unit query features. observations: by frame.
    """

    id: int
    frames: int = 0
    score_sum: float = 0.0
    votes: dict[int, float] = {}
    feature: list[float] = []
    observations: dict[int, Observation] = msgspec.field(default_factory=dict, name="looks")  # name in saved states

    @property
    def category_id(self) -> int:
        """The class with the highest score sum."""
        return max(sorted(self.votes), key=lambda category: self.votes[category])

    @property
    def score(self) -> float:
        """Mean over the frames."""
        return self.score_sum / max(self.frames, 1)

    def extend(self, window: "_Window", track: int) -> None:
        """Append the new frames of a window's track; known frames keep their observations."""
        scores, category = window.scores[track], window.categories[track]
        total = float(scores[window.new].sum())
        self.frames += len(window.new)
        self.score_sum += total
        self.votes[category] = self.votes.get(category, 0.0) + total
        self.feature = (window.features[track] + (self.feature or 0.0)).tolist()
        for place in window.new:
            visible = window.maps[track, place].max(initial=0) >= 128
            self.observations[window.frames[place]] = Observation(
                tuple(window.boxes[track, place].tolist()),
                window.maps[track, place].tobytes(),
                float(scores[place]) if visible else 0.0,
            )


class _AssociatorState(msgspec.Struct):
    """length: frames so far. last_id: of the newest track. keyframes: indices, ascending. active: may be extended.
    finished: the best of the others. The encoded names are those of states on disk."""

    length: int = 0
    last_id: int = msgspec.field(default=0, name="born")
    keyframes: list[int] = []
    active: list[TrackState] = msgspec.field(default_factory=list, name="live")
    finished: list[TrackState] = msgspec.field(default_factory=list, name="gone")


@dataclass(frozen=True, eq=False)
class FrameMasks:
    """The same S frames of N tracks. boxes: (N, S, 4). maps: float32 (N, S, 28, 28). known: bool (N, S)."""

    boxes: np.ndarray
    maps: np.ndarray
    known: np.ndarray


@dataclass(frozen=True, eq=False)
class _Window:
    """N tracks in the T frames of a window. frames: their indices. shared, new: positions of those that were known
    before, and of the others. categories: ids (N,). features: unit length (N, C). scores: (N, T). boxes: (N, T, 4).
    maps: uint8 (N, T, 28, 28), 255 times the probability."""

    frames: Sequence[int]
    shared: list[int]
    new: list[int]
    categories: list[int]
    features: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray
    maps: np.ndarray


class TrackAssociator:
    """Takes the windows of a video in order."""

    def __init__(self, options: AssociationOptions, max_tracks: int):
        """max_tracks: for each `ONE_PASS` frames, `MAX_TRACKS` at most: in a long video most objects are seen for a
        short while."""
        self._options, self._max_tracks = options, max_tracks
        self._limit = max(max_tracks, MAX_TRACKS)
        self._state = _AssociatorState()

    def dump(self) -> bytes:
        """The whole state."""
        return msgspec.msgpack.encode(self._state)

    def load(self, state: bytes) -> None:
        """Restore what `dump` returned. Raises: ValueError for anything else."""
        self._state = msgspec.msgpack.decode(state, type=_AssociatorState)

    @property
    def length(self) -> int:
        """Frames so far."""
        return self._state.length

    @property
    def overlap(self) -> int:
        """Frames that a window shares with the one before."""
        return self._options.overlap

    @property
    def keyframes(self) -> list[int]:
        """Indices of the frames that the next window should contain before its own."""
        return self._state.keyframes

    @property
    def best(self) -> list[TrackState]:
        """The tracks with the highest score sum, as many as `max_tracks` allows, best mean score first."""
        tracks = sorted(self._state.active + self._state.finished, key=lambda track: -track.score_sum)
        count = min(self._max_tracks * math.ceil(self._state.length / ONE_PASS), self._limit)
        return sorted(tracks[:count], key=lambda track: -track.score)

    @property
    def ids(self) -> set[int]:
        """Of the tracks that may still be among the best."""
        return {track.id for track in self._state.active + self._state.finished}

    def add(self, frames: Sequence[int], detections: Detections, category_ids: Sequence[int]) -> list[int]:
        """Add a window. Returns the track id of each of its N detections.

        frames: indices of the clip's frames: keyframes, then those of the window, without a gap. category_ids: in the
        order of the labels.
        """
        state, count = self._state, self._state.length
        shared, new = ([at for at, frame in enumerate(frames) if (frame < count) == old] for old in (True, False))
        window = _Window(
            frames,
            shared,
            new,
            [category_ids[int(label)] for label in detections.labels],
            _unit(detections.features.numpy()),
            detections.frame_scores.numpy().T,
            detections.boxes_xyxy.numpy().swapaxes(0, 1),
            (detections.mask_logits.sigmoid() * 255).round().byte().numpy().swapaxes(0, 1),
        )
        ids = []
        for index, match in enumerate(self._match(window)):
            if match is None:
                state.last_id += 1
                match = TrackState(state.last_id)
                state.active.append(match)
            match.extend(window, index)
            ids.append(match.id)
        state.length = frames[-1] + 1
        self._choose_keyframes(frames)
        self._prune()
        return ids

    def cut(self) -> None:
        """A new scene begins: no active track is extended, and no earlier frame is needed again."""
        self._finish(self._state.active)
        self._state.active, self._state.keyframes = [], []

    def _finish(self, tracks: list[TrackState]) -> None:
        """Keep the best of the finished tracks, without features and observations."""
        ended = [msgspec.structs.replace(track, feature=[], observations={}) for track in tracks]
        finished = sorted(self._state.finished + ended, key=lambda track: -track.score_sum)
        self._state.finished = finished[: self._limit]

    def _match(self, window: _Window) -> list[TrackState | None]:
        """The active track that each track of the window extends, None for a new one."""
        active, options, categories = self._state.active, self._options, window.categories
        matches: list[TrackState | None] = [None] * len(categories)
        if not active or not categories:
            return matches
        boxes, maps = window.boxes[:, window.shared], window.maps[:, window.shared].astype(np.float32) / 255
        known = _observed(active, [window.frames[place] for place in window.shared])
        ious = soft_iou(FrameMasks(boxes, maps, np.ones(boxes.shape[:2], bool)), known)
        same_class = np.array([[track.category_id == category for track in active] for category in categories])
        cosines = window.features @ _unit(np.array([track.feature for track in active])).T
        absent = (known.maps.max((2, 3), initial=0) < 0.5).all(1)  # an empty mask in every shared frame
        reidentified = absent & same_class & (cosines >= options.reid_threshold)
        allowed = (ious >= options.min_iou) | reidentified
        value = np.where(allowed, 1 + ious + options.appearance_weight * cosines + SAME_CLASS * same_class, 0)
        for row, column in zip(*linear_sum_assignment(-value), strict=True):
            if allowed[row, column]:
                matches[row] = active[column]
        return matches

    def _choose_keyframes(self, frames: Sequence[int]) -> None:
        """Greedily the frames with the highest scores over all active tracks, without those of the next overlap."""
        state, chosen = self._state, []
        tail = set(range(state.length - self._options.overlap, state.length))
        candidates = [frame for frame in frames if frame not in tail]
        values = np.array(
            [
                [track.observations[frame].score if frame in track.observations else 0.0 for track in state.active]
                for frame in candidates
            ]
        )
        covered = np.zeros(len(state.active))
        while len(chosen) < self._options.keyframes and len(values) and len(state.active):
            gains = np.maximum(values - covered, 0).sum(1)
            best = int(np.argmax(gains))
            if gains[best] <= 0:
                break
            chosen.append(candidates[best])
            covered = np.maximum(covered, values[best])
        state.keyframes = sorted(chosen)

    def _prune(self) -> None:
        """Drop observations of frames that no window contains again, and active tracks beyond `MAX_ACTIVE`."""
        state = self._state
        needed = {*state.keyframes, *range(state.length - self._options.overlap, state.length)}
        for track in state.active:
            track.observations = {frame: item for frame, item in track.observations.items() if frame in needed}
        state.active.sort(key=lambda track: (not track.observations, -track.score_sum))
        self._finish(state.active[MAX_ACTIVE:])
        del state.active[MAX_ACTIVE:]
        state.active.sort(key=lambda track: track.id)


def _unit(features: np.ndarray) -> np.ndarray:
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-9)


def _observed(tracks: list[TrackState], frames: list[int]) -> FrameMasks:
    """The stored observations of some frames."""
    shape = (len(tracks), len(frames))
    boxes, maps = np.zeros((*shape, 4), np.float32), np.zeros((*shape, SIDE, SIDE), np.float32)
    known = np.zeros(shape, bool)
    for row, track in enumerate(tracks):
        for column, frame in enumerate(frames):
            if item := track.observations.get(frame):
                boxes[row, column], known[row, column] = item.box, True
                maps[row, column] = np.frombuffer(item.probabilities, np.uint8).reshape(SIDE, SIDE) / np.float32(255)
    return FrameMasks(boxes, maps, known)


def soft_iou(a: FrameMasks, b: FrameMasks) -> np.ndarray:
    """float64 (N, M): sum of the minima over sum of the maxima of the probabilities, over the frames known to both.

    Each pair is sampled at 28 x 28 points of the box around both; 0 without a common frame.
    """
    both = a.known[:, None] & b.known[None]  # (N, M, S)
    rows, columns, frames = np.nonzero(both)
    boxes_a, boxes_b = a.boxes[rows, frames], b.boxes[columns, frames]
    around = np.concatenate([np.minimum(boxes_a, boxes_b)[:, :2], np.maximum(boxes_a, boxes_b)[:, 2:]], 1)
    left = _sample(a.maps[rows, frames], boxes_a, around)
    right = _sample(b.maps[columns, frames], boxes_b, around)
    area = np.prod(np.maximum(around[:, 2:] - around[:, :2], 0), 1, dtype=np.float64)
    sums = np.zeros((2, *both.shape[:2]))
    np.add.at(sums[0], (rows, columns), area * np.minimum(left, right).sum((1, 2)))
    np.add.at(sums[1], (rows, columns), area * np.maximum(left, right).sum((1, 2)))
    return np.divide(sums[0], sums[1], out=np.zeros_like(sums[0]), where=sums[1] > 0)


def _sample(maps: np.ndarray, boxes: np.ndarray, around: np.ndarray) -> np.ndarray:
    """float32 (P, 28, 28): maps (P, 28, 28) over `boxes` (P, 4), bilinear at a grid over `around`; 0 outside."""
    shares = (np.arange(SIDE, dtype=np.float32) + 0.5) / SIDE
    points = around[:, None, :2] + (around[:, 2:] - around[:, :2])[:, None] * shares[:, None]  # (P, 28, x and y)
    low, side = boxes[:, None, :2], np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-6)[:, None]
    weights = bilinear_weights(*(torch.from_numpy(array) for array in (points, low, side))).numpy()  # (P, 28, 2, 28)
    return weights[:, :, 1] @ maps @ weights[:, :, 0].swapaxes(1, 2)


# --- the result of the windows so far


class ResultAccumulator:
    """Joins the windows of a video in memory."""

    def __init__(self, video: Video, config: ModelConfig):
        self._video, self._categories = video, dict(config.categories)
        self._times: list[float] = []
        self._windows: list[tuple[int, dict[int, Track]]] = []  # number of frames, tracks by id

    def add(self, window: WindowResult, associator: TrackAssociator, score_threshold: float = 0.0) -> VideoResult:
        """The video so far, with the next window, which `associator` has added; without tracks below the threshold."""
        self._times += window.times
        self._windows.append((len(window.times), {track.id: track for track in window.tracks}))
        for _, tracks in self._windows:
            for id in tracks.keys() - associator.ids:
                del tracks[id]
        # A single window is the original's output as it is.
        tracks = window.tracks if window.whole else [self._track(state) for state in associator.best]
        tracks = tuple(track for track in tracks if track.score >= score_threshold)
        times, names = np.array(self._times), self._video.file_names[: len(self._times)]
        return VideoResult(1, self._video.name, self._video.size_hw, times, self._categories, tracks, names)

    def _track(self, state: TrackState) -> Track:
        """A track in every frame so far; absent, with NaN boxes and scores, in windows that lack it."""
        id, category_id, score = state.id, state.category_id, state.score
        parts = [tracks.get(id) or absent_track(id, category_id, score, length) for length, tracks in self._windows]
        rles = tuple(rle for part in parts for rle in part.rles)
        boxes, areas = (np.concatenate([getattr(part, name) for part in parts]) for name in ("boxes_xyxy", "areas"))
        frame_scores = np.concatenate([part.frame_scores for part in parts if part.frame_scores is not None])
        return Track(id, category_id, score, rles, boxes, areas, frame_scores=frame_scores)
