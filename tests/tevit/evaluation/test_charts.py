"""The data of charts, and their colours."""

import numpy as np
import pytest

from tevit.evaluation import report


def luminance(colour: str) -> float:
    """Relative luminance as of WCAG 2."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("page", ["#ffffff", "#1a1f27"])
def test_colours_stand_out_from_the_light_and_the_dark_page(page: str):
    for colour in (*report.TYPE_COLOURS.values(), *report.MODEL_COLOURS):
        dark, light = sorted((luminance(colour), luminance(page)))
        assert (light + 0.05) / (dark + 0.05) >= 3, colour


def test_without_ground_truth_values_are_unknown():
    precision = np.full((10, 101, 2), -1.0)
    assert report.precision_by_recall(precision, 0) is None
    assert set(report.ap_by_threshold(precision).y) == {None}
    assert set(report.error_costs({"missed": 0.0, "both": 0.0}, -1).values) == {None}
    precision[:, :, 1] = 0.5
    line = report.precision_by_recall(precision, 5, 1)
    assert line is not None and set(line.y) == {0.5} and report.precision_by_recall(precision, 5, 0) is None
    assert set(report.ap_by_threshold(precision).y) == {50.0}
