"""What the engine takes from the machine it runs on: time, chance, ids and threads, as one argument.

Store and worker are given a Host; the simulation gives them another one. Nothing else reads a clock or draws chance.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar

from durable.history.errors import StoreUnavailable

CLOCK_ERROR_US = 20_000
"""By so much the wall clock may run away from the monotonic one, for NTP slows it down and speeds it up."""

T = TypeVar("T")
_Task = tuple[Callable[[], Any], asyncio.AbstractEventLoop, "asyncio.Future[Any]"]


class Lane(Protocol):
    """One thread's worth of blocking work, done in the order in which it was handed over."""

    def run(self, work: Callable[[], T], /) -> asyncio.Future[T]:
        """Do ``work`` off the loop; its result, or its exception. Cancelling the wait does not undo the work, nor does
        an answer that somebody else gives: what comes of the work is nobody's then.

        StoreUnavailable once it is closed.
        """
        ...

    def close(self) -> None:
        """Finish what was handed over, then end the thread."""
        ...


class Aside(Protocol):
    """Something that runs apart from the caller's loop."""

    async def stop(self) -> None:
        """Cancel it, and wait for its end; its error, if it ended with one."""
        ...


class Rounds(Protocol):
    """A small thing that is done again and again."""

    def stop(self) -> None:
        """No further round begins; one may be under way."""
        ...


class Host(Protocol):
    """Time, chance, ids and threads."""

    def now_us(self) -> int:
        """Microseconds since the epoch."""
        ...

    def measure_time(self) -> None:
        """Take over what the machine's clock shows: it may have been set, or the machine may have slept."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""
        ...

    def uuid7(self) -> str:
        """A new UUIDv7; those of one process sort in the order of their creation."""
        ...

    def random(self) -> random.Random:
        """A source of chance (jitter, seeds)."""
        ...

    def lane(self, name: str) -> Lane:
        """A new lane; ``name`` becomes the thread's name."""
        ...

    def aside(self, name: str, main: Callable[[], Coroutine[Any, Any, None]]) -> Aside:
        """Begin ``main`` apart from this loop, so that nothing that blocks this loop holds it up."""
        ...

    def rounds(self, name: str, every_s: float, look: Callable[[], None]) -> Rounds:
        """Do ``look``, which never fails, so many seconds after it was done last; off the loop."""
        ...


class ThreadLane:
    """A lane that is a real thread; a daemon, so that work that hangs does not keep the program from ending."""

    def __init__(self, name: str) -> None:
        self._work: SimpleQueue[_Task | None] = SimpleQueue()
        self._closed = False
        threading.Thread(target=self._serve, name=name, daemon=True).start()

    def run(self, work: Callable[[], T], /) -> asyncio.Future[T]:
        if self._closed:
            raise StoreUnavailable("this was closed already: close workers before their client")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._work.put((work, loop, answer))
        return answer

    def close(self) -> None:
        self._closed = True
        self._work.put(None)

    def _serve(self) -> None:
        while (task := self._work.get()) is not None:
            work, loop, answer = task
            try:
                settle, value = answer.set_result, work()
            except BaseException as error:
                settle, value = answer.set_exception, error
            try:
                loop.call_soon_threadsafe(_settle, answer, settle, value)
            except RuntimeError:
                pass  # the loop that asked is closed
            del task, work, loop, answer, settle, value


def _settle(answer: asyncio.Future[Any], settle: Callable[[Any], None], value: Any) -> None:
    if not answer.done():
        settle(value)


class ThreadAside:
    """A coroutine on an event loop and a thread of its own."""

    def __init__(self, name: str, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._main = main
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[None] | None = None
        self._ended: Future[None] = Future()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    async def stop(self) -> None:
        if not self._ended.done():
            self._loop.call_soon_threadsafe(self._cancel)
        await asyncio.wrap_future(self._ended)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _work(self) -> None:
        async def run() -> None:
            self._task = asyncio.current_task()
            await self._main()

        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(run())
        except asyncio.CancelledError:
            self._ended.set_result(None)
        except BaseException as error:
            self._ended.set_exception(error)
        else:
            self._ended.set_result(None)


class ThreadRounds:
    """A thread that does little, often: it costs less than half of what waking an event loop does."""

    def __init__(self, name: str, every_s: float, look: Callable[[], None]) -> None:
        self._over = threading.Lock()
        self._over.acquire()
        threading.Thread(target=self._walk, args=(every_s, look), name=name, daemon=True).start()

    def stop(self) -> None:
        if self._over.locked():
            self._over.release()

    def _walk(self, every_s: float, look: Callable[[], None]) -> None:
        while not self._over.acquire(timeout=every_s):  # one call, where waiting for an Event is a dozen
            look()


class Machine:
    """The host that is this machine.

    Its time is the wall clock read once and the monotonic clock from then on, until it is measured again: so the time
    between two measurements is never longer or shorter than it was. ``adjust`` takes over the time of whoever knows.
    """

    def __init__(self) -> None:
        self._offset_us = time.time_ns() // 1000 - time.monotonic_ns() // 1000
        self._random = random.Random(secrets.randbits(128))
        self._id_lock = threading.Lock()
        self._last_id = 0

    def now_us(self) -> int:
        return time.monotonic_ns() // 1000 + self._offset_us

    def measure_time(self) -> None:
        wall_us = time.time_ns() // 1000
        if abs(wall_us - time.monotonic_ns() // 1000 - self._offset_us) > CLOCK_ERROR_US:
            self.adjust(wall_us)

    def adjust(self, now_us: int) -> None:
        """The store says that it is ``now_us`` now."""
        self._offset_us = now_us - time.monotonic_ns() // 1000

    def monotonic(self) -> float:
        return time.monotonic()

    def uuid7(self) -> str:
        with self._id_lock:
            # Not the system's chance, for which it would have to let other threads go first.
            self._last_id = uuid7_after(self._last_id, self.now_us() // 1000, self._random.getrandbits(80))
            return uuid7_text(self._last_id)

    def random(self) -> random.Random:
        return self._random

    def lane(self, name: str) -> Lane:
        return ThreadLane(name)

    def aside(self, name: str, main: Callable[[], Coroutine[Any, Any, None]]) -> Aside:
        return ThreadAside(name, main)

    def rounds(self, name: str, every_s: float, look: Callable[[], None]) -> Rounds:
        return ThreadRounds(name, every_s, look)


def uuid7_after(last: int, unix_ms: int, chance: int) -> int:
    """The next of a process's ids, as 48 bits of time and 74 of ``chance``: above ``last``, whatever the clock does.

    Within one millisecond it is a random step above the last one (RFC 9562, monotonic random).
    """
    fresh = unix_ms << 74 | chance & (1 << 74) - 1
    return fresh if fresh >> 74 > last >> 74 else last + 1 + (chance & (1 << 40) - 1)


def uuid7_text(value: int) -> str:
    """The UUIDv7 (RFC 9562) of 48 bits of milliseconds and 74 bits of chance."""
    bits = (value >> 74 & (1 << 48) - 1) << 80 | 7 << 76 | (value >> 62 & 0xFFF) << 64 | 2 << 62 | value & (1 << 62) - 1
    text = f"{bits:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
