"""Alembic's entry: run the revisions on the connection that `upgrade` hands over, or write them for a dialect."""

from __future__ import annotations

from alembic import context

from durable.history.stores.tables import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes.get("connection"),
    dialect_name=context.config.attributes.get("dialect"),
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
