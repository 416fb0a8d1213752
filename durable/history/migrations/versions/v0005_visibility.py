"""What runs are found by: their search attributes, one by one; and the indexes that lists walk."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import context, op

from durable.history.migrations.repair import batches, say_what_timed_out, values
from durable.history.standalone import PREFIX
from durable.history.visibility import indexing

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
RUNS = "durable_runs"
LEFT_OUT = "After this script, runs of before are found by no search attribute; after `durable db upgrade` they are."


def upgrade() -> None:
    op.add_column(RUNS, sa.Column("kind", sa.Integer, nullable=False, server_default="0"))
    op.execute(f"UPDATE {RUNS} SET kind = 1 WHERE workflow_type >= '{PREFIX}' AND workflow_type < '{PREFIX[:-1]};'")
    _tables()
    if context.is_offline_mode():
        # No SQL reads them.
        op.get_context().impl.static_output(f"-- {LEFT_OUT}")
    else:
        _bring_over(op.get_bind())
        say_what_timed_out(op.get_bind())
    op.drop_index("durable_runs_status", RUNS)
    op.create_index("durable_runs_started", RUNS, ["namespace", "kind", "started_us", "run_id"])
    op.create_index("durable_runs_status", RUNS, ["namespace", "kind", "status", "started_us", "run_id"])
    op.create_index("durable_runs_type", RUNS, ["namespace", "workflow_type", "started_us", "run_id"])
    op.create_index("durable_runs_queue", RUNS, ["namespace", "task_queue", "started_us", "run_id"])
    _partial("durable_runs_closed", RUNS, ["namespace", "kind", "closed_us", "run_id"], "closed_us IS NOT NULL")


def _tables() -> None:
    table = "durable_search_attributes"
    op.create_table(
        table,
        sa.Column("run_id", TEXT, primary_key=True),
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("ordinal", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("namespace", TEXT, nullable=False),
        sa.Column("kind", sa.Integer, nullable=False),
        sa.Column("started_us", sa.BigInteger, nullable=False),
        sa.Column("keyword", TEXT),
        sa.Column("number", sa.BigInteger),
        sa.Column("real", sa.Double),
    )
    for column in ("keyword", "number", "real"):
        columns = ["namespace", "kind", "name", column, "started_us", "run_id"]
        quoted = '"real"' if column == "real" else column
        _partial(f"{table}_{column}", table, columns, f"{quoted} IS NOT NULL")
    op.create_table(
        "durable_search_attribute_types",
        sa.Column("namespace", TEXT, primary_key=True),
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("type", sa.Integer, nullable=False),
    )


def _partial(name: str, table: str, columns: list[str], where: str) -> None:
    op.create_index(name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))


def _bring_over(database: sa.Connection) -> None:
    """The search attributes that runs have, from the oldest on: whose first value says of which type all are."""
    types: dict[tuple[str, str], Any] = {}
    columns = "run_id, namespace, kind, started_us, search_attributes"
    for rows in batches(database, columns, "search_attributes IS NOT NULL"):
        found: list[dict[str, Any]] = []
        for run_id, namespace, kind, started_us, stored in rows:
            run = {"run_id": run_id, "namespace": namespace, "kind": kind, "started_us": started_us}
            for name, value in values(stored):
                read = indexing.read(value)
                if read is None or not indexing.is_name(name):
                    continue
                kept = indexing.entries(read.value, types.setdefault((name, namespace), read.type))
                for place, (keyword, number, real) in enumerate(kept):
                    entry = {"name": name, "ordinal": place, "keyword": keyword, "number": number, "real": real}
                    found.append(run | entry)
        if found:
            database.execute(
                sa.text(
                    "INSERT INTO durable_search_attributes (run_id, name, ordinal, namespace, kind, started_us, "
                    'keyword, number, "real") VALUES (:run_id, :name, :ordinal, :namespace, :kind, :started_us, '
                    ":keyword, :number, :real)"
                ),
                found,
            )
    if types:
        database.execute(
            sa.text("INSERT INTO durable_search_attribute_types VALUES (:namespace, :name, :type)"),
            [{"name": name, "namespace": namespace, "type": int(kind)} for (name, namespace), kind in types.items()],
        )
