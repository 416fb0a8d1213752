"""Activities that are let go of, paused, reset and completed from outside all at once, while workers come and go."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from durable import Client, RetryPolicy, activity, workflow
from durable.client import AsyncActivityCancelledError, WorkflowHandle
from durable.history.events import ActivityTaskCompleted
from durable.service import RPCError, RPCStatusCode
from tests.engine.conftest import worker_for
from tests.engine.histories import assert_replays, assert_sound, of_type

WORKFLOWS, ACTIVITIES = 12, 3

tokens: list[bytes] = []


@activity.defn
async def outside() -> str:
    tokens.append(activity.info().task_token)
    activity.raise_complete_async()


@activity.defn
async def inside() -> str:
    for _ in range(3):
        activity.heartbeat()
        await asyncio.sleep(0.002)
    return "inside"


@activity.defn
async def flaky() -> str:
    if activity.info().attempt < 3:
        raise ValueError("not yet")
    return "flaky"


@workflow.defn
async def several() -> list[str]:
    calls = [
        workflow.start_activity(
            each,
            activity_id=f"{each.__name__}-{number}",
            start_to_close_timeout=timedelta(minutes=5),
            retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=1), backoff_coefficient=1.0),
        )
        for number in range(ACTIVITIES)
        for each in (outside, inside, flaky)
    ]
    return sorted(await asyncio.gather(*calls))


class Storm:
    """Who does what to whom, by chance."""

    def __init__(self, client: Client, handles: list[WorkflowHandle[Any, Any]], seed: int) -> None:
        self.client = client
        self.handles = handles
        self.chance = random.Random(seed)
        self.stormy = True

    async def steer(self) -> None:
        """Pause, unpause, reset; in the end everything is unpaused."""
        while self.stormy:
            await self._ask(self.chance.choice(["pause", "unpause", "reset", "keep"]))
            await asyncio.sleep(0)
        for handle in self.handles:
            for pending in (await handle.describe()).pending_activities:
                with suppress(RPCError):
                    await handle.unpause_activity(pending.activity_id)

    async def _ask(self, what: str) -> None:
        handle = self.chance.choice(self.handles)
        pending = (await handle.describe()).pending_activities
        if not pending:
            return
        id = self.chance.choice(pending).activity_id
        try:
            match what:
                case "pause":
                    await handle.pause_activity(id, reason="a storm")
                case "unpause":
                    await handle.unpause_activity(id, reset_attempts=self.chance.random() < 0.5)
                case "reset":
                    await handle.reset_activity(id, reset_heartbeat=True)
                case _:
                    await handle.reset_activity(id, keep_paused=True)
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise

    async def end(self) -> None:
        """Heartbeats, failures and results for what was let go of; in the end results only; for ever."""
        while True:
            await asyncio.sleep(0.001)
            if not tokens:
                continue
            token = tokens.pop(self.chance.randrange(len(tokens)))
            outside = self.client.get_async_activity_handle(task_token=token)
            try:
                how = self.chance.random() if self.stormy else 1.0
                if how < 0.3:
                    tokens.append(token)
                    with suppress(AsyncActivityCancelledError):
                        await outside.heartbeat("so far")
                elif how < 0.6:
                    await outside.fail(ValueError("not now"))
                else:
                    await outside.complete("outside")
            except RPCError as error:
                if error.status != RPCStatusCode.NOT_FOUND:
                    raise


@pytest.mark.all
@pytest.mark.parametrize("seed", range(3))
async def test_nothing_is_lost_and_nothing_happens_twice_in_a_storm(address: str, seed: int) -> None:
    tokens.clear()
    definitions = (several, outside, inside, flaky)
    async with await Client.connect(address) as client, await Client.connect(address) as other:
        handles = [await client.start_workflow(several, id=f"several-{number}") for number in range(WORKFLOWS)]
        storm = Storm(other, handles, seed)
        async with asyncio.TaskGroup() as tasks:
            ending = tasks.create_task(storm.end())
            steering = tasks.create_task(storm.steer())
            for life in range(8):
                async with worker_for([client, other][life % 2], *definitions, max_cached_workflows=life % 3):
                    await asyncio.sleep(0.3 * storm.chance.random())
            storm.stormy = False
            await steering
            async with worker_for(client, *definitions):
                results = [await handle.result() for handle in handles]
            ending.cancel()
        histories = [await handle.fetch_history() for handle in handles]

    assert results == [sorted(["outside", "inside", "flaky"] * ACTIVITIES)] * WORKFLOWS
    for history in histories:
        assert len(of_type(history, ActivityTaskCompleted)) == 3 * ACTIVITIES
        assert_sound(history.events)
        await assert_replays(several, history)
