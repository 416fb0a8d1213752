"""Pure: what messages become when a run reads them."""

from __future__ import annotations

from typing import Any

from durable.history.events import (
    ActivityTaskCanceled,
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskStarted,
    ActivityTaskTimedOut,
    ChildWorkflowExecutionCanceled,
    ChildWorkflowExecutionCompleted,
    ChildWorkflowExecutionFailed,
    ChildWorkflowExecutionStarted,
    ChildWorkflowExecutionTerminated,
    ChildWorkflowExecutionTimedOut,
    ExternalWorkflowExecutionCancelRequested,
    ExternalWorkflowExecutionSignaled,
    HistoryEvent,
    RequestCancelExternalWorkflowExecutionFailed,
    RequestCancelExternalWorkflowExecutionInitiated,
    SignalExternalWorkflowExecutionFailed,
    SignalExternalWorkflowExecutionInitiated,
    StartChildWorkflowExecutionFailed,
    StartChildWorkflowExecutionInitiated,
    TimerFired,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionSignaled,
)
from durable.history.messages import (
    ActivityOutcome,
    Canceled,
    CancelRequest,
    ChildClosed,
    ChildStarted,
    ChildStartFailed,
    Completed,
    Failed,
    Message,
    RequestAnswered,
    Signal,
    Terminated,
    TimedOut,
    TimerDue,
)
from durable.history.state import PendingChild, State
from durable.history.values import CancelExternalFailedCause, SignalExternalFailedCause, WorkflowExecution


class Seen:
    """The state as it moves on while messages become events: enough of it to tell what is stale."""

    def __init__(self, state: State) -> None:
        self.next_id = state.last_event_id + 1
        self.last_us = state.last_time_us
        self.activities = dict(state.activities)
        self.timers = dict(state.timers)
        self.request_ids = set(state.request_ids)
        self.children = dict(state.children)
        self.requests = dict(state.requests)

    def take_id(self) -> int:
        self.next_id += 1
        return self.next_id - 1

    def is_new(self, request_id: str) -> bool:
        if request_id in self.request_ids:
            return False
        if request_id:
            self.request_ids.add(request_id)
        return True


def message_events(seen: Seen, message: Message, now_us: int) -> list[HistoryEvent]:
    match message:
        case Signal() if seen.is_new(message.request_id):
            return [_signaled(message, seen.take_id(), now_us)]
        case CancelRequest() if seen.is_new(message.request_id):
            return [_cancel_requested(message, seen.take_id(), now_us)]
        case TimerDue() if message.started_event_id in seen.timers:
            return [_fired(seen, message, now_us)]
        case ChildStarted() if message.initiated_event_id in seen.requests:
            return [_child_started(seen, message.initiated_event_id, message.run_id, now_us)]
        case ChildStartFailed() if message.initiated_event_id in seen.requests:
            return [_child_refused(seen, message, now_us)]
        case ChildClosed() if message.initiated_event_id in seen.children:
            return _child_events(seen, message, now_us)
        case RequestAnswered() if message.initiated_event_id in seen.requests:
            return [_answered(seen, message, now_us)]
        case ActivityOutcome() if message.scheduled_event_id in seen.activities:
            return _activity_events(seen, message, now_us)
        case _:
            return []


def _signaled(message: Signal, event_id: int, now_us: int) -> HistoryEvent:
    return WorkflowExecutionSignaled(
        id=event_id,
        time_us=now_us,
        signal_name=message.name,
        input=message.input,
        identity=message.identity,
        header=message.header,
        request_id=message.request_id,
        external_workflow_execution=message.sender,
    )


def _cancel_requested(message: CancelRequest, event_id: int, now_us: int) -> HistoryEvent:
    return WorkflowExecutionCancelRequested(
        id=event_id,
        time_us=now_us,
        cause=message.reason,
        identity=message.identity,
        request_id=message.request_id,
        external_workflow_execution=message.sender,
        external_initiated_event_id=message.sender_event_id,
    )


def _fired(seen: Seen, message: TimerDue, now_us: int) -> HistoryEvent:
    timer_id = seen.timers.pop(message.started_event_id)
    return TimerFired(id=seen.take_id(), time_us=now_us, timer_id=timer_id, started_event_id=message.started_event_id)


def _child_started(seen: Seen, initiated_event_id: int, run_id: str, now_us: int) -> HistoryEvent:
    del seen.requests[initiated_event_id]
    initiated = seen.children[initiated_event_id].initiated
    event = ChildWorkflowExecutionStarted(
        id=seen.take_id(),
        time_us=now_us,
        namespace=initiated.namespace,
        initiated_event_id=initiated_event_id,
        workflow_execution=WorkflowExecution(workflow_id=initiated.workflow_id, run_id=run_id),
        workflow_type=initiated.workflow_type,
        header=initiated.header,
    )
    seen.children[initiated_event_id] = PendingChild(initiated, run_id, event.id)
    return event


def _child_refused(seen: Seen, message: ChildStartFailed, now_us: int) -> HistoryEvent:
    del seen.requests[message.initiated_event_id]
    initiated = seen.children.pop(message.initiated_event_id).initiated
    return StartChildWorkflowExecutionFailed(
        id=seen.take_id(),
        time_us=now_us,
        namespace=initiated.namespace,
        workflow_id=initiated.workflow_id,
        workflow_type=initiated.workflow_type,
        cause=message.cause,
        initiated_event_id=initiated.id,
        workflow_task_completed_event_id=initiated.workflow_task_completed_event_id,
    )


def _child_events(seen: Seen, message: ChildClosed, now_us: int) -> list[HistoryEvent]:
    """The outcome; before it that it began, if this is the first that is heard of it."""
    events: list[HistoryEvent] = []
    if message.initiated_event_id in seen.requests:
        events.append(_child_started(seen, message.initiated_event_id, message.first_run_id, now_us))
    child = seen.children.pop(message.initiated_event_id)
    initiated = child.initiated
    key: dict[str, Any] = {
        "id": seen.take_id(),
        "time_us": now_us,
        "namespace": initiated.namespace,
        "workflow_execution": WorkflowExecution(workflow_id=initiated.workflow_id, run_id=message.run_id),
        "workflow_type": initiated.workflow_type,
        "initiated_event_id": message.initiated_event_id,
        "started_event_id": child.started_event_id,
    }
    match message.outcome:
        case Completed(result=result):
            events.append(ChildWorkflowExecutionCompleted(**key, result=result))
        case Failed(failure=failure, retry_state=state):
            events.append(ChildWorkflowExecutionFailed(**key, failure=failure, retry_state=state))
        case TimedOut(retry_state=state):
            events.append(ChildWorkflowExecutionTimedOut(**key, retry_state=state))
        case Canceled(details=details):
            events.append(ChildWorkflowExecutionCanceled(**key, details=details))
        case Terminated():
            events.append(ChildWorkflowExecutionTerminated(**key))
    return events


def _answered(seen: Seen, message: RequestAnswered, now_us: int) -> HistoryEvent:
    request = seen.requests.pop(message.initiated_event_id)
    assert not isinstance(request, StartChildWorkflowExecutionInitiated)
    key: dict[str, Any] = {
        "id": seen.take_id(),
        "time_us": now_us,
        "namespace": request.namespace,
        "workflow_execution": request.workflow_execution,
        "initiated_event_id": message.initiated_event_id,
    }
    match request:
        case SignalExternalWorkflowExecutionInitiated() if message.found:
            return ExternalWorkflowExecutionSignaled(**key)
        case RequestCancelExternalWorkflowExecutionInitiated() if message.found:
            return ExternalWorkflowExecutionCancelRequested(**key)
        case SignalExternalWorkflowExecutionInitiated():
            cause = SignalExternalFailedCause.EXTERNAL_WORKFLOW_EXECUTION_NOT_FOUND
            completed_id = request.workflow_task_completed_event_id
            return SignalExternalWorkflowExecutionFailed(
                **key, cause=cause, workflow_task_completed_event_id=completed_id
            )
        case RequestCancelExternalWorkflowExecutionInitiated():
            return RequestCancelExternalWorkflowExecutionFailed(
                **key,
                cause=CancelExternalFailedCause.EXTERNAL_WORKFLOW_EXECUTION_NOT_FOUND,
                workflow_task_completed_event_id=request.workflow_task_completed_event_id,
            )


def _activity_events(seen: Seen, message: ActivityOutcome, now_us: int) -> list[HistoryEvent]:
    """ActivityTaskStarted, when an attempt ever began, and the outcome."""
    pending = seen.activities.pop(message.scheduled_event_id)
    events: list[HistoryEvent] = []
    started_id = 0
    if message.started_us:
        started_id = seen.take_id()
        events.append(
            ActivityTaskStarted(
                id=started_id,
                time_us=max(seen.last_us, min(message.started_us, now_us)),
                scheduled_event_id=message.scheduled_event_id,
                identity=message.identity,
                attempt=message.attempt,
                last_failure=message.last_failure,
            )
        )
    key: dict[str, Any] = {
        "id": seen.take_id(),
        "time_us": now_us,
        "scheduled_event_id": message.scheduled_event_id,
        "started_event_id": started_id,
    }
    match message.outcome:
        case Completed(result=result):
            events.append(ActivityTaskCompleted(**key, result=result, identity=message.identity))
        case Failed(failure=failure, retry_state=state):
            events.append(ActivityTaskFailed(**key, failure=failure, identity=message.identity, retry_state=state))
        case TimedOut(failure=failure, retry_state=state):
            events.append(ActivityTaskTimedOut(**key, failure=failure, retry_state=state))
        case Canceled(details=details):
            events.append(
                ActivityTaskCanceled(
                    **key,
                    details=details,
                    identity=message.identity,
                    latest_cancel_requested_event_id=pending.cancel_requested_event_id,
                )
            )
    return events
