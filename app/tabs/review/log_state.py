"""The review's log as pages need it, brought up to date decision by decision.

Ten thousand decisions cost no more than the new ones.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from tevit.review.decisions import TRACK_CREATING, AddTrack, Decision, Redo, Undo, Verdict
from tevit.review.log import Disagreement, standing

_PAUSE_SECONDS = 600  # between two decisions: a longer one is no time that an item took

Key = tuple[int, tuple[int | str, ...], str, int]
"""What an item or a decision is about: video, tracks; and where it names no track, the prediction's file and place."""


@dataclass(frozen=True)
class Done:
    """What the log says about one thing. latest: the last word; reviewers: all who decided on it."""

    latest: Decision
    reviewers: tuple[str, ...]


class IndexedLog:
    """The log as pages need it, brought up to date by `add`. Not for several threads at once."""

    def __init__(self) -> None:
        self.log: list[Decision] = []
        self.undone: set[str] = set()
        self.makers: dict[str, int] = {}  # decisions that make a track -> the how-manieth of these, from 1
        self._by_id: dict[str, Decision] = {}
        self._about: dict[Key, list[Decision]] = {}
        self._videos: dict[int, list[Decision]] = {}
        self._counts: dict[str, Counter[Verdict]] = {}
        self._gaps: dict[str, list[float]] = {}
        self._times: dict[str, float] = {}
        self._disagreements: dict[int, tuple[Disagreement, ...]] = {}
        self._changed: set[int] = set()

    def add(self, new: Sequence[Decision]) -> None:
        """Decisions that have come to the log, in its order."""
        for decision in new:
            self.log.append(decision)
            self._by_id[decision.id] = decision
            if isinstance(decision.action, TRACK_CREATING):
                self.makers[decision.id] = len(self.makers) + 1
            if isinstance(decision.action, Undo | Redo):
                self._switch(decision)
            elif decision.verdict is not None:
                self._about.setdefault(decision_key(decision), []).append(decision)
                self._count(decision, 1)
                self._clock(decision)
            video = self._video(decision)
            self._videos.setdefault(video, []).append(decision)
            self._changed.add(video)

    def _video(self, decision: Decision) -> int:
        """The video that it says something about: an undo belongs to what it undoes."""
        named = getattr(decision.action, "decision", None)
        target = self._by_id.get(named) if named else None
        return decision.video_id if target is None else target.video_id

    def _switch(self, decision: Decision) -> None:
        action = decision.action
        assert isinstance(action, Undo | Redo)
        target = self._by_id.get(action.decision)
        back = isinstance(action, Redo)
        if target is None or isinstance(target.action, Undo | Redo) or back != (target.id in self.undone):
            return  # as in tevit.review.log: a switch with nothing to work on counts for nothing
        self.undone ^= {target.id}
        if target.verdict is not None:
            self._count(target, 1 if back else -1)

    def _count(self, decision: Decision, by: int) -> None:
        assert decision.verdict is not None
        self._counts.setdefault(decision.reviewer, Counter())[decision.verdict] += by

    def _clock(self, decision: Decision) -> None:
        now = datetime.fromisoformat(decision.time).timestamp()
        gap = now - self._times.get(decision.reviewer, now - _PAUSE_SECONDS)
        if 0 < gap < _PAUSE_SECONDS:
            self._gaps.setdefault(decision.reviewer, []).append(gap)
        self._times[decision.reviewer] = now

    def done(self, key: Key) -> Done | None:
        """What was decided about it and is not undone."""
        found = [d for d in self._about.get(key, ()) if d.id not in self.undone]
        return Done(found[-1], tuple(dict.fromkeys(d.reviewer for d in found))) if found else None

    def of(self, key: Key) -> tuple[Decision, ...]:
        """All decisions about it that are not undone."""
        return tuple(d for d in self._about.get(key, ()) if d.id not in self.undone)

    def of_video(self, video: int) -> tuple[Decision, ...]:
        """Everything that was said about one video, in the log's order."""
        return tuple(self._videos.get(video, ()))

    def added(self, key: Key) -> Decision | None:
        """The decision by which a prediction has become a label, as far as it is not undone."""
        return next((d for d in reversed(self.of(key)) if isinstance(d.action, AddTrack)), None)

    @property
    def counts(self) -> Mapping[str, Counter[Verdict]]:
        """Reviewer -> verdict -> decisions that are not undone, reviewers by name."""
        return dict(sorted(self._counts.items()))

    def seconds(self, reviewer: str) -> float | None:
        """How long an item takes this reviewer, the median; None before there are two decisions."""
        gaps = self._gaps.get(reviewer)
        return median(gaps) if gaps else None

    @property
    def disagreements(self) -> tuple[Disagreement, ...]:
        """Not resolved, of all videos."""
        for video in self._changed:
            self._disagreements[video] = standing(self._videos[video]).disagreements
        self._changed.clear()
        return tuple(found for video in sorted(self._disagreements) for found in self._disagreements[video])

    def last(self, reviewer: str) -> Decision | None:
        """What this reviewer's next undo takes back."""
        own = (d for d in reversed(self.log) if d.reviewer == reviewer and not isinstance(d.action, Undo | Redo))
        return next((d for d in own if d.id not in self.undone), None)

    def next(self, reviewer: str) -> Decision | None:
        """What this reviewer's next redo brings back: what they undid last, if they decided nothing since."""
        for decision in reversed(self.log):
            if decision.reviewer != reviewer or isinstance(decision.action, Redo):
                continue
            if not isinstance(decision.action, Undo):
                return None
            if decision.action.decision in self.undone:
                return self._by_id[decision.action.decision]
        return None


def decision_key(decision: Decision) -> Key:
    """What a decision is about, to be compared with `Reviewing.key`: what is done to a track that was made of a
    prediction is about that prediction."""
    made = decision.prediction is not None and all(isinstance(ref, str) for ref in decision.tracks)
    if decision.prediction is None or not made:
        return decision.video_id, decision.tracks, "", 0
    return decision.video_id, (), decision.prediction.sha256, decision.prediction.place
