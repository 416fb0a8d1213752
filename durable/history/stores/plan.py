"""Pure: which writes of a batch win, given what the database holds, and the rows that the winners write.

A store reads what `Needs` names, under its write lock, into a `Seen`; `decide` then answers every write and collects
rows. A row is a tuple in the order of the columns of its table.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from durable.history import admission, attempts, codec
from durable.history.messages import ANYBODY, OUTLIVES, MessageKind
from durable.history.transition import (
    OUTSIDE,
    ActivityControl,
    ActivityReport,
    ActivityTask,
    AttemptToken,
    Beat,
    Committed,
    Detach,
    NewMessage,
    NewRun,
    Outcome,
    Refusal,
    Refused,
    Retry,
    RunInfo,
    Send,
    Shown,
    Steer,
    Transition,
    Write,
)
from durable.history.values import NAMESPACE_BYTES_MAX, RunStatus, WorkflowExecution, unstorable
from durable.history.visibility import indexing
from durable.history.visibility.attributes import AttributeType, kind_of

Row = tuple[object, ...]
TaskKey = tuple[str, int]
WorkflowKey = tuple[str, str]
Types = dict[tuple[str, str], AttributeType]
"""Of search attributes, by namespace and name."""


@dataclass(slots=True)
class Needs:
    """What has to be read before a batch of transitions can be decided."""

    runs: list[str] = field(default_factory=list[str])
    starts: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """Workflow ids by namespace."""
    requests: list[str] = field(default_factory=list[str])
    messages: list[int] = field(default_factory=list[int])
    attempts: list[TaskKey] = field(default_factory=list[TaskKey])
    closing: list[str] = field(default_factory=list[str])
    attributes: set[str] = field(default_factory=set[str])
    """Names of search attributes."""
    workers: bool = False


@dataclass(slots=True)
class Seen:
    """What the database holds of that. Attempts: (owner, attempt); messages: (run id, due; 0: at any time)."""

    now_us: int
    runs: dict[str, RunInfo] = field(default_factory=dict[str, RunInfo])
    latest: dict[WorkflowKey, RunInfo] = field(default_factory=dict[WorkflowKey, RunInfo])
    requests: dict[tuple[str, str, str], RunInfo] = field(default_factory=dict[tuple[str, str, str], RunInfo])
    messages: dict[int, tuple[str, int]] = field(default_factory=dict[int, tuple[str, int]])
    attempts: dict[TaskKey, tuple[str | None, int]] = field(default_factory=dict[TaskKey, tuple[str | None, int]])
    unread: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    """Messages that hold a run open, by run id."""
    types: Types = field(default_factory=dict[tuple[str, str], AttributeType])
    alive: set[str] = field(default_factory=set[str])


@dataclass(slots=True)
class Plan:
    """The rows that the winners write, in the order of these fields."""

    known: Types
    """The types of search attributes: those that are there, and those that are written."""
    new_runs: list[Row] = field(default_factory=list[Row])
    moved_runs: list[Row] = field(default_factory=list[Row])
    """(owner, last_event_id, history_bytes, status, closed_us, parked, deaths, run_id)"""
    shown: list[Row] = field(default_factory=list[Row])
    """(memo, search_attributes, run_id)"""
    forgotten: list[Row] = field(default_factory=list[Row])
    """(run_id): its search attributes are written anew."""
    types: list[Row] = field(default_factory=list[Row])
    attributes: list[Row] = field(default_factory=list[Row])
    history: list[Row] = field(default_factory=list[Row])
    consumed: list[Row] = field(default_factory=list[Row])
    """(message id)"""
    finished: list[Row] = field(default_factory=list[Row])
    """(run_id, scheduled_event_id)"""
    closed: list[Row] = field(default_factory=list[Row])
    """(run_id): its tasks go, and its messages but those that outlive it."""
    handed_on: list[Row] = field(default_factory=list[Row])
    """(new run id, its task queue, run id): what holds the run open in its inbox goes over."""
    timers: list[Row] = field(default_factory=list[Row])
    """(run_id, key)"""
    tasks: list[Row] = field(default_factory=list[Row])
    cancels: list[tuple[RunInfo | NewRun, str, int, NewMessage]] = field(
        default_factory=list[tuple[RunInfo | NewRun, str, int, NewMessage]]
    )
    """Decided after ``tasks`` are there: whose, which task, what its outcome is when nobody works on it."""
    messages: list[Row] = field(default_factory=list[Row])
    replies: list[Row] = field(default_factory=list[Row])


def turn(write: Write) -> int:
    """When a write of a batch is decided: transitions first, then reports, then sends."""
    match write:
        case Transition():
            return 0
        case ActivityReport():
            return 1
        case Send():
            return 2


def concerns_others(write: Write, outcome: Outcome) -> bool:
    """Is it written, and more than a heartbeat?"""
    if not isinstance(outcome, Committed) or outcome.existing:
        return False
    return not (isinstance(write, ActivityReport) and isinstance(write.what, Beat))


def needs(transitions: Iterable[Transition]) -> Needs:
    wanted = Needs()
    for transition in transitions:
        _add_needs(transition, wanted)
    return wanted


def _add_needs(transition: Transition, wanted: Needs) -> None:
    start = transition.start
    if start is None:
        wanted.runs.append(transition.run_id)
        if transition.status is not RunStatus.RUNNING and transition.refuse_unread:
            wanted.closing.append(transition.run_id)
    else:
        wanted.starts.setdefault(start.namespace, []).append(start.workflow_id)
        wanted.requests.append(start.request_id)
        if start.replaces is not None:
            _add_needs(start.replaces, wanted)
    if transition.consumed:
        wanted.messages.extend(transition.consumed)
    for token in transition.finished:
        wanted.attempts.append((token.run_id, token.scheduled_event_id))
    if transition.new_owner is not None or transition.tasks:
        wanted.workers = True
    if transition.shown is not None:
        wanted.attributes.update(transition.shown.search_attributes)
    if transition.successor is not None and transition.successor.shown is not None:
        wanted.attributes.update(transition.successor.shown.search_attributes)


def namespaces(wanted: Needs, seen: Seen) -> list[str]:
    """Of the runs whose search attributes are written."""
    return list({run.namespace for run in seen.runs.values()} | wanted.starts.keys())


def types(rows: Iterable[Sequence[Any]]) -> Types:
    """Rows of search attributes' types."""
    return {(namespace, name): AttributeType(kind) for namespace, name, kind in rows}


def decide(transitions: Sequence[Transition], seen: Seen) -> tuple[list[Outcome], Plan]:
    """One outcome per transition, in order, and what the winners write."""
    plan = Plan(known=seen.types)
    return [_decide_one(transition, seen, plan) for transition in transitions], plan


def _decide_one(transition: Transition, seen: Seen, plan: Plan) -> Outcome:
    if transition.start is not None:
        return _decide_start(transition, transition.start, seen, plan)
    run = seen.runs.get(transition.run_id)
    refused = refusal(transition, run, seen)
    if refused is not None:
        return refused
    assert run is not None  # refused as NOT_FOUND otherwise
    return _go_on(transition, run, plan)


def _go_on(transition: Transition, run: RunInfo, plan: Plan) -> Outcome:
    successor = transition.successor
    if successor is None:
        _move(transition, run, plan)
        return Committed(run_id=transition.run_id)
    # The open run has the latest generation of its workflow id, and is ours until the commit.
    start = _start_of(successor, run)
    if (refused := _cannot_be_born(successor, start)) is not None:
        return refused
    plan.handed_on.append((successor.run_id, start.task_queue, run.run_id))
    _move(transition, run, plan)
    _begin(successor, start, run.generation + 1, plan)
    return Committed(run_id=transition.run_id)


def _decide_start(transition: Transition, start: NewRun, seen: Seen, plan: Plan) -> Outcome:
    key = (start.namespace, start.workflow_id)
    verdict = admission.admit(start, seen.latest.get(key), seen.requests.get((*key, start.request_id)))
    match verdict:
        case admission.Existing(run):
            return Committed(run_id=run.run_id, existing=True)
        case admission.Denied(run):
            return Refused(reason=Refusal.IN_USE, run=run)
        case admission.Begin() | admission.Replace():
            pass
    refused = _cannot_be_born(transition, start) or _not_as_held(transition, seen)
    if refused is not None:
        return refused
    if isinstance(verdict, admission.Replace):
        ending = start.replaces
        if ending is None or ending.run_id != verdict.run.run_id:
            return Refused(reason=Refusal.IN_USE, run=verdict.run, detail="the open run has to be ended first")
        if (why := refusal(ending, verdict.run, seen)) is not None:
            return Refused(reason=Refusal.IN_USE, run=verdict.run, detail=f"it can't be ended: {why.reason.value}")
        if ending.status is RunStatus.RUNNING:
            return Refused(reason=Refusal.INVALID, run=verdict.run, detail="`replaces` does not close the open run")
        _move(ending, verdict.run, plan)
    successor = transition.successor
    if successor is not None and (refused := _cannot_be_born(successor, _start_of(successor, start))) is not None:
        return refused
    _begin(transition, start, verdict.generation, plan)
    if successor is not None:
        _begin(successor, _start_of(successor, start), verdict.generation + 1, plan)
    return Committed(run_id=transition.run_id)


def _start_of(successor: Transition, run: RunInfo | NewRun) -> NewRun:
    """The start of the run that follows ``run``: in its namespace."""
    assert successor.start is not None
    return msgspec.structs.replace(successor.start, namespace=run.namespace)


def _cannot_be_born(transition: Transition, start: NewRun) -> Refused | None:
    for why in (
        unstorable("a namespace", start.namespace, NAMESPACE_BYTES_MAX),
        unstorable("a workflow id", start.workflow_id),
        unstorable("a workflow type", start.workflow_type),
        unstorable("a task queue", start.task_queue),
        unstorable("a request id", start.request_id),
    ):
        if why is not None:
            return Refused(reason=Refusal.INVALID, detail=why)
    return _gap(transition, 0)


def _gap(transition: Transition, last_event_id: int) -> Refused | None:
    """Ids count 1, 2, 3 …: a batch that leaves one out, or is empty, is never written."""
    events = transition.events
    if events is None or (events.first_id == last_event_id + 1 and events.count > 0):
        return None
    detail = f"run {transition.run_id} has {last_event_id} events: {events.count} from {events.first_id} do not follow"
    return Refused(reason=Refusal.INVALID, detail=detail)


def refusal(transition: Transition, run: RunInfo | None, seen: Seen) -> Refused | None:
    """Why a transition of a run that exists does not hold."""
    if run is None:
        return Refused(reason=Refusal.NOT_FOUND, detail=f"no run {transition.run_id}")
    closing = transition.status is not RunStatus.RUNNING
    if run.status is not RunStatus.RUNNING and (transition.events is not None or closing):
        return Refused(reason=Refusal.CLOSED, run=run)
    if run.last_event_id != transition.last_event_id or not (transition.any_owner or run.owner == transition.owner):
        return Refused(reason=Refusal.FENCED, run=run)
    refused = _gap(transition, run.last_event_id) or _not_as_held(transition, seen)
    if refused is not None:
        return refused
    if closing and transition.refuse_unread and not set(seen.unread.get(run.run_id, ())).issubset(transition.consumed):
        return Refused(reason=Refusal.UNREAD, run=run)
    return None


def _not_as_held(transition: Transition, seen: Seen) -> Refused | None:
    """Consumed messages, finished attempts and new owners must be as the transition has them."""
    run_id = transition.run_id
    for message_id in transition.consumed:
        owner_run, due_us = seen.messages.get(message_id, ("", 0))
        if owner_run != run_id:
            return Refused(reason=Refusal.MISSING, detail=f"message {message_id} is not in the inbox of run {run_id}")
        if due_us > seen.now_us:
            early_us = due_us - seen.now_us
            return Refused(reason=Refusal.MISSING, detail=f"message {message_id} falls due in {early_us} µs only")
    if len(set(transition.consumed)) != len(transition.consumed):
        return Refused(reason=Refusal.INVALID, detail=f"run {run_id} consumes a message twice in one transition")
    for token in transition.finished:
        held = seen.attempts.get((token.run_id, token.scheduled_event_id))
        if held != (token.owner, token.attempt) or token.run_id != run_id:
            return Refused(reason=Refusal.MISSING, detail=_not_this_attempt(token))
    for name in (transition.new_owner, *(task.owner for task in transition.tasks)):
        if name is not None and name not in seen.alive:
            detail = f"worker {name} has been declared dead, or has handed everything back"
            return Refused(reason=Refusal.FENCED, run=seen.runs.get(run_id), detail=detail)
    return None


def _not_this_attempt(token: AttemptToken) -> str:
    holder = "nobody" if token.owner is None else f"worker {token.owner}"
    what = f"activity {token.scheduled_event_id} of run {token.run_id}"
    return f"attempt {token.attempt} of {what}, held by {holder}, is over, or another one has begun"


def _begin(transition: Transition, start: NewRun, generation: int, plan: Plan) -> None:
    events = transition.events
    closed = transition.status is not RunStatus.RUNNING
    kind = int(kind_of(start.workflow_type))
    plan.new_runs.append(
        (
            transition.run_id,
            start.namespace,
            start.workflow_id,
            generation,
            start.workflow_type,
            start.task_queue,
            int(transition.status),
            None if closed else transition.new_owner,
            0 if events is None else events.count,
            0 if events is None else len(events.data),
            start.started_us,
            transition.closed_us,
            start.first_execution_run_id,
            start.request_id,
            None if closed else transition.parked,
            transition.deaths,
            start.execution_us or start.started_us,
            *_execution_row(start.parent),
            *_execution_row(start.root),
            *_shown_row(transition.shown),
            kind,
        )
    )
    if transition.shown is not None:
        _index(transition.shown, (transition.run_id, start.namespace, kind, start.started_us), plan)
    _write_rest(transition, start, plan)


def _execution_row(execution: WorkflowExecution | None) -> Row:
    return (None, None) if execution is None else (execution.workflow_id, execution.run_id)


def _shown_row(shown: Shown | None) -> Row:
    """Memo and search attributes; nothing is stored of those that are empty."""
    values = (None, None) if shown is None else (shown.memo, shown.search_attributes)
    return tuple(codec.encode(each) if each else None for each in values)


def _index(shown: Shown, run: tuple[str, str, int, int], plan: Plan) -> None:
    """The rows that the run (its id, namespace, kind and start) is found by."""
    run_id, namespace, kind, started_us = run
    for name, value in shown.search_attributes.items():
        found = indexing.read(value)
        if found is None or not indexing.is_name(name):
            continue
        registered = plan.known.get((namespace, name))
        if registered is None:
            plan.known[namespace, name] = registered = found.type
            plan.types.append((namespace, name, int(registered)))
        for place, entry in enumerate(indexing.entries(found.value, registered)):
            plan.attributes.append((run_id, name, place, namespace, kind, started_us, *entry))


def _move(transition: Transition, run: RunInfo, plan: Plan) -> None:
    events = transition.events
    last_event_id = run.last_event_id if events is None else run.last_event_id + events.count
    owner, status, closed_us, parked = transition.new_owner, transition.status, transition.closed_us, transition.parked
    deaths = transition.deaths
    if run.status is not RunStatus.RUNNING:  # a query on a closed run: closed is closed
        owner, status, closed_us, parked, deaths = None, run.status, run.closed_us, None, run.deaths
    elif status is not RunStatus.RUNNING:
        owner = parked = None
        plan.closed.append((run.run_id,))
    elif events is None and parked is None:
        parked = run.parked  # code that goes on leaves events; a question, or a stale message, ends no parking
    if events is not None or (owner, status, parked, deaths) != (run.owner, run.status, run.parked, run.deaths):
        size = run.history_bytes + (0 if events is None else len(events.data))
        plan.moved_runs.append((owner, last_event_id, size, int(status), closed_us, parked, deaths, run.run_id))
    if transition.shown is not None:
        row = _shown_row(transition.shown)
        plan.shown.append((*row, run.run_id))
        if row[1] != run.search_attributes:
            if run.search_attributes is not None:
                plan.forgotten.append((run.run_id,))
            kind = int(kind_of(run.workflow_type))
            _index(transition.shown, (run.run_id, run.namespace, kind, run.started_us), plan)
    for message_id in transition.consumed:
        plan.consumed.append((message_id,))
    for token in transition.finished:
        plan.finished.append((token.run_id, token.scheduled_event_id))
    for key in transition.taken_back:
        plan.timers.append((run.run_id, key))
    _write_rest(transition, run, plan)


def _write_rest(transition: Transition, run: RunInfo | NewRun, plan: Plan) -> None:
    """What a transition adds. One that closes its run leaves nothing behind that the run would have to read."""
    run_id = transition.run_id
    events = transition.events
    open_after = transition.status is RunStatus.RUNNING and (isinstance(run, NewRun) or run.status is RunStatus.RUNNING)
    if events is not None:
        plan.history.append((run_id, events.first_id, events.count, events.data))
    for message in transition.messages:
        if open_after or message.kind in OUTLIVES:
            plan.messages.append(message_row(message, run.namespace, run.task_queue, run_id))
    for reply in transition.replies:
        plan.replies.append((reply.id, reply.body, reply.expires_us))
    if not open_after:
        return
    for task in transition.tasks:
        plan.tasks.append(task_row(task, run.namespace))
    for cancel in transition.cancelled_activities:
        plan.cancels.append((run, run_id, cancel.scheduled_event_id, cancel.outcome))


def message_row(message: NewMessage, namespace: str, task_queue: str, run_id: str) -> Row:
    queue = ANYBODY if message.kind is MessageKind.RUN_TIMEOUT else task_queue
    return (namespace, queue, run_id, int(message.kind), message.key, message.due_us, message.body)


def taken_row(task: ActivityTask) -> Row:
    """A task as its new owner holds it."""
    return (task.owner, task.attempt, task.started_us, task.deadline_us, task.run_id, task.scheduled_event_id)


def task_row(task: ActivityTask, namespace: str) -> Row:
    return (
        task.run_id,
        task.scheduled_event_id,
        namespace,
        task.task_queue,
        task.workflow_task_queue,
        task.due_us,
        task.deadline_us,
        task.owner,
        task.attempt,
        task.started_us,
        task.cancel_requested,
        task.lost,
        codec.encode(task.spec),
        codec.encode(task.progress),
        attempts.priority(task.spec, task.control),
        codec.encode_control(task.control),
    )


def waiting_row(again: Retry, control: ActivityControl, key: TaskKey) -> Row:
    """A task that waits for its next attempt; of what was asked of it only a pause remains."""
    rest = ActivityControl(pause=control.pause)
    progress = codec.encode(again.progress)
    return (again.attempt, again.due_us, again.deadline_us, progress, codec.encode_control(rest), *key)


def handed_back_row(task: ActivityTask, now_us: int) -> Row:
    """A task that its worker gives back as it stops, and whose code may have begun."""
    again = attempts.restarted(attempts.handed_back(attempts.in_doubt(task), now_us), task.control)
    return waiting_row(again, task.control, (task.run_id, task.scheduled_event_id))


class HeldTask(msgspec.Struct, frozen=True, gc=False):
    """What a report has to know of its task's row."""

    owner: str | None
    attempt: int
    cancel_requested: bool
    lost: bool
    namespace: str
    workflow_task_queue: str
    control: ActivityControl
    due_us: int

    def is_as(self, token: AttemptToken) -> bool:
        """Is it the attempt that the token names, or waiting as it was then?"""
        seen = self.due_us if self.owner is None else 0
        return (self.owner, self.attempt, seen) == (token.owner, token.attempt, token.due_us)


def finishable(held: dict[TaskKey, HeldTask]) -> dict[TaskKey, tuple[str | None, int]]:
    """The attempts that a transition may end itself, as `Seen` has them.

    How one ends whose activity is to be reset, its report knows, which also says what happens instead.
    """
    return {key: (task.owner, task.attempt) for key, task in held.items() if not task.control.reset}


@dataclass(slots=True)
class ReportPlan:
    """The rows that reports write."""

    beats: list[Row] = field(default_factory=list[Row])
    """(deadline_us, progress, run_id, scheduled_event_id)"""
    detached: list[Row] = field(default_factory=list[Row])
    """(owner, deadline_us, progress, run_id, scheduled_event_id)"""
    steered: list[Row] = field(default_factory=list[Row])
    """(priority, control, run_id, scheduled_event_id)"""
    retries: list[Row] = field(default_factory=list[Row])
    """(attempt, due_us, deadline_us, progress, control, run_id, scheduled_event_id)"""
    finished: list[Row] = field(default_factory=list[Row])
    messages: list[Row] = field(default_factory=list[Row])


def decide_reports(
    reports: Sequence[ActivityReport], held: dict[TaskKey, HeldTask], now_us: int
) -> tuple[list[Outcome], ReportPlan]:
    """One outcome per report, in order; ``held`` are the rows of their tasks, and is used up."""
    plan = ReportPlan()
    return [_decide_report(report, held, now_us, plan) for report in reports], plan


def _decide_report(report: ActivityReport, held: dict[TaskKey, HeldTask], now_us: int, plan: ReportPlan) -> Outcome:
    token = report.token
    key = (token.run_id, token.scheduled_event_id)
    task = held.get(key)
    if task is None or not task.is_as(token):
        return Refused(reason=Refusal.MISSING, detail=_not_this_attempt(token))
    match report.what:
        case Beat() | Detach() if task.lost:
            return Refused(reason=Refusal.MISSING, detail=_not_this_attempt(token))
        case Beat(deadline_us=deadline_us, progress=progress):
            plan.beats.append((deadline_us, codec.encode(progress), *key))
        case Detach(deadline_us=deadline_us, progress=progress):
            plan.detached.append((OUTSIDE, deadline_us, codec.encode(progress), *key))
            held[key] = msgspec.structs.replace(task, owner=OUTSIDE)
        case Steer() if task.cancel_requested:
            pass
        case Steer(control=control, priority=priority, again=again):
            held[key] = task = msgspec.structs.replace(task, control=control)
            plan.steered.append((priority, codec.encode_control(control), *key))
            if again is not None:
                _wait(held, key, attempts.restarted(again, control), plan)
        case NewMessage() if report.if_reset is not None and task.control.reset:
            _try_again(held, key, report.if_reset, now_us, plan)
        case Retry() as again:
            _try_again(held, key, again, now_us, plan)
        case NewMessage() as outcome:
            plan.finished.append(key)
            plan.messages.append(message_row(outcome, task.namespace, task.workflow_task_queue, token.run_id))
            del held[key]
    return Committed(
        run_id=token.run_id,
        cancel_requested=task.cancel_requested,
        paused=task.control.pause is not None,
        reset=task.control.reset,
    )


def _try_again(held: dict[TaskKey, HeldTask], key: TaskKey, again: Retry, now_us: int, plan: ReportPlan) -> None:
    """The attempt under way is over, and another one follows."""
    task = held[key]
    # Whoever takes a task whose cancellation is asked for learns of it then: so that is at once.
    if task.cancel_requested or task.control.reset:
        again = msgspec.structs.replace(again, due_us=min(again.due_us, now_us))
    _wait(held, key, attempts.restarted(again, task.control), plan)


def _wait(held: dict[TaskKey, HeldTask], key: TaskKey, again: Retry, plan: ReportPlan) -> None:
    task = held[key]
    plan.retries.append(waiting_row(again, task.control, key))
    rest = ActivityControl(pause=task.control.pause)
    held[key] = msgspec.structs.replace(task, owner=None, attempt=again.attempt, control=rest, due_us=again.due_us)


def decide_send(send: Send, run: RunInfo | None) -> Outcome | Row:
    """The row of the message, or why it can't be sent; ``run`` is the one that it names."""
    if (
        run is None
        or run.namespace != send.namespace
        or send.workflow_id not in ("", run.workflow_id)
        or send.first_execution_run_id not in (None, run.first_execution_run_id)
    ):
        wanted = f"run {send.run_id}" if send.run_id else "run"
        detail = f"no {wanted} of workflow {send.workflow_id!r} in namespace {send.namespace!r}"
        return Refused(reason=Refusal.NOT_FOUND, detail=detail)
    if run.status is not RunStatus.RUNNING and send.message.kind not in OUTLIVES:
        return Refused(reason=Refusal.CLOSED, run=run)
    return message_row(send.message, run.namespace, run.task_queue, run.run_id)
