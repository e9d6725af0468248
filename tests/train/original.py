"""The original's random generators, and the files of its recorded training sets, for the tests of the data pipeline."""

import gzip
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tests.oracle import GOLDENS, make_video
from tests.pictures import frame_pixels
from train.data import Batch, TrainingData, collate, open_training_data
from train.recipes import TEVIT_MSGSHIFT_MST_RECIPE, TEVIT_MSGSHIFT_RECIPE, Recipe

RECIPES = {"range": TEVIT_MSGSHIFT_RECIPE, "value": TEVIT_MSGSHIFT_MST_RECIPE}


def golden(name: str) -> Any:
    """A recorded JSON file."""
    with gzip.open(GOLDENS / f"data_{name}.json.gz", "rt") as file:
        return json.load(file)


class OriginalDraws:
    """Python's and numpy's global generators, seeded alike, as the original draws from them."""

    def __init__(self, seed: int):
        self._python, self._numpy = random.Random(seed), np.random.RandomState(seed)

    def sample(self, items: Sequence[int], count: int) -> list[int]:
        return self._python.sample(list(items), count)

    def integer(self, low: int, high: int) -> int:
        return int(self._numpy.randint(low, high))

    def uniform(self) -> float:
        return float(self._numpy.random_sample())


def write_png(path: Path, bgr: np.ndarray) -> None:
    """PNG bytes, whatever the file is called."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", bgr)[1].tobytes())


def write_recorded(root: Path) -> Path:
    """The small training set of the recorded clips; returns its annotation file."""
    content = golden("train")
    for video in content["videos"]:
        for t, name in enumerate(video["file_names"]):
            pixels = frame_pixels(video["height"], video["width"], t, video["id"])
            write_png(root / "train" / name, pixels)
    file = root / "annotations" / "train.json"
    file.parent.mkdir()
    file.write_text(json.dumps(content))
    return file


def open_chain(root: Path) -> TrainingData:
    """The two videos of the recorded chain from files to losses."""
    record = golden("chain")["meta"]
    content = golden("chain_train")
    names = {video["id"]: video["file_names"] for video in content["videos"]}
    for video in record["videos"]:
        frames = make_video(video["seed"], video["T"], video["H"], video["W"])
        for name, rgb in zip(names[video["id"]], frames, strict=True):
            write_png(root / name, np.ascontiguousarray(rgb[..., ::-1]))
    (root / "train.json").write_text(json.dumps(content))
    return open_training_data(root / "train.json", root)


def chain_recipe() -> Recipe:
    """Its scales."""
    record = golden("chain")["meta"]
    return replace(TEVIT_MSGSHIFT_RECIPE, scales=tuple(map(tuple, record["scales"])), frames=record["clip_length"])


def chain_batch(data: TrainingData) -> Batch:
    """Its batch, drawn with the original's generators."""
    clips = golden("chain")["meta"]["clips"]
    recipe = chain_recipe()
    return collate([data.clip(clip["sample_index"], recipe, OriginalDraws(clip["seed"])) for clip in clips])
