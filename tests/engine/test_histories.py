"""The history of the basic cases is Temporal's: same events, same order, same numbers."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from durable import Client, RetryPolicy, activity, workflow
from durable.client import WorkflowFailureError
from durable.client.description import WorkflowHistory
from durable.exceptions import ApplicationError
from durable.history.events import (
    ActivityTaskCompleted,
    ActivityTaskScheduled,
    ActivityTaskStarted,
    TimerFired,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    WorkflowTaskCompleted,
    WorkflowTaskScheduled,
)
from tests.engine.conftest import MakeWorker
from tests.engine.histories import BEGIN, COMPLETED, TASK, assert_sound, of_type, types, until

ONCE = RetryPolicy(maximum_attempts=1)
ACTIVITY = ["ActivityTaskStarted", "ActivityTaskCompleted"]


@activity.defn
async def double(number: int) -> int:
    return number * 2


@activity.defn(retry_policy=ONCE)
async def refuse() -> None:
    raise ApplicationError("no")


@activity.defn
async def hang() -> None:
    await asyncio.sleep(3600)


@workflow.defn
async def nothing() -> str:
    return "done"


@workflow.defn
async def one_activity() -> int:
    return await double(1)


@workflow.defn
async def two_activities() -> int:
    return await double(await double(1))


@workflow.defn
async def one_timer() -> None:
    await workflow.sleep(0.01)


@workflow.defn
async def unused_timer() -> None:
    await asyncio.wait_for(double(1), 3600)


@workflow.defn
async def refused() -> None:
    await refuse()


@workflow.defn
async def cancelling() -> None:
    handle = workflow.start_activity(
        hang,
        start_to_close_timeout=timedelta(hours=1),
        cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    )
    await workflow.sleep(0.01)
    handle.cancel()
    await asyncio.wait([handle])


@workflow.defn
class Waiting:
    def __init__(self) -> None:
        self.told = False

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: self.told)

    @workflow.signal
    def tell(self) -> None:
        self.told = True


async def history_of(client: Client, make_worker: MakeWorker, run: Any) -> WorkflowHistory:
    async with make_worker(run, double, refuse, hang):
        handle = await client.start_workflow(run, id="h")
        try:
            await handle.result()
        except WorkflowFailureError:
            pass
        history = await handle.fetch_history()
    assert_sound(history.events)
    return history


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (nothing, [*BEGIN, COMPLETED]),
        (one_activity, [*BEGIN, "ActivityTaskScheduled", *ACTIVITY, *TASK, COMPLETED]),
        (
            two_activities,
            [*BEGIN, *(2 * ["ActivityTaskScheduled", *ACTIVITY, *TASK]), COMPLETED],
        ),
        (one_timer, [*BEGIN, "TimerStarted", "TimerFired", *TASK, COMPLETED]),
        (
            unused_timer,
            [*BEGIN, "TimerStarted", "ActivityTaskScheduled", *ACTIVITY, *TASK, "TimerCanceled", COMPLETED],
        ),
        (
            refused,
            [
                *BEGIN,
                "ActivityTaskScheduled",
                "ActivityTaskStarted",
                "ActivityTaskFailed",
                *TASK,
                "WorkflowExecutionFailed",
            ],
        ),
        (
            cancelling,
            [
                *BEGIN,
                "ActivityTaskScheduled",
                "TimerStarted",
                "TimerFired",
                *TASK,
                "ActivityTaskCancelRequested",
                "ActivityTaskStarted",
                "ActivityTaskCanceled",
                *TASK,
                COMPLETED,
            ],
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_events_come_in_temporals_order(
    client: Client, make_worker: MakeWorker, run: Any, expected: list[str]
) -> None:
    assert types(await history_of(client, make_worker, run)) == expected


async def test_events_refer_to_each_other_by_number(client: Client, make_worker: MakeWorker) -> None:
    history = await history_of(client, make_worker, one_activity)
    (scheduled,) = of_type(history, ActivityTaskScheduled)
    (started,) = of_type(history, ActivityTaskStarted)
    (completed,) = of_type(history, ActivityTaskCompleted)
    assert (scheduled.id, scheduled.workflow_task_completed_event_id, scheduled.activity_id) == (5, 4, "1")
    assert (started.id, started.scheduled_event_id, started.attempt) == (6, 5, 1)
    assert (completed.id, completed.scheduled_event_id, completed.started_event_id) == (7, 5, 6)
    assert scheduled.time_us <= started.time_us <= completed.time_us


async def test_a_timer_never_fires_early(client: Client, make_worker: MakeWorker) -> None:
    history = await history_of(client, make_worker, one_timer)
    (fired,) = of_type(history, TimerFired)
    assert fired.time_us - history.events[fired.started_event_id - 1].time_us >= 10_000


async def test_a_start_without_a_worker_schedules_its_workflow_task(client: Client, make_worker: MakeWorker) -> None:
    handle = await client.start_workflow(nothing, id="h")
    assert types(await handle.fetch_history()) == ["WorkflowExecutionStarted", "WorkflowTaskScheduled"]
    async with make_worker(nothing):
        await handle.result()
    assert types(await handle.fetch_history()) == [*BEGIN, COMPLETED]


async def test_a_delayed_start_schedules_its_workflow_task_only_then(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(nothing):
        handle = await client.start_workflow(nothing, id="h", start_delay=timedelta(seconds=0.05))
        assert types(await handle.fetch_history()) == ["WorkflowExecutionStarted"]
        assert await handle.result() == "done"
        history = await handle.fetch_history()
    assert types(history) == [*BEGIN, COMPLETED]
    (started,) = of_type(history, WorkflowExecutionStarted)
    (scheduled,) = of_type(history, WorkflowTaskScheduled)
    assert started.first_workflow_task_backoff_us == 50_000
    assert scheduled.time_us - started.time_us >= 50_000


async def test_a_signal_is_an_event_and_wakes_the_workflow(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(Waiting):
        handle = await client.start_workflow(Waiting.run, id="h")
        await handle.signal("unknown", "payload")
        await until(lambda: _has(handle, WorkflowExecutionSignaled, 1))
        await handle.signal(Waiting.tell)
        await handle.result()
        history = await handle.fetch_history()
    assert types(history) == [*BEGIN, *(2 * ["WorkflowExecutionSignaled", *TASK]), COMPLETED]
    assert [signal.signal_name for signal in of_type(history, WorkflowExecutionSignaled)] == ["unknown", "tell"]


async def test_signals_before_the_first_task_follow_its_scheduling(client: Client, make_worker: MakeWorker) -> None:
    handle = await client.start_workflow(Waiting.run, id="h")
    await handle.signal(Waiting.tell)
    async with make_worker(Waiting):
        await handle.result()
    assert types(await handle.fetch_history()) == [
        "WorkflowExecutionStarted",
        "WorkflowTaskScheduled",
        "WorkflowExecutionSignaled",
        "WorkflowTaskStarted",
        "WorkflowTaskCompleted",
        COMPLETED,
    ]


async def test_a_cancel_request_is_an_event_before_the_closing_one(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(Waiting):
        handle = await client.start_workflow(Waiting.run, id="h")
        await handle.cancel(reason="enough")
        with pytest.raises(WorkflowFailureError):
            await handle.result()
    assert types(await handle.fetch_history()) == [
        *BEGIN,
        "WorkflowExecutionCancelRequested",
        *TASK,
        "WorkflowExecutionCanceled",
    ]


async def test_a_query_leaves_no_trace(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(Waiting):
        handle = await client.start_workflow(Waiting.run, id="h")
        with pytest.raises(Exception, match="unknown"):
            await handle.query("unknown")
        assert types(await handle.fetch_history()) == BEGIN


@pytest.mark.parametrize(
    "run", [nothing, one_activity, unused_timer, refused, cancelling], ids=lambda run: run.__name__
)
async def test_a_history_goes_to_json_and_comes_back(client: Client, make_worker: MakeWorker, run: Any) -> None:
    history = await history_of(client, make_worker, run)
    text = history.to_json()
    assert [event["eventId"] for event in json.loads(text)["events"]] == [str(event.id) for event in history.events]
    assert json.loads(text)["events"][0]["eventType"] == "EVENT_TYPE_WORKFLOW_EXECUTION_STARTED"
    loaded = WorkflowHistory.from_json("h", text)
    assert loaded.to_json() == text
    # What is ours alone, Temporal's events have no place for: the start's request id, and which local activities a
    # workflow task asked for.
    expected = [msgspec.structs.replace(history.events[0], request_id=""), *history.events[1:]]
    assert loaded.events == [
        msgspec.structs.replace(each, local_activities=None) if isinstance(each, WorkflowTaskCompleted) else each
        for each in expected
    ]
    assert WorkflowHistory.from_json("h", history.to_json_dict()).run_id == history.run_id


async def _has(handle: Any, kind: type[Any], count: int) -> bool:
    return len(of_type(await handle.fetch_history(), kind)) >= count
