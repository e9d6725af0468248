"""A data set and its results in COCO's form, so that evaluators of single images measure AP of tracks.

All frames of a video side by side are one image of H x (W · T), and a track's run lengths, joined, are one mask in it.
"""

import json
from pathlib import Path

import numpy as np

from tevit.evaluation.inputs import GroundTruth, Inputs, Predictions, Tracks, read_inputs
from tevit.evaluation.overlaps import read_spans
from tevit.evaluation.spans import Spans
from tevit.io.files import atomic
from tevit.masks.rle import check_runs, encode_runs


def write_coco(gt: GroundTruth, results: Predictions, folder: Path) -> tuple[Path, Path]:
    """Write coco_gt.json and coco_results.json; returns the two paths.

    Raises: OSError or ValueError where something cannot be read; ValueError where masks of a video differ in size.
    """
    inputs = read_inputs(gt, results)
    images, annotations, detections = [], [], []
    for place, video in enumerate(inputs.videos):
        rows = [np.flatnonzero(table.videos == place) for table in (inputs.ground_truth, inputs.predictions)]
        sides = read_spans(inputs, *rows)
        height, width = video.size_hw
        size = (height, width * max(video.length, *(side.areas.shape[1] for side in sides)))
        images.append({"id": video.id, "height": size[0], "width": size[1], "file_name": video.name})
        truths, predictions = (_joined(inputs, place, side, size) for side in sides)
        for row, mask, area in zip(rows[0].tolist(), truths, sides[0].areas.sum(axis=1).tolist(), strict=True):
            own = {"id": int(inputs.ground_truth.ids[row]), "iscrowd": int(inputs.ground_truth.crowd[row])}
            annotations.append({**_keys(inputs, inputs.ground_truth, row), **own, "segmentation": mask, "area": area})
        for row, mask in zip(rows[1].tolist(), predictions, strict=True):
            score = float(inputs.predictions.scores[row])
            detections.append({**_keys(inputs, inputs.predictions, row), "score": score, "segmentation": mask})
    categories = [{"id": id, "name": name} for id, name in inputs.categories.items()]
    truth = {"images": images, "categories": categories, "annotations": annotations}
    paths = folder / "coco_gt.json", folder / "coco_results.json"
    for path, content in zip(paths, (truth, detections), strict=True):
        with atomic(path) as temporary:
            temporary.write_text(json.dumps(content))
    return paths


def _keys(inputs: Inputs, table: Tracks, row: int) -> dict[str, int]:
    category = list(inputs.categories)[table.categories[row]]
    return {"image_id": inputs.videos[table.videos[row]].id, "category_id": category}


def _joined(inputs: Inputs, video: int, spans: Spans, size_hw: tuple[int, int]) -> list[dict]:
    """One mask of each track. size_hw: of the joined image."""
    height, width = inputs.videos[video].size_hw
    odd = (spans.sizes > 0) & (spans.sizes != height * (1 << 31) + width)
    if odd.any():
        raise ValueError(f"video {inputs.videos[video].id}: expected all masks of {height} x {width} pixels")
    pixels = size_hw[0] * size_hw[1]
    runs = []
    for track in range(len(spans.lengths)):
        # A place that is the end of one span and the begin of the next is no edge of the joined mask.
        places, times = np.unique(spans.of_track(track)[0], return_counts=True)
        edges = places[times % 2 == 1].astype(np.int64)
        runs.append(
            np.diff(np.concatenate([[0], edges, [pixels] if pixels not in edges[-1:] else []]).astype(np.int64))
        )
    if not runs:
        return []
    counts = np.array([len(own) for own in runs])
    sizes = np.tile(size_hw, (len(runs), 1))
    values = np.concatenate(runs)
    texts = encode_runs(values, counts, sizes, check_runs(values, counts, sizes))
    return [{"size": list(size_hw), "counts": text.decode()} for text in texts]
