"""A page that several tests share, watched all the time."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, Page


@contextmanager
def watched(context: BrowserContext, address: str) -> Iterator[Page]:
    """It may ask no other machine for anything, fail in no script, and everything that it asks for must be there."""
    page, wrong = context.new_page(), []
    server = urlsplit(address).netloc
    local = ("data", "blob")

    def ask(url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in local and parts.netloc != server:
            wrong.append(url)

    page.on("request", lambda it: ask(it.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("response", lambda it: None if it.ok or it.status == 304 else wrong.append(f"{it.status} {it.url}"))
    page.goto(address)
    yield page
    page.close()
    assert wrong == []
