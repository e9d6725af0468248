"""The figures against the official evaluator's recordings and against the literal version on random data sets."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tevit.evaluation import literal, sets
from tevit.evaluation.api import Evaluation
from tevit.evaluation.matching import AREA_RANGES

EXACT = {"rtol": 0, "atol": 1e-12}
SETS = sorted(sets.recorded("eval_sets"))


def content(name: str) -> dict:
    return sets.recorded("eval_medium" if name == "medium" else "eval_sets")[name]


def expect_arrays(evaluation: Evaluation, prefix: str) -> None:
    golden = sets.official()
    np.testing.assert_allclose(list(evaluation.figures.values()), golden[f"{prefix}stats"], **EXACT)
    for name in ("precision", "recall", "scores"):
        if f"{prefix}{name}" in golden:
            np.testing.assert_allclose(getattr(evaluation.curves, name), golden[f"{prefix}{name}"], **EXACT)


@pytest.mark.parametrize("name", [*SETS, "medium"])
def test_figures_and_arrays_equal_the_official_ones(name):
    evaluation = sets.evaluate(content(name)["gt"], content(name)["results"])
    expect_arrays(evaluation, f"{name}/")
    assert list(evaluation.names) == sets.official()[f"{name}/cat_ids"].tolist()


@pytest.mark.parametrize("name", ["small", "medium"])
def test_pooled_classes_equal_the_official_ones(name):
    expect_arrays(sets.evaluate(content(name)["gt"], content(name)["results"], agnostic=True), f"{name}/agnostic_")


@pytest.mark.parametrize("part", range(4))
def test_sixty_tiny_sets_equal_the_official_figures(part):
    for case in sets.recorded("eval_fuzz")[part::4]:
        evaluation = sets.evaluate(case["gt"], case["results"])
        np.testing.assert_allclose(list(evaluation.figures.values()), case["stats"], **EXACT)
        np.testing.assert_allclose(evaluation.curves.recall, case["recall"], **EXACT)
        np.testing.assert_allclose(
            evaluation.curves.precision.mean(axis=1), case["precision_mean_over_recall"], **EXACT
        )
        np.testing.assert_allclose(evaluation.curves.scores.mean(axis=1), case["scores_mean_over_recall"], **EXACT)


def matches(evaluation: Evaluation) -> dict[tuple, tuple]:
    """(class id, video id, area) -> prediction ids, what each takes at each threshold, ignored."""
    inputs, outcome = evaluation.overlaps.inputs, evaluation.matches
    categories, result, stop = list(inputs.categories), {}, 0
    taken_ids = np.where(outcome.matched >= 0, np.append(inputs.ground_truth.ids, 0)[outcome.matched], 0)
    for group in evaluation.overlaps.groups:
        start, stop = stop, stop + len(group.predictions)
        for a, area in enumerate(AREA_RANGES):
            key = categories[group.category], inputs.videos[group.video].id, area
            ids = inputs.predictions.ids[group.predictions].tolist()
            result[key] = ids, taken_ids[a, :, start:stop].tolist(), outcome.ignored[a, :, start:stop].tolist()
    return result


@pytest.mark.parametrize("name", SETS)
def test_every_match_is_the_official_one(name):
    evaluation = sets.evaluate(content(name)["gt"], content(name)["results"])
    expected = {
        (m["category_id"], m["video_id"], m["area"]): (
            m["dtIds"],
            m["dtMatches"],
            [[bool(x) for x in row] for row in m["dtIgnore"]],
        )
        for m in content(name)["matches"]["eval"]
    }
    assert matches(evaluation) == expected


@pytest.mark.parametrize("name", SETS)
def test_every_iou_and_area_is_the_official_one(name):
    evaluation = sets.evaluate(content(name)["gt"], content(name)["results"])
    inputs = evaluation.overlaps.inputs
    categories = list(inputs.categories)
    ours = {(categories[g.category], inputs.videos[g.video].id): g.ious.tolist() for g in evaluation.overlaps.groups}
    for entry in content(name)["matches"]["ious"]:
        assert ours[entry["category_id"], entry["video_id"]] == entry["iou"]
    for table, key in ((inputs.ground_truth, "gt_avg_area"), (inputs.predictions, "dt_avg_area")):
        areas = content(name)["matches"][key]
        assert {str(id): area for id, area in zip(table.ids, table.areas, strict=True)} == {
            id: area for id, area in areas.items() if int(id) in table.ids
        }


@settings(max_examples=120, deadline=None)
@given(sets.random_sets(), st.booleans())
def test_random_sets_equal_the_literal_version(random_set, agnostic):
    gt, results = random_set
    evaluation, expected = sets.evaluate(gt, results, agnostic), literal.evaluate(gt, results, agnostic)
    np.testing.assert_allclose(list(evaluation.figures.values()), expected.stats, **EXACT)
    np.testing.assert_allclose(evaluation.curves.precision, expected.precision, **EXACT)
    np.testing.assert_allclose(evaluation.curves.recall, expected.recall, **EXACT)
    np.testing.assert_allclose(evaluation.curves.scores, expected.scores, **EXACT)


@pytest.mark.parametrize("name", SETS)
def test_the_literal_version_itself_equals_the_official_figures(name):
    expected = literal.evaluate(content(name)["gt"], content(name)["results"])
    np.testing.assert_allclose(expected.stats, sets.official()[f"{name}/stats"], **EXACT)


def square(x: int, width: int = 10) -> np.ndarray:
    return sets.rectangle(20, 40, x, 5, width, 10)


def test_pooled_truths_stand_in_the_order_of_their_classes():
    """The first prediction overlaps both truths alike and takes the later one: by class, not by place in the file."""
    truths = [sets.annotation(1, 1, 2, [square(0)]), sets.annotation(2, 1, 1, [square(10)])]
    gt = sets.data_set({1: 1}, [1, 2], truths, (20, 40))
    results = [sets.prediction(1, 1, 0.9, [square(0, 20)]), sets.prediction(1, 1, 0.8, [square(10)])]
    evaluation = sets.evaluate(gt, results, agnostic=True)
    assert evaluation.figures["AR10"] == literal.evaluate(gt, results, agnostic=True).stats[7] == pytest.approx(0.55)


def test_of_two_annotations_with_one_id_both_become_the_later_one():
    first, later = sets.annotation(3, 1, 1, [square(0)]), sets.annotation(3, 1, 1, [square(10)])
    evaluation = sets.evaluate(
        sets.data_set({1: 1}, [1], [first, later], (20, 40)), [sets.prediction(1, 1, 0.9, [square(0)])]
    )
    assert evaluation.figures["AP"] == 0
    assert evaluation.overlaps.inputs.ground_truth.ids.tolist() == [3, 3]
    assert any("one id" in warning for warning in evaluation.warnings)
