"""What the tests of faults share: a database of each kind, a client on it, and workers that are theirs alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import pytest

from durable import Client, Worker
from durable.activity import ActivityDefinition
from durable.workflow.definition import WorkflowDefinition
from tests.chaos.places import Place, PostgresPlace, SqlitePlace

LONG_LEASE = timedelta(minutes=5)
"""No test that uses it wants anybody to be declared dead because the machine is busy."""


class MakeWorker(Protocol):
    """``make(client, workflow, activity, …, option=…)``: a worker for these, not yet begun."""

    def __call__(self, client: Client, *definitions: Any, **options: Any) -> Worker: ...


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty database: its ``address``, and a way to ``ask`` it from outside."""
    if request.param == "postgres":
        return PostgresPlace(request.getfixturevalue("postgres"))
    return SqlitePlace(tmp_path / "durable.db")


@pytest.fixture
def address(place: Place) -> str:
    return place.address


@pytest.fixture
async def client(address: str) -> AsyncIterator[Client]:
    async with await Client.connect(address) as client:
        yield client


@pytest.fixture
def make_worker() -> MakeWorker:
    return worker_for


def worker_for(client: Client, *definitions: Any, **options: Any) -> Worker:
    return Worker(
        client,
        workflows=[each for each in definitions if WorkflowDefinition.of(each)],
        activities=[each for each in definitions if ActivityDefinition.of(each)],
        **{"lease": LONG_LEASE, **options},
    )
