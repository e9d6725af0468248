"""Reading damaged logs: JSON lines and databases, by the library and the command."""

import json
import sqlite3
from pathlib import Path

import pytest

from tevit.cli.main import main
from tevit.io.files import FileKindError
from tevit.review import Decision, from_line, to_line
from tevit.review.decisions import ChangeClass, Keep
from tevit.review.recovery import StoredRow, chained, combine, ranges, recover_lines, recover_log

DATA = Path(__file__).parents[3] / "assets" / "shapes"


def decision(number: int, **changes) -> Decision:
    values = {"id": f"d{number}", "dataset": "0" * 64, "video_id": 1, "verdict": "label is right", "action": Keep()}
    return Decision(**{**values, "reviewer": "ann", "time": f"2026-01-31T12:00:{number:02}Z", **changes})


LINES = [to_line(decision(number)).encode() for number in range(1, 6)]


def ids(log) -> list[str]:
    return [d.id for d in log.decisions]


@pytest.mark.parametrize(
    ("old", "new", "left", "lost"),
    [
        (b"", b"", [1, 2, 3, 4, 5], []),
        (b"\n", b"\n\n", [1, 2, 3, 4, 5], []),
        (b'"d3"', b'"d\xff"', [1, 2, 4, 5], ["line 3: not JSON: expected UTF-8 text"]),
        (b'{"id":"d3"', b'{"iX":"d3"', [1, 2, 4, 5], ["line 3: "]),
        (LINES[2] + b"\n", LINES[2] + b"x", [1, 2, 3, 4, 5], []),
        (LINES[2] + b"\n", LINES[2] + b"x}\n", [1, 2, 3, 4, 5], []),
        (LINES[2] + b"\n" + LINES[3], LINES[2] + b"x" + LINES[3][:-9], [1, 2, 3, 5], ["line 3: malformed JSON"]),
        (LINES[2] + b"\n" + LINES[3], LINES[2][:-9] + b"x" + LINES[3], [1, 2, 4, 5], ["line 3: malformed JSON"]),
    ],
)
def test_each_line_is_read_by_itself(old, new, left, lost):
    recovered = recover_lines(b"\n".join(LINES).replace(old, new) if old else b"\n".join(LINES), "log")
    assert ids(recovered) == [f"d{n}" for n in left] and recovered.missing == len(lost)
    assert all(a.startswith(f"log, {b}") for a, b in zip(recovered.sentences("log"), lost, strict=True))


def test_more_than_ten_faults_are_summarised():
    recovered = recover_lines(b"x\n" * 30 + LINES[0], "log")
    texts = recovered.sentences("log")
    assert len(texts) == 11 and texts[-1] == "log: 30 could not be read, of the numbers 1 to 30"


def test_a_file_of_another_kind_is_refused():
    with pytest.raises(FileKindError, match="is one JSON object"):
        recover_lines(b'{\n"videos": []\n}', "gt.json")
    with pytest.raises(ValueError, match="log, line 1: malformed JSON"):
        recover_lines(b"no log", "log")
    assert recover_lines(b"", "log").decisions == ()


def test_the_version_that_matches_the_checksum_is_kept():
    changed = to_line(decision(2, note="changed")).encode()
    chains = [chained("", LINES[0])]
    chains.append(chained(chains[0], LINES[1]))
    rows = [StoredRow(1, LINES[0], chains[0]), StoredRow(2, changed, chains[1])]
    alone = combine(rows)
    assert alone.decisions[1].note == "changed" and alone.changed == (2,)
    both = combine([*rows, StoredRow(2, LINES[1])])
    assert both.decisions == tuple(from_line(line, "") for line in LINES[:2]) and not both.changed


@pytest.mark.parametrize("stored", ["0" * 64, ""])
def test_the_next_row_confirms_the_version_whose_own_checksum_is_damaged(stored: str):
    chains = [""]
    for line in LINES[:3]:
        chains.append(chained(chains[-1], line))
    changed = to_line(decision(2, note="changed")).encode()
    rows = [StoredRow(1, LINES[0], chains[1]), StoredRow(2, changed, stored), StoredRow(3, LINES[2], chains[3])]
    log = combine([*rows, StoredRow(2, LINES[1])])
    assert log.decisions == tuple(from_line(line, "") for line in LINES[:3]) and not log.changed


@pytest.mark.parametrize("number", [3, 900])
def test_the_checksum_confirms_the_place_of_a_row_whose_number_is_damaged(number: int):
    chains = [""]
    for line in LINES:
        chains.append(chained(chains[-1], line))
    rows = [StoredRow(n, line, chains[n]) for n, line in enumerate(LINES, 1)]
    rows[1] = rows[1]._replace(number=number)
    log = combine(rows, len(LINES))
    assert log.decisions == tuple(from_line(line, "") for line in LINES) and not log.lost and not log.changed


def test_a_row_with_the_number_of_another_goes_where_a_copy_of_it_stands():
    first = [StoredRow(1, LINES[0], chained("", LINES[0])), StoredRow(1, LINES[3], "damaged")]
    log = combine([*first, *(StoredRow(number, line) for number, line in enumerate(LINES, 1))], len(LINES))
    assert log.decisions == tuple(from_line(line, "") for line in LINES) and not log.lost


def test_a_row_without_number_goes_where_its_time_belongs():
    rows = [StoredRow(number, LINES[number - 1]) for number in (1, 2, 5)]
    assert ids(combine([*rows, StoredRow(0, LINES[3]), StoredRow(0, LINES[2])])) == ["d1", "d2", "d3", "d4", "d5"]


def test_ranges():
    assert ranges([5, 1, 2, 3, 9]) == "1 to 3, 5, 9" and ranges(range(0, 90, 2), 2) == "0, 2, …"


def test_a_database_is_read_without_sqlite(tmp_path):
    """Also rows that continue on other pages, and those of a page whose list of rows is gone."""
    log = [decision(n, note="long " * (2000 if n % 10 == 0 else 1)) for n in range(1, 60)]
    path, chain = tmp_path / "review.sqlite", ""
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE decisions (seq INTEGER PRIMARY KEY, id TEXT UNIQUE, line TEXT, chain TEXT)")
        db.execute("CREATE TABLE head (only_row INTEGER PRIMARY KEY, count INTEGER, chain TEXT)")
        for number, one in enumerate(log, 1):
            chain = chained(chain, to_line(one).encode())
            db.execute("INSERT INTO decisions VALUES (?, ?, ?, ?)", (number, one.id, to_line(one), chain))
        db.execute("INSERT INTO head VALUES (1, ?, ?)", (60, chain))
    db.close()
    recovered = recover_log(path)
    assert list(recovered.decisions) == log and recovered.total == 60 and set(recovered.lost) == {60}
    data = bytearray(path.read_bytes())
    pages = [at for at in range(4096, len(data), 4096) if data[at] == 13 and b'{"id":"d3' in data[at : at + 4096]]
    for at in pages:
        data[at : at + 40] = bytes(40)
    path.write_bytes(data)
    short = [one.id for one in log if len(one.note) < 9]
    assert pages and set(ids(recover_log(path))) >= set(short)


def test_the_command_goes_on_with_what_is_readable_and_exits_with_1(tmp_path, capsys):
    gt = DATA / "valid_with_errors.json"
    annotation = json.loads(gt.read_text())["annotations"][0]
    change = ChangeClass(annotation["id"], 2)
    one = decision(1, video_id=annotation["video_id"], verdict="label is wrong", action=change)
    log, out = tmp_path / "log.jsonl", str(tmp_path / "out.json")
    log.write_bytes(to_line(one).encode() + b"\n" + LINES[1].replace(b"ann", b"a\xffn") + b"\n" + LINES[2])
    fits = ["--only-fitting"]
    for arguments in (["check", str(log), str(gt)], ["apply", str(log), str(gt), "--out", out, *fits]):
        assert main(["review", *arguments]) == 1
        assert f"left out: {log}, line 2: not JSON: expected UTF-8" in capsys.readouterr().err
    assert json.loads(Path(out).read_text())["annotations"][0]["category_id"] == 2
    assert main(["review", "check", str(log), str(gt), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["unreadable"][0].startswith(f"{log}, line 2: ")
    log.write_bytes(LINES[0] + b"\n" + LINES[1][:-7])
    assert main(["review", "agreement", str(log)]) == 1
    log.write_bytes(LINES[0][:-7])
    assert main(["review", "agreement", str(log)]) == 2
