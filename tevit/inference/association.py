"""Joining the tracks of successive windows into tracks of the whole video, at a memory that does not grow with it.

A window sees again a few frames that are known: the last ones of the window before, and keyframes, in which objects
were seen well. A track of the new window goes on one of the video's where their masks in those frames agree; after an
absence, where class and query features do. The assignment is Hungarian.

What is remembered can be written down (`Linker.dump`) and read again, so that a stopped prediction goes on.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from scipy.optimize import linear_sum_assignment

from tevit.inference.postprocess import SIDE, Detections

SAME_CLASS = 0.01  # decides between equal masks: one query may appear under several classes
ONE_PASS = 48  # a video of at most so many frames is looked at in one pass
MOST_KEPT = 100  # identities of a video, as many as the official metric looks at
MOST_LIVE = 64  # identities that may still go on; of more, those with the least score go


@dataclass(frozen=True)
class Linking:
    """How windows are joined; the defaults are those of the table in benchmarks/windows.json.

    overlap: frames that a window shares with the one before. keyframes: how many older ones it sees besides. min_iou:
    soft IoU over the shared frames below which two tracks are two objects. likeness: weight of the features' cosine
    beside it. alike: cosine from which an object that was away is taken to be the same, if the class is.
    """

    overlap: int = 4
    keyframes: int = 2
    min_iou: float = 0.3
    likeness: float = 0.5
    alike: float = 0.9


class Look(msgspec.Struct, frozen=True):
    """An object in one frame: box xyxy in pixels, its mask's probabilities there as 28 x 28 bytes.

    score: how well it is seen there, 0 where its mask is empty.
    """

    box: tuple[float, float, float, float]
    probabilities: bytes
    score: float


_UNSEEN = Look((0.0, 0.0, 0.0, 0.0), b"", 0.0)


class Identity(msgspec.Struct):
    """A track that grows with the video. Of its past only what may be needed again is here.

    frames: of the windows in which it was found. score_sum: over those frames.
    votes: category id -> score sum. feature: sum of its unit query features. looks: by frame.
    """

    id: int
    frames: int = 0
    score_sum: float = 0.0
    votes: dict[int, float] = {}
    feature: list[float] = []
    looks: dict[int, Look] = {}

    @property
    def category_id(self) -> int:
        """The class with the highest score sum."""
        return max(sorted(self.votes), key=lambda category: self.votes[category])

    @property
    def score(self) -> float:
        """Mean over the frames."""
        return self.score_sum / max(self.frames, 1)


class _Memory(msgspec.Struct):
    """length: frames so far. keyframes: indices, ascending. live: may go on. gone: the best of those that won't."""

    length: int = 0
    born: int = 0
    keyframes: list[int] = []
    live: list[Identity] = []
    gone: list[Identity] = []


@dataclass(frozen=True, eq=False)
class _Looks:
    """The same S frames of several tracks. boxes: (N, S, 4). maps: float32 (N, S, 28, 28). known: bool (N, S)."""

    boxes: np.ndarray
    maps: np.ndarray
    known: np.ndarray


@dataclass(frozen=True, eq=False)
class _Window:
    """What a window says of its N tracks in its T frames. frames: their indices. shared, new: places of those that were
    known before, and of the others. categories: ids (N,). features: unit length (N, C). scores: (N, T). boxes: (N, T,
    4). maps: uint8 (N, T, 28, 28), 255 times the probability."""

    frames: Sequence[int]
    shared: list[int]
    new: list[int]
    categories: list[int]
    features: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray
    maps: np.ndarray

    def looks(self) -> _Looks:
        """In the shared frames."""
        boxes = self.boxes[:, self.shared]
        maps = self.maps[:, self.shared].astype(np.float32) / 255
        return _Looks(boxes, maps, np.ones(boxes.shape[:2], bool))


class Linker:
    """Takes the windows of a video in order. max_tracks: how many identities are wanted of `ONE_PASS` frames; of twice
    as many twice as many, and so on up to `MOST_KEPT`: in a long video most objects are seen for a short while."""

    def __init__(self, linking: Linking, max_tracks: int):
        self._linking, self._wanted = linking, max_tracks
        self._most = max(max_tracks, MOST_KEPT)
        self._memory = _Memory()

    def dump(self) -> bytes:
        """All that is remembered."""
        return msgspec.msgpack.encode(self._memory)

    def load(self, dumped: bytes) -> None:
        """Go on where `dump` was called. Raises: ValueError for what `dump` has not made."""
        self._memory = msgspec.msgpack.decode(dumped, type=_Memory)

    @property
    def length(self) -> int:
        """Frames so far."""
        return self._memory.length

    @property
    def keyframes(self) -> list[int]:
        """Indices of the frames that the next window should see again before its own."""
        return self._memory.keyframes

    @property
    def best(self) -> list[Identity]:
        """The wanted number of identities with the highest score sum, best mean score first."""
        kept = sorted(self._memory.live + self._memory.gone, key=lambda identity: -identity.score_sum)
        wanted = min(self._wanted * math.ceil(self._memory.length / ONE_PASS), self._most)
        return sorted(kept[:wanted], key=lambda identity: -identity.score)

    @property
    def ids(self) -> set[int]:
        """Those that may still be among the best."""
        return {identity.id for identity in self._memory.live + self._memory.gone}

    def add(self, frames: Sequence[int], found: Detections, category_ids: Sequence[int]) -> list[int]:
        """Add a window; the identity of each of its tracks.

        frames: indices of the clip's frames: keyframes, then those of the window, which may leave no gap. category_ids:
        in the order of the labels.
        """
        memory = self._memory
        window = _window(frames, memory.length, found, category_ids)
        partners = [partner or self._born() for partner in self._partners(window)]
        for track, identity in enumerate(partners):
            _go_on(identity, window, track)
        memory.length = frames[-1] + 1
        self._choose_keyframes(frames)
        self._forget()
        return [identity.id for identity in partners]

    def cut(self) -> None:
        """Another scene begins: none of those that live goes on, and nothing of before is to be seen again."""
        memory = self._memory
        self._end(memory.live)
        memory.live, memory.keyframes = [], []

    def _end(self, over: list[Identity]) -> None:
        """Of identities that won't go on the best are kept, without what was for that."""
        ended = [msgspec.structs.replace(identity, feature=[], looks={}) for identity in over]
        known = self._memory.gone + ended
        self._memory.gone = sorted(known, key=lambda identity: -identity.score_sum)[: self._most]

    def _born(self) -> Identity:
        self._memory.born += 1
        identity = Identity(self._memory.born)
        self._memory.live.append(identity)
        return identity

    def _partners(self, window: _Window) -> list[Identity | None]:
        """For each track of the window the identity that it goes on, None where it is a new one."""
        live, categories = self._memory.live, window.categories
        partners: list[Identity | None] = [None] * len(categories)
        if not live or not categories:
            return partners
        known = _known(live, [window.frames[place] for place in window.shared])
        ious = soft_iou(window.looks(), known)
        same = np.array([[item.category_id == category for item in live] for category in categories])
        cosines = window.features @ _unit(np.array([item.feature for item in live])).T
        away = (known.maps.max((2, 3), initial=0) < 0.5).all(1)  # nothing of them is in the frames that both know
        fits = (ious >= self._linking.min_iou) | (away & same & (cosines >= self._linking.alike))
        value = np.where(fits, 1 + ious + self._linking.likeness * cosines + SAME_CLASS * same, 0)
        for row, column in zip(*linear_sum_assignment(-value), strict=True):
            if fits[row, column]:
                partners[row] = live[column]
        return partners

    def _choose_keyframes(self, frames: Sequence[int]) -> None:
        """The frames, old and new, that together show every live object best; those of the overlap come anyway."""
        memory, chosen = self._memory, []
        tail = set(range(memory.length - self._linking.overlap, memory.length))
        candidates = [frame for frame in frames if frame not in tail]
        values = np.array([[item.looks.get(frame, _UNSEEN).score for item in memory.live] for frame in candidates])
        covered = np.zeros(len(memory.live))
        while len(chosen) < self._linking.keyframes and len(values) and len(memory.live):
            gains = np.maximum(values - covered, 0).sum(1)
            best = int(np.argmax(gains))
            if gains[best] <= 0:
                break
            chosen.append(candidates[best])
            covered = np.maximum(covered, values[best])
        memory.keyframes = sorted(chosen)

    def _forget(self) -> None:
        """Looks at frames that nobody will see again, and identities beyond those that can matter."""
        memory = self._memory
        wanted = {*memory.keyframes, *range(memory.length - self._linking.overlap, memory.length)}
        for identity in memory.live:
            identity.looks = {frame: look for frame, look in identity.looks.items() if frame in wanted}
        memory.live.sort(key=lambda identity: (not identity.looks, -identity.score_sum))
        self._end(memory.live[MOST_LIVE:])
        del memory.live[MOST_LIVE:]
        memory.live.sort(key=lambda identity: identity.id)


def _window(frames: Sequence[int], known: int, found: Detections, category_ids: Sequence[int]) -> _Window:
    """known: how many frames of the video were known before it."""
    shared, new = ([at for at, frame in enumerate(frames) if (frame < known) == old] for old in (True, False))
    categories = [category_ids[int(label)] for label in found.labels]
    maps = (found.mask_logits.sigmoid() * 255).round().byte().numpy().swapaxes(0, 1)
    scores, boxes = found.frame_scores.numpy().T, found.boxes_xyxy.numpy().swapaxes(0, 1)
    return _Window(frames, shared, new, categories, _unit(found.features.numpy()), scores, boxes, maps)


def _go_on(identity: Identity, window: _Window, track: int) -> None:
    """An identity takes over what a window says of it; frames that were known keep what was said."""
    scores, category = window.scores[track], window.categories[track]
    total = float(scores[window.new].sum())
    identity.frames += len(window.new)
    identity.score_sum += total
    identity.votes[category] = identity.votes.get(category, 0.0) + total
    identity.feature = (window.features[track] + (identity.feature or 0.0)).tolist()
    for place in window.new:
        seen = window.maps[track, place].max(initial=0) >= 128
        look = Look(
            tuple(window.boxes[track, place].tolist()),
            window.maps[track, place].tobytes(),
            float(scores[place]) if seen else 0.0,
        )
        identity.looks[window.frames[place]] = look


def _unit(features: np.ndarray) -> np.ndarray:
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-9)


def _known(identities: list[Identity], frames: list[int]) -> _Looks:
    """What is remembered of these frames."""
    shape = (len(identities), len(frames))
    boxes, maps = np.zeros((*shape, 4), np.float32), np.zeros((*shape, SIDE, SIDE), np.float32)
    known = np.zeros(shape, bool)
    for row, identity in enumerate(identities):
        for column, frame in enumerate(frames):
            if look := identity.looks.get(frame):
                boxes[row, column], known[row, column] = look.box, True
                maps[row, column] = np.frombuffer(look.probabilities, np.uint8).reshape(SIDE, SIDE) / np.float32(255)
    return _Looks(boxes, maps, known)


def soft_iou(a: _Looks, b: _Looks) -> np.ndarray:
    """float64 (N, M): the sum of the smaller over the sum of the greater probability, over the frames that both know.

    Each pair is compared at 28 x 28 points of the box round both; 0 without a common frame.
    """
    both = a.known[:, None] & b.known[None]  # (N, M, S)
    rows, columns, frames = np.nonzero(both)
    boxes_a, boxes_b = a.boxes[rows, frames], b.boxes[columns, frames]
    whole = np.concatenate([np.minimum(boxes_a, boxes_b)[:, :2], np.maximum(boxes_a, boxes_b)[:, 2:]], 1)
    left = _sampled(a.maps[rows, frames], boxes_a, whole)
    right = _sampled(b.maps[columns, frames], boxes_b, whole)
    area = np.prod(np.maximum(whole[:, 2:] - whole[:, :2], 0), 1, dtype=np.float64)
    sums = np.zeros((2, *both.shape[:2]))
    np.add.at(sums[0], (rows, columns), area * np.minimum(left, right).sum((1, 2)))
    np.add.at(sums[1], (rows, columns), area * np.maximum(left, right).sum((1, 2)))
    return np.divide(sums[0], sums[1], out=np.zeros_like(sums[0]), where=sums[1] > 0)


def _sampled(maps: np.ndarray, boxes: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Maps (P, 28, 28) over `boxes` (P, 4), bilinear at the points of a grid over `whole`; 0 outside."""
    across = _weights(boxes[:, 0], boxes[:, 2], whole[:, 0], whole[:, 2])
    down = _weights(boxes[:, 1], boxes[:, 3], whole[:, 1], whole[:, 3])
    return down @ maps @ across.swapaxes(1, 2)


def _weights(low: np.ndarray, high: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """float32 (P, 28 points, 28 cells): how much each cell of low..high counts at each point of first..last."""
    shares = (np.arange(SIDE, dtype=np.float32) + 0.5) / SIDE
    points = first[:, None] + (last - first)[:, None] * shares
    cells = (points - low[:, None]) / np.maximum(high - low, 1e-6)[:, None] * SIDE - 0.5
    return np.maximum(0, 1 - np.abs(cells[:, :, None] - np.arange(SIDE, dtype=np.float32)))
