"""Connections that begin no request, too many of one address, and events that are large or never complete."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from app.access import BodyError, EventReader, has_too_many_values, limited_protocol

SECONDS = 0.4
REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@contextmanager
def served(seconds: float = SECONDS, answer_seconds: float = 2 * SECONDS) -> Iterator[int]:
    """The port of a server: seconds that a request's headers may take, and those of its answers."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(answer_seconds)
        await PlainTextResponse("read")(scope, receive, send)

    protocol = limited_protocol(H11Protocol, seconds)
    config = uvicorn.Config(app, port=0, http=protocol, lifespan="off", log_level="critical", timeout_keep_alive=60)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = server.force_exit = True
        thread.join()


def answer(port: int, *parts: bytes, pause: float = 0.0) -> bytes:
    """What a connection gets until the server closes it, or has answered."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        for part in parts:
            try:
                connection.sendall(part)
            except OSError:
                break
            time.sleep(pause)
        received = b""
        try:
            while b"read" not in received and (part := connection.recv(1000)):
                received += part
        except ConnectionResetError:
            pass
        return received


def test_connections_on_which_no_request_becomes_complete_are_closed():
    with served() as port:
        began = time.monotonic()
        assert answer(port) == b"" and answer(port, REQUEST[:20]) == b""
        assert 2 * SECONDS <= time.monotonic() - began < 8
        assert answer(port, *(REQUEST[at : at + 1] for at in range(len(REQUEST))), pause=SECONDS / 8) == b""
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(REQUEST)
            while b"read" not in connection.recv(1000):
                pass
            connection.sendall(REQUEST[:5])
            assert connection.recv(1000) == b"", "the second request is not complete either"


def test_an_answer_may_take_longer_than_a_request():
    with served(2.0, answer_seconds=2.2) as port:
        assert answer(port, REQUEST[:20], REQUEST[20:], pause=0.05).endswith(b"read")


def test_connections_of_one_address_are_limited(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("app.access.MAX_CONNECTIONS", 2)
    with served(60) as port:  # those without a request must still be there when another one comes
        together = [threading.Thread(target=answer, args=[port, REQUEST]) for _ in range(3)]
        for thread in together:
            thread.start()
        assert answer(port, REQUEST).endswith(b"read"), "a proxy on this machine has as many as it needs"
        for thread in together:
            thread.join()
        monkeypatch.setattr("app.access.is_loopback", lambda host: False)
        with socket.create_connection(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)):
            assert answer(port, REQUEST) == b""
        end = time.monotonic() + 30
        while not answer(port, REQUEST).endswith(b"read"):
            assert time.monotonic() < end, "those that were closed do not count any more"


# --- events


def read(reader: EventReader, parts: Sequence[bytes], address: str = "a", pause: float = 0.0) -> bytes | str:
    """The content that arrives in parts, or the sentence of the refusal."""

    async def receive() -> Message:
        await asyncio.sleep(pause)
        part = remaining.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(remaining)}

    remaining = list(parts)
    try:
        with ThreadPoolExecutor(1) as pool:  # in this thread playwright's event loop runs once a browser test has begun
            return pool.submit(asyncio.run, reader.read({"client": (address, 1)}, receive)).result()
    except BodyError as error:
        return f"{error.status} {error}"


def test_events_have_a_largest_size_and_a_time():
    reader, hasty = EventReader(100), EventReader(100, seconds=0.2)
    assert read(reader, [b"a" * 60, b"b" * 40]) == b"a" * 60 + b"b" * 40
    assert read(reader, [b"a" * 60, b"b" * 41]) == "413 Expected an event of at most 100 bytes."
    assert read(hasty, [b"a"] * 10, pause=0.05) == "408 Expected the whole event within 0.2 seconds."
    assert not reader._held and not hasty._held


def test_large_events_that_are_being_read_are_limited_by_address_and_in_all(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("app.access.SMALL", 10)
    monkeypatch.setattr("app.access.EVENTS_OF_ALL", 500)
    busy = "429 Too many large events arrive at the moment: try again in a minute."
    reader = EventReader(100)
    reader._held.update(a=350, b=70)
    assert read(reader, [b"a" * 51]) == busy, "more than four of the largest"
    assert read(reader, [b"a" * 50]) == b"a" * 50
    assert read(reader, [b"a" * 81], "c") == busy and read(reader, [b"a" * 10], "c") == b"a" * 10
    assert reader._held == {"a": 350, "b": 70}


def test_values_are_counted_before_they_are_read():
    assert not has_too_many_values(b"[" + b"1," * 200_000 + b"1]")
    assert has_too_many_values(b"[" + b"1," * 200_001 + b"1]")
