"""Pure: what a run has to do at other runs: start a child, signal, cancel, tell its parent, end its children.

A transition touches its own run only, so an errand is run after the commit that asks for it, and its answer comes back
as a message. The commit leaves an `ErrandsDue` in the run's own inbox, which the answers remove: if whoever committed
dies, the next one is reminded. All errands can be run again: the request ids see to that.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from durable.history import codec
from durable.history.events import (
    ClosingEvent,
    SignalExternalWorkflowExecutionInitiated,
    StartChildWorkflowExecutionInitiated,
    WorkflowExecutionCanceled,
    WorkflowExecutionCompleted,
    WorkflowExecutionContinuedAsNew,
    WorkflowExecutionFailed,
    WorkflowExecutionStarted,
    WorkflowExecutionTerminated,
    WorkflowExecutionTimedOut,
    successor_of,
)
from durable.history.messages import (
    Canceled,
    CancelRequest,
    ChildClosed,
    Completed,
    ErrandsDue,
    Failed,
    Signal,
    Terminated,
    TimedOut,
)
from durable.history.state import PendingChild, Request, State
from durable.history.transition import NewMessage
from durable.history.values import Failure, ParentClosePolicy, TimeoutFailureInfo, TimeoutType, WorkflowExecution

AGAIN_FIRST_US = 1_000_000
AGAIN_MAX_US = 60_000_000


class StartChild(Struct, frozen=True, kw_only=True):
    """Start it, and tell the run whether it began."""

    initiated: StartChildWorkflowExecutionInitiated
    parent: WorkflowExecution
    root: WorkflowExecution
    request_id: str

    @property
    def target(self) -> str:
        return self.initiated.workflow_id


class Tell(Struct, frozen=True, kw_only=True):
    """Send the message; the run is told whether there was anybody to read it, if it asked (``initiated_event_id``).

    ``first_execution_run_id`` "": whatever run ``to`` names. ``nobody``: what it names was over already.
    """

    to: WorkflowExecution
    message: Signal | CancelRequest | ChildClosed
    first_execution_run_id: str = ""
    initiated_event_id: int = 0
    nobody: bool = False

    @property
    def target(self) -> str:
        return self.to.workflow_id


class Terminate(Struct, frozen=True, kw_only=True):
    """End a child whose parent is closed. ``run_id`` "": what was started by ``request_id``, if anything was."""

    workflow_id: str
    run_id: str
    request_id: str

    @property
    def target(self) -> str:
        return self.workflow_id


Errand = StartChild | Tell | Terminate


def request_id(run_id: str, event_id: int) -> str:
    """What makes a request of this run happen once."""
    return f"{run_id}:{event_id}"


def of(state: State, run_id: str) -> list[Errand]:
    """All that can be done for this run now; for a closed one that includes its parent and its children."""
    me = WorkflowExecution(workflow_id=state.workflow_id, run_id=run_id)
    ended = state.ended
    errands = [_of_request(state, me, each) for each in _ready(state)]
    if ended is not None:
        errands += [_of_child(me, event_id, child) for event_id, child in state.children.items() if _is_ended(child)]
        errands += _of_parent(state, me, ended)
    return errands


def of_step(before: State, after: State, run_id: str, due: Sequence[ErrandsDue]) -> list[Errand]:
    """What is to be done after a step: what it has made possible; all, if it has closed the run, or was reminded."""
    if _is_alone(after):
        return []
    closes = after.ended is not None and before.ended is None
    if due or closes:
        return of(after, run_id)
    if after.ended is not None or not after.requests:
        return []
    me = WorkflowExecution(workflow_id=after.workflow_id, run_id=run_id)
    known = {each.id for each in _ready(before)}
    return [_of_request(after, me, each) for each in _ready(after) if each.id not in known]


def reminders(
    before: State, after: State, due: Sequence[ErrandsDue], now_us: int, first_us: int | None = None
) -> tuple[list[NewMessage], list[int]]:
    """The reminders that a step adds, and the keys of those that it takes away. ``due`` are those that it has read."""
    if _is_alone(after) and _is_alone(before):
        return [], []
    had, keep = keys(before), keys(after)
    if not had and not keep:
        return [], []
    first_us = AGAIN_FIRST_US if first_us is None else first_us
    packed = [codec.pack(ErrandsDue(key=key), now_us + first_us, key) for key in keep - had]
    for each in due:
        if each.key in keep:
            again_us = min(AGAIN_MAX_US, AGAIN_FIRST_US << min(each.attempt, 30))
            packed.append(codec.pack(ErrandsDue(key=each.key, attempt=each.attempt + 1), now_us + again_us, each.key))
    return packed, sorted(had - keep)


def _is_alone(state: State) -> bool:
    """Has the run nothing to do with any other? (Most have not, and this is asked at every step.)"""
    started = state.started
    is_child = started is not None and started.parent_workflow_execution is not None
    return not (state.requests or state.children or is_child)


def keys(state: State) -> set[int]:
    """The keys of the reminders: for each workflow task with unanswered requests; for a closed run, one."""
    if state.ended is None:
        return {each.workflow_task_completed_event_id for each in state.requests.values()}
    return {state.ended.id} if of(state, "") else set()


def _ready(state: State) -> list[Request]:
    """The requests that can be made: nothing is asked of a child before it is known to have begun."""
    requests = list(state.requests.values())
    if state.ended is not None:
        requests = [each for each in requests if _outlives(each)]
    return [each for each in requests if not _is_early(state, each)]


def _is_early(state: State, request: Request) -> bool:
    if isinstance(request, StartChildWorkflowExecutionInitiated) or not request.child_workflow_only:
        return False
    child = _child(state, request.workflow_execution.workflow_id)
    return child is not None and not child.run_id and state.ended is None


def _outlives(request: Request) -> bool:
    """Is it to be done although the run is closed? A child that would be ended at once need not begin."""
    if isinstance(request, StartChildWorkflowExecutionInitiated):
        return request.parent_close_policy is ParentClosePolicy.ABANDON
    return True


def _is_ended(child: PendingChild) -> bool:
    return child.initiated.parent_close_policy is not ParentClosePolicy.ABANDON


def _of_request(state: State, me: WorkflowExecution, request: Request) -> Errand:
    key = request_id(me.run_id, request.id)
    if isinstance(request, StartChildWorkflowExecutionInitiated):
        return StartChild(initiated=request, parent=me, root=_root(state.started, me), request_id=key)
    to, first_run_id, nobody = request.workflow_execution, "", False
    if request.child_workflow_only:
        child = _child(state, to.workflow_id)
        first_run_id, nobody = ("", True) if child is None else (child.run_id, False)
    if isinstance(request, SignalExternalWorkflowExecutionInitiated):
        message: Signal | CancelRequest = Signal(
            name=request.signal_name, input=request.input, header=request.header, request_id=key, sender=me
        )
    else:
        message = CancelRequest(reason=request.reason, request_id=key, sender=me, sender_event_id=request.id)
    return Tell(
        to=to, message=message, first_execution_run_id=first_run_id, initiated_event_id=request.id, nobody=nobody
    )


def _child(state: State, workflow_id: str) -> PendingChild | None:
    """The latest child of this id that is not over."""
    of_id = [child for child in state.children.values() if child.initiated.workflow_id == workflow_id]
    return of_id[-1] if of_id else None


def _root(started: WorkflowExecutionStarted | None, me: WorkflowExecution) -> WorkflowExecution:
    return (started.root_workflow_execution if started is not None else None) or me


def _of_child(me: WorkflowExecution, event_id: int, child: PendingChild) -> Errand:
    workflow_id = child.initiated.workflow_id
    if child.initiated.parent_close_policy is ParentClosePolicy.REQUEST_CANCEL and child.run_id:
        message = CancelRequest(
            reason="its parent workflow is closed", request_id=f"{request_id(me.run_id, event_id)}:close", sender=me
        )
        to = WorkflowExecution(workflow_id=workflow_id)
        return Tell(to=to, message=message, first_execution_run_id=child.run_id)
    return Terminate(workflow_id=workflow_id, run_id=child.run_id, request_id=request_id(me.run_id, event_id))


def _of_parent(state: State, me: WorkflowExecution, ended: ClosingEvent) -> list[Errand]:
    """What the parent learns, unless another run of this workflow follows."""
    started = state.started
    if started is None or started.parent_workflow_execution is None or successor_of(ended):
        return []
    match ended:
        case WorkflowExecutionCompleted():
            outcome: Completed | Failed | TimedOut | Canceled | Terminated = Completed(result=ended.result)
        case WorkflowExecutionFailed():
            outcome = Failed(failure=ended.failure, retry_state=ended.retry_state)
        case WorkflowExecutionTimedOut():
            info = TimeoutFailureInfo(timeout_type=TimeoutType.START_TO_CLOSE)
            failure = Failure(message="Workflow execution timed out", source="durable", info=info)
            outcome = TimedOut(failure=failure, retry_state=ended.retry_state)
        case WorkflowExecutionCanceled():
            outcome = Canceled(details=ended.details)
        case WorkflowExecutionTerminated() | WorkflowExecutionContinuedAsNew():
            outcome = Terminated()
    message = ChildClosed(
        initiated_event_id=started.parent_initiated_event_id,
        run_id=me.run_id,
        first_run_id=started.first_execution_run_id,
        outcome=outcome,
    )
    return [Tell(to=started.parent_workflow_execution, message=message)]
