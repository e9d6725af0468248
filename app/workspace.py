"""The data sets that are open, with what is worked out of them; and which of them a page looks at."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import gradio as gr

from app.analysis.service import EvaluationService
from app.analysis.thumbnails import ThumbnailCache
from app.projects.opening import AllowedFolders, guess_frames, open_project, project_id, save, with_predictions
from app.projects.project import Project
from app.session import Pages

MOST_LOADED = 4  # data sets whose files stay in memory: some 200 MB each for 300 videos


class Workspace:
    """May be used from any thread; shared by all pages, so that who looks at one data set shares what is known of it.

    first: what a page sees whose address names no data set. allowed: what pages may open.
    """

    def __init__(
        self, first: Project, desk: EvaluationService, strips: ThumbnailCache, allowed: AllowedFolders | None = None
    ):
        self.evaluations, self.thumbnails, self.allowed = desk, strips, allowed or AllowedFolders()
        self._first = first.id
        self._lock = threading.RLock()
        self._changing = threading.RLock()  # held while files are read; never asked for under the other
        self._projects: dict[str, Project] = {first.id: first}
        self._used: OrderedDict[str, None] = OrderedDict({first.id: None})
        self._choice = Pages(self._asked).of  # its id

    @property
    def first(self) -> Project:
        """The one that was named when the studio was started."""
        return self.find(self._first)

    @property
    def projects(self) -> tuple[Project, ...]:
        """All that are open, in the order in which they were opened."""
        with self._lock:
            return tuple(self._projects.values())

    def find(self, id: str) -> Project:
        """As it is now. Raises: LookupError for a data set that is not open."""
        with self._lock:
            if id not in self._projects:
                raise LookupError(f"the data set {id[:40]!r} is not open here")
            self._used[id] = None
            self._used.move_to_end(id)
            while len(self._used) > MOST_LOADED:
                oldest, _ = self._used.popitem(last=False)
                self._projects[oldest] = replace(self._projects[oldest])  # without what it has read
            return self._projects[id]

    # --- of one page

    def of(self, request: gr.Request) -> Project:
        """The page's data set: the one that its address named when it was loaded, or the first."""
        return self.find(self._choice(request))

    def _asked(self, request: gr.Request) -> str:
        return self._first if self.missing(request) else named(request) or self._first

    def missing(self, request: gr.Request) -> str:
        """The data set that the page's address names, where it is not open; else ""."""
        wanted = named(request)
        with self._lock:
            return "" if wanted in self._projects else wanted

    # --- of all

    def change(self, id: str, change: Callable[[Project], Project]) -> Project:
        """Put what becomes of a data set in its place; one after the other. Raises: what `change` raises."""
        with self._changing:
            changed = change(self.find(id))
            with self._lock:
                self._projects[changed.id] = changed
                return self.find(changed.id)

    def open(self, truth: str, frames: str = "", predictions: Sequence[str] = ()) -> Project:
        """Open a data set from files that a page names, or add predictions to it where it is open already.

        truth: "": the predictions' own videos. frames: "": they are looked for. Raises: OSError, ValueError, one
        sentence; also for what is not below the allowed folders.
        """
        file = self.allowed.file(truth) if truth else None
        folder = self.allowed.folder(frames) if frames else None
        found = [self.allowed.file(path) for path in predictions]
        with self._changing:
            if file is not None and self._is_open(id := project_id(file)):
                return self.change(id, lambda project: self._more(project, folder, found))
            project = open_project(file, folder, found, allowed=self.allowed)
            with self._lock:
                self._projects.setdefault(project.id, project)
            return self.change(project.id, partial(self._more, folder=None, predictions=[]))

    def _is_open(self, id: str) -> bool:
        with self._lock:
            return id in self._projects

    def _more(self, project: Project, folder, predictions: Sequence) -> Project:
        """With frames where they were missing, and with more predictions."""
        if project.frames is None or not project.frames.is_dir():
            frames = folder or guess_frames(project.dataset, self.allowed.listing().folders)
            project = replace(project, frames=frames or project.frames, allowed=self.allowed)
            save(project)
        return with_predictions(project, predictions) if predictions else project


def named(request: gr.Request) -> str:
    """The data set that a page's address names; "" where it names none."""
    return str(dict(request.query_params).get("data", ""))[:100]
