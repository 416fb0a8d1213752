"""A run that leaves memory: its coroutines end unseen, and nothing of it happens. Rules 0.9, 13.7."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import warnings
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from durable import Client, activity, workflow
from tests.engine.conftest import MakeWorker
from tests.engine.histories import assert_replays, types, until

seen: list[tuple[str, bool, str]] = []


@pytest.fixture(autouse=True)
def nothing_seen() -> Iterator[None]:
    seen.clear()
    yield
    seen.clear()


@activity.defn
async def note(what: str) -> str:
    return what


@workflow.defn
class Evicted:
    """Whatever is thrown into its coroutines, they try to do things."""

    def __init__(self) -> None:
        self.over = False

    @workflow.run
    async def run(self) -> str:
        helper = asyncio.create_task(self.linger("task"))
        try:
            await workflow.wait_condition(lambda: self.over)
            helper.cancel()
            return await note("in good order")
        finally:
            if not self.over:
                self.meddle("run")

    @workflow.signal
    async def tell(self) -> None:
        await self.linger("signal")

    @workflow.update
    async def change(self) -> None:
        await self.linger("update")

    @workflow.signal
    def end(self) -> None:
        self.over = True

    async def linger(self, where: str) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except BaseException as error:
            if self.over:
                raise
            seen.append((where, workflow.unsafe.is_replaying(), type(error).__name__))
            self.meddle(where)
            await workflow.sleep(1)
            seen.append(("went on", False, ""))

    def meddle(self, where: str) -> None:
        seen.append((where, workflow.unsafe.is_replaying(), ""))
        workflow.logger.warning("from the finally block of %s", where)
        workflow.start_activity(note, "while evicted", start_to_close_timeout=timedelta(hours=1))
        asyncio.get_running_loop().call_later(1, print)
        workflow.set_signal_handler("late", print)
        self.orphan = asyncio.create_task(self.linger("born too late"))


async def test_what_finally_blocks_of_an_evicted_run_do_is_ignored_and_nobody_complains(
    client: Client, make_worker: MakeWorker, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    complaints: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    with warnings.catch_warnings(record=True) as warned, caplog.at_level(logging.INFO):
        warnings.simplefilter("always")
        async with make_worker(Evicted, note, max_cached_workflows=0):
            handle = await client.start_workflow(Evicted.run, id="e")
            await handle.signal(Evicted.tell)
            update = asyncio.ensure_future(handle.execute_update(Evicted.change))

            async def all_evicted() -> bool:
                return {"run", "task", "signal", "update"} <= {where for where, _, _ in seen}

            await until(all_evicted)
            await handle.signal(Evicted.end)
            assert await handle.result() == "in good order"
            await asyncio.wait([update])
        gc.collect()
    assert update.exception() is not None
    assert ("went on", False, "") not in seen and all(replaying for _, replaying, _ in seen)
    history = await handle.fetch_history()
    assert types(history).count("ActivityTaskScheduled") == 1 and "TimerStarted" not in types(history)
    assert complaints == []
    told = [
        str(each.message) for each in warned if not issubclass(each.category, workflow.UnfinishedSignalHandlersWarning)
    ]
    assert [text for text in told if "TMPRL1102" not in text] == []
    assert "finally block" not in caplog.text
    for complaint in ("was destroyed", "ignored GeneratorExit", "never awaited", "never retrieved"):
        assert complaint not in caplog.text
    await assert_replays(Evicted, history)


@workflow.defn
class Talkative:
    def __init__(self) -> None:
        workflow.logger.info("init")
        self.steps = 0

    @workflow.run
    async def run(self, steps: int) -> None:
        for number in range(steps):
            workflow.logger.info("step %d", number)
            await workflow.wait_condition(lambda number=number: self.steps > number)  # type: ignore[misc]
        workflow.logger.info("over")

    @workflow.signal
    def step(self) -> None:
        workflow.logger.info("signal")
        self.steps += 1

    @workflow.query
    def ask(self) -> int:
        workflow.logger.info("query")
        return self.steps


async def test_every_line_is_logged_once_however_often_its_task_is_replayed_but_for_queries(
    client: Client, make_worker: MakeWorker, max_cached: int, caplog: pytest.LogCaptureFixture
) -> None:
    workflow.logger.workflow_info_on_message = False
    try:
        with caplog.at_level(logging.INFO, "temporalio.workflow"):
            async with make_worker(Talkative, max_cached_workflows=max_cached):
                handle = await client.start_workflow(Talkative.run, 2, id="t")
                await handle.query(Talkative.ask)
                await handle.signal(Talkative.step)
                await handle.query(Talkative.ask)
                await handle.query(Talkative.ask)
                await handle.signal(Talkative.step)
                await handle.result()
    finally:
        workflow.logger.workflow_info_on_message = True
    lines = [record.getMessage() for record in caplog.records if record.name == "temporalio.workflow"]
    assert lines == ["init", "step 0", "query", "signal", "step 1", "query", "query", "signal", "over"]
