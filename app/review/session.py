"""What all pages of the tab Review share: the log, what is done by it, and the queues of what to ask.

The log may grow by other pages and by other processes; what is known of it is brought up to date decision by
decision, so that ten thousand of them cost no more than the new ones.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import cast

from app.data.project import Project
from app.store import Store
from tevit.progress import Progress
from tevit.review.choices import Choice, choices
from tevit.review.decisions import Decision, Predicted, Redo, Undo, Verdict, decide
from tevit.review.labels import content_hash
from tevit.review.queue import Item, queue_of, walk
from tevit.review.standing import Disagreement, standing
from tevit.ytvis import Dataset, Results

WALK = ""  # in the place of a model's name: all tracks of all videos
_PAUSE_SECONDS = 600  # between two decisions: a longer one is no time that an item took

Key = tuple[int, tuple[int | str, ...], str, int]
"""What an item or a decision is about: video, tracks; and where it names no track, the prediction's file and place."""


@dataclass(frozen=True)
class Done:
    """What the log says about one thing. latest: the last word; reviewers: all who decided on it."""

    latest: Decision
    reviewers: tuple[str, ...]


class Ledger:
    """The log as pages need it, brought up to date by `add`. Not for several threads at once."""

    def __init__(self) -> None:
        self.log: list[Decision] = []
        self.undone: set[str] = set()
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
            if isinstance(decision.action, Undo | Redo):
                self._switch(decision)
            elif decision.verdict is not None:
                self._about.setdefault(about(decision), []).append(decision)
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
            return  # as in tevit.review.standing: a switch with nothing to work on counts for nothing
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


def about(decision: Decision) -> Key:
    """What a decision is about, to be compared with `Reviewing.key` of an item."""
    if decision.tracks or decision.prediction is None:
        return decision.video_id, decision.tracks, "", 0
    return decision.video_id, (), decision.prediction.sha256, decision.prediction.place


class Reviewing:
    """One project's review. May be used from any thread."""

    def __init__(self, project: Project):
        self.project = project
        self._lock = threading.RLock()
        self._store: Store | None = None
        self._ledger = Ledger()
        self._queues: dict[str, tuple[Item, ...]] = {}
        self._making: dict[str, threading.Lock] = {}

    @property
    def lacks(self) -> str:
        """Why nothing can be reviewed; "" where something can."""
        if self.project.truth is None:
            return "Review needs a data set: start the studio with --dataset, and --predictions for a model's view."
        return "" if self.project.dataset.videos else "This data set has no videos."

    @property
    def store(self) -> Store:
        """The log on disk, opened when it is first asked for. Raises: as `Store`."""
        with self._lock:
            if self._store is None:
                self._store = Store(self.project.folder)
            return self._store

    @cached_property
    def original(self) -> bytes:
        """The labels as their file has them. Raises: OSError."""
        assert self.project.truth is not None
        return Path(self.project.truth.path).read_bytes()

    @cached_property
    def hash(self) -> str:
        """The labels' `content_hash`, which every decision carries."""
        return content_hash(self.original)

    @contextmanager
    def ledger(self) -> Iterator[Ledger]:
        """Brought up to date with the log on disk; nobody changes it inside. Raises: OSError."""
        with self._lock:
            log = self.store.decisions()
            self._ledger.add(log[len(self._ledger.log) :])
            yield self._ledger

    def append(self, decision: Decision) -> None:
        """On the disk when it returns. Raises: OSError, ValueError: then nothing was saved."""
        self.store.append(decision)

    def undo(self, reviewer: str) -> Decision | None:
        """Take back this reviewer's latest decision; returns it, None where there is none."""
        with self.ledger() as ledger:
            return self._switch(ledger.last(reviewer), Undo, reviewer)

    def redo(self, reviewer: str) -> Decision | None:
        """Bring back what this reviewer took back last."""
        with self.ledger() as ledger:
            return self._switch(ledger.next(reviewer), Redo, reviewer)

    def _switch(self, target: Decision | None, action: Callable[[str], Undo | Redo], reviewer: str) -> Decision | None:
        if target is not None:
            self.append(decide(self.hash, target.video_id, None, action(target.id), reviewer))
        return target

    # --- what to ask

    def queue(self, model: str, progress: Progress | None = None) -> tuple[Item, ...]:
        """What a model disagrees about, the most likely label errors first; WALK: every label in the file's order.

        Worked out once. Raises: OSError, ValueError where files cannot be read.
        """
        with self._lock:
            making = self._making.setdefault(model, threading.Lock())
        with making:
            if model not in self._queues:
                self._queues[model] = tuple(self._make(model, progress))
            return self._queues[model]

    def _make(self, model: str, progress: Progress | None) -> Sequence[Item]:
        project = self.project
        if model == WALK:
            return walk(project.dataset)
        results = project.results[project.model_index(model)]
        if not project.has_truth:
            return unlabelled(project.dataset, results)
        from tevit.evaluation.errors import find_errors
        from tevit.evaluation.inputs import read_inputs
        from tevit.evaluation.measuring import measure

        measured = measure(read_inputs(project.dataset, results), progress=progress, all_pairs=True)
        return queue_of(project.dataset, measured, find_errors(measured))

    def key(self, item: Item, model: str) -> Key:
        """What an item is about."""
        if item.annotation_ids or item.prediction is None:
            return item.video_id, tuple(item.annotation_ids), "", 0
        return item.video_id, (), self._file(model).sha256, item.prediction

    def _file(self, model: str):
        return self.project.models[self.project.model_index(model)].file

    def reference(self, item: Item, model: str) -> Predicted | None:
        """How decisions name the item's prediction."""
        if item.prediction is None:
            return None
        file = self._file(model)
        return Predicted(Path(file.path).name, file.sha256, item.prediction)

    def choices(self, item: Item, model: str) -> tuple[Choice, ...]:
        """The likely answers. Raises: ValueError where masks cannot be read."""
        # Without a prediction nothing is looked up in the results.
        results = self.project.results[self.project.model_index(model)] if model else cast(Results, None)
        return choices(item, self.project.dataset, results, self.reference(item, model))


def unlabelled(dataset: Dataset, results: Results) -> list[Item]:
    """Without any label every prediction is asked about, the most confident first: how annotations are begun."""
    found = []
    for video in dataset.videos:
        for place, track in zip(results.by_video.get(video, ()), results.masks(video), strict=True):
            prediction = results.predictions[place]
            name = dataset.categories.get(prediction.category_id, f"class {prediction.category_id}").replace("_", " ")
            question = f"Is there a {name}? The model sees it ({prediction.score:.2f})."
            if track.areas.any():
                frame = int(track.areas.argmax())
                found.append(Item(video, "missing", prediction.score, frame, (), place + 1, question))
    return sorted(found, key=lambda item: -item.priority)
