"""A world for users' tests: the names of Temporal's `temporalio.testing`."""

from durable.testing.activities import ActivityEnvironment
from durable.testing.environment import WorkflowEnvironment

__all__ = ["ActivityEnvironment", "WorkflowEnvironment"]
