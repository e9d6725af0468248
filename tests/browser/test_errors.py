"""The tab Errors in a real browser on a third of the bundled data set: figure, bar, list, key, Compare; and files."""

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from app.data.project import BUNDLED, Project, open_project
from app.findings.desk import Desk
from app.findings.filter import Filter, select
from app.findings.found import Findings
from app.findings.table import row
from tests.browser.conftest import ROOT
from tevit.cli import main

pytestmark = pytest.mark.browser

A, B = "iteration_1000", "tevit_demo"


@pytest.fixture(scope="module")
def files(home: Path) -> list[Path]:
    """Ground truth and two models' predictions of six videos."""
    truth = json.loads((BUNDLED / "valid.json").read_text())
    kept = {video["id"] for video in truth["videos"][:6]}
    truth["videos"] = [video for video in truth["videos"] if video["id"] in kept]
    truth["annotations"] = [it for it in truth["annotations"] if it["video_id"] in kept]
    results = {name: json.loads((BUNDLED / "predictions" / f"{name}.json").read_text()) for name in (A, B)}
    made = {"valid": truth} | {name: [it for it in its if it["video_id"] in kept] for name, its in results.items()}
    for name, content in made.items():
        (home / f"{name}.json").write_text(json.dumps(content))
    return [home / f"{name}.json" for name in made]


@pytest.fixture(scope="module")
def url(home: Path, files: list[Path]) -> Iterator[str]:
    """A server with the tab alone."""
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.browser.fake_errors", str(files[0]), str(BUNDLED), *map(str, files[1:])],
        cwd=ROOT,
        env=os.environ | {"TEVIT_HOME": str(home), "NO_PROXY": "127.0.0.1"},
        text=True,
        stdout=subprocess.PIPE,
    )
    assert server.stdout is not None
    yield server.stdout.readline().strip()
    server.terminate()
    server.wait(timeout=20)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def page(browser: Browser, url: str) -> Iterator[Page]:
    """The tab, seen from its first moment; it may ask no other machine and fail in no script."""
    wrong: list[str] = []
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.on("request", lambda it: None if it.url.startswith((url, "data:", "blob:")) else wrong.append(it.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("response", lambda it: None if it.ok else wrong.append(f"{it.status} {it.url}"))
    page.goto(url)
    page.get_by_role("tab", name="Errors").click()
    expect(page.get_by_role("progressbar", name="Evaluation")).to_have_attribute("aria-valuenow", re.compile(r"^\d+$"))
    expect(rows(page)).to_have_count(12, timeout=60_000)
    expect(page.locator("[data-chart=lenses]")).to_be_visible()
    yield page
    page.close()
    assert wrong == []


@pytest.fixture(autouse=True)
def unfiltered(page: Page) -> Iterator[None]:
    """Every test begins without a filter, in the tab."""
    yield
    page.get_by_role("tab", name="Errors").click()
    while (chips := page.get_by_role("button", name=re.compile("^Remove: "))).count():
        left = chips.count() - 1
        chips.first.click()
        expect(chips).to_have_count(left)


@pytest.fixture(scope="module")
def project(home: Path, files: list[Path]) -> Project:
    """The same data set."""
    return open_project(files[0], BUNDLED, files[1:], home / "project")


@pytest.fixture(scope="module")
def findings(page: Page, home: Path, project: Project) -> Findings:
    """What the server has worked out, read from where it keeps it: it is there once the page shows it."""
    found = Desk(home / "cache" / "findings", inside=True).open(project).wait(60).findings
    assert found is not None
    return found


def rows(page: Page) -> Locator:
    return page.locator("ol.errors li")


def count(page: Page, words: str | re.Pattern[str]) -> None:
    expect(page.locator(".count strong")).to_have_text(words)


def bar(page: Page, chart: str, name: str) -> Locator:
    return page.locator(f"[data-chart='{chart}']").get_by_role("button", name=name)


def chip(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=f"Remove: {name}", exact=True)


def told(page: Page) -> dict[str, list[str]]:
    """What Compare was told last."""
    expect(page.get_by_role("tab", name="Compare")).to_have_attribute("aria-selected", "true")
    return parse_qs(page.get_by_label("Told").input_value())


def test_the_figures_are_those_of_the_command_line(page: Page, project: Project, capsys: pytest.CaptureFixture[str]):
    for side, model in enumerate(project.models):
        said = tevit(capsys, "errors", project, model.file.path)
        assert said["figures"] == tevit(capsys, "evaluate", project, model.file.path, said["figures"])
        for name in ("AP", "AP50", "AP75", "AR1", "AR10"):
            cell = page.locator(f"[data-figure={name}] td").nth(side)
            expect(cell).to_have_attribute("data-value", repr(said["figures"][name]))
            expect(cell).to_contain_text(f"{100 * said['figures'][name]:.1f}")
        for type, value in said["dap"].items():
            shown = bar(page, "types", f"{type}, {model.name}: ").get_attribute("data-value")
            assert float(shown or "") == pytest.approx(100 * value, abs=1e-3)


def tevit(
    capsys: pytest.CaptureFixture[str], command: str, project: Project, results: str, names: Iterable[str] = ()
) -> dict:
    """What the command line says as JSON, or these figures of it."""
    assert project.truth is not None
    capsys.readouterr()
    assert main([command, project.truth.path, results, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    return {name: said[name] for name in names} or said


def test_from_bar_to_chip_to_list_and_back(page: Page, findings: Findings):
    every = len(select(findings).rows)
    count(page, f"{every} errors")
    bar(page, "types", f"missed, {B}").click()
    left = len(select(findings, Filter(model=B, types=("missed",))).rows)
    count(page, f"{left} of {every} errors")
    expect(bar(page, "types", f"missed, {B}")).to_have_attribute("aria-pressed", "true")
    expect(rows(page).first).to_contain_text("missed")
    bar(page, "classes", f"star, {B}").click()
    place = list(findings.categories.values()).index("star")
    both = len(select(findings, Filter(model=B, types=("missed",), category=place)).rows)
    count(page, f"{both} of {every} errors")
    expect(rows(page)).to_have_count(min(12, both))
    chip(page, "missed").click()
    expect(chip(page, "missed")).to_have_count(0)
    chip(page, "class star").click()
    count(page, f"{len(select(findings, Filter(model=B)).rows)} of {every} errors")
    expect(bar(page, "types", f"missed, {B}")).to_have_attribute("aria-pressed", "false")
    chip(page, B).click()
    count(page, f"{every} errors")


def test_outcomes_lenses_and_cells_filter(page: Page, findings: Findings):
    every = len(select(findings).rows)
    bar(page, "outcomes", "fixed by B").click()
    count(page, f"{len(select(findings, Filter(outcome='fixed')).rows)} of {every} errors")
    chip(page, "fixed by B").click()
    bar(page, "lenses", f"classes, {A}").click()
    expect(chip(page, "classification")).to_be_visible()
    chip(page, A).click()
    expect(chip(page, A)).to_have_count(0)
    page.get_by_role("button", name="Remove: classification").click()
    count(page, f"{every} errors")
    cell = page.locator("[data-chart=confusion]").get_by_role("button", name=re.compile("prediction nothing"))
    words = cell.first.get_attribute("aria-label") or ""
    cell.first.click()
    count(page, f"{words.split(': ')[1].split()[0]} of {every} errors")
    expect(chip(page, A)).to_be_visible()


def test_brushing_filters(page: Page, findings: Findings):
    area = page.locator("[data-chart=lengths] .area")
    area.scroll_into_view_if_needed()
    box = area.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] * 0.98)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] * 0.6, steps=4)
    page.mouse.up()
    chips = page.get_by_role("button", name=re.compile("^Remove: "))
    expect(chips).to_have_count(3)
    expect(page.get_by_role("button", name=re.compile(r"^Remove: IoU 0\.02 to 0\.4"))).to_be_visible()
    count(page, re.compile(r"^\d+ of \d+ errors$"))
    expect(page.locator("[data-chart=lengths] .brushed")).to_have_count(1)


def test_keys_go_through_the_list_and_enter_opens_the_worst_frame(page: Page, findings: Findings):
    page.locator("body").press("j")
    expect(rows(page).nth(0)).to_be_focused()
    page.keyboard.press("j")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("k")
    expect(rows(page).nth(1)).to_be_focused()
    expect(rows(page).nth(1)).to_have_attribute("aria-current", "true")
    shown = row(findings, int(select(findings).rows[1]))
    page.keyboard.press("Enter")
    said = told(page)
    assert said["video"] == [str(shown.video_id)] and said["model"] == [A, B]
    assert said.get("frame", ["0"]) == [str(shown.worst)] and said["side"] == (["b"] if shown.model == B else ["a"])
    assert said.get("truth") == (None if shown.truth_id is None else [str(shown.truth_id)])
    page.get_by_role("tab", name="Errors").click()
    rows(page).nth(2).get_by_role("button", name=re.compile("^frame")).first.click()
    again = told(page)
    assert again["n"] != said["n"]
    page.get_by_role("tab", name="Errors").click()
    for _ in range(12):
        page.keyboard.press("j")
    expect(rows(page)).to_have_count(24)


def test_thresholds_search_and_order(page: Page, findings: Findings):
    from tevit.evaluation.errors import Limits

    every = len(select(findings).rows)
    cutoff = page.get_by_label("number input for Lowest score")
    cutoff.fill("0.3")
    cutoff.press("Enter")
    moved = findings.moved(Limits(), 0.3)
    count(page, f"{len(select(moved).rows)} errors")
    expect(page.locator("[data-figure=AP] td").nth(1)).to_contain_text(f"{100 * moved.figures[0].values[1]:.1f}")
    cutoff.fill("0")
    cutoff.press("Enter")
    count(page, f"{every} errors")
    page.get_by_label("Search").fill("star missed")
    expect(chip(page, "“star missed”")).to_be_visible()
    count(page, f"{len(select(findings, Filter(text='star missed')).rows)} of {every} errors")
    chip(page, "“star missed”").click()
    expect(page.get_by_label("Search")).to_have_value("")
    page.get_by_label("Order").click()
    page.get_by_role("option", name="IoU, lowest first").click()
    expect(rows(page).first.locator(".numbers span").nth(1)).to_have_text("IoU0.00")


def test_files(page: Page, findings: Findings, tmp_path: Path):
    bar(page, "types", f"missed, {B}").click()
    chosen = select(findings, Filter(model=B, types=("missed",)))
    count(page, re.compile(f"^{len(chosen.rows)} of"))
    for link, name in (("CSV", "errors.csv"), ("JSON", "errors.json"), ("Report", "report.html")):
        with page.expect_download() as waiting:
            page.get_by_role("link", name=link, exact=True).click()
        assert waiting.value.suggested_filename == name
        waiting.value.save_as(tmp_path / name)
    table = list(csv.DictReader((tmp_path / "errors.csv").open()))
    listed = json.loads((tmp_path / "errors.json").read_text())
    assert len(table) == len(listed["errors"]) == len(chosen.rows)
    assert {line["type"] for line in table} == {"missed"} and listed["filter"] == {"model": B, "types": ["missed"]}
    assert "<html" in (tmp_path / "report.html").read_text()[:200].lower()
