"""Runs attempts of activities, async ones on the loop, sync ones in threads: their time, heartbeat and cancelling."""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import logging
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any

import msgspec

from durable.activity import ActivityCancellationDetails, Flag, Info
from durable.client.description import moment
from durable.common import RetryPolicy
from durable.context import ActivityContext, current_activity
from durable.converter import DataConverter
from durable.exceptions import ApplicationError, CancelledError
from durable.history import attempts
from durable.history.database import Database
from durable.history.errors import HistoryError
from durable.history.messages import ActivityOutcome
from durable.history.transition import (
    ActivityReport,
    ActivityTask,
    AttemptToken,
    Outcome,
    Refused,
    Retry,
)
from durable.worker.registry import RegisteredActivity, Registry

logger = logging.getLogger("durable.worker")

REPORT_AGAIN_AFTER = 0.5
HEARTBEAT_INTERVAL_MAX = 60.0
HEARTBEAT_INTERVAL_DEFAULT = 30.0

Key = tuple[str, int]
Finished = Callable[[ActivityTask, ActivityOutcome], None]


class Activities:
    """The attempts of one life of a worker. ``finished`` takes what ended for good; retries go to the store from here.

    ``slots`` is how many attempts run at once, ``threads`` how many of them may be sync; ``freed`` is called when one
    ends while all were taken.
    """

    def __init__(
        self,
        database: Database,
        registry: Registry,
        converter: DataConverter,
        *,
        namespace: str,
        worker_id: str,
        identity: str,
        task_queue: str,
        slots: int,
        executor: Executor | None,
        threads: int,
        finished: Finished,
        freed: Callable[[], None],
    ) -> None:
        self.database = database
        self.converter = converter
        self.namespace = namespace
        self.identity = identity
        self.shutdown = Flag()
        self._registry = registry
        self._worker_id = worker_id
        self._task_queue = task_queue
        self._slots = slots
        self._threads = threads if registry.has_sync_activities else 0
        self._own_pool = ThreadPoolExecutor(threads, "durable-activity") if executor is None and self._threads else None
        self._executor = executor or self._own_pool
        self._finished = finished
        self._freed = freed
        self._attempts: dict[Key, _Attempt] = {}
        self._missing: set[AttemptToken] = set()
        # Attempts that are this worker's though none of them runs: about to begin, or over and the store not told.
        self._absent: set[AttemptToken] = set()
        self._reserved = 0
        self._sync_running = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def at_work(self) -> int:
        """How many attempts are under way, but for those that only wait for time to pass (test environments)."""
        return len(self._attempts) - sum(attempt.sleeps for attempt in self._attempts.values())

    # -- slots

    @property
    def free(self) -> int:
        """How many more attempts may begin."""
        free = self._slots - len(self._attempts) - self._reserved
        if self._threads:
            free = min(free, self._threads - self._sync_running)
        return max(0, free)

    def reserve(self, task: ActivityTask) -> ActivityTask | None:
        """A task that is about to be scheduled, as this worker's own from the beginning; None when it can't take it."""
        if (
            task.task_queue != self._task_queue
            or self.shutdown.is_set()
            or task.spec.activity_type not in self._registry.activities
            or self.free <= 0
        ):
            return None
        self._reserved += 1
        begun = attempts.begun(task, self._worker_id, self.database.store.now_us())
        self._absent.add(attempts.token(begun))
        return begun

    def release(self, task: ActivityTask) -> None:
        """A reserved task was not scheduled after all, or begins now."""
        self._reserved -= 1
        self._absent.discard(attempts.token(task))

    # -- attempts

    def begin(self, task: ActivityTask) -> None:
        """Run an attempt that this worker has claimed; one that comes when it is stopping is handed back unbegun."""
        if self.shutdown.is_set():
            now_us = self.database.store.now_us()
            self.report(ActivityReport(token=attempts.token(task), what=attempts.handed_back(task, now_us)))
            return
        found = self._registry.activities.get(task.spec.activity_type)
        attempt = _Attempt(self, task, found)
        self._attempts[attempt.key] = attempt
        self._idle.clear()
        if found is not None and not found.definition.is_async:
            self._sync_running += 1
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
        """Let attempts end within ``grace`` seconds, cancel the rest, and wait for them. Those don't count."""
        self.shutdown.set()
        if self._attempts and grace > 0:
            try:
                await asyncio.wait_for(self._idle.wait(), grace)
            except TimeoutError:
                pass
        for attempt in list(self._attempts.values()):
            attempt.cancel(ActivityCancellationDetails(worker_shutdown=True))
        await self._idle.wait()
        self._close_pool()

    def drop(self) -> None:
        """The worker was declared dead: what it runs belongs to others. Cancel all, report nothing."""
        for attempt in list(self._attempts.values()):
            attempt.disown()
            attempt.cancel(ActivityCancellationDetails(not_found=True))
        self._close_pool()

    def _close_pool(self) -> None:
        if self._own_pool is not None:
            self._own_pool.shutdown(wait=False)

    # -- what attempts tell

    def over(self, attempt: _Attempt, what: ActivityOutcome | Retry | None) -> None:
        """An attempt has ended; None: there is nothing to tell."""
        was_full = self.free == 0
        if self._attempts.pop(attempt.key, None) is None:
            return
        if was_full:
            self._freed()
        if attempt.is_sync:
            self._sync_running -= 1
        if not self._attempts:
            self._idle.set()
        if what is not None:
            self._absent.add(attempts.token(attempt.task))
        if isinstance(what, ActivityOutcome):
            self._finished(attempt.task, what)
        elif what is not None:
            self.report(attempts.report(attempt.task, what, self.database.store.now_us()))

    def report(self, report: ActivityReport, done: Callable[[Outcome], None] | None = None) -> None:
        """Tell the store, until it answers."""
        loop = asyncio.get_running_loop()

        def answered(outcome: Outcome | Exception) -> None:
            if isinstance(outcome, HistoryError):
                loop.call_later(REPORT_AGAIN_AFTER, submit)
                return
            self.told(report.token)
            if isinstance(outcome, Exception):
                logger.error("reporting on an activity failed: %r", outcome)
            elif done is not None:
                done(outcome)

        def submit() -> None:
            try:
                self.database.submit(report, answered)
            except RuntimeError:
                logger.debug("the client is closed; what is not reported is tried again by another worker")

        submit()

    def run_in_thread(self, context: contextvars.Context, work: Callable[[], Any]) -> asyncio.Future[Any]:
        return asyncio.get_running_loop().run_in_executor(self._executor, lambda: context.run(work))

    def missing(self, name: str) -> str:
        return self._registry.missing_activity(name)


class _Attempt(ActivityContext):
    """One attempt under way: the context that its code sees, and its clock."""

    def __init__(self, activities: Activities, task: ActivityTask, found: RegisteredActivity | None) -> None:
        self.task = task
        self.key: Key = (task.run_id, task.scheduled_event_id)
        self.converter = activities.converter
        self.is_sync = found is not None and not found.definition.is_async
        self._activities = activities
        self._found = found
        self._cancelled = Flag()
        self._details: ActivityCancellationDetails | None = None
        self._info: Info | None = None
        self._work: asyncio.Task[None] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._owned = True
        self._beat_at: float | None = None
        self._beat_due: asyncio.TimerHandle | None = None
        self._heartbeat_error: BaseException | None = None
        self._loop = asyncio.get_running_loop()
        self._thread: AttemptThread | None = None
        self.sleeps = False

    # -- what the code may ask (ActivityContext)

    def info(self) -> Info:
        if self._info is None:
            self._info = _info(self._activities, self.task)
        return self._info

    @property
    def cancelled(self) -> Flag:
        return self._cancelled

    @property
    def worker_shutdown(self) -> Flag:
        return self._activities.shutdown

    def cancellation_details(self) -> ActivityCancellationDetails | None:
        return self._details

    def heartbeat(self, details: Sequence[Any]) -> None:
        if self.is_sync:
            # The loop takes it when it can; a broken conversion is the attempt's failure all the same.
            payloads = self.converter.to_payloads(details)
            self._loop.call_soon_threadsafe(self._beat, payloads)
        else:
            self._beat(self.converter.to_payloads(details))

    def shield_thread_cancel(self) -> AbstractContextManager[None]:
        return self._thread.shield() if self._thread is not None else _nothing()

    @contextmanager
    def asleep(self) -> Generator[None]:
        self.sleeps = True
        try:
            yield
        finally:
            self.sleeps = False

    # -- its life

    def begin(self) -> None:
        self._work = self._loop.create_task(self._run(), name=f"activity-{self.task.spec.activity_type}")
        self._work.add_done_callback(self._never_ran)
        self._watch_deadline()

    def cancel(self, details: ActivityCancellationDetails) -> None:
        if self._cancelled.is_set():
            return
        self._details = details
        self._cancelled.set()
        if self._thread is not None:
            self._thread.cancel()
        elif self._work is not None and not self.is_sync:
            self._work.cancel("Activity cancelled")

    def disown(self) -> None:
        """Whatever comes of it is nobody's business any more."""
        self._owned = False

    def _never_ran(self, work: asyncio.Task[None]) -> None:
        """A task cancelled before its first step runs none of its code: the attempt is over all the same."""
        if work.cancelled():
            self._over(self._ended_by(asyncio.CancelledError()))

    async def _run(self) -> None:
        current_activity.set(self)
        what: ActivityOutcome | Retry | None = None
        try:
            what = self._completed(await self._call())
        except asyncio.CancelledError as error:
            what = self._ended_by(error)
        except Exception as error:
            what = self._ended_by(error)
        finally:
            self._over(what)

    async def _call(self) -> Any:
        if self._found is None:
            raise ApplicationError(self._activities.missing(self.task.spec.activity_type), type="NotFoundError")
        definition = self._found.definition
        args, kwargs = definition.signature.decode(self.converter, self.task.spec.input)
        if definition.is_async:
            return await self._found.fn(*args, **kwargs)
        thread = self._thread = AttemptThread(raises=not definition.no_thread_cancel_exception)
        call = self._found.fn
        return await self._activities.run_in_thread(
            contextvars.copy_context(), lambda: thread.run(lambda: call(*args, **kwargs))
        )

    def _completed(self, result: Any) -> ActivityOutcome:
        return attempts.completed(self.task, self.converter.to_payloads([result]), self._activities.identity)

    def _ended_by(self, error: BaseException) -> ActivityOutcome | Retry | None:
        details = self._details
        now_us = self._activities.database.store.now_us()
        cancelled = isinstance(error, asyncio.CancelledError | CancelledError)
        if self._heartbeat_error is not None:
            error, cancelled = self._heartbeat_error, False
        if cancelled and details is not None:
            if details.worker_shutdown and self.task.spec.retry_policy.maximum_attempts != 1:
                return attempts.handed_back(self.task, now_us)
            if details.worker_shutdown:  # it has begun, and may begin only once
                error = ApplicationError("the worker stopped while the activity ran", type="WorkerShutdown")
            elif details.cancel_requested:
                payloads = self.converter.to_payloads(error.details) if isinstance(error, CancelledError) else []
                return attempts.canceled(self.task, payloads, self._activities.identity)
            else:
                return None
        if isinstance(error, asyncio.CancelledError) and self._work is not None and self._work.cancelling():
            return None  # the program is going down: the attempt is not over, another worker takes it
        failure = self.converter.to_failure(error)
        what = attempts.failed(self.task, failure, self._activities.identity, now_us)
        level = logging.DEBUG if _is_benign(error) else logging.WARNING
        logger.log(
            level,
            "activity %s of workflow %s failed at attempt %d (%s): %s",
            self.task.spec.activity_type,
            self.task.spec.workflow_id,
            self.task.attempt,
            "it is tried again" if isinstance(what, Retry) else "the last one",
            failure.message,
            extra={"__temporal_error_identifier": "ActivityFailure"},
        )
        return what

    def _over(self, what: ActivityOutcome | Retry | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        if self._beat_due is not None:
            self._beat_due.cancel()
        self._activities.over(self, what if self._owned else None)

    def _watch_deadline(self) -> None:
        """Timeouts of an attempt are told by the worker that runs it; the store's sweep is for those that can't."""
        if self.task.deadline_us is None:
            return
        wait_us = self.task.deadline_us - self._activities.database.store.now_us()
        self._deadline = self._loop.call_later(max(0.0, wait_us / 1_000_000), self._on_deadline)

    def _on_deadline(self) -> None:
        now_us = self._activities.database.store.now_us()
        what = attempts.expired(self.task, now_us)
        if what is None:
            self._watch_deadline()
            return
        logger.warning(
            "activity %s of workflow %s timed out at attempt %d",
            self.task.spec.activity_type,
            self.task.spec.workflow_id,
            self.task.attempt,
        )
        if self._owned:
            self.disown()
            self._tell(what, now_us)
        self.cancel(ActivityCancellationDetails(timed_out=True))

    def _tell(self, what: ActivityOutcome | Retry, now_us: int) -> None:
        """The attempt's end, though its code has not ended yet: its slot stays taken until it has."""
        self._activities.report(attempts.report(self.task, what, now_us))

    # -- heartbeat

    def _beat(self, payloads: list[Any]) -> None:
        """Keep the details; send them now, or when the interval since the last ones is over."""
        progress = msgspec.structs.replace(self.task.progress, heartbeat_details=payloads)
        self.task = msgspec.structs.replace(self.task, progress=progress)
        if self._beat_due is not None or not self._owned:
            return
        interval = _beat_interval(self.task)
        since = self._loop.time() - self._beat_at if self._beat_at is not None else interval
        self._beat_due = self._loop.call_later(max(0.0, interval - since), self._send_beat)

    def _send_beat(self) -> None:
        self._beat_due = None
        self._beat_at = self._loop.time()
        if not self._owned:
            return
        now_us = self._activities.database.store.now_us()
        self.task = msgspec.structs.replace(self.task, deadline_us=attempts.deadline_us(self.task, now_us))
        if self._deadline is not None:
            self._deadline.cancel()
            self._watch_deadline()
        self._activities.report(attempts.beat(self.task, self.task.progress.heartbeat_details, now_us), self._beaten)

    def _beaten(self, outcome: Outcome) -> None:
        if isinstance(outcome, Refused):
            self.disown()
            self.cancel(ActivityCancellationDetails(not_found=True))
        elif outcome.cancel_requested:
            self.cancel(ActivityCancellationDetails(cancel_requested=True))


class AttemptThread:
    """A sync attempt's thread, in which a cancelled attempt gets an exception unless it is shielded."""

    def __init__(self, *, raises: bool) -> None:
        self._raises = raises
        self._lock = threading.Lock()
        self._thread_id: int | None = None
        self._shields = 0
        self._pending = False

    def run(self, call: Callable[[], Any]) -> Any:
        with self._lock:
            self._thread_id = threading.get_ident()
            if self._pending:
                raise CancelledError("Cancelled")
        try:
            return call()
        finally:
            with self._lock:
                self._thread_id = None

    def cancel(self) -> None:
        with self._lock:
            if not self._raises:
                return
            if self._thread_id is None or self._shields:
                self._pending = True
                return
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(self._thread_id), ctypes.py_object(CancelledError)
            )

    @contextmanager
    def shield(self) -> Generator[None]:
        with self._lock:
            self._shields += 1
        try:
            yield
        finally:
            with self._lock:
                self._shields -= 1
                pending = self._pending and not self._shields
                self._pending = self._pending and not pending
            if pending:
                raise CancelledError("Cancelled")


@contextmanager
def _nothing() -> Generator[None]:
    yield


def _beat_interval(task: ActivityTask) -> float:
    """Seconds between two heartbeats that are sent."""
    timeout = task.spec.heartbeat_timeout_us / 1_000_000
    return min(0.8 * timeout, HEARTBEAT_INTERVAL_MAX) if timeout else HEARTBEAT_INTERVAL_DEFAULT


def _is_benign(error: BaseException) -> bool:
    return isinstance(error, ApplicationError) and error.category == 1


def _duration(us: int) -> timedelta | None:
    return timedelta(microseconds=us) if us else None


def _info(activities: Activities, task: ActivityTask) -> Info:
    spec = task.spec
    return Info(
        activity_id=spec.activity_id,
        activity_type=spec.activity_type,
        attempt=task.attempt,
        current_attempt_scheduled_time=moment(task.due_us),
        heartbeat_details=activities.converter.from_payloads(task.progress.heartbeat_details),
        heartbeat_timeout=_duration(spec.heartbeat_timeout_us),
        is_local=False,
        namespace=activities.namespace,
        schedule_to_close_timeout=_duration(spec.schedule_to_close_timeout_us),
        scheduled_time=moment(spec.scheduled_us),
        start_to_close_timeout=_duration(spec.start_to_close_timeout_us),
        started_time=moment(task.started_us),
        task_queue=task.task_queue,
        task_token=msgspec.msgpack.encode(attempts.token(task)),
        workflow_id=spec.workflow_id,
        workflow_run_id=task.run_id,
        workflow_type=spec.workflow_type,
        retry_policy=RetryPolicy.from_history(spec.retry_policy),
    )
