"""The tab Compare on the bundled set: panes in step, matches, layouts, and links that show the same view."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

pytestmark = pytest.mark.browser
Visit = Callable[..., Page]


def player(page: Page) -> Locator:
    return page.locator("#compare-player").get_by_role("region", name="Video player")


def matches(page: Page) -> Locator:
    return page.locator("#matches .matches button")


def compare(visit: Visit, user: int = 0) -> Page:
    page = visit(user)
    page.get_by_role("tab", name="Compare").click()
    expect(player(page)).to_have_attribute("data-state", "ready")
    expect(matches(page).first).to_be_visible(timeout=60_000)
    return page


def lane(page: Page, group: str, name: str) -> Locator:
    rows = player(page).get_by_role("rowgroup", name=group, exact=True)
    return rows.get_by_role("row", name=name).locator(".lane-name")


def chosen(page: Page) -> Locator:
    return page.locator("#matches .matches button[aria-pressed=true]")


def says(page: Page, **wanted: str) -> None:
    """The address names the view."""
    for name, value in wanted.items():
        page.wait_for_function("([n, v]) => new URL(location).searchParams.get(n) === v", arg=[name, value])


def test_a_match_is_selected_in_every_pane_and_its_link_shows_the_same(visit: Visit):
    page = compare(visit)
    expect(player(page).locator("figcaption")).to_have_text(["Ground truth", "iteration_1000", "tevit_demo"])
    right = matches(page).filter(has_text="correct").first
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
    page.get_by_role("radio", name="stacked").click()
    says(page, frame=frame, truth=ids[0][0], prediction=ids[1][0], layout="stacked", video="1")
    expect(chosen(page)).to_have_count(1)
    other = visit(1, page.url)
    expect(player(other)).to_have_attribute("data-frame", frame)
    expect(player(other).locator(".screens")).to_have_attribute("data-layout", "stacked")
    expect(lane(other, "Ground truth", f"{ids[0][0]} {ids[0][1]}")).to_have_attribute("aria-pressed", "true")
    expect(chosen(other)).to_have_count(1)


def test_layouts_videos_and_cut_off(visit: Visit):
    page = compare(visit)
    page.get_by_role("radio", name="swipe").click()
    expect(player(page).locator(".pane")).to_have_count(2)
    expect(player(page).get_by_role("slider", name="Swipe")).to_be_visible()
    page.get_by_role("radio", name="difference").click()
    expect(player(page).locator(".pane")).to_have_count(1)
    for kind in ("1 agreed", "2 missed", "3 invented"):
        expect(lane(page, "difference", kind)).to_be_visible()
    before = player(page).get_attribute("data-tracks")
    page.get_by_role("button", name="Next video").click()
    says(page, video="2")
    page.keyboard.press("n")
    says(page, video="3")
    page.keyboard.press("p")
    says(page, video="2")
    page.get_by_role("button", name="Previous video").click()
    says(page, video="1")
    expect(player(page)).to_have_attribute("data-tracks", str(before))
    cutoff = page.locator("#compare-bar").get_by_role("spinbutton")
    cutoff.fill("0.9")
    cutoff.press("Enter")
    expect(player(page)).not_to_have_attribute("data-tracks", str(before))


def test_a_selection_in_the_player_finds_its_match(visit: Visit):
    page = compare(visit)
    lane(page, "tevit_demo", "1 heart").click()
    expect(chosen(page)).to_have_count(1)
    expect(page.locator("#matches")).to_contain_text("Ground truth ↔ tevit_demo")
    expect(chosen(page).locator(".name")).to_contain_text("↔ 1 heart")
    says(page, side="b")


def test_a_link_that_is_none_says_so(visit: Visit):
    page = visit()
    page.goto(page.url.split("?")[0] + "?video=999")
    expect(page.get_by_test_id("toast-body")).to_contain_text("has no video 999")
    page.goto(page.url.split("?")[0] + "?video=1&layout=diagonal")
    page.get_by_role("tab", name="Compare").click()
    expect(player(page)).to_have_attribute("data-state", "ready")
