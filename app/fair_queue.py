"""Limits of what one visitor may have in the queue and send in a minute, as ASGI middleware around gradio's app.

Events that nobody listens to any more are removed from gradio's queue, or cancelled where they are at work.
"""

import asyncio
import itertools
import logging
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from cachetools import LRUCache
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from .access import counted
from .middleware import UPLOAD_PATH, PublicEvents, path_of, refusal
from .tasks import QueueFullError, Quota

log = logging.getLogger(__name__)

ABANDONED_SECONDS = 10.0  # without a listener, after which an event is dropped
MAX_SIGN_INS = 4  # of one address that are being checked; sixteen of all (app.access)
MAX_VISITORS = 10_000  # whose requests are counted
MAX_PAGES = 120  # new pages of one visitor in a minute: gradio keeps some 200 KB for each
SESSIONS = 2000  # pages that gradio keeps something for
_MINUTE = 60.0
SIGN_IN_PATH = "/login"
_JOIN = "/gradio_api/queue/join"
_CALLS = ("/gradio_api/call/", "/gradio_api/run/", "/gradio_api/api/")


@dataclass(frozen=True)
class QueueLimits(Quota):
    """The quota of the endpoints' calls, and that of the runs.

    uploads, calls: requests of one visitor in a minute, 0: any number. trust_forwarded: a proxy in front of the studio
    names the visitor in the last entry of X-Forwarded-For.
    """

    uploads: int = 120
    calls: int = 120
    trust_forwarded: bool = False


def visitor_of(scope: Scope, trust_forwarded: bool) -> str:
    """The address of who sends a request."""
    forwarded = Headers(scope=scope).getlist("x-forwarded-for") if trust_forwarded else []
    if forwarded:
        return forwarded[-1].rpartition(",")[2].strip()
    return (scope.get("client") or ("unknown",))[0]


class RateLimit:
    """At most `limit` requests of one visitor in a minute, 0: any number. clock: seconds."""

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic):
        self._limit, self._clock = limit, clock
        self._times: LRUCache[str, deque[float]] = LRUCache(MAX_VISITORS)

    def seconds_to_wait(self, visitor: str) -> int:
        """0 where the request may be made, which then counts."""
        if not self._limit:
            return 0
        times, now = self._times.setdefault(visitor, deque()), self._clock()
        while times and times[0] <= now - _MINUTE:
            times.popleft()
        if len(times) >= self._limit:
            return max(1, math.ceil(times[0] + _MINUTE - now))
        times.append(now)
        return 0


@dataclass
class FairQueue:
    """Refuses with 429 and one sentence what exceeds the limits, behind `PageCheck`, which has read the event's number.

    The request's state gets `counted_as`, by which the visitor's runs and views are counted: the address; with
    by_browser the browser, where it has the page's cookie, which strangers could drop at will. Calls, uploads and
    sign-ins are counted by address. It also gets `arrival`, a number that rises from request to request. blocks:
    gradio's page, whose queue is watched.
    """

    app: ASGIApp
    blocks: Any
    events: PublicEvents
    limits: QueueLimits = field(default_factory=QueueLimits)
    by_browser: bool = False
    abandoned_seconds: float = ABANDONED_SECONDS
    _signing_in: Counter[str] = field(default_factory=Counter, repr=False)  # by address
    _listening: Counter[str] = field(default_factory=Counter, repr=False)  # by session or event
    _left: LRUCache[str, float] = field(default_factory=lambda: LRUCache(100_000), repr=False)
    _pages: LRUCache[str, None] = field(default_factory=lambda: LRUCache(SESSIONS), repr=False)  # sessions of events
    _watch: asyncio.Task | None = None
    _arrivals: Iterator[int] = field(default_factory=lambda: itertools.count(1), repr=False)

    def __post_init__(self) -> None:
        self._uploads, self._calls = RateLimit(self.limits.uploads), RateLimit(self.limits.calls)
        self._new_pages = RateLimit(MAX_PAGES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with 429, or pass the request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if self._watch is None:
            self._watch = asyncio.create_task(self._drop_abandoned())
        path, state = path_of(scope), scope.setdefault("state", {})
        browser = state.get("visitor", "") if self.by_browser else ""
        state["arrival"] = next(self._arrivals)
        state["counted_as"] = browser or visitor_of(scope, self.limits.trust_forwarded)
        if scope["method"] == "POST" and path == SIGN_IN_PATH:
            await self._sign_in(scope, receive, send)
            return
        if scope["method"] == "GET" and (key := _listened_key(scope, path)):
            await self._listen(key, scope, receive, send)
            return
        if scope["method"] == "POST" and path == _JOIN:
            is_call = state.get("event") in self.events.indices
            refused = self._refuse_call(scope) if is_call else self._refuse_page(scope, state.get("session") or "")
        elif scope["method"] == "POST" and path.startswith(_CALLS):
            refused = self._refuse_call(scope)
        else:
            refused = self._refuse_upload(scope) if path == UPLOAD_PATH else None
        await (refused or self.app)(scope, receive, send)

    def _refuse_upload(self, scope: Scope) -> Response | None:
        seconds = self._uploads.seconds_to_wait(visitor_of(scope, self.limits.trust_forwarded))
        return _wait(f"At most {self.limits.uploads} uploads a minute", seconds) if seconds else None

    def _refuse_page(self, scope: Scope, session: str) -> Response | None:
        if session in self._pages:
            self._pages[session] = None  # used now
            return None
        if seconds := self._new_pages.seconds_to_wait(visitor_of(scope, self.limits.trust_forwarded)):
            return _wait(f"At most {MAX_PAGES} new pages a minute", seconds)
        self._pages[session] = None
        return None

    def _refuse_call(self, scope: Scope) -> Response | None:
        visitor, limits = visitor_of(scope, self.limits.trust_forwarded), self.limits
        waiting = [e for e in self.blocks._queue.event_ids_to_events.values() if e.fn._id in self.events.indices]
        try:
            visitors = [visitor_of(event.request.scope, limits.trust_forwarded) for event in waiting]
            limits.check(visitors, visitor, "calls")
        except QueueFullError as error:
            return refusal(str(error), 429)
        seconds = self._calls.seconds_to_wait(visitor)
        return _wait(f"At most {limits.calls} calls a minute", seconds) if seconds else None

    async def _sign_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        address = visitor_of(scope, self.limits.trust_forwarded)
        if self._signing_in[address] >= MAX_SIGN_INS:
            text = f"{MAX_SIGN_INS} sign-ins from your address are being checked: try again in some seconds."
            await refusal(text, 429)(scope, receive, send)
            return
        with counted(self._signing_in, address):
            await self.app(scope, receive, send)

    # --- events that nobody listens to

    async def _listen(self, key: str, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with counted(self._listening, key):
                await self.app(scope, receive, send)
        finally:
            if key not in self._listening:
                self._left[key] = time.monotonic()

    def _is_abandoned(self, event: Any) -> bool:
        keys = (event.session_hash, event._id)
        if any(self._listening[key] for key in keys if key in self._listening):
            return False
        last = max(event.enqueue_time, *(self._left.get(key, 0.0) for key in keys))
        return time.monotonic() - last > self.abandoned_seconds

    async def _drop_abandoned(self) -> None:
        while True:
            await asyncio.sleep(self.abandoned_seconds / 5)
            queue = self.blocks._queue
            abandoned = [event for event in list(queue.event_ids_to_events.values()) if self._is_abandoned(event)]
            ends = tuple(f"<gradio-sep>{event._id}" for event in abandoned)
            for event in abandoned:
                await queue.clean_events(event_id=event._id)
                queue.pending_event_ids_session.get(event.session_hash, set()).discard(event._id)
                if not queue.pending_event_ids_session.get(event.session_hash):
                    queue.pending_event_ids_session.pop(event.session_hash, None)
                    queue.pending_messages_per_session.pop(event.session_hash, None)
            for task in asyncio.all_tasks() if ends else ():
                if task.get_name().endswith(ends):  # as gradio names them
                    task.cancel()
            if abandoned:
                log.info("%d events that nobody listens to were dropped", len(abandoned))


def _wait(limit: str, seconds: int) -> Response:
    response = refusal(f"{limit} of one visitor: wait {seconds} seconds.", 429)
    response.headers["Retry-After"] = str(seconds)
    return response


def _listened_key(scope: Scope, path: str) -> str:
    """The session or the event whose messages a request reads; "" for another request."""
    if path == "/gradio_api/queue/data":
        return parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [""])[-1]
    return path.rpartition("/")[2] if path.startswith("/gradio_api/call/") else ""
