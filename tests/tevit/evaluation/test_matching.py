"""Groups with one track of ground truth, matched all at once, against each matched by itself."""

import subprocess
import sys

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from tevit.evaluation.inputs import Tracks
from tevit.evaluation.matching import IOU_THRESHOLDS, IgnoreMasks, assign, match_all, match_greedy
from tevit.evaluation.overlaps import VideoClassPairs


def table(count: int, crowd: np.ndarray) -> Tracks:
    numbers = np.arange(count)
    return Tracks("track", numbers + 1, numbers * 0, numbers * 0, -numbers / 99, numbers * 1.0, crowd, lambda _: [])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=6), st.integers(0, 2**32 - 1))
def test_every_group_is_matched_as_if_it_were_alone(sizes, seed):
    rng = np.random.default_rng(seed)
    groups, truths, predictions = [], 0, 0
    for video, (g, d) in enumerate(sizes):
        ious = rng.choice([0.0, 0.5, 0.7, 0.75, 0.95, 1.0], (d, g))
        groups.append(VideoClassPairs(video, 0, truths + np.arange(g), predictions + np.arange(d), ious))
        truths, predictions = truths + g, predictions + d
    crowd, ignored = rng.random(truths) < 0.3, rng.random((2, truths)) < 0.3
    question = IgnoreMasks(ignored, np.zeros((2, predictions), bool))
    matches = match_all(groups, table(truths, crowd), table(predictions, np.zeros(predictions, bool)), question)
    for group in groups:
        own = matches.matched[:, :, group.predictions]
        if not group.ious.size:
            assert (own == -1).all()
            continue
        columns = match_greedy(
            group.ious, (ignored | crowd)[:, group.ground_truth], crowd[group.ground_truth], IOU_THRESHOLDS
        )
        np.testing.assert_array_equal(own, np.where(columns < 0, -1, group.ground_truth[columns]))


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 5))
def test_assignments_are_those_of_scipy_also_among_equal_sums(seed, rows, columns):
    scores = np.random.default_rng(seed).integers(0, 3, (rows, columns)) / 2
    for assigned, expected in zip(assign(scores), linear_sum_assignment(scores, maximize=True), strict=True):
        assert assigned.tolist() == expected.tolist()
    if rows == 1:  # what identity figures rely on
        assert assign(scores)[1][0] == scores.argmax()


def test_an_assignment_imports_none_of_scipy_but_its_extension_module():
    code = "import sys, numpy; from tevit.evaluation.matching import assign; assign(numpy.eye(3)); print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not [name for name in modules if name.startswith("scipy")]
