"""Pictures of the running studio for README and docs: python docs/make_pictures.py [OUT] [--only NAME ...]

Starts the studio with its bundled clips, model and data set, drives it in a browser (chromium must be installed) and
writes segment.png, compare.png, errors.png, review.png and the animated studio.webp to OUT, by default docs/pictures.
"""

import argparse
import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Locator, Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
SIZE = {"width": 1280, "height": 800}
RUN_MS = 120_000
STEPS = 30  # pictures of the animation
STEP_MS = 120
SECTIONS = ("compare", "errors", "review")


@contextmanager
def studio() -> Iterator[str]:
    """The address of a studio of its own."""
    with tempfile.TemporaryDirectory() as home:
        own = {"TEVIT_HOME": home, "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, "-m", "tevit", "studio"]
        server = subprocess.Popen(command, cwd=ROOT, env=os.environ | own, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            words = server.stdout.readline().split()
            yield next(word for word in words if word.startswith("http://"))
        finally:
            server.terminate()
            server.wait(timeout=30)


def player(page: Page, place: str = "body") -> Locator:
    """The player in a part of the page."""
    return page.locator(place).get_by_role("region", name="Video player").first


def open_tab(page: Page, name: str) -> None:
    """Open a tab whose panel then becomes visible."""
    page.get_by_role("tab", name=name, exact=True).click()
    expect(page.get_by_role("tab", name=name, exact=True)).to_have_attribute("aria-selected", "true")


def run_model(page: Page) -> None:
    """Segment the first clip."""
    run = page.get_by_role("button", name="Run", exact=True)
    expect(run).to_be_enabled()
    run.click()
    expect(page.locator("#panel")).to_contain_text("Done after", timeout=RUN_MS)
    expect(player(page)).to_have_attribute("data-state", "ready")


def take_segment(page: Page, out: Path) -> None:
    """The result of the first clip, as a picture."""
    expect(page.locator("#estimate")).to_contain_text("about")
    page.mouse.move(0, 0)
    page.screenshot(path=out / "segment.png", animations="disabled")


def take_animation(page: Page, out: Path) -> None:
    """The player going through the clip, as an animated WebP of less than 2 MB."""
    page.locator("body").press("Home")
    pictures = []
    for _ in range(STEPS):
        pictures.append(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))
        page.locator("body").press("ArrowRight")
        page.wait_for_timeout(40)
        expect(player(page)).to_have_attribute("data-state", "ready")
    small = [picture.resize((960, 600), Image.Resampling.LANCZOS) for picture in pictures]
    small[0].save(out / "studio.webp", save_all=True, append_images=small[1:], duration=STEP_MS, loop=0, quality=70)


def take_section(page: Page, out: Path, name: str) -> None:
    """One of the tabs on the bundled data set."""
    open_tab(page, name.capitalize())
    lists = {"errors": "#errors-rows li[data-row]", "compare": "#matches .matches button"}
    if name in lists:
        expect(page.locator(lists[name]).first).to_be_attached(timeout=RUN_MS)
    if name != "errors":
        expect(player(page, f"#{name}-player")).to_have_attribute("data-state", "ready", timeout=RUN_MS)
    page.wait_for_load_state("networkidle")
    page.screenshot(path=out / f"{name}.png")


def make(out: Path, only: Sequence[str] = ()) -> None:
    """Write the pictures of these names, or all."""
    out.mkdir(parents=True, exist_ok=True)
    expect.set_options(timeout=30_000)
    first: dict[str, Callable[[Page, Path], None]] = {"segment": take_segment, "studio": take_animation}
    with studio() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE, color_scheme="light", reduced_motion="reduce")
        page.goto(address)
        expect(player(page)).to_have_attribute("data-state", "ready")
        wanted = [name for name in first if not only or name in only]
        if wanted:
            run_model(page)
        for name in wanted:
            first[name](page, out)
        for name in SECTIONS:
            if not only or name in only:
                take_section(page, out, name)
        browser.close()


def main() -> int:
    """Returns 0; errors are raised."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="?", type=Path, default=ROOT / "docs" / "pictures", metavar="OUT")
    parser.add_argument("--only", nargs="+", choices=("segment", "studio", *SECTIONS), default=(), metavar="NAME")
    args = parser.parse_args()
    make(args.out, args.only)
    return 0


if __name__ == "__main__":
    sys.exit(main())
