"""A wait that forgets its timeout: a question that was lost with the worker is waited for, for ever."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from durable import Client, RetryPolicy, activity, workflow
from durable.exceptions import ActivityError
from durable.testing.plugin import StartWorker


# Nobody likes to be asked twice, so there is one attempt.
@activity.defn(start_to_close_timeout=timedelta(minutes=1), retry_policy=RetryPolicy(maximum_attempts=1))
async def ask(question: str) -> None: ...


class Approval:
    def __init__(self) -> None:
        self.answer: str | None = None

    async def ask(self, question: str) -> None:
        try:
            await ask(question)
        except ActivityError:
            workflow.logger.warning("whether the question went out is not known")

    @workflow.signal
    def decide(self, answer: str) -> None:
        self.answer = answer


@workflow.defn(name="approval")
class Faulty(Approval):
    @workflow.run
    async def run(self, question: str) -> str | None:
        await self.ask(question)
        await workflow.wait_condition(lambda: self.answer is not None)
        return self.answer


@workflow.defn(name="approval")
class Mended(Approval):
    @workflow.run
    async def run(self, question: str) -> str | None:
        while self.answer is None:
            await self.ask(question)
            try:
                await workflow.wait_condition(lambda: self.answer is not None, timeout=timedelta(days=2))
            except TimeoutError:
                workflow.logger.info("two days without an answer: asked once more")
        return self.answer


@pytest.mark.crash_sweep
@pytest.mark.parametrize("approval", [Faulty, Mended], ids=["faulty", "mended"])
async def test_what_is_asked_is_decided(approval: Any, durable_client: Client, durable_worker: StartWorker) -> None:
    async def boss(question: str) -> None:
        """Answers at once."""
        handle = durable_client.get_workflow_handle(activity.info().workflow_id)
        await handle.signal(Approval.decide, f"{question} Yes.")

    await durable_worker(workflows=[approval], activities=[ask], replace={ask: boss})

    assert await durable_client.execute_workflow(approval.run, "A piano?", id="approval") == "A piano? Yes."
