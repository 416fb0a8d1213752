"""Temporal's workflow runners: names to be handed to a worker. Workflow code runs in one way here, whichever it is."""

from __future__ import annotations

from abc import ABC


class WorkflowRunner(ABC):  # noqa: B024 - a name for the two kinds, as in Temporal
    """How a Temporal worker runs workflow code. A worker of durable takes one of the two below, and no other."""


class UnsandboxedWorkflowRunner(WorkflowRunner):
    """Workflow code without a sandbox that imports modules again: as it always is here."""
