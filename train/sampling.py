"""Which samples make a slot's clips, and what is drawn for each clip: pure functions of (seed, iteration, slot).

Slot s of a global batch is what process s is in the original: it takes every n-th index of an endless row of
permutations and collects, apart for wide and for tall videos, until it has the clips of a batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from train.recipes import Recipe

Permutation = Callable[[int], np.ndarray]
"""permutation(epoch) -> int64 (S,), the order of all samples."""

_KEPT = 3  # epochs whose tables are kept; slots drift apart by less than one


def permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    """int64 (count,): the order of an epoch. Sorted raw numbers, so that no library's shuffle decides it."""
    return np.argsort(np.random.PCG64([seed, epoch]).random_raw(count), kind="stable")


class _State(NamedTuple):
    """Where each slot stands when an epoch starts: batches given out, and what waits in its two groups."""

    given: tuple[int, ...]
    waiting: tuple[tuple[np.ndarray, np.ndarray], ...]


class Order:
    """The endless row of batches of each slot; a table for an epoch is made when it is first asked for.

    groups: (S,), 0 or 1 for each sample: a batch holds samples of one group. Asked by several threads it may compute a
    table twice, to the same result.
    """

    def __init__(self, groups: np.ndarray, slots: int, clips: int, permutation: Permutation):
        self._groups, self._slots, self._clips = groups.astype(bool), slots, clips
        self._permutation = permutation
        nothing = np.zeros(0, np.int64)
        self._states = {0: _State((0,) * slots, ((nothing, nothing),) * slots)}
        self._tables: dict[int, list[np.ndarray]] = {}

    def batch(self, iteration: int, slot: int) -> np.ndarray:
        """int64 (clips,): the samples of a slot at an iteration."""
        epoch = self._epoch(iteration, slot)
        return self._table(epoch)[slot][iteration - self._states[epoch].given[slot]]

    def _epoch(self, iteration: int, slot: int) -> int:
        while self._states[len(self._states) - 1].given[slot] <= iteration:
            self._advance(len(self._states) - 1)
        low, high = 0, len(self._states) - 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._states[middle].given[slot] > iteration else (middle, high)
        return low

    def _advance(self, epoch: int) -> None:
        self._tables[epoch], self._states[epoch + 1] = self._made(epoch)
        self._tables.pop(epoch - _KEPT, None)

    def _table(self, epoch: int) -> list[np.ndarray]:
        table = self._tables.get(epoch)
        if table is None:
            table = self._tables[epoch] = self._made(epoch)[0]
        return table

    def _made(self, epoch: int) -> tuple[list[np.ndarray], _State]:
        """For each slot its batches that become full in this epoch, int64 (batches, clips), and the state after it."""
        before, order = self._states[epoch], self._permutation(epoch)
        start = epoch * len(order)
        parts = [order[(slot - start) % self._slots :: self._slots] for slot in range(self._slots)]
        made = [self._grouped(part, waiting) for part, waiting in zip(parts, before.waiting, strict=True)]
        given = tuple(count + len(batches) for count, (batches, _) in zip(before.given, made, strict=True))
        return [batches for batches, _ in made], _State(given, tuple(waiting for _, waiting in made))

    def _grouped(
        self, samples: np.ndarray, waiting: tuple[np.ndarray, np.ndarray]
    ) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
        """Batches in the order in which their last sample comes, and what is left of each group."""
        batches, full_at, left = [], [], []
        for group, old in enumerate(waiting):
            places = np.flatnonzero(self._groups[samples] == bool(group))
            items = np.concatenate([old, samples[places]])
            count = len(items) // self._clips
            lasts = np.arange(1, count + 1) * self._clips - 1 - len(old)
            batches.append(items[: count * self._clips].reshape(count, self._clips))
            full_at.append(places[lasts])
            left.append(items[count * self._clips :])
        return np.concatenate(batches)[np.argsort(np.concatenate(full_at))], (left[0], left[1])


# --- the draws of a clip


class Draws(Protocol):
    """A source of random choices; in tests, the original's generators."""

    def sample(self, items: Sequence[int], count: int) -> list[int]:
        """`count` different items in random order."""
        ...

    def integer(self, low: int, high: int) -> int:
        """From low to high - 1."""
        ...

    def uniform(self) -> float:
        """In [0, 1)."""
        ...


class SeededDraws:
    """The draws of one slot of one iteration, by PCG64."""

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
    """What is drawn once for all frames of a clip: bounds of the sides, pixels (either order), and the mirroring."""

    scale: tuple[int, int]
    flip: bool


def draw_frames(key: int, labelled: Sequence[int], count: int, draws: Draws) -> list[int]:
    """A clip's frames: the sample's own first, then others of the video in random order, not sorted in time.

    labelled: the frames of the video that are samples, ascending. Where they are fewer than `count` they come again.
    """
    others = [frame for frame in labelled if frame != key]
    if len(others) >= count - 1:
        return [key, *draws.sample(others, count - 1)]
    frames = [key]
    while len(frames) < count:
        frames += draws.sample(labelled, len(labelled))
    return frames[:count]


def draw_augmentation(recipe: Recipe, draws: Draws) -> Augmentation:
    """Scale and flip of a clip. Source: mmdetection's `Resize` (modes "range" and "value") and `RandomFlip`."""
    scales = recipe.scales
    if recipe.scale_mode == "value":
        scale = scales[draws.integer(0, len(scales))]
    else:
        longs, shorts = [max(scale) for scale in scales], [min(scale) for scale in scales]
        long = draws.integer(min(longs), max(longs) + 1)
        scale = (long, draws.integer(min(shorts), max(shorts) + 1))
    return Augmentation(scale, draws.uniform() < recipe.flip)
