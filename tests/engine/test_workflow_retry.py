"""Workflows that are tried again: when, how often, what the next attempt knows, and what it is sent before."""

from __future__ import annotations

import asyncio
import itertools
from datetime import timedelta
from typing import Any

import pytest

from durable import Client, workflow
from durable.client import WorkflowFailureError
from durable.common import RetryPolicy
from durable.exceptions import ApplicationError, CancelledError, RetryState, TerminatedError, TimeoutError
from durable.history.events import (
    WorkflowExecutionFailed,
    WorkflowExecutionStarted,
    WorkflowExecutionTimedOut,
)
from tests.engine.chains import chain, ended, run_ids
from tests.engine.conftest import MakeWorker
from tests.engine.histories import assert_replays, of_type, types, until

QUICKLY = RetryPolicy(initial_interval=timedelta(milliseconds=5), backoff_coefficient=1.0)


@workflow.defn
async def third_time_lucky(word: str) -> list[Any]:
    attempt = workflow.info().attempt
    if attempt < 3:
        raise ApplicationError(f"attempt {attempt}", type="Passing")
    return [word, attempt, str(workflow.get_last_failure()), workflow.info().continued_run_id is not None]


@workflow.defn
async def fails(type: str, non_retryable: bool) -> None:
    raise ApplicationError("no", type=type, non_retryable=non_retryable)


@workflow.defn
class Patient:
    """Fails at once, with a long way to go to the next attempt, which waits to be told."""

    def __init__(self) -> None:
        self.got: list[int] = []

    @workflow.run
    async def run(self, pause: float, gives_in: bool) -> list[int]:
        if workflow.info().attempt == 1:
            raise ApplicationError("first", next_retry_delay=timedelta(seconds=pause))
        try:
            await workflow.wait_condition(lambda: -1 in self.got)
        except asyncio.CancelledError:
            if not gives_in:
                raise
        return self.got

    @workflow.signal
    def put(self, number: int) -> None:
        self.got.append(number)

    @workflow.update
    def add(self, number: int) -> int:
        self.got.append(number)
        return len(self.got)


@workflow.defn
async def slow_at_first() -> int:
    if workflow.info().attempt == 1:
        await workflow.sleep(3600)
    return workflow.info().attempt


async def test_a_failed_run_is_tried_again_and_the_result_is_that_of_the_last_attempt(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    async with make_worker(third_time_lucky, max_cached_workflows=max_cached):
        handle = await client.start_workflow(third_time_lucky, "go", id="w", retry_policy=QUICKLY, memo={"a": 1})
        assert await handle.result() == ["go", 3, "Passing: attempt 2", True]
        with pytest.raises(WorkflowFailureError) as first_end:
            await handle.result(follow_runs=False)
    assert str(first_end.value.cause) == "Passing: attempt 1"

    histories = await chain(client, handle)
    assert [of_type(history, WorkflowExecutionStarted)[0].attempt for history in histories] == [1, 2, 3]
    for history, after in itertools.pairwise(histories):
        failed = of_type(history, WorkflowExecutionFailed)[0]
        assert failed.retry_state is RetryState.IN_PROGRESS
        assert failed.new_execution_run_id == after.run_id
        pause_us = after.events[1].time_us - history.events[-1].time_us
        assert pause_us >= 5_000, "an attempt does not begin before its time"
    for history in histories:
        await assert_replays(third_time_lucky, history)
    assert (await client.get_workflow_handle("w").describe()).stored_memo is not None


@pytest.mark.parametrize(
    ("type", "non_retryable", "attempts", "state"),
    [
        ("Passing", False, 2, RetryState.MAXIMUM_ATTEMPTS_REACHED),
        ("Final", False, 1, RetryState.NON_RETRYABLE_FAILURE),
        ("Passing", True, 1, RetryState.NON_RETRYABLE_FAILURE),
    ],
)
async def test_a_run_that_is_not_tried_again_fails_and_its_history_says_why(
    client: Client, make_worker: MakeWorker, type: str, non_retryable: bool, attempts: int, state: RetryState
) -> None:
    policy = RetryPolicy(
        initial_interval=timedelta(milliseconds=1), maximum_attempts=2, non_retryable_error_types=["Final"]
    )
    async with make_worker(fails):
        handle = await client.start_workflow(fails, args=[type, non_retryable], id="w", retry_policy=policy)
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
    assert isinstance(failed.value.cause, ApplicationError) and failed.value.cause.type == type
    histories = await chain(client, handle)
    assert len(histories) == attempts
    assert of_type(histories[-1], WorkflowExecutionFailed)[0].retry_state is state


async def test_what_is_sent_before_an_attempt_begins_is_kept_and_does_not_wake_its_code(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    async with make_worker(Patient, max_cached_workflows=max_cached):
        first = await client.start_workflow(Patient.run, args=[3600.0, True], id="w", retry_policy=RetryPolicy())
        handle = client.get_workflow_handle("w")
        await ended(client, first)
        for number in (1, 2):
            await handle.signal(Patient.put, number)
        update = asyncio.ensure_future(handle.execute_update(Patient.add, 3))

        async def kept() -> list[str] | None:
            found = types(await handle.fetch_history())
            return found if "WorkflowExecutionUpdateAdmitted" in found else None

        assert sorted(await until(kept)) == [
            "WorkflowExecutionSignaled",
            "WorkflowExecutionSignaled",
            "WorkflowExecutionStarted",
            "WorkflowExecutionUpdateAdmitted",
        ]
        await handle.cancel(reason="which does not wait")
        assert await update == 3
        assert await first.result() == [1, 2, 3]
    _, history = await chain(client, first)
    await assert_replays(Patient, history)


async def test_what_a_run_has_not_read_when_its_time_is_over_goes_over_to_the_next_attempt(
    client: Client, make_worker: MakeWorker
) -> None:
    first = await client.start_workflow(
        Patient.run, args=[0.0, False], id="w", retry_policy=QUICKLY, run_timeout=timedelta(milliseconds=100)
    )
    for number in (1, 2, -1):
        await first.signal(Patient.put, number)
    over_us = client.database.store.now_us() + 100_000

    async def is_over() -> bool:
        return client.database.store.now_us() > over_us

    await until(is_over)
    async with make_worker(Patient):
        assert await first.result() == [1, 2, -1]
    assert isinstance(await ended(client, first), WorkflowExecutionTimedOut)


async def test_a_run_that_waits_for_its_attempt_can_be_cancelled_at_once(
    client: Client, make_worker: MakeWorker
) -> None:
    async with make_worker(Patient):
        handle = await client.start_workflow(Patient.run, args=[3600.0, False], id="w", retry_policy=RetryPolicy())
        await ended(client, handle)
        await handle.cancel()
        with pytest.raises(WorkflowFailureError) as cancelled:
            await handle.result()
    assert isinstance(cancelled.value.cause, CancelledError)
    assert len(await run_ids(client, "w")) == 2, "what is cancelled is not tried again"


async def test_a_run_that_waits_for_its_attempt_can_be_terminated(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(Patient):
        handle = await client.start_workflow(Patient.run, args=[3600.0, False], id="w", retry_policy=RetryPolicy())
        await ended(client, handle)
        await handle.terminate(reason="enough")
        with pytest.raises(WorkflowFailureError) as terminated:
            await handle.result()
    assert isinstance(terminated.value.cause, TerminatedError)
    assert len(await run_ids(client, "w")) == 2


async def test_a_run_that_is_timed_out_is_tried_again(client: Client, make_worker: MakeWorker, max_cached: int) -> None:
    async with make_worker(slow_at_first, max_cached_workflows=max_cached):
        handle = await client.start_workflow(
            slow_at_first, id="w", retry_policy=QUICKLY, run_timeout=timedelta(milliseconds=100)
        )
        assert await handle.result() >= 2

    first, *_, last = await chain(client, handle)
    assert of_type(first, WorkflowExecutionTimedOut)[0].retry_state is RetryState.IN_PROGRESS
    await assert_replays(slow_at_first, last)


async def test_the_execution_timeout_ends_all_attempts(client: Client, make_worker: MakeWorker) -> None:
    policy = RetryPolicy(initial_interval=timedelta(milliseconds=40), backoff_coefficient=1.0)
    async with make_worker(fails):
        handle = await client.start_workflow(
            fails, args=["Passing", False], id="w", retry_policy=policy, execution_timeout=timedelta(milliseconds=150)
        )
        with pytest.raises(WorkflowFailureError) as over:
            await handle.result()

    assert isinstance(over.value.cause, ApplicationError | TimeoutError)
    histories = await chain(client, handle)
    started = [of_type(history, WorkflowExecutionStarted)[0] for history in histories]
    assert len({each.workflow_execution_expiration_time_us for each in started}) == 1
    last = histories[-1].events[-1]
    assert isinstance(last, WorkflowExecutionFailed | WorkflowExecutionTimedOut)
    assert last.retry_state is RetryState.TIMEOUT


async def test_without_a_policy_a_workflow_is_not_tried_again(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(fails):
        handle = await client.start_workflow(fails, args=["Passing", False], id="w")
        with pytest.raises(WorkflowFailureError):
            await handle.result()
    (history,) = await chain(client, handle)
    assert of_type(history, WorkflowExecutionFailed)[0].retry_state is RetryState.RETRY_POLICY_NOT_SET
