"""The statements of workers' lives: registered, renewed, declared dead, or gone with all handed back."""

from __future__ import annotations

from sqlalchemy import delete, false, null, select, true, union_all, update

from durable.history.stores.sql import TASK_COLUMNS, WORKER_COLUMNS
from durable.history.stores.sql_text import Language, given
from durable.history.stores.tables import activity_tasks, replies, runs, workers


class WorkerStatements:
    """Workers, what they hold, and what is kept for a while only."""

    def __init__(self, sql: Language) -> None:
        run, task, worker = runs.c, activity_tasks.c, workers.c
        this_worker = worker.worker_id == given("b_worker")
        self.alive = sql.text(select(worker.worker_id).where(worker.dead_us.is_(None)))
        self.workers = sql.text(select(*WORKER_COLUMNS))
        self.insert_worker = sql.insert(workers)
        self.renew = sql.text(
            update(workers).values(renewed_us=given("renewed")).where(this_worker, worker.dead_us.is_(None)),
            *("renewed", "b_worker"),
        )
        self.declare_dead = sql.text(
            update(workers)
            .values(dead_us=given("dead"))
            .where(this_worker, worker.dead_us.is_(None), worker.renewed_us == given("b_renewed")),
            *("dead", "b_worker", "b_renewed"),
        )
        self.free_runs = sql.text(update(runs).values(owner=null()).where(run.owner == given("b_worker")), "b_worker")
        self.lose_tasks = sql.text(
            update(activity_tasks)
            .ordered_values((task.lost, true()), (task.deadline_us, given("deadline")))
            .where(task.owner == given("b_worker"), task.lost == false()),
            *("deadline", "b_worker"),
        )
        attempt = (task.run_id, task.scheduled_event_id, task.attempt)
        self.with_booked = sql.text(
            union_all(
                select(*WORKER_COLUMNS, *(null() for _ in attempt)),
                select(*(null() for _ in WORKER_COLUMNS), *attempt).where(task.owner == given("b_worker")),
            ),
            "b_worker",
        )
        """All workers, and the attempts that are booked on one of them; the other columns are empty."""
        self.held_tasks = sql.text(select(*TASK_COLUMNS).where(task.owner == given("b_worker")), "b_worker")
        self.release_worker = sql.text(delete(workers).where(this_worker, worker.dead_us.is_(None)), "b_worker")
        self.forget_dead = sql.text(delete(workers).where(worker.dead_us < given("before")), "before")
        self.forget_replies = sql.text(delete(replies).where(replies.c.expires_us < given("before")), "before")
