"""Training data: clips drawn and augmented as the original does it, without state between draws.

`slot_batch` is a pure function of the data and (seed, iteration, slot): any number of workers sees the same stream.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from train.clips import Clip, ClipTarget, make_clip
from train.recipes import Recipe
from train.sampling import Draws, Order, SeededDraws, draw_augmentation, draw_frames, permutation
from train.sources import Source, annotation_file, read_sources

__all__ = ["Batch", "ClipTarget", "TrainingData", "annotation_file", "open_training_data", "slot_batch"]


@dataclass(frozen=True, eq=False)
class Batch:
    """The clips of a slot.

    frames: float32 (B, T, 3, H, W), normalised RGB, zero-padded on the right and bottom to the largest clip.
    sizes_hw: int64 (B, 2), resized and not padded. targets: one a clip.
    """

    frames: Tensor
    sizes_hw: Tensor
    targets: list[ClipTarget]


@dataclass(frozen=True, eq=False)
class TrainingData:
    """An opened data set. A sample is a frame with at least one box; samples stand as in the file, video by video.

    categories: (id, name), in the file's order, which is that of the labels. source_of, frame_of: int64 (S,), the video
    of a sample, by its place in `sources`, and its frame there. groups: bool (S,), wider than tall. missing: frames
    left out since their files are not there.
    """

    categories: tuple[tuple[int, str], ...]
    sources: tuple[Source, ...]
    source_of: np.ndarray
    frame_of: np.ndarray
    groups: np.ndarray
    missing: int
    _orders: dict[tuple[int, int, int], Order] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.source_of)

    def order(self, seed: int, slots: int, clips: int) -> Order:
        """The batches of every slot, epoch after epoch."""
        key = (seed, slots, clips)
        if key not in self._orders:
            draw = partial(permutation, seed, count=len(self))
            self._orders[key] = Order(self.groups, slots, clips, draw)
        return self._orders[key]

    def clip(self, sample: int, recipe: Recipe, draws: Draws) -> Clip:
        """The clip around a sample: frames, scale and flip drawn in this order.

        A video with fewer labelled frames than a clip has gives way to another sample of its group, as in the original.
        Where no video of the group has enough (the original fails there), frames are repeated.
        """
        sample = self._long_enough(sample, recipe.frames, draws)
        source = self.sources[self.source_of[sample]]
        frames = draw_frames(int(self.frame_of[sample]), source.labelled, recipe.frames, draws)
        return make_clip(source, frames, draw_augmentation(recipe, draws))

    def _long_enough(self, sample: int, count: int, draws: Draws) -> int:
        if len(self.sources[self.source_of[sample]].labelled) >= count:
            return sample
        lengths = np.array([len(source.labelled) for source in self.sources])[self.source_of]
        others = np.flatnonzero((self.groups == self.groups[sample]) & (lengths >= count))
        return int(others[draws.integer(0, len(others))]) if len(others) else sample


def open_training_data(
    annotations: str | os.PathLike,
    frames_root: str | os.PathLike,
    task: Literal["video", "image"] = "video",
    skip_missing: bool = False,
) -> TrainingData:
    """Open YouTube-VIS videos, or COCO pictures as videos of one frame.

    task: "image" for a COCO file.
    frames_root: as for `tevit.io.ytvis.Dataset.frame_files`; for COCO the folder of the pictures or the one above.
    skip_missing: leave frames out whose files are not there, instead of an error; their number goes to the log.

    Raises: FileNotFoundError naming the first missing frame; ValueError for annotations that cannot be used, and where
    no frame is labelled.
    """
    categories, sources, missing = read_sources(task, annotations, frames_root, skip_missing)
    pairs = [(place, frame) for place, source in enumerate(sources) for frame in source.labelled]
    if not pairs:
        raise ValueError(f"{annotations}: expected frames with boxes to train on, found none")
    if missing:
        logging.getLogger(__name__).warning(f"{annotations}: {missing} labelled frames are missing and left out")
    source_of, frame_of = np.array(pairs, np.int64).T
    wide = np.array([source.size_hw[1] > source.size_hw[0] for source in sources])
    return TrainingData(categories, sources, source_of, frame_of, wide[source_of], missing)


def slot_batch(data: TrainingData, seed: int, iteration: int, slot: int, recipe: Recipe) -> Batch:
    """The clips of a slot at an iteration.

    Raises: OSError, ValueError naming the file where a frame or a mask cannot be read.
    """
    samples = data.order(seed, recipe.slots, recipe.clips_per_slot).batch(iteration, slot)
    draws = SeededDraws(seed, iteration, slot)
    return collate([data.clip(sample, recipe, draws) for sample in samples.tolist()])


def collate(clips: Sequence[Clip]) -> Batch:
    """Clips of different size, zero-padded on the right and bottom to the largest; targets keep their own size."""
    height, width = np.array([clip.frames.shape[2:] for clip in clips]).max(0).tolist()
    frames = np.zeros((len(clips), *clips[0].frames.shape[:2], height, width), np.float32)
    for row, clip in zip(frames, clips, strict=True):
        row[..., : clip.frames.shape[2], : clip.frames.shape[3]] = clip.frames
    sizes = torch.tensor([clip.size_hw for clip in clips], dtype=torch.int64)
    return Batch(torch.from_numpy(frames), sizes, [clip.target for clip in clips])
