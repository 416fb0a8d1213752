"""How a database that an older version made becomes today's: Alembic revisions, run when a store is opened."""
