"""A commit to a SQLite file: the batch decided under the write lock, and the winners' rows written."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence

from durable.history.stores import plan
from durable.history.stores.sql import held_task, run_info
from durable.history.stores.sqlite_file import Asking, Connection
from durable.history.stores.sqlite_reads import alive, latest_runs, runs_by_id
from durable.history.stores.sqlite_sql import listed, statements
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
from durable.history.visibility.attributes import AttributeType

Indexed = tuple[int, Write]

BAD_DATA = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    OverflowError,
    TypeError,
    ValueError,
)
"""What SQLite and its driver raise when a value is at fault, and not the database."""


def commit(db: Connection, writes: Sequence[Write], now_us: Callable[[], int]) -> list[Outcome]:
    """One transaction; one outcome per write, in order. ``now_us`` is asked when it is this connection's turn."""
    # Transitions, then reports, then sends: as if they had come in this order, whatever a bisection does.
    ordered = sorted(enumerate(writes), key=lambda indexed: plan.turn(indexed[1]))
    outcomes: dict[int, Outcome] = {}
    with db.writing():
        at_us = now_us()
        try:
            _write_all(db, ordered, at_us, outcomes)
        except BAD_DATA:
            # A savepoint around every batch would cost two statements and a journal; data errors are rare.
            db.begin_again()
            apply(db, ordered, at_us, outcomes)
        if any(plan.concerns_others(write, outcomes[place]) for place, write in ordered):
            db.add_pulse()
    return [outcomes[place] for place in range(len(writes))]


def unpark(
    db: Connection, namespace: str, task_queues: Sequence[str], worker_id: str, now_us: Callable[[], int]
) -> int:
    """Make the parked runs of these queues due now, for this worker first; how many."""
    sql = statements()
    unparked: set[str] = set()
    with db.writing():
        due_us = now_us()
        for queue in task_queues:
            waiting = db.read(sql.unpark.parked_due, (namespace, queue, due_us)).fetchall()
            unparked.update(run_id for _, run_id in waiting)
            db.write_many(sql.unpark.set_due, [(due_us, message_id) for message_id, _ in waiting])
        db.write_many(sql.claim_runs.take_run, [(worker_id, run_id) for run_id in unparked])
        if unparked:
            db.add_pulse()
    return len(unparked)


def add_attribute_types(db: Connection, namespace: str, types: Mapping[str, AttributeType]) -> None:
    rows = [(namespace, name, int(kind)) for name, kind in types.items()]
    with db.writing():
        db.write_many(statements().commit_attributes.insert_type, rows)


def apply(db: Asking, writes: Sequence[Indexed], now_us: int, outcomes: dict[int, Outcome]) -> None:
    """Write all that hold; a data error halves the batch, until its culprit is alone."""
    db.read("SAVEPOINT batch")
    try:
        _write_all(db, writes, now_us, outcomes)
    except BAD_DATA as error:
        db.read("ROLLBACK TO batch")
        db.read("RELEASE batch")
        if len(writes) == 1:
            outcomes[writes[0][0]] = Refused(reason=Refusal.INVALID, detail=f"{type(error).__name__}: {error}")
            return
        middle = len(writes) // 2
        apply(db, writes[:middle], now_us, outcomes)
        apply(db, writes[middle:], now_us, outcomes)
    else:
        db.read("RELEASE batch")


def _write_all(db: Asking, writes: Sequence[Indexed], now_us: int, outcomes: dict[int, Outcome]) -> None:
    transitions = [(place, write) for place, write in writes if isinstance(write, Transition)]
    reports = [(place, write) for place, write in writes if isinstance(write, ActivityReport)]
    sends = [(place, write) for place, write in writes if isinstance(write, Send)]
    if transitions:
        outcomes.update(_answers(transitions, _write_transitions(db, [write for _, write in transitions], now_us)))
    if reports:
        outcomes.update(_answers(reports, _write_reports(db, [write for _, write in reports], now_us)))
    if sends:
        outcomes.update(_answers(sends, _write_sends(db, [write for _, write in sends])))


def _answers(writes: Sequence[tuple[int, Write]], outcomes: Sequence[Outcome]) -> Iterable[tuple[int, Outcome]]:
    return zip((place for place, _ in writes), outcomes, strict=True)


def _write_transitions(db: Asking, transitions: Sequence[Transition], now_us: int) -> list[Outcome]:
    outcomes, rows = plan.decide(transitions, _see(db, plan.needs(transitions), now_us))
    sql = statements()
    db.write_many(sql.commit.update_run if len(rows.moved_runs) == 1 else sql.own.update_run, rows.moved_runs)
    db.write_many(sql.commit.insert_run, rows.new_runs)
    db.write_many(sql.commit.update_shown, rows.shown)
    db.write_many(sql.commit_attributes.delete, rows.forgotten)
    db.write_many(sql.commit_attributes.insert_type, rows.types)
    db.write_many(sql.commit_attributes.insert, rows.attributes)
    db.write_many(sql.commit.insert_history, rows.history)
    db.write_many(sql.commit.delete_message, rows.consumed)
    _delete(db, sql.commit_tasks.delete_task, sql.own.delete_tasks, rows.finished)
    db.write_many(sql.commit.hand_on, rows.handed_on)
    _delete(db, sql.commit.delete_inbox, sql.own.delete_closed_inbox, rows.closed)
    _delete(db, sql.commit_tasks.delete_tasks, sql.own.delete_closed_tasks, rows.closed)
    db.write_many(sql.commit.delete_timer, rows.timers)
    db.write_many(sql.commit_tasks.insert_task, rows.tasks)
    for run, run_id, scheduled_event_id, outcome in rows.cancels:
        held = db.read(sql.commit_tasks.task_owner, (run_id, scheduled_event_id)).fetchone()
        if held is None:
            continue  # it is over: its outcome is in the inbox, or in this very transition
        if held[0] is not None:
            db.write(sql.commit_tasks.ask_cancel, (run_id, scheduled_event_id))
        else:
            db.write(sql.commit_tasks.delete_task, (run_id, scheduled_event_id))
            rows.messages.append(plan.message_row(outcome, run.namespace, run.task_queue, run_id))
    db.write_many(sql.commit.insert_message, rows.messages)
    db.write_many(sql.commit.delete_reply, [row[:1] for row in rows.replies])
    db.write_many(sql.commit.insert_reply, rows.replies)
    return outcomes


def _see(db: Asking, wanted: plan.Needs, now_us: int) -> plan.Seen:
    sql = statements()
    seen = plan.Seen(now_us=now_us)
    if wanted.runs:
        seen.runs = runs_by_id(db, wanted.runs)
    if wanted.starts:
        seen.latest = latest_runs(db, wanted.starts)
    if wanted.requests:
        for run in map(run_info, db.read(sql.commit.runs_by_request, (listed(wanted.requests),))):
            seen.requests[run.namespace, run.workflow_id, run.request_id] = run
    if wanted.messages:
        for message_id, run_id, due_us in db.read(sql.commit.messages_by_id, (listed(wanted.messages),)):
            seen.messages[message_id] = (run_id, due_us)
    if wanted.attempts:
        seen.attempts = plan.finishable(_held(db, wanted.attempts))
    if wanted.closing:
        for run_id, message_id in db.read(sql.commit.unread, (listed(wanted.closing),)):
            seen.unread.setdefault(run_id, []).append(message_id)
    if wanted.attributes:
        values = (listed(plan.namespaces(wanted, seen)), listed(wanted.attributes))
        seen.types = plan.types(db.read(sql.commit_attributes.types, values))
    if wanted.workers:
        seen.alive = alive(db)
    return seen


def _write_reports(db: Asking, reports: Sequence[ActivityReport], now_us: int) -> list[Outcome]:
    sql = statements()
    keys = [(report.token.run_id, report.token.scheduled_event_id) for report in reports]
    outcomes, rows = plan.decide_reports(reports, _held(db, keys), now_us)
    db.write_many(sql.commit_tasks.beat, rows.beats)
    db.write_many(sql.commit_tasks.detach, rows.detached)
    db.write_many(sql.commit_tasks.steer, rows.steered)
    db.write_many(sql.commit_tasks.retry, rows.retries)
    _delete(db, sql.commit_tasks.delete_task, sql.own.delete_tasks, rows.finished)
    db.write_many(sql.commit.insert_message, rows.messages)
    return outcomes


def _delete(db: Asking, one: str, many: str, rows: Sequence[plan.Row]) -> None:
    """What these rows are the keys of: many at once, or a single one in half the time."""
    if len(rows) == 1:
        db.write(one, rows[0])
    elif rows:
        db.write(many, (listed(rows),))


def _held(db: Asking, keys: Sequence[plan.TaskKey]) -> dict[plan.TaskKey, plan.HeldTask]:
    rows = db.read(statements().own.held_by_key, (listed(keys),))
    return dict(map(held_task, rows))


def _write_sends(db: Asking, sends: Sequence[Send]) -> list[Outcome]:
    named = runs_by_id(db, [send.run_id for send in sends if send.run_id is not None])
    unnamed: dict[str, list[str]] = {}
    for send in sends:
        if send.run_id is None:
            unnamed.setdefault(send.namespace, []).append(send.workflow_id)
    latest = latest_runs(db, unnamed)
    outcomes: list[Outcome] = []
    rows: list[plan.Row] = []
    for send in sends:
        key = (send.namespace, send.workflow_id)
        run = latest.get(key) if send.run_id is None else named.get(send.run_id)
        verdict = plan.decide_send(send, run)
        if isinstance(verdict, tuple):
            rows.append(verdict)
            verdict = Committed(run_id=str(verdict[2]))
        outcomes.append(verdict)
    db.write_many(statements().commit.insert_message, rows)
    return outcomes
