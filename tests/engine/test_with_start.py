"""A start together with a signal or an update: one that is running gets the message only."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from durable import Client, workflow
from durable.client import (
    RPCError,
    WithStartWorkflowOperation,
    WorkflowUpdateFailedError,
    WorkflowUpdateStage,
)
from durable.common import WorkflowIDConflictPolicy as Conflict
from durable.common import WorkflowIDReusePolicy as Reuse
from durable.exceptions import WorkflowAlreadyStartedError
from durable.history.events import WorkflowExecutionSignaled
from tests.engine.conftest import MakeWorker
from tests.engine.histories import of_type


@workflow.defn
class Cart:
    @workflow.init
    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.items: list[str] = []
        self.paid = False

    @workflow.run
    async def run(self, owner: str) -> list[str]:
        await workflow.wait_condition(lambda: self.paid)
        return [owner, *self.items]

    @workflow.signal
    def put(self, item: str) -> None:
        self.items.append(item)

    @workflow.update
    def add(self, item: str) -> list[str]:
        self.items.append(item)
        return self.items

    @add.validator
    def known(self, item: str) -> None:
        if item == "nothing":
            raise ValueError("no such item")

    @workflow.signal
    def pay(self) -> None:
        self.paid = True


def operation(conflict: Conflict = Conflict.USE_EXISTING, **options: Any) -> WithStartWorkflowOperation[Any, list[str]]:
    return WithStartWorkflowOperation(Cart.run, "Ann", id="cart", id_conflict_policy=conflict, **options)


@pytest.mark.parametrize("with_worker", [False, True], ids=["before a worker", "with a worker"])
async def test_a_signal_starts_the_workflow_once(client: Client, make_worker: MakeWorker, with_worker: bool) -> None:
    async def put(item: str) -> Any:
        return await client.start_workflow(Cart.run, "Ann", id="cart", start_signal="put", start_signal_args=[item])

    worker = make_worker(Cart)
    if with_worker:
        await worker.__aenter__()
    handles = [await put("book"), await put("pen")]
    if not with_worker:
        await worker.__aenter__()
    try:
        assert handles[0].result_run_id == handles[1].result_run_id
        assert handles[0].first_execution_run_id is None
        await handles[0].signal(Cart.pay)
        assert await handles[1].result() == ["Ann", "book", "pen"]
        again = await put("next")
        assert again.result_run_id != handles[0].result_run_id
    finally:
        await worker.__aexit__(None, None, None)


async def test_signals_with_start_from_many_callers_make_one_run_with_all_of_them(
    client: Client, make_worker: MakeWorker
) -> None:
    async with make_worker(Cart):
        starts = [
            client.start_workflow(Cart.run, "Ann", id="cart", start_signal="put", start_signal_args=[str(number)])
            for number in range(20)
        ]
        [run_id] = {handle.result_run_id for handle in await asyncio.gather(*starts)}
        handle = client.get_workflow_handle("cart", run_id=run_id)
        await handle.signal("pay")
        assert sorted((await handle.result())[1:], key=int) == [str(number) for number in range(20)]
    assert len(of_type(await handle.fetch_history(), WorkflowExecutionSignaled)) == 21


async def test_an_update_starts_the_workflow_or_finds_it_running(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(Cart):
        first, second = operation(), operation()
        assert await client.execute_update_with_start_workflow(Cart.add, "book", start_workflow_operation=first) == [
            "book"
        ]
        update = await client.start_update_with_start_workflow(
            Cart.add, "pen", start_workflow_operation=second, wait_for_stage=WorkflowUpdateStage.ACCEPTED
        )
        assert await update.result() == ["book", "pen"]
        handle = await first.workflow_handle()
        assert handle.result_run_id == (await second.workflow_handle()).result_run_id == update.workflow_run_id
        await handle.signal(Cart.pay)
        assert await handle.result() == ["Ann", "book", "pen"]


async def test_a_rejected_update_leaves_the_workflow_that_it_has_started(
    client: Client, make_worker: MakeWorker
) -> None:
    async with make_worker(Cart):
        start = operation()
        with pytest.raises(WorkflowUpdateFailedError):
            await client.execute_update_with_start_workflow(Cart.add, "nothing", start_workflow_operation=start)
        handle = await start.workflow_handle()
        await handle.signal(Cart.pay)
        assert await handle.result() == ["Ann"]


async def test_the_same_update_is_found_again_whatever_the_policies(client: Client, make_worker: MakeWorker) -> None:
    async def add(*, item: str, id: str, start: WithStartWorkflowOperation[Any, Any]) -> Any:
        return await client.execute_update_with_start_workflow(Cart.add, item, id=id, start_workflow_operation=start)

    async with make_worker(Cart):
        assert await add(item="book", id="1", start=operation(Conflict.FAIL)) == ["book"]
        assert await add(item="pen", id="1", start=operation(Conflict.FAIL)) == ["book"]
        refused = operation(Conflict.FAIL)
        with pytest.raises(WorkflowAlreadyStartedError):
            await add(item="pen", id="2", start=refused)
        with pytest.raises(WorkflowAlreadyStartedError):
            await refused.workflow_handle()
        handle = client.get_workflow_handle("cart")
        await handle.signal(Cart.pay)
        await handle.result()
        once = operation(Conflict.FAIL, id_reuse_policy=Reuse.REJECT_DUPLICATE)
        assert await add(item="cup", id="1", start=once) == ["book"]


async def test_an_operation_is_used_once_and_says_what_becomes_of_a_running_workflow(
    client: Client, make_worker: MakeWorker
) -> None:
    with pytest.raises(ValueError, match="WorkflowIDConflictPolicy is required"):
        operation(Conflict.UNSPECIFIED)
    async with make_worker(Cart):
        start = operation()
        await client.execute_update_with_start_workflow(Cart.add, "book", start_workflow_operation=start)
        with pytest.raises(RuntimeError, match="cannot be reused"):
            await client.execute_update_with_start_workflow(Cart.add, "book", start_workflow_operation=start)


async def test_a_workflow_that_is_terminated_before_it_reads_its_first_update_says_so(client: Client) -> None:
    start = operation()
    update = asyncio.ensure_future(
        client.execute_update_with_start_workflow(Cart.add, "book", start_workflow_operation=start)
    )
    handle = await start.workflow_handle()
    await handle.terminate()
    with pytest.raises(RPCError, match="workflow execution already completed"):
        await update
