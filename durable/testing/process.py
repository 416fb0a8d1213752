"""A worker as if in a process of its own: own connection, own threads; it can die at any commit, and leaves no word."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

import anyio

from durable.client import Client
from durable.history.database import Database
from durable.history.host import Aside, Host, Lane, Rounds
from durable.history.store import Joiner
from durable.history.stores.sqlite import SqliteStore
from durable.history.transition import ActivityReport, Claim, Claimed, Committed, Outcome, Write
from durable.testing.mortality import Life
from durable.testing.points import Moment, Recorder
from durable.worker import Worker
from durable.worker.replay import Run

if TYPE_CHECKING:
    from sqlalchemy import Connection

T = TypeVar("T")

WORKFLOW_LANE = "durable-workflow"
THREADS_MAX = 40
THREADS_PATIENCE = 2.0


class WorkerProcess:
    """One life of a worker on the database of ``client``, from `start` to `stop`, or to its death.

    ``died`` is called when the recorder has struck; ``committed`` after each of its commits. An async activity that is
    under way when it dies stops where it is. A sync one can't be stopped in its thread: it runs to its end, as if
    the process had died right after.
    """

    def __init__(
        self,
        client: Client,
        path: Path,
        options: Mapping[str, Any],
        recorder: Recorder,
        *,
        died: Callable[[WorkerProcess], None],
        committed: Callable[[WorkerProcess], None],
    ) -> None:
        self.life = Life()
        self._died = died
        self._committed = committed
        self._client = client
        self._host = _ProcessHost(client.database.host)
        self._store = _MortalStore(str(path), self._host, self, recorder)
        self.database = Database(self._store, self._host)
        self._own_pool = None if options.get("activity_executor") else ThreadPoolExecutor(THREADS_MAX)
        self._options: dict[str, Any] = {"activity_executor": self._own_pool, **options}
        self._ready: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
        self.begun = asyncio.Event()
        """Whoever starts it has been told how that went: from then on it commits, and may die of it."""
        self._stop = asyncio.Event()
        self._main: asyncio.Task[None] | None = None

    async def start(self) -> Worker:
        """Until it takes work; raises what kept it from that."""
        self._main = self.life.begin(self._work())
        both: list[asyncio.Future[Any]] = [self._main, self._ready]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        self.begun.set()
        if not self._ready.done():
            await self._main
        return self._ready.result()

    async def stop(self) -> None:
        """A graceful end."""
        self._stop.set()
        if self._main is not None:
            await self._main

    def die(self) -> None:
        """Here and now."""
        self.life.end()
        self._died(self)

    def committed(self) -> None:
        self._committed(self)

    async def clear_away(self) -> None:
        """After its death: what the operating system does, which closes its files and so drops its locks."""
        await self._host.stop()
        await self._store.__aexit__()
        if self._own_pool is not None:
            self._own_pool.shutdown(wait=False, cancel_futures=True)
            with anyio.move_on_after(THREADS_PATIENCE):
                await asyncio.to_thread(self._own_pool.shutdown, wait=True)

    async def bury(self) -> None:
        """When the test is over: end what has stopped, with no effect on anything."""
        await self.life.bury()
        await self._host.bury()

    async def _work(self) -> None:
        await self.database.open()
        try:
            client = Client(
                self.database,
                namespace=self._client.namespace,
                data_converter=self._client.data_converter,
                identity=self._client.identity,
                failure_exception_types=self._client.failure_exception_types,
            )
            async with Worker(client, **self._options) as worker:
                self._ready.set_result(worker)
                await self._stop.wait()
        finally:
            await self.database.close()


class _MortalStore(SqliteStore):
    """The store of a process; its commits are where it may die."""

    def __init__(self, path: str, host: Host, process: WorkerProcess, recorder: Recorder) -> None:
        super().__init__(path, host, synchronous="OFF")
        self._process = process
        self._recorder = recorder
        self._joined: list[tuple[ActivityReport, Committed, Moment | None]] = []
        """What will have been committed when the next of those who wrote it says so."""

    async def claim(self, claim: Claim) -> Claimed:
        claimed = await super().claim(claim)
        for each in claimed.runs:
            self._recorder.met(each.run.run_id, each.run.workflow_id, each.run.request_id)
        return claimed

    async def commit(self, writes: Sequence[Write]) -> list[Outcome]:
        await self._process.begun.wait()
        moment = self._recorder.strikes(writes)
        if moment is Moment.BEFORE:
            await self._die()
        outcomes = await super().commit(writes)
        self._recorder.written(writes, outcomes)
        self._process.committed()
        if moment is Moment.AFTER:
            await self._die()
        return outcomes

    async def joiner(self) -> Joiner:
        """A transactional activity's outcome, in its own transaction."""
        await self._process.begun.wait()
        join = await super().joiner()
        loop = asyncio.get_running_loop()

        def joined(connection: Connection, write: Write) -> Outcome | None:
            moment = self._recorder.strikes([write])
            if moment is Moment.BEFORE:
                loop.call_soon_threadsafe(self._process.die)  # nobody goes on from here; a thread may, to no effect
            outcome = join(connection, write)
            if isinstance(write, ActivityReport) and isinstance(outcome, Committed):
                self._joined.append((write, outcome, moment))
            return outcome

        return joined

    def tell(self) -> None:
        if not self._joined:
            return
        write, outcome, moment = self._joined.pop(0)
        self._recorder.written([write], [outcome])
        self._process.committed()
        if moment is Moment.AFTER:
            self._process.die()

    async def _die(self) -> None:
        self._process.die()
        await asyncio.sleep(0)  # for ever


class _ProcessHost:
    """The host of a process: another's time and chance, and threads that end with it."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._asides: list[Aside] = []
        self._rounds: list[Rounds] = []
        self._workflows: list[_WorkflowLane] = []

    def now_us(self) -> int:
        return self._host.now_us()

    def measure_time(self) -> None:
        self._host.measure_time()

    def monotonic(self) -> float:
        return self._host.monotonic()

    def uuid7(self) -> str:
        return self._host.uuid7()

    def random(self) -> random.Random:
        return self._host.random()

    def lane(self, name: str) -> Lane:
        lane = self._host.lane(name)
        if name != WORKFLOW_LANE:
            return lane
        self._workflows.append(_WorkflowLane(lane))
        return self._workflows[-1]

    def aside(self, name: str, main: Callable[[], Coroutine[Any, Any, None]]) -> Aside:
        aside = self._host.aside(name, main)
        self._asides.append(aside)
        return aside

    def rounds(self, name: str, every_s: float, look: Callable[[], None]) -> Rounds:
        rounds = self._host.rounds(name, every_s, look)
        self._rounds.append(rounds)
        return rounds

    async def stop(self) -> None:
        for rounds in self._rounds:
            rounds.stop()
        for aside in self._asides:
            await aside.stop()

    async def bury(self) -> None:
        for lane in self._workflows:
            await lane.bury()


class _WorkflowLane:
    """A lane that steps runs, and remembers which."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._runs: WeakSet[Run] = WeakSet()

    def run(self, work: Callable[[], T], /) -> asyncio.Future[T]:
        def step() -> T:
            try:
                return work()
            finally:
                batch: Any = getattr(work, "__self__", None)  # `Stepper` hands over a bound method of its batch
                for stepped in getattr(batch, "results", ()):
                    if stepped.rebuilt is not None:
                        self._runs.add(stepped.rebuilt.run)

        return self._lane.run(step)

    def close(self) -> None:
        self._lane.close()

    async def bury(self) -> None:
        """Collected as garbage, the coroutines would end in the midst of something else."""
        with anyio.move_on_after(THREADS_PATIENCE):
            await self._lane.run(self._evict)
        self._lane.close()

    def _evict(self) -> None:
        for run in self._runs:
            run.evict()
