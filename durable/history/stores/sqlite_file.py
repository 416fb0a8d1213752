"""A SQLite file: how it is opened, written in turn with other processes, and what its errors mean."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import msgspec
from sqlalchemy.dialects import sqlite as dialects

from durable.history.errors import SchemaTooNew, StoreUnavailable, UnknownOutcome
from durable.history.stores.ddl import schema_statements
from durable.history.stores.mounts import REMOTE, file_system
from durable.history.stores.tables import SCHEMA, VERSION_TABLE, pulse

try:
    import fcntl
except ImportError:  # Windows: SQLite's own lock has to do
    fcntl = None  # type: ignore[assignment]

OLDEST_SQLITE = (3, 35, 0)
WAL_BYTES_MAX = 64 * 1024 * 1024
"""So long the WAL may be; a quarter of it is copied into the file whenever it is there."""
PAGE_BYTES = 4096
STEPS_BETWEEN_LOOKS = 10_000
"""Of SQLite's machine, between two looks at the time: less than a millisecond."""
ROWS_AT_ONCE = 64
"""So many are handed over by one statement; smaller numbers are powers of two, so that few statements are prepared."""
ROW = re.compile(r"VALUES (\([?, ]+\))")
EMPTYING_TAKES_MS = 100
"""So long the readers of the WAL are waited for; those of the engine take less."""

ADD_PULSE = f"UPDATE {pulse.name} SET commits = commits + 1"
READ_PULSE = f"SELECT commits FROM {pulse.name}"


def settings(synchronous: str, wal_bytes_max: int) -> tuple[str, ...]:
    """What a connection that writes is told, whosever it is."""
    return (
        f"PRAGMA synchronous={synchronous}",
        f"PRAGMA journal_size_limit={wal_bytes_max}",
        f"PRAGMA wal_autocheckpoint={wal_bytes_max // PAGE_BYTES // 4}",
    )


@cache
def several(statement: str, count: int) -> str:
    """The statement for so many rows, which are given as VALUES.

    The driver lets other threads go for each row that it is handed by itself, and has to wait for its turn again.
    """
    return ROW.sub(lambda found: f"VALUES {', '.join([found[1]] * count)}", statement, count=1)


class Counters(msgspec.Struct):
    """What the store has asked of its database, for budgets in tests. ``executemany`` is one statement."""

    commits: int = 0
    statements: int = 0
    rows_written: int = 0


class Turnstile:
    """One writer at a time among all that use a file: ``flock`` on ``<file>-lock``, around each write transaction.

    Waiting here is waking up when it is one's turn; SQLite's own lock is polled, and starves under contention.
    """

    def __init__(self, path: Path) -> None:
        self._path = Path(f"{path}-lock")
        self._fd = -1 if fcntl is None else os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def __enter__(self) -> None:
        if fcntl is None:
            return
        if self._fd < 0:
            raise StoreUnavailable(f"{self._path} is closed here: the client was closed; connect again")
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX)
        except OSError as error:
            raise StoreUnavailable(f"can't lock {self._path}: {error.strerror}; is the disk a local one?") from error

    def __exit__(self, *exc: object) -> None:
        if fcntl is not None and self._fd >= 0:  # else it is closed, which has let go of it
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Asking(Protocol):
    """What a commit is decided and written over: a connection of the store's own, or somebody's transaction."""

    def read(self, statement: str, values: Sequence[object] = (), /) -> Any:
        """Its rows, one by one or as ``fetchone`` and ``fetchall`` give them."""
        ...

    def write(self, statement: str, values: Sequence[object] = (), /) -> int: ...

    def write_many(self, statement: str, rows: Sequence[Sequence[object]], /) -> None: ...


class Connection:
    """One sqlite3 connection, used by one thread at a time."""

    def __init__(
        self,
        path: Path,
        counters: Counters,
        *,
        synchronous: str,
        busy_timeout_s: float,
        read_only: bool = False,
        wal_bytes_max: int = WAL_BYTES_MAX,
    ) -> None:
        self.path = path
        # Commits of this connection that move the pulse. One that is under way counts as begun, and not as done.
        self.pulses_begun = self.pulses_done = 0
        self._counters = counters
        self._busy_timeout_s = busy_timeout_s
        self._turnstile = None if read_only else Turnstile(path)
        self._raw = sqlite3.connect(
            path, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        with explained(path):
            for pragma in settings(synchronous, wal_bytes_max):
                self._raw.execute(pragma)
            if read_only:
                self._raw.execute("PRAGMA query_only=1")

    def close(self) -> None:
        self._raw.close()
        if self._turnstile is not None:
            self._turnstile.close()

    @contextmanager
    def stopped_when(self, is_over: Callable[[], bool]) -> Generator[None]:
        """A statement in this block ends with `sqlite3.OperationalError` (SQLITE_INTERRUPT) once that is so."""
        self._raw.set_progress_handler(is_over, STEPS_BETWEEN_LOOKS)
        try:
            yield
        finally:
            self._raw.set_progress_handler(None, 0)

    def read(self, statement: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        self._counters.statements += 1
        return self._raw.execute(statement, values)

    def one(self, statement: str, values: Sequence[object] = ()) -> Any:
        """The first column of the only row."""
        return self.read(statement, values).fetchone()[0]

    def write(self, statement: str, values: Sequence[object] = ()) -> int:
        """The number of rows changed."""
        self._counters.statements += 1
        changed = self._raw.execute(statement, values).rowcount
        self._counters.rows_written += max(changed, 0)
        return changed

    def write_many(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        if not rows:
            return
        if len(rows) == 1 or "VALUES (" not in statement:
            self._counters.statements += 1
            self._counters.rows_written += self._raw.executemany(statement, rows).rowcount
            return
        at = 0
        while at < len(rows):
            size = min(ROWS_AT_ONCE, 1 << (len(rows) - at).bit_length() - 1)
            part = rows[at : at + size]
            self._counters.statements += 1
            values = list(chain.from_iterable(part))
            self._counters.rows_written += self._raw.execute(several(statement, size), values).rowcount
            at += size

    def write_alone(self, statement: str, values: Sequence[object]) -> int:
        """One statement that is a transaction of its own; the number of rows changed."""
        with explained(self.path), self._turn():
            return self.write(statement, values)

    @contextmanager
    def reading(self) -> Generator[None]:
        """What is read within is one snapshot."""
        with explained(self.path):
            self.read("BEGIN")
            try:
                yield
            finally:
                if self._raw.in_transaction:
                    self.read("COMMIT")

    @contextmanager
    def writing(self) -> Generator[None]:
        """One write transaction, begun when it is this connection's turn; durable when the block is left.

        Raises `StoreUnavailable` when nothing is written, `UnknownOutcome` when the commit itself failed.
        """
        with explained(self.path), self._turn():
            self.read("BEGIN IMMEDIATE")
            try:
                yield
                self._commit()
            except BaseException:
                self._roll_back()
                self.pulses_begun = self.pulses_done
                raise
            self.pulses_done = self.pulses_begun

    def begin_again(self) -> None:
        """Undo what this transaction has written, and begin it anew; it stays this connection's turn."""
        self._roll_back()
        self.read("BEGIN IMMEDIATE")

    def add_pulse(self) -> None:
        """This transaction concerns whoever polls."""
        self.pulses_begun += 1
        self.write(ADD_PULSE)

    def empty_wal(self) -> bool:
        """Copy the WAL into the file and cut it off, in this connection's turn; False when somebody reads from it all
        the while."""
        with explained(self.path), self._turn():
            self._raw.execute(f"PRAGMA busy_timeout={EMPTYING_TAKES_MS}")
            try:
                busy = self._raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            finally:
                self._raw.execute(f"PRAGMA busy_timeout={round(self._busy_timeout_s * 1000)}")
        return not busy

    def _turn(self) -> Turnstile:
        assert self._turnstile is not None, "a connection for reading"
        return self._turnstile

    def _commit(self) -> None:
        try:
            self._raw.execute("COMMIT")
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
                raise  # what marks it as committed comes last, and found no room
            raise UnknownOutcome(
                f"the commit to {self.path} failed ({error}): it may be written or not, so read again before you "
                f"retry; {_way_out(error, self.path)}"
            ) from error
        self._counters.statements += 1
        self._counters.commits += 1

    def _roll_back(self) -> None:
        if self._raw.in_transaction:
            self._raw.execute("ROLLBACK")


@contextmanager
def explained(path: Path) -> Generator[None]:
    """What SQLite says about a database that can't be used, in a sentence with a way out."""
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError, BlockingIOError):
        raise  # data, not the database; a lock that somebody else holds
    except (sqlite3.DatabaseError, OSError) as error:
        raise StoreUnavailable(f"the database {path} can't be used: {error}; {_way_out(error, path)}") from error


def _way_out(error: Exception, path: Path) -> str:
    text = str(error)
    if "not a database" in text or "malformed" in text:
        return "the file is something else, or damaged: name another file, or restore a backup"
    if "locked" in text or "busy" in text:
        return "another program has it locked: end the transaction that it holds open"
    if "full" in text:
        return "nothing was written: free some disk space"
    if "readonly" in text or isinstance(error, PermissionError):
        return f"this process may not write there: look at the permissions of the file and of {path.parent}"
    if "no such table" in text:
        return "its tables are gone, though they were there when it was opened: was the file replaced?"
    return f"look at the file, at the directory {path.parent}, and at the disk under them"


def prepare(path: Path, *, synchronous: str, busy_timeout_s: float, anywhere: bool = False) -> None:
    """Make the file if there is none, and bring its tables up to date; at most one process does it at a time."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        oldest = ".".join(map(str, OLDEST_SQLITE))
        raise StoreUnavailable(
            f"this Python has SQLite {sqlite3.sqlite_version}, durable needs {oldest} or newer: use a newer Python"
        )
    if path.is_dir():
        raise StoreUnavailable(f"{path} is a directory; name a file in it, as in sqlite:///{path}/durable.db")
    if not path.parent.is_dir():
        raise StoreUnavailable(f"there is no directory {path.parent} for the database {path.name}; create it first")
    kind = None if anywhere else file_system(path)
    if kind in REMOTE:
        raise StoreUnavailable(
            f"{path} is on {kind}, which is no local disk: SQLite's WAL is not safe there, the file would get damaged; "
            "move it to a local disk of the machine that all its workers run on, or use PostgreSQL "
            "(sqlite:///…?file_system=any opens it all the same)"
        )
    with explained(path):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        raw = sqlite3.connect(path, timeout=busy_timeout_s, isolation_level=None)
        try:
            if _version(raw, path) != SCHEMA or raw.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                _bring_up_to_date(raw, path, synchronous)
        finally:
            raw.close()


def _bring_up_to_date(raw: sqlite3.Connection, path: Path, synchronous: str) -> None:
    turnstile = Turnstile(path)
    try:
        with turnstile:
            raw.execute(f"PRAGMA synchronous={synchronous}")
            raw.execute("PRAGMA journal_mode=WAL")
            version = _version(raw, path)
            if version is None:
                _create(raw)
            elif version != SCHEMA:
                from durable.history.migrations.upgrade import upgrade

                upgrade(path)
    finally:
        turnstile.close()


def _version(raw: sqlite3.Connection, path: Path) -> str | None:
    """The revision of the tables; None where there are none, "" before the first revision."""
    found = raw.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?", (VERSION_TABLE,))
    if not found.fetchone()[0]:
        return None
    row = raw.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()
    version = "" if row is None else str(row[0])
    if version > SCHEMA:
        raise SchemaTooNew(
            f"the database {path} was made by a newer version of durable (its tables are revision {version}, this "
            f"version knows {SCHEMA}): use that version here too"
        )
    return version


@cache  # a program that makes many databases, as tests do, would pay more for the SQL than for running it
def _schema_statements() -> list[str]:
    return schema_statements(dialects.dialect())


def _create(raw: sqlite3.Connection) -> None:
    raw.execute("BEGIN IMMEDIATE")
    try:
        for statement in _schema_statements():
            raw.execute(statement)
        raw.execute(f"INSERT INTO {pulse.name} VALUES (1, 0)")
        raw.execute(f"INSERT INTO {VERSION_TABLE} VALUES (?)", (SCHEMA,))
        raw.execute("COMMIT")
    except BaseException:
        raw.execute("ROLLBACK")
        raise
