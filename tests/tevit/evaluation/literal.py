"""A slow, literal reading of the official metric's rules, mask by mask and loop by loop: the yardstick of the tests.

It shares nothing with tevit: masks are decoded to pixels, every rule is one statement. Input is the parsed JSON.
"""

from dataclasses import dataclass

import numpy as np
from pycocotools import mask as coco_mask  # for polygons only: how a polygon fills pixels is that library's rule

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALL_POINTS = np.linspace(0.0, 1.0, 101)
AREA_RANGES = ((0, 1e10), (0, 128**2), (128**2, 256**2), (256**2, 1e10))
MAX_PREDICTIONS = (1, 10, 100)


@dataclass
class Literal:
    """stats (12,); precision and scores (T, R, K, A, M); recall (T, K, A, M); matches: one dict a group."""

    stats: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    scores: np.ndarray
    category_ids: list[int]
    matches: list[dict]


def runs_of_text(text: str) -> list[int]:
    """The run lengths of COCO's compressed text."""
    runs: list[int] = []
    position = 0
    while position < len(text):
        value, shift, more = 0, 0, True
        while more:
            byte = ord(text[position]) - 48
            value |= (byte & 31) << shift
            more = bool(byte & 32)
            position, shift = position + 1, shift + 5
            if not more and byte & 16:
                value |= -1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
    return runs


def pixels(segmentation, height: int, width: int) -> np.ndarray | None:
    """One segmentation of the file as bool (H, W); None stays None."""
    if segmentation is None:
        return None
    if isinstance(segmentation, list):
        parts = coco_mask.frPyObjects(segmentation, height, width)
        return coco_mask.decode(coco_mask.merge(parts)).astype(bool)
    height, width = segmentation["size"]
    counts = segmentation["counts"]
    runs = runs_of_text(counts) if isinstance(counts, str) else counts
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return flat.reshape((height, width), order="F")


def track_iou(prediction: list, truth: list) -> float:
    intersection = union = 0
    for a, b in zip(prediction, truth, strict=False):
        if a is not None and b is not None:
            if a.shape == b.shape:
                intersection += int((a & b).sum())
                union += int((a | b).sum())
        elif a is not None:
            union += int(a.sum())
        elif b is not None:
            union += int(b.sum())
    return intersection / union if union else 0.0


def mean_area(areas: list) -> float:
    counted = [area for area in areas if area]
    return float(np.mean(counted)) if counted else 0


def prepare(gt: dict, results: list, agnostic: bool) -> tuple[list[dict], list[dict]]:
    size = {video["id"]: (video["height"], video["width"]) for video in gt["videos"]}
    truths = []
    for annotation in gt.get("annotations") or []:
        masks = [pixels(segmentation, *size[annotation["video_id"]]) for segmentation in annotation["segmentations"]]
        truths.append(
            {
                "id": annotation["id"],
                "video": annotation["video_id"],
                "category": annotation["category_id"],
                "masks": masks,
                "area": mean_area(annotation["areas"]),
                "crowd": bool(annotation["iscrowd"]),
            }
        )
    listed = {category["id"] for category in gt["categories"]}
    predictions = []
    for number, result in enumerate(results, start=1):
        masks = [pixels(segmentation, *size[result["video_id"]]) for segmentation in result["segmentations"]]
        if result["category_id"] in listed:
            predictions.append(
                {
                    "id": number,
                    "video": result["video_id"],
                    "category": result["category_id"],
                    "score": result["score"],
                    "masks": masks,
                    "area": mean_area([0 if mask is None else int(mask.sum()) for mask in masks]),
                }
            )
    truths = [truth for truth in truths if truth["category"] in listed]
    if agnostic:  # the classes are pooled in the order of their ids, and only listed ones
        truths, predictions = (sorted(items, key=lambda item: item["category"]) for items in (truths, predictions))
        for item in truths + predictions:
            item["category"] = -1
    return truths, predictions


def match(truths: list[dict], predictions: list[dict], ious: list[list[float]], area_range: tuple) -> dict:
    """One video, one class, one area range. `ious`: rows as the predictions (score order), columns as in the file."""
    low, high = area_range
    ignored = [truth["crowd"] or truth["area"] < low or truth["area"] > high for truth in truths]
    order = [i for i, flag in enumerate(ignored) if not flag] + [i for i, flag in enumerate(ignored) if flag]
    count, total = len(predictions), len(order)
    by_prediction = np.zeros((10, count), int)
    by_truth = np.zeros((10, total), int)
    prediction_ignored = np.zeros((10, count), bool)
    for t, threshold in enumerate(IOU_THRESHOLDS):
        for p, prediction in enumerate(predictions):
            best, taken = min(threshold, 1 - 1e-10), -1
            for position, truth in enumerate(order):
                if by_truth[t, position] > 0 and not truths[truth]["crowd"]:
                    continue
                if taken > -1 and not ignored[order[taken]] and ignored[truth]:
                    break
                if ious[p][truth] < best:
                    continue
                best, taken = ious[p][truth], position
            if taken > -1:
                prediction_ignored[t, p] = ignored[order[taken]]
                by_prediction[t, p] = truths[order[taken]]["id"]
                by_truth[t, taken] = prediction["id"]
            if by_prediction[t, p] == 0 and (prediction["area"] < low or prediction["area"] > high):
                prediction_ignored[t, p] = True
    return {
        "truth_ids": [truths[i]["id"] for i in order],
        "truth_ignored": np.array([ignored[i] for i in order], bool),
        "prediction_ids": [prediction["id"] for prediction in predictions],
        "scores": [prediction["score"] for prediction in predictions],
        "by_prediction": by_prediction,
        "by_truth": by_truth,
        "prediction_ignored": prediction_ignored,
    }


def curve(groups: list[dict], most: int):
    """The groups of one class and area range in ascending video order: precision, scores (T, R) and recall (T,)."""
    scores = np.array([score for group in groups for score in group["scores"][:most]])
    matched = np.concatenate([group["by_prediction"][:, :most] for group in groups], axis=1)
    ignored = np.concatenate([group["prediction_ignored"][:, :most] for group in groups], axis=1)
    positives = sum(int((~group["truth_ignored"]).sum()) for group in groups)
    if positives == 0:
        return None
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    precision, score_at, recall = np.zeros((10, 101)), np.zeros((10, 101)), np.zeros(10)
    for t in range(10):
        right = wrong = 0
        recalls, precisions = [], []
        for i in order:
            if not ignored[t, i]:
                right += int(matched[t, i] != 0)
                wrong += int(matched[t, i] == 0)
            recalls.append(right / positives)
            precisions.append(right / (right + wrong + np.spacing(1)))
        recall[t] = recalls[-1] if recalls else 0
        for i in range(len(precisions) - 1, 0, -1):
            precisions[i - 1] = max(precisions[i - 1], precisions[i])
        for r, point in enumerate(RECALL_POINTS):
            reached = [i for i, value in enumerate(recalls) if value >= point]
            if reached:
                precision[t, r], score_at[t, r] = precisions[reached[0]], scores[order[reached[0]]]
    return precision, score_at, recall


def mean(array: np.ndarray) -> float:
    counted = array[array > -1]
    return float(np.mean(counted)) if len(counted) else -1.0


def evaluate(gt: dict, results: list, agnostic: bool = False) -> Literal:
    truths, predictions = prepare(gt, results, agnostic)
    categories = [-1] if agnostic else sorted({category["id"] for category in gt["categories"]})
    videos = sorted(video["id"] for video in gt["videos"])
    precision = -np.ones((10, 101, len(categories), 4, 3))
    scores, recall = precision.copy(), -np.ones((10, len(categories), 4, 3))
    matches = []
    for k, category in enumerate(categories):
        groups: list[list[dict]] = [[] for _ in AREA_RANGES]
        for video in videos:
            here = [truth for truth in truths if (truth["video"], truth["category"]) == (video, category)]
            candidates = [item for item in predictions if (item["video"], item["category"]) == (video, category)]
            candidates = sorted(candidates, key=lambda item: -item["score"])[:100]
            ious = [[track_iou(item["masks"], truth["masks"]) for truth in here] for item in candidates]
            for a, area_range in enumerate(AREA_RANGES if here or candidates else ()):
                group = match(here, candidates, ious, area_range)
                groups[a].append(group)
                matches.append({"video": video, "category": category, "area": a, "ious": ious, **group})
        for a in range(4):
            for m, most in enumerate(MAX_PREDICTIONS):
                result = curve(groups[a], most) if groups[a] else None
                if result is not None:
                    precision[:, :, k, a, m], scores[:, :, k, a, m], recall[:, k, a, m] = result
    stats = [mean(precision[:, :, :, 0, 2]), mean(precision[0, :, :, 0, 2]), mean(precision[5, :, :, 0, 2])]
    stats += [mean(precision[:, :, :, a, 2]) for a in (1, 2, 3)]
    stats += [mean(recall[:, :, 0, m]) for m in (0, 1, 2)]
    stats += [mean(recall[:, :, a, 2]) for a in (1, 2, 3)]
    return Literal(np.array(stats), precision, recall, scores, categories, matches)
