"""A claim on a PostgreSQL database: looked for without a lock, taken if it is still free, and loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

from durable.history import attempts
from durable.history.errors import WorkerDead
from durable.history.messages import ANYBODY
from durable.history.stores import plan
from durable.history.stores.choice import Choice
from durable.history.stores.horizon import Horizon, Look, Walk
from durable.history.stores.postgres_connection import Connection, Question, columns
from durable.history.stores.postgres_sql import statements
from durable.history.stores.sql import TASK_COLUMNS, activity_task, run_info, stored_message
from durable.history.stores.tables import activity_tasks
from durable.history.transition import ActivityTask, AttemptToken, Claim, Claimed, ClaimedRun, RunInfo, StoredMessage

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

    async def walk(self, db: Connection, questions: Sequence[Question]) -> list[list[Sequence[Any]]]:
        """The rows of each, in one round trip."""
        with self.look.walking():
            return await db.read_all(questions)


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
    look = Look(horizon, now_us)
    own = statements().own
    queues = (ANYBODY, *claim.workflow_queues)
    inboxes = [("inbox", claim.namespace, queue) for queue in queues]
    questions: list[Question] = [(statements().workers.alive, ())]
    questions += [(own.due_page, (*walk[1:], look.since_us(walk), now_us, [], PAGE)) for walk in inboxes]
    if claim.max_activities > 0:
        questions += [_due_tasks(claim, queue, look, now_us) for queue in claim.activity_queues]
    with look.walking():
        rows = iter(await db.read_all(questions))
    living = {row[0] for row in next(rows)}
    if claim.worker_id not in living:
        raise _dead(claim)
    found = _Found(Choice(claim, now_us=now_us, alive=living, steal_after_us=steal_after_us), look)
    for walk in inboxes:
        await _choose_runs(db, walk, next(rows), found)
    found.runs.leave_others_theirs()
    for queue, due in zip(claim.activity_queues, rows, strict=False):
        _choose_tasks(claim, queue, due, found)
    return found


async def _choose_runs(db: Connection, walk: Walk, rows: list[Sequence[Any]], found: _Found) -> None:
    """By pages of due messages, oldest first, without those of runs that are decided; the first page is there."""
    choice = found.runs
    first_us = rows[0][1] if rows else None
    while _consider(rows, found) and len(rows) == PAGE:
        values = (*walk[1:], rows[-1][1], choice.now_us, list(choice.decided), PAGE)
        rows = (await found.walk(db, [(statements().own.due_page, values)]))[0]
    found.look.found(walk, first_us)


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


def _walks(claim: Claim, queue: str) -> dict[int, Walk]:
    """For each priority."""
    return {priority: (f"tasks {priority}", claim.namespace, queue) for priority in attempts.PRIORITIES}


def _due_tasks(claim: Claim, queue: str, look: Look, now_us: int) -> Question:
    """One more than there is room for."""
    walks = _walks(claim, queue)
    since_us = [look.since_us(walk) for walk in walks.values()]
    return statements().own.due_tasks, (list(walks), since_us, claim.namespace, queue, now_us, claim.max_activities + 1)


def _choose_tasks(claim: Claim, queue: str, rows: Sequence[Sequence[Any]], found: _Found) -> None:
    room = claim.max_activities - len(found.tasks)
    if room <= 0:
        return
    first_us: dict[int, int] = {}
    for row in rows:
        first_us.setdefault(_priority(row), _due_us(row))
    for priority, walk in _walks(claim, queue).items():
        if len(rows) <= claim.max_activities or priority in first_us:  # else it was not looked at
            found.look.found(walk, first_us.get(priority))
    found.tasks.extend(found.runs.parts_of(rows[: room + 1], _priority, _due_us)[:room])
    found.more_tasks = found.more_tasks or len(rows) > room


async def _take(db: Connection, claim: Claim, found: _Found) -> list[ActivityTask]:
    """What is still as it was seen, and nobody else's just now. Whoever declares the claimer dead waits meanwhile."""
    sql, choice = statements(), found.runs
    questions: list[Question] = [(sql.lock.workers, [[claim.worker_id]])]
    if choice.not_mine:
        owners = [found.owners[run_id] for run_id in choice.not_mine]
        questions.append((sql.own.take_runs, [claim.worker_id, choice.not_mine, owners]))
    begun = [attempts.begun(activity_task(row), claim.worker_id, choice.now_us) for row in found.tasks]
    if begun:
        questions.append((sql.own.take_tasks, columns([plan.taken_row(task) for task in begun])))
    living, *_, rows = await db.read_all(questions)
    if not living:
        raise _dead(claim)
    taken = {(row[0], row[1]): activity_task(row) for row in rows} if begun else {}
    keys = [(task.run_id, task.scheduled_event_id) for task in begun]
    return [taken[key] for key in keys if key in taken]


async def _load(db: Connection, claim: Claim, found: _Found, begun: list[ActivityTask]) -> Claimed:
    sql, choice, look = statements(), found.runs, found.look
    deadlines = [("deadlines", claim.namespace, queue) for queue in claim.workflow_queues]
    nexts = [(sql.own.next_of_workflows, queue) for queue in claim.workflow_queues or (ANYBODY,)]
    nexts += [(sql.own.next_task, queue) for queue in claim.activity_queues]
    questions: list[Question] = [(sql.claim_tasks.cancelled_tasks, (claim.worker_id,))]
    questions += [
        (sql.own.overdue_tasks, (*walk[1:], choice.now_us, OVERDUE_MAX, look.since_us(walk))) for walk in deadlines
    ]
    questions += [(next_of, (claim.namespace, queue, choice.now_us, look.until_us)) for next_of, queue in nexts]
    if choice.run_ids:
        questions.append((sql.read_runs.runs_by_id, (list(choice.run_ids),)))
    answers = iter(await found.walk(db, questions))
    cancelled = [
        AttemptToken(run_id=run_id, scheduled_event_id=event_id, owner=claim.worker_id, attempt=attempt)
        for run_id, event_id, attempt in next(answers)
    ]
    overdue: list[ActivityTask] = []
    for walk in deadlines:
        rows = next(answers)
        look.found(walk, rows[0][DEADLINE_US] if rows else None)
        overdue.extend(map(activity_task, rows))
    later = [*choice.later_us, look.again_us, *(next(answers)[0][0] for _ in nexts)]
    runs = await _load_runs(db, claim, choice, {row[0]: run_info(row) for row in next(answers, ())})
    return Claimed(
        runs=runs,
        activities=begun,
        overdue=overdue,
        cancelled=cancelled,
        waiting=choice.waiting(runs),
        next_due_us=min((due_us for due_us in later if due_us is not None), default=None),
        more=((choice.more or found.more_tasks) and not choice.left) or len(overdue) >= OVERDUE_MAX,
        left=choice.left,
    )


async def _load_runs(db: Connection, claim: Claim, choice: Choice, rows: dict[str, RunInfo]) -> list[ClaimedRun]:
    """Runs with the history that they had when their rows were read: what comes later fences the reader off anyway."""
    mine = [rows[run_id] for run_id in choice.run_ids if run_id in rows and rows[run_id].owner == claim.worker_id]
    if not mine:
        return []
    sql = statements()
    messages: dict[str, list[StoredMessage]] = {run.run_id: [] for run in mine}
    questions: list[Question] = [
        (sql.own.due_inboxes, (list(messages), choice.now_us, claim.max_messages_per_run)),
    ]
    unknown = [run for run in mine if claim.cached.get(run.run_id) != run.last_event_id]
    if unknown:
        questions.append((sql.own.histories, columns([(run.run_id, run.last_event_id) for run in unknown])))
    histories: dict[str, list[bytes]] = {run.run_id: [] for run in unknown}
    due, *read = await db.read_all(questions)
    for row in due:
        messages[row[5]].append(stored_message(row))
    for run_id, data in chain.from_iterable(read):
        histories[run_id].append(data)
    return [
        ClaimedRun(run=run, messages=messages[run.run_id], history=histories.get(run.run_id))
        for run in mine
        if messages[run.run_id]
    ]
