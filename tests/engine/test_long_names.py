"""Names as long as an index of the database takes them, in any script; longer ones are refused with the reason."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from durable import Client, Worker, activity, workflow
from durable.client import WorkflowFailureError
from durable.exceptions import ApplicationError
from tests.engine.conftest import MakeWorker, worker_for

CHANCE = random.Random(7)
"""Names that a database can't compress."""


def wide(characters: int) -> str:
    """Characters of four bytes each."""
    return "".join(chr(CHANCE.randrange(0x20000, 0x2A6DF)) for _ in range(characters))


def narrow(characters: int) -> str:
    return "".join(chr(CHANCE.randrange(0x21, 0x7F)) for _ in range(characters))


@activity.defn
async def echo(text: str) -> str:
    return text


@workflow.defn
async def elsewhere(task_queue: str) -> str:
    """Its activity waits a while, in the database, for a worker of its queue."""
    try:
        return await workflow.execute_activity(
            echo, "here", task_queue=task_queue, start_to_close_timeout=timedelta(minutes=1)
        )
    except ValueError as error:
        raise ApplicationError(str(error)) from error


@workflow.defn
async def here() -> str:
    return await echo("here")


@pytest.mark.parametrize("id", [narrow(1000), wide(500)], ids=["a-thousand-characters", "two-thousand-bytes"])
async def test_a_long_workflow_id_is_as_good_as_any(address: str, id: str) -> None:
    async with await Client.connect(address, namespace=wide(125)) as client:
        async with worker_for(client, here, echo):
            assert await client.execute_workflow(here, id=id) == "here"
            assert await client.execute_workflow(here, id=id) == "here"
        assert [run.id async for run in client.list_workflows()] == [id, id]


async def test_long_task_queues_are_as_good_as_any(address: str) -> None:
    first, second = wide(500), wide(500)
    async with await Client.connect(address, namespace=wide(125)) as client:
        handle = await client.start_workflow(elsewhere, second, id="a", task_queue=first)
        async with worker_for(client, elsewhere, task_queue=first), worker_for(client, echo, task_queue=second):
            assert await handle.result() == "here"


async def test_a_workflow_id_that_no_index_takes_is_refused_with_the_reason(client: Client) -> None:
    with pytest.raises(ValueError, match="a workflow id has at most 2000 bytes in UTF-8; this one has 4000"):
        await client.start_workflow(here, id=wide(1000))


async def test_other_names_that_no_index_takes_are_refused_with_the_reason(client: Client, address: str) -> None:
    with pytest.raises(ValueError, match="a task queue has at most 2000 bytes in UTF-8; this one has 2004"):
        await client.start_workflow(here, id="a", task_queue=wide(501))
    with pytest.raises(ValueError, match="a request id has at most 2000 bytes in UTF-8; this one has 2004"):
        await client.start_workflow(here, id="a", request_id=wide(501))
    with pytest.raises(ValueError, match="a task queue has at most 2000 bytes in UTF-8; this one has 2004"):
        Worker(client, workflows=[here], activities=[echo], task_queue=wide(501))
    async with await Client.connect(address, namespace=wide(126)) as other:
        with pytest.raises(ValueError, match="a namespace has at most 500 bytes in UTF-8; this one has 504"):
            await other.start_workflow(here, id="a")


async def test_an_activity_for_a_queue_that_no_index_takes_is_refused_where_it_is_called(
    client: Client, make_worker: MakeWorker
) -> None:
    async with make_worker(elsewhere):
        with pytest.raises(WorkflowFailureError) as failure:
            await client.execute_workflow(elsewhere, wide(501), id="a")

    assert "a task queue has at most 2000 bytes in UTF-8; this one has 2004" in str(failure.value.cause)
