"""What the tests ask of runs that follow each other."""

from __future__ import annotations

from typing import Any

from durable import Client
from durable.client import WorkflowHandle
from durable.client.description import WorkflowHistory
from durable.history.events import successor_of
from tests.engine.histories import assert_sound


async def chain(client: Client, handle: WorkflowHandle[Any, Any]) -> list[WorkflowHistory]:
    """The histories of the run that the handle's start began, and of those that follow it."""
    histories: list[WorkflowHistory] = []
    next_id = handle.result_run_id or ""
    while next_id:
        history = await client.get_workflow_handle(handle.id, run_id=next_id).fetch_history()
        assert_sound(history.events)
        histories.append(history)
        last: Any = history.events[-1]
        next_id = successor_of(last) if hasattr(last, "new_execution_run_id") else ""
    return histories


async def ended(client: Client, handle: WorkflowHandle[Any, Any]) -> Any:
    """The event that closed the run which the handle's start began, as soon as it is there."""
    assert handle.result_run_id is not None
    return await client.database.closing_event(handle.result_run_id)


async def run_ids(client: Client, workflow_id: str) -> list[str]:
    """All runs of the workflow id, oldest first."""
    runs = [run async for run in client.list_workflows(f"WorkflowId = '{workflow_id}'")]
    return sorted(run.run_id for run in runs)
