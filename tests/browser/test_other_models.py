"""A model of one's own in the studio: its parameters as a form, a run, all videos of a data set, Compare and Review."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.app import datasets
from tests.browser.servers import address, checked_page, start_studio
from tests.browser.test_datasets import open_panel
from tests.browser.test_segment import button, choose, expect_done, expect_tracks

pytestmark = pytest.mark.browser

MODEL = """
from dataclasses import dataclass, field
from typing import Literal

import cv2

from tevit import Instance


@dataclass
class Parameters:
    level: int = field(default=128, metadata={"help": "brightness from which a pixel belongs to an object"})
    order: Literal["left", "right"] = "left"
    invert: bool = False


parameters = Parameters


class Bright:
    classes = ["thing", "stuff"]

    def __init__(self, level, order, invert):
        if not 0 <= level <= 255:
            raise ValueError(f"level: expected 0 to 255, got {level}")
        self.level, self.order, self.invert = level, order, invert

    def predict(self, frames):
        for frame in frames:
            count, labels = cv2.connectedComponents(((frame[..., 0] > self.level) != self.invert).astype("uint8"))
            yield {i: Instance(self.classes[i > 1], 0.9 / i, labels == i) for i in range(1, count)}


def create(**values):
    return Bright(**values)
"""


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> Iterator[Page]:
    """A studio with the model and a data set of two videos with two white squares."""
    (tmp_path / "bright.py").write_text(MODEL)
    classes = {"categories": [{"id": id, "name": name} for id, name in enumerate(("thing", "stuff", "other"), 1)]}
    content = json.loads(datasets.write_ground_truth(tmp_path).read_text()) | classes
    truth = datasets.write_json(tmp_path, "squares.json", content)
    picture = np.repeat(255 * (datasets.LEFT[0] + datasets.RIGHT[0])[..., None], 3, axis=2)
    for video in content["videos"]:
        for name in video["file_names"]:
            (tmp_path / "frames" / name).parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / "frames" / name), picture)
    options = ("--model", tmp_path / "bright.py", "--dataset", truth, "--frames", tmp_path / "frames")
    home = tmp_path / "home"
    with (
        start_studio(*options, home=home, errors=tmp_path / "errors") as (url, _),
        checked_page(browser.new_context(), url) as page,
    ):
        yield page


def parameter(page: Page, name: str, form: str = "#parameters") -> Locator:
    return page.locator(form).get_by_label(name, exact=True)


def parameter_error(page: Page, form: str = "#parameters") -> Locator:
    return page.locator(form).get_by_role("alert")


def test_from_parameters_to_review(page: Page):
    # Segment: the form, wrong values, a run.
    page.get_by_label("Sample clips").click()
    page.get_by_role("option", name=re.compile("squares")).first.click()
    expect(page.locator(".player canvas").first).to_have_attribute("aria-label", "v1 (squares.json)")
    expect(page.get_by_role("region", name="Video player").first).to_have_attribute("data-state", "ready")
    choose(page, "other models: bright.py")
    expect(parameter(page, "level")).to_have_value("128")
    expect(page.locator("#parameters")).to_contain_text("brightness from which a pixel")
    expect(parameter(page, "order").locator("option")).to_have_text(["left", "right"])
    expect(parameter(page, "invert")).not_to_be_checked()
    parameter(page, "level").fill("x")
    expect(parameter_error(page)).to_have_text("expected a whole number, got 'x'")
    expect(parameter(page, "level")).to_be_focused()
    button(page, "Run").click()
    expect(page.locator("#panel")).to_contain_text("level: expected a whole number")
    parameter(page, "level").fill("300")
    expect(parameter_error(page)).to_have_count(0)
    button(page, "Run").click()
    expect(parameter_error(page)).to_contain_text("expected 0 to 255, got 300")
    parameter(page, "level").fill("64")
    parameter(page, "invert").check()
    button(page, "Run").click()
    expect_done(page)
    expect_tracks(page, 1)  # the background
    choose(page, "motion")
    expect(parameter(page, "min_area")).to_have_value("0.0006")
    choose(page, "other models: bright.py")
    expect(parameter(page, "level")).to_have_value("64")  # as it was on this page
    parameter(page, "invert").uncheck()
    before = address(page)
    button(page, "Run").click()
    page.wait_for_function("before => location.href !== before", arg=before)  # to the new run's
    expect_done(page)
    expect_tracks(page, 2)

    # All videos of the data set.
    open_panel(page)
    page.get_by_label("Predict with").click()
    page.get_by_role("option", name="other models: bright.py").click()
    form = "#datasets-parameters"
    parameter(page, "level", form).fill("y")
    expect(parameter_error(page, form)).to_have_text("expected a whole number, got 'y'")
    parameter(page, "level", form).fill("100")
    expect(parameter_error(page, form)).to_have_count(0)
    page.get_by_role("button", name="Predict all videos").click()
    progress = page.locator("#datasets-progress")
    expect(progress).to_contain_text("bright level=100 has predicted all 2 videos")
    progress.get_by_role("link", name="Show them").click()
    expect(page).to_have_url(re.compile("[?&]data="))

    # Compare and Review.
    page.get_by_role("tab", name="Compare").click()
    expect(page.get_by_label("A", exact=True)).to_have_value("bright level=100")
    expect(page.locator("#matches .matches button")).to_have_count(2)
    expect(page.locator("#matches")).to_contain_text("correct")
    page.get_by_role("tab", name="Review").click()
    expect(page.get_by_label("What to review")).to_have_value("disagreements of bright level=100")
    expect(page.get_by_text("Labels and predictions agree.")).to_be_visible()
