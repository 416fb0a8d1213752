"""Hypothesis strategies for histories that a run could have: legal event after legal event."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from msgspec import Struct

from durable.history.events import (
    ActivityTaskCanceled,
    ActivityTaskCancelRequested,
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskScheduled,
    ActivityTaskStarted,
    ActivityTaskTimedOut,
    HistoryEvent,
    TimerCanceled,
    TimerFired,
    TimerStarted,
    WorkflowExecutionCanceled,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionCompleted,
    WorkflowExecutionContinuedAsNew,
    WorkflowExecutionFailed,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    WorkflowExecutionTerminated,
    WorkflowExecutionUpdateAccepted,
    WorkflowExecutionUpdateAdmitted,
    WorkflowExecutionUpdateCompleted,
    WorkflowExecutionUpdateRejected,
    WorkflowTaskCompleted,
    WorkflowTaskFailed,
    WorkflowTaskScheduled,
    WorkflowTaskStarted,
)
from durable.history.values import Failure, TaskFailedCause, UpdateInput, UpdateMeta, UpdateOutcome, UpdateRequest

FAILURE = Failure(message="no")

CLOSINGS: list[tuple[type[HistoryEvent], dict[str, Any]]] = [
    (WorkflowExecutionCompleted, {"workflow_task_completed_event_id": 4}),
    (WorkflowExecutionFailed, {"workflow_task_completed_event_id": 4, "failure": FAILURE}),
    (WorkflowExecutionCanceled, {"workflow_task_completed_event_id": 4}),
    (WorkflowExecutionTerminated, {}),
    (
        WorkflowExecutionContinuedAsNew,
        {
            "workflow_task_completed_event_id": 4,
            "new_execution_run_id": "r2",
            "workflow_type": "Order",
            "task_queue": "orders",
        },
    ),
]

ACTIVITY_ENDS: list[tuple[type[HistoryEvent], dict[str, Any]]] = [
    (ActivityTaskCompleted, {}),
    (ActivityTaskFailed, {"failure": FAILURE}),
    (ActivityTaskTimedOut, {"failure": FAILURE}),
    (ActivityTaskCanceled, {}),
]

TIMER_ENDS: list[tuple[type[HistoryEvent], dict[str, Any]]] = [
    (TimerFired, {}),
    (TimerCanceled, {"workflow_task_completed_event_id": 4}),
]


class Legal(Struct, kw_only=True):
    """A history, and what is pending after it, as whoever wrote it knows."""

    events: list[HistoryEvent]
    activities: set[int]
    timers: set[int]
    updates: dict[str, int]
    """The open ones, and the events that accepted them; 0: admitted only."""
    updates_over: set[str]
    task_scheduled: int
    task_failed: bool
    closed: bool


def started(event_id: int = 1, time_us: int = 0) -> WorkflowExecutionStarted:
    return WorkflowExecutionStarted(
        id=event_id,
        time_us=time_us,
        workflow_type="Order",
        workflow_id="order-7",
        task_queue="orders",
        original_execution_run_id="r1",
        first_execution_run_id="r1",
    )


@st.composite
def histories(draw: st.DrawFn, *, may_close: bool = True) -> Legal:
    made = Legal(
        events=[started(time_us=draw(st.integers(0, 9)))],
        activities=set(),
        timers=set(),
        updates={},
        updates_over=set(),
        task_scheduled=0,
        task_failed=False,
        closed=False,
    )
    for _ in range(draw(st.integers(0, 25))):
        _go_on(draw, made)
    if may_close and draw(st.booleans()):
        kind, fields = draw(st.sampled_from(CLOSINGS))
        made.closed = True
        _add(draw, made, kind, **fields)
    return made


def _add(draw: st.DrawFn, made: Legal, kind: type[HistoryEvent], **fields: Any) -> int:
    last = made.events[-1]
    made.events.append(kind(id=last.id + 1, time_us=last.time_us + draw(st.integers(0, 5)), **fields))
    return last.id + 1


def _go_on(draw: st.DrawFn, made: Legal) -> None:
    choices = ["signal", "cancel", "task", "activity", "timer"]
    choices += ["activity ends", "activity asked"] if made.activities else []
    choices += ["timer ends"] if made.timers else []
    choices += ["update"] if len(made.updates) + len(made.updates_over) < 3 else []
    choices += ["update goes on"] if made.updates else []
    match draw(st.sampled_from(choices)):
        case "signal":
            name = draw(st.sampled_from(["", "a", "b", "c"]))
            _add(draw, made, WorkflowExecutionSignaled, signal_name="go", request_id=name)
        case "cancel":
            _add(draw, made, WorkflowExecutionCancelRequested, request_id=draw(st.sampled_from(["", "d"])))
        case "task":
            _go_on_with_task(draw, made)
        case "activity":
            made.activities.add(
                _add(
                    draw,
                    made,
                    ActivityTaskScheduled,
                    workflow_task_completed_event_id=4,
                    activity_id="1",
                    activity_type="charge",
                    task_queue="orders",
                )
            )
        case "update":
            _begin_update(draw, made)
        case "update goes on":
            _go_on_with_update(draw, made)
        case "activity asked":
            asked = draw(st.sampled_from(sorted(made.activities)))
            _add(draw, made, ActivityTaskCancelRequested, scheduled_event_id=asked, workflow_task_completed_event_id=4)
        case "activity ends":
            over = draw(st.sampled_from(sorted(made.activities)))
            begun = _add(draw, made, ActivityTaskStarted, scheduled_event_id=over) if draw(st.booleans()) else 0
            kind, fields = draw(st.sampled_from(ACTIVITY_ENDS))
            _add(draw, made, kind, scheduled_event_id=over, started_event_id=begun, **fields)
            made.activities.remove(over)
        case "timer":
            made.timers.add(
                _add(
                    draw,
                    made,
                    TimerStarted,
                    timer_id="1",
                    start_to_fire_timeout_us=1,
                    workflow_task_completed_event_id=4,
                )
            )
        case _:
            over = draw(st.sampled_from(sorted(made.timers)))
            kind, fields = draw(st.sampled_from(TIMER_ENDS))
            _add(draw, made, kind, timer_id="1", started_event_id=over, **fields)
            made.timers.remove(over)


def _go_on_with_task(draw: st.DrawFn, made: Legal) -> None:
    """A workflow task goes one event further."""
    if not made.task_scheduled:
        made.task_scheduled = _add(draw, made, WorkflowTaskScheduled, task_queue="orders")
        return
    key = {"scheduled_event_id": made.task_scheduled}
    begun = _add(draw, made, WorkflowTaskStarted, **key)
    made.task_failed = draw(st.booleans())
    if made.task_failed:
        cause = TaskFailedCause.NON_DETERMINISTIC_ERROR
        _add(draw, made, WorkflowTaskFailed, **key, started_event_id=begun, cause=cause, failure=FAILURE)
    else:
        _add(draw, made, WorkflowTaskCompleted, **key, started_event_id=begun)
    made.task_scheduled = 0


def _begin_update(draw: st.DrawFn, made: Legal) -> None:
    """A new update is admitted, or accepted at once."""
    update_id = f"u{len(made.events)}"
    request = UpdateRequest(meta=UpdateMeta(update_id=update_id), input=UpdateInput(name="set"))
    if draw(st.booleans()):
        _add(draw, made, WorkflowExecutionUpdateAdmitted, request=request)
        made.updates[update_id] = 0
    else:
        made.updates[update_id] = _add(
            draw,
            made,
            WorkflowExecutionUpdateAccepted,
            protocol_instance_id=update_id,
            accepted_request=request,
        )


def _go_on_with_update(draw: st.DrawFn, made: Legal) -> None:
    """One that was admitted is accepted or rejected; one that was accepted is over."""
    update_id = draw(st.sampled_from(sorted(made.updates)))
    accepted_id = made.updates[update_id]
    if accepted_id:
        _add(
            draw,
            made,
            WorkflowExecutionUpdateCompleted,
            meta=UpdateMeta(update_id=update_id),
            accepted_event_id=accepted_id,
            outcome=UpdateOutcome(success=[]),
        )
        del made.updates[update_id]
        made.updates_over.add(update_id)
    elif draw(st.booleans()):
        made.updates[update_id] = _add(draw, made, WorkflowExecutionUpdateAccepted, protocol_instance_id=update_id)
    else:
        _add(draw, made, WorkflowExecutionUpdateRejected, protocol_instance_id=update_id, failure=FAILURE)
        del made.updates[update_id]
