"""A run that ends for the next one of its workflow id to begin: in one commit, and nothing that it was sent is lost."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from durable import Client, workflow
from durable.client import WorkflowContinuedAsNewError, WorkflowExecutionStatus, WorkflowUpdateStage
from durable.common import WorkflowIDConflictPolicy as Conflict
from durable.exceptions import WorkflowAlreadyStartedError
from durable.history import growth
from durable.history.events import WorkflowExecutionContinuedAsNew, WorkflowExecutionSignaled, WorkflowExecutionStarted
from tests.engine.conftest import MakeWorker
from tests.engine.histories import assert_replays, assert_sound, of_type, types, until


@workflow.defn
async def countdown(left: int) -> list[str | None]:
    if left:
        workflow.continue_as_new(left - 1)
    return [workflow.info().run_id, workflow.info().continued_run_id, workflow.info().first_execution_run_id]


@workflow.defn
class Collector:
    """Continues as new after every few signals; the last run has them all, in order."""

    @workflow.init
    def __init__(self, got: list[int]) -> None:
        self.got = got
        self.read = 0

    @workflow.run
    async def run(self, got: list[int]) -> list[int]:
        await workflow.wait_condition(lambda: self.read >= 3 or -1 in self.got)
        if -1 in self.got:
            return self.got
        workflow.continue_as_new(self.got)

    @workflow.signal
    def put(self, number: int) -> None:
        self.got.append(number)
        self.read += 1

    @workflow.update
    async def add(self, number: int) -> int:
        self.put(number)
        return len(self.got)

    @workflow.query
    def so_far(self) -> list[int]:
        return self.got


@workflow.defn
class FromHandler:
    @workflow.run
    async def run(self, word: str = "") -> str:
        await workflow.wait_condition(lambda: word != "")
        return word

    @workflow.signal
    async def again(self, word: str) -> None:
        workflow.continue_as_new(word)

    @workflow.query
    def forbidden(self) -> None:
        workflow.continue_as_new("never")


async def chain(client: Client, id: str, run_id: str) -> list[Any]:
    """The histories of a run and of those that continue it."""
    histories: list[Any] = []
    next_id: str | None = run_id
    while next_id is not None:
        history = await client.get_workflow_handle(id, run_id=next_id).fetch_history()
        assert_sound(history.events)
        histories.append(history)
        ended = of_type(history, WorkflowExecutionContinuedAsNew)
        next_id = ended[0].new_execution_run_id if ended else None
    return histories


async def test_a_run_continues_as_new_and_its_result_is_that_of_the_last_one(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    async with make_worker(countdown, max_cached_workflows=max_cached):
        handle = await client.start_workflow(countdown, 3, id="c")
        run_id, continued, first = await handle.result()
        with pytest.raises(WorkflowContinuedAsNewError) as next_one:
            await handle.result(follow_runs=False)

    assert handle.result_run_id is not None
    histories = await chain(client, "c", handle.result_run_id)
    started = [of_type(history, WorkflowExecutionStarted)[0] for history in histories]
    assert len(histories) == 4
    assert first == handle.result_run_id and {each.first_execution_run_id for each in started} == {first}
    assert [each.continued_execution_run_id for each in started[1:]] == [history.run_id for history in histories[:-1]]
    assert (run_id, continued) == (histories[-1].run_id, histories[-2].run_id)
    assert next_one.value.new_execution_run_id == histories[1].run_id
    assert types(histories[0])[-1] == "WorkflowExecutionContinuedAsNew"
    for history in histories:
        await assert_replays(countdown, history)
    runs = [run async for run in client.list_workflows()]
    assert sorted(run.status for run in runs) == [WorkflowExecutionStatus.COMPLETED] + 3 * [
        WorkflowExecutionStatus.CONTINUED_AS_NEW
    ]


async def test_signals_that_come_while_runs_follow_each_other_are_read_once_and_in_order(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    async with make_worker(Collector, max_cached_workflows=max_cached):
        first = await client.start_workflow(Collector.run, [], id="c")
        handle = client.get_workflow_handle("c")
        for number in range(30):
            await handle.signal("put", number)
        await handle.signal("put", -1)
        assert await first.result() == [*range(30), -1]

    assert first.result_run_id is not None
    histories = await chain(client, "c", first.result_run_id)
    assert len(histories) > 2
    assert sum(len(of_type(history, WorkflowExecutionSignaled)) for history in histories) == 31
    for history in histories:
        await assert_replays(Collector, history)


async def test_a_signal_that_is_sent_again_is_known_to_the_next_run(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(Collector):
        await client.start_workflow(Collector.run, [], id="c")
        handle = client.get_workflow_handle("c")
        for number in (1, 2, 3):
            await handle.signal("put", number, request_id=f"r{number}")
        await until(lambda: _has_followers(client))
        for number in (1, 2, 3):
            await handle.signal("put", number, request_id=f"r{number}")
        await handle.signal("put", -1)
        assert await handle.result() == [1, 2, 3, -1]


async def _has_followers(client: Client) -> bool:
    return len([run async for run in client.list_workflows()]) > 1


async def test_updates_find_the_run_that_is_there(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(Collector):
        await client.start_workflow(Collector.run, [], id="c")
        handle = client.get_workflow_handle("c")
        assert [await handle.execute_update(Collector.add, number) for number in range(10)] == list(range(1, 11))
        last = await handle.start_update(Collector.add, -1, wait_for_stage=WorkflowUpdateStage.COMPLETED)
        assert await last.result() == 11
        assert await handle.result() == [*range(10), -1]


async def test_a_handler_may_continue_as_new_and_a_query_may_not(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(FromHandler):
        handle = await client.start_workflow(FromHandler.run, id="f")
        with pytest.raises(Exception, match="read-only"):
            await handle.query(FromHandler.forbidden)
        await handle.signal(FromHandler.again, "went on")
        assert await handle.result() == "went on"


async def test_the_workflow_id_stays_in_use_and_a_cancel_reaches_the_last_run(
    client: Client, make_worker: MakeWorker
) -> None:
    async with make_worker(Collector):
        first = await client.start_workflow(Collector.run, [], id="c", request_id="start")
        for number in (1, 2, 3):
            await client.get_workflow_handle("c").signal("put", number)
        await until(lambda: _has_followers(client))
        with pytest.raises(WorkflowAlreadyStartedError):
            await client.start_workflow(Collector.run, [], id="c")
        again = await client.start_workflow(Collector.run, [], id="c", request_id="start")
        assert again.result_run_id == first.result_run_id, "the same request is answered as before"
        joined = await client.start_workflow(Collector.run, [], id="c", id_conflict_policy=Conflict.USE_EXISTING)
        assert joined.result_run_id != first.result_run_id
        await first.cancel()
        with pytest.raises(Exception, match="Workflow execution failed"):
            await first.result()


async def test_another_workflow_another_queue_and_a_pause(client: Client, make_worker: MakeWorker) -> None:
    @workflow.defn
    async def moves(word: str) -> None:
        workflow.continue_as_new(
            word, workflow="settled", task_queue="elsewhere", backoff_start_interval=timedelta(milliseconds=50)
        )

    @workflow.defn(name="settled")
    async def settled(word: str) -> list[str]:
        return [word, workflow.info().task_queue, workflow.info().workflow_type]

    async with make_worker(moves), make_worker(settled, task_queue="elsewhere"):
        handle = await client.start_workflow("moves", "here", id="m")
        assert await handle.result() == ["here", "elsewhere", "settled"]
    assert handle.result_run_id is not None
    first, second = await chain(client, "m", handle.result_run_id)
    assert second.events[1].time_us - first.events[-1].time_us >= 50_000


async def test_at_no_moment_is_the_workflow_not_found(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(countdown):
        handle = await client.start_workflow(countdown, 40, id="c")
        ended = asyncio.ensure_future(handle.result())
        while not ended.done():
            assert (await client.get_workflow_handle("c").describe()).id == "c"
        await ended


def test_the_error_can_not_be_made_by_hand() -> None:
    with pytest.raises(RuntimeError, match="Cannot instantiate ContinueAsNewError"):
        workflow.ContinueAsNewError()


async def test_a_long_history_suggests_to_continue_as_new(
    client: Client, make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growth, "EVENTS_SUGGESTED", 8)

    @workflow.defn
    async def until_told() -> int:
        rounds = 0
        while not workflow.info().is_continue_as_new_suggested():
            rounds += 1
            await workflow.receive("go")
        return rounds

    async with make_worker(until_told):
        handle = await client.start_workflow(until_told, id="u")
        for _ in range(2):
            await handle.signal("go")
        assert await handle.result() == 2


@pytest.mark.parametrize("where", [{"task_queue": "nul\x00"}, {"workflow": "nul\x00"}, {"task_queue": "x" * 2001}])
async def test_a_name_that_some_database_refuses_parks_the_run_with_the_reason(
    client: Client, make_worker: MakeWorker, where: dict[str, str]
) -> None:
    @workflow.defn
    async def astray() -> None:
        workflow.continue_as_new(**where)

    handle = await client.start_workflow(astray, id="a")
    async with make_worker(astray):
        parked = await until(lambda: _parked(handle))
    assert "ValueError: a " in parked and next(iter(where)).replace("_", " ") in parked


async def _parked(handle: Any) -> str | None:
    parked: str | None = (await handle.describe()).parked
    return parked
