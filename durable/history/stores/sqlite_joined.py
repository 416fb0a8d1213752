"""A write as a part of somebody else's transaction in the same SQLite file, over their SQLAlchemy connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from durable.history.errors import StoreUnavailable
from durable.history.stores import plan, sqlite_commit, sqlite_lost
from durable.history.stores.sqlite_file import ADD_PULSE
from durable.history.stores.sqlite_lost import in_transaction
from durable.history.transition import Outcome, Write


class Joined:
    """Asks as the store's own connection does."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def read(self, statement: str, values: Sequence[object] = ()) -> Any:
        return self._execute(statement, tuple(values))

    def write(self, statement: str, values: Sequence[object] = ()) -> int:
        return int(self._execute(statement, tuple(values)).rowcount)

    def write_many(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        if rows:
            self._execute(statement, [tuple(row) for row in rows])

    def _execute(self, statement: str, values: Any) -> Any:
        try:
            return self._connection.exec_driver_sql(statement, values)
        except DBAPIError as error:
            if isinstance(error.orig, sqlite3.Error):
                raise error.orig from error
            raise


def write(connection: Connection, path: Path, write: Write, now_us: Callable[[], int]) -> Outcome:
    """Its outcome, if the transaction commits. Raises `StoreUnavailable` when the file is locked, ValueError when it is
    another, RuntimeError when the transaction is lost; then nothing of it is in the transaction."""
    db = Joined(connection)
    _check_file(connection, db, path)
    outcomes: dict[int, Outcome] = {}
    try:
        if not in_transaction(connection):
            sqlite_lost.check_unbegun(connection)
            # One that reads first, and writes when others have written since, would be refused then.
            db.read("BEGIN IMMEDIATE")
        sqlite_lost.note_begun(connection)
        db.read("SAVEPOINT durable")
        try:
            sqlite_commit.apply(db, [(0, write)], now_us(), outcomes)
            if plan.concerns_others(write, outcomes[0]):
                db.write(ADD_PULSE)
        except BaseException:
            if in_transaction(connection):  # some errors end it
                db.read("ROLLBACK TO durable")
                db.read("RELEASE durable")
            raise
        db.read("RELEASE durable")
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            raise
        raise StoreUnavailable(
            f"the transaction can't write to {path}, for another one does, or has since it began to read ({error}): "
            "use client.engine(), or give this engine's connections a longer timeout (connect_args={'timeout': 30}) "
            "and write before you read; nothing of this is written"
        ) from error
    return outcomes[0]


def _check_file(connection: Connection, db: Joined, path: Path) -> None:
    what = f"{connection.dialect.name}"
    if connection.dialect.name == "sqlite":
        files = [Path(name) for _, schema, name in db.read("PRAGMA database_list") if schema == "main" and name]
        if files and files[0].exists() and files[0].samefile(path):
            return
        what = str(files[0]) if files else "a database in memory"
    raise ValueError(
        f"the session is one of {what}, and this client's database is {path}: what is to be one transaction has to be "
        "one database"
    )
