"""The rules turn a run's messages and commands into the history that Temporal would have written."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from durable.history import attempts, beginning, codec, ending, rules, steps
from durable.history.beginning import StartRequest
from durable.history.commands import (
    CancelTimer,
    CancelWorkflowExecution,
    ClosingCommand,
    Command,
    CompleteWorkflowExecution,
    FailWorkflowExecution,
    RequestCancelActivityTask,
    ScheduleActivityTask,
    StartTimer,
)
from durable.history.events import (
    ActivityTaskCanceled,
    ActivityTaskCancelRequested,
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskScheduled,
    ActivityTaskStarted,
    ActivityTaskTimedOut,
    CommandEvent,
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
from durable.history.messages import (
    ActivityOutcome,
    Canceled,
    CancelRequest,
    Completed,
    Failed,
    Message,
    MessageKind,
    Query,
    QueryAnswer,
    Signal,
    TimedOut,
    TimerDue,
    WorkflowTaskDue,
)
from durable.history.state import State, fold
from durable.history.steps import Incoming, Received, Step
from durable.history.transition import AttemptToken, NewMessage, Transition
from durable.history.values import Failure, Payload, RetryState, RunStatus, TaskFailedCause

RUN, OWNER = "run of order-7", "w1"
SECOND_US = 1_000_000
BEGINNING_US = 1_800_000_000 * SECOND_US
FAILURE = Failure(message="no such step\nand why")
CAUSE = TaskFailedCause.NON_DETERMINISTIC_ERROR
CHARGE = ScheduleActivityTask(activity_id="1", activity_type="charge", task_queue="cards")
NAP = StartTimer(timer_id="1", start_to_fire_timeout_us=7 * SECOND_US)
COMMAND_EVENTS: dict[type[Command], type[CommandEvent]] = {
    ScheduleActivityTask: ActivityTaskScheduled,
    RequestCancelActivityTask: ActivityTaskCancelRequested,
    StartTimer: TimerStarted,
    CancelTimer: TimerCanceled,
    CompleteWorkflowExecution: WorkflowExecutionCompleted,
    FailWorkflowExecution: WorkflowExecutionFailed,
    CancelWorkflowExecution: WorkflowExecutionCanceled,
}


def request(**changes: Any) -> StartRequest:
    wanted: dict[str, Any] = {
        "namespace": "default",
        "workflow_id": "order-7",
        "workflow_type": "Order",
        "task_queue": "orders",
        "input": [Payload(data=b"1")],
        "request_id": "r0",
    }
    return StartRequest(**{**wanted, **changes})


class Told:
    """One run, told step by step: its state, its whole history, and the transition that was made last."""

    def __init__(self, **changes: Any) -> None:
        self.now_us = BEGINNING_US
        self.history: list[HistoryEvent] = []
        self.state = State()
        self.last = self.keep(beginning.start(request(**changes), RUN, self.now_us))

    def keep(self, step: Step) -> Transition:
        self.history += step.events
        self.state, self.last = step.state, step.transition
        return step.transition

    def receive(self, *messages: Message) -> Received:
        incoming = [Incoming(message, self.now_us, id) for id, message in enumerate(messages, 1)]
        return rules.receive(self.state, RUN, OWNER, incoming, self.now_us)

    def do(self, *messages: Message, commands: tuple[Command, ...] = ()) -> Transition:
        """Messages come in, the code runs and asks for ``commands``."""
        return self.keep(rules.complete(self.receive(*messages), commands, self.now_us))

    def park(self, *messages: Message) -> Transition:
        return self.keep(rules.park(self.receive(*messages), FAILURE, CAUSE, self.now_us))

    def names(self, after: int = 0) -> list[str]:
        return [type(event).__name__ for event in self.history[after:]]


def begun(*commands: Command) -> Told:
    """A run whose first workflow task is done: four events, and those of its commands."""
    told = Told()
    told.do(WorkflowTaskDue(), commands=commands)
    return told


def done(scheduled_event_id: int, **changes: Any) -> ActivityOutcome:
    ended: dict[str, Any] = {"outcome": Completed(), "started_us": BEGINNING_US, "attempt": 1, "identity": "w2"}
    return ActivityOutcome(scheduled_event_id=scheduled_event_id, **{**ended, **changes})


TASK = ["WorkflowTaskScheduled", "WorkflowTaskStarted", "WorkflowTaskCompleted"]

# How a run begins. ------------------------------------------------------------------------------------------------


def test_a_start_schedules_the_first_workflow_task_and_leaves_a_message_for_it() -> None:
    told = Told(identity="me")

    assert told.names() == ["WorkflowExecutionStarted", "WorkflowTaskScheduled"]
    assert told.last.messages == (codec.pack(WorkflowTaskDue(), BEGINNING_US),)
    assert (told.last.any_owner, told.last.new_owner, told.last.last_event_id) == (True, None, 0)
    start = told.last.start
    assert start is not None
    assert (start.workflow_id, start.request_id, start.first_execution_run_id) == ("order-7", "r0", RUN)


def test_a_delayed_start_has_no_workflow_task_before_its_time() -> None:
    told = Told(start_delay_us=3 * SECOND_US)

    assert told.names() == ["WorkflowExecutionStarted"]
    assert told.last.messages == (codec.pack(WorkflowTaskDue(), BEGINNING_US + 3 * SECOND_US),)
    told.now_us += 3 * SECOND_US
    told.do(WorkflowTaskDue())
    assert told.names() == ["WorkflowExecutionStarted", *TASK]


def test_a_signal_whose_sender_has_a_clock_that_is_fast_moves_no_time() -> None:
    told = begun()
    told.now_us += SECOND_US
    fast = Incoming(Signal(name="put", request_id="r1"), told.now_us + 3600 * SECOND_US, 2)

    received = rules.receive(told.state, RUN, OWNER, [fast], told.now_us)

    assert [event.time_us for event in received.events] == [told.now_us]


def test_the_first_workflow_task_takes_up_what_the_start_scheduled() -> None:
    told = begun()

    assert told.names() == ["WorkflowExecutionStarted", *TASK]
    assert told.last.consumed == (1,) and told.last.new_owner == OWNER
    completed = told.history[-1]
    assert isinstance(completed, WorkflowTaskCompleted)
    assert (completed.scheduled_event_id, completed.started_event_id, completed.identity) == (2, 3, OWNER)


def test_a_start_with_its_first_workflow_task_is_one_transition() -> None:
    received = rules.receive_start(request(), RUN, OWNER, BEGINNING_US)
    step = rules.complete(received, [CHARGE], BEGINNING_US, start=request())

    names = [type(event).__name__ for event in step.events]
    assert names == ["WorkflowExecutionStarted", *TASK, "ActivityTaskScheduled"]
    made = step.transition
    assert made.start is not None and (made.any_owner, made.last_event_id, made.messages) == (True, 0, ())
    assert made.new_owner == OWNER and made.tasks[0].workflow_task_queue == "orders"
    assert (made.tasks[0].spec.workflow_id, made.tasks[0].spec.workflow_type) == ("order-7", "Order")


def test_a_start_whose_first_workflow_task_fails_is_a_parked_run() -> None:
    received = rules.receive_start(request(), RUN, OWNER, BEGINNING_US)
    step = rules.park(received, FAILURE, CAUSE, BEGINNING_US, start=request())

    assert [type(event).__name__ for event in step.events] == [
        "WorkflowExecutionStarted",
        "WorkflowTaskScheduled",
        "WorkflowTaskStarted",
        "WorkflowTaskFailed",
    ]
    assert step.transition.start is not None and step.transition.parked == "no such step"
    assert [message.kind for message in step.transition.messages] == [MessageKind.TASK_DUE]


# Activities. ------------------------------------------------------------------------------------------------------


def test_a_workflow_of_one_activity_has_temporals_eleven_events() -> None:
    told = begun(CHARGE)
    told.do(done(5), commands=(CompleteWorkflowExecution(),))

    assert told.names() == [
        "WorkflowExecutionStarted",
        *TASK,
        "ActivityTaskScheduled",
        "ActivityTaskStarted",
        "ActivityTaskCompleted",
        *TASK,
        "WorkflowExecutionCompleted",
    ]
    assert [event.id for event in told.history] == list(range(1, 12))


def test_a_scheduled_activity_is_a_task_that_nobody_holds() -> None:
    command = ScheduleActivityTask(
        activity_id="1", activity_type="charge", task_queue="cards", schedule_to_start_timeout_us=9 * SECOND_US
    )
    told = begun(command)

    (task,) = told.last.tasks
    assert (task.run_id, task.scheduled_event_id, task.task_queue) == (RUN, 5, "cards")
    assert (task.owner, task.attempt, task.due_us) == (None, 0, BEGINNING_US)
    assert task.deadline_us == attempts.waiting_deadline_us(task) == BEGINNING_US + 9 * SECOND_US


@pytest.mark.parametrize(
    ("outcome", "event"),
    [
        (Completed(result=[Payload(data=b"2")]), ActivityTaskCompleted),
        (Failed(failure=FAILURE, retry_state=RetryState.TIMEOUT), ActivityTaskFailed),
        (TimedOut(failure=FAILURE, retry_state=RetryState.TIMEOUT), ActivityTaskTimedOut),
        (Canceled(), ActivityTaskCanceled),
    ],
)
def test_an_outcome_is_two_events_that_point_back(outcome: Any, event: type[HistoryEvent]) -> None:
    told = begun(CHARGE)
    told.do(done(5, outcome=outcome, attempt=3))

    started, ended = told.history[5:7]
    assert isinstance(started, ActivityTaskStarted) and (started.scheduled_event_id, started.attempt) == (5, 3)
    assert type(ended) is event
    assert (ended.scheduled_event_id, ended.started_event_id) == (5, 6)  # type: ignore[attr-defined]


def test_an_activity_that_nobody_began_has_no_started_event() -> None:
    told = begun(CHARGE)
    told.do(done(5, outcome=Canceled(), started_us=0))

    assert told.names(5) == ["ActivityTaskCanceled", *TASK]


def test_an_activity_is_said_to_have_started_when_it_did_but_not_before_the_last_event() -> None:
    told = begun(CHARGE)
    told.now_us += 9 * SECOND_US
    told.do(done(5, started_us=BEGINNING_US + 4 * SECOND_US))
    assert told.history[5].time_us == BEGINNING_US + 4 * SECOND_US

    told = begun(CHARGE)
    told.now_us += 9 * SECOND_US
    told.do(Signal(name="go"), done(5, started_us=BEGINNING_US + 4 * SECOND_US))
    assert told.names(5)[:2] == ["WorkflowExecutionSignaled", "ActivityTaskStarted"]
    assert told.history[6].time_us == told.history[5].time_us == told.now_us


def test_an_outcome_of_the_owners_own_hands_is_consumed_by_its_token() -> None:
    told = begun(CHARGE)
    token = AttemptToken(run_id=RUN, scheduled_event_id=5, owner=OWNER, attempt=1)
    received = rules.receive(told.state, RUN, OWNER, [Incoming(done(5), told.now_us, token=token)], told.now_us)

    made = told.keep(rules.complete(received, [], told.now_us))

    assert (made.finished, made.consumed) == ((token,), ())


def test_asking_an_activity_to_end_carries_the_outcome_for_one_that_nobody_works_on() -> None:
    told = begun(CHARGE)
    told.do(Signal(name="stop"), commands=(RequestCancelActivityTask(scheduled_event_id=5),))

    assert told.names(5) == ["WorkflowExecutionSignaled", *TASK, "ActivityTaskCancelRequested"]
    (cancel,) = told.last.cancelled_activities
    outcome = ActivityOutcome(scheduled_event_id=5, outcome=Canceled())
    assert (cancel.scheduled_event_id, codec.decode_message(cancel.outcome.body)) == (5, outcome)
    told.do(outcome)
    ended = told.history[10]
    assert isinstance(ended, ActivityTaskCanceled) and ended.latest_cancel_requested_event_id == 10


# Timers, signals, cancel requests, queries. -----------------------------------------------------------------------


def test_a_timer_is_a_message_to_oneself() -> None:
    told = begun(NAP)
    assert told.last.messages == (
        NewMessage(
            kind=MessageKind.TIMER,
            body=codec.encode(TimerDue(started_event_id=5)),
            due_us=BEGINNING_US + 7 * SECOND_US,
            key=5,
        ),
    )

    told.now_us += 7 * SECOND_US
    told.do(TimerDue(started_event_id=5))

    assert told.names(4) == ["TimerStarted", "TimerFired", *TASK]
    assert told.history[5] == TimerFired(id=6, time_us=told.now_us, timer_id="1", started_event_id=5)


def test_a_timer_never_seems_to_fire_before_it_was_due() -> None:
    told = begun(NAP)
    due_us = BEGINNING_US + 7 * SECOND_US

    received = rules.receive(told.state, RUN, OWNER, [Incoming(TimerDue(started_event_id=5), due_us, 1)], due_us - 50)

    assert {event.time_us for event in [*received.events, *received.task_events]} == {due_us}


def test_a_timer_that_is_told_of_twice_fires_once() -> None:
    told = begun(NAP)
    told.now_us += 7 * SECOND_US
    told.do(TimerDue(started_event_id=5), TimerDue(started_event_id=5))

    assert told.names(5) == ["TimerFired", *TASK]


def test_a_cancelled_timer_is_taken_out_of_the_inbox_and_fires_no_more() -> None:
    told = begun(NAP)
    told.do(Signal(name="stop"), commands=(CancelTimer(timer_id="1", started_event_id=5),))

    assert told.last.taken_back == (5,)
    assert told.names(5) == ["WorkflowExecutionSignaled", *TASK, "TimerCanceled"]
    before = len(told.history)
    stale = told.do(TimerDue(started_event_id=5))
    assert (len(told.history), stale.events, stale.consumed) == (before, None, (1,))


@pytest.mark.parametrize("message", [Signal(name="go", request_id="r1"), CancelRequest(reason="stop", request_id="r1")])
def test_a_request_that_was_sent_twice_happens_once(message: Message) -> None:
    told = begun()
    told.do(message, message)
    first = told.names(4)
    again = told.do(message)

    assert first in (["WorkflowExecutionSignaled", *TASK], ["WorkflowExecutionCancelRequested", *TASK])
    assert (again.events, again.consumed) == (None, (1,))


def test_signals_without_a_request_id_all_happen() -> None:
    told = begun()
    told.do(Signal(name="go"), Signal(name="go"))

    assert told.names(4) == ["WorkflowExecutionSignaled", "WorkflowExecutionSignaled", *TASK]


def test_a_cancel_request_reaches_the_code_which_closes_the_run() -> None:
    told = begun()
    made = told.do(CancelRequest(reason="enough"), commands=(CancelWorkflowExecution(),))

    assert told.names(4) == ["WorkflowExecutionCancelRequested", *TASK, "WorkflowExecutionCanceled"]
    assert (made.status, made.closed_us, made.new_owner) == (RunStatus.CANCELED, told.now_us, None)
    assert made.refuse_unread


def test_a_question_leaves_no_event() -> None:
    told = begun()
    received = told.receive(Query(id="q1", name="where"))
    made = rules.complete(received, [], told.now_us, [("q1", QueryAnswer())]).transition

    assert [query.id for query in received.queries] == ["q1"] and not received.task
    assert (made.events, made.consumed) == (None, (1,))
    assert [(reply.id, reply.expires_us > told.now_us) for reply in made.replies] == [("q1", True)]


def test_a_question_whose_asker_has_gone_is_consumed_and_not_answered() -> None:
    told = begun()
    asked_us = told.now_us
    told.now_us += steps.REPLY_KEPT_US
    late = [
        Incoming(Query(id="q1", name="where"), asked_us, 1),
        Incoming(Query(id="q2", name="where"), asked_us + 1, 2),
    ]

    received = rules.receive(told.state, RUN, OWNER, late, told.now_us)

    assert [query.id for query in received.queries] == ["q2"]
    assert rules.complete(received, [], told.now_us).transition.consumed == (1, 2)


def test_a_closed_run_takes_questions_and_nothing_else() -> None:
    told = begun()
    told.do(Signal(name="go"), commands=(CompleteWorkflowExecution(),))

    received = told.receive(Query(id="q1", name="where"), Signal(name="late"), WorkflowTaskDue())
    made = rules.complete(received, [], told.now_us).transition

    assert (len(received.queries), received.events, received.task) == (1, [], False)
    assert (made.events, made.new_owner, made.consumed) == (None, None, (1, 2, 3))


def test_a_wake_up_that_nothing_waits_for_does_nothing() -> None:
    told = begun()

    assert told.do(WorkflowTaskDue()).events is None


def test_a_clock_that_was_set_back_turns_no_history_back() -> None:
    told = begun(NAP)
    told.now_us -= 5 * SECOND_US
    told.do(Signal(name="go"), commands=(CHARGE,))
    told.keep(ending.terminate(told.state, RUN, [], told.now_us))

    assert {event.time_us for event in told.history} == {BEGINNING_US}


def test_the_code_of_a_closed_run_answers_however_many_owners_have_died() -> None:
    told = begun()
    question = Incoming(Query(id="q", name="state"), told.now_us)
    asked = rules.receive(told.state, RUN, "w1", [question], told.now_us)
    told.keep(ending.terminate(told.state, RUN, [], told.now_us))
    asked_later = rules.receive(told.state, RUN, "w1", [question], told.now_us)

    deaths = range(rules.DEATHS_MAX - 1, rules.DEATHS_MAX + 2)
    assert [rules.is_left_alone(asked, number) for number in deaths] == [False, True, True]
    assert not any(rules.is_left_alone(asked_later, number) for number in deaths)


# Parked. ----------------------------------------------------------------------------------------------------------


def retries(transition: Transition) -> list[tuple[int, int]]:
    """The workflow tasks that are set for later: their attempt, and when."""
    found: list[tuple[int, int]] = []
    for message in transition.messages:
        due = codec.decode_message(message.body)
        assert isinstance(due, WorkflowTaskDue)
        found.append((due.attempt, message.due_us - BEGINNING_US))
    return found


def test_a_run_that_is_parked_twice_fails_one_workflow_task() -> None:
    told = Told()
    first = told.park(WorkflowTaskDue())
    assert told.names(2) == ["WorkflowTaskStarted", "WorkflowTaskFailed"]
    assert (first.parked, first.new_owner, retries(first)) == ("no such step", None, [(1, SECOND_US)])

    second = told.park(WorkflowTaskDue(attempt=1), Signal(name="go"))

    assert told.names(4) == ["WorkflowExecutionSignaled"]
    assert (second.parked, retries(second)) == ("no such step", [(2, 2 * SECOND_US)])


def test_a_signal_to_a_parked_run_does_not_put_its_retry_off() -> None:
    told = Told()
    told.park(WorkflowTaskDue())

    assert retries(told.park(Signal(name="go"))) == []


def test_a_parked_run_is_tried_again_every_ten_minutes_at_last() -> None:
    told = Told()
    told.park(WorkflowTaskDue())

    waits = [retries(told.park(WorkflowTaskDue(attempt=attempt))) for attempt in (1, 9, 10, 64, 10_000)]

    assert [wait_us for ((_, wait_us),) in waits] == [n * SECOND_US for n in (2, 512, 600, 600, 600)]


def test_a_parked_run_goes_on_when_its_code_fits_again() -> None:
    told = Told()
    told.park(WorkflowTaskDue())
    told.park(Signal(name="go"))
    made = told.do(WorkflowTaskDue(attempt=1), commands=(CHARGE,))

    assert told.names(4) == ["WorkflowExecutionSignaled", *TASK, "ActivityTaskScheduled"]
    assert made.parked is None and not told.state.task_failed


def test_a_question_to_a_parked_run_leaves_it_parked() -> None:
    told = Told()
    told.park(WorkflowTaskDue())
    made = told.park(Query(id="q1", name="where"))

    assert (made.parked, made.events, made.messages) == ("no such step", None, ())


# Terminate. -------------------------------------------------------------------------------------------------------


def test_unread_signals_become_events_before_a_run_is_terminated() -> None:
    told = begun(NAP)
    waiting: list[Message] = [
        Signal(name="go"),
        TimerDue(started_event_id=5),
        CancelRequest(),
        Query(id="q1", name="where"),
    ]
    incoming = [Incoming(message, told.now_us, id) for id, message in enumerate(waiting, 1)]

    made = told.keep(ending.terminate(told.state, RUN, incoming, told.now_us, reason="enough", identity="me"))

    assert told.names(5) == [
        "WorkflowExecutionSignaled",
        "WorkflowExecutionCancelRequested",
        "WorkflowExecutionTerminated",
    ]
    ended = told.history[-1]
    assert isinstance(ended, WorkflowExecutionTerminated) and (ended.reason, ended.identity) == ("enough", "me")
    assert (made.consumed, made.any_owner, made.owner, made.new_owner) == ((1, 3), True, None, None)
    assert (made.status, made.closed_us) == (RunStatus.TERMINATED, ended.time_us)


# A run's whole life, at random. -----------------------------------------------------------------------------------

request_ids = st.sampled_from(["", "r1", "r2", "r3"])
event_ids = st.integers(1, 60)
spans_us = st.integers(0, 5 * SECOND_US)
outcomes = st.sampled_from(
    [
        Completed(),
        Failed(failure=FAILURE, retry_state=RetryState.MAXIMUM_ATTEMPTS_REACHED),
        TimedOut(failure=FAILURE, retry_state=RetryState.TIMEOUT),
        Canceled(),
    ]
)


class Life(RuleBasedStateMachine):
    """A run in the hands of chance. What the messages should become is kept apart, in the plainest way."""

    def __init__(self) -> None:
        super().__init__()
        self.now_us = BEGINNING_US
        self.history: list[HistoryEvent] = []
        self.state = State()
        self.inbox: dict[int, tuple[Message, int]] = {}
        self.next_message = 1
        self.timers: set[int] = set()
        self.activities: set[int] = set()
        self.asked: set[int] = set()
        self.requests: set[str] = set()
        self.parked = False
        self.closed = False

    # What happens to it.

    @initialize(delay_us=st.sampled_from([0, SECOND_US]), at_once=st.booleans(), data=st.data())
    def starts(self, delay_us: int, at_once: bool, data: st.DataObject) -> None:
        if at_once:
            received = rules.receive_start(request(), RUN, OWNER, self.now_us)
            self.code_runs(received, data, start=request())
        else:
            step = beginning.start(request(start_delay_us=delay_us), RUN, self.now_us)
            assert len(step.events) == (1 if delay_us else 2)
            self.keep(step, [])

    @rule(span_us=spans_us | st.just(-SECOND_US))
    def time_passes(self, span_us: int) -> None:
        self.now_us += span_us

    @rule(id=request_ids)
    def is_signaled(self, id: str) -> None:
        self.send(Signal(name="go", request_id=id))

    @rule(id=request_ids)
    def is_asked_to_end(self, id: str) -> None:
        self.send(CancelRequest(request_id=id))

    @rule(ago_us=st.sampled_from([0, 2 * steps.REPLY_KEPT_US]))
    def is_asked_a_question(self, ago_us: int) -> None:
        self.send(Query(id="q", name="where"), self.now_us - ago_us)

    @rule(event_id=event_ids, ended=outcomes)
    def hears_of_what_may_not_be(self, event_id: int, ended: Any) -> None:
        self.send(TimerDue(started_event_id=event_id))
        self.send(ActivityOutcome(scheduled_event_id=event_id, outcome=ended))

    @precondition(lambda self: self.timers)
    @rule(data=st.data())
    def a_timer_is_told_of_again(self, data: st.DataObject) -> None:
        self.send(TimerDue(started_event_id=data.draw(st.sampled_from(sorted(self.timers)))))

    @precondition(lambda self: self.activities)
    @rule(data=st.data(), ended=outcomes, started=st.booleans(), ago_us=spans_us)
    def an_activity_ends(self, data: st.DataObject, ended: Any, started: bool, ago_us: int) -> None:
        event_id = data.draw(st.sampled_from(sorted(self.activities)))
        began_us = self.now_us - ago_us if started else 0
        self.send(ActivityOutcome(scheduled_event_id=event_id, outcome=ended, started_us=began_us, attempt=1))

    @precondition(lambda self: not self.closed)
    @rule(data=st.data())
    def is_terminated(self, data: st.DataObject) -> None:
        if data.draw(st.integers(0, 9)):
            return
        incoming = self.due()
        step = ending.terminate(self.state, RUN, incoming, self.now_us)
        read = [each for each in incoming if isinstance(each.message, Signal | CancelRequest)]
        told = self.expected(read)
        assert self.types(step.events) == [*told, WorkflowExecutionTerminated]
        assert step.transition.status is RunStatus.TERMINATED
        self.keep(step, read)
        self.closed = True

    @rule(data=st.data())
    def is_stepped(self, data: st.DataObject) -> None:
        incoming = self.due()
        if not incoming:
            return
        waited = bool(self.state.task_scheduled or self.parked or len(self.history) == 1)
        told = self.expected(incoming)
        received = rules.receive(self.state, RUN, OWNER, incoming, self.now_us)
        wakes = any(isinstance(each.message, WorkflowTaskDue) for each in incoming)
        assert self.types(received.events) == told
        # A question has code run that is to begin at once, though the clock went back since.
        asked = self.state.task_scheduled and any(
            isinstance(each.message, Query) and self.now_us - each.due_us < steps.REPLY_KEPT_US for each in incoming
        )
        assert received.task is (not self.closed and bool(told or (wakes and waited) or asked))
        fresh = [each for each in incoming if isinstance(each.message, Query) and each.due_us == self.now_us]
        assert len(fresh) <= len(received.queries)
        assert all(query.id == "q" for query in received.queries)
        self.code_runs(received, data)

    # How it goes on.

    def send(self, message: Message, due_us: int | None = None) -> None:
        if self.closed and not isinstance(message, Query):
            return  # a closed run takes no others: that is the store's to say
        self.inbox[self.next_message] = message, self.now_us if due_us is None else due_us
        self.next_message += 1

    def due(self) -> list[Incoming]:
        ready = [(id, message, due_us) for id, (message, due_us) in self.inbox.items() if due_us <= self.now_us]
        return [Incoming(message, due_us, id) for id, message, due_us in ready]

    def expected(self, incoming: list[Incoming]) -> list[type[HistoryEvent]]:
        """The types of events that these messages should become, and what is pending after them."""
        told: list[type[HistoryEvent]] = []
        if self.closed:
            return told
        ends = {
            Completed: ActivityTaskCompleted,
            Failed: ActivityTaskFailed,
            TimedOut: ActivityTaskTimedOut,
            Canceled: ActivityTaskCanceled,
        }
        for each in incoming:
            match each.message:
                case Signal(request_id=id) | CancelRequest(request_id=id) if id in self.requests:
                    pass
                case Signal(request_id=id):
                    told.append(WorkflowExecutionSignaled)
                    self.requests |= {id} - {""}
                case CancelRequest(request_id=id):
                    told.append(WorkflowExecutionCancelRequested)
                    self.requests |= {id} - {""}
                case TimerDue(started_event_id=event_id) if event_id in self.timers:
                    told.append(TimerFired)
                    self.timers.remove(event_id)
                case ActivityOutcome(scheduled_event_id=event_id) as ended if event_id in self.activities:
                    told += [ActivityTaskStarted] if ended.started_us else []
                    told.append(ends[type(ended.outcome)])
                    self.activities.remove(event_id)
                    self.asked.discard(event_id)
                case _:
                    pass
        return told

    def code_runs(self, received: Received, data: st.DataObject, start: StartRequest | None = None) -> None:
        if received.task and data.draw(st.integers(0, 3)) == 0:
            self.fails(received, start)
            return
        commands = self.commands(data) if received.task else []
        self.now_us += data.draw(spans_us | st.just(-SECOND_US))
        step = rules.complete(received, commands, self.now_us, start=start)
        scheduled = [] if self.state.task_scheduled else [WorkflowTaskScheduled]
        task = [*scheduled, WorkflowTaskStarted, WorkflowTaskCompleted] if received.task else []
        asked = [COMMAND_EVENTS[type(command)] for command in commands]
        assert self.types(step.events) == [*self.types(received.events), *task, *asked]
        assert step.command_events == (step.events[-len(commands) :] if commands else [])
        self.commands_are_kept(step, commands)
        self.parked = self.parked and not received.task
        self.keep(step, list(received.incoming))

    def fails(self, received: Received, start: StartRequest | None) -> None:
        step = rules.park(received, FAILURE, CAUSE, self.now_us, start=start)
        scheduled = [] if self.state.task_scheduled else [WorkflowTaskScheduled]
        task = [] if self.parked else [*scheduled, WorkflowTaskStarted, WorkflowTaskFailed]
        assert self.types(step.events) == [*self.types(received.events), *task]
        assert step.transition.parked == "no such step"
        woken = any(isinstance(each.message, WorkflowTaskDue) for each in received.incoming)
        if not self.parked:
            assert len(step.transition.messages) == 1
        elif not woken:
            assert step.transition.messages == ()
        self.parked = True
        self.keep(step, list(received.incoming))

    def commands(self, data: st.DataObject) -> list[Command]:
        wanted: list[Command] = []
        timers, activities = set(self.timers), self.activities - self.asked
        for _ in range(data.draw(st.integers(0, 3))):
            kinds = ["activity", "timer", *(["cancel timer"] if timers else []), *(["ask"] if activities else [])]
            match data.draw(st.sampled_from(kinds)):
                case "activity":
                    wanted.append(CHARGE)
                case "timer":
                    wanted.append(StartTimer(timer_id="1", start_to_fire_timeout_us=data.draw(spans_us)))
                case "cancel timer":
                    event_id = data.draw(st.sampled_from(sorted(timers)))
                    timers.remove(event_id)
                    wanted.append(CancelTimer(timer_id="1", started_event_id=event_id))
                case _:
                    event_id = data.draw(st.sampled_from(sorted(activities)))
                    activities.remove(event_id)
                    wanted.append(RequestCancelActivityTask(scheduled_event_id=event_id))
        if data.draw(st.integers(0, 14)) == 0:
            ends: list[Command] = [
                CompleteWorkflowExecution(),
                FailWorkflowExecution(failure=FAILURE),
                CancelWorkflowExecution(),
            ]
            wanted.append(data.draw(st.sampled_from(ends)))
        return wanted

    def commands_are_kept(self, step: Step, commands: list[Command]) -> None:
        """What the commands leave behind beside their events; and what is pending from now on."""
        made, pairs = step.transition, list(zip(commands, step.command_events, strict=True))
        timers: list[tuple[int, int]] = []
        tasks: list[tuple[int, int]] = []
        for command, event in pairs:
            match command:
                case StartTimer(start_to_fire_timeout_us=span_us):
                    timers.append((event.id, event.time_us + span_us))
                case ScheduleActivityTask():
                    tasks.append((event.id, event.time_us))
                case CancelTimer(started_event_id=event_id):
                    self.timers.remove(event_id)
                    assert event_id in made.taken_back
                case RequestCancelActivityTask(scheduled_event_id=event_id):
                    self.asked.add(event_id)
                    assert event_id in [cancel.scheduled_event_id for cancel in made.cancelled_activities]
                case _:
                    self.closed = True
        assert [(message.key, message.due_us) for message in made.messages] == timers
        assert [(task.scheduled_event_id, task.due_us) for task in made.tasks] == tasks
        assert len(made.taken_back) == sum(isinstance(command, CancelTimer) for command in commands)
        assert len(made.cancelled_activities) == sum(isinstance(c, RequestCancelActivityTask) for c in commands)
        assert isinstance(commands[-1], ClosingCommand) if self.closed and commands else True
        self.timers |= {event_id for event_id, _ in timers}
        self.activities |= {event_id for event_id, _ in tasks}

    def keep(self, step: Step, incoming: list[Incoming]) -> None:
        """What is true of every transition; then it is committed."""
        made = step.transition
        first = self.state.last_event_id + 1
        assert [event.id for event in step.events] == list(range(first, first + len(step.events)))
        if made.events is None:
            assert step.events == []
        else:
            assert (made.events.first_id, made.events.count) == (first, len(step.events))
            assert codec.decode_events(made.events.data) == step.events
        assert made.last_event_id == self.state.last_event_id
        assert made.consumed == tuple(each.id for each in incoming)
        for id in made.consumed:
            del self.inbox[id]
        self.history += step.events
        self.state = step.state
        if not self.state.is_open and step.events:
            assert (made.status, made.closed_us) == (self.state.status, step.events[-1].time_us)
        else:
            assert (made.status, made.closed_us) == (RunStatus.RUNNING, None)
        belongs_to_nobody = not self.state.is_open or made.parked is not None or made.owner is None
        assert made.new_owner == (None if belongs_to_nobody else OWNER)
        if not self.state.is_open:
            self.closed = True
            self.inbox = {id: kept for id, kept in self.inbox.items() if isinstance(kept[0], Query)}
            return
        for message in made.messages:
            self.send(codec.decode_message(message.body), message.due_us)

    @staticmethod
    def types(events: list[Any]) -> list[Any]:
        return [type(event) for event in events]

    # What is true at any time.

    @invariant()
    def the_state_is_the_history(self) -> None:
        assert fold(State(), self.history) == self.state
        if self.state.is_open:
            assert (set(self.state.timers), set(self.state.activities)) == (self.timers, self.activities)

    @invariant()
    def the_history_is_gapless_and_time_never_goes_back(self) -> None:
        assert [event.id for event in self.history] == list(range(1, len(self.history) + 1))
        times = [event.time_us for event in self.history]
        assert times == sorted(times)

    @invariant()
    def workflow_tasks_are_whole(self) -> None:
        scheduled: WorkflowTaskScheduled | None = None
        started: WorkflowTaskStarted | None = None
        parked = False
        for event in self.history:
            match event:
                case WorkflowTaskScheduled():
                    assert scheduled is None
                    scheduled = event
                case WorkflowTaskStarted():
                    assert started is None and scheduled is not None and event.scheduled_event_id == scheduled.id
                    started = event
                case WorkflowTaskCompleted() | WorkflowTaskFailed():
                    assert scheduled is not None and started is not None and started.id == event.id - 1
                    assert (event.scheduled_event_id, event.started_event_id) == (scheduled.id, started.id)
                    scheduled = started = None
                    assert not (parked and isinstance(event, WorkflowTaskFailed))
                    parked = isinstance(event, WorkflowTaskFailed)
                case _:
                    pass
        assert started is None and parked is self.parked

    @invariant()
    def everything_ends_once_at_most(self) -> None:
        ends: list[tuple[str, int]] = []
        for event in self.history:
            match event:
                case TimerFired(started_event_id=event_id) | TimerCanceled(started_event_id=event_id):
                    ends.append(("timer", event_id))
                case (
                    ActivityTaskCompleted(scheduled_event_id=event_id)
                    | ActivityTaskFailed(scheduled_event_id=event_id)
                    | ActivityTaskTimedOut(scheduled_event_id=event_id)
                    | ActivityTaskCanceled(scheduled_event_id=event_id)
                ):
                    ends.append(("activity", event_id))
                case WorkflowExecutionStarted():
                    ends.append(("start", 0))
                case _:
                    pass
        assert len(set(ends)) == len(ends)

    @invariant()
    def commands_name_the_workflow_task_that_gave_them(self) -> None:
        last = 0
        for event in self.history:
            if isinstance(event, WorkflowTaskCompleted):
                last = event.id
            if isinstance(event, CommandEvent):
                assert event.workflow_task_completed_event_id == last


class TestLife(Life.TestCase):  # type: ignore[misc, valid-type]
    settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


def test_whoever_asks_a_run_that_is_to_begin_at_once_is_answered_by_code_that_has_begun() -> None:
    """Its "workflow task due" may not be due yet, by a clock that was set back since."""
    assert Told().receive(Query(id="q", name="how")).task
    assert not Told(start_delay_us=SECOND_US).receive(Query(id="q", name="how")).task
    assert not begun().receive(Query(id="q", name="how")).task
