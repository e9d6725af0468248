"""Sampling of clips and of their augmentation: pure functions of (seed, iteration, slot).

Slot s of a global batch is process s of the original: it takes every n-th index of an endless sequence of
permutations and collects them, separately for wide and for tall videos, until a batch is full.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from .recipes import Recipe

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
