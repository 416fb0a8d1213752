"""What there is to do in a database, and who is there to do it: read alike from each database, and judged."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, func, literal_column, select
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.sql.elements import ClauseElement

from durable.history.attempts import PAUSED
from durable.history.stores.punctuality import is_late
from durable.history.stores.sql import WORKER_COLUMNS, WorkerRow
from durable.history.stores.tables import activity_tasks, inbox, runs, workers
from durable.history.upkeep.finding import Finding, duration, ok, warning

WAITING_US = 60 * 1_000_000
"""A worker takes what is due at once, and what another one sits on after ten seconds."""

AHEAD_US = 2 * 1_000_000
"""A lease is renewed each second by the store's own time: one that much later was renewed by another time."""

NAMED_MAX = 5


class Statements:
    """Texts without parameters; ``now_us`` is written into them."""

    def __init__(self, dialect: Dialect, now_us: int) -> None:
        self._dialect = dialect
        late = literal_column(str(now_us - WAITING_US), BigInteger())
        message, task, run = inbox.c, activity_tasks.c, runs.c
        self.workers = self._text(select(*WORKER_COLUMNS).order_by(workers.c.renewed_us.desc()))
        self.parked = self._text(
            select(run.namespace, func.count(), func.min(run.workflow_id))
            .where(run.parked.is_not(None))
            .group_by(run.namespace)
        )
        self.runs = self._text(
            select(
                message.namespace,
                message.task_queue,
                func.count(message.run_id.distinct()),
                func.min(message.due_us),
            )
            .join(runs, run.run_id == message.run_id)
            .where(message.due_us <= late, run.parked.is_(None))
            .group_by(message.namespace, message.task_queue)
        )
        self.tasks = self._text(
            select(task.namespace, task.task_queue, func.count(), func.min(task.due_us))
            .where(
                task.owner.is_(None), task.priority != literal_column(str(PAUSED), BigInteger()), task.due_us <= late
            )
            .group_by(task.namespace, task.task_queue)
        )

    def _text(self, statement: ClauseElement) -> str:
        return str(statement.compile(dialect=self._dialect))


class Waiting(NamedTuple):
    """What is due in a task queue for more than `WAITING_US`, the first of it since ``due_us``."""

    namespace: str
    task_queue: str
    number: int
    due_us: int


class Parked(NamedTuple):
    """How many runs of a namespace are parked, and the workflow id of one."""

    namespace: str
    number: int
    example: str


class Load(NamedTuple):
    """The rows of `Statements`, by the same names."""

    workers: Sequence[WorkerRow]
    parked: Sequence[Parked]
    runs: Sequence[Waiting]
    tasks: Sequence[Waiting]


def load(
    workers: Sequence[Sequence[Any]],
    parked: Sequence[Sequence[Any]],
    runs: Sequence[Sequence[Any]],
    tasks: Sequence[Sequence[Any]],
) -> Load:
    """What the rows say that the statements bring."""
    return Load(
        workers=[WorkerRow(*row) for row in workers],
        parked=[Parked(*row) for row in parked],
        runs=[Waiting(*row) for row in runs],
        tasks=[Waiting(*row) for row in tasks],
    )


def judge(load: Load, now_us: int) -> list[Finding]:
    """What it means, at the store's time ``now_us``."""
    return [_workers(load, now_us), _parked(load.parked), _queues(load, now_us)]


def ahead(load: Load, now_us: int) -> int:
    """How far the latest lease was renewed after now: then somebody's clock is, or was, another one. 0: it was not."""
    latest = max((row.renewed_us for row in load.workers), default=now_us)
    return latest - now_us if latest > now_us + AHEAD_US else 0


def _workers(load: Load, now_us: int) -> Finding:
    living = [row for row in load.workers if row.dead_us is None]
    late = [row for row in living if is_late(row, now_us)]
    alive, dead = len(living) - len(late), len(load.workers) - len(living)
    told = f"{alive} alive, {len(late)} late, {dead} dead in the last hour"
    if late:
        last = late[0]
        return warning(
            "workers",
            f"{told}: {last.identity} ({last.worker_id}) has not renewed its lease for "
            f"{duration(now_us - last.renewed_us)}, and nobody has declared it dead",
            "its runs move on as soon as another worker runs: start one" if not alive else "look at it, or stop it",
        )
    if not alive and (load.runs or load.tasks):
        return warning("workers", f"{told}, and there is work to do", "start one: durable worker MODULE")
    return ok("workers", told)


def _parked(found: Sequence[Parked]) -> Finding:
    if not found:
        return ok("parked runs", "none")
    first = found[0]
    return warning(
        "parked runs",
        f"{sum(each.number for each in found)} can't go on with the code that their workers have, {first.example!r} of "
        f"namespace {first.namespace!r} for one",
        f"durable describe {shlex.quote(first.example)} --namespace {shlex.quote(first.namespace)} tells why; they go "
        "on by themselves with mended code",
    )


def _queues(load: Load, now_us: int) -> Finding:
    told = [
        f"{what} of {row.task_queue!r} ({row.namespace!r}): {row.number}, since {duration(now_us - row.due_us)}"
        for what, rows in (("runs", load.runs), ("activities", load.tasks))
        for row in rows
    ]
    if not told:
        return ok("task queues", "nothing waits for a worker longer than it should")
    more = [f"{len(told) - NAMED_MAX} more like these"] if len(told) > NAMED_MAX else []
    return warning(
        "task queues",
        f"nobody takes what is due, by task queue and namespace: {'; '.join(told[:NAMED_MAX] + more)}",
        "start a worker of that queue and namespace: durable worker MODULE --task-queue … --namespace …; if there is "
        "one, it has too much to do, or hangs",
    )
