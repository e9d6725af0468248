"""The tab `Review`: is the model wrong, or the label? One question after the other, each answer a decision."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import gradio as gr

from app.analysis.service import EvaluationService
from app.player.component import payload
from app.player.routes import ViewRegistry
from app.tabs.review import responses as answers
from app.tabs.review import views as panels
from app.tabs.review.from_errors import picked
from app.tabs.review.layout import ReviewComponents
from app.tabs.review.log_state import IndexedLog, decision_key
from app.tabs.review.page_state import Looking, Page
from app.tabs.review.responses import Said
from app.tabs.review.session import WALK, Asked, Reviewing
from app.workspace import TICK, Pages, Updates, toast
from tevit.progress import Progress
from tevit.review.decisions import AddTrack, Decision, Resolve, decide
from tevit.review.queue import Answer

Queue = tuple[Sequence[Asked], str]
"""Questions, and the filter that they come of, in words: "" for none."""


class Review:
    """What happens in the tab, of one data set."""

    def __init__(self, parts: ReviewComponents, reviewing: Reviewing, shows: ViewRegistry):
        self.parts, self.reviewing = parts, reviewing
        self.looking = Looking(reviewing, shows)
        self._page = Pages(lambda request: Page()).of

    def token(self, request: gr.Request) -> str | None:
        """Of what the page shows."""
        show = self._page(request).show
        return show.token if show else None

    # --- a queue begins

    async def opened(self, request: gr.Request) -> AsyncIterator[Updates]:
        """The tab: what was there before, else the first model's disagreements."""
        page = self._page(request)
        if page.picked or page.queue:
            yield await asyncio.to_thread(self._again, page)
            return
        models = self.reviewing.models
        async for updates in self._default(page, page.source or (models[0] if models else WALK)):
            yield updates

    def _again(self, page: Page) -> Updates:
        with page.lock:
            return self._refreshed(page) if page.queue else {self.parts.ask: gr.skip()}

    async def changed(self, source: str | None, request: gr.Request) -> AsyncIterator[Updates]:
        """Another queue was chosen, or the one of the tab Errors was removed."""
        async for updates in self._default(self._page(request), source or WALK):
            yield updates

    async def _default(self, page: Page, source: str) -> AsyncIterator[Updates]:
        page.source, page.picked = source, ""
        async for updates in self._begin(page, lambda progress: (self.reviewing.queue(source, progress), "")):
            yield updates

    async def handed(self, query: str, desk: EvaluationService, request: gr.Request) -> AsyncIterator[Updates]:
        """The tab Errors hands its list over."""
        page = self._page(request)
        page.picked = "Errors"
        async for updates in self._begin(page, lambda progress: picked(desk, self.reviewing, query)):
            yield updates

    async def _begin(self, page: Page, make: Callable[[Progress], Queue]) -> AsyncIterator[Updates]:
        """Work a queue out, then ask its first open question; unless another one was begun meanwhile."""
        page.begun += 1
        mine, said = page.begun, ["reading", 0.0]

        def note(stage: str, done: int, total: int | None) -> None:
            said[:] = [stage, done / total if total else 0.0]

        yield {self.parts.queue: panels.working("The queue", 0.0)}
        work = asyncio.create_task(asyncio.to_thread(self._made, make, note))
        while not work.done():
            if mine == page.begun:
                yield {self.parts.queue: panels.working(f"The queue: {said[0]}", float(said[1]))}
            await asyncio.wait([work], timeout=TICK)
        if mine != page.begun:
            return
        try:
            yield await asyncio.to_thread(self._first, page, *work.result())
        except (ValueError, OSError) as error:
            yield {self.parts.ask: gr.HTML(value=self._empty(page, str(error))), self.parts.queue: ""}
            raise toast(str(error)) from error

    def _made(self, make: Callable[[Progress], Queue], note: Progress) -> tuple[Queue | None, list[str]]:
        """The queue, None where there is nothing to review; and what must be said at the start."""
        if self.reviewing.lacks:
            return None, [self.reviewing.lacks]
        notices = list(self.reviewing.store.notices)
        return make(note), notices

    def _first(self, page: Page, queue: Queue | None, notices: list[str]) -> Updates:
        if queue is None:
            return {self.parts.ask: gr.HTML(value=self._empty(page, notices[0])), self.parts.queue: ""}
        asked, page.picked = queue
        updates = {self.parts.notices: panels.notices(notices), self.parts.chip: _chip(page.picked)}
        with page.lock, self.reviewing.ledger() as ledger:
            self.looking.begin(page, asked, ledger)
            if asked:
                return updates | self._asked(page, {})
        updates[self.parts.queue] = '<p class="hint">Labels and predictions agree.</p>'
        return updates | {self.parts.ask: gr.HTML(value=self._empty(page, "There is nothing to review."))}

    def _empty(self, page: Page, words: str) -> dict[str, Any]:
        page.turn += 1
        return {"turn": page.turn, "words": words}

    # --- what people do

    def heard(self, request: gr.Request, event: gr.EventData) -> Updates:
        """A key or a button of the question; a row of the queue; or nothing, to see what others have done."""
        page = self._page(request)
        with page.lock:
            if not page.queue:
                return {self.parts.ask: gr.skip()}
            try:
                said = answers.read(event._data)
                if said.kind == "look":
                    return self._refreshed(page)
                return self._asked(page, self._act(page, said), moved=said.kind != "labels")
            except (ValueError, OSError) as error:
                return self._asked(page, {"kind": "error", "text": str(error)}, moved=False)

    def _act(self, page: Page, said: Said) -> dict[str, str]:
        """Do it; returns what the page says then. Raises: ValueError, OSError: then nothing was saved."""
        if said.kind == "go":
            page.place = min(max(said.place, 0), len(page.queue) - 1)
        elif said.kind in ("next", "previous"):
            page.place = (page.place + (1 if said.kind == "next" else -1)) % len(page.queue)
        elif said.kind == "labels":
            page.labels = "corrected" if page.labels == "original" else "original"
            return {"kind": "note", "text": f"the player shows the {page.labels} labels"}
        elif not said.reviewer:
            raise ValueError("Say who you are: every decision carries its reviewer's name.")
        elif said.kind == "save":
            return self._save(page, said)
        elif said.kind == "resolve":
            return self._resolve(said)
        else:
            return self._switch(page, said)
        return {}

    def _save(self, page: Page, said: Said) -> dict[str, str]:
        if said.item != self.looking.name(page):
            raise ValueError("This question is not the one that is open any more: nothing was saved.")
        with self.reviewing.ledger() as ledger:
            chosen = self._chosen(page, said, ledger.added_track(page.key))
        self.reviewing.append(chosen.decision(self.reviewing.hash, said.reviewer, said.note))
        with self.reviewing.ledger() as ledger:
            place = self.looking.open_from(page, ledger, page.place + 1)
        if place is None:
            return {"kind": "saved", "text": f"saved; all {len(page.queue)} are decided"}
        page.place = place
        return {"kind": "saved", "text": "saved"}

    def _chosen(self, page: Page, said: Said, added: Decision | None) -> Answer:
        """added: the decision by which the question's prediction is a label already."""
        if said.extra is not None:
            info = self.reviewing.project.info(page.item.video_id)
            return answers.other(said.extra, page.item, info, page.answers.get("2"), added.id if added else None)
        if said.key not in page.answers:
            raise ValueError("Choose an answer first: its number is its key.")
        chosen = page.answers[said.key]
        if added is not None and added.reviewer == said.reviewer and isinstance(chosen.action, AddTrack):
            raise ValueError("You have added it already: undo that first, or correct what was added.")
        return chosen

    def _resolve(self, said: Said) -> dict[str, str]:
        with self.reviewing.ledger() as ledger:
            found = next((d for d in ledger.disagreements if said.item in {x.id for x in d.decisions}), None)
        if found is None:
            raise ValueError("There is no such disagreement any more.")
        drop = tuple(d.id for d in found.decisions if d.id != said.item)
        action = Resolve(said.item, drop)
        self.reviewing.append(decide(self.reviewing.hash, found.video_id, None, action, said.reviewer))
        return {"kind": "saved", "text": "saved: the disagreement is resolved"}

    def _switch(self, page: Page, said: Said) -> dict[str, str]:
        undo = said.kind == "undo"
        target = (self.reviewing.undo if undo else self.reviewing.redo)(said.reviewer)
        if target is None:
            return {"kind": "note", "text": f"There is nothing of {said.reviewer} to {said.kind}."}
        if (key := decision_key(target)) in page.keys:
            page.place = page.keys.index(key)
        words = panels.words_of(target, self.reviewing.project.dataset.categories)
        return {"kind": "saved", "text": f"saved: {'undone' if undo else 'done again'} “{words}”"}

    # --- what is shown

    def _refreshed(self, page: Page) -> Updates:
        """What others have decided; nothing where they have not."""
        if page.queue and self.reviewing.store.count() != page.count:
            return self._asked(page, {}, moved=False)
        return {self.parts.ask: gr.skip()}

    def _asked(self, page: Page, said: dict[str, str], moved: bool = True) -> Updates:
        """The question, the player on it, the queue round it."""
        parts, looking = self.parts, self.looking
        with self.reviewing.ledger() as ledger:
            updates = self._player(page, ledger, moved)
            page.count, page.turn = len(ledger.log), page.turn + 1
            question = looking.question(page, ledger) | {"said": said, "moved": moved}
            done, names = looking.done(page, ledger), self.reviewing.project.dataset.categories
            updates[parts.ask] = gr.HTML(value=question)
            updates[parts.queue] = looking.listed(page, ledger, done)
            updates[parts.progress] = panels.progress(ledger, done, len(page.queue)) + panels.disagreements(
                ledger.disagreements, names
            )
        return updates

    def _player(self, page: Page, ledger: IndexedLog, moved: bool) -> Updates:
        """On the item's frame, both sides selected; the same video is not opened again."""
        fresh = self.looking.open(page, ledger)
        assert page.show is not None
        pair, shown = self.looking.pair(page, ledger), self.looking.shown(page)
        command = {"pair": pair, "at": time.monotonic()} | ({"seek": page.item.frame} if moved else {})
        if fresh:
            value = payload(page.show) | {"at": page.item.frame, "pair": pair}
            return {self.parts.player: gr.HTML(value=value, shown=shown, command=command)}
        return {self.parts.player: gr.HTML(shown=shown, command=command)} if moved else {}


def _chip(picked: str) -> gr.Button:
    """Removes what was picked."""
    return gr.Button(f"{picked}  \N{MULTIPLICATION SIGN}", visible=bool(picked))
