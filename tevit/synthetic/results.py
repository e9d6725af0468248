"""A made-up data set as large as YouTube-VIS, with the results of a made-up model: what speed is measured on."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tevit.io.files import atomic
from tevit.masks.rle import check_runs, encode_runs

SIZE = 360, 640
CLASSES = 40


def write_sets(folder: Path, videos: int = 300, seed: int = 0) -> tuple[Path, Path]:
    """Write gt.json and results.json: two truths and ten predictions a video of 20 to 36 frames of 360 x 640.

    Ground truth has plain run lengths, results have compressed text, as the real files. Returns the two paths.
    """
    rng = np.random.default_rng(seed)
    gt, results = folder / "gt.json", folder / "results.json"
    facts, annotations = [], []
    with atomic(results) as path, path.open("w") as file:
        for video in range(1, videos + 1):
            length = int(rng.integers(20, 37))
            facts.append(_facts(video, length))
            tracks = [(int(rng.integers(1, CLASSES + 1)), _shape(rng)) for _ in range(2)]
            for category, shape in tracks:
                runs = [_runs(*_at(shape, t)) for t in range(length)]
                annotations.append(_annotation(len(annotations) + 1, video, category, runs))
            for item in _predictions(rng, video, length, tracks):
                file.write(("[" if file.tell() == 0 else ",\n") + json.dumps(item))
        file.write("]")
    categories = [{"id": id, "name": f"class {id}"} for id in range(1, CLASSES + 1)]
    with atomic(gt) as path:
        path.write_text(json.dumps({"videos": facts, "categories": categories, "annotations": annotations}))
    return gt, results


def _facts(video: int, length: int) -> dict:
    names = [f"{video:05d}/{5 * t:05d}.jpg" for t in range(length)]
    return {"id": video, "height": SIZE[0], "width": SIZE[1], "length": length, "file_names": names}


def _annotation(id: int, video: int, category: int, runs: list[np.ndarray]) -> dict:
    masks = [{"size": list(SIZE), "counts": item.tolist()} for item in runs]
    areas = [int(item[1::2].sum()) for item in runs]
    keys = {"id": id, "video_id": video, "category_id": category, "iscrowd": 0}
    return {**keys, "segmentations": masks, "bboxes": [None] * len(runs), "areas": areas}


def _predictions(
    rng: np.random.Generator, video: int, length: int, tracks: list[tuple[int, np.ndarray]]
) -> Iterator[dict]:
    """Copies of the truths, jittered more or less; some in the wrong class, some of nothing."""
    for _ in range(10):
        category, shape = tracks[rng.integers(2)]
        jitter = rng.choice([0.0, 0.01, 0.03, 0.1, 0.3])
        shape = shape * rng.normal(1, jitter, shape.shape) if rng.random() < 0.85 else _shape(rng)
        category = category if rng.random() < 0.85 else int(rng.integers(1, CLASSES + 1))
        texts = _compress([_runs(*_at(shape, t)) for t in range(length)])
        masks = [{"size": list(SIZE), "counts": text.decode()} for text in texts]
        score = float(np.clip(rng.normal(0.8 - 2 * jitter, 0.2), 0, 1))
        yield {"video_id": video, "category_id": category, "score": score, "segmentations": masks}


def _compress(masks: list[np.ndarray]) -> list[bytes]:
    runs, lengths, sizes = np.concatenate(masks), np.array([len(mask) for mask in masks]), np.array([SIZE] * len(masks))
    return encode_runs(runs, lengths, sizes, check_runs(runs, lengths, sizes))


def _shape(rng: np.random.Generator) -> np.ndarray:
    """Centre x and y, their steps a frame, half axes x and y: pixels."""
    height, width = SIZE
    centre = rng.uniform(0.2, 0.8, 2) * (width, height)
    return np.concatenate([centre, rng.normal(0, 3, 2), rng.uniform(0.1, 0.4, 2) * height])


def _at(shape: np.ndarray, t: int) -> tuple[float, float, float, float]:
    x, y, step_x, step_y, a, b = shape.tolist()
    return x + step_x * t, y + step_y * t, max(a, 2.0), max(b, 2.0)


def _runs(x: float, y: float, a: float, b: float) -> np.ndarray:
    """The run lengths, int64, of an ellipse with a wobbly edge."""
    height, width = SIZE
    columns = np.arange(max(0, int(x - a) + 1), min(width, int(x + a) + 1))
    half = b * np.sqrt(np.maximum(1 - ((columns - x) / a) ** 2, 0)) * (1 + 0.05 * np.sin(columns / 3))
    top = np.clip(np.rint(y - half), 0, height - 1).astype(np.int64)
    bottom = np.clip(np.rint(y + half), 0, height - 1).astype(np.int64)
    filled = bottom > top
    edges = np.stack([columns * height + top, columns * height + bottom], axis=1)[filled].ravel()
    return np.diff(edges, prepend=0, append=height * width)
