"""Error tables, score thresholds and stored overlaps against the same numbers computed in another way, random sets."""

import io
import tempfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tevit.evaluation import sets
from tevit.evaluation.api import accumulate, draw_weights, resample
from tevit.evaluation.error_table import analyse_errors, build_table, track_geometry
from tevit.evaluation.errors import ALL_TYPES, Limits, find_costs
from tevit.evaluation.inputs import read_inputs
from tevit.evaluation.overlaps import Overlaps, compute_overlaps, filter_scores, pack, unpack


def measured(gt: dict, results: list) -> Overlaps:
    with tempfile.TemporaryDirectory() as folder:
        return compute_overlaps(read_inputs(*sets.write(folder, gt, results)), all_pairs=True)


def stored_and_loaded(overlaps: Overlaps) -> Overlaps:
    """Through a file and back."""
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **pack(overlaps))
    file.seek(0)
    with np.load(file, allow_pickle=False) as arrays:
        return unpack(dict(arrays))


@settings(max_examples=40, deadline=None)
@given(sets.random_sets(), st.sampled_from([0.3, 0.5, 0.75]))
def test_columns_equal_the_records(data, positive):
    overlaps, limits = measured(*data), Limits(positive=positive, background=0.1)
    errors = analyse_errors(overlaps, limits)
    table = build_table(overlaps, find_costs(overlaps, limits), track_geometry(overlaps, limits.cover))
    known = overlaps.inputs.categories
    records = [r for r in errors.records if (r.truth_category_id or r.category_id) in known]
    assert len(records) == len(table.type)
    ids_t, ids_p = overlaps.inputs.ground_truth.ids, overlaps.inputs.predictions.ids
    for i, record in enumerate(records):
        assert ALL_TYPES[table.type[i]] == record.type and table.truth[i] == (record.kind == "truth")
        t, p = table.truth_row[i], table.prediction_row[i]
        assert (None if t < 0 else ids_t[t], None if p < 0 else ids_p[p]) == (record.truth_id, record.prediction_id)
        assert table.iou[i] == pytest.approx(record.iou, abs=1e-12)
        assert table.share[i] == pytest.approx(record.share, abs=1e-12)
        assert table.frames[i] == len(record.frames)
        assert table.worst[i] == (-1 if record.worst_frame is None else record.worst_frame)
        assert (table.identity_switch[i], table.fragmentation[i]) == (record.identity_switch, record.fragmentation)


@settings(max_examples=30, deadline=None)
@given(sets.random_sets(official_only=False), st.sampled_from([0.0, 0.3, 0.4, 0.5, 0.95]))
def test_a_score_threshold_equals_a_file_without_the_others(data, least):
    gt, results = data
    cut = filter_scores(measured(gt, results), least)
    fewer = measured(gt, [item for item in results if item["score"] >= least])
    assert accumulate(cut).figures == accumulate(fewer).figures
    a, b = analyse_errors(cut), analyse_errors(fewer)
    assert a.dap == pytest.approx(b.dap, abs=1e-12)
    assert [(r.type, r.iou, r.share) for r in a.records] == [(r.type, r.iou, r.share) for r in b.records]


@settings(max_examples=30, deadline=None)
@given(sets.random_sets())
def test_stored_overlaps_give_the_same(data):
    overlaps = measured(*data)
    reloaded = stored_and_loaded(overlaps)
    assert accumulate(reloaded).figures == accumulate(overlaps).figures
    assert analyse_errors(reloaded).records == analyse_errors(overlaps).records
    assert reloaded.warnings == overlaps.warnings and reloaded.inputs.left_out == overlaps.inputs.left_out


def test_masks_were_not_stored():
    overlaps = measured(*sets_with_one_prediction())
    with pytest.raises(ValueError, match="were not kept"):
        stored_and_loaded(overlaps).inputs.ground_truth.read_masks([0])


def sets_with_one_prediction() -> tuple[dict, list]:
    mask = sets.rectangle(12, 15, 2, 2, 5, 5)
    gt = sets.data_set({1: 2}, [1], [sets.annotation(1, 1, 1, [mask, mask])], (12, 15))
    return gt, [sets.prediction(1, 1, 0.5, [mask, mask])]


@settings(max_examples=15, deadline=None)
@given(sets.random_sets())
def test_a_few_figures_are_sampled_as_among_all(data):
    overlaps = measured(*data)
    weights = draw_weights(len(overlaps.inputs.videos), 20)
    outcome = accumulate(overlaps).matches
    all_, few = resample(overlaps, outcome, weights), resample(overlaps, outcome, weights, names=("AP50", "AR1", "APm"))
    assert list(few) == ["AP50", "AR1", "APm"]
    for name, values in few.items():
        np.testing.assert_array_equal(values, all_[name])
