"""Limits on what visitors hold of the server: connections, requests that do not become complete, content in memory."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, cast

from starlette.types import Receive, Scope

from .access import is_loopback

MAX_CONNECTIONS = 256  # of one address; a browser has at most six to a server, and a few for progress
REQUEST_SECONDS = 30.0  # until a request has its headers
BODY_SECONDS = 60.0  # until an event is complete
MAX_EVENT, PUBLIC_EVENT = 64_000_000, 2_000_000  # bytes of an event; masks of many corrected frames are the largest
MAX_VALUES = 200_000  # in the JSON of a request: each takes some 80 bytes of memory, however short it is
SMALL = 64_000  # bytes of an event that is read in any case
EVENTS_OF_ONE, EVENTS_OF_ALL = 4, 500_000_000  # largest events that are being read, of one address; bytes, of all


def has_too_many_values(content: bytes | bytearray) -> bool:
    """Whether JSON has more than MAX_VALUES, by its commas: text in it may have some, too."""
    return content.count(b",") > MAX_VALUES


class BodyError(Exception):
    """Of a request that is not read to its end: one sentence, and the status of the answer."""

    def __init__(self, sentence: str, status: int):
        super().__init__(sentence)
        self.status = status


@dataclass
class EventReader:
    """Reads the content of events into memory. largest: bytes of one. seconds: within which it has to be complete."""

    largest: int = MAX_EVENT
    seconds: float = BODY_SECONDS
    _held: Counter[str] = field(default_factory=Counter, repr=False)  # bytes, by address

    async def read(self, scope: Scope, receive: Receive) -> bytes:
        """The content of a request. Raises: BodyError."""
        address, content = (scope.get("client") or ("",))[0], bytearray()
        try:
            async with asyncio.timeout(self.seconds):
                while True:
                    message = await receive()
                    part = message.get("body", b"")
                    content += part
                    self._held[address] += len(part)
                    self._check(address, content)
                    if message["type"] != "http.request" or not message.get("more_body"):
                        return bytes(content)
        except TimeoutError:
            raise BodyError(f"Expected the whole event within {self.seconds:g} seconds.", 408) from None
        finally:
            self._held[address] -= len(content)
            if not self._held[address]:
                del self._held[address]

    def _check(self, address: str, content: bytearray) -> None:
        if len(content) > self.largest:
            raise BodyError(f"Expected an event of at most {self.largest:,} bytes.", 413)
        if len(content) <= SMALL:
            return
        if self._held[address] > EVENTS_OF_ONE * self.largest or self._held.total() > EVENTS_OF_ALL:
            raise BodyError("Too many large events arrive at the moment: try again in a minute.", 429)


class LimitedConnection(asyncio.Protocol):
    """A part of uvicorn's protocol that refuses connections beyond MAX_CONNECTIONS of one address, and closes those on
    which no request begins, or one whose headers are not complete within `seconds`.

    Without a limit of their number for this machine's own addresses, which may be a proxy's. by_address: how many
    connections there are.
    """

    seconds: float
    by_address: Counter[str]
    _watch: asyncio.TimerHandle | None = None
    _address = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        super().connection_made(transport)
        self._address = str((transport.get_extra_info("peername") or ("localhost",))[0])
        self.by_address[self._address] += 1
        if self.by_address[self._address] > MAX_CONNECTIONS and not is_loopback(self._address):
            cast(asyncio.Transport, transport).abort()
        else:
            self._wait_for_request()

    def data_received(self, data: bytes) -> None:
        """A part of a request has arrived."""
        super().data_received(data)
        self._wait_for_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self.by_address[self._address] -= 1
        if not self.by_address[self._address]:
            del self.by_address[self._address]
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)

    def _wait_for_request(self) -> None:
        if self._watch is None and self._is_waiting():
            self._watch = asyncio.get_running_loop().call_later(self.seconds, self._end_waiting)
        elif self._watch is not None and not self._is_waiting():
            self._watch.cancel()
            self._watch = None

    def _is_waiting(self) -> bool:
        """Whether no request is being answered, by uvicorn's own state."""
        cycle: Any = getattr(self, "cycle", None)
        return cycle is None or cycle.response_complete

    def _end_waiting(self) -> None:
        transport: Any = getattr(self, "transport", None)
        if self._is_waiting() and transport is not None:
            transport.abort()


def limited_protocol(base: type[asyncio.Protocol], seconds: float = REQUEST_SECONDS) -> type[asyncio.Protocol]:
    """Uvicorn's protocol `base` with the limits of `LimitedConnection`."""
    return type("LimitedProtocol", (LimitedConnection, base), {"seconds": seconds, "by_address": Counter()})
