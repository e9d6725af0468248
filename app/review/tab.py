"""The tab `Review`: is the model wrong, or the label? One question after the other, each answer a decision."""

import asyncio
import secrets
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from app.player import Layer, Show, payload
from app.review import answers, panels
from app.review.answers import Said
from app.review.layout import Parts
from app.review.session import WALK, Ledger, Reviewing
from app.session import TICK, Pages, Updates, toast
from app.shows import Shows
from tevit.review.choices import Choice
from tevit.review.decisions import Decision, Resolve, decide
from tevit.review.queue import Item
from tevit.tracks import VideoResult

TRUTH, PREDICTION = "Ground truth", "Prediction"
KEPT_SHOWS = 4  # of a page, after it has gone on
QUIET_SCORE = 0.3  # predictions below it are not shown, unless they are what is asked about


@dataclass
class _Page:
    """What one page asks. turn: counts what it was shown, so that nothing older takes its place. count: decisions
    that it knows of. results: of the video that is shown; wanted: what that was made for.
    old: tokens of shows before."""

    model: str | None = None
    items: tuple[Item, ...] = ()
    place: int = 0
    show: Show | None = None
    results: tuple[VideoResult | None, VideoResult | None] = (None, None)
    turn: int = 0
    count: int = -1
    wanted: str = ""
    old: list[str] = field(default_factory=list)
    answers: dict[str, Choice] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def item(self) -> Item:
        return self.items[self.place]


class Review:
    """What happens in the tab, of one data set."""

    def __init__(self, parts: Parts, reviewing: Reviewing, shows: Shows):
        self.parts, self.reviewing, self.shows = parts, reviewing, shows
        self.project = reviewing.project
        self._page = Pages(lambda request: _Page()).of

    def token(self, request: gr.Request) -> str | None:
        """Of what the page shows."""
        show = self._page(request).show
        return show.token if show else None

    # --- the tab opens

    async def opened(self, model: str | None, request: gr.Request) -> AsyncIterator[Updates]:
        """The queue is worked out, then its first open question is asked."""
        page, chosen = self._page(request), model or WALK
        try:
            yield {self.parts.notices: panels.notices(await asyncio.to_thread(self._notices))}
            if self.reviewing.lacks:
                yield {self.parts.ask: gr.HTML(value=self._empty(page, self.reviewing.lacks))}
                return
            async for updates in self._begin(page, chosen):
                yield updates
        except (ValueError, OSError) as error:
            yield {self.parts.ask: gr.HTML(value=self._empty(page, str(error)))}
            raise toast(str(error)) from error

    def _notices(self) -> list[str]:
        return [] if self.reviewing.lacks else list(self.reviewing.store.notices)

    async def _begin(self, page: _Page, model: str) -> AsyncIterator[Updates]:
        if page.model == model and page.items:
            yield await asyncio.to_thread(self._refreshed, page)
            return
        said = ["reading", 0.0]

        def note(stage: str, done: int, total: int | None) -> None:
            said[:] = [stage, done / total if total else 0.0]

        work = asyncio.create_task(asyncio.to_thread(self.reviewing.queue, model, note))
        while not work.done():
            yield {self.parts.queue: panels.working(f"The queue: {said[0]}", float(said[1]))}
            await asyncio.wait([work], timeout=TICK)
        yield await asyncio.to_thread(self._first, page, model, work.result())

    def _first(self, page: _Page, model: str, items: tuple[Item, ...]) -> Updates:
        with page.lock:
            page.model, page.items, page.place = model, items, 0
            if not items:
                return {self.parts.ask: gr.HTML(value=self._empty(page, "There is nothing to review.")), **self._none()}
            with self.reviewing.ledger() as ledger:
                page.place = self._open_from(page, ledger, 0) or 0
            return self._asked(page, {})

    def _none(self) -> Updates:
        return {self.parts.queue: '<p class="hint">Labels and predictions agree.</p>'}

    def _empty(self, page: _Page, words: str) -> dict[str, Any]:
        page.turn += 1
        return {"turn": page.turn, "words": words}

    # --- what people do

    def heard(self, request: gr.Request, event: gr.EventData) -> Updates:
        """A key or a button of the question; a row of the queue; or nothing, to see what others have done."""
        page = self._page(request)
        with page.lock:
            if not page.items:
                return {self.parts.ask: gr.skip()}
            try:
                said = answers.read(event._data)
                if said.kind == "look":
                    return self._refreshed(page)
                return self._asked(page, self._act(page, said))
            except (ValueError, OSError) as error:
                return self._asked(page, {"kind": "error", "text": str(error)}, moved=False)

    def _act(self, page: _Page, said: Said) -> dict[str, str]:
        """Do it; returns what the page says then. Raises: ValueError, OSError: then nothing was saved."""
        if said.kind == "go":
            page.place = min(max(said.place, 0), len(page.items) - 1)
        elif said.kind in ("next", "previous"):
            page.place = (page.place + (1 if said.kind == "next" else -1)) % len(page.items)
        elif not said.reviewer:
            raise ValueError("Say who you are: every decision carries its reviewer's name.")
        elif said.kind == "save":
            return self._save(page, said)
        elif said.kind == "resolve":
            return self._resolve(said)
        else:
            return self._switch(page, said)
        return {}

    def _save(self, page: _Page, said: Said) -> dict[str, str]:
        if said.item != self._name(page):
            raise ValueError("This question is not the one that is open any more: nothing was saved.")
        self.reviewing.append(self._chosen(page, said).decision(self.reviewing.hash, said.reviewer, said.note))
        with self.reviewing.ledger() as ledger:
            place = self._open_from(page, ledger, page.place + 1)
        if place is None:
            return {"kind": "saved", "text": f"saved; all {len(page.items)} are decided"}
        page.place = place
        return {"kind": "saved", "text": "saved"}

    def _chosen(self, page: _Page, said: Said) -> Choice:
        if said.extra is not None:
            info = self.project.info(page.item.video_id)
            return answers.other(said.extra, page.item, info, page.answers.get("2"))
        if said.key not in page.answers:
            raise ValueError("Choose an answer first: its number is its key.")
        return page.answers[said.key]

    def _resolve(self, said: Said) -> dict[str, str]:
        with self.reviewing.ledger() as ledger:
            found = next((d for d in ledger.disagreements if said.item in {x.id for x in d.decisions}), None)
        if found is None:
            raise ValueError("There is no such disagreement any more.")
        drop = tuple(d.id for d in found.decisions if d.id != said.item)
        action = Resolve(said.item, drop)
        self.reviewing.append(decide(self.reviewing.hash, found.video_id, None, action, said.reviewer))
        return {"kind": "saved", "text": "saved: the disagreement is resolved"}

    def _switch(self, page: _Page, said: Said) -> dict[str, str]:
        undo = said.kind == "undo"
        target = (self.reviewing.undo if undo else self.reviewing.redo)(said.reviewer)
        if target is None:
            return {"kind": "note", "text": f"There is nothing of {said.reviewer} to {said.kind}."}
        with self.reviewing.ledger() as ledger:
            place = self._place_of(page, target, ledger)
        page.place = page.place if place is None else place
        done = "undone" if undo else "done again"
        return {"kind": "saved", "text": f"saved: {done} “{panels.words_of(target, self.project.dataset.categories)}”"}

    def _place_of(self, page: _Page, decision: Decision, ledger: Ledger) -> int | None:
        from app.review.session import about

        key = about(decision)
        return next((place for place, item in enumerate(page.items) if self._key(page, item) == key), None)

    def _open_from(self, page: _Page, ledger: Ledger, start: int) -> int | None:
        """The next question that nobody has answered, round the queue's end."""
        count = len(page.items)
        places = ((start + step) % count for step in range(count))
        return next((p for p in places if ledger.done(self._key(page, page.items[p])) is None), None)

    def _key(self, page: _Page, item: Item):
        return self.reviewing.key(item, page.model or WALK)

    def _name(self, page: _Page) -> str:
        return f"{self.reviewing.hash[:8]}:{page.model}:{page.place}:{self._key(page, page.item)}"

    # --- what is shown

    def _refreshed(self, page: _Page) -> Updates:
        """What others have decided; nothing where they have not."""
        if page.items and self.reviewing.store.count() != page.count:
            return self._asked(page, {}, moved=False)
        return {self.parts.ask: gr.skip()}

    def _asked(self, page: _Page, said: dict[str, str], moved: bool = True) -> Updates:
        """The question, the player on it, the queue round it."""
        parts = self.parts
        with self.reviewing.ledger() as ledger:
            updates = self._player(page)
            page.count, page.turn = len(ledger.log), page.turn + 1
            updates[parts.ask] = gr.HTML(value=self._question(page, ledger) | {"said": said, "moved": moved})
            done, names = self._done(page, ledger), self.project.dataset.categories
            updates[parts.queue] = self._queue(page, ledger, done)
            updates[parts.progress] = panels.progress(ledger, done, len(page.items)) + panels.disagreements(
                ledger.disagreements, names
            )
        return updates

    def _question(self, page: _Page, ledger: Ledger) -> dict[str, Any]:
        item, names = page.item, self.project.dataset.categories
        page.answers = answers.by_key(self.reviewing.choices(item, page.model or WALK))
        decided = [panels.words_of(d, names) for d in ledger.of(self._key(page, item))]
        info = self.project.info(item.video_id)
        return {
            "turn": page.turn,
            "item": self._name(page),
            "place": page.place + 1,
            "of": len(page.items),
            "question": item.question,
            "where": f"{info.name}, frame {item.frame}",
            "sides": panels.sides(item, *page.results),
            "answers": panels.buttons(page.answers),
            "decided": decided,
            "token": page.show.token if page.show else "",
            "size": list(info.size_hw),
            "layer": 0 if item.annotation_ids else None,
            "track": item.annotation_ids[0] if item.annotation_ids else None,
            "taken": [len(page.show.layers) - 1, item.prediction] if page.show and item.prediction else None,
            "classes": [[id, name.replace("_", " ")] for id, name in names.items()] if item.annotation_ids else [],
        }

    def _done(self, page: _Page, ledger: Ledger) -> int:
        return sum(ledger.done(self._key(page, item)) is not None for item in page.items)

    def _queue(self, page: _Page, ledger: Ledger, decided: int) -> str:
        first, last = max(0, page.place - panels.AROUND), min(len(page.items), page.place + panels.AROUND + 1)
        rows = []
        for place in range(first, last):
            item = page.items[place]
            done = ledger.done(self._key(page, item))
            name = self.project.info(item.video_id).name
            rows.append((place, item, name, ", ".join(done.reviewers) if done else ""))
        rest = first, len(page.items) - last
        return panels.queue(rows, page.place, decided, len(page.items), rest)

    def _player(self, page: _Page) -> Updates:
        """On the item's frame, both sides selected; the same video is not opened again."""
        item = page.item
        fresh = self._open_show(page)
        assert page.show is not None
        pair = self._pair(page)
        shown = [self._shown(page, layer) for layer in page.show.layers]
        if fresh:
            value = payload(page.show) | {"at": item.frame, "pair": pair}
            return {self.parts.player: gr.HTML(value=value, shown=shown, command=None)}
        command = {"seek": item.frame, "pair": pair, "at": time.monotonic()}
        return {self.parts.player: gr.HTML(shown=shown, command=command)}

    def _open_show(self, page: _Page) -> bool:
        """Whether it is another one than before."""
        item, project = page.item, self.project
        wanted = f"{item.video_id} {page.model}"
        if page.show is not None and page.wanted == wanted:
            return False
        truths = project.truths(item.video_id)
        found = project.predictions(project.model_index(page.model), item.video_id) if page.model else None
        layers = [Layer(name, name == TRUTH, r) for name, r in ((TRUTH, truths), (PREDICTION, found)) if r is not None]
        self._let_go(page)
        footage, length = project.footage(item.video_id), project.info(item.video_id).length
        page.show = Show(secrets.token_hex(16), footage, 0, length, tuple(layers))
        page.results, page.wanted = (truths, found), wanted
        self.shows.put(page.show)
        return True

    def _let_go(self, page: _Page) -> None:
        """Of all shows but the last: a quick reviewer's player may still be fetching from those before."""
        if page.show is not None:
            page.old.append(page.show.token)
        while len(page.old) > KEPT_SHOWS:
            self.shows.drop(page.old.pop(0))

    def _pair(self, page: _Page) -> list[list[int]]:
        item, pair = page.item, []
        assert page.show is not None
        for place, layer in enumerate(page.show.layers):
            ids = item.annotation_ids if layer.truth else (item.prediction,)
            known = {track.id for track in layer.result.tracks}
            pair += [[place, id] for id in ids if id in known]
        return pair

    def _shown(self, page: _Page, layer: Layer) -> list[int] | None:
        """All labels, but only predictions that are meant."""
        if layer.truth:
            return None
        tracks = layer.result.tracks
        return [track.id for track in tracks if track.score >= QUIET_SCORE or track.id == page.item.prediction]
