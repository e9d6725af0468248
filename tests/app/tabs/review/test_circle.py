"""From predictions and frames without labels to a trained model: accepted tracks, a data set, training."""

import json
import shutil
from pathlib import Path

import pytest

from app.projects.project import BUNDLED, open_project
from app.tabs.review.session import ReviewSession, unlabelled_dataset, write_file
from tevit.inference.predictor import load
from tevit.io.validate import validate
from tevit.io.ytvis import open_dataset
from train.__main__ import main as train

RUN = ("--scales", "96x64", "--frames", "2", "--slots", "1", "--clips-per-slot", "1", "--workers", "0")
RUN = (*RUN, "--iterations", "2", "--save-every", "2", "--eval-every", "0", "--device", "cpu")


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """frames/ of two videos, results.json of the demo model on these, and nothing else."""
    folder = tmp_path_factory.mktemp("circle")
    for video in sorted((BUNDLED / "JPEGImages").iterdir())[:2]:
        shutil.copytree(video, folder / "frames" / video.name)
    predictions = json.loads((BUNDLED / "predictions" / "tevit_demo.json").read_bytes())
    (folder / "results.json").write_text(json.dumps([one for one in predictions if one["video_id"] <= 2]))
    return folder


def test_accepted_predictions_are_a_data_set_that_trains_a_model(start, tmp_path):
    project = open_project(None, start / "frames", [start / "results.json"], tmp_path / "project")
    session = ReviewSession(project)
    questions = [question for question in session.queue("results") if question.item.priority > 0.4]
    assert {question.item.video_id for question in questions} == {1, 2} and len(questions) >= 4
    for question in questions:
        add = next(answer for answer in session.answers(question) if answer.verdict == "label is wrong")
        session.store.append(add.decision(session.hash, "anna"))
    data = tmp_path / "mine"
    shutil.copytree(start / "frames", data / "JPEGImages")
    assert write_file("corrected.json", session, data) == []
    assert not validate(data / "corrected.json").faults
    labels = open_dataset(data / "corrected.json")
    assert len(labels.annotations) == len(questions) and labels.videos[1].file_names[0] == "shapes-2001-0000/00000.jpg"
    init, out = BUNDLED.parent / "tevit_demo.safetensors", tmp_path / "run"
    command = ["custom", "--data", str(data), "--split", "corrected", "--init", str(init), "--out", str(out)]
    assert train([*command, *RUN]) == 0
    result = load(out / "checkpoints/2/model.safetensors")(start / "frames" / "shapes-2001-0000", size=(64, 96))
    assert dict(result.categories) == dict(labels.categories)
    assert result.tracks and all(len(track.rles) == labels.videos[1].length for track in result.tracks)


def test_frames_that_are_not_those_of_the_predictions(start, tmp_path):
    dataset = open_project(None, start / "frames", [start / "results.json"], tmp_path / "project").dataset
    names = json.loads(unlabelled_dataset(dataset, start / "frames"))["videos"]
    (tmp_path / "2").symlink_to(start / "frames" / "shapes-2001-0001")
    (tmp_path / "001").symlink_to(start / "frames" / "shapes-2001-0000")
    assert [v["file_names"][-1] for v in json.loads(unlabelled_dataset(dataset, tmp_path))["videos"]] == [
        f"{folder}/{Path(v['file_names'][-1]).name}" for folder, v in zip(("001", "2"), names, strict=True)
    ]
    assert json.loads(unlabelled_dataset(dataset, None))["videos"][0]["file_names"] == []
    (tmp_path / "2").rename(tmp_path / "other")
    (tmp_path / "third").symlink_to(start / "frames" / "shapes-2001-0001")
    with pytest.raises(ValueError, match=r"a folder of images for each of the 2 predicted videos.*got 3 folders"):
        unlabelled_dataset(dataset, tmp_path)
    (tmp_path / "third").unlink()
    (tmp_path / "other").rename(tmp_path / "000")  # the folders are in the other order now
    with pytest.raises(ValueError, match=r"000: expected the \d+ frames of .* of video 1, got"):
        unlabelled_dataset(dataset, tmp_path)
