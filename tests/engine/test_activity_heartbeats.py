"""Heartbeats that can't be sent, details from attempt to attempt, and the exception that cancels a thread."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from typing import Any

import pytest

from durable import Client, RetryPolicy, activity, workflow
from durable.client import WorkflowFailureError
from durable.exceptions import ActivityError, ApplicationError, CancelledError
from durable.history.committer import Done
from durable.history.database import Database
from durable.history.events import ActivityTaskStarted
from durable.history.transition import ActivityReport, Write
from durable.worker.attempt_thread import AttemptThread
from durable.workflow import ActivityCancellationType
from tests.engine.conftest import MakeWorker
from tests.engine.histories import of_type

HOUR = timedelta(hours=1)
DETAILS = ("page", 7, None, 1.5, [1, [2]], {"a": {"b": True}}, "é\U0001f600")


@workflow.defn
async def call(name: str, attempts: int = 1, timeout: float = 3600.0) -> Any:
    return await workflow.execute_activity(
        name,
        start_to_close_timeout=timedelta(seconds=timeout),
        retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=5), maximum_attempts=attempts),
    )


@workflow.defn
class Cancelling:
    """Cancels the activity when told, waits for its outcome, and tells how it ended."""

    def __init__(self) -> None:
        self.go = False

    @workflow.run
    async def run(self, name: str) -> list[str]:
        handle = workflow.start_activity(
            name,
            start_to_close_timeout=HOUR,
            cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )
        await workflow.wait_condition(lambda: self.go)
        handle.cancel()
        try:
            return ["result", str(await handle)]
        except ActivityError as error:
            return [type(error).__name__, type(error.cause).__name__]

    @workflow.signal
    def cancel_now(self) -> None:
        self.go = True


async def why_failed(client: Client, name: str, **more: Any) -> ApplicationError:
    with pytest.raises(WorkflowFailureError) as caught:
        await client.execute_workflow(call, name, kwargs=more, id="call")
    assert isinstance(caught.value.cause, ActivityError) and isinstance(caught.value.cause.cause, ApplicationError)
    return caught.value.cause.cause


# Details that can't be sent. ------------------------------------------------------------------------------------------


async def test_details_that_can_not_be_converted_cancel_the_activity_and_are_why_it_fails(
    client: Client, make_worker: MakeWorker
) -> None:
    seen: list[bool] = []

    @activity.defn
    async def beats() -> None:
        activity.heartbeat(object())
        try:
            await asyncio.sleep(3600)
        finally:
            seen.append(activity.is_cancelled())

    async with make_worker(call, beats):
        error = await why_failed(client, "beats", attempts=5)
    assert error.type == "ConversionError" and "object" in error.message
    assert seen == [True]


async def test_details_that_can_not_be_converted_cancel_a_thread_too(client: Client, make_worker: MakeWorker) -> None:
    seen: list[str] = []

    @activity.defn
    def beats() -> None:
        try:
            activity.heartbeat(object())
            while True:
                threading.Event().wait(0.005)
        except CancelledError:
            seen.append("cancelled")
            raise

    async with make_worker(call, beats):
        error = await why_failed(client, "beats", attempts=5)
    assert error.type == "ConversionError" and "object" in error.message
    assert seen == ["cancelled"]


async def test_a_result_stands_though_a_heartbeat_before_it_could_not_be_sent(
    client: Client, make_worker: MakeWorker
) -> None:
    @activity.defn
    async def beats() -> str:
        activity.heartbeat(object())
        return "done"

    async with make_worker(call, beats):
        assert await client.execute_workflow(call, "beats", id="call") == "done"


# Details from attempt to attempt. -------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["error", "timeout"])
async def test_the_next_attempt_finds_the_details_unchanged(
    client: Client, make_worker: MakeWorker, ending: str
) -> None:
    @activity.defn
    async def beats() -> list[Any]:
        if activity.info().attempt == 1:
            activity.heartbeat("not the last")
            activity.heartbeat(*DETAILS)
            if ending == "error":
                raise ValueError("again")
            await asyncio.sleep(3600)
        return list(activity.info().heartbeat_details)

    async with make_worker(call, beats):
        found = await client.execute_workflow(
            call, args=["beats", *((0, 0.5) if ending == "timeout" else (2, 3600.0))], id="call"
        )
    assert tuple(found) == DETAILS


async def test_an_async_activity_may_beat_from_a_thread_of_its_own(client: Client, make_worker: MakeWorker) -> None:
    asyncio.get_running_loop().set_debug(True)  # it then refuses what other threads do to it

    @activity.defn
    async def beats() -> list[Any]:
        if activity.info().attempt == 1:
            await asyncio.to_thread(activity.heartbeat, *DETAILS)
            raise ValueError("again")
        return list(activity.info().heartbeat_details)

    async with make_worker(call, beats):
        assert tuple(await client.execute_workflow(call, args=["beats", 2], id="call")) == DETAILS
        (started,) = of_type(await client.get_workflow_handle("call").fetch_history(), ActivityTaskStarted)
    assert started.last_failure is not None and started.last_failure.message == "again"


async def test_an_attempt_without_details_hands_on_those_of_the_one_before(
    client: Client, make_worker: MakeWorker
) -> None:
    @activity.defn
    def beats() -> list[Any]:
        attempt = activity.info().attempt
        if attempt == 1:
            activity.heartbeat(*DETAILS)
        if attempt < 3:
            raise ValueError("again")
        return list(activity.info().heartbeat_details)

    async with make_worker(call, beats):
        assert tuple(await client.execute_workflow(call, args=["beats", 3], id="call")) == DETAILS


async def test_a_worker_that_stops_hands_the_details_on_however_slowly_its_reports_are_written(
    client: Client, make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = Database.submit

    def slowly(self: Database, write: Write, done: Done) -> None:
        if isinstance(write, ActivityReport):
            asyncio.get_running_loop().call_later(0.02, submit, self, write, done)
        else:
            submit(self, write, done)

    monkeypatch.setattr(Database, "submit", slowly)
    begun = asyncio.Event()

    @activity.defn
    async def beats() -> list[Any]:
        if not begun.is_set():
            activity.heartbeat(*DETAILS)
            begun.set()
            await asyncio.sleep(3600)
        return list(activity.info().heartbeat_details)

    async with make_worker(call, beats):
        handle = await client.start_workflow(call, args=["beats", 2], id="call")
        await begun.wait()
    async with make_worker(call, beats):
        assert tuple(await handle.result()) == DETAILS


# The exception in a thread. -------------------------------------------------------------------------------------------


async def cancelled(client: Client, name: str, begun: asyncio.Event) -> list[str]:
    handle = await client.start_workflow(Cancelling.run, name, id="cancelling")
    await begun.wait()
    await handle.signal(Cancelling.cancel_now)
    return await handle.result()


async def test_a_pending_cancel_is_raised_at_the_end_of_the_outermost_shield(
    client: Client, make_worker: MakeWorker
) -> None:
    loop, begun, seen = asyncio.get_running_loop(), asyncio.Event(), list[str]()

    @activity.defn
    def nested() -> None:
        try:
            with activity.shield_thread_cancel_exception():
                with activity.shield_thread_cancel_exception():
                    loop.call_soon_threadsafe(begun.set)
                    activity.wait_for_cancelled_sync()
                    seen.append("inner block ends")
                seen.append("outer block ends")
            seen.append("not reached")
        except CancelledError:
            seen.append("cancelled")
            raise

    async with make_worker(Cancelling, nested):
        assert await cancelled(client, "nested", begun) == ["ActivityError", "CancelledError"]
    assert seen == ["inner block ends", "outer block ends", "cancelled"]


async def test_a_cancelled_activity_may_clean_up_under_a_shield_and_finish(
    client: Client, make_worker: MakeWorker
) -> None:
    loop, begun = asyncio.get_running_loop(), asyncio.Event()

    @activity.defn
    def finishing() -> str:
        try:
            loop.call_soon_threadsafe(begun.set)
            while True:
                threading.Event().wait(0.005)
        except CancelledError:
            with activity.shield_thread_cancel_exception():
                details = activity.cancellation_details()
            return f"finished, cancel requested: {details is not None and details.cancel_requested}"

    async with make_worker(Cancelling, finishing):
        assert await cancelled(client, "finishing", begun) == ["result", "finished, cancel requested: True"]


async def test_a_sync_activity_of_a_stopping_worker_gets_the_exception_and_runs_anew_elsewhere(
    client: Client, make_worker: MakeWorker
) -> None:
    loop, begun, seen = asyncio.get_running_loop(), asyncio.Event(), list[Any]()

    @activity.defn
    def blocks() -> str:
        if seen:
            return f"attempt {activity.info().attempt}"
        try:
            loop.call_soon_threadsafe(begun.set)
            while True:
                threading.Event().wait(0.005)
        except CancelledError:
            seen.append(activity.cancellation_details())
            raise

    async with make_worker(call, blocks):
        handle = await client.start_workflow(call, args=["blocks", 2], id="call")
        await begun.wait()
    async with make_worker(call, blocks):
        assert await handle.result() == "attempt 1"
    assert [details.worker_shutdown for details in seen] == [True]


def test_what_is_cancelled_before_it_has_a_thread_runs_none_of_its_code() -> None:
    ran: list[str] = []
    thread = AttemptThread(raises=True)

    thread.cancel()

    with pytest.raises(CancelledError):
        thread.run(lambda: ran.append("ran"))
    assert ran == []
