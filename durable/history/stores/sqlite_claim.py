"""A claim on a SQLite file: looked for without a lock, taken under it, loaded from one snapshot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from durable.history import attempts
from durable.history.errors import WorkerDead
from durable.history.messages import ANYBODY
from durable.history.stores import plan
from durable.history.stores.choice import Choice
from durable.history.stores.sql import TASK_COLUMNS, activity_task, stored_message
from durable.history.stores.sqlite_file import Connection, explained
from durable.history.stores.sqlite_reads import alive, runs_by_id, tokens
from durable.history.stores.sqlite_sql import listed, statements
from durable.history.stores.tables import activity_tasks
from durable.history.transition import ActivityTask, Claim, Claimed, ClaimedRun

OVERDUE_MAX = 1000
PASSED_OVER_MAX = 100
FIRST_US = -(2**63)
PRIORITY = TASK_COLUMNS.index(activity_tasks.c.priority)
DUE_US = TASK_COLUMNS.index(activity_tasks.c.due_us)


class _Found:
    """What a claim may take: runs, and rows of tasks."""

    def __init__(self, runs: Choice) -> None:
        self.runs = runs
        self.tasks: list[Sequence[Any]] = []
        self.more_tasks = False


def take(db: Connection, claim: Claim, now_us: Callable[[], int], steal_after_us: int) -> Claimed:
    """Look first, without a write transaction; begin one only when there is something to take.

    Most looks find nothing, and cost one statement.
    """
    quiet = _quiet(db, claim, now_us())
    if quiet is not None:
        return quiet
    with db.reading():
        found = _look(db, claim, now_us(), steal_after_us)
        if not found.runs.not_mine and not found.tasks:
            return _load(db, claim, found, [])
    with db.writing():
        found = _look(db, claim, now_us(), steal_after_us)
        db.write_many(statements().claim_runs.take_run, [(claim.worker_id, run_id) for run_id in found.runs.not_mine])
        begun = [attempts.begun(activity_task(row), claim.worker_id, found.runs.now_us) for row in found.tasks]
        db.write_many(statements().claim_tasks.take_task, [plan.taken_row(task) for task in begun])
    with db.reading():
        return _load(db, claim, found, begun)


def _quiet(db: Connection, claim: Claim, now_us: int) -> Claimed | None:
    """What a claim brings when nothing is due; None when something is, or the claimer may be dead."""
    values = (*_first_of(claim, FIRST_US), claim.worker_id)
    with explained(db.path):
        first_us, lives, has_cancelled = db.read(statements().own.standing, values).fetchall()[0]
    if not lives or has_cancelled or (first_us is not None and first_us <= now_us):
        return None
    return Claimed(runs=[], activities=[], overdue=[], cancelled=[], waiting=[], next_due_us=first_us)


def _first_of(claim: Claim, after_us: int) -> tuple[object, ...]:
    """What `OwnStatements.next_due` is asked."""
    own = claim.workflow_queues
    return claim.namespace, after_us, listed((ANYBODY, *own)), listed(own), listed(claim.activity_queues)


def _look(db: Connection, claim: Claim, now_us: int, steal_after_us: int) -> _Found:
    living = alive(db)
    if claim.worker_id not in living:
        raise WorkerDead(
            f"worker {claim.worker_id} is not among the living any more: another worker has declared it dead, or "
            "it has handed everything back; drop all that it holds and register a new one"
        )
    found = _Found(Choice(claim, now_us=now_us, alive=living, steal_after_us=steal_after_us))
    for queue in (ANYBODY, *claim.workflow_queues):
        since_us: int | None = FIRST_US
        while since_us is not None:
            since_us = _look_for_runs(db, claim, queue, since_us, found.runs)
    found.runs.leave_others_theirs()
    for queue in claim.activity_queues:
        _look_for_tasks(db, claim, queue, found)
    return found


def _look_for_runs(db: Connection, claim: Claim, queue: str, since_us: int, choice: Choice) -> int | None:
    """Due messages, oldest first, for as long as runs are wanted: what is not wanted is not read.

    Returns where to look again: when so many were of runs decided already that it is better to ask without those.
    """
    values = (claim.namespace, queue, since_us, choice.now_us, listed(choice.decided))
    rows = db.read(statements().claim_runs.due_messages, values)
    passed_over = 0
    try:
        for run_id, due_us, owner in rows:
            if run_id in choice.decided:
                passed_over += 1
                if passed_over > PASSED_OVER_MAX:
                    return int(due_us)
            elif not choice.consider(run_id, due_us, owner):
                break
        return None
    finally:
        rows.close()


def _priority(row: Sequence[Any]) -> int:
    return int(row[PRIORITY])


def _due_us(row: Sequence[Any]) -> int:
    return int(row[DUE_US])


def _look_for_tasks(db: Connection, claim: Claim, queue: str, found: _Found) -> None:
    room = claim.max_activities - len(found.tasks)
    if room <= 0:
        return
    now_us = found.runs.now_us
    values = (claim.namespace, queue, now_us, now_us, room + 1)
    rows = db.read(statements().claim_tasks.due_tasks, values).fetchall()
    found.tasks.extend(found.runs.parts_of(rows, _priority, _due_us)[:room])
    found.more_tasks = found.more_tasks or len(rows) > room


def _load(db: Connection, claim: Claim, found: _Found, begun: list[ActivityTask]) -> Claimed:
    sql, choice = statements(), found.runs
    overdue: list[ActivityTask] = []
    for queue in claim.workflow_queues:
        values = (claim.namespace, queue, choice.now_us, OVERDUE_MAX)
        overdue.extend(map(activity_task, db.read(sql.claim_tasks.overdue_tasks, values)))
    runs = _load_runs(db, claim, choice)
    return Claimed(
        runs=runs,
        activities=begun,
        overdue=overdue,
        cancelled=tokens(db, sql.claim_tasks.cancelled_tasks, claim.worker_id),
        waiting=choice.waiting(runs),
        next_due_us=_next_due_us(db, claim, choice),
        more=((choice.more or found.more_tasks) and not choice.left) or len(overdue) >= OVERDUE_MAX,
        left=choice.left,
    )


def _load_runs(db: Connection, claim: Claim, choice: Choice) -> list[ClaimedRun]:
    if not choice.run_ids:
        return []
    sql = statements()
    rows = runs_by_id(db, list(choice.run_ids))
    mine = [rows[run_id] for run_id in choice.run_ids if run_id in rows and rows[run_id].owner == claim.worker_id]
    unknown = [run.run_id for run in mine if claim.cached.get(run.run_id) != run.last_event_id]
    histories: dict[str, list[bytes]] = {run_id: [] for run_id in unknown}
    if unknown:
        for run_id, data in db.read(sql.claim_runs.histories, (listed(unknown),)):
            histories[run_id].append(data)
    loaded: list[ClaimedRun] = []
    for run in mine:
        values = (run.run_id, choice.now_us, claim.max_messages_per_run)
        messages = [stored_message(row) for row in db.read(sql.claim_runs.due_inbox, values)]
        if messages:
            loaded.append(ClaimedRun(run=run, messages=messages, history=histories.get(run.run_id)))
    return loaded


def _next_due_us(db: Connection, claim: Claim, choice: Choice) -> int | None:
    next_us = db.one(statements().own.next_due, _first_of(claim, choice.now_us))
    return min([*choice.later_us, *([] if next_us is None else [next_us])], default=None)
