"""Activities: attempts and their retries, timeouts, heartbeats, cancelling, and the end of a worker."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from durable import Client, RetryPolicy, activity, workflow
from durable.client import WorkflowFailureError
from durable.exceptions import ActivityError, ApplicationError, CancelledError, RetryState, TimeoutError, TimeoutType
from durable.history.events import (
    ActivityTaskCanceled,
    ActivityTaskCancelRequested,
    ActivityTaskCompleted,
    ActivityTaskStarted,
)
from durable.workflow import ActivityCancellationType
from tests.engine.conftest import MakeWorker
from tests.engine.histories import of_type, until

SOON = RetryPolicy(initial_interval=timedelta(milliseconds=5), backoff_coefficient=1.0)
ONCE = RetryPolicy(maximum_attempts=1)
HOUR = timedelta(hours=1)


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


class Work:
    """Activities whose doings a test steers and sees."""

    def __init__(self) -> None:
        self.attempts: list[int] = []
        self.begun_at: list[float] = []
        self.seen: list[Any] = []
        self.begun = asyncio.Event()
        self.release = asyncio.Event()
        self.thread_release = threading.Event()

    def begin(self) -> int:
        attempt = activity.info().attempt
        self.attempts.append(attempt)
        self.begun_at.append(time.monotonic())
        return attempt

    @activity.defn
    async def flaky(self, failures: int) -> str:
        attempt = self.begin()
        if attempt <= failures:
            raise ValueError(f"attempt {attempt}")
        return f"attempt {attempt}"

    @activity.defn
    async def fail(self, how: str) -> None:
        attempt = self.begin()
        match how:
            case "finally":
                raise ApplicationError("no", non_retryable=True)
            case "delayed":
                if attempt == 1:
                    raise ApplicationError("later", next_retry_delay=timedelta(milliseconds=5))
            case _:
                raise ApplicationError(how, type=how)

    @activity.defn
    async def hang(self) -> str:
        self.begin()
        self.begun.set()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.seen.append(activity.cancellation_details())
            raise
        return "released"

    @activity.defn
    async def stubborn(self) -> str:
        self.begun.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            assert activity.is_cancelled()
            return "finished all the same"
        return "never"

    @activity.defn
    async def beating(self) -> list[Any]:
        if self.begin() == 1:
            activity.heartbeat("page", 7)
            activity.heartbeat("page", 8)
            raise ValueError("after page 8")
        return list(activity.info().heartbeat_details)

    @activity.defn
    async def silent(self) -> list[Any]:
        if self.begin() == 1:
            activity.heartbeat("only once")
            await asyncio.sleep(3600)
        return list(activity.info().heartbeat_details)

    @activity.defn
    async def lively(self) -> str:
        self.begin()
        for _ in range(24):
            activity.heartbeat()
            await asyncio.sleep(0.05)
        return "alive"

    @activity.defn
    def blocking(self, shielded: bool) -> str:
        self.begin()
        self._tell_begun()
        try:
            if shielded:
                with activity.shield_thread_cancel_exception():
                    activity.wait_for_cancelled_sync()
                    self.seen.append("shielded part ended")
                self.seen.append("not reached")
            while not self.thread_release.is_set():
                time.sleep(0.005)
        except CancelledError:
            self.seen.append("cancelled")
            raise
        return "released"

    @activity.defn(no_thread_cancel_exception=True)
    def polite(self) -> str:
        self._tell_begun()
        activity.wait_for_cancelled_sync()
        return f"asked: {activity.is_cancelled()}"

    @activity.defn
    async def introspective(self) -> str:
        self.seen.append(activity.info())
        assert activity.in_activity()
        return "ok"

    @activity.defn
    async def last_orders(self) -> str:
        self.begin()
        self.begun.set()
        await activity.wait_for_worker_shutdown()
        return f"shutdown: {activity.is_worker_shutdown()}"

    def _tell_begun(self) -> None:
        self.loop.call_soon_threadsafe(self.begun.set)

    @property
    def all(self) -> list[Callable[..., Any]]:
        self.loop = asyncio.get_running_loop()
        return [
            self.flaky,
            self.fail,
            self.hang,
            self.stubborn,
            self.beating,
            self.silent,
            self.lively,
            self.blocking,
            self.polite,
            self.introspective,
            self.last_orders,
        ]


@pytest.fixture
def work() -> Work:
    return Work()


@workflow.defn
async def call(name: str, args: list[Any], options: dict[str, Any]) -> Any:
    """Any activity, with any options: durations in seconds, retries every 5 ms."""
    timeouts: Any = {key: seconds(value) for key, value in options.items() if key.endswith("_timeout")}
    return await workflow.execute_activity(
        name,
        args=args,
        task_queue=options.get("task_queue"),
        retry_policy=RetryPolicy(
            initial_interval=seconds(options.get("interval", 0.005)),
            backoff_coefficient=options.get("backoff", 1.0),
            maximum_attempts=options.get("maximum_attempts", 0),
            non_retryable_error_types=options.get("non_retryable"),
        ),
        **{"start_to_close_timeout": HOUR, **timeouts},
    )


async def called(client: Client, name: str, *args: Any, **options: Any) -> Any:
    return await client.execute_workflow(call, args=[name, list(args), options], id="call")


async def error_of(client: Client, name: str, *args: Any, **options: Any) -> ActivityError:
    with pytest.raises(WorkflowFailureError) as caught:
        await called(client, name, *args, **options)
    assert isinstance(caught.value.cause, ActivityError)
    return caught.value.cause


# Retries. -------------------------------------------------------------------------------------------------------------


async def test_an_activity_is_tried_again_until_it_succeeds(
    client: Client, make_worker: MakeWorker, work: Work
) -> None:
    async with make_worker(call, *work.all):
        assert await called(client, "flaky", 3) == "attempt 4"
        (started,) = of_type(await client.get_workflow_handle("call").fetch_history(), ActivityTaskStarted)
    assert work.attempts == [1, 2, 3, 4]
    assert started.attempt == 4
    assert started.last_failure is not None and started.last_failure.message == "attempt 3"


async def test_attempts_wait_as_the_policy_says(client: Client, make_worker: MakeWorker, work: Work) -> None:
    async with make_worker(call, *work.all):
        await called(client, "flaky", 3, interval=0.02, backoff=2.0)
    waits = [later - earlier for earlier, later in zip(work.begun_at, work.begun_at[1:], strict=False)]
    assert all(wait >= least for wait, least in zip(waits, (0.02, 0.04, 0.08), strict=True))


async def test_no_attempt_follows_the_last_one_allowed(client: Client, make_worker: MakeWorker, work: Work) -> None:
    async with make_worker(call, *work.all):
        error = await error_of(client, "flaky", 10, maximum_attempts=3)
    assert work.attempts == [1, 2, 3]
    assert error.retry_state == RetryState.MAXIMUM_ATTEMPTS_REACHED
    assert isinstance(error.cause, ApplicationError) and error.cause.type == "ValueError"
    assert (error.activity_type, error.activity_id) == ("flaky", "1")
    assert error.scheduled_event_id == 5 and error.started_event_id == 6


@pytest.mark.parametrize(("how", "options"), [("finally", {}), ("Fatal", {"non_retryable": ["Fatal"]})])
async def test_an_error_that_is_not_retryable_is_final(
    client: Client, make_worker: MakeWorker, work: Work, how: str, options: dict[str, Any]
) -> None:
    async with make_worker(call, *work.all):
        error = await error_of(client, "fail", how, **options)
    assert work.attempts == [1]
    assert error.retry_state == RetryState.NON_RETRYABLE_FAILURE


async def test_an_error_may_say_when_to_try_again(client: Client, make_worker: MakeWorker, work: Work) -> None:
    async with make_worker(call, *work.all):
        await called(client, "fail", "delayed", interval=3600)
    assert work.attempts == [1, 2]


async def test_what_waits_for_its_next_attempt_is_shown(client: Client, make_worker: MakeWorker, work: Work) -> None:
    async with make_worker(call, *work.all):
        handle = await client.start_workflow(call, args=["flaky", [1], {"interval": 3600}], id="call")

        async def failed_once() -> Any:
            (pending,) = (await handle.describe()).pending_activities
            return pending if pending.last_failure else None

        pending = await until(failed_once)
        assert (pending.activity_type, pending.attempt, pending.last_failure) == ("flaky", 1, "attempt 1")
        assert pending.started is None and pending.due - datetime.now(UTC) > seconds(3000)


async def test_an_unknown_activity_type_is_one_clear_error(client: Client, make_worker: MakeWorker, work: Work) -> None:
    async with make_worker(call, *work.all):
        error = await error_of(client, "unheard_of", maximum_attempts=1)
    assert str(error.cause).startswith(
        "NotFoundError: Activity function unheard_of is not registered on this worker, available activities: beating,"
    )


# Timeouts. ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "kind", "text"),
    [
        (
            "hang",
            {"start_to_close_timeout": 0.05, "maximum_attempts": 1},
            TimeoutType.START_TO_CLOSE,
            "activity did not complete in time",
        ),
        (
            "hang",
            {"schedule_to_close_timeout": 0.05},
            TimeoutType.SCHEDULE_TO_CLOSE,
            "activity did not complete in time",
        ),
        (
            "hang",
            {"schedule_to_start_timeout": 0.05, "task_queue": "nobody's"},
            TimeoutType.SCHEDULE_TO_START,
            "activity did not start in time",
        ),
        (
            "hang",
            {"heartbeat_timeout": 0.05, "maximum_attempts": 1},
            TimeoutType.HEARTBEAT,
            "activity Heartbeat timeout",
        ),
    ],
    ids=["start-to-close", "schedule-to-close", "schedule-to-start", "heartbeat"],
)
async def test_a_timeout_is_an_error_that_names_it(
    client: Client,
    make_worker: MakeWorker,
    work: Work,
    name: str,
    options: dict[str, Any],
    kind: TimeoutType,
    text: str,
) -> None:
    async with make_worker(call, *work.all):
        error = await error_of(client, name, **options)
    assert isinstance(error.cause, TimeoutError)
    assert error.cause.type == kind
    assert text in error.cause.message


async def test_an_attempt_that_times_out_is_cancelled_and_tried_again(
    client: Client, make_worker: MakeWorker, work: Work
) -> None:
    async with make_worker(call, *work.all):
        error = await error_of(client, "hang", start_to_close_timeout=0.05, maximum_attempts=2)
    assert work.attempts == [1, 2]
    assert [details.timed_out for details in work.seen] == [True, True]
    assert error.retry_state == RetryState.MAXIMUM_ATTEMPTS_REACHED


async def test_schedule_to_close_bounds_all_attempts_together(
    client: Client, make_worker: MakeWorker, work: Work
) -> None:
    async with make_worker(call, *work.all):
        error = await error_of(client, "flaky", 10**6, schedule_to_close_timeout=0.5, interval=0.02)
    assert len(work.attempts) > 1
    assert error.retry_state == RetryState.TIMEOUT
    # The last attempt's failure; below a timeout, if the time ran out while the next one waited.
    last = error.cause.__cause__ if isinstance(error.cause, TimeoutError) else error.cause
    assert "attempt" in str(last)


# Heartbeats. ----------------------------------------------------------------------------------------------------------


async def test_the_next_attempt_finds_the_last_heartbeats_details(
    client: Client, make_worker: MakeWorker, work: Work
) -> None:
    async with make_worker(call, *work.all):
        assert await called(client, "beating") == ["page", 8]


async def test_an_attempt_without_a_heartbeat_in_time_is_over_and_its_details_stay(
    client: Client, make_worker: MakeWorker, work: Work
) -> None:
    async with make_worker(call, *work.all):
        assert await called(client, "silent", heartbeat_timeout=1.0) == ["only once"]
    assert work.attempts == [1, 2]


async def test_heartbeats_keep_an_attempt_alive(client: Client, make_worker: MakeWorker, work: Work) -> None:
    async with make_worker(call, *work.all):
        assert await called(client, "lively", heartbeat_timeout=1.0) == "alive"
    assert work.attempts == [1]


# Cancelling. ----------------------------------------------------------------------------------------------------------


@workflow.defn
class Cancelling:
    """Cancels its activity when told; tells how that went."""

    def __init__(self) -> None:
        self.go = False

    @workflow.run
    async def run(self, name: str, args: list[Any], cancellation_type: ActivityCancellationType) -> list[str]:
        handle = workflow.start_activity(
            name, args=args, start_to_close_timeout=HOUR, cancellation_type=cancellation_type, retry_policy=SOON
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


CANCELLED = ["ActivityError", "CancelledError"]


async def cancelled(client: Client, work: Work, name: str, kind: ActivityCancellationType, *args: Any) -> list[str]:
    handle = await client.start_workflow(Cancelling.run, args=[name, list(args), kind], id="cancelling")
    await work.begun.wait()
    await handle.signal(Cancelling.cancel_now)
    return await handle.result()


async def test_try_cancel_asks_and_goes_on_at_once(client: Client, make_worker: MakeWorker, work: Work) -> None:
    async with make_worker(Cancelling, *work.all):
        assert await cancelled(client, work, "hang", ActivityCancellationType.TRY_CANCEL) == CANCELLED
        history = await client.get_workflow_handle("cancelling").fetch_history()
        await until(lambda: _true(work.seen))
    assert work.seen[0].cancel_requested or work.seen[0].not_found
    assert len(of_type(history, ActivityTaskCancelRequested)) == 1
    assert not of_type(history, ActivityTaskCanceled)


async def test_wait_cancellation_completed_waits_for_the_activity(
    client: Client, make_worker: MakeWorker, work: Work
) -> None:
    kind = ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
    async with make_worker(Cancelling, *work.all):
        assert await cancelled(client, work, "hang", kind) == CANCELLED
        history = await client.get_workflow_handle("cancelling").fetch_history()
    assert work.seen[0].cancel_requested
    assert len(of_type(history, ActivityTaskCanceled)) == 1


async def test_wait_cancellation_completed_may_bring_a_result(
    client: Client, make_worker: MakeWorker, work: Work
) -> None:
    kind = ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
    async with make_worker(Cancelling, *work.all):
        assert await cancelled(client, work, "stubborn", kind) == ["result", "finished all the same"]


async def test_abandon_asks_nothing_and_goes_on(client: Client, make_worker: MakeWorker, work: Work) -> None:
    async with make_worker(Cancelling, *work.all):
        assert await cancelled(client, work, "hang", ActivityCancellationType.ABANDON) == CANCELLED
        history = await client.get_workflow_handle("cancelling").fetch_history()
    assert not of_type(history, ActivityTaskCancelRequested)


async def test_an_activity_nobody_has_begun_is_cancelled_without_a_worker(
    client: Client, make_worker: MakeWorker, work: Work
) -> None:
    async with make_worker(elsewhere, *work.all):
        assert await client.execute_workflow(elsewhere, id="e") == CANCELLED
        history = await client.get_workflow_handle("e").fetch_history()
    assert not of_type(history, ActivityTaskStarted)
    assert len(of_type(history, ActivityTaskCanceled)) == 1


@workflow.defn
async def elsewhere() -> list[str]:
    handle = workflow.start_activity(
        "hang",
        task_queue="nobody's",
        start_to_close_timeout=HOUR,
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    )
    await workflow.sleep(0.01)
    handle.cancel()
    try:
        return [await handle]
    except ActivityError as error:
        return [type(error).__name__, type(error.cause).__name__]


async def test_a_call_that_was_never_sent_is_taken_back(client: Client, make_worker: MakeWorker, work: Work) -> None:
    async with make_worker(second_thoughts, *work.all):
        assert await client.execute_workflow(second_thoughts, id="s") == CANCELLED
        assert (await client.get_workflow_handle("s").describe()).history_length == 5
    assert work.attempts == []


@workflow.defn
async def second_thoughts() -> list[str]:
    handle = workflow.start_activity("hang", start_to_close_timeout=HOUR)
    handle.cancel()
    try:
        return [await handle]
    except ActivityError as error:
        return [type(error).__name__, type(error.cause).__name__]


async def test_a_cancelled_sync_activity_gets_an_exception(client: Client, make_worker: MakeWorker, work: Work) -> None:
    kind = ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
    async with make_worker(Cancelling, *work.all):
        assert await cancelled(client, work, "blocking", kind, False) == CANCELLED
    assert work.seen == ["cancelled"]


async def test_a_shield_keeps_the_exception_back_until_it_ends(
    client: Client, make_worker: MakeWorker, work: Work
) -> None:
    kind = ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
    async with make_worker(Cancelling, *work.all):
        assert await cancelled(client, work, "blocking", kind, True) == CANCELLED
    assert work.seen == ["shielded part ended", "cancelled"]


async def test_a_sync_activity_may_do_without_the_exception(
    client: Client, make_worker: MakeWorker, work: Work
) -> None:
    kind = ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
    async with make_worker(Cancelling, *work.all):
        assert await cancelled(client, work, "polite", kind) == ["result", "asked: True"]


async def test_a_run_that_closes_cancels_what_it_leaves_behind(
    client: Client, make_worker: MakeWorker, work: Work
) -> None:
    async with make_worker(leaving, *work.all):
        await client.execute_workflow(leaving, id="l")
        await until(lambda: _true(work.seen))
        assert (await client.get_workflow_handle("l").describe()).pending_activities == []
    assert work.seen[0].not_found


@workflow.defn
async def leaving() -> None:
    workflow.start_activity("hang", start_to_close_timeout=HOUR)
    await workflow.sleep(0.01)


# What an attempt knows, and the end of its worker. --------------------------------------------------------------------


async def test_an_attempt_knows_who_it_is(client: Client, make_worker: MakeWorker, work: Work) -> None:
    async with make_worker(call, *work.all):
        handle = await client.start_workflow(
            call, args=["introspective", [], {"heartbeat_timeout": 30, "start_to_close_timeout": 40}], id="call"
        )
        await handle.result()
    (info,) = work.seen
    assert (info.activity_type, info.activity_id, info.attempt) == ("introspective", "1", 1)
    assert (info.workflow_id, info.workflow_run_id, info.workflow_type) == ("call", handle.result_run_id, "call")
    assert (info.heartbeat_timeout, info.start_to_close_timeout) == (seconds(30), seconds(40))
    assert info.schedule_to_close_timeout is None and not info.is_local
    assert info.scheduled_time <= info.started_time and info.started_time.tzinfo is not None
    assert info.task_queue == "default" and list(info.heartbeat_details) == []


def test_an_activity_function_outside_of_an_attempt_says_so() -> None:
    with pytest.raises(RuntimeError, match="Not in activity context"):
        activity.info()
    assert not activity.in_activity()


async def test_a_stopping_worker_tells_its_activities_and_lets_them_end(
    client: Client, make_worker: MakeWorker, work: Work
) -> None:
    async with make_worker(call, *work.all, graceful_shutdown_timeout=seconds(30)):
        handle = await client.start_workflow(call, args=["last_orders", [], {}], id="call")
        await work.begun.wait()
    async with make_worker(call, *work.all):
        assert await handle.result() == "shutdown: True"
    assert work.attempts == [1]


async def test_what_a_stopping_worker_hands_back_has_not_counted(
    client: Client, make_worker: MakeWorker, work: Work
) -> None:
    async with make_worker(call, *work.all):
        handle = await client.start_workflow(call, args=["hang", [], {"maximum_attempts": 2}], id="call")
        await work.begun.wait()
    assert [details.worker_shutdown for details in work.seen] == [True]
    work.release.set()
    async with make_worker(call, *work.all):
        assert await handle.result() == "released"
        (completed,) = of_type(await handle.fetch_history(), ActivityTaskCompleted)
        (started,) = of_type(await handle.fetch_history(), ActivityTaskStarted)
    assert work.attempts == [1, 1]
    assert started.attempt == 1 and completed.started_event_id == started.id


async def test_an_attempt_that_may_run_once_is_not_handed_back(
    client: Client, make_worker: MakeWorker, work: Work
) -> None:
    async with make_worker(call, *work.all):
        handle = await client.start_workflow(call, args=["hang", [], {"maximum_attempts": 1}], id="call")
        await work.begun.wait()
    async with make_worker(call, *work.all):
        with pytest.raises(WorkflowFailureError) as caught:
            await handle.result()
    assert work.attempts == [1]
    assert "the worker stopped while the activity ran" in str(caught.value.cause.__cause__)


async def test_another_worker_of_the_queue_may_run_the_activity(
    client: Client, make_worker: MakeWorker, work: Work
) -> None:
    async with make_worker(call), make_worker(*work.all, task_queue="elsewhere"):
        assert await called(client, "flaky", 1, task_queue="elsewhere") == "attempt 2"


async def test_no_more_attempts_run_at_once_than_there_are_slots(
    client: Client, make_worker: MakeWorker, work: Work
) -> None:
    running = most = 0

    @activity.defn
    async def counted() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.002)
        running -= 1

    async with make_worker(crowd, counted, max_concurrent_activities=3):
        await client.execute_workflow(crowd, 20, id="c")
    assert most == 3


@workflow.defn
async def crowd(size: int) -> None:
    await asyncio.gather(*[workflow.execute_activity("counted", start_to_close_timeout=HOUR) for _ in range(size)])


async def _true(value: object) -> bool:
    return bool(value)
