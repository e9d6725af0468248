"""The part of the tab Review that comes after the decisions: downloads, AP before and after, a log from elsewhere."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import gradio as gr

from app.review import files, panels
from app.review.layout import Parts
from app.review.session import Reviewing
from app.session import TICK, Updates, toast
from app.shows import Shows


class After:
    """What the buttons below the queue do, of one data set."""

    def __init__(self, parts: Parts, reviewing: Reviewing, shows: Shows):
        self.parts, self.reviewing, self.shows = parts, reviewing, shows

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

    async def compared(self) -> AsyncIterator[Updates]:
        """AP of each model by both versions of the labels."""
        parts, said = self.parts, ["starting", 0.0]
        if self.reviewing.lacks or not self.reviewing.project.models:
            yield {parts.after: panels.notices(["AP needs a data set and at least one model's predictions."])}
            return

        def note(words: str, share: float) -> None:
            said[:] = [words, share]

        with tempfile.TemporaryDirectory(prefix="review-") as folder:
            work = asyncio.create_task(asyncio.to_thread(files.compare, self.reviewing, Path(folder), note))
            yield {parts.compare: gr.Button(interactive=False)}
            while not work.done():
                yield {parts.after: panels.working(str(said[0]), float(said[1]))}
                await asyncio.wait([work], timeout=TICK)
            yield {parts.compare: gr.Button(interactive=True), parts.after: self._table(work)}

    def _table(self, work: asyncio.Task) -> str:
        error = work.exception()
        if isinstance(error, OSError | ValueError):
            return panels.notices([str(error)])
        return panels.compared(*work.result())

    async def imported(self, path: str | None) -> AsyncIterator[Updates]:
        """A log from elsewhere: what fits is taken, where all of it fits these labels; else it is only told."""
        if not path:
            yield {self.parts.told: gr.skip()}
            return
        yield {self.parts.told: '<p class="hint">Reading the decisions …</p>'}
        try:
            yield {self.parts.told: await asyncio.to_thread(self._import, Path(path))}
        except (OSError, ValueError) as error:
            yield {self.parts.told: panels.notices(str(error).splitlines())}
            raise toast(str(error).splitlines()[0]) from error

    def _import(self, path: Path) -> str:
        if self.reviewing.lacks:
            raise ValueError(self.reviewing.lacks)
        found = files.read_import(self.reviewing, path.read_bytes(), path.name)
        if found.clash:
            raise ValueError(f"{found.name}: the log has other decisions under the ids {', '.join(found.clash[:5])}.")
        if found.doubtful:
            return panels.lines(f"{found.title} Nothing was taken.", found.unfit)
        return panels.lines(f"{found.title} {self.reviewing.store.load(path)} were saved.", ())
