"""Pure: a run's state, its due messages and the commands of its code → the transition to commit.

One step of a run is: `receive` (messages become events; is there a workflow task to do?), then the workflow code runs
on those events, then `complete` with its commands, or `park` when it could not run. `start` and `terminate` are the
steps of a caller, who needs no workflow code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from zlib import crc32

from msgspec import Struct

from durable.history import codec
from durable.history.answering import COMMANDS, Draft
from durable.history.commands import (
    AcceptUpdate,
    CancelWorkflowExecution,
    ClosingCommand,
    Command,
    CompleteUpdate,
    CompleteWorkflowExecution,
    ContinueAsNewWorkflowExecution,
    FailWorkflowExecution,
)
from durable.history.events import (
    HistoryEvent,
    WorkflowExecutionContinuedAsNew,
    WorkflowExecutionStarted,
    WorkflowExecutionTerminated,
    WorkflowExecutionUpdateAdmitted,
    WorkflowTaskCompleted,
    WorkflowTaskFailed,
    WorkflowTaskScheduled,
    WorkflowTaskStarted,
)
from durable.history.local_activities import NO_REQUESTS, LocalRequests, asked_for, is_local
from durable.history.local_activities import request as request_local
from durable.history.messages import (
    ActivityOutcome,
    CancelRequest,
    Message,
    Query,
    QueryAnswer,
    Signal,
    TimerDue,
    Update,
    UpdateAnswer,
    UpdateStage,
    WorkflowTaskDue,
    outcome_reply,
)
from durable.history.reading import Seen, message_events
from durable.history.state import State, fold
from durable.history.transition import (
    AttemptToken,
    NewMessage,
    NewRun,
    Reply,
    Transition,
)
from durable.history.values import (
    ApplicationFailureInfo,
    Failure,
    IdConflictPolicy,
    IdReusePolicy,
    Payload,
    RunStatus,
    TaskFailedCause,
    UpdateOutcome,
    UpdateRequest,
)

PARKED_RETRY_FIRST_US = 1_000_000
PARKED_RETRY_MAX_US = 600_000_000
REPLY_KEPT_US = 60_000_000

DEATHS_MAX = 3
"""So many owners of a run may die in a row; then its code is taken for what kills them, and the run parked."""
SUSPICIOUS = DEATHS_MAX - 1
"""What a run that was parked so keeps: nothing but its own retry has it tried, and another death parks it again."""
SUSPECTS_FIRST_RETRY = 3
"""The retry that such a run begins with: later than others, for each may cost a worker."""

NOTHING: Mapping[str, Failure] = MappingProxyType({})

CLOSED_BY: dict[type[ClosingCommand], RunStatus] = {
    CompleteWorkflowExecution: RunStatus.COMPLETED,
    FailWorkflowExecution: RunStatus.FAILED,
    CancelWorkflowExecution: RunStatus.CANCELED,
    ContinueAsNewWorkflowExecution: RunStatus.CONTINUED_AS_NEW,
}


class Incoming(Struct, frozen=True):
    """A message to consume: from the inbox (``id``), or an outcome that never was there (the attempt's ``token``)."""

    message: Message
    due_us: int
    id: int | None = None
    token: AttemptToken | None = None


class Received(Struct, frozen=True, kw_only=True):
    """A step half done: the messages are events, the code has not run.

    ``state`` is the run before the step, ``after`` the one that has read the messages. ``events`` are what the
    messages became; ``task`` tells whether the workflow code has to run on them, and ``task_events`` are then the
    scheduled and started events of that task.
    """

    state: State
    after: State
    run_id: str
    owner: str
    now_us: int
    incoming: Sequence[Incoming]
    events: list[HistoryEvent]
    task: bool
    task_events: list[HistoryEvent]
    queries: list[Query]
    updates: list[UpdateRequest]
    """The new ones, each id once; events when the code accepts them, and no trace of them when it rejects them all."""
    local: Sequence[ActivityOutcome] = ()
    """How local activities ended; events when the code has recorded them, and no trace of what it did not wait for."""
    speculative: bool = False
    """Nothing but updates and local activities makes it a task: if the code takes note of none, it has never been one.
    """
    asking: dict[str, list[str]]
    """By update id, the requests that want the first answer to it."""
    answered: list[tuple[str, UpdateAnswer]]
    """What can be said at once, of updates that the run knows already."""
    retries: int
    """Which retry of a parked run this is, counted by its own message; 0 when something else woke the run."""


class Step(Struct, frozen=True, kw_only=True):
    """A step to commit, and the run after it. ``command_events`` answer the commands, one each, in order."""

    transition: Transition
    state: State
    events: list[HistoryEvent]
    command_events: list[HistoryEvent]


class StartRequest(Struct, frozen=True, kw_only=True):
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
    start_delay_us: int = 0
    reuse_policy: IdReusePolicy = IdReusePolicy.ALLOW_DUPLICATE
    conflict_policy: IdConflictPolicy = IdConflictPolicy.FAIL
    replaces: Transition | None = None
    message: NewMessage | None = None
    """What the run is told with its start; a run that was there already is not told by it."""


def start(request: StartRequest, run_id: str, now_us: int) -> Step:
    """The first step of a run whose code somebody else will run: started, a task scheduled, and the message for it."""
    events: list[HistoryEvent] = [_started_event(request, run_id, now_us)]
    due_us = now_us + request.start_delay_us
    if not request.start_delay_us:
        events.append(_task_scheduled_event(2, now_us, request.task_queue, request.task_timeout_us))
    transition = Transition(
        run_id=run_id,
        last_event_id=0,
        any_owner=True,
        start=_new_run(request, run_id, now_us),
        events=codec.batch(events),
        messages=(codec.pack(WorkflowTaskDue(), due_us), *((request.message,) if request.message else ())),
    )
    return Step(transition=transition, state=fold(State(), events), events=events, command_events=[])


def receive_start(request: StartRequest, run_id: str, owner: str, now_us: int) -> Received:
    """The first step of a run whose code runs at once, in the starter's own process: one commit instead of two."""
    started = _started_event(request, run_id, now_us)
    state = fold(State(), [started])
    return Received(
        state=State(),
        after=state,
        run_id=run_id,
        owner=owner,
        now_us=now_us,
        incoming=(),
        events=[started],
        task=True,
        task_events=_task_events(state, now_us, owner),
        queries=[],
        updates=[],
        asking={},
        answered=[],
        retries=0,
    )


def receive(state: State, run_id: str, owner: str, incoming: Sequence[Incoming], now_us: int) -> Received:
    """What the messages become. Consumed without an event: what is stale, or was consumed before (request id)."""
    waited = (each.due_us for each in incoming if isinstance(each.message, TimerDue | WorkflowTaskDue))
    at_us = max(now_us, state.last_time_us, *waited)
    events: list[HistoryEvent] = []
    queries: list[Query] = []
    updates: dict[str, UpdateRequest] = {}
    asking: dict[str, list[str]] = {}
    answered: list[tuple[str, UpdateAnswer]] = []
    local: list[ActivityOutcome] = []
    due, retries = False, 0
    seen = Seen(state)
    for each in incoming:
        message = each.message
        if isinstance(message, Query):
            if now_us - each.due_us < REPLY_KEPT_US:  # nobody waits for an older one any more
                queries.append(message)
        elif isinstance(message, WorkflowTaskDue):
            due, retries = True, max(retries, message.attempt)
            local += message.held if state.is_open else ()
        elif isinstance(message, Update):
            request, known = message.request, state.updates.get(message.request.meta.update_id)
            if known is None and state.is_open:
                updates.setdefault(request.meta.update_id, request)
                asking.setdefault(request.meta.update_id, []).append(request.request_id)
            elif known is not None:
                stage = UpdateStage.COMPLETED if known.completed else UpdateStage.ACCEPTED
                answered.append((request.request_id, UpdateAnswer(stage=stage)))
        elif isinstance(message, ActivityOutcome) and is_local(message.scheduled_event_id):
            local += [message] if state.is_open else ()
        elif state.is_open:
            became = message_events(seen, message, at_us)
            seen.last_us = at_us if became else seen.last_us
            events.extend(became)
    after = fold(state, events) if events else state
    # A task was there before, and has not been done: the code has not read what made it.
    is_pending = bool(state.task_scheduled or state.task_failed or _delayed(state))
    task = state.is_open and bool(events or updates or local or (due and is_pending))
    return Received(
        state=state,
        after=after,
        run_id=run_id,
        owner=owner,
        now_us=at_us,
        incoming=incoming,
        events=events,
        task=task,
        task_events=_task_events(after, at_us, owner) if task else [],
        queries=queries,
        updates=list(updates.values()),
        local=local,
        asking=asking,
        answered=answered,
        speculative=not (events or is_pending),
        retries=retries,
    )


def complete(
    received: Received,
    commands: Sequence[Command],
    now_us: int,
    answers: Sequence[tuple[str, QueryAnswer]] = (),
    start: StartRequest | None = None,
    rejections: Mapping[str, Failure] = NOTHING,
    successor_id: str = "",
    local: LocalRequests = NO_REQUESTS,
) -> Step:
    """The code has run, and asks for ``commands``: the whole transition. With ``start``, the run's first one.

    ``rejections`` are the updates that it rejects, by their ids. ``successor_id`` is the id of the next run, if the
    code continues as new. ``local`` is what it asks of local activities; a run that closes leaves them alone.
    """
    is_task = received.task and not (received.speculative and not commands)
    events = [*received.events, *received.task_events] if is_task else []
    draft = Draft(received.run_id, received.state, events, max(now_us, received.now_us), successor_id)
    if is_task:
        draft.add(
            WorkflowTaskCompleted(
                id=draft.last_id + 1,
                time_us=draft.now_us,
                scheduled_event_id=_task_scheduled_id(received),
                started_event_id=events[-1].id,
                identity=received.owner,
                local_activities=asked_for(local),
            )
        )
        draft.task_completed_id = events[-1].id
        for command in commands:
            COMMANDS[type(command)](draft, command)
    first_command = len(events) - len(commands)
    closed = commands[-1] if commands and isinstance(commands[-1], ClosingCommand) else None
    if closed is None:
        request_local(draft, local)
    status = CLOSED_BY[type(closed)] if closed is not None else RunStatus.RUNNING
    state = fold(received.after, events[len(received.events) :])
    told: list[tuple[str, QueryAnswer | UpdateAnswer]] = [
        *answers,
        *received.answered,
        *_update_answers(received, commands, rejections),
    ]
    if closed is not None:
        told += _cut_short(received.run_id, state)
    transition = Transition(
        run_id=received.run_id,
        last_event_id=received.state.last_event_id,
        owner=received.owner,
        any_owner=start is not None,
        start=_new_run(start, received.run_id, received.now_us) if start else None,
        events=codec.batch(events) if events else None,
        consumed=_consumed(received),
        finished=_finished(received),
        messages=tuple(draft.messages),
        cancelled_timers=tuple(draft.cancelled_timers),
        tasks=tuple(draft.tasks),
        cancelled_activities=tuple(draft.cancelled_activities),
        replies=_replies(told, draft.now_us),
        new_owner=received.owner if received.state.is_open and closed is None else None,
        status=status,
        closed_us=draft.now_us if closed is not None else None,
        refuse_unread=status is not RunStatus.CONTINUED_AS_NEW,
        successor=_successor(received, state, events[-1]) if status is RunStatus.CONTINUED_AS_NEW else None,
    )
    return Step(
        transition=transition,
        state=state,
        events=events,
        command_events=events[first_command:] if commands else [],
    )


def _successor(received: Received, state: State, ended: HistoryEvent) -> Transition:
    """The first step of the run that continues this one."""
    assert isinstance(ended, WorkflowExecutionContinuedAsNew)
    run_id, now_us, due_us = ended.new_execution_run_id, ended.time_us, ended.time_us + ended.backoff_start_interval_us
    events: list[HistoryEvent] = [
        WorkflowExecutionStarted(
            id=1,
            time_us=now_us,
            workflow_type=ended.workflow_type,
            workflow_id=state.workflow_id,
            task_queue=ended.task_queue,
            original_execution_run_id=run_id,
            first_execution_run_id=state.first_execution_run_id,
            input=ended.input,
            workflow_task_timeout_us=ended.workflow_task_timeout_us,
            first_workflow_task_backoff_us=ended.backoff_start_interval_us,
            request_id=run_id,
            continued_execution_run_id=received.run_id,
            initiator=ended.initiator,
            consumed_request_ids=list(state.request_ids),
        )
    ]
    if not ended.backoff_start_interval_us:
        events.append(_task_scheduled_event(2, now_us, ended.task_queue, ended.workflow_task_timeout_us))
    return Transition(
        run_id=run_id,
        last_event_id=0,
        any_owner=True,
        start=NewRun(
            namespace="",
            workflow_id=state.workflow_id,
            workflow_type=ended.workflow_type,
            task_queue=ended.task_queue,
            started_us=now_us,
            first_execution_run_id=state.first_execution_run_id,
            request_id=run_id,
        ),
        events=codec.batch(events),
        messages=(codec.pack(WorkflowTaskDue(), due_us),),
    )


def is_left_alone(received: Received, deaths: int) -> bool:
    """Is the code of a run, of which so many owners in a row have died, not to be run on this?

    That of a closed run is: it only answers, has no retry of its own, and who asks gives up after a while.
    """
    is_own_retry = received.retries > 0 or not received.state.task_failed
    return received.state.is_open and (deaths >= DEATHS_MAX or (deaths >= SUSPICIOUS and not is_own_retry))


def park(
    received: Received,
    failure: Failure,
    cause: TaskFailedCause,
    now_us: int,
    answers: Sequence[tuple[str, QueryAnswer]] = (),
    start: StartRequest | None = None,
    kills: bool = False,
) -> Step:
    """The code could not run on these events: they are kept, one WorkflowTaskFailed tells why, a retry is set.

    A run that is parked already gets no second WorkflowTaskFailed. The pending retry stays; one that is consumed is
    followed by the next, twice as far away, 10 minutes at most. Nobody owns a parked run: the next worker that tries
    it may have the code that fits. One whose code ``kills`` its workers is tried later, and apart from others that
    died with it. The outcomes of local activities, which are no events, wait in a retry of their own.
    """
    admitted = _admitted(received)
    events = [*received.events, *admitted]
    messages: list[NewMessage] = []
    if received.task:
        if not received.state.task_failed:
            task_events = received.task_events
            if admitted:
                task_events = _task_events(fold(received.after, admitted), received.now_us, received.owner)
            events += task_events
            started = task_events[-1]
            assert isinstance(started, WorkflowTaskStarted)
            events.append(
                WorkflowTaskFailed(
                    id=started.id + 1,
                    time_us=received.now_us,
                    scheduled_event_id=started.scheduled_event_id,
                    started_event_id=started.id,
                    cause=cause,
                    failure=failure,
                    identity=received.owner,
                )
            )
        if not received.state.task_failed or received.retries or received.local:
            retries = max(received.retries, SUSPECTS_FIRST_RETRY) if kills else received.retries
            delay_us = min(PARKED_RETRY_MAX_US, PARKED_RETRY_FIRST_US << min(retries, 30))
            if kills:
                delay_us += delay_us * crc32(received.run_id.encode()) >> 32
            retry = WorkflowTaskDue(attempt=retries + 1, held=list(received.local))
            messages.append(codec.pack(retry, now_us + delay_us))
    parked = failure.message.split("\n", 1)[0] if received.task or received.state.task_failed else None
    transition = Transition(
        run_id=received.run_id,
        last_event_id=received.state.last_event_id,
        owner=received.owner,
        any_owner=start is not None,
        start=_new_run(start, received.run_id, received.now_us) if start else None,
        events=codec.batch(events) if events else None,
        consumed=_consumed(received),
        finished=_finished(received),
        messages=tuple(messages),
        replies=_replies([*answers, *received.answered], max(now_us, received.now_us)),
        new_owner=received.owner if received.state.is_open and not parked else None,
        parked=parked,
        deaths=SUSPICIOUS if kills else 0,
    )
    return Step(transition=transition, state=fold(received.state, events), events=events, command_events=[])


def terminate(
    state: State,
    run_id: str,
    incoming: Sequence[Incoming],
    now_us: int,
    *,
    reason: str = "",
    details: Sequence[Payload] = (),
    identity: str = "",
) -> Step:
    """End a run from outside. Its unread signals and cancel requests become events before the closing event.

    Whoever waits for an update is told.
    """
    unread = [each for each in incoming if isinstance(each.message, Signal | CancelRequest | Update)]
    received = receive(state, run_id, "", unread, now_us)
    events: list[HistoryEvent] = list(received.events)
    last_id = events[-1].id if events else state.last_event_id
    events.append(
        WorkflowExecutionTerminated(
            id=last_id + 1, time_us=received.now_us, reason=reason, details=list(details), identity=identity
        )
    )
    transition = Transition(
        run_id=run_id,
        last_event_id=state.last_event_id,
        any_owner=True,
        events=codec.batch(events),
        consumed=_consumed(received),
        replies=_replies([*received.answered, *_unread(received), *_cut_short(run_id, state)], received.now_us),
        status=RunStatus.TERMINATED,
        closed_us=received.now_us,
    )
    return Step(transition=transition, state=fold(state, events), events=events, command_events=[])


def cut_short() -> Failure:
    """How an update ends that was accepted, and not over when its run was closed."""
    return Failure(
        message="Workflow Update failed because the Workflow completed before the Update completed.",
        source="durable",
        info=ApplicationFailureInfo(type="AcceptedUpdateCompletedWorkflow", non_retryable=True),
    )


def _update_answers(
    received: Received, commands: Sequence[Command], rejections: Mapping[str, Failure]
) -> list[tuple[str, UpdateAnswer]]:
    """What is told of updates: the first answer to those who ask, the outcome to those who wait for it."""
    answers = {
        update_id: UpdateAnswer(stage=UpdateStage.REJECTED, outcome=UpdateOutcome(failure=failure))
        for update_id, failure in rejections.items()
    }
    for command in commands:
        if isinstance(command, AcceptUpdate):
            answers[command.update_id] = UpdateAnswer(stage=UpdateStage.ACCEPTED)
        elif isinstance(command, CompleteUpdate):
            answers[command.update_id] = UpdateAnswer(stage=UpdateStage.COMPLETED, outcome=command.outcome)
    told: list[tuple[str, UpdateAnswer]] = []
    for update_id, answer in answers.items():
        told += [(request_id, answer) for request_id in received.asking.get(update_id, ())]
        known = received.state.updates.get(update_id)
        if known is not None and known.request_id:
            told.append((known.request_id, answer))
        if known is not None and answer.stage is UpdateStage.COMPLETED:
            told.append((outcome_reply(received.run_id, update_id), answer))
    return told


def _cut_short(run_id: str, state: State) -> list[tuple[str, UpdateAnswer]]:
    """What those learn who wait for updates that are not over when the run is closed."""
    told: list[tuple[str, UpdateAnswer]] = []
    for update_id, update in state.updates.items():
        if not update.accepted_event_id:
            told.append((update.request_id, UpdateAnswer(stage=UpdateStage.UNREAD)))
        elif not update.completed:
            answer = UpdateAnswer(stage=UpdateStage.COMPLETED, outcome=UpdateOutcome(failure=cut_short()))
            told.append((outcome_reply(run_id, update_id), answer))
    return told


def _unread(received: Received) -> list[tuple[str, UpdateAnswer]]:
    answer = UpdateAnswer(stage=UpdateStage.UNREAD)
    return [(request_id, answer) for asking in received.asking.values() for request_id in asking]


def _admitted(received: Received) -> list[HistoryEvent]:
    """The updates that came in as events, so that they are there when the code can run."""
    first_id = received.after.last_event_id + 1
    return [
        WorkflowExecutionUpdateAdmitted(id=id, time_us=received.now_us, request=request)
        for id, request in enumerate(received.updates, first_id)
    ]


def _delayed(state: State) -> bool:
    """A run that was started with a delay has no workflow task yet."""
    return state.last_event_id == 1


def _started_event(request: StartRequest, run_id: str, now_us: int) -> WorkflowExecutionStarted:
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
        first_workflow_task_backoff_us=request.start_delay_us,
        header=request.header,
        request_id=request.request_id,
    )


def _new_run(request: StartRequest, run_id: str, now_us: int) -> NewRun:
    return NewRun(
        namespace=request.namespace,
        workflow_id=request.workflow_id,
        workflow_type=request.workflow_type,
        task_queue=request.task_queue,
        started_us=now_us,
        first_execution_run_id=run_id,
        request_id=request.request_id,
        reuse_policy=request.reuse_policy,
        conflict_policy=request.conflict_policy,
        replaces=request.replaces,
    )


def _task_scheduled_event(event_id: int, now_us: int, task_queue: str, timeout_us: int) -> WorkflowTaskScheduled:
    return WorkflowTaskScheduled(
        id=event_id, time_us=now_us, task_queue=task_queue, start_to_close_timeout_us=timeout_us
    )


def _task_events(state: State, now_us: int, owner: str) -> list[HistoryEvent]:
    """WorkflowTaskScheduled unless one is pending, and WorkflowTaskStarted."""
    events: list[HistoryEvent] = []
    scheduled_id, next_id = state.task_scheduled, state.last_event_id + 1
    if not scheduled_id:
        scheduled_id = next_id
        events.append(_task_scheduled_event(next_id, now_us, state.task_queue, state.task_timeout_us))
        next_id += 1
    events.append(WorkflowTaskStarted(id=next_id, time_us=now_us, scheduled_event_id=scheduled_id, identity=owner))
    return events


def _task_scheduled_id(received: Received) -> int:
    started = received.task_events[-1]
    assert isinstance(started, WorkflowTaskStarted)
    return started.scheduled_event_id


def _consumed(received: Received) -> tuple[int, ...]:
    return tuple(each.id for each in received.incoming if each.id is not None)


def _finished(received: Received) -> tuple[AttemptToken, ...]:
    return tuple(each.token for each in received.incoming if each.token is not None)


def _replies(answers: Sequence[tuple[str, QueryAnswer | UpdateAnswer]], now_us: int) -> tuple[Reply, ...]:
    """One reply per question: one that was sent again, because its acknowledgement was lost, may be there twice."""
    expires_us = now_us + REPLY_KEPT_US
    return tuple(Reply(id=id, body=codec.encode(answer), expires_us=expires_us) for id, answer in dict(answers).items())
