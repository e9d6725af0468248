"""The review log on disk: SQLite, append-only, in the project's `review.sqlite`; a decision is durable once appended.

Every row carries a hash of itself and of all rows before it, so that an edited or truncated log is noticed.
`python -m app.store backup PROJECT` copies it, also while the studio is running.
"""

import errno
import hashlib
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import RLock

from tevit.io.files import atomic
from tevit.review.decisions import Decision, from_line, to_line, write_log

log = logging.getLogger(__name__)

NAME, BACKUPS = "review.sqlite", "backups"
_BUSY_SECONDS = 30.0
_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_CLOSED = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM)
_SELECT_ROWS = "SELECT seq, id, line, chain FROM decisions ORDER BY seq"
_INSERT_ROW = "INSERT INTO decisions VALUES (?, ?, ?, ?)"
_Row = tuple[int, str, str, str]  # seq from 1, id, line, chain


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
    the start.
    """

    def __init__(self, folder: str | os.PathLike):
        """Open or create the log in `folder`. A damaged one is set aside and its intact decisions are kept.

        Raises: ValueError where a newer version of the studio wrote it; OSError where the disk is full.
        """
        self.folder = Path(folder)
        self.path = self.folder / NAME
        self.in_memory = False
        self.notices: list[str] = []
        self._lock = RLock()
        self._read: list[Decision] = []  # the decisions read so far
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
        with self._lock, _sqlite_errors(self.path), _transaction(self._db):
            count, chain = self._db.execute("SELECT count, chain FROM head").fetchone()
            before = count
            for decision in new:
                line = to_line(decision)
                row = self._db.execute("SELECT seq, line FROM decisions WHERE id = ?", (decision.id,)).fetchone()
                if row is None:
                    count, chain = count + 1, _chain(chain, line)
                    self._db.execute(_INSERT_ROW, (count, decision.id, line, chain))
                elif row[1] != line:
                    raise ValueError(f"decision {decision.id}: the log has another one of this id, number {row[0]}")
            self._db.execute("UPDATE head SET count = ?, chain = ?", (count, chain))
            return count - before

    def decisions(self) -> tuple[Decision, ...]:
        """The whole log, including what other processes have added."""
        with self._lock, _sqlite_errors(self.path):
            rows = self._db.execute("SELECT line FROM decisions WHERE seq > ? ORDER BY seq", (len(self._read),))
            for (line,) in rows:
                self._read.append(from_line(line, f"{self.path}, decision {len(self._read) + 1}"))
            return tuple(self._read)

    def count(self) -> int:
        """Number of decisions, including those of other processes."""
        with self._lock, _sqlite_errors(self.path):
            return self._db.execute("SELECT count FROM head").fetchone()[0]

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
            if self.path.exists() and (fault := _fault(self.path)):
                self._set_aside(fault)
            db = _connect(self.path)
            try:
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = FULL")
                _migrate(db, self.path)
            except BaseException:
                db.close()
                raise
            return db
        except sqlite3.Error as error:
            if _primary_code(error) not in _CLOSED:
                raise _to_os_error(error, self.path) from error
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EROFS, errno.EACCES, errno.ENOENT, errno.ENOTDIR):
                raise
        return self._open_in_memory()

    def _set_aside(self, fault: str) -> None:
        """Rename the damaged files and start a new log with the intact decisions."""
        intact = _intact_rows(self.path)
        aside = self.folder / f"review.damaged-{_timestamp()}.sqlite"
        for tail in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.rename(f"{self.path}{tail}", f"{aside}{tail}")
        part = self.folder / f".review-{_timestamp()}.sqlite"
        with closing(_connect(part)) as db:
            _migrate(db, part)
            _fill(db, intact)
        os.replace(part, self.path)
        self._notify(
            f"{NAME} {fault}: it is kept as {aside.name}; the {len(intact)} decisions that are whole were taken over."
        )

    def _open_in_memory(self) -> sqlite3.Connection:
        """A database in memory with the decisions that can be read."""
        self.in_memory = True
        db = _connect(":memory:")
        _migrate(db, self.path)
        try:
            intact = _intact_rows(self.path) if self.path.exists() else []
        except OSError:
            intact = []
        _fill(db, intact)
        self._notify(
            f"The folder {self.folder} cannot be written: decisions are kept in memory only and are lost when the "
            "studio stops. Export them before."
        )
        return db

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
        with closing(_connect(f"{path.absolute().as_uri()}?mode=ro")) as db, closing(_connect(part)) as copy:
            db.backup(copy)
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


def _fill(db: sqlite3.Connection, rows: Sequence[_Row]) -> None:
    """Insert rows, numbered and chained anew."""
    chain = ""
    with _transaction(db):
        for seq, (_, id, line, _) in enumerate(rows, 1):
            chain = _chain(chain, line)
            db.execute(_INSERT_ROW, (seq, id, line, chain))
        db.execute("UPDATE head SET count = ?, chain = ?", (len(rows), chain))


def _chain(before: str, line: str) -> str:
    """The hash of a row and all before it."""
    return hashlib.sha256(f"{before}\n{line}".encode()).hexdigest()


def _fault(path: Path) -> str | None:
    """What is wrong with a database, to follow its name; None where it is intact, or of another version."""
    if path.stat().st_size == 0:  # SQLite leaves it so when killed before the first transaction
        return None
    try:
        with closing(_connect(path)) as db:
            if db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                return "is damaged"
            version = _version(db)
            if version == 0:  # a new database, or another program's
                tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
                return "is no review log" if tables else None
            if not 0 < version <= len(MIGRATIONS):
                return None
            db.execute("BEGIN")  # one snapshot for both queries
            head = db.execute("SELECT count, chain FROM head").fetchone()
            rows: list[_Row] = db.execute(_SELECT_ROWS).fetchall()
    except sqlite3.Error as error:
        if _primary_code(error) in _CLOSED:
            raise
        return "is damaged or cut off" if _primary_code(error) in _DAMAGED else "is no review log"
    intact = set(_intact(rows))
    if len(intact) < len(rows):
        place = next(place for place, row in enumerate(rows, 1) if row not in intact)
        return f"was changed by something else than the studio, at decision {place}"
    if head != (len(rows), rows[-1][3] if rows else ""):
        return f"is cut off: it has {len(rows)} decisions of {head[0] if head else 'more'}"
    return None


def _intact(rows: Sequence[_Row]) -> list[_Row]:
    """The rows that are unchanged and follow the row that they were written after."""
    intact, before, last = [], "", 0
    for row in rows:
        seq, _, line, chain = row
        if seq == last + 1 and chain == _chain(before, line):
            intact.append(row)
        before, last = chain, seq
    return intact


def _intact_rows(path: Path) -> list[_Row]:
    """The intact rows of a database that may be damaged or read-only."""
    rows: list[_Row] = []
    for mode in ("mode=ro", "mode=ro&immutable=1"):
        rows.clear()
        try:
            with closing(_connect(f"{path.absolute().as_uri()}?{mode}")) as db:
                for row in db.execute(_SELECT_ROWS):
                    rows.append(row)  # one by one: those before the damage are kept
            break
        except sqlite3.Error as error:
            if _primary_code(error) not in _CLOSED:
                break
    return _intact(rows)


@contextmanager
def _sqlite_errors(path: Path) -> Iterator[None]:
    """SQLite's errors as OSError with one sentence."""
    try:
        yield
    except sqlite3.Error as error:
        raise _to_os_error(error, path) from error


def _to_os_error(error: sqlite3.Error, path: Path) -> OSError:
    if _primary_code(error) in _FULL:
        return OSError(errno.ENOSPC, "the disk is full or failing, nothing was saved", str(path))
    return OSError(errno.EIO, f"nothing was saved: {error}", str(path))


def _primary_code(error: sqlite3.Error) -> int:
    """SQLite's error code without its details."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _timestamp() -> str:
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
