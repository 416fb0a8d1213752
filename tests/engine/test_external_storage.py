"""External storage: large values go round the database, through workflows, activities, signals and errors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from durable import Client, activity, workflow
from durable.client import WorkflowFailureError
from durable.common import RetryPolicy
from durable.converter import DataConverter, ExternalStorage, PayloadTooLarge, StorageDriverWorkflowInfo
from durable.exceptions import ActivityError, ApplicationError
from tests.conversion.test_codec import Base64
from tests.conversion.test_parts import Shelf
from tests.engine.conftest import worker_for

LARGE = "x" * 3_000_000


@activity.defn
async def double(text: str) -> str:
    if len(text) == 1:
        raise ApplicationError("too short", LARGE)
    return text + text


@workflow.defn
class Growing:
    def __init__(self) -> None:
        self.heard = ""

    @workflow.run
    async def run(self, text: str) -> str:
        await workflow.wait_condition(lambda: bool(self.heard))
        return await workflow.execute_activity(
            double,
            text if self.heard == LARGE else self.heard,
            start_to_close_timeout=timedelta(seconds=30),
            retry_policy=RetryPolicy(maximum_attempts=1),
        )

    @workflow.signal
    def hear(self, text: str) -> None:
        self.heard = text

    @workflow.query
    def what(self) -> str:
        return self.heard


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
async def client(store: str, shelf: Shelf, request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    address = "sqlite://" if store == "sqlite" else request.getfixturevalue("address")
    converter = DataConverter(payload_codec=Base64(), external_storage=ExternalStorage([shelf]))
    async with await Client.connect(address, data_converter=converter) as client:
        yield client


@pytest.mark.parametrize("cached", [10_000, 0], ids=["cached", "uncached"])
async def test_large_values_go_everywhere_and_the_database_holds_references(
    client: Client, shelf: Shelf, cached: int
) -> None:
    async with worker_for(client, Growing, double, max_cached_workflows=cached):
        handle = await client.start_workflow(Growing.run, LARGE, id="growing", memo={"large": LARGE})
        await handle.signal(Growing.hear, LARGE)
        assert await handle.query(Growing.what) == LARGE
        assert await handle.result() == LARGE + LARGE

    assert len((await handle.fetch_history()).to_json()) < 20_000
    assert await (await handle.describe()).memo_value("large") == LARGE
    assert len(shelf.kept) >= 6
    targets: list[Any] = [context.target for context in shelf.contexts]
    assert {(type(target), target.namespace, target.id) for target in targets} == {
        (StorageDriverWorkflowInfo, "default", "growing")
    }


async def test_details_of_errors_are_cut_as_without_a_storage(client: Client) -> None:
    async with worker_for(client, Growing, double):
        handle = await client.start_workflow(Growing.run, "a", id="failing")
        await handle.signal(Growing.hear, "a")
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
    assert isinstance(failed.value.cause, ActivityError) and isinstance(failed.value.cause.cause, ApplicationError)
    assert "was left out: 3000002 bytes are more" in failed.value.cause.cause.details[0]


async def test_what_no_driver_takes_is_refused_by_name_at_the_call_or_fails_the_attempt(
    store: str, address: str
) -> None:
    refusing = ExternalStorage([Shelf()], lambda context, payload: None)
    converter = DataConverter(external_storage=refusing)
    async with await Client.connect(address, data_converter=converter) as client:
        with pytest.raises(Exception, match="3,000,002 bytes are more than the 2,097,152") as refused:
            await client.start_workflow(Growing.run, LARGE, id="refused")
        assert isinstance(refused.value, PayloadTooLarge) or isinstance(refused.value.__cause__, PayloadTooLarge)

        async with worker_for(client, Growing, double):
            handle = await client.start_workflow(Growing.run, "a", id="too-large")
            await handle.signal(Growing.hear, "x" * 2_000_000)
            with pytest.raises(WorkflowFailureError) as failed:
                await handle.result()
    assert isinstance(failed.value.cause, ActivityError)
    assert "4,000,002 bytes are more than the 2,097,152" in str(failed.value.cause.cause)
