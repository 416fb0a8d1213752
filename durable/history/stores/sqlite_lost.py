"""Transactions that SQLite has ended by itself, because of an error: nothing more is done in their place.

It does so for `INSERT OR ROLLBACK`, `RAISE(ROLLBACK)` and some errors of the disk. The driver would begin another
transaction with the next statement, and who has caught the error would commit half of what they wrote.
"""

from __future__ import annotations

import sqlite3
import weakref
from typing import Any

from sqlalchemy import Connection, Engine, ExceptionContext, event

LOST = "durable_lost"
"""Under this a connection of a watched engine keeps the error that has ended its transaction, if one has."""
BEGUN = "durable_begun"
"""Under this any connection keeps the transaction that the store has last written in."""


def watch(engine: Engine) -> None:
    """Refuse whatever is asked in a lost transaction. The engine's transactions all begin with a BEGIN."""

    def fails(context: ExceptionContext) -> None:
        connection = context.connection
        if connection is None or connection.invalidated or not connection.in_transaction():
            return
        if not in_transaction(connection):
            connection.info[LOST] = connection.info.get(LOST) or str(context.original_exception)

    def goes_on(connection: Connection, *_: Any) -> None:
        if not connection.in_transaction():
            connection.info[LOST] = ""  # this is what begins one
        elif error := connection.info.get(LOST):
            raise _lost(f"because of an error ({error})")

    event.listen(engine, "handle_error", fails)
    event.listen(engine, "before_cursor_execute", goes_on)
    event.listen(engine, "commit", goes_on)


def in_transaction(connection: Connection) -> bool:
    """Is there one in the database, too?"""
    try:
        return bool(getattr(connection.connection.driver_connection, "in_transaction", False))
    except (sqlite3.Error, ValueError):
        return False  # it is closed


def note_begun(connection: Connection) -> None:
    """The store is about to write in its transaction."""
    transaction = connection.get_transaction()
    assert transaction is not None
    connection.info[BEGUN] = weakref.ref(transaction)


def check_unbegun(connection: Connection) -> None:
    """There is none in the database. RuntimeError when there has been one: a new one would not be the same."""
    begun = connection.info.get(BEGUN)
    if LOST in connection.info or (begun is not None and begun() is connection.get_transaction()):
        raise _lost("because of an error, or by an SQL statement of its own")


def _lost(why: str) -> RuntimeError:
    return RuntimeError(
        f"SQLite has ended this transaction {why}, and what was written in it is gone: let such an error leave the "
        "activity, or the block of the transaction; without OR ROLLBACK and RAISE(ROLLBACK), begin_nested() confines it"
    )
