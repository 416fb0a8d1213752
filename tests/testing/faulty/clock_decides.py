"""The clock decides: a loop that ends by the machine's clock goes round more often when it is replayed."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest

from durable import Client, activity, workflow
from durable.testing.plugin import StartWorker


@activity.defn(start_to_close_timeout=timedelta(seconds=30))
async def is_ready(report: str) -> bool:
    return False


@workflow.defn(sandboxed=False)  # else the clock would be refused
async def faulty(report: str, patience: float) -> str:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if await is_ready(report):
            return "ready"
        await workflow.sleep(patience / 2)
    return "given up"


@workflow.defn
async def mended(report: str, patience: float) -> str:
    deadline = workflow.time() + patience
    while workflow.time() < deadline:
        if await is_ready(report):
            return "ready"
        await workflow.sleep(patience / 2)
    return "given up"


@pytest.mark.crash_sweep
@pytest.mark.parametrize("fetch", [faulty, mended], ids=["faulty", "mended"])
async def test_patience_has_an_end(fetch: Any, durable_client: Client, durable_worker: StartWorker) -> None:
    await durable_worker(workflows=[fetch], activities=[is_ready])

    assert await durable_client.execute_workflow(fetch, args=["sales", 0.02], id="report") == "given up"
