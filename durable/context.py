"""The port between running code and whoever runs it: what workflow code and activity code may ask for.

The authoring modules (`durable.workflow`, `durable.activity`) are written against these two classes; the worker and the
test environments implement them. Workflow code runs on one thread, one run at a time, so "the run that is being
stepped" belongs to the thread; an activity belongs to its contextvars context.
"""

from __future__ import annotations

import logging
import random
import threading
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from durable.history import values
from durable.history.values import Failure, Payload

if TYPE_CHECKING:
    from durable import activity, workflow
    from durable.activity import ActivityDefinition
    from durable.client import Client
    from durable.converter import DataConverter, PayloadConverter
    from durable.effects import Effect
    from durable.metrics import MetricMeter
    from durable.workflow.definition import WorkflowDefinition
    from durable.workflow.handlers import HandlerDefinition, Kind
    from durable.workflow.interception import WorkflowOutboundInterceptor


class ActivityCall(Struct, frozen=True, kw_only=True, gc=False):
    """One call of an activity, ready to be scheduled. Durations in microseconds; 0 is no limit."""

    activity_type: str
    input: list[Payload]
    result_type: Any
    task_queue: str | None = None
    activity_id: str | None = None
    schedule_to_close_timeout_us: int = 0
    schedule_to_start_timeout_us: int = 0
    start_to_close_timeout_us: int = 0
    heartbeat_timeout_us: int = 0
    retry_policy: values.RetryPolicy = values.RetryPolicy()
    cancellation_type: int = 0
    priority: values.Priority | None = None
    summary: str | None = None
    header: dict[str, Payload] = {}


class ChildCall(Struct, frozen=True, kw_only=True):
    """One start of a child workflow, checked. Durations in microseconds; 0 is no limit."""

    workflow_type: str
    workflow_id: str
    input: list[Payload]
    result_type: Any
    task_queue: str | None
    cancellation_type: int
    parent_close_policy: values.ParentClosePolicy
    id_reuse_policy: values.IdReusePolicy
    execution_timeout_us: int
    run_timeout_us: int
    task_timeout_us: int
    retry_policy: values.RetryPolicy | None
    cron_schedule: str
    memo: dict[str, Payload]
    search_attributes: dict[str, Payload]
    priority: values.Priority | None
    user_metadata: values.UserMetadata | None
    header: dict[str, Payload] = {}


class WorkflowContext(ABC):
    """What a run that is being stepped answers to its own code."""

    converter: DataConverter
    definition: WorkflowDefinition
    current_details: str = ""
    outbound: WorkflowOutboundInterceptor | None = None
    """What stands between the code and the methods here; None: nothing does."""
    extern_functions: Mapping[str, Callable[..., Any]] = MappingProxyType({})
    """What interceptors have brought in."""

    @abstractmethod
    def activity_converter(
        self, activity_type: str, activity_id: str | None, task_queue: str | None, *, local: bool = False
    ) -> DataConverter:
        """For the arguments of the activity that is asked for next."""

    @abstractmethod
    def workflow_converter(self, workflow_id: str) -> DataConverter:
        """For what is sent to another workflow."""

    refused: frozenset[str] = frozenset()

    @abstractmethod
    def note_refusal(self, error: BaseException) -> None:
        """The code is about to be refused something of these; it gains nothing by catching the error."""

    """The qualified names of what its code may not use."""

    @abstractmethod
    def now_us(self) -> int:
        """The time of the current workflow task, in microseconds since the epoch."""

    @abstractmethod
    def info(self) -> workflow.Info: ...

    @abstractmethod
    def instance(self) -> Any:
        """The object of a class workflow; None for a function workflow."""

    @abstractmethod
    def is_replaying(self) -> bool: ...

    @abstractmethod
    def is_read_only(self) -> bool:
        """True while a query is answered, or an update judged."""

    @abstractmethod
    def start_activity(self, call: ActivityCall) -> workflow.ActivityHandle[Any]:
        """Schedule it; Temporal's way of cancelling: the handle then raises an ActivityError."""

    @abstractmethod
    def start_local_activity(self, call: ActivityCall) -> workflow.ActivityHandle[Any]:
        """Have it run by a worker of the workflow, without an event until it is over. ValueError for a name that the
        worker does not have."""

    @abstractmethod
    def call_activity(self, call: ActivityCall) -> Awaitable[Any]:
        """Schedule it; asyncio's way of cancelling: whoever awaits it sees asyncio.CancelledError."""

    @abstractmethod
    def intercept_call(
        self, definition: ActivityDefinition, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Awaitable[Any]:
        """`call_activity`, through ``outbound``."""

    @abstractmethod
    async def start_child(self, call: ChildCall) -> workflow.ChildWorkflowHandle[Any, Any]:
        """Start it; returns once it has begun."""

    @abstractmethod
    async def signal_external(
        self,
        to: values.WorkflowExecution,
        name: str,
        input: list[Payload],
        header: dict[str, Payload],
        *,
        child_only: bool,
    ) -> None:
        """Until the signal is in the other run's inbox; `ApplicationError` when nobody can get it."""

    @abstractmethod
    async def cancel_external(self, to: values.WorkflowExecution, reason: str) -> None:
        """Until the request is in the other run's inbox; `ApplicationError` when nobody can get it."""

    @abstractmethod
    async def wait_condition(self, condition: Callable[[], bool], timeout: float | None) -> None:
        """Until ``condition()`` holds; ``timeout`` in seconds, then `asyncio.TimeoutError`."""

    @abstractmethod
    async def receive(self, name: str, type_hint: Any) -> Any:
        """The next signal of this name."""

    @abstractmethod
    def get_handler(self, kind: Kind, name: str | None) -> Callable[..., Any] | None:
        """The handler that takes what is of this kind and name; None names the dynamic one."""

    @abstractmethod
    def set_handler(self, kind: Kind, name: str | None, definition: HandlerDefinition | None) -> None:
        """Put it in place, for what waits too; None takes it away."""

    @abstractmethod
    def patch(self, id: str, *, deprecated: bool) -> bool:
        """Has the run this patch? If it may have it, that is recorded."""

    @abstractmethod
    def all_handlers_finished(self) -> bool:
        """Is no signal and no update being handled?"""

    @abstractmethod
    def random(self) -> random.Random:
        """The run's own source of chance: the same numbers in every replay."""

    @abstractmethod
    def random_seed(self) -> int:
        """What it is seeded with."""

    @abstractmethod
    def cancellation_reason(self) -> str | None:
        """None until the run is asked to cancel; then the reason, maybe ""."""

    @abstractmethod
    def is_failure(self, error: BaseException) -> bool:
        """Would ``error``, escaping, fail the workflow (rather than the workflow task)?"""

    @abstractmethod
    def log(self, logger: logging.Logger, record: logging.LogRecord) -> None:
        """Hand the record to ``logger`` once the step is committed."""

    @abstractmethod
    def after_commit(self, call: Callable[[], None]) -> None:
        """Make the call, on the worker's event loop, once what the code now does is committed: never if its step is
        refused, or its workflow task fails. It is lost if the process dies between the two."""

    @abstractmethod
    def memo(self) -> Mapping[str, Payload]:
        """The memo as it is now."""

    @abstractmethod
    def upsert_memo(self, values: dict[str, Payload]) -> None:
        """Change it; a null takes a value away."""

    @abstractmethod
    def upsert_search_attributes(self, values: dict[str, Payload]) -> None:
        """Change them; a null, or an empty list, takes one away."""

    @abstractmethod
    def last_completion_result(self) -> Sequence[Payload]:
        """What the latest run of this chain that completed has returned; empty when there is none."""

    @abstractmethod
    def last_failure(self) -> Failure | None:
        """How the run before this one has failed; None when it has not."""

    @abstractmethod
    def summarize_timer(self, summary: str | None) -> None:
        """What a person is to read about the timer that the code starts next, if it does so before it waits."""


class ActivityContext(ABC):
    """What an attempt that is under way answers to its own code."""

    payload_converter: PayloadConverter
    effect: Effect | None = None
    """Its `activity.exactly_once` block, from when it enters it on."""

    @abstractmethod
    def info(self) -> activity.Info: ...

    @abstractmethod
    def heartbeat(self, details: Sequence[Any]) -> None:
        """Tell that the attempt lives, from the thread that runs it."""

    @abstractmethod
    def client(self) -> Client | None:
        """The worker's client; None where the code is not on its event loop."""

    @abstractmethod
    def metric_meter(self) -> MetricMeter | None:
        """None where the code is in a process of its own."""

    @property
    @abstractmethod
    def cancelled(self) -> activity.Flag:
        """Set when the attempt is asked to end."""

    @property
    @abstractmethod
    def worker_shutdown(self) -> activity.Flag:
        """Set when the worker begins to stop."""

    @abstractmethod
    def cancellation_details(self) -> activity.ActivityCancellationDetails | None: ...

    @abstractmethod
    def asleep(self) -> AbstractContextManager[None]:
        """A block in which the attempt only waits for time to pass, so that a test's time may be skipped."""

    def session(self, kind: type[Any] | None) -> Any:
        """The session of its transaction, as `activity.session` says."""
        raise RuntimeError(
            f"activity {self.info().activity_type!r} has no session: it has to be an @activity.defn(transactional=True)"
        )

    @property
    def is_transactional(self) -> bool:
        """Has the attempt a transaction in the engine's own database, begun or not?"""
        return False

    @property
    def is_in_transaction(self) -> bool:
        """Has the attempt begun its transaction in the engine's own database, and not ended it?"""
        return False

    @abstractmethod
    def ledger_entry(self, *, blocking: bool) -> tuple[str, int]:
        """What names the activity in a ledger of effects, and the time in microseconds. ``blocking``: the block is one
        for sync code. RuntimeError where there can be no such block."""

    @abstractmethod
    async def is_current(self) -> bool:
        """Does the store know the attempt as the one that is under way? On the engine's loop."""

    @abstractmethod
    def is_current_sync(self) -> bool:
        """`is_current`, in any other thread."""

    @abstractmethod
    def shield_thread_cancel(self) -> AbstractContextManager[None]:
        """A context manager under which no cancel exception is raised in the thread."""


class NotInWorkflowError(RuntimeError):
    """A function that only means something in workflow code was called elsewhere."""


class _Stepped(threading.local):
    run: WorkflowContext | None = None


_stepped = _Stepped()
current_activity: ContextVar[ActivityContext | None] = ContextVar("durable_activity", default=None)


def maybe_workflow() -> WorkflowContext | None:
    """The run whose code is running on this thread, if any."""
    return _stepped.run


def this_workflow() -> WorkflowContext:
    """The run whose code is running; `NotInWorkflowError` elsewhere."""
    run = _stepped.run
    if run is None:
        raise NotInWorkflowError("Not in workflow event loop")
    return run


class stepping:
    """For whoever steps a run: its code runs in this block. (As a generator it would take twice as long.)"""

    __slots__ = ("_before", "_run")

    def __init__(self, run: WorkflowContext) -> None:
        self._run = run

    def __enter__(self) -> None:
        self._before = _stepped.run
        _stepped.run = self._run

    def __exit__(self, *exc: object) -> None:
        _stepped.run = self._before
