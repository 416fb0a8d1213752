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
    WorkflowExecutionFailed,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    WorkflowExecutionTerminated,
    WorkflowTaskCompleted,
    WorkflowTaskFailed,
    WorkflowTaskScheduled,
    WorkflowTaskStarted,
)
from durable.history.values import Failure, TaskFailedCause

FAILURE = Failure(message="no")

CLOSINGS: list[tuple[type[HistoryEvent], dict[str, Any]]] = [
    (WorkflowExecutionCompleted, {"workflow_task_completed_event_id": 4}),
    (WorkflowExecutionFailed, {"workflow_task_completed_event_id": 4, "failure": FAILURE}),
    (WorkflowExecutionCanceled, {"workflow_task_completed_event_id": 4}),
    (WorkflowExecutionTerminated, {}),
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
