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
from durable.history.values import (
    CancelExternalFailedCause,
    Failure,
    SignalExternalFailedCause,
    StartChildFailedCause,
    TaskFailedCause,
    UpdateInput,
    UpdateMeta,
    UpdateOutcome,
    UpdateRequest,
    WorkflowExecution,
)

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

CHILD = WorkflowExecution(workflow_id="child", run_id="c1")
OF_CHILD: dict[str, Any] = {"namespace": "default", "workflow_execution": CHILD, "workflow_type": "Child"}
CHILD_ENDS: list[tuple[type[HistoryEvent], dict[str, Any]]] = [
    (ChildWorkflowExecutionCompleted, {}),
    (ChildWorkflowExecutionFailed, {"failure": FAILURE}),
    (ChildWorkflowExecutionTimedOut, {}),
    (ChildWorkflowExecutionCanceled, {}),
    (ChildWorkflowExecutionTerminated, {}),
]
NOBODY_TO_SIGNAL = SignalExternalFailedCause.EXTERNAL_WORKFLOW_EXECUTION_NOT_FOUND
NOBODY_TO_CANCEL = CancelExternalFailedCause.EXTERNAL_WORKFLOW_EXECUTION_NOT_FOUND
ANSWERS: dict[type[HistoryEvent], list[tuple[type[HistoryEvent], dict[str, Any]]]] = {
    SignalExternalWorkflowExecutionInitiated: [
        (ExternalWorkflowExecutionSignaled, {}),
        (
            SignalExternalWorkflowExecutionFailed,
            {"cause": NOBODY_TO_SIGNAL, "workflow_task_completed_event_id": 4},
        ),
    ],
    RequestCancelExternalWorkflowExecutionInitiated: [
        (ExternalWorkflowExecutionCancelRequested, {}),
        (
            RequestCancelExternalWorkflowExecutionFailed,
            {"cause": NOBODY_TO_CANCEL, "workflow_task_completed_event_id": 4},
        ),
    ],
}

TIMER_ENDS: list[tuple[type[HistoryEvent], dict[str, Any]]] = [
    (TimerFired, {}),
    (TimerCanceled, {"workflow_task_completed_event_id": 4}),
]


class Legal(Struct, kw_only=True):
    """A history, and what is pending after it, as whoever wrote it knows."""

    events: list[HistoryEvent]
    activities: set[int]
    timers: set[int]
    children: dict[int, int]
    """Those that are not over, and the events that say that they have begun; 0: nothing says so yet."""
    requests: dict[int, type[HistoryEvent]]
    """Signals and cancel requests without an answer."""
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
        children={},
        requests={},
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
    choices = ["signal", "cancel", "task", "activity", "timer", "child", "request"]
    choices += ["child goes on"] if made.children else []
    choices += ["request answered"] if made.requests else []
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
        case "child":
            begun = _add(
                draw,
                made,
                StartChildWorkflowExecutionInitiated,
                namespace="default",
                workflow_id="child",
                workflow_type="Child",
                task_queue="orders",
                workflow_task_completed_event_id=4,
            )
            made.children[begun] = 0
        case "child goes on":
            _go_on_with_child(draw, made)
        case "request":
            _ask_another(draw, made)
        case "request answered":
            asked = draw(st.sampled_from(sorted(made.requests)))
            kind, fields = draw(st.sampled_from(ANSWERS[made.requests.pop(asked)]))
            _add(draw, made, kind, namespace="default", workflow_execution=CHILD, initiated_event_id=asked, **fields)
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


def _ask_another(draw: st.DrawFn, made: Legal) -> None:
    """A signal or a cancel request is on its way to another run."""
    key: dict[str, Any] = {
        "workflow_task_completed_event_id": 4,
        "namespace": "default",
        "workflow_execution": WorkflowExecution(workflow_id="elsewhere"),
    }
    if draw(st.booleans()):
        asked = _add(draw, made, SignalExternalWorkflowExecutionInitiated, **key, signal_name="go")
    else:
        asked = _add(draw, made, RequestCancelExternalWorkflowExecutionInitiated, **key)
    made.requests[asked] = type(made.events[-1])


def _go_on_with_child(draw: st.DrawFn, made: Legal) -> None:
    """One that was asked for begins, or is refused; one that has begun is over."""
    asked = draw(st.sampled_from(sorted(made.children)))
    begun = made.children[asked]
    if begun:
        kind, fields = draw(st.sampled_from(CHILD_ENDS))
        _add(draw, made, kind, **OF_CHILD, initiated_event_id=asked, started_event_id=begun, **fields)
        del made.children[asked]
    elif draw(st.booleans()):
        made.children[asked] = _add(draw, made, ChildWorkflowExecutionStarted, **OF_CHILD, initiated_event_id=asked)
    else:
        _add(
            draw,
            made,
            StartChildWorkflowExecutionFailed,
            namespace="default",
            workflow_id="child",
            workflow_type="Child",
            cause=StartChildFailedCause.WORKFLOW_ALREADY_EXISTS,
            initiated_event_id=asked,
            workflow_task_completed_event_id=4,
        )
        del made.children[asked]


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
