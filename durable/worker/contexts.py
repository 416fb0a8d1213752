"""Pure: the workflow or the activity that a value of a run belongs to, as converters and codecs are told it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec import Struct

from durable.converter import (
    ActivitySerializationContext,
    SerializationContext,
    WorkflowSerializationContext,
)
from durable.history.commands import (
    Command,
    RecordMarker,
    ScheduleActivityTask,
    SignalExternalWorkflowExecution,
    StartChildWorkflowExecution,
)
from durable.history.events import (
    ActivityTaskCanceled,
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskScheduled,
    ActivityTaskStarted,
    ActivityTaskTimedOut,
    ChildOutcomeEvent,
    HistoryEvent,
    MarkerRecorded,
    SignalExternalWorkflowExecutionInitiated,
    StartChildWorkflowExecutionInitiated,
    WorkflowExecutionStarted,
)
from durable.history.standalone import is_standalone
from durable.worker.local_activities import data_of

Known = Callable[[int], SerializationContext | None]
"""Of an activity, by the id of its scheduled event or the key of its local task; None: nobody waits for it."""


class Contexts(Struct, frozen=True):
    """Those of one run."""

    namespace: str
    workflow_id: str
    workflow_type: str
    task_queue: str

    @staticmethod
    def of(namespace: str, started: WorkflowExecutionStarted) -> Contexts:
        return Contexts(namespace, started.workflow_id, started.workflow_type, started.task_queue)

    @property
    def own(self) -> WorkflowSerializationContext:
        return self.workflow(self.workflow_id)

    def workflow(self, workflow_id: str) -> WorkflowSerializationContext:
        return WorkflowSerializationContext(self.namespace, workflow_id)

    def activity(
        self, activity_id: str, activity_type: str, task_queue: str | None = None, *, local: bool = False
    ) -> ActivitySerializationContext:
        """Of an activity of this run; one that a client has started by itself has no workflow."""
        standalone = is_standalone(self.workflow_type)
        return ActivitySerializationContext(
            namespace=self.namespace,
            activity_id=activity_id,
            activity_type=activity_type,
            activity_task_queue=task_queue or self.task_queue,
            workflow_id=None if standalone else self.workflow_id,
            workflow_type=None if standalone else self.workflow_type,
            is_local=local,
        )

    def of_command(self, command: Command) -> SerializationContext:
        match command:
            case ScheduleActivityTask():
                return self.activity(command.activity_id, command.activity_type, command.task_queue)
            case StartChildWorkflowExecution():
                return self.workflow(command.workflow_id)
            case SignalExternalWorkflowExecution():
                return self.workflow(command.workflow_execution.workflow_id)
            case RecordMarker():
                return self._of_marker(command)
            case _:
                return self.own

    def of_event(self, event: HistoryEvent, known: Known) -> SerializationContext | None:
        """None for what the code does not wait for, and will not read."""
        match event:
            case ActivityTaskScheduled():
                return self.activity(event.activity_id, event.activity_type, event.task_queue)
            case ActivityTaskStarted() | ActivityTaskCompleted() | ActivityTaskFailed():
                return known(event.scheduled_event_id)
            case ActivityTaskTimedOut() | ActivityTaskCanceled():
                return known(event.scheduled_event_id)
            case StartChildWorkflowExecutionInitiated():
                return self.workflow(event.workflow_id)
            case ChildOutcomeEvent():
                return self.workflow(event.workflow_execution.workflow_id)
            case SignalExternalWorkflowExecutionInitiated():
                return self.workflow(event.workflow_execution.workflow_id)
            case MarkerRecorded():
                return self._of_marker(event)
            case _:
                return self.own

    def scheduled_in(self, events: Iterable[HistoryEvent]) -> Known:
        """The activities of a history."""
        return {
            event.id: self.activity(event.activity_id, event.activity_type, event.task_queue)
            for event in events
            if isinstance(event, ActivityTaskScheduled)
        }.get

    def _of_marker(self, mark: RecordMarker | MarkerRecorded) -> SerializationContext:
        local = data_of(mark)
        return self.own if local is None else self.activity(local.activity_id, local.activity_type, local=True)
