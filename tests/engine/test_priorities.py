"""Priorities: where more activities wait than can begin, the most urgent ones begin first."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from durable import Client, activity, workflow
from durable.common import Priority
from durable.history.events import ActivityTaskScheduled, WorkflowExecutionStarted
from tests.engine.conftest import MakeWorker
from tests.engine.histories import of_type, until

HOUR = timedelta(hours=1)
KEYS = [5, 9, 3, None, 1, 4, 2]
LEVELS = [1, 2, 3, 3, 4, 5, 5]

begun: list[Any] = []


@activity.defn
async def note(what: Any) -> None:
    begun.append(what)


@workflow.defn
async def many(keys: list[int | None]) -> None:
    """Activities that are scheduled at once, in this order."""
    calls = [
        workflow.start_activity(
            note, key, task_queue="the-queue", start_to_close_timeout=HOUR, priority=Priority(priority_key=key)
        )
        for key in keys
    ]
    await asyncio.gather(*calls)


@workflow.defn
async def one(name: str, priority_key: int | None, fairness_key: str | None) -> Any:
    await workflow.execute_activity(
        note,
        name,
        task_queue="the-queue",
        start_to_close_timeout=HOUR,
        priority=Priority(priority_key=priority_key, fairness_key=fairness_key),
    )
    return workflow.info().priority.priority_key


async def waiting(client: Client, count: int) -> None:
    """Until so many activities are scheduled."""

    async def are_there() -> bool:
        handles = [client.get_workflow_handle(run.id) async for run in client.list_workflows()]
        described = [await handle.describe() for handle in handles]
        return sum(len(each.pending_activities) for each in described) == count

    await until(are_there)


async def test_of_the_activities_that_wait_the_most_urgent_begin_first(client: Client, make_worker: MakeWorker) -> None:
    begun.clear()
    async with make_worker(many):
        handle = await client.start_workflow(many, KEYS, id="many")
        await waiting(client, len(KEYS))

        async with make_worker(note, task_queue="the-queue", max_concurrent_activities=1):
            await handle.result()

    assert [min(3 if key is None else key, 5) for key in begun] == LEVELS


async def test_an_activity_that_says_nothing_has_the_priority_of_its_workflow(
    client: Client, make_worker: MakeWorker
) -> None:
    begun.clear()
    calls: dict[str, tuple[Priority, int | None]] = {
        "as nobody says": (Priority.default, None),
        "late as the workflow": (Priority(priority_key=4), None),
        "first as the workflow": (Priority(priority_key=1, fairness_key="gold", fairness_weight=2.0), None),
        "second by itself": (Priority(priority_key=5), 2),
    }
    async with make_worker(one):
        handles = {
            name: await client.start_workflow(one, args=[name, key, "silver"], id=name, priority=priority)
            for name, (priority, key) in calls.items()
        }
        await waiting(client, len(calls))

        async with make_worker(note, task_queue="the-queue", max_concurrent_activities=1):
            results = [await handle.result() for handle in handles.values()]
        history = await handles["first as the workflow"].fetch_history()

    assert begun == ["first as the workflow", "second by itself", "as nobody says", "late as the workflow"]
    assert results == [None, 4, 1, 5]
    (start,), (scheduled,) = of_type(history, WorkflowExecutionStarted), of_type(history, ActivityTaskScheduled)
    assert Priority.from_history(start.priority) == Priority(1, "gold", 2.0)
    assert Priority.from_history(scheduled.priority) == Priority(1, "silver", 2.0)


@workflow.defn
async def again(rest: int) -> Any:
    if rest:
        workflow.continue_as_new(rest - 1)
    return workflow.info().priority.priority_key


async def test_the_run_that_continues_one_has_its_priority(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(again):
        assert await client.execute_workflow(again, 2, id="again", priority=Priority(priority_key=2)) == 2
