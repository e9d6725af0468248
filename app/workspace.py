"""The open data sets with everything computed of them, and what the event handlers of all tabs share.

A page is identified by gradio's session hash. State of one page is held by `Pages`.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial, wraps
from html import escape
from typing import Any, Generic, TypeVar

import gradio as gr
from cachetools import LRUCache

from tevit.evaluation.inputs import LABELS, UNLISTED, named_warnings
from tevit.review.reviewers import Team

from .access import EVERYBODY, Access, VisitorCache, visitor_of_event
from .analysis.comparison import Comparison
from .analysis.service import EvaluationService, ThumbnailCache
from .page import note, on_change, problem, progress, render
from .projects.project import AllowedFolders, Notice, Project, open_project, project_id, with_frames, with_predictions
from .tasks import Task

MAX_LOADED = 4  # data sets whose files stay in memory: some 200 MB each for 300 videos
MAX_PAGES = 1000  # whose state a tab keeps
TICK = 0.25  # seconds between two looks at a task
TOAST_SECONDS = 5

Updates = dict[Any, Any]
"""Gradio's form: component -> its new value or properties."""
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
"""Options of all events of the tabs: no progress display of gradio's, no public endpoint, no limit."""
DOWNLOAD = on_change("page/page.js", "download")
"""JavaScript of a hidden Textbox that downloads the address it is given."""

PageState = TypeVar("PageState")


class Pages(Generic[PageState]):
    """State of each open page; of too many the visitor who has most loses one.

    Held here, since gradio's own State keeps a connection open for every page. make: a page's initial state, from its
    first request.
    """

    def __init__(self, make: Callable[[gr.Request], PageState]):
        self._make = make
        self._pages: VisitorCache[tuple[PageState]] = VisitorCache(MAX_PAGES)
        self._lock = threading.Lock()

    def of(self, request: gr.Request) -> PageState:
        """The state of the page that sent the request."""
        name = str(request.session_hash)
        with self._lock:
            if (entry := self._pages.get(name)) is None:
                entry = (self._make(request),)
                self._pages.put(name, entry, visitor_of_event(request))
            return entry[0]


@dataclass(frozen=True)
class TabLinks:
    """Hidden components through which tabs open each other. jump, picked: queries that the tabs Compare and Review
    show. back: key of a row that the tab Errors shows, with a number that makes it a new value."""

    tabs: gr.Tabs
    jump: gr.Textbox
    picked: gr.Textbox
    back: gr.Textbox


Handler = Callable[..., AsyncIterator[Updates]]


def only_another(shown: Callable[[Any, gr.Request], tuple], unchanged: Callable[[Any], Updates]) -> Any:
    """Decorator of a tab's handler of what is chosen in a list: called only where the page shows something else.

    Gradio's page sends a choice twice, and once where the list was only left. shown: returns, for the tab and the
    request, what the page shows now: as many values as it has, of the handler's first arguments. The handler changes it
    before its first updates. unchanged: the updates where nothing is to be done.
    """

    def decorated(handler: Handler) -> Handler:
        begun: dict[tuple[int, Any], tuple] = {}  # tab and page -> chosen there, which is not shown yet

        @wraps(handler)
        async def choose(tab: Any, *arguments: Any) -> AsyncIterator[Updates]:
            request = arguments[-1]
            page, now = (id(tab), request.session_hash), shown(tab, request)
            chosen = arguments[: len(now)]
            if chosen == begun.get(page, now):
                yield unchanged(tab)
                return
            begun[page] = chosen
            try:
                async for updates in handler(tab, *arguments):
                    if begun.get(page) is chosen:
                        del begun[page]
                    yield updates
            finally:
                if begun.get(page) is chosen:
                    del begun[page]

        return choose

    return decorated


def toast(message: str) -> gr.Error:
    """To be raised after the panel shows the same message; the page stays as it is."""
    # Gradio takes the text for HTML.
    return gr.Error(escape(message, quote=False), duration=TOAST_SECONDS, print_exception=False)


async def run_task(task: Task, panel: gr.HTML, cancel: gr.Button) -> AsyncIterator[Updates]:
    """Run a task in a thread and follow it. Raises: as `follow_task`."""
    running = asyncio.create_task(asyncio.to_thread(task.run))
    async for updates in follow_task(task, panel, cancel):
        yield updates
    await running


async def follow_task(task: Task, panel: gr.HTML, cancel: gr.Button) -> AsyncIterator[Updates]:
    """The panel shows a task's progress, and its message where it does not succeed.

    Raises: gr.Error where it was cancelled or has failed.
    """
    yield {cancel: gr.Button(interactive=True)}
    end = await asyncio.to_thread(task.wait, TICK)
    while not end.over:
        yield {panel: progress(end), cancel: gr.Button(interactive=True)}
        end = await asyncio.to_thread(task.wait, TICK)
    message = {"failed": problem, "cancelled": note}.get(end.state, lambda message: "")(end.message)
    yield {panel: message, cancel: gr.Button(interactive=False)}
    if end.state != "done":
        raise toast(end.message)


def project_notices(project: Project, comparison: Comparison | None = None) -> str:
    """What is missing or unusual, with buttons to use or undo a category mapping.

    comparison: the evaluated models, whose warnings are added.
    """
    shown = []
    for notice in project.notices:
        offered = notice.kind == "categories" and notice.model is not None
        shown.append((notice, project.category_mappings(notice.model or "") if offered else []))
    warnings = {
        model.name: [text for text in model.stored.overlaps.warnings if text.startswith(LABELS) or UNLISTED not in text]
        for model in (comparison.models if comparison is not None else ())
    }
    shown += [(Notice("videos", line), []) for line in named_warnings(project.dataset.path.name, warnings)]
    mapped = [
        (m.name, next((x.source for x in project.category_mappings(m.name) if x.categories == m.categories), "chosen"))
        for m in project.models
        if m.categories is not None
    ]
    return render("datasets/notices.html", notices=shown, mapped=mapped, categories=project.dataset.categories)


class Workspace:
    """The open data sets, shared by all pages. Thread-safe.

    first: shown to pages whose address names no data set. allowed: the folders that pages may open files from.
    max_loaded: data sets whose files stay in memory. team: who reviews labels; None: everybody. access: what visitors
    may do.
    """

    def __init__(
        self,
        first: Project,
        evaluations: EvaluationService,
        thumbnails: ThumbnailCache,
        allowed: AllowedFolders | None = None,
        max_loaded: int = MAX_LOADED,
        team: Team | None = None,
        access: Access = EVERYBODY,
    ):
        self.team, self.access = team or Team(), access
        self.evaluations, self.thumbnails, self.allowed = evaluations, thumbnails, allowed or AllowedFolders()
        self._first = first.id
        self._lock = threading.RLock()
        self._changing = threading.RLock()  # held while files are read; never acquired under the other
        self._projects: dict[str, Project] = {first.id: first}
        self._loaded: LRUCache[str, None] = LRUCache(max_loaded)
        # The id of each page's data set.
        self._of_page = Pages(lambda request: requested(request) if not self.missing(request) else "").of

    @property
    def first(self) -> Project:
        """The data set that was named when the studio was started."""
        return self.find(self._first)

    @property
    def projects(self) -> tuple[Project, ...]:
        """All open data sets, in the order in which they were opened."""
        with self._lock:
            return tuple(self._projects.values())

    def find(self, id: str) -> Project:
        """The current version of a data set. Raises: LookupError where it is not open."""
        with self._lock:
            if id not in self._projects:
                raise LookupError(f"the data set {id[:40]!r} is not open here")
            if id not in self._loaded and len(self._loaded) >= self._loaded.maxsize:
                oldest, _ = self._loaded.popitem()
                self._projects[oldest] = replace(self._projects[oldest])  # without the files that it has read
            self._loaded[id] = None
            return self._projects[id]

    def of(self, request: gr.Request) -> Project:
        """The page's data set: the one that its address named when it was loaded, or the first."""
        return self.find(self._of_page(request) or self._first)

    def missing(self, request: gr.Request) -> str:
        """The id of the data set in the page's address, where it is not open; else ""."""
        id = requested(request)
        with self._lock:
            return "" if id in self._projects else id

    def change(self, id: str, change: Callable[[Project], Project]) -> Project:
        """Replace a data set by `change` of it; changes are applied one at a time. Raises: what `change` raises."""
        with self._changing:
            changed = change(self.find(id))
            with self._lock:
                self._projects[changed.id] = changed
                return self.find(changed.id)

    def open(self, truth: str, frames: str = "", predictions: Sequence[str] = ()) -> Project:
        """Open a data set, or add predictions to it where it is open already.

        truth: a file, or "" for the predictions' own videos. frames: a folder, or "" to look for one. Raises: OSError,
        ValueError, one sentence; also for a path outside of the allowed folders.
        """
        file = self.allowed.file(truth) if truth else None
        folder = self.allowed.folder(frames) if frames else None
        files = [self.allowed.file(path) for path in predictions]
        with self._changing:
            if file is not None and (id := project_id(file)) in self._projects:
                return self.change(id, lambda project: self._extended(project, folder, files))
            project = open_project(file, folder, files, allowed=self.allowed)
            with self._lock:
                self._projects.setdefault(project.id, project)
            return self.change(project.id, partial(self._extended, folder=None, predictions=[]))

    def _extended(self, project: Project, folder, predictions: Sequence) -> Project:
        """The data set with frames where they were missing, and with more predictions."""
        project = with_frames(project, self.allowed, folder)
        return with_predictions(project, predictions) if predictions else project


def requested(request: gr.Request) -> str:
    """The id of the data set in a page's address; "" where it names none."""
    return str(dict(request.query_params).get("data", ""))[:100]
