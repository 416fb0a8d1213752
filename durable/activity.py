"""What activities are written with: `defn`, and what a running attempt may ask for."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import threading
import typing
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypedDict, TypeVar, overload

from durable.after_crash import AfterCrash, rule_of
from durable.common import Priority, RawValue, RetryPolicy
from durable.common import duration_us as _us
from durable.context import ActivityCall, ActivityContext, WorkflowContext, current_activity, maybe_workflow
from durable.history import values
from durable.metrics import MetricMeter
from durable.signature import Signature

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession
    from sqlalchemy.orm import Session

    from durable.client import Client
    from durable.converter import DataConverter, PayloadConverter

F = TypeVar("F", bound=Callable[..., Any])
S = TypeVar("S", bound="AsyncSession | Session")

_DEFINITION = "__temporal_activity_definition"

TRANSACTION_S = 2.0
"""Seconds for which a transactional activity may keep all other writers of a SQLite file waiting, by default."""


class ActivityCancellationType(IntEnum):
    """What cancelling a call means. Values are Temporal's.

    TRY_CANCEL: ask the activity to end, and go on at once. WAIT_CANCELLATION_COMPLETED: ask, and wait for its own
    outcome, which may be a result. ABANDON: go on at once, and ask nothing.
    """

    TRY_CANCEL = 0
    WAIT_CANCELLATION_COMPLETED = 1
    ABANDON = 2


class ActivityOptions(TypedDict, total=False):
    """The options of a call that `defn` can set for all calls, and each call again for itself."""

    task_queue: str | None
    schedule_to_close_timeout: timedelta | None
    schedule_to_start_timeout: timedelta | None
    start_to_close_timeout: timedelta | None
    heartbeat_timeout: timedelta | None
    retry_policy: RetryPolicy | None
    cancellation_type: ActivityCancellationType


@dataclass(frozen=True)
class ActivityDefinition:
    """An activity as worker and workflow know it: ``fn`` is the function as it was written.

    ``is_method``: it takes an object, or a class, first. ``is_class``: it is the ``__call__`` of a decorated class.
    A dynamic one takes every name that nothing else takes; its own is "".
    """

    name: str
    fn: Callable[..., Any]
    signature: Signature
    is_async: bool
    is_method: bool
    options: ActivityOptions = field(default_factory=lambda: ActivityOptions())
    no_thread_cancel_exception: bool = False
    dynamic: bool = False
    is_class: bool = False
    transaction_s: float | None = None
    """For how many seconds its transaction may keep all other writers waiting; None: it has none."""
    after_crash: AfterCrash = "retry"

    def arguments(
        self, converter: DataConverter, payloads: Sequence[values.Payload]
    ) -> tuple[list[Any], dict[str, Any]]:
        """What to call the function with. Raises TypeError when it can't be called so, or a value can't be read."""
        if self.dynamic:
            return [[RawValue(payload) for payload in payloads]], {}
        return self.signature.decode(converter, payloads)

    @staticmethod
    def of(reference: object) -> ActivityDefinition | None:
        """The definition behind a decorated function, (bound or unbound) method, callable class or object of one; None
        when there is none."""
        found = getattr(reference, _DEFINITION, None)
        return found if isinstance(found, ActivityDefinition) else None

    @staticmethod
    def must_be(reference: object) -> ActivityDefinition:
        """Like `of`; ValueError when there is none."""
        found = ActivityDefinition.of(reference)
        if found is None:
            name = getattr(reference, "__qualname__", repr(reference))
            raise ValueError(f"{name} is not an activity: decorate it with @activity.defn")
        return found

    def named(self) -> ActivityDefinition:
        """This one, for a call; ValueError for a dynamic one, which has no name of its own to be called by."""
        if self.dynamic:
            raise ValueError(f"{_name(self.fn)} is a dynamic activity: call it by the name that it is to run under")
        return self


@overload
def defn(fn: F, /) -> F: ...


@overload
def defn(
    *,
    name: str | None = None,
    no_thread_cancel_exception: bool = False,
    dynamic: bool = False,
    transactional: bool | timedelta = False,
    task_queue: str | None = None,
    schedule_to_close_timeout: timedelta | None = None,
    schedule_to_start_timeout: timedelta | None = None,
    start_to_close_timeout: timedelta | None = None,
    heartbeat_timeout: timedelta | None = None,
    retry_policy: RetryPolicy | None = None,
    cancellation_type: ActivityCancellationType = ActivityCancellationType.TRY_CANCEL,
    after_crash: Literal["retry", "fail"] | Callable[..., Any] = "retry",
) -> Callable[[F], F]: ...


def defn(
    fn: Any = None,
    /,
    *,
    name: str | None = None,
    no_thread_cancel_exception: bool = False,
    dynamic: bool = False,
    transactional: bool | timedelta = False,
    after_crash: Literal["retry", "fail"] | Callable[..., Any] = "retry",
    **options: Any,
) -> Any:
    """An activity: a function, a method or a class with ``__call__``, async or sync, whose effects are outside the
    workflow.

    Called inside a workflow it *is* the durable call: recorded, run by a worker, retried, its result replayed (a sync
    one returns an awaitable there). Called anywhere else it is the plain function. A method is registered bound to its
    object (``activities=[service.charge]``), a class as an object of it.

    ``name`` is what the database and other programs know it by; the default is the function's own name. The other
    options are the defaults of each call. Without any timeout an attempt may take as long as it likes: a worker's
    death is noticed all the same. ``retry_policy`` None is `RetryPolicy()`: 1 s, doubled, without limit.
    ``no_thread_cancel_exception``: a sync activity that is cancelled gets no exception, only `is_cancelled`.
    ``dynamic``: it runs what is called by a name that no activity of the worker has; it takes the arguments as one
    ``Sequence[RawValue]``, and finds the name in ``info().activity_type``.

    ``transactional``: it works on `session`, in the engine's own database, and what it writes there, its result and the
    end of its task are one commit: its effects happen exactly once, whatever crashes. On SQLite, where all writers wait
    for it, its transaction may be open for 2 s, or for as long as is given instead of True.

    ``after_crash`` (ours) is what the next attempt does when the code of one before had begun and nobody knows how it
    ended: its worker died, it timed out, or it was cut off by a worker that stopped, a pause or a reset. "retry": it
    runs the code again. "fail": it does not, and the activity has failed for good with an `ApplicationError` of type
    "OutcomeUnknown". A function, async or not: it asks that one first, with the activity's arguments (of a method, the
    same object before them), where `info` and `heartbeat` work as in the activity. `Happened` is then the activity's
    result; None means that the effect has not happened, and the code runs; an error fails the attempt, and the next
    one asks again. What counts is the definition of the worker that runs the next attempt.

    Raises TypeError for what can't be called or has no name, and for an ``after_crash`` function that can't take the
    activity's arguments; ValueError for what is decorated already, or an unknown ``after_crash``; RuntimeError for a
    dynamic one with a name.
    """
    if dynamic and name is not None:
        raise RuntimeError("Cannot provide name and dynamic boolean")
    unknown = set(options) - set(ActivityOptions.__annotations__)
    if unknown:
        raise TypeError(f"@activity.defn has no option {', '.join(sorted(unknown))}")
    call_options: ActivityOptions = {key: value for key, value in options.items() if value is not None}  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    policy = call_options.get("retry_policy")
    if policy is not None:
        policy._validate()  # pyright: ignore[reportPrivateUsage]
    transaction_s = _transaction_s(transactional)

    def decorate(target: Any) -> Any:
        is_class = inspect.isclass(target)
        if _DEFINITION in getattr(target, "__dict__", {}):
            raise ValueError(f"{_name(target)} is an activity already")
        call: Any = _call_of(target) if is_class else target
        if not callable(call):
            what = "has no __call__ method" if is_class else "can't be called"
            raise TypeError(f"Activity {_name(target)} {what}")
        own_name = name or getattr(target, "__name__", None)
        if own_name is None:
            raise TypeError(f"Activity {_name(target)} has no name: give it one, as in @activity.defn(name=...)")
        is_method = is_class or _takes_self(call)
        if dynamic:
            _check_dynamic(target, call, is_method)
        definition = ActivityDefinition(
            name="" if dynamic else own_name,
            fn=call,
            signature=Signature.of(call, skip_first=is_method),
            is_async=inspect.iscoroutinefunction(call),
            is_method=is_method,
            options=call_options,
            no_thread_cancel_exception=no_thread_cancel_exception,
            dynamic=dynamic,
            is_class=is_class,
            transaction_s=transaction_s,
            after_crash=rule_of(after_crash, call, own_name),
        )
        wrapper = _async_call(definition) if definition.is_async else _sync_call(definition)
        setattr(wrapper, _DEFINITION, definition)
        if not is_class:
            return wrapper
        target.__call__ = wrapper
        setattr(target, _DEFINITION, definition)
        return target

    return decorate if fn is None else decorate(fn)


def _transaction_s(transactional: bool | timedelta) -> float | None:
    if isinstance(transactional, bool):
        return TRANSACTION_S if transactional else None
    if not isinstance(transactional, timedelta):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"transactional is a bool or a timedelta, not {transactional!r}")
    if transactional <= timedelta():
        raise ValueError("transactional is True, or for how long its transaction may be open on SQLite: more than zero")
    return transactional.total_seconds()


def _call_of(target: type) -> Any:
    """The ``__call__`` of a class's objects as it was written, or None; that of a decorated base is a wrapper."""
    call = next((vars(each)["__call__"] for each in target.__mro__ if "__call__" in vars(each)), None)
    found = getattr(call, _DEFINITION, None)
    return found.fn if isinstance(found, ActivityDefinition) else call


def _takes_self(fn: Callable[..., Any]) -> bool:
    first = next(iter(inspect.signature(fn).parameters.values()), None)
    if first is None or first.name not in ("self", "cls"):
        return False
    return first.annotation is first.empty or str(first.annotation) in ("Self", "typing.Self")


def _check_dynamic(target: object, call: Callable[..., Any], is_method: bool) -> None:
    parameters = list(inspect.signature(call).parameters)[is_method:]
    hints = Signature.of(call, skip_first=is_method).positional_hints
    if len(parameters) != 1 or [_sequence_of(hint) for hint in hints] != [RawValue]:
        raise TypeError(f"Dynamic activity {_name(target)} must take one parameter, of type Sequence[RawValue]")


def _sequence_of(hint: Any) -> Any:
    """What it is a ``Sequence`` of; None for another type."""
    return typing.get_args(hint)[0] if typing.get_origin(hint) is Sequence else None


def _async_call(definition: ActivityDefinition) -> Callable[..., Any]:
    fn = definition.fn

    @functools.wraps(fn)
    async def call(*args: Any, **kwargs: Any) -> Any:
        run = maybe_workflow()
        if run is None:
            return await fn(*args, **kwargs)
        return await _durably(run, definition, args, kwargs)

    return call


def _sync_call(definition: ActivityDefinition) -> Callable[..., Any]:
    fn = definition.fn

    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        run = maybe_workflow()
        if run is None:
            return fn(*args, **kwargs)
        return _durably(run, definition, args, kwargs)

    return call


def _durably(
    run: WorkflowContext, definition: ActivityDefinition, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Awaitable[Any]:
    """The call of an activity by workflow code."""
    values = args[1:] if definition.is_method else args
    name = definition.named().name
    if run.outbound is not None:
        return run.intercept_call(definition, values, kwargs)
    converter = run.activity_converter(name, None, definition.options.get("task_queue"))
    payloads = definition.signature.encode(converter, values, kwargs)
    return run.call_activity(activity_call(name, payloads, definition.signature.return_hint, **definition.options))


def activity_call(
    activity_type: str,
    input: list[values.Payload],
    result_type: Any,
    *,
    activity_id: str | None = None,
    task_queue: str | None = None,
    schedule_to_close_timeout: timedelta | None = None,
    schedule_to_start_timeout: timedelta | None = None,
    start_to_close_timeout: timedelta | None = None,
    heartbeat_timeout: timedelta | None = None,
    retry_policy: RetryPolicy | None = None,
    cancellation_type: ActivityCancellationType = ActivityCancellationType.TRY_CANCEL,
    priority: Priority = Priority.default,
    summary: str | None = None,
    header: Mapping[str, values.Payload] | None = None,
) -> ActivityCall:
    """A call with its options checked, as the context takes it."""
    if (why := values.unstorable("a task queue", task_queue or "")) is not None:
        raise ValueError(why)
    if retry_policy is not None:
        retry_policy._validate()  # pyright: ignore[reportPrivateUsage]
    return ActivityCall(
        activity_type=activity_type,
        input=input,
        result_type=result_type,
        activity_id=activity_id,
        task_queue=task_queue,
        schedule_to_close_timeout_us=_us("schedule_to_close_timeout", schedule_to_close_timeout),
        schedule_to_start_timeout_us=_us("schedule_to_start_timeout", schedule_to_start_timeout),
        start_to_close_timeout_us=_us("start_to_close_timeout", start_to_close_timeout),
        heartbeat_timeout_us=_us("heartbeat_timeout", heartbeat_timeout),
        retry_policy=_DEFAULT_POLICY if retry_policy is None else retry_policy.to_history(),
        cancellation_type=cancellation_type,
        priority=priority.to_history(),
        summary=summary,
        header=dict(header or {}),
    )


_DEFAULT_POLICY = values.RetryPolicy()


@dataclass(frozen=True)
class Happened:
    """What an ``after_crash`` function returns when the effect has happened: ``result`` is the activity's."""

    result: Any = None


class Flag:
    """Something that comes true once: asked, awaited, or waited for in a thread."""

    def __init__(self) -> None:
        self._set = False
        self._event: asyncio.Event | None = None
        self._thread_event: threading.Event | None = None

    def is_set(self) -> bool:
        """Whether what it stands for has happened."""
        return self._set

    def set(self) -> None:
        """On the engine's loop only."""
        self._set = True
        if self._event is not None:
            self._event.set()
        if self._thread_event is not None:
            self._thread_event.set()

    async def wait(self) -> None:
        """On the engine's loop only."""
        if not self._set:
            self._event = self._event or asyncio.Event()
            await self._event.wait()

    def wait_sync(self, timeout: float | None = None) -> bool:
        """In any other thread; ``timeout`` in seconds. Is it set?"""
        if self._thread_event is None:
            self._thread_event = threading.Event()
        if self._set:
            self._thread_event.set()
        return self._thread_event.wait(timeout)


@dataclass(frozen=True)
class ActivityCancellationDetails:
    """Why an attempt was asked to end."""

    not_found: bool = False
    cancel_requested: bool = False
    paused: bool = False
    reset: bool = False
    timed_out: bool = False
    worker_shutdown: bool = False


@dataclass(frozen=True)
class Info:
    """The attempt that is running. Temporal's `activity.Info`; times are aware, UTC."""

    activity_id: str
    activity_type: str
    attempt: int
    current_attempt_scheduled_time: datetime
    heartbeat_details: Sequence[Any]
    heartbeat_timeout: timedelta | None
    is_local: bool
    namespace: str
    schedule_to_close_timeout: timedelta | None
    scheduled_time: datetime
    start_to_close_timeout: timedelta | None
    started_time: datetime
    task_queue: str
    task_token: bytes
    workflow_id: str | None
    workflow_namespace: str | None
    workflow_run_id: str | None
    workflow_type: str | None
    priority: Priority
    retry_policy: RetryPolicy | None
    activity_run_id: str | None = None
    """The run of an activity that a client started by itself; None for one of a workflow's."""
    idempotency_key: str = field(default="", kw_only=True)
    """The same for all attempts of this activity, and never that of another one, in whatever run: for services that
    do nothing twice under one key. The run's id, a colon, and the number of the activity in the run (a local one's is
    negative): printable ASCII, 57 characters at most."""

    @property
    def in_workflow(self) -> bool:
        """Was it called by a workflow?"""
        return self.workflow_id is not None

    def _logger_details(self) -> dict[str, Any]:
        return {
            "activity_id": self.activity_id,
            "activity_type": self.activity_type,
            "attempt": self.attempt,
            "namespace": self.namespace,
            "task_queue": self.task_queue,
            "workflow_id": self.workflow_id,
            "workflow_run_id": self.workflow_run_id,
            "workflow_type": self.workflow_type,
        }


def _context() -> ActivityContext:
    context = current_activity.get()
    if context is None:
        raise RuntimeError("Not in activity context")
    return context


def in_activity() -> bool:
    """Is this an activity's code?"""
    return current_activity.get() is not None


def info() -> Info:
    """The attempt that is running. RuntimeError outside of one."""
    return _context().info()


def heartbeat(*details: Any) -> None:
    """Tell that the attempt lives; ``details`` are what the next attempt finds in ``info().heartbeat_details``.

    Throttled to 80 % of the heartbeat timeout (60 s at most; 30 s without one); the latest details always arrive
    before the attempt's outcome. Never blocks. Details that can't be converted cancel the attempt, which then fails
    with the reason.
    """
    _context().heartbeat(details)


def client() -> Client:
    """The worker's client, for an activity that starts, signals or asks workflows.

    Only in ``async def`` activities, whose event loop is the client's; RuntimeError in others.
    """
    found = _context().client()
    if found is None:
        raise RuntimeError(
            "No client available. The client is only available in `async def` activities; a sync activity, in a thread "
            "or a process, is not on the client's event loop. In a test, give ActivityEnvironment a client."
        )
    return found


@overload
def session() -> AsyncSession: ...


@overload
def session(kind: type[S], /) -> S: ...


def session(kind: Any = None, /) -> Any:
    """The session of a transactional activity, a SQLAlchemy session on the engine's own database.

    An `AsyncSession`; in a sync activity a `Session`, or whatever class of these ``kind`` is, the same each time. Its
    transaction begins when it is first used, and is committed with the activity's result when the activity returns; if
    it fails, is cancelled or times out, or its worker dies, it is rolled back. It can't be committed by hand;
    ``begin_nested()`` makes savepoints. Given as ``session=`` to `client`'s calls, these are a part of it.

    RuntimeError in an activity that is not transactional; TypeError for a ``kind`` that does not fit.
    """
    return _context().session(kind)


def connection() -> Coroutine[Any, Any, AsyncConnection]:
    """The connection of `session`'s transaction: ``await activity.connection()``. (In a sync activity it is
    ``activity.session(Session).connection()``.)"""
    return session().connection()


def payload_converter() -> PayloadConverter:
    """What converts the activity's arguments, result and heartbeat details."""
    return _context().payload_converter


def metric_meter() -> MetricMeter:
    """A meter whose instruments carry the attempt's namespace, task queue and activity type. RuntimeError in a process
    activity. The worker's own measures nothing; a test's is `ActivityEnvironment.metric_meter`."""
    context = _context()
    found = context.metric_meter()
    if found is None:
        raise RuntimeError("The metric meter is not available in a process activity: measure where the worker runs")
    attempt = context.info()
    return found.with_additional_attributes(
        {
            "namespace": attempt.namespace,
            "task_queue": attempt.task_queue,
            "activity_type": attempt.activity_type,
        }
    )


class CompleteAsyncError(BaseException):
    """What `raise_complete_async` raises. Not to be caught, and no failure."""


_CompleteAsyncError = CompleteAsyncError  # Temporal's name for it


def raise_complete_async() -> NoReturn:
    """End the code of this attempt, and not the attempt: its outcome comes later, from wherever, by
    `Client.get_async_activity_handle`.

    Its timeouts go on, a heartbeat timeout too; the worker may stop or die, which does the attempt no harm any more.
    """
    if _context().effect is not None:
        raise RuntimeError(
            "an attempt that has entered activity.exactly_once can't be completed from outside: its effects are "
            "committed with its result, which it returns"
        )
    raise CompleteAsyncError


@overload
def exactly_once(
    engine: AsyncEngine, *, keep: timedelta = timedelta(days=1)
) -> AbstractAsyncContextManager[AsyncSession]: ...


@overload
def exactly_once(engine: Engine, *, keep: timedelta = timedelta(days=1)) -> AbstractContextManager[Session]: ...


def exactly_once(engine: Any, *, keep: timedelta = timedelta(days=1)) -> Any:
    """A transaction in a SQL database of your own, whose effects happen once, whoever dies and whatever is tried again.

    An async activity enters ``async with exactly_once(async_engine) as session``, a sync one (in a thread) ``with
    exactly_once(engine) as session``; once per attempt. What the session does is committed when the function has
    returned, together with the result, in the table ``durable_effects`` of that database; it is rolled back when the
    block is left by an error, or the function fails or is cancelled. An attempt that finds a result of an earlier one
    there ends with that result, at the block's first line. Savepoints (``begin_nested``) are fine; the session's
    ``commit`` is refused.

    ``keep``: rows are removed so long after they were made, once their activity is over.

    RuntimeError outside of an activity, in a process activity, for a second block, for an engine that does not
    commit by transactions, and when the table can't be made (``durable db ledger`` prints its DDL); TypeError for what
    is no engine.
    """
    from durable import exactly_once as blocks

    return blocks.begin(_context(), engine, keep)


def is_cancelled() -> bool:
    """Was the attempt asked to end?"""
    return _context().cancelled.is_set()


async def wait_for_cancelled() -> None:
    """Until the attempt is asked to end."""
    await _context().cancelled.wait()


def wait_for_cancelled_sync(timeout: timedelta | float | None = None) -> None:
    """Until the attempt is asked to end, or ``timeout`` (seconds or timedelta) is over; for sync activities."""
    _context().cancelled.wait_sync(timeout.total_seconds() if isinstance(timeout, timedelta) else timeout)


def cancellation_details() -> ActivityCancellationDetails | None:
    """Why the attempt was asked to end; None when it was not."""
    return _context().cancellation_details()


def shield_thread_cancel_exception() -> AbstractContextManager[None]:
    """A block in which a sync activity gets no cancel exception; a pending one is raised at its end."""
    return _context().shield_thread_cancel()


def is_worker_shutdown() -> bool:
    """Has the worker begun to stop?"""
    return _context().worker_shutdown.is_set()


async def wait_for_worker_shutdown() -> None:
    """Until the worker begins to stop."""
    await _context().worker_shutdown.wait()


def wait_for_worker_shutdown_sync(timeout: timedelta | float | None = None) -> None:
    """Until the worker begins to stop, or ``timeout`` (seconds or timedelta) is over; for sync activities."""
    _context().worker_shutdown.wait_sync(timeout.total_seconds() if isinstance(timeout, timedelta) else timeout)


_Base = logging.LoggerAdapter[logging.Logger]


class LoggerAdapter(_Base):
    """A logger that knows the attempt; in an activity it appends the attempt's identity to the text and the record."""

    def __init__(self, logger: logging.Logger, extra: Mapping[str, Any] | None = None) -> None:
        super().__init__(logger, extra or {})
        self.activity_info_on_message = True
        self.activity_info_on_extra = True
        self.full_activity_info_on_extra = False

    @property
    def base_logger(self) -> logging.Logger:
        """The logger underneath."""
        return self.logger

    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
        context = current_activity.get()
        extra = dict(self.extra or {})
        if context is not None:
            attempt = context.info()
            details = attempt._logger_details()  # pyright: ignore[reportPrivateUsage]
            if self.activity_info_on_message:
                msg = f"{msg} ({details})"
            if self.activity_info_on_extra:
                extra["temporal_activity"] = details
            if self.full_activity_info_on_extra:
                extra["activity_info"] = attempt
        kwargs["extra"] = {**extra, **(kwargs.get("extra") or {})}
        return msg, kwargs


logger = LoggerAdapter(logging.getLogger("temporalio.activity"))
"""Logs with the attempt that it is called in: `LoggerAdapter`. Its logger is ``temporalio.activity``, as there."""
"""Log from activity code with this."""


def _name(target: object) -> str:
    return getattr(target, "__qualname__", repr(target))
