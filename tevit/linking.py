"""Joining the tracks of successive windows into tracks of the whole video.

Windows share frames; a track of the new window goes on one of the video's where their masks in the shared frames
agree. The assignment is Hungarian on mask IoU.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from tevit.masks import track_iou
from tevit.tracks import RLE, Track

MIN_IOU = 0.3  # below it, two tracks are two objects
SAME_CLASS = 0.01  # decides between equal masks: one query may appear under several classes


@dataclass(eq=False)
class _Identity:
    """A track that grows with the video: what is known in each frame so far, and its windows' scores and classes."""

    id: int
    rles: list[RLE | None]
    boxes: list[np.ndarray]
    areas: list[float]
    scores: list[float]  # of each frame, NaN where it was not found
    frames: int = 0  # of the windows in which it was found
    score_sum: float = 0.0  # over those frames
    votes: dict[int, float] = field(default_factory=dict)  # category id -> score sum

    @property
    def category_id(self) -> int:
        return max(sorted(self.votes), key=lambda category: self.votes[category])

    def pad(self, length: int) -> None:
        missing = length - len(self.rles)
        self.rles += [None] * missing
        self.boxes += [np.full(4, np.nan, np.float32)] * missing
        self.areas += [0.0] * missing
        self.scores += [np.nan] * missing

    def extend(self, track: Track, shared: int) -> None:
        """Go on with the frames of `track` after the `shared` ones; those keep the masks that they have."""
        self.rles += track.rles[shared:]
        self.boxes += list(track.boxes_xyxy[shared:])
        self.areas += track.areas[shared:].tolist()
        scores = np.full(len(track.rles), track.score) if track.frame_scores is None else track.frame_scores
        self.scores += scores[shared:].tolist()
        new = len(track.rles) - shared
        self.frames += new
        self.score_sum += track.score * new
        self.votes[track.category_id] = self.votes.get(track.category_id, 0.0) + track.score * new

    def track(self) -> Track:
        score = self.score_sum / self.frames
        boxes, areas, scores = np.stack(self.boxes), np.array(self.areas), np.array(self.scores, np.float32)
        return Track(self.id, self.category_id, score, tuple(self.rles), boxes, areas, frame_scores=scores)


class Linker:
    """Takes the windows of a video in order; `tracks()` is at any time the video up to the last frame added."""

    def __init__(self) -> None:
        self.length = 0
        self._identities: list[_Identity] = []

    def add(self, start: int, length: int, tracks: tuple[Track, ...]) -> None:
        """Add the window of `length` frames that begins at frame `start`, which may not leave a gap."""
        assert start <= self.length < start + length
        shared = self.length - start
        for track, identity in zip(tracks, self._partners(start, shared, tracks), strict=True):
            (identity or self._born()).extend(track, shared)
        self.length = start + length
        for identity in self._identities:
            identity.pad(self.length)

    def tracks(self, max_tracks: int, score_threshold: float = 0.0) -> tuple[Track, ...]:
        """At most `max_tracks` tracks, best first. Kept are those with the highest score summed over their frames.

        A track's score is the mean over the frames of the windows in which it was found; its class has the highest
        sum. Its id stays the same while the video goes on.
        """
        kept = sorted(self._identities, key=lambda identity: -identity.score_sum)[:max_tracks]
        tracks = sorted((identity.track() for identity in kept), key=lambda track: -track.score)
        return tuple(track for track in tracks if track.score >= score_threshold)

    def _born(self) -> _Identity:
        identity = _Identity(len(self._identities) + 1, [], [], [], [])
        identity.pad(self.length)
        self._identities.append(identity)
        return identity

    def _partners(self, start: int, shared: int, tracks: tuple[Track, ...]) -> list[_Identity | None]:
        """For each track of the window the identity that it goes on, None where it is a new one."""
        live = [identity for identity in self._identities if any(identity.rles[start:])]
        partners: list[_Identity | None] = [None] * len(tracks)
        if not live or not tracks:
            return partners
        ious = np.array([[track_iou(item.rles[start:], track.rles[:shared]) for item in live] for track in tracks])
        same = np.array([[item.category_id == track.category_id for item in live] for track in tracks])
        for row, column in zip(*linear_sum_assignment(-(ious + SAME_CLASS * same)), strict=True):
            if ious[row, column] >= MIN_IOU:
                partners[row] = live[column]
        return partners
