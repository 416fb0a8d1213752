"""Where workflow code may change nothing: queries, validators, a dynamic workflow's configuration. Rules 0.11, 13.6."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from durable import Client, activity, workflow
from durable.client import WorkflowQueryFailedError, WorkflowUpdateFailedError
from durable.common import RawValue
from durable.history.events import WorkflowTaskFailed
from tests.engine.conftest import MakeWorker
from tests.engine.histories import assert_replays, of_type, types
from tests.engine.rules.runs import parked


@activity.defn
async def hang() -> None:
    await asyncio.get_running_loop().create_future()


async def nothing() -> None: ...


def new_task() -> None:
    coroutine = nothing()
    try:
        asyncio.get_running_loop().create_task(coroutine)
    finally:
        coroutine.close()


class Pending:
    """What a run has under way, for others to meddle with."""

    def __init__(self) -> None:
        self.handle = workflow.start_activity(hang, start_to_close_timeout=timedelta(hours=1))
        self.timer = asyncio.get_running_loop().call_later(3600, print)


ACTIONS: dict[str, Callable[[Pending], Any]] = {
    "schedule activity": lambda _: workflow.start_activity(hang, start_to_close_timeout=timedelta(hours=1)),
    "random": lambda _: workflow.random(),
    "uuid4": lambda _: workflow.uuid4(),
    "create task": lambda _: new_task(),
    "start timer": lambda _: asyncio.get_running_loop().call_later(1, print),
    "start timer at": lambda _: asyncio.get_running_loop().call_at(asyncio.get_running_loop().time() + 1, print),
    "set signal handler": lambda _: workflow.set_signal_handler("x", print),
    "set query handler": lambda _: workflow.set_query_handler("x", print),
    "set update handler": lambda _: workflow.set_update_handler("x", print),
    "set dynamic signal handler": lambda _: workflow.set_dynamic_signal_handler(None),
    "patch": lambda _: workflow.patched("new"),
    "deprecate patch": lambda _: workflow.deprecate_patch("old"),
    "continue as new": lambda _: workflow.continue_as_new(),
    "cancel activity": lambda pending: pending.handle.cancel(),
    "cancel timer": lambda pending: pending.timer.cancel(),
    "wait condition": lambda _: workflow.wait_condition(lambda: True).send(None),  # type: ignore[attr-defined]  # pyright: ignore
    "sleep": lambda _: workflow.sleep(1).send(None),  # type: ignore[attr-defined]  # pyright: ignore
}


def attempt_all(pending: Pending) -> list[str]:
    """The actions that were not refused."""
    done: list[str] = []
    for name, action in ACTIONS.items():
        try:
            action(pending)
            done.append(name)
        except workflow.ReadOnlyContextError:
            pass
    return done


@workflow.defn
class Meddled:
    def __init__(self) -> None:
        self.over = False

    @workflow.run
    async def run(self) -> bool:
        self.pending = Pending()
        await workflow.wait_condition(lambda: self.over)
        return workflow.unsafe.is_read_only()

    @workflow.query
    def ask(self, action: str) -> None:
        assert workflow.unsafe.is_read_only()
        ACTIONS[action](self.pending)

    @workflow.query
    def ask_all(self) -> list[str]:
        return attempt_all(self.pending)

    @workflow.update
    def change(self, action: str) -> None: ...

    @change.validator
    def judge(self, action: str) -> None:
        assert workflow.unsafe.is_read_only()
        if action:
            ACTIONS[action](self.pending)
        raise ValueError(f"not refused: {attempt_all(self.pending)}")

    @workflow.signal
    def end(self) -> None:
        self.over = True


async def test_a_query_can_do_nothing_of_all_that_and_the_run_goes_on_unharmed(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    async with make_worker(Meddled, hang, max_cached_workflows=max_cached):
        handle = await client.start_workflow(Meddled.run, id="m")
        assert await handle.query(Meddled.ask_all) == []
        with pytest.raises(WorkflowQueryFailedError) as failed:
            await handle.query(Meddled.ask, "schedule activity")
        assert "While in read-only function, action attempted: schedule activity" in str(failed.value)
        await handle.signal(Meddled.end)
        assert await handle.result() is False
        history = await handle.fetch_history()
    assert types(history).count("ActivityTaskScheduled") == types(history).count("TimerStarted") == 1
    assert "TimerCanceled" not in types(history) and "MarkerRecorded" not in types(history)
    await assert_replays(Meddled, history)


async def test_a_validator_can_do_nothing_of_all_that(client: Client, make_worker: MakeWorker, max_cached: int) -> None:
    async with make_worker(Meddled, hang, max_cached_workflows=max_cached):
        handle = await client.start_workflow(Meddled.run, id="m")
        with pytest.raises(WorkflowUpdateFailedError) as rejected:
            await handle.execute_update(Meddled.change, "")
        assert str(rejected.value.cause) == "ValueError: not refused: []"
        await handle.signal(Meddled.end)
        assert await handle.result() is False
        await assert_replays(Meddled, await handle.fetch_history())


@pytest.mark.parametrize("action", ["random", "schedule activity", "cancel timer"])
async def test_a_validator_that_tries_fails_the_workflow_task(
    client: Client, make_worker: MakeWorker, max_cached: int, action: str
) -> None:
    async with make_worker(Meddled, hang, max_cached_workflows=max_cached):
        handle = await client.start_workflow(Meddled.run, id="m")
        update = asyncio.ensure_future(handle.execute_update(Meddled.change, action))
        assert "While in read-only function, action attempted" in await parked(handle)
        assert len(of_type(await handle.fetch_history(), WorkflowTaskFailed)) == 1
        await handle.terminate()
        await asyncio.wait([update])
        assert update.exception() is not None


@workflow.defn(dynamic=True)
class Configured:
    @workflow.init
    def __init__(self, args: Sequence[RawValue]) -> None:
        self.pending = Pending()

    @workflow.dynamic_config
    def config(self) -> workflow.DynamicWorkflowConfig:
        self.done = attempt_all(self.pending)
        return workflow.DynamicWorkflowConfig()

    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> list[str]:
        return self.done


async def test_a_dynamic_workflows_configuration_can_do_nothing_of_all_that(
    client: Client, make_worker: MakeWorker
) -> None:
    async with make_worker(Configured, hang):
        assert await client.execute_workflow("anything", id="a") == []


# Queries at moments at which there is nothing to ask yet, or any more. ------------------------------------------------


@workflow.defn
class Slow:
    def __init__(self) -> None:
        self.dice = workflow.random().random()

    @workflow.run
    async def run(self) -> float:
        return self.dice

    @workflow.query
    def ask(self) -> float:
        return self.dice


async def test_a_query_before_the_first_workflow_task_is_refused_and_leaves_the_run_as_it_was(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    async with make_worker(Slow, max_cached_workflows=max_cached):
        handle = await client.start_workflow(Slow.run, id="s", start_delay=timedelta(seconds=0.3))
        with pytest.raises(WorkflowQueryFailedError, match="has not begun"):
            await handle.query(Slow.ask)
        assert await handle.result() == await handle.query(Slow.ask)


async def test_a_query_that_does_not_exist_names_those_that_do(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    async with make_worker(Meddled, hang, max_cached_workflows=max_cached):
        handle = await client.start_workflow(Meddled.run, id="m")
        with pytest.raises(WorkflowQueryFailedError) as failed:
            await handle.query("nothing")
    known = "[__enhanced_stack_trace __stack_trace __temporal_workflow_metadata ask ask_all]"
    assert str(failed.value) == f"Query handler for 'nothing' expected but not found, known queries: {known}"
