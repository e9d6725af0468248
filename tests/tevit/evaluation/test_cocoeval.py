"""The figures by a second road: COCOeval of pycocotools on each video's frames stacked into one picture."""

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests import annotations as make
from tevit.evaluation.api import evaluate

NAMES = ("AP", "AP50", "AP75", "AR1", "AR10", "AR100")
SETS, CHUNKS = 200, 10
Masks = list[np.ndarray | None]


def random_masks(rng: np.random.Generator, length: int, size: tuple[int, int]) -> Masks:
    """A rectangle that moves, absent in some frames but not in all of them."""
    height, width = size
    present = rng.random(length) < 0.8
    present[rng.integers(length)] = True
    masks: Masks = []
    for there in present:
        top, left = int(rng.integers(0, height - 2)), int(rng.integers(0, width - 2))
        bottom, right = int(rng.integers(top + 1, height)), int(rng.integers(left + 1, width))
        mask = make.rectangle(top, left, bottom, right, size)
        masks.append(mask if there else None)
    return masks


def disturbed(rng: np.random.Generator, masks: Masks) -> Masks:
    """The masks moved by up to a pixel, some frames lost."""
    shifts = rng.integers(-1, 2, (len(masks), 2))
    return [
        None if mask is None or rng.random() < 0.1 else np.roll(mask, tuple(shift), (0, 1))
        for mask, shift in zip(masks, shifts, strict=True)
    ]


def random_set(
    seed: int,
) -> tuple[dict, list[dict], list[tuple[int, int, int, Masks]], list[tuple[int, int, float, Masks]]]:
    """A data set and predictions as files, and the tracks of both: (id, video, category, masks), (…, score, masks)."""
    rng = np.random.default_rng(seed)
    sizes = [(int(rng.integers(6, 14)), int(rng.integers(6, 14))) for _ in range(int(rng.integers(1, 5)))]
    videos = [make.video(id, int(rng.integers(1, 6)), size) for id, size in enumerate(sizes, 1)]
    labels, predictions = [], []
    for video, size in zip(videos, sizes, strict=True):
        for _ in range(int(rng.integers(0 if labels else 1, 5))):
            masks = random_masks(rng, video["length"], size)
            category = int(rng.choice(list(make.CATEGORIES)))
            labels.append((len(labels) + 1, video["id"], category, masks))
            for _ in range(int(rng.integers(0 if predictions else 1, 3))):
                other = int(rng.choice(list(make.CATEGORIES))) if rng.random() < 0.2 else category
                # Scores with ties: their order decides, and must be the same.
                predictions.append((video["id"], other, round(float(rng.random()), 1), disturbed(rng, masks)))
        for _ in range(int(rng.integers(0, 3))):
            masks = random_masks(rng, video["length"], size)
            predictions.append((video["id"], int(rng.choice(list(make.CATEGORIES))), float(rng.random()), masks))
    data = make.data_set(videos, [make.annotation(*label) for label in labels])
    return data, [make.prediction(*prediction) for prediction in predictions], labels, predictions


def stacked(masks: Masks, size: Sequence[int]) -> Any:
    """All frames below one another, as RLE."""
    pixels = np.concatenate([np.zeros(size, np.uint8) if mask is None else mask for mask in masks])
    return coco_mask.encode(np.asfortranarray(pixels))


def coco_figures(data: dict, labels: list, predictions: list) -> list[float]:
    """AP, AP50, AP75, AR1, AR10, AR100 by COCOeval; -1 where there is no label."""
    sizes = {video["id"]: (video["height"], video["width"]) for video in data["videos"]}
    with contextlib.redirect_stdout(io.StringIO()):
        gt: Any = COCO()
        gt.dataset = {
            "images": [{"id": video["id"], "height": video["height"] * video["length"], "width": video["width"]}
                       for video in data["videos"]],
            "categories": data["categories"],
            "annotations": [
                {"id": id, "image_id": video, "category_id": category, "iscrowd": 0, "area": 1,
                 "segmentation": stacked(masks, sizes[video])}
                for id, video, category, masks in labels
            ],
        }  # fmt: skip
        gt.createIndex()
        results = [
            {"image_id": video, "category_id": category, "score": score, "segmentation": stacked(masks, sizes[video])}
            for video, category, score, masks in predictions
        ]
        evaluator: Any = COCOeval(gt, gt.loadRes(results), "segm")
        evaluator.params.areaRng, evaluator.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluator.evaluate()
        evaluator.accumulate()
    precision, recall = evaluator.eval["precision"], evaluator.eval["recall"]
    parts = [precision[..., 2], precision[0, ..., 2], precision[5, ..., 2], *(recall[..., m] for m in range(3))]
    return [float(part[part > -1].mean()) if (part > -1).any() else -1.0 for part in parts]


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_two_hundred_random_data_sets(tmp_path: Path, chunk: int):
    for seed in range(chunk, SETS, CHUNKS):
        data, results, labels, predictions = random_set(seed)
        evaluation = evaluate(make.save(tmp_path, "gt.json", data), make.save(tmp_path, "results.json", results))
        figures = [evaluation.figures[name] for name in NAMES]
        np.testing.assert_allclose(
            figures, coco_figures(data, labels, predictions), rtol=0, atol=1e-12, err_msg=f"{seed}"
        )
