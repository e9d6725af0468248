"""The review log on disk: SQLite, append-only, durable before anyone is told "saved", in the project's `review.sqlite`.

Every row carries a hash of itself and of all rows before it, so that a log that was edited or cut off is noticed.
`python -m app.store backup PROJECT` copies it, also while the studio is at work.
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
from tevit.review.decisions import Decision, from_line, parse_log, to_line, write_log

log = logging.getLogger(__name__)

NAME, BACKUPS = "review.sqlite", "backups"
_BUSY_SECONDS = 30.0
_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_CLOSED = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM)


def _first_version(db: sqlite3.Connection) -> None:
    columns = "seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, line TEXT NOT NULL, chain TEXT NOT NULL"
    db.execute(f"CREATE TABLE decisions ({columns})")
    db.execute("CREATE TABLE head (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), count INTEGER, chain TEXT)")
    db.execute("INSERT INTO head VALUES (1, 0, '')")


MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (_first_version,)
"""Position n brings a database of version n to n + 1; never changed, only added to."""


class ReviewStore:
    """The log of one project. May be used from any thread; several processes may have the same folder open.

    in_memory: the folder cannot be written, decisions live as long as this object does. notices: what the user must be
    told at the start, a sentence each.
    """

    def __init__(self, folder: str | os.PathLike):
        """Open or begin the log in `folder`. A damaged one is kept aside, what is whole of it goes on.

        Raises: ValueError where a newer version of the studio made it; OSError where the disk is full.
        """
        self.folder = Path(folder)
        self.path = self.folder / NAME
        self.in_memory = False
        self.notices: list[str] = []
        self._lock = RLock()
        self._known: list[Decision] = []
        self._db = self._open()

    def append(self, decision: Decision) -> int:
        """Add one decision; returns its place in the log, from 1, and only when it is on the disk.

        The same decision again changes nothing. Raises: ValueError where another one has its id; OSError, one
        sentence, where it cannot be written: then nothing is.
        """
        self._append([decision])
        with self._lock, _explained(self.path):
            return self._db.execute("SELECT seq FROM decisions WHERE id = ?", (decision.id,)).fetchone()[0]

    def decisions(self) -> tuple[Decision, ...]:
        """The whole log, with what other processes have added by now."""
        with self._lock:
            self._catch_up()
            return tuple(self._known)

    def count(self) -> int:
        """How many decisions there are by now."""
        with self._lock, _explained(self.path):
            return self._head()[0]

    def export(self, path: str | os.PathLike) -> int:
        """Write the log as JSON lines; returns how many."""
        found = self.decisions()
        write_log(path, found)
        return len(found)

    def load(self, path: str | os.PathLike) -> int:
        """Add the decisions of a JSON lines file that are not there yet, all or none; returns how many were new.

        Raises: OSError; ValueError with a sentence for each faulty line, or where one differs under an id we have.
        """
        return self.extend(parse_log(Path(path).read_bytes(), str(path)))

    def extend(self, new: Sequence[Decision]) -> int:
        """Add those that are not there yet, all or none; returns how many. Raises: as `append`."""
        return self._append(new)

    def close(self) -> None:
        """Let the file go."""
        with self._lock:
            self._db.close()

    # --- writing

    def _append(self, new: Sequence[Decision]) -> int:
        """How many were not there yet."""
        with self._lock, _explained(self.path), self._transaction():
            count, chain = self._head()
            before = count
            for decision in new:
                line = to_line(decision)
                if self._is_there(decision.id, line):
                    continue
                count, chain = count + 1, _link(chain, line)
                self._db.execute("INSERT INTO decisions VALUES (?, ?, ?, ?)", (count, decision.id, line, chain))
            self._db.execute("UPDATE head SET count = ?, chain = ?", (count, chain))
            return count - before

    def _is_there(self, id: str, line: str) -> bool:
        row = self._db.execute("SELECT seq, line FROM decisions WHERE id = ?", (id,)).fetchone()
        if row is not None and row[1] != line:
            raise ValueError(f"decision {id}: the log has another one of this id, number {row[0]}")
        return row is not None

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing, and nobody else writes meanwhile."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # a full disk may have rolled it back already
                self._db.execute("ROLLBACK")
            raise

    def _head(self) -> tuple[int, str]:
        return self._db.execute("SELECT count, chain FROM head").fetchone()

    def _catch_up(self) -> None:
        with _explained(self.path):
            rows = self._db.execute("SELECT line FROM decisions WHERE seq > ? ORDER BY seq", (len(self._known),))
            for (line,) in rows:
                self._known.append(from_line(line, f"{self.path}, decision {len(self._known) + 1}"))

    # --- opening

    def _open(self) -> sqlite3.Connection:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            db = self._open_file()
        except sqlite3.Error as error:
            if _primary(error) not in _CLOSED:
                raise _as_os_error(error, self.path) from error
            return self._without_disk()
        except PermissionError:
            return self._without_disk()
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.EACCES, errno.ENOENT, errno.ENOTDIR):
                raise
            return self._without_disk()
        return db

    def _open_file(self) -> sqlite3.Connection:
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

    def _set_aside(self, fault: str) -> None:
        """Keep the damaged files under another name and begin anew with what is whole."""
        whole = _whole_part(self.path)
        aside = self.folder / f"review.damaged-{_stamp()}.sqlite"
        for tail in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.rename(f"{self.path}{tail}", f"{aside}{tail}")
        part = self.folder / f".review-{_stamp()}.sqlite"
        with closing(_connect(part)) as db:
            _migrate(db, part)
            _fill(db, whole)
        os.replace(part, self.path)
        self._tell(
            f"{NAME} {fault}: it is kept as {aside.name}; the {len(whole)} decisions that are whole were taken over."
        )

    def _without_disk(self) -> sqlite3.Connection:
        """In memory, beginning with what can be read."""
        self.in_memory = True
        db = _connect(":memory:")
        _migrate(db, self.path)
        try:
            whole = _whole_part(self.path) if self.path.exists() else []
        except OSError:
            whole = []
        _fill(db, whole)
        self._tell(
            f"The folder {self.folder} cannot be written: decisions are kept in memory only and are lost when the "
            "studio stops. Export them before."
        )
        return db

    def _tell(self, sentence: str) -> None:
        self.notices.append(sentence)
        log.warning(sentence)


def backup(folder: str | os.PathLike, target: str | os.PathLike | None = None) -> Path:
    """Copy a project's log as it is at this moment, whoever writes to it; returns the copy's path.

    target: the file to write; None: one in the project's `backups/`.
    Raises: OSError; ValueError where there is no log, or it is damaged: then nothing is written.
    """
    path = Path(folder) / NAME
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no {NAME}: nobody has reviewed there yet, or it is no project's folder")
    target = Path(target) if target is not None else Path(folder) / BACKUPS / f"review-{_stamp()}.sqlite"
    if target.exists() and target.samefile(path):
        raise ValueError(f"the backup cannot take the place of {path} itself")
    with _explained(target), atomic(target) as part:
        with closing(_connect(f"{path.absolute().as_uri()}?mode=ro")) as db, closing(_connect(part)) as copy:
            db.backup(copy)
        if fault := _fault(part):
            raise ValueError(f"{path} {fault}: no backup was made; the studio takes over what is whole of it")
    return target


def _connect(path: str | os.PathLike) -> sqlite3.Connection:
    uri = str(path).startswith("file:")
    return sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False, uri=uri)


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    """Bring the database to the newest version, in one transaction."""
    if _version(db) == len(MIGRATIONS):
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        version = _version(db)  # another process may have been faster
        if version > len(MIGRATIONS):
            raise ValueError(f"{path} has version {version} of the log, this studio knows {len(MIGRATIONS)}: update it")
        for migrate in MIGRATIONS[version:]:
            migrate(db)
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        db.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise


def _version(db: sqlite3.Connection) -> int:
    return db.execute("PRAGMA user_version").fetchone()[0]


def _fill(db: sqlite3.Connection, lines: Sequence[tuple[str, str]]) -> None:
    """lines: id and text of each decision."""
    chain = ""
    db.execute("BEGIN IMMEDIATE")
    for seq, (id, line) in enumerate(lines, 1):
        chain = _link(chain, line)
        db.execute("INSERT INTO decisions VALUES (?, ?, ?, ?)", (seq, id, line, chain))
    db.execute("UPDATE head SET count = ?, chain = ?", (len(lines), chain))
    db.execute("COMMIT")


def _link(chain: str, line: str) -> str:
    """The hash of a row and all before it."""
    return hashlib.sha256(f"{chain}\n{line}".encode()).hexdigest()


def _fault(path: Path) -> str | None:
    """What is wrong with a database, to be read after its name; None where it is whole, or of another version."""
    if path.stat().st_size == 0:  # as SQLite leaves it when killed before the first transaction
        return None
    try:
        with closing(_connect(path)) as db:
            if db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                return "is damaged"
            if not 0 < _version(db) <= len(MIGRATIONS):
                return None if _version(db) else _strange(db)
            db.execute("BEGIN")  # one moment for both questions, whoever writes
            head = db.execute("SELECT count, chain FROM head").fetchone()
            rows = db.execute("SELECT * FROM decisions ORDER BY seq").fetchall()
        return _compared(rows, head)
    except sqlite3.Error as error:
        if _primary(error) in _CLOSED:
            raise
        return "is damaged or cut off" if _primary(error) in _DAMAGED else "is no review log"


def _strange(db: sqlite3.Connection) -> str | None:
    """Version 0 is what a database has that nobody has written to, and what is somebody else's."""
    return "is no review log" if db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] else None


_Row = tuple[int, str, str, str]


def _compared(rows: list[_Row], head: tuple[int, str] | None) -> str | None:
    whole = _chained(rows)
    if len(whole) < len(rows):
        odd = next(place for place, row in enumerate(rows, 1) if row[1:3] not in whole)
        return f"was changed by something else than the studio, at decision {odd}"
    if head != (len(rows), rows[-1][3] if rows else ""):
        return f"is cut off: it has {len(rows)} decisions of {head[0] if head else 'more'}"
    return None


def _chained(rows: Sequence[_Row]) -> list[tuple[str, str]]:
    """Id and text of the rows that are as they were written, each after the one that it was written after."""
    found, before, last = [], "", 0
    for seq, id, line, chain in rows:
        if seq == last + 1 and chain == _link(before, line):
            found.append((id, line))
        before, last = chain, seq
    return found


def _whole_part(path: Path) -> list[tuple[str, str]]:
    """What can be read of a database that may be damaged or not ours to write."""
    rows: list[_Row] = []
    for mode in ("mode=ro", "mode=ro&immutable=1"):
        rows.clear()
        try:
            with closing(_connect(f"{path.absolute().as_uri()}?{mode}")) as db:
                for row in db.execute("SELECT * FROM decisions ORDER BY seq"):
                    rows.append(row)  # one by one: those before the damage are kept
            break
        except sqlite3.Error as error:
            if _primary(error) not in _CLOSED:
                break
    return _chained(rows)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """SQLite's errors as one sentence."""
    try:
        yield
    except sqlite3.Error as error:
        raise _as_os_error(error, path) from error


def _as_os_error(error: sqlite3.Error, path: Path) -> OSError:
    if _primary(error) in _FULL:
        return OSError(errno.ENOSPC, "the disk is full or failing, nothing was saved", str(path))
    return OSError(errno.EIO, f"nothing was saved: {error}", str(path))


def _primary(error: sqlite3.Error) -> int:
    """SQLite's code without its details."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _stamp() -> str:
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
