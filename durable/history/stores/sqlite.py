"""The store that is a SQLite file: one lane that writes, one that renews leases, one that reads.

The pure part of a commit is in `plan`, the statements are in `sql_statements`; here and in the modules beside, whose
names begin alike, is only what SQLite does its own way.
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from durable.history.host import Host, Lane
from durable.history.store import Joiner
from durable.history.stores import sqlite_claim, sqlite_commit, sqlite_joined, sqlite_reads
from durable.history.stores.sqlite_file import WAL_BYTES_MAX, Counters, explained, prepare
from durable.history.stores.sqlite_file import Connection as FileConnection
from durable.history.stores.sqlite_search import Searcher
from durable.history.stores.sqlite_wal import Wal
from durable.history.stores.sqlite_watch import Watch
from durable.history.stores.sqlite_workers import Workers
from durable.history.transition import (
    ActivityTask,
    Claim,
    Claimed,
    Outcome,
    Renewal,
    RunInfo,
    StoredMessage,
    WorkerInfo,
    Write,
)
from durable.history.visibility.attributes import AttributeType
from durable.history.visibility.search import EVERY_WORKFLOW, SEARCH_S, Group, Position, Search

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

    from durable.history.stores.sqlite_engines import Engines

T = TypeVar("T")


class SqliteStore:
    """Runs in a SQLite file; ``path`` None: in a temporary one, gone when the store is closed.

    ``synchronous`` is SQLite's own setting: by default FULL, so that what is committed outlasts a power cut, and OFF
    for a temporary file. ``anywhere`` opens a file on a network file system as well, which SQLite may damage. A list or
    a count that takes longer than ``search_s`` is stopped.
    """

    def __init__(
        self,
        path: Path | str | None,
        host: Host,
        *,
        steal_after_us: int = 10_000_000,
        busy_timeout_s: float = 10.0,
        synchronous: str | None = None,
        anywhere: bool = False,
        wal_bytes_max: int = WAL_BYTES_MAX,
        search_s: float = SEARCH_S,
    ) -> None:
        self.counters = Counters()
        """What the database was asked by the writer lane: commits, and the statements of commits and claims."""
        self._host = host
        self._steal_after_us = steal_after_us
        self._busy_timeout_s = busy_timeout_s
        self._named = None if path is None else Path(path)
        self._wal_bytes_max = wal_bytes_max
        self._search_s = search_s
        self._anywhere = anywhere or path is None
        self._synchronous = synchronous or ("OFF" if path is None else "FULL")

    # Opening and closing. -----------------------------------------------------------------------------------------

    async def __aenter__(self) -> SqliteStore:
        self._lanes: list[Lane] = [self._host.lane(f"durable-{name}") for name in ("writer", "renewal", "reader")]
        self._writing, self._renewing, self._reading = self._lanes
        self._connections: list[FileConnection] = []
        self._workers: Workers | None = None
        self._watch: Watch | None = None
        self._searcher: Searcher | None = None
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._made_engines: Engines | None = None
        self._making_engines = threading.Lock()
        try:
            await self._writing.run(self._open)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._searcher is not None:
            self._searcher.stop()
        if self._made_engines is not None:
            await self._made_engines.close()
        lanes, self._lanes = self._lanes, []
        for lane in reversed(lanes):
            await lane.run(_nothing)  # what was handed over before is done now
        if lanes:
            await lanes[0].run(self._close)
        for lane in lanes:
            lane.close()

    def _open(self) -> None:
        if self._named is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="durable-")
            path = Path(self._temporary.name) / "durable.db"
        else:
            path = self._named.absolute()
        self.path = path
        self._prepare(path)
        self._db = self._connect(path, self.counters)
        lease_db = self._connect(path, Counters())
        self._read_db = self._connect(path, Counters(), read_only=True)
        watch_db = self._connect(path, Counters(), read_only=True)
        self._wal = Wal(self._db, self._wal_bytes_max)
        self._workers = Workers(lease_db, self._host)
        self._watch = Watch(watch_db, [self._db, lease_db])

    def _prepare(self, path: Path) -> None:
        prepare(path, synchronous=self._synchronous, busy_timeout_s=self._busy_timeout_s, anywhere=self._anywhere)

    def _connect(self, path: Path, counters: Counters, *, read_only: bool = False) -> FileConnection:
        connection = FileConnection(
            path,
            counters,
            synchronous=self._synchronous,
            busy_timeout_s=self._busy_timeout_s,
            read_only=read_only,
            wal_bytes_max=self._wal_bytes_max,
        )
        self._connections.append(connection)
        return connection

    def _close(self) -> None:
        if self._workers is not None:
            self._workers.close()
        if self._watch is not None:
            self._watch.close()
        while self._connections:
            self._connections.pop().close()
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None

    def now_us(self) -> int:
        return self._host.now_us()

    def new_id(self) -> str:
        return self._host.uuid7()

    # Writing. -----------------------------------------------------------------------------------------------------

    async def commit(self, writes: Sequence[Write]) -> list[Outcome]:
        if not writes:
            return []
        return await self._writing.run(lambda: self._commit(writes))

    def _commit(self, writes: Sequence[Write]) -> list[Outcome]:
        outcomes = sqlite_commit.commit(self._db, writes, self.now_us)
        self._wal.look()
        return outcomes

    # What users write. ---------------------------------------------------------------------------------------------

    writes_in_turn = True

    async def joiner(self) -> Joiner:
        return lambda connection, write: sqlite_joined.write(connection, self.path, write, self.now_us)

    def tell_within(self, connection: Connection) -> None:
        """The pulse has moved: it is noticed."""

    def tell(self) -> None:
        """The same."""

    def engine(self) -> AsyncEngine:
        return self._engines.asynchronous()

    def sync_engine(self) -> Engine:
        return self._engines.synchronous()

    @property
    def _engines(self) -> Engines:
        with self._making_engines:  # threads may come at once
            if self._made_engines is None:
                from durable.history.stores.sqlite_engines import Engines  # most programs need none

                self._made_engines = Engines(
                    self.path,
                    self._host,
                    synchronous=self._synchronous,
                    busy_timeout_s=self._busy_timeout_s,
                    wal_bytes_max=self._wal_bytes_max,
                )
            return self._made_engines

    async def unpark(self, namespace: str, task_queues: Sequence[str], worker_id: str) -> int:
        return await self._writing.run(
            lambda: sqlite_commit.unpark(self._db, namespace, task_queues, worker_id, self.now_us)
        )

    async def claim(self, claim: Claim) -> Claimed:
        return await self._writing.run(lambda: sqlite_claim.take(self._db, claim, self.now_us, self._steal_after_us))

    # Workers. -----------------------------------------------------------------------------------------------------

    async def register(self, worker: WorkerInfo) -> None:
        await self._renewal(lambda workers: workers.register(worker))

    async def renew(self, worker: WorkerInfo) -> Renewal:
        return await self._renewal(lambda workers: workers.renew(worker))

    async def release(self, worker_id: str) -> None:
        await self._renewal(lambda workers: workers.release(worker_id))

    async def _renewal(self, work: Callable[[Workers], T]) -> T:
        workers = self._workers
        assert workers is not None, "the store is open"
        return await self._renewing.run(lambda: work(workers))

    # Reading. -----------------------------------------------------------------------------------------------------

    def changed(self) -> bool:
        assert self._watch is not None, "the store is open"
        return self._watch.changed()

    def on_change(self, hint: Callable[[], None], every_s: float) -> Callable[[], None]:
        watch, loop = self._watch, asyncio.get_running_loop()
        assert watch is not None, "the store is open"

        def look() -> None:
            self._host.measure_time()  # a client without a worker renews no lease, where it is measured too
            if watch.is_worth_asking():
                try:
                    loop.call_soon_threadsafe(hint)
                except RuntimeError:
                    rounds.stop()  # the loop is closed

        rounds = self._host.rounds("durable-watch", every_s, look)
        return rounds.stop

    async def find(self, namespace: str, workflow_id: str, run_id: str | None = None) -> RunInfo | None:
        return await self._read(lambda db: sqlite_reads.find(db, namespace, workflow_id, run_id))

    async def endings(self, run_ids: Sequence[str]) -> dict[str, bytes]:
        return await self._read(lambda db: sqlite_reads.endings(db, run_ids))

    async def list_runs(
        self, namespace: str, search: Search = EVERY_WORKFLOW, *, limit: int = 1000, after: Position | None = None
    ) -> list[RunInfo]:
        return await self._search(lambda db: sqlite_reads.list_runs(db, namespace, search, limit, after))

    async def count_runs(self, namespace: str, search: Search) -> list[Group]:
        return await self._search(lambda db: sqlite_reads.count_runs(db, namespace, search))

    async def attribute_types(self, namespace: str) -> dict[str, AttributeType]:
        return await self._read(lambda db: sqlite_reads.attribute_types(db, namespace))

    async def add_attribute_types(self, namespace: str, types: Mapping[str, AttributeType]) -> None:
        await self._writing.run(lambda: sqlite_commit.add_attribute_types(self._db, namespace, types))

    async def history(self, run_id: str, after: int = 0) -> list[bytes]:
        return await self._read(lambda db: sqlite_reads.history(db, run_id, after))

    async def inbox(self, run_id: str) -> list[StoredMessage]:
        return await self._read(lambda db: sqlite_reads.inbox(db, run_id))

    async def tasks(self, run_id: str) -> list[ActivityTask]:
        return await self._read(lambda db: sqlite_reads.tasks(db, run_id))

    async def replies(self, ids: Sequence[str]) -> dict[str, bytes]:
        return await self._read(lambda db: sqlite_reads.replies(db, ids))

    async def _search(self, work: Callable[[FileConnection], T]) -> T:
        """On a lane of its own, which the first one opens: other reads don't wait for what may take long."""
        if self._searcher is None:
            lane = self._host.lane("durable-search")
            self._lanes.append(lane)
            self._searcher = Searcher(self._host, lane, lambda: self._connect(self.path, Counters(), read_only=True))
        return await self._searcher.run(work, self._search_s)

    async def _read(self, work: Callable[[FileConnection], T]) -> T:
        def explaining() -> T:
            with explained(self._read_db.path):
                return work(self._read_db)

        return await self._reading.run(explaining)


def _nothing() -> None:
    """What a lane does after all that was handed over before."""
