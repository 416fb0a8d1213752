"""The statements of a PostgreSQL store: what every database is asked, and what only PostgreSQL is, in its own words.

Many values are one array; a statement for many rows takes an array for each of its parameters.
"""

from __future__ import annotations

from functools import cache
from typing import Any, cast

from sqlalchemy import (
    BindParameter,
    Cast,
    ColumnElement,
    Delete,
    Insert,
    Table,
    Text,
    Update,
    bindparam,
    column,
    func,
    insert,
    select,
)
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects import postgresql as dialects
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.sql.elements import ClauseElement
from sqlalchemy.sql.visitors import replacement_traverse
from sqlalchemy.types import NullType, TypeEngine

from durable.history.attempts import PRIORITIES
from durable.history.messages import ANYBODY, WAITS, MessageKind
from durable.history.rules import SUSPICIOUS
from durable.history.stores.sql import HELD_COLUMNS, RUN_COLUMNS, TASK_COLUMNS
from durable.history.stores.sql_statements import Statements
from durable.history.stores.sql_text import Language
from durable.history.stores.tables import activity_tasks, history, inbox, runs, workers

DIALECT = dialects.dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]


def _among(column: ColumnElement[str] | ColumnElement[int], name: str) -> ColumnElement[bool]:
    return column == func.any(bindparam(name, type_=NullType()))


def _array(name: str, kind: TypeEngine[Any]) -> Cast[Any]:
    return sql_cast(bindparam(name, type_=NullType()), ARRAY(Text() if isinstance(kind, Text) else kind))


class PostgresLanguage(Language):
    """What PostgreSQL speaks: many rows are arrays, one per parameter."""

    def __init__(self) -> None:
        super().__init__(DIALECT, _among)

    def many(self, statement: Insert | Update | Delete, *names: str) -> str:
        kinds = {name: parameter.type for name, parameter in self.compiled(statement).binds.items()}
        given = (
            func.unnest(*(_array(name, kinds[name]) for name in names))
            .table_valued(*names, name="given")
            .render_derived()
        )

        def replace(element: Any, **_: Any) -> Any:
            return given.c[element.key] if isinstance(element, BindParameter) else None

        return self.text(cast(ClauseElement, replacement_traverse(statement, {}, replace)), *names)

    def insert(self, table: Table) -> str:
        columns = [each for each in table.c if not (table is inbox and each.name == "id")]
        arrays = func.unnest(*(_array(each.name, each.type) for each in columns))
        given = arrays.table_valued(
            *(each.name for each in columns), with_ordinality="place", name="given"
        ).render_derived()
        # In their order, because the inbox counts up its ids as it goes.
        rows = select(*(given.c[each.name] for each in columns)).order_by(column("place"))
        return self.text(insert(table).from_select(columns, rows), *(each.name for each in columns))


def _of(letter: str, columns: tuple[Any, ...]) -> str:
    return ", ".join(f"{letter}.{each.name}" for each in columns)


def _first(table: str, queue: str, at: str, more: str = "") -> str:
    """The first moment of a queue's rows between two bounds. (A PostgreSQL without statistics takes min() for a walk
    through all of them.)"""
    return (
        f"(SELECT {at} FROM {table} WHERE namespace = $1 AND {queue} = $2 AND {at} > $3 AND {at} <= $4{more} "
        f"ORDER BY {at} LIMIT 1)"
    )


WANTED_KEYS = "unnest($1::text[], $2::bigint[]) AS wanted(run_id, scheduled_event_id)"
JOINED_TASK = f"{WANTED_KEYS} JOIN {activity_tasks.name} AS t USING (run_id, scheduled_event_id)"
TASK_KEY = "t.run_id, t.scheduled_event_id"


class LockStatements:
    """What a commit takes hold of, and in which strength. What somebody else holds is passed over, never waited for."""

    def __init__(self) -> None:
        these = (
            f"SELECT {_of('r', RUN_COLUMNS)} FROM {runs.name} AS r WHERE r.run_id = ANY($1::text[]) ORDER BY r.run_id"
        )
        # Whoever sends shares the run; so whoever closes it can't overlook what is on its way.
        self.runs_to_send = f"{these} FOR KEY SHARE SKIP LOCKED"
        self.runs_to_move = f"{these} FOR NO KEY UPDATE SKIP LOCKED"
        self.runs_to_close = f"{these} FOR UPDATE SKIP LOCKED"
        self.tasks = (
            f"SELECT {_of('t', HELD_COLUMNS)} FROM {JOINED_TASK} ORDER BY {TASK_KEY} FOR UPDATE OF t SKIP LOCKED"
        )
        self.tasks_to_cancel = f"SELECT {TASK_KEY}, t.owner FROM {JOINED_TASK} ORDER BY {TASK_KEY} FOR UPDATE OF t"
        living = f"SELECT worker_id FROM {workers.name} WHERE worker_id = ANY($1::text[]) AND dead_us IS NULL"
        # A renewal goes on meanwhile; who declares the worker dead waits, and then sees what this commit gave it.
        self.workers = f"{living} ORDER BY worker_id FOR KEY SHARE"
        self.worker_to_end = f"{living} AND renewed_us = coalesce($2, renewed_us) FOR UPDATE"


class OwnStatements:
    """What only PostgreSQL is asked in these words."""

    def __init__(self, shared: Statements) -> None:
        now_us = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
        self.wall_clock_us = f"SELECT {now_us}"
        self.with_booked = shared.workers.with_booked.replace("SELECT ", f"SELECT {now_us}, ")
        """All workers, with what is booked on one; and before that, what the server's clock shows."""
        self.latest_runs = (
            f"SELECT {_of('r', RUN_COLUMNS)} FROM unnest($1::text[]) AS wanted(workflow_id) CROSS JOIN LATERAL "
            f"(SELECT * FROM {runs.name} AS o WHERE o.namespace = $2 AND o.workflow_id = wanted.workflow_id "
            "ORDER BY o.generation DESC LIMIT 1) AS r"
        )
        self.new_runs = (
            f"{shared.commit.insert_run} ON CONFLICT (namespace, workflow_id, generation) DO NOTHING RETURNING run_id"
        )
        self.consumed = f"{shared.commit.delete_message} RETURNING {inbox.name}.id"
        # Which of these runs have more than so many tasks, or more than so many messages.
        self.littered = (
            "SELECT wanted.run_id FROM unnest($1::text[], $2::bigint[], $3::bigint[]) "
            "AS wanted(run_id, tasks, messages) "
            f"WHERE (SELECT count(*) FROM {activity_tasks.name} AS t WHERE t.run_id = wanted.run_id) > wanted.tasks "
            f"OR (SELECT count(*) FROM {inbox.name} AS i WHERE i.run_id = wanted.run_id) > wanted.messages"
        )
        self.tasks_there = f"SELECT {TASK_KEY} FROM {JOINED_TASK}"
        self.due_page = f"{shared.claim_runs.due_messages} LIMIT $6"
        self.take_runs = (
            f"UPDATE {runs.name} AS r SET owner = $1 FROM (SELECT o.run_id FROM unnest($2::text[], $3::text[]) "
            f"AS seen(run_id, owner) JOIN {runs.name} AS o ON o.run_id = seen.run_id "
            "WHERE o.owner IS NOT DISTINCT FROM seen.owner ORDER BY o.run_id FOR NO KEY UPDATE OF o SKIP LOCKED) "
            "AS free WHERE r.run_id = free.run_id RETURNING r.run_id"
        )
        task = activity_tasks.name
        # Not `owner IS NULL`, which would tempt it to walk the index of all that is free.
        self.take_tasks = (
            f"UPDATE {task} AS t SET owner = free.owner, attempt = free.attempt, started_us = free.started_us, "
            "deadline_us = free.deadline_us FROM (SELECT seen.* FROM unnest($1::text[], $2::integer[], $3::bigint[], "
            "$4::bigint[], $5::text[], $6::bigint[]) "
            "AS seen(owner, attempt, started_us, deadline_us, run_id, scheduled_event_id) "
            f"JOIN {task} AS o USING (run_id, scheduled_event_id) WHERE coalesce(o.owner, '') = '' "
            "AND o.attempt = seen.attempt - 1 AND o.due_us <= seen.started_us FOR UPDATE OF o SKIP LOCKED) AS free "
            "WHERE t.run_id = free.run_id AND t.scheduled_event_id = free.scheduled_event_id "
            f"RETURNING {_of('t', TASK_COLUMNS)}"
        )
        # What a claim asks, with the bounds of how far it looks.
        tasks = shared.claim_tasks
        self.due_tasks = (
            f"SELECT {_of('t', TASK_COLUMNS)} FROM unnest($1::integer[], $2::bigint[]) AS line(priority, since_us) "
            f"CROSS JOIN LATERAL (SELECT * FROM {task} AS o WHERE o.namespace = $3 AND o.task_queue = $4 "
            "AND o.owner IS NULL AND o.priority = line.priority AND o.due_us >= line.since_us AND o.due_us <= $5 "
            "AND (o.deadline_us IS NULL OR o.deadline_us > $5) ORDER BY o.due_us LIMIT $6) AS t LIMIT $6"
        )
        self.overdue_tasks = tasks.overdue_tasks.replace(" ORDER BY", f" AND {task}.deadline_us >= $5 ORDER BY")
        first_task = _first(task, "task_queue", "due_us", " AND owner IS NULL AND priority = line.priority")
        self.next_task = f"SELECT min({first_task}) FROM unnest(ARRAY{list(PRIORITIES)}) AS line(priority)"
        next_message = _first(inbox.name, "task_queue", "due_us")
        next_deadline = _first(task, "workflow_task_queue", "deadline_us")
        next_of_anybody = next_message.replace("$2", f"'{ANYBODY}'")
        self.next_of_workflows = f"SELECT least({next_message}, {next_deadline}, {next_of_anybody})"
        self.histories = (
            "SELECT h.run_id, h.data FROM unnest($1::text[], $2::bigint[]) AS wanted(run_id, last_event_id) "
            f"JOIN {history.name} AS h ON h.run_id = wanted.run_id AND h.first_id <= wanted.last_event_id "
            "ORDER BY h.run_id, h.first_id"
        )
        self.due_inboxes = (
            "SELECT m.id, m.kind, m.body, m.due_us, m.key, wanted.run_id FROM unnest($1::text[]) AS wanted(run_id) "
            f"CROSS JOIN LATERAL (SELECT * FROM {inbox.name} AS i WHERE i.run_id = wanted.run_id "
            f"AND (i.due_us <= $2 OR i.kind NOT IN ({', '.join(str(int(kind)) for kind in WAITS)})) "
            "ORDER BY i.id LIMIT $3) AS m ORDER BY m.id"
        )
        # A run that keeps its dead owner is free all the same; a task would be held for ever: `lose_tasks` comes again.
        self.free_runs = (
            f"UPDATE {runs.name} SET owner = NULL WHERE run_id IN "
            f"(SELECT run_id FROM {runs.name} WHERE owner = ANY($1::text[]) FOR NO KEY UPDATE SKIP LOCKED)"
        )
        # Only of a run that it had something to read for can a worker have died. Counted, because PostgreSQL answers an
        # EXISTS for many rows from a hash of the whole inbox.
        was_stepped = (
            f"(SELECT count(*) FROM (SELECT FROM {inbox.name} AS i WHERE i.run_id = {runs.name}.run_id "
            f"AND (i.due_us <= $2 OR i.kind NOT IN ({', '.join(str(int(kind)) for kind in WAITS)})) LIMIT 1) AS due)"
        )
        self.bereave_runs = self.free_runs.replace("owner = NULL", f"owner = NULL, deaths = deaths + {was_stepped}")
        self.lose_tasks = (
            f"UPDATE {task} AS t SET lost = true, deadline_us = $2 FROM (SELECT run_id, scheduled_event_id FROM {task} "
            "WHERE owner = ANY($1::text[]) AND NOT lost FOR UPDATE SKIP LOCKED) AS held "
            "WHERE t.run_id = held.run_id AND t.scheduled_event_id = held.scheduled_event_id"
        )
        self.held_tasks = f"{shared.workers.held_tasks} FOR UPDATE SKIP LOCKED"
        self.count_tasks = f"SELECT count(*) FROM {task} WHERE owner = $1 AND NOT lost"
        self.renew = (
            f"UPDATE {workers.name} SET renewed_us = $1, signed_us = $3 WHERE worker_id = $2 AND dead_us IS NULL"
        )
        self.die = f"UPDATE {workers.name} SET dead_us = $2 WHERE worker_id = $1"
        self.parked_runs = (
            f"SELECT run_id FROM {runs.name} WHERE namespace = $1 AND task_queue = $2 AND parked IS NOT NULL "
            f"AND deaths < {SUSPICIOUS} "
            "ORDER BY run_id FOR NO KEY UPDATE SKIP LOCKED"
        )
        self.unpark = (
            f"UPDATE {inbox.name} SET due_us = $2 WHERE run_id = ANY($1::text[]) "
            f"AND kind = {int(MessageKind.TASK_DUE)} AND due_us > $2 "
            "RETURNING run_id"
        )


class PostgresStatements(Statements):
    """What PostgreSQL is asked."""

    def __init__(self) -> None:
        super().__init__(PostgresLanguage())
        self.lock = LockStatements()
        self.own = OwnStatements(self)


@cache
def statements() -> PostgresStatements:
    """They are compiled when the first store is made."""
    return PostgresStatements()
