"""The table of windows: every configuration is run, its figures are the metric's, processed frames are counted."""

import json
import sys

import pytest

from tests.fakes import FakeModel, squares, write_frames
from tests.tevit.evaluation import sets
from tevit.benchmarks import windows
from tevit.inference.association import AssociationOptions
from tevit.inference.predictor import Predictor


def test_every_configuration_gets_its_row(tmp_path, monkeypatch, capsys):
    paths = (lambda t: (t, 10), lambda t: (60, 2 * t), lambda t: None)
    video = squares(20, (96, 160), paths)
    write_frames(tmp_path / "frames" / "v", video)
    tracks = [sets.annotation(channel + 1, 1, channel + 1, list(video[..., channel] > 0)) for channel in range(2)]
    truth = sets.data_set({1: len(video)}, [1, 2, 3], tracks, video.shape[1:3])
    truth["videos"][0]["file_names"] = [f"v/{index:05d}.png" for index in range(len(video))]
    (tmp_path / "valid.json").write_text(json.dumps(truth))
    configurations = ((0, AssociationOptions()), (8, AssociationOptions(overlap=2, keyframes=0)))
    monkeypatch.setattr(windows, "CONFIGURATIONS", configurations)
    monkeypatch.setattr(windows, "load", lambda name: Predictor(FakeModel()))
    out = tmp_path / "windows.json"
    monkeypatch.setattr(sys, "argv", ["x", str(tmp_path / "valid.json"), str(tmp_path / "frames"), "--out", str(out)])
    assert windows.main() == 0
    report = json.loads(out.read_text())
    assert report["videos"] == 1 and report["machine"]
    assert [row["AP"] for row in report["ways"]] == pytest.approx([1, 1])
    assert [row["switches"] for row in report["ways"]] == [0, 0]
    # One pass sees each frame once; windows of 8 with 2 in common: 8 + 6 + 6 new ones, 24 seen.
    assert [row["frames_seen"] for row in report["ways"]] == [1, 24 / 20]
    assert all(row["frames_per_second"] > 0 for row in report["ways"])
    assert len(capsys.readouterr().out.splitlines()) == 2
