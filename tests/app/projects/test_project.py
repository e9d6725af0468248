"""Projects: opening, project.json, and the messages where files do not belong together."""

import gzip
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.analysis.service import EvaluationService
from app.page import View
from app.player.component import Layer, PlayerView, payload
from app.player.proxy import GREY, BrowserVideo, PlaceholderFrames, dataset_frames
from app.projects.project import META, AllowedFolders, open_project, with_categories
from app.tabs.review.session import IndexedLog, ReviewSession
from tests.app import datasets
from tests.app.datasets import LEFT, RIGHT
from tests.tevit.evaluation import sets
from tevit.io.categories import NO_CLASS


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TEVIT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def files(folder: Path) -> tuple[Path, Path]:
    return datasets.write_ground_truth(folder), datasets.write_predictions(
        folder, "a.json", [(1, 1, 0.9, LEFT), (2, 2, 0.8, RIGHT)]
    )


def texts(project) -> str:
    return " ".join(notice.text for notice in project.notices)


def test_without_paths_the_bundled_data_set_is_opened(home):
    project = open_project()
    assert [model.name for model in project.models] == ["iteration_1000", "tevit_demo"]
    assert project.has_truth and not project.notices
    assert project.folder == (home / "projects" / project.truth.sha256[:16]).resolve()  # type: ignore[union-attr]
    video = next(iter(project.dataset.videos))
    frames = dataset_frames(project, video)
    assert isinstance(frames, BrowserVideo), "no frame is missing"
    assert frames.length == project.info(video).length
    with Image.open(io.BytesIO(frames.picture(0))) as image:
        assert image.size == frames.size_hw[::-1]


def test_a_project_folder_restores_the_project(tmp_path):
    gt, a = files(tmp_path)
    b = datasets.write_predictions(tmp_path / "other", "a.json", [])
    opened = open_project(gt, tmp_path, [a, b], tmp_path / "project")
    assert [model.name for model in opened.models] == [f"{tmp_path.name}/a", "other/a"]
    reopened = open_project(folder=tmp_path / "project")
    assert (reopened.truth, reopened.models, reopened.frames) == (opened.truth, opened.models, opened.frames)
    assert reopened.id == opened.id == open_project(gt).id
    assert sorted(file.name for file in (tmp_path / "project").iterdir()) == ["backups", META]
    fewer = open_project(None, None, [a], tmp_path / "project")
    assert [model.name for model in fewer.models] == ["a"] and fewer.truth == reopened.truth


def test_the_same_content_elsewhere_is_the_same_data_set(tmp_path):
    gt, a = files(tmp_path)
    copy = tmp_path / "elsewhere" / "renamed.json"
    copy.parent.mkdir()
    copy.write_bytes(gt.read_bytes())
    assert open_project(copy, None, [a]).folder == open_project(gt, None, [a]).folder


def test_changed_files_have_a_notice_and_are_read_again(tmp_path):
    gt, a = files(tmp_path)
    before = open_project(gt, None, [a], tmp_path / "project").models[0].file
    datasets.write_predictions(tmp_path, "a.json", [(1, 1, 0.7, LEFT)])
    reopened = open_project(folder=tmp_path / "project")
    assert reopened.models[0].file.sha256 != before.sha256
    assert [notice.kind for notice in reopened.notices if notice.model == "a"] == ["changed", "videos"]


@pytest.mark.parametrize("argument", ["dataset", "predictions", "project"])
def test_a_missing_file_is_named_in_one_sentence(tmp_path, argument):
    gt, a = files(tmp_path)
    attempts = {
        "dataset": lambda: open_project(tmp_path / "none.json", None, [a]),
        "predictions": lambda: open_project(gt, None, [tmp_path / "none.json"]),
        "project": lambda: open_project(folder=tmp_path / "none.json"),
    }
    with pytest.raises((OSError, ValueError), match=r"none\.json"):
        attempts[argument]()


def test_a_folder_of_another_data_set_is_refused(tmp_path):
    gt, a = files(tmp_path)
    open_project(gt, None, [a], tmp_path / "project")
    other = datasets.write_ground_truth(tmp_path, "other.json", 3)
    with pytest.raises(ValueError, match=r"is a project of .*gt\.json, not of .*other\.json"):
        open_project(other, None, [a], tmp_path / "project")


@pytest.mark.parametrize("content", ["{", "[]", '{"version": 9, "truth": null, "frames": null, "models": []}'])
def test_a_broken_project_file_says_where(tmp_path, content):
    (tmp_path / META).write_text(content)
    with pytest.raises(ValueError, match=r"project\.json"):
        open_project(folder=tmp_path)


def test_predictions_for_another_data_set_name_the_ids(tmp_path):
    gt = datasets.write_ground_truth(tmp_path)
    wrong = datasets.write_predictions(tmp_path, "wrong.json", [(7, 1, 0.9, LEFT), (8, 1, 0.9, LEFT)])
    with pytest.raises(ValueError, match=r"another data set .* video ids 7, 8, which that lacks; that has 1, 2"):
        open_project(gt, None, [wrong])


def test_predictions_twice_are_refused(tmp_path):
    gt, a = files(tmp_path)
    with pytest.raises(ValueError, match="every file once"):
        open_project(gt, None, [a, a])


def test_without_a_folder_of_frames_the_background_is_grey(tmp_path):
    gt, a = files(tmp_path)
    project = open_project(gt, tmp_path / "nowhere", [a])
    frames = dataset_frames(project, 1)
    assert isinstance(frames, PlaceholderFrames) and "nowhere" in frames.reason and "nowhere" in texts(project)
    with Image.open(io.BytesIO(frames.picture(datasets.FRAMES - 1))) as image:
        assert image.size == datasets.SIZE[::-1] and abs(np.asarray(image).astype(int) - GREY).max() < 3
    with pytest.raises(IndexError):
        frames.picture(datasets.FRAMES)
    result = project.predictions(0, 1)
    content = payload(PlayerView("t", frames, 0, datasets.FRAMES, (Layer("a", False, result),)))
    assert content["width"] == datasets.SIZE[1] and len(content["times"]) == datasets.FRAMES and not content["video"]


def test_frames_that_exist_are_shown_beside_missing_ones(tmp_path):
    gt, a = files(tmp_path)
    for frame in range(datasets.FRAMES - 1):
        file = tmp_path / "frames" / "v1" / f"{frame}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (60, 40), (255, 0, 0)).save(file)
    project = open_project(gt, tmp_path / "frames", [a])
    frames = dataset_frames(project, 1)
    assert isinstance(frames, PlaceholderFrames)
    assert frames.reason == "1 of 10 frames are missing (9.jpg, …) and shown grey."
    red, grey = (np.asarray(Image.open(io.BytesIO(frames.picture(frame)))) for frame in (0, 9))
    assert red[5, 5, 0] > 200 and abs(int(grey[5, 5, 0]) - GREY) < 3
    assert "1 of 2 videos (v2)" in texts(project)


def test_without_annotations_predictions_are_shown(tmp_path):
    content = json.loads(datasets.write_ground_truth(tmp_path).read_text())
    del content["annotations"]
    gt = datasets.write_json(tmp_path, "unlabelled.json", content)
    _, a = files(tmp_path)
    project = open_project(gt, None, [a])
    assert not project.has_truth and project.ground_truth(1) is None
    assert [track.id for track in project.predictions(0, 2).tracks] == [2]
    assert "unlabelled.json: there are no annotations (null or missing): predictions are shown" in texts(project)
    task = EvaluationService(tmp_path / "cache", in_process=True).open(project)
    assert task.status().message.startswith("unlabelled.json: there are no annotations (null or missing). Errors need")


def test_gzip_is_opened_reviewed_and_named_without_its_suffixes(tmp_path):
    plain, packed = datasets.write_ground_truth(tmp_path), []
    a = datasets.write_predictions(tmp_path, "model.v2.json", [(1, 1, 0.9, LEFT)])
    for file in (plain, a):
        packed.append(file.with_name(f"{file.name}.gz"))
        packed[-1].write_bytes(gzip.compress(file.read_bytes()))
    project, same = open_project(packed[0], None, [packed[1]]), open_project(plain, None, [a])
    assert [model.name for model in project.models] == ["model.v2"]
    assert project.dataset.annotations == same.dataset.annotations
    assert project.predictions(0, 1).tracks[0].rles == same.predictions(0, 1).tracks[0].rles
    labels = ReviewSession(project).labels
    assert [track.id for track in labels.corrected(1, IndexedLog()).result.tracks] == [10, 11]
    listing = AllowedFolders.of([tmp_path]).listing()
    assert set(listing.truths) >= {str(plain), str(packed[0])} and set(listing.predictions) == {str(a), str(packed[1])}
    (tmp_path / "cut.json.gz").write_bytes(packed[0].read_bytes()[:40])
    assert str(tmp_path / "cut.json.gz") not in AllowedFolders.of([tmp_path]).listing().predictions


def test_sizes_of_videos_come_from_predictions_without_a_data_set(tmp_path):
    absent = [None] * datasets.FRAMES
    a = datasets.write_predictions(tmp_path, "a.json", [(5, 1, 0.9, absent), (5, 4, 0.9, LEFT)])
    b = datasets.write_predictions(tmp_path, "b.json", [(3, 1, 0.9, LEFT[:4])])
    project = open_project(predictions=[a, b])
    sizes = {id: (info.size_hw, info.length) for id, info in project.dataset.videos.items()}
    assert sizes == {3: (datasets.SIZE, 4), 5: (datasets.SIZE, datasets.FRAMES)}
    assert project.dataset.categories == {1: "class 1", 4: "class 4"}
    assert isinstance(dataset_frames(project, 5), PlaceholderFrames) and "no ground truth" in texts(project)
    assert len(project.predictions(0, 5).tracks) == 2 and not project.predictions(0, 3).tracks
    empty = datasets.write_predictions(tmp_path, "c.json", [(9, 1, 0.9, absent)])
    with pytest.raises(ValueError, match="video 9 has no mask to take its size from"):
        open_project(predictions=[empty])


def test_another_category_list_is_mapped_by_name_in_memory(tmp_path):
    named = {"categories": [{"id": 1, "name": "Giant Panda"}, {"id": 2, "name": "dog"}]}
    content = json.loads(datasets.write_ground_truth(tmp_path).read_text()) | named
    gt = datasets.write_json(tmp_path, "named.json", content)
    # 2 is the giant panda of 2019, 8 its dog, 24 its fox.
    a = datasets.write_predictions(tmp_path, "a.json", [(1, 2, 0.9, LEFT), (2, 8, 0.8, RIGHT), (2, 24, 0.7, RIGHT)])
    project = open_project(gt, None, [a])
    notice = next(notice for notice in project.notices if notice.kind == "categories")
    assert "8, 24" in notice.text
    mapping = project.category_mappings("a")[0]
    assert (mapping.source, dict(mapping.categories), mapping.lost) == ("YouTube-VIS 2019", {2: 1, 8: 2}, ("fox",))
    assert (mapping.predictions, mapping.of) == (2, 3)
    before = a.read_bytes()
    mapped = with_categories(project, "a", mapping.categories)
    assert [p.category_id for p in mapped.results[0].predictions] == [1, 2, NO_CLASS]
    assert a.read_bytes() == before and not any(n.kind == "categories" for n in mapped.notices)
    assert open_project(gt, None, [a]).models[0].categories == {2: 1, 8: 2}
    assert with_categories(mapped, "a", None).models[0].categories is None
    with pytest.raises(ValueError, match="one of the models a, got 'z'"):
        with_categories(project, "z", None)


@pytest.mark.parametrize(("start", "ids"), [(0, (0, 1)), (1, (1, 2))])
def test_contiguous_indices_are_mapped(tmp_path, start, ids):
    """The data set's classes are 1, 2 and 3; here they are 11, 12 and 13."""
    content = json.loads(
        datasets.write_ground_truth(tmp_path).read_text().replace('"category_id": ', '"category_id": 1')
    )
    content["categories"] = [{"id": id, "name": f"kind {id}"} for id in (13, 11, 12)]
    gt = datasets.write_json(tmp_path, "gt.json", content)
    tracks = [(video, id, 0.9, masks) for video in (1, 2) for id, masks in zip(ids, (LEFT, RIGHT), strict=True)]
    project = open_project(gt, None, [datasets.write_predictions(tmp_path, "a.json", tracks)])
    mapping, *others = project.category_mappings("a")
    assert mapping.source == f"indices from {start} of the sorted categories"
    assert (mapping.predictions, mapping.annotated, mapping.of) == (4, 4, 4)
    assert all(other.annotated < 4 for other in others)
    mapped = with_categories(project, "a", mapping.categories)
    assert [prediction.category_id for prediction in mapped.results[0].predictions] == [11, 12] * 2
    assert mapped.category_mappings("a")[0] == mapping


def test_no_predictions_have_no_mapping(tmp_path):
    project = open_project(
        datasets.write_ground_truth(tmp_path), None, [datasets.write_predictions(tmp_path, "a.json", [])]
    )
    assert not project.category_mappings("a")


def test_errors_of_masks_name_the_frame(tmp_path):
    gt = datasets.write_ground_truth(tmp_path)
    small = [sets.rectangle(20, 20, 1, 1, 5, 5)] * datasets.FRAMES
    project = open_project(gt, None, [datasets.write_predictions(tmp_path, "a.json", [(1, 1, 0.9, small)])])
    with pytest.raises(ValueError, match="frame 0: expected a mask of"):
        project.predictions(0, 1)
    with pytest.raises(ValueError, match="has no video 77"):
        dataset_frames(project, 77)


def test_a_link_may_name_a_project(tmp_path):
    gt, a = files(tmp_path)
    assert View(project=open_project(gt, None, [a]).id).project
