"""What the simulation has found, each as one small story with a real client and a real worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from durable import Client, RetryPolicy, Worker, activity, workflow
from durable.client import WorkflowFailureError
from durable.exceptions import ActivityError, CancelledError
from durable.history import codec
from durable.history.database import Database
from durable.history.errors import StoreUnavailable, UnknownOutcome
from durable.history.host import Machine
from durable.history.messages import Query
from durable.history.stores import open_store
from durable.history.stores.sqlite import SqliteStore
from durable.history.transition import ActivityReport, Claim, Claimed, Outcome, Renewal, Retry, Send, WorkerInfo, Write

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


async def test_a_client_without_a_worker_follows_the_clock_when_it_is_set(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/app.db"
    host = Machine()
    async with Client(await Database(open_store(url, host), host).open()) as asking, await Client.connect(url) as other:
        handle = await asking.start_workflow(Gives.run, id="w")
        right_us = host.now_us()
        host.adjust(right_us - 3600_000_000)  # as it was before somebody set the clock forward
        async with asyncio.timeout(20):
            while host.now_us() < right_us:  # noqa: ASYNC110 - the client's own doing
                await asyncio.sleep(0.01)
        async with _worker(other):
            assert await handle.query(Gives.working)  # and does not take the question for an old one


class Lossy(SqliteStore):
    """Loses the reply of the first claim that takes an attempt; and of a hand-back, until that is claimed anew."""

    claims = 0
    handed_back = False

    async def claim(self, claim: Claim) -> Claimed:
        claimed = await super().claim(claim)
        self.claims += bool(claimed.activities)
        if claimed.activities and self.claims == 1:
            raise UnknownOutcome("the reply of the claim was lost")
        return claimed

    async def commit(self, writes: Sequence[Write]) -> list[Outcome]:
        outcomes = await super().commit(writes)
        if any(isinstance(write, ActivityReport) and isinstance(write.what, Retry) for write in writes):
            again, self.handed_back = self.handed_back, True
            while not again and self.claims < 2:  # noqa: ASYNC110 - the worker's own doing
                await asyncio.sleep(0.01)
            if not again:
                raise UnknownOutcome("the reply of the hand-back was lost")
        return outcomes


async def test_an_attempt_whose_claim_was_not_answered_begins_once(tmp_path: Path) -> None:
    host, begun = Machine(), list[int]()
    store = Lossy(str(tmp_path / "app.db"), host)

    @activity.defn(name="charge")
    async def charge_once() -> str:
        begun.append(activity.info().attempt)
        await asyncio.sleep(1 if store.handed_back else 0)  # long enough for a hand-back to be sent again
        return "charged"

    async with Client(await Database(store, host).open()) as client, _worker(client):
        handle = await client.start_workflow(Gives.run, id="w")
        lease = timedelta(seconds=1)
        async with Worker(client, task_queue=ELSEWHERE, activities=[charge_once], lease=lease):
            assert await handle.result(rpc_timeout=timedelta(seconds=20)) == "charged"
    assert begun == [1]


class Unwilling(SqliteStore):
    """Takes no report until the worker has renewed its lease a few times."""

    refused = 0
    renewals = 0

    async def commit(self, writes: Sequence[Write]) -> list[Outcome]:
        if self.renewals < 5 and any(isinstance(write, ActivityReport) for write in writes):
            self.refused += 1
            raise StoreUnavailable("the disk is full")
        return await super().commit(writes)

    async def renew(self, worker: WorkerInfo) -> Renewal:
        self.renewals += bool(self.refused)
        return await super().renew(worker)


async def test_an_attempt_that_timed_out_begins_once_though_the_store_can_not_be_told(tmp_path: Path) -> None:
    host, begun = Machine(), list[int]()
    store = Unwilling(str(tmp_path / "app.db"), host)

    @activity.defn
    async def hang() -> None:
        begun.append(activity.info().attempt)
        await asyncio.sleep(1000)

    @workflow.defn
    async def hangs() -> str:
        brief, once = timedelta(milliseconds=50), RetryPolicy(maximum_attempts=1)
        try:
            await workflow.execute_activity(hang, start_to_close_timeout=brief, retry_policy=once)
        except ActivityError:
            return "given up"
        return "done"

    lease = timedelta(milliseconds=500)
    async with Client(await Database(store, host).open()) as client:
        async with Worker(client, workflows=[hangs], activities=[hang], lease=lease):
            handle = await client.start_workflow(hangs, id="w")
            assert await handle.result(rpc_timeout=timedelta(seconds=20)) == "given up"
    assert begun == [1] and store.refused
