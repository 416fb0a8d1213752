"""Kept in the module: a cache that all runs share decides whether an activity is scheduled."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from durable import Client, activity, workflow
from durable.testing.plugin import StartWorker

rates: dict[str, int] = {}


@pytest.fixture(autouse=True)
def no_rate_is_known() -> None:
    rates.clear()


@activity.defn(start_to_close_timeout=timedelta(seconds=30))
async def look_up(currency: str) -> int:
    return {"pound": 117, "franc": 104}[currency]


@workflow.defn
async def faulty(amounts: list[tuple[str, int]]) -> int:
    total = 0
    for currency, amount in amounts:
        if currency not in rates:
            rates[currency] = await look_up(currency)
        total += amount * rates[currency]
    return total


@workflow.defn
async def mended(amounts: list[tuple[str, int]]) -> int:
    known: dict[str, int] = {}
    total = 0
    for currency, amount in amounts:
        if currency not in known:
            known[currency] = await look_up(currency)
        total += amount * known[currency]
    return total


@pytest.mark.crash_sweep
@pytest.mark.parametrize("add_up", [faulty, mended], ids=["faulty", "mended"])
async def test_amounts_add_up(add_up: Any, durable_client: Client, durable_worker: StartWorker) -> None:
    await durable_worker(workflows=[add_up], activities=[look_up])

    assert await durable_client.execute_workflow(add_up, [("pound", 2), ("franc", 1), ("pound", 1)], id="sum") == 455
