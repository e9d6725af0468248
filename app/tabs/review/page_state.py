"""The state of one page of the tab Review: its queue, its place in it, and the view in its player."""

import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from tevit.results import VideoResult
from tevit.review.decisions import Decision
from tevit.review.queue import Answer, ReviewItem

from ...player.component import Layer, PlayerView
from ...player.proxy import dataset_frames
from ...player.routes import ViewRegistry
from ...tasks import Task
from . import views
from .responses import answers_by_key
from .session import CorrectedVideo, IndexedLog, Key, Question, ReviewSession

TRUTH, CORRECTED, PREDICTION = "Ground truth", "Corrected", "Prediction"
OLD_VIEWS = 4  # of a page, that stay after it has moved on: its player may still be fetching from them
MIN_SCORE = 0.3  # of predictions that are shown besides the question's own


@dataclass
class ReviewPage:
    """State of one page.

    session: of its data set, as it was when the page was opened. source: model of its queue, or ALL_LABELS; None before
    the first queue. errors_filter: instead of it the filter of the tab Errors, in words. queues: number of queues
    started. keys: of the queue's questions. turn: number of updates sent, so that the page ignores older ones.
    decisions: number in the log at the last update. labels: which the player shows. view: in the player, of `video` and
    model; results: its original labels and predictions; corrected: its labels by the first `corrected_by` decisions on
    the video; drawn: whether the view shows these, and by how many decisions. old_tokens: of earlier views.
    importable: decisions of an uploaded log that can be taken over. comparison: computes AP.
    """

    session: ReviewSession
    registry: ViewRegistry
    source: str | None = None
    errors_filter: str = ""
    queues: int = 0
    queue: tuple[Question, ...] = ()
    keys: tuple[Key, ...] = ()
    place: int = 0
    turn: int = 0
    decisions: int = -1
    labels: Literal["original", "corrected"] = "original"
    view: PlayerView | None = None
    video: tuple[int, str] | None = None
    results: tuple[VideoResult | None, VideoResult | None] = (None, None)
    corrected: CorrectedVideo | None = None
    corrected_by: int = -1
    drawn: tuple[bool, int] = (False, 0)
    old_tokens: list[str] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)
    importable: tuple[Decision, ...] = ()
    comparison: Task | None = None
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def question(self) -> Question:
        """The current question."""
        return self.queue[self.place]

    @property
    def item(self) -> ReviewItem:
        """The current question's item."""
        return self.question.item

    @property
    def key(self) -> Key:
        """The current question's subject."""
        return self.keys[self.place]

    @property
    def question_name(self) -> str:
        """Identifies the current question, in every queue and on every page."""
        return f"{self.session.hash[:8]}:{':'.join(map(str, self.key))}"

    # --- the queue

    def start_queue(self, queue: Sequence[Question], log: IndexedLog) -> None:
        """Replace the queue; the current question is the first without a decision."""
        self.queue, self.keys = tuple(queue), tuple(map(self.session.key, queue))
        self.place = self.next_undecided(log, 0) or 0

    def next_undecided(self, log: IndexedLog, start: int) -> int | None:
        """Place of the next question without a decision, from `start` on and around the end; None: all have one."""
        count = len(self.keys)
        places = ((start + step) % count for step in range(count))
        return next((place for place in places if not log.reviewers(self.keys[place])), None)

    def decided(self, log: IndexedLog) -> int:
        """Number of questions with a decision."""
        return sum(bool(log.reviewers(key)) for key in self.keys)

    def queue_html(self, log: IndexedLog, decided: int) -> str:
        """The queue around the current question."""
        total = len(self.queue)
        rows = []
        for place in range(max(0, self.place - views.MAX_ROWS), min(total, self.place + views.MAX_ROWS + 1)):
            item = self.queue[place].item
            video = self.session.project.info(item.video_id).name
            rows.append(views.QueueRow(place, item, video, ", ".join(log.reviewers(self.keys[place]))))
        return views.queue(rows, self.place, decided, total)

    # --- the player

    def update_view(self, log: IndexedLog) -> bool:
        """Set the view to the current question's video; returns whether the player has to load it."""
        video, model, project = self.item.video_id, self.question.model, self.session.project
        other_video = self.video != (video, model)
        if other_video:
            predictions = project.predictions(project.model_index(model), video) if model else None
            self.results, self.video, self.corrected_by = (project.ground_truth(video), predictions), (video, model), -1
        decisions = len(log.of_video(video))
        if self.corrected_by != decisions:
            self.corrected, self.corrected_by = self.session.labels.corrected(video, log), decisions
        shows_corrected = self.labels == "corrected" and self.corrected is not None and self.corrected.changes > 0
        drawn = shows_corrected, decisions if shows_corrected else 0
        if not other_video and drawn == self.drawn:
            return False
        self.drawn = drawn
        if self.view is not None and not other_video:  # another version of the same view: frame and selection stay
            self.view = replace(self.view, layers=self._layers(), version=self.view.version + 1)
        else:
            if self.view is not None:
                self.old_tokens.append(self.view.token)
            while len(self.old_tokens) > OLD_VIEWS:
                self.registry.drop(self.old_tokens.pop(0))
            frames, length = dataset_frames(project, video), project.info(video).length
            self.view = PlayerView(secrets.token_hex(16), frames, 0, length, self._layers())
        self.registry.put(self.view, self.registry.folder(self.view.token))
        return True

    def _layers(self) -> tuple[Layer, ...]:
        labels, predictions = self.results
        layers = []
        if self.drawn[0] and self.corrected is not None:
            layers.append(Layer(CORRECTED, True, self.corrected.result))
        elif labels is not None:
            layers.append(Layer(TRUTH, True, labels))
        if predictions is not None:
            layers.append(Layer(PREDICTION, False, predictions))
        return tuple(layers)

    def selection(self, log: IndexedLog) -> list[list[int]]:
        """The question's tracks as [layer, track id] in the view, labels first."""
        assert self.view is not None
        selected = []
        added = log.added_track(self.key)
        new_id = self.corrected.new_ids.get(added.id) if added is not None and self.corrected is not None else None
        labels = (*self.item.annotation_ids, *([] if new_id is None else [new_id]))
        for place, layer in enumerate(self.view.layers):
            known = {track.id for track in layer.result.tracks}
            ids = labels if layer.truth else (self.item.prediction,)
            selected += [[place, id] for id in ids if id in known]
        return selected

    def shown_tracks(self) -> list[list[int] | None]:
        """Ids of each layer's tracks that are shown, None: all; of predictions the question's and high scores."""
        assert self.view is not None

        def visible(layer: Layer) -> list[int]:
            tracks = layer.result.tracks
            return [track.id for track in tracks if track.score >= MIN_SCORE or track.id == self.item.prediction]

        return [None if layer.truth else visible(layer) for layer in self.view.layers]

    # --- the question

    def question_value(self, log: IndexedLog) -> dict[str, Any]:
        """The current question as `player/review.js` expects it."""
        item, project = self.item, self.session.project
        names, info = project.dataset.categories, project.info(item.video_id)
        self.answers = answers_by_key(self.session.answers(self.question))
        several = len({question.model for question in self.queue}) > 1
        added, selected = log.added_track(self.key), self.selection(log)
        return {
            "turn": self.turn,
            "item": self.question_name,
            "place": self.place + 1,
            "of": len(self.queue),
            "question": item.question,
            "where": f"{info.name}, frame {item.frame}{f' · {self.question.model}' if several else ''}",
            "sides": views.sides(item, *self.results),
            "answers": [
                {"key": key, "label": answer.label, "verdict": answer.verdict} for key, answer in self.answers.items()
            ],
            "decided": [views.describe(decision, names) for decision in log.of_key(self.key)],
            "token": self.view.token if self.view else "",
            "size": list(info.size_hw),
            "isLabel": bool(item.annotation_ids or added),
            "takes": bool(item.annotation_ids and item.prediction),
            "classes": [[id, name.replace("_", " ")] for id, name in names.items()],
            "labels": self.labels,
            "changes": self.corrected.changes if self.corrected else 0,
            # A mask that is corrected by hand starts from `own`, and may be replaced by that of `taken`.
            "own": selected[0] if selected else None,
            "taken": selected[-1] if item.prediction and selected else None,
        }
