"""What an interceptor is given of each call about activities: everything the caller said, as values, to be changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from durable.client.inputs import Definition
from durable.client.pending import AsyncActivityIDReference
from durable.common import ActivityIDConflictPolicy, ActivityIDReusePolicy, Priority, RetryPolicy
from durable.converter import DataConverter
from durable.history.values import Payload
from durable.search_attributes import TypedSearchAttributes

if TYPE_CHECKING:
    from durable.history.joining import Carrier


@dataclass
class StartActivityInput:
    """Of `OutboundInterceptor.start_activity`; options that were not given are those of ``@activity.defn``."""

    activity_type: str
    args: Sequence[Any]
    id: str
    task_queue: str
    result_type: Any
    schedule_to_close_timeout: timedelta | None
    start_to_close_timeout: timedelta | None
    schedule_to_start_timeout: timedelta | None
    heartbeat_timeout: timedelta | None
    id_reuse_policy: ActivityIDReusePolicy
    id_conflict_policy: ActivityIDConflictPolicy
    retry_policy: RetryPolicy | None
    priority: Priority
    search_attributes: TypedSearchAttributes | None
    summary: str | None
    start_delay: timedelta | None
    headers: Mapping[str, Payload]
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None
    _: KW_ONLY
    request_id: str | None = None
    definition: Definition | None = None
    """What the arguments are checked against; None: nothing."""
    session: Carrier | None = None
    """The caller's transaction, which the start is to be a part of."""


@dataclass
class CancelActivityInput:
    """Of `OutboundInterceptor.cancel_activity`."""

    activity_id: str
    activity_run_id: str | None
    reason: str | None
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None


@dataclass
class TerminateActivityInput:
    """Of `OutboundInterceptor.terminate_activity`."""

    activity_id: str
    activity_run_id: str | None
    reason: str | None
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None


@dataclass
class PauseActivityInput:
    """Of `OutboundInterceptor.pause_activity`.

    ``workflow_id`` is that of the workflow whose activity it is, and ``activity_run_id`` its run; None is an activity
    that a client has started by itself. The same holds for the next two.
    """

    activity_id: str
    activity_run_id: str | None
    reason: str | None
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None
    _: KW_ONLY
    workflow_id: str | None = None


@dataclass
class UnpauseActivityInput:
    """Of `OutboundInterceptor.unpause_activity`."""

    activity_id: str
    activity_run_id: str | None
    reason: str | None
    jitter: timedelta | None
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None
    _: KW_ONLY
    workflow_id: str | None = None
    reset_attempts: bool = False
    reset_heartbeat: bool = False


@dataclass
class ResetActivityInput:
    """Of `OutboundInterceptor.reset_activity`."""

    activity_id: str
    activity_run_id: str | None
    keep_paused: bool
    reset_heartbeat: bool
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None
    _: KW_ONLY
    workflow_id: str | None = None


@dataclass
class DescribeActivityInput:
    """Of `OutboundInterceptor.describe_activity`. What may be included always is."""

    activity_id: str
    activity_run_id: str | None
    include_input: bool
    include_outcome: bool
    include_heartbeat_details: bool
    include_last_failure: bool
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None


@dataclass
class ListActivitiesInput:
    """Of `OutboundInterceptor.list_activities`."""

    query: str | None
    page_size: int
    next_page_token: bytes | None
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None
    limit: int | None


@dataclass
class CountActivitiesInput:
    """Of `OutboundInterceptor.count_activities`."""

    query: str | None
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None


@dataclass
class HeartbeatAsyncActivityInput:
    """Of `OutboundInterceptor.heartbeat_async_activity`. ``data_converter_override`` goes before the client's."""

    id_or_token: AsyncActivityIDReference | bytes
    details: Sequence[Any]
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None
    data_converter_override: DataConverter | None = None


@dataclass
class CompleteAsyncActivityInput:
    """Of `OutboundInterceptor.complete_async_activity`."""

    id_or_token: AsyncActivityIDReference | bytes
    result: Any
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None
    data_converter_override: DataConverter | None = None


@dataclass
class FailAsyncActivityInput:
    """Of `OutboundInterceptor.fail_async_activity`."""

    id_or_token: AsyncActivityIDReference | bytes
    error: Exception
    last_heartbeat_details: Sequence[Any]
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None
    data_converter_override: DataConverter | None = None


@dataclass
class ReportCancellationAsyncActivityInput:
    """Of `OutboundInterceptor.report_cancellation_async_activity`."""

    id_or_token: AsyncActivityIDReference | bytes
    details: Sequence[Any]
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None
    data_converter_override: DataConverter | None = None
