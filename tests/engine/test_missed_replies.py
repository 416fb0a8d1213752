"""A caller who does not see the reply to an update while it is kept finds the answer in the history."""

from __future__ import annotations

import asyncio

import pytest

from durable import Client, workflow
from durable.client import WorkflowUpdateStage, updates
from tests.engine.conftest import MakeWorker


@workflow.defn
class Counter:
    def __init__(self) -> None:
        self.count = 0

    @workflow.run
    async def run(self) -> int:
        await workflow.wait_condition(lambda: self.count >= 2)
        return self.count

    @workflow.update
    async def add(self, number: int) -> int:
        self.count += number
        await workflow.wait_condition(lambda: self.count >= 2)
        return self.count


async def test_a_caller_who_misses_the_reply_to_an_update_finds_the_answer_in_the_history(
    client: Client, make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*reply_ids: str) -> bytes:
        await asyncio.Event().wait()
        return b""

    monkeypatch.setattr(updates, "LOOK_AGAIN", 0.01)
    monkeypatch.setattr(client.database, "reply", never)
    async with make_worker(Counter):
        handle = await client.start_workflow(Counter.run, id="w")

        accepted = await handle.start_update(Counter.add, 1, wait_for_stage=WorkflowUpdateStage.ACCEPTED)
        assert await handle.execute_update(Counter.add, 1) == 2
        assert await accepted.result() == 2
