"""How well masks cover annotated objects: those of a model (`tevit benchmark masks`), and those that are
propagated between and after key frames, beside interpolating and copying the shape (`tevit benchmark propagation`).
Also the data set in COCO's form, so that evaluators of single images measure AP of tracks.
"""

import json
import os
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from tevit.benchmarks.record import Figures, spread
from tevit.evaluation.inputs import GroundTruth, Inputs, Predictions, Tracks, read_inputs
from tevit.evaluation.overlaps import read_spans
from tevit.inference.dataset import open_frames
from tevit.inference.external import ExternalPredictor
from tevit.io.files import atomic
from tevit.io.ytvis import Dataset, find_frames
from tevit.masks import ops
from tevit.masks.ops import Spans, overlaps
from tevit.masks.rle import check_runs, encode_runs
from tevit.progress import Progress
from tevit.results import Track, VideoResult
from tevit.review.propagate import PARTS, Propagation, propagate
from tevit.video.reader import open_images


def measure(predictor: ExternalPredictor, dataset: Dataset, root: str, progress: Progress | None = None) -> Figures:
    """Mean J of each video and of all, and frames per second, prediction with decoding; classes are ignored.

    root: folder of the frames, as for `Dataset.frame_files`.
    Raises: ValueError for a data set without annotations.
    """
    if not dataset.annotations:
        raise ValueError(f"{dataset.path}: expected annotations to compare masks with, found none")
    figures, values, rates = Figures(), list[float](), list[float]()
    for number, (id, info) in enumerate(dataset.videos.items()):
        if progress:
            progress("predicting", number, len(dataset.videos))
        truth = dataset.video(id)
        video = open_frames(dataset.frame_files(id, root), id, info.size_hw)
        start = time.perf_counter()
        result = predictor(video)
        rates.append(result.length / (time.perf_counter() - start))
        if truth.tracks:
            best = best_overlap(truth, result)
            figures[f"J of {info.name}"] = spread([float(best.mean())])
            values.extend(best.tolist())
    mean = float(np.mean(values))
    return figures | {"mean J over all objects": spread([mean]), "frames per second": spread(rates)}


def best_overlap(truth: VideoResult, result: VideoResult) -> np.ndarray:
    """Of each true object the mean IoU over the frames, float64 (G,), with the track where it is highest; 0 without.

    A frame in which both are absent counts 1.
    Source: J of Perazzi et al., DAVIS, 2016, with the best track.
    """
    if not result.tracks:
        return np.zeros(len(truth.tracks))
    intersection, union = overlaps([track.rles for track in truth.tracks], [track.rles for track in result.tracks])
    return np.where(union > 0, intersection / np.maximum(union, 1), 1.0).mean(2).max(1)


# --- propagation


DISTANCES = (5, 10, 20)
"""Frames between two key frames."""
AFTER = (1, 5, 10)
"""Frames after a single key frame; every fifth frame is one."""
METHODS = ("propagated", "interpolated", "copied")


class PropagationScores(NamedTuple):
    """Mean IoU over objects, by (method, case), a case being such as "between, 5"; speed of propagation between key
    frames, by wall clock and by the time of all cores."""

    scores: Mapping[tuple[str, str], float]
    objects: int
    frames_per_second: float
    frames_per_core_second: float


def measure_propagation(
    results: Iterable[VideoResult],
    root: str | os.PathLike,
    max_frames: int,
    predictions: Mapping[int, VideoResult] | None = None,
    parts: Collection[str] = PARTS,
) -> PropagationScores:
    """Measure every object that is visible in each of its video's first frames.

    root: of the videos' images. predictions: by video id; the track that overlaps an object most is given to
    propagation. parts: as `propagate`.

    Raises: OSError; ValueError where there is no such object or a frame cannot be read.
    """
    scores: dict[tuple[str, str], list[float]] = defaultdict(list)
    seconds, objects = np.zeros(3), 0  # wall, cores, frames
    for result in results:
        length = min(result.length, max_frames)
        visible = [track for track in result.tracks if (track.areas[:length] > 0).all()]
        if visible and length > DISTANCES[0]:
            frames = [frame.rgb for frame in open_images(find_frames(result, root)[:length], result.name).frames()]
            for track in visible:
                masks = [ops.decode(rle).astype(bool) for rle in track.rles[:length] if rle is not None]
                predicted = _predicted_masks(track, (predictions or {}).get(result.video_id), length)
                run = partial(propagate, frames, predictions=predicted, parts=parts)
                seconds += _measure_between(run, masks, scores)
                _measure_after(run, masks, scores)
                objects += 1
    if not objects:
        text = f"expected an object that is visible in each of the first {max_frames} frames of its video, and a video"
        raise ValueError(f"{text} of more than {DISTANCES[0]} frames, found none")
    means = {key: float(np.mean(values)) for key, values in scores.items()}
    return PropagationScores(means, objects, float(seconds[2] / seconds[0]), float(seconds[2] / seconds[1]))


def _predicted_masks(track: Track, predictions: VideoResult | None, length: int) -> dict[int, np.ndarray]:
    """Frame -> mask, bool (H, W), of the prediction that overlaps a track most; none without one that does."""
    best = max(predictions.tracks if predictions else (), key=lambda p: ops.track_iou(track.rles, p.rles), default=None)
    if best is None or not ops.track_iou(track.rles, best.rles):
        return {}
    return {t: ops.decode(rle).astype(bool) for t, rle in enumerate(best.rles[:length]) if rle is not None}


def _measure_between(
    run: Callable[..., Propagation], masks: Sequence[np.ndarray], scores: dict[tuple[str, str], list[float]]
) -> np.ndarray:
    """Adds an object's scores; returns seconds by wall clock, seconds of all cores, frames propagated to. run:
    `propagate` on the object's frames."""
    total = np.zeros(3)
    for distance in DISTANCES:
        keys = range(0, len(masks), distance)
        between = [t for t in range(keys[-1]) if t % distance]
        if not between:
            continue
        wall, cores = time.perf_counter(), time.process_time()
        propagated = run({key: masks[key] for key in keys}, last=keys[-1])
        total += (time.perf_counter() - wall, time.process_time() - cores, len(between))
        candidates = dict.fromkeys(METHODS, propagated.masks) | {
            "interpolated": {t: _interpolate(masks, t, t // distance * distance, distance) for t in between},
            "copied": {t: masks[min(keys, key=lambda key: abs(key - t))] for t in between},
        }
        for method, by_frame in candidates.items():
            iou = np.mean([ops.pixel_iou(by_frame[t], masks[t]) for t in between])
            scores[method, f"between, {distance}"].append(float(iou))
    return total


def _measure_after(
    run: Callable[..., Propagation], masks: Sequence[np.ndarray], scores: dict[tuple[str, str], list[float]]
) -> None:
    """Copying is what there is to compare with: from one frame nothing can be interpolated."""
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    for key in range(0, len(masks) - AFTER[-1], 5):
        propagated = run({key: masks[key]}, first=key, last=key + AFTER[-1], min_confidence=0)
        for after in AFTER:
            values["propagated", f"after, {after}"].append(
                ops.pixel_iou(propagated.masks[key + after], masks[key + after])
            )
            values["copied", f"after, {after}"].append(ops.pixel_iou(masks[key], masks[key + after]))
    for case, ious in values.items():
        scores[case].append(float(np.mean(ious)))


def _interpolate(masks: Sequence[np.ndarray], t: int, left: int, distance: int) -> np.ndarray:
    """The signed distances to the border of both key frames' shapes, centred, blended, and moved with the centre."""
    share = (t - left) / distance
    pair = [masks[left], masks[left + distance]]
    centres = [np.argwhere(mask).mean(0)[::-1] for mask in pair]
    centre = (1 - share) * centres[0] + share * centres[1]
    moved = [_moved(_signed_distance(mask), centre - own) for mask, own in zip(pair, centres, strict=True)]
    return (1 - share) * moved[0] + share * moved[1] > 0


def _signed_distance(mask: np.ndarray) -> np.ndarray:
    """Positive inside, float32 (H, W), pixels."""
    inside, outside = (cv2.distanceTransform(m.astype(np.uint8), cv2.DIST_L2, 5) for m in (mask, ~mask))
    return inside - outside


def _moved(values: np.ndarray, shift_xy: np.ndarray) -> np.ndarray:
    matrix = np.array([[1, 0, shift_xy[0]], [0, 1, shift_xy[1]]])
    return cv2.warpAffine(values, matrix, values.shape[::-1], borderMode=cv2.BORDER_REPLICATE)


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
