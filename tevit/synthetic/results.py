"""A synthetic data set as large as YouTube-VIS with results of a synthetic model, for benchmarks of speed."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tevit.io.files import atomic
from tevit.masks.rle import check_runs, encode_runs

SIZE = 360, 640
CLASSES = 40


def write_sets(folder: Path, videos: int = 300, seed: int = 0) -> tuple[Path, Path]:
    """Write gt.json and results.json: videos of 20 to 36 frames of 360 x 640, with 2 tracks and 10 predictions each.

    As in the real files, ground truth has plain run lengths, results have compressed text. Returns: the two paths.
    """
    rng = np.random.default_rng(seed)
    gt, results = folder / "gt.json", folder / "results.json"
    entries, annotations = [], []
    with atomic(results) as path, path.open("w") as file:
        for video in range(1, videos + 1):
            length = int(rng.integers(20, 37))
            names = [f"{video:05d}/{5 * t:05d}.jpg" for t in range(length)]
            size = {"height": SIZE[0], "width": SIZE[1]}
            entries.append({"id": video, **size, "length": length, "file_names": names})
            tracks = [(int(rng.integers(1, CLASSES + 1)), _random_ellipse(rng)) for _ in range(2)]
            for category, ellipse in tracks:
                runs = [_runs(ellipse, t) for t in range(length)]
                keys = {"id": len(annotations) + 1, "video_id": video, "category_id": category, "iscrowd": 0}
                masks = [{"size": list(SIZE), "counts": item.tolist()} for item in runs]
                areas = [int(item[1::2].sum()) for item in runs]
                annotations.append({**keys, "segmentations": masks, "bboxes": [None] * length, "areas": areas})
            for item in _predictions(rng, video, length, tracks):
                file.write(("[" if file.tell() == 0 else ",\n") + json.dumps(item))
        file.write("]")
    categories = [{"id": id, "name": f"class {id}"} for id in range(1, CLASSES + 1)]
    with atomic(gt) as path:
        path.write_text(json.dumps({"videos": entries, "categories": categories, "annotations": annotations}))
    return gt, results


def _predictions(
    rng: np.random.Generator, video: int, length: int, tracks: list[tuple[int, np.ndarray]]
) -> Iterator[dict]:
    """Ten copies of the tracks with more or less noise; some of the wrong class, some of no object."""
    for _ in range(10):
        category, ellipse = tracks[rng.integers(2)]
        noise = rng.choice([0.0, 0.01, 0.03, 0.1, 0.3])
        ellipse = ellipse * rng.normal(1, noise, ellipse.shape) if rng.random() < 0.85 else _random_ellipse(rng)
        category = category if rng.random() < 0.85 else int(rng.integers(1, CLASSES + 1))
        frames = [_runs(ellipse, t) for t in range(length)]
        runs, lengths = np.concatenate(frames), np.array([len(frame) for frame in frames])
        sizes = np.array([SIZE] * length)
        texts = encode_runs(runs, lengths, sizes, check_runs(runs, lengths, sizes))
        masks = [{"size": list(SIZE), "counts": text.decode()} for text in texts]
        score = float(np.clip(rng.normal(0.8 - 2 * noise, 0.2), 0, 1))
        yield {"video_id": video, "category_id": category, "score": score, "segmentations": masks}


def _random_ellipse(rng: np.random.Generator) -> np.ndarray:
    """(6,): centre x and y, their steps per frame, half axes x and y, in pixels."""
    height, width = SIZE
    centre = rng.uniform(0.2, 0.8, 2) * (width, height)
    return np.concatenate([centre, rng.normal(0, 3, 2), rng.uniform(0.1, 0.4, 2) * height])


def _runs(ellipse: np.ndarray, t: int) -> np.ndarray:
    """Run lengths, int64, of an ellipse with a wavy edge in frame t."""
    x, y, step_x, step_y, a, b = ellipse.tolist()
    x, y, a, b = x + step_x * t, y + step_y * t, max(a, 2.0), max(b, 2.0)
    height, width = SIZE
    columns = np.arange(max(0, int(x - a) + 1), min(width, int(x + a) + 1))
    half = b * np.sqrt(np.maximum(1 - ((columns - x) / a) ** 2, 0)) * (1 + 0.05 * np.sin(columns / 3))
    top = np.clip(np.rint(y - half), 0, height - 1).astype(np.int64)
    bottom = np.clip(np.rint(y + half), 0, height - 1).astype(np.int64)
    filled = bottom > top
    edges = np.stack([columns * height + top, columns * height + bottom], axis=1)[filled].ravel()
    return np.diff(edges, prepend=0, append=height * width)
