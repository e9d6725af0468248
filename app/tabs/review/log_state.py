"""The review's log indexed by question and video, for the pages of the tab Review."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from tevit.review.decisions import TRACK_CREATING, AddTrack, Decision, Redo, Undo, Verdict
from tevit.review.log import Disagreement, LogState

_PAUSE_SECONDS = 600  # a longer time between two decisions is a break, not the time that an item took

Key = tuple[int, tuple[int | str, ...], str, int]
"""The subject of an item or a decision: video, tracks; where no track is named, the prediction's file and place."""


@dataclass(frozen=True)
class SubjectStatus:
    """The decisions on one subject. latest: the last one; reviewers: all who decided on it."""

    latest: Decision
    reviewers: tuple[str, ...]


class IndexedLog(LogState):
    """The log's state with its decisions by subject and by video, and times. Not thread-safe.

    track_numbers: id of a decision that creates a track -> its number among these decisions, from 1.
    """

    def __init__(self, log: Iterable[Decision] = ()):
        self.track_numbers: dict[str, int] = {}
        self._by_key: dict[Key, list[Decision]] = {}
        self._by_video: dict[int, list[Decision]] = {}
        self._videos: dict[str, int] = {}
        self._gaps: dict[str, list[float]] = {}
        self._times: dict[str, float] = {}
        super().__init__(log)

    def add(self, new: Iterable[Decision]) -> None:
        """Append decisions to the log, in order."""
        for decision in new:
            super().add((decision,))
            if isinstance(decision.action, TRACK_CREATING):
                self.track_numbers[decision.id] = len(self.track_numbers) + 1
            video = decision.video_id
            if isinstance(decision.action, Undo | Redo):  # belongs to the video of the decision that it switches
                video = self._videos.get(decision.action.decision, video)
            elif decision.verdict is not None:
                self._by_key.setdefault(decision_key(decision), []).append(decision)
                now = datetime.fromisoformat(decision.time).timestamp()
                gap = now - self._times.get(decision.reviewer, now - _PAUSE_SECONDS)
                if 0 < gap < _PAUSE_SECONDS:
                    self._gaps.setdefault(decision.reviewer, []).append(gap)
                self._times[decision.reviewer] = now
            self._videos[decision.id] = decision.video_id
            self._by_video.setdefault(video, []).append(decision)

    def status(self, key: Key) -> SubjectStatus | None:
        """What was decided on a subject and is not undone; None for nothing."""
        decisions = self.of_key(key)
        return SubjectStatus(decisions[-1], tuple(dict.fromkeys(d.reviewer for d in decisions))) if decisions else None

    def of_key(self, key: Key) -> tuple[Decision, ...]:
        """All decisions on a subject that are not undone."""
        return tuple(d for d in self._by_key.get(key, ()) if d.id not in self.undone)

    def of_video(self, video: int) -> tuple[Decision, ...]:
        """All decisions on one video, in the log's order."""
        return tuple(self._by_video.get(video, ()))

    def added_track(self, key: Key) -> Decision | None:
        """The decision that added the key's prediction as a label, unless it is undone."""
        return next((d for d in reversed(self.of_key(key)) if isinstance(d.action, AddTrack)), None)

    @property
    def verdict_counts(self) -> Mapping[str, Counter[Verdict]]:
        """As `LogState`, without reviewers who never gave a verdict."""
        return {reviewer: counts for reviewer, counts in super().verdict_counts.items() if counts}

    @property
    def disagreements(self) -> tuple[Disagreement, ...]:
        """As `LogState`, by video."""
        return tuple(sorted(super().disagreements, key=lambda disagreement: disagreement.video_id))

    def seconds(self, reviewer: str) -> float | None:
        """Median seconds between this reviewer's decisions; None before there are two."""
        gaps = self._gaps.get(reviewer)
        return median(gaps) if gaps else None


def decision_key(decision: Decision) -> Key:
    """The subject of a decision, comparable with `Reviewing.key`.

    What is done to a track that was created from a prediction has that prediction as its subject.
    """
    created = decision.prediction is not None and all(isinstance(ref, str) for ref in decision.tracks)
    if decision.prediction is None or not created:
        return decision.video_id, decision.tracks, "", 0
    return decision.video_id, (), decision.prediction.sha256, decision.prediction.place
