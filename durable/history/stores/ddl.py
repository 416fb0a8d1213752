"""Today's tables as the SQL of a database."""

from __future__ import annotations

from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.schema import CreateIndex, CreateTable

from durable.history.stores.tables import metadata


def schema_statements(dialect: Dialect) -> list[str]:
    """What makes the tables and their indexes, in an order that runs."""
    statements: list[str] = []
    for table in metadata.sorted_tables:
        statements.append(str(CreateTable(table).compile(dialect=dialect)))
        indexes = sorted(table.indexes, key=lambda index: str(index.name))
        statements.extend(str(CreateIndex(index).compile(dialect=dialect)) for index in indexes)
    return statements
