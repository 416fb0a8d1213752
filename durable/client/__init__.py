"""Starting workflows and getting hold of them: the names of Temporal's `temporalio.client`."""

from durable.client.activity_executions import (
    ActivityExecution,
    ActivityExecutionAsyncIterator,
    ActivityExecutionCount,
    ActivityExecutionCountAggregationGroup,
    ActivityExecutionDescription,
    ActivityExecutionStatus,
)
from durable.client.async_activity import AsyncActivityHandle
from durable.client.client import Client
from durable.client.description import (
    PendingActivityInfo,
    PendingMessageInfo,
    WorkflowExecution,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowHistory,
)
from durable.client.errors import (
    ActivityFailureError,
    AsyncActivityCancelledError,
    RPCTimeoutOrCancelledError,
    WorkflowContinuedAsNewError,
    WorkflowFailureError,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from durable.client.handle import WorkflowHandle
from durable.client.listing import WorkflowExecutionAsyncIterator
from durable.client.pending import AsyncActivityIDReference
from durable.client.raw_description import PendingActivityState
from durable.client.standalone import ActivityHandle
from durable.client.updates import WorkflowUpdateHandle, WorkflowUpdateStage
from durable.client.with_start import WithStartWorkflowOperation
from durable.service import RPCError, RPCStatusCode

__all__ = [
    "ActivityExecution",
    "ActivityExecutionAsyncIterator",
    "ActivityExecutionCount",
    "ActivityExecutionCountAggregationGroup",
    "ActivityExecutionDescription",
    "ActivityExecutionStatus",
    "ActivityFailureError",
    "ActivityHandle",
    "AsyncActivityCancelledError",
    "AsyncActivityHandle",
    "AsyncActivityIDReference",
    "Client",
    "PendingActivityInfo",
    "PendingActivityState",
    "PendingMessageInfo",
    "RPCError",
    "RPCStatusCode",
    "RPCTimeoutOrCancelledError",
    "WithStartWorkflowOperation",
    "WorkflowContinuedAsNewError",
    "WorkflowExecution",
    "WorkflowExecutionAsyncIterator",
    "WorkflowExecutionDescription",
    "WorkflowExecutionStatus",
    "WorkflowFailureError",
    "WorkflowHandle",
    "WorkflowHistory",
    "WorkflowQueryFailedError",
    "WorkflowUpdateFailedError",
    "WorkflowUpdateHandle",
    "WorkflowUpdateRPCTimeoutOrCancelledError",
    "WorkflowUpdateStage",
]
