"""ASGI middleware of the studio: which requests are answered at all, and the headers of every answer.

`installed` puts middleware around the whole of gradio's app, so that a refused request reaches nothing of gradio's, not
even its CORS headers. What has to read a page before it is compressed is passed to gradio as `middleware` instead.
"""

import base64
import hashlib
import logging
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import reduce
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .access import host_name, is_loopback

log = logging.getLogger(__name__)

SAFE_METHODS = ("GET", "HEAD")
MAX_PAGE = 16_000_000  # bytes of a page whose scripts are hashed; gradio's has some 300 KB
_SCRIPT = re.compile(rb"<script(?P<attributes>[^>]*)>(?P<text>.*?)</script>", re.DOTALL | re.IGNORECASE)
# Nothing but the page itself is a document: what is opened by its address runs no script.
FILE_POLICY = "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; sandbox"


def installed(wrappers: Sequence[Callable[[ASGIApp], ASGIApp]]) -> Callable[[Starlette], AbstractAsyncContextManager]:
    """A lifespan that puts ASGI middleware around an app as it starts. wrappers: the first is the outermost."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        # The start itself has built the stack, and gradio leaves no way to add to its outside before that.
        assert app.middleware_stack is not None
        app.middleware_stack = reduce(lambda inner, wrap: wrap(inner), reversed(wrappers), app.middleware_stack)
        yield

    return lifespan


def refusal(sentence: str, status: int = 403) -> PlainTextResponse:
    """The answer to a request that is refused: one sentence as plain text."""
    return PlainTextResponse(sentence, status, {"Cache-Control": "no-store"})


@dataclass(frozen=True)
class HostCheck:
    """Refuses requests under other names than the studio's, and those that another site's page sends.

    A page of another site whose name leads to this machine (DNS rebinding) sends its own name as Host. hosts: names
    that are served beside loopback; None: every name.
    """

    app: ASGIApp
    hosts: frozenset[str] | None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with 403, or pass the request on; the answer has no CORS headers in any case."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # the studio has no WebSockets
            await send({"type": "websocket.close", "code": 1008})
            return
        if sentence := self._fault(scope["method"], Headers(scope=scope)):
            await refusal(sentence)(scope, receive, send)
            return

        async def send_without_cors(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message.get("headers", ())
                message["headers"] = [h for h in headers if not h[0].lower().startswith(b"access-control-")]
            await send(message)

        await self.app(scope, receive, send_without_cors)

    def _fault(self, method: str, headers: Headers) -> str:
        host = headers.get("host", "")
        if self.hosts is not None and not (is_loopback(host_name(host)) or host_name(host) in self.hosts):
            return "The studio is not served under this name: open it by its own address, or start it with --domain."
        if method in SAFE_METHODS:
            return ""
        origin = headers.get("origin")
        own = {host, *headers.get("x-forwarded-host", "").replace(" ", "").split(",")} - {""}
        if origin is not None and urlsplit(origin).netloc.lower() not in {name.lower() for name in own}:
            return "This request comes from a page of another site."
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return "This request comes from a page of another site."
        return ""


@dataclass(frozen=True)
class ResponseHeaders:
    """Adds the headers that make browsers careful; of what is no page even the address opens no script."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and add headers to its answer where they are missing."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message.setdefault("headers", []))
                headers.setdefault("X-Content-Type-Options", "nosniff")
                headers.setdefault("Referrer-Policy", "same-origin")
                headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
                headers.setdefault("Content-Security-Policy", FILE_POLICY)
                headers.setdefault("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
            await send(message)

        await self.app(scope, receive, send_with_headers)


@dataclass(frozen=True)
class PagePolicy:
    """Adds the page's Content-Security-Policy, with the hashes of the scripts that gradio writes into it.

    ancestors: sources that may show the page in a frame, beside itself.
    """

    app: ASGIApp
    ancestors: Sequence[str] = ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; a page is held back until it is complete."""
        if scope["type"] != "http" or scope["path"].removeprefix(scope.get("root_path", "")) not in ("", "/"):
            await self.app(scope, receive, send)
            return
        start: list[Message] = []
        content = bytearray()

        async def send_page(message: Message) -> None:
            if message["type"] == "http.response.start" and _is_page(message):
                start.append(message)
                return
            if not start:
                await send(message)
                return
            content.extend(message.get("body", b""))
            if message.get("more_body") and len(content) < MAX_PAGE:
                return
            opening = start.pop()
            headers = MutableHeaders(raw=opening["headers"])
            headers["Content-Security-Policy"] = page_policy(bytes(content), self.ancestors)
            await send(opening)
            await send({**message, "body": bytes(content)})

        await self.app(scope, receive, send_page)


def _is_page(start: Message) -> bool:
    return Headers(raw=start.get("headers", [])).get("content-type", "").startswith("text/html")


def page_policy(page: bytes, ancestors: Sequence[str] = ()) -> str:
    """The Content-Security-Policy of gradio's page.

    'unsafe-eval' is what gradio makes functions of its components' and events' JavaScript with, and 'unsafe-inline' of
    styles is for the attributes and elements that its components write; SECURITY.md says what this leaves open.
    """
    inline = [match["text"] for match in _SCRIPT.finditer(page) if b"src=" not in match["attributes"]]
    hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'" for text in inline]
    return "; ".join(
        (
            "default-src 'self'",
            " ".join(("script-src 'self' 'unsafe-eval'", *hashes)),
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "media-src 'self' blob:",
            "font-src 'self' data:",
            "connect-src 'self'",
            "worker-src 'self'",
            "object-src 'none'",
            "base-uri 'self'",
            "form-action 'self'",
            " ".join(("frame-ancestors 'self'", *ancestors)),
        )
    )
