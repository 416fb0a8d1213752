"""The shop's own books: a SQLite file apart from durable's, in which each effect on an order happens once.

An activity may be attempted again after its effect has happened: the reply was lost, or the worker died before the
result was recorded. So each effect has a key, (order, step), and is written only if it is not there yet.

The ledger says what the shop holds for an order: units and cents come in (reserve, charge) and go out (ship, or
release and refund), so the rows of an order that is over add up to nothing.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

PATH = os.environ.get("SHOP_DB", "shop.db")

SCHEMA = """
CREATE TABLE IF NOT EXISTS ledger (
    order_id TEXT NOT NULL, step TEXT NOT NULL, units INTEGER NOT NULL, cents INTEGER NOT NULL,
    PRIMARY KEY (order_id, step)
);
CREATE TABLE IF NOT EXISTS attempts (
    order_id TEXT NOT NULL, step TEXT NOT NULL, attempt INTEGER NOT NULL, pid INTEGER NOT NULL,
    effect TEXT NOT NULL CHECK (effect IN ('done', 'was there')), reply_lost INTEGER NOT NULL
);
"""

# A step that is undone before it happened gets an empty row: its place is taken, so a late attempt does nothing.
EFFECTS = "SELECT order_id, step, units, cents FROM ledger WHERE units OR cents OR step NOT IN ('reserve', 'charge')"


def book(order_id: str, step: str, attempt: int, *, units: int = 0, cents: int = 0, reply_lost: bool = False) -> None:
    """Write a step's row, unless it is there. ``reply_lost`` only notes that the caller will not hear of it."""
    with transaction() as db:
        _write(db, order_id, step, attempt, units, cents, reply_lost)


def undo(order_id: str, step: str, attempt: int, *, undoes: str, reply_lost: bool = False) -> None:
    """Write the opposite of what the step ``undoes`` did, be it nothing; from then on it can't happen any more."""
    with transaction() as db:
        db.execute("INSERT OR IGNORE INTO ledger VALUES (?, ?, 0, 0)", (order_id, undoes))
        row = db.execute("SELECT -units, -cents FROM ledger WHERE order_id = ? AND step = ?", (order_id, undoes))
        units, cents = row.fetchone()
        _write(db, order_id, step, attempt, units, cents, reply_lost)


@contextmanager
def transaction(path: str | None = None) -> Iterator[sqlite3.Connection]:
    """A connection inside a write transaction: committed at the end of the block, rolled back by an exception."""
    with closing(sqlite3.connect(path or PATH, timeout=60, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("BEGIN IMMEDIATE")
        with db:
            for statement in SCHEMA.split(";"):
                db.execute(statement)
            yield db


def _write(
    db: sqlite3.Connection, order_id: str, step: str, attempt: int, units: int, cents: int, reply_lost: bool
) -> None:
    new = db.execute("INSERT OR IGNORE INTO ledger VALUES (?, ?, ?, ?)", (order_id, step, units, cents)).rowcount
    effect = "done" if new else "was there"
    row = (order_id, step, attempt, os.getpid(), effect, reply_lost)
    db.execute("INSERT INTO attempts VALUES (?, ?, ?, ?, ?, ?)", row)
