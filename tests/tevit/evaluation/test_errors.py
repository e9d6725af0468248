"""Error types: each on a small set of its own, and invariants on random data sets."""

import tempfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tevit.evaluation import sets
from tests.tevit.evaluation.sets import annotation, data_set, prediction
from tevit.evaluation.api import accumulate
from tevit.evaluation.error_table import ErrorRecord, Errors, analyse_errors
from tevit.evaluation.errors import UNMATCHABLE, Limits
from tevit.evaluation.inputs import read_inputs
from tevit.evaluation.overlaps import Overlaps, compute_overlaps

SIZE = 40, 60
FRAMES = 10


def measured(gt: dict, results: list) -> Overlaps:
    with tempfile.TemporaryDirectory() as folder:
        return compute_overlaps(read_inputs(*sets.write(folder, gt, results)), all_pairs=True)


def find(gt: dict, results: list, limits: Limits | None = None) -> Errors:
    return analyse_errors(measured(gt, results), limits)


def square(x: int, y: int = 5, side: int = 10) -> np.ndarray:
    return sets.rectangle(*SIZE, x, y, side, side)


def one_video(tracks: list[tuple[int, list]], results: list[tuple[int, float, list]], crowd: int = 0) -> Errors:
    """tracks: (class, masks); results: (class, score, masks)."""
    truths = [annotation(i + 1, 1, category, masks, crowd) for i, (category, masks) in enumerate(tracks)]
    predictions = [prediction(1, category, score, masks) for category, score, masks in results]
    return find(data_set({1: FRAMES}, [1, 2, 3], truths, SIZE), predictions)


def of_prediction(errors: Errors, id: int) -> ErrorRecord:
    return next(record for record in errors.records if record.kind == "prediction" and record.prediction_id == id)


def of_truth(errors: Errors, id: int) -> ErrorRecord:
    return next(record for record in errors.records if record.kind == "truth" and record.truth_id == id)


LEFT = [square(5)] * FRAMES
HALF = [square(11)] * FRAMES  # IoU 0.25 in every frame
EARLY = [square(5)] * 4 + [None] * 6  # IoU 0.4, nothing in most frames


@pytest.mark.parametrize(
    ("category", "masks", "type", "truth"),
    [
        (1, LEFT, "correct", "correct"),
        (2, LEFT, "classification", "explained"),
        (1, HALF, "spatial", "explained"),
        (1, EARLY, "temporal", "explained"),
        (2, HALF, "both", "missed"),
        (1, [square(40)] * FRAMES, "background", "missed"),
        (2, [square(14)] * FRAMES, "background", "missed"),  # IoU 0.05
    ],
)
def test_one_prediction_and_one_truth(category, masks, type, truth):
    errors = one_video([(1, LEFT)], [(category, 0.9, masks)])
    assert of_prediction(errors, 1).type == type
    assert of_truth(errors, 1).type == truth
    assert of_prediction(errors, 1).truth_id == (None if type == "background" else 1)
    assert of_truth(errors, 1).prediction_id == (None if truth == "missed" else 1)
    assert errors.oracle_ap == pytest.approx(1, abs=1e-9)


def test_the_second_match_of_a_track_is_a_duplicate():
    errors = one_video([(1, LEFT)], [(1, 0.5, LEFT), (1, 0.9, LEFT)])
    assert [of_prediction(errors, id).type for id in (1, 2)] == ["duplicate", "correct"]
    assert of_prediction(errors, 1).truth_id == 1
    assert errors.dap["duplicate"] == pytest.approx(0, abs=1e-9)  # it comes last and costs nothing


def test_a_duplicate_before_another_truth_costs():
    tracks = [(1, LEFT), (1, [square(40)] * FRAMES)]
    errors = one_video(tracks, [(1, 0.9, LEFT), (1, 0.8, LEFT), (1, 0.7, tracks[1][1])])
    # Recall 0.5 at precision 1 (points 0 to 0.50), then 2 of 3.
    assert errors.ap == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert errors.dap["duplicate"] == pytest.approx(1 - errors.ap)
    assert of_prediction(errors, 2).share == pytest.approx(errors.dap["duplicate"])


def test_right_class_comes_before_wrong_class():
    tracks = [(1, LEFT), (2, [square(6)] * FRAMES)]
    errors = one_video(tracks, [(1, 0.9, LEFT), (1, 0.8, [square(6)] * FRAMES)])
    assert of_prediction(errors, 2).type == "duplicate"  # IoU 1 with the wrong class, 0.82 with the right one


def test_wrong_class_in_place_comes_before_right_class_out_of_place():
    tracks = [(1, LEFT), (2, [square(11)] * FRAMES)]
    errors = one_video(tracks, [(2, 0.9, LEFT)])
    assert of_prediction(errors, 1).type == "classification"
    assert of_truth(errors, 1).prediction_id == 1
    assert of_truth(errors, 2).type == "missed"


def test_of_several_errors_the_best_score_explains():
    errors = one_video([(1, LEFT)], [(2, 0.3, LEFT), (1, 0.6, HALF), (3, 0.4, LEFT)])
    assert of_truth(errors, 1).prediction_id == 2
    assert errors.dap["classification"] == pytest.approx(0.5)  # put right it comes second, behind the spatial one
    assert errors.dap["missed"] == 0


def test_missed_ground_truth_costs_missed_alone():
    errors = one_video([(1, LEFT), (1, [square(40)] * FRAMES)], [(1, 0.9, LEFT)])
    assert {type: cost for type, cost in errors.dap.items() if cost > 1e-9} == {"missed": pytest.approx(50 / 101)}
    assert of_truth(errors, 2).share == pytest.approx(50 / 101)


def test_shares_of_missed_truths_weigh_classes_alike():
    away = [square(40)] * FRAMES
    errors = one_video([(1, LEFT), (1, away), (2, [square(20)] * FRAMES)], [(1, 0.9, LEFT)])
    one, other = of_truth(errors, 2).share, of_truth(errors, 3).share
    assert other == pytest.approx(2 * one)
    assert one + other == pytest.approx(errors.dap["missed"])


def test_matches_of_a_crowd_are_ignored_and_so_is_the_crowd():
    errors = one_video([(1, LEFT)], [(1, 0.9, LEFT), (1, 0.8, LEFT)], crowd=1)
    assert [record.type for record in errors.records] == ["ignored"] * 3
    assert errors.ap == -1


def test_the_spatial_limit_is_seventy_percent_of_the_frames():
    def masks(near: int) -> list:
        return [square(11)] * near + [square(40)] * (FRAMES - near)

    for near, type in ((7, "spatial"), (6, "temporal")):
        errors = one_video([(1, LEFT)], [(1, 0.9, masks(near))])
        assert 0.1 <= of_prediction(errors, 1).iou < 0.5
        assert of_prediction(errors, 1).type == type


def test_limits_move_the_types():
    gt = data_set({1: FRAMES}, [1], [annotation(1, 1, 1, LEFT)], SIZE)
    results = [prediction(1, 1, 0.9, HALF)]
    assert of_prediction(find(gt, results, Limits(positive=0.25)), 1).type == "correct"
    assert of_prediction(find(gt, results, Limits(background=0.26)), 1).type == "background"
    with pytest.raises(ValueError, match="expected 0 < background"):
        Limits(background=0.6)


def test_an_identity_switch_has_its_frame():
    first, second = [square(5)] * 6 + [None] * 4, [None] * 6 + [square(5)] * 4
    errors = one_video([(1, LEFT)], [(1, 0.9, first), (1, 0.8, second), (1, 0.7, [square(45)] * FRAMES)])
    assert of_truth(errors, 1).switches == (6,)
    assert [of_prediction(errors, id).identity_switch for id in (1, 2, 3)] == [True, True, False]
    assert not of_truth(errors, 1).fragmentation


def test_copies_of_a_track_are_no_identity_switch():
    errors = one_video([(1, LEFT)], [(1, 0.9, LEFT), (2, 0.8, LEFT)])
    assert not any(record.identity_switch for record in errors.records)


def test_fragmentation_is_a_gap_while_the_truth_is_there():
    gap = [square(5)] * 3 + [None] * 2 + [square(5)] * 5
    errors = one_video([(1, LEFT)], [(1, 0.9, gap)])
    assert of_truth(errors, 1).fragmentation
    assert of_prediction(errors, 1).fragmentation
    absent = [square(5)] * 3 + [None] * 2 + [square(5)] * 5
    assert not any(record.fragmentation for record in one_video([(1, absent)], [(1, 0.9, gap)]).records)


def test_a_record_holds_frames_and_their_ious():
    errors = one_video([(1, EARLY)], [(1, 0.9, [None] * 2 + [square(11)] * 4 + [None] * 4)])
    record = of_prediction(errors, 1)
    assert record.frames == (0, 1, 2, 3, 4, 5)
    assert record.frame_ious == pytest.approx((0, 0, 0.25, 0.25, 0, 0), abs=1e-6)
    assert record.worst_frame == 0
    assert record.iou == pytest.approx(80 / (400 + 400 - 80))


def test_predictions_of_unlisted_categories_have_records_too():
    errors = one_video([(1, LEFT)], [(9, 0.9, LEFT), (1, 0.8, LEFT)])
    assert [record.type for record in errors.records] == ["ignored", "correct", "correct"]


def test_what_fits_annotation_0_has_a_type_of_its_own():
    """The official AP stays; renumbered, the two are correct. A second prediction of it is a duplicate as usual."""
    tracks = [annotation(id, 1, 1, masks) for id, masks in ((0, LEFT), (1, [square(40)] * FRAMES))]
    results = [prediction(1, 1, score, masks) for score, masks in ((0.9, LEFT), (0.8, LEFT), (0.7, HALF))]
    errors = find(data_set({1: FRAMES}, [1], tracks, SIZE), results)
    assert [of_prediction(errors, id).type for id in (1, 2, 3)] == [UNMATCHABLE, "duplicate", "spatial"]
    assert (of_truth(errors, 0).type, of_truth(errors, 0).prediction_id) == (UNMATCHABLE, 1)
    assert of_truth(errors, 1).type == "missed"
    assert errors.ap == 0 and errors.oracle_ap == pytest.approx(1)
    assert errors.dap[UNMATCHABLE] == pytest.approx(51 / 101)  # found first, with half of the ground truth
    assert of_prediction(errors, 1).share == errors.dap[UNMATCHABLE] and of_truth(errors, 0).share == 0
    renumbered = [{**tracks[0], "id": 2}, tracks[1]]
    repeated = find(data_set({1: FRAMES}, [1], renumbered, SIZE), results)
    assert repeated.ap == pytest.approx(errors.dap[UNMATCHABLE]) and UNMATCHABLE not in repeated.dap


@pytest.mark.parametrize(("category", "type"), [(2, "classification"), (1, UNMATCHABLE)])
def test_annotation_0_beside_others_of_its_video(category, type):
    """A prediction of the wrong class is no match, whatever the id; crowds with the id 0 are ignored as others are."""
    tracks = [annotation(0, 1, 1, LEFT), annotation(7, 1, 2, [square(40)] * FRAMES)]
    results = [prediction(1, category, 0.9, LEFT), prediction(1, 2, 0.8, [square(40)] * FRAMES)]
    errors = find(data_set({1: FRAMES}, [1, 2], tracks, SIZE), results)
    assert [of_prediction(errors, id).type for id in (1, 2)] == [type, "correct"]
    crowd = [annotation(0, 1, 1, LEFT, 1), tracks[1]]
    errors = find(data_set({1: FRAMES}, [1, 2], crowd, SIZE), [prediction(1, 1, 0.9, LEFT)])
    assert of_prediction(errors, 1).type == "ignored" and UNMATCHABLE not in errors.dap


@pytest.mark.parametrize(
    ("category", "masks", "type"),
    [(1, HALF, "spatial"), (1, EARLY, "temporal"), (2, LEFT, "classification"), (None, [], "missed")],
)
def test_fixing_an_error_about_annotation_0_gains_nothing(category, masks, type):
    """The official evaluation would not count it either; renumbered it gains what such an error costs."""
    tracks = [annotation(id, 1, 1, masks) for id, masks in ((0, LEFT), (1, [square(40)] * FRAMES))]
    results = [prediction(1, 1, 0.8, [square(40)] * FRAMES)]
    results += [] if category is None else [prediction(1, category, 0.9, masks)]
    gt = data_set({1: FRAMES}, [1, 2], tracks, SIZE)
    errors = find(gt, results)
    # Half of the ground truth is found, behind a false positive where that is of the same class.
    before = 51 / 101 if category != 1 else 51 / 101 / 2
    assert errors.ap == pytest.approx(before)
    named = of_truth(errors, 0) if type == "missed" else of_prediction(errors, 2)
    assert (named.type, named.share) == (type, 0)
    assert of_truth(errors, 0).type == ("missed" if type == "missed" else "explained")
    assert errors.dap == pytest.approx(dict.fromkeys(errors.dap, 0)) and UNMATCHABLE in errors.dap
    assert errors.oracle_ap == pytest.approx(1)
    gt["annotations"][0]["id"] = 2
    repeated = find(gt, results)
    assert repeated.ap == pytest.approx(before) and repeated.dap[type] == pytest.approx(1 - before)


@settings(max_examples=100, deadline=None)
@given(sets.random_sets(), st.booleans())
def test_what_holds_on_any_data_set(random_set, from_0):
    gt, results = random_set
    for one in gt["annotations"]:
        one["id"] -= from_0
    overlaps = measured(gt, results)
    errors = analyse_errors(overlaps)
    evaluation = accumulate(overlaps)
    predictions = [record for record in errors.records if record.kind == "prediction"]
    truths = [record for record in errors.records if record.kind == "truth"]
    assert [record.prediction_id for record in predictions] == list(range(1, len(results) + 1))
    assert sorted(record.truth_id for record in truths) == sorted(a["id"] for a in gt["annotations"])  # type: ignore[type-var]
    assert errors.ap == pytest.approx(evaluation.figures["AP50"], abs=1e-12)
    assert errors.oracle_ap == pytest.approx(1 if errors.ap > -1 else -1, abs=1e-9)
    for type in errors.dap:
        assert errors.dap[type] >= -1e-12
        own = [record.share for record in errors.records if record.type == type]
        assert sum(own) == pytest.approx(errors.dap[type], abs=1e-12) if own else errors.dap[type] == 0
    right = int(evaluation.matches.correct[0, 0].sum())
    assert sum(record.type == "correct" for record in predictions) == right
    assert sum(record.type == "correct" for record in truths) == right
    check_partners(predictions, truths)


def check_partners(predictions: list[ErrorRecord], truths: list[ErrorRecord]) -> None:
    """Correct ones and explanations name each other; nobody explains two truths."""
    by_id = {record.prediction_id: record for record in predictions}
    explainers = [record.prediction_id for record in truths if record.type in ("correct", "explained")]
    assert len(set(explainers)) == len(explainers)
    for truth in truths:
        if truth.type in ("correct", "explained"):
            partner = by_id[truth.prediction_id]
            assert (partner.truth_id, partner.video_id) == (truth.truth_id, truth.video_id)
            assert (partner.type == "correct") == (truth.type == "correct")
            assert partner.iou == truth.iou
