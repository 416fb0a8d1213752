"""Pure: how a run begins, whoever starts it."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct, structs

from durable.history import codec, succession
from durable.history.events import (
    HistoryEvent,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    WorkflowTaskScheduled,
    successor_of,
)
from durable.history.messages import (
    WorkflowTaskDue,
)
from durable.history.state import State, fold
from durable.history.steps import Step
from durable.history.succession import Following
from durable.history.transition import (
    NewMessage,
    NewRun,
    Shown,
    Transition,
)
from durable.history.values import (
    IdConflictPolicy,
    IdReusePolicy,
    Payload,
    Priority,
    RetryPolicy,
    UserMetadata,
    WorkflowExecution,
)


class StartRequest(Struct, frozen=True, kw_only=True, gc=False):
    """What a caller wants to start."""

    namespace: str
    workflow_id: str
    workflow_type: str
    task_queue: str
    input: list[Payload]
    request_id: str
    identity: str = ""
    header: dict[str, Payload] = {}
    task_timeout_us: int = 10_000_000
    execution_timeout_us: int = 0
    run_timeout_us: int = 0
    retry_policy: RetryPolicy | None = None
    cron_schedule: str = ""
    start_delay_us: int = 0
    memo: dict[str, Payload] = {}
    search_attributes: dict[str, Payload] = {}
    priority: Priority | None = None
    user_metadata: UserMetadata | None = None
    reuse_policy: IdReusePolicy = IdReusePolicy.ALLOW_DUPLICATE
    conflict_policy: IdConflictPolicy = IdConflictPolicy.FAIL
    replaces: Transition | None = None
    message: NewMessage | None = None
    """What the run is told with its start; a run that was there already is not told by it."""
    parent_namespace: str = ""
    parent: WorkflowExecution | None = None
    parent_initiated_event_id: int = 0
    root: WorkflowExecution | None = None


def start(request: StartRequest, run_id: str, now_us: int) -> Step:
    """The first step of a run whose code somebody else will run: started, a task scheduled, and the message for it."""
    started = started_event(request, run_id, now_us)
    return begun(started, new_run(request, started), (request.message,) if request.message else ())


def begun(
    started: WorkflowExecutionStarted,
    start: NewRun,
    told: tuple[NewMessage, ...] = (),
    signals: Sequence[WorkflowExecutionSignaled] = (),
) -> Step:
    """A run's beginning, by whoever starts it; ``told`` is what it finds in its inbox, ``signals`` in its history."""
    events: list[HistoryEvent] = [started]
    for at, signal in enumerate(signals, 2):
        events.append(structs.replace(signal, id=at, time_us=started.time_us, request_id=""))
    if not started.first_workflow_task_backoff_us:
        timeout_us = started.workflow_task_timeout_us
        events.append(task_scheduled_event(len(events) + 1, started.time_us, started.task_queue, timeout_us))
    task_due = codec.pack(WorkflowTaskDue(), succession.execution_us(started))
    state = fold(State(), events)
    transition = Transition(
        run_id=started.original_execution_run_id,
        last_event_id=0,
        any_owner=True,
        start=start,
        events=codec.batch(events),
        messages=(task_due, *succession.timeout_messages(started), *told),
        shown=shown(State(), state),
    )
    return Step(transition=transition, state=state, events=events, command_events=[])


def shown(before: State, after: State) -> Shown | None:
    """Memo and search attributes, if they have changed."""
    if before.memo == after.memo and before.search_attributes == after.search_attributes:
        return None
    return Shown(memo=after.memo, search_attributes=after.search_attributes)


def started_event(request: StartRequest, run_id: str, now_us: int) -> WorkflowExecutionStarted:
    """The first event."""
    return WorkflowExecutionStarted(
        id=1,
        time_us=now_us,
        workflow_type=request.workflow_type,
        workflow_id=request.workflow_id,
        task_queue=request.task_queue,
        original_execution_run_id=run_id,
        first_execution_run_id=run_id,
        input=request.input,
        identity=request.identity,
        workflow_task_timeout_us=request.task_timeout_us,
        first_workflow_task_backoff_us=succession.first_backoff_us(
            request.cron_schedule, request.start_delay_us, now_us
        ),
        header=request.header,
        request_id=request.request_id,
        parent_workflow_namespace=request.parent_namespace,
        parent_workflow_execution=request.parent,
        parent_initiated_event_id=request.parent_initiated_event_id,
        root_workflow_execution=request.root,
        workflow_execution_timeout_us=request.execution_timeout_us,
        workflow_run_timeout_us=request.run_timeout_us,
        workflow_execution_expiration_time_us=now_us + request.start_delay_us + request.execution_timeout_us
        if request.execution_timeout_us
        else 0,
        retry_policy=request.retry_policy,
        cron_schedule=request.cron_schedule,
        memo=request.memo,
        search_attributes=request.search_attributes,
        priority=request.priority,
        user_metadata=request.user_metadata,
    )


def new_run(request: StartRequest, started: WorkflowExecutionStarted) -> NewRun:
    """The row that the start writes."""
    return structs.replace(
        run_of(started),
        namespace=request.namespace,
        reuse_policy=request.reuse_policy,
        conflict_policy=request.conflict_policy,
        replaces=request.replaces,
    )


def start_of(request: StartRequest | None, state: State) -> NewRun | None:
    """The start that goes with the first step of a run, which is in ``state`` after it."""
    return None if request is None or state.started is None else new_run(request, state.started)


def timeout_at_start(request: StartRequest | None, state: State) -> tuple[NewMessage, ...]:
    """What ends the run at its time, if the step is its first."""
    return () if request is None or state.started is None else succession.timeout_messages(state.started)


def run_of(started: WorkflowExecutionStarted) -> NewRun:
    """The row of the run that begins with this event."""
    return NewRun(
        namespace="",
        workflow_id=started.workflow_id,
        workflow_type=started.workflow_type,
        task_queue=started.task_queue,
        started_us=started.time_us,
        first_execution_run_id=started.first_execution_run_id,
        request_id=started.request_id,
        execution_us=succession.execution_us(started),
        parent=started.parent_workflow_execution,
        root=started.root_workflow_execution,
    )


def task_scheduled_event(event_id: int, now_us: int, task_queue: str, timeout_us: int) -> WorkflowTaskScheduled:
    """A workflow task is due."""
    return WorkflowTaskScheduled(
        id=event_id, time_us=now_us, task_queue=task_queue, start_to_close_timeout_us=timeout_us
    )


def successor(run_id: str, state: State, following: Following | None) -> Transition | None:
    """The first step of the run that follows this one, if one does."""
    if following is None:
        return None
    assert state.ended is not None
    started = succession.next_started(run_id, state, state.ended, successor_of(state.ended), following)
    signals = following.command.signals if following.command is not None else ()
    return begun(started, run_of(started), signals=signals).transition
