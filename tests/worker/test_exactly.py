"""The very same: what replaying compares when the code is the same too."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable.history.commands import CompleteWorkflowExecution, ScheduleActivityTask, StartTimer
from durable.history.events import ActivityTaskScheduled, TimerStarted, WorkflowExecutionCompleted
from durable.history.values import Payload
from durable.worker.exactly import differing
from durable.worker.match import Asked, match

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


def plain(value: Any) -> Payload:
    return Payload(metadata={"encoding": b"json/plain"}, data=json.dumps(value).encode())


def scheduled(*input: Payload) -> ActivityTaskScheduled:
    return ActivityTaskScheduled(
        id=5,
        time_us=0,
        workflow_task_completed_event_id=4,
        activity_id="1",
        activity_type="tell",
        task_queue="q",
        input=list(input),
    )


def schedule(*input: Payload) -> ScheduleActivityTask:
    return ScheduleActivityTask(activity_id="1", activity_type="tell", task_queue="q", input=list(input))


def told(command: Any, event: Any, *, exact: bool) -> str:
    return str(match([Asked(command)], [event], 4, lambda: "", exact=exact) or "")


def test_another_argument_is_a_difference_only_when_all_is_compared() -> None:
    assert told(schedule(plain("Ada")), scheduled(plain("Grace")), exact=False) == ""
    assert told(schedule(plain("Ada")), scheduled(plain("Grace")), exact=True) == (
        "the code no longer fits the history: event 5 recorded ActivityTaskScheduled of 'tell' (activity id 1) with "
        '("Grace"), but the code now schedules activity \'tell\' (activity id 1) with ("Ada")'
    )


def test_another_duration_is_a_difference() -> None:
    event = TimerStarted(
        id=5, time_us=0, workflow_task_completed_event_id=4, timer_id="1", start_to_fire_timeout_us=2_000_000
    )
    command = StartTimer(timer_id="1", start_to_fire_timeout_us=1_000_000)
    assert "recorded TimerStarted (timer id 1, 2 s), but the code now starts a timer (timer id 1, 1 s)" in told(
        command, event, exact=True
    )
    assert differing(StartTimer(timer_id="1", start_to_fire_timeout_us=2_000_000), event) is None


def test_another_result_is_a_difference() -> None:
    event = WorkflowExecutionCompleted(id=5, time_us=0, workflow_task_completed_event_id=4, result=[plain(1)])
    assert differing(CompleteWorkflowExecution(result=[plain(2)]), event) == (" with (1)", " with (2)")
    assert differing(CompleteWorkflowExecution(result=[plain(1)]), event) is None


@given(VALUES, st.randoms())
def test_the_order_of_lists_and_keys_makes_no_difference(value: Any, chance: Any) -> None:
    def shuffled(value: Any) -> Any:
        if isinstance(value, list):
            return chance.sample([shuffled(each) for each in value], len(value))
        if isinstance(value, dict):
            return {key: shuffled(value[key]) for key in chance.sample(sorted(value), len(value))}
        return value

    assert differing(schedule(plain(value)), scheduled(plain(shuffled(value)))) is None


@given(VALUES, VALUES)
def test_values_that_are_not_equal_in_any_order_are_a_difference(one: Any, other: Any) -> None:
    def flat(value: Any) -> str:
        if isinstance(value, list):
            return f"list {sorted(map(flat, value))}"
        if isinstance(value, dict):
            return f"dict {sorted((key, flat(each)) for key, each in value.items())}"
        return repr(value)

    assert (differing(schedule(plain(one)), scheduled(plain(other))) is None) == (flat(one) == flat(other))


@pytest.mark.parametrize("encoding", [b"binary/encrypted", b"json/plain"])
def test_nothing_is_said_of_bytes_that_only_their_converter_can_read(encoding: bytes) -> None:
    once, again = (Payload(metadata={"encoding": encoding}, data=data) for data in (b"\xff\x01", b"\xff\x02"))
    assert differing(schedule(once), scheduled(again)) is None


def test_bytes_that_differ_are_a_difference() -> None:
    once, again = (Payload(metadata={"encoding": b"binary/plain"}, data=data) for data in (b"\xff\x01", b"\xff\x02"))
    assert differing(schedule(once), scheduled(again)) is not None


def test_a_long_value_is_told_in_part() -> None:
    difference = differing(schedule(plain("x" * 1000)), scheduled(plain("y" * 1000)))
    assert difference is not None
    assert all(len(each) < 250 for each in difference)
