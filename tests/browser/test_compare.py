"""The tab Compare on the bundled set: panes in step, matches, layouts. Links are followed in test_errors.py."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.browser.conftest import Studio
from tests.browser.servers import checked_page, eventually

pytestmark = pytest.mark.browser
USERS = tuple[BrowserContext, BrowserContext]


def player(page: Page) -> Locator:
    return page.locator("#compare-player").get_by_role("region", name="Video player")


def match_buttons(page: Page) -> Locator:
    return page.locator("#matches .matches button")


def lane(page: Page, group: str, name: str) -> Locator:
    rows = player(page).get_by_role("rowgroup", name=group, exact=True)
    return rows.get_by_role("row", name=name).locator(".lane-name")


def selected_matches(page: Page) -> Locator:
    return page.locator("#matches .matches button[aria-pressed=true]")


def expect_in_address(page: Page, **wanted: str) -> None:
    """The address names the view."""
    for name, value in wanted.items():
        page.wait_for_function("([n, v]) => new URL(location).searchParams.get(n) === v", arg=[name, value])


@pytest.fixture(scope="module")
def page(users: USERS, studio: Studio) -> Iterator[Page]:
    """The tab with its matches, opened by a link that names it."""
    with checked_page(users[0], f"{studio.url}?tab=compare") as page:
        expect(player(page)).to_have_attribute("data-state", "ready", timeout=60_000)
        expect(match_buttons(page).first).to_be_visible(timeout=60_000)
        yield page


# Gradio's page then takes all answers that have come by now in one go, as it does where much else is to be done.
HIDDEN = 'Object.defineProperty(document, "visibilityState", { get: () => "hidden" });'


def test_of_answers_that_come_at_once_none_is_lost(users: USERS, studio: Studio):
    with checked_page(users[0], f"{studio.url}manifest.json") as page:
        page.add_init_script(HIDDEN)
        page.goto(f"{studio.url}?tab=compare")
        expect(match_buttons(page).first).to_be_visible(timeout=60_000)
        expect(page.get_by_label("A", exact=True)).to_have_value("iteration_1000")
        expect(page.get_by_label("B", exact=True)).to_have_value("tevit_demo")


def test_a_match_is_selected_in_every_pane(page: Page):
    expect(player(page).locator("figcaption")).to_have_text(["Ground truth", "iteration_1000", "tevit_demo"])
    right = match_buttons(page).filter(has_text="correct").first
    ids = re.findall(r"(\d+) ([a-z]+)", right.locator(".name").inner_text())
    right.click()
    for group, (id, name) in zip(("Ground truth", "iteration_1000"), ids, strict=True):
        expect(lane(page, group, f"{id} {name}")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#pair figcaption")).to_contain_text("worst at frame")
    worst = page.locator("#pair .strip-row button", has_text="worst")
    frame = worst.get_attribute("data-frame")
    assert frame is not None
    worst.click()
    expect(player(page)).to_have_attribute("data-frame", frame)
    expect_in_address(page, frame=frame, truth=ids[0][0], prediction=ids[1][0], video="1")


def test_a_selection_in_the_player_finds_its_match(page: Page):
    lane(page, "tevit_demo", "1 heart").click()
    expect(selected_matches(page)).to_have_count(1)
    expect(page.locator("#matches")).to_contain_text("Ground truth ↔ tevit_demo")
    expect(selected_matches(page).locator(".name")).to_contain_text("↔ 1 heart")
    expect_in_address(page, side="b")


@pytest.mark.parametrize("width", [1440, 1024])
def test_the_choices_are_on_one_line(page: Page, width: int):
    before, top = page.viewport_size, "it => Math.round(it.getBoundingClientRect().top)"
    page.set_viewport_size({"width": width, "height": 800})

    def check() -> None:
        tops = page.get_by_role("radio").evaluate_all(f"all => all.map({top})")
        assert len(tops) == 4 and len(set(tops)) == 1
        label = page.locator("#compare-bar").get_by_text("Lowest score")
        assert label.evaluate("it => it.getClientRects().length") == 1
        for name in ("A", "B"):
            choice = page.get_by_label(name, exact=True).first
            assert choice.evaluate("it => it.scrollWidth <= it.clientWidth"), "a whole name"

    eventually(page, check)
    if before:
        page.set_viewport_size(before)


def test_layouts_videos_and_cut_off(page: Page):
    page.get_by_role("radio", name="stacked").click()
    expect_in_address(page, layout="stacked")
    expect(player(page).locator(".screens")).to_have_attribute("data-layout", "stacked")
    page.get_by_role("radio", name="swipe").click()
    expect(player(page).locator(".pane")).to_have_count(2)
    expect(player(page).get_by_role("slider", name="Swipe")).to_be_visible()
    page.get_by_role("radio", name="difference").click()
    expect(player(page).locator(".pane")).to_have_count(1)
    for kind in ("1 agreed", "2 missed", "3 invented"):
        expect(lane(page, "difference", kind)).to_be_visible()
    before = player(page).get_attribute("data-tracks")
    page.keyboard.press("n")
    expect_in_address(page, video="2")
    page.get_by_role("button", name="Next video").click()
    expect_in_address(page, video="3")
    page.keyboard.press("p")
    expect_in_address(page, video="2")
    page.get_by_role("button", name="Previous video").click()
    expect_in_address(page, video="1")
    expect(player(page)).to_have_attribute("data-tracks", str(before))
    cutoff = page.locator("#compare-bar").get_by_role("spinbutton")
    cutoff.fill("0.9")
    cutoff.press("Enter")
    expect(player(page)).not_to_have_attribute("data-tracks", str(before))


def test_a_link_that_is_none_says_so(page: Page, studio: Studio):
    page.goto(f"{studio.url}?data=0123456789ab&video=999&layout=swipe")
    expect(page.locator("#compare-notices")).to_contain_text("the data set 0123456789ab, which is not open here")
    expect_in_address(page, video="1")
    expect(player(page)).to_have_attribute("data-state", "ready")
    page.goto(f"{studio.url}?video=999")
    expect(page.get_by_test_id("toast-body")).to_contain_text("has no video 999")
