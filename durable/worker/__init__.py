"""Running workflows and activities: the names of Temporal's `temporalio.worker`."""

from durable.worker.replayer import Replayer, ReplayerConfig, WorkflowReplayResult, WorkflowReplayResults
from durable.worker.worker import Worker

__all__ = ["Replayer", "ReplayerConfig", "Worker", "WorkflowReplayResult", "WorkflowReplayResults"]
