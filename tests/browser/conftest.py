"""One studio with models that need no weights, and pages whose requests and script errors are checked."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.app.fakes import make_video
from tests.browser.servers import PATIENCE, record_problems, start_studio
from tests.browser.servers import ROOT as ROOT

MODELS = ("fast", "slow", "faint", "broken", "crashing")
OpenPage = Callable[..., Page]
OpenStudio = tuple[OpenPage, list[str]]

expect.set_options(timeout=1000 * PATIENCE)


@dataclass(frozen=True)
class Studio:
    """A running server. errors: the file of its standard error. home: its $TEVIT_HOME."""

    url: str
    errors: Path
    home: Path


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A server in a process of its own that connects to no other machine."""
    folder = tmp_path_factory.mktemp("studio")
    checkpoints = [folder / f"{name}.pth" for name in MODELS]
    for path in checkpoints:
        path.touch()
    options = [part for path in checkpoints for part in ("--checkpoint", path)]
    options += ["--run-grace", "16"]  # a busy machine takes long to load a page anew
    home, errors = folder / "home", folder / "errors"
    with start_studio(*options, home=home, errors=errors) as (url, _):
        yield Studio(url, errors, home)


@pytest.fixture(scope="session")
def users(browser: Browser, studio: Studio) -> tuple[BrowserContext, BrowserContext]:
    """Two users; a file of the studio stays open in each, so that the process of its pages keeps the compiled
    scripts from test to test."""
    contexts = browser.new_context(), browser.new_context()
    for context in contexts:
        context.new_page().goto(f"{studio.url}manifest.json")
    return contexts


@pytest.fixture(scope="session")
def open_studio(users: tuple[BrowserContext, BrowserContext], studio: Studio) -> OpenStudio:
    """A function that opens the studio as user 0 or 1, and the list of the problems of its pages."""
    problems: list[str] = []

    def open_page(user: int = 0, address: str = "", dark: bool = False) -> Page:
        page = users[user].new_page()
        record_problems(page, studio.url, problems)
        page.emulate_media(color_scheme="dark" if dark else "light")
        page.goto(address or studio.url)
        expect_ready(page)
        return page

    return open_page, problems


def expect_ready(page: Page) -> None:
    """The studio's page is loaded, and its player shows the first video."""
    expect(page.get_by_label("Model")).to_have_value("fast.pth")
    expect(page.get_by_role("region", name="Video player")).to_have_attribute("data-state", "ready")


@pytest.fixture
def new_page(open_studio: OpenStudio) -> Iterator[OpenPage]:
    """Opens new pages as user 0 or 1; none may request anything from another machine, or fail in its scripts."""
    open_page, problems = open_studio
    pages: list[Page] = []

    def open_another(user: int = 0, address: str = "", dark: bool = False) -> Page:
        pages.append(open_page(user, address, dark))
        return pages[-1]

    yield open_another
    for page in pages:
        page.close()
    assert_empty(problems)


@pytest.fixture(scope="module")
def shared_pages() -> Iterator[dict[int, Page]]:
    """The page of each user that stays open from test to test."""
    pages: dict[int, Page] = {}
    yield pages
    for page in pages.values():
        page.close()


@pytest.fixture
def shared_page(
    open_studio: OpenStudio, shared_pages: dict[int, Page], request: pytest.FixtureRequest
) -> Iterator[OpenPage]:
    """As `new_page`, but reuses the page of the previous test, if that passed: loading one takes seconds."""
    open_page, problems = open_studio
    failed, used = request.session.testsfailed, {}

    def open_or_reuse(user: int = 0) -> Page:
        used[user] = shared_pages.pop(user, None) or open_page(user)
        return used[user]

    yield open_or_reuse
    for user, page in used.items():
        if request.session.testsfailed > failed:
            page.close()
        elif not page.is_closed():
            shared_pages[user] = page
    assert_empty(problems)


def assert_empty(problems: list[str]) -> None:
    """Each problem fails one test only."""
    reported = problems.copy()
    problems.clear()
    assert reported == []


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """street: 18 frames. dog: 14 frames of another size. long: 400. words: a text file."""
    folder = tmp_path_factory.mktemp("clips")
    words = folder / "words.mp4"
    words.write_text("not a video\n" * 20)
    street = make_video(folder / "street.mp4")
    dog = make_video(folder / "dog.mp4", frames=14, size_hw=(128, 96), grey=40)
    long = make_video(folder / "long.mp4", frames=400)
    return {"street": street, "dog": dog, "words": words, "long": long}
