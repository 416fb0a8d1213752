"""Pure: for what the values of an activity's task are converted, whoever has the task."""

from __future__ import annotations

from durable.converter.context import ActivitySerializationContext
from durable.history.local_activities import is_local
from durable.history.standalone import is_standalone
from durable.history.transition import ActivityTask


def of_task(namespace: str, task: ActivityTask) -> ActivitySerializationContext:
    """The same that its workflow has for it, if a workflow has asked for it."""
    by_itself = is_standalone(task.spec.workflow_type)
    return ActivitySerializationContext(
        namespace=namespace,
        activity_id=task.spec.activity_id,
        activity_type=task.spec.activity_type,
        activity_task_queue=task.task_queue,
        workflow_id=None if by_itself else task.spec.workflow_id,
        workflow_type=None if by_itself else task.spec.workflow_type,
        is_local=is_local(task.scheduled_event_id),
    )
