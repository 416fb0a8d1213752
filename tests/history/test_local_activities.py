"""The rules of local activities: a task without an event, and an outcome without one until the code records it."""

from __future__ import annotations

from collections.abc import Sequence

from durable.history import codec, rules
from durable.history.beginning import StartRequest
from durable.history.commands import Command, CompleteWorkflowExecution, RecordMarker
from durable.history.events import MarkerRecorded, WorkflowTaskCompleted, WorkflowTaskFailed
from durable.history.local_activities import LocalRequests, ScheduleLocalActivity
from durable.history.messages import ActivityOutcome, Completed, Message, WorkflowTaskDue
from durable.history.state import State
from durable.history.steps import Incoming, Received, Step
from durable.history.transition import AttemptToken, NewMessage
from durable.history.values import Failure, LocalActivityAsked, TaskFailedCause

RUN, OWNER = "run of order-7", "w1"
SECOND_US = 1_000_000
BEGINNING_US = 1_800_000_000 * SECOND_US
CHARGE = ScheduleLocalActivity(seq=3, activity_id="3", activity_type="charge", start_to_close_timeout_us=SECOND_US)
ENDED = ActivityOutcome(scheduled_event_id=-3, outcome=Completed(), started_us=BEGINNING_US, attempt=1)
NOTE = RecordMarker(marker_name="core_local_activity")
MISTAKE = Failure(message="no such step")


def begun() -> State:
    """A run whose code has asked for a local activity, and waits."""
    return asked(CHARGE).state


def asked(*schedules: ScheduleLocalActivity, commands: Sequence[Command] = (), cancels: Sequence[int] = ()) -> Step:
    request = StartRequest(
        namespace="default", workflow_id="order-7", workflow_type="order", task_queue="orders", input=[], request_id="r"
    )
    received = rules.receive_start(request, RUN, OWNER, BEGINNING_US)
    return rules.complete(received, commands, BEGINNING_US, start=request, local=LocalRequests(schedules, cancels))


def read(state: State, *messages: Message) -> Received:
    now_us = state.last_time_us + SECOND_US
    return rules.receive(state, RUN, OWNER, [Incoming(each, now_us, id) for id, each in enumerate(messages, 1)], now_us)


def failed(state: State, *messages: Message) -> Step:
    received = read(state, *messages)
    cause = TaskFailedCause.WORKFLOW_WORKER_UNHANDLED_FAILURE
    return rules.park(received, MISTAKE, cause, received.now_us)


def retries(messages: Sequence[NewMessage]) -> list[Message]:
    return [codec.decode_message(each.body) for each in messages]


def test_what_the_code_asks_for_is_a_task_of_the_workflows_queue_and_no_event() -> None:
    step = asked(CHARGE)

    completed = step.events[-1]
    assert isinstance(completed, WorkflowTaskCompleted)
    assert completed.local_activities == [LocalActivityAsked(seq=3, activity_type="charge")]
    (task,) = step.transition.tasks
    assert (task.run_id, task.scheduled_event_id, task.task_queue, task.workflow_task_queue) == (
        *(RUN, -3),
        *("orders", "orders"),
    )
    assert (task.spec.activity_type, task.spec.start_to_close_timeout_us) == ("charge", SECOND_US)
    assert (task.due_us, task.spec.scheduled_us, task.owner) == (BEGINNING_US, BEGINNING_US, None)


def test_cancelling_it_is_no_event_and_says_what_its_outcome_is_if_nobody_has_begun_it() -> None:
    step = asked(cancels=[3])

    assert isinstance(step.events[-1], WorkflowTaskCompleted)
    (cancel,) = step.transition.cancelled_activities
    outcome = codec.decode_message(cancel.outcome.body)
    assert isinstance(outcome, ActivityOutcome)
    assert (cancel.scheduled_event_id, outcome.scheduled_event_id) == (-3, -3)


def test_a_run_that_closes_begins_none() -> None:
    step = asked(CHARGE, commands=[CompleteWorkflowExecution()], cancels=[2])

    assert step.transition.tasks == ()
    assert step.transition.cancelled_activities == ()


def test_its_outcome_is_for_the_code_and_becomes_an_event_when_the_code_records_it() -> None:
    received = read(begun(), ENDED)
    assert received.task and received.events == [] and list(received.local) == [ENDED]

    step = rules.complete(received, [NOTE], received.now_us)

    assert isinstance(step.events[-1], MarkerRecorded)
    assert isinstance(step.events[-2], WorkflowTaskCompleted)
    assert step.transition.consumed == (1,)


def test_an_outcome_that_the_code_does_not_wait_for_is_consumed_without_any_event() -> None:
    received = read(begun(), ENDED)

    step = rules.complete(received, [], received.now_us)

    assert step.events == [] and step.transition.events is None
    assert step.transition.consumed == (1,)
    assert step.state.last_event_id == begun().last_event_id


def test_an_outcome_that_never_was_in_the_inbox_ends_its_attempt() -> None:
    state = begun()
    token = AttemptToken(run_id=RUN, scheduled_event_id=-3, owner=OWNER, attempt=1)
    received = rules.receive(state, RUN, OWNER, [Incoming(ENDED, BEGINNING_US, token=token)], BEGINNING_US)

    assert rules.complete(received, [NOTE], BEGINNING_US).transition.finished == (token,)


def test_a_closed_run_takes_no_notice() -> None:
    closed = asked(commands=[CompleteWorkflowExecution()]).state

    received = read(closed, ENDED, WorkflowTaskDue(held=[ENDED]))

    assert not received.task and list(received.local) == []


def test_an_outcome_that_the_code_fails_on_waits_in_the_retry() -> None:
    step = failed(begun(), ENDED)

    assert isinstance(step.events[-1], WorkflowTaskFailed)
    assert retries(step.transition.messages) == [WorkflowTaskDue(attempt=1, held=[ENDED])]


def test_one_that_comes_to_a_parked_run_gets_a_retry_of_its_own_and_no_second_failure() -> None:
    parked = failed(begun(), WorkflowTaskDue(), ENDED).state

    step = failed(parked, ENDED)

    assert step.events == []
    assert retries(step.transition.messages) == [WorkflowTaskDue(attempt=1, held=[ENDED])]


def test_a_retry_that_fails_again_keeps_what_it_holds_twice_as_long() -> None:
    parked = failed(begun(), ENDED).state

    step = failed(parked, WorkflowTaskDue(attempt=3, held=[ENDED]))

    (message,) = step.transition.messages
    assert retries([message]) == [WorkflowTaskDue(attempt=4, held=[ENDED])]
    assert message.due_us == parked.last_time_us + SECOND_US + 8 * SECOND_US


def test_what_a_retry_holds_is_told_to_the_code_when_it_can_run() -> None:
    parked = failed(begun(), ENDED).state

    received = read(parked, WorkflowTaskDue(attempt=1, held=[ENDED]))

    assert received.task and list(received.local) == [ENDED]
