"""Training data: clips sampled, decoded and augmented as in the original, and their loading by worker processes.

Slot s of a global batch is process s of the original: it takes every n-th index of an endless sequence of permutations
and collects them, separately for wide and for tall videos, until a batch is full. `slot_batch` is a pure function of
the data and (seed, iteration, slot): any number of workers yields the same stream, and an iteration number is all the
state a resumed run needs.
"""

import logging
import os
import signal
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from tevit.masks import ops
from tevit.progress import usable_cores
from tevit.results import RLE
from tevit.video.decode import decode_image
from tevit.video.transforms import Geometry, geometry, normalised_levels

from .recipes import Recipe
from .sources import TrainingVideo, read_sources

Permutation = Callable[[int], np.ndarray]
"""permutation(epoch) -> int64 (S,), the order of all samples."""

CACHED_EPOCHS = 3  # slots differ by less than one epoch


def permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    """int64 (count,): the order of an epoch."""
    # Sorted raw numbers: independent of any library's shuffle.
    return np.argsort(np.random.PCG64([seed, epoch]).random_raw(count), kind="stable")


class _EpochStart(NamedTuple):
    """State of each slot when an epoch starts: number of earlier batches, and the samples left over in two groups."""

    batches: tuple[int, ...]
    leftover: tuple[tuple[np.ndarray, np.ndarray], ...]


class SlotSampler:
    """The endless sequence of batches of each slot; an epoch's table is computed on first use.

    groups: (S,), 0 or 1 for each sample: a batch holds samples of one group. Used by several threads it may compute a
    table twice, to the same result.
    """

    def __init__(self, groups: np.ndarray, slots: int, clips: int, permutation: Permutation):
        self._groups, self._slots, self._clips = groups.astype(bool), slots, clips
        self._permutation = permutation
        empty = np.zeros(0, np.int64)
        self._starts = [_EpochStart((0,) * slots, ((empty, empty),) * slots)]
        self._tables: dict[int, list[np.ndarray]] = {}

    def batch(self, iteration: int, slot: int) -> np.ndarray:
        """int64 (clips,): the samples of a slot at an iteration."""
        while self._starts[-1].batches[slot] <= iteration:
            epoch = len(self._starts) - 1
            self._tables[epoch], start = self._epoch(epoch)
            self._starts.append(start)
            self._tables.pop(epoch - CACHED_EPOCHS, None)
        epoch = bisect_right(self._starts, iteration, key=lambda start: start.batches[slot]) - 1
        if epoch not in self._tables:
            self._tables[epoch] = self._epoch(epoch)[0]
        return self._tables[epoch][slot][iteration - self._starts[epoch].batches[slot]]

    def _epoch(self, epoch: int) -> tuple[list[np.ndarray], _EpochStart]:
        """For each slot its batches that become full in this epoch, int64 (batches, clips), and the state after it."""
        start, order = self._starts[epoch], self._permutation(epoch)
        tables, counts, leftovers = [], [], []
        for slot in range(self._slots):
            samples = order[(slot - epoch * len(order)) % self._slots :: self._slots]
            table, leftover = self._group_batches(samples, start.leftover[slot])
            tables.append(table)
            counts.append(start.batches[slot] + len(table))
            leftovers.append(leftover)
        return tables, _EpochStart(tuple(counts), tuple(leftovers))

    def _group_batches(
        self, samples: np.ndarray, leftover: tuple[np.ndarray, np.ndarray]
    ) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
        """Batches in the order in which their last sample comes, and what is left over in each group."""
        batches, full_at, rest = [], [], []
        for group, earlier in enumerate(leftover):
            positions = np.flatnonzero(self._groups[samples] == bool(group))
            items = np.concatenate([earlier, samples[positions]])
            count = len(items) // self._clips
            lasts = np.arange(1, count + 1) * self._clips - 1 - len(earlier)
            batches.append(items[: count * self._clips].reshape(count, self._clips))
            full_at.append(positions[lasts])
            rest.append(items[count * self._clips :])
        return np.concatenate(batches)[np.argsort(np.concatenate(full_at))], (rest[0], rest[1])


# --- random choices of a clip


class ClipRng(Protocol):
    """Random choices of a clip; in tests, the original's generators."""

    def sample(self, items: Sequence[int], count: int) -> list[int]:
        """`count` different items in random order."""
        ...

    def integer(self, low: int, high: int) -> int:
        """From low to high - 1."""
        ...

    def uniform(self) -> float:
        """In [0, 1)."""
        ...


class SeededRng:
    """PCG64 seeded by (seed, iteration, slot)."""

    def __init__(self, seed: int, iteration: int, slot: int):
        self._generator = np.random.Generator(np.random.PCG64([seed, iteration, slot]))

    def sample(self, items: Sequence[int], count: int) -> list[int]:
        """`count` different items in random order."""
        keys = self._generator.random(len(items))
        return [items[i] for i in np.argsort(keys, kind="stable")[:count].tolist()]

    def integer(self, low: int, high: int) -> int:
        """From low to high - 1."""
        return low + int(self.uniform() * (high - low))

    def uniform(self) -> float:
        """In [0, 1)."""
        return float(self._generator.random())


@dataclass(frozen=True)
class Augmentation:
    """Shared by all frames of a clip. scale: bounds of the sides, pixels, in either order. flip: horizontally."""

    scale: tuple[int, int]
    flip: bool


def sample_frames(key: int, labelled: Sequence[int], count: int, rng: ClipRng) -> list[int]:
    """A clip's frames: the key frame first, then others of the video in random order, not sorted in time.

    labelled: the video's labelled frames, ascending. Where they are fewer than `count` they are repeated.
    """
    others = [frame for frame in labelled if frame != key]
    if len(others) >= count - 1:
        return [key, *rng.sample(others, count - 1)]
    frames = [key]
    while len(frames) < count:
        frames += rng.sample(labelled, len(labelled))
    return frames[:count]


def sample_augmentation(recipe: Recipe, rng: ClipRng) -> Augmentation:
    """Scale and flip of a clip. Source: mmdetection's `Resize` (modes "range" and "value") and `RandomFlip`."""
    scales = recipe.scales
    if recipe.scale_mode == "value":
        scale = scales[rng.integer(0, len(scales))]
    else:
        longs, shorts = [max(scale) for scale in scales], [min(scale) for scale in scales]
        long = rng.integer(min(longs), max(longs) + 1)
        scale = (long, rng.integer(min(shorts), max(shorts) + 1))
    return Augmentation(scale, rng.uniform() < recipe.flip)


# --- clips


@dataclass(frozen=True, eq=False)
class ClipTarget:
    """The ground truth of a clip of T frames with N instances.

    labels: int64 (N,), class index from 0. ids: int64 (N,), sorted, unique. boxes_xyxy: float32 (T, N, 4), pixels of
    the resized frame. present: bool (T, N), whether the instance is in the frame; elsewhere box and mask are zero.
    masks: uint8 (T, N, H, W), 0 or 1, zero-padded on the right and bottom to the clip's own padded size.
    """

    labels: np.ndarray
    ids: np.ndarray
    boxes_xyxy: np.ndarray
    present: np.ndarray
    masks: np.ndarray


@dataclass(frozen=True, eq=False)
class Clip:
    """frames: float32 (T, 3, H, W), normalised RGB, zero-padded on the right and bottom to multiples of 32.
    size_hw: resized and not padded.
    """

    frames: np.ndarray
    size_hw: tuple[int, int]
    target: ClipTarget


def make_clip(video: TrainingVideo, frames: Sequence[int], augmentation: Augmentation) -> Clip:
    """A clip of a video's frames in the given order (repeats are allowed), with one augmentation for all.

    Raises: OSError, ValueError naming the file of a frame that cannot be read or has another size than annotated, or
    the annotation of a mask that cannot be read.
    """
    size = geometry(video.size_hw, augmentation.scale)
    pixels = np.zeros((len(frames), 3, *size.padded_hw), np.float32)
    levels = normalised_levels()
    height, width = size.resized_hw
    for out, frame in zip(pixels, frames, strict=True):
        bgr = cv2.resize(_read(video.files[frame], video.size_hw), (width, height), interpolation=cv2.INTER_LINEAR)
        # Flipped in 8 bit and normalised by table: the values of the reader's `preprocess` in less time.
        flipped = np.asarray(bgr[:, ::-1] if augmentation.flip else bgr, np.uint8)
        for channel, values in enumerate(levels):
            out[channel, :height, :width] = np.take(values, flipped[..., 2 - channel])
    return Clip(pixels, size.resized_hw, _target(video, frames, size, augmentation.flip))


def _read(file: Path, size_hw: tuple[int, int]) -> np.ndarray:
    """BGR (H, W, 3), read with OpenCV's default flag like the original: EXIF rotation applied, grey in 3 channels."""
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"{file}: no such frame") from None
    bgr = decode_image(data, str(file))
    if bgr is None:
        raise ValueError(f"{file}: not an image that can be read")
    if bgr.shape[:2] != size_hw:
        expected, got = (f"{width}x{height}" for height, width in (size_hw, bgr.shape[:2]))
        raise ValueError(f"{file}: expected {expected} pixels as the annotations say, got {got}")
    return bgr


def _target(video: TrainingVideo, frames: Sequence[int], size: Geometry, flip: bool) -> ClipTarget:
    tracks = video.masks()
    rles = [[track[frame] for frame in frames] for track in tracks]
    masked = np.array([[rle is not None for rle in track] for track in rles], bool).reshape(len(rles), len(frames))
    present = video.usable[:, list(frames)] & masked
    order = np.argsort(video.ids, kind="stable")
    indices = order[present[order].any(1)]
    boxes = resize_boxes(video.boxes_xyxy[indices][:, list(frames)].transpose(1, 0, 2), size)
    if flip:
        boxes[..., [0, 2]] = np.float32(size.resized_hw[1]) - boxes[..., [2, 0]]
    visible = present[indices].T
    boxes[~visible] = 0
    masks = resize_masks([rles[index] for index in indices], visible, size, flip)
    return ClipTarget(video.labels[indices], video.ids[indices], boxes, visible, masks)


def resize_boxes(boxes_xyxy: np.ndarray, size: Geometry) -> np.ndarray:
    """Boxes of the original in the resized frame: float32 (..., 4), pixels, clipped to 0..width and 0..height."""
    height, width = size.resized_hw
    limits = np.array([width, height, width, height], np.float32)
    return np.clip(boxes_xyxy * size.scale_factor, 0, limits)


def resize_masks(rles: Sequence[Sequence[RLE | None]], visible: np.ndarray, size: Geometry, flip: bool) -> np.ndarray:
    """N tracks of T masks -> uint8 (T, N, Hp, Wp). visible: bool (T, N); other masks stay empty. flip: horizontally."""
    # OpenCV's nearest neighbour takes source index floor(i * (1 / (new / old))), other libraries another.
    height, width = size.resized_hw
    out = np.zeros((*visible.shape, *size.padded_hw), np.uint8)
    for t, n in np.argwhere(visible):
        rle = rles[n][t]
        assert rle is not None
        transposed = ops.decode(rle).T  # run lengths are column-major, so this is contiguous
        resized = cv2.resize(transposed, (height, width), interpolation=cv2.INTER_NEAREST)
        out[t, n, :height, :width] = (resized[::-1] if flip else resized).T
    return out


# --- batches


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
        if recipe.frame_order == "time":
            frames.sort()
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
    load: Callable[[int, int], Batch],
    iterations: range,
    slots: range,
    workers: int,
    check: Callable[[], None] | None = None,
) -> Iterator[list[tuple[int, Batch]]]:
    """For each iteration, this process's (slot, batch) pairs.

    load: load(iteration, slot) -> batch, in any process. workers: processes that load ahead, at most one for each core;
    0 loads in this process. check: called after each batch; what it raises ends the stream.
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
        pairs: list[tuple[int, Batch]] = []
        for _ in slots:
            pairs.append(next(batches))
            if check is not None:
                check()
        yield pairs


def _init_worker(worker: int) -> None:
    # The training process handles Ctrl-C and SIGTERM and ends its workers itself.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
