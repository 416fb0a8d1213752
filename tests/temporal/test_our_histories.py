"""What durable records, Temporal's own replayer replays on the same code written for Temporal."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio import workflow as their_workflow
from temporalio.client import WorkflowHistory as TheirHistory
from temporalio.worker import Replayer as TheirReplayer
from temporalio.worker import UnsandboxedWorkflowRunner

from durable import Client, Worker
from durable.client import WorkflowHandle, WorkflowHistory
from tests.engine import histories
from tests.temporal import flows
from tests.temporal.scenarios import SCENARIOS, Scenario
from tests.temporal.twins import of_temporal


@their_workflow.defn(name="Reminder")
class HastyReminder:
    """Waits for nobody."""

    @their_workflow.run
    async def run(self, seconds: float) -> str:
        return f"{seconds} would have been too late"


async def types(handle: WorkflowHandle[Any, Any]) -> list[str]:
    return histories.types(await handle.fetch_history())


async def played(scenario: Scenario) -> WorkflowHistory:
    async with await Client.connect("sqlite://") as client:
        async with Worker(client, workflows=flows.WORKFLOWS, activities=flows.ACTIVITIES, task_queue="orders"):
            handle: WorkflowHandle[Any, Any] = await scenario.play(client, "w", "orders", types)
            return await handle.fetch_history()


async def replay(workflows: list[Any], history: WorkflowHistory) -> None:
    replayer = TheirReplayer(workflows=workflows, workflow_runner=UnsandboxedWorkflowRunner())
    await replayer.replay_workflow(TheirHistory.from_json("w", history.to_json()))


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
async def test_a_history_of_ours_replays_in_temporals_replayer(scenario: Scenario) -> None:
    history = await played(scenario)

    assert histories.types(history)[-1].startswith("WorkflowExecution")
    await replay(of_temporal().WORKFLOWS, history)


async def test_temporals_replayer_tells_the_difference_too() -> None:
    history = await played(SCENARIOS["too-late"])

    with pytest.raises(their_workflow.NondeterminismError):
        await replay([HastyReminder], history)
