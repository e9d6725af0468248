"""What AP would be if some kinds of errors were not made.

Source: the oracles of TIDE (arXiv 2008.08115), on the official metric's AP at one IoU threshold.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from tevit.evaluation.curves import curves, mean_of_known
from tevit.evaluation.matching import Matches

MOVED = ("classification", "spatial", "temporal")
"""Mended by giving them the truth they are about, unless something better has it; all others by taking them away."""


@dataclass(frozen=True, eq=False)
class OracleAP:
    """What every prediction and truth counts for.

    types: str (N,), of the predictions that count. categories, truths: int64 (N,): their class, and the row of the
    truth that each is about, -1 for none. order: int64 (N,), their places in the order of falling scores.
    truth_categories: int64 (G,). counting: bool (G,), not crowd. missed: bool (G,). classes: K.
    """

    types: np.ndarray
    categories: np.ndarray
    truths: np.ndarray
    order: np.ndarray
    truth_categories: np.ndarray
    counting: np.ndarray
    missed: np.ndarray
    classes: int

    def ap(self, mended: Collection[str]) -> float:
        """AP in [0, 1] with the errors of these types mended; -1: no ground truth.

        The classes are those that have truths before anything is mended. A class of which every truth was missed, and
        mended, is perfect if no false positive is left, else worth nothing.
        """
        right = self.types == "correct"
        moved = self._moved(mended)
        keep = ~np.isin(self.types, list(mended))
        keep[moved] = right[moved] = True
        categories = self.categories.copy()
        categories[moved] = self.truth_categories[self.truths[moved]]
        counting = self.counting & ~self.missed if "missed" in mended else self.counting
        before, after = (
            np.bincount(self.truth_categories[c], minlength=self.classes) for c in (self.counting, counting)
        )
        values = self._class_aps(np.flatnonzero(keep), right, categories, after)
        emptied = (before > 0) & (after == 0)
        values[emptied] = np.bincount(categories[keep], minlength=self.classes)[emptied] == 0
        return mean_of_known(values)

    def _moved(self, mended: Collection[str]) -> np.ndarray:
        """int64: of those that are given their truth, the best one for each truth that is not taken."""
        taken = self.truths[self.types == "correct"]
        asking = np.isin(self.types, [type for type in MOVED if type in mended]) & ~np.isin(self.truths, taken)
        rows = np.flatnonzero(asking)
        rows = rows[np.argsort(self.order[rows])]
        return rows[np.unique(self.truths[rows], return_index=True)[1]]

    def _class_aps(self, rows: np.ndarray, right: np.ndarray, categories: np.ndarray, truths: np.ndarray) -> np.ndarray:
        """float64 (K,). rows: the predictions that are left; right, categories: of all."""
        rows = rows[np.lexsort((self.order[rows], categories[rows]))]
        outcome = Matches(
            predictions=rows,
            categories=categories[rows],
            ranks=np.zeros(len(rows), np.int64),
            scores=-self.order[rows].astype(np.float64),
            taken=self.truths[rows][None, None],
            right=right[rows][None, None],
            ignored=np.zeros((1, 1, len(rows)), bool),
        )
        precision = curves(outcome, truths[None], (1,)).precision[0, :, :, 0, 0]
        return np.where(truths > 0, precision.mean(axis=0), -1.0)


def covering_error(oracle: OracleAP) -> np.ndarray:
    """int64: of all errors of class or place, the one that stands for each truth that nothing has found."""
    return oracle._moved(MOVED)
