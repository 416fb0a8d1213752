"""The store that is a PostgreSQL database: one connection for commits and claims, others for what must not wait for it.

The pure part of a commit is in `plan`, the statements are in `sql_statements`; here and in the modules beside, whose
names begin alike, is only what PostgreSQL does its own way.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

from durable.history.errors import SearchTooSlow, StoreUnavailable
from durable.history.host import Host
from durable.history.store import Joiner
from durable.history.stores import plan, postgres_claim, postgres_commit, postgres_joined, postgres_reads
from durable.history.stores.horizon import Horizon
from durable.history.stores.postgres_address import address
from durable.history.stores.postgres_clock import Clock
from durable.history.stores.postgres_commit import Tried
from durable.history.stores.postgres_connection import PLANNED_ONCE, Connection
from durable.history.stores.postgres_renewal import Elsewhere
from durable.history.stores.postgres_retry import persist
from durable.history.stores.postgres_schema import prepare
from durable.history.stores.postgres_search import stopped_after
from durable.history.stores.postgres_watch import TELL, Watch
from durable.history.stores.postgres_workers import Workers
from durable.history.transition import (
    ActivityReport,
    ActivityTask,
    Claim,
    Claimed,
    NewRun,
    Outcome,
    Renewal,
    RunInfo,
    Send,
    StoredMessage,
    Transition,
    WorkerInfo,
    Write,
)
from durable.history.visibility.attributes import AttributeType
from durable.history.visibility.search import EVERY_WORKFLOW, SEARCH_S, Group, Position, Search

if TYPE_CHECKING:
    from sqlalchemy import Connection as SomeConnection
    from sqlalchemy import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

    from durable.history.stores.postgres_engines import Engines

T = TypeVar("T")

logger = logging.getLogger("durable.store")

READERS = 4
SEARCHERS = 2
"""So many of them search at once: what may take long keeps no other read waiting."""
HEAVY = 0.25
"""Seconds that looking for work may take before somebody is told."""
ALONE_FIRST = 0.005
ALONE_MAX = 0.25


class PostgresStore:
    """Runs in the PostgreSQL database that ``url`` names.

    What a stranger's open transaction holds up is tried for ``patience_s``, while everything else goes on. A list or a
    count that takes longer than ``search_s`` is stopped.
    """

    def __init__(
        self,
        url: str,
        host: Host,
        *,
        steal_after_us: int = 10_000_000,
        patience_s: float = 5.0,
        search_s: float = SEARCH_S,
    ) -> None:
        self.address = address(url)
        if not self.address.is_primary:
            raise StoreUnavailable(
                f"target_session_attrs={self.address.aims} may lead to a standby, which can't be written, and is "
                "behind: leave it out; of several hosts the primary is taken"
            )
        self._host = host
        self._steal_after_us = steal_after_us
        self._patience_s = patience_s
        self._search_s = search_s

    # Opening and closing. -----------------------------------------------------------------------------------------

    async def __aenter__(self) -> PostgresStore:
        self._clock = Clock(self._host)
        self._horizon = Horizon(self._host.monotonic)
        self._said_slow = False
        self._db = Connection(self.address, settings=PLANNED_ONCE)
        self.counters = self._db.counters
        """What the connection for commits and claims was asked."""
        self._side = Connection(self.address, settings=PLANNED_ONCE)
        self._readers = [Connection(self.address) for _ in range(READERS)]
        self._idle_readers: asyncio.LifoQueue[Connection] = asyncio.LifoQueue()
        for reader in self._readers:
            self._idle_readers.put_nowait(reader)
        self._is_closed = False
        self._made_engines: Engines | None = None
        self._making_engines = threading.Lock()
        self._searching = asyncio.Semaphore(SEARCHERS)
        self.watch = Watch(self.address, self._host)
        self._workers = Workers(self.address, self._host, self._clock, self._tell_of_death)
        self._renewing: Elsewhere | None = None
        self._waiting: set[asyncio.Task[Outcome]] = set()
        self._loop = asyncio.get_running_loop()
        try:
            await prepare(self._db)
            async with self._db.held():
                await self._clock.measure(self._db)
            await self.watch.open()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._is_closed = True
        if self._waiting:
            await asyncio.wait(self._waiting)
        await self.watch.close()
        if self._renewing is not None:
            await self._renewing.stop()
        if self._made_engines is not None:
            await self._made_engines.close()
        for connection in (self._db, self._side, *self._readers):
            await connection.close()

    def now_us(self) -> int:
        return self._host.now_us()

    def new_id(self) -> str:
        return self._host.uuid7()

    # Writing. -----------------------------------------------------------------------------------------------------

    async def commit(self, writes: Sequence[Write]) -> list[Outcome | asyncio.Future[Outcome]]:
        if not writes:
            return []
        tried = await self._try(self._db, writes)
        return [
            self._alone(write) if outcome is None else outcome for write, outcome in zip(writes, tried, strict=True)
        ]

    async def _try(self, db: Connection, writes: Sequence[Write]) -> list[Tried]:
        async def once() -> list[Tried]:
            async with db.held():
                await self._clock.keep(db)
                return await postgres_commit.commit(db, writes, self.now_us)

        outcomes = await persist(once, self._host.random(), self.address)
        if any(
            outcome and plan.concerns_others(write, outcome) for write, outcome in zip(writes, outcomes, strict=True)
        ):
            self.watch.tell()
        return outcomes

    def _alone(self, write: Write) -> asyncio.Future[Outcome]:
        """What somebody else holds up goes on by itself."""
        task = asyncio.create_task(self._try_alone(write), name="durable-held-up")
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)
        return task

    async def _try_alone(self, write: Write) -> Outcome:
        pause, until = ALONE_FIRST, self._loop.time() + self._patience_s
        while self._loop.time() < until:
            await asyncio.sleep(pause)
            pause = min(2 * pause, ALONE_MAX)
            outcome = (await self._try(self._side, [write]))[0]
            if outcome is not None:
                return outcome
        raise StoreUnavailable(
            f"another transaction on the {self.address.name} has locked what this writes for {self._patience_s:g} s: "
            f"{_what(write)}; nothing is written; end that transaction (pg_locks, pg_stat_activity)"
        )

    # What users write. ---------------------------------------------------------------------------------------------

    writes_in_turn = False

    async def joiner(self) -> Joiner:
        identity = (await self._read(lambda db: db.read(postgres_joined.IDENTITY)))[0]
        return lambda connection, write: postgres_joined.write(connection, identity, write, self.now_us)

    def tell_within(self, connection: SomeConnection) -> None:
        connection.exec_driver_sql(TELL)

    def tell(self) -> None:
        self.watch.tell()

    def engine(self) -> AsyncEngine:
        return self._engines.asynchronous()

    def sync_engine(self) -> Engine:
        return self._engines.synchronous()

    @property
    def _engines(self) -> Engines:
        with self._making_engines:  # threads may come at once
            if self._made_engines is None:
                from durable.history.stores.postgres_engines import Engines  # most programs need none

                self._made_engines = Engines(self.address)
            return self._made_engines

    async def unpark(self, namespace: str, task_queues: Sequence[str], worker_id: str) -> int:
        count = await persist(
            lambda: postgres_commit.unpark(self._db, namespace, task_queues, worker_id, self.now_us),
            *(self._host.random(), self.address),
        )
        if count:
            self.watch.tell()
        return count

    async def claim(self, claim: Claim) -> Claimed:
        async def once() -> Claimed:
            async with self._db.held():
                return await postgres_claim.take(self._db, claim, self.now_us, self._steal_after_us, self._horizon)

        claimed = await persist(once, self._host.random(), self.address)
        self._tell_of_slow_looks()
        return claimed

    def _tell_of_slow_looks(self) -> None:
        slow = self._horizon.took > HEAVY
        if slow and not self._said_slow:
            logger.warning(
                "looking for work in the %s takes %.1f s: it passes much that was deleted and can't be cleared away "
                "as long as some transaction stays open; `durable doctor` names that",
                *(self.address.name, self._horizon.took),
            )
        self._said_slow = slow

    # Workers. -----------------------------------------------------------------------------------------------------

    async def register(self, worker: WorkerInfo) -> None:
        await self._renewal(lambda: self._workers.register(worker))

    async def renew(self, worker: WorkerInfo) -> Renewal:
        renewal = await self._renewal(lambda: self._workers.renew(worker))
        if renewal.died:
            self._loop.call_soon_threadsafe(self.watch.tell)
        return renewal

    def _tell_of_death(self) -> None:
        """Between two renewals: what the dead held is free, for this process too. Called on the loop that renews."""
        self._loop.call_soon_threadsafe(self.watch.notice)
        self._loop.call_soon_threadsafe(self.watch.tell)

    async def release(self, worker_id: str) -> None:
        await self._renewal(lambda: self._workers.release(worker_id))
        self.watch.tell()

    async def _renewal(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        if self._renewing is None:
            self._renewing = Elsewhere(self._host, "durable-renewal", self._workers.close)
        return await self._renewing.run(work)

    # Reading. -----------------------------------------------------------------------------------------------------

    def changed(self) -> bool:
        return self.watch.changed()

    def on_change(self, hint: Callable[[], None], every_s: float) -> Callable[[], None]:
        return self.watch.begin(hint, every_s)

    async def find(self, namespace: str, workflow_id: str, run_id: str | None = None) -> RunInfo | None:
        return await self._read(lambda db: postgres_reads.find(db, namespace, workflow_id, run_id))

    async def endings(self, run_ids: Sequence[str]) -> dict[str, bytes]:
        return await self._read(lambda db: postgres_reads.endings(db, run_ids))

    async def list_runs(
        self, namespace: str, search: Search = EVERY_WORKFLOW, *, limit: int = 1000, after: Position | None = None
    ) -> list[RunInfo]:
        return await self._search(lambda db: postgres_reads.list_runs(db, namespace, search, limit, after))

    async def count_runs(self, namespace: str, search: Search) -> list[Group]:
        return await self._search(lambda db: postgres_reads.count_runs(db, namespace, search))

    async def attribute_types(self, namespace: str) -> dict[str, AttributeType]:
        return await self._read(lambda db: postgres_reads.attribute_types(db, namespace))

    async def add_attribute_types(self, namespace: str, types: Mapping[str, AttributeType]) -> None:
        await persist(
            lambda: postgres_commit.add_attribute_types(self._side, namespace, types),
            *(self._host.random(), self.address),
        )

    async def history(self, run_id: str, after: int = 0) -> list[bytes]:
        return await self._read(lambda db: postgres_reads.history(db, run_id, after))

    async def inbox(self, run_id: str) -> list[StoredMessage]:
        return await self._read(lambda db: postgres_reads.inbox(db, run_id))

    async def tasks(self, run_id: str) -> list[ActivityTask]:
        return await self._read(lambda db: postgres_reads.tasks(db, run_id))

    async def replies(self, ids: Sequence[str]) -> dict[str, bytes]:
        return await self._read(lambda db: postgres_reads.replies(db, ids))

    async def _search(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        async def limited(db: Connection) -> T:
            async with stopped_after(db, self._search_s):
                return await work(db)

        async with self._searching:
            if self._is_closed:
                raise StoreUnavailable("the database was closed before it was searched")
            try:
                return await self._read(limited, reading=False)
            except SearchTooSlow as error:
                if not self._is_closed:
                    raise
                # That, and not its time, has stopped it.
                raise StoreUnavailable("the database was closed while it was searched") from error

    async def _read(self, work: Callable[[Connection], Awaitable[T]], *, reading: bool = True) -> T:
        """On the reader that was used last: the others are there for the time when it is not idle."""
        db = await self._idle_readers.get()

        async def once() -> T:
            async with db.held(), db.reading() if reading else nullcontext():
                return await work(db)

        try:
            return await persist(once, self._host.random(), self.address)
        finally:
            self._idle_readers.put_nowait(db)


def _what(write: Write) -> str:
    match write:
        case Transition(start=NewRun(workflow_id=workflow_id)):
            return f"a start of workflow {workflow_id!r}"
        case Transition():
            return f"a step of run {write.run_id}"
        case Send():
            return f"a message for {f'run {write.run_id}' if write.run_id else f'workflow {write.workflow_id!r}'}"
        case ActivityReport():
            return f"a report on activity {write.token.scheduled_event_id} of run {write.token.run_id}"
