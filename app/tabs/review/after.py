"""The part of the tab Review that comes after the decisions: downloads, AP before and after, a log from elsewhere."""

import asyncio
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import gradio as gr

from app.player.routes import ViewRegistry
from app.tabs.review import exports as files
from app.tabs.review import views as panels
from app.tabs.review.layout import ReviewComponents
from app.tabs.review.session import Reviewing
from app.workspace import TICK, Pages, Updates, toast
from tevit.progress import Cancelled
from tevit.review.decisions import Decision


@dataclass
class _Page:
    """fitting: of a log that was shown, what can be taken. stop: ends the comparison."""

    fitting: tuple[Decision, ...] = ()
    stop: threading.Event = field(default_factory=threading.Event)


class After:
    """What the buttons below the queue do, of one data set."""

    def __init__(self, parts: ReviewComponents, reviewing: Reviewing, shows: ViewRegistry):
        self.parts, self.reviewing, self.shows = parts, reviewing, shows
        self._page = Pages(lambda request: _Page()).of

    async def write(self, name: str, token: str | None) -> AsyncIterator[Updates]:
        """One of FILES. token: of the show that the page has, under which it may fetch files."""
        show = self.shows.get(token) if token else None
        if show is None:
            raise toast("Open a question first.")
        folder = self.shows.folder(show.token) or Path(tempfile.mkdtemp(prefix="review-"))
        self.shows.put(show, folder)
        yield {self.parts.told: f'<p class="hint">Writing {name} …</p>'}
        try:
            out = await asyncio.to_thread(files.write, name, self.reviewing, folder)
        except (OSError, ValueError) as error:
            yield {self.parts.told: panels.notices([str(error)])}
            raise toast(str(error)) from error
        said = f"{name}: {len(out)} decisions or disagreements were not applied." if out else ""
        yield {
            self.parts.told: panels.lines(said, out) if out else "",
            self.parts.fetch: f"/studio/shows/{show.token}/files/{name}?{time.monotonic()}",
        }

    async def compared(self, request: gr.Request) -> AsyncIterator[Updates]:
        """AP of each model by both versions of the labels."""
        parts, stop, said = self.parts, self._page(request).stop, ["starting", 0.0]
        if self.reviewing.lacks or not self.reviewing.models:
            yield {parts.after: panels.notices(["AP needs a data set and at least one model's predictions."])}
            return
        stop.clear()

        def note(stage: str, done: int, total: int | None) -> None:
            if stop.is_set():
                raise Cancelled
            said[:] = [stage, done / total if total else 0.0]

        with tempfile.TemporaryDirectory(prefix="review-") as folder:
            work = asyncio.create_task(asyncio.to_thread(files.compare, self.reviewing, Path(folder), note))
            while not work.done():
                yield {parts.after: panels.working(str(said[0]), float(said[1])), **self._buttons(working=True)}
                await asyncio.wait([work], timeout=TICK)
            yield {parts.after: _table(work), **self._buttons(working=False)}

    def _buttons(self, working: bool) -> Updates:
        """Cancel stands where the button was that began it."""
        parts = self.parts
        return {parts.compare: gr.Button(visible=not working), parts.cancel: gr.Button(visible=working)}

    def cancel(self, request: gr.Request) -> None:
        """End the comparison at the next video."""
        self._page(request).stop.set()

    # --- a log from elsewhere

    async def imported(self, path: str | None, request: gr.Request) -> AsyncIterator[Updates]:
        """It is taken where all of it fits these labels; else it is only told what fits and what does not."""
        parts, page = self.parts, self._page(request)
        if not path:
            yield {parts.told: gr.skip()}
            return
        page.fitting = ()
        yield {parts.told: '<p class="hint">Reading the decisions …</p>', parts.take: gr.Button(visible=False)}
        try:
            found = await asyncio.to_thread(self._read, Path(path))
            if not found.doubtful:
                yield {parts.told: await asyncio.to_thread(self._saved, found.title, found.new)}
                return
        except (OSError, ValueError) as error:
            yield {parts.told: panels.notices(str(error).splitlines())}
            raise toast(str(error).splitlines()[0]) from error
        page.fitting = found.fitting
        button = gr.Button(panels.take(len(found.fitting), len(found.unfit)), visible=bool(found.fitting))
        names = self.reviewing.project.dataset.categories
        yield {parts.told: panels.fits(found.title, found.fitting, found.unfit, names), parts.take: button}

    async def taken(self, request: gr.Request) -> AsyncIterator[Updates]:
        """Only what fits."""
        parts, page = self.parts, self._page(request)
        fitting, page.fitting = page.fitting, ()
        yield {parts.take: gr.Button(visible=False)}
        try:
            yield {parts.told: await asyncio.to_thread(self._saved, "Of the log what fits was taken.", fitting)}
        except (OSError, ValueError) as error:
            yield {parts.told: panels.notices([str(error)])}
            raise toast(str(error)) from error

    def _saved(self, title: str, decisions: Sequence[Decision]) -> str:
        return panels.lines(f"{title} {self.reviewing.store.extend(decisions)} were saved.", ())

    def _read(self, path: Path) -> files.Import:
        """Raises: OSError; ValueError for what is no log, or none that can be taken in."""
        if self.reviewing.lacks:
            raise ValueError(self.reviewing.lacks)
        found = files.read_import(self.reviewing, path.read_bytes(), path.name)
        if found.clash:
            raise ValueError(f"{found.name}: the log has other decisions under the ids {', '.join(found.clash[:5])}.")
        return found


def _table(work: asyncio.Task) -> str:
    error = work.exception()
    if isinstance(error, Cancelled):
        return panels.CANCELLED
    if isinstance(error, OSError | ValueError):
        return panels.notices([str(error)])
    return panels.compared(*work.result())
