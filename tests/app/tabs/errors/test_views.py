"""The tab Errors without a browser: what it chooses, its HTML, its files and pictures."""

import json
import re
from dataclasses import replace
from html import unescape
from urllib.parse import parse_qsl

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app.analysis import plots
from app.analysis.comparison import Findings
from app.analysis.filter import Filter, select
from app.analysis.service import Desk
from app.analysis.table import row, table
from app.analysis.thumbnails import Strips
from app.projects.project import open_project
from app.tabs.errors import charts
from app.tabs.errors import views as panels
from app.tabs.errors.routes import routes
from app.tabs.errors.state import ORDERS, Chosen, every, found, from_address, from_query, listed, to_address, to_query
from app.workspace import Bench
from tests.app import sets


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A misses the second square of the first video and takes the first one's class for another; B is right there."""
    folder = tmp_path_factory.mktemp("set")
    a = [(1, 3, 0.9, sets.STILL), (2, 1, 0.8, sets.ASIDE), (2, 2, 0.7, sets.AWAY)]
    b = [(1, 1, 0.9, sets.STILL), (1, 2, 0.6, sets.AWAY), (2, 2, 0.7, sets.STILL)]
    files = [sets.predictions(folder, "a.json", a), sets.predictions(folder, "<b>.json", b)]
    project = open_project(sets.truth(folder), None, files, folder / "project")
    return Bench(project, Desk(folder / "findings", inside=True), Strips())


@pytest.fixture(scope="module")
def findings(bench: Bench) -> Findings:
    now = bench.desk.open(bench.first).wait(60)
    assert now.findings is not None
    return now.findings


@pytest.fixture(scope="module")
def client(bench: Bench, findings: Findings) -> TestClient:
    return TestClient(Starlette(routes=routes(bench)))


NAMES = ("a", "<b>")


def test_a_query_says_all_that_a_file_depends_on():
    chosen = Chosen(NAMES, filter=Filter(types=("missed",), scores=(0.2, 1.0)), order="iou", side=1)
    assert from_query(to_query(chosen.moved(0.6, 0.2, 0.3))) == chosen.moved(0.6, 0.2, 0.3)
    assert chosen.moved(0.3, 0.4, 0).limits.background == 0.3


@pytest.mark.parametrize("query", ["order=size", "side=2", "positive=nan", "filter=1", "filter={", "x" * 30_000])
def test_other_queries_are_refused(query: str):
    with pytest.raises(ValueError):
        from_query(query)


def test_every_order_holds_the_same_rows(findings: Findings):
    chosen = Chosen(NAMES)
    rows = {order: listed(findings, replace(chosen, order=order)).rows.tolist() for order in ORDERS}
    assert len({tuple(sorted(own)) for own in rows.values()}) == 1
    ious = table(findings).iou[rows["iou"]]
    assert (ious[1:] >= ious[:-1]).all()


def test_the_same_choice_is_the_same_object_for_everybody(bench: Bench, findings: Findings):
    chosen = Chosen(NAMES).moved(0.6, 0.1, 0.2)
    assert found(bench.desk, findings, chosen) is found(bench.desk, findings, chosen)
    with pytest.raises(ValueError, match="expected some of the models"):
        found(bench.desk, findings, Chosen(("c",)))


def test_figures_hold_the_exact_numbers_and_names_are_escaped(findings: Findings):
    html = panels.figures(findings)
    for figure in findings.figures:
        for value in figure.values:
            assert f'data-value="{value!r}"' in html
    assert "<b>." not in html and "&lt;b&gt;" in html


def filters(html: str) -> list[dict]:
    return [json.loads(unescape(text)) for text in re.findall(r'data-filter="([^"]*)"', html)]


def test_every_mark_filters_as_many_as_it_says(findings: Findings):
    selection = select(findings)
    html = panels.below(findings, selection, 0)
    cells = re.findall(r'aria-label="(truth [^"]*): (\d+) tracks?"[^>]*data-filter="([^"]*)"', html)
    assert cells
    for _, count, text in cells:
        said = json.loads(unescape(text))
        assert said["model"] == "a"
        assert len(select(findings, Filter(model="a", classes=tuple(said["classes"]))).rows) == int(count)
    for said in filters(panels.outcomes(findings)):
        assert said["outcome"] in ("fixed", "broken", "both wrong", "both right")
    said = re.findall(r'aria-label="([^"]*), B after A: (\d+)"', panels.outcomes(findings))
    assert said == [("fixed by B", "2"), ("broken by B", "1"), ("wrong in both", "1"), ("right in both", "0")]


def test_the_bar_tells_count_chips_and_files(findings: Findings):
    chosen = Chosen(NAMES, filter=Filter(model="a", types=("missed",)))
    selection = listed(findings, chosen)
    html = panels.bar(findings, selection, chosen)
    assert f"{len(selection.rows)} of {selection.every} errors" in html
    assert re.findall(r'aria-label="Remove: ([^"]*)"', html) == ["a", "missed"]
    assert panels.shown_side(findings, replace(chosen, filter=Filter(model="<b>"))) == 1
    right = select(findings, Filter(types=("correct",)))
    assert f"0 of {right.every} errors, {len(right.rows)} tracks without" in panels.count(findings, right)


def test_rows_are_paged_and_nothing_left_is_said(findings: Findings):
    chosen = replace(Chosen(NAMES), shown=2)
    html = panels.rows(findings, listed(findings, chosen), chosen)
    assert html.count("<li ") == 2 and f"More ({select(findings).every - 2} left)" in html
    none = Chosen(NAMES, filter=Filter(text="nowhere"))
    assert "No error is left" in panels.rows(findings, listed(findings, none), none)


def test_plots_of_nothing_are_drawn(findings: Findings):
    html = panels.below(findings, select(findings, Filter(text="nowhere")), 0)
    assert "No ground truth is left" in html


@pytest.mark.parametrize(
    ("low", "high", "ticks"), [(0, 1, [0, 0.25, 0.5, 0.75, 1]), (0, 47, [0, 20, 40]), (0, 0, [0]), (0.5, 0.95, 5)]
)
def test_ticks_are_round(low: float, high: float, ticks: list[float] | int):
    found = charts.Scale(low, high).ticks
    assert found == ticks if isinstance(ticks, list) else len(found) <= ticks


def test_dots_are_a_stop_of_the_keyboard_from_left_to_right(findings: Findings):
    html = charts.points("lengths", "", plots.lengths(findings, select(findings), 0))
    assert "<svg" in html and " data-rove" in html
    for group in re.findall(r'<g class="dots".*?</g>', html):
        places = [float(x) for x in re.findall(r'd="M([\d.]+) ', group)]
        assert places == sorted(places)


def test_the_address_says_what_is_not_as_by_default():
    names = (*NAMES, "c")
    assert to_address("ab", Chosen(NAMES), names) == "data=ab"
    chosen = Chosen(("<b>", "c"), filter=Filter(types=("missed",)), order="iou").moved(0.5, 0.1, 0.3)
    said = dict(parse_qsl(to_address("ab", chosen, names)))
    assert from_address(said["errors"], names) == chosen and "positive" not in said["errors"]
    for wrong in ("order=size", "filter={", "model=gone", "cutoff=nan"):
        assert from_address(wrong, names) == Chosen(NAMES)


def test_every_model_has_its_figures_and_its_difference_to_a(bench: Bench, findings: Findings):
    chosen = Chosen(NAMES[1:]).moved(0.5, 0.1, 0.2)
    both = every(bench.desk, findings, chosen)
    assert [model.name for model in both.models] == [NAMES[1], NAMES[0]]
    assert both.models[0] is found(bench.desk, findings, chosen).models[0], "worked out once"
    third = replace(both, models=(*both.models, both.models[1]))
    table = panels.figures(found(bench.desk, findings, chosen), third).split("</table>")[0]
    assert table.count('<td data-value="') == 5 * 5


def test_a_brushed_range_with_an_open_end_reaches_the_edge(findings: Findings):
    figure = plots.lengths(findings, select(findings), 0)
    html = charts.points("lengths", "", figure, bands=((5, float("inf")), None))
    x, width = re.findall(r'class="brushed" x="([\d.]+)" y="0.0" width="([\d.]+)"', html)[0]
    assert float(x) + float(width) == 1000


def test_pictures_and_files_come_from_their_addresses(client: TestClient, bench: Bench, findings: Findings):
    chosen = Chosen(NAMES, filter=Filter(types=("missed",)))
    html = panels.rows(findings, listed(findings, chosen), chosen)
    addresses = re.findall(r'src="([^"]*)"', html)
    answer = client.get("/" + addresses[0])
    assert answer.headers["content-type"] == "image/jpeg" and answer.content[:2] == b"\xff\xd8"
    base = f"/studio/errors/{bench.first.id}"
    csv = client.get(f"{base}/errors.csv?{to_query(chosen)}")
    assert len(csv.text.splitlines()) == 1 + len(listed(findings, chosen).rows)
    report = client.get(f"{base}/report.html?{to_query(chosen)}")
    assert "attachment" in report.headers["content-disposition"] and "<html" in report.text.lower()


@pytest.mark.parametrize(
    "path", ["other/errors.csv", "{id}/errors.xml", "{id}/errors.csv?filter=1", "{id}/picture/0/1/-/-/0.jpg"]
)
def test_what_is_not_there_is_not_found(client: TestClient, bench: Bench, path: str):
    answer = client.get("/studio/errors/" + path.replace("{id}", bench.first.id))
    assert answer.status_code == 404 and str(bench.first.folder) not in answer.text


def test_a_frame_that_is_not_there_is_not_found(client: TestClient, findings: Findings, bench: Bench):
    model = bench.first.models[0].file.sha256[:12]
    shown = row(findings, int(select(findings).rows[0]))
    base = f"/studio/errors/{bench.first.id}/picture/{model}/{shown.video_id}/-/-"
    assert client.get(f"{base}/0.jpg").status_code == 200
    for frame in ("-1", "99", "x", "\u0661"):
        assert client.get(f"{base}/{frame}.jpg").status_code == 404
