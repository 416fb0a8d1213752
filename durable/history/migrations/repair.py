"""What a worker of an older version has written after an upgrade, made whole: it knows no newer columns and tables."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import sqlalchemy as sa

from durable.history import codec
from durable.history.errors import CorruptHistory
from durable.history.events import WorkflowExecutionFailed
from durable.history.standalone import status_of_failure
from durable.history.visibility import indexing
from durable.history.visibility.attributes import AttributeType, kind_of

BATCH = 1000
FAILED = 3
RUNS = (
    "SELECT run_id, namespace, kind, workflow_type, started_us, search_attributes FROM durable_runs WHERE {where} "
    "ORDER BY run_id{more}"
)
ROWS = (
    'SELECT run_id, name, ordinal, namespace, kind, started_us, keyword, number, "real" FROM durable_search_attributes '
    "WHERE run_id >= :first AND run_id <= :last"
)
INSERT = (
    "INSERT INTO durable_search_attributes VALUES (:run_id, :name, :ordinal, :namespace, :kind, :started_us, :keyword, "
    ":number, :real)"
)
COLUMNS = ("run_id", "name", "ordinal", "namespace", "kind", "started_us", "keyword", "number", "real")

Types = dict[tuple[str, str], AttributeType]
Row = tuple[Any, ...]


def repair(database: sa.Connection) -> int:
    """Runs are found by what they have, once more; the number of those that were not. It commits as it goes, so that
    workers may be at work meanwhile; what is whole is only read."""
    repaired, after = 0, ""
    while True:
        statement = RUNS.format(where="run_id > :after", more=f" LIMIT {BATCH}")
        runs = database.execute(sa.text(statement), {"after": after}).all()
        if not runs:
            break
        after = runs[-1][0]
        broken = _broken(database, runs, _types(database))
        database.commit()
        if broken:
            repaired += _mend(database, list(broken))
    repaired += say_what_timed_out(database)
    database.commit()
    return repaired


def _mend(database: sa.Connection, run_ids: list[str]) -> int:
    """Those that are broken now that nobody else can write them."""
    is_sqlite = database.dialect.name == "sqlite"
    if is_sqlite:
        database.exec_driver_sql("BEGIN IMMEDIATE")
    these: sa.BindParameter[list[str]] = sa.bindparam("ids", expanding=True)
    statement = RUNS.format(where="run_id IN :ids", more="" if is_sqlite else " FOR UPDATE")
    runs = database.execute(sa.text(statement).bindparams(these), {"ids": run_ids}).all()
    types = _types(database)
    known = set(types)
    broken = _broken(database, runs, types)
    for run in runs:
        if run[0] in broken:
            key = {"run_id": run[0], "kind": int(kind_of(run[3]))}
            database.execute(sa.text("UPDATE durable_runs SET kind = :kind WHERE run_id = :run_id"), key)
            database.execute(sa.text("DELETE FROM durable_search_attributes WHERE run_id = :run_id"), key)
    rows: list[dict[str, Any]] = [dict(zip(COLUMNS, row, strict=True)) for each in broken.values() for row in each]
    if rows:
        database.execute(sa.text(INSERT), rows)
    new = [{"namespace": at[0], "name": at[1], "type": int(types[at])} for at in types if at not in known]
    if new:
        database.execute(
            sa.text(
                "INSERT INTO durable_search_attribute_types VALUES (:namespace, :name, :type) ON CONFLICT DO NOTHING"
            ),
            new,
        )
    database.commit()
    return len(broken)


def _types(database: sa.Connection) -> Types:
    found = database.execute(sa.text("SELECT namespace, name, type FROM durable_search_attribute_types"))
    return {(namespace, name): AttributeType(kind) for namespace, name, kind in found}


def _broken(database: sa.Connection, runs: Collection[Any], types: Types) -> dict[str, list[Row]]:
    """The runs that are not found by what they have, with the rows by which they would be."""
    ids = [run[0] for run in runs]
    there: dict[str, set[Row]] = {run_id: set() for run_id in ids}
    for row in database.execute(sa.text(ROWS), {"first": ids[0], "last": ids[-1]}) if ids else ():
        if row[0] in there:
            there[row[0]].add(tuple(row))
    broken: dict[str, list[Row]] = {}
    for run_id, namespace, kind, workflow_type, started_us, stored in runs:
        wanted = int(kind_of(workflow_type))
        rows = _rows((run_id, namespace, wanted, started_us), stored, types)
        if kind != wanted or set(rows) != there[run_id]:
            broken[run_id] = rows
    return broken


def _rows(run: tuple[str, str, int, int], stored: bytes | None, types: Types) -> list[Row]:
    run_id, namespace, kind, started_us = run
    rows: list[Row] = []
    for name, value in values(stored) if stored is not None else ():
        read = indexing.read(value)
        if read is None or not indexing.is_name(name):
            continue
        kept = indexing.entries(read.value, types.setdefault((namespace, name), read.type))
        rows += [(run_id, name, place, namespace, kind, started_us, *entry) for place, entry in enumerate(kept)]
    return rows


def values(stored: bytes) -> list[tuple[str, Any]]:
    try:
        return list(codec.decode_values(stored).items())
    except CorruptHistory:
        return []


def say_what_timed_out(database: sa.Connection) -> int:
    """An activity that a client has started, and that ran out of time, was only said to have failed: how many did."""
    changed = 0
    last = "(SELECT max(first_id) FROM durable_history AS o WHERE o.run_id = h.run_id)"
    for rows in batches(database, "run_id", f"kind = 1 AND status = {FAILED}"):
        for (run_id,) in rows:
            ending = database.execute(
                sa.text(f"SELECT data FROM durable_history AS h WHERE run_id = :run_id AND first_id = {last}"),
                {"run_id": run_id},
            ).scalar()
            status = _status(ending)
            if status is not None and status != FAILED:
                database.execute(
                    sa.text("UPDATE durable_runs SET status = :status WHERE run_id = :run_id"),
                    {"status": status, "run_id": run_id},
                )
                changed += 1
    return changed


def _status(ending: bytes | None) -> int | None:
    try:
        closing = codec.decode_events(ending)[-1] if ending is not None else None
    except CorruptHistory:
        return None
    return int(status_of_failure(closing.failure)) if isinstance(closing, WorkflowExecutionFailed) else None


def batches(database: sa.Connection, columns: str, where: str) -> Iterator[list[Any]]:
    """By their ids, which are in the order of their starts."""
    after = ""
    while True:
        rows = database.execute(
            sa.text(
                f"SELECT {columns} FROM durable_runs WHERE run_id > :after AND {where} ORDER BY run_id LIMIT {BATCH}"
            ),
            {"after": after},
        ).all()
        if not rows:
            return
        yield list(rows)
        after = rows[-1][0]
