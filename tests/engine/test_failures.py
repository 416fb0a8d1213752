"""What goes wrong: failures of workflows and of workflow tasks, cancelling."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from durable import Client, RetryPolicy, activity, workflow
from durable.client import WorkflowFailureError
from durable.client.handle import WorkflowHandle
from durable.exceptions import (
    ActivityError,
    ApplicationError,
    CancelledError,
    TerminatedError,
    is_cancelled_exception,
)
from durable.history.events import (
    WorkflowExecutionCanceled,
    WorkflowExecutionCancelRequested,
    WorkflowTaskFailed,
)
from durable.history.values import RunStatus, TaskFailedCause
from tests.engine.conftest import MakeWorker
from tests.engine.histories import BEGIN, assert_replays, assert_sound, of_type, types, until

ONCE = RetryPolicy(maximum_attempts=1)
done: list[str] = []


@pytest.fixture(autouse=True)
def nothing_done() -> None:
    done.clear()


@activity.defn(retry_policy=ONCE)
async def break_down(cause: str) -> None:
    try:
        raise KeyError(cause)
    except KeyError as error:
        raise ValueError("broken") from error


@activity.defn
async def do(what: str) -> str:
    done.append(what)
    return what


@activity.defn
async def hang() -> None:
    done.append("hanging")
    await asyncio.sleep(3600)


async def failure_of(handle: WorkflowHandle[Any, Any]) -> BaseException:
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    return caught.value.cause


async def parked(handle: WorkflowHandle[Any, Any]) -> str:
    """Why the run is parked, as soon as it is."""

    async def reason() -> str | None:
        return (await handle.describe()).parked

    return str(await until(reason))


# Failing. -------------------------------------------------------------------------------------------------------------


@workflow.defn
async def breaking() -> None:
    await break_down("root")


async def test_the_whole_chain_of_causes_reaches_the_client(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(breaking, break_down):
        error = await failure_of(await client.start_workflow(breaking, id="b"))
    assert isinstance(error, ActivityError) and error.activity_type == "break_down"
    value_error = error.cause
    assert isinstance(value_error, ApplicationError)
    assert (value_error.type, value_error.message, str(value_error)) == ("ValueError", "broken", "ValueError: broken")
    key_error = value_error.cause
    assert isinstance(key_error, ApplicationError) and key_error.type == "KeyError"
    assert value_error.failure is not None and "break_down" in value_error.failure.stack_trace


class Expected(Exception):
    pass


@workflow.defn(failure_exception_types=[Expected])
async def expected(how: str) -> None:
    match how:
        case "own":
            raise Expected("foreseen")
        case "timeout":
            raise TimeoutError("slow")
        case "cancelled":
            raise asyncio.CancelledError
        case _:
            raise LookupError("configured at the worker")


@pytest.mark.parametrize(
    ("how", "kind", "text"),
    [
        ("own", ApplicationError, "Expected: foreseen"),
        ("timeout", ApplicationError, "TimeoutError: slow"),
        ("cancelled", CancelledError, "Cancelled"),
        ("worker", ApplicationError, "LookupError: configured at the worker"),
    ],
)
async def test_these_exceptions_fail_the_workflow(
    client: Client, make_worker: MakeWorker, how: str, kind: type[Exception], text: str
) -> None:
    async with make_worker(expected, workflow_failure_exception_types=[LookupError]):
        handle = await client.start_workflow(expected, how, id="e")
        error = await failure_of(handle)
        assert (await handle.describe()).status is RunStatus.FAILED
        history = await handle.fetch_history()
    assert isinstance(error, kind) and str(error) == text
    assert types(history) == [*BEGIN, "WorkflowExecutionFailed"]


def charging(*, mended: bool) -> Any:
    @workflow.defn(name="charging")
    async def run() -> str:
        first = await do("reserve")
        if not mended:
            raise RuntimeError("a bug")
        return f"{first}, {await do('charge')}"

    return run


async def test_any_other_exception_parks_the_run_until_mended_code_comes(
    client: Client, make_worker: MakeWorker, caplog: pytest.LogCaptureFixture
) -> None:
    async with make_worker(charging(mended=False), do):
        handle = await client.start_workflow("charging", id="c")
        assert await parked(handle) == "RuntimeError: a bug"
        history = await handle.fetch_history()
        assert (await handle.describe()).status is RunStatus.RUNNING
    (failed,) = of_type(history, WorkflowTaskFailed)
    assert failed.cause is TaskFailedCause.WORKFLOW_WORKER_UNHANDLED_FAILURE
    assert failed.failure.message == "RuntimeError: a bug" and "run" in failed.failure.stack_trace
    assert "a bug" in caplog.text
    mended = charging(mended=True)
    async with make_worker(mended, do):
        assert await handle.result() == "reserve, charge"
        assert (await handle.describe()).parked is None
        history = await handle.fetch_history()
    assert done == ["reserve", "charge"]
    assert len(of_type(history, WorkflowTaskFailed)) == 1
    assert_sound(history.events)
    await assert_replays(mended, history)


async def test_a_parked_run_is_tried_again_without_a_second_failure_event(
    client: Client, make_worker: MakeWorker
) -> None:
    tries = 0

    @workflow.defn(name="retried")
    async def retried() -> None:
        nonlocal tries
        tries += 1
        raise RuntimeError(f"try {tries}")

    async with make_worker(retried):
        handle = await client.start_workflow(retried, id="r")
        await parked(handle)
    async with make_worker(retried):

        async def again() -> bool:
            return tries >= 2

        await until(again)

        async def noted() -> bool:
            return (await handle.describe()).parked == f"RuntimeError: try {tries}"

        await until(noted)
        assert len(of_type(await handle.fetch_history(), WorkflowTaskFailed)) == 1


async def test_a_failing_first_task_does_not_fail_the_start(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(charging(mended=False), do):
        handle = await client.start_workflow("charging", id="c")
        assert handle.result_run_id is not None


async def test_a_parked_run_can_be_terminated_at_once(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(charging(mended=False), do):
        handle = await client.start_workflow("charging", id="c")
        await parked(handle)
        await handle.terminate("why", reason="hopeless")
        error = await failure_of(handle)
    assert isinstance(error, TerminatedError) and error.message == "hopeless" and list(error.details) == ["why"]


async def test_a_parked_run_takes_a_cancel_request_when_mended_code_is_there(
    client: Client, make_worker: MakeWorker
) -> None:
    def waiting(mended: bool) -> Any:
        @workflow.defn(name="waiting")
        async def run() -> None:
            if not mended:
                raise RuntimeError("a bug")
            await workflow.sleep(3600)

        return run

    async with make_worker(waiting(False)):
        handle = await client.start_workflow("waiting", id="w")
        await parked(handle)
        await handle.cancel()
    async with make_worker(waiting(True)):
        assert isinstance(await failure_of(handle), CancelledError)


# Cancelling. ----------------------------------------------------------------------------------------------------------


@workflow.defn
async def waiting(how: str) -> str:
    match how:
        case "timer":
            await workflow.sleep(3600)
        case "condition":
            await workflow.wait_condition(lambda: False)
        case "activity":
            await hang()
        case "handle":
            await workflow.execute_activity(hang, start_to_close_timeout=timedelta(hours=1))
        case _:
            await asyncio.gather(hang(), asyncio.sleep(3600))
    return "never"


@pytest.mark.parametrize("how", ["timer", "condition", "activity", "handle", "both"])
async def test_a_cancelled_workflow_ends_as_cancelled_wherever_it_waits(
    client: Client, make_worker: MakeWorker, how: str
) -> None:
    async with make_worker(waiting, hang):
        handle = await client.start_workflow(waiting, how, id="w")
        await handle.cancel(reason="changed my mind")
        error = await failure_of(handle)
        description, history = await handle.describe(), await handle.fetch_history()
    assert isinstance(error, CancelledError)
    assert description.status is RunStatus.CANCELED
    (request,) = of_type(history, WorkflowExecutionCancelRequested)
    assert request.cause == "changed my mind"
    assert_sound(history.events)
    await assert_replays(waiting, history)


async def test_a_run_can_be_cancelled_before_its_first_task(client: Client, make_worker: MakeWorker) -> None:
    handle = await client.start_workflow(waiting, "timer", id="w")
    await handle.cancel()
    async with make_worker(waiting, hang):
        assert isinstance(await failure_of(handle), CancelledError)
        history = await handle.fetch_history()
    assert len(of_type(history, WorkflowExecutionCanceled)) == 1
    await assert_replays(waiting, history)


@workflow.defn
async def cleaning() -> str:
    try:
        await workflow.sleep(3600)
    except asyncio.CancelledError:
        reason = workflow.cancellation_reason()
        await do("clean")
        return f"cleaned because: {reason}"
    return "never"


async def test_a_workflow_may_catch_its_cancellation_and_complete(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(cleaning, do):
        handle = await client.start_workflow(cleaning, id="c")
        await handle.cancel(reason="test")
        assert await handle.result() == "cleaned because: test"
    assert done == ["clean"]


@workflow.defn
async def finally_cleaning() -> None:
    try:
        await workflow.sleep(3600)
    finally:
        await do("clean")


async def test_cleaning_up_after_a_cancellation_leaves_the_run_cancelled(
    client: Client, make_worker: MakeWorker
) -> None:
    async with make_worker(finally_cleaning, do):
        handle = await client.start_workflow(finally_cleaning, id="c")
        await handle.cancel()
        assert isinstance(await failure_of(handle), CancelledError)
    assert done == ["clean"]


@workflow.defn
async def partly() -> list[str]:
    task = asyncio.ensure_future(asyncio.sleep(3600))
    activity_task = asyncio.ensure_future(hang())
    await workflow.sleep(0.01)
    task.cancel()
    activity_task.cancel()
    outcomes = await asyncio.gather(task, activity_task, return_exceptions=True)
    assert all(is_cancelled_exception(outcome) for outcome in outcomes if isinstance(outcome, BaseException))
    return [type(outcome).__name__ for outcome in outcomes] + [str(workflow.cancellation_reason())]


async def test_parts_of_a_workflow_are_cancelled_as_anywhere_in_asyncio(
    client: Client, make_worker: MakeWorker
) -> None:
    async with make_worker(partly, hang):
        handle = await client.start_workflow(partly, id="p")
        assert await handle.result() == ["CancelledError", "CancelledError", "None"]
        await assert_replays(partly, await handle.fetch_history())


async def test_cancelling_a_closed_run_is_no_error(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(partly, hang):
        handle = await client.start_workflow(partly, id="p")
        await handle.result()
        await handle.cancel()


async def test_cancelling_twice_asks_the_code_each_time_and_ends_it_once(
    client: Client, make_worker: MakeWorker
) -> None:
    async with make_worker(waiting, hang):
        handle = await client.start_workflow(waiting, "timer", id="w")
        await asyncio.gather(handle.cancel(), handle.cancel())
        assert isinstance(await failure_of(handle), CancelledError)
        assert_sound((await handle.fetch_history()).events)
