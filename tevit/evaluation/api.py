"""The official metric of YouTube-VIS for one set of predictions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tevit.evaluation.curves import (
    FIGURES,
    BreakdownRow,
    Curves,
    by_area,
    by_length,
    by_size,
    by_video,
    count_positives,
    curves,
    figure,
)
from tevit.evaluation.inputs import GroundTruth, Predictions, read_inputs
from tevit.evaluation.matching import Matches, match_all
from tevit.evaluation.overlaps import Overlaps, compute_overlaps, frame_ious

if TYPE_CHECKING:  # it imports a progress bar, which takes a while
    from tevit.progress import Progress


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The figures of one model.

    figures: AP, AP50, AP75, APs, APm, APl, AR1, AR10, AR100, ARs, ARm, ARl, in [0, 1]; -1: no ground truth. per_class:
    category id -> the same twelve. names: category id -> name; one entry, -1 -> "all", where classes were pooled.
    warnings: what did not count, a sentence each.
    """

    figures: Mapping[str, float]
    per_class: Mapping[int, Mapping[str, float]]
    names: Mapping[int, str]
    curves: Curves
    overlaps: Overlaps
    matches: Matches
    warnings: tuple[str, ...]

    @property
    def heading(self) -> str:
        """The numbers of videos, classes and tracks, in words."""
        inputs, crowd = self.overlaps.inputs, int(self.overlaps.inputs.ground_truth.crowd.sum())
        tracks = f"{len(inputs.ground_truth.ids) - crowd} tracks" + (f" and {crowd} crowds" if crowd else "")
        return f"{len(inputs.videos)} videos, {len(inputs.categories)} classes, {tracks}"

    def by_size(self) -> Mapping[str, BreakdownRow]:
        """Figures of small, medium and large tracks, by mean area."""
        return by_size(self.overlaps)

    def by_length(self) -> Mapping[str, BreakdownRow]:
        """Figures of short, medium and long tracks, by the frames in which they are present."""
        return by_length(self.overlaps)

    def by_video(self) -> Mapping[int, BreakdownRow]:
        """Video id -> figures of each video as if it were the whole data set."""
        return by_video(self.overlaps, self.matches)

    def frame_ious(self, prediction_id: int, truth_id: int) -> np.ndarray:
        """float64 (T,): IoU in every frame that both tracks have, NaN where neither has a mask (or sizes differ).

        prediction_id: its place in the file from 1. truth_id: the annotation's id.
        Raises: ValueError where there is no such track, or the two are of different videos.
        """
        return frame_ious(self.overlaps.inputs, prediction_id, truth_id)


def evaluate(
    gt: GroundTruth,
    results: Predictions,
    *,
    agnostic: bool = False,
    progress: "Progress | None" = None,
    processes: int = 1,
) -> Evaluation:
    """Evaluate predictions as the official evaluator of YouTube-VIS does.

    gt, results: paths, opened files or VideoResults. agnostic: pool all classes. processes: share the work among so
    many, in a program that has no threads.
    Raises: OSError or ValueError where something cannot be read or does not fit together.
    """
    return accumulate(compute_overlaps(read_inputs(gt, results), agnostic, progress, processes=processes))


def accumulate(overlaps: Overlaps) -> Evaluation:
    """The figures of a data set whose overlaps are known."""
    inputs = overlaps.inputs
    names = {-1: "all"} if overlaps.agnostic else inputs.categories
    ignore = by_area(inputs)
    matches = match_all(overlaps.groups, inputs.ground_truth, inputs.predictions, ignore)
    arrays = curves(matches, count_positives(inputs, ignore, overlaps.agnostic))
    return Evaluation(
        figures={name: figure(arrays, name) for name in FIGURES},
        per_class={id: {name: figure(arrays, name, k) for name in FIGURES} for k, id in enumerate(names)},
        names=names,
        curves=arrays,
        overlaps=overlaps,
        matches=matches,
        warnings=overlaps.warnings,
    )
