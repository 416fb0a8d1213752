"""The statements that only read: runs, and what is kept beside them."""

from __future__ import annotations

from sqlalchemy import func, select

from durable.history.stores.sql import MESSAGE_COLUMNS, RUN_COLUMNS, TASK_COLUMNS
from durable.history.stores.sql_text import NONE, Language, given, number
from durable.history.stores.tables import activity_tasks, history, inbox, replies, runs, search_attribute_types
from durable.history.values import RunStatus


class ReadRunStatements:
    """Runs, found by their ids, and the types of what they are looked for by."""

    def __init__(self, sql: Language) -> None:
        run, ns = runs.c, given("ns")
        self.runs_by_id = sql.text(select(*RUN_COLUMNS).where(sql.among(run.run_id, "ids")), "ids")
        last = history.alias()
        last_id = select(func.max(last.c.first_id)).where(last.c.run_id == run.run_id).scalar_subquery()
        self.endings = sql.text(
            select(run.run_id, history.c.data)
            .where(sql.among(run.run_id, "ids"), run.status != number(RunStatus.RUNNING))
            .where(history.c.run_id == run.run_id, history.c.first_id == last_id),
            "ids",
        )
        of_workflow = (run.namespace == ns, run.workflow_id == given("workflow"))
        self.find_latest = sql.text(
            select(*RUN_COLUMNS).where(*of_workflow).order_by(run.generation.desc()).limit(number(1)).offset(NONE),
            *("ns", "workflow"),
        )
        types = search_attribute_types.c
        self.attribute_types = sql.text(select(types.name, types.type).where(types.namespace == ns), "ns")


class ReadPartStatements:
    """What is kept beside the runs: history, unread messages, activity tasks, answers."""

    def __init__(self, sql: Language) -> None:
        message, task = inbox.c, activity_tasks.c
        earlier = history.alias()
        first_row = select(func.max(earlier.c.first_id)).where(
            earlier.c.run_id == given("run2"), earlier.c.first_id <= given("next2")
        )
        self.history = sql.text(
            select(history.c.data)
            .where(
                history.c.run_id == given("run"),
                history.c.first_id >= func.coalesce(first_row.scalar_subquery(), number(0)),
                history.c.first_id + history.c.count > given("next"),
            )
            .order_by(history.c.first_id),
            *("run", "run2", "next2", "next"),
        )
        self.inbox = sql.text(
            select(*MESSAGE_COLUMNS).where(message.run_id == given("run")).order_by(message.id), "run"
        )
        self.tasks = sql.text(
            select(*TASK_COLUMNS).where(task.run_id == given("run")).order_by(task.scheduled_event_id), "run"
        )
        self.replies = sql.text(select(replies.c.id, replies.c.body).where(sql.among(replies.c.id, "ids")), "ids")
