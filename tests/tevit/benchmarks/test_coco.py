"""A second opinion on AP: hotcoco on tracks whose run lengths are joined to one mask of COCO's each."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests import annotations as make
from tests.tevit.evaluation.test_cocoeval import CHUNKS, SETS, random_set
from tevit.benchmarks.masks import write_coco
from tevit.evaluation.api import evaluate
from tevit.masks import ops

CATEGORY = next(iter(make.CATEGORIES))


def hotcoco_figures(truths: Path, results: Path) -> list[float]:
    """AP, AP50, AP75; -1 where there is no ground truth."""
    hotcoco = pytest.importorskip("hotcoco", reason="the second opinion hotcoco is not installed")
    data = hotcoco.COCO(str(truths))
    evaluator = hotcoco.COCOeval(data, data.load_res(str(results)), "segm")
    evaluator.evaluate()
    evaluator.accumulate()
    precision = np.asarray(evaluator.eval["precision"])[..., 0, 2]
    parts = [precision, precision[0], precision[5]]
    return [float(part[part > -1].mean()) if (part > -1).any() else -1.0 for part in parts]


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_ap_equals_that_of_hotcoco_on_random_sets(tmp_path: Path, chunk: int):
    for seed in range(chunk, SETS, CHUNKS):
        gt, results, *_ = random_set(seed)
        files = make.save(tmp_path, "gt.json", gt), make.save(tmp_path, "results.json", results)
        figures = evaluate(*files).figures
        theirs = hotcoco_figures(*write_coco(*files, tmp_path))
        np.testing.assert_allclose(
            [figures[name] for name in ("AP", "AP50", "AP75")], theirs, 0, 1e-12, err_msg=f"{seed}"
        )


def test_a_joined_mask_has_all_frames_side_by_side(tmp_path: Path):
    rng = np.random.default_rng(0)
    size = (4, 5)
    masks = [*(rng.random((4, *size)) < 0.5).astype(np.uint8), None, np.ones(size, np.uint8)]
    data = make.data_set([make.video(1, len(masks), size)], [make.annotation(1, 1, CATEGORY, masks)])
    results = [make.prediction(1, CATEGORY, 0.5, masks[::-1])]
    files = write_coco(make.save(tmp_path, "gt.json", data), make.save(tmp_path, "results.json", results), tmp_path)
    truth, results = (json.loads(path.read_text()) for path in files)
    wide = np.concatenate([np.zeros(size, np.uint8) if mask is None else mask for mask in masks], axis=1)
    for item, mask in (
        (truth["annotations"][0], wide),
        (results[0], np.concatenate(np.split(wide, 6, axis=1)[::-1], 1)),
    ):
        rle = item["segmentation"]
        assert (ops.decode({"size": rle["size"], "counts": rle["counts"].encode()}) == mask).all()
    assert truth["annotations"][0]["area"] == wide.sum()


def test_masks_of_another_size_than_the_video_cannot_be_joined(tmp_path: Path):
    data = make.data_set([make.video(1, 1, (4, 5))], [make.annotation(1, 1, CATEGORY, [np.ones((4, 4), np.uint8)])])
    with pytest.raises(ValueError, match="video 1: expected all masks of 4 x 5 pixels"):
        write_coco(make.save(tmp_path, "gt.json", data), make.save(tmp_path, "results.json", []), tmp_path)
