"""What workflows are written with: the names of Temporal's `temporalio.workflow`, and `saga`."""

from durable.activity import ActivityCancellationType
from durable.workflow.calls import ActivityConfig, ActivityHandle, execute_activity, start_activity
from durable.workflow.clock import now, random, time, time_ns, uuid4
from durable.workflow.definition import defn, query, run, signal
from durable.workflow.errors import NondeterminismError, ReadOnlyContextError
from durable.workflow.info import (
    Info,
    cancellation_reason,
    in_workflow,
    info,
    instance,
    is_failure_exception,
    unsafe,
)
from durable.workflow.logger import LoggerAdapter, logger
from durable.workflow.saga import Saga, saga
from durable.workflow.waiting import as_completed, sleep, wait, wait_condition

__all__ = [
    "ActivityCancellationType",
    "ActivityConfig",
    "ActivityHandle",
    "Info",
    "LoggerAdapter",
    "NondeterminismError",
    "ReadOnlyContextError",
    "Saga",
    "as_completed",
    "cancellation_reason",
    "defn",
    "execute_activity",
    "in_workflow",
    "info",
    "instance",
    "is_failure_exception",
    "logger",
    "now",
    "query",
    "random",
    "run",
    "saga",
    "signal",
    "sleep",
    "start_activity",
    "time",
    "time_ns",
    "unsafe",
    "uuid4",
    "wait",
    "wait_condition",
]
