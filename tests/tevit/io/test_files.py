"""Tables as CSV: what pandas reads is what was written; formulas of a spreadsheet stay text."""

import io
import os
import shutil

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import annotations as make
from tevit import evaluate
from tevit.evaluation.error_table import find_errors
from tevit.io import ytvis
from tevit.io.files import atomic, read_rows, remove_left, write_rows
from tevit.results import write_csv


def written(columns: list[str], rows: list[list[object]]) -> str:
    file = io.StringIO(newline="")
    write_rows(file, columns, rows)
    return file.getvalue()


TEXT = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=8).map(lambda text: f"x{text}")
CELLS = st.tuples(st.integers(-(2**53), 2**53), st.none() | st.floats(allow_infinity=False), TEXT, st.booleans())


@given(st.lists(CELLS, min_size=1, max_size=5))
def test_pandas_reads_what_was_written(rows):
    table = pd.read_csv(io.StringIO(written(["i", "x", "s", "b"], [list(row) for row in rows])), keep_default_na=True)
    assert list(table) == ["i", "x", "s", "b"] and len(table) == len(rows)
    assert table["i"].tolist() == [i for i, *_ in rows] and table["s"].tolist() == [s for _, _, s, _ in rows]
    assert table["b"].tolist() == [int(b) for *_, b in rows]
    numbers = np.array([np.nan if x is None else x for _, x, *_ in rows])
    np.testing.assert_allclose(table["x"].to_numpy(float), numbers, rtol=1e-15)


FORMULAS = ("=1+1", "@sum(A1)", "+49 30", "-A1", "\t=1", "\r=1", "\n=1", "-", '=HYPERLINK("a")', "\uff1d1+1")


@given(st.lists(st.lists(st.text(st.sampled_from("'=+-@\t\r\n a1,\"\uff1d")), min_size=2, max_size=2), max_size=4))
def test_every_text_is_read_back_as_it_was_given(rows):
    assert read_rows(io.StringIO(written(["a", "b"], rows), newline="")) == [["a", "b"], *rows]


def test_a_file_may_be_its_owners_alone(tmp_path):
    with atomic(tmp_path / "secret", 0o600) as part:
        part.write_text("x")
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", FORMULAS)
def test_formulas_are_quoted(text):
    line = written(["a", "b"], [[text, 1]]).partition("\n")[2]
    assert line.removeprefix('"').startswith(f"'{text[0]}")
    assert read_rows(io.StringIO(line, newline="")) == [[text, "1"]]


@pytest.mark.parametrize("text", ["-5", "+2.5", "-1e-05", "-.5", "a=b", "0.50", "video -1"])
def test_numbers_and_other_text_stay(text):
    assert written(["a"], [[text]]).splitlines()[1] == text


def test_every_table_of_a_data_set_with_hostile_names(tmp_path):
    """One header line, a row for each record, numbers as numbers, missing values empty."""
    data = make.sample()
    data["categories"] = [{"id": 0, "name": "=cmd"}, {"id": 2, "name": 'a,"b"\nc'}]
    data["annotations"][0]["category_id"] = data["annotations"][2]["category_id"] = 0
    for info in data["videos"]:
        info["file_names"] = [f"@{info['id']}/{t}.jpg" for t in range(info["length"])]
    results = [{**entry, "category_id": {4: 0}.get(entry["category_id"], 2)} for entry in make.submission()]
    gt, predictions = make.save(tmp_path, "gt.json", data), make.save(tmp_path, "r.json", results)
    file = io.StringIO(newline="")
    errors = find_errors(gt, predictions)
    errors.table.write_csv(file)
    table = pd.read_csv(io.StringIO(file.getvalue()))
    assert len(table) == len(errors.records) and table["score"].dtype == float
    assert set(table["video"]) == {"'@5", "'@8"}
    assert table["truth_class"].dropna().unique().tolist() == ["'=cmd", 'a,"b"\nc']  # the category 0 has its name
    assert table["prediction_id"].isna().tolist() == [record.prediction_id is None for record in errors.records]
    assert evaluate(gt, predictions).figures["AP50"] == pytest.approx(errors.ap)
    one = ytvis.open_dataset(gt).video(5)
    write_csv(one, tmp_path / "tracks.csv")
    table = pd.read_csv(tmp_path / "tracks.csv")
    assert len(table) == sum(int(track.present.sum()) for track in one.tracks)
    assert table["category"].tolist() == ["'=cmd", "'=cmd", 'a,"b"\nc', 'a,"b"\nc']
    assert all(pd.api.types.is_numeric_dtype(table[name]) for name in ("score", "frame", "time", "x1", "area"))


def test_what_a_killed_process_left_of_a_file_is_removed_after_a_day(tmp_path):
    with pytest.raises(KeyboardInterrupt), atomic(tmp_path / "r.json") as part:
        shutil.copy(part, tmp_path / "kept")  # as after a kill: the copy gets the name of the temporary file
        raise KeyboardInterrupt
    left, fresh = part, part.with_name(f"{part.name[:-6]}z.json")
    others = [tmp_path / name for name in ("r.json", ".r-abcdefgh.txt", ".settings", ".s-abcdefgh.json", ".r-abc.json")]
    for file in (left, fresh, *others):
        file.touch()
        os.utime(file, (0, 0))
    fresh.touch()
    remove_left(tmp_path / "r.json")
    assert {*tmp_path.iterdir()} == {fresh, *others, tmp_path / "kept"}
