"""The statements of a SQLite store: what every database is asked, and what only SQLite is asked in its own words."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import msgspec
from sqlalchemy import ColumnElement, Text, bindparam, func, select
from sqlalchemy.dialects import sqlite as dialects

from durable.history.attempts import PRIORITIES
from durable.history.messages import OUTLIVES, WAITS
from durable.history.stores.sql import HELD_COLUMNS, RUN_COLUMNS
from durable.history.stores.sql_statements import Statements
from durable.history.stores.sql_text import Language
from durable.history.stores.tables import activity_tasks, inbox, runs, workers

DIALECT = dialects.dialect(paramstyle="qmark")


def _among(column: ColumnElement[str] | ColumnElement[int], name: str) -> ColumnElement[bool]:
    each = func.json_each(bindparam(name, type_=Text())).table_valued("value")
    return column.in_(select(each.c.value))


def _first(table: str, queues: str, queue: str, at: str, more: str = "") -> str:
    """The first moment after ``?2`` of a queue's rows."""
    return (
        f"(SELECT {at} FROM {table} WHERE namespace = ?1 AND {queue} = {queues}.value AND {at} > ?2 {more} "
        f"ORDER BY {at} LIMIT 1)"
    )


class OwnStatements:
    """What only SQLite is asked in these words. Many values are one parameter: see `listed`."""

    def __init__(self) -> None:
        run_columns = ", ".join(f"r.{column.name}" for column in RUN_COLUMNS)
        # CROSS JOIN makes SQLite begin with the short list of what is wanted.
        self.latest_runs = (
            f"SELECT {run_columns} FROM json_each(?) AS wanted CROSS JOIN {runs.name} AS r "
            "ON r.namespace = ? AND r.workflow_id = wanted.value AND r.generation = "
            f"(SELECT max(o.generation) FROM {runs.name} AS o WHERE o.namespace = ? AND o.workflow_id = wanted.value)"
        )
        # Only of a run that it had something to read for can a worker have died.
        self.bereave_runs = (
            f"UPDATE {runs.name} SET owner = NULL, deaths = deaths + EXISTS (SELECT 1 FROM {inbox.name} AS i "
            f"WHERE i.run_id = {runs.name}.run_id "
            f"AND (i.due_us <= ? OR i.kind NOT IN ({', '.join(str(int(kind)) for kind in WAITS)}))) WHERE owner = ?"
        )
        # A moment for each priority: for all at once SQLite would walk through what waits.
        first_message = _first(inbox.name, "queue", "task_queue", "due_us")
        first_deadline = _first(activity_tasks.name, "queue", "workflow_task_queue", "deadline_us")
        first_task = _first(
            activity_tasks.name, "queue", "task_queue", "due_us", "AND owner IS NULL AND priority = line.value"
        )
        first_due = (
            f"SELECT min(at_us) FROM (SELECT {first_message} AS at_us FROM json_each(?3) AS queue "
            f"UNION ALL SELECT {first_deadline} FROM json_each(?4) AS queue "
            f"UNION ALL SELECT {first_task} FROM json_each(?5) AS queue, json_each('{list(PRIORITIES)}') AS line)"
        )
        self.next_due = first_due
        """When the first message, deadline or task of these queues is due, of those that are after a moment."""
        self.standing = (
            f"SELECT ({first_due}), EXISTS (SELECT 1 FROM {workers.name} WHERE worker_id = ?6 AND dead_us IS NULL), "
            f"EXISTS (SELECT 1 FROM {activity_tasks.name} WHERE owner = ?6 AND cancel_requested = 1)"
        )
        """The same; and whether a worker lives, and something that it holds is to be cancelled."""
        moved = ("owner", "last_event_id", "history_bytes", "status", "closed_us", "parked", "deaths")
        self.update_run = (
            f"UPDATE {runs.name} SET {', '.join(f'{name} = given.column{at}' for at, name in enumerate(moved, 1))} "
            f"FROM (VALUES ({', '.join('?' * (len(moved) + 1))})) AS given "
            f"WHERE {runs.name}.run_id = given.column{len(moved) + 1}"
        )
        task = activity_tasks.name
        self.delete_tasks = (
            f"DELETE FROM {task} WHERE (run_id, scheduled_event_id) IN "
            "(SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?))"
        )
        of_these = "run_id IN (SELECT json_extract(value, '$[0]') FROM json_each(?))"
        self.delete_closed_tasks = f"DELETE FROM {task} WHERE {of_these}"
        self.delete_closed_inbox = (
            f"DELETE FROM {inbox.name} WHERE {of_these} "
            f"AND kind NOT IN ({', '.join(str(int(kind)) for kind in sorted(OUTLIVES))})"
        )
        self.held_by_key = (
            f"SELECT {', '.join(f't.{column.name}' for column in HELD_COLUMNS)} FROM json_each(?) AS wanted "
            f"CROSS JOIN {activity_tasks.name} AS t ON t.run_id = json_extract(wanted.value, '$[0]') "
            "AND t.scheduled_event_id = json_extract(wanted.value, '$[1]')"
        )


class SqliteStatements(Statements):
    """What SQLite is asked."""

    def __init__(self) -> None:
        super().__init__(Language(DIALECT, _among))
        self.own = OwnStatements()


@cache
def statements() -> SqliteStatements:
    """They are compiled when the first store is made."""
    return SqliteStatements()


def listed(values: Iterable[object]) -> str:
    """Many values as one parameter."""
    return msgspec.json.encode(list(values)).decode()
