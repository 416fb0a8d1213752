"""What a run has to do at other runs, and by what it is reminded of it: pure."""

from __future__ import annotations

from durable.history import ending, errands, rules
from durable.history.commands import (
    Command,
    CompleteWorkflowExecution,
    ContinueAsNewWorkflowExecution,
    RequestCancelExternalWorkflowExecution,
    SignalExternalWorkflowExecution,
    StartChildWorkflowExecution,
)
from durable.history.errands import Errand, StartChild, Tell, Terminate
from durable.history.messages import (
    CancelRequest,
    ChildClosed,
    ChildStarted,
    ChildStartFailed,
    Completed,
    ErrandsDue,
    Message,
    MessageKind,
    RequestAnswered,
    Signal,
    WorkflowTaskDue,
)
from durable.history.state import State, fold
from durable.history.steps import Step
from durable.history.transition import Transition
from durable.history.values import ParentClosePolicy, StartChildFailedCause, WorkflowExecution
from tests.history.test_rules import RUN, Told

CHILD = WorkflowExecution(workflow_id="child")
ELSEWHERE = WorkflowExecution(workflow_id="elsewhere", run_id="r9")
SIGNAL_CHILD = SignalExternalWorkflowExecution(
    namespace="default", workflow_execution=CHILD, signal_name="go", child_workflow_only=True
)
CANCEL_CHILD = RequestCancelExternalWorkflowExecution(
    namespace="default", workflow_execution=CHILD, child_workflow_only=True
)
SIGNAL = SignalExternalWorkflowExecution(namespace="default", workflow_execution=ELSEWHERE, signal_name="go")
DONE = CompleteWorkflowExecution()
AGAIN = ContinueAsNewWorkflowExecution()


def start(policy: ParentClosePolicy = ParentClosePolicy.TERMINATE) -> StartChildWorkflowExecution:
    return StartChildWorkflowExecution(
        namespace="default", workflow_id="child", workflow_type="Child", task_queue="q", parent_close_policy=policy
    )


class Asking(Told):
    """A run whose first task is done, event 4 the last; it remembers the errands of its last step."""

    def __init__(self, **changes: object) -> None:
        super().__init__(**changes)
        self.todo: list[Errand] = []

    def keep(self, step: Step) -> Transition:
        self.todo = list(step.errands)
        return super().keep(step)

    def reminders(self) -> list[int]:
        return [message.key for message in self.last.messages if message.kind is MessageKind.ERRANDS]


def asked(*commands: Command) -> Asking:
    run = Asking()
    run.do(WorkflowTaskDue(), commands=commands)
    return run


def began(run: Asking, *commands: Command) -> Asking:
    run.do(ChildStarted(initiated_event_id=5, run_id="c1"), commands=commands)
    return run


def test_a_child_that_is_asked_for_is_to_be_started_by_its_parents_request() -> None:
    run = asked(start())

    (errand,) = run.todo
    assert isinstance(errand, StartChild)
    assert errand.request_id == f"{RUN}:5"
    assert errand.parent == errand.root == WorkflowExecution(workflow_id="order-7", run_id=RUN)
    assert run.reminders() == [4]  # the workflow task that asked


def test_the_reminder_goes_with_the_last_answer_to_what_its_task_has_asked() -> None:
    run = asked(start(), SIGNAL)

    began(run)
    first = run.last.taken_back
    run.do(RequestAnswered(initiated_event_id=6, found=True))

    assert (first, run.last.taken_back) == ((), (4,))


def test_nothing_is_asked_of_a_child_before_it_is_known_to_have_begun() -> None:
    run = asked(start(), SIGNAL_CHILD, CANCEL_CHILD)
    before = [type(each).__name__ for each in run.todo]

    began(run)

    assert before == ["StartChild"]
    assert [errand.message for errand in run.todo if isinstance(errand, Tell)] == [
        Signal(name="go", request_id=f"{RUN}:6", sender=WorkflowExecution(workflow_id="order-7", run_id=RUN)),
        CancelRequest(
            request_id=f"{RUN}:7", sender=WorkflowExecution(workflow_id="order-7", run_id=RUN), sender_event_id=7
        ),
    ]
    assert {errand.first_execution_run_id for errand in run.todo if isinstance(errand, Tell)} == {"c1"}


def test_what_was_asked_of_a_child_that_could_not_begin_reaches_nobody() -> None:
    run = asked(start(), SIGNAL_CHILD)

    run.do(ChildStartFailed(initiated_event_id=5, cause=StartChildFailedCause.WORKFLOW_ALREADY_EXISTS))

    (errand,) = run.todo
    assert isinstance(errand, Tell)
    assert errand.nobody


def test_the_end_of_a_child_that_nobody_knew_to_have_begun_says_that_it_has() -> None:
    run = asked(start())

    run.do(ChildClosed(initiated_event_id=5, run_id="c2", first_run_id="c1", outcome=Completed()))
    late = run.do(ChildStarted(initiated_event_id=5, run_id="c1"))

    assert run.names(5)[:2] == ["ChildWorkflowExecutionStarted", "ChildWorkflowExecutionCompleted"]
    assert late.events is None


def test_a_run_that_was_reminded_does_all_again_that_has_no_answer_and_is_reminded_later() -> None:
    run = asked(start(), SIGNAL)

    last = run.do(ErrandsDue(key=4))

    assert [type(each).__name__ for each in run.todo] == ["StartChild", "Tell"]
    assert last.events is None
    assert run.reminders() == [4]


def test_a_closed_run_ends_its_children_by_their_policies_and_is_reminded_once() -> None:
    ended = {}
    for policy in list(ParentClosePolicy)[1:]:
        run = began(asked(start(policy)))
        run.do(Signal(name="x"), commands=(DONE,))
        ended[policy] = [type(each) for each in run.todo]
        assert run.reminders() == ([run.state.last_event_id] if run.todo else [])

    assert ended == {
        ParentClosePolicy.TERMINATE: [Terminate],
        ParentClosePolicy.ABANDON: [],
        ParentClosePolicy.REQUEST_CANCEL: [Tell],
    }


def test_only_a_child_that_is_to_outlive_its_parent_begins_after_it() -> None:
    left = asked(start(ParentClosePolicy.ABANDON), DONE)
    ended = asked(start(), DONE)

    assert [type(each) for each in left.todo] == [StartChild]
    assert [type(each) for each in ended.todo] == [Terminate]


def test_a_parent_learns_how_its_child_ended_unless_another_run_follows() -> None:
    parent = WorkflowExecution(workflow_id="parent", run_id="p1")
    child = Asking(parent=parent, parent_initiated_event_id=5)
    child.do(WorkflowTaskDue(), commands=(DONE,))
    restless = Asking(parent=parent, parent_initiated_event_id=5)
    step = rules.complete(restless.receive(WorkflowTaskDue()), (AGAIN,), restless.now_us, successor_id="next")
    restless.keep(step)

    (errand,) = child.todo
    assert isinstance(errand, Tell)
    assert errand.to == parent
    assert errand.message == ChildClosed(initiated_event_id=5, run_id=RUN, first_run_id=RUN, outcome=Completed())
    assert restless.todo == []
    successor = step.transition.successor
    assert successor is not None


def test_who_asks_a_closed_run_does_not_set_off_its_errands_again() -> None:
    run = asked(SIGNAL, DONE)

    step = rules.complete(run.receive(), (), run.now_us)

    assert step.errands == []
    assert step.transition.messages == ()


def test_a_parked_run_keeps_its_reminders() -> None:
    run = asked(start())

    run.park(ErrandsDue(key=4), Signal(name="x"))

    assert run.reminders() == [4]
    assert [type(each) for each in run.todo] == [StartChild]


def test_a_run_that_is_terminated_leaves_a_reminder_that_is_due_at_once() -> None:
    run = began(asked(start()))
    now_us = run.now_us + 1

    run.keep(ending.terminate(run.state, RUN, (), now_us))

    (reminder,) = run.last.messages
    assert (reminder.key, reminder.due_us) == (run.state.last_event_id, now_us)


def test_messages_about_what_nobody_asked_for_are_dropped() -> None:
    run = asked()
    stale: list[Message] = [
        ChildStarted(initiated_event_id=5, run_id="c1"),
        ChildClosed(initiated_event_id=5, run_id="c1", first_run_id="c1", outcome=Completed()),
        RequestAnswered(initiated_event_id=5, found=True),
    ]

    assert run.do(*stale).events is None


def test_all_that_is_left_to_do_is_known_from_the_history_alone() -> None:
    run = began(asked(start(), SIGNAL))

    again = errands.of(fold(State(), run.history), RUN)

    assert again == errands.of(run.state, RUN)
    assert [type(each) for each in again] == [Tell]
