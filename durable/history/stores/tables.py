"""The tables, once for all databases. Instants are BigInteger microseconds; payload bytes are LargeBinary.

The short-lived rows (``inbox``, ``activity_tasks``) are apart from history and payloads; the indexes are such that what
the engine does all the time costs the same with a million closed runs, or pending timers, as with none.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

SCHEMA = "0006"
"""The revision that these tables are: the head of the migrations."""

VERSION_TABLE = "durable_schema"

metadata = MetaData()

# Ids sort by their bytes everywhere, whatever a PostgreSQL's locale is; SQLite does it so by itself.
_Text = Text().with_variant(Text(collation="C"), "postgresql")

# SQLite counts up a rowid only where the type is spelled INTEGER.
_RowId = BigInteger().with_variant(Integer(), "sqlite")

schema_version = Table(VERSION_TABLE, metadata, Column("version_num", Text, primary_key=True))

runs = Table(
    "durable_runs",
    metadata,
    Column("run_id", _Text, primary_key=True),
    Column("namespace", _Text, nullable=False),
    Column("workflow_id", _Text, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("workflow_type", _Text, nullable=False),
    Column("task_queue", _Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("owner", _Text),
    Column("last_event_id", BigInteger, nullable=False),
    Column("history_bytes", BigInteger, nullable=False),
    Column("started_us", BigInteger, nullable=False),
    Column("closed_us", BigInteger),
    Column("first_execution_run_id", _Text, nullable=False),
    Column("request_id", _Text, nullable=False),
    Column("parked", _Text),
    Column("deaths", Integer, nullable=False, server_default="0"),
    Column("execution_us", BigInteger),
    Column("parent_workflow_id", _Text),
    Column("parent_run_id", _Text),
    Column("root_workflow_id", _Text),
    Column("root_run_id", _Text),
    Column("memo", LargeBinary),
    Column("search_attributes", LargeBinary),
    Column("kind", Integer, nullable=False, server_default="0"),
    UniqueConstraint("namespace", "workflow_id", "generation", name="durable_runs_generation"),
)
Index("durable_runs_request", runs.c.request_id)
# What lists walk, newest first. A name holds a namespace and 2,000 bytes more: what an entry of PostgreSQL's takes.
Index("durable_runs_started", runs.c.namespace, runs.c.kind, runs.c.started_us, runs.c.run_id)
Index("durable_runs_status", runs.c.namespace, runs.c.kind, runs.c.status, runs.c.started_us, runs.c.run_id)
Index("durable_runs_type", runs.c.namespace, runs.c.workflow_type, runs.c.started_us, runs.c.run_id)
Index("durable_runs_queue", runs.c.namespace, runs.c.task_queue, runs.c.started_us, runs.c.run_id)
Index(
    "durable_runs_closed",
    runs.c.namespace,
    runs.c.kind,
    runs.c.closed_us,
    runs.c.run_id,
    sqlite_where=runs.c.closed_us.is_not(None),
    postgresql_where=runs.c.closed_us.is_not(None),
)
Index(
    "durable_runs_owner",
    runs.c.owner,
    sqlite_where=runs.c.owner.is_not(None),
    postgresql_where=runs.c.owner.is_not(None),
)
Index(
    "durable_runs_parked",
    runs.c.namespace,
    runs.c.task_queue,
    sqlite_where=runs.c.parked.is_not(None),
    postgresql_where=runs.c.parked.is_not(None),
)

search_attributes = Table(
    "durable_search_attributes",
    metadata,
    Column("run_id", _Text, primary_key=True),
    Column("name", _Text, primary_key=True),
    Column("ordinal", Integer, primary_key=True, autoincrement=False),
    Column("namespace", _Text, nullable=False),
    Column("kind", Integer, nullable=False),
    Column("started_us", BigInteger, nullable=False),
    Column("keyword", _Text),
    Column("number", BigInteger),
    Column("real", Double),
)
"""What runs are found by: a row for each value of a list, for each word of a text, for each other attribute. Namespace,
kind and start are the run's, so that an index finds a value's runs in the order of the list."""
for _column in ("keyword", "number", "real"):
    Index(
        f"durable_search_attributes_{_column}",
        *(search_attributes.c[name] for name in ("namespace", "kind", "name", _column, "started_us", "run_id")),
        sqlite_where=search_attributes.c[_column].is_not(None),
        postgresql_where=search_attributes.c[_column].is_not(None),
    )

search_attribute_types = Table(
    "durable_search_attribute_types",
    metadata,
    Column("namespace", _Text, primary_key=True),
    Column("name", _Text, primary_key=True),
    Column("type", Integer, nullable=False),
)
"""Which search attributes a namespace has. The first value of an attribute says of which type all are."""

history = Table(
    "durable_history",
    metadata,
    Column("run_id", _Text, primary_key=True),
    Column("first_id", BigInteger, primary_key=True),
    Column("count", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),
)

inbox = Table(
    "durable_inbox",
    metadata,
    Column("id", _RowId, primary_key=True, autoincrement=True),
    Column("namespace", _Text, nullable=False),
    Column("task_queue", _Text, nullable=False),
    Column("run_id", _Text, nullable=False),
    Column("kind", Integer, nullable=False),
    Column("key", BigInteger, nullable=False),
    Column("due_us", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)
# The run is there so that a claim passes over the messages of runs it can't take without reading them.
Index("durable_inbox_due", inbox.c.namespace, inbox.c.task_queue, inbox.c.due_us, inbox.c.run_id)
Index("durable_inbox_run", inbox.c.run_id, inbox.c.id)
Index(
    "durable_inbox_timer",
    inbox.c.run_id,
    inbox.c.key,
    sqlite_where=inbox.c.key > 0,
    postgresql_where=inbox.c.key > 0,
)

activity_tasks = Table(
    "durable_activity_tasks",
    metadata,
    Column("run_id", _Text, primary_key=True),
    Column("scheduled_event_id", BigInteger, primary_key=True, autoincrement=False),
    Column("namespace", _Text, nullable=False),
    Column("task_queue", _Text, nullable=False),
    Column("workflow_task_queue", _Text, nullable=False),
    Column("due_us", BigInteger, nullable=False),
    Column("deadline_us", BigInteger),
    Column("owner", _Text),
    Column("attempt", Integer, nullable=False),
    Column("started_us", BigInteger, nullable=False),
    Column("cancel_requested", Boolean, nullable=False),
    Column("lost", Boolean, nullable=False),
    Column("spec", LargeBinary, nullable=False),
    Column("progress", LargeBinary, nullable=False),
    Column("priority", Integer, nullable=False, server_default="3"),
    Column("control", LargeBinary),
)
Index(
    "durable_activity_tasks_due",
    activity_tasks.c.namespace,
    activity_tasks.c.task_queue,
    activity_tasks.c.priority,
    activity_tasks.c.due_us,
    sqlite_where=activity_tasks.c.owner.is_(None),
    postgresql_where=activity_tasks.c.owner.is_(None),
)
Index(
    "durable_activity_tasks_deadline",
    activity_tasks.c.namespace,
    activity_tasks.c.workflow_task_queue,
    activity_tasks.c.deadline_us,
    sqlite_where=activity_tasks.c.deadline_us.is_not(None),
    postgresql_where=activity_tasks.c.deadline_us.is_not(None),
)
Index(
    "durable_activity_tasks_owner",
    activity_tasks.c.owner,
    sqlite_where=activity_tasks.c.owner.is_not(None),
    postgresql_where=activity_tasks.c.owner.is_not(None),
)
Index(
    "durable_activity_tasks_cancelled",
    activity_tasks.c.cancel_requested,
    activity_tasks.c.owner,
    sqlite_where=text("cancel_requested = 1"),  # as the statements say it: else SQLite takes another index
    postgresql_where=activity_tasks.c.cancel_requested,
)

workers = Table(
    "durable_workers",
    metadata,
    Column("worker_id", _Text, primary_key=True),
    Column("namespace", _Text, nullable=False),
    Column("identity", _Text, nullable=False),
    Column("host", _Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("lease_us", BigInteger, nullable=False),
    Column("started_us", BigInteger, nullable=False),
    Column("renewed_us", BigInteger, nullable=False),
    Column("dead_us", BigInteger),
    Column("signed_us", BigInteger),
)

replies = Table(
    "durable_replies",
    metadata,
    Column("id", _Text, primary_key=True),
    Column("body", LargeBinary, nullable=False),
    Column("expires_us", BigInteger, nullable=False),
)
Index("durable_replies_expires", replies.c.expires_us)

pulse = Table(
    "durable_pulse",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("commits", BigInteger, nullable=False),
)
"""One row: how many commits have changed what a worker or a waiting client looks at. A lease renewal is not one, so
that it wakes nobody; `PRAGMA data_version` tells that this row is worth a look."""
