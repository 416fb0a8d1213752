"""Histories with local activities: Temporal's replay here, ours replay in Temporal's own replayer."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from temporalio.client import WorkflowHistory as TheirHistory
from temporalio.worker import Replayer as TheirReplayer
from temporalio.worker import UnsandboxedWorkflowRunner

from durable import Client, Worker, workflow
from durable.client import WorkflowHandle, WorkflowHistory
from durable.worker import Replayer
from durable.workflow import NondeterminismError
from tests.engine import histories
from tests.temporal import local_flows
from tests.temporal.recording import QUEUE, Recording, payloads
from tests.temporal.scenarios import Scenario
from tests.temporal.twins import of_temporal

SCENARIOS = {
    "steps": Scenario("Steps", (3,)),
    "listener": Scenario("Listener", (3,), "put", (1, 2, 3)),
    "declined": Scenario("Declined", ("4711",)),
    "try-cancel": Scenario("Impatient", (0,)),
    "wait-cancelled": Scenario("Impatient", (1,)),
}
"""Not ABANDON: Temporal's replayer (SDK 1.35.0) misses what comes after it, in a history of Temporal's form as well."""


# Ours, there ----------------------------------------------------------------------------------------------------------


async def types(handle: WorkflowHandle[Any, Any]) -> list[str]:
    return histories.types(await handle.fetch_history())


async def replay_there(json: str) -> None:
    replayer = TheirReplayer(workflows=of_temporal(local_flows).WORKFLOWS, workflow_runner=UnsandboxedWorkflowRunner())
    await replayer.replay_workflow(TheirHistory.from_json("order-7", json))


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
async def test_a_history_of_ours_with_local_activities_replays_in_temporals_replayer(scenario: Scenario) -> None:
    async with await Client.connect("sqlite://") as client:
        async with Worker(
            client, workflows=local_flows.WORKFLOWS, activities=local_flows.ACTIVITIES, task_queue="orders"
        ):
            handle: WorkflowHandle[Any, Any] = await scenario.play(client, "w", "orders", types)
            history = await handle.fetch_history()

    assert histories.types(history)[-1] == "WorkflowExecutionCompleted"
    assert "MarkerRecorded" in histories.types(history)
    await replay_there(history.to_json())


# Theirs, here ---------------------------------------------------------------------------------------------------------


def marker(run: Recording, task: int, seq: int, kind: str, **about: Any) -> None:
    """What Temporal's SDKs write of a local activity: one workflow task may have several of them, one after another."""
    data = {
        "seq": seq,
        "attempt": 1,
        "activity_id": about.get("id", str(seq)),
        "activity_type": kind,
        "complete_time": {"seconds": 1_704_110_500 + seq, "nanos": 250_000_000},
        "backoff": about.get("backoff"),
        "original_schedule_time": {"seconds": 1_704_110_405, "nanos": 0},
    }
    encoded = {
        "metadata": {"encoding": base64.b64encode(b"json/plain").decode()},
        "data": base64.b64encode(json.dumps(data).encode()).decode(),
    }
    details: dict[str, Any] = {"data": {"payloads": [encoded]}}
    outcome: dict[str, Any] = {}
    if "failure" in about:
        outcome["failure"] = about["failure"]
    elif "result" in about:
        details["result"] = payloads(about["result"])
    run.event(
        "marker_recorded",
        marker_name="core_local_activity",
        details=details,
        workflow_task_completed_event_id=task,
        **outcome,
    )


def in_one_task() -> Recording:
    """Two in sequence, and then two side by side of which the second is over first, all in the first workflow task."""
    run = Recording("Steps", 3)
    task = run.task(QUEUE)
    marker(run, task, 1, "double", result=6)
    marker(run, task, 2, "double", result=12)
    first = run.timer(task, "1", "0.010s")
    marker(run, task, 4, "double", result=26)
    second = run.timer(task, "2", "0.010s")
    marker(run, task, 3, "double", result=24)
    third = run.timer(task, "3", "0.010s")
    run.event("timer_fired", timer_id="1", started_event_id=first)
    ordinary = run.scheduled(run.task(), "5", "double", 12)
    run.event("timer_fired", timer_id="2", started_event_id=second)
    right = run.scheduled(run.task(), "6", "double", 26)
    run.event("timer_fired", timer_id="3", started_event_id=third)
    left = run.scheduled(run.task(), "7", "double", 24)
    run.finished(right, 52)
    run.finished(left, 48)
    run.task()
    run.finished(ordinary, 24)
    task = run.task()
    marker(run, task, 8, "double", result=48)
    run.closed(task, [48, 48, 52])
    return run


def with_heartbeats() -> Recording:
    """Workflow tasks that only say that the worker lives while a local activity runs; a signal comes in meanwhile."""
    run = Recording("Listener", 2)
    run.signaled("put", 1)
    run.task(QUEUE)
    run.task(QUEUE)
    run.signaled("put", 2)
    task = run.task(QUEUE)
    marker(run, task, 1, "double", result=2)
    marker(run, task, 2, "double", result=4)
    run.closed(task, [2, 4])
    return run


def failed() -> Recording:
    """One that failed: the failure is the marker's."""
    run = Recording("Declined", "4711")
    task = run.task(QUEUE)
    cause = {
        "message": "card 4711 is declined",
        "application_failure_info": {"type": "Declined", "non_retryable": True, "details": payloads(42)},
    }
    failure = {
        "message": "Activity task failed",
        "cause": cause,
        "activity_failure_info": {
            "activity_type": {"name": "decline"},
            "activity_id": "1",
            "retry_state": "RETRY_STATE_MAXIMUM_ATTEMPTS_REACHED",
        },
    }
    marker(run, task, 1, "decline", failure=failure)
    marker(run, task, 2, "double", result=84)
    run.closed(task, "decline 1: Declined: 84")
    return run


def cancelled() -> Recording:
    """One that was cancelled, in the two forms of the failure."""
    run = Recording("Impatient", 0)
    timer = run.timer(run.task(QUEUE), "1", "0.010s")
    run.event("timer_fired", timer_id="1", started_event_id=timer)
    task = run.task()
    marker(run, task, 1, "hang", failure={"message": "Activity cancelled", "canceled_failure_info": {}})
    marker(run, task, 2, "double", result=8)
    run.closed(task, "CancelledError 8")
    return run


def backed_off() -> Recording:
    """One whose next attempt was a long way off: a marker, a timer, and it is started anew under another number."""
    run = Recording("Declined", "4711")
    task = run.task(QUEUE)
    failure = {"message": "no line", "application_failure_info": {"type": "NoLine"}}
    marker(run, task, 1, "decline", failure=failure, backoff={"seconds": 90, "nanos": 0})
    timer = run.timer(task, "1", "90s")
    run.event("timer_fired", timer_id="1", started_event_id=timer)
    task = run.task()
    marker(run, task, 2, "decline", result=None)
    run.closed(task, "taken")
    return run


RECORDINGS = [in_one_task, with_heartbeats, failed, cancelled, backed_off]


@pytest.mark.parametrize("record", RECORDINGS, ids=lambda record: record.__name__)
async def test_a_history_with_local_activities_replays_here_and_there(record: Callable[[], Recording]) -> None:
    text = record().json

    await Replayer(workflows=local_flows.WORKFLOWS).replay_workflow(WorkflowHistory.from_json("order-7", text))
    await replay_there(text)


@workflow.defn(name="Declined")
class Swapped(local_flows.Declined):
    @workflow.run
    async def run(self, card: str) -> str:
        return str(await workflow.execute_local_activity("double", 1, start_to_close_timeout=local_flows.SOON))


async def test_code_that_asks_for_another_local_activity_is_told_which_one_is_recorded() -> None:
    with pytest.raises(NondeterminismError) as raised:
        await Replayer(workflows=[Swapped]).replay_workflow(WorkflowHistory.from_json("order-7", failed().json))

    assert (
        "event 5 recorded MarkerRecorded (the outcome of local activity 'decline' (activity id 1)), but the code now "
        "records a marker (the outcome of local activity 'double' (activity id 1))"
    ) in str(raised.value)
