"""Which server has a worker's sign of life. Workers of before, who don't say, are told dead by their lease."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("durable_workers", sa.Column("signed_us", sa.BigInteger))
