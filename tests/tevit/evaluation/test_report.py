"""The report in a browser without a network: it draws, in light and dark, and says where there is nothing to draw."""

from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page

from tests.tevit.evaluation import sets
from tevit.cli import main as cli

pytestmark = pytest.mark.browser
PLOTS = ["dap", "gaps", "parts", "thresholds", "recall", "identity", "confusion", "scores", "lengths"]


def visit(browser: Browser, folder: Path, name: str, scheme: Literal["light", "dark"]) -> tuple[Page, list[str]]:
    """The page, and the console messages, script errors and network requests of it."""
    content = sets.recorded("eval_sets")[name]
    paths = sets.write(folder, content["gt"], content["results"])
    assert cli.main(["errors", *map(str, paths), "--out", str(folder / "report")]) == 0
    page = browser.new_context(color_scheme=scheme, offline=True).new_page()
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("request", lambda request: messages.append(request.url) if not request.url.startswith("file:") else None)
    page.goto((folder / "report" / "report.html").as_uri())
    return page, messages


def drawn(page: Page) -> list[str]:
    return [name for name in PLOTS if page.locator(f"#{name} .main-svg").count()]


def test_all_figures_are_drawn_offline_in_dark_and_light(browser, tmp_path):
    page, messages = visit(browser, tmp_path, "small", "dark")

    def shade() -> int:
        return int(page.evaluate("getComputedStyle(document.body).backgroundColor").split("(")[1].split(",")[0])

    assert shade() < 60
    assert drawn(page) == PLOTS
    page.get_by_role("button", name="Light").click()
    assert shade() > 200
    assert drawn(page) == PLOTS
    assert page.locator("#dap .bars path").count() == 7
    assert page.get_by_role("heading", name="Errors of results.json").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("#identity .scatterlayer .trace").count() == 4
    page.get_by_label("Class").select_option(label="cat5")
    assert messages == []


def test_without_ground_truth_it_says_so(browser, tmp_path):
    page, messages = visit(browser, tmp_path, "no_annotations", "light")
    assert drawn(page) == ["confusion", "scores"]
    assert page.get_by_text("There is no ground truth.").count() == 7
    assert messages == []
