"""What an interceptor is given of each call about workflows: everything the caller said, as values, to be changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from durable.common import (
    Priority,
    QueryRejectCondition,
    RetryPolicy,
    VersioningOverride,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from durable.history.values import Payload
from durable.search_attributes import SearchAttributes, TypedSearchAttributes
from durable.signature import Signature

if TYPE_CHECKING:
    from durable.client.build_ids import BuildIdOp, TaskReachabilityType
    from durable.client.description import WorkflowExecutionStatus
    from durable.client.events import WorkflowHistoryEventFilterType
    from durable.client.handle import WorkflowHandle
    from durable.client.updates import WorkflowUpdateStage
    from durable.history.joining import Carrier


class Definition(Protocol):
    """What a call by the function itself, and not by its name, knows: the parameters that the arguments must fit."""

    @property
    def name(self) -> str | None: ...

    @property
    def signature(self) -> Signature: ...


def signature_of(definition: Definition | None, name: str) -> Signature | None:
    """That of what is called by now; None if nothing is known of it, or an interceptor calls something else."""
    return definition.signature if definition is not None and definition.name == name else None


@dataclass
class StartWorkflowInput:
    """Of `OutboundInterceptor.start_workflow`; the options of `Client.start_workflow`."""

    workflow: str
    args: Sequence[Any]
    id: str
    task_queue: str
    execution_timeout: timedelta | None
    run_timeout: timedelta | None
    task_timeout: timedelta | None
    id_reuse_policy: WorkflowIDReusePolicy
    id_conflict_policy: WorkflowIDConflictPolicy
    retry_policy: RetryPolicy | None
    cron_schedule: str
    memo: Mapping[str, Any] | None
    search_attributes: TypedSearchAttributes | SearchAttributes | None
    start_delay: timedelta | None
    headers: Mapping[str, Payload]
    start_signal: str | None
    start_signal_args: Sequence[Any]
    static_summary: str | None
    static_details: str | None
    ret_type: Any
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None
    request_eager_start: bool
    priority: Priority
    versioning_override: VersioningOverride | None = None
    time_skipping_config: Any = None
    """Taken for compatibility."""
    _: KW_ONLY
    kwargs: Mapping[str, Any] | None = None
    request_id: str | None = None
    definition: Definition | None = None
    """What the arguments are checked against; None: nothing."""
    session: Carrier | None = None
    """The caller's transaction, which the start is to be a part of."""


@dataclass
class CancelWorkflowInput:
    """Of `OutboundInterceptor.cancel_workflow`."""

    id: str
    run_id: str | None
    first_execution_run_id: str | None
    reason: str
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None
    _: KW_ONLY
    session: Carrier | None = None


@dataclass
class DescribeWorkflowInput:
    """Of `OutboundInterceptor.describe_workflow`."""

    id: str
    run_id: str | None
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None


@dataclass
class FetchWorkflowHistoryEventsInput:
    """Of `OutboundInterceptor.fetch_workflow_history_events`."""

    id: str
    run_id: str | None
    page_size: int | None
    next_page_token: bytes | None
    wait_new_event: bool
    event_filter_type: WorkflowHistoryEventFilterType
    skip_archival: bool
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None


@dataclass
class ListWorkflowsInput:
    """Of `OutboundInterceptor.list_workflows`."""

    query: str | None
    page_size: int
    next_page_token: bytes | None
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None
    limit: int | None
    _: KW_ONLY
    status: WorkflowExecutionStatus | None = None


@dataclass
class CountWorkflowsInput:
    """Of `OutboundInterceptor.count_workflows`."""

    query: str | None
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None


@dataclass
class QueryWorkflowInput:
    """Of `OutboundInterceptor.query_workflow`."""

    id: str
    run_id: str | None
    query: str
    args: Sequence[Any]
    reject_condition: QueryRejectCondition | None
    headers: Mapping[str, Payload]
    ret_type: Any
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None
    _: KW_ONLY
    definition: Definition | None = None
    """What the arguments are checked against; None: nothing."""


@dataclass
class SignalWorkflowInput:
    """Of `OutboundInterceptor.signal_workflow`."""

    id: str
    run_id: str | None
    signal: str
    args: Sequence[Any]
    headers: Mapping[str, Payload]
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None
    _: KW_ONLY
    request_id: str | None = None
    definition: Definition | None = None
    """What the arguments are checked against; None: nothing."""
    session: Carrier | None = None


@dataclass
class TerminateWorkflowInput:
    """Of `OutboundInterceptor.terminate_workflow`."""

    id: str
    run_id: str | None
    first_execution_run_id: str | None
    args: Sequence[Any]
    reason: str | None
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None


@dataclass
class StartWorkflowUpdateInput:
    """Of `OutboundInterceptor.start_workflow_update`."""

    id: str
    run_id: str | None
    first_execution_run_id: str | None
    update_id: str | None
    update: str
    args: Sequence[Any]
    wait_for_stage: WorkflowUpdateStage
    headers: Mapping[str, Payload]
    ret_type: Any
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None
    _: KW_ONLY
    definition: Definition | None = None
    """What the arguments are checked against; None: nothing."""


@dataclass
class UpdateWithStartUpdateWorkflowInput:
    """The update of a `StartWorkflowUpdateWithStartInput`."""

    update_id: str | None
    update: str
    args: Sequence[Any]
    wait_for_stage: WorkflowUpdateStage
    headers: Mapping[str, Payload]
    ret_type: Any
    _: KW_ONLY
    definition: Definition | None = None
    """What the arguments are checked against; None: nothing."""


@dataclass
class UpdateWithStartStartWorkflowInput:
    """The start of a `StartWorkflowUpdateWithStartInput`."""

    workflow: str
    args: Sequence[Any]
    id: str
    task_queue: str
    execution_timeout: timedelta | None
    run_timeout: timedelta | None
    task_timeout: timedelta | None
    id_reuse_policy: WorkflowIDReusePolicy
    id_conflict_policy: WorkflowIDConflictPolicy
    retry_policy: RetryPolicy | None
    cron_schedule: str
    memo: Mapping[str, Any] | None
    search_attributes: TypedSearchAttributes | SearchAttributes | None
    start_delay: timedelta | None
    headers: Mapping[str, Payload]
    static_summary: str | None
    static_details: str | None
    ret_type: Any
    priority: Priority
    versioning_override: VersioningOverride | None = None
    time_skipping_config: Any = None
    """Taken for compatibility."""
    _: KW_ONLY
    kwargs: Mapping[str, Any] | None = None
    request_id: str | None = None
    definition: Definition | None = None
    """What the arguments are checked against; None: nothing."""


@dataclass
class StartWorkflowUpdateWithStartInput:
    """Of `OutboundInterceptor.start_update_with_start_workflow`. ``rpc_timeout`` is for both together."""

    start_workflow_input: UpdateWithStartStartWorkflowInput
    update_workflow_input: UpdateWithStartUpdateWorkflowInput
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None
    _on_start: Callable[[WorkflowHandle[Any, Any]], None]
    _on_start_error: Callable[[BaseException], None]


@dataclass
class UpdateWorkerBuildIdCompatibilityInput:
    """Of `OutboundInterceptor.update_worker_build_id_compatibility`."""

    task_queue: str
    operation: BuildIdOp
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None


@dataclass
class GetWorkerBuildIdCompatibilityInput:
    """Of `OutboundInterceptor.get_worker_build_id_compatibility`."""

    task_queue: str
    max_sets: int | None
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None


@dataclass
class GetWorkerTaskReachabilityInput:
    """Of `OutboundInterceptor.get_worker_task_reachability`."""

    build_ids: Sequence[str]
    task_queues: Sequence[str]
    reachability: TaskReachabilityType | None
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None
