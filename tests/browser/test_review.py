"""The tab Review on the bundled set with label errors: questions by keyboard alone, reload, two people, files."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from tests.browser.conftest import ROOT
from tevit.masks import decode
from tevit.review import Decision, apply, read_log
from tevit.review.decisions import ReplaceMask

pytestmark = pytest.mark.browser
SHAPES = ROOT / "assets" / "shapes"
LABELS = SHAPES / "valid_with_errors.json"
Visit = Callable[..., Page]


@dataclass(frozen=True)
class Server:
    """A studio on a project folder of its own."""

    url: str
    project: Path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("review")
    predictions = SHAPES / "predictions" / "tevit_demo.json"
    data = ["--dataset", LABELS, "--frames", SHAPES, "--predictions", predictions, "--project", folder / "project"]
    with (folder / "errors").open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.browser.fake_studio", *map(str, data)],
            cwd=ROOT,
            env=os.environ | {"TEVIT_HOME": str(folder / "home"), "NO_PROXY": "127.0.0.1"},
            text=True,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
    assert process.stdout is not None
    said = process.stdout.readline()
    assert said.startswith("TeViT Studio: "), (folder / "errors").read_text()
    yield Server(said.split()[2], folder / "project")
    process.terminate()
    process.wait(timeout=20)
    assert "leaves this machine" not in (folder / "errors").read_text()


@pytest.fixture(scope="module")
def people(browser: Browser) -> tuple[BrowserContext, BrowserContext]:
    return browser.new_context(), browser.new_context()


@pytest.fixture
def review(people: tuple[BrowserContext, BrowserContext], server: Server) -> Iterator[Visit]:
    """Opens the tab as person 0 or 1; nothing may fail in the page's scripts or ask another machine."""
    pages: list[Page] = []
    failures: list[str] = []

    def note(url: str) -> None:
        if urlsplit(url).scheme not in ("data", "blob") and not url.startswith(server.url):
            failures.append(url)

    def open_page(user: int = 0, name: str = "anna") -> Page:
        page = people[user].new_page()
        pages.append(page)
        page.on("pageerror", lambda error: failures.append(str(error)))
        page.on("request", lambda request: note(request.url))
        page.goto(server.url)
        page.get_by_role("tab", name="Review").click()
        expect(where(page)).to_contain_text(" of ", timeout=60_000)
        expect(player(page)).to_have_attribute("data-state", "ready")
        page.get_by_label("Reviewer").fill(name)
        page.keyboard.press("Escape")
        return page

    yield open_page
    for page in pages:
        page.close()
    assert failures == []


def player(page: Page) -> Locator:
    return page.locator("#review-player").get_by_role("region", name="Video player")


def where(page: Page) -> Locator:
    return page.locator(".ask-where")


def said(page: Page) -> Locator:
    return page.locator("#review-ask").get_by_role("status")


def answers(page: Page) -> list[str]:
    return [key or "" for key in page.locator(".ask-answers button").evaluate_all("all => all.map(b => b.dataset.key)")]


def decided(page: Page, count: int) -> None:
    expect(page.locator("#review-progress .title strong")).to_contain_text(f"{count} of ")


def download(page: Page, name: str, folder: Path) -> Path:
    with page.expect_download() as waiting:
        page.get_by_role("button", name=name, exact=True).click()
    waiting.value.save_as(folder / name)
    return folder / name


def log_of(page: Page, folder: Path) -> list[Decision]:
    return read_log(download(page, "decisions.jsonl", folder))


def test_twenty_questions_by_keyboard_alone(review: Visit, server: Server, tmp_path: Path):
    page = review()
    before = json.loads(LABELS.read_bytes())
    expect(page.get_by_role("button", name="Save decision")).to_be_disabled()
    for number in range(1, 21):
        expect(where(page)).to_contain_text(f"{number} of ")
        found = answers(page)
        page.keyboard.press(next(key for key in ("2", "3", "1") if key in found) if number % 2 else "1")
        page.keyboard.press("Enter")
        expect(said(page)).to_have_text("saved")
        decided(page, number)
    log = log_of(page, tmp_path)
    assert len(log) == 20 and {d.reviewer for d in log} == {"anna"}
    assert sum(d.verdict == "label is wrong" for d in log) >= 8
    exported = json.loads(download(page, "corrected.json", tmp_path).read_bytes())
    assert exported == apply(before, log, only_fitting=True)
    assert exported != before and json.loads(LABELS.read_bytes()) == before
    assert list(csv.DictReader(download(page, "changes.csv", tmp_path).open()))
    assert "20 decisions" in download(page, "report.html", tmp_path).read_text()


def test_a_reload_keeps_all_and_undo_takes_back_what_was_last(review: Visit, tmp_path: Path):
    page = review()
    decided(page, 20)
    expect(where(page)).to_contain_text("21 of ")
    page.keyboard.press("Control+z")
    expect(said(page)).to_contain_text("undone")
    expect(where(page)).to_contain_text("20 of ")
    decided(page, 19)
    page.keyboard.press("Control+Shift+z")
    expect(said(page)).to_contain_text("done again")
    decided(page, 20)
    page.get_by_role("button", name="Undo", exact=True).click()
    decided(page, 19)
    page.reload()
    page.get_by_role("tab", name="Review").click()
    decided(page, 19)
    expect(page.get_by_label("Reviewer")).to_have_value("anna")
    assert len(log_of(page, tmp_path)) == 23, "undo and redo are decisions, too"


def test_what_is_typed_while_it_saves_is_not_lost(review: Visit, tmp_path: Path):
    page = review()
    before = len(log_of(page, tmp_path))
    for key in ("1", "Enter", "0", "Enter", "1", "Enter"):
        page.keyboard.press(key)
    decided(page, 22)
    log = log_of(page, tmp_path)[before:]
    assert [d.verdict for d in log] == ["label is right", "unclear", "label is right"]


def test_keys_of_the_player_steps_and_notes(review: Visit, tmp_path: Path):
    page = review()
    at, frame = int(where(page).inner_text().split()[0]), int(player(page).get_attribute("data-frame") or 0)
    page.keyboard.press("ArrowRight")
    expect(player(page)).to_have_attribute("data-frame", str(frame + 1))
    page.keyboard.press("n")
    expect(where(page)).to_contain_text(f"{at + 1} of ")
    page.get_by_role("button", name="Previous", exact=True).click()
    expect(where(page)).to_contain_text(f"{at} of ")
    page.get_by_role("button", name="Next", exact=True).click()
    expect(where(page)).to_contain_text(f"{at + 1} of ")
    page.keyboard.press("p")
    expect(where(page)).to_contain_text(f"{at} of ")
    page.locator(".queue button[data-place='0']").click()
    expect(where(page)).to_contain_text("1 of ")
    page.locator(f".queue button[data-place='{at - 1}']").click()
    expect(where(page)).to_contain_text(f"{at} of ")
    page.keyboard.press("Enter")
    expect(said(page)).to_contain_text("Choose an answer first")
    page.keyboard.press("0")
    page.keyboard.press("/")
    page.keyboard.type("1 or 2?")
    page.keyboard.press("Enter")
    expect(said(page)).to_have_text("saved")
    last = log_of(page, tmp_path)[-1]
    assert (last.verdict, last.note) == ("unclear", "1 or 2?")


def test_two_people_see_and_settle_what_they_disagree_about(review: Visit):
    anna, ben = review(0), review(1, "ben")
    place = int(where(anna).inner_text().split()[0])
    expect(where(ben)).to_contain_text(f"{place} of ")
    anna.keyboard.press("1")
    anna.keyboard.press("Enter")
    expect(said(anna)).to_have_text("saved")
    expect(where(ben)).to_contain_text("anna: label is right")
    wrong = next(key for key in ("3", "2", "4") if key in answers(ben))
    ben.keyboard.press(wrong)
    ben.keyboard.press("Enter")
    expect(said(ben)).to_have_text("saved")
    expect(anna.locator(".disagreements")).to_contain_text("ben: label is wrong")
    anna.locator(".disagreements li li", has_text="ben").get_by_role("button", name="Keep this one").click()
    expect(anna.locator(".disagreements")).to_have_count(0)
    expect(ben.locator(".disagreements")).to_have_count(0)


def test_a_walk_through_all_labels_and_another_class(review: Visit, tmp_path: Path):
    page = review()
    page.get_by_label("What to review").click()
    page.get_by_role("option", name="all tracks of all videos").click()
    total = len(json.loads(LABELS.read_bytes())["annotations"])
    expect(where(page)).to_contain_text(f"of {total}")
    expect(page.locator(".ask-question")).to_contain_text("with the right masks in every frame?")
    page.get_by_label("Change the class to").select_option("ring")
    expect(said(page)).to_contain_text("change the class to ring")
    page.get_by_role("button", name="Save decision").click()
    expect(said(page)).to_have_text("saved")
    assert "change class" in download(page, "decisions.jsonl", tmp_path).read_text().splitlines()[-1]


def test_ap_before_and_after_and_a_log_that_does_not_fit(review: Visit, tmp_path: Path):
    page = review()
    page.get_by_role("button", name="AP before and after").click()
    expect(page.locator("#review-after table")).to_contain_text("tevit_demo", timeout=60_000)
    log = download(page, "decisions.jsonl", tmp_path).read_text().splitlines()
    changed = json.loads(log[0]) | {"id": "elsewhere", "dataset": "0" * 64, "tracks": [99999]}
    (tmp_path / "other.jsonl").write_text(json.dumps(changed) + "\n")
    page.locator("#review-more input[type=file]").set_input_files(tmp_path / "other.jsonl")
    told = page.locator("#review-told")
    expect(told).to_contain_text("1 were made for another version of these labels")
    expect(told).to_contain_text("Nothing was taken")
    assert len(log_of(page, tmp_path)) == len(log)


def test_at_every_width_nothing_sticks_out(review: Visit):
    page = review()
    for width in (1440, 1024, 390):
        page.set_viewport_size({"width": width, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        expect(page.get_by_role("button", name="Save decision")).to_be_visible()


def test_a_mask_by_hand_survives_a_reload_and_is_saved(review: Visit, tmp_path: Path):
    page = review()
    page.get_by_label("What to review").click()
    page.get_by_role("option", name="all tracks of all videos").click()
    expect(page.locator(".ask-question")).to_contain_text("with the right masks in every frame?")
    page.get_by_role("button", name="Correct the mask").click()
    canvas = page.locator(".brush-canvas")
    expect(canvas).to_be_visible()
    box = canvas.bounding_box()
    assert box is not None
    page.keyboard.press("]")
    page.mouse.move(box["x"] + box["width"] * 0.1, box["y"] + box["height"] * 0.5)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] * 0.5, steps=4)
    page.mouse.up()
    expect(said(page)).to_contain_text("chosen: Correct the mask")
    drawn = page.evaluate("JSON.parse(Object.entries(localStorage).find(([key]) => key.includes('review-mask'))[1])")
    page.reload()
    page.get_by_role("tab", name="Review").click()
    expect(where(page)).to_contain_text(" of ", timeout=60_000)
    page.get_by_label("What to review").click()
    page.get_by_role("option", name="all tracks of all videos").click()
    expect(said(page)).to_contain_text("chosen: Correct the mask")
    page.keyboard.press("Enter")
    expect(said(page)).to_have_text("saved")
    action = log_of(page, tmp_path)[-1].action
    assert isinstance(action, ReplaceMask) and action.mask.counts == drawn["counts"]
    row = decode(action.mask.rle)[action.mask.size[0] // 2]
    assert row[int(0.12 * len(row)) : int(0.88 * len(row))].all(), "the stroke from left to right"
    assert page.evaluate("Object.keys(localStorage).filter(key => key.includes('review-mask')).length") == 0
