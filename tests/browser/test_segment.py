"""The tab Segment as people use it: real server, real browser, a model that needs no weights."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.app.fakes import WINDOW
from tests.browser.conftest import Studio
from tevit.video import open_video

pytestmark = pytest.mark.browser

Visit = Callable[..., Page]
CANCEL_SECONDS = 3.0


def button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=name, exact=True)


def drop(page: Page, clip: Path) -> None:
    page.locator("input[type=file]").first.set_input_files(clip)


def choose(page: Page, model: str) -> None:
    page.get_by_label("Model").click()
    page.get_by_role("option", name=model).click()


def run(page: Page, clip: Path, model: str) -> None:
    drop(page, clip)
    choose(page, model)
    button(page, "Run").click()


def download(page: Page, name: str, folder: Path) -> Path:
    expect(button(page, name)).to_be_enabled()
    with page.expect_download() as waiting:
        button(page, name).click()
    assert waiting.value.suggested_filename == name
    path = folder / name
    waiting.value.save_as(path)
    return path


def frames_of(results: Path) -> set[int]:
    return {len(item["segmentations"]) for item in json.loads(results.read_text())}


def overlay_width(page: Page) -> int:
    """Pixels of the overlay, once the browser could decode it."""
    video = page.locator("#overlay video")
    expect(video).to_be_visible()
    page.wait_for_function("document.querySelector('#overlay video').readyState >= 2")
    return video.evaluate("element => element.videoWidth")


def said_twice(page: Page, sentence: str | re.Pattern[str]) -> None:
    """In the panel, where it stays, and in a toast."""
    expect(page.locator("#panel").get_by_role("alert")).to_have_text(sentence)
    toast = page.get_by_test_id("toast-body").filter(has_text=sentence)
    expect(toast).to_be_visible()
    toast.get_by_test_id("toast-close").click()
    expect(toast).to_have_count(0)


def test_an_empty_page_says_what_to_do(visit: Visit):
    page = visit()
    expect(page).to_have_title("TeViT Studio")
    expect(page.get_by_role("tab", name="Segment")).to_be_visible()
    expect(page.get_by_text("Drop one into the field named Video, choose a model and press Run.")).to_be_visible()
    for name in ("Run", "Cancel", "overlay.mp4", "results.json"):
        expect(button(page, name)).to_be_disabled()


def test_from_a_dropped_video_to_overlay_and_results(visit: Visit, clips: dict[str, Path], tmp_path: Path):
    page = visit()
    drop(page, clips["street"])
    expect(page.locator("#facts")).to_contain_text("18 frames")
    expect(page.locator("#facts")).to_contain_text("160 x 96")
    expect(page.locator("#facts")).to_contain_text("10 frames/s")
    expect(page.get_by_alt_text("First frame of street.mp4")).to_be_visible()
    choose(page, "slow.pth")
    button(page, "Run").click()
    bar = page.get_by_role("progressbar", name="segmenting")
    expect(bar).to_have_attribute("aria-valuemax", "18")
    expect(page.locator("#panel")).to_contain_text(re.compile(r"\d+ s left.*\d+ of 18 frames, [\d.]+ frames/s"))
    expect(button(page, "Run")).to_be_disabled()
    expect(button(page, "Cancel")).to_be_enabled()
    expect(page.get_by_text("Done after")).to_be_visible()
    assert overlay_width(page) == 160
    expect(page.locator(".tracks li")).to_have_count(2)
    expect(page.locator(".tracks li").first).to_contain_text("1 dog")
    expect(button(page, "Cancel")).to_be_disabled()
    assert frames_of(download(page, "results.json", tmp_path)) == {18}
    assert open_video(download(page, "overlay.mp4", tmp_path)).length == 18


def test_cancel_gives_what_is_done_so_far(visit: Visit, clips: dict[str, Path], tmp_path: Path):
    page = visit()
    run(page, clips["long"], "slow.pth")
    expect(page.locator("#panel")).to_contain_text(re.compile(r"([7-9]|\d\d+) of 400 frames"))
    begin = time.monotonic()
    button(page, "Cancel").click()
    expect(button(page, "results.json")).to_be_enabled()
    assert time.monotonic() - begin < CANCEL_SECONDS
    expect(page.get_by_text("Cancelled after")).to_be_visible()
    said = re.search(r"The first (\d+) of 400 frames are kept", page.locator("#panel").inner_text())
    assert said and int(said[1]) % WINDOW == 0 and overlay_width(page) == 160
    assert frames_of(download(page, "results.json", tmp_path)) == {int(said[1])}
    assert open_video(download(page, "overlay.mp4", tmp_path)).length == int(said[1])


def test_an_error_is_said_twice_and_keeps_what_was_there(visit: Visit, clips: dict[str, Path], tmp_path: Path):
    page = visit()
    run(page, clips["dog"], "fast.pth")
    expect(page.get_by_text("Done after")).to_be_visible()
    for model, sentence in (
        ("broken.pth", "broken.pth: not a whole PyTorch checkpoint (the file is empty)"),
        ("crashing.pth", "dog.mp4: unexpected RuntimeError; the server's log says where."),
    ):
        choose(page, model)
        button(page, "Run").click()
        said_twice(page, sentence)
    assert overlay_width(page) == 96
    assert frames_of(download(page, "results.json", tmp_path)) == {14}
    choose(page, "fast.pth")
    button(page, "Run").click()
    expect(page.get_by_text("Done after")).to_be_visible()


def test_what_cannot_run_is_refused_until_it_can(visit: Visit, clips: dict[str, Path], studio: Studio):
    page = visit()
    drop(page, clips["words"])
    said_twice(page, re.compile(r"words\.mp4: not a .*video"))
    expect(button(page, "Clear")).to_have_count(1)
    expect(button(page, "Run")).to_be_disabled()
    button(page, "Clear").click()
    drop(page, clips["dog"])
    expect(page.get_by_alt_text("First frame of dog.mp4")).to_be_visible()
    expect(page.locator("#panel").get_by_role("alert")).to_have_count(0)
    for field, wrong, right in (("Lowest score", "2", "0"), ("Tracks at most", "0", "10")):
        page.get_by_label(field).fill(wrong)
        button(page, "Run").click()
        said_twice(page, re.compile(f"{field}: expected .*, got {wrong}"))
        page.get_by_label(field).fill(right)
    choose(page, "tevit_r50 (no weights)")
    advice = f"get them with `tevit models --get tevit_r50`, or put tevit_r50.pth into {studio.home / 'checkpoints'}."
    expect(page.locator("#advice")).to_contain_text(advice)
    button(page, "Run").click()
    said_twice(page, re.compile(re.escape(advice)))


def test_two_users_wait_for_each_other_and_see_their_own(visit: Visit, clips: dict[str, Path], tmp_path: Path):
    first, second = visit(0), visit(1)
    run(first, clips["long"], "slow.pth")
    expect(first.get_by_role("progressbar", name="segmenting")).to_be_visible()
    run(second, clips["dog"], "fast.pth")
    expect(second.locator("#panel")).to_contain_text("Waiting: 1 run before yours")
    button(second, "Cancel").click()
    expect(second.get_by_text("Cancelled after")).to_be_visible()
    button(second, "Run").click()
    expect(first.locator("#panel")).to_contain_text(re.compile(r"([7-9]|\d\d+) of 400 frames"))
    button(first, "Cancel").click()
    expect(first.get_by_text("Cancelled after")).to_be_visible()
    expect(second.get_by_text("Done after")).to_be_visible()
    expect(first.locator("#tracks")).to_contain_text("long.mp4")
    expect(second.locator("#tracks")).to_contain_text("dog.mp4")
    assert (overlay_width(first), overlay_width(second)) == (160, 96)
    assert frames_of(download(first, "results.json", tmp_path)) != {14}
    assert frames_of(download(second, "results.json", tmp_path)) == {14}


def test_a_page_that_closes_leaves_the_line(visit: Visit, clips: dict[str, Path]):
    first, second = visit(0), visit(1)
    run(first, clips["long"], "slow.pth")
    expect(first.get_by_role("progressbar", name="segmenting")).to_be_visible()
    run(second, clips["dog"], "fast.pth")
    expect(second.locator("#panel")).to_contain_text("Waiting: 1 run before yours")
    first.close()
    expect(second.get_by_text("Done after")).to_be_visible()


def test_the_keyboard_is_enough(visit: Visit, clips: dict[str, Path]):
    page = visit()
    drop(page, clips["dog"])
    expect(button(page, "Run")).to_be_enabled()
    page.get_by_label("Model").focus()
    for _ in range(10):
        page.keyboard.press("Tab")
        if button(page, "Run").evaluate("element => element === document.activeElement"):
            break
    page.keyboard.press("Enter")
    expect(page.get_by_text("Done after")).to_be_visible()


def test_at_every_width_nothing_sticks_out_and_dark_is_dark(visit: Visit, clips: dict[str, Path]):
    page = visit()
    page.emulate_media(color_scheme="dark")
    page.reload()
    run(page, clips["dog"], "fast.pth")
    expect(page.get_by_text("Done after")).to_be_visible()
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(int(level) for level in re.findall(r"\d+", background)[:3]) < 60
    for width in (1440, 1024, 390):
        page.set_viewport_size({"width": width, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        expect(button(page, "Run")).to_be_in_viewport()
