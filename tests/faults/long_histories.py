"""Histories as long as a test likes, event by event as a server writes them; and what a replay of one takes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from durable import workflow
from durable.converter import DataConverter
from durable.history.events import (
    ActivityTaskCompleted,
    ActivityTaskScheduled,
    ActivityTaskStarted,
    HistoryEvent,
    TimerFired,
    TimerStarted,
    WorkflowExecutionStarted,
    WorkflowTaskCompleted,
    WorkflowTaskScheduled,
    WorkflowTaskStarted,
)
from durable.worker.rebuild import rebuild
from durable.worker.replay import Environment
from durable.workflow.definition import WorkflowDefinition


def history_of(of: str, rounds: int) -> list[HistoryEvent]:
    """The history of ``rounds`` activities or timers, one after another."""
    events: list[HistoryEvent] = []

    def add(kind: Any, **attributes: Any) -> int:
        events.append(kind(id=len(events) + 1, time_us=len(events) * 1000, **attributes))
        return len(events)

    def task() -> int:
        scheduled = add(WorkflowTaskScheduled, task_queue="q")
        started = add(WorkflowTaskStarted, scheduled_event_id=scheduled)
        return add(WorkflowTaskCompleted, scheduled_event_id=scheduled, started_event_id=started)

    input = DataConverter.default.to_payloads([rounds])
    add(
        WorkflowExecutionStarted,
        workflow_type="long",
        workflow_id="long",
        task_queue="q",
        original_execution_run_id="run",
        first_execution_run_id="run",
        input=input,
    )
    completed = task()
    for number in range(1, rounds + 1):
        LONG[of][1](add, str(number), completed)
        completed = task()
    return events


def activity_round(add: Any, number: str, completed: int) -> None:
    input = DataConverter.default.to_payloads(["x"])
    scheduled = add(
        ActivityTaskScheduled,
        workflow_task_completed_event_id=completed,
        activity_id=number,
        activity_type="echo",
        task_queue="q",
        input=input,
        start_to_close_timeout_us=3_600_000_000,
    )
    started = add(ActivityTaskStarted, scheduled_event_id=scheduled)
    add(ActivityTaskCompleted, scheduled_event_id=scheduled, started_event_id=started, result=input)


def timer_round(add: Any, number: str, completed: int) -> None:
    started = add(
        TimerStarted, timer_id=number, start_to_fire_timeout_us=1_000_000, workflow_task_completed_event_id=completed
    )
    add(TimerFired, timer_id=number, started_event_id=started)


@workflow.defn(name="long")
async def long_of_activities(rounds: int) -> None:
    for _ in range(rounds):
        await workflow.execute_activity("echo", "x", start_to_close_timeout=timedelta(hours=1))
    await workflow.wait_condition(lambda: False)


@workflow.defn(name="long")
async def long_of_timers(rounds: int) -> None:
    for _ in range(rounds):
        await workflow.sleep(1)
    await workflow.wait_condition(lambda: False)


LONG: dict[str, tuple[Any, Any]] = {
    "activities": (long_of_activities, activity_round),
    "timers": (long_of_timers, timer_round),
}


def replay(of: str, events: Sequence[HistoryEvent]) -> None:
    environment = Environment(namespace="default", converter=DataConverter.default)
    rebuilt = rebuild(WorkflowDefinition.must_be(LONG[of][0]), "run", events, environment)
    assert rebuilt.state.last_event_id == len(events)
    rebuilt.run.evict()


def calls_of_a_replay(of: str, rounds: int) -> int:
    """How many functions are called for a replay."""
    events = history_of(of, rounds)
    calls = 0

    def count(_frame: Any, event: str, _arg: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        replay(of, events)
    finally:
        sys.setprofile(None)
    return calls
