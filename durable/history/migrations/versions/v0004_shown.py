"""What lists and descriptions show of a run: when it may begin, whose child it is, its memo and search attributes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    ids = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    op.add_column("durable_runs", sa.Column("execution_us", sa.BigInteger))
    for name in ("parent_workflow_id", "parent_run_id", "root_workflow_id", "root_run_id"):
        op.add_column("durable_runs", sa.Column(name, ids))
    for name in ("memo", "search_attributes"):
        op.add_column("durable_runs", sa.Column(name, sa.LargeBinary))
