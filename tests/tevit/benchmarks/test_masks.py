"""`tevit benchmark masks`: mean J of the best track."""

import json

import cv2
import numpy as np
import pytest

from tests.tevit.inference.test_motion import scene
from tevit.benchmarks.masks import best_overlap
from tevit.cli.main import main
from tevit.masks.ops import areas, encode, to_boxes_xyxy, to_json
from tevit.results import Track, VideoResult


def result(tracks: list[list[np.ndarray | None]]) -> VideoResult:
    items = []
    for number, masks in enumerate(tracks, 1):
        rles = tuple(None if mask is None else encode(mask) for mask in masks)
        items.append(Track(number, 1, 1.0, rles, to_boxes_xyxy(rles), areas(rles)))
    return VideoResult(1, "a", (8, 8), np.arange(2.0), {1: "x"}, tuple(items))


def test_the_best_track_counts_and_frames_without_both_are_right():
    whole, half = np.zeros((2, 8, 8), bool)
    whole[:4], half[:2] = True, True
    truth = result([[whole, None]])
    np.testing.assert_allclose(best_overlap(truth, result([[half, half], [half, None]])), [0.75])
    assert best_overlap(truth, result([])).tolist() == [0]


def test_the_command_measures_a_data_set(tmp_path, capsys):
    frames, masks = scene(12, 2, 0)
    (tmp_path / "v").mkdir()
    names = [f"v/{t:05d}.png" for t in range(12)]
    for name, frame in zip(names, frames, strict=True):
        cv2.imwrite(str(tmp_path / name), frame[..., ::-1])
    size = {"width": 192, "height": 144, "length": 12}
    segmentations = [to_json(encode(mask)) for mask in masks]
    annotation = {"id": 1, "video_id": 1, "category_id": 1, "iscrowd": 0, "segmentations": segmentations, **size}
    data = {"videos": [{"id": 1, "file_names": names, **size}], "categories": [{"id": 1, "name": "square"}]}
    (tmp_path / "gt.json").write_text(json.dumps({**data, "annotations": [annotation]}))
    assert main(["benchmark", "masks", "--gt", str(tmp_path / "gt.json"), "--frames", str(tmp_path)]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])["figures"]
    assert figures["mean J over all objects"]["median"] == pytest.approx(figures["J of v"]["median"]) and (
        figures["J of v"]["median"] > 0.8
    )
    (tmp_path / "gt.json").write_text(json.dumps(data))
    assert main(["benchmark", "masks", "--gt", str(tmp_path / "gt.json"), "--frames", str(tmp_path)]) == 2
    assert "expected annotations" in capsys.readouterr().err
