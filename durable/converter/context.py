"""For what a value is converted: the workflow or the activity that it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self


class SerializationContext:
    """What a converter or codec may be told of a value: one of the two below."""


@dataclass(frozen=True)
class WorkflowSerializationContext(SerializationContext):
    """The value is a workflow's: an argument, a result, a signal's, a query's, an update's, a memo."""

    namespace: str
    workflow_id: str


@dataclass(frozen=True)
class ActivitySerializationContext(SerializationContext):
    """The value is an activity's: an argument, a result, a heartbeat's. The workflow's ids are None if it has none."""

    namespace: str
    activity_id: str | None
    activity_type: str | None
    activity_task_queue: str | None
    workflow_id: str | None
    workflow_type: str | None
    is_local: bool


class WithSerializationContext:
    """Mix it into a payload converter, codec or failure converter that wants to know for what it converts."""

    def with_context(self, context: SerializationContext) -> Self:
        """A copy for this context; the object itself stays as it is. NotImplementedError unless overridden."""
        raise NotImplementedError(f"{type(self).__name__} is a WithSerializationContext, and has no with_context")
