"""The tab Errors without a browser: its settings, HTML, files and thumbnails."""

import json
import re
from dataclasses import replace
from html import unescape
from urllib.parse import parse_qsl

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app.analysis.comparison import Comparison
from app.analysis.filter import (
    ORDERS,
    Filter,
    ViewSettings,
    all_models,
    from_address,
    from_query,
    select,
    selected_models,
    sorted_selection,
    to_address,
    to_query,
)
from app.analysis.service import EvaluationService, ThumbnailCache
from app.projects.project import open_project
from app.tabs.errors import charts, views
from app.tabs.errors.views import routes
from app.workspace import Workspace
from tests.app import datasets


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A misses the second square of the first video and takes the first one's class for another; B is right there."""
    folder = tmp_path_factory.mktemp("set")
    a = [(1, 3, 0.9, datasets.LEFT), (2, 1, 0.8, datasets.SHIFTED), (2, 2, 0.7, datasets.RIGHT)]
    b = [(1, 1, 0.9, datasets.LEFT), (1, 2, 0.6, datasets.RIGHT), (2, 2, 0.7, datasets.LEFT)]
    files = [datasets.write_predictions(folder, "a.json", a), datasets.write_predictions(folder, "<b>.json", b)]
    project = open_project(datasets.write_ground_truth(folder), None, files, folder / "project")
    return Workspace(project, EvaluationService(folder / "findings", in_process=True), ThumbnailCache())


@pytest.fixture(scope="module")
def comparison(workspace: Workspace) -> Comparison:
    now = workspace.evaluations.open(workspace.first).wait(60)
    assert now.result is not None
    return now.result


@pytest.fixture(scope="module")
def client(workspace: Workspace, comparison: Comparison) -> TestClient:
    return TestClient(Starlette(routes=routes(workspace)))


NAMES = ("a", "<b>")


def test_a_query_holds_everything_that_a_file_depends_on():
    settings = ViewSettings(NAMES, filter=Filter(types=("missed",), scores=(0.2, 1.0)), order="iou", side=1)
    assert from_query(to_query(settings.with_limits(0.6, 0.2, 0.3))) == settings.with_limits(0.6, 0.2, 0.3)
    assert settings.with_limits(0.3, 0.4, 0).limits.background == 0.3


@pytest.mark.parametrize("query", ["order=size", "side=2", "positive=nan", "filter=1", "filter={", "x" * 30_000])
def test_invalid_queries_are_refused(query: str):
    with pytest.raises(ValueError):
        from_query(query)


def test_every_order_holds_the_same_rows(comparison: Comparison):
    settings = ViewSettings(NAMES)
    rows = {order: sorted_selection(comparison, replace(settings, order=order)).rows.tolist() for order in ORDERS}
    assert len({tuple(sorted(own)) for own in rows.values()}) == 1
    ious = comparison.table.iou[rows["iou"]]
    assert (ious[1:] >= ious[:-1]).all()


def test_equal_settings_share_one_comparison(workspace: Workspace, comparison: Comparison):
    settings = ViewSettings(NAMES).with_limits(0.6, 0.1, 0.2)
    assert selected_models(workspace.evaluations, comparison, settings) is selected_models(
        workspace.evaluations, comparison, settings
    )
    with pytest.raises(ValueError, match="expected some of the models"):
        selected_models(workspace.evaluations, comparison, ViewSettings(("c",)))


def test_figures_hold_the_exact_numbers_and_names_are_escaped(comparison: Comparison):
    html = views.figures(comparison)
    for figure in comparison.figures:
        for value in figure.values:
            assert f'data-value="{value!r}"' in html
    for name in ("HOTA", "IDF1", "switches"):
        (row,) = re.findall(rf'<tr data-figure="{name}">.*?</tr>', html, re.DOTALL)
        for model in comparison.models:
            assert f'data-value="{model.identity[name]!r}"' in row
    assert "<b>." not in html and "&lt;b&gt;" in html


def filters(html: str) -> list[dict]:
    return [json.loads(unescape(text)) for text in re.findall(r'data-filter="([^"]*)"', html)]


def test_every_button_filters_as_many_rows_as_it_shows(comparison: Comparison):
    selection = select(comparison)
    html = views.below(comparison, selection, 0)
    cells = re.findall(r'aria-label="(truth [^"]*): (\d+) tracks?"[^>]*data-filter="([^"]*)"', html)
    assert cells
    for _, count, text in cells:
        data = json.loads(unescape(text))
        assert data["model"] == "a"
        assert len(select(comparison, Filter(model="a", classes=tuple(data["classes"]))).rows) == int(count)
    outcomes = charts.draw(views.outcomes(comparison))
    for data in filters(outcomes):
        assert data["outcome"] in ("fixed", "broken", "both wrong", "both right")
    data = re.findall(r'aria-label="([^"]*), B after A: (\d+)"', outcomes)
    assert data == [("fixed by B", "2"), ("broken by B", "1"), ("wrong in both", "1"), ("right in both", "0")]


def test_the_bar_shows_count_chips_and_files(comparison: Comparison):
    settings = ViewSettings(NAMES, filter=Filter(model="a", types=("missed",)))
    selection = sorted_selection(comparison, settings)
    html = views.bar(comparison, selection, settings)
    assert f"{len(selection.rows)} of {selection.every} errors" in html
    assert re.findall(r'aria-label="Remove: ([^"]*)"', html) == ["a", "missed"]
    assert views.shown_side(comparison, replace(settings, filter=Filter(model="<b>"))) == 1
    right = select(comparison, Filter(types=("correct",)))
    assert f"0 of {right.every} errors, {len(right.rows)} tracks without" in views.count(comparison, right)


def test_rows_are_paged_and_an_empty_list_has_a_message(comparison: Comparison):
    settings = replace(ViewSettings(NAMES), shown=2)
    html = views.rows(comparison, sorted_selection(comparison, settings), settings)
    assert html.count("<li ") == 2 and f"More ({select(comparison).every - 2} left)" in html
    chosen, skipping = select(comparison), replace(ViewSettings(NAMES), skipped=2)
    later = views.rows(comparison, chosen, skipping, comparison.table.record(int(chosen.rows[-1])).key, reveal=3)
    assert later.count("<li ") == len(chosen.rows) - 2 and "Earlier (2)" in later
    assert 'data-reveal="3"' in later and later.count('aria-current="true"') == 1
    left_out = views.rows(comparison, chosen, skipping, comparison.table.record(int(chosen.rows[0])).key, reveal=3)
    assert "data-reveal" not in left_out and "aria-current" not in left_out
    none = ViewSettings(NAMES, filter=Filter(text="nowhere"))
    empty = sorted_selection(comparison, none)
    assert "No error is left" in views.rows(comparison, empty, none)
    unfiltered = views.rows(comparison, empty, ViewSettings(NAMES).with_limits(0.6, 0.1, 0.0))
    assert "There is no error at a match IoU of 0.60: raise “Match IoU ≥”" in unfiltered


def test_empty_plots_have_a_message(comparison: Comparison):
    html = views.below(comparison, select(comparison, Filter(text="nowhere")), 0)
    assert "No ground truth is left" in html


def figures_of(html: str) -> list[dict]:
    return [json.loads(unescape(text)) for text in re.findall(r'data-plot="([^"]*)"', html)]


def test_points_are_a_stop_of_the_keyboard_from_left_to_right(comparison: Comparison):
    html = charts.draw(views.iou_by_length(comparison, select(comparison), 0))
    (figure,) = figures_of(html)
    assert " data-rove" in html
    places = [json.loads(text) for text in re.findall(r'data-point="([^"]*)"', html)]
    xs = [figure["data"][trace]["x"][point] for trace, point in places]
    assert xs == sorted(xs) and len(xs) == sum(len(trace["x"]) for trace in figure["data"])


def test_every_plot_has_a_name_and_its_values_as_text(comparison: Comparison):
    import plotly.graph_objects as go

    html = views.figures(comparison) + views.below(comparison, select(comparison), 0)
    drawn = figures_of(html)
    assert len(drawn) == 5 and html.count('<table class="marks"') == 3 and html.count('<div class="marks"') == 2
    for figure in drawn:
        assert go.Figure(figure).to_dict()["data"]
    for name in ("Precision by recall", "AP by IoU threshold", "HOTA by score", "Scores", "IoU by length"):
        assert f'role="img" aria-label="{name}"' in html


def test_plotly_is_served_from_here(client: TestClient):
    response = client.get("/studio/errors/plotly.min.js")
    assert response.headers["content-type"].startswith("text/javascript") and "plotly.js v" in response.text[:200]


def test_the_address_holds_what_differs_from_the_default():
    names = (*NAMES, "c")
    assert to_address("ab", ViewSettings(NAMES), names) == "data=ab"
    settings = ViewSettings(("<b>", "c"), filter=Filter(types=("missed",)), order="iou").with_limits(0.5, 0.1, 0.3)
    data = dict(parse_qsl(to_address("ab", settings, names)))
    assert from_address(data["errors"], names) == settings and "positive" not in data["errors"]
    for query in ("order=size", "filter={", "model=gone", "cutoff=nan"):
        assert from_address(query, names) == ViewSettings(NAMES)


def test_every_model_has_its_figures_and_its_difference_to_a(workspace: Workspace, comparison: Comparison):
    settings = ViewSettings(NAMES[1:]).with_limits(0.5, 0.1, 0.2)
    both = all_models(workspace.evaluations, comparison, settings)
    assert [model.name for model in both.models] == [NAMES[1], NAMES[0]]
    assert both.models[0] is selected_models(workspace.evaluations, comparison, settings).models[0], "computed once"
    third = replace(both, models=(*both.models, both.models[1]))
    table = views.figures(selected_models(workspace.evaluations, comparison, settings), third).split("</table>")[0]
    assert table.count('<td data-value="') == 5 * 5 + 7 * 3  # identity figures have no interval of the difference


def test_a_brushed_range_with_an_open_end_reaches_the_edge(comparison: Comparison):
    brushed = replace(select(comparison), filter=Filter(lengths=(5, float("inf"))))
    (figure,) = figures_of(charts.draw(views.iou_by_length(comparison, brushed, 0)))
    (shape,) = figure["layout"]["shapes"]
    assert shape["x0"] == 5 and shape["x1"] == figure["layout"]["xaxis"]["range"][1]
    assert (shape["y0"], shape["y1"], shape["yref"]) == (0, 1, "paper")


def test_pictures_and_files_come_from_their_addresses(client: TestClient, workspace: Workspace, comparison: Comparison):
    settings = ViewSettings(NAMES, filter=Filter(types=("missed",)))
    html = views.rows(comparison, sorted_selection(comparison, settings), settings)
    addresses = re.findall(r'src="([^"]*)"', html)
    response = client.get("/" + addresses[0])
    assert response.headers["content-type"] == "image/jpeg" and response.content[:2] == b"\xff\xd8"
    base = f"/studio/errors/{workspace.first.id}"
    csv = client.get(f"{base}/errors.csv?{to_query(settings)}")
    assert len(csv.text.splitlines()) == 1 + len(sorted_selection(comparison, settings).rows)
    report = client.get(f"{base}/report.html?{to_query(settings)}")
    assert "attachment" in report.headers["content-disposition"] and "<html" in report.text.lower()


@pytest.mark.parametrize(
    "path", ["other/errors.csv", "{id}/errors.xml", "{id}/errors.csv?filter=1", "{id}/picture/0/1/-/-/0.jpg"]
)
def test_unknown_files_are_not_found(client: TestClient, workspace: Workspace, path: str):
    response = client.get("/studio/errors/" + path.replace("{id}", workspace.first.id))
    assert response.status_code == 404 and str(workspace.first.folder) not in response.text


def test_unknown_frames_are_not_found(client: TestClient, comparison: Comparison, workspace: Workspace):
    model = workspace.first.models[0].file.sha256[:12]
    record = comparison.table.record(int(select(comparison).rows[0]))
    base = f"/studio/errors/{workspace.first.id}/picture/{model}/{record.video_id}/-/-"
    assert client.get(f"{base}/0.jpg").status_code == 200
    for frame in ("-1", "99", "x", "\u0661"):
        assert client.get(f"{base}/{frame}.jpg").status_code == 404
