"""Tracks as a table."""

import csv

import numpy as np

from tevit.masks import ops as masks
from tevit.results import CSV_COLUMNS, Track, VideoResult, write_csv


def test_a_row_for_each_frame_in_which_a_track_is_seen(tmp_path):
    seen = masks.encode(np.eye(4, 6, dtype=bool))
    boxes = np.array([[0, 0, 4, 4], [np.nan] * 4, [1, 0.25, 3, 4]], np.float32)
    first = Track(7, 2, 0.12345678, (seen, None, seen), boxes, np.array([4.0, 0, 4.5]))
    unboxed = Track(8, 9, 1.0, (None, seen, None), np.full((3, 4), np.nan, np.float32), np.array([0.0, 4, 0]))
    times = np.array([0, 0.04, 2 / 3])
    write_csv(VideoResult(1, 'a "b", ü', (4, 6), times, {2: "dog"}, (first, unboxed)), tmp_path / "new" / "t.csv")
    with open(tmp_path / "new" / "t.csv", newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    assert tuple(head) == CSV_COLUMNS
    assert rows == [
        ['a "b", ü', "7", "2", "dog", "0.123457", "0", "0.000000", "0.00", "0.00", "4.00", "4.00", "4"],
        ['a "b", ü', "7", "2", "dog", "0.123457", "2", "0.666667", "1.00", "0.25", "3.00", "4.00", "4.5"],
        ['a "b", ü', "8", "9", "", "1", "1", "0.040000", "", "", "", "", "4"],
    ]
