"""Pure: what commands become: the event that answers each, and what the store has to do for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from durable.history import attempts, codec, events, succession
from durable.history.commands import (
    AcceptUpdate,
    CancelTimer,
    CancelWorkflowExecution,
    Command,
    CompleteUpdate,
    CompleteWorkflowExecution,
    ContinueAsNewWorkflowExecution,
    FailWorkflowExecution,
    ModifyWorkflowProperties,
    RecordMarker,
    RejectUpdate,
    RequestCancelActivityTask,
    RequestCancelExternalWorkflowExecution,
    ScheduleActivityTask,
    SignalExternalWorkflowExecution,
    StartChildWorkflowExecution,
    StartTimer,
    UpsertWorkflowSearchAttributes,
)
from durable.history.events import (
    ActivityTaskCancelRequested,
    ActivityTaskScheduled,
    HistoryEvent,
    MarkerRecorded,
    RequestCancelExternalWorkflowExecutionInitiated,
    SignalExternalWorkflowExecutionInitiated,
    StartChildWorkflowExecutionInitiated,
    TimerCanceled,
    TimerStarted,
    WorkflowExecutionCanceled,
    WorkflowExecutionCompleted,
    WorkflowExecutionContinuedAsNew,
    WorkflowExecutionFailed,
    WorkflowExecutionStarted,
    WorkflowExecutionUpdateAccepted,
    WorkflowExecutionUpdateCompleted,
    WorkflowExecutionUpdateRejected,
    WorkflowPropertiesModified,
)
from durable.history.messages import (
    ActivityOutcome,
    Canceled,
    TimerDue,
)
from durable.history.state import State
from durable.history.succession import Following
from durable.history.transition import (
    ActivityCancel,
    ActivitySpec,
    ActivityTask,
    NewMessage,
)
from durable.history.values import ActivityFields, UpdateMeta


class Draft:
    """A transition in the making, while commands become events."""

    def __init__(
        self, run_id: str, state: State, events: list[HistoryEvent], now_us: int, successor_id: str = ""
    ) -> None:
        self.run_id = run_id
        self.successor_id = successor_id
        self.events = events
        self.now_us = now_us
        self.last_id = events[-1].id if events else state.last_event_id
        started = events[0] if events and isinstance(events[0], WorkflowExecutionStarted) else state
        self.started = started.started if isinstance(started, State) else started
        self.following: Following | None = None
        """The run that comes next, if the code closes this one and there is one."""
        self.workflow_id = started.workflow_id
        self.workflow_type = started.workflow_type
        self.workflow_task_queue = started.task_queue
        self.task_timeout_us = (
            started.task_timeout_us if isinstance(started, State) else started.workflow_task_timeout_us
        )
        self.priority = None if self.started is None else self.started.priority
        self.task_completed_id = 0
        self.accepted_updates = {id: update.accepted_event_id for id, update in state.updates.items()}
        self.messages: list[NewMessage] = []
        self.taken_back: list[int] = []
        self.tasks: list[ActivityTask] = []
        self.cancelled_activities: list[ActivityCancel] = []

    def add(self, event: HistoryEvent) -> None:
        self.last_id = event.id
        self.events.append(event)

    def follow(self, following: Following | None) -> str:
        """The id of the run that comes next, if there is one; else ""."""
        self.following = following
        return self.successor_id if following is not None else ""

    def answer(self, kind: Callable[..., HistoryEvent], **attributes: Any) -> int:
        """Add the event that answers a command; its id."""
        self.last_id += 1
        completed_id = self.task_completed_id
        self.events.append(
            kind(id=self.last_id, time_us=self.now_us, workflow_task_completed_event_id=completed_id, **attributes)
        )
        return self.last_id

    def note(self, kind: Callable[..., HistoryEvent], **attributes: Any) -> int:
        """Like `answer`, of an event that does not name its workflow task."""
        self.last_id += 1
        self.events.append(kind(id=self.last_id, time_us=self.now_us, **attributes))
        return self.last_id


def _schedule_activity(draft: Draft, command: ScheduleActivityTask) -> None:
    fields = {name: getattr(command, name) for name in ActivityFields.__struct_fields__}
    fields["priority"] = attempts.inherited(command.priority, draft.priority)
    event_id = draft.answer(
        ActivityTaskScheduled, task_queue=command.task_queue, user_metadata=command.user_metadata, **fields
    )
    spec = ActivitySpec(
        workflow_id=draft.workflow_id, workflow_type=draft.workflow_type, scheduled_us=draft.now_us, **fields
    )
    task = ActivityTask(
        run_id=draft.run_id,
        scheduled_event_id=event_id,
        task_queue=command.task_queue,
        workflow_task_queue=draft.workflow_task_queue,
        due_us=draft.now_us,
        spec=spec,
    )
    draft.tasks.append(attempts.waiting(task))


def _request_cancel_activity(draft: Draft, command: RequestCancelActivityTask) -> None:
    draft.answer(ActivityTaskCancelRequested, scheduled_event_id=command.scheduled_event_id)
    outcome = ActivityOutcome(scheduled_event_id=command.scheduled_event_id, outcome=Canceled())
    draft.cancelled_activities.append(
        ActivityCancel(scheduled_event_id=command.scheduled_event_id, outcome=codec.pack(outcome, draft.now_us))
    )


def _start_timer(draft: Draft, command: StartTimer) -> None:
    wait_us = command.start_to_fire_timeout_us
    event_id = draft.answer(
        TimerStarted,
        timer_id=command.timer_id,
        start_to_fire_timeout_us=wait_us,
        user_metadata=command.user_metadata,
    )
    draft.messages.append(codec.pack(TimerDue(started_event_id=event_id), draft.now_us + wait_us, key=event_id))


def _cancel_timer(draft: Draft, command: CancelTimer) -> None:
    draft.answer(TimerCanceled, timer_id=command.timer_id, started_event_id=command.started_event_id)
    draft.taken_back.append(command.started_event_id)


def _record_marker(draft: Draft, command: RecordMarker) -> None:
    draft.answer(MarkerRecorded, marker_name=command.marker_name, details=command.details, failure=command.failure)


def _recorded(kind: Callable[..., HistoryEvent]) -> Callable[[Draft, Any], None]:
    """Of a command that its event repeats, field for field."""

    def arm(draft: Draft, command: Any) -> None:
        draft.answer(kind, **{name: getattr(command, name) for name in command.__struct_fields__})

    return arm


def _accept_update(draft: Draft, command: AcceptUpdate) -> None:
    draft.accepted_updates[command.update_id] = draft.note(
        WorkflowExecutionUpdateAccepted,
        protocol_instance_id=command.update_id,
        accepted_request=command.request,
    )


def _reject_update(draft: Draft, command: RejectUpdate) -> None:
    draft.note(WorkflowExecutionUpdateRejected, protocol_instance_id=command.update_id, failure=command.failure)


def _complete_update(draft: Draft, command: CompleteUpdate) -> None:
    draft.note(
        WorkflowExecutionUpdateCompleted,
        meta=UpdateMeta(update_id=command.update_id),
        accepted_event_id=draft.accepted_updates[command.update_id],
        outcome=command.outcome,
    )


def _complete_workflow(draft: Draft, command: CompleteWorkflowExecution) -> None:
    assert draft.started is not None
    following = succession.after_completion(draft.started, command.result, draft.now_us)
    draft.answer(WorkflowExecutionCompleted, result=command.result, new_execution_run_id=draft.follow(following))


def _fail_workflow(draft: Draft, command: FailWorkflowExecution) -> None:
    assert draft.started is not None
    retry_state, following = succession.after_failure(draft.started, command.failure, draft.now_us)
    draft.answer(
        WorkflowExecutionFailed,
        failure=command.failure,
        retry_state=retry_state,
        new_execution_run_id=draft.follow(following),
    )


def _cancel_workflow(draft: Draft, command: CancelWorkflowExecution) -> None:
    draft.answer(WorkflowExecutionCanceled, details=command.details)


def _continue_as_new(draft: Draft, command: ContinueAsNewWorkflowExecution) -> None:
    assert draft.started is not None
    following = succession.continued(draft.started, command)
    timeout_us, run_timeout_us = command.workflow_task_timeout_us, command.workflow_run_timeout_us
    draft.answer(
        WorkflowExecutionContinuedAsNew,
        new_execution_run_id=draft.follow(following),
        workflow_type=command.workflow_type or draft.workflow_type,
        task_queue=command.task_queue or draft.workflow_task_queue,
        input=command.input,
        header=command.header,
        workflow_task_timeout_us=draft.task_timeout_us if timeout_us is None else timeout_us,
        workflow_run_timeout_us=draft.started.workflow_run_timeout_us if run_timeout_us is None else run_timeout_us,
        failure=following.failure,
        last_completion_result=following.last_completion_result,
        memo=command.memo or {},
        search_attributes=command.search_attributes or {},
        backoff_start_interval_us=command.backoff_start_interval_us,
    )


COMMANDS: dict[type[Command], Callable[[Draft, Any], None]] = {
    ScheduleActivityTask: _schedule_activity,
    RequestCancelActivityTask: _request_cancel_activity,
    StartTimer: _start_timer,
    CancelTimer: _cancel_timer,
    RecordMarker: _record_marker,
    StartChildWorkflowExecution: _recorded(StartChildWorkflowExecutionInitiated),
    SignalExternalWorkflowExecution: _recorded(SignalExternalWorkflowExecutionInitiated),
    RequestCancelExternalWorkflowExecution: _recorded(RequestCancelExternalWorkflowExecutionInitiated),
    UpsertWorkflowSearchAttributes: _recorded(events.UpsertWorkflowSearchAttributes),
    ModifyWorkflowProperties: _recorded(WorkflowPropertiesModified),
    AcceptUpdate: _accept_update,
    RejectUpdate: _reject_update,
    CompleteUpdate: _complete_update,
    CompleteWorkflowExecution: _complete_workflow,
    FailWorkflowExecution: _fail_workflow,
    CancelWorkflowExecution: _cancel_workflow,
    ContinueAsNewWorkflowExecution: _continue_as_new,
}
