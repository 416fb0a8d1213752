"""Memo, search attributes, limits, retries and schedules as durable records them: Temporal's code reads the same."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowHistory as TheirHistory
from temporalio.worker import Replayer as TheirReplayer
from temporalio.worker import UnsandboxedWorkflowRunner

from durable import Client, RetryPolicy, Worker
from durable.client import WorkflowHistory
from durable.history import cron
from durable.search_attributes import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from durable.worker import Replayer
from tests.engine.chains import chain
from tests.engine.histories import types
from tests.temporal import chains
from tests.temporal.twins import of_temporal

CUSTOMER = SearchAttributeKey.for_keyword("Customer")


async def replay(history: WorkflowHistory) -> None:
    """Here, and there."""
    await Replayer(workflows=chains.WORKFLOWS).replay_workflow(history)
    replayer = TheirReplayer(workflows=of_temporal(chains).WORKFLOWS, workflow_runner=UnsandboxedWorkflowRunner())
    await replayer.replay_workflow(TheirHistory.from_json("w", history.to_json()))


async def test_a_run_that_notes_things_and_continues() -> None:
    async with await Client.connect("sqlite://") as client, Worker(client, workflows=chains.WORKFLOWS):
        handle = await client.start_workflow(
            chains.Noting.run,
            True,
            id="w",
            run_timeout=timedelta(minutes=5),
            execution_timeout=timedelta(hours=1),
            retry_policy=RetryPolicy(maximum_attempts=3),
            memo={"kept": 1, "gone": "soon"},
            search_attributes=TypedSearchAttributes([SearchAttributePair(CUSTOMER, "c1")]),
            static_summary="for people",
        )
        await handle.result()
        histories = await chain(client, handle)

    assert [types(history)[-1] for history in histories] == [
        "WorkflowExecutionContinuedAsNew",
        "WorkflowExecutionCompleted",
    ]
    for history in histories:
        await replay(history)


async def test_runs_of_a_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cron, "LEAST_US", 1_000)
    async with await Client.connect("sqlite://") as client, Worker(client, workflows=chains.WORKFLOWS):
        handle = await client.start_workflow(chains.Ticking.run, id="w", cron_schedule="@every 20ms")
        run_id: Any = handle.result_run_id
        for _ in range(4):
            ended: Any = await client.database.closing_event(run_id)
            run_id = ended.new_execution_run_id
        await client.get_workflow_handle("w").terminate()
        histories = (await chain(client, handle))[:4]

    ends = ["Completed", "Completed", "Failed", "Completed"]
    assert [types(history)[-1] for history in histories] == [f"WorkflowExecution{end}" for end in ends]
    for history in histories:
        await replay(history)
