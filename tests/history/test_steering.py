"""What it means for an activity that it is let go of, paused, unpaused or reset, and how urgent it is."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable.history import attempts
from durable.history.transition import (
    OUTSIDE,
    ActivityControl,
    ActivityPause,
    ActivityProgress,
    ActivityReport,
    ActivitySpec,
    ActivityTask,
    Retry,
    Steer,
)
from durable.history.values import ApplicationFailureInfo, Failure, Payload, Priority, RetryPolicy

SECOND = 1_000_000
HOUR = 3600 * SECOND
BOOM = Failure(message="boom", info=ApplicationFailureInfo(type="Boom"))
PAUSE = ActivityPause(time_us=HOUR)
PAUSED = ActivityControl(pause=PAUSE)
HALF = ActivityProgress(heartbeat_details=[Payload(data=b"half")], last_failure=BOOM, losses=3)

controls = st.builds(
    ActivityControl, pause=st.none() | st.just(PAUSE), reset=st.booleans(), reset_heartbeat=st.booleans()
)


def waiting(**changes: Any) -> ActivityTask:
    """A task scheduled an hour after the beginning of time; changes are of its spec, but for the task's own fields."""
    own = {name: changes.pop(name) for name in tuple(changes) if name in ActivityTask.__struct_fields__}
    spec = ActivitySpec(
        activity_id="1",
        activity_type="charge",
        workflow_id="order-7",
        workflow_type="process",
        scheduled_us=HOUR,
        **changes,
    )
    return ActivityTask(
        run_id="r1",
        scheduled_event_id=5,
        task_queue="payments",
        workflow_task_queue="orders",
        **{"due_us": HOUR, "spec": spec, **own},
    )


def running(**changes: Any) -> ActivityTask:
    return attempts.begun(waiting(**changes), "w1", HOUR)


def steered(report: ActivityReport) -> Steer:
    assert isinstance(report.what, Steer)
    return report.what


# How urgent. ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "expected"), [(None, 3), (0, 3), (1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 5), (2**31 - 1, 5)]
)
def test_a_priority_key_is_one_of_five_levels(key: int | None, expected: int) -> None:
    task = waiting(priority=None if key is None else Priority(priority_key=key))

    assert attempts.priority(task.spec, task.control) == expected
    assert attempts.priority(task.spec, PAUSED) == attempts.PAUSED


priorities = st.builds(
    Priority, priority_key=st.integers(0, 9), fairness_key=st.sampled_from(["", "gold"]), fairness_weight=st.just(0.0)
)


@given(priorities, priorities)
def test_what_an_activity_does_not_say_is_as_its_workflow_has_it(own: Priority, of_workflow: Priority) -> None:
    both = attempts.inherited(own, of_workflow)

    assert both is not None
    assert both.priority_key == (own.priority_key or of_workflow.priority_key)
    assert both.fairness_key == (own.fairness_key or of_workflow.fairness_key)
    assert attempts.inherited(None, own) == attempts.inherited(own, None) == own
    assert attempts.inherited(None, None) is None


# Let go of. -----------------------------------------------------------------------------------------------------------


def test_an_attempt_that_is_let_go_of_lives_from_then_until_its_next_timeout() -> None:
    task = running(heartbeat_timeout_us=SECOND, start_to_close_timeout_us=HOUR, progress=HALF)

    left = attempts.detached(task, HOUR + 5 * SECOND)

    assert (left.deadline_us, left.progress) == (HOUR + 6 * SECOND, HALF)


def test_a_task_token_is_of_one_attempt_whoever_holds_it() -> None:
    first = running()
    second = attempts.begun(msgspec.structs.replace(first, owner=None), "w1", 2 * HOUR)
    anew = attempts.begun(waiting(), "w1", 2 * HOUR)

    token = attempts.task_token(first)

    assert token == attempts.task_token(msgspec.structs.replace(first, owner=OUTSIDE))
    assert len({token, attempts.task_token(second), attempts.task_token(anew)}) == 3
    assert attempts.run_of(token) == "r1"


@pytest.mark.parametrize("token", [b"", b"garbage", b"\x90", b"\x93\xa2r1\x05\x01", b"\x94\xa2r1\x05\x01\xa0"])
def test_bytes_that_are_no_task_token_are_refused(token: bytes) -> None:
    with pytest.raises(ValueError, match="no task token"):
        attempts.run_of(token)


def test_no_worker_runs_what_was_let_go_of() -> None:
    assert attempts.worker(running()) == "w1"
    assert attempts.worker(waiting(owner=OUTSIDE)) is None


# Paused and unpaused. -------------------------------------------------------------------------------------------------


def test_a_paused_activity_waits_for_no_start_but_its_whole_time_runs_on() -> None:
    task = waiting(schedule_to_start_timeout_us=SECOND, schedule_to_close_timeout_us=10 * SECOND, deadline_us=HOUR)
    paused = msgspec.structs.replace(task, control=PAUSED)

    assert attempts.waiting_deadline_us(task) == HOUR + SECOND
    assert attempts.waiting_deadline_us(paused) == HOUR + 10 * SECOND
    assert attempts.expired(task, HOUR + SECOND) is not None
    assert attempts.expired(paused, HOUR + SECOND) is None
    assert attempts.expired(paused, HOUR + 10 * SECOND) is not None


def test_a_task_that_was_paused_behind_its_workers_back_gets_the_deadline_of_a_paused_one() -> None:
    task = waiting(
        schedule_to_start_timeout_us=SECOND, schedule_to_close_timeout_us=10 * SECOND, deadline_us=HOUR + SECOND
    )
    paused = msgspec.structs.replace(task, control=PAUSED)

    report = attempts.overdue(paused, HOUR + SECOND)

    assert report is not None and steered(report).control == PAUSED
    again = steered(report).again
    assert again is not None and (again.deadline_us, again.due_us) == (HOUR + 10 * SECOND, HOUR)
    corrected = msgspec.structs.replace(paused, deadline_us=again.deadline_us)
    assert attempts.overdue(corrected, HOUR + SECOND) is None


def test_pausing_leaves_the_next_attempt_its_time_and_unpausing_makes_it_due_at_once_if_that_is_over() -> None:
    paused = msgspec.structs.replace(waiting(due_us=3 * HOUR), control=PAUSED)

    def due_us(report: ActivityReport) -> int:
        again = steered(report).again
        assert again is not None
        return again.due_us

    options = {"reset_attempts": False, "reset_heartbeat": False}
    assert due_us(attempts.paused(waiting(due_us=3 * HOUR), PAUSE)) == 3 * HOUR
    assert due_us(attempts.unpaused(paused, 2 * HOUR, **options)) == 3 * HOUR
    assert due_us(attempts.unpaused(paused, 4 * HOUR, **options)) == 4 * HOUR


@given(controls)
def test_an_attempt_under_way_goes_on_whatever_is_asked_of_its_activity(control: ActivityControl) -> None:
    task = msgspec.structs.replace(running(), control=control)

    asked = [
        steered(attempts.paused(task, PAUSE)),
        steered(attempts.unpaused(task, HOUR, reset_attempts=False, reset_heartbeat=False)),
        steered(attempts.reset(task, HOUR, keep_paused=True, reset_heartbeat=False)),
    ]

    assert [each.again for each in asked] == [None, None, None]
    assert [each.control.pause for each in asked] == [PAUSE, None, control.pause]
    assert [each.control.reset for each in asked] == [control.reset, control.reset, True]
    assert {each.control.reset_heartbeat for each in asked} == {control.reset_heartbeat}
    assert [each.priority for each in asked] == [0, 3, 0 if control.pause else 3]


def test_an_attempt_that_ends_because_it_is_paused_is_never_the_last() -> None:
    task = running(retry_policy=RetryPolicy(maximum_attempts=1), progress=HALF)

    again = attempts.interrupted(task, BOOM, 2 * HOUR)

    assert (again.attempt, again.due_us) == (1, 2 * HOUR + SECOND)
    assert again.progress.heartbeat_details == HALF.heartbeat_details and again.progress.last_failure == BOOM


# Reset. ---------------------------------------------------------------------------------------------------------------


@given(controls)
def test_only_what_was_asked_for_begins_anew(control: ActivityControl) -> None:
    again = Retry(due_us=HOUR, deadline_us=None, progress=HALF, attempt=7)

    after = attempts.restarted(again, control)

    assert after.attempt == (0 if control.reset else 7)
    assert after.progress.heartbeat_details == ([] if control.reset_heartbeat else HALF.heartbeat_details)
    assert after.progress.losses == (0 if control.reset else 3)
    assert (after.progress.last_failure, after.due_us) == (BOOM, HOUR)


@pytest.mark.parametrize("keep_paused", [False, True])
def test_resetting_unpauses_unless_it_is_to_stay_paused(keep_paused: bool) -> None:
    task = msgspec.structs.replace(waiting(due_us=3 * HOUR), control=PAUSED)

    asked = steered(attempts.reset(task, 2 * HOUR, keep_paused=keep_paused, reset_heartbeat=False))

    assert (asked.control.pause, asked.priority) == ((PAUSE, 0) if keep_paused else (None, 3))


def test_only_an_end_for_want_of_attempts_is_another_attempt_after_a_reset() -> None:
    once = running(retry_policy=RetryPolicy(maximum_attempts=1), start_to_close_timeout_us=SECOND)
    fatal = Failure(message="never", info=ApplicationFailureInfo(type="Never", non_retryable=True))

    def if_reset(what: Any) -> Retry | None:
        return attempts.report(once, what, 2 * HOUR).if_reset

    tried_again = if_reset(attempts.failed(once, BOOM, "me", 2 * HOUR))
    assert tried_again is not None and tried_again.progress.last_failure == BOOM
    assert if_reset(attempts.expired(once, 2 * HOUR)) is not None
    assert if_reset(attempts.failed(once, fatal, "me", 2 * HOUR)) is None
    assert if_reset(attempts.completed(once, [], "me")) is None
