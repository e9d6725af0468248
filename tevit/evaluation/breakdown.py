"""The metric of parts of a data set: by size, by track length, by video."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tevit.evaluation.curves import AREA_RANGES, Curves, by_range, count_positives, curves, mean_of_known
from tevit.evaluation.matching import IgnoreMasks, Matches, match_all
from tevit.evaluation.overlaps import Overlaps

LENGTHS = {"up to 16 frames": (0, 16), "17 to 32 frames": (17, 32), "33 frames and more": (33, np.inf)}
"""Frames in which a track is there; the limits are those of TIVE (arXiv 2210.08856)."""


@dataclass(frozen=True)
class Part:
    """truths: how many tracks count. AP …: figures of these alone, in [0, 1], -1 where there is no ground truth."""

    truths: int
    AP: float
    AP50: float
    AP75: float
    AR1: float
    AR10: float
    AR100: float


def by_size(measured: Overlaps) -> Mapping[str, Part]:
    """The official area ranges; a prediction that takes nothing counts in the range of its own area."""
    inputs = measured.inputs
    question = by_range(inputs.truths.areas, inputs.predictions.areas, list(AREA_RANGES.values()))
    return dict(zip(AREA_RANGES, _parts(measured, question), strict=True))


def by_length(measured: Overlaps) -> Mapping[str, Part]:
    """Ranges of track length; a prediction that takes nothing counts in the range of its own length."""
    question = by_range(measured.truth_frames, measured.prediction_frames, list(LENGTHS.values()))
    return dict(zip(LENGTHS, _parts(measured, question), strict=True))


def _parts(measured: Overlaps, question: IgnoreMasks) -> list[Part]:
    inputs = measured.inputs
    outcome = match_all(measured.groups, inputs.truths, inputs.predictions, question)
    positives = count_positives(inputs, question, measured.agnostic)
    found = curves(outcome, positives)
    return [_part(found, a, int(positives[a].sum())) for a in range(len(positives))]


def _part(found: Curves, a: int, truths: int) -> Part:
    precision, recall = found.precision[..., a, -1], found.recall[:, :, a]
    return Part(
        truths,
        mean_of_known(precision),
        mean_of_known(precision[0]),
        mean_of_known(precision[5]),
        *(mean_of_known(recall[..., m]) for m in range(3)),
    )


def by_video(measured: Overlaps, outcome: Matches) -> Mapping[int, Part]:
    """Each video as if it were the whole data set; video id -> its figures.

    outcome: of the official question, of which the first row (all areas) is used.
    """
    truths = measured.inputs.truths
    of_prediction = measured.inputs.predictions.videos[outcome.predictions]
    kinds = truths.categories * (not measured.agnostic)
    size = 1 if measured.agnostic else len(measured.inputs.categories)
    result = {}
    for place, video in enumerate(measured.inputs.videos):
        positives = np.bincount(kinds[(truths.videos == place) & ~truths.crowd], minlength=size)
        present = np.flatnonzero(positives)
        found = curves(_restrict(outcome, np.flatnonzero(of_prediction == place), present), positives[None, present])
        result[video.id] = _part(found, 0, int(positives.sum()))
    return result


def _restrict(outcome: Matches, chosen: np.ndarray, categories: np.ndarray) -> Matches:
    """Some predictions of some classes, which are numbered anew."""
    chosen = chosen[np.isin(outcome.categories[chosen], categories)]
    return Matches(
        predictions=outcome.predictions[chosen],
        categories=np.searchsorted(categories, outcome.categories[chosen]),
        ranks=outcome.ranks[chosen],
        scores=outcome.scores[chosen],
        taken=outcome.taken[:1, :, chosen],
        right=outcome.right[:1, :, chosen],
        ignored=outcome.ignored[:1, :, chosen],
    )
