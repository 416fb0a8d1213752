"""Where a worker's interceptors may stand: between a run and its code (inbound), or what that asks for (outbound).

An interceptor sees values: arguments that are decoded, options as the code has given them. What it hands on to the next
one counts; the last link makes commands of it. Its code is workflow code: it is replayed, and obeys the same rules.
The fields of the inputs are Temporal's, in Temporal's order. Ours are ``kwargs``, arguments without a position, and
``arg_names``, by which errors call the others.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from durable.activity import ActivityCancellationType
    from durable.common import Priority, RetryPolicy, VersioningOverride, WorkflowIDReusePolicy
    from durable.history.values import ParentClosePolicy, Payload
    from durable.search_attributes import SearchAttributes, TypedSearchAttributes
    from durable.workflow.calls import ActivityHandle
    from durable.workflow.child_handles import ChildWorkflowCancellationType, ChildWorkflowHandle
    from durable.workflow.groups import EventGroup
    from durable.workflow.info import Info
    from durable.workflow.versioning import ContinueAsNewVersioningBehavior, VersioningIntent


@dataclass
class ExecuteWorkflowInput:
    """The run's code is to begin. ``type`` is the class, of a function workflow the function; ``run_fn`` is unbound."""

    type: Any
    run_fn: Callable[..., Awaitable[Any]]
    args: Sequence[Any]
    headers: Mapping[str, Payload]
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any], kw_only=True)


@dataclass
class HandleSignalInput:
    """A signal is to be handled. What a dynamic handler takes are its name and a list of `RawValue`."""

    signal: str
    args: Sequence[Any]
    headers: Mapping[str, Payload]
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any], kw_only=True)


@dataclass
class HandleQueryInput:
    """A question is to be answered, be it one that every run answers (``__stack_trace`` and its like)."""

    id: str
    query: str
    args: Sequence[Any]
    headers: Mapping[str, Payload]
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any], kw_only=True)


@dataclass
class HandleUpdateInput:
    """An update is to be judged, or handled: an input each, for no replay judges again what was accepted."""

    id: str
    update: str
    args: Sequence[Any]
    headers: Mapping[str, Payload]
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any], kw_only=True)


@dataclass
class ContinueAsNewInput:
    """The run is to be followed by another. None is what this run has; ``workflow`` is a name."""

    workflow: str | None
    args: Sequence[Any]
    task_queue: str | None
    run_timeout: timedelta | None
    task_timeout: timedelta | None
    backoff_start_interval: timedelta | None
    retry_policy: RetryPolicy | None
    memo: Mapping[str, Any] | None
    search_attributes: TypedSearchAttributes | SearchAttributes | None
    headers: Mapping[str, Payload]
    versioning_intent: VersioningIntent | None
    initial_versioning_behavior: ContinueAsNewVersioningBehavior | None
    event_groups: Sequence[EventGroup] | None = None
    arg_types: list[Any] | None = None
    arg_names: Sequence[str] = field(default=(), repr=False, kw_only=True)


@dataclass
class SignalChildWorkflowInput:
    """A child is to get a signal."""

    signal: str
    args: Sequence[Any]
    child_workflow_id: str
    headers: Mapping[str, Payload]
    event_groups: Sequence[EventGroup] | None = None
    arg_names: Sequence[str] = field(default=(), repr=False, kw_only=True)


@dataclass
class SignalExternalWorkflowInput:
    """Another workflow of this namespace is to get a signal; ``workflow_run_id`` None means its latest run."""

    signal: str
    args: Sequence[Any]
    namespace: str
    workflow_id: str
    workflow_run_id: str | None
    headers: Mapping[str, Payload]
    event_groups: Sequence[EventGroup] | None = None
    arg_names: Sequence[str] = field(default=(), repr=False, kw_only=True)


@dataclass
class StartActivityInput:
    """An activity is to be scheduled. The options are those of the call over those of ``@activity.defn``.

    ``arg_types`` and ``ret_type`` are None where only the name is known; ``ret_type`` is what the result is decoded to.
    ``is_call``: the code calls the activity itself, which needs no timeout, and is cancelled as asyncio cancels.
    """

    activity: str
    args: Sequence[Any]
    activity_id: str | None
    task_queue: str | None
    schedule_to_close_timeout: timedelta | None
    schedule_to_start_timeout: timedelta | None
    start_to_close_timeout: timedelta | None
    heartbeat_timeout: timedelta | None
    retry_policy: RetryPolicy | None
    cancellation_type: ActivityCancellationType
    headers: Mapping[str, Payload]
    disable_eager_execution: bool
    versioning_intent: VersioningIntent | None
    summary: str | None
    event_groups: Sequence[EventGroup] | None = field(default=None, kw_only=True)
    priority: Priority
    arg_types: list[Any] | None
    ret_type: Any
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any], kw_only=True)
    is_call: bool = field(default=False, kw_only=True)
    arg_names: Sequence[str] = field(default=(), repr=False, kw_only=True)


@dataclass
class StartLocalActivityInput:
    """A local activity is to be run. See `StartActivityInput`."""

    activity: str
    args: Sequence[Any]
    activity_id: str | None
    schedule_to_close_timeout: timedelta | None
    schedule_to_start_timeout: timedelta | None
    start_to_close_timeout: timedelta | None
    retry_policy: RetryPolicy | None
    local_retry_threshold: timedelta | None
    cancellation_type: ActivityCancellationType
    headers: Mapping[str, Payload]
    summary: str | None
    event_groups: Sequence[EventGroup] | None = None
    arg_types: list[Any] | None = None
    ret_type: Any = None
    arg_names: Sequence[str] = field(default=(), repr=False, kw_only=True)


@dataclass
class StartChildWorkflowInput:
    """A child is to be started. See `start_child_workflow` for the options, `StartActivityInput` for the types."""

    workflow: str
    args: Sequence[Any]
    id: str
    task_queue: str | None
    cancellation_type: ChildWorkflowCancellationType
    parent_close_policy: ParentClosePolicy
    execution_timeout: timedelta | None
    run_timeout: timedelta | None
    task_timeout: timedelta | None
    id_reuse_policy: WorkflowIDReusePolicy
    retry_policy: RetryPolicy | None
    cron_schedule: str
    memo: Mapping[str, Any] | None
    search_attributes: TypedSearchAttributes | SearchAttributes | None
    headers: Mapping[str, Payload]
    versioning_intent: VersioningIntent | None
    static_summary: str | None
    static_details: str | None
    versioning_override: VersioningOverride | None = field(default=None, kw_only=True)
    event_groups: Sequence[EventGroup] | None = field(default=None, kw_only=True)
    priority: Priority
    arg_types: list[Any] | None
    ret_type: Any
    arg_names: Sequence[str] = field(default=(), repr=False, kw_only=True)


class WorkflowInboundInterceptor:
    """Stands between a run and its code. To be extended; each method hands on to the next one unless overridden.

    There is one object of it for each run, made before the run's code. An exception is as one of the workflow's, the
    handler's or the validator's own.
    """

    def __init__(self, next: WorkflowInboundInterceptor) -> None:
        self.next = next

    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        """Called once, before the run's code; handlers may be set here.

        To intercept what the code asks for, hand on an interceptor of your own around ``outbound``.
        """
        self.next.init(outbound)

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        """Run the code; its result."""
        return await self.next.execute_workflow(input)

    async def handle_signal(self, input: HandleSignalInput) -> None:
        """Run the handler; or, for a signal that `workflow.receive` takes, hand it over when it is taken."""
        return await self.next.handle_signal(input)

    async def handle_query(self, input: HandleQueryInput) -> Any:
        """Answer. Nothing may be changed, and nothing be waited for."""
        return await self.next.handle_query(input)

    def handle_update_validator(self, input: HandleUpdateInput) -> None:
        """Raise to reject the update. Called only where it has a validator; nothing may be changed."""
        self.next.handle_update_validator(input)

    async def handle_update_handler(self, input: HandleUpdateInput) -> Any:
        """Run the handler; its result."""
        return await self.next.handle_update_handler(input)


class WorkflowOutboundInterceptor:
    """Stands between the code and what it asks for. To be extended; each method hands on to the next one unless
    overridden."""

    next: WorkflowOutboundInterceptor

    def __init__(self, next: WorkflowOutboundInterceptor) -> None:
        self.next = next

    def continue_as_new(self, input: ContinueAsNewInput) -> NoReturn:
        """`workflow.continue_as_new`: does not return."""
        self.next.continue_as_new(input)

    def info(self) -> Info:
        """`workflow.info`."""
        return self.next.info()

    async def signal_child_workflow(self, input: SignalChildWorkflowInput) -> None:
        """`workflow.ChildWorkflowHandle.signal`."""
        return await self.next.signal_child_workflow(input)

    async def signal_external_workflow(self, input: SignalExternalWorkflowInput) -> None:
        """`workflow.ExternalWorkflowHandle.signal`."""
        return await self.next.signal_external_workflow(input)

    def start_activity(self, input: StartActivityInput) -> ActivityHandle[Any]:
        """`workflow.start_activity` and its like, and the call of an activity itself.

        Of such a call (``input.is_call``) the handle is a future that cancels as asyncio does, and no task.
        """
        return self.next.start_activity(input)

    async def start_child_workflow(self, input: StartChildWorkflowInput) -> ChildWorkflowHandle[Any, Any]:
        """`workflow.start_child_workflow` and its like."""
        return await self.next.start_child_workflow(input)

    def start_local_activity(self, input: StartLocalActivityInput) -> ActivityHandle[Any]:
        """`workflow.start_local_activity` and its like."""
        return self.next.start_local_activity(input)
