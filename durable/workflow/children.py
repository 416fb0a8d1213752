"""Starting other workflows from workflow code, as children: the parent learns how they end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypedDict, TypeVar, Unpack, overload

from durable.common import Priority, RetryPolicy, VersioningOverride, WorkflowIDReusePolicy, duration_us
from durable.context import ChildCall, this_workflow
from durable.converter import DataConverter
from durable.converter.search_attributes import given_search_attributes
from durable.history import cron
from durable.history.values import IdReusePolicy, ParentClosePolicy, UserMetadata, unstorable
from durable.search_attributes import SearchAttributes, TypedSearchAttributes
from durable.signature import Signature
from durable.workflow.calls import UNSET, arguments
from durable.workflow.child_handles import ChildWorkflowCancellationType, ChildWorkflowHandle
from durable.workflow.clock import uuid4
from durable.workflow.definition import WorkflowDefinition
from durable.workflow.groups import EventGroup
from durable.workflow.interception import StartChildWorkflowInput
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
    signature = None if definition is None else definition.signature
    values: Sequence[Any] = list(arguments(arg, args))
    arg_types, arg_names = None, tuple[str, ...]()
    if signature is not None and run.outbound is not None:
        values, _ = signature.parted(values, {})
        arg_types, arg_names = list(signature.positional_hints), signature.positional_names
    input = StartChildWorkflowInput(
        workflow=workflow if definition is None else definition.name,
        args=values,
        id=id or str(uuid4()),
        task_queue=task_queue,
        cancellation_type=cancellation_type,
        parent_close_policy=parent_close_policy,
        execution_timeout=execution_timeout,
        run_timeout=run_timeout,
        task_timeout=task_timeout,
        id_reuse_policy=id_reuse_policy,
        retry_policy=retry_policy,
        cron_schedule=cron_schedule,
        memo=memo,
        search_attributes=search_attributes,
        headers={},
        versioning_intent=versioning_intent,
        static_summary=static_summary,
        static_details=static_details,
        versioning_override=versioning_override,
        event_groups=event_groups,
        priority=priority,
        arg_types=arg_types,
        arg_names=arg_names,
        ret_type=result_type or (None if signature is None else signature.return_hint),
    )
    if run.outbound is None:
        return await run.start_child(child_call(run.workflow_converter(input.id), input, signature))
    return await run.outbound.start_child_workflow(input)


def child_call(
    converter: DataConverter, input: StartChildWorkflowInput, signature: Signature | None = None
) -> ChildCall:
    """The start, checked; without a ``signature`` the arguments are bound already."""
    for what, name in (
        ("a workflow id", input.id),
        ("a workflow type", input.workflow),
        ("a task queue", input.task_queue),
    ):
        if name is not None and (why := unstorable(what, name)) is not None:
            raise ValueError(why)
    if input.cron_schedule:
        cron.check(input.cron_schedule)
    summary, details = (
        None if text is None else converter.to_payloads([text])[0]
        for text in (input.static_summary, input.static_details)
    )
    if signature is None:
        payloads = converter.to_payloads(input.args, input.arg_names)
    else:
        payloads = signature.encode(converter, input.args, {})
    return ChildCall(
        workflow_type=input.workflow,
        workflow_id=input.id,
        input=payloads,
        result_type=input.ret_type,
        task_queue=input.task_queue,
        cancellation_type=input.cancellation_type,
        parent_close_policy=ParentClosePolicy(input.parent_close_policy),
        id_reuse_policy=IdReusePolicy(input.id_reuse_policy),
        execution_timeout_us=duration_us("execution_timeout", input.execution_timeout),
        run_timeout_us=duration_us("run_timeout", input.run_timeout),
        task_timeout_us=duration_us("task_timeout", input.task_timeout) or 10_000_000,
        retry_policy=None if input.retry_policy is None else input.retry_policy.to_history(),
        cron_schedule=input.cron_schedule,
        memo={key: converter.to_payloads([value])[0] for key, value in (input.memo or {}).items()},
        search_attributes=given_search_attributes(input.search_attributes, 3),
        priority=input.priority.to_history(),
        user_metadata=UserMetadata(summary=summary, details=details) if summary or details else None,
        header=dict(input.headers),
    )


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
