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


class _CalledOff(BaseException):
    """Takes the place of an interrupt that comes too late."""


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
        self.stuck_at: str | None = None
        """The stack that it was abandoned with."""

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
                _hear_out(self.thread_id)
            if self.stuck_at is not None:
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

    def abandon(self, stack: str) -> None:
        with self._lock:
            self.stuck_at = stack


def stack_of_thread(thread_id: int) -> str:
    """Where a thread is: its last lines."""
    frame = sys._current_frames().get(thread_id)  # pyright: ignore[reportPrivateUsage]
    return "".join(traceback.format_stack(frame)[-6:]) if frame is not None else ""


def _raise_in(thread_id: int, error: type[BaseException]) -> None:
    """Raise it in a thread, wherever that is, in place of what is to be raised there already."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), ctypes.py_object(error))


def _hear_out(thread_id: int) -> None:
    """Whatever is to be raised in this very thread is not. (CPython could be told so; but then 3.11 goes on looking for
    it with every call, and the first profiler that is switched on hangs the process.)"""
    try:
        _raise_in(thread_id, _CalledOff)
        while True:
            pass
    except _CalledOff:
        pass


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
        work = self._lane.run(batch.work)
        due = batch.began + self._timeout
        watch = asyncio.get_running_loop().call_later(self._timeout, self._watch, batch, work, due)
        try:
            await work
        finally:
            watch.cancel()
        if batch.stuck_at is None:
            return batch.results
        self._lane = self._host.lane("durable-workflow")
        at = len(batch.results)
        rest = await self.run(jobs[at + 1 :]) if at + 1 < len(jobs) else []
        return [*batch.results, self._stuck(jobs[at], batch.stuck_at), *rest]

    def close(self) -> None:
        self._lane.close()

    def _watch(self, batch: _Batch[J, R], work: asyncio.Future[None], due: float, stack: str = "") -> None:
        if work.done():
            return
        assert self._timeout is not None
        now = self._host.monotonic()
        if now - due > GRACE:
            batch.began = now  # this process was stopped, and the job with it
        began = batch.began
        stuck_for = now - began
        loop = asyncio.get_running_loop()
        if batch.warned and stuck_for >= self._timeout + GRACE:
            batch.abandon(stack)
            logger.error("workflow code is stuck for good; its thread is abandoned:\n%s", stack)
            work.set_result(None)
            return
        if not batch.warned and stuck_for >= self._timeout and (interrupted := batch.interrupt(began)) is not None:
            stack = interrupted
            logger.warning("workflow code did not yield within %g s; interrupted at:\n%s", self._timeout, stack)
        wait = max(GRACE if batch.warned else self._timeout - stuck_for, 0.01)
        loop.call_later(wait, self._watch, batch, work, now + wait, stack)
