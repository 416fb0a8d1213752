"""Stored histories against today's code."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from durable import Client, Worker, activity, workflow
from durable.client import WorkflowHistory
from durable.worker import Replayer
from durable.workflow import NondeterminismError


@activity.defn
async def one() -> int:
    return 1


@activity.defn
async def two() -> int:
    return 2


@workflow.defn(name="flow")
async def flow() -> int:
    first = await one()
    await asyncio.sleep(0.01)
    return first


@workflow.defn(name="flow")
async def edited() -> int:
    return await two()


async def history() -> WorkflowHistory:
    async with await Client.connect("sqlite://") as client:
        async with Worker(client, workflows=[flow], activities=[one]):
            handle = await client.start_workflow(flow, id="a")
            await handle.result()
            return await handle.fetch_history()


async def several(histories: list[WorkflowHistory]) -> AsyncIterator[WorkflowHistory]:
    for each in histories:
        yield each


async def test_a_history_replays_on_the_code_that_made_it_also_from_json() -> None:
    recorded = await history()
    replayer = Replayer(workflows=[flow])
    assert (await replayer.replay_workflow(recorded)).replay_failure is None
    await replayer.replay_workflow(WorkflowHistory.from_json("a", recorded.to_json()))


async def test_a_difference_names_event_record_code_and_line() -> None:
    with pytest.raises(NondeterminismError) as raised:
        await Replayer(workflows=[edited]).replay_workflow(await history())
    text = str(raised.value)
    assert "event 5" in text
    assert "'one'" in text
    assert "'two'" in text
    assert f"{__file__}:{edited.__code__.co_firstlineno + 2}" in text


async def test_many_are_replayed_and_the_failures_told_by_run() -> None:
    good, bad = await history(), await history()
    results = await Replayer(workflows=[edited]).replay_workflows(several([good, bad]), raise_on_replay_failure=False)
    assert set(results.replay_failures) == {good.run_id, bad.run_id}
    assert not (await Replayer(workflows=[flow]).replay_workflows(several([good, bad]))).replay_failures


async def test_an_unknown_workflow_is_no_difference_but_an_error() -> None:
    @workflow.defn
    async def other() -> None: ...

    with pytest.raises(
        RuntimeError, match="Workflow flow is not registered on this worker, available workflows: other"
    ):
        await Replayer(workflows=[other]).replay_workflow(await history())


def test_a_replayer_needs_workflows() -> None:
    with pytest.raises(ValueError, match="At least one workflow"):
        Replayer(workflows=[])
