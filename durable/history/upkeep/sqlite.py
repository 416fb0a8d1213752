"""A SQLite file looked after from outside: its tables, and its health. Who only looks leaves no trace."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.dialects import sqlite as dialects

from durable.history.errors import StoreUnavailable
from durable.history.host import Host
from durable.history.stores import mounts
from durable.history.stores.sqlite_file import OLDEST_SQLITE, WAL_BYTES_MAX, explained, prepare
from durable.history.stores.tables import SCHEMA, VERSION_TABLE, metadata
from durable.history.upkeep import load, machine
from durable.history.upkeep.finding import Finding, bad, duration, ok, size, warning
from durable.history.upkeep.revisions import judge, missing

BUSY_TIMEOUT_S = 10.0
WAL_RESET_MENDED = (3, 51, 3)
"""Before it, a checkpoint that races a commit which starts the WAL anew can lose what was committed (sqlite.org)."""

FLEETING = frozenset(("tmpfs", "ramfs"))

DISK_LOW = 1 << 30
DISK_FULL = 2 * WAL_BYTES_MAX
CHECKED_BYTES_MAX = 256 << 20

HEADER_BYTES = 20
WAL_FORMAT = (2, 2)

LOOKS = 10
LOOK_EVERY_S = 0.1
WRITE_LOCK = 120
READ_LOCKS = range(123, 128)
"""Bytes of ``<file>-shm`` that stand for SQLite's locks (walformat.html)."""


def revision(path: Path) -> str | None:
    """The revision of the file's tables; None where there are none, or no file, "" before the first revision."""
    if not path.exists():
        return None
    with looking(path) as raw:
        return _revision(raw)


def upgrade(path: Path, *, anywhere: bool = False) -> None:
    """Make the file if there is none, and bring its tables up to date."""
    prepare(path, synchronous="FULL", busy_timeout_s=BUSY_TIMEOUT_S, anywhere=anywhere)


def repair(path: Path) -> int:
    """What workers of an older version have left out, in tables of today; of how many runs."""
    from durable.history.migrations import upgrade as migrations

    return migrations.repair(path)


@contextmanager
def looking(path: Path) -> Generator[sqlite3.Connection]:
    """For reading only. Raises `StoreUnavailable`.

    Who joins nobody's WAL would make one, of files that belong to him, which may keep the workers out. So a file that
    nobody has open is read as if it could not change.
    """
    idle = not any(Path(f"{path}{end}").exists() for end in ("-wal", "-journal"))
    with explained(path):
        raw = sqlite3.connect(f"{path.as_uri()}?mode=ro{'&immutable=1' if idle else ''}", uri=True)
        try:
            yield raw
        finally:
            raw.close()


async def examine(path: Path, host: Host) -> list[Finding]:
    """All that can be found out, the file first; what is broken, or missing, is a finding as well."""
    found = [_version()]
    try:
        with explained(path):
            if absent := _absent(path):
                return [*found, absent]
            found += [_access(path), _file_system(path), _disk(path), _wal(path), await _locks(path)]
        return [*found, *_content(path, host)]
    except StoreUnavailable as error:
        return [*found, bad("database", str(error))]


# The file. --------------------------------------------------------------------------------------------------------


def _version() -> Finding:
    told = f"SQLite {sqlite3.sqlite_version}"
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        oldest = ".".join(map(str, OLDEST_SQLITE))
        return bad("SQLite", f"{told} is too old: durable needs {oldest}", "use a newer Python")
    if sqlite3.sqlite_version_info < WAL_RESET_MENDED:
        mended = ".".join(map(str, WAL_RESET_MENDED))
        return warning(
            "SQLite",
            f"{told} has the WAL-reset fault: in rare cases a commit is lost when two connections write at once; those "
            "of durable take turns, those of other programs do not",
            f"use a Python with SQLite {mended} or newer, or let no other program write to the file",
        )
    return ok("SQLite", told)


def _absent(path: Path) -> Finding | None:
    if path.is_file():
        return None
    if path.is_dir():
        return bad("database", f"{path} is a directory", "name a file in it")
    return bad("database", f"there is no file {path}", "name another one, or make it: durable db upgrade")


def _access(path: Path) -> Finding:
    told = f"{path}, {size(path.stat().st_size)}"
    if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        return warning(
            "file", f"{told}: this user may not write it", "run workers as one who may write the file and its directory"
        )
    return ok("file", told)


def _file_system(path: Path) -> Finding:
    kind = mounts.file_system(path)
    if kind is None:
        return ok("file system", "this system does not tell; SQLite's WAL is safe on a local disk only")
    if kind in mounts.REMOTE:
        return bad(
            "file system",
            f"{kind} is no local disk: SQLite's WAL is not safe there, the file gets damaged",
            "move the file to a local disk of the machine that all its workers run on, or use PostgreSQL",
        )
    if kind in FLEETING:
        return warning("file system", f"{kind} is memory: all is gone when the machine restarts", "move it to a disk")
    return ok("file system", kind)


def _disk(path: Path) -> Finding:
    free = shutil.disk_usage(path.parent).free
    told, advice = f"{size(free)} free", "free some, or move the file: without it, nothing can be written"
    if free < DISK_FULL:
        return bad("disk", told, advice)
    return warning("disk", told, advice) if free < DISK_LOW else ok("disk", told)


def _wal(path: Path) -> Finding:
    with path.open("rb") as file:
        header = file.read(HEADER_BYTES)
    # An empty file is a database as well, and is in WAL from its first opening on.
    if header and tuple(header[18:20]) != WAL_FORMAT:
        return warning("WAL", "journal_mode is not WAL", "the next worker that opens it sets it: see that it stays so")
    wal = Path(f"{path}-wal")
    length = wal.stat().st_size if wal.exists() else 0
    told = f"journal_mode is WAL, now of {size(length)}; durable writes with synchronous=FULL"
    if length <= WAL_BYTES_MAX:
        return ok("WAL", told)
    readers = machine.locks(Path(f"{path}-shm")) or []
    pids = {lock.pid for lock in readers if any(lock.covers(byte) for byte in READ_LOCKS) and lock.kind == "POSIX"}
    names = [f"{machine.process(pid).name} ({pid})" for pid in sorted(pids)]
    return warning(
        "WAL",
        f"{told}: somebody's read transaction keeps it from shrinking"
        + (f"; just now {', '.join(names)} read" if names else ""),
        "end the transactions that other programs hold open on the file",
    )


# Who has it locked. -----------------------------------------------------------------------------------------------


async def _locks(path: Path) -> Finding:
    """Whoever is in the way longer than a commit takes."""
    first = _writer(path)
    if isinstance(first, Finding):
        return first
    holder, waiting = first
    for _ in range(LOOKS - 1):
        await asyncio.sleep(LOOK_EVERY_S)
        again = _writer(path)
        if isinstance(again, Finding) or again[0] != holder:
            return ok("locks", "commits go on")
        waiting = max(waiting, again[1])
    who = machine.process(holder)
    told = f"process {holder} ({who.name}) has the file locked for writing all the time, {waiting} wait"
    if who.stopped:
        return bad(
            "locks", f"{told}: it is stopped", f"let it go on (kill -CONT {holder}) or end it; till then nobody writes"
        )
    return warning("locks", told, "end the transaction that it holds open; if it hangs, end it")


def _writer(path: Path) -> tuple[int, int] | Finding:
    """Which process has the turnstile, or SQLite's own write lock, and how many wait for it."""
    turnstile, shared = machine.locks(Path(f"{path}-lock")), machine.locks(Path(f"{path}-shm"))
    if machine.locks(path) is None:
        return ok("locks", "this system does not tell")
    wanted = [
        *(lock for lock in turnstile or () if lock.kind == "FLOCK"),
        *(lock for lock in shared or () if lock.exclusive and lock.covers(WRITE_LOCK)),
    ]
    holders = [lock.pid for lock in wanted if not lock.waits]
    if not holders:
        return ok("locks", "nobody has it locked for writing just now")
    return holders[-1], sum(lock.waits for lock in wanted)


# What is in it. ---------------------------------------------------------------------------------------------------


def _content(path: Path, host: Host) -> list[Finding]:
    with looking(path) as raw:
        found = [_whole(raw, path)]
        version = _revision(raw)
        there = {row[0] for row in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        found += [judge(version), *missing(metadata.tables.keys() - there if version == SCHEMA else ())]
        if version == SCHEMA and metadata.tables.keys() <= there:
            now_us = host.now_us()
            ask = load.Statements(dialects.dialect(), now_us)
            rows = [raw.execute(text).fetchall() for text in (ask.workers, ask.parked, ask.runs, ask.tasks)]
            there_is = load.load(*rows)
            found += [_clock(load.ahead(there_is, now_us)), *load.judge(there_is, now_us)]
    return found


def _whole(raw: sqlite3.Connection, path: Path) -> Finding:
    if path.stat().st_size > CHECKED_BYTES_MAX:
        raw.execute("SELECT count(*) FROM sqlite_master").fetchone()
        return ok("database", f"it opens; it is too large to be read whole here: sqlite3 {path} 'PRAGMA quick_check'")
    (told,) = raw.execute("PRAGMA quick_check(1)").fetchone()
    if told != "ok":
        return bad("database", f"it is damaged: {told}", "stop its workers, and restore a backup")
    return ok("database", "it is whole")


def _clock(ahead_us: int) -> Finding:
    if not ahead_us:
        return ok("clock", "no lease was renewed in the future")
    return warning(
        "clock",
        f"a lease was renewed {duration(ahead_us)} after now: the machine's clock was set back",
        "timers and retries of before wait that long; keep the clock by NTP",
    )


def _revision(raw: sqlite3.Connection) -> str | None:
    found = raw.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?", (VERSION_TABLE,))
    if not found.fetchone()[0]:
        return None
    row = raw.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()
    return "" if row is None else str(row[0])
