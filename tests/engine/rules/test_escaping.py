"""Which exceptions end what: rules 0.2, 0.3, 0.4, 0.10, 13.2."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from durable import Client, activity, workflow
from durable.client import (
    WorkflowFailureError,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateHandle,
    WorkflowUpdateStage,
)
from durable.client.handle import WorkflowHandle
from durable.exceptions import ApplicationError, CancelledError
from durable.history.events import WorkflowTaskFailed
from durable.history.values import RunStatus
from tests.engine.conftest import MakeWorker
from tests.engine.histories import BEGIN, assert_replays, assert_sound, of_type, types, until
from tests.engine.rules.runs import parked, sent

ERRORS = {
    "application": lambda: ApplicationError("on purpose"),
    "timeout": lambda: TimeoutError("too slow"),
    "bug": lambda: RuntimeError("a bug"),
    "assertion": lambda: AssertionError("not so"),
}


def go_wrong(how: str) -> Any:
    raise ERRORS[how]()


@workflow.defn
class Escapes:
    """Lets an exception out of the ``where`` it is told."""

    @workflow.init
    def __init__(self, where: str, how: str) -> None:
        self.where, self.how = where, how
        if where == "init":
            go_wrong(how)

    @workflow.run
    async def run(self, where: str, how: str) -> None:
        if where == "run":
            go_wrong(how)
        if where == "condition":
            await workflow.wait_condition(lambda: go_wrong(how))
        if where == "later":
            await workflow.sleep(0.001)
            go_wrong(how)
        await workflow.wait_condition(lambda: False)

    @workflow.signal
    def sync_signal(self) -> None:
        if self.where == "sync signal":
            go_wrong(self.how)

    @workflow.signal
    async def async_signal(self) -> None:
        await workflow.sleep(0.001)
        if self.where == "async signal":
            go_wrong(self.how)

    @workflow.update
    async def update(self, how: str) -> None:
        await workflow.sleep(0.001)
        go_wrong(how)


WHERE = ("init", "run", "condition", "later", "sync signal", "async signal")


async def start_all(client: Client, how: str) -> list[WorkflowHandle[Any, Any]]:
    handles = [await client.start_workflow(Escapes.run, args=[where, how], id=where) for where in WHERE]
    for handle in handles:
        await handle.signal(Escapes.sync_signal)
        await handle.signal(Escapes.async_signal)
    return handles


# 0.2, 13.2: what escapes. ---------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::durable.workflow.UnfinishedSignalHandlersWarning")
@pytest.mark.parametrize(("how", "text"), [("application", "on purpose"), ("timeout", "TimeoutError: too slow")])
async def test_a_failure_that_escapes_anywhere_fails_the_workflow(
    client: Client, make_worker: MakeWorker, max_cached: int, how: str, text: str
) -> None:
    handles = await start_all(client, how)
    async with make_worker(Escapes, max_cached_workflows=max_cached):
        for handle in handles:
            with pytest.raises(WorkflowFailureError) as failed:
                await handle.result()
            assert isinstance(failed.value.cause, ApplicationError) and str(failed.value.cause) == text
            history = await handle.fetch_history()
            assert types(history)[-1] == "WorkflowExecutionFailed"
            assert of_type(history, WorkflowTaskFailed) == []
            await assert_replays(Escapes, history)


@pytest.mark.parametrize(("how", "text"), [("bug", "RuntimeError: a bug"), ("assertion", "AssertionError: not so")])
async def test_any_other_exception_that_escapes_anywhere_fails_the_workflow_task_once_in_the_history(
    client: Client, make_worker: MakeWorker, max_cached: int, how: str, text: str
) -> None:
    handles = await start_all(client, how)
    async with make_worker(Escapes, max_cached_workflows=max_cached):
        for handle in handles:
            assert await parked(handle) == text
            assert (await handle.describe()).status is RunStatus.RUNNING
            history = await handle.fetch_history()
            (failed,) = of_type(history, WorkflowTaskFailed)
            assert failed.failure.message == text
            assert_sound(history.events)


@pytest.mark.parametrize(("how", "text"), [("application", "on purpose"), ("timeout", "TimeoutError: too slow")])
async def test_a_failure_that_escapes_an_accepted_update_fails_the_update_alone(
    client: Client, make_worker: MakeWorker, max_cached: int, how: str, text: str
) -> None:
    async with make_worker(Escapes, max_cached_workflows=max_cached):
        handle = await client.start_workflow(Escapes.run, args=["nowhere", ""], id="e")
        with pytest.raises(WorkflowUpdateFailedError) as failed:
            await handle.execute_update(Escapes.update, how)
        assert str(failed.value.cause) == text
        assert (await handle.describe()).status is RunStatus.RUNNING
        await assert_replays(Escapes, await handle.fetch_history())


async def test_any_other_exception_that_escapes_an_accepted_update_fails_the_workflow_task(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    async with make_worker(Escapes, max_cached_workflows=max_cached):
        handle = await client.start_workflow(Escapes.run, args=["nowhere", ""], id="e")
        update = asyncio.ensure_future(handle.execute_update(Escapes.update, "bug"))
        assert await parked(handle) == "RuntimeError: a bug"
        await handle.terminate()
        with pytest.raises(WorkflowUpdateFailedError):
            await update


# 0.3: cancellation wins. ----------------------------------------------------------------------------------------------


@activity.defn
async def hang() -> None:
    await asyncio.get_running_loop().create_future()


@workflow.defn
class Cancelled:
    """Leaves with an exception of the kind it is told, when it is asked to cancel."""

    @workflow.run
    async def run(self, how: str) -> str:
        try:
            if how == "activity":
                await workflow.execute_activity(hang, start_to_close_timeout=timedelta(hours=1))
            await workflow.wait_condition(lambda: False)
        except asyncio.CancelledError:
            match how:
                case "own":
                    raise CancelledError("mine") from None
                case "failure":
                    raise ApplicationError("while cleaning up") from None
                case "wrapped":
                    raise ApplicationError("cancelled below") from CancelledError("below")
                case "returns":
                    return "done all the same"
            raise
        return "never"

    @workflow.signal
    async def fall(self) -> None:
        await workflow.wait_condition(lambda: workflow.cancellation_reason() is not None)
        raise CancelledError("from a handler")


@pytest.mark.parametrize("how", ["timer", "activity", "own"])
async def test_a_cancellation_that_escapes_after_a_cancel_request_closes_the_run_as_cancelled(
    client: Client, make_worker: MakeWorker, max_cached: int, how: str
) -> None:
    async with make_worker(Cancelled, hang, max_cached_workflows=max_cached):
        handle = await client.start_workflow(Cancelled.run, how, id="c")
        await handle.cancel()
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
        assert isinstance(failed.value.cause, CancelledError)
        assert (await handle.describe()).status is RunStatus.CANCELED
        await assert_replays(Cancelled, await handle.fetch_history())


async def test_a_handlers_cancellation_error_closes_a_run_that_was_asked_to_cancel(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    @workflow.defn(name="Cancelled")
    class Deaf(Cancelled):
        @workflow.run
        async def run(self, how: str) -> str:
            await asyncio.shield(workflow.wait_condition(lambda: False))
            return how

    handle = await client.start_workflow("Cancelled", "x", id="c")
    await handle.signal("fall")
    async with make_worker(Deaf, max_cached_workflows=max_cached):
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await handle.result()
    assert (await handle.describe()).status is RunStatus.CANCELED


@pytest.mark.parametrize(
    ("how", "status"), [("failure", RunStatus.FAILED), ("wrapped", RunStatus.FAILED), ("returns", RunStatus.COMPLETED)]
)
async def test_code_that_ends_otherwise_after_a_cancel_request_ends_as_it_says(
    client: Client, make_worker: MakeWorker, max_cached: int, how: str, status: RunStatus
) -> None:
    async with make_worker(Cancelled, max_cached_workflows=max_cached):
        handle = await client.start_workflow(Cancelled.run, how, id="c")
        await handle.cancel()

        async def closed() -> bool:
            return (await handle.describe()).status is not RunStatus.RUNNING

        await until(closed)
    assert (await handle.describe()).status is status


async def test_a_cancellation_error_without_a_request_fails_the_workflow_as_such(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    @workflow.defn(name="unasked")
    async def unasked() -> None:
        asyncio.get_running_loop().call_soon(asyncio.current_task().cancel)  # type: ignore[union-attr]  # pyright: ignore
        await workflow.sleep(3600)

    async with make_worker(unasked, max_cached_workflows=max_cached):
        handle = await client.start_workflow(unasked, id="u")
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
        assert isinstance(failed.value.cause, CancelledError)
        assert (await handle.describe()).status is RunStatus.FAILED
        assert "TimerStarted" not in types(await handle.fetch_history())


# 0.4: questions and validators fail nothing. --------------------------------------------------------------------------

ESCAPES: dict[str, type[BaseException]] = {
    "value": ValueError,
    "application": ApplicationError,
    "cancelled": asyncio.CancelledError,
    "exit": SystemExit,
    "interrupt": KeyboardInterrupt,
    "recursion": RecursionError,
}


async def outcome(update: WorkflowUpdateHandle[Any]) -> BaseException:
    with pytest.raises(WorkflowUpdateFailedError) as failed:
        await update.result()
    return failed.value.cause


@workflow.defn
class Asked:
    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: self.over)
        return "unharmed"

    def __init__(self) -> None:
        self.over = False

    @workflow.query
    def ask(self, how: str) -> None:
        raise ESCAPES[how]("from a query")

    @workflow.update
    async def change(self, how: str) -> None: ...

    @change.validator
    def judge(self, how: str) -> None:
        raise ESCAPES[how]("from a validator")

    @workflow.signal
    def end(self) -> None:
        self.over = True


@pytest.mark.parametrize("how", ESCAPES)
async def test_whatever_a_query_or_a_validator_raises_is_told_to_its_caller_and_harms_nothing(
    client: Client, make_worker: MakeWorker, max_cached: int, how: str
) -> None:
    async with make_worker(Asked, max_cached_workflows=max_cached):
        handle = await client.start_workflow(Asked.run, id="a")
        with pytest.raises(WorkflowQueryFailedError, match="from a query"):
            await handle.query(Asked.ask, how)
        with pytest.raises(WorkflowUpdateFailedError) as rejected:
            await handle.execute_update(Asked.change, how)
        assert "from a validator" in str(rejected.value.cause)
        # Together with something that happens, so that the validator is called in the midst of a task.
        update = asyncio.ensure_future(
            handle.start_update(Asked.change, how, wait_for_stage=WorkflowUpdateStage.ACCEPTED)
        )
        await handle.signal(Asked.end)
        assert await handle.result() == "unharmed"
        await asyncio.wait([update])
        assert "from a validator" in str(update.exception() or (await outcome(update.result())))
        assert types(await handle.fetch_history()).count("WorkflowExecutionUpdateAccepted") == 0


async def test_an_update_that_nobody_takes_or_that_can_not_be_read_is_rejected_without_a_trace(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    async with make_worker(Asked, max_cached_workflows=max_cached):
        handle = await client.start_workflow(Asked.run, id="a")
        with pytest.raises(WorkflowUpdateFailedError) as unknown:
            await handle.execute_update("nothing")
        with pytest.raises(WorkflowUpdateFailedError) as unreadable:
            await handle.execute_update("change", {"not": "a text"})
        with pytest.raises(WorkflowUpdateFailedError) as too_many:
            await handle.execute_update("change", args=["one", "two"])
        history = await handle.fetch_history()
    assert "Update handler for 'nothing' expected but not found" in str(unknown.value.cause)
    assert "known updates: [change]" in str(unknown.value.cause)
    assert "how" in str(unreadable.value.cause) and "2 positional values" in str(too_many.value.cause)
    assert types(history) == BEGIN


# 0.10: the first command that closes the run wins. --------------------------------------------------------------------


@workflow.defn
class Closing:
    def __init__(self) -> None:
        self.told: list[str] = []

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: False)
        return "never"

    @workflow.signal
    async def fail(self, text: str) -> None:
        try:
            raise ApplicationError(text)
        finally:
            late = partial(workflow.start_activity, "late", start_to_close_timeout=timedelta(hours=1))
            asyncio.get_running_loop().call_soon(late)

    @workflow.update
    async def answer(self) -> str:
        asyncio.get_running_loop().call_later(3600, print)
        return "answered"


async def test_the_first_command_that_closes_wins_and_updates_of_its_task_are_answered(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    handle = await client.start_workflow(Closing.run, id="c")
    await handle.signal(Closing.fail, "first")
    await handle.signal(Closing.fail, "second")
    update = asyncio.ensure_future(handle.execute_update(Closing.answer))

    await sent(handle, 3)
    async with make_worker(Closing, max_cached_workflows=max_cached):
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
        assert await update == "answered"
    assert str(failed.value.cause) == "first"
    history = await handle.fetch_history()
    assert types(history)[-4:] == [
        "WorkflowTaskCompleted",
        "WorkflowExecutionUpdateAccepted",
        "WorkflowExecutionUpdateCompleted",
        "WorkflowExecutionFailed",
    ]
    await assert_replays(Closing, history)
