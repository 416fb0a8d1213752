"""Starts workflows and signals them all the while, and kills, stops and restarts what they run on."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar

from durable import Client
from durable.client import WorkflowFailureError
from durable.history.errors import HistoryError
from durable.service import RPCError, RPCStatusCode
from tests.chaos.flows import Trip
from tests.chaos.places import Place, Rows
from tests.chaos.processes import spawn

T = TypeVar("T")

PAUSE = 0.1
LOOK_EVERY = 0.02
CUTS = 8
CUT = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
# Of runs whose first workflow task is done: after that a take-over shows in the history.
BUSIEST = (
    "SELECT pid, worker_id FROM durable_workers JOIN durable_runs ON owner = worker_id "
    "WHERE dead_us IS NULL AND closed_us IS NULL AND last_event_id > 4 "
    "GROUP BY pid, worker_id ORDER BY count(run_id) DESC"
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much of what. The workflows come in waves, one for each fault, which meets half of them under way.

    ``open_max`` workflows are open at a time; when none finishes for ``patience`` seconds, it is over.
    """

    workflows: int
    kills: int
    stops: int
    restarts: int = 0
    cuts: int = 0
    workers: int = 4
    open_max: int = 40
    patience: float = 45.0
    seed: int = 0

    def wave(self, number: int) -> int:
        """The wave of a workflow, which is the number of the fault that it meets."""
        return number * len(self.faults()) // self.workflows

    def faults(self) -> list[str]:
        faults = ["kill"] * self.kills + ["stop"] * self.stops + ["restart"] * self.restarts
        faults += ["cut"] * self.cuts
        random.Random(self.seed).shuffle(faults)
        return faults


@dataclass
class Course:
    """What has happened. ``happened`` counts; ``problems`` is what no worker may do, whatever happens to it."""

    results: dict[int, Any] = field(default_factory=dict[int, Any])
    happened: Counter[str] = field(default_factory=Counter[str])
    problems: list[str] = field(default_factory=list[str])
    seconds: float = 0.0


class Director:
    """Runs one plan at one place; logs and the activities' ledger are in ``folder``."""

    def __init__(self, plan: Plan, place: Place, folder: Path, tell: Callable[[str], None]) -> None:
        self._plan = plan
        self._place = place
        self._folder = folder
        self._tell = tell
        self._chance = random.Random(plan.seed)
        self._course = Course()
        self._begun = [asyncio.Event() for _ in plan.faults()]
        """Of each wave, whether it may begin."""
        self._started = Counter[int]()
        self._moved = asyncio.Condition()
        self._processes: list[BaseProcess] = []

    async def run(self) -> Course:
        """The course that it took, once all workflows are finished and all faults are done, or none finishes more."""
        began = time.monotonic()
        try:
            async with await Client.connect(self._place.address) as client:
                self._processes = [self._spawn() for _ in range(self._plan.workers)]
                await asyncio.gather(*(self._registered(process) for process in self._processes))
                slots = asyncio.Semaphore(self._plan.open_max)
                trips = [asyncio.ensure_future(self._trip(client, n, slots)) for n in range(self._plan.workflows)]
                faults = asyncio.ensure_future(self._faults())
                try:
                    await self._all(faults, *trips)
                finally:
                    for each in (faults, *trips):
                        each.cancel()
                    await asyncio.gather(faults, *trips, return_exceptions=True)
        finally:
            for process in self._processes:
                process.kill()
                process.join()
        self._course.seconds = time.monotonic() - began
        return self._course

    async def _all(self, *work: asyncio.Future[None]) -> None:
        together = asyncio.gather(*work)
        while not together.done():
            before = len(self._course.results)
            await asyncio.wait([together], timeout=self._plan.patience)
            if not together.done() and len(self._course.results) == before:
                together.cancel()
                self._course.problems.append(
                    f"stuck: {before} workflows of {self._plan.workflows} are finished, and none more for "
                    f"{self._plan.patience:g} s"
                )
        with suppress(asyncio.CancelledError):
            await together

    # The client. ------------------------------------------------------------------------------------------------------

    async def _trip(self, client: Client, number: int, slots: asyncio.Semaphore) -> None:
        """Start it, signal it, and wait for it; of every fifth both requests are sent twice."""
        wave = self._plan.wave(number)
        await self._begun[wave].wait()
        async with slots:

            async def start() -> Any:
                return await client.start_workflow(Trip.run, number, id=f"trip-{number}", request_id=f"start-{number}")

            handle = await self._insist(start)
            async with self._moved:
                self._started[wave] += 1
                self._moved.notify_all()
            await asyncio.sleep(self._chance.uniform(0, 0.5))
            await self._signal(handle, number)
            if number % 5 == 0:
                again = await self._insist(start)
                if again.result_run_id != handle.result_run_id:
                    self._course.problems.append(f"trip-{number}: one request started two runs")
                await self._signal(handle, number)
            try:
                self._course.results[number] = await self._insist(handle.result)
            except WorkflowFailureError as error:
                self._course.results[number] = repr(error.cause)

    async def _signal(self, handle: Any, number: int) -> None:
        async def send() -> None:
            await handle.signal(Trip.hear, number, request_id=f"signal-{number}")

        try:
            await self._insist(send)
        except RPCError as error:
            # It was sent before, and the workflow has gone on with it to its end; the audit looks whether it did.
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise

    async def _insist(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask again whatever the database could not answer; request ids make that safe."""
        while True:
            try:
                return await ask()
            except HistoryError:
                self._course.happened["requests sent again"] += 1
                await asyncio.sleep(PAUSE)

    # The faults. ------------------------------------------------------------------------------------------------------

    async def _faults(self) -> None:
        sizes = Counter(self._plan.wave(number) for number in range(self._plan.workflows))
        for number, fault in enumerate(self._plan.faults()):
            self._begun[number].set()
            async with self._moved:
                await self._moved.wait_for(lambda wave=number: self._started[wave] >= sizes[wave] / 2)
            finished = len(self._course.results)
            self._tell(f"{self._started.total() - finished} workflows under way, {finished} finished: {fault}")
            match fault:
                case "kill":
                    await self._kill()
                case "stop":
                    await self._stop()
                case "restart":
                    await self._restart()
                case _:
                    await self._cut()
            self._course.happened[fault] += 1
            self._look_for_ended()

    async def _kill(self) -> None:
        victim, _ = await self._busiest()
        victim.kill()
        await asyncio.to_thread(victim.join)
        self._processes.remove(victim)
        self._processes.append(successor := self._spawn())
        await self._registered(successor)

    async def _stop(self) -> None:
        """Beyond its lease: until the others have declared it dead. It goes on then, and begins anew."""
        victim, worker_id = await self._busiest()
        pid = victim.pid
        assert pid is not None
        await asyncio.to_thread(self._place.freeze, pid)
        try:
            await self._asked(f"SELECT 1 FROM durable_workers WHERE worker_id = '{worker_id}' AND dead_us IS NOT NULL")
        finally:
            os.kill(pid, signal.SIGCONT)

    async def _busiest(self) -> tuple[BaseProcess, str]:
        """The process that has most to lose, as soon as one has anything, and the worker id of its present life."""
        by_pid = {process.pid: process for process in self._processes}
        while True:
            for pid, worker_id in await self._asked(BUSIEST):
                if pid in by_pid:
                    return by_pid[pid], worker_id
            await asyncio.sleep(LOOK_EVERY)  # who was killed is not declared dead yet

    async def _restart(self) -> None:
        restart = self._place.restart
        assert restart is not None, "there is nothing to restart"
        await asyncio.to_thread(restart)

    async def _cut(self) -> None:
        """All connections to the database break, and break again: some in the middle of a commit."""
        for _ in range(CUTS):
            with suppress(Exception):  # the one that asks for it may break too
                await self._place.ask(CUT)
            await asyncio.sleep(self._chance.uniform(0, PAUSE))

    def _spawn(self) -> BaseProcess:
        return spawn(self._place.address, self._folder)

    async def _registered(self, process: BaseProcess) -> None:
        await self._asked(f"SELECT 1 FROM durable_workers WHERE pid = {process.pid} AND dead_us IS NULL")

    async def _asked(self, question: str) -> Rows:
        """Rows, as soon as there are some."""
        while True:
            with suppress(Exception):  # the database is being restarted
                if rows := await self._place.ask(question):
                    return rows
            await asyncio.sleep(LOOK_EVERY)

    def _look_for_ended(self) -> None:
        for process in self._processes:
            if process.exitcode is not None:
                self._course.problems.append(f"worker process {process.pid} ended by itself: see workers.log")
        self._processes = [process for process in self._processes if process.exitcode is None]
