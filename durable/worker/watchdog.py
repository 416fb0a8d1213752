"""Steps batches of runs on the workflow thread, and names the line that blocks it.

Workflow code that does not yield within the deadlock timeout gets an exception where it is stuck. If it is still stuck
a second later (in C code, say), its thread is abandoned and replaced: that run's step failed, and the rest of the batch
goes on elsewhere. While the process itself was stopped, nobody is stuck.
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

    def __init__(self, jobs: Sequence[J], step: Callable[[J], R], stuck: Callable[[J, str], R], host: Host) -> None:
        self._jobs = jobs
        self._step = step
        self._stuck = stuck
        self._host = host
        self._lock = threading.Lock()
        self.results: list[R] = []
        self.began = host.monotonic()
        self.thread_id = 0
        self.warned = False
        self.abandoned = False

    def work(self) -> None:
        self.thread_id = threading.get_ident()
        for job in self._jobs:
            try:
                going_on = self._keep(self._step(job))
            except DeadlockError:
                # The job has ended just before it was to be interrupted; its result may be lost.
                going_on = self._keep(self._stuck(job, ""))
            if not going_on:
                return

    def _keep(self, result: R) -> bool:
        """Whether the batch goes on. An interrupt that is still to come is called off before anything is changed."""
        with self._lock:
            if self.warned:
                _raise_in(self.thread_id, None)
            if self.abandoned:
                return False
            self.results.append(result)
            self.began = self._host.monotonic()
            self.warned = False
            return True

    def interrupt(self, began: float) -> str | None:
        """Raise `DeadlockError` where the thread is; the stack it has. None if the job that ``began`` then is over."""
        with self._lock:
            if self.began != began or len(self.results) == len(self._jobs):
                return None
            stack = stack_of_thread(self.thread_id)
            self.warned = True
            _raise_in(self.thread_id, DeadlockError)
            return stack

    def abandon(self) -> None:
        with self._lock:
            self.abandoned = True


def stack_of_thread(thread_id: int) -> str:
    """Where a thread is: its last lines."""
    frame = sys._current_frames().get(thread_id)  # pyright: ignore[reportPrivateUsage]
    return "".join(traceback.format_stack(frame)[-6:]) if frame is not None else ""


def _raise_in(thread_id: int, error: type[BaseException] | None) -> None:
    """Raise it in another thread, wherever that is; None: no more."""
    what = None if error is None else ctypes.py_object(error)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), what)


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
        batch = _Batch(jobs, self._step, self._stuck, self._host)
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
        watch = loop.call_later(self._timeout, self._watch, batch, ended, batch.began + self._timeout)
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

    def _watch(self, batch: _Batch[J, R], ended: asyncio.Future[str | None], due: float, stack: str = "") -> None:
        if ended.done():
            return
        assert self._timeout is not None
        now = self._host.monotonic()
        if now - due > GRACE:
            batch.began = now  # this process was stopped, and the job with it
        began = batch.began
        stuck_for = now - began
        loop = asyncio.get_running_loop()
        if batch.warned and stuck_for >= self._timeout + GRACE:
            batch.abandon()
            logger.error("workflow code is stuck for good; its thread is abandoned:\n%s", stack)
            ended.set_result(stack)
            return
        if not batch.warned and stuck_for >= self._timeout and (interrupted := batch.interrupt(began)) is not None:
            stack = interrupted
            logger.warning("workflow code did not yield within %g s; interrupted at:\n%s", self._timeout, stack)
        wait = max(GRACE if batch.warned else self._timeout - stuck_for, 0.01)
        loop.call_later(wait, self._watch, batch, ended, now + wait, stack)
