"""Names that are HTML, in every place where a name can stand: no tab, toast, report or picture makes elements of them.

The page's Content-Security-Policy would stop their scripts; what is tested here is that there are none to stop.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from app.storage.review_log import ReviewStore
from tests.app import datasets
from tests.browser.servers import start_studio
from tests.browser.test_datasets import open_panel
from tevit import evaluate, find_errors
from tevit.cli.main import main
from tevit.io.ytvis import open_dataset, read_results
from tevit.review.decisions import DeleteTrack, decide
from tevit.review.labels import content_hash

pytestmark = pytest.mark.browser


def hostile(place: str) -> str:
    """A name that runs as HTML, in an attribute, in a script and in an f-string of JavaScript; also a file name."""
    return f"{place}'\"`${{pwned=1}}<img src=x class=pwned onerror=window.pwned=1>"


WATCH = """
window.pwned = [];
new MutationObserver(() => {
    for (const element of document.querySelectorAll(".pwned")) window.pwned.push(element.outerHTML.slice(0, 300));
}).observe(document, { childList: true, subtree: true, attributes: true });
addEventListener("securitypolicyviolation", (event) => {
    window.pwned.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
});
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set in which file, folders, videos, classes, models and a reviewer have such names."""
    folder = tmp_path_factory.mktemp("hostile") / hostile("folder")
    truth = datasets.write_ground_truth(folder, f"{hostile('set')}.json")
    content = json.loads(truth.read_text())
    for video in content["videos"]:
        names = [f"{hostile('video')}{video['id']}/{t:05d}.jpg" for t in range(video["length"])]
        video["file_names"] = names
        for name in names:
            file = folder / "frames" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(file), np.full((*datasets.SIZE, 3), 90, np.uint8))
    content["categories"] = [{"id": i, "name": hostile(f"class{i}")} for i in (1, 2, 3)]
    truth.write_text(json.dumps(content))
    tracks = [(1, 1, 0.9, datasets.SHIFTED), (1, 2, 0.8, datasets.RIGHT), (2, 3, 0.7, datasets.LEFT)]
    for name in ("model", "other"):
        datasets.write_predictions(folder, f"{hostile(name)}.json", tracks)
    store = ReviewStore(folder / "project")
    hash = content_hash(content)
    store.append(decide(hash, 1, "label is wrong", DeleteTrack(10), hostile("eve"), note=hostile("note")))
    store.close()
    return folder


@pytest.fixture(scope="module")
def page(browser: Browser, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    home = tmp_path_factory.mktemp("home")
    models = [part for name in ("model", "other") for part in ("--predictions", folder / f"{hostile(name)}.json")]
    data = ("--dataset", folder / f"{hostile('set')}.json", "--frames", folder / "frames", *models)
    options = (*data, "--project", folder / "project", "--allow", folder)
    with start_studio(*options, home=home, errors=home / "errors") as (url, _):
        context = browser.new_context()
        context.add_init_script(WATCH)
        page = context.new_page()
        page.goto(url)
        yield page
        context.close()


def nothing_ran(page: Page) -> None:
    assert page.evaluate("window.pwned") == []


def test_the_tests_own_watch_sees_elements_and_refused_scripts(page: Page):
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x class=pwned onerror=1>')")
    page.wait_for_function("window.pwned.some((text) => text.startsWith('script-src-attr')) && window.pwned.length > 1")
    page.evaluate("document.querySelectorAll('.pwned').forEach((e) => e.remove()); window.pwned = []")


def test_compare_shows_names_as_text_also_while_it_evaluates(page: Page):
    page.get_by_role("tab", name="Compare").click()
    player = page.locator("#compare-player").get_by_role("region", name="Video player")
    expect(player).to_have_attribute("data-state", "ready", timeout=60_000)
    page.locator("#compare-matches [data-key]").first.click(timeout=60_000)
    expect(page.locator("#pair button").first).to_be_visible()
    nothing_ran(page)


def test_errors_with_its_plots_shows_names_as_text(page: Page):
    page.get_by_role("tab", name="Errors").click()
    page.locator("[data-tip]").first.hover(timeout=60_000)
    expect(page.locator(".js-plotly-plot").first).to_be_attached(timeout=60_000)
    nothing_ran(page)


def test_review_shows_names_notes_and_reviewers_as_text(page: Page):
    page.get_by_role("tab", name="Review").click()
    expect(page.locator(".prompt-where")).to_contain_text(" of ", timeout=60_000)
    page.get_by_label("Reviewer").fill(hostile("ann"))
    page.keyboard.press("Escape")
    page.locator(".prompt-answers button").first.click()
    page.get_by_role("button", name="Save decision").click()
    expect(page.locator("#review-prompt").get_by_role("status")).to_contain_text("saved")
    nothing_ran(page)


def test_the_data_sets_place_and_its_messages_show_names_as_text(page: Page):
    open_panel(page)
    expect(page.locator("#datasets-open")).to_contain_text("set'", timeout=60_000)
    nothing_ran(page)
    page.locator("#datasets-button").click()


def test_a_video_with_such_a_name_is_segmented_and_refused_as_text(page: Page, tmp_path: Path):
    page.get_by_role("tab", name="Segment").click()
    words = tmp_path / f"{hostile('words')}.mp4"
    words.write_text("no video")
    page.locator("input[type=file]").first.set_input_files(words)
    expect(page.get_by_text("words'").first).to_be_visible(timeout=60_000)
    nothing_ran(page)


def opened_alone(context: BrowserContext, file: Path) -> list[str]:
    """What a report does in a browser that nothing holds back."""
    page = context.new_page()
    page.goto(file.as_uri())
    page.wait_for_load_state()
    elements = page.evaluate("[...document.querySelectorAll('.pwned')].map((e) => e.outerHTML)")
    assert page.evaluate("typeof window.pwned") == "undefined"
    page.close()
    return elements


def test_reports_and_notebooks_show_names_as_text(browser: Browser, folder: Path, tmp_path: Path):
    truth, predictions = folder / f"{hostile('set')}.json", folder / f"{hostile('model')}.json"
    errors = ["errors", str(truth), str(predictions), "--frames", str(folder / "frames"), "--out", str(tmp_path / "e")]
    assert main(errors) == 0
    log = tmp_path / "log.jsonl"
    store = ReviewStore(folder / "project")
    store.export(log)
    store.close()
    assert main(["review", "report", str(log), str(truth), "--out", str(tmp_path / "r")]) == 0
    shown = tmp_path / "notebook.html"
    dataset = open_dataset(truth)
    shown.write_text(
        read_results(predictions).video(dataset.videos[1], dataset.categories)._repr_html_()
        + evaluate(truth, predictions)._repr_html_()
        + find_errors(truth, predictions)._repr_html_()
    )
    context = browser.new_context()
    reports = [*tmp_path.rglob("*.html")]
    assert len(reports) >= 3
    for report in reports:
        assert opened_alone(context, report) == [], report
        assert not re.search(r"<img src=x", report.read_text().replace("\\u003c", "")), report
    context.close()
    for table in tmp_path.rglob("*.csv"):
        assert "<img" in table.read_text()
