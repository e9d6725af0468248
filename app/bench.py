"""The data sets that are open, with what is worked out of them; and which of them a page looks at."""

import threading
from collections import OrderedDict
from dataclasses import replace

import gradio as gr

from app.data.project import Project
from app.findings.desk import Desk
from app.findings.strips import Strips
from app.session import Pages

MOST_LOADED = 4  # data sets whose files stay in memory: some 200 MB each for 300 videos


class Bench:
    """May be used from any thread; shared by all pages, so that who looks at one data set shares what is known of it.

    first: what a page sees whose address names no data set.
    """

    def __init__(self, first: Project, desk: Desk, strips: Strips):
        self.desk, self.strips = desk, strips
        self._first = first.id
        self._lock = threading.RLock()
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

    def put(self, project: Project) -> Project:
        """Open it, or what it has become in the place of what it was; returns it."""
        with self._lock:
            self._projects[project.id] = project
            return self.find(project.id)


def named(request: gr.Request) -> str:
    """The data set that a page's address names; "" where it names none."""
    return str(dict(request.query_params).get("data", ""))[:100]
