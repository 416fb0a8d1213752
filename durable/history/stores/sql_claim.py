"""The statements of claims: what is due, when the next is, and the taking of it."""

from __future__ import annotations

from sqlalchemy import select, update

from durable.history.attempts import PRIORITIES
from durable.history.messages import WAITS
from durable.history.stores.sql import MESSAGE_COLUMNS, TASK_COLUMNS
from durable.history.stores.sql_text import NONE, THIS_KEY, THIS_TASK, Language, given, number
from durable.history.stores.tables import activity_tasks, history, inbox, runs


class ClaimRunStatements:
    """Runs that messages are due for."""

    def __init__(self, sql: Language) -> None:
        run, message, now = runs.c, inbox.c, given("now")
        waiting = [number(kind) for kind in WAITS]
        mine = (message.namespace == given("ns"), message.task_queue == given("queue"))
        self.due_messages = sql.text(
            select(message.run_id, message.due_us, run.owner)
            .join(runs, run.run_id == message.run_id)
            .where(*mine, message.due_us >= given("since"), message.due_us <= now)
            .where(~sql.among(message.run_id, "decided"))
            .order_by(message.due_us),
            *("ns", "queue", "since", "now", "decided"),
        )
        self.take_run = sql.many(
            update(runs).values(owner=given("owner")).where(run.run_id == given("b_run")), *("owner", "b_run")
        )
        self.due_inbox = sql.text(
            select(*MESSAGE_COLUMNS)
            .where(message.run_id == given("run"), (message.due_us <= now) | message.kind.not_in(waiting))
            .order_by(message.id)
            .limit(given("limit"))
            .offset(NONE),
            *("run", "now", "limit"),
        )
        self.histories = sql.text(
            select(history.c.run_id, history.c.data)
            .where(sql.among(history.c.run_id, "ids"))
            .order_by(history.c.run_id, history.c.first_id),
            "ids",
        )


class ClaimTaskStatements:
    """Activity tasks: those to begin, and those whose deadline has passed."""

    def __init__(self, sql: Language) -> None:
        task, ns, queue, now = activity_tasks.c, given("ns"), given("queue"), given("now")
        offered = (task.namespace == ns, task.task_queue == queue, task.owner.is_(None))
        in_line = task.priority.in_([number(each) for each in PRIORITIES])
        in_time = task.deadline_us.is_(None) | (task.deadline_us > given("late"))
        self.due_tasks = sql.text(
            select(*TASK_COLUMNS)
            .where(*offered, in_line, task.due_us <= now, in_time)
            .order_by(task.priority, task.due_us)
            .limit(given("limit"))
            .offset(NONE),
            *("ns", "queue", "now", "late", "limit"),
        )
        self.take_task = sql.many(
            update(activity_tasks)
            .ordered_values(
                (task.owner, given("owner")),
                (task.attempt, given("attempt")),
                (task.started_us, given("started")),
                (task.deadline_us, given("deadline")),
            )
            .where(*THIS_TASK),
            *("owner", "attempt", "started", "deadline", *THIS_KEY),
        )
        watched = (task.namespace == ns, task.workflow_task_queue == queue)
        self.overdue_tasks = sql.text(
            select(*TASK_COLUMNS)
            .where(*watched, task.deadline_us <= now)
            .order_by(task.deadline_us)
            .limit(given("limit"))
            .offset(NONE),
            *("ns", "queue", "now", "limit"),
        )
        self.cancelled_tasks = sql.text(
            select(task.run_id, task.scheduled_event_id, task.attempt).where(
                task.owner == given("owner"), task.cancel_requested
            ),
            "owner",
        )
