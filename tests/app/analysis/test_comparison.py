"""Comparison: the numbers of the command line, whatever way they come; filters, plots and exports of them."""

import csv
import io
import json
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.analysis.comparison import FIGURE_NAMES, Comparison
from app.analysis.filter import (
    NONE,
    Filter,
    as_csv,
    as_json,
    as_json_text,
    chips,
    from_json,
    merged,
    report,
    select,
    without,
)
from app.analysis.service import EvaluationService
from app.projects.project import open_project
from app.tabs.errors import views
from app.tabs.errors.events import brushed
from tests.app import datasets
from tests.app.datasets import LEFT, RIGHT, SHIFTED
from tevit.cli.main import main
from tevit.evaluation.error_table import ERROR_GROUPS
from tevit.evaluation.errors import ALL_TYPES, TYPES, Limits
from tevit.evaluation.report import page_data

COLUMNS = (
    "model video_id video type truth truth_id prediction_id truth_class predicted_class score iou share frames length "
    "worst identity_switch fragmentation outcome"
)


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("home")
        patch.setenv("TEVIT_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def shapes(home: Path) -> Comparison:
    """The bundled set, evaluated in subprocesses as in the studio."""
    now = EvaluationService().open(open_project()).wait(120)
    assert now.state == "done" and now.result is not None, now.message
    return now.result


def run_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict | list:
    assert main([str(argument) for argument in arguments]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_page_has_the_numbers_of_tevit_evaluate(shapes, capsys):
    paths = [shapes.project.truth.path, *(model.file.path for model in shapes.project.models)]
    results = run_json(
        capsys, "evaluate", *paths, "--json", "--per-length", "--per-size", "--per-video", "--bootstrap", 1000
    )
    identities = run_json(capsys, "evaluate", *paths, "--json", "--metrics", "hota,id")
    for model, expected in zip(shapes.models, identities, strict=True):
        assert dict(model.identity) == {name: expected[name] for name in model.identity}
        assert model.stored.summary.hota_by_score[1][0] == expected["HOTA"]
    for model, expected in zip(shapes.models, results, strict=True):
        assert {name: expected[name] for name in model.figures} == dict(model.figures)
        for id, figures_of_class in expected["per_class"].items():
            assert {name: model.per_class[int(id)][name] for name in figures_of_class if name != "name"} == {
                name: value for name, value in figures_of_class.items() if name != "name"
            }
        for group, parts in (("length", model.by_length), ("size", model.by_size), ("video", model.by_video)):
            assert {str(name): vars(part) for name, part in parts.items()} == expected[f"per_{group}"]
    for figure in shapes.figures:
        for i, expected in enumerate(results):
            spread = figure.spreads[i]
            assert spread is not None
            assert [spread.low, spread.high] == pytest.approx(
                expected["bootstrap"]["intervals"][figure.name], abs=1e-12
            )
        more = results[1]["bootstrap"]["difference_to_first"][figure.name]
        assert vars(figure.differences[1]) == pytest.approx(more, abs=1e-12)


@pytest.mark.parametrize("limits", [Limits(), Limits(positive=0.75, background=0.2)])
def test_the_page_has_the_numbers_of_tevit_errors(shapes, capsys, limits):
    limited = shapes.with_limits(limits, 0.0)
    for i, model in enumerate(limited.models):
        moved = ["--positive", limits.positive, "--background", limits.background]
        paths = [shapes.project.truth.path, shapes.project.models[i].file.path]
        expected = run_json(capsys, "errors", *paths, "--json", *moved)
        assert isinstance(expected, dict)
        assert (model.ap, dict(model.dap)) == (expected["ap"], expected["dap"])
        assert model.oracle_ap == expected["mended"]
        gaps = expected["gaps"]
        assert vars(model.gaps.whole) == vars(model.gap) == gaps["all"]
        assert {name: vars(gap) for name, gap in model.gaps.by_length.items()} == gaps["by_length"]
        t = limited.table
        for kind, counts in expected["counts"].items():
            selected = (t.model == i) & (t.truth == (kind == "truths"))
            assert {type: int((selected & t.is_type(type)).sum()) for type in counts} == counts
        flags = [int((t.truth & (t.model == i) & flag).sum()) for flag in (t.identity_switch, t.fragmentation)]
        assert flags == [expected["identity_switches"], expected["fragmentations"]]


def test_a_score_threshold_equals_a_file_without_the_lower_scores(shapes, tmp_path, capsys):
    least = 0.3
    cut = shapes.with_limits(Limits(), least)
    for model, file in zip(cut.models, shapes.project.models, strict=True):
        fewer = [item for item in json.loads(Path(file.file.path).read_text()) if item["score"] >= least]
        path = datasets.write_json(tmp_path, "fewer.json", fewer)
        figures = run_json(capsys, "evaluate", shapes.project.truth.path, path, "--json", "--metrics", "hota")
        expected = run_json(capsys, "errors", shapes.project.truth.path, path, "--json")
        assert isinstance(figures, dict) and isinstance(expected, dict)
        assert {name: model.figures[name] for name in FIGURE_NAMES} == {name: figures[name] for name in FIGURE_NAMES}
        assert model.identity["HOTA"] == pytest.approx(figures["HOTA"], abs=1e-12)
        assert dict(model.dap) == pytest.approx(expected["dap"], abs=1e-12)
        assert vars(model.gap) == vars(model.gaps.whole) == expected["gaps"]["all"]
        assert dict(model.evaluation.figures) == {name: figures[name] for name in model.evaluation.figures}
        for id, figures_of_class in figures["per_class"].items():
            assert model.per_class[int(id)] == {name: figures_of_class[name] for name in FIGURE_NAMES}
        assert dict(model.by_video) == dict(model.evaluation.by_video())
        assert dict(model.by_size) == dict(model.evaluation.by_size())
        np.testing.assert_array_equal(model.precision, model.evaluation.curves.precision[..., 0, 2])
    assert all(figure.spreads[0] is not None for figure in cut.figures)
    assert shapes.with_limits(Limits(), -1.0).models[0].whole and not cut.models[0].whole
    with pytest.raises(ValueError, match="expected a score"):
        shapes.with_limits(Limits(), math.nan)


def test_plots_show_what_the_report_shows(shapes):
    everything = select(shapes)
    for i, model in enumerate(shapes.models):
        page = page_data(model.evaluation, model.errors, model.gaps)
        matrix = views.confusion_matrix(shapes, everything, i)
        names = [*(shapes.categories[list(shapes.categories)[p]] for p in matrix.classes[:-1]), "nothing"]
        assert (names, matrix.counts) == (page["confusion"]["names"], page["confusion"]["counts"])
        scores = views.score_histogram(shapes, everything, i)
        assert (scores.right, scores.wrong) == (page["scores"]["right"], page["scores"]["wrong"])
        dots = {
            trace["name"]: sorted(zip(trace["x"], trace["y"], strict=True))
            for trace in views.iou_by_length(shapes, everything, i)["figure"]["data"]
        }
        expected = {
            name: sorted(zip(points["lengths"], points["ious"], strict=True))
            for name, points in page["lengths"].items()
        }
        assert dots == expected
        curve = views.ap_by_threshold(shapes)["figure"]["data"][i]["y"]
        assert curve == pytest.approx(page["thresholds"]["y"], abs=0.01)
        mean = views.precision_recall(shapes)["figure"]["data"][2 * i]["y"]
        assert mean == pytest.approx(page["mean"]["at50"]["y"], abs=1e-3)


def drawn(shapes: Comparison, model: int = 0) -> str:
    """Everything with buttons that filter."""
    above = views.figures(shapes) + views.error_types(shapes) + views.error_groups(shapes)
    return above + views.below(shapes, select(shapes), model)


def figures_of(html: str) -> list[dict]:
    return [json.loads(unescape(text)) for text in re.findall(r'data-plot="([^"]*)"', html)]


def test_figures_are_plotly_figures_for_both_themes(shapes):
    import plotly.graph_objects as go

    figures = figures_of(drawn(shapes, 1))
    assert len(figures) == 5
    for figure in figures:
        assert go.Figure(figure).to_dict()["data"] and figure["layout"]["paper_bgcolor"] == "rgba(0,0,0,0)"


def test_every_bar_filters_and_every_chip_can_be_removed(shapes):
    html = drawn(shapes)
    clicks = [json.loads(unescape(text)) for text in re.findall(r'data-filter="([^"]*)"', html)]
    clicks += [
        point["filter"]
        for figure in figures_of(html)
        for trace in figure["data"]
        for point in trace.get("customdata", [])
        if "filter" in point
    ]
    assert len(clicks) > 50
    for click in clicks:
        chosen = merged(NONE, click)
        shown_chips = chips(shapes, chosen)
        assert shown_chips and all(chip.words for chip in shown_chips)
        select(shapes, chosen)
        for chip in shown_chips:
            chosen = without(chosen, chip.id)
        assert chosen == NONE
        assert merged(merged(NONE, click), click) == NONE


def test_a_bar_shows_as_many_rows_as_it_counts(shapes):
    t = shapes.table
    for i, model in enumerate(shapes.models):
        for type in model.dap:
            chosen = select(shapes, Filter(model=model.name, types=(type,)))
            assert chosen.share == pytest.approx(model.dap[type] if len(chosen.rows) else 0, abs=1e-9)
            assert (t.model[chosen.rows] == i).all()
        matrix = views.confusion_matrix(shapes, select(shapes), i)
        for a, truth in enumerate(matrix.classes):
            for b, prediction in enumerate(matrix.classes):
                cell = select(shapes, Filter(model=model.name, classes=(truth, prediction)))
                assert len(cell.rows) == matrix.counts[a][b]
        scores = views.score_histogram(shapes, select(shapes), i)
        for counts, wrong in ((scores.right, False), (scores.wrong, True)):
            assert sum(counts) == int(((t.model == i) & ~t.truth & (t.error == wrong)).sum())


def test_rows_are_sorted_by_cost_and_keep_their_keys(shapes):
    chosen = select(shapes)
    assert len(chosen.rows) == chosen.every == int(shapes.table.error.sum())
    assert (np.diff(shapes.table.share[chosen.rows]) <= 0).all()
    moved = shapes.with_limits(Limits(positive=0.6), 0.0)
    for index in chosen.rows[:20].tolist():
        record = shapes.table.record(index)
        assert shapes.table.find(record.key) == index and record.type in TYPES
        moved_index = moved.table.find(record.key)
        assert moved_index is not None
        side = "truth_id" if record.truth else "prediction_id"
        assert getattr(moved.table.record(moved_index), side) == getattr(record, side)
    assert shapes.table.find("9p9") is None


def test_a_and_b_are_compared_truth_by_truth(shapes):
    t = shapes.table
    in_a, in_b = (t.matched_ground_truth(model) for model in (0, 1))
    for outcome, truths in {"fixed": ~in_a & in_b, "broken": in_a & ~in_b, "both wrong": ~in_a & ~in_b}.items():
        rows = select(shapes, Filter(outcome=outcome)).rows
        assert truths[t.truth_row[rows]].all()
    every = Filter(types=tuple(ALL_TYPES), outcome="fixed", model=shapes.models[0].name)
    rows = select(shapes, every).rows
    crowd = shapes.overlaps.inputs.ground_truth.crowd
    assert set(t.truth_row[rows][t.truth[rows]].tolist()) == set(np.flatnonzero(~in_a & in_b & ~crowd).tolist())
    swapped = shapes.select_models([model.name for model in reversed(shapes.models)])
    assert len(select(swapped, Filter(types=("missed",), outcome="broken")).rows) == len(
        select(shapes, Filter(types=("missed",), outcome="fixed")).rows
    )
    with pytest.raises(ValueError, match="some of the models"):
        shapes.select_models(["none"])


ends = st.floats(-1, 2)
ranges = st.lists(ends, min_size=2, max_size=2).map(sorted) | ends.map(lambda end: [None, end])
filters = st.fixed_dictionaries(
    {},
    optional={
        "types": st.lists(st.sampled_from(ALL_TYPES), min_size=1, max_size=3, unique=True),
        "lens": st.sampled_from(list(ERROR_GROUPS)),
        "flags": st.just(["switch"]),
        "category": st.integers(0, 7),
        "classes": st.tuples(st.integers(-1, 7), st.integers(-1, 7)).map(list),
        "scores": ranges,
        "ious": ranges,
        "lengths": ranges,
        "video": st.integers(1, 20),
        "outcome": st.sampled_from(["fixed", "broken"]),
        "text": st.sampled_from(["disc", "SHAPES-2001 star", "zz"]),
    },
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=filters)
def test_a_filter_shows_exactly_the_matching_rows(shapes, query):
    chosen = from_json(query)
    assert from_json(json.loads(json.dumps(as_json(chosen)))) == chosen
    t, selection = shapes.table, select(shapes, chosen)
    assert set(selection.rows.tolist()) <= set(np.flatnonzero(selection.pool).tolist())
    checks: dict[str, Callable] = {
        "types": lambda r, v: r.type in v,
        "flags": lambda r, v: r.identity_switch,
        "scores": lambda r, v: r.score is not None and _inside(r.score, v),
        "ious": lambda r, v: _inside(r.iou, v),
        "lengths": lambda r, v: _inside(r.length, v),
        "video": lambda r, v: r.video_id == v,
        "text": lambda r, v: all(
            w in f"{r.video} {r.truth_class} {r.predicted_class}".lower() for w in v.lower().split()
        ),
        "outcome": lambda r, v: r.outcome.startswith(v),
    }
    for index in selection.rows[:40].tolist():
        assert all(checks[name](shapes.table.record(index), value) for name, value in query.items() if name in checks)
    assert len(chips(shapes, chosen)) >= len(as_json(chosen))
    assert selection.share == pytest.approx(t.share[selection.rows].sum())


def _inside(value: float, limits: list) -> bool:
    return (limits[0] is None or value >= limits[0]) and (limits[1] is None or value <= limits[1])


@pytest.mark.parametrize(
    "query",
    [
        [],
        {"types": "missed"},
        {"types": ["wrong"]},
        {"lens": 3},
        {"classes": [1]},
        {"scores": [1, "x"]},
        {"scores": [True, 2]},
        {"ious": [math.nan, 1]},
        {"video": 1.5},
        {"outcome": "better"},
        {"text": "x" * 201},
        {"colour": "red"},
    ],
)
def test_invalid_filters_are_refused(query):
    with pytest.raises(ValueError, match=r"^filter: expected"):
        from_json(query)


def test_filters_of_unknown_models_and_videos_are_refused(shapes):
    for chosen in (Filter(model="none"), Filter(video=10**6)):
        with pytest.raises(ValueError, match=r"^filter: "):
            select(shapes, chosen)
    assert not len(select(shapes, Filter(category=99)).rows)
    assert chips(shapes, Filter(category=99))[0].words == "class nothing"


def test_brushing_filters(shapes):
    assert brushed("lengths", {"x": [4, 9], "y": [0.2, 0.6]}) == {"lengths": [4, 9], "ious": [0.2, 0.6]}
    chosen = merged(Filter(text="a"), brushed("scores", {"x": [0.9, 0.1], "y": [0, 5]}))
    assert chosen == Filter(text="a", scores=(0.1, 0.9))
    with pytest.raises(ValueError, match="expected to brush"):
        brushed("types", {"x": [0, 1]})


def test_downloads_hold_the_list(shapes, tmp_path):
    selection = select(shapes, Filter(types=("missed", "spatial")))
    assert len(selection.rows)
    lines = list(csv.DictReader(io.StringIO(as_csv(shapes, selection))))
    content = json.loads(as_json_text(shapes, selection))
    assert len(lines) == len(content["errors"]) == len(selection.rows)
    assert content["filter"] == {"types": ["missed", "spatial"]}
    for line, error, index in zip(lines, content["errors"], selection.rows.tolist(), strict=True):
        record = shapes.table.record(index)
        assert (line["type"], float(line["share"])) == (error["type"], error["share"]) == (record.type, record.share)
        assert " ".join(line) == " ".join(error) == COLUMNS
    report(shapes, tmp_path / "report.html")
    assert "Errors of iteration_1000" in (tmp_path / "report.html").read_text("utf-8")


# --- the service


def test_stored_evaluations_are_shared_and_computed_once(tmp_path, monkeypatch):
    gt = datasets.write_ground_truth(tmp_path)
    a = datasets.write_predictions(tmp_path, "a.json", [(1, 1, 0.9, LEFT), (1, 2, 0.8, SHIFTED), (2, 1, 0.5, RIGHT)])
    project = open_project(gt, None, [a], tmp_path / "project")
    service = EvaluationService(tmp_path / "cache", in_process=True)
    first, second = service.open(project), service.open(project)
    assert first is second and first.wait(30).result is not None
    monkeypatch.setattr("app.analysis.service.evaluate_here", lambda *_: pytest.fail("computed twice"))
    reopened = open_project(folder=tmp_path / "project")
    again = EvaluationService(tmp_path / "cache", in_process=True).open(reopened).wait(30).result
    computed = first.status().result
    assert again is not None and computed is not None
    assert again.figures == computed.figures
    assert [again.table.record(i) for i in range(6)] == [computed.table.record(i) for i in range(6)]
    limits = Limits(positive=0.2)
    assert service.with_limits(computed, limits, 0.1) is service.with_limits(computed, limits, 0.1)


def test_the_limits_used_last_stay_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("app.analysis.service.MAX_COMPARISONS", 2)
    project = open_project(
        datasets.write_ground_truth(tmp_path),
        None,
        [datasets.write_predictions(tmp_path, "a.json", [(1, 1, 0.9, LEFT)])],
    )
    service = EvaluationService(tmp_path / "cache", in_process=True)
    comparison = service.open(project).wait(30).result
    assert comparison is not None
    first, second = (service.with_limits(comparison, Limits(positive=iou), 0.0) for iou in (0.2, 0.3))
    assert service.with_limits(comparison, Limits(positive=0.2), 0.0) is first
    service.with_limits(comparison, Limits(positive=0.4), 0.0)  # the second was used longest ago
    assert service.with_limits(comparison, Limits(positive=0.2), 0.0) is first
    assert service.with_limits(comparison, Limits(positive=0.3), 0.0) is not second


def test_files_of_the_same_content_keep_their_names(tmp_path):
    """The evaluation is one; at other limits and in another order each of the two still has its own name."""
    folders = [tmp_path / name for name in ("first", "second", "third")]
    rows = [(1, 1, 0.9, LEFT)], [(1, 2, 0.8, RIGHT)], [(1, 2, 0.8, RIGHT)]
    files = []
    for folder, predictions in zip(folders, rows, strict=True):
        folder.mkdir()
        files.append(datasets.write_predictions(folder, "results.json", predictions))
    gt = datasets.write_ground_truth(tmp_path)
    service = EvaluationService(tmp_path / "cache", in_process=True)
    comparison = service.open(open_project(gt, None, files, tmp_path / "project")).wait(30).result
    assert comparison is not None
    first, second, third = names = [f"{folder.name}/results" for folder in folders]
    assert comparison.models[1].stored is comparison.models[2].stored
    for chosen in ([first, second], [first, third], [first, second, third], [third, second]):
        moved = service.with_limits(comparison.select_models(chosen), Limits(positive=0.3), 0.1)
        assert [model.name for model in moved.models] == chosen == list(moved.table.models)
    renamed = service.open(open_project(gt, None, [files[0], files[2]], tmp_path / "project")).wait(30).result
    assert renamed is not None and [model.name for model in renamed.models] == [first, third] != names[:2]


def test_a_damaged_cache_file_is_computed_again(tmp_path):
    project = open_project(
        datasets.write_ground_truth(tmp_path),
        None,
        [datasets.write_predictions(tmp_path, "a.json", [(1, 1, 0.9, LEFT)])],
    )
    figures = datasets.evaluate_project(project, tmp_path / "cache").figures
    file = next((tmp_path / "cache").glob("*.npz"))
    file.write_bytes(file.read_bytes()[:500])
    assert datasets.evaluate_project(project, tmp_path / "cache").figures == figures


def test_the_oldest_cache_files_are_deleted_above_the_limit(tmp_path):
    service = EvaluationService(tmp_path / "cache", limit=1, in_process=True)
    for score in (0.1, 0.2):
        a = datasets.write_predictions(tmp_path, "a.json", [(1, 1, score, LEFT)])
        assert service.open(open_project(datasets.write_ground_truth(tmp_path), None, [a])).wait(30).state == "done"
    assert len(list((tmp_path / "cache").glob("*.npz"))) == 1


def test_eviction_skips_unfinished_and_deleted_files(tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    writing, dangling = cache / ".writing.npz", cache / "gone.npz"
    writing.write_bytes(b"half")
    left = [cache / ".abcdefgh", cache / ".left.npz"]  # of a killed studio
    left[0].mkdir()
    left[1].touch()
    for path in left:
        os.utime(path, (0, 0))
    dangling.symlink_to(tmp_path / "nowhere")  # listed, but deleted before its size is read
    project = open_project(
        datasets.write_ground_truth(tmp_path),
        None,
        [datasets.write_predictions(tmp_path, "a.json", [(1, 1, 0.9, LEFT)])],
    )
    assert EvaluationService(cache, limit=1, in_process=True).open(project).wait(30).state == "done"
    assert writing.exists() and dangling.is_symlink() and not any(path.exists() for path in left)


def test_a_failure_is_one_sentence_and_can_be_retried(tmp_path):
    gt, bad = (
        datasets.write_ground_truth(tmp_path),
        datasets.write_predictions(tmp_path, "bad.json", [(1, 1, 0.9, LEFT)]),
    )
    content = json.loads(bad.read_text())
    content[0]["segmentations"][3]["counts"] = "0"
    bad.write_text(json.dumps(content))
    project = open_project(gt, None, [bad])
    service = EvaluationService(tmp_path / "cache")
    task = service.open(project)
    now = task.wait(60)
    assert now.state == "failed" and "prediction 1 (video 1), frame 3" in now.message
    assert service.open(project) is not task
    service.close()


def test_work_stops_when_the_last_page_leaves(tmp_path, monkeypatch):
    project = open_project(
        datasets.write_ground_truth(tmp_path),
        None,
        [datasets.write_predictions(tmp_path, "a.json", [(1, 1, 0.9, LEFT)])],
    )
    turns: list[float] = []

    def endless(order, report):
        while True:
            turns.append(report("measuring masks", 0.1) or 0)

    monkeypatch.setattr("app.analysis.service.evaluate_here", endless)
    service = EvaluationService(tmp_path / "cache", in_process=True)
    task = service.open(project)
    assert service.open(project) is task
    task.leave()
    end = time.monotonic() + 60
    while task.status().stage != "a: measuring masks":
        assert not task.over and time.monotonic() < end
        time.sleep(0.01)
    assert task.wait(0.1).state == "running"
    task.leave()
    assert task.wait(10).state == "cancelled" and turns
    assert service.open(project) is not task
    service.close()


@pytest.mark.parametrize("missing", ["ground truth", "predictions"])
def test_a_message_names_what_is_missing(tmp_path, missing):
    a = datasets.write_predictions(tmp_path, "a.json", [(1, 1, 0.9, LEFT)])
    project = (
        open_project(predictions=[a])
        if missing == "ground truth"
        else open_project(datasets.write_ground_truth(tmp_path))
    )
    now = EvaluationService(tmp_path / "cache", in_process=True).open(project).wait(10)
    assert (now.state, now.result) == ("done", None) and now.message.startswith(f"Errors need {missing}")


def test_a_mapping_of_classes_is_another_evaluation(tmp_path):
    from app.projects.project import with_categories

    gt, a = (
        datasets.write_ground_truth(tmp_path),
        datasets.write_predictions(tmp_path, "a.json", [(1, 3, 0.9, LEFT), (1, 2, 0.9, RIGHT)]),
    )
    project = open_project(gt, None, [a])
    before = datasets.evaluate_project(project, tmp_path / "cache")
    after = datasets.evaluate_project(with_categories(project, "a", {3: 1, 2: 2}), tmp_path / "cache")
    assert before.models[0].dap["classification"] > 0 and after.models[0].dap["classification"] == 0
    assert after.models[0].figures["AR1"] > before.models[0].figures["AR1"]


def test_nothing_heavy_is_loaded_to_open_a_project():
    names = ["projects.project", "page"]
    names += [f"analysis.{name}" for name in "service comparison filter".split()]
    code = "; ".join(f"import app.{name}" for name in names)
    heavy = ("torch", "plotly", "cv2", "av", "gradio", "scipy")
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; import sys; print([name for name in {heavy!r} if name in sys.modules])"],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
