"""Where an activity waits in its queue, and what was asked of it from outside: paused, to be reset."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLE = "durable_activity_tasks"
DUE = f"{TABLE}_due"


def upgrade() -> None:
    op.add_column(TABLE, sa.Column("priority", sa.Integer, nullable=False, server_default="3"))
    op.add_column(TABLE, sa.Column("control", sa.LargeBinary))
    op.drop_index(DUE, TABLE)
    free = sa.text("owner IS NULL")
    columns = ["namespace", "task_queue", "priority", "due_us"]
    op.create_index(DUE, TABLE, columns, sqlite_where=free, postgresql_where=free)
