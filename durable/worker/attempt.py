"""One attempt of an activity under way: its code, its clock, its heartbeat, its end."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from durable.activity import ActivityCancellationDetails, ActivityDefinition, CompleteAsyncError, Flag, Info
from durable.client.description import moment
from durable.common import Priority, RetryPolicy
from durable.context import ActivityContext, current_activity
from durable.converter.failure import SOURCE
from durable.converter.task_context import of_task
from durable.effects import ENDS_MORE, AttemptSuperseded, recorded_despite
from durable.exceptions import ApplicationError, CancelledError
from durable.history import attempts
from durable.history.local_activities import is_local
from durable.history.messages import ActivityOutcome
from durable.history.standalone import is_standalone
from durable.history.transition import (
    ActivityTask,
    Detach,
    Outcome,
    Refused,
    Retry,
)
from durable.history.values import ApplicationFailureInfo, Failure, Payload
from durable.metrics import MetricMeter
from durable.worker import verifying
from durable.worker.attempt_chain import chained
from durable.worker.attempt_thread import AttemptThread
from durable.worker.encoding import CodecError, in_context, through_codec
from durable.worker.interceptor import ActivityOutboundInterceptor, ExecuteActivityInput
from durable.worker.processes import AttemptProcess, has_threads
from durable.worker.registry import RegisteredActivity

if TYPE_CHECKING:
    from durable.client import Client
    from durable.worker.activities import Activities
    from durable.worker.transaction import Transaction

logger = logging.getLogger("durable.worker")

HEARTBEAT_INTERVAL_MAX = 60.0
HEARTBEAT_INTERVAL_DEFAULT = 30.0
HEARTBEAT_WAIT = 10.0
"""Seconds that a thread waits until interceptors have had its heartbeat, on the loop."""
CURRENT_WAIT = 60.0
"""Seconds that a thread waits for the store's answer whether its attempt is still the one under way."""
ATTEMPT = "durable activity "
"""So begin the names of the tasks that run attempts."""

Key = tuple[str, int]
T = TypeVar("T")


class Attempt(ActivityContext):
    """One attempt under way: the context that its code sees, and its clock."""

    def __init__(self, activities: Activities, task: ActivityTask, found: RegisteredActivity | None) -> None:
        self.task = task
        self.key: Key = (task.run_id, task.scheduled_event_id)
        self.converter = activities.converter
        self._unconvertible: ApplicationError | None = None
        """Why nothing can be converted for it."""
        if activities.wants_contexts:
            try:
                self.converter = in_context(self.converter, of_task(activities.namespace, task))
            except CodecError as error:
                self._unconvertible = _as_application_error(error)
        self.payload_converter = self.converter.payload_converter
        self.spec = task.spec
        """What is asked for, as the code reads it."""
        self.heartbeat_details = task.progress.heartbeat_details
        """Those that the attempts before have left, as the code reads them."""
        self._is_plain = activities.converter.is_plain
        self._is_open = False
        """Its code has begun, and has not ended with an error of its own: what came of it must not get lost."""
        self._ended = False
        self._beat_next: list[Payload] | None = None
        self._beats: asyncio.Task[None] | None = None
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
        self._loop_thread = threading.get_ident()
        self._thread: AttemptThread | None = None
        self._process: AttemptProcess | None = None
        self._result_lost = False
        """The code has ended well in its process, and what it returned can't be told here."""
        self.outbound: ActivityOutboundInterceptor | None = None
        self._info_told: Info | None = None
        self.sleeps = False
        self._transaction: Transaction | None = None

    # -- what the code may ask (ActivityContext)

    def info(self) -> Info:
        if self.outbound is None:
            return self.own_info()
        return self._info_told or self.outbound.info()

    def own_info(self) -> Info:
        """Before any interceptor."""
        if self._info is None:
            self._info = _info(self._activities, self)
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
        if self.outbound is None:
            self.own_heartbeat(details)
        elif threading.get_ident() == self._loop_thread:
            self.outbound.heartbeat(*details)
        else:
            beating = asyncio.run_coroutine_threadsafe(_told(self.outbound, details), self._loop)
            beating.result(HEARTBEAT_WAIT)

    def own_heartbeat(self, details: Sequence[Any]) -> None:
        """After all interceptors."""
        if is_local(self.task.scheduled_event_id):
            return
        try:
            payloads = self.converter.to_payloads(details)
        except Exception as error:
            self._on_loop(self._heartbeat_failed, error)
        else:
            self._on_loop(self._beat, payloads)

    def client(self) -> Client | None:
        return None if self.is_sync else self._activities.client

    def metric_meter(self) -> MetricMeter | None:
        return MetricMeter.noop

    def session(self, kind: type[Any] | None) -> Any:
        return super().session(kind) if self._transaction is None else self._transaction.session(kind)

    @property
    def is_transactional(self) -> bool:
        return self._transaction is not None

    @property
    def is_in_transaction(self) -> bool:
        return self._transaction is not None and self._transaction.is_open

    def shield_thread_cancel(self) -> AbstractContextManager[None]:
        return self._thread.shield() if self._thread is not None else _nothing()

    def ledger_entry(self, *, blocking: bool) -> tuple[str, int]:
        if blocking == (threading.get_ident() == self._loop_thread):
            raise RuntimeError(
                "activity.exactly_once takes an AsyncEngine in an async activity, on the worker's event loop, and an "
                "Engine in a sync one, in its thread"
            )
        return attempts.idempotency_key(*self.key), self._activities.database.store.now_us()

    async def is_current(self) -> bool:
        if self._owned and not await self._activities.ledgers.knows(attempts.token(self.task)):
            self.disown()
        return self._owned

    def is_current_sync(self) -> bool:
        return asyncio.run_coroutine_threadsafe(self.is_current(), self._loop).result(CURRENT_WAIT)

    @contextmanager
    def asleep(self) -> Generator[None]:
        self.sleeps = True
        try:
            yield
        finally:
            self.sleeps = False

    # -- its life

    def begin(self) -> None:
        self._work = self._loop.create_task(self._run(), name=f"{ATTEMPT}{self.task.spec.activity_type}")
        self._work.add_done_callback(self._task_ended)
        self._watch_deadline()

    def cancel(self, details: ActivityCancellationDetails) -> None:
        if self._ended:  # what it came to is being encoded, which is cut short when nobody waits for it any more
            if self._work is not None and (details.timed_out or details.worker_shutdown or details.not_found):
                self._details = details
                self._work.cancel()
            return
        if self._cancelled.is_set():
            return
        self._details = details
        self._cancelled.set()
        if self._thread is not None:
            self._thread.cancel()
        elif self._process is not None:
            self._process.cancel()
        elif self._work is not None:
            self._work.cancel("Activity cancelled")

    def disown(self) -> None:
        """Whatever comes of it is nobody's business any more."""
        self._owned = False
        if self._transaction is not None:
            self._transaction.abandon()

    def _task_ended(self, work: asyncio.Task[None]) -> None:
        """A task that is cancelled before its first step runs none of its code: the attempt is over all the same."""
        if work.cancelled():
            self._over(self._cut_short(asyncio.CancelledError()))
        self._work = None  # it holds this attempt in its context: without the circle both go at once

    async def _run(self) -> None:
        current_activity.set(self)
        what: ActivityOutcome | Retry | Detach | None = None
        try:
            try:
                if self._found is not None and self._found.definition.transaction_s is not None:
                    what = await self._in_transaction(self._found.definition)
                else:
                    what = await self._completed()
            except AttemptSuperseded:
                self.disown()
            except CompleteAsyncError:
                if not self._is_plain:
                    await self._end()
                what = attempts.detached(self.task, self._activities.database.store.now_us())
            except asyncio.CancelledError as error:
                what = self._cut_short(error) if self._ended else await self._ended_by(error)
            except ENDS_MORE:
                raise
            except BaseException as error:  # what nobody reports is run again without an end, as the same attempt
                what = await self._ended_by(error)
        except asyncio.CancelledError as error:
            what = self._cut_short(error)
        finally:
            try:
                await self._roll_back()
            finally:
                self._over(what)

    async def _roll_back(self) -> None:
        """What the code wanted to have committed with its result, and is not."""
        if self.effect is not None:
            await self.effect.rollback()

    def _is_ours(self) -> bool:
        return self._owned

    async def _completed(self) -> ActivityOutcome:
        """What comes of it if its code returns, or if an attempt before has had the effects already."""
        try:
            payloads = await self._settled()
        except BaseException as error:
            recorded = recorded_despite(error, self.effect)
            if recorded is None:
                raise
            payloads = recorded
        return attempts.completed(self.task, payloads, self._activities.identity)

    async def _settled(self) -> list[Payload]:
        """What its code returns, and is committed with the effects of its block."""
        result = await self._call()
        payloads = self.converter.to_payloads([result])
        if not self._is_plain:
            await self._end()
            payloads = await self._stored(payloads)
        if self.effect is not None:
            await self._end()
            payloads = await self._activities.ledgers.settle(self.effect, payloads, self._is_ours)
        return payloads

    async def _in_transaction(self, definition: ActivityDefinition) -> ActivityOutcome | None:
        """The same, in a transaction that its code may begin: then it is committed, and nobody needs to be told."""
        from durable.worker.transaction import Transaction  # brings SQLAlchemy's ORM, which most programs don't need

        assert definition.transaction_s is not None
        transaction = self._transaction = Transaction(
            self._activities.database,
            f"activity {self.task.spec.activity_type!r} of workflow {self.task.spec.workflow_id!r}",
            is_sync=self.is_sync,
            limit_s=definition.transaction_s,
            failed=self._heartbeat_failed,
            shielded=self.shield_thread_cancel,
        )
        try:
            what = await self._completed()
            transaction.check_whole()
            if not (transaction.is_open and self._owned):
                await transaction.roll_back()
                return what
            report = attempts.report(self.task, what, self._activities.database.store.now_us())
            outcome = await transaction.commit(report)
            if isinstance(outcome, Refused) and await self.is_current():
                raise RuntimeError(
                    "the activity has ended its own workflow in its transaction, where nobody could take its result "
                    "then, so all of it was rolled back: replace a workflow in a transaction that is not its activity's"
                )
        except GeneratorExit:
            raise
        except BaseException as error:
            await transaction.roll_back()
            if transaction.error is not None:
                raise transaction.error from None
            if isinstance(error, CompleteAsyncError):
                raise RuntimeError(
                    "a transactional activity can't be completed from outside: its writes are committed with its result"
                ) from None
            raise
        return None

    async def _call(self) -> Any:
        if self.task.unreadable:
            raise ApplicationError(self.task.unreadable, type="CorruptHistory")
        if self._unconvertible is not None:
            raise self._unconvertible
        if not self._is_plain:
            await self._read()
        if self._found is None:
            raise ApplicationError(self._activities.missing(self.task.spec.activity_type), type="NotFoundError")
        definition = self._found.definition
        args, kwargs = definition.arguments(self.converter, self.spec.input)
        executor = None if definition.is_async else self._activities.executor
        if self._activities.interceptors:
            inbound = chained(self, self._activities.interceptors)
            header = self.spec.header
            return await inbound.execute_activity(
                ExecuteActivityInput(self._found.reference, args, executor, header, kwargs=kwargs)
            )
        in_process = self._activities.processes is not None and not definition.is_async
        fn = self._found.reference if in_process else self._found.fn
        return await self.run_code(fn, args, kwargs, executor, is_async=definition.is_async)

    async def run_code(
        self,
        fn: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        executor: Executor | None,
        *,
        is_async: bool,
    ) -> Any:
        """What the code returns; or what it is known to have come to in an attempt before."""
        if self.task.progress.ambiguous and self._found is not None:
            known = await verifying.known(self, self._found, args, kwargs, executor)
            if known is not None:
                return known.result
            if self._cancelled.is_set():  # while it was asked, in a thread perhaps: nobody has told this task
                raise CancelledError("Cancelled")
        self._is_open = True
        try:
            return await (fn(*args, **kwargs) if is_async else self.run_sync(fn, args, kwargs, executor))
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._is_open = self._is_cut_off(error)
            raise

    def _is_cut_off(self, error: BaseException) -> bool:
        """Was it not the code that said so? It was cancelled, its process died, or its result did not get here."""
        cancelled = isinstance(error, CancelledError) and self._cancelled.is_set()
        return cancelled or isinstance(error, BrokenExecutor) or self._result_lost

    def did_not_happen(self) -> None:
        """It is known of all attempts before; whoever asks is to know it while this one runs."""
        self.task = attempts.certain(self.task)
        self._info_told = None
        if self._beat_due is not None:
            self._beat_due.cancel()
        self._send_beat()

    async def run_sync(
        self, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], executor: Executor | None
    ) -> Any:
        """The result of what is not async, in a thread or a process of the executor's. Before and after it, a
        cancellation is for the interceptors."""
        if self.outbound is not None:
            self._info_told = self.outbound.info()
        try:
            return await self._run_elsewhere(fn, args, kwargs, executor)
        finally:
            self._thread = self._process = None

    async def _run_elsewhere(
        self, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], executor: Executor | None
    ) -> Any:
        processes = self._activities.processes
        if processes is not None and not has_threads(executor):
            self._process = AttemptProcess(self._activities, processes)
            if self._cancelled.is_set():
                self._process.cancel()
            seen = self.outbound is not None
            beat = self._beat_from_process if seen else self._beat
            context = of_task(self._activities.namespace, self.task)
            process = self._process
            try:
                return await process.run(
                    executor, fn, args, kwargs, self.info(), beat, self.converter, context, beats_are_values=seen
                )
            finally:
                self._result_lost = process.result_lost
        assert self._found is not None
        thread = self._thread = AttemptThread(raises=not self._found.definition.no_thread_cancel_exception)
        if self._cancelled.is_set():
            thread.cancel()
        return await self._activities.run_in_pool(
            executor, contextvars.copy_context().run, lambda: thread.run(lambda: _to_its_end(fn, args, kwargs))
        )

    async def _ended_by(self, error: BaseException) -> ActivityOutcome | Retry | None:
        if not self._is_plain:
            await self._end()
        what = self._judged(error)
        if isinstance(what, list):
            try:
                details = what if self._is_plain or not what else await self._stored(what)
                return attempts.canceled(self.task, details, self._activities.identity)
            except ApplicationError as failed:
                error, what = failed, self.converter.to_failure(failed)
        if isinstance(what, Failure):
            return self._failed(error, what, what if self._is_plain else await self._stored_failure(what))
        return what

    def _cut_short(self, error: asyncio.CancelledError) -> ActivityOutcome | Retry | None:
        """Cancelled before its code began, or while the codec was at work on what it came to."""
        what = self._judged(error)
        if isinstance(what, list):
            return attempts.canceled(self.task, [], self._activities.identity)
        if isinstance(what, Failure):
            return self._failed(
                error, what, what if self._is_plain else self._words_of_ours(_unsaid(self._heartbeat_error or error))
            )
        return what

    def _judged(self, error: BaseException) -> ActivityOutcome | Retry | list[Payload] | Failure | None:
        """What an error means for the attempt: its failure; or the details with which it was cancelled, as a list."""
        if self._is_open:
            self.task = attempts.in_doubt(self.task)
        details = self._details
        now_us = self._activities.database.store.now_us()
        cancelled = isinstance(error, asyncio.CancelledError | CancelledError)
        if self._heartbeat_error is not None and cancelled:
            error, cancelled = self._heartbeat_error, False
        if cancelled and details is not None:
            if details.worker_shutdown and self.task.spec.retry_policy.maximum_attempts != 1:
                return attempts.handed_back(self.task, now_us)
            if details.worker_shutdown:  # it has begun, and may begin only once
                error = ApplicationError("the worker stopped while the activity ran", type="WorkerShutdown")
                failure = self._words_of_ours(error)
                return self._failed(error, failure, failure)
            elif details.cancel_requested:
                return self.converter.to_payloads(error.details) if isinstance(error, CancelledError) else []
            elif details.paused or details.reset:
                return attempts.interrupted(self.task, self._words_of_ours(_interruption(details)), now_us)
            else:
                return None
        if isinstance(error, asyncio.CancelledError) and self._work is not None and self._work.cancelling():
            return None  # the program is going down: the attempt is not over, another worker takes it
        return self.converter.to_failure(error)

    def _failed(self, error: BaseException, failure: Failure, stored: Failure) -> ActivityOutcome | Retry:
        now_us = self._activities.database.store.now_us()
        what = attempts.failed(self.task, stored, self._activities.identity, now_us)
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

    # -- its codec

    async def _read(self) -> None:
        """Decode what the code is to see. Raises as `_through`."""
        self.spec = await self._through(self.spec, reads=True)
        self.heartbeat_details = await self._through(self.heartbeat_details, reads=True)

    async def _end(self) -> None:
        """The code has ended; the details of its last heartbeat are kept before anything is told of it."""
        self._ended = True
        if self._beats is not None:
            await asyncio.wait([self._beats])

    async def _stored(self, payloads: list[Payload]) -> list[Payload]:
        return await self._through(payloads, reads=False)

    async def _stored_failure(self, failure: Failure) -> Failure:
        """What can't be encoded is not told: that it can't be is."""
        if self._unconvertible is not None:
            return self._words_of_ours(self._unconvertible)
        try:
            return await self._through(failure, reads=False)
        except ApplicationError as error:
            return self._words_of_ours(error)

    def _words_of_ours(self, error: ApplicationError) -> Failure:
        """The failure of an error whose text is nobody's secret, and not for the codec; without what it came of."""
        if self._is_plain:
            return self.converter.to_failure(error)
        info = ApplicationFailureInfo(type=error.type or "", non_retryable=error.non_retryable)
        return Failure(message=error.message, source=SOURCE, info=info)

    async def _through(self, value: T, *, reads: bool) -> T:
        """Raises what the codec raises as an `ApplicationError`, so that the attempt fails and is tried again."""
        try:
            return await through_codec(self.converter, value, reads=reads, headers=self._activities.encodes_headers)
        except CodecError as error:
            raise _as_application_error(error) from None

    def _over(self, what: ActivityOutcome | Retry | Detach | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        if self._beat_due is not None:
            self._beat_due.cancel()
        if self._beats is not None:
            self._beats.cancel()
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

    def _on_loop(self, tell: Callable[[Any], None], what: Any) -> None:
        """From whichever thread: a sync activity's own, or one that an async activity has work done in."""
        if threading.get_ident() == self._loop_thread:
            tell(what)
        else:
            self._loop.call_soon_threadsafe(tell, what)

    def _beat_from_process(self, details: Sequence[Any]) -> None:
        """One for the interceptors, who see values."""
        assert self.outbound is not None
        try:
            self.outbound.heartbeat(*details)
        except Exception as error:
            self._heartbeat_failed(error)

    def _heartbeat_failed(self, error: Exception) -> None:
        """Nobody will learn how far the attempt is: it is cancelled, and fails."""
        if not self._cancelled.is_set():
            self._heartbeat_error = error
        self.cancel(ActivityCancellationDetails())

    def _beat(self, payloads: list[Payload]) -> None:
        if self._is_plain:
            self._progressed(payloads)
            return
        self._beat_next = payloads
        if self._beats is None:
            self._beats = self._loop.create_task(self._encode_beats())

    async def _encode_beats(self) -> None:
        """One after the other; while one is being encoded, only the latest of those that come waits."""
        try:
            while (payloads := self._beat_next) is not None:
                self._beat_next = None
                self._progressed(await self._stored(payloads))
        except ApplicationError as error:
            self._beat_next = None
            self._heartbeat_failed(error)
        finally:
            self._beats = None

    def _progressed(self, payloads: list[Payload]) -> None:
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
        elif outcome.cancel_requested or outcome.paused or outcome.reset:
            self.cancel(
                ActivityCancellationDetails(
                    cancel_requested=outcome.cancel_requested, paused=outcome.paused, reset=outcome.reset
                )
            )


async def _told(outbound: ActivityOutboundInterceptor, details: Sequence[Any]) -> None:
    outbound.heartbeat(*details)


def _to_its_end(call: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """In a thread: what futures, loops and coroutines don't take for an error is one. The first would end the program,
    the second never arrive, and the third pass for the end of the attempt's own task."""
    try:
        return call(*args, **kwargs)
    except (SystemExit, StopIteration, GeneratorExit) as error:
        raise ApplicationError(str(error), type=type(error).__name__) from error


@contextmanager
def _nothing() -> Generator[None]:
    yield


def _beat_interval(task: ActivityTask) -> float:
    """Seconds between two heartbeats that are sent."""
    timeout = task.spec.heartbeat_timeout_us / 1_000_000
    return min(0.8 * timeout, HEARTBEAT_INTERVAL_MAX) if timeout else HEARTBEAT_INTERVAL_DEFAULT


def _is_benign(error: BaseException) -> bool:
    return isinstance(error, ApplicationError) and error.category == 1


def _as_application_error(error: CodecError) -> ApplicationError:
    """What the codec has raised, if it is one; else one that says so."""
    cause = error.__cause__
    if isinstance(cause, ApplicationError):
        return cause
    told = ApplicationError(str(error), type=type(cause).__name__)
    told.__cause__ = cause
    return told


def _unsaid(error: BaseException) -> ApplicationError:
    """Stands for an error whose text the codec did not get to encode."""
    text = f"the attempt failed with {type(error).__name__}, and was cut short before that was encoded"
    return ApplicationError(text, type=type(error).__name__)


def _interruption(details: ActivityCancellationDetails) -> ApplicationError:
    what, kind = ("paused", "ActivityPause") if details.paused else ("reset", "ActivityReset")
    return ApplicationError(f"the activity was {what} from outside, and its code ended with that", type=kind)


def _duration(us: int) -> timedelta | None:
    return timedelta(microseconds=us) if us else None


def _info(activities: Activities, attempt: Attempt) -> Info:
    task, spec = attempt.task, attempt.spec
    standalone = is_standalone(spec.workflow_type)
    return Info(
        activity_id=spec.activity_id,
        activity_type=spec.activity_type,
        attempt=task.attempt,
        current_attempt_scheduled_time=moment(task.due_us),
        heartbeat_details=attempt.converter.from_payloads(attempt.heartbeat_details),
        heartbeat_timeout=_duration(spec.heartbeat_timeout_us),
        is_local=is_local(task.scheduled_event_id),
        namespace=activities.namespace,
        schedule_to_close_timeout=_duration(spec.schedule_to_close_timeout_us),
        scheduled_time=moment(spec.scheduled_us),
        start_to_close_timeout=_duration(spec.start_to_close_timeout_us),
        started_time=moment(task.started_us),
        task_queue=task.task_queue,
        task_token=attempts.task_token(task),
        workflow_id=None if standalone else spec.workflow_id,
        workflow_namespace=None if standalone else activities.namespace,
        workflow_run_id=None if standalone else task.run_id,
        workflow_type=None if standalone else spec.workflow_type,
        priority=Priority.from_history(spec.priority),
        retry_policy=RetryPolicy.from_history(spec.retry_policy),
        activity_run_id=task.run_id if standalone else None,
        idempotency_key=attempts.idempotency_key(task.run_id, task.scheduled_event_id),
    )
