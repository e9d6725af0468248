"""What one page of the studio looks at and has chosen; and work that takes a while for it."""

import asyncio
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from html import escape
from typing import Any, Generic, TypeVar

import gradio as gr

from app import panels
from app.player.component import PlayerView
from app.player.proxy import ProxyTask, VideoSource
from app.tabs.segment.exports import Choices, OverlayStyle
from tevit.progress import Cancelled
from tevit.results import VideoResult

TICK = 0.25  # seconds between looks at what goes on
TOAST = 5  # seconds; the panel goes on saying it

MOST_PAGES = 1000  # whose choices a tab remembers

Updates = dict[Any, Any]  # gradio's form: component -> what becomes of it
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
"""What all events of the tabs have in common: no signs of gradio's own, no public endpoint, no waiting for another."""

Kept = TypeVar("Kept")


class Pages(Generic[Kept]):
    """What a tab remembers of each page that is open; of pages that were closed long ago it goes.

    Kept on our side by the page's name: gradio's own State would hold a connection open for every page. make: what a
    page begins with, by its first request.
    """

    def __init__(self, make: Callable[[gr.Request], Kept]):
        self._make = make
        self._pages: OrderedDict[str, Kept] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, request: gr.Request) -> Kept:
        """The page that asks."""
        name = str(request.session_hash)
        with self._lock:
            if name not in self._pages:
                self._pages[name] = self._make(request)
            self._pages.move_to_end(name)
            while len(self._pages) > MOST_PAGES:
                self._pages.popitem(last=False)
            return self._pages[name]


@dataclass
class Session:
    """source: the chosen video. token: of the run or stored result that is shown. show: what its player shows.
    stop: ends an export or a download of weights."""

    source: VideoSource | None = None
    token: str = ""
    looking: ProxyTask | None = None
    show: PlayerView | None = None
    picked: Choices = field(default_factory=Choices)
    look: OverlayStyle = field(default_factory=OverlayStyle)
    selected: int | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    _sized: tuple[VideoSource, tuple[int, int]] | None = None

    def size_hw(self) -> tuple[int, int] | None:
        """Of the chosen video, which is opened once for it. Raises: ValueError, OSError."""
        if self.source is not None and (self._sized is None or self._sized[0] is not self.source):
            self._sized = self.source, self.source.open().size_hw
        return self._sized[1] if self.source is not None and self._sized is not None else None

    @property
    def result(self) -> VideoResult | None:
        """All tracks that there are."""
        return self.show.layers[0].result if self.show is not None and self.show.layers else None


def toast(sentence: str) -> gr.Error:
    """To be raised after the panel says the same; what the page shows stays. Gradio takes the text for HTML."""
    return gr.Error(escape(sentence, quote=False), duration=TOAST, print_exception=False)


async def work(
    panel: gr.HTML, cancel: gr.Button, stop: threading.Event, task: Callable[..., Any], unit: str
) -> AsyncIterator[Updates]:
    """Run `task(progress)` in a thread; how far it is, and its failure as a sentence, stand in the panel."""
    stop.clear()
    gauge = panels.Gauge(unit)

    def note(stage: str, done: int, total: int | None) -> None:
        if stop.is_set():
            raise Cancelled
        gauge(stage, done, total)

    yield {cancel: gr.Button(interactive=True)}
    running = asyncio.create_task(asyncio.to_thread(task, note))
    while not running.done():
        await asyncio.wait([running], timeout=TICK)
        yield {panel: gauge.html(), cancel: gr.Button(interactive=True)}
    yield {panel: _outcome(running), cancel: gr.Button(interactive=False)}
    if error := running.exception():
        raise toast(str(error) or "Cancelled: nothing was written.") from error


def _outcome(done: asyncio.Task) -> str:
    error = done.exception()
    if error is None:
        return ""
    if isinstance(error, Cancelled):
        return panels.note("Cancelled: nothing was written.")
    if isinstance(error, ValueError | OSError):
        return panels.problem(str(error))
    raise error
