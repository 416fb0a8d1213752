"""Stored histories against today's code."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from durable import Client, Worker, activity, workflow
from durable.client import WorkflowHistory
from durable.worker import Replayer, replayer
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


@workflow.defn(name="flow", sandboxed=False)
async def slow() -> int:
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        pass
    return await flow()


@workflow.defn
async def other() -> None: ...


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
    with pytest.raises(
        RuntimeError, match="Workflow flow is not registered on this worker, available workflows: other"
    ):
        await Replayer(workflows=[other]).replay_workflow(await history())


@workflow.defn(name="flow")
async def stuck() -> int:
    while workflow.time() > 0:
        pass
    return 0


async def test_code_that_does_not_yield_is_interrupted_and_the_next_history_has_its_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replayer, "DEADLOCK_TIMEOUT", 0.2)
    first, second = await history(), await history()

    results = await Replayer(workflows=[stuck]).replay_workflows(
        several([first, second]), raise_on_replay_failure=False
    )

    assert set(results.replay_failures) == {first.run_id, second.run_id}
    for failure in results.replay_failures.values():
        assert isinstance(failure, RuntimeError) and not isinstance(failure, NondeterminismError)
        assert "Potential deadlock detected: workflow didn't yield within 0.2 second(s)." in str(failure)
        assert f"{__file__}:{stuck.__code__.co_firstlineno + 2}" in str(failure)


async def test_in_debug_mode_code_may_take_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replayer, "DEADLOCK_TIMEOUT", 0.05)

    await Replayer(workflows=[slow], debug_mode=True).replay_workflow(await history())


async def test_the_histories_of_a_database_replay_as_a_client_lists_them() -> None:
    async with await Client.connect("sqlite://") as client:
        async with Worker(client, workflows=[flow, other], activities=[one]):
            handles = [await client.start_workflow(flow, id=f"w-{number}") for number in range(3)]
            await client.execute_workflow(other, id="other")
            for handle in handles:
                await handle.result()

        histories = client.list_workflows("WorkflowType = 'flow'").map_histories()
        results = await Replayer(workflows=[edited]).replay_workflows(histories, raise_on_replay_failure=False)

    assert set(results.replay_failures) == {handle.result_run_id for handle in handles}


async def test_histories_are_taken_one_after_the_other() -> None:
    recorded = await history()
    alive = 0

    async def counted() -> AsyncIterator[WorkflowHistory]:
        nonlocal alive
        for _ in range(3):
            alive += 1
            yield recorded

    async with Replayer(workflows=[flow]).workflow_replay_iterator(counted()) as results:
        async for result in results:
            assert alive == 1 and result.replay_failure is None
            alive -= 1


async def test_a_history_with_a_gap_is_no_fault_of_the_code() -> None:
    recorded = await history()
    holed = WorkflowHistory("a", [event for event in recorded.events if event.id != 6])

    with pytest.raises(RuntimeError, match="event 7 can't follow event 5: ids have no gap") as raised:
        await Replayer(workflows=[flow]).replay_workflow(holed)

    assert not isinstance(raised.value, NondeterminismError)
    assert recorded.run_id in str(raised.value) and "'a'" in str(raised.value)


@pytest.mark.parametrize("first", [0, 1, 100])
async def test_half_a_history_is_told_as_such(first: int) -> None:
    recorded = await history()
    half = WorkflowHistory("a", recorded.events[first:])

    if not first:
        assert (await Replayer(workflows=[flow]).replay_workflow(half)).replay_failure is None
        return
    result = await Replayer(workflows=[flow]).replay_workflow(half, raise_on_replay_failure=False)
    assert "does not begin with WorkflowExecutionStarted" in str(result.replay_failure)
    with pytest.raises(RuntimeError, match="this history of 'a' does not begin with WorkflowExecutionStarted"):
        assert half.run_id


async def test_a_replayer_is_made_again_of_its_config() -> None:
    first = Replayer(workflows=[edited], namespace="mine", build_id="b-1", identity="me", debug_mode=True)
    config = first.config()
    config["workflows"] = [flow]

    again = Replayer(**config)

    assert (await again.replay_workflow(await history())).replay_failure is None
    assert first.config()["workflows"] == [edited]
    assert {**again.config(), "workflows": [edited]} == first.config()


def test_a_replayer_needs_workflows() -> None:
    with pytest.raises(ValueError, match="At least one workflow"):
        Replayer(workflows=[])


async def test_code_that_fits_only_when_it_is_replayed_again_does_not_fit() -> None:
    tries = iter((two, one))

    @workflow.defn(name="flow")
    async def moody() -> int:
        first = await next(tries)()
        await asyncio.sleep(0.01)
        return first

    with pytest.raises(NondeterminismError, match=r"recorded ActivityTaskScheduled of 'one'.*schedules activity 'two'"):
        await Replayer(workflows=[moody]).replay_workflow(await history())
    assert next(tries, None) is None  # it was, for the source line


@pytest.mark.parametrize("exact", [False, True])
async def test_another_result_of_the_same_steps_is_a_difference_only_when_all_is_compared(exact: bool) -> None:
    @workflow.defn(name="flow")
    async def generous() -> int:
        return await flow() + 1

    replaying = Replayer(workflows=[generous], exact=exact)
    result = await replaying.replay_workflow(await history(), raise_on_replay_failure=False)
    assert (result.replay_failure is not None) == exact
    assert replaying.config()["exact"] == exact
