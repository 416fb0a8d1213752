"""Activities that are paused, unpaused and reset from outside, what is shown of them, and who goes first."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from durable import Client, RetryPolicy, activity, workflow
from durable.client import AsyncActivityCancelledError, PendingActivityState, WorkflowFailureError, WorkflowHandle
from durable.client.raw_description import RawPendingActivityInfo
from durable.common import Priority
from durable.exceptions import ActivityError, ApplicationError, RetryState, TimeoutError, TimeoutType
from durable.history.events import ActivityTaskStarted
from durable.history.values import ApplicationFailureInfo
from durable.service import RPCError, RPCStatusCode
from tests.engine.conftest import MakeWorker
from tests.engine.histories import assert_sound, of_type, until

HOUR = timedelta(hours=1)
ID = "the-activity"


class Work:
    """Activities whose attempts say that they have begun, and end when they are let."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.begun: asyncio.Queue[int] = asyncio.Queue()
        self.seen: list[Any] = []
        self.release = asyncio.Event()
        self.may_beat = threading.Event()

    def begin(self) -> int:
        attempt = activity.info().attempt
        self.seen.append(list(activity.info().heartbeat_details))
        self.loop.call_soon_threadsafe(self.begun.put_nowait, attempt)
        return attempt

    @activity.defn
    async def failing_first(self, failures: int) -> str:
        attempt = self.begin()
        activity.heartbeat(f"attempt {attempt}")
        if len(self.seen) <= failures:
            raise ValueError(f"attempt {attempt}")
        return f"attempt {attempt}"

    @activity.defn
    async def beating(self) -> str:
        attempt = self.begin()
        try:
            while not self.release.is_set():
                if self.may_beat.is_set():
                    activity.heartbeat("at work")
                await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            self.seen.append(activity.cancellation_details())
            raise
        return f"attempt {attempt}"

    @activity.defn
    def beating_in_a_thread(self) -> str:
        attempt = self.begin()
        self.may_beat.wait()
        while not self.release.is_set():
            activity.heartbeat()
            time.sleep(0.005)
        return f"attempt {attempt}"

    @activity.defn
    async def deaf(self, failures: int) -> str:
        attempt = self.begin()
        await self.release.wait()
        if len(self.seen) <= failures:
            raise ValueError(f"attempt {attempt}")
        return f"attempt {attempt}"

    @activity.defn
    async def outside(self) -> str:
        self.begin()
        activity.raise_complete_async()

    @activity.defn
    async def note(self, what: str) -> None:
        self.seen.append(what)

    @property
    def all(self) -> tuple[Callable[..., Any], ...]:
        return (
            self.failing_first,
            self.beating,
            self.beating_in_a_thread,
            self.deaf,
            self.outside,
            self.note,
        )


@pytest.fixture
async def work() -> Work:
    return Work()


@workflow.defn
async def call(name: str, args: list[Any], options: dict[str, Any]) -> Any:
    """One activity; durations in seconds."""
    timeouts: Any = {key: timedelta(seconds=value) for key, value in options.items() if key.endswith("_timeout")}
    return await workflow.execute_activity(
        name,
        args=args,
        activity_id=ID,
        retry_policy=RetryPolicy(
            initial_interval=timedelta(seconds=options.get("interval", 0.005)),
            backoff_coefficient=1.0,
            maximum_attempts=options.get("maximum_attempts", 0),
        ),
        **{"start_to_close_timeout": HOUR, **timeouts},
    )


async def calling(client: Client, name: str, *args: Any, **options: Any) -> WorkflowHandle[Any, Any]:
    return await client.start_workflow(call, args=[name, list(args), options], id="calling")


async def shown(handle: WorkflowHandle[Any, Any]) -> RawPendingActivityInfo:
    (pending,) = (await handle.describe()).raw_description.pending_activities
    return pending


async def state(handle: WorkflowHandle[Any, Any], wanted: PendingActivityState) -> RawPendingActivityInfo:
    """As soon as the activity is there."""

    async def is_there() -> RawPendingActivityInfo | None:
        pending = await shown(handle)
        return pending if pending.state is wanted else None

    return await until(is_there)


async def something_else(client: Client) -> None:
    """What is due by now has been claimed when this is over."""
    await client.execute_workflow(call, args=["note", ["something else"], {}], id="something-else")


async def refusal(doing: Any) -> RPCStatusCode:
    with pytest.raises(RPCError) as caught:
        await doing
    return caught.value.status


# Pausing. -------------------------------------------------------------------------------------------------------------


async def test_an_activity_that_is_paused_before_its_next_attempt_waits_until_it_is_unpaused(
    client: Client, make_worker: MakeWorker, work: Work
) -> None:
    async with make_worker(call, *work.all):
        handle = await calling(client, "failing_first", 1, interval=3600)
        await work.begun.get()
        await state(handle, PendingActivityState.SCHEDULED)
        await handle.pause_activity(ID, reason="the bank is closed")
        await handle.reset_activity(ID, keep_paused=True)
        await something_else(client)
        assert work.begun.empty()

        paused = await shown(handle)
        assert (paused.paused, paused.state) == (True, PendingActivityState.PAUSED)
        assert paused.pause_info is not None
        assert (paused.pause_info.manual.reason, paused.pause_info.manual.identity) == (
            "the bank is closed",
            client.identity,
        )

        await handle.unpause_activity(ID)
        assert await handle.result() == "attempt 1"


@pytest.mark.parametrize("name", ["beating", "beating_in_a_thread"])
async def test_an_attempt_learns_by_its_heartbeat_that_it_is_paused_and_is_never_the_last(
    client: Client, make_worker: MakeWorker, work: Work, name: str
) -> None:
    async with make_worker(call, *work.all):
        handle = await calling(client, name, maximum_attempts=1)
        await work.begun.get()

        await handle.pause_activity(ID)
        work.may_beat.set()

        paused = await state(handle, PendingActivityState.PAUSED)
        assert paused.last_failure is not None and isinstance(paused.last_failure.info, ApplicationFailureInfo)
        assert paused.last_failure.info.type == "ActivityPause"
        work.release.set()
        await handle.unpause_activity(ID)
        assert await handle.result() == "attempt 2"
    if name == "beating":
        assert work.seen[1] == activity.ActivityCancellationDetails(paused=True)


async def test_an_attempt_that_does_not_hear_of_the_pause_ends_as_ever(
    client: Client, make_worker: MakeWorker, work: Work
) -> None:
    async with make_worker(call, *work.all):
        handle = await calling(client, "deaf", 0)
        await work.begun.get()
        await handle.pause_activity(ID)
        assert (await shown(handle)).state is PendingActivityState.PAUSE_REQUESTED

        work.release.set()

        assert await handle.result() == "attempt 1"


async def test_an_attempt_that_fails_while_paused_is_tried_again_when_unpaused(
    client: Client, make_worker: MakeWorker, work: Work
) -> None:
    async with make_worker(call, *work.all):
        handle = await calling(client, "deaf", 1)
        await work.begun.get()
        await handle.pause_activity(ID)
        work.release.set()
        paused = await state(handle, PendingActivityState.PAUSED)
        assert (paused.attempt, paused.last_failure and paused.last_failure.message) == (2, "attempt 1")

        await handle.unpause_activity(ID, jitter=timedelta(milliseconds=5))

        assert await handle.result() == "attempt 2"


async def test_unpausing_may_begin_at_attempt_one_without_heartbeat_details(
    client: Client, make_worker: MakeWorker, work: Work
) -> None:
    async with make_worker(call, *work.all):
        handle = await calling(client, "failing_first", 2, interval=3600)
        for _ in range(2):
            await work.begun.get()
            pending = await state(handle, PendingActivityState.SCHEDULED)
            await handle.pause_activity(ID)
            await handle.unpause_activity(ID, reset_attempts=True, reset_heartbeat=bool(len(work.seen) == 2))
            assert pending.attempt == 2
            await handle.reset_activity(ID)

        assert await handle.result() == "attempt 1"
    assert work.seen == [[], ["attempt 1"], []]


async def test_what_is_not_yet_due_waits_on_when_it_is_unpaused(
    client: Client, make_worker: MakeWorker, work: Work
) -> None:
    async with make_worker(call, *work.all):
        handle = await calling(client, "failing_first", 1, interval=3600)
        await work.begun.get()
        before = await state(handle, PendingActivityState.SCHEDULED)

        await handle.pause_activity(ID)
        await handle.unpause_activity(ID)

        after = await shown(handle)
        assert after.next_attempt_schedule_time == before.next_attempt_schedule_time
        assert after.next_attempt_schedule_time is not None
        assert after.next_attempt_schedule_time > datetime.now(UTC) + timedelta(minutes=50)


async def test_the_time_for_the_whole_activity_runs_on_while_it_is_paused(
    client: Client, make_worker: MakeWorker, work: Work
) -> None:
    async with make_worker(call, *work.all):
        handle = await calling(
            client, "deaf", 1, interval=0.01, schedule_to_close_timeout=2.0, schedule_to_start_timeout=1.0
        )
        await work.begun.get()
        await handle.pause_activity(ID)
        work.release.set()

        with pytest.raises(WorkflowFailureError) as caught:
            await handle.result()

    error = caught.value.cause
    assert isinstance(error, ActivityError) and isinstance(error.cause, TimeoutError)
    assert error.cause.type == TimeoutType.SCHEDULE_TO_CLOSE


async def test_a_paused_activity_can_be_cancelled(client: Client, make_worker: MakeWorker, work: Work) -> None:
    async with make_worker(call, *work.all):
        handle = await calling(client, "deaf", 9)
        await work.begun.get()
        await handle.pause_activity(ID)
        work.release.set()
        await state(handle, PendingActivityState.PAUSED)

        await handle.cancel()

        with pytest.raises(WorkflowFailureError):
            await handle.result()
        assert (await handle.describe()).pending_activities == []


async def test_a_heartbeat_from_outside_tells_of_a_pause(client: Client, make_worker: MakeWorker, work: Work) -> None:
    async with make_worker(call, *work.all):
        handle = await calling(client, "outside")
        await work.begun.get()
        outside = client.get_async_activity_handle(workflow_id="calling", activity_id=ID)
        await outside.heartbeat()
        await handle.pause_activity(ID)

        with pytest.raises(AsyncActivityCancelledError) as caught:
            await outside.heartbeat()

        assert caught.value.details == activity.ActivityCancellationDetails(paused=True)
        await outside.complete("all the same")
        assert await handle.result() == "all the same"


# Resetting. -----------------------------------------------------------------------------------------------------------


async def test_a_reset_activity_that_waits_begins_at_attempt_one_at_once(
    client: Client, make_worker: MakeWorker, work: Work
) -> None:
    async with make_worker(call, *work.all):
        handle = await calling(client, "failing_first", 1, interval=3600)
        await work.begun.get()
        await state(handle, PendingActivityState.SCHEDULED)

        await handle.reset_activity(ID)

        assert await handle.result() == "attempt 1"
        (started,) = of_type(await handle.fetch_history(), ActivityTaskStarted)
    assert started.attempt == 1 and work.seen == [[], ["attempt 1"]]


async def test_an_attempt_learns_by_its_heartbeat_that_it_is_reset(
    client: Client, make_worker: MakeWorker, work: Work
) -> None:
    async with make_worker(call, *work.all):
        handle = await calling(client, "beating", maximum_attempts=1)
        await work.begun.get()

        await handle.reset_activity(ID, reset_heartbeat=True)
        work.may_beat.set()

        assert await work.begun.get() == 1
        work.release.set()
        assert await handle.result() == "attempt 1"
        (started,) = of_type(await handle.fetch_history(), ActivityTaskStarted)
    assert work.seen == [[], activity.ActivityCancellationDetails(reset=True), []]
    assert started.last_failure is not None and isinstance(started.last_failure.info, ApplicationFailureInfo)
    assert started.last_failure.info.type == "ActivityReset"


async def test_the_last_attempt_is_not_the_last_if_it_is_reset_before_it_fails(
    client: Client, make_worker: MakeWorker, work: Work, max_cached: int
) -> None:
    async with make_worker(call, *work.all, max_cached_workflows=max_cached):
        handle = await calling(client, "deaf", 1, maximum_attempts=1)
        await work.begun.get()

        await handle.reset_activity(ID)
        work.release.set()

        assert await handle.result() == "attempt 1"
    assert work.begun.get_nowait() == 1


async def test_a_result_counts_though_the_activity_was_reset(
    client: Client, make_worker: MakeWorker, work: Work, max_cached: int
) -> None:
    async with make_worker(call, *work.all, max_cached_workflows=max_cached):
        handle = await calling(client, "deaf", 0)
        await work.begun.get()
        await handle.reset_activity(ID)

        work.release.set()

        assert await handle.result() == "attempt 1"
        assert_sound((await handle.fetch_history()).events)
    assert work.begun.empty()


async def test_what_forbids_another_attempt_still_does_after_a_reset(
    client: Client, make_worker: MakeWorker, work: Work
) -> None:
    async with make_worker(call, *work.all):
        handle = await calling(client, "outside")
        await work.begun.get()
        await handle.reset_activity(ID)

        outside = client.get_async_activity_handle(workflow_id="calling", activity_id=ID)
        await outside.fail(ApplicationError("never again", non_retryable=True))

        with pytest.raises(WorkflowFailureError) as caught:
            await handle.result()
    error = caught.value.cause
    assert isinstance(error, ActivityError) and error.retry_state == RetryState.NON_RETRYABLE_FAILURE


async def test_resetting_unpauses_unless_it_is_to_stay_paused(
    client: Client, make_worker: MakeWorker, work: Work
) -> None:
    async with make_worker(call, *work.all):
        handle = await calling(client, "failing_first", 1, interval=3600)
        await work.begun.get()
        await state(handle, PendingActivityState.SCHEDULED)
        await handle.pause_activity(ID)
        await handle.reset_activity(ID, keep_paused=True)
        assert ((await shown(handle)).attempt, (await shown(handle)).paused) == (1, True)

        await handle.reset_activity(ID)

        assert await handle.result() == "attempt 1"


# What is refused, and what is shown. ----------------------------------------------------------------------------------


async def test_what_is_over_or_never_was_can_not_be_steered(
    client: Client, make_worker: MakeWorker, work: Work
) -> None:
    async with make_worker(call, *work.all):
        handle = await calling(client, "note", "something")
        await handle.result()

        assert await refusal(handle.pause_activity(ID)) == RPCStatusCode.NOT_FOUND
        assert await refusal(handle.unpause_activity("another")) == RPCStatusCode.NOT_FOUND
        nowhere = client.get_workflow_handle("nowhere")
        assert await refusal(nowhere.reset_activity(ID)) == RPCStatusCode.NOT_FOUND


async def test_jitter_is_no_negative_time(client: Client) -> None:
    with pytest.raises(ValueError, match="jitter"):
        await client.get_workflow_handle("nowhere").unpause_activity(ID, jitter=timedelta(seconds=-1))


async def test_a_description_shows_pending_activities_in_temporals_names(
    client: Client, make_worker: MakeWorker, work: Work
) -> None:
    async with make_worker(call, *work.all) as worker:
        handle = await calling(client, "beating", maximum_attempts=7)
        work.may_beat.set()
        await work.begun.get()

        async def has_beaten() -> RawPendingActivityInfo | None:
            pending = await shown(handle)
            return pending if pending.heartbeat_details.payloads else None

        pending = await until(has_beaten)
        assert (pending.activity_id, pending.activity_type.name) == (ID, "beating")
        assert (pending.state, pending.attempt, pending.maximum_attempts) == (PendingActivityState.STARTED, 1, 7)
        assert client.data_converter.from_payloads(pending.heartbeat_details.payloads) == ["at work"]
        assert pending.last_started_time is not None and pending.next_attempt_schedule_time is None
        assert (pending.last_failure, pending.paused, pending.priority) == (None, False, Priority.default)
        assert worker.is_running and pending.last_worker_identity
        work.release.set()
        await handle.result()
