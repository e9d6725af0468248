"""Who may use the studio: where it is served, what the people who reach it there may do, and their accounts.

Accounts are names and passwords, `--auth FILE`, a line each with a scrypt hash; `tevit studio --auth FILE --add-user
NAME` adds one, or changes its password. And what visitors may hold of the server: connections, requests that do not
become complete, content in memory.
"""

import asyncio
import base64
import getpass
import hashlib
import hmac
import ipaddress
import os
import re
import secrets
import stat
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar, cast
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope

from tevit.io.files import atomic
from tevit.review.reviewers import MAX_NAME

MIN_PASSWORD = 8  # characters
ROLES = ("user", "admin")
FAILURE_SECONDS = 0.5  # that a wrong password takes, beside its hash
MAX_WAITING, MAX_WAITING_OF_NAME = 16, 4  # sign-ins that are not checked yet: of all names, of one
# OWASP's second choice of 2023: 64 MB and some 0.2 s for each attempt.
_COST, _BLOCK, _PARALLEL = 1 << 16, 8, 2
_MAX_COST = 1 << 20
HEADER = "# Accounts of TeViT Studio: name, role (user, admin) and hash of the password. Change it with --add-user.\n"


@contextmanager
def counted(requests: Counter[str], key: str) -> Iterator[None]:
    """Count a request under its key as long as it lasts."""
    requests[key] += 1
    try:
        yield
    finally:
        requests[key] -= 1
        if not requests[key]:
            del requests[key]


@dataclass(frozen=True)
class Account:
    """role: of ROLES. salt, key: of scrypt with `cost`."""

    name: str
    role: str
    cost: int
    salt: bytes
    key: bytes

    @classmethod
    def of(cls, name: str, password: str, role: str = "user") -> "Account":
        """An account with a new salt. Raises: ValueError for a name or a password that is not allowed."""
        if not name or len(name) > MAX_NAME or not name.isprintable() or ":" in name or name != name.strip():
            raise ValueError(f"expected a name of at most {MAX_NAME} printable characters without ':', got {name!r}")
        if name.startswith("#"):
            raise ValueError(f"expected a name that does not begin with #, got {name!r}")
        if len(password) < MIN_PASSWORD:
            raise ValueError(f"expected a password of at least {MIN_PASSWORD} characters, got {len(password)}")
        salt = secrets.token_bytes(16)
        return cls(name, role, _COST, salt, _hash(password, salt, _COST))

    def accepts(self, password: str) -> bool:
        """Whether it is this account's password; takes some 0.2 s in any case."""
        return hmac.compare_digest(_hash(password, self.salt, self.cost), self.key)


def _hash(password: str, salt: bytes, cost: int) -> bytes:
    memory = 128 * _BLOCK * (cost + _PARALLEL + 2) + 1_000_000
    return hashlib.scrypt(password.encode(), salt=salt, n=cost, r=_BLOCK, p=_PARALLEL, maxmem=memory, dklen=32)


@dataclass(frozen=True)
class Accounts:
    """All accounts of a file, by name."""

    by_name: Mapping[str, Account]
    _checking: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2), compare=False)
    _waiting: Counter[str] = field(default_factory=Counter, compare=False, repr=False)  # sign-ins not checked yet

    @property
    def admins(self) -> frozenset[str]:
        """The names that may undo others' decisions."""
        return frozenset(name for name, account in self.by_name.items() if account.role == "admin")

    def verify(self, name: str, password: str) -> bool:
        """Whether the password is the name's; as slow for a name that is not there."""
        account = self.by_name.get(name)
        if account is None:
            _hash(password, b"0" * 16, _COST)
            return False
        return account.accepts(password)

    async def sign_in(self, name: str, password: str) -> bool:
        """`verify` outside of the event loop, two at a time; the answer comes later where it is wrong.

        Raises: HTTPException (429) where too many wait.
        """
        name = name[: MAX_NAME + 1]
        if self._waiting[name] >= MAX_WAITING_OF_NAME or self._waiting.total() >= MAX_WAITING:
            raise HTTPException(429, "Too many people sign in at the moment: try again in some seconds.")
        with counted(self._waiting, name):
            async with self._checking:
                correct = await asyncio.to_thread(self.verify, name, password[:1000])
        if not correct:  # others are checked meanwhile
            await asyncio.sleep(FAILURE_SECONDS)
        return correct


def read_accounts(path: str | os.PathLike) -> Accounts:
    """Raises: OSError; ValueError for a file that others may read, for a malformed line, and without any account."""
    _check_mode(Path(path))
    accounts: dict[str, Account] = {}
    for number, line in enumerate(Path(path).read_text("utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        account = _from_line(line, f"{path}, line {number}")
        if account.name in accounts:
            raise ValueError(f"{path}, line {number}: {account.name!r} stands there twice, expected every name once")
        accounts[account.name] = account
    if not accounts:
        raise ValueError(f"{path} has no accounts: add one with --add-user NAME")
    return Accounts(accounts)


def add_account(path: str | os.PathLike, account: Account) -> bool:
    """Write an account into the file, which is made where it is missing; returns whether the name was there.

    Raises: OSError, ValueError, as `read_accounts`.
    """
    file = Path(path)
    known = dict(read_accounts(file).by_name) if file.exists() and file.stat().st_size else {}
    replaced = account.name in known
    known[account.name] = account
    text = HEADER + "".join(f"{_to_line(each)}\n" for each in known.values())
    with atomic(file, mode=0o600) as part:
        part.write_text(text, encoding="utf-8")
    return replaced


def ask_password(name: str) -> str:
    """Of the terminal, twice; else the first line of standard input. Raises: ValueError where the two differ."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass(f"Password of {name}: ")
    if getpass.getpass("Once more: ") != password:
        raise ValueError("the two passwords differ: nothing was written")
    return password


def _check_mode(file: Path) -> None:
    if os.name == "posix" and (mode := stat.S_IMODE(file.stat().st_mode)) & 0o077:
        raise ValueError(f"{file}: others may read or write it (mode {mode:o}): chmod 600 {file}")


def _to_line(account: Account) -> str:
    salt, key = (base64.b64encode(value).decode() for value in (account.salt, account.key))
    return f"{account.name}:{account.role}:scrypt:{account.cost}:{salt}:{key}"


def _from_line(line: str, where: str) -> Account:
    try:
        name, role, method, cost, salt, key = line.split(":")
        account = Account(name, role, int(cost), base64.b64decode(salt, validate=True), base64.b64decode(key))
    except ValueError:
        raise ValueError(f"{where}: expected name:role:scrypt:cost:salt:key, as --add-user writes it") from None
    valid_cost = 1 < account.cost <= _MAX_COST and account.cost & (account.cost - 1) == 0
    if role not in ROLES or method != "scrypt" or not valid_cost or len(account.key) != 32 or len(account.salt) < 8:
        raise ValueError(f"{where}: expected name:role:scrypt:cost:salt:key, as --add-user writes it")
    return account


# --- addresses and rights


_ADDRESS = re.compile(r"\s*[a-z][a-z0-9+.-]+:", re.IGNORECASE)  # two letters at least: C:\ is a drive
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Address:
    """host: address to listen on. port: None for the first free one. share: also behind gradio's public link. domains:
    names that a proxy serves the studio under."""

    host: str = "127.0.0.1"
    port: int | None = None
    share: bool = False
    domains: tuple[str, ...] = ()

    @property
    def is_local(self) -> bool:
        """Only programs on this machine reach it."""
        return is_loopback(self.host) and not self.share and not self.domains

    @property
    def host_names(self) -> frozenset[str] | None:
        """Names that requests may have as Host, beside loopback's; None: any."""
        local = is_loopback(self.host) and not self.share
        return frozenset({*self.domains, self.host.strip("[]").lower()}) if local or self.domains else None


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's alone."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def host_name(address: str) -> str:
    """The lower-case name of `name:port`, `[::1]:port` or a URL; "" where there is none."""
    try:
        parts = urlsplit(address if "//" in address else f"//{address}")
        return (parts.hostname or "").rstrip(".")
    except ValueError:
        return ""


@dataclass(frozen=True)
class Access:
    """What the people who reach the studio may do.

    public: strangers may use it. accounts: who may use it at all; None: everybody who reaches it. hub: people may sign
    in with their account at Hugging Face. admins: who may undo others' decisions, and do in a public studio what only
    those who run it may. Each `check_` raises PermissionError with a sentence for the page.
    """

    public: bool = False
    accounts: Accounts | None = None
    hub: bool = False
    admins: frozenset[str] = frozenset()

    @property
    def signs_in(self) -> bool:
        """Whether names come from a sign-in, so that nobody decides in another's name."""
        return self.accounts is not None or self.hub

    def name(self, request: Any) -> str:
        """The signed-in name of who sent gradio's request; "" for nobody."""
        if self.hub:
            return _hub_name(_scope_of_event(request))
        return str(getattr(request, "username", None) or "")

    def is_host(self, request: Any) -> bool:
        """Whether who sent gradio's request may do what only those who run a public studio do."""
        return not self.public or self.name(request) in self.admins

    def check_host(self, action: str, request: Any) -> None:
        """action: what only those who run a public studio do."""
        if not self.is_host(request):
            raise PermissionError(f"This studio is public: {action} is left to those who run it.")

    def check_review(self, name: str) -> None:
        """name: the signed-in one. Whether they may add decisions."""
        if self.public and not name:
            how = "sign in to decide" if self.hub else "labels can be looked at, not changed"
            raise PermissionError(f"This studio is public: {how}. Nothing was saved.")
        if self.signs_in and not name:
            raise PermissionError("Sign in first: every decision carries its reviewer's name. Nothing was saved.")


EVERYBODY = Access()


def check_reach(address: Address, access: Access) -> None:
    """Raises: ValueError where strangers would reach a studio that nobody has opened to them."""
    if access.public and access.accounts is not None:
        raise ValueError("--public lets everybody in and --auth only those in its file: give one of them")
    if address.is_local or access.public or access.accounts is not None:
        return
    shown = [f"--host {address.host}"] * (not is_loopback(address.host)) + ["--share"] * address.share
    shown += [f"--domain {name}" for name in address.domains]
    reached = f"{shown[0]}: others than you can reach the studio there"
    raise ValueError(f"{reached}; give --auth FILE for those with an account, or --public for everybody")


def check_uploads(value: object, root: Path) -> None:
    """root: gradio's folder of uploads. Raises: ValueError where a file among an event's values is no upload.

    Gradio would fetch what lies at an address, and delete what lies below `root` when the studio ends.
    """
    if isinstance(value, Mapping):
        path = value.get("path")
        if isinstance(path, str):
            if _ADDRESS.match(path):
                raise ValueError("expected an uploaded file, got an address")
            if not _is_upload(path, root):
                raise ValueError("expected an uploaded file, got another file or a folder")
        value = list(value.values())
    for part in value if isinstance(value, list | tuple) else ():
        check_uploads(part, root)


def _is_upload(path: str, root: Path) -> bool:
    """Whether it is a regular file `root/<SHA-256>/<name>`."""
    try:
        file = Path(path).resolve()
        folder = file.parent
        return folder.parent == root.resolve() and bool(_SHA256.fullmatch(folder.name)) and file.is_file()
    except (OSError, ValueError):  # a name that is too long, or with a null character
        return False


def visitor_of_event(request: Any) -> str:
    """Who sent gradio's request, as quotas count visitors: by the signed-in name, else by what `FairQueue` has counted
    the request as; "" outside of a server."""
    scope = _scope_of_event(request)
    name = str(getattr(request, "username", None) or "") or _hub_name(scope)
    return f"name {name}" if name else scope.get("state", {}).get("counted_as", "")


def arrival_of_event(request: Any) -> int:
    """The number of gradio's request in the order in which requests came to `FairQueue`; 0 outside of a server."""
    return _scope_of_event(request).get("state", {}).get("arrival", 0)


def _scope_of_event(request: Any) -> dict[str, Any]:
    return getattr(getattr(request, "request", None), "scope", {})


Value = TypeVar("Value")


class VisitorCache(Generic[Value]):
    """Values by key, for all visitors. Where there are too many, the visitor who has most of them loses one, the least
    recently used: nobody drops those of others by having many. Not thread-safe."""

    def __init__(self, size: int):
        self._size = size
        self._values: dict[str, tuple[str, Value]] = {}  # the least recently used first

    def get(self, key: str) -> Value | None:
        """The value of a key, which is used now; None where there is none (any more)."""
        entry = self._values.pop(key, None)
        if entry is None:
            return None
        self._values[key] = entry
        return entry[1]

    def put(self, key: str, value: Value, visitor: str = "") -> list[str]:
        """Add a value, or replace that of the key, which stays its first visitor's; returns the removed keys."""
        owner, _ = self._values.pop(key, (visitor, value))
        removed = []
        while len(self._values) >= self._size:
            removed.append(self._surplus(owner))
            del self._values[removed[-1]]
        self._values[key] = owner, value
        return removed

    def drop(self, key: str) -> None:
        """Remove a value."""
        self._values.pop(key, None)

    def _surplus(self, adding: str) -> str:
        """The key to remove before a visitor adds a value: of those who have most, counting it, its own first."""
        counts = Counter([adding, *(owner for owner, _ in self._values.values())])
        most = max(counts.values())
        losers = {adding} if counts[adding] == most > 1 else {owner for owner, n in counts.items() if n == most}
        return next(key for key, (owner, _) in self._values.items() if owner in losers)


def _hub_name(scope: Mapping[str, Any]) -> str:
    """The name in the session that gradio's sign-in with the hub has signed; "" without one, and after its end."""
    info = scope.get("session", {}).get("oauth_info") or {}
    if info.get("expires_at") is not None and info["expires_at"] < time.time():
        return ""
    return str(info.get("userinfo", {}).get("preferred_username", ""))


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
