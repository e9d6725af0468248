"""The tab's handlers, without a page."""

import asyncio
from types import SimpleNamespace
from typing import Any

import gradio as gr

from app.tabs.segment.events import _SegmentEvents
from app.tabs.segment.page_state import Session
from app.tasks import Task, TaskStatus


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
