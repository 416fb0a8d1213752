"""What the tests ask of histories: which events, are they sound, do they replay."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from durable.client.description import WorkflowHistory
from durable.converter import DataConverter
from durable.history.events import (
    ActivityTaskCanceled,
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskScheduled,
    ActivityTaskTimedOut,
    HistoryEvent,
    TimerCanceled,
    TimerFired,
    TimerStarted,
    WorkflowTaskCompleted,
    WorkflowTaskFailed,
    WorkflowTaskScheduled,
    WorkflowTaskStarted,
)
from durable.worker.rebuild import rebuild
from durable.worker.replay import Environment
from durable.workflow.definition import WorkflowDefinition

T = TypeVar("T")
E = TypeVar("E")

BEGIN = ["WorkflowExecutionStarted", "WorkflowTaskScheduled", "WorkflowTaskStarted", "WorkflowTaskCompleted"]
TASK = ["WorkflowTaskScheduled", "WorkflowTaskStarted", "WorkflowTaskCompleted"]
COMPLETED = "WorkflowExecutionCompleted"


def types(history: WorkflowHistory) -> list[str]:
    return [type(event).__name__ for event in history.events]


def of_type(history: WorkflowHistory, kind: type[E]) -> list[E]:
    return [event for event in history.events if isinstance(event, kind)]


def assert_sound(events: Sequence[HistoryEvent]) -> None:
    """Gapless; time never goes back; each workflow task a triple; one outcome at most per scheduled thing."""
    assert [event.id for event in events] == list(range(1, len(events) + 1))
    times = [event.time_us for event in events]
    assert times == sorted(times)
    scheduled, outcomes, task, started = set[int](), set[int](), 0, 0
    for event in events:
        match event:
            case WorkflowTaskScheduled():
                assert not task, f"event {event.id}: a workflow task is pending already"
                task = event.id
            case WorkflowTaskStarted():
                assert event.scheduled_event_id == task and not started
                started = event.id
            case WorkflowTaskCompleted() | WorkflowTaskFailed():
                assert (event.scheduled_event_id, event.started_event_id) == (task, started)
                assert event.id == started + 1
                task = started = 0
            case ActivityTaskScheduled() | TimerStarted():
                scheduled.add(event.id)
            case ActivityTaskCompleted() | ActivityTaskFailed() | ActivityTaskTimedOut() | ActivityTaskCanceled():
                assert event.scheduled_event_id in scheduled and event.scheduled_event_id not in outcomes
                outcomes.add(event.scheduled_event_id)
            case TimerFired() | TimerCanceled():
                assert event.started_event_id in scheduled and event.started_event_id not in outcomes
                outcomes.add(event.started_event_id)
            case _:
                pass


async def assert_replays(workflow: Any, history: WorkflowHistory) -> None:
    """Today's code does what the history says; NondeterminismError otherwise."""

    def replay() -> None:
        environment = Environment(namespace="default", converter=DataConverter.default)
        rebuilt = rebuild(WorkflowDefinition.must_be(workflow), history.run_id, history.events, environment)
        assert rebuilt.state.last_event_id == len(history.events)
        rebuilt.run.evict()

    await asyncio.to_thread(replay)


async def until(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until the answer is true-like; for what can only be seen by looking. The test's own timeout bounds it."""
    while not (answer := await ask()):  # noqa: ASYNC110 (what changes it may be another process)
        await asyncio.sleep(0.01)
    return answer
