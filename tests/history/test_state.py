"""A run's state is what its history amounts to, and a history that no run can have is refused."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable.history.errors import IllegalTransition
from durable.history.events import (
    ActivityTaskCancelRequested,
    ActivityTaskScheduled,
    ActivityTaskStarted,
    HistoryEvent,
    TimerStarted,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionSignaled,
    WorkflowTaskScheduled,
    WorkflowTaskTimedOut,
)
from durable.history.state import REQUEST_IDS_KEPT, PendingActivity, State, fold
from durable.history.values import RunStatus
from tests.history.legal import ACTIVITY_ENDS, CLOSINGS, TIMER_ENDS, Legal, histories, started

SCHEDULED = ActivityTaskScheduled(
    id=2,
    time_us=5,
    workflow_task_completed_event_id=4,
    activity_id="7",
    activity_type="charge",
    task_queue="orders",
)
TIMER = TimerStarted(id=3, time_us=6, timer_id="8", start_to_fire_timeout_us=1, workflow_task_completed_event_id=4)
PENDING = [started(), SCHEDULED, TIMER]
CLOSED_AS = [
    RunStatus.COMPLETED,
    RunStatus.FAILED,
    RunStatus.CANCELED,
    RunStatus.TERMINATED,
    RunStatus.CONTINUED_AS_NEW,
]


def signal(event_id: int, request_id: str = "") -> WorkflowExecutionSignaled:
    return WorkflowExecutionSignaled(id=event_id, time_us=event_id, signal_name="go", request_id=request_id)


@given(histories())
def test_a_state_tells_what_is_pending(legal: Legal) -> None:
    state = fold(State(), legal.events)

    assert (set(state.activities), set(state.timers)) == (legal.activities, legal.timers)
    accepted = {id: update.accepted_event_id for id, update in state.updates.items() if not update.completed}
    over = {id for id, update in state.updates.items() if update.completed}
    assert (accepted, over) == (legal.updates, legal.updates_over)
    assert (state.task_scheduled, state.task_failed) == (legal.task_scheduled, legal.task_failed)
    assert state.is_open is not legal.closed
    assert (state.last_event_id, state.last_time_us) == (len(legal.events), legal.events[-1].time_us)


@given(histories(), st.data())
def test_a_history_folds_to_the_same_state_in_one_go_and_in_parts(legal: Legal, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(legal.events)))

    in_parts = fold(fold(State(), legal.events[:cut]), legal.events[cut:])

    assert in_parts == fold(State(), legal.events)


@given(histories(), st.data())
def test_folding_leaves_the_state_before_alone(legal: Legal, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(legal.events)))
    before = fold(State(), legal.events[:cut])
    kept = copy.deepcopy(before)

    fold(before, legal.events[cut:])

    assert before == kept and list(before.request_ids) == list(kept.request_ids)


@given(histories(), st.data())
def test_an_event_that_is_missing_repeated_or_out_of_turn_is_refused(legal: Legal, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(legal.events) - 1))
    event_id = data.draw(st.integers(-2, len(legal.events) + 2).filter(lambda id: id != at + 1))
    broken = list(legal.events)
    broken[at] = msgspec.structs.replace(broken[at], id=event_id)

    with pytest.raises(IllegalTransition, match=f"event {event_id} can't follow event {at}: ids have no gap"):
        fold(State(), broken)


@given(histories(may_close=False), st.sampled_from(CLOSINGS), histories())
def test_nothing_follows_a_closing_event(
    legal: Legal, closing: tuple[type[HistoryEvent], dict[str, Any]], other: Legal
) -> None:
    last = len(legal.events)
    closed = [*legal.events, closing[0](id=last + 1, time_us=0, **closing[1])]
    late = msgspec.structs.replace(other.events[-1], id=last + 2)

    with pytest.raises(IllegalTransition, match="the run is closed"):
        fold(fold(State(), closed), [late])


@pytest.mark.parametrize(
    ("closing", "status"),
    list(zip(CLOSINGS, CLOSED_AS, strict=True)),
)
def test_the_closing_event_gives_the_status(
    closing: tuple[type[HistoryEvent], dict[str, Any]], status: RunStatus
) -> None:
    state = fold(State(), [started(), closing[0](id=2, time_us=0, **closing[1])])

    assert (state.status, state.is_open) == (status, False)


ANSWERS: list[tuple[type[HistoryEvent], dict[str, Any]]] = [
    *((kind, {"scheduled_event_id": 2, "started_event_id": 0, **fields}) for kind, fields in ACTIVITY_ENDS),
    *((kind, {"timer_id": "8", "started_event_id": 3, **fields}) for kind, fields in TIMER_ENDS),
]


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer[0].__name__)
def test_an_outcome_ends_what_is_pending_and_only_once(answer: tuple[type[HistoryEvent], dict[str, Any]]) -> None:
    kind, fields = answer
    after = fold(State(), [*PENDING, kind(id=4, time_us=0, **fields)])

    assert len(after.activities) + len(after.timers) == 1
    with pytest.raises(IllegalTransition, match=r"answers event \d, which is not pending"):
        fold(after, [kind(id=5, time_us=0, **fields)])


@pytest.mark.parametrize(
    "answer",
    [
        *ANSWERS,
        (ActivityTaskStarted, {"scheduled_event_id": 2}),
        (ActivityTaskCancelRequested, {"scheduled_event_id": 2, "workflow_task_completed_event_id": 4}),
    ],
    ids=lambda answer: answer[0].__name__,
)
def test_an_answer_to_what_never_began_is_refused(answer: tuple[type[HistoryEvent], dict[str, Any]]) -> None:
    kind, fields = answer

    with pytest.raises(IllegalTransition, match="not pending"):
        fold(State(), [started(), kind(id=2, time_us=0, **fields)])


def test_a_run_begins_once() -> None:
    with pytest.raises(IllegalTransition, match="begun already"):
        fold(State(), [started(), started(2)])


def test_the_start_gives_the_names() -> None:
    state = fold(State(), [started()])

    assert (state.workflow_id, state.workflow_type, state.task_queue) == ("order-7", "Order", "orders")
    assert (state.first_execution_run_id, state.task_timeout_us) == ("r1", 10_000_000)


def test_an_activity_that_is_asked_to_end_is_pending_until_it_does() -> None:
    asked = ActivityTaskCancelRequested(id=4, time_us=0, scheduled_event_id=2, workflow_task_completed_event_id=4)

    state = fold(State(), [*PENDING, asked])

    assert state.activities == {2: PendingActivity("7", cancel_requested_event_id=4)}


def test_a_cancel_request_is_remembered() -> None:
    request = WorkflowExecutionCancelRequested(id=2, time_us=0, request_id="r9")

    state = fold(State(), [started(), request])

    assert state.cancel_requested and list(state.request_ids) == ["r9"]


@pytest.mark.parametrize("count", [0, 1, REQUEST_IDS_KEPT, REQUEST_IDS_KEPT + 1, 3 * REQUEST_IDS_KEPT])
def test_the_last_thousand_request_ids_are_remembered_oldest_first(count: int) -> None:
    state = fold(State(), [started(), *(signal(i + 2, f"r{i}") for i in range(count))])

    assert list(state.request_ids) == [f"r{i}" for i in range(count)][-1000:]


def test_a_signal_without_a_request_id_takes_no_place() -> None:
    state = fold(State(), [started(), signal(2), signal(3, "r1"), signal(4)])

    assert list(state.request_ids) == ["r1"]


def test_time_never_goes_back() -> None:
    state = fold(State(), [started(time_us=50), signal(2)])

    assert state.last_time_us == 50


def test_a_workflow_task_that_timed_out_is_scheduled_no_more_and_has_not_failed() -> None:
    """Only Temporal's histories have it."""
    scheduled = fold(State(), [started(), WorkflowTaskScheduled(id=2, time_us=5, task_queue="orders")])

    after = fold(scheduled, [WorkflowTaskTimedOut(id=3, time_us=6, scheduled_event_id=2)])

    assert (scheduled.task_scheduled, after.task_scheduled, after.task_failed) == (2, 0, False)
