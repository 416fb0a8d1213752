"""`ActivityEnvironment`: runs an activity's function by itself, with everything that it may ask for at hand."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import inspect
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from durable.activity import ActivityCancellationDetails, ActivityDefinition, Flag, Info
from durable.client import Client
from durable.common import Priority, RetryPolicy
from durable.context import ActivityContext, current_activity
from durable.converter import DataConverter
from durable.effects import recorded_despite
from durable.history.uncut import uncut
from durable.history.values import Payload
from durable.metrics import MetricMeter
from durable.signature import Signature
from durable.worker.attempt_thread import AttemptThread

if TYPE_CHECKING:
    from durable.worker.transaction import Transaction

P = ParamSpec("P")
R = TypeVar("R")

_CANCEL_REQUESTED = ActivityCancellationDetails(cancel_requested=True)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ActivityEnvironment:
    """A world for one activity: set what it is to find here, then `run` a function, decorated or not.

    ``info`` is changed with `dataclasses.replace`; ``on_heartbeat`` is called with the details of each heartbeat;
    ``payload_converter`` and ``metric_meter`` are what the functions of these names give. ``client`` is what an async
    activity gets from `activity.client`; a transactional one, async or sync, works in its database: what it writes
    there is committed when it returns, and rolled back when it fails. What the function does in `activity.exactly_once`
    is committed when it has returned; in that ledger the activity goes by the ``idempotency_key`` of ``info``.
    """

    def __init__(self, client: Client | None = None, *, data_converter: DataConverter = DataConverter.default) -> None:
        self.info = self.default_info()
        self.on_heartbeat: Callable[..., None] = lambda *details: None
        self.payload_converter = data_converter.payload_converter
        self.metric_meter = MetricMeter.noop
        self._client = client
        self._running: list[_Context] = []
        self._cancelled: ActivityCancellationDetails | None = None
        self._shut_down = False

    @staticmethod
    def default_info() -> Info:
        """What ``info`` begins with; change it with `dataclasses.replace`."""
        return Info(
            activity_id="test",
            activity_type="unknown",
            attempt=1,
            current_attempt_scheduled_time=_EPOCH,
            heartbeat_details=[],
            heartbeat_timeout=None,
            is_local=False,
            namespace="default",
            schedule_to_close_timeout=timedelta(seconds=1),
            scheduled_time=_EPOCH,
            start_to_close_timeout=timedelta(seconds=1),
            started_time=_EPOCH,
            task_queue="test",
            task_token=b"test",
            workflow_id="test",
            workflow_namespace="default",
            workflow_run_id="test-run",
            workflow_type="test",
            priority=Priority.default,
            retry_policy=RetryPolicy(),
            idempotency_key="test-run:1",
        )

    def cancel(
        self,
        cancellation_details: ActivityCancellationDetails = _CANCEL_REQUESTED,
    ) -> None:
        """Ask what runs here to end, as a worker would: an exception in the coroutine, or in the thread that called
        `run`, unless its ``@activity.defn`` says ``no_thread_cancel_exception``. What is run later is asked at once.
        """
        self._cancelled = cancellation_details
        for context in list(self._running):
            context.cancel(self._cancelled)

    def worker_shutdown(self) -> None:
        """Tell what runs here that its worker begins to stop."""
        self._shut_down = True
        for context in list(self._running):
            context.worker_shutdown.set()

    def run(self, fn: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call ``fn`` as an attempt would: the result of a sync function, or a coroutine to await."""
        definition = ActivityDefinition.of(fn)
        call: Any = definition.fn if definition is not None and not definition.is_method else fn
        is_async = inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(type(call).__call__)
        context = _Context(self, self._client if is_async else None)
        context.signature = lambda: Signature.of(call) if definition is None else definition.signature
        if definition is not None and self.info.activity_type == "unknown":
            context.attempt = dataclasses.replace(self.info, activity_type=definition.name)
        if definition is not None and definition.transaction_s is not None:
            context.begin(self._client, is_sync=not is_async)
        if is_async:
            return self._run_async(context, call, args, kwargs)  # type: ignore[return-value]  # pyright: ignore[reportReturnType]
        raises = definition is None or not definition.no_thread_cancel_exception
        return contextvars.copy_context().run(self._run_sync, context, lambda: call(*args, **kwargs), raises)  # type: ignore[no-any-return]

    async def _run_async(
        self, context: _Context, call: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]
    ) -> Any:
        async def attempt() -> Any:
            current_activity.set(context)
            transaction = context.transaction
            if transaction is None:
                return await call(*args, **kwargs)
            try:
                result = await call(*args, **kwargs)
                transaction.check_whole()
                if transaction.is_open:
                    await transaction.commit(None)
                return result
            finally:
                await transaction.roll_back()

        with self._present(context):
            context.task = asyncio.ensure_future(attempt())
            self._catch_up(context)
            try:
                result = await context.task
                effect = context.effect
                if effect is not None and effect.is_open:
                    await uncut(effect.commit(self.payload_converter.to_payloads([result])))
                return result
            except BaseException as error:
                recorded = recorded_despite(error, context.effect)
                if recorded is None:
                    raise
                return context.read(recorded)
            finally:
                if context.effect is not None:
                    await context.effect.rollback()

    def _run_sync(self, context: _Context, call: Callable[[], Any], raises: bool) -> Any:
        current_activity.set(context)
        with self._present(context):
            context.thread = AttemptThread(raises=raises)
            self._catch_up(context)
            if context.transaction is not None:
                return self._in_transaction(context, context.thread, call)
            try:
                result = context.thread.run(call)
                effect = context.effect
                if effect is not None and effect.is_open:
                    effect.settle(self.payload_converter.to_payloads([result]))
                return result
            except BaseException as error:
                recorded = recorded_despite(error, context.effect)
                if recorded is None:
                    raise
                return context.read(recorded)
            finally:
                if context.effect is not None:
                    context.effect.discard()

    def _in_transaction(self, context: _Context, thread: AttemptThread, call: Callable[[], Any]) -> Any:
        assert context.transaction is not None
        is_whole = False
        try:
            result = thread.run(call)
            context.transaction.check_whole()
            is_whole = True
            return result
        finally:
            context.transaction.end_here(commits=is_whole)

    def _catch_up(self, context: _Context) -> None:
        if self._shut_down:
            context.worker_shutdown.set()
        if self._cancelled is not None:
            context.cancel(self._cancelled)

    @contextmanager
    def _present(self, context: _Context) -> Generator[None]:
        self._running.append(context)
        try:
            yield
        finally:
            self._running.remove(context)


class _Context(ActivityContext):
    """What the function sees."""

    def __init__(self, environment: ActivityEnvironment, client: Client | None) -> None:
        self.payload_converter = environment.payload_converter
        self._client = client
        self._metric_meter = environment.metric_meter
        self.attempt = environment.info
        self.task: asyncio.Task[Any] | None = None
        self.thread: AttemptThread | None = None
        self.signature: Callable[[], Signature]
        self._on_heartbeat = environment.on_heartbeat
        self._cancelled = Flag()
        self._shutdown = Flag()
        self._details: ActivityCancellationDetails | None = None
        self._lock = threading.Lock()
        self.transaction: Transaction | None = None

    def begin(self, client: Client | None, *, is_sync: bool) -> None:
        """It is transactional."""
        from durable.worker.transaction import Transaction  # brings SQLAlchemy's ORM, which most programs don't need

        if client is None:
            raise RuntimeError(
                f"activity {self.attempt.activity_type!r} is transactional, and needs a database to work in: "
                "ActivityEnvironment(client=await Client.connect('sqlite://'))"
            )
        what = f"activity {self.attempt.activity_type!r}"
        self.transaction = Transaction(client.database, what, is_sync=is_sync, shielded=self.shield_thread_cancel)

    def info(self) -> Info:
        return self.attempt

    def heartbeat(self, details: Sequence[Any]) -> None:
        self._on_heartbeat(*details)

    def client(self) -> Client | None:
        return self._client

    def metric_meter(self) -> MetricMeter | None:
        return self._metric_meter

    def session(self, kind: type[Any] | None) -> Any:
        return super().session(kind) if self.transaction is None else self.transaction.session(kind)

    @property
    def is_in_transaction(self) -> bool:
        return self.transaction is not None and self.transaction.is_open

    @property
    def cancelled(self) -> Flag:
        return self._cancelled

    @property
    def worker_shutdown(self) -> Flag:
        return self._shutdown

    def cancellation_details(self) -> ActivityCancellationDetails | None:
        return self._details

    def asleep(self) -> AbstractContextManager[None]:
        return _nothing()

    @property
    def is_transactional(self) -> bool:
        return self.transaction is not None

    def ledger_entry(self, *, blocking: bool) -> tuple[str, int]:
        return self.attempt.idempotency_key, time.time_ns() // 1000

    async def is_current(self) -> bool:
        return True

    def is_current_sync(self) -> bool:
        return True

    def read(self, result: list[Payload]) -> Any:
        """A result that was recorded, as the function would have returned it."""
        return self.payload_converter.from_payloads(result, [self.signature().return_hint])[0]

    def shield_thread_cancel(self) -> AbstractContextManager[None]:
        return self.thread.shield() if self.thread is not None else _nothing()

    def cancel(self, details: ActivityCancellationDetails) -> None:
        with self._lock:
            if self._details is not None:
                return
            self._details = details
        self._cancelled.set()
        if self.thread is not None:
            self.thread.cancel()
        elif self.task is not None:
            self.task.cancel("Activity cancelled")


@contextmanager
def _nothing() -> Generator[None]:
    yield
