"""The revisions as SQL that a person runs, instead of the engine. Importing this imports Alembic."""

from __future__ import annotations

from io import StringIO

from alembic import command
from alembic.util import CommandError

from durable.history.errors import StoreUnavailable
from durable.history.migrations.upgrade import config, head


def script(dialect: str, start: str | None) -> str:
    """From revision ``start``, None for no tables at all, to the newest, in one transaction."""
    alembic = config()
    alembic.output_buffer = written = StringIO()
    alembic.attributes["dialect"] = dialect
    try:
        command.upgrade(alembic, f"{start or 'base'}:head", sql=True)
    except CommandError as error:
        raise StoreUnavailable(
            f"there is no revision {start!r} to begin from, the newest is {head()}: `durable db current` tells which "
            "one a database has"
        ) from error
    return written.getvalue()
