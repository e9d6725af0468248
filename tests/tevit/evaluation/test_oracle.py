"""Oracle gaps: predicted masks reassigned to the ground truth, on small sets for each case and on random data sets."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from tests.tevit.evaluation import sets
from tests.tevit.evaluation.sets import annotation, data_set, prediction
from tests.tevit.evaluation.test_errors import FRAMES, SIZE, measured, square
from tevit.evaluation.api import accumulate
from tevit.evaluation.errors import MIN_IOU, Gap, assign_masks, find_gaps
from tevit.evaluation.overlaps import VideoPairs

LEFT, RIGHT = [square(5)] * FRAMES, [square(40)] * FRAMES


def whole(tracks: list[tuple[int, list]], results: list[tuple[int, float, list]]) -> Gap:
    truths = [annotation(i + 1, 1, category, masks) for i, (category, masks) in enumerate(tracks)]
    predictions = [prediction(1, category, score, masks) for category, score, masks in results]
    return find_gaps(measured(data_set({1: FRAMES}, [1, 2], truths, SIZE), predictions)).whole


def test_swapped_identities_are_a_tracking_gap():
    swapped = [LEFT[:5] + RIGHT[5:], RIGHT[:5] + LEFT[5:]]
    gap = whole([(1, LEFT), (1, RIGHT)], [(1, 0.9, swapped[0]), (1, 0.8, swapped[1])])
    assert (gap.ap, gap.tracked, gap.classified) == pytest.approx((0, 1, 1), abs=1e-9)
    assert (gap.tracking, gap.classification, gap.masks) == pytest.approx((1, 0, 0), abs=1e-9)


def test_wrong_classes_are_a_classification_gap():
    gap = whole([(1, LEFT), (2, RIGHT)], [(2, 0.9, LEFT), (1, 0.8, RIGHT)])
    assert (gap.tracking, gap.classification, gap.masks) == pytest.approx((0, 1, 0), abs=1e-9)


def test_poor_masks_and_misses_remain():
    gap = whole([(1, LEFT), (1, RIGHT)], [(1, 0.9, [square(7)] * FRAMES)])  # IoU 2/3: right up to threshold 0.65
    assert (gap.tracking, gap.classification) == pytest.approx((0, 0), abs=1e-9)
    assert gap.masks == pytest.approx(1 - 0.4 * 51 / 101)


def test_a_reassigned_track_has_class_and_score_of_most_of_its_frames():
    parts = [LEFT[:6] + [None] * 4, [None] * 6 + LEFT[6:]]
    stray = (1, 0.5, RIGHT)  # between the two scores: a reassigned track of score 0.2 would come after it
    gap = whole([(1, LEFT)], [(1, 0.9, parts[0]), (2, 0.2, parts[1]), stray])
    assert gap.tracked == pytest.approx(1, abs=1e-9)
    gap = whole([(1, LEFT)], [(1, 0.2, parts[0]), (2, 0.9, parts[1]), stray])
    assert gap.tracked == pytest.approx(0.5, abs=1e-9)


def test_masks_that_were_not_reassigned_stay_in_their_track():
    half = LEFT[:5] + RIGHT[5:]
    gap = whole([(1, LEFT)], [(1, 0.9, half), (1, 0.5, [None] * 5 + LEFT[5:])])
    # The reassigned track is perfect with score 0.9; what is left of the first keeps that score and comes after it.
    assert gap.tracked == pytest.approx(1, abs=1e-9)
    assert gap.ap == pytest.approx((1 / 10) * (101 / 101) * 0.5, abs=1e-9)


def test_a_mask_below_the_lowest_iou_is_not_reassigned():
    gap = whole([(1, LEFT)], [(2, 0.9, [square(14)] * FRAMES)])  # frame IoU 0.05
    assert gap.classified == 0


def test_parts_by_length_and_by_instances():
    truths = [annotation(1, 1, 1, LEFT), annotation(2, 2, 1, LEFT), annotation(3, 2, 1, RIGHT)]
    predictions = [prediction(1, 1, 0.9, LEFT)]
    gaps = find_gaps(measured(data_set({1: FRAMES, 2: FRAMES}, [1], truths, SIZE), predictions))
    assert gaps.by_instances["1"].ap == pytest.approx(1)
    assert gaps.by_instances["2 to 3"].ap == 0
    assert gaps.by_instances["2 to 3"].truths == 2
    assert gaps.by_length["up to 16 frames"].truths == 3
    assert gaps.by_length["33 frames and more"].ap == -1
    assert np.isnan(gaps.by_length["33 frames and more"].tracking)


@settings(max_examples=60, deadline=None)
@given(sets.random_sets())
def test_what_holds_on_any_data_set(random_set):
    overlaps = measured(*random_set)
    whole = find_gaps(overlaps).whole
    assert whole.ap == pytest.approx(accumulate(overlaps).figures["AP"], abs=1e-12)
    if whole.truths:
        assert whole.tracking + whole.classification + whole.masks == pytest.approx(1 - whole.ap)
        assert 0 <= whole.tracked <= 1 + 1e-12
        assert 0 <= whole.classified <= 1 + 1e-12
    else:
        assert whole.ap == whole.tracked == whole.classified == -1


def test_the_majority_is_one_of_classes_not_of_tracks():
    parts = [LEFT[:4] + [None] * 6, [None] * 4 + LEFT[4:7] + [None] * 3, [None] * 7 + LEFT[7:]]
    gap = whole([(2, LEFT)], [(1, 0.9, parts[0]), (2, 0.8, parts[1]), (2, 0.7, parts[2])])
    assert gap.tracked == pytest.approx(1, abs=1e-9)


def test_a_mask_that_hardly_touches_does_not_spoil_a_reassigned_track():
    near = [None] * 6 + [square(14)] * 4  # frame IoU 0.05; with it the track would have IoU 0.47
    gap = whole([(1, LEFT)], [(1, 0.9, LEFT[:6] + [None] * 4), (1, 0.5, near)])
    assert gap.tracked == pytest.approx(0.3, abs=1e-9)


def test_frames_without_a_mask_count_against_a_reassigned_track():
    gap = whole([(1, LEFT)], [(1, 0.9, LEFT[:3] + [None] * 7), (1, 0.8, [None] * 3 + LEFT[3:6] + [None] * 4)])
    assert gap.tracked == pytest.approx(0.3, abs=1e-9)  # IoU 0.6: right at 0.50, 0.55 and 0.60


@given(st.integers(0, 1 << 30), st.integers(0, 5), st.integers(1, 4))
def test_the_assignment_of_every_frame_is_optimal(seed, predictions, truths):
    """Where two truths have the same best prediction and where they have not."""
    rng = np.random.default_rng(seed)
    shape = predictions, truths, 12
    union = np.full(shape, 1000, np.int32)
    common = rng.integers(0, 1000, shape).astype(np.int32) * (rng.random(shape) < 0.6)
    rows = np.arange(truths), np.arange(predictions)
    areas = np.ones((truths, 12), np.int32), np.ones((predictions, 12), np.int32)
    pairs = VideoPairs(0, *rows, common.astype(np.int32), union, *areas)
    source = assign_masks(pairs, np.zeros(truths, bool))
    ious = np.where(pairs.frame_ious() < MIN_IOU, 0, pairs.frame_ious()).astype(np.float64)
    for t in range(12):
        best, owners = linear_sum_assignment(ious[..., t], maximize=True)
        taken = source[:, t] >= 0
        assert len(set(source[taken, t].tolist())) == taken.sum()
        assigned = ious[source[taken, t], np.flatnonzero(taken), t]
        assert assigned.sum() == pytest.approx(ious[best, owners, t].sum(), abs=1e-6) and (assigned > 0).all()
