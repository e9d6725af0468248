"""The tab `Review` of all data sets that are open: what a page does goes to the review of its own."""

import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable

import gradio as gr

from app.player.routes import ViewRegistry
from app.projects.project import Model, Project
from app.tabs.review.after import After
from app.tabs.review.events import Review
from app.tabs.review.layout import FILES, ReviewComponents, build_layout, sources
from app.tabs.review.session import Reviewing
from app.workspace import DOWNLOAD, QUIET, Pages, Updates, Workspace

MOST = 4  # data sets whose queues stay in memory


def build(page: gr.Blocks, tab: gr.Tab, picked: gr.Textbox, workspace: Workspace, shows: ViewRegistry) -> None:
    """Lay the tab out and tie its events. picked: the list of the tab Errors that is to be reviewed, as a query."""
    _Reviews(build_layout(), workspace, shows).tie(page, tab, picked)


class _Reviews:
    def __init__(self, parts: ReviewComponents, workspace: Workspace, shows: ViewRegistry):
        self.parts, self.workspace, self.shows = parts, workspace, shows
        # Of the data set as it was when the page first asked: what came since would be another queue.
        self._own = Pages(lambda request: self._of(workspace.of(request))).of
        self._lock = threading.Lock()
        self._reviews: OrderedDict[tuple[str, tuple[Model, ...]], tuple[Review, After]] = OrderedDict()

    def tie(self, page: gr.Blocks, tab: gr.Tab, picked: gr.Textbox) -> None:
        """Every event; none is a public endpoint."""
        parts = self.parts
        seen = [parts.notices, parts.chip, parts.player, parts.ask, parts.queue, parts.progress]
        page.load(self.offer, None, parts.source, **QUIET)
        tab.select(self.opened, None, seen, **QUIET)
        picked.change(self.handed, picked, seen, **QUIET)
        parts.source.input(self.changed, parts.source, seen, trigger_mode="always_last", **QUIET)
        parts.chip.click(self.changed, parts.source, seen, **QUIET)
        parts.ask.select(self.heard, None, seen, trigger_mode="multiple", **QUIET)
        told = [parts.told, parts.fetch]
        for name, button in zip(FILES, parts.files, strict=True):
            made = button.click(self._writer(name), None, told, trigger_mode="multiple", **QUIET)
            made.success(None, parts.fetch, None, js=DOWNLOAD)
        parts.compare.click(self.compared, None, [parts.after, parts.compare, parts.cancel], **QUIET)
        parts.cancel.click(self.cancel, None, None, **QUIET)
        parts.log.upload(self.imported, parts.log, [parts.told, parts.take], **QUIET)
        parts.take.click(self.taken, None, [parts.told, parts.take], **QUIET)

    def offer(self, request: gr.Request) -> gr.Dropdown:
        """What the page's data set has to review."""
        return sources([model.name for model in self.workspace.of(request).models])

    async def opened(self, request: gr.Request) -> AsyncIterator[Updates]:
        """The tab."""
        async for updates in self._own(request)[0].opened(request):
            yield updates

    async def changed(self, source: str | None, request: gr.Request) -> AsyncIterator[Updates]:
        """Another queue."""
        async for updates in self._own(request)[0].changed(source, request):
            yield updates

    async def handed(self, query: str, request: gr.Request) -> AsyncIterator[Updates]:
        """The list of the tab Errors."""
        async for updates in self._own(request)[0].handed(query, self.workspace.evaluations, request):
            yield updates

    def heard(self, request: gr.Request, event: gr.EventData) -> Updates:
        """The question."""
        return self._own(request)[0].heard(request, event)

    def _writer(self, name: str) -> Callable[[gr.Request], AsyncIterator[Updates]]:
        async def write(request: gr.Request) -> AsyncIterator[Updates]:
            review, after = self._own(request)
            async for updates in after.write(name, review.token(request)):
                yield updates

        return write

    async def compared(self, request: gr.Request) -> AsyncIterator[Updates]:
        """AP before and after."""
        async for updates in self._own(request)[1].compared(request):
            yield updates

    def cancel(self, request: gr.Request) -> None:
        """Not that any more."""
        self._own(request)[1].cancel(request)

    async def imported(self, path: str | None, request: gr.Request) -> AsyncIterator[Updates]:
        """A log from elsewhere."""
        async for updates in self._own(request)[1].imported(path, request):
            yield updates

    async def taken(self, request: gr.Request) -> AsyncIterator[Updates]:
        """What fits of it."""
        async for updates in self._own(request)[1].taken(request):
            yield updates

    def _of(self, project: Project) -> tuple[Review, After]:
        key = str(project.folder), project.models
        with self._lock:
            if key not in self._reviews:
                reviewing = Reviewing(project)
                made = Review(self.parts, reviewing, self.shows), After(self.parts, reviewing, self.shows)
                self._reviews[key] = made
            self._reviews.move_to_end(key)
            while len(self._reviews) > MOST:
                self._reviews.popitem(last=False)
            return self._reviews[key]
