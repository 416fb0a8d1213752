"""How many owners of a run have died in a row, since it was stepped last."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("durable_runs", sa.Column("deaths", sa.Integer, nullable=False, server_default="0"))
