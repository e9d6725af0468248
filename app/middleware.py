"""ASGI middleware of the studio: which requests are answered at all, and the headers of every answer.

`installed` puts middleware around the whole of gradio's app, so that a refused request reaches nothing of gradio's, not
even its CORS headers. What has to read a page before it is compressed is passed to gradio as `middleware` instead.
"""

import asyncio
import base64
import hashlib
import hmac
import logging
import re
import secrets
import shutil
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import msgspec
from cachetools import LRUCache
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tevit.limits import input_limits

from .access import BodyError, EventReader, has_too_many_values, host_name, is_loopback

log = logging.getLogger(__name__)

SAFE_METHODS = ("GET", "HEAD")
MAX_SESSIONS = 100_000  # of pages, whose browsers are remembered
FORM_BYTES = 1_000_000  # of an upload, beside its files: names of up to 1000 of them
MAX_DIGITS = 18  # of a number of bytes
MAX_BODY = 1_000_000  # bytes of other requests than those whose content is counted as it is read:
COUNTED = ("/gradio_api/", "/studio/review/")  # events and uploads, corrections
FREE_BYTES = 500_000_000  # that uploads leave on the disk: for decisions and results
THREADS = 64
UPLOAD_PATH = "/gradio_api/upload"
MAX_PAGE = 16_000_000  # bytes of a page whose scripts are hashed; gradio's has some 300 KB
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_HOST = re.compile(r"[A-Za-z0-9.:\[\]-]*")
_SCRIPT = re.compile(rb"<script(?P<attributes>[^>]*)>(?P<text>.*?)</script>", re.DOTALL | re.IGNORECASE)
# Nothing but the page itself is a document: what is opened by its address runs no script.
FILE_POLICY = "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; sandbox"


def installed(wrappers: Sequence[Callable[[ASGIApp], ASGIApp]]) -> Callable[[Starlette], AbstractAsyncContextManager]:
    """A lifespan that puts ASGI middleware around an app as it starts. wrappers: the first is the outermost."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        # Python's own has some six threads, and many of the studio's wait: for decoders, for the ends of tasks.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, "waiting"))
        # The start itself has built the stack, and gradio leaves no way to add to its outside before that.
        assert app.middleware_stack is not None
        app.middleware_stack = reduce(lambda inner, wrap: wrap(inner), reversed(wrappers), app.middleware_stack)
        yield

    return lifespan


def refusal(sentence: str, status: int = 403) -> PlainTextResponse:
    """The answer to a request that is refused: one sentence as plain text."""
    return PlainTextResponse(sentence, status, {"Cache-Control": "no-store"})


def path_of(scope: Scope) -> str:
    """The path of a request below the page's root, without a slash at its end."""
    return "/" + scope["path"].removeprefix(scope.get("root_path", "")).strip("/")


@dataclass(frozen=True)
class HostCheck:
    """Refuses requests under other names than the studio's, and those that another site's page sends.

    A page of another site whose name leads to this machine (DNS rebinding) sends its own name as Host. hosts: names
    that are served beside loopback; None: every name. trust_forwarded: a proxy in front of the studio sets
    X-Forwarded-Host; otherwise it is dropped where it is neither Host nor one of the hosts, because gradio makes
    addresses of it, which it keeps for everybody.
    """

    app: ASGIApp
    hosts: frozenset[str] | None
    trust_forwarded: bool = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with 400 or 403, or pass the request on; the answer has no CORS headers in any case."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # the studio has no WebSockets
            await send({"type": "websocket.close", "code": 1008})
            return
        # A route's pattern also matches before a line's end, where a comparison with its path does not.
        if _CONTROL.search(scope["path"]) or not _HOST.fullmatch(Headers(scope=scope).get("host", "")):
            await refusal("The address or the Host of this request has characters that none has.", 400)(
                scope, receive, send
            )
            return
        if not self.trust_forwarded:
            scope = {**scope, "headers": self._own_headers(scope)}
        if sentence := self._fault(scope["method"], path_of(scope), Headers(scope=scope)):
            await refusal(sentence)(scope, receive, send)
            return

        async def send_without_cors(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message.get("headers", ())
                message["headers"] = [h for h in headers if not h[0].lower().startswith(b"access-control-")]
            await send(message)

        await self.app(scope, receive, send_without_cors)

    def _own_headers(self, scope: Scope) -> list[tuple[bytes, bytes]]:
        """The headers without those in which a client names another address of the studio."""
        names = {Headers(scope=scope).get("host", "").lower(), *(self.hosts or ())}
        return [
            (name, value)
            for name, value in scope["headers"]
            if name.lower() != b"x-gradio-server"
            and not (name.lower() == b"x-forwarded-host" and not _names(value.decode("latin-1")) <= names)
        ]

    def _fault(self, method: str, path: str, headers: Headers) -> str:
        host = headers.get("host", "")
        if self.hosts is not None and not (is_loopback(host_name(host)) or host_name(host) in self.hosts):
            return "The studio is not served under this name: open it by its own address, or start it with --domain."
        if method in SAFE_METHODS and path != "/logout":
            return ""
        origin = headers.get("origin")
        own = ({host.lower()} | _names(headers.get("x-forwarded-host", ""))) - {""}
        if origin is not None and urlsplit(origin).netloc.lower() not in own:
            return "This request comes from a page of another site."
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return "This request comes from a page of another site."
        return ""


def _names(forwarded: str) -> set[str]:
    return set(forwarded.lower().replace(" ", "").split(","))


SAFE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_FILE = "/gradio_api/file="
_RANGE = re.compile(r"bytes=(\d{1,18}-\d{0,18}|-\d{1,18})")  # several parts would be an error of gradio's
_RANGE_HEADERS = ("content-type", "content-disposition", "content-length", "content-range")


@dataclass(frozen=True)
class ResponseHeaders:
    """Sets the headers that make browsers careful; of what is no page even the address opens no script.

    Gradio answers with a part of a file by the headers of the request, its cookies too: of these none is sent.
    """

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and set the headers of its answer."""
        path = path_of(scope) if scope["type"] == "http" else ""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                if path.startswith(_FILE) and message["status"] == 206:
                    sent = {name.lower().decode("latin-1"): value for name, value in message.get("headers", ())}
                    message["headers"] = [(name.encode(), sent[name]) for name in _RANGE_HEADERS if name in sent]
                headers = MutableHeaders(raw=message.setdefault("headers", []))
                headers.update(SAFE_HEADERS)
                if path != "/" or "Content-Security-Policy" not in headers:  # the page has its own
                    headers["Content-Security-Policy"] = FILE_POLICY
            await send(message)

        await self.app(scope, receive, send_with_headers)


def place_of(error: BaseException, frames: int = 4) -> str:
    """An exception in one line for the log: its type, and the last functions with the names of their files."""
    stack = traceback.extract_tb(error.__traceback__)[-frames:]
    return f"{type(error).__name__} at " + " > ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in stack)


@dataclass(frozen=True)
class FailureLog:
    """Ends what fails with status 500 and a line in the log, without paths of the server."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        started = False

        async def send_and_note(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        except Exception as error:
            if scope["type"] != "http":
                raise
            # What follows "file=" is a path of the server.
            path = re.sub("(?s)(file=).*", r"\1…", scope["path"])
            log.error("%s %.200r: %s", scope["method"], path, place_of(error))
            if not started:
                await refusal("The studio could not answer this request.", 500)(scope, receive, send)


@dataclass(frozen=True)
class PagePolicy:
    """Adds the page's Content-Security-Policy, with the hashes of the scripts that gradio writes into it.

    ancestors: sources that may show the page in a frame, beside itself.
    """

    app: ASGIApp
    ancestors: Sequence[str] = ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; a page is held back until it is complete."""
        if scope["type"] != "http" or path_of(scope) != "/":
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


# --- who sends a request


ICON_SIZES = (192, 512)  # of the page's manifest; gradio would scale its icon to any size
OPEN_PATHS = ("/", "/login", "/logout", "/favicon.ico", "/manifest.json", "/robots.txt", "/theme.css")
OPEN_PATHS += ("/gradio_api/startup-events", "/gradio_api/user", "/gradio_api/login_check", "/gradio_api/app_id")
OPEN_FOLDERS = ("/assets/", "/static/", "/pwa_icon", "/login/")


@dataclass(frozen=True)
class SignInCheck:
    """Refuses everything but the page that signs in to those who have not; gradio checks only some of its routes."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with 401, or pass the request on."""
        path = path_of(scope) if scope["type"] == "http" else "/"
        if path in OPEN_PATHS or path.startswith(OPEN_FOLDERS) or gradio_user(scope) is not None:
            await self.app(scope, receive, send)
        else:
            await refusal("Sign in first.", 401)(scope, receive, send)


def gradio_user(scope: Scope) -> str | None:
    """The name of who signed in, from gradio's cookies; None for nobody."""
    app, cookies = scope["app"], Request(scope).cookies
    token = cookies.get(f"access-token-{app.cookie_id}") or cookies.get(f"access-token-unsecure-{app.cookie_id}")
    return app.tokens.get(token) if token else None


class EventBody(msgspec.Struct):
    """What is checked of a request that starts or ends an event."""

    session_hash: str | None = None
    fn_index: int | None = None


@dataclass(frozen=True)
class PublicEvents:
    """The events that programs may call without the page. indices: gradio's numbers. names: of the endpoints. known:
    the numbers of all events."""

    indices: frozenset[int]
    names: frozenset[str]
    known: frozenset[int]


_EVENT = re.compile(r"/gradio_api/(queue/join|run/.*|api/.*|call/.*|cancel|reset)", re.DOTALL)
_HEARTBEAT = "/gradio_api/heartbeat/"
_UNUSED = re.compile(
    r"/gradio_api/(stream|proxy=|process_recording|component_server|vibe-|undo-vibe|dev/|deep_link|custom_component|runs)"
    # The last two would be fetched from there. Of files only uploads and results of the endpoints have an address.
    r".*|/monitoring.*|/svelte/.*|/gradio_api/file=(?!.*/([0-9a-f]{64}|runs/[0-9a-f]{32})/[^/]+$).*"
    r"|/gradio_api/file=\s*[a-z][a-z0-9+.-]+:.*|/gradio_api/file/.*",
    re.IGNORECASE | re.DOTALL,
)
_ICONS = tuple(f"/pwa_icon/{size}" for size in ICON_SIZES)
MAX_PART = 255  # bytes between two slashes of an address; no file has a longer name
MAX_HASH = 100  # characters of a session's name


@dataclass
class PageCheck:
    """Gives every browser that loads the page a cookie, and refuses private events without it.

    A page's session belongs to the browser that used it first: its events, and the answers to them, are nobody else's.
    The request's state gets the `visitor`, "" for a browser without the cookie, and of an event its number, `event`,
    and its `session`. embedded: the page is shown in frames of another site, over HTTPS.
    """

    app: ASGIApp
    events: PublicEvents
    embedded: bool = False
    reader: EventReader = field(default_factory=EventReader)
    _secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    _owners: LRUCache[str, str] = field(default_factory=lambda: LRUCache(MAX_SESSIONS), repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def cookie(self) -> str:
        """The cookie's name, another one for each studio: browsers send it to every port of a machine."""
        return f"tevit-page-{hashlib.sha256(self._secret).hexdigest()[:8]}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with 403, or pass the request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        visitor, path = self._visitor(scope), path_of(scope)
        scope.setdefault("state", {})["visitor"] = visitor
        if not _RANGE.fullmatch(Headers(scope=scope).get("range", "bytes=0-")):
            scope = {**scope, "headers": [header for header in scope["headers"] if header[0].lower() != b"range"]}
        if path == "/":
            await self.app(scope, receive, send if visitor else self._with_cookie(send))
            return
        unused = _UNUSED.fullmatch(path) or (path.startswith("/pwa_icon/") and path not in _ICONS)
        if unused or any(len(part.encode(errors="replace")) > MAX_PART for part in path.split("/")):
            await refusal("The studio has no such address.", 404)(scope, receive, send)
            return
        if not all(self._owns(visitor, session) for session in _sessions(scope, path)):
            await refusal("This session is another page's.")(scope, receive, send)
            return
        if scope["method"] == "POST" and _EVENT.fullmatch(path):
            await self._event(visitor, path, scope, receive, send)
            return
        await self.app(scope, receive, send)

    async def _event(self, visitor: str, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            content = await self.reader.read(scope, receive)
        except BodyError as error:
            await refusal(str(error), error.status)(scope, receive, send)
            return
        body = _event_body(content)
        if isinstance(body, PlainTextResponse):
            await body(scope, receive, send)
            return
        if answer := self._fault(visitor, path, body):
            await answer(scope, receive, send)
            return
        scope["state"] |= {"event": body.fn_index, "session": body.session_hash}
        sent = False

        async def receive_again() -> Message:
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": content, "more_body": False}

        await self.app(scope, receive_again, send)

    def _fault(self, visitor: str, path: str, body: EventBody) -> PlainTextResponse | None:
        if body.fn_index is not None and body.fn_index not in self.events.known:
            return refusal(f"There is no event {body.fn_index}.", 404)
        if not visitor and not self._is_public(path, body):
            return refusal("This event belongs to the studio's page: load it first, and allow its cookie.")
        if body.session_hash and not self._owns(visitor, body.session_hash):
            return refusal("This session is another page's.")
        return None

    def _is_public(self, path: str, body: EventBody) -> bool:
        kind, *rest = path.removeprefix("/gradio_api/").split("/")
        if kind in ("cancel", "reset"):  # of an event that only its own session can name
            return True
        if kind not in ("queue", "run", "api", "call"):
            return False
        if body.fn_index is not None:
            return body.fn_index in self.events.indices
        return rest[-1] in self.events.names

    def _owns(self, visitor: str, session: str) -> bool:
        with self._lock:
            return len(session) <= MAX_HASH and self._owners.setdefault(session, visitor) == visitor

    def _visitor(self, scope: Scope) -> str:
        """The random name of a browser that has loaded the page; "" for others."""
        name, _, mark = Request(scope).cookies.get(self.cookie, "").partition(".")
        return name if mark and hmac.compare_digest(mark.encode(), self._mark(name).encode()) else ""

    def _mark(self, name: str) -> str:
        return hmac.new(self._secret, name.encode(), "sha256").hexdigest()

    def _with_cookie(self, send: Send) -> Send:
        name = secrets.token_hex(12)
        options = "SameSite=None; Secure; Partitioned" if self.embedded else "SameSite=Lax"

        async def send_cookie(message: Message) -> None:
            if message["type"] == "http.response.start":
                value = f"{self.cookie}={name}.{self._mark(name)}; Path=/; HttpOnly; {options}"
                MutableHeaders(raw=message.setdefault("headers", [])).append("Set-Cookie", value)
            await send(message)

        return send_cookie


@dataclass(frozen=True)
class UploadLimit:
    """Refuses uploads of more bytes in all than the limit `upload_bytes`, by what they state and by what they send, and
    those that would leave less than FREE_BYTES on the disk of `folder`, where gradio writes them."""

    app: ASGIApp
    folder: Path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with 413, or pass the request on; of an upload that ends early gradio keeps no file."""
        if scope["type"] != "http" or path_of(scope) != UPLOAD_PATH:
            await self.app(scope, receive, send)
            return
        limit, received = input_limits().upload_bytes, 0
        # Gradio answers with 413 where it finds "maximum allowed size".
        text = f"The upload exceeds the maximum allowed size of {limit:,} bytes (upload_bytes)."
        if (room := self._room()) < limit:
            limit = room
            text = f"The disk has room for uploads of a maximum allowed size of {max(0, room):,} bytes at the moment."
        stated = Headers(scope=scope).get("content-length", "")
        # int() refuses more than 4300 digits.
        if stated.isdecimal() and (len(stated) > MAX_DIGITS or int(stated) > limit + FORM_BYTES):
            await refusal(text, 413)(scope, receive, send)
            return

        async def receive_counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit + FORM_BYTES:
                raise MultiPartException(text)
            if message["type"] == "http.disconnect":
                raise MultiPartException("The upload ended early.")
            return message

        await self.app(scope, receive_counted, send)

    def _room(self) -> int:
        """Bytes that an upload may have before the disk is too full for what others write."""
        folder = self.folder if self.folder.is_dir() else self.folder.parent
        return shutil.disk_usage(folder).free - FREE_BYTES


@dataclass(frozen=True)
class BodyLimit:
    """Refuses content of more than MAX_BODY, and such of an unknown length, outside of COUNTED."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with 411 or 413, or pass the request on."""
        refused = None
        if scope["type"] == "http" and not path_of(scope).startswith(COUNTED):
            headers = Headers(scope=scope)
            stated = headers.get("content-length", "0")
            if "transfer-encoding" in headers:
                refused = refusal("Expected a request that states the length of its content.", 411)
            elif not stated.isdecimal() or len(stated) > MAX_DIGITS or int(stated) > MAX_BODY:
                refused = refusal(f"Expected content of at most {MAX_BODY:,} bytes.", 413)
        await (refused or self.app)(scope, receive, send)


@dataclass(frozen=True)
class MalformedEvents:
    """Answers 422 and one sentence where gradio would answer 500 to what a request has: arguments that are none of the
    endpoint's, or that the endpoint refuses. Inside of all others; `StudioBlocks` marks failures that are ours."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an event on, and hold an answer of status 500 back."""
        path = path_of(scope) if scope["type"] == "http" and scope["method"] == "POST" else ""
        if path != UPLOAD_PATH and not _EVENT.fullmatch(path):
            await self.app(scope, receive, send)
            return
        held: list[Message] = []

        async def send_unless_failed(message: Message) -> None:
            if held or (message["type"] == "http.response.start" and message["status"] == 500):
                held.append(message)
            else:
                await send(message)

        try:
            await self.app(scope, receive, send_unless_failed)
        except (LookupError, TypeError, ValueError, RecursionError) as error:
            if not held:
                raise
            log.warning("%.200r: %s", scope["path"], place_of(error))
            text = "Expected the arguments of this endpoint, as /gradio_api/info lists them."
            text = "Expected a form with files in its fields `files`." if path == UPLOAD_PATH else text
            await refusal(text, 422)(scope, receive, send)
            return
        for message in held:
            if message["type"] == "http.response.start" and not scope["state"].get("failed"):
                message["status"] = 422
            await send(message)


def _sessions(scope: Scope, path: str) -> list[str]:
    """The sessions that a request names in its address; one that is nobody's for a query that cannot be read."""
    try:
        named = parse_qs(scope["query_string"].decode("latin-1"), max_num_fields=50).get("session_hash", [])
    except ValueError:
        return ["-" * (MAX_HASH + 1)]
    return [*named, path.removeprefix(_HEARTBEAT)] if path.startswith(_HEARTBEAT) else named


def _event_body(content: bytes) -> EventBody | PlainTextResponse:
    """What is checked of an event's content, or the answer to one that is malformed."""
    if has_too_many_values(content):
        return refusal("Expected an event with fewer values.", 413)
    try:
        return msgspec.json.decode(content, type=EventBody)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return refusal("Expected a JSON object with a session_hash and a fn_index.", 422)
