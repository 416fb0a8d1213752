"""What a workflow is started with reaches its code, its history and whoever asks."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from durable import Client, activity, workflow
from durable.client import WithStartWorkflowOperation, WorkflowUpdateStage
from durable.common import Priority, RetryPolicy
from durable.common import WorkflowIDConflictPolicy as Conflict
from durable.history import beginning, codec, growth
from durable.history.events import ActivityTaskScheduled, TimerStarted, WorkflowExecutionStarted, WorkflowTaskStarted
from durable.history.values import Payload, UserMetadata, WorkflowExecution
from durable.search_attributes import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from tests.engine.chains import chain
from tests.engine.conftest import MakeWorker
from tests.engine.histories import assert_replays, of_type

POLICY = RetryPolicy(initial_interval=timedelta(seconds=3), maximum_attempts=4, non_retryable_error_types=["Final"])
OPTIONS: dict[str, Any] = {
    "execution_timeout": timedelta(hours=3),
    "run_timeout": timedelta(hours=2),
    "task_timeout": timedelta(seconds=7),
    "retry_policy": POLICY,
    "memo": {"a": 1},
    "search_attributes": TypedSearchAttributes([SearchAttributePair(SearchAttributeKey.for_int("Size"), 7)]),
    "static_summary": "what it is",
    "static_details": "## What it does",
    "priority": Priority(3, "customer-7", 2.5),
}


@workflow.defn
class Telling:
    @workflow.run
    async def run(self) -> dict[str, Any]:
        info = workflow.info()
        return {
            "attempt": info.attempt,
            "cron_schedule": info.cron_schedule,
            "execution_timeout": info.execution_timeout,
            "run_timeout": info.run_timeout,
            "task_timeout": info.task_timeout,
            "retry_policy": info.retry_policy and asdict(info.retry_policy),
            "memo": dict(workflow.memo()),
            "size": [pair.value for pair in info.typed_search_attributes],
            "priority": asdict(info.priority),
            "parent": info.parent,
            "root": info.root,
            "ids": [info.run_id, info.first_execution_run_id, info.original_execution_run_id, info.continued_run_id],
        }

    @workflow.signal
    def go(self) -> None:
        """Goes with the start."""

    @workflow.update
    def ask(self) -> str:
        return "answered"


def told(run_id: str | None) -> dict[str, Any]:
    """What `Telling` says of `OPTIONS`."""
    return {
        "attempt": 1,
        "cron_schedule": None,
        "execution_timeout": "PT3H",
        "run_timeout": "PT2H",
        "task_timeout": "PT7S",
        "retry_policy": {
            "initial_interval": "PT3S",
            "backoff_coefficient": 2.0,
            "maximum_interval": None,
            "maximum_attempts": 4,
            "non_retryable_error_types": ["Final"],
        },
        "memo": {"a": 1},
        "size": [7],
        "priority": {"priority_key": 3, "fairness_key": "customer-7", "fairness_weight": 2.5},
        "parent": None,
        "root": None,
        "ids": [run_id, run_id, run_id, None],
    }


async def test_all_options_reach_the_code_and_the_description(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    async with make_worker(Telling, max_cached_workflows=max_cached):
        handle = await client.start_workflow("Telling", id="w", **OPTIONS)
        assert await handle.result() == told(handle.result_run_id)
    described = await handle.describe()
    assert await described.static_summary() == "what it is"
    assert await described.static_details() == "## What it does"
    assert (described.root_id, described.root_run_id) == ("w", handle.result_run_id)
    assert (described.parent_id, described.parent_run_id) == (None, None)
    assert described.execution_time == described.start_time
    await assert_replays(Telling, await handle.fetch_history())


async def test_all_options_go_with_a_start_that_brings_a_message(client: Client, make_worker: MakeWorker) -> None:
    signalled = await client.start_workflow("Telling", id="w1", start_signal="go", **OPTIONS)
    operation = WithStartWorkflowOperation("Telling", id="w2", id_conflict_policy=Conflict.FAIL, **OPTIONS)
    async with make_worker(Telling):
        update = await client.start_update_with_start_workflow(
            Telling.ask, start_workflow_operation=operation, wait_for_stage=WorkflowUpdateStage.COMPLETED
        )
        assert await update.result() == "answered"
        updated = await operation.workflow_handle()
        for handle in (signalled, updated):
            assert await handle.result() == told(handle.result_run_id)
            assert await (await handle.describe()).static_summary() == "what it is"


async def test_a_start_without_options_has_none(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(Telling):
        handle = await client.start_workflow("Telling", id="w")
        said: dict[str, Any] = await handle.result()
    unset = ("cron_schedule", "execution_timeout", "run_timeout", "retry_policy", "parent", "root")
    assert [said[name] for name in unset] == [None] * len(unset)
    assert (said["memo"], said["size"], said["task_timeout"]) == ({}, [], "PT10S")
    described = await handle.describe()
    assert await described.static_summary() is None and await described.static_details() is None
    assert await described.memo() == {} and described.search_attributes == {}


@pytest.mark.parametrize(
    ("option", "why"),
    [
        ({"retry_policy": RetryPolicy(backoff_coefficient=0.5)}, "Backoff coefficient"),
        ({"retry_policy": RetryPolicy(initial_interval=timedelta(seconds=-1))}, "Initial interval"),
        ({"task_queue": ""}, "a task queue needs a name"),
    ],
)
async def test_options_that_make_no_sense_are_refused(client: Client, option: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        await client.start_workflow("Telling", id="w", **option)


async def test_a_run_that_a_parent_has_started_knows_its_parents(client: Client, make_worker: MakeWorker) -> None:
    """What begins a child is written here by hand: how it comes about is no concern of the child's."""

    request = beginning.StartRequest(
        namespace="default", workflow_id="child", workflow_type="kin", task_queue="default", input=[], request_id="r"
    )
    step = beginning.start(request, "run-1", client.database.store.now_us())
    assert step.transition.start is not None and isinstance(step.events[0], WorkflowExecutionStarted)

    @workflow.defn
    async def kin() -> list[Any]:
        info = workflow.info()
        return [info.parent and asdict(info.parent), info.root and asdict(info.root)]

    started = msgspec.structs.replace(
        step.events[0],
        parent_workflow_namespace="default",
        parent_workflow_execution=WorkflowExecution(workflow_id="p", run_id="pr"),
        root_workflow_execution=WorkflowExecution(workflow_id="g", run_id="gr"),
    )
    born = msgspec.structs.replace(
        step.transition.start, parent=started.parent_workflow_execution, root=started.root_workflow_execution
    )
    transition = msgspec.structs.replace(step.transition, events=codec.batch([started, *step.events[1:]]), start=born)
    async with make_worker(kin):
        await client.database.write(transition)
        handle = client.get_workflow_handle("child")
        assert await handle.result() == [
            {"namespace": "default", "run_id": "pr", "workflow_id": "p"},
            {"run_id": "gr", "workflow_id": "g"},
        ]
    described = await handle.describe()
    assert (described.parent_id, described.parent_run_id) == ("p", "pr")
    assert (described.root_id, described.root_run_id) == ("g", "gr")


# What is in the history for people. -------------------------------------------------------------------------------


@activity.defn(start_to_close_timeout=timedelta(seconds=10))
async def noop() -> None: ...


@workflow.defn
async def explains() -> None:
    await workflow.execute_activity(noop, summary="does nothing", start_to_close_timeout=timedelta(seconds=5))
    await noop()
    await workflow.sleep(0.001, summary="a nap")
    await workflow.sleep(0.001)
    with pytest.raises(TimeoutError):
        await workflow.wait_condition(lambda: False, timeout=0.001, timeout_summary="in vain")
    with pytest.raises(TimeoutError):
        await workflow.wait_condition(lambda: False, timeout=0.001)
    # What begins no timer leaves its summary to no other one.
    await workflow.wait_condition(lambda: True, timeout_summary="never")
    with pytest.raises(RuntimeError):
        await workflow.sleep(-1, summary="never")
    await asyncio.sleep(0.001)


async def test_summaries_are_in_the_history(client: Client, make_worker: MakeWorker, max_cached: int) -> None:
    async with make_worker(explains, noop, max_cached_workflows=max_cached):
        handle = await client.start_workflow(explains, id="w", static_summary="top")
        await handle.result()
    history = await handle.fetch_history()

    def summary(metadata: UserMetadata | None) -> Any:
        payload: Payload | None = None if metadata is None else metadata.summary
        return None if payload is None else client.data_converter.from_payloads([payload])[0]

    events = [*of_type(history, ActivityTaskScheduled), *of_type(history, TimerStarted)]
    assert [summary(event.user_metadata) for event in events] == [
        "does nothing",
        None,
        "a nap",
        None,
        "in vain",
        None,
        None,
    ]
    assert history.to_json_dict()["events"][0]["userMetadata"]["summary"]["data"]
    await assert_replays(explains, history)


# How long the history is. -----------------------------------------------------------------------------------------


@workflow.defn
class UntilLarge:
    def __init__(self) -> None:
        self.sizes: list[int] = []

    @workflow.run
    async def run(self) -> list[int]:
        await workflow.wait_condition(lambda: workflow.info().is_continue_as_new_suggested())
        return self.sizes

    @workflow.update
    def more(self, text: str) -> None:
        self.sizes.append(workflow.info().get_current_history_size())


async def test_a_large_history_suggests_to_continue_as_new_in_every_replay_alike(
    client: Client, make_worker: MakeWorker, max_cached: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growth, "BYTES_SUGGESTED", 9_000)
    async with make_worker(UntilLarge, max_cached_workflows=max_cached):
        handle = await client.start_workflow(UntilLarge.run, id="w")
        for _ in range(4):  # each in a workflow task of its own
            await handle.execute_update(UntilLarge.more, "y" * 3_000)
        sizes: list[int] = await handle.result()

    history = await handle.fetch_history()
    tasks = of_type(history, WorkflowTaskStarted)
    assert sizes[-1] >= 9_000 and all(size < 9_000 for size in sizes[:-1])
    assert [task.history_size_bytes for task in tasks][-4:] == sizes
    assert [task.suggest_continue_as_new for task in tasks] == [False] * (len(tasks) - 1) + [True]
    monkeypatch.undo()
    await assert_replays(UntilLarge, history)


async def test_a_run_that_continues_begins_when_it_is_asked_to_and_has_what_it_is_given(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    @workflow.defn
    async def twice(again: bool) -> list[Any]:
        if again:
            workflow.continue_as_new(
                False,
                run_timeout=timedelta(minutes=3),
                task_timeout=timedelta(seconds=4),
                retry_policy=RetryPolicy(maximum_attempts=9),
                backoff_start_interval=timedelta(milliseconds=30),
            )
        info = workflow.info()
        return [info.run_timeout, info.task_timeout, info.retry_policy and info.retry_policy.maximum_attempts]

    async with make_worker(twice, max_cached_workflows=max_cached):
        handle = await client.start_workflow(twice, True, id="w", execution_timeout=timedelta(hours=1))
        assert await handle.result() == ["PT3M", "PT4S", 9]
    first, second = await chain(client, handle)
    started: Any = second.events[0]
    assert second.events[1].time_us >= first.events[-1].time_us + 30_000
    assert started.workflow_execution_timeout_us == 3_600_000_000
    described = await client.get_workflow_handle("w").describe()
    assert described.execution_time is not None
    assert described.execution_time - described.start_time == timedelta(milliseconds=30)
    assert described.execution_time < datetime.now(UTC)
