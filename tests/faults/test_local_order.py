"""F26: a signal, an update, an activity and local activities end in one workflow task, and replay in that order."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from durable import Client, activity, workflow
from durable.client import WorkflowUpdateStage
from durable.history.events import MarkerRecorded
from durable.history.messages import MessageKind
from tests.engine.histories import assert_replays, of_type, until
from tests.faults.conftest import MakeWorker

TEN_S = timedelta(seconds=10)


@workflow.defn
class Hearing:
    """Writes down what it hears, in order; each time it asks for something, so that the order is in its history."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.local("slow"))
            group.create_task(self.ordinary())
            group.create_task(self.local("quick"))
            await workflow.wait_condition(lambda: len(self.heard) >= 6)
            await workflow.wait_condition(workflow.all_handlers_finished)
        return self.heard

    async def local(self, name: str) -> None:
        await workflow.execute_local_activity(name, start_to_close_timeout=TEN_S)
        await self.note(name)

    async def ordinary(self) -> None:
        await workflow.execute_activity("ordinary", start_to_close_timeout=TEN_S)
        await self.note("ordinary")

    @workflow.signal
    async def tell(self, word: str) -> None:
        await self.note(word)

    @workflow.update
    async def ask(self, word: str) -> None:
        if workflow.patched("since then"):
            await self.note(word)

    @workflow.query
    def so_far(self) -> list[str]:
        return self.heard

    async def note(self, what: str) -> None:
        self.heard.append(what)
        await workflow.sleep(0.001)


@activity.defn(name="quick")
async def never_quick() -> None:
    await asyncio.Event().wait()


@activity.defn(name="slow")
async def never_slow() -> None:
    await asyncio.Event().wait()


@activity.defn(name="ordinary")
async def never_ordinary() -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("max_cached", [10_000, 0], ids=["cached", "uncached"])
async def test_f26_signal_update_activity_and_local_activities_of_one_task_replay_in_their_order(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    first = asyncio.Event()

    @activity.defn
    async def quick() -> None:
        """Is over before the one that was asked for first."""

    @activity.defn
    async def slow() -> None:
        await first.wait()

    @activity.defn
    async def ordinary() -> None:
        """Is over when it begins."""

    async with make_worker(client, Hearing, never_quick, never_slow, never_ordinary):
        handle = await client.start_workflow(Hearing.run, id="w")

    async def unread() -> list[MessageKind]:
        return [each.kind for each in (await handle.describe()).pending_messages]

    async def two_are_over() -> bool:
        return (await unread()).count(MessageKind.ACTIVITY) == 2

    async with make_worker(client, quick, slow, ordinary):
        await until(two_are_over)
        first.set()

        async def all_are_over() -> bool:
            return (await unread()).count(MessageKind.ACTIVITY) == 3

        await until(all_are_over)
    update = asyncio.create_task(
        handle.start_update(Hearing.ask, "update", wait_for_stage=WorkflowUpdateStage.ACCEPTED)
    )

    async def update_is_there() -> bool:
        return MessageKind.UPDATE in await unread()

    await until(update_is_there)
    await handle.signal(Hearing.tell, "signal")

    expected = ["signal", "update", "ordinary", "quick", "slow"]
    async with make_worker(client, Hearing, quick, slow, ordinary, max_cached_workflows=max_cached):
        await update
        history = await handle.fetch_history()
        markers = [event.marker_name for event in of_type(history, MarkerRecorded)]
        assert markers == ["core_patch", "core_local_activity", "core_local_activity"]
        tasks = [event.workflow_task_completed_event_id for event in of_type(history, MarkerRecorded)]
        assert len(set(tasks)) == 1
        assert await handle.query(Hearing.so_far) == expected
        await assert_replays(Hearing, history)
        await handle.signal(Hearing.tell, "bye")
        assert await handle.result() == [*expected, "bye"]
    async with make_worker(client, Hearing, quick, slow, ordinary, max_cached_workflows=max_cached):
        assert await handle.query(Hearing.so_far) == [*expected, "bye"]
    await assert_replays(Hearing, await handle.fetch_history())
