"""One studio with models that need no weights, and for every test pages that may go nowhere else."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.app.fakes import make_video
from tests.browser.servers import ROOT as ROOT
from tests.browser.servers import served, watch

MODELS = ("fast", "slow", "faint", "broken", "crashing")
Opened = tuple[Callable[..., Page], list[str]]

# Longer than any answer takes on a quiet machine by far: on a busy one a test must not fail for its load.
expect.set_options(timeout=40_000)


@dataclass(frozen=True)
class Studio:
    """A running server. errors: the file of its standard error. home: its $TEVIT_HOME."""

    url: str
    errors: Path
    home: Path


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A server in a process of its own; at the end it must not have turned to another machine."""
    folder = tmp_path_factory.mktemp("studio")
    checkpoints = [folder / f"{name}.pth" for name in MODELS]
    for path in checkpoints:
        path.touch()
    options = [part for path in checkpoints for part in ("--checkpoint", path)]
    home, errors = folder / "home", folder / "errors"
    with served("tests.browser.fake_studio", *options, home=home, errors=errors) as url:
        yield Studio(url, errors, home)


@pytest.fixture(scope="session")
def users(browser: Browser, studio: Studio) -> tuple[BrowserContext, BrowserContext]:
    """Two people; their browsers keep the page's scripts from test to test, also compiled: a file of the studio's stays
    open, and with it the process of its pages."""
    people = browser.new_context(), browser.new_context()
    for person in people:
        person.new_page().goto(f"{studio.url}manifest.json")
    return people


@pytest.fixture(scope="session")
def opened(users: tuple[BrowserContext, BrowserContext], studio: Studio) -> Opened:
    """Opens the studio as user 0 or 1, and notes what its pages did wrong."""
    wrong: list[str] = []

    def open_page(user: int = 0, address: str = "", dark: bool = False) -> Page:
        page = users[user].new_page()
        watch(page, studio.url, wrong)
        page.emulate_media(color_scheme="dark" if dark else "light")
        page.goto(address or studio.url)
        ready(page)
        return page

    return open_page, wrong


def ready(page: Page) -> None:
    """The studio's page is loaded, and its player shows the first video."""
    expect(page.get_by_label("Model")).to_have_value("fast.pth")
    expect(page.get_by_role("region", name="Video player")).to_have_attribute("data-state", "ready")


@pytest.fixture
def visit(opened: Opened) -> Iterator[Callable[..., Page]]:
    """Opens the studio as user 0 or 1; no page may ask another machine for anything, or fail in its scripts."""
    open_page, wrong = opened
    pages: list[Page] = []

    def open_another(user: int = 0, address: str = "", dark: bool = False) -> Page:
        pages.append(open_page(user, address, dark))
        return pages[-1]

    yield open_another
    for page in pages:
        page.close()
    none_of(wrong)


@pytest.fixture(scope="module")
def kept() -> Iterator[dict[int, Page]]:
    """The page of each user that stays open from test to test."""
    pages: dict[int, Page] = {}
    yield pages
    for page in pages.values():
        page.close()


@pytest.fixture
def stay(opened: Opened, kept: dict[int, Page], request: pytest.FixtureRequest) -> Iterator[Callable[..., Page]]:
    """As `visit`, on the page that the test before has left, if it passed: to load one takes seconds."""
    open_page, wrong = opened
    failed, taken = request.session.testsfailed, {}

    def open_or_stay(user: int = 0) -> Page:
        taken[user] = kept.pop(user, None) or open_page(user)
        return taken[user]

    yield open_or_stay
    for user, page in taken.items():
        if request.session.testsfailed > failed:
            page.close()
        elif not page.is_closed():
            kept[user] = page
    none_of(wrong)


def none_of(wrong: list[str]) -> None:
    """Nothing went wrong; what did is told once."""
    found = wrong.copy()
    wrong.clear()
    assert found == []


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """street: 18 frames. dog: 14 frames of another size. long: 400. words: a file that is no video."""
    folder = tmp_path_factory.mktemp("clips")
    words = folder / "words.mp4"
    words.write_text("not a video\n" * 20)
    street = make_video(folder / "street.mp4")
    dog = make_video(folder / "dog.mp4", frames=14, size_hw=(128, 96), grey=40)
    long = make_video(folder / "long.mp4", frames=400)
    return {"street": street, "dog": dog, "words": words, "long": long}
