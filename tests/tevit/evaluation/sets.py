"""Data sets for the tests: recorded ones and random ones of any shape, as parsed JSON; and how to evaluate those."""

import json
import lzma
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from tevit.evaluation import api as ap
from tevit.masks.ops import encode

GOLDENS = Path(__file__).parents[2] / "goldens"


@cache
def recorded(name: str) -> dict:
    """The content of one of the eval_*.json.xz files."""
    with lzma.open(GOLDENS / f"{name}.json.xz") as file:
        return json.load(file)


@cache
def official() -> dict[str, np.ndarray]:
    """What the official evaluator made of them: "<set>/<array>"."""
    with np.load(GOLDENS / "eval_official.npz") as file:
        return dict(file)


def write(folder: str | Path, gt: dict, results: list) -> tuple[Path, Path]:
    """The two as files."""
    paths = Path(folder) / "gt.json", Path(folder) / "results.json"
    for path, content in zip(paths, (gt, results), strict=True):
        path.write_text(json.dumps(content))
    return paths


def evaluate(gt: dict, results: list, agnostic: bool = False) -> ap.Evaluation:
    """Ours, by way of files as everybody else."""
    with tempfile.TemporaryDirectory() as folder:
        return ap.evaluate(*write(folder, gt, results), agnostic=agnostic)


def rectangle(height: int, width: int, x: int, y: int, w: int, h: int) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    mask[y : y + h, x : x + w] = 1
    return mask


def text(mask: np.ndarray | None) -> dict | None:
    """A mask as COCO's compressed text."""
    if mask is None:
        return None
    rle = encode(mask)
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def plain(mask: np.ndarray | None) -> dict | None:
    """A mask as plain run lengths."""
    if mask is None:
        return None
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat, prepend=0, append=1 - flat[-1]))
    return {"size": list(mask.shape), "counts": np.diff(edges, prepend=0).tolist()}


def annotation(id: int, video: int, category: int, masks: list, crowd: int = 0) -> dict:
    areas = [None if mask is None else int(mask.sum()) for mask in masks]
    segmentations = [plain(mask) for mask in masks]
    return {
        "id": id,
        "video_id": video,
        "category_id": category,
        "iscrowd": crowd,
        "segmentations": segmentations,
        "areas": areas,
        "bboxes": [None] * len(masks),
    }


def prediction(video: int, category: int, score: float, masks: list) -> dict:
    return {
        "video_id": video,
        "category_id": category,
        "score": score,
        "segmentations": [text(mask) for mask in masks],
    }


def data_set(videos: dict[int, int], categories: list[int], annotations: list, size: tuple[int, int]) -> dict:
    """videos: id -> frames."""
    return {
        "videos": [
            {
                "id": id,
                "height": size[0],
                "width": size[1],
                "length": n,
                "file_names": [f"v{id}/{t}.jpg" for t in range(n)],
            }
            for id, n in videos.items()
        ],
        "categories": [{"id": id, "name": f"class {id}"} for id in categories],
        "annotations": annotations,
    }


@st.composite
def random_sets(draw: st.DrawFn, official_only: bool = True, classes: int = 3) -> tuple[dict, list]:
    """Small sets of rectangles with equal scores, equal IoUs, crowds, gaps, empty masks and other lengths.

    official_only: also what only the metric's own rules know, such as stated areas that the masks contradict.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    big = draw(st.booleans())
    size, sides = ((300, 280), [20, 127, 128, 129, 256]) if big else ((12, 15), [1, 2, 3, 5, 7])
    categories = rng.permutation(np.arange(1, 9))[: draw(st.integers(1, classes))].tolist()
    ids = rng.permutation(np.arange(0 if official_only else 1, 90)).tolist()
    videos = {int(id): draw(st.integers(1, 5)) for id in rng.permutation(np.arange(1, 9))[: draw(st.integers(1, 4))]}
    annotations, results = [], []
    most = draw(st.integers(0, 4)), draw(st.integers(0, 9))
    for video, length in videos.items():
        tracks = []
        for _ in range(rng.integers(0, most[0] + 1)):
            masks, category = _track(rng, size, sides, length), int(rng.choice(categories))
            tracks.append((category, masks))
            annotations.append(annotation(ids.pop(), video, category, masks, int(rng.random() < 0.15)))
            if official_only and rng.random() < 0.3:
                area = int(rng.choice([0, 100, 16384, 40000, 65536, 65537]))
                annotations[-1]["areas"] = [None if mask is None else area for mask in masks]
        for _ in range(rng.integers(0, most[1] + 1)):
            results.append(_random_prediction(rng, video, categories, tracks, (size, sides, length), official_only))
    order = rng.permutation(len(results))
    gt = data_set(videos, categories, [annotations[i] for i in rng.permutation(len(annotations))], size)
    return gt, [results[i] for i in order]


def _track(rng: np.random.Generator, size: tuple[int, int], sides: list[int], length: int) -> list:
    h, w = rng.choice(sides), rng.choice(sides)
    x, y, step = rng.integers(0, size[1] - w + 1), rng.integers(0, size[0] - h + 1), rng.integers(0, 2)
    return [None if rng.random() < 0.15 else rectangle(*size, x + step * t, y, w, h) for t in range(length)]


def _random_prediction(
    rng: np.random.Generator, video: int, categories: list[int], tracks: list, shape: tuple, odd: bool
) -> dict:
    size, _, length = shape
    category, masks = int(rng.choice(categories)), _track(rng, *shape)
    if tracks and rng.random() < 0.8:
        true_category, masks = tracks[rng.integers(len(tracks))]
        category = true_category if rng.random() < 0.8 else category
        shift = rng.integers(0, 3)
        masks = [None if m is None or rng.random() < 0.1 else np.roll(m, shift, axis=1) for m in masks]
        if rng.random() < 0.3:
            cut = rng.integers(0, length + 1)
            masks = masks[:cut] + tracks[rng.integers(len(tracks))][1][cut:]
    if odd and rng.random() < 0.1:
        masks = masks[: rng.integers(0, length)] if rng.random() < 0.5 else [*masks, masks[0]]
    if odd and rng.random() < 0.1:
        masks = [np.zeros(size, np.uint8)] * length
    if odd and rng.random() < 0.1:
        masks[:1] = [rectangle(size[0] - 1, size[1], 0, 0, 5, 5)]
        category = category if rng.random() < 0.7 else 99
    return prediction(video, category, float(rng.choice([0.0, 0.3, 0.5, 0.9, rng.random()])), masks)
