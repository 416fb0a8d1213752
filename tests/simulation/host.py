"""One simulated process: its threads, its clock, its chance; and how it is crashed, paused and starved."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

import msgspec

from durable.history.errors import StoreUnavailable, UnknownOutcome
from durable.history.host import uuid7_after, uuid7_text
from durable.worker.replay import Run
from tests.simulation.grammar import Ledger
from tests.simulation.scheduler import Scheduler, SimLoop

T = TypeVar("T")

STORE_LANES = ("durable-writer", "durable-renewal", "durable-reader")
COMMITTING_LANES = ("durable-writer", "durable-renewal")


class Faults(msgspec.Struct):
    """How often what goes wrong, each as a probability per piece of blocking work (a commit, a claim, a step)."""

    crash: float = 0.0
    pause: float = 0.0
    fail: float = 0.0
    """The store can't be used; nothing is written."""
    lose: float = 0.0
    """It is written, and the reply is lost."""
    slow: float = 0.0
    """The work, or its reply, takes up to ``slow_s``."""
    slow_s: float = 1.5

    def stop(self) -> None:
        self.crash = self.pause = self.fail = self.lose = self.slow = 0.0


class Overseer(Ledger, Protocol):
    """Who decides what goes wrong, and hears what happens."""

    scheduler: Scheduler
    faults: Faults
    chance: random.Random

    def crash(self, process: SimHost, where: str) -> None: ...

    def pause(self, process: SimHost, where: str) -> None: ...

    def note(self, what: str, detail: str = "") -> None:
        """Something worth telling a person has happened."""
        ...

    def worked(self, process: SimHost, lane: str) -> None:
        """Blocking work of a process on the store is done; its reply is on the way."""
        ...

    def stepped(self, run: Run) -> None:
        """A run is in the memory of a process."""
        ...

    def complain(self, process: SimHost, text: str) -> None:
        """asyncio has something to say that nobody else hears."""
        ...


class SimHost:
    """A process, and the Host that its store and worker are given. Implements `durable.history.host.Host`.

    ``steps_left``: after so many callbacks ``fate`` is called, which makes every ``await`` a place to crash at.
    """

    def __init__(self, overseer: Overseer, name: str, seed: int) -> None:
        self.name = name
        self.overseer = overseer
        self.dead = self.paused = False
        self.steps_left = -1
        self.fate: Callable[[], None] = lambda: None
        self._chance = random.Random(seed)
        self._last_id = 0
        self._loops: list[SimLoop] = []
        self.main = self.thread("main")

    def __repr__(self) -> str:
        return self.name

    def thread(self, name: str) -> SimLoop:
        loop = SimLoop(
            self.overseer.scheduler, lambda text: self.overseer.complain(self, f"{name}: {text}"), self._stepped
        )
        loop.held = self.paused
        loop.ledger = self.overseer
        self._loops.append(loop)
        return loop

    def _stepped(self) -> None:
        if self.steps_left >= 0:
            self.steps_left -= 1
            if self.steps_left < 0:
                self.fate()

    def die(self) -> None:
        self.dead = True
        for loop in self._loops:
            loop.die()

    def bury(self) -> None:
        for loop in self._loops:
            if loop.dead:
                loop.bury()

    def hold(self, paused: bool) -> None:
        self.paused = paused
        for loop in self._loops:
            loop.held = paused

    # The Host.

    def now_us(self) -> int:
        return self.overseer.scheduler.wall_us()

    def monotonic(self) -> float:
        return self.overseer.scheduler.now_us / 1e6

    def uuid7(self) -> str:
        self._last_id = uuid7_after(self._last_id, self.now_us() // 1000, self._chance.getrandbits(74))
        return uuid7_text(self._last_id)

    def random(self) -> random.Random:
        return self._chance

    def lane(self, name: str) -> SimLane:
        return SimLane(self, name)

    def aside(self, name: str, main: Callable[[], Coroutine[Any, Any, None]]) -> SimAside:
        return SimAside(self, name, main)


class SimLane:
    """A thread for blocking work. The work takes no time itself; its turn and its reply come after a while."""

    def __init__(self, host: SimHost, name: str) -> None:
        self._host = host
        self._name = name
        self._loop = host.thread(name)
        self._free_us = 0

    async def run(self, work: Callable[[], T], /) -> T:
        loop = asyncio.get_running_loop()
        reply: asyncio.Future[T] = loop.create_future()
        scheduler = self._host.overseer.scheduler
        self._free_us = max(self._free_us, scheduler.now_us) + self._delay_us()
        self._loop.call_at(self._free_us / 1e6, self._work, work, loop, reply)
        return await reply

    def close(self) -> None:
        """Nothing is left of a thread that has nothing to do."""

    def _delay_us(self) -> int:
        chance, faults = self._host.overseer.chance, self._host.overseer.faults
        if chance.random() < faults.slow:
            return int(chance.random() * faults.slow_s * 1e6)
        return int(chance.random() ** 3 * 4000)

    def _work(self, work: Callable[[], T], loop: asyncio.AbstractEventLoop, reply: asyncio.Future[T]) -> None:
        """Here is what can befall a piece of blocking work: before it, after it, and instead of it."""
        if reply.cancelled():
            return
        host, overseer = self._host, self._host.overseer
        chance, faults = overseer.chance, overseer.faults
        asked = getattr(work, "__qualname__", "")
        can_fail = self._name in STORE_LANES and "<locals>" in asked  # not what opens or closes a store
        where = f"{self._name} {asked.split('.<')[0]}"
        if chance.random() < faults.crash / 2:
            return overseer.crash(host, f"before {where}")
        if can_fail and chance.random() < faults.fail:
            overseer.note("failed store", f"{host} {where}")
            return self._deliver(loop, reply, None, StoreUnavailable("the simulated disk is full"))
        result, error = None, None
        asyncio._set_running_loop(None)  # a lane's thread has no running loop
        try:
            result = work()
        except Exception as raised:
            error = raised
        finally:
            asyncio._set_running_loop(self._loop)
        if self._name in COMMITTING_LANES:
            overseer.worked(host, where)
        for stepped in getattr(getattr(work, "__self__", None), "results", ()):  # a batch of workflow tasks
            if stepped.rebuilt is not None:
                overseer.stepped(stepped.rebuilt.run)
        if chance.random() < faults.crash / 2:
            return overseer.crash(host, f"after {where}")
        if can_fail and self._name in COMMITTING_LANES and error is None and chance.random() < faults.lose:
            overseer.note("lost reply", f"{host} {where}")
            error = UnknownOutcome("the simulated reply was lost")
        if chance.random() < faults.pause:
            overseer.pause(host, f"after {where}")
        return self._deliver(loop, reply, result, error)

    def _deliver(
        self, loop: asyncio.AbstractEventLoop, reply: asyncio.Future[Any], result: Any, error: Exception | None
    ) -> None:
        def deliver() -> None:
            if reply.done():
                return
            if error is not None:
                reply.set_exception(error)
            else:
                reply.set_result(result)

        loop.call_at((self._host.overseer.scheduler.now_us + self._delay_us()) / 1e6, deliver)


class SimAside:
    """A coroutine on a thread of its own."""

    def __init__(self, host: SimHost, name: str, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._loop = host.thread(name)
        self._task = self._loop.create_task(main())

    async def stop(self) -> None:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()

        def tell(task: asyncio.Task[None]) -> None:
            error = None if task.cancelled() else task.exception()
            if error is None:
                loop.call_soon_threadsafe(ended.set_result, None)
            else:
                loop.call_soon_threadsafe(ended.set_exception, error)

        self._loop.call_soon_threadsafe(self._task.cancel)
        self._loop.call_soon_threadsafe(self._task.add_done_callback, tell)
        await ended
