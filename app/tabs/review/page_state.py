"""What one page of the tab Review looks at: its queue, its place in it, and what its player shows."""

import secrets
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from app.player.component import Layer, PlayerView
from app.player.proxy import dataset_frames
from app.player.routes import ViewRegistry
from app.tabs.review import responses as answers
from app.tabs.review import views as panels
from app.tabs.review.corrected import Now
from app.tabs.review.log_state import IndexedLog, Key
from app.tabs.review.session import Asked, Reviewing
from tevit.results import VideoResult
from tevit.review.queue import Answer, ReviewItem

TRUTH, CORRECTED, PREDICTION = "Ground truth", "Corrected", "Prediction"
KEPT_SHOWS = 4  # of a page, after it has gone on
QUIET_SCORE = 0.3  # predictions below it are not shown, unless they are what is asked about


@dataclass
class Page:
    """What one page asks. source: what its queue is made of, None before there was one. picked: the filter of the tab
    Errors that the queue is instead, in words. begun: counts queues. keys: of the questions. turn: counts what it was
    shown, so that nothing older takes its place. count: decisions that it knows of. labels: which the player shows.
    results: original labels and predictions of the video that is shown; wanted: what they are of. now: the corrected
    labels, by the first `heard` decisions about the video. old: tokens of shows before."""

    source: str | None = None
    picked: str = ""
    begun: int = 0
    queue: tuple[Asked, ...] = ()
    keys: tuple[Key, ...] = ()
    place: int = 0
    turn: int = 0
    count: int = -1
    labels: Literal["original", "corrected"] = "original"
    show: PlayerView | None = None
    results: tuple[VideoResult | None, VideoResult | None] = (None, None)
    wanted: tuple[int, str] | None = None
    now: Now | None = None
    heard: int = -1
    drawn: tuple[bool, int] = (False, 0)
    old: list[str] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def asked(self) -> Asked:
        """The question that is open."""
        return self.queue[self.place]

    @property
    def item(self) -> ReviewItem:
        """What it is about."""
        return self.asked.item

    @property
    def key(self) -> Key:
        """The same, as decisions have it."""
        return self.keys[self.place]

    @property
    def corrected(self) -> bool:
        """Whether the player shows corrected labels."""
        return self.labels == "corrected" and self.now is not None and self.now.changes > 0


class Looking:
    """Pages of one data set. reviewing: what they share."""

    def __init__(self, reviewing: Reviewing, shows: ViewRegistry):
        self.reviewing, self.shows = reviewing, shows

    # --- the queue

    def begin(self, page: Page, queue: Sequence[Asked], ledger: IndexedLog) -> None:
        """Another queue, at its first question that nobody has answered."""
        page.queue, page.keys = tuple(queue), tuple(map(self.reviewing.key, queue))
        page.place = self.open_from(page, ledger, 0) or 0

    def open_from(self, page: Page, ledger: IndexedLog, start: int) -> int | None:
        """The next question that nobody has answered, round the queue's end; None where there is none."""
        count = len(page.keys)
        places = ((start + step) % count for step in range(count))
        return next((place for place in places if ledger.status(page.keys[place]) is None), None)

    def done(self, page: Page, ledger: IndexedLog) -> int:
        """How many questions are answered."""
        return sum(ledger.status(key) is not None for key in page.keys)

    def name(self, page: Page) -> str:
        """Of the question that is open: the same wherever it is asked."""
        return f"{self.reviewing.hash[:8]}:{':'.join(map(str, page.key))}"

    def listed(self, page: Page, ledger: IndexedLog, decided: int) -> str:
        """The queue round the question that is open."""
        total = len(page.queue)
        first, last = max(0, page.place - panels.AROUND), min(total, page.place + panels.AROUND + 1)
        rows = []
        for place in range(first, last):
            item, done = page.queue[place].item, ledger.status(page.keys[place])
            name = self.reviewing.project.info(item.video_id).name
            rows.append((place, item, name, ", ".join(done.reviewers) if done else ""))
        return panels.queue(rows, page.place, decided, total, (first, total - last))

    # --- the player

    def open(self, page: Page, ledger: IndexedLog) -> bool:
        """Bring the show to the question that is open; returns whether the player must take it anew."""
        video, project = page.item.video_id, self.reviewing.project
        other = page.wanted != (video, page.asked.model)
        if other:
            truths = project.ground_truth(video)
            model = page.asked.model
            found = project.predictions(project.model_index(model), video) if model else None
            page.results, page.wanted, page.heard = (truths, found), (video, model), -1
        if page.heard != (heard := len(ledger.of_video(video))):
            page.now, page.heard = self.reviewing.now(video, ledger), heard
        drawn = page.corrected, page.heard if page.corrected else 0
        if not other and drawn == page.drawn:
            return False
        page.drawn = drawn
        self._put(page, other)
        return True

    def _put(self, page: Page, other: bool) -> None:
        """The same video keeps its show, in a new version: frame and choices stay."""
        if page.show is not None and not other:
            page.show = replace(page.show, layers=_layers(page), version=page.show.version + 1)
        else:
            self._let_go(page)
            project, video = self.reviewing.project, page.item.video_id
            frames, length = dataset_frames(project, video), project.info(video).length
            page.show = PlayerView(secrets.token_hex(16), frames, 0, length, _layers(page))
        self.shows.put(page.show, self.shows.folder(page.show.token))

    def _let_go(self, page: Page) -> None:
        """Of all shows but the last: a quick reviewer's player may still be fetching from those before."""
        if page.show is not None:
            page.old.append(page.show.token)
        while len(page.old) > KEPT_SHOWS:
            self.shows.drop(page.old.pop(0))

    def pair(self, page: Page, ledger: IndexedLog) -> list[list[int]]:
        """What the question is about, as [layer, track] of the show."""
        assert page.show is not None
        found = []
        for place, layer in enumerate(page.show.layers):
            ids = self._labels(page, ledger) if layer.truth else (page.item.prediction,)
            known = {track.id for track in layer.result.tracks}
            found += [[place, id] for id in ids if id in known]
        return found

    def _labels(self, page: Page, ledger: IndexedLog) -> Sequence[int]:
        """The labels that the question is about: also one that was made of the prediction."""
        added = ledger.added_track(page.key)
        made = page.now.made.get(added.id) if added is not None and page.now is not None else None
        return page.item.annotation_ids if made is None else (*page.item.annotation_ids, made)

    def shown(self, page: Page) -> list[list[int] | None]:
        """Of each layer the tracks that are shown, None for all: all labels, but only predictions that are meant."""
        assert page.show is not None
        return [None if layer.truth else _meant(layer, page.item.prediction) for layer in page.show.layers]

    # --- the question

    def question(self, page: Page, ledger: IndexedLog) -> dict[str, Any]:
        """As `player/review.js` takes it."""
        item, project = page.item, self.reviewing.project
        names, info = project.dataset.categories, project.info(item.video_id)
        page.answers = answers.by_key(self.reviewing.choices(page.asked))
        several = len({asked.model for asked in page.queue}) > 1
        added = ledger.added_track(page.key)
        return {
            "turn": page.turn,
            "item": self.name(page),
            "place": page.place + 1,
            "of": len(page.queue),
            "question": item.question,
            "where": f"{info.name}, frame {item.frame}{f' · {page.asked.model}' if several else ''}",
            "sides": panels.sides(item, *page.results),
            "answers": panels.buttons(page.answers),
            "decided": [panels.words_of(d, names) for d in ledger.of_key(page.key)],
            "token": page.show.token if page.show else "",
            "size": list(info.size_hw),
            "isLabel": bool(item.annotation_ids or added),
            "takes": bool(item.annotation_ids and item.prediction),
            "classes": [[id, name.replace("_", " ")] for id, name in names.items()],
            "labels": page.labels,
            "changes": page.now.changes if page.now else 0,
            **self._mask(page, ledger),
        }

    def _mask(self, page: Page, ledger: IndexedLog) -> Mapping[str, Any]:
        """What a correction of a frame begins with, and what it may take instead: [layer, track] of the show."""
        pair = self.pair(page, ledger)
        return {"own": pair[0] if pair else None, "taken": pair[-1] if page.item.prediction and pair else None}


def _layers(page: Page) -> tuple[Layer, ...]:
    truths, found = page.results
    if page.corrected and page.now is not None:
        labels = [Layer(CORRECTED, True, page.now.result)]
    else:
        labels = [] if truths is None else [Layer(TRUTH, True, truths)]
    return (*labels, *([] if found is None else [Layer(PREDICTION, False, found)]))


def _meant(layer: Layer, prediction: int | None) -> list[int]:
    return [track.id for track in layer.result.tracks if track.score >= QUIET_SCORE or track.id == prediction]
