"""What workflows cost on each store, exactly: commits, statements and rows, client and worker in one process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, NamedTuple

import msgspec
import pytest

from durable import Client, activity, workflow
from tests.engine.conftest import MakeWorker

STATEMENTS = {"sqlite": 20, "postgres": 8}
"""For a workflow of one activity that has its commits to itself. On PostgreSQL each is a round trip: one to begin, to
look, to write and to commit."""


@activity.defn
async def step(number: int) -> int:
    return number


@workflow.defn
async def none() -> None:
    pass


@workflow.defn
async def sequential(steps: int) -> None:
    for number in range(steps):
        await step(number)


@workflow.defn
async def local() -> None:
    await workflow.execute_local_activity(step, 1, start_to_close_timeout=timedelta(seconds=10))


@workflow.defn
async def parallel(steps: int) -> None:
    await asyncio.gather(*[step(number) for number in range(steps)])


class Cost(NamedTuple):
    commits: int
    statements: int


def spent_by(client: Client) -> Any:
    """The counters of its store, as they are now."""
    store: Any = client.database.store
    return msgspec.structs.replace(store.counters)


async def cost(client: Client, run: Callable[[str], Awaitable[Any]], times: int = 5) -> Cost:
    """What one ``run(id)`` costs. The least of several: a claim that finds nothing to do is not the run's."""
    costs: list[Cost] = []
    for number in range(times):
        before = spent_by(client)
        await run(f"run-{number}")
        after = spent_by(client)
        costs.append(Cost(after.commits - before.commits, after.statements - before.statements))
    return min(costs)


async def test_a_workflow_without_activities_costs_one_commit(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(none, step):
        spent = await cost(client, lambda id: client.execute_workflow(none, id=id))
    assert spent.commits == 1


async def test_a_workflow_of_one_activity_costs_two_commits_and_so_many_statements(
    client: Client, make_worker: MakeWorker, store: str
) -> None:
    async with make_worker(sequential, step):
        spent = await cost(client, lambda id: client.execute_workflow(sequential, 1, id=id))
    assert spent.commits == 2
    assert spent.statements == STATEMENTS[store]


async def test_a_workflow_of_one_local_activity_costs_two_commits(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(local, step):
        spent = await cost(client, lambda id: client.execute_workflow(local, id=id))
    assert spent.commits == 2


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_a_workflow_of_one_activity_writes_few_rows(client: Client, make_worker: MakeWorker) -> None:
    """SQLite alone tells how many rows a statement has written."""
    async with make_worker(sequential, step):
        before = spent_by(client)
        await client.execute_workflow(sequential, 1, id="run")
        after = spent_by(client)
    # The run's row (inserted, updated), two of history, the activity task's (inserted, deleted), and with each commit
    # the pulse that tells other processes.
    assert after.rows_written - before.rows_written == 8


@pytest.mark.parametrize("steps", [2, 5, 20])
async def test_n_activities_in_sequence_cost_n_plus_one_commits(
    client: Client, make_worker: MakeWorker, steps: int
) -> None:
    async with make_worker(sequential, step):
        spent = await cost(client, lambda id: client.execute_workflow(sequential, steps, id=id))
    assert spent.commits == steps + 1


@pytest.mark.parametrize("steps", [10, 100])
async def test_n_activities_side_by_side_cost_a_few_commits(
    client: Client, make_worker: MakeWorker, steps: int
) -> None:
    async with make_worker(parallel, step):
        spent = await cost(client, lambda id: client.execute_workflow(parallel, steps, id=id))
    assert spent.commits <= 5


async def test_hundreds_of_workflows_at_once_share_their_commits(client: Client, make_worker: MakeWorker) -> None:
    async def crowd(prefix: str) -> None:
        await asyncio.gather(*[client.execute_workflow(sequential, 1, id=f"{prefix}-{n}") for n in range(300)])

    async with make_worker(sequential, step):
        spent = await cost(client, crowd, times=3)
    assert spent.commits <= 100


async def test_a_signal_costs_one_commit_to_send_and_one_to_read(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(Told):

        async def tell(id: str) -> None:
            handle = await client.start_workflow(Told.run, id=id)
            await handle.signal(Told.tell)
            await handle.result()

        spent = await cost(client, tell)
    assert spent.commits == 3


@workflow.defn
class Told:
    def __init__(self) -> None:
        self.told = False

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: self.told)

    @workflow.signal
    def tell(self) -> None:
        self.told = True


async def test_an_idle_worker_writes_nothing(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(Told):
        await client.start_workflow(Told.run, id="waiting")

        async def a_second(id: str) -> None:
            await asyncio.sleep(0.3)

        assert (await cost(client, a_second, times=1)).commits == 0
