"""A database from before there were search attributes to look for: its runs are found by what they have."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from durable.history import codec
from durable.history.events import WorkflowExecutionFailed
from durable.history.migrations.upgrade import config
from durable.history.store import Store
from durable.history.stores import open_store
from durable.history.stores.postgres_address import address
from durable.history.stores.postgres_connection import connect
from durable.history.upkeep import tables
from durable.history.values import ActivityFailureInfo, Failure, TimeoutFailureInfo, TimeoutType
from durable.history.visibility.attributes import RunKind
from durable.history.visibility.parser import parse
from durable.history.visibility.search import Search
from tests.history.worlds import NAMESPACE
from tests.postgres import Server
from tests.visibility import crowd
from tests.visibility.test_meaning import ids

CROWD = crowd.crowd(80, seed=7)
OLD_COLUMNS = (
    "run_id, namespace, workflow_id, generation, workflow_type, task_queue, status, last_event_id, history_bytes, "
    "started_us, closed_us, first_execution_run_id, request_id"
)


def make_old(connection: sa.Connection) -> None:
    """Tables as they were, with runs in them."""
    alembic = config()
    alembic.attributes["connection"] = connection
    command.upgrade(alembic, "0004")
    add = sa.text(
        f"INSERT INTO durable_runs ({OLD_COLUMNS}, search_attributes) VALUES (:run_id, '{NAMESPACE}', :workflow_id, 1, "
        ":type, :queue, :status, 1, 1, :started_us, :closed_us, 'f', 'r', :attributes)"
    )
    for begun in CROWD.starts:
        assert begun.start is not None and begun.shown is not None
        attributes = begun.shown.search_attributes
        connection.execute(
            add,
            {
                "run_id": begun.run_id,
                "workflow_id": begun.start.workflow_id,
                "type": begun.start.workflow_type,
                "queue": begun.start.task_queue,
                "status": int(begun.status),
                "started_us": begun.start.started_us,
                "closed_us": begun.closed_us,
                "attributes": codec.encode(attributes) if attributes else None,
            },
        )
    broken = {"workflow_id": "x", "type": "x", "queue": "q", "status": 3, "started_us": 1, "closed_us": 2}
    connection.execute(add, broken | {"run_id": "broken", "attributes": b"\xc1"})
    for run_id, ending in (("failed", failure(None)), ("timed out", failure(TimeoutFailureInfo(timeout_type=TIMEOUT)))):
        facts = {"run_id": run_id, "workflow_id": f"__temporal_activity:{run_id}", "attributes": None}
        connection.execute(add, broken | facts | {"type": "__temporal_activity:charge"})
        connection.execute(
            sa.text("INSERT INTO durable_history VALUES (:run_id, 1, 1, :data)"), {"run_id": run_id, "data": ending}
        )


TIMEOUT = TimeoutType.START_TO_CLOSE


def failure(info: Any) -> bytes:
    cause = Failure(message="why", info=info)
    around = Failure(message="the activity's", cause=cause, info=ActivityFailureInfo(activity_type="charge"))
    return codec.encode([WorkflowExecutionFailed(id=1, time_us=1, workflow_task_completed_event_id=1, failure=around)])


@pytest.fixture
def empty(postgres_server: Server) -> Iterator[str]:
    name = postgres_server.create(template="template0")
    yield postgres_server.url(name)
    postgres_server.drop(name)


@pytest.fixture(params=["sqlite", "postgres"])
async def old(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database as it was."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'old.db'}"
        with sa.create_engine(url, poolclass=NullPool).begin() as connection:
            make_old(connection)
        return url
    url = str(request.getfixturevalue("empty"))
    connecting: Any = partial(connect, address(url))
    engine = create_async_engine("postgresql+asyncpg://", async_creator=connecting, poolclass=NullPool)
    async with engine.begin() as opened:
        await opened.run_sync(make_old)
    await engine.dispose()
    return url


async def test_what_was_there_is_found_once_the_tables_are_of_today(old: str) -> None:
    async with open_store(old) as store:
        await check_all_is_found(store)


@pytest.mark.parametrize(
    "left_out",
    [
        ["UPDATE durable_runs SET kind = 0", "DELETE FROM durable_search_attributes"],
        ["DELETE FROM durable_search_attributes WHERE ordinal = 0 AND name = 'Kw'"],
        ["UPDATE durable_search_attributes SET keyword = 'of before' WHERE keyword = 'ab'"],
        ["DELETE FROM durable_search_attributes", "DELETE FROM durable_search_attribute_types"],
        ["UPDATE durable_runs SET status = 3 WHERE run_id = 'timed out'"],
    ],
)
async def test_what_a_worker_of_before_writes_after_the_upgrade_is_found_once_it_is_repaired(
    old: str, left_out: list[str]
) -> None:
    async with open_store(old) as store:
        await write(old, left_out)
        first, again = await tables.repair(old), await tables.repair(old)

        assert first > 0 and again == 0
        await check_all_is_found(store)


async def write(url: str, statements: list[str]) -> None:
    """As another program does."""
    if url.startswith("sqlite"):
        with sa.create_engine(url, poolclass=NullPool).begin() as file:
            for statement in statements:
                file.exec_driver_sql(statement)
        return
    raw = await connect(address(url))
    for statement in statements:
        await raw.execute(statement)
    await raw.close(timeout=10)


async def check_all_is_found(store: Store) -> None:
    for query, name, value in (
        ("Kw = 'ab'", "Kw", "ab"),
        ("Int = 2", "Int", 2),
        ("Flag = true", "Flag", True),
        ("Real = 0.1", "Real", 0.1),
    ):
        wanted = [row["RunId"] for row in CROWD.rows if row.get(name) == value]
        assert wanted and sorted(await ids(store, query)) == wanted
    members = [row["RunId"] for row in CROWD.rows if "ab" in row.get("List", [])]
    assert members and sorted(await ids(store, "List = 'ab'")) == members
    assert len(await ids(store, "")) == len(CROWD.rows) + 1
    activities = {
        run.run_id: run.status.name
        for run in await store.list_runs(NAMESPACE, Search(parse("ActivityType = 'charge'"), RunKind.ACTIVITY))
    }
    assert activities == {"failed": "FAILED", "timed out": "TIMED_OUT"}
