"""What workflows are written with: the names of Temporal's `temporalio.workflow`, and `saga`."""

from typing import (
    TYPE_CHECKING,
    NoReturn,
)

from durable.absent import (
    absent,
)
from durable.activity import (
    ActivityCancellationType,
)
from durable.context import (
    NotInWorkflowError,
)
from durable.history.values import (
    ParentClosePolicy,
)
from durable.types import (
    AnyType,
    CallableAsyncNoParam,
    CallableAsyncSingleParam,
    CallableAsyncType,
    CallableSyncNoParam,
    CallableSyncOrAsyncReturnNoneType,
    CallableSyncOrAsyncType,
    CallableSyncSingleParam,
    CallableType,
    ClassType,
    MethodAsyncNoParam,
    MethodAsyncSingleParam,
    MethodSyncNoParam,
    MethodSyncOrAsyncNoParam,
    MethodSyncOrAsyncSingleParam,
    MethodSyncSingleParam,
    MultiParamSpec,
    ParamType,
    ProtocolReturnType,
    ReturnType,
    SelfType,
)
from durable.workflow import (
    lookup,
)
from durable.workflow.attributes import (
    memo,
    memo_value,
    upsert_memo,
    upsert_search_attributes,
)
from durable.workflow.calls import (
    ActivityConfig,
    ActivityHandle,
    execute_activity,
    start_activity,
)
from durable.workflow.chain import (
    get_last_completion_result,
    get_last_failure,
    has_last_completion_result,
)
from durable.workflow.child_handles import (
    ChildWorkflowCancellationType,
    ChildWorkflowHandle,
)
from durable.workflow.children import (
    ChildWorkflowConfig,
    execute_child_workflow,
    start_child_workflow,
)
from durable.workflow.clock import (
    new_random,
    now,
    random,
    random_seed,
    register_random_seed_callback,
    time,
    time_ns,
    uuid4,
    uuid7,
)
from durable.workflow.continuing import (
    continue_as_new,
)
from durable.workflow.definition import (
    DynamicWorkflowConfig,
    defn,
    dynamic_config,
    init,
    run,
)
from durable.workflow.errors import (
    ContinueAsNewError,
    NondeterminismError,
    ReadOnlyContextError,
)
from durable.workflow.external import (
    ExternalWorkflowHandle,
    get_external_workflow_handle,
    get_external_workflow_handle_for,
)
from durable.workflow.facilities import (
    extern_functions,
    get_current_details,
    metric_meter,
    payload_converter,
    set_current_details,
)
from durable.workflow.groups import (
    EventGroup,
    create_event_group,
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
    ParentInfo,
    RootInfo,
    UpdateInfo,
    all_handlers_finished,
    cancellation_reason,
    current_update_info,
    in_workflow,
    info,
    instance,
    is_failure_exception,
)
from durable.workflow.local_calls import (
    LocalActivityConfig,
    execute_local_activity,
    execute_local_activity_class,
    execute_local_activity_method,
    start_local_activity,
    start_local_activity_class,
    start_local_activity_method,
)
from durable.workflow.logger import (
    LoggerAdapter,
    logger,
)
from durable.workflow.method_calls import (
    execute_activity_class,
    execute_activity_method,
    start_activity_class,
    start_activity_method,
)
from durable.workflow.nexus import (
    NexusOperationCancellationType,
    create_nexus_client,
)
from durable.workflow.receiving import (
    receive,
)
from durable.workflow.saga import (
    Saga,
    saga,
)
from durable.workflow.sandbox import (
    SandboxImportNotificationPolicy,
    unsafe,
)
from durable.workflow.versioning import (
    ContinueAsNewVersioningBehavior,
    VersioningIntent,
    deprecate_patch,
    patched,
)
from durable.workflow.waiting import (
    as_completed,
    sleep,
    wait,
    wait_condition,
)

__all__ = [
    "ActivityCancellationType",
    "ActivityConfig",
    "ActivityHandle",
    "AnyType",
    "CallableAsyncNoParam",
    "CallableAsyncSingleParam",
    "CallableAsyncType",
    "CallableSyncNoParam",
    "CallableSyncOrAsyncReturnNoneType",
    "CallableSyncOrAsyncType",
    "CallableSyncSingleParam",
    "CallableType",
    "ChildWorkflowCancellationType",
    "ChildWorkflowConfig",
    "ChildWorkflowHandle",
    "ClassType",
    "ContinueAsNewError",
    "ContinueAsNewVersioningBehavior",
    "DynamicWorkflowConfig",
    "EventGroup",
    "ExternalWorkflowHandle",
    "HandlerUnfinishedPolicy",
    "Info",
    "LocalActivityConfig",
    "LoggerAdapter",
    "MethodAsyncNoParam",
    "MethodAsyncSingleParam",
    "MethodSyncNoParam",
    "MethodSyncOrAsyncNoParam",
    "MethodSyncOrAsyncSingleParam",
    "MethodSyncSingleParam",
    "MultiParamSpec",
    "NexusOperationCancellationType",
    "NondeterminismError",
    "ParamType",
    "ParentClosePolicy",
    "ParentInfo",
    "ProtocolReturnType",
    "ReadOnlyContextError",
    "ReturnType",
    "RootInfo",
    "Saga",
    "SandboxImportNotificationPolicy",
    "SelfType",
    "UnfinishedSignalHandlersWarning",
    "UnfinishedUpdateHandlersWarning",
    "UpdateInfo",
    "UpdateMethodMultiParam",
    "VersioningIntent",
    "all_handlers_finished",
    "as_completed",
    "cancellation_reason",
    "continue_as_new",
    "create_event_group",
    "create_nexus_client",
    "current_update_info",
    "defn",
    "deprecate_patch",
    "dynamic_config",
    "execute_activity",
    "execute_activity_class",
    "execute_activity_method",
    "execute_child_workflow",
    "execute_local_activity",
    "execute_local_activity_class",
    "execute_local_activity_method",
    "extern_functions",
    "get_current_details",
    "get_dynamic_query_handler",
    "get_dynamic_signal_handler",
    "get_dynamic_update_handler",
    "get_external_workflow_handle",
    "get_external_workflow_handle_for",
    "get_last_completion_result",
    "get_last_failure",
    "get_query_handler",
    "get_signal_handler",
    "get_update_handler",
    "has_last_completion_result",
    "in_workflow",
    "info",
    "init",
    "instance",
    "is_failure_exception",
    "logger",
    "memo",
    "memo_value",
    "metric_meter",
    "new_random",
    "now",
    "patched",
    "payload_converter",
    "query",
    "random",
    "random_seed",
    "receive",
    "register_random_seed_callback",
    "run",
    "saga",
    "set_current_details",
    "set_dynamic_query_handler",
    "set_dynamic_signal_handler",
    "set_dynamic_update_handler",
    "set_query_handler",
    "set_signal_handler",
    "set_update_handler",
    "signal",
    "sleep",
    "start_activity",
    "start_activity_class",
    "start_activity_method",
    "start_child_workflow",
    "start_local_activity",
    "start_local_activity_class",
    "start_local_activity_method",
    "time",
    "time_ns",
    "unsafe",
    "update",
    "upsert_memo",
    "upsert_search_attributes",
    "uuid4",
    "uuid7",
    "wait",
    "wait_condition",
]

_Definition = lookup.Definition
_SignalDefinition = lookup.SignalDefinition
_QueryDefinition = lookup.QueryDefinition
_UpdateDefinition = lookup.UpdateDefinition
_Runtime = lookup.Runtime
_NotInWorkflowEventLoopError = NotInWorkflowError
if not TYPE_CHECKING:  # a type checker is to see that they are missing

    def __getattr__(name: str) -> NoReturn:
        absent(__name__, name)
