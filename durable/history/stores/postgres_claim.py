"""A claim on a PostgreSQL database: looked for without a lock, taken if it is still free, and loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from durable.history import attempts
from durable.history.errors import WorkerDead
from durable.history.messages import ANYBODY
from durable.history.stores import plan
from durable.history.stores.choice import Choice
from durable.history.stores.horizon import Horizon, Look
from durable.history.stores.postgres_connection import Connection, columns
from durable.history.stores.postgres_reads import alive, runs_by_id, tokens
from durable.history.stores.postgres_sql import statements
from durable.history.stores.sql import TASK_COLUMNS, activity_task, stored_message
from durable.history.stores.tables import activity_tasks
from durable.history.transition import ActivityTask, Claim, Claimed, ClaimedRun, StoredMessage

OVERDUE_MAX = 1000
PAGE = 200
DUE_US = TASK_COLUMNS.index(activity_tasks.c.due_us)
PRIORITY = TASK_COLUMNS.index(activity_tasks.c.priority)
DEADLINE_US = TASK_COLUMNS.index(activity_tasks.c.deadline_us)


class _Found:
    """What a claim may take: runs, and rows of tasks; and how far it looks for them."""

    def __init__(self, runs: Choice, look: Look) -> None:
        self.runs = runs
        self.look = look
        self.owners: dict[str, str | None] = {}
        """Whose the runs were when they were looked at."""
        self.tasks: list[Sequence[Any]] = []
        self.more_tasks = False

    async def walk(self, db: Connection, statement: str, *values: object) -> list[Sequence[Any]]:
        with self.look.walking():
            return await db.read(statement, *values)


async def take(
    db: Connection, claim: Claim, now_us: Callable[[], int], steal_after_us: int, horizon: Horizon
) -> Claimed:
    """On a held connection. Look first, without a transaction; begin one only when there is something to take."""
    async with db.reading():
        found = await _look(db, claim, now_us(), steal_after_us, horizon)
    begun: list[ActivityTask] = []
    if found.runs.not_mine or found.tasks:
        async with db.transaction():
            begun = await _take(db, claim, found)
    async with db.reading():
        claimed = await _load(db, claim, found, begun)
    found.look.end()
    return claimed


def _dead(claim: Claim) -> WorkerDead:
    return WorkerDead(
        f"worker {claim.worker_id} is not among the living any more: another worker has declared it dead, or "
        "it has handed everything back; drop all that it holds and register a new one"
    )


async def _look(db: Connection, claim: Claim, now_us: int, steal_after_us: int, horizon: Horizon) -> _Found:
    living = await alive(db)
    if claim.worker_id not in living:
        raise _dead(claim)
    choice = Choice(claim, now_us=now_us, alive=living, steal_after_us=steal_after_us)
    found = _Found(choice, Look(horizon, now_us))
    for queue in (ANYBODY, *claim.workflow_queues):
        await _look_for_runs(db, claim, queue, found)
    found.runs.leave_others_theirs()
    for queue in claim.activity_queues:
        await _look_for_tasks(db, claim, queue, found)
    return found


async def _look_for_runs(db: Connection, claim: Claim, queue: str, found: _Found) -> None:
    """By pages of due messages, oldest first, without those of runs that are decided."""
    choice, walk = found.runs, ("inbox", claim.namespace, queue)
    since_us = found.look.since_us(walk)
    first_us: int | None = None
    while True:
        values = (claim.namespace, queue, since_us, choice.now_us, list(choice.decided), PAGE)
        rows = await found.walk(db, statements().own.due_page, *values)
        if rows and first_us is None:
            first_us = rows[0][1]
        if not _consider(rows, found) or len(rows) < PAGE:
            found.look.found(walk, first_us)
            return
        since_us = rows[-1][1]


def _consider(rows: Sequence[Sequence[Any]], found: _Found) -> bool:
    """False: there is no room for more."""
    choice = found.runs
    for run_id, due_us, owner in rows:
        if run_id in choice.decided:
            continue
        if not choice.consider(run_id, due_us, owner):
            return False
        found.owners[run_id] = owner
    return True


def _priority(row: Sequence[Any]) -> int:
    return int(row[PRIORITY])


def _due_us(row: Sequence[Any]) -> int:
    return int(row[DUE_US])


async def _look_for_tasks(db: Connection, claim: Claim, queue: str, found: _Found) -> None:
    room = claim.max_activities - len(found.tasks)
    if room <= 0:
        return
    walks = {priority: (f"tasks {priority}", claim.namespace, queue) for priority in attempts.PRIORITIES}
    since_us = [found.look.since_us(walk) for walk in walks.values()]
    values = (list(walks), since_us, claim.namespace, queue, found.runs.now_us, room + 1)
    rows = await found.walk(db, statements().own.due_tasks, *values)
    first_us: dict[int, int] = {}
    for row in rows:
        first_us.setdefault(_priority(row), _due_us(row))
    for priority, walk in walks.items():
        if len(rows) <= room or priority in first_us:  # else it was not looked at
            found.look.found(walk, first_us.get(priority))
    found.tasks.extend(found.runs.parts_of(rows, _priority, _due_us)[:room])
    found.more_tasks = found.more_tasks or len(rows) > room


async def _take(db: Connection, claim: Claim, found: _Found) -> list[ActivityTask]:
    """What is still as it was seen, and nobody else's just now. Whoever declares the claimer dead waits meanwhile."""
    sql, choice = statements(), found.runs
    if not await db.read(sql.lock.workers, [claim.worker_id]):
        raise _dead(claim)
    if choice.not_mine:
        owners = [found.owners[run_id] for run_id in choice.not_mine]
        await db.write(sql.own.take_runs, claim.worker_id, choice.not_mine, owners)
    if not found.tasks:
        return []
    begun = [attempts.begun(activity_task(row), claim.worker_id, choice.now_us) for row in found.tasks]
    rows = await db.read(sql.own.take_tasks, *columns([plan.taken_row(task) for task in begun]))
    taken = {(row[0], row[1]): activity_task(row) for row in rows}
    keys = [(task.run_id, task.scheduled_event_id) for task in begun]
    return [taken[key] for key in keys if key in taken]


async def _load(db: Connection, claim: Claim, found: _Found, begun: list[ActivityTask]) -> Claimed:
    sql, choice = statements(), found.runs
    overdue: list[ActivityTask] = []
    for queue in claim.workflow_queues:
        walk = ("deadlines", claim.namespace, queue)
        values = (claim.namespace, queue, choice.now_us, OVERDUE_MAX, found.look.since_us(walk))
        rows = await found.walk(db, sql.own.overdue_tasks, *values)
        found.look.found(walk, rows[0][DEADLINE_US] if rows else None)
        overdue.extend(map(activity_task, rows))
    runs = await _load_runs(db, claim, choice)
    return Claimed(
        runs=runs,
        activities=begun,
        overdue=overdue,
        cancelled=await tokens(db, sql.claim_tasks.cancelled_tasks, claim.worker_id),
        waiting=choice.waiting(runs),
        next_due_us=await _next_due_us(db, claim, found),
        more=((choice.more or found.more_tasks) and not choice.left) or len(overdue) >= OVERDUE_MAX,
        left=choice.left,
    )


async def _load_runs(db: Connection, claim: Claim, choice: Choice) -> list[ClaimedRun]:
    """Runs with the history that they had when their rows were read: what comes later fences the reader off anyway."""
    if not choice.run_ids:
        return []
    sql = statements()
    rows = await runs_by_id(db, list(choice.run_ids))
    mine = [rows[run_id] for run_id in choice.run_ids if run_id in rows and rows[run_id].owner == claim.worker_id]
    unknown = [run for run in mine if claim.cached.get(run.run_id) != run.last_event_id]
    histories: dict[str, list[bytes]] = {run.run_id: [] for run in unknown}
    if unknown:
        wanted = columns([(run.run_id, run.last_event_id) for run in unknown])
        for run_id, data in await db.read(sql.own.histories, *wanted):
            histories[run_id].append(data)
    messages: dict[str, list[StoredMessage]] = {run.run_id: [] for run in mine}
    if mine:
        values = (list(messages), choice.now_us, claim.max_messages_per_run)
        for row in await db.read(sql.own.due_inboxes, *values):
            messages[row[5]].append(stored_message(row))
    return [
        ClaimedRun(run=run, messages=messages[run.run_id], history=histories.get(run.run_id))
        for run in mine
        if messages[run.run_id]
    ]


async def _next_due_us(db: Connection, claim: Claim, found: _Found) -> int | None:
    sql, look = statements(), found.look
    later = [*found.runs.later_us, look.again_us]
    asked = [(sql.own.next_of_workflows, queue) for queue in claim.workflow_queues or (ANYBODY,)]
    asked += [(sql.own.next_task, queue) for queue in claim.activity_queues]
    for statement, queue in asked:
        rows = await found.walk(db, statement, claim.namespace, queue, found.runs.now_us, look.until_us)
        later.append(rows[0][0])
    return min((due_us for due_us in later if due_us is not None), default=None)
