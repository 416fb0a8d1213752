"""An attempt's life: when it runs out, whether another follows, and what the history is told at the end."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from durable.history import attempts, codec
from durable.history.messages import ActivityOutcome, Canceled, Completed, Failed, MessageKind, TimedOut
from durable.history.transition import (
    ActivityControl,
    ActivityProgress,
    ActivitySpec,
    ActivityTask,
    Beat,
    NewMessage,
    Retry,
)
from durable.history.values import (
    ActivityFailureInfo,
    ApplicationFailureInfo,
    CanceledFailureInfo,
    Failure,
    Payload,
    RetryPolicy,
    RetryState,
    ServerFailureInfo,
    TimeoutFailureInfo,
    TimeoutType,
)

SECOND = 1_000_000
HOUR = 3600 * SECOND
BOOM = Failure(message="boom", info=ApplicationFailureInfo(type="Boom"))

timeouts_us = st.just(0) | st.integers(1, HOUR)
policies = st.builds(
    RetryPolicy,
    initial_interval_us=st.integers(1, 60 * SECOND),
    backoff_coefficient=st.floats(1.0, 10.0),
    maximum_interval_us=timeouts_us,
    maximum_attempts=st.integers(0, 5),
)
specs = st.builds(
    ActivitySpec,
    activity_id=st.just("1"),
    activity_type=st.just("charge"),
    workflow_id=st.just("order-7"),
    workflow_type=st.just("process"),
    scheduled_us=st.integers(0, 10 * HOUR),
    schedule_to_close_timeout_us=timeouts_us,
    schedule_to_start_timeout_us=timeouts_us,
    start_to_close_timeout_us=timeouts_us,
    heartbeat_timeout_us=timeouts_us,
    retry_policy=policies,
)


def without_end(spec: ActivitySpec) -> ActivitySpec:
    """As often and as long as it takes."""
    policy = msgspec.structs.replace(spec.retry_policy, maximum_attempts=0)
    return msgspec.structs.replace(spec, schedule_to_close_timeout_us=0, retry_policy=policy)


@st.composite
def waiting_tasks(draw: st.DrawFn, specs: st.SearchStrategy[ActivitySpec] = specs) -> ActivityTask:
    """Tasks that nobody has claimed, with the deadline that their wait has."""
    spec = draw(specs)
    attempt = draw(st.integers(0, 4))
    due_us = spec.scheduled_us + (draw(st.integers(0, HOUR)) if attempt else 0)
    task = waiting(spec, due_us=due_us, attempt=attempt)
    return msgspec.structs.replace(task, deadline_us=attempts.waiting_deadline_us(task))


@st.composite
def claimed_tasks(draw: st.DrawFn, specs: st.SearchStrategy[ActivitySpec] = specs) -> ActivityTask:
    """Tasks whose attempt is under way."""
    task = draw(waiting_tasks(specs))
    return attempts.begun(task, "w1", task.due_us + draw(st.integers(0, HOUR)))


def a_spec(**changes: Any) -> ActivitySpec:
    spec = ActivitySpec(
        activity_id="1", activity_type="charge", workflow_id="order-7", workflow_type="process", scheduled_us=HOUR
    )
    return msgspec.structs.replace(spec, **changes)


def waiting(spec: ActivitySpec, **changes: Any) -> ActivityTask:
    task = ActivityTask(
        run_id="r1",
        scheduled_event_id=5,
        task_queue="payments",
        workflow_task_queue="orders",
        due_us=spec.scheduled_us,
        spec=spec,
    )
    return msgspec.structs.replace(task, **changes)


def running(spec: ActivitySpec, attempt: int = 1, **changes: Any) -> ActivityTask:
    """Attempt number ``attempt``, begun when it was due."""
    task = waiting(spec, attempt=attempt - 1)
    return msgspec.structs.replace(attempts.begun(task, "w1", task.due_us), **changes)


def retry_state(outcome: ActivityOutcome | Retry | None) -> RetryState:
    assert isinstance(outcome, ActivityOutcome)
    assert isinstance(outcome.outcome, Failed | TimedOut)
    return outcome.outcome.retry_state


def timeout_type(outcome: ActivityOutcome | Retry | None) -> TimeoutType:
    assert isinstance(outcome, ActivityOutcome)
    assert isinstance(outcome.outcome, TimedOut)
    info = outcome.outcome.failure.info
    assert isinstance(info, TimeoutFailureInfo)
    return info.timeout_type


def close_us(task: ActivityTask) -> int | None:
    timeout = task.spec.schedule_to_close_timeout_us
    return task.spec.scheduled_us + timeout if timeout else None


# Beginning and living


@given(waiting_tasks(), st.integers(0, HOUR))
def test_a_claim_counts_an_attempt_and_starts_its_clock(task: ActivityTask, wait_us: int) -> None:
    now_us = task.due_us + wait_us

    held = attempts.begun(task, "w1", now_us)

    assert (held.owner, held.attempt, held.started_us) == ("w1", task.attempt + 1, now_us)
    assert attempts.token(held).attempt == held.attempt


@given(claimed_tasks())
def test_an_attempts_deadline_is_the_earliest_of_its_timeouts(task: ActivityTask) -> None:
    spec = task.spec
    ends = [
        start + timeout
        for start, timeout in (
            (spec.scheduled_us, spec.schedule_to_close_timeout_us),
            (task.started_us, spec.start_to_close_timeout_us),
            (task.started_us, spec.heartbeat_timeout_us),
        )
        if timeout
    ]

    assert task.deadline_us == min(ends, default=None)


@given(waiting_tasks())
def test_a_wait_ends_by_schedule_to_start_or_schedule_to_close_only(task: ActivityTask) -> None:
    spec = task.spec
    start_us = task.due_us + spec.schedule_to_start_timeout_us if spec.schedule_to_start_timeout_us else None

    ends = [end for end in (start_us, close_us(task)) if end is not None]

    assert task.deadline_us == min(ends, default=None)


def test_without_timeouts_nothing_ever_runs_out() -> None:
    task = running(a_spec())

    assert task.deadline_us is None
    assert attempts.expired(task, 1000 * HOUR) is None


@given(claimed_tasks(), st.integers(0, HOUR))
def test_a_heartbeat_moves_its_own_timeout_and_no_other(task: ActivityTask, later_us: int) -> None:
    now_us = task.started_us + later_us

    report = attempts.beat(task, [Payload(data=b"half")], now_us)

    assert isinstance(report.what, Beat)
    assert report.token == attempts.token(task)
    assert report.what.progress.heartbeat_details == [Payload(data=b"half")]
    assert report.what.deadline_us == attempts.deadline_us(task, now_us)
    without = msgspec.structs.replace(task, spec=msgspec.structs.replace(task.spec, heartbeat_timeout_us=0))
    fixed_us = attempts.deadline_us(without, now_us)
    assert fixed_us == attempts.deadline_us(without, task.started_us)
    if task.spec.heartbeat_timeout_us:
        beat_us = now_us + task.spec.heartbeat_timeout_us
        assert report.what.deadline_us == (beat_us if fixed_us is None else min(beat_us, fixed_us))


def test_a_heartbeat_keeps_the_last_failure_for_the_next_attempt() -> None:
    task = running(a_spec(), progress=ActivityProgress(last_failure=BOOM))

    report = attempts.beat(task, [], HOUR)

    assert isinstance(report.what, Beat)
    assert report.what.progress.last_failure == BOOM


# Ending well


@given(claimed_tasks())
def test_a_result_is_the_end_whatever_the_policy(task: ActivityTask) -> None:
    outcome = attempts.completed(task, [Payload(data=b"1")], "me@host")

    assert outcome == ActivityOutcome(
        scheduled_event_id=task.scheduled_event_id,
        outcome=Completed(result=[Payload(data=b"1")]),
        started_us=task.started_us,
        attempt=task.attempt,
        identity="me@host",
    )


def test_the_history_learns_the_failure_before_the_one_that_ended_it() -> None:
    task = running(a_spec(), attempt=2, progress=ActivityProgress(last_failure=BOOM))

    assert attempts.completed(task, [], "").last_failure == BOOM
    canceled = attempts.canceled(task, [Payload(data=b"x")], "me")
    assert canceled.outcome == Canceled(details=[Payload(data=b"x")])
    assert (canceled.last_failure, canceled.attempt, canceled.identity) == (BOOM, 2, "me")


# Again, or over?


@given(claimed_tasks(), st.integers(0, HOUR))
def test_a_failure_is_tried_again_until_attempts_or_time_run_out(task: ActivityTask, later_us: int) -> None:
    now_us = task.started_us + later_us
    policy = task.spec.retry_policy
    due_us = now_us + policy.interval_us(task.attempt)
    end_us = close_us(task)

    outcome = attempts.failed(task, BOOM, "me", now_us)

    if policy.maximum_attempts and task.attempt >= policy.maximum_attempts:
        assert retry_state(outcome) is RetryState.MAXIMUM_ATTEMPTS_REACHED
    elif end_us is not None and due_us >= end_us:
        assert retry_state(outcome) is RetryState.TIMEOUT
    else:
        assert isinstance(outcome, Retry)
        assert (outcome.due_us, outcome.attempt) == (due_us, task.attempt)
        assert outcome.progress.last_failure == BOOM
        again = waiting(task.spec, due_us=outcome.due_us, attempt=outcome.attempt)
        assert outcome.deadline_us == attempts.waiting_deadline_us(again)


@pytest.mark.parametrize("maximum", [1, 2, 7])
def test_an_activity_is_attempted_exactly_as_often_as_its_policy_allows(maximum: int) -> None:
    task = waiting(a_spec(retry_policy=RetryPolicy(maximum_attempts=maximum)))
    begun = 0

    while True:
        held = attempts.begun(task, "w1", task.due_us)
        begun += 1
        outcome = attempts.failed(held, BOOM, "", held.started_us)
        if isinstance(outcome, ActivityOutcome):
            break
        task = waiting(task.spec, due_us=outcome.due_us, attempt=outcome.attempt)

    assert begun == maximum
    assert outcome.attempt == maximum


def test_waits_grow_by_the_coefficient_up_to_the_maximum() -> None:
    policy = RetryPolicy(initial_interval_us=SECOND, backoff_coefficient=3.0, maximum_interval_us=10 * SECOND)

    assert [policy.interval_us(attempt) // SECOND for attempt in (1, 2, 3, 4, 5)] == [1, 3, 9, 10, 10]


@given(policies, st.integers(1, 100_000))
def test_no_wait_is_longer_than_the_maximum_or_a_hundred_first_ones(policy: RetryPolicy, attempt: int) -> None:
    ceiling_us = policy.maximum_interval_us or 100 * policy.initial_interval_us

    assert 0 <= policy.interval_us(attempt) <= ceiling_us
    assert policy.interval_us(attempt) <= policy.interval_us(attempt + 1)


@pytest.mark.parametrize(
    "failure",
    [
        Failure(message="x", info=ApplicationFailureInfo(type="Other", non_retryable=True)),
        Failure(message="x", info=ApplicationFailureInfo(type="Listed")),
        Failure(message="x", info=ServerFailureInfo(non_retryable=True)),
        Failure(message="x", info=CanceledFailureInfo()),
    ],
    ids=["says so itself", "its type is listed", "the server says so", "it was cancelled"],
)
def test_what_must_not_be_tried_again_is_not(failure: Failure) -> None:
    task = running(a_spec(retry_policy=RetryPolicy(non_retryable_error_types=["Listed"])))

    outcome = attempts.failed(task, failure, "me", HOUR)

    assert retry_state(outcome) is RetryState.NON_RETRYABLE_FAILURE
    assert isinstance(outcome, ActivityOutcome)
    assert isinstance(outcome.outcome, Failed)
    assert (outcome.outcome.failure, outcome.identity) == (failure, "me")


@pytest.mark.parametrize(
    "info",
    [
        None,
        ApplicationFailureInfo(type="Unlisted"),
        ServerFailureInfo(),
        ActivityFailureInfo(activity_type="Listed"),
    ],
    ids=["no kind", "another type", "the server", "an activity's name is no error type"],
)
def test_what_nobody_forbids_is_tried_again(info: Any) -> None:
    task = running(a_spec(retry_policy=RetryPolicy(non_retryable_error_types=["Listed"])))

    assert isinstance(attempts.failed(task, Failure(message="x", info=info), "", HOUR), Retry)


@given(claimed_tasks(specs.map(without_end)), st.integers(0, HOUR))
def test_a_delay_that_the_failure_asks_for_replaces_the_policys(task: ActivityTask, asked_us: int) -> None:
    asking = Failure(message="x", info=ApplicationFailureInfo(type="Boom", next_retry_delay_us=asked_us))

    outcome = attempts.failed(task, asking, "", task.started_us)

    assert isinstance(outcome, Retry)
    assert outcome.due_us == task.started_us + asked_us


def test_a_delay_that_is_asked_for_gives_no_attempt_beyond_the_last() -> None:
    asking = Failure(message="x", info=ApplicationFailureInfo(next_retry_delay_us=0))
    task = running(a_spec(retry_policy=RetryPolicy(maximum_attempts=1)))

    assert retry_state(attempts.failed(task, asking, "", HOUR)) is RetryState.MAXIMUM_ATTEMPTS_REACHED


def test_no_attempt_is_planned_for_the_moment_at_which_time_is_up_or_later() -> None:
    policy = RetryPolicy(initial_interval_us=SECOND)
    in_time = running(a_spec(schedule_to_close_timeout_us=SECOND + 1, retry_policy=policy))
    too_late = running(a_spec(schedule_to_close_timeout_us=SECOND, retry_policy=policy))

    assert isinstance(attempts.failed(in_time, BOOM, "", HOUR), Retry)
    assert retry_state(attempts.failed(too_late, BOOM, "", HOUR)) is RetryState.TIMEOUT


def test_a_cancelled_activity_that_fails_is_not_tried_again() -> None:
    task = running(a_spec(), cancel_requested=True)

    assert retry_state(attempts.failed(task, BOOM, "", HOUR)) is RetryState.CANCEL_REQUESTED


def test_heartbeat_details_reach_the_next_attempt() -> None:
    task = running(a_spec(), progress=ActivityProgress(heartbeat_details=[Payload(data=b"half")]))

    outcome = attempts.failed(task, BOOM, "", HOUR)

    assert isinstance(outcome, Retry)
    assert outcome.progress == ActivityProgress(heartbeat_details=[Payload(data=b"half")], last_failure=BOOM)


# Running out


@given(claimed_tasks() | waiting_tasks(), st.integers(-HOUR, HOUR))
def test_nothing_runs_out_before_its_deadline_and_everything_at_it(task: ActivityTask, later_us: int) -> None:
    assume(task.deadline_us is not None)
    assert task.deadline_us is not None
    now_us = task.deadline_us + later_us

    assert (attempts.expired(task, now_us) is None) == (later_us < 0)


@given(claimed_tasks() | waiting_tasks(), st.booleans(), st.integers(0, HOUR))
def test_schedule_to_close_beats_every_other_timeout(task: ActivityTask, lost: bool, later_us: int) -> None:
    end_us = close_us(task)
    assume(end_us is not None)
    assert end_us is not None
    task = msgspec.structs.replace(task, lost=lost, progress=ActivityProgress(last_failure=BOOM))

    outcome = attempts.expired(task, end_us + later_us)

    assert timeout_type(outcome) is TimeoutType.SCHEDULE_TO_CLOSE
    assert retry_state(outcome) is RetryState.TIMEOUT
    assert isinstance(outcome, ActivityOutcome)
    assert isinstance(outcome.outcome, TimedOut)
    assert outcome.outcome.failure.cause == BOOM


def test_an_activity_that_nobody_takes_in_time_is_over_at_once() -> None:
    task = waiting(a_spec(schedule_to_start_timeout_us=SECOND), deadline_us=HOUR + SECOND)

    outcome = attempts.expired(task, HOUR + SECOND)

    assert timeout_type(outcome) is TimeoutType.SCHEDULE_TO_START
    assert retry_state(outcome) is RetryState.NON_RETRYABLE_FAILURE
    assert isinstance(outcome, ActivityOutcome)
    assert (outcome.started_us, outcome.attempt) == (0, 0)


@given(claimed_tasks())
def test_an_attempt_under_way_never_misses_its_start(task: ActivityTask) -> None:
    assume(task.deadline_us is not None)
    assert task.deadline_us is not None

    outcome = attempts.expired(task, task.deadline_us)

    if isinstance(outcome, ActivityOutcome):
        assert timeout_type(outcome) is not TimeoutType.SCHEDULE_TO_START


@pytest.mark.parametrize(
    ("timeouts", "kind"),
    [
        ({"start_to_close_timeout_us": SECOND}, TimeoutType.START_TO_CLOSE),
        ({"heartbeat_timeout_us": SECOND}, TimeoutType.HEARTBEAT),
        ({"start_to_close_timeout_us": SECOND, "heartbeat_timeout_us": SECOND}, TimeoutType.START_TO_CLOSE),
        ({"start_to_close_timeout_us": HOUR, "heartbeat_timeout_us": SECOND}, TimeoutType.HEARTBEAT),
    ],
)
def test_an_attempt_that_runs_out_is_tried_again_and_the_last_one_names_its_timeout(
    timeouts: dict[str, int], kind: TimeoutType
) -> None:
    spec = a_spec(retry_policy=RetryPolicy(maximum_attempts=2), **timeouts)
    details = ActivityProgress(heartbeat_details=[Payload(data=b"half")])

    first = attempts.expired(running(spec, attempt=1, progress=details), HOUR + SECOND)
    last = attempts.expired(running(spec, attempt=2, progress=details), HOUR + SECOND)

    assert isinstance(first, Retry)
    assert first.progress.last_failure is not None
    assert isinstance(first.progress.last_failure.info, TimeoutFailureInfo)
    assert first.progress.last_failure.info.timeout_type is kind
    assert timeout_type(last) is kind
    assert retry_state(last) is RetryState.MAXIMUM_ATTEMPTS_REACHED
    assert isinstance(last, ActivityOutcome)
    assert isinstance(last.outcome, TimedOut)
    assert isinstance(last.outcome.failure.info, TimeoutFailureInfo)
    assert last.outcome.failure.info.last_heartbeat_details == [Payload(data=b"half")]


# Workers that die, and workers that stop


@pytest.mark.parametrize("timeouts", [{}, {"heartbeat_timeout_us": HOUR}, {"start_to_close_timeout_us": HOUR}])
def test_an_attempt_lost_with_its_worker_counts(timeouts: dict[str, int]) -> None:
    spec = a_spec(retry_policy=RetryPolicy(maximum_attempts=2), **timeouts)

    first = attempts.expired(running(spec, attempt=1, lost=True, deadline_us=HOUR + 1), HOUR + 1)
    last = attempts.expired(running(spec, attempt=2, lost=True, deadline_us=HOUR + 1), HOUR + 1)

    assert isinstance(first, Retry)
    assert first.attempt == 1
    assert first.progress.last_failure is not None
    assert "worker" in first.progress.last_failure.message
    assert "died" in first.progress.last_failure.message
    assert retry_state(last) is RetryState.MAXIMUM_ATTEMPTS_REACHED


def test_an_activity_allowed_one_attempt_is_not_repeated_when_its_worker_dies() -> None:
    task = running(a_spec(retry_policy=RetryPolicy(maximum_attempts=1)), lost=True, deadline_us=HOUR)

    assert retry_state(attempts.expired(task, HOUR)) is RetryState.MAXIMUM_ATTEMPTS_REACHED


def test_an_attempt_lost_after_its_cancellation_was_asked_for_is_not_repeated() -> None:
    task = running(a_spec(), lost=True, deadline_us=HOUR, cancel_requested=True)

    assert retry_state(attempts.expired(task, HOUR)) is RetryState.CANCEL_REQUESTED


@given(waiting_tasks(), st.integers(0, HOUR))
def test_an_attempt_handed_back_does_not_count_and_may_begin_at_once(task: ActivityTask, later_us: int) -> None:
    held = attempts.begun(task, "w1", task.due_us)
    now_us = held.started_us + later_us

    back = attempts.handed_back(held, now_us)

    assert (back.attempt, back.due_us, back.progress) == (task.attempt, now_us, task.progress)
    again = attempts.begun(waiting(task.spec, due_us=back.due_us, attempt=back.attempt), "w2", now_us)
    assert again.attempt == held.attempt


def test_what_an_attempt_has_done_so_far_is_handed_back_with_it() -> None:
    progress = ActivityProgress(heartbeat_details=[Payload(data=b"half")], last_failure=BOOM)

    assert attempts.handed_back(running(a_spec(), progress=progress), HOUR).progress == progress


def test_handing_back_does_not_prolong_schedule_to_close() -> None:
    task = running(a_spec(schedule_to_close_timeout_us=10 * SECOND))

    assert attempts.handed_back(task, HOUR + 9 * SECOND).deadline_us == HOUR + 10 * SECOND


# Telling the store


def test_an_end_is_reported_as_a_message_and_a_retry_as_itself() -> None:
    task = running(a_spec())
    end = attempts.completed(task, [], "me")
    again = attempts.handed_back(task, HOUR)

    told = attempts.report(task, end, HOUR)

    assert told.token == attempts.token(task)
    assert isinstance(told.what, NewMessage)
    assert (told.what.kind, told.what.due_us) == (MessageKind.ACTIVITY, HOUR)
    assert codec.decode_message(told.what.body) == end
    assert attempts.report(task, again, HOUR).what is again


def test_the_token_of_an_unclaimed_task_holds_only_while_nobody_claims_it() -> None:
    task = waiting(a_spec(), attempt=1)

    assert attempts.token(task).owner is None
    assert attempts.token(task) != attempts.token(attempts.begun(task, "w1", HOUR))


# Known or not


CODE_ENDS = ("raised", "lost", "timed out", "silent", "handed back", "interrupted", "handed back before it began")
"""How an attempt ends that does not end well."""
VERIFY_ENDS = ("raised", "lost", "handed back", "it did not happen")


def taken_back(task: ActivityTask, again: Retry) -> ActivityTask:
    """The task as the store has it once it waits for its next attempt."""
    moved = msgspec.structs.replace(task, owner=None, lost=False, attempt=again.attempt, due_us=again.due_us)
    return msgspec.structs.replace(moved, deadline_us=again.deadline_us, progress=again.progress)


def ended(held: ActivityTask, how: str, *, begun: bool) -> Retry:
    """What follows an attempt; ``begun``: its code had."""
    left = attempts.in_doubt(held) if begun else held
    match how:
        case "raised":
            what = attempts.failed(held, BOOM, "", held.started_us)
        case "lost":
            lost = msgspec.structs.replace(held, lost=True, deadline_us=held.started_us)
            assert attempts.is_ambiguous(lost)
            what = attempts.expired(lost, held.started_us)
        case "timed out":
            what = attempts.expired(held, held.started_us + 9 * SECOND)
        case "silent":
            what = attempts.expired(held, held.started_us + 2 * SECOND)
        case "interrupted":
            what = attempts.interrupted(left, BOOM, held.started_us)
        case _:
            what = attempts.handed_back(left, held.started_us)
    assert isinstance(what, Retry)
    return what


@given(st.lists(st.tuples(st.sampled_from(VERIFY_ENDS), st.sampled_from(CODE_ENDS), st.booleans(), st.booleans())))
def test_an_activity_is_ambiguous_exactly_while_the_end_of_its_code_is_unknown(
    lives: list[tuple[str, str, bool, bool]],
) -> None:
    task = waiting(a_spec(start_to_close_timeout_us=8 * SECOND, heartbeat_timeout_us=SECOND))
    unknown = False

    for verify, code, beats, is_reset in lives:
        held = attempts.begun(task, "w1", task.due_us)
        if beats:
            beat = attempts.beat(held, [Payload(data=b"half")], held.started_us).what
            assert isinstance(beat, Beat)
            held = msgspec.structs.replace(held, progress=beat.progress)
        if unknown and verify != "it did not happen":
            again = ended(held, verify, begun=False)
        else:
            held = attempts.certain(held) if unknown else held
            assert not attempts.is_ambiguous(held)
            unknown = code not in ("raised", "handed back before it began")
            again = ended(held, code, begun=code != "handed back before it began")
        task = taken_back(held, attempts.restarted(again, ActivityControl(reset=is_reset, reset_heartbeat=is_reset)))

        assert attempts.is_ambiguous(task) is unknown
        assert codec.decode_progress(codec.encode(task.progress)).ambiguous is unknown


def test_what_is_written_of_an_activity_that_is_not_ambiguous_is_what_it_always_was() -> None:
    assert b"ambiguous" not in codec.encode(ActivityProgress(last_failure=BOOM, losses=1))


def test_a_last_attempt_that_ran_out_leaves_doubt_to_the_one_that_a_reset_asks_for() -> None:
    spec = a_spec(start_to_close_timeout_us=SECOND, retry_policy=RetryPolicy(maximum_attempts=1))
    task = running(spec)
    over, failed = attempts.expired(task, HOUR + SECOND), attempts.failed(task, BOOM, "", HOUR)
    assert isinstance(over, ActivityOutcome) and isinstance(failed, ActivityOutcome)

    ran_out, raised = attempts.report(task, over, HOUR).if_reset, attempts.report(task, failed, HOUR).if_reset

    assert ran_out is not None and ran_out.progress.ambiguous
    assert raised is not None and not raised.progress.ambiguous


@given(st.uuids(), st.integers(-(1 << 63), (1 << 63) - 1), st.uuids(), st.integers(-(1 << 63), (1 << 63) - 1))
def test_an_idempotency_key_is_short_and_printable_and_of_one_activity_only(a: UUID, n: int, b: UUID, m: int) -> None:
    key, other = attempts.idempotency_key(str(a), n), attempts.idempotency_key(str(b), m)

    assert key.isascii() and key.isprintable() and " " not in key and len(key) <= 57
    assert (key == other) is ((a, n) == (b, m))
