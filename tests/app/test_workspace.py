"""Several data sets in one studio: the data set of a page, shared evaluations, and allowed folders."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import gradio as gr
import pytest

from app.analysis.service import EvaluationService, ThumbnailCache
from app.page import render
from app.projects.project import AllowedFolders, open_project, with_categories
from app.workspace import Pages, Updates, Workspace, only_another, project_notices
from tests.app import datasets
from tests.app.datasets import LEFT, RIGHT


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace with one open data set; the folder `allowed` holds another one with predictions."""
    monkeypatch.setenv("TEVIT_HOME", str(tmp_path / "home"))
    here = tmp_path / "allowed"
    datasets.write_ground_truth(here, "three.json", 3)
    datasets.write_predictions(here, "a.json", [(1, 1, 0.9, LEFT)])
    datasets.write_predictions(here / "more", "a.json", [(2, 1, 0.8, LEFT)])
    datasets.write_predictions(here, "other.json", [(9, 1, 0.8, LEFT)])
    first = open_project(
        datasets.write_ground_truth(tmp_path),
        None,
        [datasets.write_predictions(tmp_path, "b.json", [(1, 1, 0.9, LEFT)])],
    )
    return Workspace(
        first, EvaluationService(tmp_path / "findings", in_process=True), ThumbnailCache(), AllowedFolders.of([here])
    )


def request_of(page: str, **address: str) -> Any:
    """A request of a page."""
    return cast(Any, type("Request", (), {"session_hash": page, "query_params": address}))


def opened(workspace: Workspace, *predictions: str):
    here = workspace.allowed.folders[0]
    return workspace.open(str(here / "three.json"), "", [str(here / path) for path in predictions])


def test_page_keeps_the_data_set_of_its_first_address(workspace: Workspace):
    other = opened(workspace, "a.json")
    assert workspace.projects == (workspace.first, other) and len(other.dataset.videos) == 3
    assert (
        workspace.of(request_of("one")) is workspace.first and workspace.of(request_of("two", data=other.id)) is other
    )
    assert workspace.of(request_of("two", data=workspace.first.id)) is other, "its first address counts"
    unknown = request_of("three", data="0123456789ab")
    assert workspace.of(unknown) is workspace.first and workspace.missing(unknown) == "0123456789ab"
    assert workspace.missing(request_of("four", data=other.id)) == workspace.missing(request_of("five")) == ""
    with pytest.raises(LookupError):
        workspace.find("0123456789ab")


def test_predictions_are_added_to_an_open_data_set(workspace: Workspace):
    before = opened(workspace, "a.json")
    after = opened(workspace, "more/a.json")
    assert after.id == before.id and [model.name for model in after.models] == ["a", "more/a"]
    assert workspace.find(before.id) is after and len(workspace.projects) == 2
    with pytest.raises(ValueError, match="another data set"):
        opened(workspace, "other.json")
    assert workspace.find(before.id) is after, "nothing was changed"
    assert open_project(folder=after.folder).models == after.models


def test_files_outside_of_the_allowed_folders_are_refused(workspace: Workspace):
    assert workspace.first.truth is not None
    for truth, frames, predictions in (
        (workspace.first.truth.path, "", []),
        ("", "", [workspace.first.models[0].file.path]),
        (str(workspace.allowed.folders[0] / "three.json"), "/", []),
    ):
        with pytest.raises(ValueError, match="not below a folder that the operator allowed"):
            workspace.open(truth, frames, predictions)
    assert workspace.projects == (workspace.first,)


def test_least_recently_used_data_set_is_unloaded(workspace: Workspace):
    workspace = Workspace(workspace.first, workspace.evaluations, workspace.thumbnails, workspace.allowed, max_loaded=1)
    first = workspace.first
    assert first.results
    opened(workspace)
    again = workspace.first
    assert again is not first and "results" not in vars(again) and again.models == first.models


def test_two_pages_share_the_evaluation(workspace: Workspace):
    one, two = (workspace.evaluations.open(workspace.of(request_of(page))) for page in ("one", "two"))
    assert one is two and one.wait(60).result is not None


def test_mapping_by_name_is_offered_and_can_be_undone(workspace: Workspace, tmp_path: Path):
    named = {"categories": [{"id": 1, "name": "Giant Panda"}, {"id": 2, "name": "dog"}]}
    truth = json.loads((workspace.allowed.folders[0] / "three.json").read_text()) | named
    gt = datasets.write_json(workspace.allowed.folders[0], "named.json", truth)
    file = datasets.write_predictions(workspace.allowed.folders[0], "<b>.json", [(1, 2, 0.9, LEFT), (2, 8, 0.8, RIGHT)])
    project = workspace.open(str(gt), "", [str(file)])
    html = project_notices(project)
    assert "Use this mapping" in html and "2 giant_panda → 1 Giant Panda" in html and "<b>" not in html
    mapping = project.category_mappings("<b>")[0]
    assert {id: mapping.categories.get(id) for id in mapping.names} == {2: 1, 8: 2}
    mapped = workspace.change(project.id, lambda now: with_categories(now, "<b>", mapping.categories))
    html = project_notices(mapped)
    assert "Undo the mapping" in html and "Use this mapping" not in html and "read as YouTube-VIS 2019" in html
    assert open_project(folder=project.folder).models[0].categories == {2: 1, 8: 2}


@pytest.mark.parametrize("odd", ["id 0", "short", "unmapped"])
def test_warnings_of_the_evaluation_are_shown(workspace: Workspace, odd: str):
    """Under the labels' name, once for all models; what a mapping leaves out has no number of its own."""
    truth = json.loads((workspace.allowed.folders[0] / "three.json").read_text())
    if odd == "id 0":
        truth["annotations"][0]["id"] = 0
    elif odd == "short":
        truth["annotations"][0]["segmentations"].pop()
    gt = datasets.write_json(workspace.allowed.folders[0], "odd.json", truth)
    tracks = [(1, 1, 0.9, LEFT)] + ([(1, 50, 0.8, RIGHT)] if odd == "unmapped" else [])
    files = [datasets.write_predictions(workspace.allowed.folders[0], name, tracks) for name in ("c.json", "d.json")]
    project = workspace.open(str(gt), "", [*map(str, files)])
    if odd == "unmapped":
        project = workspace.change(project.id, lambda now: with_categories(now, "c", {1: 1}))
    comparison = workspace.evaluations.open(project).wait(60).result
    html = project_notices(project, comparison)
    sentences = {
        "id 0": "odd.json: 1 annotations have the id 0, which the official evaluation can never match",
        "short": "odd.json: 1 annotations have more or fewer frames than their video",
        "unmapped": "d has category ids that the data set lacks (50): these do not count.",
    }
    assert html.count(sentences[odd]) == 1 and "-1099511627776" not in html and "left out" not in html
    assert odd == "unmapped" or sentences[odd] not in project_notices(project)


def test_list_of_open_data_sets_marks_the_pages_own(workspace: Workspace):
    other = opened(workspace)
    html = render("datasets/open.html", projects=workspace.projects, current=other)
    assert html.count("<li>") == 2 and html.split("aria-current")[1].startswith('="page"><strong>allowed/three.json')
    assert "--allow" in render("datasets/folders.html", complete=True, folders=[])
    assert "more than could" in render("datasets/folders.html", complete=False, folders=["/x"])


def test_of_too_many_pages_the_visitor_with_most_loses_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("app.workspace.MAX_PAGES", 3)
    pages = Pages(lambda request: [request.session_hash])
    requests = {name: request_of(name) for name in ("b1", "a1", "a2", "a3")}
    for name, request in requests.items():
        request.username = {"a": "ann", "b": "bob"}[name[0]]
    states = {name: pages.of(request) for name, request in requests.items()}
    assert pages.of(requests["b1"]) is states["b1"] and pages.of(requests["a3"]) is states["a3"]
    assert pages.of(requests["a1"]) is not states["a1"]


class OneList:
    """A tab with a list. shown: what it shows. handled: what its handler was called with."""

    def __init__(self) -> None:
        self.shown, self.handled = "a", []

    @only_another(lambda tab, request: (tab.shown,), lambda tab: {"list": "unchanged"})
    async def choose(self, value: str, other: int, request: gr.Request) -> AsyncIterator[Updates]:
        """Takes a while until it shows what was chosen, and longer until it ends."""
        self.handled.append((value, other))
        await asyncio.sleep(0)
        self.shown = value
        yield {"list": value}
        await asyncio.sleep(0)
        yield {"list": f"{value}, at last"}


def test_what_is_chosen_in_a_list_is_handled_once_and_only_where_it_is_something_else():
    tab, request = OneList(), request_of("one")

    async def choose(value: str, request: Any = request) -> list[Any]:
        return [updates["list"] async for updates in tab.choose(value, 7, request)]

    async def at_once(*choices: Any) -> list[Any]:
        return await asyncio.gather(*choices)

    assert asyncio.run(choose("a")) == ["unchanged"] and tab.handled == []
    shown = ["b", "b, at last"]
    assert asyncio.run(at_once(choose("b"), choose("b"))) == [shown, ["unchanged"]] and tab.handled == [("b", 7)]
    assert asyncio.run(choose("b")) == ["unchanged"]
    tab.shown = "c"  # by a button
    assert asyncio.run(choose("b")) == shown, "it is not the last choice that counts"
    tab.shown = "a"
    both = asyncio.run(at_once(choose("b"), choose("b", request_of("two"))))
    assert both == [shown, shown], "of another page"
