"""The review log on disk: SQLite, append-only, in the project's `review.sqlite`; a decision is durable once appended.

Every row carries a hash of itself and of all rows before it, so that an edited or truncated log is noticed. The same
decisions are in `decisions.jsonl` beside it, a line each, and either file restores the other. Once a day the database
is copied to `backups`. `python -m app.store backup PROJECT` copies it, too, also while the studio is running.
"""

import errno
import logging
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from threading import RLock
from typing import TypeVar

from tevit.io.files import atomic, remove_left
from tevit.review.decisions import Decision, from_line, to_line, write_log
from tevit.review.recovery import (
    RecoveredLog,
    StoredRow,
    chained,
    combine,
    database_rows,
    ignored_rows,
    line_rows,
    ranges,
)

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None

log = logging.getLogger(__name__)

NAME, LINES, BACKUPS = "review.sqlite", "decisions.jsonl", "backups"
DAILY_COPIES = 10
_BUSY_SECONDS = 30.0
_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_CLOSED = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM)
_SELECT_ROWS = "SELECT seq, id, line, chain FROM decisions ORDER BY seq"
_INSERT_ROW = "INSERT INTO decisions VALUES (?, ?, ?, ?)"
_replaced: list[sqlite3.Connection] = []  # connections to files that another process or person has replaced
_Result = TypeVar("_Result")


class _DamagedRowError(sqlite3.DatabaseError):
    """A row that SQLite can read, but that is no decision."""


def _create_tables(db: sqlite3.Connection) -> None:
    columns = "seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, line TEXT NOT NULL, chain TEXT NOT NULL"
    db.execute(f"CREATE TABLE decisions ({columns})")
    db.execute("CREATE TABLE head (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), count INTEGER, chain TEXT)")
    db.execute("INSERT INTO head VALUES (1, 0, '')")


MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (_create_tables,)
"""Position n brings a database of version n to n + 1; entries are only appended, never changed."""


class ReviewStore:
    """The log of one project. Thread-safe; several processes may open the same folder.

    in_memory: the folder is not writable, decisions last as long as this object. notices: sentences to show the user at
    the start. generation: rises when the log was restored from damage, so that earlier decisions may be missing.
    """

    def __init__(self, folder: str | os.PathLike):
        """Open or create the log in `folder`. A damaged one is set aside and all that can be read of it is kept.

        Raises: ValueError where a newer version of the studio wrote it; OSError where the disk is full.
        """
        self.folder = Path(folder)
        self.path, self.lines = self.folder / NAME, self.folder / LINES
        remove_left(self.lines)
        self.in_memory = False
        self.notices: list[str] = []
        self.generation = 0
        self._lock = RLock()
        self._read: list[Decision] = []  # the decisions read so far
        self._written = (0, 0)  # number of decisions, and of their bytes, that were seen in `lines`
        self._db = self._open()

    def append(self, decision: Decision) -> int:
        """Add one decision; returns its place in the log, from 1, once it is on the disk.

        The same decision again changes nothing. Raises: ValueError where another one has its id; OSError, one
        sentence, where it cannot be written: then nothing is.
        """
        self.extend([decision])
        with self._lock, _sqlite_errors(self.path):
            return self._db.execute("SELECT seq FROM decisions WHERE id = ?", (decision.id,)).fetchone()[0]

    def extend(self, new: Sequence[Decision]) -> int:
        """Add those that are not in the log yet, all or none; returns how many. Raises: as `append`."""
        with self._lock, _sqlite_errors(self.path):
            self._copy_daily()
            added = self._mending(lambda: _extend(self._db, new))
            self._append_lines()
            return added

    def decisions(self) -> tuple[Decision, ...]:
        """The whole log, including what other processes have added."""
        with self._lock, _sqlite_errors(self.path):
            self._mending(self._read_new)
            return tuple(self._read)

    def _read_new(self) -> None:
        for line in _encoded_lines(self._db, len(self._read)):
            try:
                self._read.append(from_line(line, f"{self.path}, decision {len(self._read) + 1}"))
            except ValueError as error:
                raise _DamagedRowError(str(error)) from None

    def count(self) -> int:
        """Number of decisions, including those of other processes."""
        with self._lock, _sqlite_errors(self.path):
            return self._mending(lambda: self._db.execute("SELECT count FROM head").fetchone()[0])

    def export(self, path: str | os.PathLike) -> int:
        """Write the log as JSON lines; returns how many."""
        decisions = self.decisions()
        write_log(path, decisions)
        return len(decisions)

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._db.close()

    # --- opening

    def _open(self) -> sqlite3.Connection:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if self._damage() is not None:
                with _alone(self.folder):
                    if (fault := self._damage()) is not None:  # another process may have been faster
                        try:
                            self._restore(fault)
                        except (OSError, sqlite3.Error) as error:
                            if _is_full(error):
                                return self._open_in_memory(f"{NAME} {fault}, and the disk is full or failing")
                            raise
            db = _connect(self.path)
            try:
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = FULL")
                _migrate(db, self.path)
                self._file = _identity(self.path)
            except BaseException:
                db.close()
                raise
            self._db = db
            self._compare_lines()
            self._copy_daily()
            return db
        except sqlite3.Error as error:
            if _primary_code(error) not in _CLOSED:
                raise _to_os_error(error, self.path) from error
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EROFS, errno.EACCES, errno.ENOENT, errno.ENOTDIR):
                raise
        return self._open_in_memory(f"The folder {self.folder} cannot be written")

    def _damage(self) -> str | None:
        """What is wrong with the database, to follow its name; None where it is intact or where there is none yet."""
        if not self.path.exists() or self.path.stat().st_size == 0:  # SQLite leaves it so when killed at the start
            has_lines = self.lines.is_file() and self.lines.stat().st_size
            return ("is missing" if not self.path.exists() else "is empty") if has_lines else None
        # The journal of a killed creation, which a reading connection cannot undo.
        if Path(f"{self.path}-journal").exists():
            with suppress(sqlite3.Error), closing(_connect(self.path)) as db:
                db.execute("SELECT count(*) FROM sqlite_master")
        return _fault(self.path) or self._fault_of_wal()

    def _fault_of_wal(self) -> str | None:
        """The same of the -wal file, behind whose first damage SQLite ignores everything without an error."""
        for attempt in range(4):
            wal, data = (_bytes(path) for path in (Path(f"{self.path}-wal"), self.path))
            inside = {d.id for d in combine(ignored_rows(data, wal)).decisions} if wal else set()
            if not inside or inside <= {d.id for d in combine(_queried_rows(self.path)).decisions}:
                return None
            if attempt:  # otherwise another process may be writing just now
                time.sleep(0.1)
        return "has a damaged -wal file"

    def _restore(self, fault: str) -> None:
        """Write a new database with all that can be read, then rename the damaged one."""
        recovered = self._recover()
        stamp = _timestamp()
        part, aside = self.folder / f".review-{stamp}.sqlite", self.folder / f"review.damaged-{stamp}.sqlite"
        try:
            with closing(_connect(part)) as db:
                _migrate(db, part)
                _extend(db, recovered.decisions)
            renamed = _rename(self.path, aside)
            os.replace(part, self.path)
        finally:
            part.unlink(missing_ok=True)
        where = f": it is kept as {aside.name}" if renamed else ""
        self._notify(f"{NAME} {fault}{where}; {_restored(recovered)}.")
        for sentence in recovered.sentences(NAME):
            log.warning(sentence)

    def _recover(self) -> RecoveredLog:
        """What can be read of the database and of `lines`; where that is not all, of the daily copies as well."""
        data, wal = (_bytes(path) for path in (self.path, Path(f"{self.path}-wal")))
        from_database, count = database_rows(data, wal)
        rows = [*_queried_rows(self.path), *from_database, *line_rows(_bytes(self.lines))]
        recovered = combine(rows, count)
        if recovered.missing:
            copies = sorted((self.folder / BACKUPS).glob("daily-*.sqlite"), reverse=True)
            rows += [row for copy in copies for row in _queried_rows(copy)]
            recovered = combine(rows, count)
        return recovered

    def _open_in_memory(self, reason: str) -> sqlite3.Connection:
        """A database in memory with the decisions that can be read."""
        self.in_memory = True
        db = _connect(":memory:")
        _migrate(db, self.path)
        _extend(db, self._recover().decisions)
        self._notify(
            f"{reason}: decisions are kept in memory only and are lost when the studio stops. Export them before."
        )
        return db

    def _mending(self, work: Callable[[], _Result]) -> _Result:
        """Do it with an intact database: opened anew where it was replaced or deleted, or turns out to be damaged."""
        if self.in_memory:
            return work()
        if _identity(self.path) != self._file:
            self._reopen()
        try:
            return work()
        except sqlite3.Error as error:
            if not isinstance(error, _DamagedRowError) and _primary_code(error) not in _DAMAGED:
                raise
        self._reopen()
        return work()

    def _reopen(self) -> None:
        # Closing would delete the -wal file under this name, which may be that of the database that is there now.
        if sys.version_info >= (3, 12):
            self._db.setconfig(sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, True)
            self._db.close()
        else:
            _replaced.append(self._db)
        self._read, self._written = [], (0, 0)
        self.generation += 1
        self._db = self._open()

    def _copy_daily(self) -> None:
        """Copy the database unless that was done today (UTC); the newest ten of these copies are kept."""
        target = self.folder / BACKUPS / f"daily-{datetime.now(UTC):%Y-%m-%d}.sqlite"
        if self.in_memory or target.exists():
            return
        try:
            if self._db.execute("SELECT count FROM head").fetchone()[0]:
                backup(self.folder, target)
                for old in sorted(target.parent.glob("daily-*.sqlite"))[:-DAILY_COPIES]:
                    old.unlink()
        except (OSError, ValueError, sqlite3.Error) as error:
            log.warning("%s: there is no copy of today: %s", self.path, error)

    # --- the same decisions as JSON lines

    def _compare_lines(self) -> None:
        """Bring `lines` and an intact database to the same decisions."""
        content = _bytes(self.lines)
        if not b"".join(_encoded_lines(self._db, 0)).startswith(content):
            rows = list(line_rows(content))
            recovered = combine(rows)
            new = _extend(self._db, self._only_in_lines(rows))
            if b"".join(_encoded_lines(self._db, 0)) != content:
                self._notify_lines(self._set_lines_aside(), new, recovered)
        self._append_lines()

    def _only_in_lines(self, rows: Sequence[StoredRow]) -> list[Decision]:
        """Those decisions of `rows`, which are those of `lines` in the file's order, that the database lacks.

        Of the same log only what follows the last decision that both have: before it, another id is a damaged one.
        """
        known = dict(self._db.execute("SELECT id, seq FROM decisions"))
        last, start = 0, 0
        for place, row in enumerate(rows, 1):
            seq = max((known.get(decision.id, 0) for decision in combine([row]).decisions), default=0)
            last, start = (seq, place) if seq > last else (last, start)
        followed = {_without_id(line.strip()) for line in _encoded_lines(self._db, last)}
        return [
            decision
            for decision in combine(rows[start:]).decisions
            if decision.id not in known and _without_id(to_line(decision).encode()) not in followed
        ]

    def _set_lines_aside(self) -> str:
        """Returns the file's new name."""
        aside = self.folder / f"decisions.damaged-{_timestamp()}.jsonl"
        os.rename(self.lines, aside)
        return aside.name

    def _notify_lines(self, aside: str, new: int, recovered: RecoveredLog) -> None:
        text = f"{LINES} differed from {NAME} and was written anew; the former file is kept as {aside}"
        if new:
            text += f". {new} decisions that only it had were taken over"
        self._notify(f"{text}.")
        for sentence in recovered.sentences(LINES):
            log.warning(sentence)

    def _append_lines(self) -> None:
        """Write the decisions that `lines` lacks, and wait for the disk; written anew where it is not as it was left.

        The database has them already, so a failure is no error: they are written with the next decision.
        """
        if self.in_memory:
            return
        try:
            with _transaction(self._db):
                self._write_lines()
        except OSError as error:
            text = f"{LINES} could not be written ({error.strerror}): decisions are saved in {NAME} alone."
            if text not in self.notices:
                self._notify(text)

    def _write_lines(self) -> None:
        count, size = self._written
        new = list(_encoded_lines(self._db, count))
        on_disk = self.lines.stat().st_size if self.lines.exists() else 0
        ends = [size, *accumulate(map(len, new), initial=size)]
        if on_disk in ends:  # other processes write whole decisions
            missing = b"".join(new)[on_disk - size :]
            if missing:
                with self.lines.open("ab") as file:
                    file.write(missing)
                    file.flush()
                    os.fsync(file.fileno())
        else:
            lines = b"".join(_encoded_lines(self._db, 0))
            if not lines.startswith(_bytes(self.lines)):
                self._notify_lines(self._set_lines_aside(), 0, RecoveredLog((), 0, {}))
            with atomic(self.lines) as part, part.open("wb") as file:
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
        self._written = count + len(new), ends[-1]

    def _notify(self, sentence: str) -> None:
        self.notices.append(sentence)
        log.warning(sentence)


def backup(folder: str | os.PathLike, target: str | os.PathLike | None = None) -> Path:
    """Copy a project's log as it is at this moment, even while it is written; returns the copy's path.

    target: the file to write; None: one in the project's `backups/`.
    Raises: OSError; ValueError where there is no log, or it is damaged: then nothing is written.
    """
    path = Path(folder) / NAME
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no {NAME}: nobody has reviewed there yet, or it is no project's folder")
    target = Path(target) if target is not None else Path(folder) / BACKUPS / f"review-{_timestamp()}.sqlite"
    if target.exists() and target.samefile(path):
        raise ValueError(f"the backup cannot take the place of {path} itself")
    with _sqlite_errors(target), atomic(target) as part:
        with closing(_connect_to_read(path)) as db, closing(_connect(part)) as copy:
            db.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, also after it was read
        if fault := _fault(part):
            raise ValueError(f"{path} {fault}: no backup was made; the studio takes over what is whole of it")
    return target


def _connect(path: str | os.PathLike) -> sqlite3.Connection:
    uri = str(path).startswith("file:")
    return sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False, uri=uri)


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All or nothing, with an exclusive lock for writing."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # a full disk may have rolled it back already
            db.execute("ROLLBACK")
        raise


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    """Bring the database to the newest version, in one transaction."""
    if _version(db) == len(MIGRATIONS):
        return
    with _transaction(db):
        version = _version(db)  # another process may have been faster
        if version > len(MIGRATIONS):
            raise ValueError(f"{path} has version {version} of the log, this studio reads {len(MIGRATIONS)}: update it")
        for migrate in MIGRATIONS[version:]:
            migrate(db)
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def _version(db: sqlite3.Connection) -> int:
    return db.execute("PRAGMA user_version").fetchone()[0]


def _extend(db: sqlite3.Connection, new: Sequence[Decision]) -> int:
    """Add those that are not there yet, all or none; returns how many. Raises: ValueError for another one of an id."""
    with _transaction(db):
        count, chain = db.execute("SELECT count, chain FROM head").fetchone()
        before = count
        for decision in new:
            line = to_line(decision)
            row = db.execute("SELECT seq, line FROM decisions WHERE id = ?", (decision.id,)).fetchone()
            if row is None:
                count, chain = count + 1, chained(chain, line.encode())
                db.execute(_INSERT_ROW, (count, decision.id, line, chain))
            elif row[1] != line:
                raise ValueError(f"decision {decision.id}: the log has another one of this id, number {row[0]}")
        db.execute("UPDATE head SET count = ?, chain = ?", (count, chain))
        return count - before


def _encoded_lines(db: sqlite3.Connection, after: int) -> Iterator[bytes]:
    """The JSON of each decision behind number `after`, with its line break."""
    rows = db.execute("SELECT CAST(line AS BLOB) FROM decisions WHERE seq > ? ORDER BY seq", (after,))
    return (line + b"\n" for (line,) in rows)


def _without_id(line: bytes) -> bytes:
    return line.partition(b',"dataset":')[2]


def _fault(path: Path) -> str | None:
    """What is wrong with a database, to follow its name; None where it is intact, or of another version."""
    if path.stat().st_size == 0:  # SQLite leaves it so when killed before the first transaction
        return None
    try:
        with closing(_connect_to_read(path)) as db:
            if db.execute("PRAGMA quick_check(1)").fetchone()[0] != b"ok":
                return "is damaged"
            version = _version(db)
            if version == 0:  # a new database, or another program's
                tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
                return "is no review log" if tables else None
            if not 0 < version <= len(MIGRATIONS):
                return None
            db.execute("BEGIN")  # one snapshot for both queries
            head = db.execute("SELECT count, chain FROM head").fetchone()
            rows = db.execute(_SELECT_ROWS).fetchall()
    except sqlite3.Error as error:
        if _primary_code(error) in _CLOSED:
            raise
        return "is damaged or cut off" if _primary_code(error) in _DAMAGED else "is no review log"
    return _fault_of_rows(rows, head)


def _fault_of_rows(rows: Sequence[tuple], head: tuple | None) -> str | None:
    """The same of its rows. head: number of rows and the last checksum."""
    chain = ""
    for place, (seq, id, line, stored) in enumerate(rows, 1):
        if not all(isinstance(value, bytes) for value in (id, line, stored)):
            return f"is damaged at decision {place}"
        chain = chained(chain, line)
        if (
            seq != place
            or stored != chain.encode()
            or f'{{"id":"{id.decode("latin-1")}"'.encode() != line[: len(id) + 8]
        ):
            return f"was changed by something else than the studio, at decision {place}"
    if head != (len(rows), chain.encode()):
        return f"is cut off: it has {len(rows)} decisions of {head[0] if head else 'more'}"
    return None


def _queried_rows(path: Path) -> Iterator[StoredRow]:
    """Rows that SQLite can read of a database that may be damaged or read-only, up to the first damage."""
    for immutable in (False, True) if path.exists() else ():
        try:
            with closing(_connect_to_read(path, immutable)) as db:
                for seq, _, line, chain in db.execute(_SELECT_ROWS):
                    if isinstance(line, bytes) and isinstance(chain, bytes):
                        yield StoredRow(seq, line, chain.decode("latin-1"), f"decision {seq}")
            return
        except sqlite3.Error as error:
            if _primary_code(error) not in _CLOSED:
                return


def _connect_to_read(path: Path, immutable: bool = False) -> sqlite3.Connection:
    """Nothing is written, not even the -wal file's content into the database. Text is bytes, as it may be no UTF-8."""
    db = _connect(f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if immutable else ''}")
    db.text_factory = bytes
    return db


def _restored(log: RecoveredLog) -> str:
    """How many decisions were restored, to be followed by a full stop."""
    if not log.missing:
        text = f"all {log.total} decisions were restored"
    else:
        text = f"{len(log.decisions)} of {log.total} decisions were restored, {log.missing} could not be read"
        among = "" if len(log.lost) == log.missing else "among "
        text += f" ({among}{'number' if len(log.lost) == 1 else 'numbers'} {ranges(log.lost)})"
    return f"{text}; {log.unverified}" if log.changed else text


def _bytes(path: Path) -> bytes:
    """A file's content; nothing where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _identity(path: Path) -> tuple[int, int] | None:
    """Equal for the same file, also under another name; None where there is none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def _rename(path: Path, aside: Path) -> bool:
    """Rename a database with the files that SQLite keeps beside it; False where there is none."""
    existed = path.exists()
    for tail in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            os.rename(f"{path}{tail}", f"{aside}{tail}")
    return existed


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Only one process at a time restores the log of a folder."""
    with (folder / ".review.lock").open("ab") as file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _sqlite_errors(path: Path) -> Iterator[None]:
    """SQLite's errors as OSError with one sentence."""
    try:
        yield
    except sqlite3.Error as error:
        raise _to_os_error(error, path) from error


def _is_full(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO)
    return isinstance(error, sqlite3.Error) and _primary_code(error) in _FULL


def _to_os_error(error: sqlite3.Error, path: Path) -> OSError:
    if _is_full(error):
        return OSError(errno.ENOSPC, "the disk is full or failing, nothing was saved", str(path))
    return OSError(errno.EIO, f"nothing was saved: {error}", str(path))


def _primary_code(error: sqlite3.Error) -> int:
    """SQLite's error code without its details."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _timestamp() -> str:
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
