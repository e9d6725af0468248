"""The panel "data set" in the page's header: a data set is opened, its classes are mapped by name and the
mapping is undone; a model predicts all its videos, is stopped, and resumes."""

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.app import datasets
from tests.browser.fake_studio import HELD_RUN
from tests.browser.servers import checked_page, start_studio

pytestmark = pytest.mark.browser

NAMES = {"categories": [{"id": 1, "name": "Giant Panda"}, {"id": 2, "name": "dog"}]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos of ten frames, and predictions with the ids of YouTube-VIS 2019: 2 is its giant panda, 8 its dog."""
    folder = tmp_path_factory.mktemp("labels")
    content = json.loads(datasets.write_ground_truth(folder).read_text()) | NAMES
    (folder / "zoo.json.gz").write_bytes(gzip.compress(json.dumps(content).encode()))
    datasets.write_json(folder, "unlabelled.json", content | {"annotations": None})
    (folder / "gt.json").unlink()
    datasets.write_predictions(folder, "other_list.json", [(1, 2, 0.9, datasets.LEFT), (2, 8, 0.8, datasets.RIGHT)])
    datasets.write_predictions(folder, "indices.json", [(1, 0, 0.9, datasets.LEFT), (2, 1, 0.8, datasets.RIGHT)])
    for video in content["videos"]:
        for name in video["file_names"]:
            (folder / "frames" / name).parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / "frames" / name), np.full((*datasets.SIZE, 3), 90, np.uint8))
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The studio's $TEVIT_HOME."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def page(browser: Browser, folder: Path, home: Path) -> Iterator[Page]:
    """A studio that was started without a data set, with the folder opened to its pages."""
    model = home / "fast.pth"
    model.touch()
    options = ("--checkpoint", model, "--allow", folder)
    with (
        start_studio(*options, home=home, errors=home / "errors") as (url, _),
        checked_page(browser.new_context(), f"{url}?tab=compare") as page,
    ):
        expect(button(page)).to_have_text(re.compile("shapes"))
        yield page


def button(page: Page) -> Locator:
    return page.locator("#datasets-button")


def test_a_button_that_is_rendered_anew_says_that_it_can_be_pressed(page: Page):
    button(page).evaluate("(it) => { it.removeAttribute('aria-expanded'); it.append(document.createElement('i')); }")
    expect(button(page)).to_have_attribute("aria-expanded", "false")


def open_panel(page: Page) -> None:
    """Press the button once the panel's script is there, which lets it say that it can be pressed."""
    expect(button(page)).to_have_attribute("aria-expanded", "false")
    button(page).click()
    expect(button(page)).to_have_attribute("aria-expanded", "true")


def notices(page: Page) -> Locator:
    return page.locator("#compare-notices")


def expect_evaluated(page: Page) -> None:
    """The matches are there, and the notices will not be replaced any more."""
    expect(page.locator("#matches .matches")).to_be_attached()


def choose(page: Page, label: str, name: str) -> None:
    page.get_by_label(label, exact=True).click()
    page.get_by_role("option", name=name).click()
    expect(page.get_by_role("listbox")).to_have_count(0)


def test_another_data_set_is_opened_from_the_page(page: Page):
    open_panel(page)
    page.keyboard.press("Escape")
    expect(button(page)).to_have_attribute("aria-expanded", "false")
    page.get_by_role("tab", name="Segment").click()
    open_panel(page)
    choose(page, "Ground truth file", "zoo.json.gz")
    expect(page.get_by_label("Folder of frames", exact=True)).to_have_value(re.compile("/frames$"))
    choose(page, "Predictions files", "other_list.json")
    page.get_by_role("button", name="Open", exact=True).click()
    expect(page).to_have_url(re.compile(r"[?&]data="))
    expect(page.get_by_role("tab", name="Compare")).to_have_attribute("aria-selected", "true")
    expect(button(page)).to_have_text(re.compile("zoo"))
    open_panel(page)
    expect(page.get_by_role("list", name="Open data sets").get_by_role("link")).to_have_count(2)
    button(page).click()


def test_classes_are_read_by_name_and_back_again(page: Page):
    expect_evaluated(page)
    expect(notices(page)).to_contain_text("YouTube-VIS 2019")
    notices(page).get_by_text("2 classes").click()
    expect(notices(page)).to_contain_text("8 dog → 2 dog")
    notices(page).get_by_role("button", name="Use this mapping").click()
    expect(notices(page)).to_contain_text("its category ids are read as YouTube-VIS 2019")
    expect(page.locator(".matches")).to_contain_text("Giant Panda", ignore_case=True)
    expect(page.locator(".matches")).to_contain_text("correct")
    notices(page).get_by_role("button", name="Undo the mapping").click()
    expect(notices(page).get_by_role("button", name="Use this mapping")).to_be_visible()
    expect_evaluated(page)


def test_all_videos_are_predicted_after_a_stop(page: Page, home: Path):
    """The model waits in the second video until it is stopped."""
    held = home / HELD_RUN
    held.write_text("15")
    open_panel(page)
    progress = page.locator("#datasets-progress")
    expect(page.get_by_label("Predict with")).to_have_value("fast.pth")
    page.get_by_role("button", name="Predict all videos").click()
    expect(progress).to_contain_text("1 of 2 videos")
    page.get_by_role("button", name="Stop predicting").click()
    expect(progress).to_contain_text("1 of 2 videos are kept: the same request resumes there.")
    held.unlink()
    page.get_by_role("button", name="Predict all videos").click()
    progress.get_by_role("link", name="Show them").click()
    expect(page.get_by_label("B", exact=True)).to_have_value("fast")
    expect_evaluated(page)


def test_indices_are_read_as_ids_with_one_press(page: Page):
    """Class 0 is the first of the data set's sorted classes: without the mapping nothing is found."""
    open_panel(page)
    choose(page, "Predictions files", "indices.json")
    page.get_by_role("button", name="Open", exact=True).click()
    notice = notices(page).locator(".notice").filter(has_text="indices has category ids that the data set lacks")
    expect(notice).to_contain_text("indices from 0 of the sorted categories: 2 of 2 predictions then count, 2 with a")
    expect_evaluated(page)
    notice.get_by_role("button", name="Use this mapping").first.click()
    text = "indices: its category ids are read as indices from 0 of the sorted categories."
    expect(notices(page)).to_contain_text(text)
    expect_evaluated(page)
    page.get_by_role("tab", name="Errors").click()
    expect(page.locator("#errors-state")).to_contain_text(text)
    page.get_by_label("A", exact=True).and_(page.locator("#errors input")).click()
    page.get_by_role("option", name="indices").click()
    expect(page.locator("#errors-figures")).to_contain_text("50.0")
    page.get_by_role("tab", name="Compare").click()


def test_a_data_set_without_annotations_says_so(page: Page):
    open_panel(page)
    choose(page, "Ground truth file", "unlabelled.json")
    choose(page, "Predictions files", "other_list.json")
    page.get_by_role("button", name="Open", exact=True).click()
    text = "unlabelled.json: there are no annotations (null or missing)"
    expect(notices(page)).to_contain_text(f"{text}: predictions are shown, but nothing can be measured.")
    page.get_by_role("tab", name="Errors").click()
    expect(page.locator("#errors-state")).to_contain_text(text)
    page.get_by_role("tab", name="Review").click()
    expect(page.locator("#review")).to_be_visible()
