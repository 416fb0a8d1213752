"""Runs attempts of activities, async ones on the loop, sync ones in threads or processes, as slots and rates allow."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Executor, ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar, TypeVarTuple

from durable.activity import ActivityCancellationDetails, Flag
from durable.client import Client
from durable.common import HeaderCodecBehavior
from durable.converter import DataConverter
from durable.history import attempts
from durable.history.database import Database
from durable.history.errors import HistoryError
from durable.history.local_activities import is_local
from durable.history.messages import ActivityOutcome
from durable.history.transition import (
    ActivityReport,
    ActivityTask,
    AttemptToken,
    Beat,
    Detach,
    Outcome,
    Retry,
)
from durable.worker.attempt import Attempt, Key
from durable.worker.interceptor import Interceptor
from durable.worker.ledgers import Ledgers
from durable.worker.processes import Processes, has_threads
from durable.worker.rate import Rate
from durable.worker.registry import Registry
from durable.worker.shared_state import SharedStateManager

logger = logging.getLogger("durable.worker")

REPORT_AGAIN_AFTER = 0.5
LAST_WORDS = 2.0
"""Seconds that a cancelled activity gets to clean up when its worker stops."""

A = TypeVarTuple("A")
R = TypeVar("R")

Finished = Callable[[ActivityTask, ActivityOutcome], None]


class Activities:
    """The attempts of one life of a worker. ``finished`` takes what ended for good; retries go to the store from here.

    ``slots`` is how many attempts run at once, ``threads`` how many of them may be sync; ``freed`` is called when one
    ends while all were taken, and when time allows one more. ``broken`` is called when sync ones can't run any more.
    ``rates`` are how many may begin in a second, each of them a limit; ``eager``: this worker takes what its own runs
    schedule as its own at once. ``interceptors`` stand before each attempt.
    """

    def __init__(
        self,
        client: Client,
        registry: Registry,
        *,
        worker_id: str,
        identity: str,
        task_queue: str,
        slots: int,
        executor: Executor | None,
        threads: int,
        shared_state: SharedStateManager | None,
        rates: Sequence[float],
        eager: bool,
        interceptors: Sequence[Interceptor],
        finished: Finished,
        freed: Callable[[], None],
        broken: Callable[[BrokenExecutor], None],
    ) -> None:
        self.client = client
        self.database: Database = client.database
        self.converter: DataConverter = client.data_converter
        self.wants_contexts = client.data_converter.wants_contexts
        self.encodes_headers = client.config()["header_codec_behavior"] is HeaderCodecBehavior.CODEC
        self.namespace = client.namespace
        self.identity = identity
        self.shutdown = Flag()
        self._registry = registry
        self._worker_id = worker_id
        self._task_queue = task_queue
        self._slots = slots
        self._threads = threads if registry.has_sync_activities else 0
        self._own_pool = ThreadPoolExecutor(threads, "durable-activity") if executor is None and self._threads else None
        self.executor = executor or self._own_pool
        in_processes = shared_state is not None and not has_threads(executor)
        self.processes = Processes(shared_state, self.shutdown) if shared_state is not None and in_processes else None
        self._rates = [Rate(each) for each in rates]
        self._next_turn: asyncio.TimerHandle | None = None
        self._eager = eager
        self.interceptors = interceptors
        self.ledgers = Ledgers(client.database, client.namespace)
        self._finished = finished
        self._freed = freed
        self._broken = broken
        self._attempts: dict[Key, Attempt] = {}
        self._missing: set[AttemptToken] = set()
        # Attempts that are this worker's though none of them runs: about to begin, or over and the store not told.
        self._absent: set[AttemptToken] = set()
        # Those among them whose code has ended, and whose outcome will come from outside, once the store knows it.
        self._leaving: set[AttemptToken] = set()
        self._reserved = 0
        self._sync_taken = 0
        self._dropped = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._reports = 0
        self._reported = asyncio.Event()
        self._reported.set()

    @property
    def at_work(self) -> int:
        """How many attempts are under way, but for those that only wait for time to pass (test environments)."""
        return len(self._attempts) - sum(attempt.sleeps for attempt in self._attempts.values())

    # -- slots

    @property
    def free(self) -> int:
        """How many more attempts may begin, be they sync or async."""
        return max(0, min(self._free_slots, self._threads - self._sync_taken) if self._threads else self._free_slots)

    @property
    def _free_slots(self) -> int:
        """Those of which the rates allow to make use now."""
        now = asyncio.get_running_loop().time() if self._rates else 0.0
        return min([self._slots - len(self._attempts) - self._reserved, *(rate.free(now) for rate in self._rates)])

    def _count(self) -> None:
        """One more begins. If no other may for now, because of a rate, look for work when one may again."""
        if not self._rates:
            return
        now = asyncio.get_running_loop().time()
        for rate in self._rates:
            rate.take(now)
        if self._next_turn is None:
            self._wait_for_turn()

    def _wait_for_turn(self) -> bool:
        loop = asyncio.get_running_loop()
        wait = max(rate.wait(loop.time()) for rate in self._rates)
        self._next_turn = loop.call_later(wait, self._turn) if wait else None
        return bool(wait)

    def _turn(self) -> None:
        if not self._wait_for_turn():  # loops call a moment too soon, for their clocks are coarse
            self._freed()

    def _is_sync(self, task: ActivityTask) -> bool:
        found = self._registry.activity(task.spec.activity_type)
        return found is not None and not found.definition.is_async

    def reserve(self, task: ActivityTask) -> ActivityTask | None:
        """A task that is about to be scheduled, as this worker's own from the beginning; None when it can't take it."""
        if (
            not (self._eager or is_local(task.scheduled_event_id))
            or task.task_queue != self._task_queue
            or self.shutdown.is_set()
            or self._registry.activity(task.spec.activity_type) is None
            or (self.free if self._is_sync(task) else self._free_slots) <= 0
        ):
            return None
        self._count()
        self._reserved += 1
        self._sync_taken += self._is_sync(task)
        begun = attempts.begun(task, self._worker_id, self.database.store.now_us())
        self._absent.add(attempts.token(begun))
        return begun

    def release(self, task: ActivityTask) -> None:
        """A reserved task was not scheduled after all, or begins now."""
        self._reserved -= 1
        self._sync_taken -= self._is_sync(task)
        self._absent.discard(attempts.token(task))

    # -- attempts

    def take(self, task: ActivityTask) -> None:
        """Begin an attempt that the store has booked on this worker; one that was claimed only to end it is refused."""
        if task.cancel_requested:
            self.refuse(task)
        else:
            self._count()
            self.begin(task)

    def begin(self, task: ActivityTask) -> None:
        """Run an attempt that this worker has claimed; one that comes when it is stopping is handed back unbegun."""
        if self._dropped:
            return
        if self.shutdown.is_set():
            now_us = self.database.store.now_us()
            self.report(ActivityReport(token=attempts.token(task), what=attempts.handed_back(task, now_us)))
            return
        found = self._registry.activity(task.spec.activity_type)
        attempt = Attempt(self, task, found)
        self._attempts[attempt.key] = attempt
        self._idle.clear()
        self._sync_taken += attempt.is_sync
        attempt.begin()

    def refuse(self, task: ActivityTask) -> None:
        """A task that was claimed only to end it: its cancellation is asked for, and nobody had begun it."""
        self._finished(task, attempts.canceled(task, [], self.identity))

    def holds(self, token: AttemptToken) -> bool:
        """Is the attempt under way here, about to begin, or over without the store having heard of it?"""
        if token in self._absent:
            return True
        attempt = self._attempts.get((token.run_id, token.scheduled_event_id))
        return attempt is not None and attempt.task.attempt == token.attempt

    def told(self, token: AttemptToken) -> None:
        """The store knows how this attempt ended."""
        self._absent.discard(token)
        self._leaving.discard(token)
        self._note_idle()

    def cancel_requested(self, run_id: str, scheduled_event_id: int) -> None:
        """The workflow asks an attempt to end; if it is here, tell it."""
        self._cancel((run_id, scheduled_event_id), ActivityCancellationDetails(cancel_requested=True))

    def cancel_run(self, run_id: str, scheduled_event_ids: Sequence[int]) -> None:
        """The run is closed: nobody waits for its activities any more."""
        for event_id in scheduled_event_ids:
            self._cancel((run_id, event_id), ActivityCancellationDetails(not_found=True))

    def _cancel(self, key: Key, details: ActivityCancellationDetails) -> None:
        attempt = self._attempts.get(key)
        if attempt is not None:
            attempt.cancel(details)

    def compare(self, booked: Sequence[AttemptToken]) -> None:
        """Attempts that the store has twice in a row not known: their run is closed, or others took over."""
        running = {attempts.token(attempt.task): attempt for attempt in self._attempts.values()}
        missing = running.keys() - set(booked)
        for token in missing & self._missing:
            running[token].disown()
            running[token].cancel(ActivityCancellationDetails(not_found=True))
        self._missing = missing

    async def stop(self, grace: float) -> None:
        """Let attempts end within ``grace`` seconds, cancel the rest, and wait for them. Those don't count.

        Code that does not end when it is cancelled is left behind; its task is handed back all the same.
        """
        self.shutdown.set()
        if self.processes is not None:
            self.processes.stop()
        await self._all_over(grace)
        for attempt in list(self._attempts.values()):
            attempt.cancel(ActivityCancellationDetails(worker_shutdown=True))
        await self._all_over(LAST_WORDS)
        for attempt in list(self._attempts.values()):
            attempt.disown()
            logger.warning(
                "activity %s of workflow %s did not end within %g s of being cancelled: its task is handed back, while "
                "its code may still be at work here",
                *(attempt.task.spec.activity_type, attempt.task.spec.workflow_id, LAST_WORDS),
            )
        await self.told_all()
        self._close()

    async def told_all(self) -> None:
        """Wait until the store has heard of all that ended, but not for long.

        What is released before goes on without the details of its last heartbeat.
        """
        await _within(LAST_WORDS, self._reported)

    async def _all_over(self, within: float) -> None:
        """Wait until no attempt is under way, but no longer than that."""
        if not self._idle.is_set() and within > 0:
            await _within(within, self._idle)

    def drop(self) -> None:
        """The worker was declared dead: what it runs belongs to others. Cancel all, report nothing, begin nothing."""
        self._dropped = True
        for attempt in list(self._attempts.values()):
            attempt.disown()
            attempt.cancel(ActivityCancellationDetails(not_found=True))
        self._close()

    def _close(self) -> None:
        self.ledgers.close()
        if self._next_turn is not None:
            self._next_turn.cancel()
        if self._own_pool is not None:
            self._own_pool.shutdown(wait=False)

    # -- what attempts tell

    def over(self, attempt: Attempt, what: ActivityOutcome | Retry | Detach | None) -> None:
        """An attempt's code has ended; None: there is nothing to tell."""
        was_full = self.free == 0
        if self._attempts.pop(attempt.key, None) is None:
            return
        if was_full:
            self._freed()
        self._sync_taken -= attempt.is_sync
        if isinstance(what, Detach):
            self._leaving.add(attempts.token(attempt.task))
        self._note_idle()
        if isinstance(what, ActivityOutcome):
            self._absent.add(attempts.token(attempt.task))
            self._finished(attempt.task, what)
        elif what is not None:
            self.report(attempts.report(attempt.task, what, self.database.store.now_us()))

    def _note_idle(self) -> None:
        if not self._attempts and not self._leaving:
            self._idle.set()

    def report(self, report: ActivityReport, done: Callable[[Outcome], None] | None = None) -> None:
        """Tell the store, until it answers."""
        loop = asyncio.get_running_loop()
        if not isinstance(report.what, Beat):
            self._absent.add(report.token)
        self._reports += 1
        self._reported.clear()

        def over() -> None:
            self._reports -= 1
            if not self._reports:
                self._reported.set()

        def answered(outcome: Outcome | Exception) -> None:
            if isinstance(outcome, HistoryError):
                loop.call_later(REPORT_AGAIN_AFTER, submit)
                return
            over()
            self.told(report.token)
            if isinstance(outcome, Exception):
                logger.error("reporting on an activity failed: %r", outcome)
            elif done is not None:
                done(outcome)

        def submit() -> None:
            try:
                self.database.submit(report, answered)
            except RuntimeError:
                over()
                logger.debug("the client is closed; what is not reported is tried again by another worker")

        submit()

    async def run_in_pool(self, executor: Executor | None, work: Callable[[*A], R], *args: *A) -> R:
        """What ``work`` returns, in a thread or a process of the pool. One whose processes die is broken for good."""
        try:
            return await asyncio.get_running_loop().run_in_executor(executor, work, *args)
        except BrokenExecutor as error:
            if getattr(executor, "_broken", True):  # else it is of a pool of the activity's own
                self._broken(error)
            raise

    def missing(self, name: str) -> str:
        return self._registry.missing_activity(name)


async def _within(seconds: float, event: asyncio.Event) -> None:
    """Wait for it, but no longer than that."""
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
