"""What a SQLite file holds, read as values."""

from __future__ import annotations

from collections.abc import Sequence

from durable.history.stores.sql import activity_task, run_info, stored_message
from durable.history.stores.sql_search import Searches
from durable.history.stores.sqlite_file import Asking, Connection
from durable.history.stores.sqlite_sql import DIALECT, listed, statements
from durable.history.transition import ActivityTask, AttemptToken, RunInfo, StoredMessage
from durable.history.visibility.attributes import AttributeType
from durable.history.visibility.search import Group, Position, Search

SEARCHES = Searches(DIALECT)


def runs_by_id(db: Asking, run_ids: Sequence[str]) -> dict[str, RunInfo]:
    if not run_ids:
        return {}
    return {row[0]: run_info(row) for row in db.read(statements().read_runs.runs_by_id, (listed(run_ids),))}


def latest_runs(db: Asking, wanted: dict[str, list[str]]) -> dict[tuple[str, str], RunInfo]:
    """The latest run of each workflow id, by (namespace, workflow id); ``wanted`` are workflow ids by namespace."""
    latest: dict[tuple[str, str], RunInfo] = {}
    for namespace, workflow_ids in wanted.items():
        for row in db.read(statements().own.latest_runs, (listed(workflow_ids), namespace, namespace)):
            latest[namespace, row[2]] = run_info(row)
    return latest


def alive(db: Asking) -> set[str]:
    """The ids of the workers that nobody has declared dead."""
    return {row[0] for row in db.read(statements().workers.alive)}


def tokens(db: Connection, statement: str, worker_id: str) -> list[AttemptToken]:
    """The attempts of a worker that ``statement`` selects."""
    return [
        AttemptToken(run_id=run_id, scheduled_event_id=event_id, owner=worker_id, attempt=attempt)
        for run_id, event_id, attempt in db.read(statement, (worker_id,))
    ]


def find(db: Connection, namespace: str, workflow_id: str, run_id: str | None) -> RunInfo | None:
    try:
        if run_id is None:
            row = db.read(statements().read_runs.find_latest, (namespace, workflow_id)).fetchone()
            return None if row is None else run_info(row)
        run = runs_by_id(db, [run_id]).get(run_id)
    except UnicodeEncodeError:
        return None  # a lone surrogate: no database holds such an id
    return run if run and run.namespace == namespace and workflow_id in ("", run.workflow_id) else None


def list_runs(db: Connection, namespace: str, search: Search, limit: int, after: Position | None) -> list[RunInfo]:
    asked = SEARCHES.listing(namespace, search, limit, after, _weights(db, namespace, search))
    return [run_info(row) for row in db.read(*asked)]


def count_runs(db: Connection, namespace: str, search: Search) -> list[Group]:
    asked = SEARCHES.counting(namespace, search, _weights(db, namespace, search))
    return [Group(row[-1], tuple(row[:-1])) for row in db.read(*asked)]


def _weights(db: Connection, namespace: str, search: Search) -> Sequence[int]:
    asked = SEARCHES.weighing(namespace, search)
    return () if asked is None else db.read(*asked).fetchall()[0]


def attribute_types(db: Connection, namespace: str) -> dict[str, AttributeType]:
    rows = db.read(statements().read_runs.attribute_types, (namespace,))
    return {name: AttributeType(kind) for name, kind in rows}


def history(db: Connection, run_id: str, after: int) -> list[bytes]:
    return [row[0] for row in db.read(statements().read_parts.history, (run_id, run_id, after + 1, after + 1))]


def endings(db: Connection, run_ids: Sequence[str]) -> dict[str, bytes]:
    return dict(db.read(statements().read_runs.endings, (listed(run_ids),)).fetchall())


def inbox(db: Connection, run_id: str) -> list[StoredMessage]:
    return [stored_message(row) for row in db.read(statements().read_parts.inbox, (run_id,))]


def tasks(db: Connection, run_id: str) -> list[ActivityTask]:
    return [activity_task(row) for row in db.read(statements().read_parts.tasks, (run_id,))]


def replies(db: Connection, ids: Sequence[str]) -> dict[str, bytes]:
    return dict(db.read(statements().read_parts.replies, (listed(ids),)).fetchall())
