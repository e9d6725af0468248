"""A page without a browser: its session, and its events through gradio's queue as the page's scripts send them."""

import json
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import httpx

Message = dict[str, Any]


class PageClient:
    """One page of a studio. url: the studio's address. query: of the page's address, such as "run=…"."""

    def __init__(self, url: str, query: str = ""):
        self.session, self._query = secrets.token_hex(8), f"?{query}" if query else ""
        self._client = httpx.Client(base_url=url, timeout=60)
        self._client.get(f"/{self._query}").raise_for_status()
        events = self._client.get("/config").json()["dependencies"]
        self._events = {event["api_name"]: event["id"] for event in events}

    def messages(self, event: str, *data: Any) -> Iterator[Message]:
        """Start an event and read what the server sends of it, to its end."""
        body = {"data": data, "fn_index": self._events[event], "session_hash": self.session}
        joined = self._client.post(f"/gradio_api/queue/join{self._query}", json=body)
        assert joined.status_code == 200, joined.text
        address = f"/gradio_api/queue/data?session_hash={self.session}"
        with self._client.stream("GET", address) as stream:
            for line in stream.iter_lines():
                message = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
                if message.get("event_id") in (None, joined.json()["event_id"]) and "msg" in message:
                    yield message
                    if message["msg"] in ("process_completed", "close_stream"):
                        return

    def call(self, event: str, *data: Any, until: Callable[[str], object] = lambda text: False) -> str:
        """All that an event sends, as text. until: of that text, whether to close the stream before the event's end."""
        text = ""
        for message in self.messages(event, *data):
            text += json.dumps(message, ensure_ascii=False)
            if until(text):
                break
        return text

    def run(self, clip: str, model: str, frames: int) -> str:
        """Select a sample clip and press Run; returns what the server sends of it."""
        self.call("offer")
        self.call("select_clip", clip, model)
        return self.call("submit", model, 10, 0, frames - 1, None)
