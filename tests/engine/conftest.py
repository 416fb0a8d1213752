"""What the engine's tests share: a real client on each of the real stores, and a short way to make real workers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import pytest

from durable import Client, Worker
from durable.activity import ActivityDefinition
from durable.history import database
from durable.history.stores import postgres_watch
from durable.worker import poller
from durable.workflow.definition import WorkflowDefinition
from tests.chaos.places import Place, PostgresPlace, SqlitePlace
from tests.engine.histories import assert_replays, assert_sound
from tests.postgres import Server

LONG_LEASE = timedelta(minutes=5)
"""No test that uses it wants anybody to be declared dead because the machine is busy."""


class MakeWorker(Protocol):
    """``make(workflow, activity, …, option=…)``: a worker for these, not yet begun."""

    def __call__(self, *definitions: Any, **options: Any) -> Worker: ...


class Execute(Protocol):
    """Run a workflow to its end; its history must then be sound, and replay."""

    async def __call__(self, workflow: Any, *args: Any, using: tuple[Any, ...] = ()) -> Any: ...


@pytest.fixture(autouse=True)
def no_look_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers look for work, clients for results, and listeners at their sessions, only when something tells them to:
    a wake-up that is lost hangs its test."""
    monkeypatch.setattr(poller, "FLOOR", 3600.0)
    monkeypatch.setattr(database, "LOOK_INTERVAL", 3600.0)
    monkeypatch.setattr(postgres_watch, "CHECKED_EVERY", 3600.0)


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest) -> str:
    """What is asked of the engine is asked on each of its stores."""
    return str(request.param)


@pytest.fixture
def new_place(store: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[[], Place]]:
    """Makes empty databases, each for as many clients and processes as a test likes."""
    if store == "sqlite":
        numbers = count(1)
        yield lambda: SqlitePlace(tmp_path / f"durable-{next(numbers)}.db")
        return
    server: Server = request.getfixturevalue("postgres_server")
    lent: list[str] = []

    def lend() -> Place:
        lent.append(server.lend())
        return PostgresPlace(server.url(lent[-1]))

    yield lend
    for name in lent:
        server.give_back(name)


@pytest.fixture
def address(new_place: Callable[[], Place]) -> str:
    return new_place().address


@pytest.fixture
async def client(store: str, request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    """On SQLite in memory, which takes no time for the disk."""
    address = "sqlite://" if store == "sqlite" else request.getfixturevalue("address")
    async with await Client.connect(address) as client:
        yield client


def worker_for(client: Client, *definitions: Any, **options: Any) -> Worker:
    return Worker(
        client,
        workflows=[each for each in definitions if WorkflowDefinition.of(each)],
        activities=[each for each in definitions if ActivityDefinition.of(each)],
        **{"lease": LONG_LEASE, **options},
    )


@pytest.fixture
def make_worker(client: Client) -> MakeWorker:
    def make(*definitions: Any, **options: Any) -> Worker:
        return worker_for(client, *definitions, **options)

    return make


CACHED, UNCACHED = 10_000, 0
POSTGRES_CACHED = {"store": "postgres", "max_cached": CACHED}


@pytest.fixture(params=[CACHED, UNCACHED], ids=["cached", "uncached"])
def max_cached(request: pytest.FixtureRequest) -> int:
    """Runs stay in memory, or are rebuilt from their history for every workflow task."""
    return int(request.param)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of the four ways to run what is asked on both stores, cached and not, `make test` takes three: on PostgreSQL
    there is more to go wrong where each workflow task reads the history."""
    here = Path(__file__).parent
    for item in items:
        callspec = getattr(item, "callspec", None)
        if callspec and here in item.path.parents and POSTGRES_CACHED.items() <= callspec.params.items():
            item.add_marker(pytest.mark.all)


@pytest.fixture
def execute(client: Client, make_worker: MakeWorker, max_cached: int) -> Execute:
    async def run(workflow: Any, *args: Any, using: tuple[Any, ...] = ()) -> Any:
        start = getattr(workflow, "run", workflow)
        async with make_worker(workflow, *using, max_cached_workflows=max_cached):
            handle = await client.start_workflow(start, args=args, id="the-run")
            try:
                return await handle.result()
            finally:
                history = await handle.fetch_history()
                assert_sound(history.events)
                await assert_replays(workflow, history)

    return run
