"""One simulated process: its threads, its clock, its chance; and how it is crashed, paused and starved."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec

from durable.history.errors import HistoryError, StoreUnavailable, UnknownOutcome
from durable.history.host import uuid7_after, uuid7_text
from durable.worker.replay import Run
from durable.worker.step import Stepped
from tests.simulation.clock import Clock
from tests.simulation.grammar import Ledger
from tests.simulation.scheduler import Scheduler, SimLoop

T = TypeVar("T")

STORE_LANES = ("durable-writer", "durable-renewal", "durable-reader")
COMMITTING_LANES = ("durable-writer", "durable-renewal")
WRITER_LANE = "durable-writer"
SLOW_S = 4.0
"""Longer than a run waits before it is stolen: a slow worker loses runs too."""
LATE_S = 5.0
ORPHANS = 10
"""By so much more of what a process had sent off when it died is late."""


class Faults(msgspec.Struct, frozen=True):
    """How often what goes wrong, each as a probability per piece of blocking work (a commit, a claim, a step)."""

    crash: float = 0.0
    pause: float = 0.0
    fail: float = 0.0
    """The store can't be used; nothing is written."""
    lose: float = 0.0
    """The request is lost, and nothing is written; or it is written, and the reply is lost. Nobody knows which."""
    slow: float = 0.0
    """The work, or its reply, takes up to `SLOW_S`."""
    clock: float = 0.0
    """Somebody sets the machine's clock, by up to an hour, forth or back."""
    duplicate: float = 0.0
    """It arrives once more, at once or within `LATE_S`; of two replies that are there at once, either may be read."""
    late: float = 0.0
    """It is up to `LATE_S` on its way to the database; or it arrives only after its process has died."""


class Overseer(Ledger, Protocol):
    """Who decides what goes wrong, and hears what happens."""

    scheduler: Scheduler
    clock: Clock
    network: SimLoop
    """What is under way to the database, and belongs to no process any more."""
    chance: random.Random

    def strikes(self, kind: str, share: float = 1.0) -> bool:
        """Does a fault happen now? ``kind`` is a field of `Faults`; ``share`` of its probability belongs here."""
        ...

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
        self._ahead_us = overseer.clock.ahead_us
        self._chance = random.Random(seed)
        self._last_id = 0
        self._loops: list[SimLoop] = []
        self._lanes: list[SimLane] = []
        self.main = self.thread("main")

    def __repr__(self) -> str:
        return self.name

    def thread(self, name: str) -> SimLoop:
        loop = SimLoop(  # type: ignore[abstract]
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

    def posthumous(self, work: Callable[[], object]) -> None:
        """Do work of the process though it has died."""
        work()

    def die(self) -> None:
        self.dead = True
        for lane in self._lanes:
            lane.orphan()
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
        return self.overseer.clock.show(self._ahead_us)

    def measure_time(self) -> None:
        self._ahead_us = self.overseer.clock.ahead_us

    @property
    def has_right_time(self) -> bool:
        """Does it know what the machine's clock shows?"""
        return self._ahead_us == self.overseer.clock.ahead_us

    def monotonic(self) -> float:
        return self.overseer.scheduler.now_us / 1e6

    def uuid7(self) -> str:
        self._last_id = uuid7_after(self._last_id, self.now_us() // 1000, self._chance.getrandbits(74))
        return uuid7_text(self._last_id)

    def random(self) -> random.Random:
        return self._chance

    def lane(self, name: str) -> SimLane:
        lane = SimLane(self, name)
        self._lanes.append(lane)
        return lane

    def aside(self, name: str, main: Callable[[], Coroutine[Any, Any, None]]) -> SimAside:
        return SimAside(self, name, main)

    def rounds(self, name: str, every_s: float, look: Callable[[], None]) -> SimRounds:
        return SimRounds(self.thread(name), every_s, look)


class Item(NamedTuple):
    """Blocking work that was handed over; ``is_of_store``: it uses the store, and does not only open or close it."""

    work: Callable[[], Any]
    is_of_store: bool
    where: str
    loop: asyncio.AbstractEventLoop
    reply: asyncio.Future[Any]


class SimLane:
    """A thread for blocking work. The work takes no time itself; its turn and its reply come after a while."""

    def __init__(self, host: SimHost, name: str) -> None:
        self._host = host
        self._name = name
        self._loop = host.thread(name)
        self._free_us = 0
        self._items: deque[Item] = deque()

    async def run(self, work: Callable[[], T], /) -> T:
        overseer, loop = self._host.overseer, asyncio.get_running_loop()
        reply: asyncio.Future[T] = loop.create_future()
        name: str = getattr(work, "__qualname__", "")
        item = Item(work, "<locals>" in name, f"{self._name} {name.partition('.<')[0]}", loop, reply)
        self._items.append(item)
        self._free_us = max(self._free_us, overseer.scheduler.now_us) + self._delay_us()
        if self._name == WRITER_LANE and item.is_of_store and overseer.strikes("late"):
            self._free_us += int(overseer.chance.random() * LATE_S * 1e6)
            overseer.network.call_at(self._free_us / 1e6, self._arrive)
        else:
            self._loop.call_at(self._free_us / 1e6, self._turn)
        return await reply

    def close(self) -> None:
        """Nothing is left of a thread that has nothing to do."""

    def _delay_us(self) -> int:
        overseer = self._host.overseer
        if overseer.strikes("slow"):
            return int(overseer.chance.random() * SLOW_S * 1e6)
        return int(overseer.chance.random() ** 3 * 4000)

    def orphan(self) -> None:
        """The process has died. What it had sent off is gone; or it is still under way."""
        overseer = self._host.overseer
        for item in self._items:
            if self._name == WRITER_LANE and item.is_of_store and overseer.strikes("late", ORPHANS):
                overseer.network.call_later(overseer.chance.random() * LATE_S, self._bequeathed, item)
        self._items.clear()

    def _bequeathed(self, item: Item) -> None:
        self._host.overseer.note("posthumous work", f"of {self._host}: {item.where}")
        self._deliver_again(item)

    def _arrive(self) -> None:
        """What was long under way is there."""
        if not self._host.dead:
            self._turn()

    def _turn(self) -> None:
        """The next one, in order. Here is what can befall a piece of work: before it, after it, and instead of it."""
        item = self._items.popleft()
        work, is_of_store, where, loop, reply = item
        host, overseer = self._host, self._host.overseer
        can_fail = is_of_store and self._name in STORE_LANES
        if overseer.strikes("crash", 0.5):
            self._items.appendleft(item)
            return overseer.crash(host, f"before {where}")
        if overseer.strikes("clock"):
            overseer.clock.jump(overseer.chance)
            overseer.note("clock set", f"{overseer.clock.ahead_us / 1e6:+.3f} s")
        if can_fail and overseer.strikes("fail"):
            overseer.note("failed store", f"{host} {where}")
            return self._deliver(loop, reply, None, StoreUnavailable("the simulated disk is full"))
        can_lose = can_fail and self._name in COMMITTING_LANES
        if can_lose and overseer.strikes("pause", 0.5):
            # A commit that was about to be made when the process was stopped, and is made when it goes on.
            overseer.pause(host, f"before {where}")
            self._items.appendleft(item)
            self._loop.call_soon(self._turn)
            return None
        if can_lose and overseer.strikes("lose", 0.5):
            overseer.note("lost request", f"{host} {where}")
            return self._deliver(loop, reply, None, UnknownOutcome("the simulated request was lost"))
        result, error = self._do(work, where)
        for stepped in getattr(getattr(work, "__self__", None), "results", ()):  # a batch of workflow tasks
            if isinstance(stepped, Stepped) and stepped.rebuilt is not None:
                overseer.stepped(stepped.rebuilt.run)
        if can_fail and self._name == WRITER_LANE and error is None and overseer.strikes("duplicate"):
            result = self._duplicate(item, result)
        if overseer.strikes("crash", 0.5):
            return overseer.crash(host, f"after {where}")
        if can_lose and error is None and overseer.strikes("lose", 0.5):
            overseer.note("lost reply", f"{host} {where}")
            error = UnknownOutcome("the simulated reply was lost")
        if overseer.strikes("pause", 0.5):
            overseer.pause(host, f"after {where}")
        return self._deliver(loop, reply, result, error)

    def _do(self, work: Callable[[], Any], where: str) -> tuple[Any, Exception | None]:
        """Its result, or its error."""
        loop = asyncio.get_running_loop()
        asyncio._set_running_loop(None)  # a lane's thread has no running loop
        try:
            return work(), None
        except Exception as error:
            return None, error
        finally:
            asyncio._set_running_loop(loop)
            if self._name in COMMITTING_LANES:
                self._host.overseer.worked(self._host, where)

    def _duplicate(self, item: Item, result: Any) -> Any:
        """Something on the way to the database has sent the work twice; the reply that its process reads."""
        overseer = self._host.overseer
        if overseer.chance.random() < 0.5:
            overseer.network.call_later(overseer.chance.random() * LATE_S, self._deliver_again, item)
            return result
        second, error = self._do(item.work, item.where)
        return second if error is None and overseer.chance.random() < 0.5 else result

    def _deliver_again(self, item: Item) -> None:
        """Nobody waits for the reply."""
        host, work = self._host, item.work
        _, error = self._do((lambda: host.posthumous(work)) if host.dead else work, item.where)
        if error is not None and not isinstance(error, HistoryError):
            host.overseer.complain(host, f"what was delivered late failed: {error!r}")

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


class SimRounds:
    """Something that is done again and again, on a thread of its own."""

    def __init__(self, loop: SimLoop, every_s: float, look: Callable[[], None]) -> None:
        self._loop, self._every_s, self._look = loop, every_s, look
        self._next = loop.call_later(every_s, self._walk)

    def stop(self) -> None:
        self._next.cancel()

    def _walk(self) -> None:
        self._next = self._loop.call_later(self._every_s, self._walk)
        self._look()


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
