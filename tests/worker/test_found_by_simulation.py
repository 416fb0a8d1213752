"""What the simulation has found, each as one small story with a real client and a real worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from durable import Client, Worker, activity, workflow
from durable.client import WorkflowFailureError
from durable.exceptions import ActivityError, CancelledError
from durable.history import codec
from durable.history.messages import Query
from durable.history.transition import Send

ELSEWHERE = "elsewhere"


@activity.defn
async def charge() -> str:
    return "charged"


@workflow.defn
async def waits_for_ever() -> None:
    try:
        await asyncio.sleep(1000)
    except asyncio.CancelledError:
        await charge()
        raise


@workflow.defn
class Gives:
    """Waits for an activity until a signal says to give it up."""

    def __init__(self) -> None:
        self.work: workflow.ActivityHandle[str] | None = None

    @workflow.run
    async def run(self) -> str:
        self.work = workflow.start_activity(
            "charge", task_queue=ELSEWHERE, result_type=str, schedule_to_close_timeout=timedelta(minutes=1)
        )
        try:
            return await self.work
        except ActivityError:
            return "given up"

    @workflow.signal
    def give_up(self) -> None:
        assert self.work is not None
        self.work.cancel()

    @workflow.query
    def working(self) -> bool:
        return self.work is not None


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with await Client.connect("sqlite://") as connected:
        yield connected


def _worker(client: Client) -> Worker:
    return Worker(client, workflows=[Gives, waits_for_ever], activities=[charge])


async def test_a_run_cancelled_before_its_first_task_learns_of_it(client: Client) -> None:
    handle = await client.start_workflow(waits_for_ever, id="w")
    await handle.cancel()
    async with _worker(client):
        with pytest.raises(WorkflowFailureError) as failure:
            await handle.result(rpc_timeout=timedelta(seconds=20))
    assert isinstance(failure.value.cause, CancelledError)
    names = [type(event).__name__ for event in (await handle.fetch_history()).events]
    assert "ActivityTaskCompleted" in names, "its code has not cleaned up"


async def test_an_activity_given_up_in_the_very_task_that_brings_its_outcome_harms_nothing(client: Client) -> None:
    handle = await client.start_workflow(Gives.run, id="w")
    async with _worker(client):
        assert await handle.query(Gives.working)  # it has scheduled the activity
    await handle.signal(Gives.give_up)
    async with Worker(client, task_queue=ELSEWHERE, activities=[charge]):
        while (await handle.describe()).pending_activities:  # noqa: ASYNC110 - another worker's doing
            await asyncio.sleep(0.01)
    async with _worker(client):
        assert await handle.result(rpc_timeout=timedelta(seconds=20)) == "given up"


async def test_a_question_sent_twice_is_answered_once(client: Client) -> None:
    await client.start_workflow(Gives.run, id="w")
    message = codec.pack(Query(id="question-1", name="working"), client.database.store.now_us())
    send = Send(namespace="default", workflow_id="w", message=message)
    for _ in range(2):
        await client.database.write(send)
    async with _worker(client):
        body = await asyncio.wait_for(client.database.reply("question-1"), 20)
    assert codec.decode_answer(body).failure is None
