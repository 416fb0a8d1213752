"""Starting workflows and getting hold of them: the names of Temporal's `temporalio.client`."""

from durable.client.client import Client
from durable.client.description import (
    PendingActivityInfo,
    PendingMessageInfo,
    WorkflowExecution,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowHistory,
)
from durable.client.errors import WorkflowFailureError, WorkflowQueryFailedError
from durable.client.handle import WorkflowHandle
from durable.client.listing import WorkflowExecutionAsyncIterator
from durable.service import RPCError, RPCStatusCode

__all__ = [
    "Client",
    "PendingActivityInfo",
    "PendingMessageInfo",
    "RPCError",
    "RPCStatusCode",
    "WorkflowExecution",
    "WorkflowExecutionAsyncIterator",
    "WorkflowExecutionDescription",
    "WorkflowExecutionStatus",
    "WorkflowFailureError",
    "WorkflowHandle",
    "WorkflowHistory",
    "WorkflowQueryFailedError",
]
