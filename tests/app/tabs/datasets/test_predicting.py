"""A model over a data set: finished videos stay, the same again goes on, and the file is the same either way."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.player.proxy import VideoSource
from app.projects.opening import open_project, with_predictions
from app.projects.partial import PartialPredictions, Request, request, unfinished
from app.projects.project import Project
from app.storage.results import Settings
from app.tabs.datasets.predicting import Predicting, Predictions
from app.tabs.segment.run import ModelWorker
from tests.app import sets as made
from tests.app.fakes import FakePredictor
from tevit.io.ytvis import read_results

VIDEOS = 4
MODEL = "fake"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Four videos whose frames are there."""
    monkeypatch.setenv("TEVIT_HOME", str(tmp_path / "home"))
    for video in range(1, VIDEOS + 1):
        for frame in range(made.FRAMES):
            file = tmp_path / "frames" / f"v{video}" / f"{frame}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((*made.SIZE, 3), 20 * video, np.uint8)).save(file)
    return open_project(made.truth(tmp_path, videos=VIDEOS), tmp_path / "frames")


def over(job: Predicting) -> Predicting:
    until(lambda: job.over)
    return job


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


Open = Callable[..., ModelWorker]


def test_all_videos_become_one_file_and_a_model_of_the_project(project: Project, open_worker: Open):
    predictions, added = Predictions(open_worker(lambda model: FakePredictor())), []
    job = over(predictions.start(project, request(project, MODEL), added.append))
    assert (job.status().state, job.done, job.failed) == ("done", VIDEOS, {}), job.status().message
    assert added == [project.folder / "predictions" / "fake.json"] and not job.parts.folder.exists()
    found = read_results(added[0])
    assert [prediction.video_id for prediction in found.predictions] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert job.status().done == VIDEOS * made.FRAMES
    with_model = with_predictions(project, added)
    assert [model.name for model in with_model.models] == ["fake"] and len(with_model.predictions(0, 3).tracks) == 2
    assert project.truth is not None
    again = open_project(project.truth.path)
    assert again.models == with_model.models, "what the studio has made stays when other files are named"


def test_cancelled_and_asked_again_gives_the_same_file(project: Project, open_worker: Open):
    asked, files = request(project, MODEL), []
    whole = over(Predictions(open_worker(lambda model: FakePredictor())).start(project, asked, files.append))
    expected = whole.parts.target.read_bytes()
    whole.parts.target.unlink()
    slow = Predictions(open_worker(lambda model: FakePredictor(seconds=0.01)))
    job = slow.start(project, asked, files.append)
    until(lambda: job.done == 2)
    with pytest.raises(ValueError, match="fake is predicting this data set already"):
        slow.start(project, asked, files.append)
    job.cancel()
    assert over(job).status().state == "cancelled" and not job.parts.target.exists()
    kept = {file.name: file.stat().st_mtime_ns for file in job.parts.folder.glob("[0-9]*.json")}
    assert len(kept) >= 2 and f"{len(kept)} of 4 videos are kept" in job.status().message
    assert [(parts.request, len(parts.finished)) for parts in unfinished(project)] == [(asked, len(kept))]
    # A server that was started anew: another worker, other objects.
    resumed = Predictions(open_worker(lambda model: FakePredictor())).start(project, asked, files.append)
    assert resumed.done == len(kept)
    assert over(resumed).parts.target.read_bytes() == expected and not list(unfinished(project))


def test_another_request_shares_nothing(project: Project, tmp_path: Path):
    weights = tmp_path / "my.pth"
    weights.write_bytes(b"1")
    one = request(project, str(weights), 5)
    PartialPredictions(project, one).begin()
    assert [parts.request for parts in unfinished(project)] == [one]
    weights.write_bytes(b"22")
    assert not list(unfinished(project)), "of other weights nothing can go on"
    keys = {asked.key for asked in (one, request(project, str(weights), 5), Request(one.truth, "my", "", 5))}
    assert len(keys) == 3 and one.name == "my 5 tracks"


def test_others_have_their_turn_between_two_videos(project: Project, open_worker: Open, clip: Path):
    worker = open_worker(lambda model: FakePredictor(seconds=0.005))
    job = Predictions(worker).start(project, request(project, MODEL), lambda path: None)
    until(lambda: job.status().stage == "predicting")
    token = worker.submit(VideoSource("clip", clip), Settings(MODEL))
    until(lambda: (now := worker.status(token)) is not None and now.over)
    assert not job.over and job.done < VIDEOS
    assert over(job).done == VIDEOS


def test_a_video_that_fails_is_named_and_tried_anew(project: Project, open_worker: Open):
    hidden = (project.frames or Path()) / "v2"
    hidden.rename(hidden.with_name("gone"))
    predictions = Predictions(open_worker(lambda model: FakePredictor()))
    job = over(predictions.start(project, request(project, MODEL), lambda path: None))
    end = job.status()
    assert end.state == "done" and "1 of 4 videos failed (ids 2)" in end.message and "v2" in end.message
    assert {entry["video_id"] for entry in json.loads(job.parts.target.read_text())} == {1, 3, 4}
    hidden.with_name("gone").rename(hidden)
    again = predictions.start(project, request(project, MODEL), lambda path: None)
    assert again.done == 3 and over(again).done == VIDEOS


def test_without_frames_or_with_a_broken_model_nothing_is_made(project: Project, open_worker: Open, tmp_path: Path):
    def load(model: str) -> FakePredictor:
        raise ValueError("broken.pth: not a checkpoint")

    predictions = Predictions(open_worker(load))
    job = over(predictions.start(project, request(project, MODEL), lambda path: None))
    assert (job.status().state, job.status().message) == ("failed", "broken.pth: not a checkpoint")
    bare = open_project(made.truth(tmp_path, "other.json", 3))
    with pytest.raises(ValueError, match="needs the frames"):
        predictions.start(bare, request(bare, MODEL), lambda path: None)
