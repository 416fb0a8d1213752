"""Starting workflows and getting hold of them: the names of Temporal's `temporalio.client`."""

from typing import (
    TYPE_CHECKING,
    NoReturn,
)

from durable.absent import (
    absent,
)
from durable.activity import (
    ActivityCancellationDetails,
)
from durable.client.activity_executions import (
    ActivityExecution,
    ActivityExecutionAsyncIterator,
    ActivityExecutionCount,
    ActivityExecutionCountAggregationGroup,
    ActivityExecutionDescription,
    ActivityExecutionStatus,
)
from durable.client.async_activity import (
    AsyncActivityHandle,
)
from durable.client.build_ids import (
    BuildIdOp,
    BuildIdOpAddNewCompatible,
    BuildIdOpAddNewDefault,
    BuildIdOpMergeSets,
    BuildIdOpPromoteBuildIdWithinSet,
    BuildIdOpPromoteSetByBuildId,
    BuildIdReachability,
    BuildIdVersionSet,
    TaskReachabilityType,
    WorkerBuildIdVersionSets,
    WorkerTaskReachability,
)
from durable.client.client import (
    Client,
)
from durable.client.config import (
    ClientConfig,
    ClientConnectConfig,
)
from durable.client.counting import (
    WorkflowExecutionCount,
    WorkflowExecutionCountAggregationGroup,
)
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
    WorkflowQueryRejectedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from durable.client.events import (
    WorkflowHistoryEventAsyncIterator,
    WorkflowHistoryEventFilterType,
)
from durable.client.handle import (
    WorkflowHandle,
)
from durable.client.listing import (
    WorkflowExecutionAsyncIterator,
)
from durable.client.pending import (
    AsyncActivityIDReference,
)
from durable.client.plugins import (
    Plugin,
)
from durable.client.raw_description import (
    PendingActivityState,
)
from durable.client.standalone import (
    ActivityHandle,
)
from durable.client.updates import (
    WorkflowUpdateHandle,
    WorkflowUpdateStage,
)
from durable.client.with_start import (
    WithStartWorkflowOperation,
)
from durable.common import (
    HeaderCodecBehavior,
)
from durable.converter import (
    ActivitySerializationContext,
    DataConverter,
    SerializationContext,
    StorageDriverActivityInfo,
    StorageDriverSelectContext,
    StorageDriverStoreContext,
    StorageDriverWorkflowInfo,
    WithSerializationContext,
    WorkflowSerializationContext,
)
from durable.service import (
    ConnectConfig,
    DnsLoadBalancingConfig,
    GrpcCompression,
    HttpConnectProxyConfig,
    KeepAliveConfig,
    PayloadLimitsConfig,
    RetryConfig,
    RPCError,
    RPCStatusCode,
    ServiceClient,
    TLSConfig,
)
from durable.types import (
    AnyType,
    CallableAsyncNoParam,
    CallableAsyncSingleParam,
    CallableSyncNoParam,
    CallableSyncSingleParam,
    LocalReturnType,
    MethodAsyncNoParam,
    MethodAsyncSingleParam,
    MethodSyncOrAsyncNoParam,
    MethodSyncOrAsyncSingleParam,
    MultiParamSpec,
    ParamType,
    ReturnType,
    SelfType,
)

__all__ = [
    "ActivityCancellationDetails",
    "ActivityExecution",
    "ActivityExecutionAsyncIterator",
    "ActivityExecutionCount",
    "ActivityExecutionCountAggregationGroup",
    "ActivityExecutionDescription",
    "ActivityExecutionStatus",
    "ActivityFailureError",
    "ActivityHandle",
    "ActivitySerializationContext",
    "AnyType",
    "AsyncActivityCancelledError",
    "AsyncActivityHandle",
    "AsyncActivityIDReference",
    "BuildIdOp",
    "BuildIdOpAddNewCompatible",
    "BuildIdOpAddNewDefault",
    "BuildIdOpMergeSets",
    "BuildIdOpPromoteBuildIdWithinSet",
    "BuildIdOpPromoteSetByBuildId",
    "BuildIdReachability",
    "BuildIdVersionSet",
    "CallableAsyncNoParam",
    "CallableAsyncSingleParam",
    "CallableSyncNoParam",
    "CallableSyncSingleParam",
    "Client",
    "ClientConfig",
    "ClientConnectConfig",
    "ConnectConfig",
    "DataConverter",
    "DnsLoadBalancingConfig",
    "GrpcCompression",
    "HeaderCodecBehavior",
    "HttpConnectProxyConfig",
    "KeepAliveConfig",
    "LocalReturnType",
    "MethodAsyncNoParam",
    "MethodAsyncSingleParam",
    "MethodSyncOrAsyncNoParam",
    "MethodSyncOrAsyncSingleParam",
    "MultiParamSpec",
    "ParamType",
    "PayloadLimitsConfig",
    "PendingActivityInfo",
    "PendingActivityState",
    "PendingMessageInfo",
    "Plugin",
    "RPCError",
    "RPCStatusCode",
    "RPCTimeoutOrCancelledError",
    "RetryConfig",
    "ReturnType",
    "SelfType",
    "SerializationContext",
    "ServiceClient",
    "StorageDriverActivityInfo",
    "StorageDriverSelectContext",
    "StorageDriverStoreContext",
    "StorageDriverWorkflowInfo",
    "TLSConfig",
    "TaskReachabilityType",
    "WithSerializationContext",
    "WithStartWorkflowOperation",
    "WorkerBuildIdVersionSets",
    "WorkerTaskReachability",
    "WorkflowContinuedAsNewError",
    "WorkflowExecution",
    "WorkflowExecutionAsyncIterator",
    "WorkflowExecutionCount",
    "WorkflowExecutionCountAggregationGroup",
    "WorkflowExecutionDescription",
    "WorkflowExecutionStatus",
    "WorkflowFailureError",
    "WorkflowHandle",
    "WorkflowHistory",
    "WorkflowHistoryEventAsyncIterator",
    "WorkflowHistoryEventFilterType",
    "WorkflowQueryFailedError",
    "WorkflowQueryRejectedError",
    "WorkflowSerializationContext",
    "WorkflowUpdateFailedError",
    "WorkflowUpdateHandle",
    "WorkflowUpdateRPCTimeoutOrCancelledError",
    "WorkflowUpdateStage",
]

if not TYPE_CHECKING:  # a type checker is to see that they are missing

    def __getattr__(name: str) -> NoReturn:
        absent(__name__, name)
