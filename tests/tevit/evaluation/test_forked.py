"""Several processes give what one gives: the same values in the same order, the same error."""

import os

import numpy as np
import pytest

from tevit.evaluation import evaluate
from tevit.evaluation.forked import forked_map
from tevit.evaluation.synthetic import write_sets


def test_the_results_are_those_of_one_process_in_order():
    offset = np.arange(3)
    found = list(forked_map(lambda number: (number + offset, os.getpid()), range(100), 2))
    assert [values.tolist() for values, _ in found] == [[n, n + 1, n + 2] for n in range(100)]
    assert len({process for _, process in found} - {os.getpid()}) in (1, 2)


@pytest.mark.parametrize(("items", "processes"), [(100, 1), (5, 2)])
def test_little_work_is_not_shared(items, processes):
    assert set(forked_map(lambda number: os.getpid(), range(items), processes)) == {os.getpid()}


def test_an_error_is_raised_here():
    def work(number: int) -> int:
        if number == 70:
            raise ValueError("mask 70 is none")
        return number

    with pytest.raises(ValueError, match="mask 70 is none"):
        list(forked_map(work, range(100), 2))


def test_an_evaluation_is_the_same_with_several_processes(tmp_path):
    paths = write_sets(tmp_path, 40)
    one, two = evaluate(*paths), evaluate(*paths, processes=2)
    assert one.figures == two.figures and one.per_class == two.per_class
    np.testing.assert_array_equal(one.measured.prediction_frames, two.measured.prediction_frames)


def test_a_mask_that_is_none_is_named_with_several_processes(tmp_path):
    gt, results = write_sets(tmp_path, 40)
    damaged = results.read_text().replace('"counts": "', '"counts": "0', 1)
    results.write_text(damaged)
    with pytest.raises(ValueError, match=r"results.json: prediction 1 \(video \d+\), frame \d+: "):
        evaluate(gt, results, processes=2)
