"""What user code and tests can see of ids, defaults and names: rules 0.1, 0.12, 0.14, 0.15, 0.16."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.process import BaseProcess
from typing import Any, Self
from uuid import UUID

import pytest

from durable import Client, RetryPolicy, Worker, activity, workflow
from durable.client import WorkflowFailureError, WorkflowUpdateStage
from durable.exceptions import ActivityError, ApplicationError, RetryState
from durable.history.events import ActivityTaskScheduled, ActivityTaskStarted, WorkflowExecutionStarted
from tests.engine.conftest import MakeWorker
from tests.engine.histories import assert_replays, of_type
from tests.engine.rules.runs import parked
from tests.forkserver import processes

# 0.1: type hints. -----------------------------------------------------------------------------------------------------


@dataclass
class Point:
    """Told apart from a plain dict only by a hint."""

    x: int


@activity.defn
async def typed(point: Point, scale: int = 2) -> str:
    return f"{type(point).__name__} {scale}"


@activity.defn
async def untyped(point, scale=2):  # type: ignore[no-untyped-def]  # pyright: ignore
    return f"{type(point).__name__} {scale}"


@workflow.defn
class Hinted:
    @workflow.run
    async def run(self: Self, when: timedelta, count: int = 7) -> list[Any]:
        options: Any = {"start_to_close_timeout": timedelta(hours=1)}
        return [
            type(when).__name__,
            count,
            await workflow.execute_activity("typed", {"x": 1}, **options),
            await workflow.execute_activity("typed", args=[{"x": 1}, 3], **options),
            await workflow.execute_activity("untyped", {"x": 1}, **options),
        ]


async def test_hints_say_what_arguments_become_and_defaults_fill_what_was_not_sent(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    async with make_worker(Hinted, typed, untyped, max_cached_workflows=max_cached):
        handle = await client.start_workflow("Hinted", timedelta(seconds=1), id="h")
        assert await handle.result() == ["timedelta", 7, "Point 2", "Point 3", "dict 2"]
        await assert_replays(Hinted, await handle.fetch_history())
        # More than it takes is a wrong call, which mended code may take.
        too_many = await client.start_workflow("Hinted", args=[timedelta(), 1, 2], id="m")
        assert (await parked(too_many)).startswith("TypeError: ")


# 0.12: the chain of causes, from another process. ---------------------------------------------------------------------


@activity.defn
async def breaks() -> None:
    raise OSError("broken") from ValueError("why")


@workflow.defn
async def failing() -> None:
    await workflow.execute_activity(
        breaks, start_to_close_timeout=timedelta(hours=1), retry_policy=RetryPolicy(maximum_attempts=1)
    )


def serve(address: str) -> None:
    async def main() -> None:
        async with await Client.connect(address) as client:
            await Worker(client, workflows=[failing], activities=[breaks]).run()

    asyncio.run(main())


@pytest.fixture
def other_process(address: str) -> Iterator[BaseProcess]:
    child = processes.Process(target=serve, args=(address,), daemon=True)
    child.start()
    yield child
    child.kill()
    child.join()


async def test_a_failure_of_another_process_has_its_causes_and_stack_traces(
    address: str, other_process: BaseProcess
) -> None:
    async with await Client.connect(address) as client:
        with pytest.raises(WorkflowFailureError) as failed:
            await client.execute_workflow(failing, id="f")
    error = failed.value.cause
    assert isinstance(error, ActivityError) and error.retry_state is RetryState.MAXIMUM_ATTEMPTS_REACHED
    assert error.identity.startswith(f"{other_process.pid}@")
    broken = error.cause
    assert isinstance(broken, ApplicationError) and (broken.type, str(broken)) == ("OSError", "OSError: broken")
    assert broken.failure is not None and "in breaks" in broken.failure.stack_trace
    assert "test_names_and_defaults.py" in broken.failure.stack_trace
    why = broken.cause
    assert isinstance(why, ApplicationError) and (why.type, why.message) == ("ValueError", "why")
    assert why.cause is None


# 0.14, 0.15: ids and defaults. ----------------------------------------------------------------------------------------


@activity.defn
async def whoami() -> list[str]:
    return [activity.info().activity_id, activity.info().workflow_run_id or ""]


@workflow.defn
class Plain:
    over = False

    @workflow.run
    async def run(self) -> list[Any]:
        info = workflow.info()
        options: Any = {"start_to_close_timeout": timedelta(hours=1)}
        first = await workflow.execute_activity(whoami, **options)
        named = await workflow.execute_activity(whoami, activity_id="mine", **options)
        third = await workflow.execute_activity(whoami, **options)
        await workflow.wait_condition(lambda: self.over)
        return [info.run_id, info.namespace, info.task_timeout.total_seconds(), first, named, third]

    @workflow.update
    async def end(self) -> str:
        self.over = True
        update = workflow.current_update_info()
        assert update is not None
        return update.id


async def test_ids_and_defaults_are_those_of_temporal(client: Client, make_worker: MakeWorker, max_cached: int) -> None:
    async with make_worker(Plain, whoami, max_cached_workflows=max_cached):
        handle = await client.start_workflow(Plain.run, id="p")
        update = await handle.start_update(Plain.end, wait_for_stage=WorkflowUpdateStage.COMPLETED)
        run_id, namespace, task_timeout, first, named, third = await handle.result()
    assert UUID(run_id).version == 7 and run_id == handle.result_run_id
    assert UUID(update.id).version == 4 and await update.result() == update.id
    assert (namespace, task_timeout) == ("default", 10)
    ids = [first[0], named[0], third[0]]
    assert ids[1] == "mine" and ids[0] == "1" and ids[2].isdigit() and len(set(ids)) == 3
    history = await handle.fetch_history()
    identity = f"{os.getpid()}@{socket.gethostname()}"
    assert client.identity == identity
    (started,) = of_type(history, WorkflowExecutionStarted)
    assert started.identity == identity and started.attempt == 1
    assert {event.identity for event in of_type(history, ActivityTaskStarted)} == {identity}
    policies = {
        (policy.initial_interval_us, policy.backoff_coefficient, policy.maximum_interval_us, policy.maximum_attempts)
        for policy in (event.retry_policy for event in of_type(history, ActivityTaskScheduled))
    }
    assert policies <= {(1_000_000, 2.0, 0, 0), (1_000_000, 2.0, 100_000_000, 0)} and len(policies) == 1


# 0.16: names that leak. -----------------------------------------------------------------------------------------------


@activity.defn
async def logs_and_fails() -> None:
    activity.logger.info("from the activity")
    raise ApplicationError("on purpose", non_retryable=True)


@workflow.defn
class Logs:
    @workflow.run
    async def run(self) -> None:
        workflow.logger.info("from the workflow", extra={"workflow_id": "mine", "own": 1})
        try:
            await workflow.execute_activity(logs_and_fails, start_to_close_timeout=timedelta(hours=1))
        except ActivityError:
            raise RuntimeError("a bug") from None

    @workflow.signal
    def tell(self) -> None: ...

    @workflow.query
    def ask(self) -> None: ...


async def test_log_records_carry_what_filters_look_for(
    client: Client, make_worker: MakeWorker, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        async with make_worker(Logs, logs_and_fails):
            handle = await client.start_workflow(Logs.run, id="l")
            await parked(handle)
    records = {record.getMessage().split(" (")[0]: record for record in caplog.records}
    of_workflow: Any = records["from the workflow"]
    assert of_workflow.name == "temporalio.workflow"
    assert of_workflow.temporal_workflow["workflow_id"] == "l" and of_workflow.temporal_workflow["attempt"] == 1
    assert set(of_workflow.temporal_workflow) >= {"namespace", "run_id", "task_queue", "workflow_type"}
    assert (of_workflow.own, of_workflow.workflow_id) == (1, "mine")
    of_activity: Any = records["from the activity"]
    assert of_activity.name == "temporalio.activity"
    assert set(of_activity.temporal_activity) >= {
        *("activity_id", "activity_type", "attempt", "namespace", "task_queue"),
        *("workflow_id", "workflow_run_id", "workflow_type"),
    }
    identifiers = {getattr(record, "__temporal_error_identifier", None) for record in caplog.records}
    assert identifiers >= {"WorkflowTaskFailure", "ActivityFailure"}


def test_definitions_are_found_under_temporals_attributes() -> None:
    assert hasattr(Logs, "__temporal_workflow_definition")
    assert hasattr(Logs.run, "__temporal_workflow_run")
    assert hasattr(Logs.tell, "__temporal_signal_definition")
    assert hasattr(Logs.ask, "__temporal_query_definition")
    assert hasattr(Plain.end, "__temporal_update_definition") and hasattr(Plain.end, "_defn")
    assert hasattr(whoami, "__temporal_activity_definition")
