"""Pure: fold events into a run's state, which is all that the rules need to know of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from msgspec import Struct, structs

from durable.history.errors import IllegalTransition
from durable.history.events import (
    ActivityTaskCanceled,
    ActivityTaskCancelRequested,
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskScheduled,
    ActivityTaskStarted,
    ActivityTaskTimedOut,
    ChildOutcomeEvent,
    ChildWorkflowExecutionCanceled,
    ChildWorkflowExecutionCompleted,
    ChildWorkflowExecutionFailed,
    ChildWorkflowExecutionStarted,
    ChildWorkflowExecutionTerminated,
    ChildWorkflowExecutionTimedOut,
    ClosingEvent,
    ExternalWorkflowExecutionCancelRequested,
    ExternalWorkflowExecutionSignaled,
    HistoryEvent,
    MarkerRecorded,
    RequestCancelExternalWorkflowExecutionFailed,
    RequestCancelExternalWorkflowExecutionInitiated,
    SignalExternalWorkflowExecutionFailed,
    SignalExternalWorkflowExecutionInitiated,
    StartChildWorkflowExecutionFailed,
    StartChildWorkflowExecutionInitiated,
    TimerCanceled,
    TimerFired,
    TimerStarted,
    UpsertWorkflowSearchAttributes,
    WorkflowExecutionCanceled,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionCompleted,
    WorkflowExecutionContinuedAsNew,
    WorkflowExecutionFailed,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    WorkflowExecutionTerminated,
    WorkflowExecutionTimedOut,
    WorkflowExecutionUpdateAccepted,
    WorkflowExecutionUpdateAdmitted,
    WorkflowExecutionUpdateCompleted,
    WorkflowExecutionUpdateRejected,
    WorkflowPropertiesModified,
    WorkflowTaskCompleted,
    WorkflowTaskFailed,
    WorkflowTaskScheduled,
    WorkflowTaskStarted,
    WorkflowTaskTimedOut,
)
from durable.history.values import Payload, RunStatus

V = TypeVar("V")

REQUEST_IDS_KEPT = 1000


class PendingActivity(Struct, frozen=True, gc=False):
    """An activity that is scheduled and not over; ``cancel_requested_event_id`` 0 means not asked to end."""

    activity_id: str
    cancel_requested_event_id: int = 0


Request = (
    StartChildWorkflowExecutionInitiated
    | SignalExternalWorkflowExecutionInitiated
    | RequestCancelExternalWorkflowExecutionInitiated
)
"""What a run asks of another run."""


class PendingChild(Struct, frozen=True, gc=False):
    """A child that was asked for, and is not over. ``started_event_id`` 0: the run does not know yet that it began."""

    initiated: StartChildWorkflowExecutionInitiated
    run_id: str = ""
    started_event_id: int = 0


class KnownUpdate(Struct, frozen=True, gc=False):
    """An update that the history tells of: admitted (0), or accepted by event ``accepted_event_id``; over, or not.

    ``request_id`` is that of one that is admitted only: nobody has answered it yet.
    """

    accepted_event_id: int = 0
    completed: bool = False
    request_id: str = ""


class State(Struct, kw_only=True, gc=False):
    """What a run's history amounts to. A value: `fold` makes a new one and leaves the old one alone.

    ``activities`` and ``timers`` are what is pending, by the id of the event that began it. ``task_scheduled`` is the
    id of a WorkflowTaskScheduled that no task has answered yet, else 0. ``task_failed``: the last workflow task
    failed, so the run is parked. ``request_ids`` are the last 1,000 consumed, oldest first. ``updates`` are those that
    were admitted or accepted, by their ids. ``children`` are those that are not over, and ``requests`` what was asked
    of other runs and has no answer yet, both by the id of the initiating event. ``started`` is the first event,
    ``ended`` the closing one. ``has_task``: a workflow task was scheduled, so the code has begun or may begin. ``memo``
    and ``search_attributes`` are as they are now; a change makes a new dict.
    """

    workflow_id: str = ""
    workflow_type: str = ""
    task_queue: str = ""
    task_timeout_us: int = 0
    first_execution_run_id: str = ""
    last_event_id: int = 0
    last_time_us: int = 0
    status: RunStatus = RunStatus.RUNNING
    task_scheduled: int = 0
    task_failed: bool = False
    cancel_requested: bool = False
    activities: dict[int, PendingActivity] = {}
    timers: dict[int, str] = {}
    request_ids: dict[str, None] = {}
    updates: dict[str, KnownUpdate] = {}
    children: dict[int, PendingChild] = {}
    requests: dict[int, Request] = {}
    started: WorkflowExecutionStarted | None = None
    ended: ClosingEvent | None = None
    has_task: bool = False
    memo: dict[str, Payload] = {}
    search_attributes: dict[str, Payload] = {}

    @property
    def is_open(self) -> bool:
        return self.status is RunStatus.RUNNING


def fold(state: State, events: Iterable[HistoryEvent]) -> State:
    """The state after these events.

    Raises `IllegalTransition` when they can't follow: a gap in the ids, anything after a closing event, an outcome of
    what is not pending.
    """
    after = structs.replace(
        state,
        activities=dict(state.activities),
        timers=dict(state.timers),
        request_ids=dict(state.request_ids),
        updates=dict(state.updates),
        children=dict(state.children) if state.children else {},
        requests=dict(state.requests) if state.requests else {},
    )
    last_id = state.last_event_id
    for event in events:
        last_id += 1
        if event.id != last_id:
            raise IllegalTransition(f"event {event.id} can't follow event {last_id - 1}: ids have no gap")
        if after.status is not RunStatus.RUNNING:
            raise IllegalTransition(f"event {event.id} can't follow: the run is closed ({after.status.name})")
        after.last_event_id = last_id
        if event.time_us > after.last_time_us:
            after.last_time_us = event.time_us
        _ARMS[type(event)](after, event)
    return after


def _started(s: State, e: WorkflowExecutionStarted) -> None:
    if e.id != 1:
        raise IllegalTransition(f"event {e.id} starts a run that has begun already")
    s.workflow_id, s.workflow_type, s.task_queue = e.workflow_id, e.workflow_type, e.task_queue
    s.task_timeout_us, s.first_execution_run_id = e.workflow_task_timeout_us, e.first_execution_run_id
    s.request_ids = dict.fromkeys(e.consumed_request_ids)
    s.started = e
    s.memo, s.search_attributes = e.memo, e.search_attributes


def _closed(status: RunStatus) -> Callable[[State, ClosingEvent], None]:
    def arm(s: State, e: ClosingEvent) -> None:
        s.status, s.ended = status, e

    return arm


def _requested(s: State, request_id: str) -> None:
    if request_id:
        s.request_ids[request_id] = None
        if len(s.request_ids) > REQUEST_IDS_KEPT:
            del s.request_ids[next(iter(s.request_ids))]


def _signaled(s: State, e: WorkflowExecutionSignaled) -> None:
    _requested(s, e.request_id)


def _cancel_requested(s: State, e: WorkflowExecutionCancelRequested) -> None:
    _requested(s, e.request_id)
    s.cancel_requested = True


def _task_scheduled(s: State, e: WorkflowTaskScheduled) -> None:
    s.task_scheduled, s.has_task = e.id, True


def _task_started(s: State, e: WorkflowTaskStarted) -> None:
    """Its completion or failure is what changes the run."""


def _task_completed(s: State, e: WorkflowTaskCompleted) -> None:
    s.task_scheduled, s.task_failed = 0, False


def _task_failed(s: State, e: WorkflowTaskFailed) -> None:
    s.task_scheduled, s.task_failed = 0, True


def _task_timed_out(s: State, e: WorkflowTaskTimedOut) -> None:
    s.task_scheduled = 0


def _activity_scheduled(s: State, e: ActivityTaskScheduled) -> None:
    s.activities[e.id] = PendingActivity(e.activity_id)


def _activity_started(s: State, e: ActivityTaskStarted) -> None:
    _pending(s.activities, e.scheduled_event_id, e)


def _activity_cancel_requested(s: State, e: ActivityTaskCancelRequested) -> None:
    pending = _pending(s.activities, e.scheduled_event_id, e)
    s.activities[e.scheduled_event_id] = PendingActivity(pending.activity_id, e.id)


def _activity_over(
    s: State, e: ActivityTaskCompleted | ActivityTaskFailed | ActivityTaskTimedOut | ActivityTaskCanceled
) -> None:
    _pending(s.activities, e.scheduled_event_id, e)
    del s.activities[e.scheduled_event_id]


def _timer_started(s: State, e: TimerStarted) -> None:
    s.timers[e.id] = e.timer_id


def _timer_over(s: State, e: TimerFired | TimerCanceled) -> None:
    _pending(s.timers, e.started_event_id, e)
    del s.timers[e.started_event_id]


def _child_asked(s: State, e: StartChildWorkflowExecutionInitiated) -> None:
    s.children[e.id] = PendingChild(e)
    s.requests[e.id] = e


def _child_refused(s: State, e: StartChildWorkflowExecutionFailed) -> None:
    _pending(s.requests, e.initiated_event_id, e)
    del s.requests[e.initiated_event_id]
    del s.children[e.initiated_event_id]


def _child_started(s: State, e: ChildWorkflowExecutionStarted) -> None:
    _pending(s.requests, e.initiated_event_id, e)
    del s.requests[e.initiated_event_id]
    child = s.children[e.initiated_event_id]
    s.children[e.initiated_event_id] = PendingChild(child.initiated, e.workflow_execution.run_id, e.id)


def _child_over(s: State, e: ChildOutcomeEvent) -> None:
    if _pending(s.children, e.initiated_event_id, e).started_event_id != e.started_event_id:  # type: ignore[arg-type]
        raise IllegalTransition(f"event {e.id} ends the child of event {e.initiated_event_id}, which has not begun")
    del s.children[e.initiated_event_id]


def _asked(
    s: State, e: SignalExternalWorkflowExecutionInitiated | RequestCancelExternalWorkflowExecutionInitiated
) -> None:
    s.requests[e.id] = e


def _answered(
    s: State,
    e: SignalExternalWorkflowExecutionFailed
    | ExternalWorkflowExecutionSignaled
    | RequestCancelExternalWorkflowExecutionFailed
    | ExternalWorkflowExecutionCancelRequested,
) -> None:
    _pending(s.requests, e.initiated_event_id, e)
    del s.requests[e.initiated_event_id]


def _attributes_changed(s: State, e: UpsertWorkflowSearchAttributes) -> None:
    s.search_attributes = attributes_after(s.search_attributes, e.search_attributes)


def _memo_changed(s: State, e: WorkflowPropertiesModified) -> None:
    s.memo = memo_after(s.memo, e.upserted_memo)


def memo_after(memo: dict[str, Payload], upserted: dict[str, Payload]) -> dict[str, Payload]:
    """A memo after an upsert: a null takes the value away."""
    after = memo | upserted
    return {name: value for name, value in after.items() if not (name in upserted and is_null(value))}


def attributes_after(attributes: dict[str, Payload], upserted: dict[str, Payload]) -> dict[str, Payload]:
    """Search attributes after an upsert: a null, or no values, takes the attribute away."""
    return {name: value for name, value in memo_after(attributes, upserted).items() if value.data != b"[]"}


def is_null(value: Payload) -> bool:
    """Does it take a value away, as an upsert?"""
    return value.metadata.get("encoding") == b"binary/null"


def _marked(s: State, e: MarkerRecorded) -> None:
    """What it says is for the code."""


def _update_admitted(s: State, e: WorkflowExecutionUpdateAdmitted) -> None:
    _new_update(s, e.request.meta.update_id, e)
    s.updates[e.request.meta.update_id] = KnownUpdate(request_id=e.request.request_id)


def _update_accepted(s: State, e: WorkflowExecutionUpdateAccepted) -> None:
    if e.accepted_request is None:
        _open_update(s, e.protocol_instance_id, 0, e)
    else:
        _new_update(s, e.protocol_instance_id, e)
    s.updates[e.protocol_instance_id] = KnownUpdate(e.id)


def _update_rejected(s: State, e: WorkflowExecutionUpdateRejected) -> None:
    _open_update(s, e.protocol_instance_id, 0, e)
    del s.updates[e.protocol_instance_id]


def _update_completed(s: State, e: WorkflowExecutionUpdateCompleted) -> None:
    _open_update(s, e.meta.update_id, e.accepted_event_id, e)
    s.updates[e.meta.update_id] = KnownUpdate(e.accepted_event_id, completed=True)


def _new_update(s: State, update_id: str, event: HistoryEvent) -> None:
    if update_id in s.updates:
        raise IllegalTransition(f"event {event.id} ({type(event).__name__}) begins update {update_id!r} again")


def _open_update(s: State, update_id: str, accepted_event_id: int, event: HistoryEvent) -> None:
    known = s.updates.get(update_id)
    if known is None or known.completed or known.accepted_event_id != accepted_event_id:
        raise IllegalTransition(
            f"event {event.id} ({type(event).__name__}) answers update {update_id!r}, which is not pending"
        )


def _pending(pending: dict[int, V], key: int, event: HistoryEvent) -> V:
    try:
        return pending[key]
    except KeyError:
        raise IllegalTransition(
            f"event {event.id} ({type(event).__name__}) answers event {key}, which is not pending"
        ) from None


_ARMS: dict[type[HistoryEvent], Callable[[State, Any], None]] = {
    WorkflowExecutionStarted: _started,
    WorkflowExecutionCompleted: _closed(RunStatus.COMPLETED),
    WorkflowExecutionFailed: _closed(RunStatus.FAILED),
    WorkflowExecutionTimedOut: _closed(RunStatus.TIMED_OUT),
    WorkflowExecutionCanceled: _closed(RunStatus.CANCELED),
    WorkflowExecutionTerminated: _closed(RunStatus.TERMINATED),
    WorkflowExecutionContinuedAsNew: _closed(RunStatus.CONTINUED_AS_NEW),
    WorkflowExecutionSignaled: _signaled,
    WorkflowExecutionCancelRequested: _cancel_requested,
    WorkflowTaskScheduled: _task_scheduled,
    WorkflowTaskStarted: _task_started,
    WorkflowTaskCompleted: _task_completed,
    WorkflowTaskFailed: _task_failed,
    WorkflowTaskTimedOut: _task_timed_out,
    ActivityTaskScheduled: _activity_scheduled,
    ActivityTaskStarted: _activity_started,
    ActivityTaskCompleted: _activity_over,
    ActivityTaskFailed: _activity_over,
    ActivityTaskTimedOut: _activity_over,
    ActivityTaskCanceled: _activity_over,
    ActivityTaskCancelRequested: _activity_cancel_requested,
    TimerStarted: _timer_started,
    TimerFired: _timer_over,
    TimerCanceled: _timer_over,
    MarkerRecorded: _marked,
    StartChildWorkflowExecutionInitiated: _child_asked,
    StartChildWorkflowExecutionFailed: _child_refused,
    ChildWorkflowExecutionStarted: _child_started,
    ChildWorkflowExecutionCompleted: _child_over,
    ChildWorkflowExecutionFailed: _child_over,
    ChildWorkflowExecutionCanceled: _child_over,
    ChildWorkflowExecutionTimedOut: _child_over,
    ChildWorkflowExecutionTerminated: _child_over,
    SignalExternalWorkflowExecutionInitiated: _asked,
    SignalExternalWorkflowExecutionFailed: _answered,
    ExternalWorkflowExecutionSignaled: _answered,
    RequestCancelExternalWorkflowExecutionInitiated: _asked,
    RequestCancelExternalWorkflowExecutionFailed: _answered,
    ExternalWorkflowExecutionCancelRequested: _answered,
    UpsertWorkflowSearchAttributes: _attributes_changed,
    WorkflowPropertiesModified: _memo_changed,
    WorkflowExecutionUpdateAdmitted: _update_admitted,
    WorkflowExecutionUpdateAccepted: _update_accepted,
    WorkflowExecutionUpdateRejected: _update_rejected,
    WorkflowExecutionUpdateCompleted: _update_completed,
}
