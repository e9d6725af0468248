"""A data set made of predictions alone: which videos there are, how large and how long, by what the masks say."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from tevit.io.ytvis import Category, Dataset, Results, VideoInfo
from tevit.masks import json as segmentations


def dataset(path: Path, results: Sequence[Results]) -> Dataset:
    """Videos in the order of their ids, without annotations, frames' names or names of classes.

    Raises: ValueError for a video without a single mask, whose size nobody knows.
    """
    sizes: dict[int, tuple[int, int]] = {}
    lengths: dict[int, int] = {}
    classes: set[int] = set()
    for found in results:
        for prediction in found.predictions:
            size, length = _extent(bytes(prediction.segmentations))
            lengths[prediction.video_id] = max(length, lengths.get(prediction.video_id, 0))
            if size is not None:
                sizes.setdefault(prediction.video_id, size)
            classes.add(prediction.category_id)
    unknown = sorted(lengths.keys() - sizes.keys())
    if unknown:
        raise ValueError(f"{path}: video {unknown[0]} has no mask that tells its size: name its data set")
    videos = [VideoInfo(id, sizes[id][1], sizes[id][0], lengths[id]) for id in sorted(lengths)]
    return Dataset(path, videos, [Category(id, f"class {id}") for id in sorted(classes)], None)


class _Mask(msgspec.Struct):
    size: tuple[int, int]


_FRAMES = msgspec.json.Decoder(list[_Mask | list | None])


def _extent(raw: bytes) -> tuple[tuple[int, int] | None, int]:
    """Height and width of the masks, None where they do not say it; and the number of frames."""
    if found := segmentations.read_texts(raw):
        return found.size, found.length
    try:
        masks = _FRAMES.decode(raw)
    except msgspec.DecodeError:
        return None, 0
    return next((mask.size for mask in masks if isinstance(mask, _Mask)), None), len(masks)
