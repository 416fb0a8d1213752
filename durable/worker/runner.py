"""Temporal's workflow runners: how a worker runs workflow code is one way here; what it refuses, they say."""

from __future__ import annotations

from abc import ABC

from durable.worker.restricted import NOTHING


class WorkflowRunner(ABC):  # noqa: B024 - a name for the two kinds, as in Temporal
    """How a Temporal worker runs workflow code. A worker of durable takes one of the two below, and no other."""

    @property
    def refused(self) -> frozenset[str]:
        """The qualified names of what workflow code may not use."""
        return NOTHING


class UnsandboxedWorkflowRunner(WorkflowRunner):
    """Workflow code is refused nothing: it must see to it by itself that a replay does the same."""
