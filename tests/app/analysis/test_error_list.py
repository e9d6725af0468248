"""The list of errors: places and neighbours in the page's filter and order, and what a link to an error names."""

from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import parse_qs

import pytest

from app.analysis.filter import (
    MAX_ROWS,
    PAGE,
    ErrorsPage,
    Filter,
    ViewSettings,
    error_view,
    from_address,
    in_words,
    to_address,
)
from app.analysis.service import EvaluationService
from app.page import View, from_query, to_query
from app.projects.project import open_project
from tests.app import datasets

NAMES = ("a", "b")
Opened = tuple[ErrorsPage, EvaluationService]


@pytest.fixture
def opened(tmp_path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    """A misses the second square of the first video and takes the first one's class for another; B is right there."""
    monkeypatch.setenv("TEVIT_HOME", str(tmp_path / "home"))
    a = [(1, 3, 0.9, datasets.LEFT), (2, 1, 0.8, datasets.SHIFTED), (2, 2, 0.7, datasets.RIGHT)]
    b = [(1, 1, 0.9, datasets.LEFT), (1, 2, 0.6, datasets.RIGHT), (2, 2, 0.7, datasets.LEFT)]
    files = [
        datasets.write_predictions(tmp_path, f"{name}.json", rows) for name, rows in zip(NAMES, (a, b), strict=True)
    ]
    project = open_project(datasets.write_ground_truth(tmp_path), None, files, tmp_path / "project")
    service = EvaluationService(tmp_path / "findings", in_process=True)
    page = ErrorsPage(project, ViewSettings(NAMES))
    assert page.errors(service) is None
    page.evaluated = service.open(project).wait(60).result
    yield page, service
    service.close()


def keys(opened: Opened) -> list[str]:
    page, service = opened
    errors = page.errors(service)
    assert errors is not None
    return [errors.record(place).key for place in range(len(errors))]


def test_neighbours_are_those_of_the_filter_and_the_order(opened: Opened):
    page, service = opened
    every, errors = keys(opened), page.errors(service)
    assert errors is not None and len(every) > 3
    assert [errors.place(key) for key in every] == list(range(len(every)))
    assert [errors.neighbour(key, 1) for key in every] == [*range(1, len(every)), None]
    assert [errors.neighbour(key, -1) for key in every] == [None, *range(len(every) - 1)]
    page.settings = replace(page.settings, order="iou")
    assert sorted(keys(opened)) == sorted(every)
    ious = [errors.comparison.table.iou[errors.comparison.table.find(key)] for key in keys(opened)]
    assert ious == sorted(ious) and keys(opened) != every
    page.settings = ViewSettings(NAMES, filter=Filter(model="a"))
    unfiltered, filtered = keys(opened), page.errors(service)
    assert unfiltered == [key for key in every if key.startswith("0")] and filtered is not None
    gone = next(key for key in every if key.startswith("1"))
    assert filtered.place(gone) is None
    assert (filtered.neighbour(gone, 1), filtered.neighbour(gone, -1), filtered.neighbour("", 1)) == (0, None, 0)


def test_the_list_is_computed_once_for_the_same_settings(opened: Opened):
    page, service = opened
    first = page.errors(service)
    assert page.errors(service) is first
    page.settings = page.settings.with_limits(0.9, 0.1, 0.0)
    other = page.errors(service)
    assert other is not first and other is not None and other.comparison.limits.positive == 0.9


def test_a_link_to_an_error_keeps_it_and_the_list(opened: Opened):
    page, service = opened
    page.settings = replace(ViewSettings(NAMES, filter=Filter(model="a")), order="score")
    errors = page.errors(service)
    assert errors is not None
    record = errors.record(1)
    view = error_view(errors.comparison, record)
    assert view == View(
        video=record.video_id, frame=record.worst_frame or 0, models=NAMES, truth=record.truth_id,
        prediction=record.prediction_id, error=record.key,
    )  # fmt: skip
    assert error_view(errors.comparison, record, 1).frame == 1
    again = from_query(to_query(view))
    address = parse_qs(to_address("x", page.settings, NAMES))["errors"][0]
    other = ErrorsPage(page.project, from_address(address, NAMES), page.evaluated).errors(service)
    assert other is not None and other.place(again.error) == 1 and len(other) == len(errors)


def test_settings_that_do_not_suit_the_data_become_the_default(opened: Opened):
    page, service = opened
    page.settings = ViewSettings(NAMES, filter=Filter(video=99))
    errors = page.errors(service)
    assert errors is not None and page.settings == ViewSettings(NAMES) and len(errors) > 3


def test_a_row_is_shown_with_those_before_it_unless_they_are_many():
    settings = ViewSettings()
    assert settings.with_row(PAGE - 1) == settings
    assert settings.with_row(5 * PAGE) == replace(settings, shown=6 * PAGE)
    assert replace(settings, shown=6 * PAGE).with_row(0) == replace(settings, shown=6 * PAGE)
    far = settings.with_row(MAX_ROWS + 5)
    assert (far.skipped, far.shown) == (MAX_ROWS - PAGE, 3 * PAGE)
    assert far.with_row(0) == replace(settings, shown=3 * PAGE)
    earlier = far.with_earlier()
    assert (earlier.skipped, earlier.shown) == (MAX_ROWS - 2 * PAGE, 4 * PAGE)
    assert replace(settings, skipped=5).with_earlier() == replace(settings, shown=PAGE + 5)
    assert far.from_the_top() == settings == far.with_filter(settings.filter)


def test_words_of_an_error(opened: Opened):
    page, service = opened
    errors = page.errors(service)
    assert errors is not None
    words = {in_words(errors.record(place)) for place in range(len(errors))}
    assert any(type == "missed" and classes.endswith("→ nothing") for type, classes in words)
