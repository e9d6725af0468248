"""What the page's Blocks make of values that nobody sends by mistake."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from gradio.state_holder import SessionState
from uvicorn.protocols.http.h11_impl import H11Protocol

from app.access import Access, Address, LimitedConnection
from app.fair_queue import SESSIONS
from app.ui import StudioBlocks, serve


def in_thread(work: Any) -> Any:
    """In this thread playwright's event loop runs once a browser test has begun."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


@pytest.fixture(scope="module")
def blocks() -> StudioBlocks:
    """A page with an event of a text and a choice."""
    with StudioBlocks() as made:
        text, choice, button = gr.Textbox(), gr.Dropdown(["a"]), gr.Button()
        button.click(lambda *values: values[0], [text, choice], text, api_name="event")
    return made


def test_gradio_keeps_no_values_that_a_page_has_sent(blocks: StudioBlocks):
    state = SessionState(blocks)
    for choice in ("a", "b" * 5000):  # also of an event that is refused
        try:
            in_thread(blocks.process_api(0, ["x" * 5000, choice], state=state))
        except gr.Error:
            assert choice != "a"
    assert "x" * 5000 not in str(state.config_values) and "b" * 5000 not in str(state.config_values)


def test_a_message_quotes_little_of_a_value(blocks: StudioBlocks):
    with pytest.raises(gr.Error) as error:
        in_thread(blocks.process_api(0, ["", "<b>" * 5000]))
    assert str(error.value.message).startswith("Value: &lt;b&gt;") and len(str(error.value.message)) < 1500


def test_a_file_that_was_not_uploaded_is_a_value_of_the_wrong_kind(
    blocks: StudioBlocks, caplog: pytest.LogCaptureFixture
):
    """Not a failure of ours, whose answer would have status 500."""
    request: Any = type("Request", (), {"request": type("Inner", (), {"scope": {}})()})()
    file = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}
    caplog.set_level(logging.ERROR)
    with pytest.raises(gr.Error, match="expected an uploaded file, got another file or a folder"):
        in_thread(blocks.process_api(0, [file, "a"], request=request))
    assert request.request.scope == {}
    assert [line.getMessage() for line in caplog.records] == ["event 0: a value of the wrong kind"]


def test_events_are_not_summarised_after_each_of_them(monkeypatch: pytest.MonkeyPatch):
    queue = StudioBlocks().queue()._queue
    monkeypatch.setattr(queue, "_get_df", None)
    queue.events_recorded = 1000
    assert queue.compute_analytics_summary([{"function": "offer"}]) == {"functions": {}}


def test_a_studio_that_waits_leaves_the_processor_alone(monkeypatch: pytest.MonkeyPatch):
    """Gradio looks at an empty queue a thousand times a second."""
    queue, looks = StudioBlocks().queue()._queue, []
    monkeypatch.setattr(type(queue), "__len__", lambda _: len(looks.append(None) or ()))

    async def wait() -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(queue.start_processing(), 0.2)

    in_thread(wait())
    assert 0 < len(looks) <= 21


def test_the_server_limits_connections_and_the_pages_that_gradio_keeps():
    launched: dict[str, Any] = {}
    config = SimpleNamespace(http_protocol_class=H11Protocol)
    page: Any = SimpleNamespace(
        queue=lambda **_: SimpleNamespace(launch=lambda **options: launched.update(options) or (None, "", "")),
        server=SimpleNamespace(config=config),
        block_thread=lambda: None,
        close=lambda **_: None,
        fns={},
    )
    anything: Any = SimpleNamespace(views=None, access=Access())
    serve(page, anything, anything, anything, Address())
    assert issubclass(config.http_protocol_class, LimitedConnection)
    assert launched["state_session_capacity"] == SESSIONS
