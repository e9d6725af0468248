"""The tab Segment with a real server and browser, and a fake model."""

import csv
import json
import re
import time
import zipfile
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import FloatRect, Locator, Page, expect

from tests.app.fakes import make_video
from tests.browser.conftest import OpenPage, Studio, expect_ready
from tests.browser.fake_studio import HELD_CLIP, HELD_PROXY, HELD_RUN
from tests.browser.servers import address, eventually, hold_requests
from tevit.video.reader import open_video

pytestmark = pytest.mark.browser

CANCEL_SECONDS = 3.0
TOKEN = """() => {
  let at = document.querySelector('.player-host');
  while (!at.player) at = at.parentElement;
  return at.player.view?.token;
}"""
TEXT_BOX = """(element) => {
  const range = document.createRange();
  range.selectNodeContents(element);
  return range.getBoundingClientRect().toJSON();
}"""
GREY = """() => {
  const canvas = document.querySelector('.player canvas');
  return canvas.getContext('2d').getImageData(canvas.width * 0.75, canvas.height / 2, 1, 1).data[1];
}"""
FILES = ("overlay.mp4", "results.json", "masks.zip", "tracks.csv", "submission.zip")


def button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=name, exact=True)


def player(page: Page) -> Locator:
    return page.get_by_role("region", name="Video player")


def expect_tracks(page: Page, count: int) -> None:
    """That number is drawn and listed."""
    expect(player(page)).to_have_attribute("data-tracks", str(count))
    expect(page.locator(".tracks li")).to_have_count(count)


def lane(page: Page, name: str) -> Locator:
    return page.get_by_role("row", name=name).locator(".lane-name")


def row(page: Page, name: str) -> Locator:
    return page.locator(".tracks button", has_text=name)


def replace_video(page: Page, clip: Path) -> None:
    """Replace the video, possibly by the same clip, and wait until the player shows the new view."""
    before = page.evaluate(TOKEN)
    upload(page, clip)
    page.wait_for_function(f"before => ({TOKEN})() !== before", arg=before)
    expect(page.locator(".player canvas").first).to_have_attribute("aria-label", clip.name)
    expect(page.locator(".tracks li")).to_have_count(0)
    expect(player(page)).to_have_attribute("data-state", "ready")


def upload(page: Page, file: Path) -> None:
    if player(page).get_attribute("data-state") != "empty":
        expect(button(page, "Run")).to_be_enabled()
    clear = page.locator("#video").get_by_role("button", name="Clear", exact=True)
    if clear.is_visible():
        clear.click()
        expect(player(page)).to_have_attribute("data-state", "empty")
    page.locator("input[type=file]").first.set_input_files(file)
    expect(page.locator("#video")).to_contain_text(file.stem)


def choose(page: Page, model: str) -> None:
    page.get_by_role("combobox", name="Model").click()
    page.get_by_role("option", name=model).click()


def run(page: Page, clip: Path, model: str) -> None:
    replace_video(page, clip)
    choose(page, model)
    expect(button(page, "Run")).to_be_enabled()
    button(page, "Run").click()


def expect_done(page: Page) -> None:
    """The run is over, and the page has its last update, which Run is enabled with."""
    expect(page.locator("#panel")).to_contain_text("Done after")
    expect(button(page, "Run")).to_be_enabled()


def download(page: Page, name: str, folder: Path) -> Path:
    expect(button(page, name)).to_be_enabled()
    with page.expect_download() as waiting:
        button(page, name).click()
    assert waiting.value.suggested_filename.endswith(f"-{name}")
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


def frames_of(results: Path) -> set[int]:
    return {len(item["segmentations"]) for item in json.loads(results.read_text())}


def expect_error(page: Page, sentence: str | re.Pattern[str]) -> None:
    """In the panel, where it stays, and in a toast, which is closed."""
    expect(page.locator("#panel").get_by_role("alert")).to_have_text(sentence)
    toast = page.get_by_test_id("toast-body").filter(has_text=sentence)
    expect(toast).to_be_visible()
    toast.get_by_test_id("toast-close").click()
    expect(toast).to_have_count(0)


def test_first_page_has_a_sample_clip_and_fits_every_width(new_page: OpenPage):
    page = new_page(dark=True)
    expect(page).to_have_title("TeViT Studio")
    expect(page.get_by_role("tab", name="Segment")).to_be_visible()
    expect(page.get_by_label("Sample clips")).to_have_value("crossing")
    expect(player(page)).to_have_attribute("data-frame", "0")
    expect(page.locator("#estimate")).to_contain_text("GB")
    for name in ("Cancel", *FILES):
        expect(button(page, name)).to_be_disabled()
    page.get_by_label("Sample clips").click()
    page.get_by_role("option", name="crowd").click()
    expect(page.locator("#facts")).to_contain_text("31 frames")
    button(page, "Run").click()
    expect_done(page)
    expect_tracks(page, 2)
    assert background_level(page) < 60
    for width in (1440, 1024, 390):
        page.set_viewport_size({"width": width, "height": 844})
        eventually(page, partial(check_layout, page, width))
        expect(button(page, "Play")).to_be_in_viewport()
    check_picture_stays(page)
    button(page, "Light or dark").click()

    def check_light() -> None:
        assert background_level(page) > 200

    eventually(page, check_light)


def box_of(page: Page, selector: str) -> FloatRect:
    """Position and size of the first element of a CSS selector."""
    box = page.locator(selector).first.bounding_box()
    assert box is not None, selector
    return box


def check_layout(page: Page, width: int) -> None:
    """Nothing is wider than the page, the controls are in one row, on a phone in two, the cursor is below the ruler's
    numbers, and no text is cut or ragged."""
    rows = 2 if width == 390 else 1
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert box_of(page, "#player .controls")["height"] < 42 * rows + 8
    assert box_of(page, "#player .cursor")["y"] >= box_of(page, "#player .ruler")["y"] + 13
    text, upload = page.get_by_test_id("upload-text").evaluate(TEXT_BOX), box_of(page, "#video")
    assert upload["y"] < text["top"] and text["bottom"] < upload["y"] + upload["height"]
    right = "all => all.map((it) => Math.round(it.getBoundingClientRect().right))"
    numbers = page.locator(".tracks .score, .tracks .area")
    assert (
        len(set(numbers.evaluate_all(right))) == 1
        and numbers.first.evaluate("it => getComputedStyle(it).textAlign") == "right"
    )
    assert page.locator("#model input").evaluate("it => getComputedStyle(it).textOverflow") == "ellipsis"
    assert page.locator("#facts dd").evaluate_all("all => all.every((it) => it.clientHeight < 24)"), "on one line each"


def check_picture_stays(page: Page) -> None:
    """On a phone the picture alone stays on the screen when the page is scrolled."""
    button(page, "submission.zip").scroll_into_view_if_needed()
    expect(player(page)).to_have_attribute("data-docked", "")

    def check() -> None:
        assert box_of(page, "#player .screens")["y"] == 0 and box_of(page, "#player .screens")["height"] < 300

    eventually(page, check)
    expect(button(page, "Play")).not_to_be_in_viewport()
    page.evaluate("scrollTo(0, 0)")
    expect(player(page)).not_to_have_attribute("data-docked", "")
    expect(button(page, "Play")).to_be_in_viewport()


def background_level(page: Page) -> int:
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return max(int(level) for level in re.findall(r"\d+", background)[:3])


def test_low_scores_are_hidden_at_first_but_are_in_the_files(
    shared_page: OpenPage, clips: dict[str, Path], tmp_path: Path
):
    """The first of the tests that share a page: nobody has moved the threshold."""
    page = shared_page()
    run(page, clips["street"], "faint.pth")
    expect_done(page)
    expect_tracks(page, 1)
    score = page.locator("#choices").get_by_role("spinbutton").first
    expect(score).to_have_value("0.3")
    expect(page.locator("#tracks")).to_contain_text("1 track of a lower score is hidden")
    assert len(json.loads(download(page, "results.json", tmp_path).read_text())) == 2
    score.fill("0.1")
    score.press("Enter")
    expect_tracks(page, 2)
    score.fill("0.2")
    score.press("Enter")
    expect_tracks(page, 1)
    assert len(json.loads(download(page, "results.json", tmp_path).read_text())) == 1, "once it was moved"
    score.fill("0")
    score.press("Enter")
    expect_tracks(page, 2)


def test_dropped_video_to_tracks_and_files(
    shared_page: OpenPage, clips: dict[str, Path], studio: Studio, tmp_path: Path
):
    """The run waits at the twelfth frame while its progress is read."""
    held = studio.home / HELD_RUN
    page = shared_page()
    replace_video(page, clips["dog"])  # a shorter one first
    expect(page.get_by_label("Last frame")).to_have_value("13")
    replace_video(page, clips["street"])
    for fact in ("18 frames", "160 x 96", "10 frames/s"):
        expect(page.locator("#facts")).to_contain_text(fact)
    expect(page.get_by_label("Last frame")).to_have_value("17")
    choose(page, "slow.pth")
    held.write_text("12")
    button(page, "Run").click()
    bar = page.get_by_role("progressbar", name="segmenting")
    expect(bar).to_have_attribute("aria-valuemax", "18")
    expect(page.locator("#panel")).to_contain_text(re.compile(r"\d+ s left.*\d+ of 18 frames, [\d.]+ frames/s"))
    expect(button(page, "Run")).to_be_disabled()
    held.unlink()
    expect_done(page)
    expect_tracks(page, 2)
    expect(page.locator(".tracks li").first).to_contain_text("1 dog0.9318 frames, 0 to 17")
    expect(page.locator("#estimate")).to_contain_text("about")
    overlay = download(page, "overlay.mp4", tmp_path)
    assert overlay.name == "street-overlay.mp4" and open_video(overlay).length == 18
    assert frames_of(download(page, "results.json", tmp_path)) == {18}
    table = list(csv.DictReader(download(page, "tracks.csv", tmp_path).open()))
    assert len(table) == 18 + 10, "the second is seen in every other stretch of five frames"
    names = zipfile.ZipFile(download(page, "masks.zip", tmp_path)).namelist()
    assert len(names) == 28 and "001-dog/00017.png" in names
    assert zipfile.ZipFile(download(page, "submission.zip", tmp_path)).namelist() == ["results.json"]


def test_a_removed_video_leaves_the_page(shared_page: OpenPage, clips: dict[str, Path]):
    page = shared_page()
    run(page, clips["dog"], "fast.pth")
    expect_done(page)
    page.locator("#video").get_by_role("button", name="Clear", exact=True).click()
    expect(player(page)).to_have_attribute("data-state", "empty")
    expect(page.locator("#facts")).not_to_contain_text("14 frames")
    expect(page.locator(".tracks li")).to_have_count(0)
    for name in ("Run", *FILES):
        expect(button(page, name)).to_be_disabled()
    page.get_by_label("Sample clips").click()
    page.get_by_role("option", name="crossing").click()
    expect(player(page)).to_have_attribute("data-state", "ready")
    expect(button(page, "Run")).to_be_enabled()


def test_table_plots_and_player_share_the_selection(shared_page: OpenPage, clips: dict[str, Path]):
    page = shared_page()
    run(page, clips["street"], "fast.pth")
    expect_done(page)
    expect_tracks(page, 2)
    row(page, "2 person").click()
    expect(lane(page, "2 person")).to_have_attribute("aria-pressed", "true")
    expect(row(page, "2 person")).to_have_attribute("aria-pressed", "true")
    lane(page, "1 dog").click()
    expect(row(page, "1 dog")).to_have_attribute("aria-pressed", "true")
    expect(row(page, "2 person")).to_have_attribute("aria-pressed", "false")
    plot = page.get_by_role("img", name="Area over time")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    assert box is not None
    plot.click(position={"x": box["width"] * 12.5 / 18, "y": 10})
    expect(player(page)).to_have_attribute("data-frame", "12")


def test_range_of_frames(shared_page: OpenPage, clips: dict[str, Path], tmp_path: Path):
    page = shared_page()
    replace_video(page, clips["street"])
    expect(page.locator(".player-time")).to_have_text(re.compile("frame 0 / 17"))
    select_range(page, 4.5 / 18, 10.5 / 18)
    expect(page.get_by_label("First frame")).to_have_value("4")
    expect(page.get_by_label("Last frame")).to_have_value("10")
    choose(page, "fast.pth")
    button(page, "Run").click()
    expect_done(page)
    expect_tracks(page, 2)
    expect(page.locator(".player-time")).to_have_text(re.compile("frame 4 / 10"))
    assert frames_of(download(page, "results.json", tmp_path)) == {7}
    assert open_video(download(page, "overlay.mp4", tmp_path)).length == 7
    select_range(page, 1.5 / 7, 3.5 / 7)
    expect(page.get_by_label("Last frame")).to_have_value("7")
    page.wait_for_function("() => new URL(location).searchParams.get('shown')?.includes('range=1-3')")
    page.reload()
    expect_tracks(page, 2)
    expect(player(page)).to_have_attribute("data-range", "1 3")
    expect(page.get_by_label("First frame")).to_have_value("5")
    expect(page.get_by_label("Last frame")).to_have_value("7")
    expect(page.locator("#facts")).to_contain_text("18 frames")


def select_range(page: Page, first: float, last: float) -> None:
    """Drag over a part of the timeline, of its width."""
    box = page.locator(".player .ruler").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * first, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * last, box["y"] + 10, steps=3)
    page.mouse.up()


def test_partial_tracks_are_shown_and_cancel_keeps_them(shared_page: OpenPage, clips: dict[str, Path], tmp_path: Path):
    page = shared_page()
    run(page, clips["long"], "slow.pth")
    expect_tracks(page, 2)
    expect(page.locator("#panel")).to_contain_text("of 400 frames")
    begin = time.monotonic()
    button(page, "Cancel").click()
    expect(page.locator("#panel")).to_contain_text("Cancelled after")
    assert time.monotonic() - begin < CANCEL_SECONDS
    match = re.search(r"The first (\d+) of 400 frames are kept", page.locator("#panel").inner_text())
    assert match
    assert frames_of(download(page, "results.json", tmp_path)) == {int(match[1])}
    button(page, "Run").click()
    progress = re.compile(r"(\d+) of 400 frames(?! are kept)")
    expect(page.locator("#panel")).to_contain_text(progress)
    running = progress.search(page.locator("#panel").inner_text())
    assert running and int(running[1]) >= int(match[1]), "it resumes after the kept frames"
    button(page, "Cancel").click()
    expect(page.locator("#panel")).to_contain_text("Cancelled after")


def test_run_that_starts_before_the_proxy_is_ready_is_shown(shared_page: OpenPage, studio: Studio, tmp_path: Path):
    clip = make_video(tmp_path / HELD_CLIP, frames=60)
    held = studio.home / HELD_PROXY
    held.touch()
    page = shared_page()
    choose(page, "fast.pth")
    upload(page, clip)
    expect(page.locator("#panel")).to_contain_text("of 60 frames")
    page.wait_for_function("() => !new URL(location).searchParams.has('run')")  # the one before is left
    button(page, "Run").click()
    page.wait_for_function("() => new URL(location).searchParams.has('run')")
    expect(page.locator("#panel")).to_contain_text("of 60 frames")
    held.unlink()
    expect_tracks(page, 2)
    expect_done(page)


def test_the_first_frame_stays_until_the_prepared_video_is_drawn(new_page: OpenPage, studio: Studio, tmp_path: Path):
    """The browser receives the prepared video late: until then the picture is that of before, not black."""
    clip = make_video(tmp_path / HELD_CLIP, frames=20, grey=140)
    held = studio.home / HELD_PROXY
    page = new_page()
    held.touch()
    upload(page, clip)
    expect(player(page)).to_have_attribute("data-state", "ready")
    expect(page.locator("#panel")).to_contain_text("of 20 frames")
    page.wait_for_function(f"Math.abs(({GREY})() - 140) <= 3")
    poster = page.evaluate(TOKEN)
    with hold_requests(page, "**/video/*") as requests:
        held.unlink()
        page.wait_for_function(f"poster => ({TOKEN})() !== poster", arg=poster)
        page.wait_for_function("document.querySelector('.player').dataset.state === 'loading'")
        assert abs(page.evaluate(GREY) - 140) <= 3
        requests.wait_for_one()
    expect(player(page)).to_have_attribute("data-state", "ready")
    assert abs(page.evaluate(GREY) - 140) <= 3


def test_error_is_shown_and_keeps_the_result(shared_page: OpenPage, clips: dict[str, Path], tmp_path: Path):
    page = shared_page()
    run(page, clips["dog"], "fast.pth")
    expect_done(page)
    for model, sentence in (
        ("broken.pth", "broken.pth: not a whole PyTorch checkpoint (the file is empty)"),
        ("crashing.pth", "dog.mp4: unexpected RuntimeError; the server's log says where."),
    ):
        choose(page, model)
        button(page, "Run").click()
        expect_error(page, sentence)
    expect_tracks(page, 2)
    choose(page, "fast.pth")
    button(page, "Run").click()
    expect_done(page)
    assert frames_of(download(page, "results.json", tmp_path)) == {14}


def test_invalid_settings_are_refused(shared_page: OpenPage, clips: dict[str, Path], studio: Studio):
    page = shared_page()
    upload(page, clips["words"])
    expect_error(page, re.compile(r"words\.mp4: not a .*video"))
    expect(player(page)).to_have_attribute("data-state", "empty")
    expect(button(page, "Run")).to_be_disabled()
    expect(page.locator("#facts")).to_contain_text("Any mp4")
    replace_video(page, clips["dog"])
    expect(page.locator("#facts")).to_contain_text("14 frames")
    expect(page.locator("#panel").get_by_role("alert")).to_have_count(0)
    page.get_by_label("Tracks to compute").fill("0")
    button(page, "Run").click()
    expect_error(page, re.compile("Tracks to compute: expected .*, got 0"))
    page.get_by_label("Tracks to compute").fill("20")
    page.get_by_label("First frame").fill("12")
    page.get_by_label("Last frame").fill("5")
    button(page, "Run").click()
    expect_error(page, re.compile("Frames: expected the first one before the last, got 12 to 5"))
    choose(page, "tevit_r50 (no weights)")
    advice = f"get them with “tevit models --get tevit_r50”, put tevit_r50.pth into {studio.home / 'checkpoints'}, or"
    expect(page.locator("#advice")).to_contain_text(advice)
    expect(page.get_by_text("are not on this machine")).to_have_count(1)
    expect(button(page, "Get tevit_r50, 691 MB")).to_be_visible()
    expect(button(page, "Run")).to_be_hidden()
    page.get_by_label("Last frame").fill("13")
    choose(page, "fast.pth")
    expect(button(page, "Run")).to_be_enabled()


def test_keyboard(shared_page: OpenPage, clips: dict[str, Path]):
    page = shared_page()
    replace_video(page, clips["dog"])
    choose(page, "fast.pth")
    expect(page.locator("#facts")).to_contain_text("14 frames")
    expect(button(page, "Run")).to_be_enabled()
    page.get_by_label("Tracks to compute").focus()
    for _ in range(10):
        page.keyboard.press("Tab")
        if button(page, "Run").evaluate("element => element === document.activeElement"):
            break
    page.keyboard.press("Enter")
    expect_done(page)
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("End")
    expect(player(page)).to_have_attribute("data-frame", "13")


def test_filters_need_no_other_run(shared_page: OpenPage, clips: dict[str, Path], tmp_path: Path):
    page = shared_page()
    run(page, clips["street"], "fast.pth")
    expect_done(page)
    expect_tracks(page, 2)
    for label, strict, loose in (("Max tracks", "1", "10"), ("Min frames", "11", "1")):
        page.get_by_label(label).fill(strict)
        expect_tracks(page, 1)
        expect(page.locator("#tracks")).to_contain_text("1 of 2 tracks in 18 frames")
        page.get_by_label(label).fill(loose)
        expect_tracks(page, 2)
    score = page.locator("#choices").get_by_role("spinbutton").first
    score.fill("0.5")
    score.press("Enter")
    expect_tracks(page, 1)
    assert len(json.loads(download(page, "results.json", tmp_path).read_text())) == 1
    page.get_by_label("Classes").click()
    expect(page.get_by_role("listbox").get_by_role("option")).to_have_text([re.compile(r"dog \(1\)")])
    page.get_by_label("Classes").press("Escape")
    score.fill("1")
    score.press("Enter")
    for name in FILES:
        expect(button(page, name)).to_be_disabled()
    score.fill("0")
    score.press("Enter")
    expect(button(page, "tracks.csv")).to_be_enabled()
    page.get_by_label("Classes").click()
    page.get_by_role("option", name="person (1)").click()
    expect_tracks(page, 1)
    expect(row(page, "2 person")).to_be_visible()
    page.wait_for_function("() => new URL(location).searchParams.get('shown')?.includes('classes=1')")
    page.reload()
    expect_tracks(page, 1)
    expect(row(page, "2 person")).to_be_visible()
    expect(score).to_have_value("0")
    expect(page.locator("#choices")).to_contain_text("person (1)")


def test_reloaded_page_finds_its_run_and_a_link_its_result(shared_page: OpenPage, clips: dict[str, Path]):
    page = shared_page()
    run(page, clips["long"], "slow.pth")
    expect(page.get_by_role("progressbar", name="segmenting")).to_be_visible()
    page.reload()
    expect(page.get_by_role("progressbar", name="segmenting")).to_be_visible()
    expect(button(page, "Run")).to_be_disabled()
    expect_tracks(page, 2)
    button(page, "Cancel").click()
    expect(page.locator("#panel")).to_contain_text("Cancelled after")
    expect(button(page, "Run")).to_be_enabled()
    other = shared_page(1)
    other.goto(address(page))
    expect_tracks(other, 2)
    other.goto(address(page)[:-4] + "0000")
    expect(other.locator("#panel")).to_contain_text("There is no such stored result, or not any more.")
    expect_ready(other)


def test_two_users_are_queued_and_see_their_own_results(shared_page: OpenPage, clips: dict[str, Path], tmp_path: Path):
    first, second = shared_page(0), shared_page(1)
    run(first, clips["long"], "slow.pth")
    expect(first.get_by_role("progressbar", name="segmenting")).to_be_visible()
    run(second, clips["dog"], "fast.pth")
    expect(second.locator("#panel")).to_contain_text("Waiting: 1 run before yours")
    button(second, "Cancel").click()
    expect(second.locator("#panel")).to_contain_text("Cancelled after")
    expect(button(second, "Run")).to_be_enabled()
    button(second, "Run").click()
    expect_tracks(first, 2)
    button(first, "Cancel").click()
    expect(first.locator("#panel")).to_contain_text("Cancelled after")
    expect_done(second)
    expect(second.locator("#tracks")).to_contain_text("2 tracks in 14 frames")
    expect(second.locator(".player canvas").first).to_have_attribute("aria-label", "dog.mp4")
    expect(first.locator(".player canvas").first).to_have_attribute("aria-label", "long.mp4")
    assert frames_of(download(first, "results.json", tmp_path)) != {14}
    assert frames_of(download(second, "results.json", tmp_path)) == {14}


def test_closed_page_leaves_the_queue(shared_page: OpenPage, clips: dict[str, Path]):
    first, second = shared_page(0), shared_page(1)
    run(first, clips["long"], "slow.pth")
    expect(first.get_by_role("progressbar", name="segmenting")).to_be_visible()
    run(second, clips["dog"], "fast.pth")
    expect(second.locator("#panel")).to_contain_text("Waiting: 1 run before yours")
    first.close()
    expect_done(second)
