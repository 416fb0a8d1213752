"""A seeded scheduler with a virtual clock, and the asyncio event loops that it runs, all in one thread.

Every thread of every simulated process is a `SimLoop`. What is ready in one loop runs in the order in which it became
ready, as asyncio promises; which loop goes next is a matter of chance. When nothing is ready, time jumps to the next
timer.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import math
import random
import warnings
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, TypeVar, cast

T = TypeVar("T")

BEGINNING_US = 1_800_000_000 * 1_000_000
STEP_US = 5
"""What one callback costs. It makes moments distinct, and an endless loop of callbacks run into the time limit."""
THROWS_MAX = 100


class Stuck(AssertionError):
    """Nothing will happen any more, or not in time, though somebody waits."""


class Scheduler:
    """``now_us`` counts from 0; ``wall_us()`` is what the simulated machine's clock shows."""

    def __init__(self, chance: random.Random) -> None:
        self.now_us = 0
        self.steps = 0
        self._chance = chance
        self._loops: list[SimLoop] = []
        self._timers: list[tuple[int, int, asyncio.TimerHandle, SimLoop]] = []
        self._numbers = 0

    def wall_us(self) -> int:
        return BEGINNING_US + self.now_us

    def next_number(self) -> int:
        """1, 2, 3 …: the order in which timers, tasks and futures are made."""
        self._numbers += 1
        return self._numbers

    def add(self, loop: SimLoop) -> None:
        self._loops.append(loop)

    def add_timer(self, when_us: int, handle: asyncio.TimerHandle, loop: SimLoop) -> None:
        heapq.heappush(self._timers, (when_us, self.next_number(), handle, loop))

    def run(self, over: Callable[[], bool], until_us: int) -> None:
        """Run until ``over()``; raises `Stuck` when it is not by ``until_us``."""
        while not over():
            if self.now_us > until_us:
                raise Stuck(f"not over after {until_us / 1e6:g} s")
            self._fire()
            ready = [loop for loop in self._loops if loop.ready and not loop.held]
            if ready:
                self.steps += 1
                self.now_us += STEP_US
                ready[int(self._chance.random() * len(ready))].step()
            elif not self._jump():
                raise Stuck("nothing is ready, and no timer is set")
            if self.steps % 256 == 0:
                self._loops = [loop for loop in self._loops if not loop.dead]

    def _fire(self) -> None:
        while self._timers and self._timers[0][0] <= self.now_us:
            _, _, handle, loop = heapq.heappop(self._timers)
            if not handle.cancelled() and not loop.dead:
                loop.ready.append(handle)

    def _jump(self) -> bool:
        while self._timers and (self._timers[0][2].cancelled() or self._timers[0][3].dead):
            heapq.heappop(self._timers)
        if not self._timers:
            return False
        self.now_us = max(self.now_us, self._timers[0][0])
        return True


class SimFuture(asyncio.Future[T]):
    """A future whose place in a set is the same in every run of a seed."""

    def __init__(self, *, loop: SimLoop) -> None:
        super().__init__(loop=loop)
        self._number = loop.scheduler.next_number()

    def __hash__(self) -> int:
        return self._number


class SimTask(asyncio.Task[T]):
    """A task whose place in a set is the same in every run of a seed."""

    def __init__(self, coro: Coroutine[Any, Any, T], **options: Any) -> None:
        loop: SimLoop = options["loop"]
        self._number = loop.scheduler.next_number()  # first: Task.__init__ puts the task into a set
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self._number


class SimLoop(asyncio.AbstractEventLoop):
    """The event loop of one thread of one simulated process.

    ``complain`` hears what asyncio would log; ``stepped`` is called before each callback. ``held``: the process is
    paused; what becomes ready waits. ``dead``: it is gone; nothing of it runs any more, not even a ``finally``.
    ``ledger`` is whatever the code on it may want to find there.
    """

    def __init__(
        self, scheduler: Scheduler, complain: Callable[[str], None], stepped: Callable[[], None] = lambda: None
    ) -> None:
        self.scheduler = scheduler
        self.ready: deque[asyncio.Handle] = deque()
        self.held = self.dead = False
        self.ledger: Any = None
        self._complain = complain
        self._stepped = stepped
        self._tasks: list[SimTask[Any]] = []
        self._sweep_at = 16
        scheduler.add(self)

    def step(self) -> None:
        """Run the callback that has been ready for longest."""
        self._stepped()
        if self.held or self.dead:
            return
        handle = self.ready.popleft()
        if handle.cancelled():
            return
        asyncio._set_running_loop(self)
        try:
            handle._run()
        finally:
            asyncio._set_running_loop(None)

    def die(self) -> None:
        """Stop here and now. Its tasks are kept, so that no code of theirs is run to clean up."""
        self.dead = True
        self.ready.clear()

    def bury(self) -> None:
        """When the simulation is over: end the coroutines of a dead loop, with no effect on anything."""
        assert self.dead
        asyncio._set_running_loop(self)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # what never started was "never awaited"
                for task in self._tasks:  # what a ``finally`` block starts joins the list, and ends here too
                    if not task.done():
                        task._log_destroy_pending = False  # type: ignore[attr-defined]
                        self._end(task.get_coro())
                self._tasks.clear()
        finally:
            asyncio._set_running_loop(None)

    def _end(self, coroutine: Any) -> None:
        for _ in range(THROWS_MAX):
            try:
                coroutine.throw(asyncio.CancelledError())
            except BaseException:
                return

    # What asyncio asks of a loop.

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        if not self.dead:
            self.ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        if not self.dead:
            # A microsecond late rather than early; what time() showed is hit exactly.
            self.scheduler.add_timer(math.ceil(round(when * 1e6, 2)), handle, self)
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """The scheduler passes over cancelled ones."""

    def time(self) -> float:
        return self.scheduler.now_us / 1e6

    def create_future(self) -> SimFuture[Any]:
        return SimFuture(loop=self)

    def create_task(
        self, coro: Generator[Any, None, T] | Coroutine[Any, Any, T] | Awaitable[T], **options: Any
    ) -> SimTask[T]:
        task: SimTask[T] = SimTask(cast("Coroutine[Any, Any, T]", coro), loop=self, **options)
        self._tasks.append(task)
        if len(self._tasks) >= self._sweep_at and not self.dead:
            self._tasks = [kept for kept in self._tasks if not kept.done()]
            self._sweep_at = 2 * len(self._tasks) + 16
        return task

    def get_task_factory(self) -> None:
        return None

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return asyncio._get_running_loop() is self

    def is_closed(self) -> bool:
        return self.dead

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self.dead:
            self._complain(f"{context.get('message')}: {context.get('exception')!r}")

    default_exception_handler = call_exception_handler
