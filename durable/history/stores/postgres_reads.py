"""What a PostgreSQL database holds, read as values; on a connection that is held."""

from __future__ import annotations

from collections.abc import Sequence

from durable.history.stores.postgres_connection import Asking, Connection
from durable.history.stores.postgres_errors import BAD_DATA
from durable.history.stores.postgres_search import SEARCHES
from durable.history.stores.postgres_sql import statements
from durable.history.stores.sql import activity_task, run_info, stored_message
from durable.history.transition import ActivityTask, RunInfo, StoredMessage
from durable.history.visibility.attributes import AttributeType
from durable.history.visibility.search import Group, Position, Search


async def runs_by_id(db: Asking, run_ids: Sequence[str]) -> dict[str, RunInfo]:
    if not run_ids:
        return {}
    return {row[0]: run_info(row) for row in await db.read(statements().read_runs.runs_by_id, run_ids)}


async def latest_runs(db: Asking, wanted: dict[str, list[str]]) -> dict[tuple[str, str], RunInfo]:
    """The latest run of each workflow id, by (namespace, workflow id); ``wanted`` are workflow ids by namespace."""
    latest: dict[tuple[str, str], RunInfo] = {}
    for namespace, workflow_ids in wanted.items():
        for row in await db.read(statements().own.latest_runs, workflow_ids, namespace):
            latest[namespace, row[2]] = run_info(row)
    return latest


async def find(db: Connection, namespace: str, workflow_id: str, run_id: str | None) -> RunInfo | None:
    try:
        if run_id is None:
            rows = await db.read(statements().read_runs.find_latest, namespace, workflow_id)
            return run_info(rows[0]) if rows else None
        run = (await runs_by_id(db, [run_id])).get(run_id)
    except BAD_DATA:
        return None  # a lone surrogate, or a NUL: no database holds such an id
    return run if run and run.namespace == namespace and workflow_id in ("", run.workflow_id) else None


async def list_runs(
    db: Connection, namespace: str, search: Search, limit: int, after: Position | None
) -> list[RunInfo]:
    asked = SEARCHES.listing(namespace, search, limit, after, await _weights(db, namespace, search))
    return [run_info(row) for row in await db.read(asked.text, *asked.values)]


async def count_runs(db: Connection, namespace: str, search: Search) -> list[Group]:
    asked = SEARCHES.counting(namespace, search, await _weights(db, namespace, search))
    return [Group(row[-1], tuple(row[:-1])) for row in await db.read(asked.text, *asked.values)]


async def _weights(db: Connection, namespace: str, search: Search) -> Sequence[int]:
    asked = SEARCHES.weighing(namespace, search)
    return () if asked is None else (await db.read(asked.text, *asked.values))[0]


async def attribute_types(db: Connection, namespace: str) -> dict[str, AttributeType]:
    rows = await db.read(statements().read_runs.attribute_types, namespace)
    return {name: AttributeType(kind) for name, kind in rows}


async def history(db: Connection, run_id: str, after: int) -> list[bytes]:
    rows = await db.read(statements().read_parts.history, run_id, run_id, after + 1, after + 1)
    return [row[0] for row in rows]


async def endings(db: Connection, run_ids: Sequence[str]) -> dict[str, bytes]:
    return {row[0]: row[1] for row in await db.read(statements().read_runs.endings, run_ids)}


async def inbox(db: Connection, run_id: str) -> list[StoredMessage]:
    return [stored_message(row) for row in await db.read(statements().read_parts.inbox, run_id)]


async def tasks(db: Connection, run_id: str) -> list[ActivityTask]:
    return [activity_task(row) for row in await db.read(statements().read_parts.tasks, run_id)]


async def replies(db: Connection, ids: Sequence[str]) -> dict[str, bytes]:
    return {row[0]: row[1] for row in await db.read(statements().read_parts.replies, ids)}
