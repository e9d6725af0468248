"""The queue's limits by visitor, and events that nobody listens to: by a small app, and by a real server."""

import asyncio
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

import app.ui
from app.fair_queue import FairQueue, QueueLimits, RateLimit, visitor_of
from app.middleware import PageCheck, PublicEvents
from tests.app.fakes import make_video
from tests.app.test_ending import call_segment, listen, studio, upload

EVENTS = PublicEvents(frozenset({7}), frozenset({"segment"}), frozenset({7, 8}))


def waiting(*visitors: str) -> SimpleNamespace:
    """A page in whose queue these visitors have calls."""
    found = [
        SimpleNamespace(
            _id=str(n),
            session_hash=f"s{n}",
            fn=SimpleNamespace(_id=7),
            request=SimpleNamespace(scope={"client": (visitor, 1), "headers": []}),
            enqueue_time=time.monotonic(),
        )
        for n, visitor in enumerate(visitors)
    ]
    return SimpleNamespace(_queue=SimpleNamespace(event_ids_to_events={event._id: event for event in found}))


def send(queue: FairQueue, path: str, body: dict | None = None, **headers: str) -> httpx.Response:
    async def with_event(scope: Scope, receive: Receive, send: Send) -> None:
        sent = body or {}
        scope["state"] = {"event": sent.get("fn_index"), "session": sent.get("session_hash")}  # as PageCheck does
        await queue(scope, receive, send)

    async def request() -> httpx.Response:
        transport = httpx.ASGITransport(with_event, client=("10.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://studio") as client:
            return await client.post(path, json=body or {}, headers=headers)

    try:
        return asyncio.run(request())
    finally:
        queue._watch = None  # ended with its loop


def fair_queue(*visitors: str, limits: QueueLimits | None = None) -> FairQueue:
    return FairQueue(PlainTextResponse("passed on"), waiting(*visitors), EVENTS, limits or QueueLimits(waiting=4))


def test_requests_are_numbered_as_they_come():
    numbers: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        numbers.append(scope["state"]["arrival"])
        await PlainTextResponse("passed on")(scope, receive, send)

    queue = FairQueue(app, waiting(), EVENTS)
    for _ in range(3):
        assert send(queue, "/gradio_api/queue/join").text == "passed on"
    assert numbers == [1, 2, 3]


def test_two_calls_of_one_visitor_and_the_place_of_the_first():
    assert send(fair_queue("a", "10.0.0.1"), "/gradio_api/call/segment").status_code == 200
    answer = send(fair_queue("a", "10.0.0.1", "10.0.0.1"), "/gradio_api/call/segment")
    assert answer.status_code == 429
    sentence = "2 calls of yours are in the queue, the first at place 2 of 3; at most 2 of one visitor"
    assert answer.text == f"{sentence}: try again when one has ended."


def test_a_full_queue_names_the_place():
    answer = send(fair_queue("a", "b", "c", "d"), "/gradio_api/queue/join", {"fn_index": 7})
    assert answer.status_code == 429 and "yours would be at place 5; at most 4 may wait" in answer.text
    assert send(fair_queue("a", "b", "c", "d"), "/gradio_api/queue/join", {"fn_index": 8}).text == "passed on"


def test_the_number_of_an_event_comes_from_the_check_of_the_page():
    full = fair_queue("a", "b", "c", "d")

    async def request() -> httpx.Response:
        transport = httpx.ASGITransport(PageCheck(full, EVENTS))
        async with httpx.AsyncClient(transport=transport, base_url="http://studio") as client:
            return await client.post("/gradio_api/queue/join", json={"fn_index": 7})

    assert asyncio.run(request()).status_code == 429


def test_rates_by_visitor_with_the_seconds_to_wait():
    queue = fair_queue(limits=QueueLimits(uploads=2, calls=1))
    assert [send(queue, "/gradio_api/upload").status_code for _ in range(3)] == [200, 200, 429]
    assert send(queue, "/gradio_api/call/segment").status_code == 200
    answer = send(queue, "/gradio_api/call/segment")
    assert answer.status_code == 429 and 0 < int(answer.headers["Retry-After"]) <= 60
    assert answer.text == f"At most 1 calls a minute of one visitor: wait {answer.headers['Retry-After']} seconds."


def test_new_pages_of_one_visitor_are_limited(monkeypatch: pytest.MonkeyPatch):
    """Gradio keeps something for each, and drops that of others beyond a number."""
    monkeypatch.setattr("app.fair_queue.MAX_PAGES", 2)
    queue = fair_queue()

    def status(session: str, **body: int) -> int:
        return send(queue, "/gradio_api/queue/join", {"fn_index": 8, "session_hash": session} | body).status_code

    assert [status(name) for name in ("a", "b", "c", "c", "a", "b")] == [200, 200, 429, 429, 200, 200]
    assert status("d", fn_index=7) == 200, "a call of an endpoint has limits of its own"


def test_sign_ins_that_are_checked_are_counted_by_address():
    """Somebody who makes names up would have every place of those that are checked at a time."""

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.2)
        await PlainTextResponse("checked")(scope, receive, send)

    queue = FairQueue(slow, waiting(), EVENTS)

    async def post(address: str) -> int:
        transport = httpx.ASGITransport(queue, client=(address, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://studio") as client:
            return (await client.post("/login", data={"username": "made up"})).status_code

    async def many() -> list[int]:
        return await asyncio.gather(*(post("10.0.0.1") for _ in range(6)), post("10.0.0.2"))

    assert sorted(asyncio.run(many())) == [200] * 5 + [429] * 2
    queue._watch = None
    assert asyncio.run(post("10.0.0.1")) == 200


@pytest.mark.parametrize(("by_browser", "counted"), [(False, "10.0.0.1"), (True, "browser")])
def test_a_browser_is_counted_as_itself_only_where_it_could_not_begin_anew(by_browser: bool, counted: str):
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["state"]["counted_as"])

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "headers": [],
        "client": ("10.0.0.1", 1),
        "query_string": b"",
    }
    for visitor in ("browser", ""):
        queue: Any = FairQueue(app, waiting(), EVENTS, by_browser=by_browser)

        async def request(visitor: str = visitor, queue: Any = queue) -> None:
            await queue(scope | {"state": {"visitor": visitor}}, None, None)

        asyncio.run(request())
    assert seen == [counted, "10.0.0.1"]


def test_a_minute_later_requests_are_answered_again():
    now = [0.0]
    limit = RateLimit(2, lambda: now[0])
    assert [limit.seconds_to_wait("a") for _ in range(3)] == [0, 0, 60] and limit.seconds_to_wait("b") == 0
    now[0] = 60.0
    assert limit.seconds_to_wait("a") == 0
    assert [RateLimit(0).seconds_to_wait("a") for _ in range(500)] == [0] * 500


@pytest.mark.parametrize(("trusted", "visitor"), [(False, "10.0.0.1"), (True, "9.9.9.9")])
def test_the_forwarded_address_counts_only_where_it_is_trusted(trusted: bool, visitor: str):
    scope = {"type": "http", "client": ("10.0.0.1", 1), "headers": [(b"x-forwarded-for", b"1.1.1.1, 9.9.9.9")]}
    assert visitor_of(scope, trusted) == visitor


def abandon_soon() -> None:
    """The studio of this process drops events sooner that nobody listens to."""
    app.ui.FairQueue = partial(FairQueue, abandoned_seconds=2.0)


def test_abandoned_calls_make_room_for_one_that_is_listened_to(tmp_path: Path):
    """Two hundred of them kept a user out for more than 45 seconds."""
    video = make_video(tmp_path / "street.mp4", frames=18)
    limits = ("--queue", "300", "--queue-per-visitor", "300", "--calls-per-minute", "0")
    with studio(tmp_path, *limits, before=abandon_soon) as (_, url):
        sent = upload(url, video)
        for _ in range(60):
            call_segment(url, sent, tmp_path / "slow.pth")
        began = time.monotonic()
        assert "event: complete" in listen(url, call_segment(url, sent, tmp_path / "slow.pth")).result(40)
        assert time.monotonic() - began < 30
