"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _runs()
    _history_and_inbox()
    _activity_tasks()
    _workers_and_replies()


def _runs() -> None:
    op.create_table(
        "durable_runs",
        sa.Column("run_id", TEXT, primary_key=True),
        sa.Column("namespace", TEXT, nullable=False),
        sa.Column("workflow_id", TEXT, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("workflow_type", TEXT, nullable=False),
        sa.Column("task_queue", TEXT, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("owner", TEXT),
        sa.Column("last_event_id", sa.BigInteger, nullable=False),
        sa.Column("history_bytes", sa.BigInteger, nullable=False),
        sa.Column("started_us", sa.BigInteger, nullable=False),
        sa.Column("closed_us", sa.BigInteger),
        sa.Column("first_execution_run_id", TEXT, nullable=False),
        sa.Column("request_id", TEXT, nullable=False),
        sa.Column("parked", TEXT),
        sa.UniqueConstraint("namespace", "workflow_id", "generation", name="durable_runs_generation"),
    )
    op.create_index("durable_runs_request", "durable_runs", ["request_id"])
    op.create_index("durable_runs_status", "durable_runs", ["namespace", "status", "run_id"])
    _partial("durable_runs_owner", "durable_runs", ["owner"], "owner IS NOT NULL")
    _partial("durable_runs_parked", "durable_runs", ["namespace", "task_queue"], "parked IS NOT NULL")


def _history_and_inbox() -> None:
    op.create_table(
        "durable_history",
        sa.Column("run_id", TEXT, primary_key=True),
        sa.Column("first_id", sa.BigInteger, primary_key=True),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "durable_inbox",
        sa.Column("id", ROW_ID, primary_key=True, autoincrement=True),
        sa.Column("namespace", TEXT, nullable=False),
        sa.Column("task_queue", TEXT, nullable=False),
        sa.Column("run_id", TEXT, nullable=False),
        sa.Column("kind", sa.Integer, nullable=False),
        sa.Column("key", sa.BigInteger, nullable=False),
        sa.Column("due_us", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("durable_inbox_due", "durable_inbox", ["namespace", "task_queue", "due_us", "run_id"])
    op.create_index("durable_inbox_run", "durable_inbox", ["run_id", "id"])
    _partial("durable_inbox_timer", "durable_inbox", ["run_id", "key"], '"key" > 0')


def _activity_tasks() -> None:
    op.create_table(
        "durable_activity_tasks",
        sa.Column("run_id", TEXT, primary_key=True),
        sa.Column("scheduled_event_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("namespace", TEXT, nullable=False),
        sa.Column("task_queue", TEXT, nullable=False),
        sa.Column("workflow_task_queue", TEXT, nullable=False),
        sa.Column("due_us", sa.BigInteger, nullable=False),
        sa.Column("deadline_us", sa.BigInteger),
        sa.Column("owner", TEXT),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("started_us", sa.BigInteger, nullable=False),
        sa.Column("cancel_requested", sa.Boolean, nullable=False),
        sa.Column("lost", sa.Boolean, nullable=False),
        sa.Column("spec", sa.LargeBinary, nullable=False),
        sa.Column("progress", sa.LargeBinary, nullable=False),
    )
    table = "durable_activity_tasks"
    _partial(f"{table}_due", table, ["namespace", "task_queue", "due_us"], "owner IS NULL")
    _partial(f"{table}_deadline", table, ["namespace", "workflow_task_queue", "deadline_us"], "deadline_us IS NOT NULL")
    _partial(f"{table}_owner", table, ["owner"], "owner IS NOT NULL")
    op.create_index(
        f"{table}_cancelled",
        table,
        ["cancel_requested", "owner"],
        sqlite_where=sa.text("cancel_requested = 1"),
        postgresql_where=sa.text("cancel_requested"),
    )


def _workers_and_replies() -> None:
    op.create_table(
        "durable_workers",
        sa.Column("worker_id", TEXT, primary_key=True),
        sa.Column("namespace", TEXT, nullable=False),
        sa.Column("identity", TEXT, nullable=False),
        sa.Column("host", TEXT, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("lease_us", sa.BigInteger, nullable=False),
        sa.Column("started_us", sa.BigInteger, nullable=False),
        sa.Column("renewed_us", sa.BigInteger, nullable=False),
        sa.Column("dead_us", sa.BigInteger),
    )
    op.create_table(
        "durable_replies",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("expires_us", sa.BigInteger, nullable=False),
    )
    op.create_index("durable_replies_expires", "durable_replies", ["expires_us"])
    op.create_table(
        "durable_pulse",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("commits", sa.BigInteger, nullable=False),
    )
    op.execute("INSERT INTO durable_pulse VALUES (1, 0)")


def _partial(name: str, table: str, columns: list[str], where: str) -> None:
    op.create_index(name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
