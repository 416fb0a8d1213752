"""Handlers that are at work when their run closes, however it closes: rule 13.9."""

from __future__ import annotations

import asyncio
import json
import warnings

import pytest

from durable import Client, workflow
from durable.client import WorkflowUpdateFailedError
from durable.exceptions import ApplicationError
from tests.engine.conftest import MakeWorker
from tests.engine.rules.runs import sent


@workflow.defn
class Closes:
    @workflow.run
    async def run(self, how: str) -> str:
        await workflow.wait_condition(lambda: self.begun == 3)
        match how:
            case "fails":
                raise ApplicationError("on purpose")
            case "continues":
                workflow.continue_as_new("completes")
            case "is cancelled":
                await workflow.wait_condition(lambda: False)
        return "over"

    begun = 0

    async def work(self) -> None:
        self.begun += 1
        await workflow.wait_condition(lambda: False)

    @workflow.signal
    async def tell(self) -> None:
        await self.work()

    @workflow.update
    async def change(self) -> None:
        await self.work()

    @workflow.update(unfinished_policy=workflow.HandlerUnfinishedPolicy.ABANDON)
    async def change_quietly(self) -> None:
        await self.work()


@pytest.mark.parametrize("how", ["completes", "fails", "continues", "is cancelled"])
async def test_a_run_that_closes_before_its_handlers_warns_of_those_that_mind(
    client: Client, make_worker: MakeWorker, max_cached: int, how: str
) -> None:
    handle = await client.start_workflow(Closes.run, how, id="c")
    await handle.signal(Closes.tell)
    updates = [
        asyncio.ensure_future(handle.execute_update(Closes.change, id="missed")),
        asyncio.ensure_future(handle.execute_update(Closes.change_quietly)),
    ]
    await sent(handle, 3)
    if how == "is cancelled":
        await handle.cancel()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        async with make_worker(Closes, max_cached_workflows=max_cached):
            await asyncio.wait(updates)
    for update in updates:
        error = update.exception()
        assert isinstance(error, WorkflowUpdateFailedError) and isinstance(error.cause, ApplicationError)
        assert error.cause.type == "AcceptedUpdateCompletedWorkflow"
    of_updates, of_signals = [
        [str(each.message) for each in warned if each.category is category]
        for category in (workflow.UnfinishedUpdateHandlersWarning, workflow.UnfinishedSignalHandlersWarning)
    ]
    (of_update,), (of_signal,) = of_updates, of_signals
    assert of_update.startswith("[TMPRL1102]") and json.dumps([{"name": "change", "id": "missed"}]) in of_update
    assert of_signal.startswith("[TMPRL1102]") and '["tell"]' in of_signal
