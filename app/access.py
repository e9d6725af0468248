"""Where the studio is served, and what the people who reach it there may do."""

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit


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
