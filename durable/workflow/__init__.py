"""What workflows are written with: the names of Temporal's `temporalio.workflow`, and `saga`."""

from durable.activity import ActivityCancellationType
from durable.history.values import ParentClosePolicy
from durable.workflow.calls import ActivityConfig, ActivityHandle, execute_activity, start_activity
from durable.workflow.child_handles import ChildWorkflowCancellationType, ChildWorkflowHandle
from durable.workflow.children import ChildWorkflowConfig, execute_child_workflow, start_child_workflow
from durable.workflow.clock import now, random, time, time_ns, uuid4
from durable.workflow.continuing import continue_as_new
from durable.workflow.definition import DynamicWorkflowConfig, defn, dynamic_config, init, run
from durable.workflow.errors import ContinueAsNewError, NondeterminismError, ReadOnlyContextError
from durable.workflow.external import (
    ExternalWorkflowHandle,
    get_external_workflow_handle,
    get_external_workflow_handle_for,
)
from durable.workflow.handlers import (
    HandlerUnfinishedPolicy,
    UnfinishedSignalHandlersWarning,
    UnfinishedUpdateHandlersWarning,
    UpdateMethodMultiParam,
    get_dynamic_query_handler,
    get_dynamic_signal_handler,
    get_dynamic_update_handler,
    get_query_handler,
    get_signal_handler,
    get_update_handler,
    query,
    set_dynamic_query_handler,
    set_dynamic_signal_handler,
    set_dynamic_update_handler,
    set_query_handler,
    set_signal_handler,
    set_update_handler,
    signal,
    update,
)
from durable.workflow.info import (
    Info,
    UpdateInfo,
    all_handlers_finished,
    cancellation_reason,
    current_update_info,
    in_workflow,
    info,
    instance,
    is_failure_exception,
    unsafe,
)
from durable.workflow.logger import LoggerAdapter, logger
from durable.workflow.receiving import receive
from durable.workflow.saga import Saga, saga
from durable.workflow.versioning import VersioningIntent, deprecate_patch, patched
from durable.workflow.waiting import as_completed, sleep, wait, wait_condition

__all__ = [
    "ActivityCancellationType",
    "ActivityConfig",
    "ActivityHandle",
    "ChildWorkflowCancellationType",
    "ChildWorkflowConfig",
    "ChildWorkflowHandle",
    "ContinueAsNewError",
    "DynamicWorkflowConfig",
    "ExternalWorkflowHandle",
    "HandlerUnfinishedPolicy",
    "Info",
    "LoggerAdapter",
    "NondeterminismError",
    "ParentClosePolicy",
    "ReadOnlyContextError",
    "Saga",
    "UnfinishedSignalHandlersWarning",
    "UnfinishedUpdateHandlersWarning",
    "UpdateInfo",
    "UpdateMethodMultiParam",
    "VersioningIntent",
    "all_handlers_finished",
    "as_completed",
    "cancellation_reason",
    "continue_as_new",
    "current_update_info",
    "defn",
    "deprecate_patch",
    "dynamic_config",
    "execute_activity",
    "execute_child_workflow",
    "get_dynamic_query_handler",
    "get_dynamic_signal_handler",
    "get_dynamic_update_handler",
    "get_external_workflow_handle",
    "get_external_workflow_handle_for",
    "get_query_handler",
    "get_signal_handler",
    "get_update_handler",
    "in_workflow",
    "info",
    "init",
    "instance",
    "is_failure_exception",
    "logger",
    "now",
    "patched",
    "query",
    "random",
    "receive",
    "run",
    "saga",
    "set_dynamic_query_handler",
    "set_dynamic_signal_handler",
    "set_dynamic_update_handler",
    "set_query_handler",
    "set_signal_handler",
    "set_update_handler",
    "signal",
    "sleep",
    "start_activity",
    "start_child_workflow",
    "time",
    "time_ns",
    "unsafe",
    "update",
    "uuid4",
    "wait",
    "wait_condition",
]
