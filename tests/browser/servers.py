"""Servers in processes of their own for the browser tests, and pages that record their problems."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, Page

ROOT = Path(__file__).resolve().parents[2]
VARIABLES = {"NO_PROXY": "127.0.0.1", "GRADIO_ANALYTICS_ENABLED": "False"}


class Fork:
    """A fork of the process of `fake_studio --fork`, with the methods of `subprocess.Popen` that the tests need."""

    def __init__(self, pid: int):
        self.pid = pid

    def poll(self) -> bool | None:
        """None while it runs."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        return None

    def terminate(self) -> None:
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        self._send(signal.SIGKILL)

    def wait(self, timeout: float = 20) -> None:
        end = time.monotonic() + timeout
        while self.poll() is None:
            assert time.monotonic() < end, f"process {self.pid} does not end"
            time.sleep(0.02)

    def _send(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)


@cache
def _forking_studio() -> subprocess.Popen:
    """It ends with this process, which closes its standard input."""
    command = [sys.executable, "-m", "tests.browser.fake_studio", "--fork"]
    return subprocess.Popen(
        command, cwd=ROOT, env=os.environ | VARIABLES, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def _fork_studio(arguments: list[str], variables: dict[str, str], stdout: Path, stderr: Path) -> Fork:
    process = _forking_studio()
    assert process.stdin is not None and process.stdout is not None
    request = {"arguments": arguments, "variables": variables, "stdout": str(stdout), "stderr": str(stderr)}
    print(json.dumps(request), file=process.stdin, flush=True)
    return Fork(int(process.stdout.readline()))


@contextmanager
def start_studio(
    *arguments: object, home: Path, errors: Path | None = None, **variables: str
) -> Iterator[tuple[str, Fork]]:
    """Address and process of the studio with fake models, see `fake_studio`.

    home: its $TEVIT_HOME. errors: a file for its standard error; it must not contain a connection to another machine.
    """
    with tempfile.TemporaryDirectory() as folder:
        output, errors = Path(folder, "stdout"), errors or Path(folder, "stderr")
        for file in (output, errors):
            file.write_text("")
        variables = VARIABLES | {"TEVIT_HOME": str(home)} | variables
        process = _fork_studio(list(map(str, arguments)), variables, output, errors)
        try:
            while not (address := re.search(r"(http://\S+)\s", output.read_text())):
                assert process.poll() is None, errors.read_text()
                time.sleep(0.02)
            yield address[1], process
        finally:
            process.terminate()
            process.wait(timeout=60)
        assert "leaves this machine" not in errors.read_text()


@contextmanager
def start_server(
    *arguments: object,
    home: Path,
    errors: Path | None = None,
    preexec_fn: Callable[[], None] | None = None,
    **variables: str,
) -> Iterator[str]:
    """The address of `python -m ARGUMENTS`, the first one that it prints.

    home: its $TEVIT_HOME. errors: a file for its standard error; it must not contain a connection to another machine.
    """
    with (errors or Path(os.devnull)).open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", *map(str, arguments)],
            cwd=ROOT,
            env=os.environ | VARIABLES | {"TEVIT_HOME": str(home)} | variables,
            text=True,
            stdout=subprocess.PIPE,
            stderr=stderr if errors else None,
            preexec_fn=preexec_fn,
        )
    try:
        assert process.stdout is not None
        words = (word for line in process.stdout for word in line.split())
        address = next((word for word in words if word.startswith("http://")), None)
        assert address is not None, errors.read_text() if errors else f"{arguments[0]} does not start"
        yield address
    finally:
        process.terminate()
        process.wait(timeout=60)
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
