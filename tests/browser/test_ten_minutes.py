"""The studio on ten minutes of 720p, with the model that comes with it, cancelled once and resumed."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.servers import start_server
from tests.browser.test_segment import button, choose, download, frames_of, player, upload
from tests.long import write_ten_minutes

pytestmark = pytest.mark.browser
MINUTE = 60_000


@pytest.mark.slow
def test_ten_minutes_are_cancelled_and_resumed(browser: Browser, tmp_path: Path):
    length = write_ten_minutes(tmp_path / "long.mp4")
    with start_server(
        "app", home=tmp_path / "home", errors=tmp_path / "errors", variables={"HF_HUB_OFFLINE": "1"}
    ) as address:
        page = browser.new_page()
        page.goto(address)
        expect(player(page)).to_have_attribute("data-state", "ready")
        upload(page, tmp_path / "long.mp4")
        expect(page.locator(".player canvas").first).to_have_attribute("aria-label", "long.mp4", timeout=5 * MINUTE)
        choose(page, "tevit_demo (shapes)")
        expect(button(page, "Run")).to_be_enabled(timeout=MINUTE)
        button(page, "Run").click()
        panel = page.locator("#panel")
        expect(panel).to_contain_text(re.compile(rf"1\d\d\d of {length} frames"), timeout=15 * MINUTE)
        button(page, "Cancel").click()
        expect(panel).to_contain_text("Cancelled after")
        match = re.search(rf"The first (\d+) of {length} frames are kept", panel.inner_text())
        assert match and int(match[1]) >= 900
        page.screenshot(path=tmp_path / "cancelled.png")
        button(page, "Run").click()
        expect(panel).to_contain_text("Done after", timeout=20 * MINUTE)
        expect(player(page)).to_have_attribute("data-tracks", re.compile("[1-9]"), timeout=5 * MINUTE)
        page.screenshot(path=tmp_path / "done.png")
        assert frames_of(download(page, "results.json", tmp_path)) == {length}
        page.close()
