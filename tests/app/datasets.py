"""Data sets on disk for the tests of projects and comparison."""

import json
from pathlib import Path

import numpy as np

from app.analysis.comparison import Comparison
from app.analysis.service import EvaluationService
from app.projects.project import Project
from tests.tevit.evaluation import sets

SIZE = 40, 60
FRAMES = 10


def square(x: int, y: int = 5, side: int = 10) -> np.ndarray:
    return sets.rectangle(*SIZE, x, y, side, side)


LEFT = [square(5)] * FRAMES
SHIFTED = [square(11)] * FRAMES  # IoU 0.25 with LEFT in every frame
RIGHT = [square(40)] * FRAMES


def write_json(folder: Path, name: str, content: object) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
    return file


def write_ground_truth(folder: Path, name: str = "gt.json", videos: int = 2) -> Path:
    """Videos with two static squares: LEFT of class 1, RIGHT of class 2."""
    annotations = []
    for video in range(1, videos + 1):
        annotations.append(sets.annotation(10 * video, video, 1, LEFT))
        annotations.append(sets.annotation(10 * video + 1, video, 2, RIGHT))
    return write_json(
        folder, name, sets.data_set(dict.fromkeys(range(1, videos + 1), FRAMES), [1, 2, 3], annotations, SIZE)
    )


def write_predictions(folder: Path, name: str, tracks: list[tuple[int, int, float, list]]) -> Path:
    """tracks: video, class, score, masks."""
    return write_json(folder, name, [sets.prediction(*track) for track in tracks])


def evaluate_project(project: Project, folder: Path) -> Comparison:
    """In this process."""
    status = EvaluationService(folder, in_process=True).open(project).wait(60)
    assert status.state == "done", status.message
    assert status.result is not None
    return status.result
