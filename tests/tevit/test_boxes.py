"""Box formats: conversions are inverse to each other, and JSON has null where there is no box."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tevit import boxes


@given(arrays.arrays(np.float64, st.tuples(st.integers(0, 4), st.just(4)), elements=st.integers(-99, 99)))
def test_conversions_are_inverse(xywh):
    xyxy = boxes.xywh_to_xyxy(xywh)
    assert np.array_equal(xyxy[:, 2:] - xyxy[:, :2], xywh[:, 2:])
    assert np.array_equal(boxes.xyxy_to_xywh(xyxy), xywh)


def test_missing_boxes_are_null():
    xyxy = np.array([[1, 2, 4, 6], [np.nan] * 4], np.float32)
    assert boxes.to_json(xyxy) == [[1.0, 2.0, 3.0, 4.0], None]
