"""Training data: clips sampled and augmented as in the original, and their loading by worker processes.

`slot_batch` is a pure function of the data and (seed, iteration, slot): any number of workers yields the same stream,
and an iteration number is all the state a resumed run needs.
"""

import logging
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from tevit.evaluation.parallel import usable_cores

from .clips import Clip, ClipTarget, make_clip
from .recipes import Recipe
from .sampling import ClipRng, SeededRng, SlotSampler, permutation, sample_augmentation, sample_frames
from .sources import TrainingVideo, read_sources


@dataclass(frozen=True, eq=False)
class Batch:
    """The clips of a slot.

    frames: float32 (B, T, 3, H, W), normalised RGB, zero-padded on the right and bottom to the largest clip.
    sizes_hw: int64 (B, 2), resized and not padded. targets: one per clip.
    """

    frames: Tensor
    sizes_hw: Tensor
    targets: list[ClipTarget]


@dataclass(frozen=True, eq=False)
class TrainingData:
    """An opened data set. A sample is a frame with at least one box; samples are in the file's order, video by video.

    categories: (id, name), in the file's order, which is that of the labels. source_of, frame_of: int64 (S,), the index
    in `sources` of a sample's video and its frame there. groups: bool (S,), wider than tall. missing: number of frames
    left out since their files do not exist.
    """

    categories: tuple[tuple[int, str], ...]
    sources: tuple[TrainingVideo, ...]
    source_of: np.ndarray
    frame_of: np.ndarray
    groups: np.ndarray
    missing: int
    _samplers: dict[tuple[int, int, int], SlotSampler] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.source_of)

    def sampler(self, seed: int, slots: int, clips: int) -> SlotSampler:
        """The samples of every slot's batches, epoch after epoch."""
        key = (seed, slots, clips)
        if key not in self._samplers:
            self._samplers[key] = SlotSampler(self.groups, slots, clips, partial(permutation, seed, count=len(self)))
        return self._samplers[key]

    def clip(self, sample: int, recipe: Recipe, rng: ClipRng) -> Clip:
        """The clip around a sample: frames, scale and flip are drawn in this order.

        Where the video has fewer labelled frames than a clip, another sample of its group is drawn, as in the original.
        """
        if len(self.sources[self.source_of[sample]].labelled) < recipe.frames:
            lengths = np.array([len(source.labelled) for source in self.sources])[self.source_of]
            others = np.flatnonzero((self.groups == self.groups[sample]) & (lengths >= recipe.frames))
            # Without any long enough video the original fails; here frames are repeated.
            sample = int(others[rng.integer(0, len(others))]) if len(others) else sample
        source = self.sources[self.source_of[sample]]
        frames = sample_frames(int(self.frame_of[sample]), source.labelled, recipe.frames, rng)
        return make_clip(source, frames, sample_augmentation(recipe, rng))


def open_training_data(
    annotations: str | os.PathLike,
    frames_root: str | os.PathLike,
    task: Literal["video", "image"] = "video",
    skip_missing: bool = False,
) -> TrainingData:
    """Open YouTube-VIS videos, or COCO pictures as videos of one frame.

    task: "image" for a COCO file.
    frames_root: as for `tevit.io.ytvis.Dataset.frame_files`; for COCO the folder of the images or the one above.
    skip_missing: leave out frames whose files do not exist, with a warning, instead of an error.

    Raises: FileNotFoundError naming the first missing frame; ValueError for annotations that cannot be used, and where
    no frame is labelled.
    """
    categories, sources, missing = read_sources(task, annotations, frames_root, skip_missing)
    pairs = [(index, frame) for index, source in enumerate(sources) for frame in source.labelled]
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
    samples = data.sampler(seed, recipe.slots, recipe.clips_per_slot).batch(iteration, slot)
    rng = SeededRng(seed, iteration, slot)
    return collate([data.clip(sample, recipe, rng) for sample in samples.tolist()])


def collate(clips: Sequence[Clip]) -> Batch:
    """Clips of different size, zero-padded on the right and bottom to the largest; targets keep their own size."""
    height, width = np.array([clip.frames.shape[2:] for clip in clips]).max(0).tolist()
    frames = np.zeros((len(clips), *clips[0].frames.shape[:2], height, width), np.float32)
    for row, clip in zip(frames, clips, strict=True):
        row[..., : clip.frames.shape[2], : clip.frames.shape[3]] = clip.frames
    sizes = torch.tensor([clip.size_hw for clip in clips], dtype=torch.int64)
    return Batch(torch.from_numpy(frames), sizes, [clip.target for clip in clips])


# --- loading


class _BatchDataset(Dataset):
    def __init__(self, load: Callable[[int, int], Batch]):
        self.load = load

    def __getitem__(self, key: tuple[int, int]) -> tuple[int, Batch]:
        return key[1], self.load(*key)


class _KeySampler(Sampler):
    def __init__(self, iterations: range, slots: range):
        self.iterations, self.slots = iterations, slots

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((iteration, slot) for iteration in self.iterations for slot in self.slots)

    def __len__(self) -> int:
        return len(self.iterations) * len(self.slots)


def slot_stream(
    load: Callable[[int, int], Batch], iterations: range, slots: range, workers: int
) -> Iterator[list[tuple[int, Batch]]]:
    """For each iteration, this process's (slot, batch) pairs.

    load: load(iteration, slot) -> batch, in any process. workers: processes that load ahead, at most one for each core;
    0 loads in this process.
    """
    loader = DataLoader(
        _BatchDataset(load),
        sampler=_KeySampler(iterations, slots),
        batch_size=None,
        num_workers=min(workers, usable_cores()),
        worker_init_fn=_init_worker if workers else None,
    )
    batches = iter(loader)
    for _ in iterations:
        yield [next(batches) for _ in slots]


def _init_worker(worker: int) -> None:
    # The training process handles Ctrl-C and SIGTERM and ends its workers itself.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
