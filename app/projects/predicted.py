"""A data set derived from predictions alone: videos, their sizes and lengths, taken from the masks."""

from collections.abc import Sequence
from pathlib import Path

from tevit.io.ytvis import Category, Dataset, Results, VideoInfo
from tevit.masks import json as segmentations


def dataset(path: Path, results: Sequence[Results]) -> Dataset:
    """Videos in the order of their ids, without annotations, frame names or class names.

    Raises: ValueError for a video without a single mask, so of unknown size.
    """
    sizes: dict[int, tuple[int, int]] = {}
    lengths: dict[int, int] = {}
    classes: set[int] = set()
    for predictions in results:
        for prediction in predictions.predictions:
            size, length = segmentations.extent(prediction.segmentations)
            lengths[prediction.video_id] = max(length, lengths.get(prediction.video_id, 0))
            if size is not None:
                sizes.setdefault(prediction.video_id, size)
            classes.add(prediction.category_id)
    unknown = sorted(lengths.keys() - sizes.keys())
    if unknown:
        raise ValueError(f"{path}: video {unknown[0]} has no mask that tells its size: name its data set")
    videos = [VideoInfo(id, sizes[id][1], sizes[id][0], lengths[id]) for id in sorted(lengths)]
    return Dataset(path, videos, [Category(id, f"class {id}") for id in sorted(classes)], None)
