"""The table of windows: every way is run, its figures are the metric's, the frames seen are counted."""

import json
import sys

import pytest

from tests.fakes import FakeModel, squares, write_frames
from tevit import ablation, masks
from tevit.linking import Linking
from tevit.predict import Predictor


def test_every_way_gets_its_line(tmp_path, monkeypatch, capsys):
    paths = (lambda t: (t, 10), lambda t: (60, 2 * t), lambda t: None)
    video = squares(20, (96, 160), paths)
    write_frames(tmp_path / "frames" / "v", video)
    (tmp_path / "valid.json").write_text(json.dumps(truth(video)))
    ways = ((0, Linking()), (8, Linking(overlap=2, keyframes=0)))
    monkeypatch.setattr(ablation, "WAYS", ways)
    monkeypatch.setattr(ablation, "load", lambda name: Predictor(FakeModel()))
    out = tmp_path / "windows.json"
    monkeypatch.setattr(sys, "argv", ["x", str(tmp_path / "valid.json"), str(tmp_path / "frames"), "--out", str(out)])
    assert ablation.main() == 0
    found = json.loads(out.read_text())
    assert found["videos"] == 1 and found["machine"]
    assert [row["AP"] for row in found["ways"]] == pytest.approx([1, 1])
    assert [row["switches"] for row in found["ways"]] == [0, 0]
    # One pass sees each frame once; windows of 8 with 2 in common: 8 + 6 + 6 new ones, 24 seen.
    assert [row["frames_seen"] for row in found["ways"]] == [1, 24 / 20]
    assert len(capsys.readouterr().out.splitlines()) == 2


def truth(video):
    """The annotations of the squares: a track for each colour that appears."""
    length, height, width = video.shape[:3]
    names = [f"v/{index:05d}.png" for index in range(length)]
    annotations = []
    for colour in range(2):
        rles = masks.encode_batch(video[..., colour] > 0)
        boxes, areas = [[0, 0, 12, 12]] * length, [144] * length
        whole = {"id": colour + 1, "video_id": 1, "category_id": colour + 1, "iscrowd": 0, "bboxes": boxes}
        sized = {"height": height, "width": width, "length": length, "areas": areas}
        annotations.append(whole | sized | {"segmentations": [masks.to_json(rle) for rle in rles]})
    about = {"id": 1, "width": width, "height": height, "length": length, "file_names": names}
    classes = [{"id": number + 1, "name": name} for number, name in enumerate(("red", "green", "blue"))]
    return {"videos": [about], "categories": classes, "annotations": annotations}
