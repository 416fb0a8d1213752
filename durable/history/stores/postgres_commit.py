"""A commit to PostgreSQL: what it decides on is locked and read, decided, and the winners' rows written.

Nobody is waited for. What somebody else has locked is answered by None: to be tried again, alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, TypeVar

from durable.history.stores import plan
from durable.history.stores.postgres_connection import Asking, Connection, Question, columns
from durable.history.stores.postgres_errors import BAD_DATA, HELD_UP
from durable.history.stores.postgres_reads import latest_runs, runs_by_id
from durable.history.stores.postgres_retry import Outrun
from durable.history.stores.postgres_sql import statements
from durable.history.stores.postgres_together import write_together
from durable.history.stores.sql import held_task, run_info
from durable.history.transition import (
    ActivityReport,
    Committed,
    Outcome,
    Refusal,
    Refused,
    Send,
    Transition,
    Write,
)
from durable.history.values import RunStatus
from durable.history.visibility.attributes import AttributeType

Tried = Outcome | None
Indexed = tuple[int, Write]
W = TypeVar("W", bound=Write)


async def commit(db: Connection, writes: Sequence[Write], now_us: Callable[[], int]) -> list[Tried]:
    """One transaction on a held connection; one outcome per write, in order; None for what is held up."""
    # Transitions, then reports, then sends: as if they had come in this order, whatever a bisection does.
    ordered = sorted(enumerate(writes), key=lambda indexed: plan.turn(indexed[1]))
    outcomes: dict[int, Tried] = {}
    async with db.transaction():
        at_us = now_us()
        try:
            await _write_all(db, ordered, at_us, outcomes)
        except (HELD_UP, *BAD_DATA):
            # A savepoint around every batch would cost two round trips; data errors are rare.
            await db.begin_again()
            await apply(db, ordered, at_us, outcomes)
    return [outcomes[place] for place in range(len(writes))]


async def unpark(
    db: Connection, namespace: str, task_queues: Sequence[str], worker_id: str, now_us: Callable[[], int]
) -> int:
    """Make the parked runs of these queues due now, for this worker first; how many."""
    sql = statements()
    unparked: set[str] = set()
    async with db.writing():
        due_us = now_us()
        if not await db.read(sql.lock.workers, [worker_id]):
            return 0  # it has been declared dead: its next claim tells it
        for queue in task_queues:
            parked = [row[0] for row in await db.read(sql.own.parked_runs, namespace, queue)]
            unparked.update(row[0] for row in await db.read(sql.own.unpark, parked, due_us))
        await db.write_many(sql.claim_runs.take_run, [(worker_id, run_id) for run_id in unparked])
    return len(unparked)


async def add_attribute_types(db: Connection, namespace: str, types: Mapping[str, AttributeType]) -> None:
    rows = [(namespace, name, int(kind)) for name, kind in sorted(types.items())]
    async with db.writing():
        await db.write_many(statements().commit_attributes.insert_type, rows)


async def apply(db: Asking, writes: Sequence[Indexed], now_us: int, outcomes: dict[int, Tried]) -> None:
    """Write all that hold; an error halves the batch, until its culprit is alone."""
    await db.say("SAVEPOINT batch")
    try:
        await _write_all(db, writes, now_us, outcomes)
    except (HELD_UP, *BAD_DATA) as error:
        await db.say("ROLLBACK TO batch; RELEASE batch")
        if len(writes) == 1:
            held_up = isinstance(error, HELD_UP)
            detail = f"{type(error).__name__}: {error}"
            outcomes[writes[0][0]] = None if held_up else Refused(reason=Refusal.INVALID, detail=detail)
            return
        middle = len(writes) // 2
        await apply(db, writes[:middle], now_us, outcomes)
        await apply(db, writes[middle:], now_us, outcomes)
    else:
        await db.say("RELEASE batch")


async def _write_all(db: Asking, writes: Sequence[Indexed], now_us: int, outcomes: dict[int, Tried]) -> None:
    transitions = [(place, write) for place, write in writes if isinstance(write, Transition)]
    reports = [(place, write) for place, write in writes if isinstance(write, ActivityReport)]
    sends = [(place, write) for place, write in writes if isinstance(write, Send)]
    if transitions:
        await _write_transitions(db, transitions, now_us, outcomes)
    if reports:
        await _write_reports(db, reports, now_us, outcomes)
    if sends:
        await _write_sends(db, sends, outcomes)


def _free(writes: Iterable[tuple[int, W]], outcomes: dict[int, Tried], held: Callable[[W], bool]) -> dict[int, W]:
    """The writes that nobody holds up, by place; the others have to be tried again."""
    free: dict[int, W] = {}
    for place, write in writes:
        if held(write):
            outcomes[place] = None
        else:
            free[place] = write
    return free


# Transitions. -----------------------------------------------------------------------------------------------------


async def _write_transitions(
    db: Asking, transitions: Sequence[tuple[int, Transition]], now_us: int, outcomes: dict[int, Tried]
) -> None:
    wanted = plan.needs(transition for _, transition in transitions)
    closing = {each.run_id: each for _, transition in transitions for each in _ends(transition)}
    looked = await _look(db, wanted, [transition for _, transition in transitions], closing, now_us)
    seen = looked.seen

    def is_held_up(transition: Transition) -> bool:
        runs = {transition.run_id} if transition.start is None else {each.run_id for each in _ends(transition)}
        tasks = {(token.run_id, token.scheduled_event_id) for token in transition.finished}
        return not (runs.isdisjoint(looked.foreign_runs) and tasks.isdisjoint(looked.foreign_tasks))

    free = _free(transitions, outcomes, is_held_up)
    if wanted.attributes:
        values = (plan.namespaces(wanted, seen), list(wanted.attributes))
        seen.types = plan.types(await db.read(statements().commit_attributes.types, *values))
    decided, rows = plan.decide(list(free.values()), seen)
    closed = set(rows.closed)
    tidy = [end for run_id, end in closing.items() if (run_id,) in closed and run_id not in looked.littered]
    await _write_plan(db, rows, tidy)
    outcomes.update(zip(free, decided, strict=True))


def _ends(transition: Transition) -> list[Transition]:
    """The transition that closes a run which is there already: this one, or the one that a start brings along."""
    if transition.start is not None:
        return [] if transition.start.replaces is None else [transition.start.replaces]
    return [transition] if transition.status is not RunStatus.RUNNING else []


@dataclass(slots=True)
class _Looked:
    """What is ours until the commit, as it is now, and what somebody else holds."""

    seen: plan.Seen
    foreign_runs: set[str]
    foreign_tasks: set[plan.TaskKey]
    littered: set[str]
    """Runs that are to be closed, and have tasks or messages left that would outlive them."""


async def _look(
    db: Asking,
    wanted: plan.Needs,
    transitions: Sequence[Transition],
    closing: dict[str, Transition],
    now_us: int,
) -> _Looked:
    """What has to be known, in one round trip. What may have changed before its run was locked, the write looks at
    again: starts of the same workflow, consumed messages, what a closed run leaves behind."""
    sql = statements()
    seen = plan.Seen(now_us=now_us)
    questions: list[Question] = []
    takers: list[Callable[[list[Sequence[Any]]], None]] = []

    def ask(statement: str, values: Sequence[object], take: Callable[[list[Sequence[Any]]], None]) -> None:
        questions.append((statement, values))
        takers.append(take)

    def take_runs(rows: list[Sequence[Any]]) -> None:
        seen.runs.update((row[0], run_info(row)) for row in rows)

    def take_latest(namespace: str, rows: list[Sequence[Any]]) -> None:
        seen.latest.update(((namespace, row[2]), run_info(row)) for row in rows)

    def take_requests(rows: list[Sequence[Any]]) -> None:
        for run in map(run_info, rows):
            seen.requests[run.namespace, run.workflow_id, run.request_id] = run

    def take_messages(rows: list[Sequence[Any]]) -> None:
        seen.messages.update((message_id, (run_id, due_us)) for message_id, run_id, due_us in rows)

    to_close = [run_id for run_id in wanted.runs if run_id in closing]
    to_move = [run_id for run_id in wanted.runs if run_id not in closing]
    held: dict[plan.TaskKey, plan.HeldTask] = {}
    littered: set[str] = set()
    alive: set[str] = seen.alive
    if to_close:
        ask(sql.lock.runs_to_close, [to_close], take_runs)
        ask(sql.own.littered, _left_of(closing.values()), lambda rows: littered.update(row[0] for row in rows))
    if to_move:
        ask(sql.lock.runs_to_move, [to_move], take_runs)
    if wanted.attempts:
        ask(sql.lock.tasks, columns(wanted.attempts), lambda rows: held.update(map(held_task, rows)))
    for namespace, workflow_ids in wanted.starts.items():
        ask(sql.own.latest_runs, [workflow_ids, namespace], partial(take_latest, namespace))
    if wanted.requests:
        ask(sql.commit.runs_by_request, [wanted.requests], take_requests)
    if wanted.messages:
        ask(sql.commit.messages_by_id, [wanted.messages], take_messages)
    if wanted.workers:
        both = [each for transition in transitions for each in (transition, *_ends(transition))]
        names = {each.new_owner for each in both} | {task.owner for each in both for task in each.tasks}
        workers = [name for name in names if name is not None]
        ask(sql.lock.workers, [workers], lambda rows: alive.update(row[0] for row in rows))
    for take, rows in zip(takers, await db.read_all(questions), strict=True):
        take(rows)

    missing = [run_id for run_id in wanted.runs if run_id not in seen.runs]
    foreign_runs = set(await runs_by_id(db, missing))
    foreign_tasks = await _foreign_tasks(db, [key for key in wanted.attempts if key not in held])
    seen.attempts = plan.finishable(held)
    unread = [run_id for run_id in wanted.closing if run_id in littered]
    if unread:  # now that no more can come
        for run_id, message_id in await db.read(sql.commit.unread, unread):
            seen.unread.setdefault(run_id, []).append(message_id)
    return _Looked(seen, foreign_runs, foreign_tasks, littered)


def _left_of(closing: Iterable[Transition]) -> list[list[object]]:
    """The runs that they close, and how many tasks and messages of each they take with them."""
    return columns([(each.run_id, len(each.finished), len(each.consumed)) for each in closing])


async def _lock_tasks(
    db: Asking, keys: Sequence[plan.TaskKey]
) -> tuple[dict[plan.TaskKey, plan.HeldTask], set[plan.TaskKey]]:
    """The tasks that are ours until the commit, as they are now; and the keys of those that somebody else holds."""
    tasks = dict(map(held_task, await db.read(statements().lock.tasks, *columns(keys))))
    return tasks, await _foreign_tasks(db, [key for key in keys if key not in tasks])


async def _foreign_tasks(db: Asking, missing: Sequence[plan.TaskKey]) -> set[plan.TaskKey]:
    """Of tasks that we have not got hold of: those that are there."""
    if not missing:
        return set()
    return {(row[0], row[1]) for row in await db.read(statements().own.tasks_there, *columns(missing))}


async def _write_plan(db: Asking, rows: plan.Plan, tidy: Sequence[Transition]) -> None:
    """``tidy`` are the transitions that close a run and leave nothing of it behind, unless something has come since."""
    sql = statements()
    # In one order for all, so that two who start the same workflows don't wait for each other.
    new_runs = sorted(rows.new_runs, key=lambda row: (row[1], row[2]))
    writes: list[Question] = [
        (statement, columns(group))
        for statement, group in (
            (sql.commit.update_run, rows.moved_runs),
            (sql.commit.insert_history, rows.history),
            (sql.commit_tasks.delete_task, rows.finished),
            (sql.commit_tasks.insert_task, rows.tasks),
            (sql.commit.insert_message, rows.messages),
            (sql.own.new_runs, new_runs),
            (sql.own.consumed, rows.consumed),
        )
        if group
    ]
    expected = [len(group) for group in (new_runs, rows.consumed) if group]
    if tidy:
        writes.append((sql.own.littered, _left_of(tidy)))
        expected.append(0)
    if await _write(db, writes) != expected:
        raise Outrun("what this was decided on has changed: a start of the same workflow id, or a message")
    await db.write_many(sql.commit.update_shown, rows.shown)
    await _write_attributes(db, rows)
    done = {each.run_id for each in tidy}
    untidy = [row for row in rows.closed if row[0] not in done]
    # The tasks first: an outcome whose report was under way is in the inbox when its task is free to be deleted.
    await db.write_many(sql.commit_tasks.delete_tasks, untidy)
    await db.write_many(sql.commit.hand_on, [row for row in rows.handed_on if row[2] not in done])
    await db.write_many(sql.commit.delete_inbox, untidy)
    await db.write_many(sql.commit.delete_timer, rows.timers)
    await _cancel(db, rows)
    await db.write_many(sql.commit.delete_reply, [row[:1] for row in rows.replies])
    await db.write_many(sql.commit.insert_reply, rows.replies)


async def _write(db: Asking, writes: Sequence[Question]) -> list[int]:
    """In one round trip; how many rows those of them have that answer with rows."""
    if not writes:
        return []
    text = write_together(tuple(statement for statement, _ in writes))
    counts: list[int] = (await db.read(text, *chain.from_iterable(values for _, values in writes)))[0][0]
    return counts


async def _write_attributes(db: Asking, rows: plan.Plan) -> None:
    sql = statements().commit_attributes
    await db.write_many(sql.delete, rows.forgotten)
    # In one order for all, so that two who are the first don't wait for each other.
    if await db.write_many(sql.insert_type, sorted(rows.types, key=str)) != len(rows.types):
        raise Outrun("another commit was the first to use a search attribute, perhaps with another type")
    await db.write_many(sql.insert, rows.attributes)


async def _cancel(db: Asking, rows: plan.Plan) -> None:
    """Mark the tasks that somebody works on; end the others, each with its outcome in the inbox."""
    if not rows.cancels:
        return
    sql = statements()
    keys = [(run_id, event_id) for _, run_id, event_id, _ in rows.cancels]
    # What is not there is over: its outcome is in the inbox, or in this very transition.
    found = {(row[0], row[1]): row[2] for row in await db.read(sql.lock.tasks_to_cancel, *columns(keys))}
    asked = [key for key, owner in found.items() if owner is not None]
    ended = [key for key, owner in found.items() if owner is None]
    await db.write_many(sql.commit_tasks.ask_cancel, asked)
    await db.write_many(sql.commit_tasks.delete_task, ended)
    outcomes = [
        plan.message_row(outcome, run.namespace, run.task_queue, run_id)
        for run, run_id, event_id, outcome in rows.cancels
        if (run_id, event_id) in ended
    ]
    await db.write_many(sql.commit.insert_message, outcomes)


# Reports. ---------------------------------------------------------------------------------------------------------


async def _write_reports(
    db: Asking, reports: Sequence[tuple[int, ActivityReport]], now_us: int, outcomes: dict[int, Tried]
) -> None:
    sql = statements()
    keys = list(dict.fromkeys(_key(report) for _, report in reports))
    held, foreign = await _lock_tasks(db, keys)
    free = _free(reports, outcomes, lambda report: _key(report) in foreign)
    decided, rows = plan.decide_reports(list(free.values()), held, now_us)
    # Of two for one task the later one counts: a statement for many rows would take either.
    await db.write_many(sql.commit_tasks.beat, list({row[2:]: row for row in rows.beats}.values()))
    await db.write_many(sql.commit_tasks.detach, rows.detached)
    await db.write_many(sql.commit_tasks.steer, list({row[2:]: row for row in rows.steered}.values()))
    await db.write_many(sql.commit_tasks.retry, list({row[5:]: row for row in rows.retries}.values()))
    ended = ((sql.commit_tasks.delete_task, rows.finished), (sql.commit.insert_message, rows.messages))
    await _write(db, [(statement, columns(group)) for statement, group in ended if group])
    outcomes.update(zip(free, decided, strict=True))


def _key(report: ActivityReport) -> plan.TaskKey:
    return report.token.run_id, report.token.scheduled_event_id


# Sends. -----------------------------------------------------------------------------------------------------------


async def _write_sends(db: Asking, sends: Sequence[tuple[int, Send]], outcomes: dict[int, Tried]) -> None:
    """Whoever sends shares the run until the commit: it can't be closed meanwhile."""
    aims = await _aims(db, [send for _, send in sends])
    run_ids = sorted({run_id for run_id in aims if run_id is not None})
    runs = {row[0]: run_info(row) for row in await db.read(statements().lock.runs_to_send, run_ids)} if run_ids else {}
    foreign = set(await runs_by_id(db, [run_id for run_id in run_ids if run_id not in runs]))
    rows: list[plan.Row] = []
    for (place, send), aim in zip(sends, aims, strict=True):
        run = None if aim is None else runs.get(aim)
        if aim in foreign:
            outcomes[place] = None
            continue
        if run is not None and run.status is not RunStatus.RUNNING and send.run_id is None:
            # It was closed between the two statements, perhaps for a new run: look again.
            newer = (await latest_runs(db, {send.namespace: [send.workflow_id]})).get(
                (send.namespace, send.workflow_id)
            )
            if newer is not None and newer.run_id != run.run_id:
                outcomes[place] = None
                continue
        verdict = plan.decide_send(send, run)
        if isinstance(verdict, tuple):
            rows.append(verdict)
            verdict = Committed(run_id=str(verdict[2]))
        outcomes[place] = verdict
    await db.write_many(statements().commit.insert_message, rows)


async def _aims(db: Asking, sends: Sequence[Send]) -> list[str | None]:
    """The ids of the runs that messages are for; None where there is no such workflow."""
    unnamed: dict[str, list[str]] = {}
    for send in sends:
        if send.run_id is None:
            unnamed.setdefault(send.namespace, []).append(send.workflow_id)
    latest = await latest_runs(db, unnamed)
    aims: list[str | None] = []
    for send in sends:
        run = latest.get((send.namespace, send.workflow_id))
        newest = None if run is None else run.run_id
        aims.append(newest if send.run_id is None else send.run_id)
    return aims
