"""Running workflows and activities: the names of Temporal's `temporalio.worker`."""

from durable.worker.replayer import Replayer, ReplayerConfig, WorkflowReplayResult, WorkflowReplayResults
from durable.worker.shared_state import SharedHeartbeatSender, SharedStateManager
from durable.worker.worker import Worker

__all__ = [
    "Replayer",
    "ReplayerConfig",
    "SharedHeartbeatSender",
    "SharedStateManager",
    "Worker",
    "WorkflowReplayResult",
    "WorkflowReplayResults",
]
