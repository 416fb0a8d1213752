"""What comes before what within one workflow task: rules 0.5, 0.6, 13.1."""

from __future__ import annotations

import asyncio
from typing import Any

from durable import Client, workflow
from durable.client import WithStartWorkflowOperation, WorkflowUpdateStage
from durable.common import WorkflowIDConflictPolicy
from tests.engine.conftest import MakeWorker
from tests.engine.histories import assert_replays, types, until
from tests.engine.rules.runs import sent


@workflow.defn
class Traced:
    """Notes what happens to it, in its order."""

    def __init__(self) -> None:
        self.trace = ["init"]
        self.over = False

    @workflow.run
    async def run(self) -> list[str]:
        self.trace.append("run")
        try:
            await workflow.wait_condition(self.is_over)
            self.trace.append("over")
            await workflow.wait_condition(lambda: False)
        except asyncio.CancelledError:
            self.trace.append("cancelled")
        return self.trace

    def is_over(self) -> bool:
        self.trace.append("?")
        return self.over

    @workflow.signal
    async def tell(self, what: str) -> None:
        self.trace.append(what)
        await asyncio.sleep(0)
        self.trace.append(f"{what}, second step")

    @workflow.signal
    def end(self) -> None:
        self.over = True

    @workflow.update
    async def change(self, what: str) -> None:
        self.trace.append(what)

    @workflow.query
    def traced(self) -> list[str]:
        return self.trace


async def test_handlers_run_after_init_and_before_run_in_the_first_task(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    handle = await client.start_workflow(Traced.run, id="t")
    update = asyncio.ensure_future(handle.execute_update(Traced.change, "update"))
    await sent(handle, 1)
    await handle.signal(Traced.tell, "signal")
    async with make_worker(Traced, max_cached_workflows=max_cached):
        await update
        trace = await handle.query(Traced.traced)
        assert trace == ["init", "signal", "update", "signal, second step", "run", "?"]
        await assert_replays(Traced, await handle.fetch_history())


async def test_an_update_that_starts_its_workflow_runs_after_init_and_before_run(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    start = WithStartWorkflowOperation(Traced.run, id="t", id_conflict_policy=WorkflowIDConflictPolicy.FAIL)
    async with make_worker(Traced, max_cached_workflows=max_cached):
        await client.execute_update_with_start_workflow(Traced.change, "changed", start_workflow_operation=start)
        handle = await start.workflow_handle()
        await handle.signal(Traced.end)
        await handle.cancel()
        assert (await handle.result())[:3] == ["init", "changed", "run"]
        await assert_replays(Traced, await handle.fetch_history())


async def test_the_loop_runs_dry_over_signals_before_a_cancel_request_of_the_same_task_is_applied(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    async with make_worker(Traced, max_cached_workflows=max_cached):
        handle = await client.start_workflow(Traced.run, id="t")
        assert await handle.query(Traced.traced) == ["init", "run", "?"]
    await handle.cancel()
    await handle.signal(Traced.tell, "one")
    await handle.signal(Traced.end)
    async with make_worker(Traced, max_cached_workflows=max_cached):
        assert await handle.result() == ["init", "run", "?", "one", "one, second step", "?", "over", "cancelled"]
    history = await handle.fetch_history()
    assert types(history).count("WorkflowTaskCompleted") == 2
    await assert_replays(Traced, history)


async def test_a_query_evaluates_no_condition_and_sees_what_its_task_has_done(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    async with make_worker(Traced, max_cached_workflows=max_cached):
        handle = await client.start_workflow(Traced.run, id="t")
        assert await handle.query(Traced.traced) == ["init", "run", "?"]
        assert await handle.query(Traced.traced) == ["init", "run", "?"]
        await handle.signal(Traced.tell, "one")
        assert await handle.query(Traced.traced) == ["init", "run", "?", "one", "one, second step", "?"]


@workflow.defn
class Conditions:
    def __init__(self) -> None:
        self.asked: list[str] = []
        self.holding: set[str] = set()

    @workflow.run
    async def run(self) -> list[str]:
        first = asyncio.create_task(self.wait("first"))
        second = asyncio.create_task(self.wait("second"))
        await asyncio.gather(first, second)
        await workflow.sleep(0.001)
        return self.asked

    async def wait(self, name: str) -> None:
        await workflow.wait_condition(lambda: self.holds(name))
        self.asked.append(f"{name} goes on")
        self.holding.add("first")

    def holds(self, name: str) -> bool:
        self.asked.append(f"{name}?")
        return name in self.holding

    @workflow.signal
    async def let(self, name: str) -> None:
        self.holding.add(name)
        await asyncio.sleep(0)
        self.asked.append("signal over")


async def test_conditions_are_asked_in_order_of_registration_once_when_the_loop_is_dry(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    async with make_worker(Conditions, max_cached_workflows=max_cached):
        handle = await client.start_workflow(Conditions.run, id="c")

        async def waits() -> bool:
            return len((await handle.fetch_history()).events) >= 4

        await until(waits)
        await handle.signal(Conditions.let, "second")
        asked = await handle.result()
    assert asked == [
        *["first?", "second?"],  # the first task: the loop ran dry
        *["signal over", "first?", "second?", "second goes on"],  # the signal: asked once, though two steps ran
        *["first?", "first goes on"],  # the first holds because of the second, which is not asked any more
    ]
    await assert_replays(Conditions, await handle.fetch_history())


# 0.5: signals. --------------------------------------------------------------------------------------------------------


@workflow.defn
class Late:
    """Takes signals from a moment on."""

    def __init__(self) -> None:
        self.got: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.sleep(0.01)
        workflow.set_signal_handler("tell", self.take)
        workflow.set_dynamic_signal_handler(lambda name, args: self.got.append(f"{name} {len(args)}"))
        await workflow.wait_condition(lambda: len(self.got) == 4)
        return self.got

    async def take(self, text: str) -> None:
        if text == "slow":
            await workflow.sleep(0.001)
        self.got.append(text)


async def test_signals_without_a_handler_wait_for_it_in_order_each_in_a_task_of_its_own(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    handle = await client.start_workflow(Late.run, id="l")
    await handle.signal("tell", "slow")
    await handle.signal("other", args=[1, 2])
    await handle.signal("tell", "one")
    await handle.signal("tell", {"not": "a text"})
    await handle.signal("tell", "two")
    async with make_worker(Late, max_cached_workflows=max_cached):
        got = await handle.result()
    # The slow one waits, and holds up nobody; the one that is no text is dropped.
    assert got == ["one", "two", "other 2", "slow"]
    await assert_replays(Late, await handle.fetch_history())


async def test_an_update_of_the_first_task_may_wait_for_what_run_brings(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    @workflow.defn
    class Ready:
        ready = False

        @workflow.run
        async def run(self) -> str:
            self.ready = True
            await workflow.wait_condition(lambda: workflow.all_handlers_finished())
            return "over"

        @workflow.update
        async def when_ready(self) -> str:
            before = self.ready
            await workflow.wait_condition(lambda: self.ready)
            return f"{before} {self.ready}"

    handle = await client.start_workflow(Ready.run, id="r")
    update: Any = asyncio.ensure_future(
        handle.start_update(Ready.when_ready, wait_for_stage=WorkflowUpdateStage.COMPLETED)
    )
    await sent(handle, 1)
    async with make_worker(Ready, max_cached_workflows=max_cached):
        assert await (await update).result() == "False True"
        assert await handle.result() == "over"
