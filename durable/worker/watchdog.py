"""Steps batches of runs on the workflow thread, and names the line that blocks it.

Workflow code that does not yield within the deadlock timeout gets an exception where it is stuck. If it is still stuck
a second later (in C code, say), its thread is abandoned and replaced: that run's step failed, and the rest of the batch
goes on elsewhere.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from durable.history.host import Host

J = TypeVar("J")
R = TypeVar("R")

logger = logging.getLogger("durable.worker")

GRACE = 1.0


class DeadlockError(BaseException):
    """Raised inside workflow code that does not yield. Not an Exception, so that ``except Exception`` lets it pass."""


class _Batch(Generic[J, R]):
    """Jobs under way on one thread. A result counts only if the batch was not abandoned before it."""

    def __init__(self, jobs: Sequence[J], step: Callable[[J], R], host: Host) -> None:
        self._jobs = jobs
        self._step = step
        self._host = host
        self._lock = threading.Lock()
        self.results: list[R] = []
        self.began = host.monotonic()
        self.thread_id = 0
        self.warned = False
        self.abandoned = False

    def work(self) -> None:
        self.thread_id = threading.get_ident()
        for job in self._jobs[len(self.results) :]:
            result = self._step(job)
            with self._lock:
                if self.abandoned:
                    return
                self.results.append(result)
                self.began = self._host.monotonic()
                self.warned = False

    def interrupt(self) -> str:
        """Raise `DeadlockError` where the thread is; the stack it has."""
        with self._lock:
            frame = sys._current_frames().get(self.thread_id)  # pyright: ignore[reportPrivateUsage]
            stack = "".join(traceback.format_stack(frame)[-6:]) if frame is not None else ""
            self.warned = True
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self.thread_id), ctypes.py_object(DeadlockError))
            return stack

    def abandon(self) -> None:
        with self._lock:
            self.abandoned = True


class Stepper(Generic[J, R]):
    """The workflow thread. ``timeout`` in seconds is the deadlock timeout; None switches the watchdog off."""

    def __init__(self, host: Host, step: Callable[[J], R], stuck: Callable[[J, str], R], timeout: float | None) -> None:
        self._host = host
        self._step = step
        self._stuck = stuck
        self._timeout = timeout
        self._lane = host.lane("durable-workflow")

    async def run(self, jobs: Sequence[J]) -> list[R]:
        """Step all jobs, in order; their results, in order. ``stuck(job, stack)`` is the result of a job that hangs."""
        batch = _Batch(jobs, self._step, self._host)
        if self._timeout is None:
            await self._lane.run(batch.work)
            return batch.results
        loop = asyncio.get_running_loop()
        work = asyncio.ensure_future(self._lane.run(batch.work))
        ended: asyncio.Future[str | None] = loop.create_future()

        def on_end(_: object) -> None:
            if not ended.done():
                ended.set_result(None)

        work.add_done_callback(on_end)
        watch = loop.call_later(self._timeout, self._watch, batch, ended)
        try:
            stack = await ended
        finally:
            watch.cancel()
        if stack is None:
            work.result()
            return batch.results
        self._lane = self._host.lane("durable-workflow")
        at = len(batch.results)
        rest = await self.run(jobs[at + 1 :]) if at + 1 < len(jobs) else []
        return [*batch.results, self._stuck(jobs[at], stack), *rest]

    def close(self) -> None:
        self._lane.close()

    def _watch(self, batch: _Batch[J, R], ended: asyncio.Future[str | None], stack: str = "") -> None:
        if ended.done():
            return
        assert self._timeout is not None
        stuck_for = self._host.monotonic() - batch.began
        loop = asyncio.get_running_loop()
        if batch.warned and stuck_for >= self._timeout + GRACE:
            batch.abandon()
            logger.error("workflow code is stuck for good; its thread is abandoned:\n%s", stack)
            ended.set_result(stack)
            return
        if not batch.warned and stuck_for >= self._timeout:
            stack = batch.interrupt()
            logger.warning("workflow code did not yield within %g s; interrupted at:\n%s", self._timeout, stack)
        wait = GRACE if batch.warned else self._timeout - stuck_for
        loop.call_later(max(wait, 0.01), self._watch, batch, ended, stack)
