"""The statements of commits: what they have to see, and what they write."""

from __future__ import annotations

from sqlalchemy import case, delete, false, null, select, true, update

from durable.history.attempts import DEFAULT_PRIORITY
from durable.history.messages import HOLDS_OPEN, KEYED, OUTLIVES, WAITS, MessageKind
from durable.history.rules import SUSPICIOUS
from durable.history.stores.sql import RUN_COLUMNS
from durable.history.stores.sql_text import THIS_KEY, THIS_TASK, Language, given, number
from durable.history.stores.tables import (
    activity_tasks,
    history,
    inbox,
    replies,
    runs,
    search_attribute_types,
    search_attributes,
)


class CommitStatements:
    """Runs, their histories and messages, and answers."""

    def __init__(self, sql: Language) -> None:
        run, message = runs.c, inbox.c
        self.runs_by_request = sql.text(select(*RUN_COLUMNS).where(sql.among(run.request_id, "ids")), "ids")
        # What does not wait for its time counts as due.
        due_us = case((message.kind.in_([number(kind) for kind in WAITS]), message.due_us), else_=number(0))
        self.messages_by_id = sql.text(
            select(message.id, message.run_id, due_us.label("due_us")).where(sql.among(message.id, "ids")), "ids"
        )
        holds_open = message.kind.in_([number(kind) for kind in HOLDS_OPEN])
        self.unread = sql.text(
            select(message.run_id, message.id).where(sql.among(message.run_id, "ids"), holds_open), "ids"
        )
        self.insert_run = sql.insert(runs)
        self.update_run = sql.many(
            update(runs)
            .ordered_values(
                (run.owner, given("owner")),
                (run.last_event_id, given("last")),
                (run.history_bytes, given("size")),
                (run.status, given("status")),
                (run.closed_us, given("closed")),
                (run.parked, given("parked")),
                (run.deaths, given("deaths")),
            )
            .where(run.run_id == given("b_run")),
            *("owner", "last", "size", "status", "closed", "parked", "deaths", "b_run"),
        )
        self.update_shown = sql.many(
            update(runs)
            .ordered_values((run.memo, given("memo")), (run.search_attributes, given("attributes")))
            .where(run.run_id == given("b_run")),
            *("memo", "attributes", "b_run"),
        )
        self.insert_history = sql.insert(history)
        self.insert_message = sql.insert(inbox)
        self.delete_message = sql.many(delete(inbox).where(message.id == given("b_id")), "b_id")
        self.delete_timer = sql.many(
            delete(inbox).where(
                message.run_id == given("b_run"),
                message.key == given("b_key"),
                message.key > number(0),
                message.kind.in_([number(kind) for kind in KEYED]),
            ),
            *("b_run", "b_key"),
        )
        self.hand_on = sql.many(
            update(inbox)
            .ordered_values((message.run_id, given("to_run")), (message.task_queue, given("queue")))
            .where(message.run_id == given("b_run"), holds_open),
            *("to_run", "queue", "b_run"),
        )
        self.delete_inbox = sql.many(
            delete(inbox).where(
                message.run_id == given("b_run"), message.kind.not_in([number(kind) for kind in OUTLIVES])
            ),
            "b_run",
        )
        # A reply is written once; a second one for the same question says the same.
        self.delete_reply = sql.many(delete(replies).where(replies.c.id == given("b_id")), "b_id")
        self.insert_reply = sql.insert(replies)


class CommitAttributeStatements:
    """What runs are found by."""

    def __init__(self, sql: Language) -> None:
        types = search_attribute_types.c
        self.types = sql.text(
            select(types.namespace, types.name, types.type).where(
                sql.among(types.namespace, "namespaces"), sql.among(types.name, "names")
            ),
            *("namespaces", "names"),
        )
        self.insert_type = f"{sql.insert(search_attribute_types)} ON CONFLICT (namespace, name) DO NOTHING"
        self.delete = sql.many(delete(search_attributes).where(search_attributes.c.run_id == given("b_run")), "b_run")
        self.insert = sql.insert(search_attributes)


class CommitTaskStatements:
    """Activity tasks."""

    def __init__(self, sql: Language) -> None:
        task = activity_tasks.c
        self.insert_task = sql.insert(activity_tasks)
        self.delete_task = sql.many(delete(activity_tasks).where(*THIS_TASK), *THIS_KEY)
        self.delete_tasks = sql.many(delete(activity_tasks).where(task.run_id == given("b_run")), "b_run")
        self.task_owner = sql.text(select(task.owner).where(*THIS_TASK), *THIS_KEY)
        # That ends a pause: a paused task nobody would take to learn of it.
        self.ask_cancel = sql.many(
            update(activity_tasks)
            .ordered_values(
                (task.cancel_requested, true()), (task.priority, number(DEFAULT_PRIORITY)), (task.control, null())
            )
            .where(*THIS_TASK),
            *THIS_KEY,
        )
        self.beat = sql.many(
            update(activity_tasks)
            .ordered_values((task.deadline_us, given("deadline")), (task.progress, given("progress")))
            .where(*THIS_TASK),
            *("deadline", "progress", *THIS_KEY),
        )
        self.detach = sql.many(
            update(activity_tasks)
            .ordered_values(
                (task.owner, given("owner")), (task.deadline_us, given("deadline")), (task.progress, given("progress"))
            )
            .where(*THIS_TASK),
            *("owner", "deadline", "progress", *THIS_KEY),
        )
        self.steer = sql.many(
            update(activity_tasks)
            .ordered_values((task.priority, given("priority")), (task.control, given("control")))
            .where(*THIS_TASK),
            *("priority", "control", *THIS_KEY),
        )
        self.retry = sql.many(
            update(activity_tasks)
            .ordered_values(
                (task.attempt, given("attempt")),
                (task.due_us, given("due")),
                (task.deadline_us, given("deadline")),
                (task.progress, given("progress")),
                (task.control, given("control")),
                (task.owner, null()),
                (task.lost, false()),
                (task.started_us, number(0)),
            )
            .where(*THIS_TASK),
            *("attempt", "due", "deadline", "progress", "control", *THIS_KEY),
        )


class UnparkStatements:
    """What makes parked runs due before their time."""

    def __init__(self, sql: Language) -> None:
        run, message = runs.c, inbox.c
        parked = select(run.run_id).where(
            run.namespace == given("ns"),
            run.task_queue == given("queue"),
            run.parked.is_not(None),
            run.deaths < number(SUSPICIOUS),
        )
        self.parked_due = sql.text(
            select(message.id, message.run_id).where(
                message.run_id.in_(parked),
                message.kind == number(MessageKind.TASK_DUE),
                message.due_us > given("now"),
            ),
            *("ns", "queue", "now"),
        )
        self.set_due = sql.many(
            update(inbox).values(due_us=given("due")).where(message.id == given("b_id")), *("due", "b_id")
        )
