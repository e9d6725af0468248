"""Servers in processes of their own for the browser tests, and pages that record their problems."""

import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, Page, Route

from tests.processes import ROOT as ROOT
from tests.processes import ForkedProgram, start_python

PATIENCE = 40.0
"""Seconds, far longer than any response takes on a quiet machine: on a busy one a test must not fail for the load."""

VARIABLES = {"NO_PROXY": "127.0.0.1", "GRADIO_ANALYTICS_ENABLED": "False"}


@contextmanager
def start_studio(
    *arguments: object,
    home: Path,
    errors: Path | None = None,
    variables: Mapping[str, str] | None = None,
    before: Callable[[], object] | None = None,
) -> Iterator[tuple[str, ForkedProgram]]:
    """Address and process of the studio with fake models, see `fake_studio`; otherwise as `start_server`."""
    program = "tests.browser.fake_studio"
    with _start(program, *arguments, home=home, errors=errors, variables=variables, before=before) as started:
        yield started


@contextmanager
def start_server(
    *arguments: object,
    home: Path,
    errors: Path | None = None,
    variables: Mapping[str, str] | None = None,
    before: Callable[[], object] | None = None,
) -> Iterator[str]:
    """The address of `python -m ARGUMENTS`, the first one that it prints.

    home: its $TEVIT_HOME. errors: a file for its standard error; it must not contain a connection to another machine.
    variables, before: as for `start_python`.
    """
    with _start(*arguments, home=home, errors=errors, variables=variables, before=before) as (url, _):
        yield url


@contextmanager
def _start(
    *arguments: object,
    home: Path,
    errors: Path | None,
    variables: Mapping[str, str] | None,
    before: Callable[[], object] | None,
) -> Iterator[tuple[str, ForkedProgram]]:
    environment = VARIABLES | {"TEVIT_HOME": str(home)} | dict(variables or {})
    with tempfile.TemporaryDirectory() as folder:
        process = start_python(
            "-m", *arguments, folder=Path(folder), stderr=errors, variables=environment, before=before
        )
        try:
            while not (address := re.search(r"(http://\S+)\s", process.stdout.read_text())):
                assert process.poll() is None, process.stderr.read_text()
                time.sleep(0.02)
            yield address[1], process
        finally:
            process.terminate()
            process.wait(timeout=60)
        assert "leaves this machine" not in process.stderr.read_text()


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


def eventually(page: Page, check: Callable[[], object]) -> None:
    """Wait until all assertions of `check` hold, as `expect` does for what it can express."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            check()
            return
        except AssertionError:
            if time.monotonic() > end:
                raise
        page.wait_for_timeout(50)


def address(page: Page) -> str:
    """The page's address now: `page.url` follows what scripts set a moment later."""
    return page.evaluate("location.href")


def intercept(page: Page, pattern: str, handle: Callable[[Route], object]) -> None:
    """Route the requests of a page below `pattern`."""
    page.route(pattern, handle)
    # Chromium says too early that it intercepts: the next requests of a busy page may pass by.
    probe = re.compile(r"/\?probe$")
    page.route(probe, lambda route: route.fulfill(status=202))
    while page.evaluate("fetch('/?probe').then((response) => response.status)") != 202:
        pass
    page.unroute(probe)


class HeldRequests:
    """Requests of a page that are sent on only once they are released, as all later ones are."""

    def __init__(self, page: Page):
        self._page = page
        self._routes: list[Route] = []
        self._released = False

    def hold(self, route: Route) -> None:
        """Keep a request that has come, or send it on."""
        if self._released:
            route.continue_()
        else:
            self._routes.append(route)

    def wait_for_one(self) -> None:
        """Until there is one."""
        end = time.monotonic() + PATIENCE
        while not self._routes:
            assert time.monotonic() < end, "no request was held"
            self._page.wait_for_timeout(10)

    def release(self) -> None:
        """Send them on."""
        self._released = True
        while self._routes:
            self._routes.pop().continue_()


@contextmanager
def hold_requests(page: Page, pattern: str) -> Iterator[HeldRequests]:
    """Requests below `pattern`, held until the end of the block."""
    held = HeldRequests(page)
    intercept(page, pattern, held.hold)
    try:
        yield held
    finally:
        held.release()
        page.unroute(pattern)
