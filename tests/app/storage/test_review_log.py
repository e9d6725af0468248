"""The log on disk: durable, append-only, shared between processes; damage is reported."""

import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import takewhile
from pathlib import Path

import pytest

from app.storage import review_log as module
from app.storage.review_log import BACKUPS, LINES, NAME, ReviewStore
from app.store import main
from tevit.review.decisions import ChangeClass, Decision, read_log, to_line, write_log

ROOT = Path(__file__).parents[3]
HASH = "0" * 64


def decision(number: int, note: str = "", id: str = "") -> Decision:
    return Decision(
        id=id or f"d{number}",
        dataset=HASH,
        video_id=1,
        verdict="label is wrong",
        action=ChangeClass(number, 2),
        note=note,
        reviewer="ann",
        time="2026-01-31T12:00:00Z",
    )


def filled(folder: Path, count: int) -> ReviewStore:
    store = ReviewStore(folder)
    for number in range(1, count + 1):
        assert store.append(decision(number)) == number
    return store


def edit(folder: Path, sql: str) -> None:
    with sqlite3.connect(folder / NAME) as db:
        db.execute(sql)
    db.close()


def damaged_files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("review.damaged-*.sqlite"))


def test_appended_decisions_are_there_after_reopening(tmp_path):
    store = filled(tmp_path / "new" / "project", 3)
    assert [d.id for d in store.decisions()] == ["d1", "d2", "d3"] and store.count() == 3
    store.close()
    again = ReviewStore(tmp_path / "new" / "project")
    assert again.decisions() == tuple(decision(n) for n in (1, 2, 3))
    assert not again.notices and not again.in_memory


def test_the_same_decision_twice_is_one_and_another_of_its_id_is_refused(tmp_path):
    store = filled(tmp_path, 2)
    assert store.append(decision(1)) == 1 and store.count() == 2
    with pytest.raises(ValueError, match="decision d1: the log has another one of this id, number 1"):
        store.append(decision(1, "changed"))
    assert store.decisions() == (decision(1), decision(2))


def test_settings_for_durability(tmp_path):
    store = ReviewStore(tmp_path)
    assert store._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert store._db.execute("PRAGMA synchronous").fetchone() == (2,)


def test_stores_and_threads_share_one_log(tmp_path):
    stores = [ReviewStore(tmp_path) for _ in range(3)]
    jobs = [(stores[n % 3], decision(n)) for n in range(90)]
    with ThreadPoolExecutor(6) as pool:
        places = list(pool.map(lambda job: job[0].append(job[1]), jobs))
    assert sorted(places) == list(range(1, 91))
    logs = [[d.id for d in store.decisions()] for store in stores]
    assert logs[0] == logs[1] == logs[2] and len(set(logs[0])) == 90
    assert not ReviewStore(tmp_path).notices


def test_export_import_export_is_the_identity(tmp_path):
    first = filled(tmp_path / "a", 5)
    first.append(decision(6, 'a "quoted"\nnote, ärger'))
    assert first.export(tmp_path / "one.jsonl") == 6
    second = ReviewStore(tmp_path / "b")
    assert second.extend(read_log(tmp_path / "one.jsonl")) == 6 and second.extend(read_log(tmp_path / "one.jsonl")) == 0
    second.export(tmp_path / "two.jsonl")
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "two.jsonl").read_bytes()


def test_an_import_is_all_or_nothing(tmp_path):
    store = filled(tmp_path, 2)
    lines = [to_line(decision(7)), '{"id": 3}', to_line(decision(8))]
    (tmp_path / "log.jsonl").write_text("\n".join(lines))
    with pytest.raises(ValueError, match=r"log\.jsonl, line 2: "):
        store.extend(read_log(tmp_path / "log.jsonl"))
    write_log(tmp_path / "log.jsonl", [decision(9), decision(1, "other")])
    with pytest.raises(ValueError, match="decision d1"):
        store.extend(read_log(tmp_path / "log.jsonl"))
    assert store.count() == 2


def test_a_backup_is_a_log_of_its_own(tmp_path, capsys):
    store = filled(tmp_path, 4)
    assert main(["backup", str(tmp_path)]) == 0  # while it is open, its newest rows in the -wal file alone
    path = Path(capsys.readouterr().out.strip())
    assert path.parent == tmp_path / BACKUPS and module.backup(tmp_path) != path
    store.append(decision(5))
    out = tmp_path / "restored" / NAME
    assert main(["backup", str(tmp_path), "--out", str(out)]) == 0
    for copy, count in ((path, 4), (out, 5)):
        folder = tmp_path / f"restored{count}"
        folder.mkdir()
        copy.rename(folder / NAME)
        restored = ReviewStore(folder)
        assert restored.count() == count and not restored.notices
    assert not [name for name in (tmp_path / BACKUPS).iterdir() if name.suffix != ".sqlite"]


def test_no_backup_of_a_missing_or_damaged_log(tmp_path, capsys):
    assert main(["backup", str(tmp_path)]) == 2
    assert "has no review.sqlite" in capsys.readouterr().err and not (tmp_path / NAME).exists()
    filled(tmp_path, 3).close()
    assert main(["backup", str(tmp_path), "--out", str(tmp_path / NAME)]) == 2
    assert "cannot take the place of" in capsys.readouterr().err
    edit(tmp_path, "DELETE FROM decisions WHERE seq = 3")
    assert main(["backup", str(tmp_path)]) == 2
    assert "is cut off: it has 2 decisions of 3: no backup was made" in capsys.readouterr().err
    assert [path.name[:6] for path in (tmp_path / BACKUPS).iterdir()] == ["daily-"]


def test_a_backup_while_another_process_writes_is_intact(tmp_path):
    store = filled(tmp_path, 1)
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(lambda: [store.append(decision(n, note="x" * 2000)) for n in range(2, 120)])
        copies = [module.backup(tmp_path) for _ in range(6)]
        writing.result()
    for copy in copies:
        assert module._fault(copy) is None


EDITS = [
    ("UPDATE decisions SET line = replace(line, 'ann', 'eve') WHERE seq = 3", "was changed by something else"),
    ("DELETE FROM decisions WHERE seq = 6", "is cut off: it has 5 decisions of 6"),
    ("DELETE FROM decisions WHERE seq = 2", "was changed by something else than the studio, at decision 2"),
    ("DELETE FROM head", "is cut off: it has 6 decisions of more"),
    ("UPDATE decisions SET line = CAST(x'7bff7d' AS TEXT) WHERE seq = 2", "was changed by something else"),
    ("UPDATE decisions SET line = x'00ff' WHERE seq = 2", "something else than the studio, at decision 2"),
]


@pytest.mark.parametrize(("sql", "sentence"), EDITS)
def test_an_edited_log_is_set_aside_and_restored(tmp_path, sql, sentence):
    filled(tmp_path, 6).close()
    edit(tmp_path, sql)
    store = ReviewStore(tmp_path)
    assert len(store.notices) == 1 and sentence in store.notices[0]
    assert store.notices[0].endswith(f"it is kept as {damaged_files(tmp_path)[0]}; all 6 decisions were restored.")
    assert store.decisions() == tuple(decision(n) for n in range(1, 7)) and store.append(decision(50)) == 7
    store.close()
    assert not ReviewStore(tmp_path).notices


def test_of_a_database_alone_what_is_readable_is_kept_and_the_rest_is_listed(tmp_path):
    filled(tmp_path, 6).close()
    edit(tmp_path, "UPDATE decisions SET line = CAST(x'7bff7d' AS TEXT) WHERE seq = 2")
    edit(tmp_path, "UPDATE decisions SET line = replace(line, 'ann', 'eve') WHERE seq = 5")
    (tmp_path / LINES).unlink()
    for copy in (tmp_path / BACKUPS).iterdir():
        copy.unlink()
    store = ReviewStore(tmp_path)
    assert [d.id for d in store.decisions()] == ["d1", "d3", "d4", "d5", "d6"]
    assert "5 of 6 decisions were restored, 1 could not be read (number 2)" in store.notices[0]
    assert "1 does not match its checksum and may be changed (number 4)" in store.notices[0]


def test_either_file_restores_the_other(tmp_path):
    filled(tmp_path, 5).close()
    whole = (tmp_path / LINES).read_bytes()
    (tmp_path / NAME).unlink()
    store = ReviewStore(tmp_path)
    assert store.count() == 5 and "review.sqlite is missing; all 5 decisions were restored" in store.notices[0]
    store.close()
    (tmp_path / LINES).unlink()
    store = ReviewStore(tmp_path)
    assert (tmp_path / LINES).read_bytes() == whole and not store.notices
    store.append(decision(6))
    assert (tmp_path / LINES).read_bytes() == whole + to_line(decision(6)).encode() + b"\n"


def test_damaged_lines_are_set_aside_and_written_anew(tmp_path):
    filled(tmp_path, 5).close()
    whole = (tmp_path / LINES).read_bytes()
    for damaged in (
        whole.replace(b'"d3"', b'"e3"'),
        whole.replace(b'"d5"', b'"e5"'),
        whole.replace(b"ann", b"\xffnn", 1),
        whole.replace(b"\n", b"x", 2),
    ):
        (tmp_path / LINES).write_bytes(damaged)
        store = ReviewStore(tmp_path)
        copy = sorted(tmp_path.glob("decisions.damaged-*.jsonl"))[-1]
        assert copy.read_bytes() == damaged and copy.name in store.notices[0]
        assert (tmp_path / LINES).read_bytes() == whole and store.count() == 5
        store.close()


def test_lines_that_are_cut_off_are_completed(tmp_path):
    store = filled(tmp_path, 5)
    whole = (tmp_path / LINES).read_bytes()
    (tmp_path / LINES).write_bytes(whole[:-9])  # while the studio runs
    store.append(decision(6))
    store.close()
    more = (tmp_path / LINES).read_bytes()
    assert more == whole + to_line(decision(6)).encode() + b"\n"
    (tmp_path / LINES).write_bytes(more[:-100])
    assert not ReviewStore(tmp_path).notices and (tmp_path / LINES).read_bytes() == more


def test_an_older_copy_in_place_of_the_database_gets_the_later_decisions(tmp_path):
    store = filled(tmp_path, 3)
    copy = module.backup(tmp_path)
    store.append(decision(4))
    store.close()
    copy.replace(tmp_path / NAME)
    store = ReviewStore(tmp_path)
    assert [d.id for d in store.decisions()] == ["d1", "d2", "d3", "d4"]


@pytest.mark.parametrize("damage", [(b'"d1"', b"'d1'"), (b'"d1"', b'"e1"'), (b"\n", b" "), (b"\n", b"\n{}\n")])
def test_later_decisions_follow_damaged_lines_and_an_older_database(tmp_path, damage):
    store = filled(tmp_path, 3)
    copy = module.backup(tmp_path)
    for number in range(4, 8):
        store.append(decision(number))
    store.close()
    copy.replace(tmp_path / NAME)
    lines = (tmp_path / LINES).read_bytes()
    (tmp_path / LINES).write_bytes(lines.replace(*damage, 1))
    assert ReviewStore(tmp_path).decisions() == tuple(decision(number) for number in range(1, 8))


def test_a_database_that_is_replaced_deleted_or_damaged_while_the_studio_runs(tmp_path):
    store = filled(tmp_path, 3)
    for tail in ("", "-wal", "-shm"):
        (tmp_path / f"{NAME}{tail}").unlink()
    assert store.append(decision(4)) == 4 and store.generation == 1
    store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    other = ReviewStore(tmp_path)
    edit(tmp_path, "UPDATE decisions SET line = CAST(x'ff' AS TEXT) WHERE seq = 4")
    assert other._read == [] and [d.id for d in other.decisions()] == ["d1", "d2", "d3", "d4"]
    assert store.append(decision(5)) == 5 and other.count() == 5


def test_lines_that_cannot_be_written_are_a_notice(tmp_path):
    (tmp_path / LINES).mkdir()
    store = filled(tmp_path, 2)
    assert store.count() == 2 and any("decisions are saved in review.sqlite alone" in text for text in store.notices)


def test_a_copy_a_day_and_ten_are_kept(tmp_path):
    filled(tmp_path, 2).close()
    copies = tmp_path / BACKUPS
    for path in copies.iterdir():
        path.unlink()
    for day in range(10, 22):
        (copies / f"daily-2025-01-{day}.sqlite").write_bytes(b"")
    ReviewStore(tmp_path).close()
    names = sorted(path.name for path in copies.iterdir())
    assert len(names) == 10 and names[0] == "daily-2025-01-13.sqlite"
    assert module._fault(copies / names[-1]) is None


def test_what_both_files_lost_comes_from_a_daily_copy(tmp_path):
    filled(tmp_path, 4).close()
    for path in (tmp_path / BACKUPS).iterdir():
        path.unlink()
    ReviewStore(tmp_path).close()
    (tmp_path / NAME).write_bytes(b"SQLite format 3\0")
    (tmp_path / LINES).write_bytes((tmp_path / LINES).read_bytes().replace(b'"reviewer"', b'"revieweX"', 1))
    assert ReviewStore(tmp_path).decisions() == tuple(decision(n) for n in (1, 2, 3, 4))


def test_a_truncated_file_is_set_damaged_files(tmp_path):
    store = ReviewStore(tmp_path)
    for number in range(1, 200):
        store.append(decision(number, note="x" * 300))
    store.close()
    path = tmp_path / NAME
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    store = ReviewStore(tmp_path)
    assert "is damaged" in store.notices[0] and "all 199 decisions were restored" in store.notices[0]
    assert (tmp_path / damaged_files(tmp_path)[0]).read_bytes() == content[: len(content) // 2]
    assert [d.id for d in store.decisions()] == [f"d{n}" for n in range(1, 200)]


def test_no_space_to_restore_a_damaged_log_means_memory(tmp_path, monkeypatch):
    filled(tmp_path, 3).close()
    edit(tmp_path, "DELETE FROM head")
    before = (tmp_path / NAME).read_bytes()

    def full(db: sqlite3.Connection, path: Path) -> None:
        db.execute("PRAGMA max_page_count = 2")
        migrate(db, path)

    migrate = module._migrate
    monkeypatch.setattr(module, "_migrate", lambda db, path: (migrate if path.name == NAME else full)(db, path))
    store = ReviewStore(tmp_path)
    assert store.in_memory and store.count() == 3 and "the disk is full" in store.notices[0]
    assert (tmp_path / NAME).read_bytes() == before and not damaged_files(tmp_path)


@pytest.mark.parametrize("content", [b"not a database at all" * 300, b"short"])
def test_a_file_that_is_no_database_is_set_aside(tmp_path, content):
    (tmp_path / NAME).write_bytes(content)
    store = ReviewStore(tmp_path)
    assert store.notices and store.append(decision(1)) == 1
    assert (tmp_path / damaged_files(tmp_path)[0]).read_bytes() == content


def test_a_database_of_another_program_is_set_damaged_files(tmp_path):
    edit(tmp_path, "CREATE TABLE recipes (soup TEXT)")
    assert "is no review log" in ReviewStore(tmp_path).notices[0]


def test_migrations_run_once_and_newer_versions_are_refused(tmp_path, monkeypatch):
    filled(tmp_path, 2).close()
    added = (*module.MIGRATIONS, lambda db: db.execute("CREATE INDEX by_line ON decisions (line)"))
    monkeypatch.setattr(module, "MIGRATIONS", added)
    for _ in range(2):
        store = ReviewStore(tmp_path)
        assert store._db.execute("PRAGMA user_version").fetchone() == (2,) and store.count() == 2
        store.close()
    monkeypatch.undo()
    with pytest.raises(ValueError, match="has version 2 of the log, this studio reads 1: update it"):
        ReviewStore(tmp_path)


def test_a_full_disk_saves_nothing(tmp_path):
    store = filled(tmp_path, 3)
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(OSError, match="the disk is full or failing, nothing was saved"):
        store.append(decision(4, note="x" * 100_000))
    assert store.count() == 3 and store.append(decision(5)) == 4
    store.close()
    assert [d.id for d in ReviewStore(tmp_path).decisions()] == ["d1", "d2", "d3", "d5"]


def test_a_folder_that_is_not_writable_means_memory(tmp_path):
    (tmp_path / "file").write_text("no folder")
    for folder in (Path("/proc/no/such"), tmp_path / "file" / "project"):
        store = ReviewStore(folder)
        assert store.in_memory and "are kept in memory only" in store.notices[0]
        assert store.append(decision(1)) == 1 and store.decisions() == (decision(1),)
    assert store.export(tmp_path / "log.jsonl") == 1


UNPRIVILEGED = """
import os, sys
from app.storage.review_log import ReviewStore
folder = sys.argv[1]
if os.getuid() == 0:
    os.setuid(65534)
store = ReviewStore(folder)
print(store.in_memory, store.count())
"""


def run(code: str, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60
    )


def test_a_read_only_folder_is_read_into_memory(tmp_path):
    folder = tmp_path / "project"
    filled(folder, 3).close()
    temporary = Path(tempfile.gettempdir())
    for path in takewhile(lambda path: path != temporary, (tmp_path, *tmp_path.parents)):
        path.chmod(0o755)
    (folder / NAME).chmod(0o444)
    folder.chmod(0o555)
    try:
        done = run(UNPRIVILEGED, str(folder))
    finally:
        folder.chmod(0o755)
    assert done.stdout.split() == ["True", "3"], done.stderr
    assert not {f"{NAME}-wal", f"{NAME}-shm"} & {path.name for path in folder.iterdir()}


KILLED = """
import os, random, select, signal, sys, time
from app.storage.review_log import ReviewStore
from tests.app.storage.test_review_log import decision
folder, times = sys.argv[1], int(sys.argv[2])
rng, acknowledged, number = random.Random(5), [], 0
for round in range(times):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        store = ReviewStore(folder)
        assert not store.notices, store.notices
        os.write(writer, b" ")
        while True:
            number += 1
            store.append(decision(number, id=f"r{round}n{number}"))
            os.write(writer, f"r{round}n{number} ".encode())
    os.close(writer)
    if round % 2:
        os.read(reader, 1)  # the log is open: on a busy machine nearly all would be killed before that
    time.sleep(rng.uniform(0.0, 0.06))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with os.fdopen(reader) as pipe:
        acknowledged += pipe.read().split()
store = ReviewStore(folder)
ids = [d.id for d in store.decisions()]
missing = set(acknowledged) - set(ids)
print(len(acknowledged), len(missing), len(ids) - len(acknowledged), len(store.notices))
"""


def test_a_log_whose_creation_was_killed_is_opened(tmp_path):
    source = tmp_path / "source.sqlite"
    with closing(sqlite3.connect(source, isolation_level=None)) as db:
        for statement in ("CREATE TABLE a (b)", "DROP TABLE a", "PRAGMA cache_size = 1", "BEGIN", "CREATE TABLE a (b)"):
            db.execute(statement)
        for _ in range(20):  # more than the cache holds: the file is written to before the transaction ends
            db.execute("INSERT INTO a VALUES (zeroblob(4000))")
        (tmp_path / "project").mkdir()
        for suffix in ("", "-journal"):
            shutil.copy(f"{source}{suffix}", f"{tmp_path / 'project' / NAME}{suffix}")
    with (
        pytest.raises(sqlite3.OperationalError, match="readonly"),
        closing(sqlite3.connect(f"{(tmp_path / 'project' / NAME).as_uri()}?mode=ro", uri=True)) as db,
    ):
        db.execute("SELECT * FROM sqlite_master")
    store = ReviewStore(tmp_path / "project")
    assert not store.in_memory and not store.notices and store.count() == 0
    assert store.append(decision(1)) == 1
    store.close()
    assert ReviewStore(tmp_path / "project").decisions() == (decision(1),)


def test_no_acknowledged_decision_is_lost_when_killed_a_hundred_times(tmp_path):
    started = time.perf_counter()
    done = run(KILLED, str(tmp_path), "100")
    acknowledged, missing, unacknowledged, notices = (
        map(int, done.stdout.split()) if done.stdout else pytest.fail(done.stderr)
    )
    assert missing == 0 and notices == 0 and acknowledged > 50
    assert 0 <= unacknowledged <= 100  # on the disk, but killed before the acknowledgement
    assert time.perf_counter() - started < 45


def test_ten_thousand_decisions_stay_fast(tmp_path):
    write_log(tmp_path / "log.jsonl", (decision(n) for n in range(10_000)))
    store = ReviewStore(tmp_path)
    assert store.extend(read_log(tmp_path / "log.jsonl")) == 10_000
    store.decisions()
    started = time.perf_counter()
    for number in range(10_000, 10_020):
        store.append(decision(number))
        assert len(store.decisions()) == number + 1
    assert (time.perf_counter() - started) / 20 < 0.25


def test_nothing_heavy_is_imported():
    names = ("torch", "gradio", "av", "cv2")
    code = f"import app.storage.review_log, sys; print([name for name in {names} if name in sys.modules])"
    assert run(code).stdout.strip() == "[]"


def test_lines_are_json(tmp_path):
    filled(tmp_path, 1).export(tmp_path / "log.jsonl")
    action = json.loads((tmp_path / "log.jsonl").read_text())["action"]
    assert action == {"do": "change class", "track": 1, "category_id": 2}
