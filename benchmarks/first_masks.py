"""Seconds from Run to the first masks in the player: `python benchmarks/first_masks.py --rounds 3`.

Each round starts a studio and a browser page of its own, and runs `tevit_demo` on the three sample clips one after the
other: the first of them also loads the model.
"""

import argparse
import json
import re
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, expect, sync_playwright
from studio import start_studio

CLIPS = ("crossing", "return", "crowd")
TIMEOUT = 120_000  # milliseconds


def measure(browser: Browser, url: str) -> dict[str, float]:
    """Seconds of each clip, in a new page."""
    page, seconds = browser.new_page(), {}
    page.goto(url)
    player = page.get_by_role("region", name="Video player").first
    run = page.get_by_role("button", name="Run", exact=True)
    for clip in CLIPS:
        choice = page.get_by_label("Sample clips")
        if choice.input_value() != clip:
            choice.click()
            page.get_by_role("option", name=clip).click()
        expect(player.locator("canvas").first).to_have_attribute("aria-label", re.compile(clip), timeout=TIMEOUT)
        expect(player).to_have_attribute("data-state", "ready", timeout=TIMEOUT)
        expect(player).to_have_attribute("data-tracks", "0", timeout=TIMEOUT)
        expect(run).to_be_enabled(timeout=TIMEOUT)
        began = time.monotonic()
        run.click()
        expect(player).to_have_attribute("data-tracks", re.compile("[1-9]"), timeout=TIMEOUT)
        seconds[clip] = round(time.monotonic() - began, 2)
        expect(page.locator("#panel")).to_contain_text("Done after", timeout=TIMEOUT)
        expect(run).to_be_enabled(timeout=TIMEOUT)
    page.close()
    return seconds


def main() -> int:
    """Returns 0; errors are raised."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    args = parser.parse_args()
    rounds = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for _ in range(args.rounds):
            with tempfile.TemporaryDirectory() as home, start_studio(home) as (url, _):
                rounds.append(measure(browser, url))
    medians = {clip: statistics.median(seconds[clip] for seconds in rounds) for clip in CLIPS}
    text = json.dumps({"median seconds": medians, "rounds": rounds}, indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
