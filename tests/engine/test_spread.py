"""The same results from one, two and eight worker processes, with the work spread over them."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from durable import Client, Worker, activity, workflow
from durable.history.events import ActivityTaskStarted
from durable.worker import poller
from tests.engine.conftest import LONG_LEASE
from tests.engine.histories import assert_sound, of_type, until
from tests.forkserver import processes

WORKFLOWS = 60
IN_TIME_US = 5_000_000
"""On a busy machine it takes a process longer to look than `SHARED_FOR_US` grants it."""


@activity.defn
async def square(number: int) -> int:
    return number * number


@workflow.defn
async def sum_of_squares(number: int) -> int:
    first = await square(number)
    await workflow.sleep(timedelta(milliseconds=5))
    return first + await square(number + 1)


def serve(address: str, sign: Path) -> None:
    poller.SHARED_FOR_US = IN_TIME_US
    asyncio.run(work(address, sign))


async def work(address: str, sign: Path) -> None:
    async with await Client.connect(address) as client:
        async with Worker(client, workflows=[sum_of_squares], activities=[square], lease=LONG_LEASE):
            sign.touch()  # noqa: ASYNC240 (it takes microseconds)
            await asyncio.Event().wait()


class Fleet:
    """Worker processes; they take no part of the work before `grow` returns."""

    def __init__(self, address: str, folder: Path) -> None:
        self._address = address
        self._folder = folder
        self._children: list[BaseProcess] = []

    async def grow(self, size: int) -> None:
        for number in range(len(self._children), size):
            child = processes.Process(target=serve, args=(self._address, self._folder / str(number)), daemon=True)
            child.start()
            self._children.append(child)

        async def all_are_ready() -> bool:
            return all((self._folder / str(number)).exists() for number in range(size))

        await until(all_are_ready)

    @property
    def identities(self) -> set[str]:
        return {f"{child.pid}@{socket.gethostname()}" for child in self._children}

    def kill(self) -> None:
        for child in self._children:
            child.kill()
            child.join()


@pytest.fixture
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database that several processes can share."""
    return f"sqlite:///{tmp_path}/app.db" if request.param == "sqlite" else request.getfixturevalue("postgres")


@pytest.fixture
def fleet(address: str, tmp_path: Path) -> Iterator[Fleet]:
    folder = tmp_path / "ready"
    folder.mkdir()
    workers = Fleet(address, folder)
    yield workers
    workers.kill()


async def results_and_workers(client: Client, batch: str) -> tuple[list[int], Counter[str]]:
    """What so many workflows brought, all started at once; and how many activities each worker has done."""

    async def one(number: int) -> tuple[int, list[str]]:
        handle: Any = await client.start_workflow(sum_of_squares, number, id=f"{batch}-{number}")
        result = await handle.result()
        history = await handle.fetch_history()
        assert_sound(history.events)
        return result, [event.identity for event in of_type(history, ActivityTaskStarted)]

    ends = await asyncio.gather(*(one(number) for number in range(WORKFLOWS)))
    return [result for result, _ in ends], Counter(identity for _, done_by in ends for identity in done_by)


@pytest.mark.parametrize(
    ("address", "sizes"),
    [
        ("postgres", (1, 2, 8)),
        ("sqlite", (1, 2)),
        pytest.param("sqlite", (1, 2, 8), marks=pytest.mark.all),
    ],
    indirect=["address"],
)
async def test_any_number_of_worker_processes_brings_the_same_results_and_each_does_its_part(
    address: str, sizes: tuple[int, ...], fleet: Fleet
) -> None:
    expected = [number * number + (number + 1) * (number + 1) for number in range(WORKFLOWS)]
    async with await Client.connect(address) as client:
        for size in sizes:
            await fleet.grow(size)

            results, done_by = await results_and_workers(client, f"of {size}")

            assert results == expected
            assert done_by.keys() == fleet.identities, f"{done_by} of {size} workers"
            assert done_by.total() == 2 * WORKFLOWS
