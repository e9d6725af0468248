"""`tevit benchmark masks`: how well a model's best track covers each annotated object of a data set, and how fast."""

import time

import numpy as np

from tevit.benchmarks.record import Figures, spread
from tevit.inference.dataset import open_frames
from tevit.inference.external import ExternalPredictor
from tevit.io.ytvis import Dataset
from tevit.masks.ops import overlaps
from tevit.progress import Progress
from tevit.results import VideoResult


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
