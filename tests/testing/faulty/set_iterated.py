"""A set iterated: the order of strings in a set is another one in each process, and so is the order of activities."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from durable import Client, activity, workflow
from durable.testing.plugin import StartWorker

MINUTE = timedelta(minutes=1)

told: list[str] = []


@pytest.fixture(autouse=True)
def nobody_is_told() -> None:
    told.clear()


@activity.defn
async def tell(reader: str, news: str) -> None:
    told.append(f"{reader}: {news}")


@workflow.defn
async def faulty(news: str, readers: set[str]) -> None:
    for reader in readers:
        await workflow.execute_activity(tell, args=[reader, news], start_to_close_timeout=MINUTE)


@workflow.defn
async def mended(news: str, readers: set[str]) -> None:
    for reader in sorted(readers):
        await workflow.execute_activity(tell, args=[reader, news], start_to_close_timeout=MINUTE)


@pytest.mark.crash_sweep
@pytest.mark.parametrize("spread", [faulty, mended], ids=["faulty", "mended"])
async def test_news_go_to_every_reader(spread: Any, durable_client: Client, durable_worker: StartWorker) -> None:
    await durable_worker(workflows=[spread], activities=[tell])

    await durable_client.execute_workflow(spread, args=["shipped", {"Ada", "Grace", "Hedy"}], id="news")

    assert set(told) == {"Ada: shipped", "Grace: shipped", "Hedy: shipped"}
