"""Servers in processes of their own for the browser tests, and what their pages must not do."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Page

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def served(*arguments: str | Path, home: Path, errors: Path | None = None, **variables: str) -> Iterator[str]:
    """The address of `python -m ARGUMENTS`, which stands in the first line that it prints.

    home: its $TEVIT_HOME. errors: a file for its standard error; at the end it must not say that the server turned to
    another machine.
    """
    own = {"TEVIT_HOME": str(home), "NO_PROXY": "127.0.0.1", "GRADIO_ANALYTICS_ENABLED": "False"}
    with (errors or Path(os.devnull)).open("w") as told:
        process = subprocess.Popen(
            [sys.executable, "-m", *map(str, arguments)],
            cwd=ROOT,
            env=os.environ | own | variables,
            text=True,
            stdout=subprocess.PIPE,
            stderr=told if errors else None,
        )
    try:
        assert process.stdout is not None
        found = [word for word in process.stdout.readline().split() if word.startswith("http://")]
        assert found, errors.read_text() if errors else f"{arguments[0]} does not start"
        yield found[0]
    finally:
        process.terminate()
        process.wait(timeout=20)
    assert errors is None or "leaves this machine" not in errors.read_text()


def watch(page: Page, url: str, wrong: list[str]) -> None:
    """Note in `wrong` what the page asks of another machine than `url`, and what fails in its scripts."""

    def note(asked: str) -> None:
        if urlsplit(asked).scheme not in ("data", "blob") and not asked.startswith(url):
            wrong.append(asked)

    page.on("request", lambda request: note(request.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
