"""The tab's handlers, without a page."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, cast

import gradio as gr
import pytest

from app.tabs.segment.events import _SegmentEvents
from app.tabs.segment.page_state import Session
from app.tasks import Places, QueueFullError, Quota, Task, TaskStatus
from tests.app.fakes import walking_squares


class FailingProxy:
    """A video that cannot be prepared, which the second status states."""

    def __init__(self):
        self.states = iter([TaskStatus("running", stage="Preparing"), TaskStatus("failed", message="no frames")])

    def status(self) -> TaskStatus:
        return next(self.states)


def panel_while_prepared(download: bool) -> list[Any]:
    """The updates of the panel. download: whether a download of weights begins after the first one."""
    session, proxy = Session(), FailingProxy()
    fake: Any = proxy
    session.proxy = fake
    events: Any = object.__new__(_SegmentEvents)
    events.components = SimpleNamespace(panel="panel")

    async def follow() -> list[Any]:
        shown = []
        async for updates in events._follow_proxy(proxy, session):
            shown.append(updates["panel"])
            if download:
                session.start(Task("weights"))
        return shown

    return asyncio.run(follow())


def test_a_download_keeps_the_panel_while_the_video_is_prepared():
    first, last = panel_while_prepared(download=False)
    assert "Preparing" in first and "no frames" in last
    first, last = panel_while_prepared(download=True)
    assert "Preparing" in first and last == gr.skip()


def visitor_events(session: Session) -> Any:
    """The handlers of a page whose visitor has as many videos and files at work as one may."""
    events: Any = object.__new__(_SegmentEvents)
    events.components = SimpleNamespace(run="run", panel="panel", cancel="cancel", fetch="fetch")
    events._without_video = lambda session: {}
    events._opening, events._writing = (Places(Quota(8, 1), kind) for kind in ("videos", "files"))
    events._session = lambda request: session
    view = SimpleNamespace(layers=[SimpleNamespace(result=walking_squares("clip", (64, 96), [0.0], 10, 0.0))])
    session.view, session.token = cast(Any, view), "token"
    views = SimpleNamespace(folder=lambda token: "folder")
    events.studio = SimpleNamespace(views=views, footage=lambda token: None)
    return events


def test_videos_and_files_of_one_visitor_at_the_same_time_are_limited():
    session = Session(visitor="ann")
    events = visitor_events(session)
    source: Any = SimpleNamespace(open=lambda: None, redact=str)

    async def all_of(updates: Any) -> None:
        async for _ in updates:
            pass

    with events._opening.taken("ann"), pytest.raises(gr.Error, match="1 videos of yours are in the queue"):
        asyncio.run(all_of(events._open(source, session)))
    with events._writing.taken("ann"), pytest.raises(gr.Error, match="1 files of yours are in the queue"):
        asyncio.run(all_of(events._exporter("results.json")(None)))


def test_a_page_remembers_only_fields_of_the_model():
    session = Session()
    events: Any = object.__new__(_SegmentEvents)
    events._session = lambda request: session
    events.check_parameters("motion", {"model": "motion", "values": {"min_area": "5", "other": "x"}}, None)
    assert session.parameters == {"motion": {"min_area": "5"}}


def test_videos_and_views_of_a_page_are_counted_as_its_visitors(monkeypatch: pytest.MonkeyPatch):
    session, seen = Session(visitor="ann"), []
    events = visitor_events(session)
    end = TaskStatus("done", result=cast(Any, SimpleNamespace(length=1, warnings=())))

    def record(_: object, visitor: str = "") -> Any:
        seen.append(visitor)
        return SimpleNamespace(version=1)

    def start(_: object, visitor: str = "") -> None:
        seen.append(visitor)
        raise QueueFullError("full")

    events.components = SimpleNamespace(run="run", panel="panel", player="player", last="last")
    events._show, events._running = (lambda view, session: {}), (lambda running: {})
    worker = SimpleNamespace(status=lambda token: end)
    events.studio = SimpleNamespace(worker=worker, followed=lambda token: nullcontext(), run_view=record)
    events.studio.video_view, events.studio.proxies = record, SimpleNamespace(start=start)
    monkeypatch.setattr("app.tabs.segment.events.payload", lambda view: {})
    proxy: Any = SimpleNamespace(status=lambda: end)
    session.proxy, session.token = proxy, ""

    async def all_of(updates: Any) -> None:
        async for _ in updates:
            pass

    asyncio.run(all_of(events._follow_proxy(proxy, session)))
    asyncio.run(all_of(events.follow("token", cast(Any, None))))
    source: Any = SimpleNamespace(open=lambda: SimpleNamespace(size_hw=(4, 4)), redact=str)
    with pytest.raises(gr.Error, match="full"):
        asyncio.run(all_of(events._open(source, session)))
    assert seen == ["ann"] * 3


def test_of_two_videos_that_are_selected_the_last_one_stays():
    """The first one is opened only after the second one was selected, or removed; nothing of it is shown then."""
    session = Session(visitor="ann")
    events = visitor_events(session)
    events.studio.clips = []
    opened, later = (threading.Event() for _ in range(2))
    first: Any = SimpleNamespace(open=lambda: (opened.set(), later.wait(60)), redact=str)
    second: Any = SimpleNamespace(open=lambda: pytest.fail("opened"), redact=str)

    async def shown() -> list[Any]:
        updates = events._open(first, session)
        received = [await anext(updates)]
        rest = asyncio.create_task(anext(updates, None))
        await asyncio.to_thread(opened.wait, 60)
        session.wanted = second
        later.set()
        return [*received, await rest]

    before, after = asyncio.run(shown())
    assert list(before) == ["run"] and after is None and session.source is None


def test_the_clip_that_is_selected_is_not_opened_anew():
    """A list that is only left, and each choice once more, is sent as a choice."""
    session = Session(visitor="ann")
    events, clip = visitor_events(session), SimpleNamespace(name="crossing", open=lambda: pytest.fail("opened"))
    events.studio.clip, events.studio.clips = {"crossing": clip}.__getitem__, [clip]
    session.wanted, request = cast(Any, clip), cast(Any, SimpleNamespace(session_hash="page"))

    async def select() -> list[Any]:
        return [updates async for updates in events.select_clip("crossing", "motion", request)]

    assert asyncio.run(select()) == [{"panel": gr.skip()}] and session.token == "token"


def test_a_removal_that_is_handled_late_leaves_the_video_that_was_chosen_after_it():
    """The box's old file is removed for the next one: a busy server may handle the two events in another order."""
    session = Session()
    events = visitor_events(session)
    events.components, events.studio.clips = SimpleNamespace(panel="panel", clip="clip"), []

    async def open_(source: Any, *_: object) -> AsyncIterator[dict]:
        session.wanted = source
        yield {"panel": "opened"}

    async def select(path: str | None, arrival: int) -> list[Any]:
        request = SimpleNamespace(request=SimpleNamespace(scope={"state": {"arrival": arrival}}))
        return [updates["panel"] async for updates in events.select_file(path, None, request)]

    events._open, events._without_video = open_, lambda session: {"panel": "none"}
    assert asyncio.run(select("b.mp4", 2)) == ["opened"]
    assert asyncio.run(select(None, 1)) == [gr.skip()] and session.wanted is not None
    assert asyncio.run(select(None, 3)) == ["none"]
    assert asyncio.run(select("a.mp4", 2)) == [gr.skip()]


@pytest.mark.parametrize(("known", "sent"), [(18, False), (17, True), (None, True)])
def test_a_last_frame_that_was_typed_stays_where_the_length_was_known(
    known: int | None, sent: bool, monkeypatch: pytest.MonkeyPatch
):
    session = Session()
    events = visitor_events(session)
    events.components = SimpleNamespace(panel="panel", player="player", last="last")
    events.studio.video_view = lambda *_: None
    monkeypatch.setattr("app.tabs.segment.events.payload", lambda view: {})
    end = TaskStatus("done", result=cast(Any, SimpleNamespace(length=18, warnings=())))
    proxy: Any = SimpleNamespace(status=lambda: end)
    session.proxy, session.token = proxy, ""

    async def follow() -> list[Any]:
        return [updates async for updates in events._follow_proxy(proxy, session, known)]

    (updates,) = asyncio.run(follow())
    assert ("last" in updates) == sent
