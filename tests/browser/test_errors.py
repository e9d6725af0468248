"""The tab Errors on the bundled data set: figure, bar, list, key, frame in Compare, and the link of each; and files."""

import csv
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from app.analysis.comparison import Comparison
from app.analysis.filter import Filter, select
from app.analysis.service import EvaluationService
from app.projects.project import Project, bundled
from tests.browser.conftest import Studio
from tests.browser.fake_studio import LATE, without_matches
from tests.browser.servers import address, checked_page, eventually, hold_requests
from tests.browser.test_compare import lane, match_buttons, player, selected_matches
from tevit.cli.main import main
from tevit.evaluation.error_table import ErrorRecord
from tevit.masks import ops

pytestmark = pytest.mark.browser

A, B = "iteration_1000", "tevit_demo"
USERS = tuple[BrowserContext, BrowserContext]


@pytest.fixture(scope="module")
def page(users: USERS, studio: Studio) -> Iterator[Page]:
    """The tab, opened by a link that names it, seen from its first moment."""
    with checked_page(users[0], f"{studio.url}?tab=errors") as page:
        expect(rows(page)).to_have_count(12, timeout=60_000)
        expect(page.locator("[data-chart=lenses]")).to_be_visible()
        yield page


@pytest.fixture(autouse=True)
def clear_filters(page: Page) -> Iterator[None]:
    """Every test begins without a filter, in the tab."""
    yield
    page.get_by_role("tab", name="Errors").click()
    clear = page.get_by_role("button", name="Remove all")
    if clear.is_visible():
        clear.dispatch_event("click")  # hidden by now where the test's last click has removed the only filter
    expect(page.get_by_role("button", name=re.compile("^Remove: "))).to_have_count(0)


@pytest.fixture(scope="module")
def project(studio: Studio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The same data set."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEVIT_HOME", str(tmp_path_factory.mktemp("home")))
        yield bundled()


@pytest.fixture(scope="module")
def comparison(page: Page, studio: Studio, project: Project) -> Comparison:
    """What the server has worked out, read from where it keeps it: it is there once the page shows it."""
    comparison = EvaluationService(studio.home / "cache" / "findings", in_process=True).open(project).wait(60).result
    assert comparison is not None
    return comparison


def rows(page: Page) -> Locator:
    return page.locator("ol.errors li")


def expect_count(page: Page, words: str | re.Pattern[str]) -> None:
    expect(page.locator(".count strong")).to_have_text(words)


def bar(page: Page, chart: str, name: str) -> Locator:
    return page.locator(f"[data-chart='{chart}']").get_by_role("button", name=name)


def chip(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=f"Remove: {name}", exact=True)


# Plotly draws a figure, and a tenth of a second after it has become visible once more; both count from the next frames.
DRAWN = """chart => {
    const place = document.querySelector(`[data-chart='${chart}'] [data-plot]`), plot = place?.querySelector(".drawn");
    if (!plot) return false;
    const drawn = plot._fullLayout && plot.offsetParent && plot.content?.endsWith(place.dataset.plot);
    plot.calm = drawn && !plot._resolveResize ? (plot.calm ?? 0) + 1 : 0;
    return plot.calm > 3;
}"""


def expect_drawn(page: Page, chart: str) -> None:
    """The plot shows its newest figure, and stays as it is."""
    page.evaluate("() => document.querySelectorAll('.drawn').forEach((plot) => (plot.calm = 0))")
    page.wait_for_function(DRAWN, arg=chart)


def query(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(address(page)).query)


def test_the_figures_are_those_of_the_command_line(page: Page, project: Project, capsys: pytest.CaptureFixture[str]):
    for side, model in enumerate(project.models):
        output = command_json(capsys, "errors", project, model.file.path)
        assert output["figures"] == command_json(capsys, "evaluate", project, model.file.path, output["figures"])
        for name in ("AP", "AP50", "AP75", "AR1", "AR10"):
            cell = page.locator(f"[data-figure={name}] td").nth(side)
            expect(cell).to_have_attribute("data-value", repr(output["figures"][name]))
            expect(cell).to_contain_text(f"{100 * output['figures'][name]:.1f}")
        for type, value in output["dap"].items():
            shown = bar(page, "types", f"{type}, {model.name}: ").get_attribute("data-value")
            assert float(shown or "") == pytest.approx(100 * value, abs=1e-3)


def command_json(
    capsys: pytest.CaptureFixture[str], command: str, project: Project, results: str, names: Iterable[str] = ()
) -> dict:
    """What the command line says as JSON, or these figures of it."""
    assert project.truth is not None
    capsys.readouterr()
    assert main([command, project.truth.path, results, "--json"]) == 0
    output = json.loads(capsys.readouterr().out)
    return {name: output[name] for name in names} or output


def test_from_bar_to_chip_to_list_and_back(page: Page, comparison: Comparison):
    every = len(select(comparison).rows)
    expect_count(page, f"{every} errors")
    bar(page, "types", f"missed, {B}").click()
    left = len(select(comparison, Filter(model=B, types=("missed",))).rows)
    expect_count(page, f"{left} of {every} errors")
    expect(bar(page, "types", f"missed, {B}")).to_have_attribute("aria-pressed", "true")
    expect(rows(page).first).to_contain_text("missed")
    bar(page, "classes", f"star, {B}").click()
    place = list(comparison.categories.values()).index("star")
    both = len(select(comparison, Filter(model=B, types=("missed",), category=place)).rows)
    expect_count(page, f"{both} of {every} errors")
    expect(rows(page)).to_have_count(min(12, both))
    chip(page, "missed").click()
    expect(chip(page, "missed")).to_have_count(0)
    chip(page, "class star").click()
    expect_count(page, f"{len(select(comparison, Filter(model=B)).rows)} of {every} errors")
    expect(bar(page, "types", f"missed, {B}")).to_have_attribute("aria-pressed", "false")
    chip(page, B).click()
    expect_count(page, f"{every} errors")


def test_an_answer_that_is_late_does_not_replace_a_newer_one(page: Page, comparison: Comparison):
    """The server of the tests sends the answer to the first press LATE seconds late."""
    bar(page, "classes", f"heart, {B}").click()
    bar(page, "types", f"missed, {B}").click()
    expect(chip(page, "missed")).to_be_visible()
    place = list(comparison.categories.values()).index("heart")
    left = len(select(comparison, Filter(model=B, types=("missed",), category=place)).rows)
    for _ in range(2):
        expect_count(page, re.compile(f"^{left} of"))
        expect(chip(page, "missed")).to_be_visible()
        expect(chip(page, "class heart")).to_be_visible()
        page.wait_for_timeout(1000 * LATE)
    assert "missed" in query(page)["errors"][0]


def test_words_filter_as_bars_do_and_no_bar_is_hidden(page: Page, comparison: Comparison):
    every = len(select(comparison).rows)
    page.locator("[data-chart=types] .label").get_by_text("missed", exact=True).click()
    expect_count(page, f"{len(select(comparison, Filter(types=('missed',))).rows)} of {every} errors")
    chip(page, "missed").click()
    expect_count(page, f"{every} errors")
    classes = page.locator("[data-chart=classes] ol")
    assert classes.locator("li").count() == 8
    assert classes.evaluate("(list) => list.scrollHeight <= list.clientHeight"), "all of them are visible"
    negative, positive = bar(page, "lenses", f"tracking, {B}"), bar(page, "lenses", f"classes, {B}")
    expect(negative).to_contain_text("\N{MINUS SIGN}")
    ends = [box.locator("i").bounding_box() or {} for box in (negative, positive)]
    assert ends[0]["x"] + ends[0]["width"] == pytest.approx(ends[1]["x"], abs=1), "to the left of zero"


def test_outcomes_lenses_and_cells_filter(page: Page, comparison: Comparison):
    every = len(select(comparison).rows)
    bar(page, "outcomes", "fixed by B").click()
    expect_count(page, f"{len(select(comparison, Filter(outcome='fixed')).rows)} of {every} errors")
    chip(page, "fixed by B").click()
    expect(chip(page, "fixed by B")).to_have_count(0)
    bar(page, "lenses", f"classes, {A}").click()
    expect(chip(page, "classification")).to_be_visible()
    chip(page, A).click()
    expect(chip(page, A)).to_have_count(0)
    page.get_by_role("button", name="Remove: classification").click()
    expect_count(page, f"{every} errors")
    cell = page.locator("[data-chart=confusion]").get_by_role("button", name=re.compile("prediction nothing"))
    words = cell.first.get_attribute("aria-label") or ""
    cell.first.click()
    expect_count(page, f"{words.split(': ')[1].split()[0]} of {every} errors")
    expect(chip(page, A)).to_be_visible()


def test_brushing_filters(page: Page, comparison: Comparison):
    area = page.locator("[data-chart=lengths] .nsewdrag")
    area.scroll_into_view_if_needed()
    expect_drawn(page, "lengths")
    box = area.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] * 0.98)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] * 0.6, steps=4)
    page.mouse.up()
    chips = page.get_by_role("button", name=re.compile("^Remove: "))
    expect(chips).to_have_count(3)
    expect(page.get_by_role("button", name=re.compile(r"^Remove: IoU 0\.02 to 0\.4"))).to_be_visible()
    expect_count(page, re.compile(r"^\d+ of \d+ errors$"))
    expect(page.locator("[data-chart=lengths] .shapelayer path")).to_have_count(1)


def test_the_whole_walk_and_its_links_in_another_browser(page: Page, users: USERS, comparison: Comparison):
    """Figure, bar, list by keys, frame in Compare; and both addresses show a colleague the same."""
    expect(page.locator("[data-figure=AP] td")).to_have_count(3)
    bar(page, "types", f"temporal, {B}").click()
    listed = select(comparison, Filter(model=B, types=("temporal",)))
    expect_count(page, f"{len(listed.rows)} of {select(comparison).every} errors")
    page.wait_for_function("() => new URL(location).searchParams.has('errors')")
    link = address(page)
    expect(rows(page).first).to_have_attribute("data-row", comparison.table.record(int(listed.rows[0])).key)
    page.locator("body").press("j")
    expect(rows(page).nth(0)).to_be_focused()
    page.keyboard.press("j")
    page.keyboard.press("k")
    page.keyboard.press("ArrowDown")
    expect(rows(page).nth(1)).to_be_focused()
    expect(rows(page).nth(1)).to_have_attribute("aria-current", "true")
    shown = comparison.table.record(int(listed.rows[1]))
    page.keyboard.press("Enter")
    expect(page.get_by_role("tab", name="Compare")).to_have_attribute("aria-selected", "true")
    expect_in_compare(page, shown)
    page.wait_for_function(
        "([truth]) => new URL(location).searchParams.get('truth') === truth", arg=[str(shown.truth_id)]
    )
    output = query(page)
    assert output["data"] == [comparison.project.id] and output["video"] == [str(shown.video_id)]
    assert output["model"] == [A, B] and output["side"] == ["b"] and output["tab"] == ["compare"]
    with checked_page(users[1], address(page)) as other:
        expect_in_compare(other, shown)
        expect(other.get_by_role("tab", name="Compare")).to_have_attribute("aria-selected", "true")
        other.goto(link)
        expect_count(other, f"{len(listed.rows)} of {select(comparison).every} errors")
        expect(chip(other, "temporal")).to_be_visible()
        expect(bar(other, "types", f"temporal, {B}")).to_have_attribute("aria-pressed", "true")


def expect_in_compare(page: Page, shown: ErrorRecord) -> None:
    """The error's pair is selected, at its worst frame."""
    expect(match_buttons(page).first).to_be_visible(timeout=60_000)
    expect(player(page)).to_have_attribute("data-frame", str(shown.worst_frame))
    expect(lane(page, "Ground truth", f"{shown.truth_id} {shown.truth_class}")).to_have_attribute(
        "aria-pressed", "true"
    )
    expect(selected_matches(page)).to_have_count(1)


def test_errors_are_framed_one_after_another_and_the_list_is_found_again(
    page: Page, users: USERS, comparison: Comparison
):
    """By the keys e and shift-e over several videos, by buttons, after a reload, and back to the row."""
    bar(page, "types", f"temporal, {B}").click()
    expect(chip(page, "temporal")).to_be_visible(timeout=60_000)
    chosen = Filter(model=B, types=("temporal",))
    listed = [comparison.table.record(int(row)) for row in select(comparison, chosen).rows]
    expect_count(page, re.compile(f"^{len(listed)} of"))
    # Three of the first rows, in three videos.
    videos = [record.video_id for record in listed]
    at = next(place for place in range(12) if videos[place] != videos[place + 1] != videos[place + 2])
    page.set_viewport_size({"width": 390, "height": 844})
    expect(rows(page).nth(at)).to_have_attribute("data-row", listed[at].key)
    rows(page).nth(at).get_by_role("button", name="Compare").click()
    expect_framed(page, comparison, listed, at)

    def check() -> None:
        box, buttons = page.locator(".error-steps").bounding_box(), page.locator(".error-steps button")
        assert box is not None and -1 < box["y"] < 340, "bar and picture are on the screen"
        tops = buttons.evaluate_all("all => all.map((it) => it.getBoundingClientRect().top)")
        assert len(set(tops)) == 1, "in one line"

    eventually(page, check)
    page.set_viewport_size({"width": 1440, "height": 900})
    page.keyboard.press("e")
    expect_framed(page, comparison, listed, at + 1)
    page.get_by_role("button", name="Next error").click()
    expect_framed(page, comparison, listed, at + 2)
    page.keyboard.press("z")
    expect(page.get_by_role("button", name="Whole picture")).to_have_attribute("aria-pressed", "true")
    expect(player(page)).to_have_attribute("data-zoom", "1.00")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys of the player")).to_contain_text("next, previous error of the list")
    page.keyboard.press("Escape")
    page.wait_for_function(
        """([key, frame]) => {
            const query = new URL(location).searchParams;
            return query.get("error") === key && (query.get("frame") ?? "0") === frame;
        }""",
        arg=[listed[at + 2].key, str(listed[at + 2].worst_frame)],
    )
    with checked_page(users[1], address(page)) as other:
        expect_framed(other, comparison, listed, at + 2)
        other.keyboard.press("Shift+E")
        expect_framed(other, comparison, listed, at + 1)
        other.get_by_role("button", name="Back to the list").click()
        expect_in_list(other, listed[at + 1].key, at + 1)
        expect(chip(other, "temporal")).to_be_visible()
    page.get_by_role("button", name="Back to the list").click()
    expect_in_list(page, listed[at + 2].key, at + 2)


def test_an_error_stays_framed_when_its_matches_come_late(page: Page, studio: Studio, comparison: Comparison):
    """The player shows it without them, and the keys lead to its neighbours; later the place follows the list."""
    listed = [comparison.table.record(int(row)) for row in select(comparison).rows]
    at = next(place for place, it in enumerate(listed[:12]) if it.type == "temporal" and scale(comparison, it) > 1.5)
    with without_matches(studio.home):
        rows(page).nth(at).get_by_role("button", name="Compare").click()
        for step, key in ((0, ""), (1, "e"), (0, "Shift+E")):
            if key:
                page.keyboard.press(key)
            expect_place(page, at + step, len(listed))
            expect_drawn_framed(page, comparison, listed[at + step])
    expect_framed(page, comparison, listed, at)
    page.get_by_role("tab", name="Errors").click()
    bar(page, "types", f"missed, {A}").click()
    expect(chip(page, "missed")).to_be_visible()
    page.get_by_role("tab", name="Compare").click()
    left = len(select(comparison, Filter(model=A, types=("missed",))).rows)
    expect(page.locator(".error-steps [role=status]")).to_have_text(f"{left} errors")


def scale(comparison: Comparison, error: ErrorRecord) -> float:
    """By how much an error's tracks are enlarged at its worst frame: four times at most, not by less than a quarter."""
    project, ends = comparison.project, []
    predictions = project.predictions(project.model_index(error.model), error.video_id)
    for result, id in ((project.ground_truth(error.video_id), error.truth_id), (predictions, error.prediction_id)):
        own = [track.rles[error.worst_frame or 0] for track in (result.tracks if result else ()) if track.id == id]
        ends += [ops.to_box_xyxy(rle) / np.tile(predictions.size_hw[::-1], 2) for rle in own if rle is not None]
    size = np.max(ends, 0)[2:] - np.min(ends, 0)[:2]
    enlarged = min(4, 0.5 / size.max())
    return 1.0 if enlarged < 1.25 else enlarged


def expect_place(page: Page, place: int, of: int) -> None:
    """Compare names the error's place in the list."""
    expect(page.locator(".error-steps [role=status]")).to_have_text(f"{place + 1} of {of}", timeout=60_000)


def expect_drawn_framed(page: Page, comparison: Comparison, error: ErrorRecord) -> None:
    """The player shows an error's worst frame with its tracks enlarged."""
    expect(player(page)).to_have_attribute("data-frame", str(error.worst_frame), timeout=60_000)
    expect(player(page)).to_have_attribute("data-focus", "true")

    def check() -> None:
        zoom = player(page).get_attribute("data-zoom")
        assert float(zoom or 0) == pytest.approx(scale(comparison, error), rel=0.04)

    eventually(page, check)


def expect_framed(page: Page, comparison: Comparison, listed: list[ErrorRecord], place: int) -> None:
    """The error at a place of the list is shown, its tracks enlarged, and its place is named."""
    expect_place(page, place, len(listed))
    expect_in_compare(page, listed[place])
    expect_drawn_framed(page, comparison, listed[place])


def expect_in_list(page: Page, key: str, place: int) -> None:
    """The list shows the row, which has the focus and is marked."""
    row = rows(page).nth(place)
    expect(row).to_have_attribute("data-row", key)
    expect(row).to_have_attribute("aria-current", "true")
    expect(row).to_be_focused()
    expect(row).to_be_in_viewport()


def test_dots_and_pictures_open_compare_and_more_is_shown(page: Page, comparison: Comparison):
    for _ in range(13):
        page.locator("body").press("j")
    expect(rows(page)).to_have_count(24)
    rows(page).nth(2).get_by_role("button", name=re.compile("^frame")).first.click()
    expect(page.get_by_role("tab", name="Compare")).to_have_attribute("aria-selected", "true")
    page.get_by_role("tab", name="Errors").click()
    expect(page.locator("[data-chart=lengths]")).to_be_visible()
    dots = page.locator("[data-chart=lengths] .marks button")
    expect(dots.first).to_have_attribute("tabindex", "0")
    dots.first.focus()
    expect(dots.first).to_be_focused()
    page.keyboard.press("ArrowRight")
    second = dots.nth(1)
    expect(second).to_be_focused()
    assert "IoU" in (second.get_attribute("aria-label") or "")
    page.keyboard.press("Enter")
    expect(page.get_by_role("tab", name="Compare")).to_have_attribute("aria-selected", "true")
    page.get_by_role("tab", name="Errors").click()
    point = page.locator("[data-chart=lengths] path.point").first
    expect(point).to_be_visible()
    point.scroll_into_view_if_needed()
    expect_drawn(page, "lengths")
    box = point.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=3)
    expect(page.locator("[data-chart=lengths] .hovertext")).to_be_visible()
    page.mouse.down()
    page.mouse.up()
    expect(page.get_by_role("tab", name="Compare")).to_have_attribute("aria-selected", "true")


def test_a_new_list_shows_no_picture_of_the_old_one(page: Page):
    """The rows' <img> elements stay: each is hidden until its new picture has been loaded."""
    pictures = page.locator("#errors-rows img")
    rows(page).first.scroll_into_view_if_needed()
    expect(pictures.first).to_have_js_property("complete", True)
    before = pictures.first.get_attribute("src") or ""
    with hold_requests(page, "**/picture/**"):
        page.get_by_label("Search").fill("star missed")
        expect(pictures.first).not_to_have_attribute("src", before)
        expect(pictures.first).to_be_hidden()
        expect(page.locator("[data-chart=scores]")).to_contain_text("No prediction is left by this filter.")
    expect(pictures.first).to_be_visible()


def test_thresholds_search_and_order(page: Page, comparison: Comparison):
    from tevit.evaluation.errors import Limits

    every = len(select(comparison).rows)
    cutoff = page.locator("#errors-controls").get_by_label("number input for Lowest score")
    cutoff.fill("0.3")
    cutoff.press("Enter")
    moved = comparison.with_limits(Limits(), 0.3)
    expect_count(page, f"{len(select(moved).rows)} errors")
    expect(page.locator("[data-figure=AP] td").nth(1)).to_contain_text(f"{100 * moved.figures[0].values[1]:.1f}")
    cutoff.fill("0")
    cutoff.press("Enter")
    expect_count(page, f"{every} errors")
    search = page.get_by_label("Search")
    search.fill("star missed")
    expect(chip(page, "“star missed”")).to_be_visible()
    expect_count(page, f"{len(select(comparison, Filter(text='star missed')).rows)} of {every} errors")
    search.fill("no such words")
    expect_count(page, f"0 of {every} errors")
    for name in ("CSV", "JSON"):
        expect(page.get_by_role("link", name=name, exact=True)).to_be_disabled()
    chip(page, "“no such words”").click()
    expect(search).to_have_value("")
    page.locator("#errors-order").get_by_label("Order").click()
    page.get_by_role("option", name="IoU, lowest first").click()
    expect(rows(page).first.locator(".numbers span").nth(1)).to_have_text("IoU0.00")


def test_files(page: Page, comparison: Comparison, tmp_path: Path):
    bar(page, "types", f"missed, {B}").click()
    selected_matches = select(comparison, Filter(model=B, types=("missed",)))
    expect_count(page, re.compile(f"^{len(selected_matches.rows)} of"))
    for link, name in (("CSV", "errors.csv"), ("JSON", "errors.json"), ("Report", "report.html")):
        with page.expect_download() as waiting:
            page.get_by_role("link", name=link, exact=True).click()
        assert waiting.value.suggested_filename == f"shapes-valid-{name}"
        waiting.value.save_as(tmp_path / name)
    table = list(csv.DictReader((tmp_path / "errors.csv").open()))
    listed = json.loads((tmp_path / "errors.json").read_text())
    assert len(table) == len(listed["errors"]) == len(selected_matches.rows)
    assert {line["type"] for line in table} == {"missed"} and listed["filter"] == {"model": B, "types": ["missed"]}
    assert "<html" in (tmp_path / "report.html").read_text()[:200].lower()


@pytest.mark.parametrize("place", [0, 7, 11, 30])
def test_the_way_back_leads_to_the_row_each_time(page: Page, comparison: Comparison, place: int):
    """To one of the first rows, which stay as they are meanwhile, and to one that is loaded later."""
    every = len(select(comparison).rows)
    expect_count(page, f"{every} errors")
    while (count := rows(page).count()) <= place:
        page.get_by_role("button", name=re.compile("^More ")).click()
        expect(rows(page)).to_have_count(count + 12)
    row = rows(page).nth(place)
    key = row.get_attribute("data-row") or ""
    for _ in range(3):
        row.get_by_role("button", name="Compare").click()
        expect_place(page, place, every)
        page.get_by_role("button", name="Back to the list").click()
        expect_in_list(page, key, place)
