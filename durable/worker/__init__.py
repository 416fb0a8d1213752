"""Running workflows and activities: the names of Temporal's `temporalio.worker`."""

from durable.worker.worker import Worker

__all__ = ["Worker"]
