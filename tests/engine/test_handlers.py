"""Handlers beyond the plain method: set at run time, inside functions, dynamic, unfinished; and signals as a queue."""

from __future__ import annotations

import asyncio
import json
import logging
import warnings
from collections.abc import Sequence
from typing import Any

import pytest

from durable import Client, activity, workflow
from durable.client import WorkflowFailureError, WorkflowQueryFailedError
from durable.common import RawValue
from durable.converter import DataConverter
from durable.exceptions import ApplicationError
from tests.engine.conftest import MakeWorker
from tests.engine.histories import assert_replays, until


def read(value: RawValue, hint: Any) -> Any:
    return DataConverter.default.payload_converter.from_payload(value.payload, hint)


@activity.defn
async def nod() -> str:
    return "nod"


# Function workflows. ------------------------------------------------------------------------------------------------


@workflow.defn
async def approvals(count: int) -> list[str]:
    """Takes its signals one after another, however many wait."""
    return [await workflow.receive("approve", str) for _ in range(count)]


@workflow.defn
async def impatient() -> list[str]:
    got: list[str] = []
    while True:
        try:
            async with asyncio.timeout(0.05):
                got.append(await workflow.receive("go", str))
        except TimeoutError:
            if got:
                return got


@workflow.defn
async def racing() -> list[str]:
    """Two receivers; the one that has the first signal coming is cancelled before it gets it."""
    first = asyncio.ensure_future(workflow.receive("go", str))
    second = asyncio.ensure_future(workflow.receive("go", str))
    await workflow.receive("stop")
    first.cancel()
    return [await second]


@workflow.defn
async def with_handlers() -> dict[str, Any]:
    said: list[str] = []
    done = False

    @workflow.signal
    def say(word: str) -> None:
        said.append(word)

    @workflow.query
    def words() -> list[str]:
        return said

    @workflow.update
    async def shout(word: str) -> str:
        said.append(word.upper() + await nod())
        return said[-1]

    @shout.validator
    def not_empty(word: str) -> None:
        if not word:
            raise ValueError("a word, please")

    @workflow.signal(name="end")
    def finish() -> None:
        nonlocal done
        done = True

    await workflow.wait_condition(lambda: done)
    return {"said": said, "handlers": workflow.get_signal_handler("say") is say}


async def test_a_function_receives_signals_in_order_those_from_before_included(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    handle = await client.start_workflow(approvals, 3, id="a")
    await handle.signal("approve", "one")
    await handle.signal("approve", "two")
    async with make_worker(approvals, max_cached_workflows=max_cached):
        await handle.signal("approve", "three")
        assert await handle.result() == ["one", "two", "three"]
    await assert_replays(approvals, await handle.fetch_history())


async def test_a_signal_that_can_not_be_read_as_asked_is_dropped_and_logged(
    client: Client, make_worker: MakeWorker, caplog: pytest.LogCaptureFixture
) -> None:
    handle = await client.start_workflow(approvals, 1, id="a")
    await handle.signal("approve", {"no": "text"})
    await handle.signal("approve", "yes")
    async with make_worker(approvals):
        assert await handle.result() == ["yes"]
    assert "signal 'approve' dropped" in caplog.text


async def test_giving_up_a_receive_loses_no_signal(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(impatient):
        handle = await client.start_workflow(impatient, id="i")
        await handle.signal("go", "late")
        assert await handle.result() == ["late"]
    await assert_replays(impatient, await handle.fetch_history())


async def test_a_signal_for_a_receiver_that_is_cancelled_goes_to_the_next(
    client: Client, make_worker: MakeWorker
) -> None:
    handle = await client.start_workflow(racing, id="r")
    async with make_worker(racing):
        await until(lambda: _waits(handle))
    await handle.signal("stop")
    await handle.signal("go", "for the second")  # both in one task: the first is woken, and cancelled at once
    async with make_worker(racing):
        assert await handle.result() == ["for the second"]


async def _waits(handle: Any) -> bool:
    return (await handle.describe()).history_length > 3


async def test_inner_functions_of_a_function_workflow_are_its_handlers(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    handle = await client.start_workflow(with_handlers, id="w")
    await handle.signal("say", "early")
    async with make_worker(with_handlers, nod, max_cached_workflows=max_cached):
        assert await handle.query("words") == ["early"]
        assert await handle.execute_update("shout", "hi") == "HInod"
        with pytest.raises(Exception, match="Workflow update failed"):
            await handle.execute_update("shout", "")
        await handle.signal("end")
        assert await handle.result() == {"said": ["early", "HInod"], "handlers": True}
    await assert_replays(with_handlers, await handle.fetch_history())


async def test_signals_that_a_handler_takes_can_not_be_received(client: Client, make_worker: MakeWorker) -> None:
    @workflow.defn
    async def both() -> None:
        workflow.set_signal_handler("go", print)
        try:
            await workflow.receive("go")
        except ValueError as error:
            raise ApplicationError(str(error)) from None

    async with make_worker(both):
        with pytest.raises(WorkflowFailureError) as failed:
            await client.execute_workflow(both, id="b")
    assert "a handler takes the signals 'go'" in str(failed.value.cause)


@workflow.defn
async def first_come() -> str:
    """A signal that is read in one task with an activity's result is received before it."""
    nodding = asyncio.ensure_future(_tell(nod()))
    receiving = asyncio.ensure_future(_tell(workflow.receive("go", str)))
    done, _ = await workflow.wait([nodding, receiving], return_when=asyncio.FIRST_COMPLETED)
    order.append("woken")
    return str(done[0].result())


order: list[str] = []


async def _tell(awaited: Any) -> str:
    order.append(word := await awaited)
    return str(word)


async def test_a_signal_is_received_before_the_result_that_comes_with_it(
    client: Client, make_worker: MakeWorker
) -> None:
    handle = await client.start_workflow(first_come, id="f")
    async with make_worker(first_come):
        await until(lambda: _waits(handle))
    async with make_worker(nod):
        await until(lambda: _has_no_activity(handle))
    await handle.signal("go", "signal")
    order.clear()
    async with make_worker(first_come, max_cached_workflows=0):
        assert await handle.result() == "signal"
    assert order[:2] == ["signal", "woken"], "before the result is looked at"


async def _has_no_activity(handle: Any) -> bool:
    return not (await handle.describe()).pending_activities


# At run time. -------------------------------------------------------------------------------------------------------


@workflow.defn
class Late:
    def __init__(self) -> None:
        self.got: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.wait_condition(lambda: "go" in self.got)
        workflow.set_signal_handler("late", lambda word: self.got.append(f"late {word}"))
        workflow.set_dynamic_signal_handler(self.anything)
        workflow.set_query_handler("count", lambda: len(self.got))
        workflow.set_dynamic_query_handler(lambda name, args: f"{name} of {len(args)}")
        workflow.set_update_handler("put", self.put, validator=self.judge)
        workflow.set_dynamic_update_handler(self.any_update)
        await workflow.wait_condition(lambda: "end" in self.got)
        workflow.set_signal_handler("late", None)
        assert workflow.get_signal_handler("late") is None
        assert workflow.get_dynamic_signal_handler() == self.anything
        return self.got

    @workflow.signal
    def go(self) -> None:
        self.got.append("go")

    def anything(self, name: str, args: Sequence[RawValue]) -> None:
        self.got.append(name if not args else f"{name} {read(args[0], str)}")

    def put(self, word: str) -> int:
        self.got.append(word)
        return len(self.got)

    def judge(self, word: str) -> None:
        if word == "bad":
            raise ValueError("bad word")

    async def any_update(self, name: str, args: Sequence[RawValue]) -> str:
        return f"{name}: {read(args[0], int) + 1}"


async def test_handlers_may_be_set_at_run_time_and_take_what_has_waited(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    async with make_worker(Late, max_cached_workflows=max_cached):
        handle = await client.start_workflow(Late.run, id="l")
        await handle.signal("late", "one")
        await handle.signal("other", "two")
        await handle.signal(Late.go)
        assert await handle.query("count") == 3
        assert await handle.query("anything", args=[1, 2]) == "anything of 2"
        assert await handle.execute_update("put", "three") == 4
        with pytest.raises(Exception, match="Workflow update failed"):
            await handle.execute_update("put", "bad")
        assert await handle.execute_update("unheard", 41) == "unheard: 42"
        await handle.signal("end")
        assert await handle.result() == ["go", "late one", "other two", "three", "end"]
    await assert_replays(Late, await handle.fetch_history())


@workflow.defn
class Dynamic:
    def __init__(self) -> None:
        self.got: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.wait_condition(lambda: "end" in self.got)
        return self.got

    @workflow.signal(dynamic=True)
    async def on_signal(self, name: str, args: Sequence[RawValue]) -> None:
        self.got.append(name)

    @workflow.query(dynamic=True)
    def on_query(self, name: str, args: Sequence[RawValue]) -> str:
        return f"{name} of {len(args)}"

    @workflow.update(dynamic=True)
    def on_update(self, name: str, args: Sequence[RawValue]) -> str:
        return f"{name} by {len(args)}"

    @on_update.validator
    def judge(self, name: str, args: Sequence[RawValue]) -> None:
        if name == "forbidden":
            raise ValueError(name)


async def test_dynamic_methods_take_what_no_other_handler_takes(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(Dynamic):
        handle = await client.start_workflow(Dynamic.run, id="d")
        await handle.signal("first", 1)
        assert await handle.query("what", args=[1, 2]) == "what of 2"
        assert await handle.execute_update("change", args=[1]) == "change by 1"
        with pytest.raises(Exception, match="Workflow update failed"):
            await handle.execute_update("forbidden")
        await handle.signal("end")
        assert await handle.result() == ["first", "end"]
        with pytest.raises(RuntimeError, match="dynamic"):
            await handle.signal(Dynamic.on_signal, args=["x", []])


# @workflow.init. ----------------------------------------------------------------------------------------------------


@workflow.defn
class Greeter:
    @workflow.init
    def __init__(self, name: str, times: int = 1) -> None:
        self.greeting = f"Hello, {name}! " * times

    @workflow.run
    async def run(self, name: str, times: int = 1) -> str:
        return self.greeting.strip()

    @workflow.query
    def so_far(self) -> str:
        return self.greeting


async def test_a_constructor_may_take_the_arguments_of_the_run(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(Greeter):
        assert await client.execute_workflow(Greeter.run, args=["Ann", 2], id="g") == "Hello, Ann! Hello, Ann!"


async def test_a_constructor_that_can_not_take_them_parks_the_run(client: Client, make_worker: MakeWorker) -> None:
    handle = await client.start_workflow("Greeter", {"no": "name"}, id="g")
    async with make_worker(Greeter):
        parked = await until(lambda: _parked(handle))
        with pytest.raises(WorkflowQueryFailedError):
            await handle.query(Greeter.so_far)
    assert "name" in parked


async def _parked(handle: Any) -> str | None:
    parked: str | None = (await handle.describe()).parked
    return parked


# Handlers at work when their run ends. ------------------------------------------------------------------------------


@workflow.defn
class Hasty:
    def __init__(self) -> None:
        self.begun = 0

    @workflow.run
    async def run(self, wait: bool) -> int:
        await workflow.wait_condition(lambda: self.begun == 2)
        if wait:
            await workflow.wait_condition(workflow.all_handlers_finished)
        return self.begun

    @workflow.signal
    async def slow(self) -> None:
        self.begun += 1
        await asyncio.sleep(0.05)

    @workflow.signal(unfinished_policy=workflow.HandlerUnfinishedPolicy.ABANDON)
    async def slow_and_not_missed(self) -> None:
        self.begun += 1
        await asyncio.sleep(0.05)


async def _end(client: Client, make_worker: MakeWorker, *, wait: bool) -> list[str]:
    handle = await client.start_workflow(Hasty.run, wait, id=f"h-{wait}")
    await handle.signal(Hasty.slow)
    await handle.signal(Hasty.slow_and_not_missed)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        async with make_worker(Hasty):
            assert await handle.result() == 2
    return [str(each.message) for each in warned if issubclass(each.category, RuntimeWarning)]


async def test_a_run_that_ends_before_its_handlers_warns(client: Client, make_worker: MakeWorker) -> None:
    [warning] = await _end(client, make_worker, wait=False)
    assert warning.startswith("[TMPRL1102]") and 'Unfinished: ["slow"]' in warning
    assert await _end(client, make_worker, wait=True) == []


async def test_where_warnings_are_errors_the_task_fails(client: Client, make_worker: MakeWorker) -> None:
    handle = await client.start_workflow(Hasty.run, False, id="h")
    await handle.signal(Hasty.slow)
    await handle.signal(Hasty.slow)
    with warnings.catch_warnings():
        warnings.simplefilter("error", workflow.UnfinishedSignalHandlersWarning)
        async with make_worker(Hasty):
            assert "[TMPRL1102]" in await until(lambda: _parked(handle))


# Queries that every run answers. ------------------------------------------------------------------------------------


async def test_every_run_tells_where_it_waits_and_what_it_takes(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(Late):
        handle = await client.start_workflow(Late.run, id="l")
        stack = await handle.query("__stack_trace")
        enhanced = await handle.query("__enhanced_stack_trace")
        metadata = await handle.query("__temporal_workflow_metadata")
        with pytest.raises(WorkflowQueryFailedError) as unknown:
            await handle.query("nothing")

    assert 'await workflow.wait_condition(lambda: "go" in self.got)' in stack and "in run" in stack
    [path] = [path for path in enhanced["sources"] if path == __file__]
    assert any(each["functionName"] == "run" for each in enhanced["stacks"][0]["locations"])
    assert "class Late" in enhanced["sources"][path][0]["content"]
    assert metadata["definition"]["type"] == "Late"
    assert [each["name"] for each in metadata["definition"]["signalDefinitions"]] == ["go"]
    assert json.dumps(metadata)
    assert "known queries: [__enhanced_stack_trace __stack_trace __temporal_workflow_metadata]" in str(unknown.value)


async def test_a_query_that_is_async_and_waits_for_nothing_is_answered(client: Client, make_worker: MakeWorker) -> None:
    with pytest.warns(DeprecationWarning, match="async def"):

        @workflow.defn
        class Old:
            @workflow.run
            async def run(self) -> None:
                await workflow.wait_condition(lambda: False)

            @workflow.query
            async def at_once(self) -> str:
                return "now"

            @workflow.query
            async def later(self) -> None:
                await asyncio.get_running_loop().create_future()

    async with make_worker(Old):
        handle = await client.start_workflow(Old.run, id="o")
        assert await handle.query("at_once") == "now"
        with pytest.raises(WorkflowQueryFailedError, match="can't wait"):
            await handle.query("later")


async def test_log_lines_of_an_update_name_it(
    client: Client, make_worker: MakeWorker, caplog: pytest.LogCaptureFixture
) -> None:
    @workflow.defn
    class Logs:
        @workflow.run
        async def run(self) -> None:
            await workflow.wait_condition(lambda: False)

        @workflow.update
        async def note(self) -> None:
            workflow.logger.info("noted")

    with caplog.at_level(logging.INFO, "temporalio.workflow"):
        async with make_worker(Logs):
            handle = await client.start_workflow(Logs.run, id="l")
            await handle.execute_update(Logs.note, id="u-7")
    assert "'update_id': 'u-7'" in caplog.text and "'update_name': 'note'" in caplog.text
