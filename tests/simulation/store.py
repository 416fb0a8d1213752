"""The database of one world after another, and the store that a simulated process has on it.

To make a file, open it four times and prepare all statements anew costs more than most processes do in their short
lives. So the file is emptied between two worlds, and connections outlive processes: what a crash does to them is
SQLite's own affair, and that nothing of a process is left in one is seen to here.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from functools import cache
from multiprocessing.util import Finalize
from pathlib import Path

from durable.history.host import Host
from durable.history.stores.sqlite import SqliteStore
from durable.history.stores.sqlite_file import Connection, Counters, prepare
from durable.history.stores.tables import metadata, pulse


class Ground:
    """A file with today's tables, all empty, and the connections to it, whoever uses them just now."""

    def __init__(self) -> None:
        fast = "/dev/shm" if Path("/dev/shm").is_dir() else None
        directory = tempfile.mkdtemp(prefix="durable-simulation-", dir=fast)
        # Unlike a TemporaryDirectory's, this is heeded in a process that multiprocessing has made.
        Finalize(self, shutil.rmtree, (directory, True), exitpriority=1)
        self.path = Path(directory) / "world.db"
        prepare(self.path, synchronous="OFF", busy_timeout_s=1)
        self.db = sqlite3.connect(self.path, isolation_level=None, cached_statements=256)
        """For whoever looks on."""
        self._free: dict[bool, list[Connection]] = {False: [], True: []}

    def clear(self) -> None:
        """As if it were new."""
        self.db.execute("BEGIN IMMEDIATE")
        for table in metadata.sorted_tables:
            if table is not pulse:
                self.db.execute(f"DELETE FROM {table.name}")
        self.db.execute(f"UPDATE {pulse.name} SET commits = 0")
        self.db.execute("DELETE FROM sqlite_sequence")
        self.db.execute("COMMIT")
        shutil.rmtree(f"{self.path}-workers", ignore_errors=True)

    def lend(self, counters: Counters, *, read_only: bool) -> Connection:
        free = self._free[read_only]
        if not free:
            return _Lent(self.path, counters, free, read_only=read_only)
        lent = free.pop()
        lent.__dict__.update(_counters=counters, pulses_begun=0, pulses_done=0)
        return lent


class _Lent(Connection):
    def __init__(self, path: Path, counters: Counters, free: list[Connection], *, read_only: bool) -> None:
        super().__init__(path, counters, synchronous="OFF", busy_timeout_s=1, read_only=read_only)
        self._free = free

    def close(self) -> None:
        assert not self._raw.in_transaction, "a process that is gone holds no lock"
        self._free.append(self)


@cache
def _ground_of(process_id: int) -> Ground:
    return Ground()


def cleared_ground() -> Ground:
    """This process's ground, for the next world."""
    ground = _ground_of(os.getpid())
    ground.clear()
    return ground


def spoil_ground() -> None:
    """A world has broken: nobody knows what it has left behind."""
    _ground_of.cache_clear()


class SimStore(SqliteStore):
    """A store on the file of ``ground``."""

    def __init__(self, ground: Ground, host: Host, *, steal_after_us: int) -> None:
        super().__init__(str(ground.path), host, steal_after_us=steal_after_us)
        self._ground = ground
        # Nothing is open yet: a process may be killed before its first step.
        self._workers, self._watch, self._connections, self._temporary = None, None, [], None

    def posthumous(self, work: Callable[[], object]) -> None:
        """Do what the writer lane was to do when the process died."""
        self._db = self._ground.lend(self.counters, read_only=False)
        try:
            work()
        finally:
            self._db.close()

    def _prepare(self, path: Path) -> None:
        """Its tables are there."""

    def _connect(self, path: Path, counters: Counters, *, read_only: bool = False) -> Connection:
        connection = self._ground.lend(counters, read_only=read_only)
        self._connections.append(connection)
        return connection
