"""What was measured without the predictions below a score, so that masks need not be read again."""

from dataclasses import replace

import numpy as np

from tevit.evaluation.matching import VideoClassPairs
from tevit.evaluation.overlaps import Overlaps, VideoPairs


def above(measured: Overlaps, least: float) -> Overlaps:
    """The predictions of at least this score alone; the tables keep all, so that rows and ids stay what they were.

    Equal to measuring a file without the others, because everywhere the best come first.
    """
    scores = measured.inputs.predictions.scores
    if not len(scores) or least <= scores.min():
        return measured
    left_out = tuple(x for x in measured.inputs.left_out if x.what == "annotation" or x.score >= least)
    return replace(
        measured,
        inputs=replace(measured.inputs, left_out=left_out),
        groups=[_group(group, _count(scores, group.predictions, least)) for group in measured.groups],
        pairs=[_pairs(pairs, _count(scores, pairs.predictions, least)) for pairs in measured.pairs],
    )


def _count(scores: np.ndarray, rows: np.ndarray, least: float) -> int:
    return int(np.count_nonzero(scores[rows] >= least))


def _group(group: VideoClassPairs, count: int) -> VideoClassPairs:
    return replace(group, predictions=group.predictions[:count], ious=group.ious[:count])


def _pairs(pairs: VideoPairs, count: int) -> VideoPairs:
    return replace(
        pairs,
        predictions=pairs.predictions[:count],
        common=pairs.common[:count],
        union=pairs.union[:count],
        prediction_areas=pairs.prediction_areas[:count],
    )
