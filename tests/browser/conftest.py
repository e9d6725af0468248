"""One studio with models that need no weights, and for every test pages that may go nowhere else."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.app.fakes import make_video

ROOT = Path(__file__).resolve().parents[2]
MODELS = ("fast", "slow", "broken", "crashing")

expect.set_options(timeout=20_000)


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
    options = [part for path in checkpoints for part in ("--checkpoint", str(path))]
    with (folder / "errors").open("w") as errors:
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.browser.fake_studio", *options],
            cwd=ROOT,
            env=os.environ | {"TEVIT_HOME": str(folder / "home"), "NO_PROXY": "127.0.0.1"},
            text=True,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
    assert server.stdout is not None
    said = server.stdout.readline()
    assert said.startswith("TeViT Studio: "), (folder / "errors").read_text()
    yield Studio(said.split()[2], folder / "errors", folder / "home")
    server.terminate()
    server.wait(timeout=20)
    assert "leaves this machine" not in (folder / "errors").read_text()


@pytest.fixture(scope="session")
def users(browser: Browser) -> tuple[BrowserContext, BrowserContext]:
    """Two people; their browsers keep the page's scripts from test to test."""
    return browser.new_context(), browser.new_context()


@pytest.fixture
def visit(users: tuple[BrowserContext, BrowserContext], studio: Studio) -> Iterator[Callable[..., Page]]:
    """Opens the studio as user 0 or 1; no page may ask another machine for anything, or fail in its scripts."""
    pages: list[Page] = []
    outside: list[str] = []
    failures: list[str] = []

    def note(url: str) -> None:
        if urlsplit(url).scheme not in ("data", "blob") and not url.startswith(studio.url):
            outside.append(url)

    def open_page(user: int = 0, address: str = studio.url) -> Page:
        page = users[user].new_page()
        pages.append(page)
        page.on("request", lambda request: note(request.url))
        page.on("pageerror", lambda error: failures.append(str(error)))
        page.goto(address)
        expect(page.get_by_label("Model")).to_have_value("fast.pth")
        expect(page.get_by_role("region", name="Video player")).to_have_attribute("data-state", "ready")
        return page

    yield open_page
    for page in pages:
        page.close()
    assert outside == [] and failures == []


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
