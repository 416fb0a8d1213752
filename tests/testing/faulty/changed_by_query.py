"""Changed by a query: what a query changes is in no history, and is gone with the worker's memory."""

from __future__ import annotations

from typing import Any

import pytest

from durable import Client, workflow
from durable.testing.plugin import StartWorker


class Poll:
    def __init__(self) -> None:
        self.votes: list[str] = []
        self.closed = False

    async def until_closed(self) -> list[str]:
        await workflow.wait_condition(lambda: self.closed)
        return self.votes

    @workflow.signal
    def close(self) -> None:
        self.closed = True


@workflow.defn(name="poll")
class Faulty(Poll):
    @workflow.run
    async def run(self) -> list[str]:
        return await self.until_closed()

    @workflow.query
    def vote(self, choice: str) -> int:
        """The number of votes so far."""
        self.votes.append(choice)
        return len(self.votes)


@workflow.defn(name="poll")
class Mended(Poll):
    @workflow.run
    async def run(self) -> list[str]:
        return await self.until_closed()

    @workflow.signal
    def vote(self, choice: str) -> None:
        self.votes.append(choice)


@pytest.mark.crash_sweep
@pytest.mark.parametrize(("poll", "way"), [(Faulty, "query"), (Mended, "signal")], ids=["faulty", "mended"])
async def test_every_vote_counts(poll: Any, way: str, durable_client: Client, durable_worker: StartWorker) -> None:
    await durable_worker(workflows=[poll])
    handle = await durable_client.start_workflow(poll.run, id="poll")

    for choice in ("tea", "coffee"):
        await getattr(handle, way)(poll.vote, choice)
    await handle.signal(poll.close)

    assert await handle.result() == ["tea", "coffee"]
