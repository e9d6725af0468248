"""Predicting a data set: finished videos are kept, the same request resumes, and the file is the same either way."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.player.proxy import VideoSource
from app.projects.project import Project, open_project, with_predictions
from app.storage.results import Settings
from app.tabs.datasets.events import DatasetTask, DatasetTasks, PartialPredictions, PredictionRequest, resumable
from app.tabs.segment.run import ModelWorker
from tests.app import datasets
from tests.app.fakes import FakePredictor
from tevit.io.ytvis import read_results

VIDEOS, CLIP_FRAMES = 4, 18
MODEL = "fake"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Four videos whose frames are there."""
    monkeypatch.setenv("TEVIT_HOME", str(tmp_path / "home"))
    for video in range(1, VIDEOS + 1):
        for frame in range(datasets.FRAMES):
            file = tmp_path / "frames" / f"v{video}" / f"{frame}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((*datasets.SIZE, 3), 20 * video, np.uint8)).save(file)
    return open_project(datasets.write_ground_truth(tmp_path, videos=VIDEOS), tmp_path / "frames")


def wait_until_over(task: DatasetTask) -> DatasetTask:
    wait_until(lambda: task.over)
    return task


def wait_until(true: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


Open = Callable[..., ModelWorker]


def test_all_videos_become_one_file_and_a_model_of_the_project(project: Project, open_worker: Open):
    predictions, added = DatasetTasks(open_worker(lambda model: FakePredictor())), []
    task = wait_until_over(predictions.start(project, PredictionRequest.of(project, MODEL), added.append))
    assert (task.status().state, task.done, task.failed) == ("done", VIDEOS, {}), task.status().message
    assert added == [project.folder / "predictions" / "fake.json"] and not task.partial.folder.exists()
    results = read_results(added[0])
    assert [prediction.video_id for prediction in results.predictions] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert task.status().done == VIDEOS * datasets.FRAMES
    with_model = with_predictions(project, added)
    assert [model.name for model in with_model.models] == ["fake"] and len(with_model.predictions(0, 3).tracks) == 2
    assert project.truth is not None
    resumed = open_project(project.truth.path)
    assert resumed.models == with_model.models, "what the studio has made stays when other files are named"


@pytest.mark.parametrize(
    ("names", "ids", "note"),
    [
        ({1: "Dog", 2: "cat", 30: "PERSON"}, {2: 1, 1: 30}, "by name, not by number: person 1 -> 30, dog 2 -> 1"),
        ({1: "car", 2: "a dog", 3: "cat"}, {1: 1, 2: 2}, "no class of the model has a name of the data set"),
    ],
)
def test_classes_are_matched_by_name(project: Project, open_worker: Open, tmp_path: Path, names, ids, note):
    """The model's classes are 1 person and 2 dog; where no name agrees the message says that numbers are kept."""
    content = json.loads(Path(project.dataset.path).read_text())
    content |= {"categories": [{"id": id, "name": name} for id, name in names.items()], "annotations": None}
    other = open_project(datasets.write_json(tmp_path, "other.json", content), tmp_path / "frames")
    task = DatasetTasks(open_worker(lambda model: FakePredictor()))
    done = wait_until_over(task.start(other, PredictionRequest.of(other, MODEL), lambda path: None))
    entries = json.loads(done.partial.target.read_text())
    assert {entry["category_id"] for entry in entries} == set(ids.values())
    assert note in done.status().message


def test_a_cancelled_prediction_resumes_to_the_same_file(project: Project, open_worker: Open):
    request, files = PredictionRequest.of(project, MODEL), []
    complete = wait_until_over(
        DatasetTasks(open_worker(lambda model: FakePredictor())).start(project, request, files.append)
    )
    expected = complete.partial.target.read_bytes()
    complete.partial.target.unlink()
    held = 2 * datasets.FRAMES + 1
    slow = DatasetTasks(open_worker(lambda model: FakePredictor(held=lambda seen: seen >= held)))
    task = slow.start(project, request, files.append)
    wait_until(lambda: task.done == 2)
    with pytest.raises(ValueError, match="fake is predicting this data set already"):
        slow.start(project, request, files.append)
    task.cancel()
    assert wait_until_over(task).status().state == "cancelled" and not task.partial.target.exists()
    saved = {file.name: file.stat().st_mtime_ns for file in task.partial.folder.glob("[0-9]*.json")}
    assert len(saved) >= 2 and f"{len(saved)} of 4 videos are kept" in task.status().message
    assert [(partial.request, len(partial.finished)) for partial in resumable(project)] == [(request, len(saved))]
    # A server that was started anew: another worker, other objects.
    resumed = DatasetTasks(open_worker(lambda model: FakePredictor())).start(project, request, files.append)
    assert resumed.done == len(saved)
    assert wait_until_over(resumed).partial.target.read_bytes() == expected and not list(resumable(project))


def test_another_request_shares_nothing(project: Project, tmp_path: Path):
    weights = tmp_path / "my.pth"
    weights.write_bytes(b"1")
    one = PredictionRequest.of(project, str(weights), 5)
    PartialPredictions(project, one).create()
    assert [partial.request for partial in resumable(project)] == [one]
    weights.write_bytes(b"22")
    assert not list(resumable(project)), "of other weights nothing can go on"
    keys = {
        request.key
        for request in (one, PredictionRequest.of(project, str(weights), 5), PredictionRequest(one.truth, "my", "", 5))
    }
    assert len(keys) == 3 and one.name == "my 5 tracks"


def test_parameters_belong_to_the_request(project: Project):
    plain = PredictionRequest.of(project, "motion")
    other = PredictionRequest.of(project, "motion", parameters=(("label", "a/b"), ("min_area", 0.01)))
    assert plain.key != other.key and plain.name == "motion" and other.name == "motion label=a_b min_area=0.01"
    PartialPredictions(project, other).create()
    assert [partial.request for partial in resumable(project)] == [other]


def test_other_tasks_run_between_two_videos(project: Project, open_worker: Open, clip: Path):
    frames = [1]  # after which the model waits
    worker = open_worker(lambda model: FakePredictor(held=lambda seen: seen >= frames[0]))
    task = DatasetTasks(worker).start(project, PredictionRequest.of(project, MODEL), lambda path: None)
    wait_until(lambda: task.status().stage == "predicting")
    token = worker.submit(VideoSource("clip", clip), Settings(MODEL))
    frames[0] = datasets.FRAMES + CLIP_FRAMES + 1  # the first frame of the second video
    wait_until(lambda: (now := worker.status(token)) is not None and now.over)
    assert not task.over and task.done < VIDEOS
    frames[0] = 1000
    assert wait_until_over(task).done == VIDEOS


def test_a_failed_video_is_named_and_tried_again(project: Project, open_worker: Open):
    hidden = (project.frames or Path()) / "v2"
    hidden.rename(hidden.with_name("gone"))
    predictions = DatasetTasks(open_worker(lambda model: FakePredictor()))
    task = wait_until_over(predictions.start(project, PredictionRequest.of(project, MODEL), lambda path: None))
    end = task.status()
    assert end.state == "done" and "1 of 4 videos failed (ids 2)" in end.message and "v2" in end.message
    assert {entry["video_id"] for entry in json.loads(task.partial.target.read_text())} == {1, 3, 4}
    hidden.with_name("gone").rename(hidden)
    resumed = predictions.start(project, PredictionRequest.of(project, MODEL), lambda path: None)
    assert resumed.done == 3 and wait_until_over(resumed).done == VIDEOS


def test_without_frames_or_with_a_broken_model_nothing_is_written(project: Project, open_worker: Open, tmp_path: Path):
    def load(model: str) -> FakePredictor:
        raise ValueError("broken.pth: not a checkpoint")

    predictions = DatasetTasks(open_worker(load))
    task = wait_until_over(predictions.start(project, PredictionRequest.of(project, MODEL), lambda path: None))
    assert (task.status().state, task.status().message) == ("failed", "broken.pth: not a checkpoint")
    unlabelled = open_project(datasets.write_ground_truth(tmp_path, "other.json", 3))
    with pytest.raises(ValueError, match="needs the frames"):
        predictions.start(unlabelled, PredictionRequest.of(unlabelled, MODEL), lambda path: None)


def test_masks_are_in_the_order_of_the_file_and_the_message_names_the_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_worker: Open
):
    monkeypatch.setenv("TEVIT_HOME", str(tmp_path / "home"))
    content = json.loads(datasets.write_ground_truth(tmp_path).read_text())
    for video in content["videos"]:
        video["file_names"] = sorted(f"v{video['id']}/{frame}.jpg" for frame in range(1, datasets.FRAMES + 1))
        for name in video["file_names"]:
            file = tmp_path / "frames" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((*datasets.SIZE, 3), 90, np.uint8)).save(file)
    project = open_project(datasets.write_json(tmp_path, "plain.json", content), tmp_path / "frames")
    tasks, added = DatasetTasks(open_worker(lambda model: FakePredictor())), []
    task = wait_until_over(tasks.start(project, PredictionRequest.of(project, MODEL), added.append))
    order = "frames are in natural order ('2.jpg' is number 2), not alphabetical ('10.jpg' would be) (videos 1, 2)"
    assert order in task.status().message and "masks are written in that of the file (videos" in task.status().message
    lefts = read_results(added[0]).video(project.info(1), {1: "a", 2: "b"}).tracks[0].boxes_xyxy[:, 0].tolist()
    assert lefts == [4 * place for place in (0, 9, 1, 2, 3, 4, 5, 6, 7, 8)]  # 1, 10, 2, 3, …
