"""Review with SAM 2.1 named at the start: a tiny model with random weights proposes masks and propagates them."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.test_propagation import KeystrokeModel, expect_frame
from tests.browser.test_review import PREDICTIONS, SHAPES, open_review_tab, review_all_tracks, serve
from tests.tevit.review.test_sam2 import folder as folder  # a fixture

pytestmark = pytest.mark.browser


def test_the_page_names_the_segmenter_and_takes_its_masks(browser: Browser, folder: str, tmp_path: Path):
    options = ("--dataset", SHAPES / "valid.json", "--frames", SHAPES, "--predictions", PREDICTIONS, "--sam", folder)
    with serve(tmp_path, *options) as server, open_review_tab(browser, server, "anna") as page:
        review_all_tracks(page)
        page.get_by_role("button", name="Correct the mask").click()
        bar = page.get_by_role("toolbar", name="Mask correction")
        expect(bar).to_contain_text("Masks by SAM 2.1")
        page.keyboard.press("Home")
        expect_frame(page, 0)
        page.keyboard.press("i")
        KeystrokeModel(page).draw((120, 60), (200, 130))
        expect(bar).to_contain_text("Proposed: enter accepts it", timeout=120_000)
