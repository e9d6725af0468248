"""Servers in processes of their own for the browser tests, and pages that record their problems."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, Page

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def start_server(*arguments: str | Path, home: Path, errors: Path | None = None, **variables: str) -> Iterator[str]:
    """The address of `python -m ARGUMENTS`, the first one that it prints.

    home: its $TEVIT_HOME. errors: a file for its standard error; it must not contain a connection to another machine.
    """
    own = {"TEVIT_HOME": str(home), "NO_PROXY": "127.0.0.1", "GRADIO_ANALYTICS_ENABLED": "False"}
    with (errors or Path(os.devnull)).open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", *map(str, arguments)],
            cwd=ROOT,
            env=os.environ | own | variables,
            text=True,
            stdout=subprocess.PIPE,
            stderr=stderr if errors else None,
        )
    try:
        assert process.stdout is not None
        words = (word for line in process.stdout for word in line.split())
        address = next((word for word in words if word.startswith("http://")), None)
        assert address is not None, errors.read_text() if errors else f"{arguments[0]} does not start"
        yield address
    finally:
        process.terminate()
        process.wait(timeout=20)
    assert errors is None or "leaves this machine" not in errors.read_text()


def record_problems(page: Page, url: str, problems: list[str]) -> None:
    """Append to `problems` every request to another machine than the server at `url`, and every script error."""
    server = urlsplit(url).netloc

    def check(request_url: str) -> None:
        parts = urlsplit(request_url)
        if parts.scheme not in ("data", "blob") and parts.netloc != server:
            problems.append(request_url)

    page.on("request", lambda request: check(request.url))
    page.on("pageerror", lambda error: problems.append(str(error)))


@contextmanager
def checked_page(context: BrowserContext, url: str) -> Iterator[Page]:
    """A page without requests to other machines, script errors or failed responses."""
    page, problems = context.new_page(), []
    record_problems(page, url, problems)
    page.on("response", lambda it: None if it.ok or it.status == 304 else problems.append(f"{it.status} {it.url}"))
    page.goto(url)
    yield page
    page.close()
    assert problems == []
