"""Where the studio is served, and what the people who reach it there may do."""

import ipaddress
import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

from .accounts import Accounts

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
            return _hub_name(getattr(request.request, "scope", {}))
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
    scope = getattr(getattr(request, "request", None), "scope", {})
    name = str(getattr(request, "username", None) or "") or _hub_name(scope)
    return f"name {name}" if name else scope.get("state", {}).get("counted_as", "")


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
