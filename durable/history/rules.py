"""Pure: a run's state, its due messages and the commands of its code → the transition to commit.

One step of a run is: `receive` (messages become events; is there a workflow task to do?), then the workflow code runs
on those events, then `complete` with its commands, or `park` when it could not run. Steps that need no workflow code
are in `beginning` and `ending`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from zlib import crc32

from durable.history import codec, errands, growth, succession
from durable.history.answering import COMMANDS, Draft
from durable.history.beginning import (
    StartRequest,
    shown,
    start_of,
    started_event,
    successor,
    task_scheduled_event,
    timeout_at_start,
)
from durable.history.commands import (
    CancelWorkflowExecution,
    ClosingCommand,
    Command,
    CompleteWorkflowExecution,
    ContinueAsNewWorkflowExecution,
    FailWorkflowExecution,
)
from durable.history.events import (
    HistoryEvent,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionUpdateAdmitted,
    WorkflowTaskCompleted,
    WorkflowTaskFailed,
    WorkflowTaskStarted,
)
from durable.history.local_activities import NO_REQUESTS, LocalRequests, asked_for, is_local
from durable.history.local_activities import request as request_local
from durable.history.messages import (
    ActivityOutcome,
    ErrandsDue,
    Query,
    QueryAnswer,
    RunTimeout,
    TimerDue,
    Update,
    UpdateAnswer,
    UpdateStage,
    WorkflowTaskDue,
)
from durable.history.reading import Seen, message_events
from durable.history.standalone import is_standalone, status_of_failure
from durable.history.state import State, fold
from durable.history.steps import REPLY_KEPT_US, Incoming, Received, Step, consumed, finished, replies
from durable.history.telling import tell_cut_short, update_answers
from durable.history.transition import (
    NewMessage,
    Transition,
)
from durable.history.values import (
    Failure,
    RunStatus,
    TaskFailedCause,
    UpdateRequest,
    WorkerVersion,
)

PARKED_RETRY_FIRST_US = 1_000_000
PARKED_RETRY_MAX_US = 600_000_000

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


def receive_start(request: StartRequest, run_id: str, owner: str, now_us: int) -> Received:
    """The first step of a run whose code runs at once, in the starter's own process: one commit instead of two."""
    started = started_event(request, run_id, now_us)
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
    state = fold(received.after, events[len(received.events) :])
    status = _status(closed, state)
    told: list[tuple[str, QueryAnswer | UpdateAnswer]] = [
        *answers,
        *received.answered,
        *update_answers(received, commands, rejections),
    ]
    if closed is not None:
        told += tell_cut_short(received.run_id, state)
    reminders, over = errands.reminders(received.state, state, received.reminders, draft.now_us)
    transition = Transition(
        run_id=received.run_id,
        last_event_id=received.state.last_event_id,
        owner=received.owner,
        any_owner=start is not None,
        start=start_of(start, state),
        events=codec.batch(events) if events else None,
        consumed=consumed(received),
        finished=finished(received),
        messages=(*draft.messages, *reminders, *timeout_at_start(start, state)),
        taken_back=(*draft.taken_back, *over),
        tasks=tuple(draft.tasks),
        cancelled_activities=tuple(draft.cancelled_activities),
        replies=replies(told, draft.now_us),
        new_owner=received.owner if received.state.is_open and closed is None else None,
        status=status,
        closed_us=draft.now_us if closed is not None else None,
        refuse_unread=draft.following is None,
        shown=shown(received.state, state),
        successor=successor(received.run_id, state, draft.following),
    )
    return Step(
        transition=transition,
        state=state,
        events=events,
        command_events=events[first_command:] if commands else [],
        errands=errands.of_step(received.state, state, received.run_id, received.reminders),
    )


def _status(closed: ClosingCommand | None, state: State) -> RunStatus:
    """How the run's row says that it stands after this command."""
    if closed is None:
        return RunStatus.RUNNING
    if isinstance(closed, FailWorkflowExecution) and state.started and is_standalone(state.started.workflow_type):
        return status_of_failure(closed.failure)
    return CLOSED_BY[type(closed)]


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
        start=start_of(start, state),
        events=codec.batch(events) if events else None,
        consumed=consumed(received),
        finished=finished(received),
        messages=(*messages, *reminders, *timeout_at_start(start, state)),
        taken_back=tuple(over),
        replies=replies([*answers, *received.answered], max(now_us, received.now_us)),
        new_owner=received.owner if received.state.is_open and not parked else None,
        parked=parked,
        deaths=SUSPICIOUS if kills else 0,
        shown=shown(received.state, state),
    )
    return Step(
        transition=transition,
        state=state,
        events=events,
        command_events=[],
        errands=errands.of_step(received.state, state, received.run_id, received.reminders),
    )


def _admitted(updates: Iterable[UpdateRequest], last_event_id: int, now_us: int) -> list[HistoryEvent]:
    """The updates that came in as events, so that they are there when the code can run."""
    return [
        WorkflowExecutionUpdateAdmitted(id=id, time_us=now_us, request=request)
        for id, request in enumerate(updates, last_event_id + 1)
    ]


def _is_early(state: State) -> bool:
    """Is the run one that begins at its time (cron, retry, continued after a pause), and has not begun?"""
    return state.is_open and not state.has_task and state.last_event_id > 0 and succession.keeps_its_time(state.started)


def _task_events(state: State, now_us: int, owner: str, history_bytes: int = 0) -> list[HistoryEvent]:
    """WorkflowTaskScheduled unless one is pending, and WorkflowTaskStarted."""
    events: list[HistoryEvent] = []
    scheduled_id, next_id = state.task_scheduled, state.last_event_id + 1
    if not scheduled_id:
        scheduled_id = next_id
        events.append(task_scheduled_event(next_id, now_us, state.task_queue, state.task_timeout_us))
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
