"""What a run's first event tells its code, in the types of its author: limits, policies, and where it comes from."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from durable.common import Priority, RetryPolicy
from durable.history.events import WorkflowExecutionStarted
from durable.workflow.info import ParentInfo, RootInfo


def origin(started: WorkflowExecutionStarted, namespace: str) -> dict[str, Any]:
    """The fields of `Info` that say so."""
    policy, parent, root = started.retry_policy, started.parent_workflow_execution, started.root_workflow_execution
    return {
        "original_execution_run_id": started.original_execution_run_id,
        "cron_schedule": started.cron_schedule or None,
        "execution_timeout": _duration(started.workflow_execution_timeout_us),
        "run_timeout": _duration(started.workflow_run_timeout_us),
        "retry_policy": None if policy is None else RetryPolicy.from_history(policy),
        "priority": Priority.from_history(started.priority),
        "parent": None
        if parent is None
        else ParentInfo(started.parent_workflow_namespace or namespace, parent.run_id, parent.workflow_id),
        "root": None if root is None else RootInfo(root.run_id, root.workflow_id),
    }


def _duration(us: int) -> timedelta | None:
    return timedelta(microseconds=us) if us else None
