"""A seeded scheduler with a virtual clock, and the asyncio event loops that it runs, all in one thread.

Every thread of every simulated process is a `SimLoop`. What is ready in one loop runs in the order in which it became
ready, as asyncio promises; which loop goes next is a matter of chance. When nothing is ready, time jumps to the next
timer.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import inspect
import math
import random
import warnings
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import suppress
from typing import Any, TypeVar, cast

from anyio._backends._asyncio import _task_states

T = TypeVar("T")

STEP_US = 5
"""What one callback costs. It makes moments distinct, and an endless loop of callbacks run into the time limit."""
STEPS_BETWEEN_LOOKS = 32
THROWS_MAX = 100


class Stuck(AssertionError):
    """Nothing will happen any more, or not in time, though somebody waits."""


class Scheduler:
    """``now_us`` counts from 0, and never back."""

    def __init__(self, chance: random.Random) -> None:
        self.now_us = 0
        self.steps = 0
        self._chance = chance
        self._ready: list[SimLoop] = []
        self._timers: list[tuple[int, int, SimHandle, SimLoop]] = []
        self._numbers = 0

    def next_number(self) -> int:
        """1, 2, 3 …: the order in which timers are set, and tasks and futures are first put into a set."""
        self._numbers += 1
        return self._numbers

    def add_ready(self, loop: SimLoop) -> None:
        """Something of this loop can run."""
        self._ready.append(loop)

    def add_timer(self, when_us: int, handle: SimHandle, loop: SimLoop) -> None:
        heapq.heappush(self._timers, (when_us, self.next_number(), handle, loop))

    def run(self, over: Callable[[], bool], until_us: int) -> None:
        """Run until ``over()``; raises `Stuck` when it is not by ``until_us``.

        ``over`` is asked whenever nothing is ready at the moment, and every `STEPS_BETWEEN_LOOKS` steps.
        """
        ready, timers, draw = self._ready, self._timers, self._chance.random
        while not over():
            if self.now_us > until_us:
                raise Stuck(f"not over after {until_us / 1e6:g} s")
            if not ready and not self._jump():
                raise Stuck("nothing is ready, and no timer is set")
            for _ in range(STEPS_BETWEEN_LOOKS):
                while timers and timers[0][0] <= self.now_us:
                    _, _, handle, loop = heapq.heappop(timers)
                    if not handle.is_cancelled:
                        loop.add(handle)
                if not ready:
                    break
                self.steps += 1
                self.now_us += STEP_US
                place = int(draw() * len(ready))
                if not ready[place].step():
                    # The last one takes the place of the one that has nothing to do.
                    ready[place] = ready[-1]
                    ready.pop()

    def _jump(self) -> bool:
        """On to the next timer."""
        timers = self._timers
        while timers and (timers[0][2].is_cancelled or timers[0][3].dead):
            heapq.heappop(timers)
        if not timers:
            return False
        self.now_us = max(self.now_us, timers[0][0])
        return True


class SimHandle:
    """A callback that is to be run; what asyncio calls a Handle, and a TimerHandle, in its leanest form."""

    __slots__ = ("_when", "args", "callback", "context", "is_cancelled")

    def __init__(
        self, callback: Callable[..., object], args: tuple[Any, ...], context: contextvars.Context | None, when: float
    ) -> None:
        self.callback = callback
        self.args = args
        self.context = contextvars.copy_context() if context is None else context
        self._when = when
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True

    def cancelled(self) -> bool:
        return self.is_cancelled

    def when(self) -> float:
        return self._when


class SimFuture(asyncio.Future[T]):
    """A future whose place in a set is the same in every run of a seed."""

    _number = 0

    def __hash__(self) -> int:
        self._number = self._number or _loop_of(self).scheduler.next_number()
        return self._number


class SimTask(asyncio.Task[T]):
    """A task whose place in a set is the same in every run of a seed."""

    _number = 0

    def __hash__(self) -> int:
        self._number = self._number or _loop_of(self).scheduler.next_number()
        return self._number


def _loop_of(future: asyncio.Future[Any]) -> SimLoop:
    return cast("SimLoop", future.get_loop())


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
        self.dead = False
        self.ledger: Any = None
        self._ready: deque[SimHandle] = deque()
        self._held = False
        self._is_listed = False
        self._complain = complain
        self._stepped = stepped
        self._tasks: list[SimTask[Any]] = []
        self._sweep_at = 16

    def add(self, handle: SimHandle) -> None:
        """The callback can run."""
        if self.dead:
            return
        self._ready.append(handle)
        if not self._is_listed and not self._held:
            self._list()

    def _list(self) -> None:
        self._is_listed = True
        self.scheduler.add_ready(self)

    @property
    def held(self) -> bool:
        return self._held

    @held.setter
    def held(self, held: bool) -> None:
        self._held = held
        if not held and self._ready and not self._is_listed:
            self._list()

    def step(self) -> bool:
        """Run the callback that has been ready for longest. Can more be run? False too when this could not."""
        if self._ready and not self._held:
            self._stepped()
        if self._ready and not self._held:  # not paused or dead by now
            handle = self._ready.popleft()
            if not handle.is_cancelled:
                asyncio._set_running_loop(self)
                try:
                    handle.context.run(handle.callback, *handle.args)
                except Exception as error:
                    self.call_exception_handler({"message": f"{handle.callback} failed", "exception": error})
                finally:
                    asyncio._set_running_loop(None)
        self._is_listed = bool(self._ready) and not self._held
        return self._is_listed

    def die(self) -> None:
        """Stop here and now. Its tasks are kept, so that no code of theirs is run to clean up."""
        self.dead = True
        self._ready.clear()

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
                    # anyio forgets a task when its scopes are left; what it keeps of one keeps the task, and the world.
                    _task_states.pop(task, None)
                self._tasks.clear()
        finally:
            asyncio._set_running_loop(None)

    def _end(self, coroutine: Any) -> None:
        for _ in range(THROWS_MAX):
            try:
                coroutine.throw(asyncio.CancelledError())
            except BaseException:
                return
        # It waits on, as a task group does for its tasks; and while it is closed it may wait for something else.
        while inspect.getcoroutinestate(coroutine) != inspect.CORO_CLOSED:
            with suppress(BaseException):
                coroutine.close()

    # What asyncio asks of a loop.

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> SimHandle:
        handle = SimHandle(callback, args, context, 0)
        self.add(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> SimHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> SimHandle:
        handle = SimHandle(callback, args, context, when)
        if not self.dead:
            # A microsecond late rather than early; what time() showed is hit exactly.
            self.scheduler.add_timer(math.ceil(round(when * 1e6, 2)), handle, self)
        return handle

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
