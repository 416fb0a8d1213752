"""The ledger of effects in a user's own SQL database: its table, and what is read and written there.

One row per activity whose effects are in that database: it is inserted before them, in their transaction, and gets the
activity's result with the commit. Its primary key makes two attempts take turns. All of it is plain SQL on a
synchronous `Connection`; who has an async one calls it by ``run_sync``.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Dialect,
    Index,
    LargeBinary,
    MetaData,
    String,
    Table,
    delete,
    insert,
    inspect,
    select,
    update,
)
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.mysql import LONGBLOB
from sqlalchemy.exc import DBAPIError, IntegrityError, NoSuchModuleError
from sqlalchemy.schema import CreateIndex, CreateTable

from durable.effects import Age
from durable.history.values import Payload

KEY_CHARACTERS_MAX = 255
ROUNDS_MAX = 100
"""So often is a key that is in the way found gone, before something else must be wrong."""

effects = Table(
    "durable_effects",
    MetaData(),
    Column("key", String(KEY_CHARACTERS_MAX), primary_key=True),
    # None only while the transaction of the effects is open. MySQL's BLOB ends at 64 KiB.
    Column("result", LargeBinary().with_variant(LONGBLOB(), "mysql", "mariadb")),
    Column("created", BigInteger, nullable=False),  # microseconds since the epoch
)
_by_age = Index("durable_effects_created", effects.c.created)

_decoder = msgspec.msgpack.Decoder(list[Payload])


def ddl(dialect: str) -> str:
    """The statements that make the table, for a dialect by its name in SQLAlchemy. ValueError for an unknown one."""
    try:
        found: type[Dialect] = registry.load(dialect)
    except NoSuchModuleError as error:
        raise ValueError(f"SQLAlchemy knows no dialect {dialect!r}; it knows postgresql, sqlite, mysql …") from error
    return "".join(f"{statement};\n" for statement in _statements(found()))


def _statements(dialect: Dialect) -> list[str]:
    made = (CreateTable(effects), CreateIndex(_by_age))
    return [str(each.compile(dialect=dialect)).strip().replace("\t", "    ").replace(" \n", "\n") for each in made]


def enter(connection: Connection, key: str, now_us: int) -> list[Payload] | None:
    """Begin a transaction that holds the key's row: None. Or the result that is recorded under it, and no transaction
    is open. While another transaction holds the row, the database makes this one wait.

    Raises RuntimeError when the table can't be made or used, or the row tells of effects without a result.
    """
    is_there = False
    for _ in range(ROUNDS_MAX):
        transaction = connection.begin()
        try:
            connection.execute(insert(effects).values(key=key, created=now_us))
            return None
        except IntegrityError:
            transaction.rollback()
            with connection.begin():
                found = connection.execute(select(effects.c.result).where(effects.c.key == key)).first()
            if found is not None:
                return _read(key, found.result)
        except DBAPIError as error:
            transaction.rollback()
            _explain(error)
            if is_there:
                raise
            _make(connection)
            is_there = True
    raise RuntimeError(
        f"the ledger {effects.name} takes no row for {key}, though none is there: compare its columns with what "
        f"`durable db ledger {connection.dialect.name}` prints"
    )


def record(connection: Connection, key: str, result: list[Payload]) -> None:
    """Write the result, in the transaction that `enter` has begun. RuntimeError when that does not hold the row."""
    row = update(effects).where(effects.c.key == key).values(result=msgspec.msgpack.encode(result))
    if connection.execute(row).rowcount != 1:
        raise RuntimeError(f"the ledger's row for {key} is gone from {effects.name}: the effects are not committed")


def aged(connection: Connection, before_us: int, after: Age | None, limit: int) -> list[Age]:
    """Rows that were made before, the oldest first; those after that place."""
    age = (effects.c.created, effects.c.key)
    rows = select(*age).where(effects.c.created < before_us).order_by(*age).limit(limit)
    if after is not None:
        later = (effects.c.created > after[0]) | ((effects.c.created == after[0]) & (effects.c.key > after[1]))
        rows = rows.where(later)
    with connection.begin():
        return [(row.created, row.key) for row in connection.execute(rows)]


def remove(connection: Connection, keys: Sequence[str]) -> None:
    """Take their rows away."""
    with connection.begin():
        connection.execute(delete(effects).where(effects.c.key.in_(keys)))


def _read(key: str, stored: bytes | None) -> list[Payload]:
    if stored is None:
        raise RuntimeError(
            f"the ledger's row for {key} in {effects.name} has no result: something has committed its transaction from "
            "within, as DDL does on MySQL and Oracle. See what it has done there; deleting the row lets the activity "
            "run again"
        )
    try:
        return _decoder.decode(stored)
    except msgspec.MsgspecError as error:
        raise RuntimeError(f"the result that the ledger has for {key} in {effects.name} can't be read") from error


# The table. -------------------------------------------------------------------------------------------------------


def _has_table(connection: Connection) -> bool:
    with connection.begin():
        return inspect(connection).has_table(effects.name)


def _make(connection: Connection) -> None:
    """In a transaction of its own, if it is not there. If another does so at the same time, one of the two succeeds."""
    if _has_table(connection):
        return
    try:
        with connection.begin():
            for statement in (CreateTable(effects), CreateIndex(_by_age)):
                connection.execute(statement)
    except DBAPIError as error:
        _explain(error)
        if _has_table(connection):
            return
        raise RuntimeError(
            f"the ledger of effects exactly once needs a table in this database, which can't be made here "
            f"({error.orig}). Have it made by someone who may; `durable db ledger {connection.dialect.name}` prints "
            "this:\n" + "".join(f"{statement};\n" for statement in _statements(connection.dialect))
        ) from error


def _explain(error: DBAPIError) -> None:
    """SQLite has one writer at a time, and who waits for it does not wait for ever: RuntimeError for that."""
    if "database is locked" in str(error.orig):
        raise RuntimeError(
            "the SQLite database of the effects is locked: it has one writer at a time, and another transaction has "
            "written for longer than this engine waits. Keep activities with exactly_once short, and let the engine "
            'wait longer (5 s is the default): create_engine(…, connect_args={"timeout": 60})'
        ) from error
