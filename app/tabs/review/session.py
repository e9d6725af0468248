"""What all pages of the tab Review share: the log, what is done by it, and the queues of what to ask.

The log may grow by other pages and by other processes.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast

from app.analysis.comparison import Comparison
from app.projects.project import Project
from app.storage.review_log import ReviewStore
from app.tabs.review.bootstrap import with_labels
from app.tabs.review.corrected import Now, Originals
from app.tabs.review.log_state import IndexedLog, Key
from tevit.io.ytvis import Dataset, Results
from tevit.progress import Progress
from tevit.review.decisions import Decision, PredictionRef, Redo, Undo, decide
from tevit.review.labels import content_hash
from tevit.review.queue import Answer, ItemBuilder, ReviewItem, all_labels, build_queue, likely_answers

WALK = ""  # in the place of a model's name: all tracks of all videos


@dataclass(frozen=True)
class Asked:
    """A question. model: whose prediction it is about; WALK for none."""

    item: ReviewItem
    model: str


class Reviewing:
    """One project's review. May be used from any thread."""

    def __init__(self, project: Project):
        self._given = project
        self._lock = threading.RLock()
        self._store: ReviewStore | None = None
        self._ledger = IndexedLog()
        self._queues: dict[str, tuple[Asked, ...]] = {}
        self._making: dict[str, threading.Lock] = {}

    @cached_property
    def project(self) -> Project:
        """With labels: where there are predictions alone, with a data set that was begun for them.

        Raises: OSError, ValueError.
        """
        with self._lock:
            return with_labels(self._given)

    @property
    def models(self) -> list[str]:
        """Names."""
        return [model.name for model in self._given.models]

    @property
    def lacks(self) -> str:
        """Why nothing can be reviewed; "" where something can. Raises: OSError, ValueError."""
        if self.project.truth is None:
            return "Review needs a data set or a model's predictions: start the studio with --dataset or --predictions."
        return "" if self.project.dataset.videos else "This data set has no videos."

    @property
    def store(self) -> ReviewStore:
        """The log on disk, opened when it is first asked for. Raises: as `ReviewStore`."""
        with self._lock:
            if self._store is None:
                self._store = ReviewStore(self._given.folder)
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

    @cached_property
    def _originals(self) -> Originals:
        return Originals(self.original)

    def now(self, video: int, ledger: IndexedLog) -> Now:
        """A video's labels as the log has them. Raises: OSError, ValueError."""
        return self._originals.now(video, ledger)

    @contextmanager
    def ledger(self) -> Iterator[IndexedLog]:
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
            return self._switch(ledger.undoable(reviewer), Undo, reviewer)

    def redo(self, reviewer: str) -> Decision | None:
        """Bring back what this reviewer took back last."""
        with self.ledger() as ledger:
            return self._switch(ledger.redoable(reviewer), Redo, reviewer)

    def _switch(self, target: Decision | None, action: Callable[[str], Undo | Redo], reviewer: str) -> Decision | None:
        if target is not None:
            self.append(decide(self.hash, target.video_id, None, action(target.id), reviewer))
        return target

    # --- what to ask

    def queue(self, model: str, progress: Progress | None = None) -> tuple[Asked, ...]:
        """What a model disagrees about, the most likely label errors first; WALK: every label in the file's order.

        Worked out once. Raises: OSError, ValueError where files cannot be read.
        """
        with self._lock:
            making = self._making.setdefault(model, threading.Lock())
        with making:
            if model not in self._queues:
                self._queues[model] = tuple(Asked(item, model) for item in self._make(model, progress))
            return self._queues[model]

    def listed(self, findings: Comparison, rows: Sequence[int]) -> tuple[Asked, ...]:
        """Errors of the tab Errors in their order, each object once. rows: of the findings' table."""

        dataset = self.project.dataset
        questions = {model.name: ItemBuilder(dataset, model.overlaps) for model in findings.models}
        found: dict[Key, Asked] = {}
        for index in rows:
            r = findings.table.record(index)
            if r.worst_frame is not None:  # where nothing is to be seen, nothing can be asked
                item = questions[r.model].from_error(r)
                asked = Asked(item, r.model)
                found.setdefault(self.key(asked), asked)
        return tuple(found.values())

    def _make(self, model: str, progress: Progress | None) -> Sequence[ReviewItem]:
        project = self.project
        if model == WALK:
            return all_labels(project.dataset)
        results = project.results[project.model_index(model)]
        if not project.has_truth:
            return unlabelled(project.dataset, results)
        from tevit.evaluation.error_table import analyse_errors
        from tevit.evaluation.inputs import read_inputs
        from tevit.evaluation.overlaps import compute_overlaps

        measured = compute_overlaps(read_inputs(project.dataset, results), progress=progress, all_pairs=True)
        return build_queue(project.dataset, measured, analyse_errors(measured))

    def key(self, asked: Asked) -> Key:
        """What a question is about."""
        item = asked.item
        if item.annotation_ids or item.prediction is None:
            return item.video_id, tuple(item.annotation_ids), "", 0
        return item.video_id, (), self._file(asked.model).sha256, item.prediction

    def _file(self, model: str):
        return self.project.models[self.project.model_index(model)].file

    def reference(self, asked: Asked) -> PredictionRef | None:
        """How decisions name the question's prediction."""
        if asked.item.prediction is None:
            return None
        file = self._file(asked.model)
        return PredictionRef(Path(file.path).name, file.sha256, asked.item.prediction)

    def choices(self, asked: Asked) -> tuple[Answer, ...]:
        """The likely answers. Raises: ValueError where masks cannot be read."""
        # Without a prediction nothing is looked up in the results.
        results = self.project.results[self.project.model_index(asked.model)] if asked.model else cast(Results, None)
        return likely_answers(asked.item, self.project.dataset, results, self.reference(asked))


def unlabelled(dataset: Dataset, results: Results) -> list[ReviewItem]:
    """Without any label every prediction is asked about, the most confident first: how annotations are begun."""
    found = []
    for video in dataset.videos:
        for place, track in zip(results.by_video.get(video, ()), results.masks(video), strict=True):
            prediction = results.predictions[place]
            name = dataset.categories.get(prediction.category_id, f"class {prediction.category_id}").replace("_", " ")
            question = f"Is there a {name}? The model sees it ({prediction.score:.2f})."
            if track.areas.any():
                frame = int(track.areas.argmax())
                found.append(ReviewItem(video, "missing", prediction.score, frame, (), place + 1, question))
    return sorted(found, key=lambda item: -item.priority)
