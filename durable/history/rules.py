"""Pure: a run's state, its due messages and the commands of its code → the transition to commit.

One step of a run is: `receive` (messages become events; is there a workflow task to do?), then the workflow code runs
on those events, then `complete` with its commands, or `park` when it could not run. `start` and `terminate` are the
steps of a caller, who needs no workflow code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from zlib import crc32

from msgspec import Struct, structs

from durable.history import codec, errands, growth, succession
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
from durable.history.errands import Errand
from durable.history.events import (
    HistoryEvent,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    WorkflowExecutionTerminated,
    WorkflowExecutionTimedOut,
    WorkflowExecutionUpdateAdmitted,
    WorkflowTaskCompleted,
    WorkflowTaskFailed,
    WorkflowTaskScheduled,
    WorkflowTaskStarted,
    successor_of,
)
from durable.history.local_activities import NO_REQUESTS, LocalRequests, asked_for, is_local
from durable.history.local_activities import request as request_local
from durable.history.messages import (
    ActivityOutcome,
    CancelRequest,
    ErrandsDue,
    Message,
    Query,
    QueryAnswer,
    RunTimeout,
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
from durable.history.succession import Following
from durable.history.transition import (
    ActivityTask,
    AttemptToken,
    NewMessage,
    NewRun,
    Reply,
    Shown,
    Transition,
)
from durable.history.values import (
    ApplicationFailureInfo,
    Failure,
    IdConflictPolicy,
    IdReusePolicy,
    Payload,
    Priority,
    RetryPolicy,
    RetryState,
    RunStatus,
    TaskFailedCause,
    UpdateOutcome,
    UpdateRequest,
    UserMetadata,
    WorkerVersion,
    WorkflowExecution,
)

PARKED_RETRY_FIRST_US = 1_000_000
PARKED_RETRY_MAX_US = 600_000_000
REPLY_KEPT_US = 60_000_000

HISTORY_EVENTS_WARNED = 10_240
"""From so many events on, a run had better continue as new. This and the next: Temporal's limits."""
HISTORY_EVENTS_MAX = 51_200
"""A run with so many is terminated when it has something to do: each replay of it would take longer than the last."""

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
    """A message to consume: from the inbox (``id``), or an outcome that never was there (the attempt's ``token``, and
    its ``task``, to report on it if it can't be consumed)."""

    message: Message
    due_us: int
    id: int | None = None
    token: AttemptToken | None = None
    task: ActivityTask | None = None


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
    reminders: Sequence[ErrandsDue] = ()
    history_bytes: int = 0
    """The size of the history before the step, as stored."""


class Step(Struct, frozen=True, kw_only=True):
    """A step to commit, and the run after it. ``command_events`` answer the commands, one each, in order.

    ``errands`` are to be run once it is committed.
    """

    transition: Transition
    state: State
    events: list[HistoryEvent]
    command_events: list[HistoryEvent]
    errands: Sequence[Errand] = ()


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
    started = _started_event(request, run_id, now_us)
    return _begun(started, _new_run(request, started), (request.message,) if request.message else ())


def _begun(
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
        events.append(_task_scheduled_event(len(events) + 1, started.time_us, started.task_queue, timeout_us))
    task_due = codec.pack(WorkflowTaskDue(), succession.execution_us(started))
    state = fold(State(), events)
    transition = Transition(
        run_id=started.original_execution_run_id,
        last_event_id=0,
        any_owner=True,
        start=start,
        events=codec.batch(events),
        messages=(task_due, *succession.timeout_messages(started), *told),
        shown=_shown(State(), state),
    )
    return Step(transition=transition, state=state, events=events, command_events=[])


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


def receive(
    state: State, run_id: str, owner: str, incoming: Sequence[Incoming], now_us: int, history_bytes: int = 0
) -> Received:
    """What the messages become. Consumed without an event: what is stale, or was consumed before (request id).

    ``history_bytes`` is the size of the history so far, as stored.
    """
    waited = (each.due_us for each in incoming if isinstance(each.message, TimerDue | WorkflowTaskDue | RunTimeout))
    at_us = max(now_us, state.last_time_us, *waited)
    events: list[HistoryEvent] = []
    queries: list[Query] = []
    updates: dict[str, UpdateRequest] = {}
    asking: dict[str, list[str]] = {}
    answered: list[tuple[str, UpdateAnswer]] = []
    reminders: list[ErrandsDue] = []
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
        elif isinstance(message, ErrandsDue):
            reminders.append(message)
        elif isinstance(message, Update):
            request, known = message.request, state.updates.get(message.request.meta.update_id)
            if known is None and state.is_open:
                updates.setdefault(request.meta.update_id, request)
                asking.setdefault(request.meta.update_id, []).append(request.request_id)
            elif known is not None:
                stage = UpdateStage.COMPLETED if known.completed else UpdateStage.ACCEPTED
                answered.append((request.request_id, UpdateAnswer(stage=stage, run_id=run_id)))
        elif isinstance(message, ActivityOutcome) and is_local(message.scheduled_event_id):
            local += [message] if state.is_open else ()
        elif state.is_open:
            became = message_events(seen, message, at_us)
            seen.last_us = at_us if became else seen.last_us
            events.extend(became)
    held = (
        _is_early(state) and not due and not any(isinstance(each, WorkflowExecutionCancelRequested) for each in events)
    )
    if held:
        events.extend(_admitted(updates.values(), events[-1].id if events else state.last_event_id, at_us))
        updates = {}
    after = fold(state, events) if events else state
    # A task was there before, and has not been done: the code has not read what made it.
    is_pending = bool(state.task_scheduled or state.task_failed or not state.has_task)
    # Who asks is answered by code that has begun, if it is to begin at once, though its message is not there yet.
    asked = bool(queries and state.task_scheduled)
    task = state.is_open and not held and bool(events or updates or local or asked or (due and is_pending))
    return Received(
        state=state,
        after=after,
        run_id=run_id,
        owner=owner,
        now_us=at_us,
        incoming=incoming,
        events=events,
        task=task,
        task_events=_task_events(after, at_us, owner, history_bytes) if task else [],
        queries=queries,
        updates=list(updates.values()),
        local=local,
        asking=asking,
        answered=answered,
        speculative=not (events or is_pending),
        retries=retries,
        reminders=reminders,
        history_bytes=history_bytes,
    )


def complete(
    received: Received,
    commands: Sequence[Command],
    now_us: int,
    answers: Sequence[tuple[str, QueryAnswer]] = (),
    start: StartRequest | None = None,
    rejections: Mapping[str, Failure] = NOTHING,
    successor_id: str = "",
    build_id: str = "",
    local: LocalRequests = NO_REQUESTS,
) -> Step:
    """The code has run, and asks for ``commands``: the whole transition. With ``start``, the run's first one.

    ``rejections`` are the updates that it rejects, by their ids. ``successor_id`` is the id of the next run, if the
    code continues as new, or a retry or a schedule asks for one. ``build_id`` is that of the worker's code. ``local``
    is what it asks of local activities; a run that closes leaves them alone.
    """
    is_task = received.task and not (received.speculative and not commands)
    events = [*received.events, *(received.task_events if is_task else ())]
    draft = Draft(received.run_id, received.state, events, max(now_us, received.now_us), successor_id)
    if is_task:
        draft.add(
            WorkflowTaskCompleted(
                id=draft.last_id + 1,
                time_us=draft.now_us,
                scheduled_event_id=_task_scheduled_id(received),
                started_event_id=events[-1].id,
                identity=received.owner,
                worker_version=WorkerVersion(build_id=build_id) if build_id else None,
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
    reminders, over = errands.reminders(received.state, state, received.reminders, draft.now_us)
    transition = Transition(
        run_id=received.run_id,
        last_event_id=received.state.last_event_id,
        owner=received.owner,
        any_owner=start is not None,
        start=_start_of(start, state),
        events=codec.batch(events) if events else None,
        consumed=_consumed(received),
        finished=_finished(received),
        messages=(*draft.messages, *reminders, *_timeout_at_start(start, state)),
        taken_back=(*draft.taken_back, *over),
        tasks=tuple(draft.tasks),
        cancelled_activities=tuple(draft.cancelled_activities),
        replies=_replies(told, draft.now_us),
        new_owner=received.owner if received.state.is_open and closed is None else None,
        status=status,
        closed_us=draft.now_us if closed is not None else None,
        refuse_unread=draft.following is None,
        shown=_shown(received.state, state),
        successor=_successor(received.run_id, state, draft.following),
    )
    return Step(
        transition=transition,
        state=state,
        events=events,
        command_events=events[first_command:] if commands else [],
        errands=errands.of_step(received.state, state, received.run_id, received.reminders),
    )


def _successor(run_id: str, state: State, following: Following | None) -> Transition | None:
    """The first step of the run that follows this one, if one does."""
    if following is None:
        return None
    assert state.ended is not None
    started = succession.next_started(run_id, state, state.ended, successor_of(state.ended), following)
    signals = following.command.signals if following.command is not None else ()
    return _begun(started, _run_of(started), signals=signals).transition


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
    admitted = _admitted(received.updates, received.after.last_event_id, received.now_us)
    events = [*received.events, *admitted]
    messages: list[NewMessage] = []
    if received.task:
        if not received.state.task_failed:
            task_events = received.task_events
            if admitted:
                after = fold(received.after, admitted)
                task_events = _task_events(after, received.now_us, received.owner, received.history_bytes)
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
    state = fold(received.state, events)
    reminders, over = errands.reminders(received.state, state, received.reminders, now_us)
    transition = Transition(
        run_id=received.run_id,
        last_event_id=received.state.last_event_id,
        owner=received.owner,
        any_owner=start is not None,
        start=_start_of(start, state),
        events=codec.batch(events) if events else None,
        consumed=_consumed(received),
        finished=_finished(received),
        messages=(*messages, *reminders, *_timeout_at_start(start, state)),
        taken_back=tuple(over),
        replies=_replies([*answers, *received.answered], max(now_us, received.now_us)),
        new_owner=received.owner if received.state.is_open and not parked else None,
        parked=parked,
        deaths=SUSPICIOUS if kills else 0,
        shown=_shown(received.state, state),
    )
    return Step(
        transition=transition,
        state=state,
        events=events,
        command_events=[],
        errands=errands.of_step(received.state, state, received.run_id, received.reminders),
    )


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
    terminated = WorkflowExecutionTerminated(
        id=received.after.last_event_id + 1,
        time_us=received.now_us,
        reason=reason,
        details=list(details),
        identity=identity,
    )
    return _ended(received, terminated, RunStatus.TERMINATED)


def time_out(
    state: State, run_id: str, owner: str, incoming: Sequence[Incoming], now_us: int, successor_id: str, *, whole: bool
) -> Step:
    """End a run that has had its time; its code is not asked, but the retry policy and the schedule are.

    Its unread signals go over to the next run; if there is none they become events. ``whole``: ``incoming`` is all
    that is unread.
    """
    assert state.started is not None
    due = [each for each in incoming if isinstance(each.message, RunTimeout)]
    at_us = max(now_us, state.last_time_us, *(each.due_us for each in due))
    retry_state, following = succession.after_failure(state.started, succession.TIMED_OUT, at_us)
    if succession.is_over_at(state.started, at_us):
        retry_state = RetryState.TIMEOUT
    unread = [each for each in incoming if isinstance(each.message, Signal | CancelRequest | Update)]
    received = receive(state, run_id, owner, [*due, *(unread if following is None else ())], at_us)
    timed_out = WorkflowExecutionTimedOut(
        id=received.after.last_event_id + 1,
        time_us=received.now_us,
        retry_state=retry_state,
        new_execution_run_id=successor_id if following is not None else "",
    )
    step = _ended(received, timed_out, RunStatus.TIMED_OUT)
    transition = structs.replace(
        step.transition,
        owner=owner,
        any_owner=False,
        refuse_unread=following is None and whole,
        successor=_successor(run_id, step.state, following),
    )
    return structs.replace(step, transition=transition, errands=errands.of_step(received.state, step.state, run_id, ()))


def _ended(
    received: Received, closing: WorkflowExecutionTerminated | WorkflowExecutionTimedOut, status: RunStatus
) -> Step:
    """A run that is closed without its code, once it has read what it was sent."""
    events = [*received.events, closing]
    state, run_id = received.state, received.run_id
    after = fold(state, events)
    reminders, over = errands.reminders(state, after, (), received.now_us, first_us=0)
    transition = Transition(
        run_id=run_id,
        last_event_id=state.last_event_id,
        any_owner=True,
        events=codec.batch(events),
        consumed=_consumed(received),
        messages=tuple(reminders),
        taken_back=tuple(over),
        replies=_replies([*received.answered, *_unread(received), *_cut_short(run_id, state)], received.now_us),
        status=status,
        closed_us=received.now_us,
    )
    return Step(transition=transition, state=after, events=events, command_events=[])


def is_too_long(received: Received) -> bool:
    """Has the run as many events as a run may have, and yet something to do?"""
    return received.task and received.state.last_event_id >= HISTORY_EVENTS_MAX


def terminate_too_long(received: Received, now_us: int) -> Step:
    """End a run whose history is as long as a history may be."""
    events = received.state.last_event_id
    reason = f"its history has {events:,} events, and may have {HISTORY_EVENTS_MAX:,}: continue as new before that"
    step = terminate(received.state, received.run_id, received.incoming, now_us, reason=reason)
    return structs.replace(step, transition=structs.replace(step.transition, finished=_finished(received)))


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
        update_id: UpdateAnswer(
            stage=UpdateStage.REJECTED, outcome=UpdateOutcome(failure=failure), run_id=received.run_id
        )
        for update_id, failure in rejections.items()
    }
    for command in commands:
        if isinstance(command, AcceptUpdate):
            answers[command.update_id] = UpdateAnswer(stage=UpdateStage.ACCEPTED, run_id=received.run_id)
        elif isinstance(command, CompleteUpdate):
            answers[command.update_id] = UpdateAnswer(
                stage=UpdateStage.COMPLETED, outcome=command.outcome, run_id=received.run_id
            )
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


def _admitted(updates: Iterable[UpdateRequest], last_event_id: int, now_us: int) -> list[HistoryEvent]:
    """The updates that came in as events, so that they are there when the code can run."""
    return [
        WorkflowExecutionUpdateAdmitted(id=id, time_us=now_us, request=request)
        for id, request in enumerate(updates, last_event_id + 1)
    ]


def _is_early(state: State) -> bool:
    """Is the run one that begins at its time (cron, retry, continued after a pause), and has not begun?"""
    return state.is_open and not state.has_task and state.last_event_id > 0 and succession.keeps_its_time(state.started)


def _shown(before: State, after: State) -> Shown | None:
    """Memo and search attributes, if they have changed."""
    if before.memo == after.memo and before.search_attributes == after.search_attributes:
        return None
    return Shown(memo=after.memo, search_attributes=after.search_attributes)


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


def _new_run(request: StartRequest, started: WorkflowExecutionStarted) -> NewRun:
    return structs.replace(
        _run_of(started),
        namespace=request.namespace,
        reuse_policy=request.reuse_policy,
        conflict_policy=request.conflict_policy,
        replaces=request.replaces,
    )


def _start_of(request: StartRequest | None, state: State) -> NewRun | None:
    """The start that goes with the first step of a run, which is in ``state`` after it."""
    return None if request is None or state.started is None else _new_run(request, state.started)


def _timeout_at_start(request: StartRequest | None, state: State) -> tuple[NewMessage, ...]:
    return () if request is None or state.started is None else succession.timeout_messages(state.started)


def _run_of(started: WorkflowExecutionStarted) -> NewRun:
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


def _task_scheduled_event(event_id: int, now_us: int, task_queue: str, timeout_us: int) -> WorkflowTaskScheduled:
    return WorkflowTaskScheduled(
        id=event_id, time_us=now_us, task_queue=task_queue, start_to_close_timeout_us=timeout_us
    )


def _task_events(state: State, now_us: int, owner: str, history_bytes: int = 0) -> list[HistoryEvent]:
    """WorkflowTaskScheduled unless one is pending, and WorkflowTaskStarted."""
    events: list[HistoryEvent] = []
    scheduled_id, next_id = state.task_scheduled, state.last_event_id + 1
    if not scheduled_id:
        scheduled_id = next_id
        events.append(_task_scheduled_event(next_id, now_us, state.task_queue, state.task_timeout_us))
        next_id += 1
    events.append(
        WorkflowTaskStarted(
            id=next_id,
            time_us=now_us,
            scheduled_event_id=scheduled_id,
            identity=owner,
            history_size_bytes=history_bytes,
            suggest_continue_as_new=growth.suggests(next_id, history_bytes),
        )
    )
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
