"""Which run follows one that is closed, how long a run may take, and when it begins."""

from __future__ import annotations

from typing import Any

import pytest

from durable.history import beginning, codec, ending, rules, succession
from durable.history.beginning import StartRequest
from durable.history.commands import (
    CancelWorkflowExecution,
    ClosingCommand,
    CompleteWorkflowExecution,
    ContinueAsNewWorkflowExecution,
    FailWorkflowExecution,
    ModifyWorkflowProperties,
    UpsertWorkflowSearchAttributes,
)
from durable.history.events import (
    HistoryEvent,
    WorkflowExecutionCompleted,
    WorkflowExecutionFailed,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    WorkflowExecutionTimedOut,
    WorkflowExecutionUpdateAdmitted,
    WorkflowTaskStarted,
)
from durable.history.messages import CancelRequest, Message, RunTimeout, Signal, Update, WorkflowTaskDue
from durable.history.state import State, fold
from durable.history.steps import Incoming, Received, Step
from durable.history.transition import Shown, Transition
from durable.history.values import (
    ActivityFailureInfo,
    ApplicationFailureInfo,
    CanceledFailureInfo,
    ContinueAsNewInitiator,
    Failure,
    Payload,
    RetryPolicy,
    RetryState,
    RunStatus,
    ServerFailureInfo,
    TerminatedFailureInfo,
    TimeoutFailureInfo,
    TimeoutType,
    UpdateInput,
    UpdateMeta,
    UpdateRequest,
)

RUN, NEXT, OWNER = "run of order-7", "the next run", "w1"
SECOND_US = 1_000_000
BEGINNING_US = 1_800_000_000 * SECOND_US  # 2027-01-15T08:00:00Z
POLICY = RetryPolicy(maximum_attempts=3, non_retryable_error_types=["Final", "TemporalTimeout:StartToClose"])
ONE, TWO, NOTHING = Payload(data=b"1"), Payload(data=b"2"), Payload(metadata={"encoding": b"binary/null"})


def failure(kind: str = "Passing", **changes: Any) -> Failure:
    return Failure(message="no", info=ApplicationFailureInfo(type=kind, **changes))


def request(**changes: Any) -> StartRequest:
    wanted: dict[str, Any] = {
        "namespace": "default",
        "workflow_id": "order-7",
        "workflow_type": "Order",
        "task_queue": "orders",
        "input": [ONE],
        "request_id": "r0",
    }
    return StartRequest(**{**wanted, **changes})


class Told:
    """One run, told step by step, from its start or from its first event."""

    def __init__(self, begun: Step) -> None:
        self.now_us = begun.events[0].time_us
        self.history: list[HistoryEvent] = list(begun.events)
        self.state, self.last = begun.state, begun.transition
        self.run_id = begun.transition.run_id

    def receive(self, *messages: Message) -> Received:
        incoming = [Incoming(message, self.now_us, id) for id, message in enumerate(messages, 1)]
        return rules.receive(self.state, self.run_id, OWNER, incoming, self.now_us)

    def do(self, *messages: Message, commands: Any = ()) -> Transition:
        return self.keep(rules.complete(self.receive(*messages), commands, self.now_us, successor_id=NEXT))

    def keep(self, step: Step) -> Transition:
        self.history += step.events
        self.state, self.last = step.state, step.transition
        return step.transition

    def time_out(self, *messages: Message, whole: bool = True) -> Transition:
        incoming = [Incoming(message, self.now_us, id) for id, message in enumerate(messages, 1)]
        return self.keep(ending.time_out(self.state, self.run_id, OWNER, incoming, self.now_us, NEXT, whole=whole))

    def names(self) -> list[str]:
        return [type(event).__name__ for event in self.history]


def told(**changes: Any) -> Told:
    """A run that somebody else starts."""
    return Told(beginning.start(request(**changes), RUN, BEGINNING_US))


def successor(ended: Transition) -> Told:
    """The run that the transition begins."""
    assert ended.successor is not None and ended.successor.events is not None
    events = codec.decode_events(ended.successor.events.data)
    state = fold(State(), events)
    return Told(Step(transition=ended.successor, state=state, events=events, command_events=[]))


def first(run: Told) -> WorkflowExecutionStarted:
    event = run.history[0]
    assert isinstance(event, WorkflowExecutionStarted)
    return event


def ended_by(command: ClosingCommand, **changes: Any) -> tuple[Transition, HistoryEvent]:
    run = told(**changes)
    if run.state.has_task:
        transition = run.do(WorkflowTaskDue(), commands=(command,))
    else:
        run.now_us = succession.execution_us(first(run))
        transition = run.do(WorkflowTaskDue(), commands=(command,))
    return transition, run.history[-1]


# Tried again. -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("why", "policy", "state"),
    [
        (failure(), None, RetryState.RETRY_POLICY_NOT_SET),
        (failure(), POLICY, RetryState.IN_PROGRESS),
        (failure("Final"), POLICY, RetryState.NON_RETRYABLE_FAILURE),
        (failure(non_retryable=True), POLICY, RetryState.NON_RETRYABLE_FAILURE),
        (failure(), RetryPolicy(maximum_attempts=1), RetryState.MAXIMUM_ATTEMPTS_REACHED),
        (Failure(info=ServerFailureInfo()), POLICY, RetryState.IN_PROGRESS),
        (Failure(info=ServerFailureInfo(non_retryable=True)), POLICY, RetryState.NON_RETRYABLE_FAILURE),
        (Failure(info=CanceledFailureInfo()), POLICY, RetryState.NON_RETRYABLE_FAILURE),
        (Failure(info=TerminatedFailureInfo()), POLICY, RetryState.NON_RETRYABLE_FAILURE),
        (Failure(info=TimeoutFailureInfo(timeout_type=TimeoutType.HEARTBEAT)), POLICY, RetryState.IN_PROGRESS),
        (
            Failure(info=TimeoutFailureInfo(timeout_type=TimeoutType.START_TO_CLOSE)),
            POLICY,
            RetryState.NON_RETRYABLE_FAILURE,
        ),
        (
            Failure(info=TimeoutFailureInfo(timeout_type=TimeoutType.SCHEDULE_TO_START)),
            POLICY,
            RetryState.NON_RETRYABLE_FAILURE,
        ),
        # What an activity has failed of is its own affair: the workflow may fare better.
        (Failure(info=ActivityFailureInfo(), cause=failure("Final")), POLICY, RetryState.IN_PROGRESS),
    ],
)
def test_a_failed_run_is_tried_again_or_says_why_not(
    why: Failure, policy: RetryPolicy | None, state: RetryState
) -> None:
    transition, event = ended_by(FailWorkflowExecution(failure=why), retry_policy=policy)

    assert isinstance(event, WorkflowExecutionFailed) and event.retry_state is state
    is_again = state is RetryState.IN_PROGRESS
    assert event.new_execution_run_id == (NEXT if is_again else "")
    assert (transition.successor is not None) is is_again
    assert transition.status is RunStatus.FAILED and transition.refuse_unread is not is_again


def test_the_next_attempt_is_the_same_run_again_later_and_later() -> None:
    run = told(retry_policy=POLICY, memo={"a": ONE}, search_attributes={"b": TWO}, run_timeout_us=9 * SECOND_US)
    before = first(run)
    run.do(WorkflowTaskDue(), commands=(FailWorkflowExecution(failure=failure()),))

    second = successor(run.last)
    event = first(second)
    assert (event.attempt, event.initiator) == (2, ContinueAsNewInitiator.RETRY)
    assert event.first_workflow_task_backoff_us == SECOND_US and event.continued_failure == failure()
    assert (event.original_execution_run_id, event.continued_execution_run_id) == (NEXT, RUN)
    for name in ("workflow_id", "workflow_type", "task_queue", "input", "memo", "search_attributes", "retry_policy"):
        assert getattr(event, name) == getattr(before, name)
    assert event.first_execution_run_id == RUN and event.workflow_run_timeout_us == 9 * SECOND_US
    assert second.last.messages == (
        codec.pack(WorkflowTaskDue(), BEGINNING_US + SECOND_US),
        codec.pack(RunTimeout(), BEGINNING_US + 10 * SECOND_US),
    )

    second.now_us += SECOND_US
    third = successor(second.do(WorkflowTaskDue(), commands=(FailWorkflowExecution(failure=failure()),)))
    assert (first(third).attempt, first(third).first_workflow_task_backoff_us) == (3, 2 * SECOND_US)
    third.now_us += 2 * SECOND_US
    third.do(WorkflowTaskDue(), commands=(FailWorkflowExecution(failure=failure()),))
    last = third.history[-1]
    assert isinstance(last, WorkflowExecutionFailed)
    assert last.retry_state is RetryState.MAXIMUM_ATTEMPTS_REACHED and third.last.successor is None


def test_a_failure_may_say_when_to_try_again() -> None:
    asked = failure(next_retry_delay_us=7 * SECOND_US)
    transition, _ = ended_by(FailWorkflowExecution(failure=asked), retry_policy=POLICY)

    assert first(successor(transition)).first_workflow_task_backoff_us == 7 * SECOND_US


def test_no_attempt_begins_when_the_whole_chain_has_had_its_time() -> None:
    timely = failure(next_retry_delay_us=9 * SECOND_US)
    late = failure(next_retry_delay_us=10 * SECOND_US)
    options: dict[str, Any] = {"retry_policy": POLICY, "execution_timeout_us": 10 * SECOND_US}

    assert ended_by(FailWorkflowExecution(failure=timely), **options)[0].successor is not None
    transition, event = ended_by(FailWorkflowExecution(failure=late), **options)
    assert isinstance(event, WorkflowExecutionFailed) and event.retry_state is RetryState.TIMEOUT
    assert transition.successor is None


def test_what_is_cancelled_or_completed_is_not_tried_again() -> None:
    assert ended_by(CancelWorkflowExecution(), retry_policy=POLICY)[0].successor is None
    transition, event = ended_by(CompleteWorkflowExecution(), retry_policy=POLICY)
    assert transition.successor is None and transition.refuse_unread
    assert isinstance(event, WorkflowExecutionCompleted) and event.new_execution_run_id == ""


# By schedule. -----------------------------------------------------------------------------------------------------


def test_a_cron_workflow_begins_at_the_first_match_and_then_at_the_next_after_each_end() -> None:
    run = told(cron_schedule="*/10 * * * *")
    assert run.names() == ["WorkflowExecutionStarted"]
    assert run.last.messages == (codec.pack(WorkflowTaskDue(), BEGINNING_US + 600 * SECOND_US),)

    run.now_us = BEGINNING_US + 1300 * SECOND_US
    run.do(WorkflowTaskDue(), commands=(CompleteWorkflowExecution(result=[TWO]),))

    event = first(successor(run.last))
    assert event.initiator is ContinueAsNewInitiator.CRON_SCHEDULE and event.attempt == 1
    assert event.first_workflow_task_backoff_us == 500 * SECOND_US
    assert event.last_completion_result == [TWO] and event.continued_failure is None
    assert event.input == [ONE] and event.cron_schedule == "*/10 * * * *"
    assert not run.last.refuse_unread


def test_a_cron_run_that_fails_is_followed_too_and_the_last_result_stays() -> None:
    run = told(cron_schedule="@every 10s")
    run.now_us += 10 * SECOND_US
    second = successor(run.do(WorkflowTaskDue(), commands=(CompleteWorkflowExecution(result=[TWO]),)))
    second.now_us += 10 * SECOND_US
    second.do(WorkflowTaskDue(), commands=(FailWorkflowExecution(failure=failure()),))

    ended = second.history[-1]
    assert isinstance(ended, WorkflowExecutionFailed)
    assert (ended.retry_state, ended.new_execution_run_id) == (RetryState.RETRY_POLICY_NOT_SET, NEXT)
    event = first(successor(second.last))
    assert (event.last_completion_result, event.continued_failure) == ([TWO], failure())


def test_a_cron_run_with_a_retry_policy_is_tried_again_first() -> None:
    policy = RetryPolicy(maximum_attempts=2)
    run = told(cron_schedule="0 * * * *", retry_policy=policy)
    run.now_us += 3600 * SECOND_US
    second = successor(run.do(WorkflowTaskDue(), commands=(FailWorkflowExecution(failure=failure()),)))
    assert (first(second).initiator, first(second).attempt) == (ContinueAsNewInitiator.RETRY, 2)

    second.now_us += SECOND_US
    third = successor(second.do(WorkflowTaskDue(), commands=(FailWorkflowExecution(failure=failure()),)))
    assert (first(third).initiator, first(third).attempt) == (ContinueAsNewInitiator.CRON_SCHEDULE, 1)
    assert first(third).first_workflow_task_backoff_us == 3599 * SECOND_US


def test_a_cron_workflow_that_is_cancelled_or_out_of_time_is_over() -> None:
    assert ended_by(CancelWorkflowExecution(), cron_schedule="@hourly")[0].successor is None
    for timeout_us, follows in ((7200 * SECOND_US, False), (7201 * SECOND_US, True)):
        transition, _ = ended_by(CompleteWorkflowExecution(), cron_schedule="@hourly", execution_timeout_us=timeout_us)
        assert (transition.successor is not None) is follows


# Continued as new. ------------------------------------------------------------------------------------------------


def test_what_continue_as_new_leaves_out_stays_as_it_is_now() -> None:
    options: dict[str, Any] = {
        "run_timeout_us": 60 * SECOND_US,
        "execution_timeout_us": 90 * SECOND_US,
        "retry_policy": POLICY,
        "cron_schedule": "@every 10s",
        "memo": {"a": ONE, "b": ONE},
        "search_attributes": {"c": ONE},
    }
    run = told(**options)
    before = first(run)
    run.now_us += 10 * SECOND_US
    run.do(
        WorkflowTaskDue(),
        commands=(
            ModifyWorkflowProperties(upserted_memo={"a": TWO, "b": NOTHING}),
            UpsertWorkflowSearchAttributes(search_attributes={"d": TWO}),
            ContinueAsNewWorkflowExecution(input=[TWO]),
        ),
    )

    event = first(successor(run.last))
    assert (event.memo, event.search_attributes) == ({"a": TWO}, {"c": ONE, "d": TWO})
    assert event.input == [TWO] and event.initiator is ContinueAsNewInitiator.WORKFLOW
    for name in ("retry_policy", "cron_schedule", "workflow_run_timeout_us", "workflow_execution_expiration_time_us"):
        assert getattr(event, name) == getattr(before, name)
    assert event.first_workflow_task_backoff_us == 0
    assert successor(run.last).last.shown == Shown(memo={"a": TWO}, search_attributes={"c": ONE, "d": TWO})


def test_continue_as_new_sets_anew_what_it_names() -> None:
    policy = RetryPolicy(maximum_attempts=9)
    command = ContinueAsNewWorkflowExecution(
        workflow_type="Other",
        task_queue="elsewhere",
        workflow_task_timeout_us=3,
        workflow_run_timeout_us=5 * SECOND_US,
        backoff_start_interval_us=2 * SECOND_US,
        retry_policy=policy,
        memo={"x": TWO},
        search_attributes={"y": TWO},
    )
    transition, _ = ended_by(command, memo={"a": ONE}, search_attributes={"b": ONE}, run_timeout_us=1)

    after = successor(transition)
    event = first(after)
    assert (event.workflow_type, event.task_queue, event.workflow_task_timeout_us) == ("Other", "elsewhere", 3)
    assert (event.memo, event.search_attributes, event.retry_policy) == ({"x": TWO}, {"y": TWO}, policy)
    assert after.names() == ["WorkflowExecutionStarted"]
    assert [message.due_us - BEGINNING_US for message in after.last.messages] == [2 * SECOND_US, 7 * SECOND_US]


def test_a_run_that_continues_an_attempt_begins_to_count_anew() -> None:
    run = told(retry_policy=POLICY)
    second = successor(run.do(WorkflowTaskDue(), commands=(FailWorkflowExecution(failure=failure()),)))
    second.now_us += SECOND_US
    third = successor(second.do(WorkflowTaskDue(), commands=(ContinueAsNewWorkflowExecution(),)))

    assert first(third).attempt == 1 and first(third).continued_failure == failure()


# How long. --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "ends_after_s"),
    [
        ({}, None),
        ({"run_timeout_us": 5 * SECOND_US}, 5),
        ({"execution_timeout_us": 7 * SECOND_US}, 7),
        ({"run_timeout_us": 5 * SECOND_US, "execution_timeout_us": 3 * SECOND_US}, 3),
        ({"run_timeout_us": 5 * SECOND_US, "start_delay_us": 10 * SECOND_US}, 15),
        ({"execution_timeout_us": 5 * SECOND_US, "start_delay_us": 10 * SECOND_US}, 15),
        ({"run_timeout_us": 5 * SECOND_US, "cron_schedule": "@every 10s"}, 15),
    ],
)
def test_when_a_run_has_had_its_time(options: dict[str, Any], ends_after_s: int | None) -> None:
    dues = [
        message.due_us - BEGINNING_US
        for message in told(**options).last.messages
        if message.kind is codec.pack(RunTimeout(), 0).kind
    ]

    assert dues == ([] if ends_after_s is None else [ends_after_s * SECOND_US])


def test_a_start_with_its_first_workflow_task_has_its_time_too() -> None:
    wanted = request(run_timeout_us=5 * SECOND_US)
    timeout = (codec.pack(RunTimeout(), BEGINNING_US + 5 * SECOND_US),)
    received = rules.receive_start(wanted, RUN, OWNER, BEGINNING_US)

    assert rules.complete(received, [], BEGINNING_US, start=wanted).transition.messages == timeout
    cause = rules.TaskFailedCause.UNSPECIFIED
    parked = rules.park(received, Failure(message="no"), cause, BEGINNING_US, start=wanted).transition
    assert parked.messages[-1:] == timeout


def test_a_run_that_has_had_its_time_is_closed_without_its_code_once_it_has_read_what_it_was_sent() -> None:
    run = told(run_timeout_us=5 * SECOND_US)
    run.now_us += 5 * SECOND_US
    transition = run.time_out(Signal(name="go", request_id="s1"), RunTimeout(), CancelRequest(request_id="c1"))

    assert run.names()[2:] == [
        "WorkflowExecutionSignaled",
        "WorkflowExecutionCancelRequested",
        "WorkflowExecutionTimedOut",
    ]
    ended = run.history[-1]
    assert isinstance(ended, WorkflowExecutionTimedOut)
    assert (ended.retry_state, ended.new_execution_run_id) == (RetryState.RETRY_POLICY_NOT_SET, "")
    assert transition.status is RunStatus.TIMED_OUT and transition.closed_us == run.now_us
    assert (transition.owner, transition.any_owner) == (OWNER, False)
    assert transition.refuse_unread and set(transition.consumed) == {1, 2, 3}


def test_what_more_there_is_than_can_be_read_at_once_does_not_keep_a_run_alive() -> None:
    run = told(run_timeout_us=5 * SECOND_US)

    assert not run.time_out(Signal(name="go"), whole=False).refuse_unread


def test_a_run_that_is_tried_again_after_its_time_hands_on_what_it_has_not_read() -> None:
    run = told(run_timeout_us=5 * SECOND_US, retry_policy=RetryPolicy())
    run.now_us += 5 * SECOND_US
    transition = run.time_out(Signal(name="go"), RunTimeout())

    assert run.names()[2:] == ["WorkflowExecutionTimedOut"] and transition.consumed == (2,)
    assert not transition.refuse_unread
    event = first(successor(transition))
    assert (event.attempt, event.initiator, event.continued_failure) == (
        2,
        ContinueAsNewInitiator.RETRY,
        succession.TIMED_OUT,
    )


def test_a_run_that_is_out_of_time_with_its_whole_chain_is_not_followed() -> None:
    run = told(execution_timeout_us=5 * SECOND_US, retry_policy=RetryPolicy(), cron_schedule="@every 1s")
    run.now_us += 5 * SECOND_US
    transition = run.time_out(RunTimeout())

    ended = run.history[-1]
    assert isinstance(ended, WorkflowExecutionTimedOut) and ended.retry_state is RetryState.TIMEOUT
    assert transition.successor is None


# Not before its time. ---------------------------------------------------------------------------------------------


def update(update_id: str) -> Update:
    return Update(
        request=UpdateRequest(meta=UpdateMeta(update_id=update_id), input=UpdateInput(name="set"), request_id=update_id)
    )


def test_what_a_run_is_sent_before_its_time_is_kept_and_does_not_wake_its_code() -> None:
    run = told(cron_schedule="@every 10s")

    received = run.receive(Signal(name="go"), update("u1"))
    assert not received.task
    run.keep(rules.complete(received, (), run.now_us))
    assert run.last.consumed == (1, 2) and run.last.new_owner == OWNER
    assert [type(event) for event in run.history[1:]] == [WorkflowExecutionSignaled, WorkflowExecutionUpdateAdmitted]

    run.now_us += 10 * SECOND_US
    assert run.receive(WorkflowTaskDue()).task


def test_a_cancel_request_is_read_before_its_time_and_a_start_delay_ends_with_the_first_signal() -> None:
    assert told(cron_schedule="@every 10s").receive(CancelRequest()).task
    assert told(start_delay_us=10 * SECOND_US).receive(Signal(name="go")).task


# What its row shows, and how it has grown. ------------------------------------------------------------------------


def test_memo_and_search_attributes_are_shown_when_they_change() -> None:
    run = told(memo={"a": ONE}, search_attributes={"b": ONE, "c": ONE})
    assert run.last.shown == Shown(memo={"a": ONE}, search_attributes={"b": ONE, "c": ONE})
    assert run.do(WorkflowTaskDue()).shown is None

    changes = (
        UpsertWorkflowSearchAttributes(search_attributes={"b": NOTHING, "c": Payload(data=b"[]"), "d": TWO}),
        ModifyWorkflowProperties(upserted_memo={"a": Payload(data=b"[]"), "e": TWO}),
    )
    run.do(Signal(name="go"), commands=changes)
    assert run.last.shown == Shown(memo={"a": Payload(data=b"[]"), "e": TWO}, search_attributes={"d": TWO})


def test_a_workflow_task_tells_how_large_the_history_is_and_whether_that_is_too_large() -> None:
    run = told()
    for size, suggested in ((4 * 1024 * 1024 - 1, False), (4 * 1024 * 1024, True)):
        received = rules.receive(run.state, RUN, OWNER, [Incoming(WorkflowTaskDue(), 0, 1)], run.now_us, size)
        started = received.task_events[-1]
        assert isinstance(started, WorkflowTaskStarted)
        assert (started.history_size_bytes, started.suggest_continue_as_new) == (size, suggested)
