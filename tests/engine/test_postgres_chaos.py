"""Three worker processes on one PostgreSQL: one is killed, one stopped beyond its lease, the server restarted."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Iterator
from datetime import timedelta
from multiprocessing.process import BaseProcess
from typing import Any

import pytest

from durable import Client, Worker, activity, workflow
from durable.client.handle import WorkflowHandle
from durable.history.errors import HistoryError
from tests.engine.histories import assert_sound, until
from tests.postgres import Server, database_of

WORKERS = 3
WAVE = 20
PAUSE = 0.2

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["durable"])


@activity.defn(start_to_close_timeout=timedelta(seconds=30))
async def one_more(number: int) -> int:
    await asyncio.sleep(0.01)
    return number + 1


@workflow.defn
class Counting:
    """Activities, a timer, a signal, and activities again."""

    def __init__(self) -> None:
        self._more: int | None = None

    @workflow.run
    async def run(self, number: int) -> int:
        for _ in range(2):
            number = await one_more(number)
        await workflow.sleep(timedelta(milliseconds=50))
        await workflow.wait_condition(lambda: self._more is not None)
        for _ in range(self._more or 0):
            number = await one_more(number)
        return number

    @workflow.signal
    def go_on(self, more: int) -> None:
        self._more = more


def work(url: str) -> None:
    """Until it is killed; when the server is away, it comes again."""

    async def main() -> None:
        while True:
            try:
                async with await Client.connect(url) as client:
                    worker = Worker(client, workflows=[Counting], activities=[one_more], lease=timedelta(seconds=1))
                    await worker.run()
            except HistoryError:
                await asyncio.sleep(PAUSE)

    asyncio.run(main())


def spawn(url: str) -> BaseProcess:
    child = _processes.Process(target=work, args=(url,), daemon=True)
    child.start()
    return child


@pytest.fixture
def url(own_postgres_server: Server) -> str:
    return own_postgres_server.url(own_postgres_server.create())


@pytest.fixture
def workers(url: str) -> Iterator[list[BaseProcess]]:
    children = [spawn(url) for _ in range(WORKERS)]
    yield children
    for child in children:
        child.kill()
        child.join()


async def wave(client: Client, first: int) -> list[WorkflowHandle[Any]]:
    return [
        await client.start_workflow(Counting.run, number, id=f"counting-{number}")
        for number in range(first, first + WAVE)
    ]


async def result(handle: WorkflowHandle[Any]) -> int:
    """What a server that is away keeps from us is asked for again."""
    while True:
        try:
            return int(await handle.result())
        except HistoryError:
            await asyncio.sleep(PAUSE)


@pytest.mark.timeout(120)
async def test_nothing_is_lost_and_nothing_left_over_whatever_happens_to_workers_and_server(
    url: str, workers: list[BaseProcess], own_postgres_server: Server
) -> None:
    def ask(question: str) -> int:
        return int(own_postgres_server.run(question, database_of(url))[0][0])

    async def is_found_dead() -> bool:
        return bool(ask(f"SELECT count(*) FROM durable_workers WHERE pid = {stopped} AND dead_us IS NOT NULL"))

    async def all_work() -> bool:
        return ask("SELECT count(*) FROM durable_workers WHERE dead_us IS NULL") == WORKERS

    async with await Client.connect(url) as client:
        await until(all_work)
        handles = await wave(client, 0)
        workers[0].kill()
        workers.append(spawn(url))

        handles += await wave(client, WAVE)
        stopped = workers[1].pid
        assert stopped is not None
        os.kill(stopped, signal.SIGSTOP)
        await until(is_found_dead)
        os.kill(stopped, signal.SIGCONT)

        handles += await wave(client, 2 * WAVE)
        await asyncio.to_thread(own_postgres_server.restart)
        for handle in handles:
            await handle.signal(Counting.go_on, 2)

        results = await asyncio.gather(*(result(handle) for handle in handles))

        assert results == [number + 4 for number in range(3 * WAVE)]
        assert ask("SELECT count(*) FROM durable_inbox") == ask("SELECT count(*) FROM durable_activity_tasks") == 0
        for handle in handles:
            assert_sound((await handle.fetch_history()).events)
