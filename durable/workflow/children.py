"""Starting other workflows from workflow code, as children: the parent learns how they end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypedDict, TypeVar, Unpack, overload

from durable.common import Priority, RetryPolicy, VersioningOverride, WorkflowIDReusePolicy, duration_us
from durable.context import ChildCall, this_workflow
from durable.converter.search_attributes import given_search_attributes
from durable.history import cron
from durable.history.values import IdReusePolicy, ParentClosePolicy, UserMetadata, unstorable
from durable.search_attributes import SearchAttributes, TypedSearchAttributes
from durable.workflow.calls import UNSET, arguments
from durable.workflow.child_handles import ChildWorkflowCancellationType, ChildWorkflowHandle
from durable.workflow.clock import uuid4
from durable.workflow.definition import WorkflowDefinition
from durable.workflow.groups import EventGroup
from durable.workflow.versioning import VersioningIntent

R = TypeVar("R")


class ChildWorkflowConfig(TypedDict, total=False):
    """The options of `execute_child_workflow`, for ``**config``."""

    id: str | None
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
    versioning_intent: VersioningIntent | None
    static_summary: str | None
    static_details: str | None
    priority: Priority
    event_groups: Sequence[EventGroup] | None
    versioning_override: VersioningOverride | None


@overload
async def start_child_workflow(
    workflow: Callable[..., Awaitable[R]],
    arg: Any = ...,
    *,
    args: Sequence[Any] = ...,
    **options: Unpack[ChildWorkflowConfig],
) -> ChildWorkflowHandle[Any, R]: ...


@overload
async def start_child_workflow(
    workflow: str,
    arg: Any = ...,
    *,
    args: Sequence[Any] = ...,
    result_type: type[R] | None = ...,
    **options: Unpack[ChildWorkflowConfig],
) -> ChildWorkflowHandle[Any, Any]: ...


async def start_child_workflow(
    workflow: Any,
    arg: Any = UNSET,
    *,
    args: Sequence[Any] = (),
    id: str | None = None,
    task_queue: str | None = None,
    result_type: Any = None,
    cancellation_type: ChildWorkflowCancellationType = ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
    parent_close_policy: ParentClosePolicy = ParentClosePolicy.TERMINATE,
    execution_timeout: timedelta | None = None,
    run_timeout: timedelta | None = None,
    task_timeout: timedelta | None = None,
    id_reuse_policy: WorkflowIDReusePolicy = WorkflowIDReusePolicy.ALLOW_DUPLICATE,
    retry_policy: RetryPolicy | None = None,
    cron_schedule: str = "",
    memo: Mapping[str, Any] | None = None,
    search_attributes: TypedSearchAttributes | SearchAttributes | None = None,
    versioning_intent: VersioningIntent | None = None,
    static_summary: str | None = None,
    static_details: str | None = None,
    priority: Priority = Priority.default,
    event_groups: Sequence[EventGroup] | None = None,
    versioning_override: VersioningOverride | None = None,
) -> ChildWorkflowHandle[Any, Any]:
    """Start a workflow (its function, its class's run method, or its name) as a child; await the handle for its result.

    Returns when the start is recorded; no worker needs to be there for it. Raises `WorkflowAlreadyStartedError` when
    ``id`` (by default a new UUID) is in use. ``task_queue`` is this workflow's by default. ``parent_close_policy`` says
    what becomes of the child when this run is closed first, however it is closed, continued as new included;
    ``cancellation_type`` what cancelling the handle, or the code that awaits it, does. The other options are
    those of `Client.start_workflow`; ``versioning_intent``, ``versioning_override`` and ``event_groups`` are taken for
    compatibility.
    """
    run = this_workflow()
    definition = None if isinstance(workflow, str) else WorkflowDefinition.to_invoke(workflow)
    values = arguments(arg, args)
    workflow_type = workflow if definition is None else definition.name
    workflow_id = id or str(uuid4())
    converter = run.workflow_converter(workflow_id)
    for what, name in (
        ("a workflow id", workflow_id),
        ("a workflow type", workflow_type),
        ("a task queue", task_queue),
    ):
        if name is not None and (why := unstorable(what, name)) is not None:
            raise ValueError(why)
    if cron_schedule:
        cron.check(cron_schedule)
    summary, details = (
        None if text is None else converter.to_payloads([text])[0] for text in (static_summary, static_details)
    )
    call = ChildCall(
        workflow_type=workflow_type,
        workflow_id=workflow_id,
        input=converter.to_payloads(values)
        if definition is None
        else definition.signature.encode(converter, values, {}),
        result_type=result_type or (None if definition is None else definition.signature.return_hint),
        task_queue=task_queue,
        cancellation_type=cancellation_type,
        parent_close_policy=ParentClosePolicy(parent_close_policy),
        id_reuse_policy=IdReusePolicy(id_reuse_policy),
        execution_timeout_us=duration_us("execution_timeout", execution_timeout),
        run_timeout_us=duration_us("run_timeout", run_timeout),
        task_timeout_us=duration_us("task_timeout", task_timeout) or 10_000_000,
        retry_policy=None if retry_policy is None else retry_policy.to_history(),
        cron_schedule=cron_schedule,
        memo={key: converter.to_payloads([value])[0] for key, value in (memo or {}).items()},
        search_attributes=given_search_attributes(search_attributes, 2),
        priority=priority.to_history(),
        user_metadata=UserMetadata(summary=summary, details=details) if summary or details else None,
    )
    return await run.start_child(call)


@overload
async def execute_child_workflow(
    workflow: Callable[..., Awaitable[R]],
    arg: Any = ...,
    *,
    args: Sequence[Any] = ...,
    **options: Unpack[ChildWorkflowConfig],
) -> R: ...


@overload
async def execute_child_workflow(
    workflow: str,
    arg: Any = ...,
    *,
    args: Sequence[Any] = ...,
    result_type: type[R] | None = ...,
    **options: Unpack[ChildWorkflowConfig],
) -> Any: ...


async def execute_child_workflow(
    workflow: Any,
    arg: Any = UNSET,
    *,
    args: Sequence[Any] = (),
    result_type: Any = None,
    **options: Unpack[ChildWorkflowConfig],
) -> Any:
    """`start_child_workflow`, awaited: the child's result."""
    return await (await start_child_workflow(workflow, arg, args=args, result_type=result_type, **options))
