"""Completion from outside: an attempt that goes on without its code, by its token or its ids, from any process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from durable import Client, RetryPolicy, activity, workflow
from durable.client import (
    ActivityFailureError,
    AsyncActivityCancelledError,
    AsyncActivityHandle,
    WorkflowFailureError,
    WorkflowHandle,
)
from durable.converter import DataConverter, DefaultPayloadConverter, Payload
from durable.exceptions import ActivityError, ApplicationError, CancelledError, RetryState, TimeoutError, TimeoutType
from durable.history.events import ActivityTaskStarted
from durable.service import RPCError, RPCStatusCode
from durable.workflow import ActivityCancellationType
from tests.engine.conftest import MakeWorker, worker_for
from tests.engine.histories import assert_sound, of_type, until
from tests.forkserver import processes

HOUR = timedelta(hours=1)


class Approvals:
    """Activities that ask somebody outside. ``begun`` are the tokens of attempts, ``heard`` the details they found."""

    def __init__(self) -> None:
        self.begun: asyncio.Queue[bytes] = asyncio.Queue()
        self.may_beat = asyncio.Event()
        self.ended: asyncio.Queue[Any] = asyncio.Queue()
        self.heard: list[Any] = []
        self.loop = asyncio.get_running_loop()
        self.client: Client | None = None

    def begin(self) -> None:
        self.heard.append(list(activity.info().heartbeat_details))
        self.loop.call_soon_threadsafe(self.begun.put_nowait, activity.info().task_token)

    @activity.defn
    async def approval(self) -> str:
        self.begin()
        activity.raise_complete_async()

    @activity.defn
    def in_a_thread(self) -> str:
        self.begin()
        activity.raise_complete_async()

    @activity.defn
    async def half_done(self) -> str:
        self.begin()
        activity.heartbeat("half")
        activity.raise_complete_async()

    @activity.defn
    async def overtaken(self) -> str:
        assert self.client is not None
        await self.client.get_async_activity_handle(task_token=activity.info().task_token).complete("overtaken")
        activity.raise_complete_async()

    @activity.defn
    async def at_work(self) -> str:
        self.begin()
        try:
            await self.may_beat.wait()
            while True:
                activity.heartbeat()
                await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            self.ended.put_nowait(activity.cancellation_details())
            raise

    @property
    def all(self) -> tuple[Any, ...]:
        return self.approval, self.in_a_thread, self.half_done, self.overtaken, self.at_work


@pytest.fixture
async def approvals() -> Approvals:
    return Approvals()


@workflow.defn
async def ask(name: str, options: dict[str, Any]) -> Any:
    """One activity; timeouts in seconds."""
    timeouts: Any = {key: timedelta(seconds=value) for key, value in options.items() if key.endswith("_timeout")}
    return await workflow.execute_activity(
        name,
        activity_id="the-activity",
        retry_policy=RetryPolicy(
            initial_interval=timedelta(milliseconds=5), maximum_attempts=options.get("maximum_attempts", 0)
        ),
        **{"start_to_close_timeout": HOUR, **timeouts},
    )


@workflow.defn
async def ask_until_told() -> str:
    """An activity that is cancelled by a signal, and waited for."""
    handle = workflow.start_activity(
        "approval",
        activity_id="the-activity",
        start_to_close_timeout=HOUR,
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    )
    await workflow.receive("enough", str)
    handle.cancel()
    try:
        return str(await handle)
    except ActivityError as error:
        return f"cancelled: {error.cause.details if isinstance(error.cause, CancelledError) else error.cause}"


async def asking(
    client: Client, name: str = "approval", id: str = "asking", **options: Any
) -> WorkflowHandle[Any, Any]:
    return await client.start_workflow(ask, args=[name, options], id=id)


def by_ids(client: Client) -> AsyncActivityHandle:
    return client.get_async_activity_handle(workflow_id="asking", activity_id="the-activity")


async def let_go(handle: WorkflowHandle[Any, Any]) -> None:
    """Until the store knows that the attempt has no code any more."""

    async def is_outside() -> bool:
        pending = (await handle.describe()).pending_activities
        return any(each.started is not None and each.worker is None for each in pending)

    await until(is_outside)


async def refusal(doing: Any) -> RPCStatusCode:
    with pytest.raises(RPCError) as caught:
        await doing
    return caught.value.status


# The end. -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["approval", "in_a_thread"])
async def test_an_activity_is_completed_by_the_token_of_its_attempt(
    client: Client, make_worker: MakeWorker, approvals: Approvals, name: str, max_cached: int
) -> None:
    async with make_worker(ask, *approvals.all, max_cached_workflows=max_cached):
        handle = await asking(client, name)
        token = await approvals.begun.get()
        await let_go(handle)

        await client.get_async_activity_handle(task_token=token).complete("granted")

        assert await handle.result() == "granted"
        assert_sound((await handle.fetch_history()).events)


@pytest.mark.parametrize("run_id", [True, False])
async def test_an_activity_is_completed_by_its_ids(
    client: Client, make_worker: MakeWorker, approvals: Approvals, run_id: bool
) -> None:
    async with make_worker(ask, *approvals.all):
        handle = await asking(client)
        await approvals.begun.get()

        await client.get_async_activity_handle(
            workflow_id="asking", run_id=handle.result_run_id if run_id else None, activity_id="the-activity"
        ).complete("granted")

        assert await handle.result() == "granted"


async def test_a_completion_without_a_result_is_none(
    client: Client, make_worker: MakeWorker, approvals: Approvals
) -> None:
    async with make_worker(ask, *approvals.all):
        handle = await asking(client)
        await approvals.begun.get()

        await by_ids(client).complete()

        assert await handle.result() is None


async def test_a_completion_that_overtakes_the_end_of_the_code_counts(
    client: Client, make_worker: MakeWorker, approvals: Approvals
) -> None:
    approvals.client = client
    async with make_worker(ask, *approvals.all):
        assert await (await asking(client, "overtaken")).result() == "overtaken"


async def test_another_connection_completes_what_this_one_began(address: str, approvals: Approvals) -> None:
    async with await Client.connect(address) as ours, await Client.connect(address) as theirs:
        async with worker_for(ours, ask, *approvals.all):
            handle = await asking(ours)
            token = await approvals.begun.get()
            await let_go(handle)

            await theirs.get_async_activity_handle(task_token=token).complete("from elsewhere")

            assert await handle.result() == "from elsewhere"


def complete_elsewhere(address: str, token: bytes) -> None:
    """The main function of a process."""

    async def complete() -> None:
        async with await Client.connect(address) as client:
            await client.get_async_activity_handle(task_token=token).complete("from another process")

    asyncio.run(complete())


async def test_another_process_completes_what_this_one_began(address: str, approvals: Approvals) -> None:
    async with await Client.connect(address) as client, worker_for(client, ask, *approvals.all):
        handle = await asking(client)
        child = processes.Process(target=complete_elsewhere, args=(address, await approvals.begun.get()), daemon=True)

        child.start()

        assert await handle.result() == "from another process"
        await asyncio.to_thread(child.join)


async def test_a_failure_from_outside_is_tried_again_by_the_policy_and_the_last_one_is_final(
    client: Client, make_worker: MakeWorker, approvals: Approvals
) -> None:
    async with make_worker(ask, *approvals.all):
        handle = await asking(client, maximum_attempts=2)
        for attempt in (1, 2):
            token = await approvals.begun.get()
            error = ApplicationError(f"refused {attempt}", type="Refused")
            await client.get_async_activity_handle(task_token=token).fail(error, last_heartbeat_details=[attempt])

        with pytest.raises(WorkflowFailureError) as caught:
            await handle.result()

    error = caught.value.cause
    assert isinstance(error, ActivityError) and error.retry_state == RetryState.MAXIMUM_ATTEMPTS_REACHED
    assert isinstance(error.cause, ApplicationError) and str(error.cause) == "Refused: refused 2"
    assert approvals.heard == [[], [1]]


async def test_a_failure_that_may_not_be_repeated_is_final(
    client: Client, make_worker: MakeWorker, approvals: Approvals
) -> None:
    async with make_worker(ask, *approvals.all):
        handle = await asking(client)
        await approvals.begun.get()

        await by_ids(client).fail(ApplicationError("never", non_retryable=True))

        with pytest.raises(WorkflowFailureError):
            await handle.result()


# The attempt without its code. ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["approval", "in_a_thread"])
async def test_it_takes_no_slot_and_no_thread_meanwhile(
    client: Client, make_worker: MakeWorker, approvals: Approvals, name: str
) -> None:
    async with make_worker(ask, *approvals.all, max_concurrent_activities=1):
        handles = [await asking(client, name, id=f"asking-{number}") for number in range(3)]

        for token in [await approvals.begun.get() for _ in handles]:
            await client.get_async_activity_handle(task_token=token).complete("granted")

        assert [await handle.result() for handle in handles] == ["granted"] * 3


async def test_a_worker_that_stops_does_it_no_harm(
    client: Client, make_worker: MakeWorker, approvals: Approvals
) -> None:
    async with make_worker(ask, *approvals.all):
        handle = await asking(client)
        token = await approvals.begun.get()

    (pending,) = (await handle.describe()).pending_activities
    assert (pending.attempt, pending.started is not None, pending.worker) == (1, True, None)
    await client.get_async_activity_handle(task_token=token).complete("granted meanwhile")

    async with make_worker(ask, *approvals.all):
        assert await handle.result() == "granted meanwhile"
        (started,) = of_type(await handle.fetch_history(), ActivityTaskStarted)
    assert started.attempt == 1 and approvals.heard == [[]]


@pytest.mark.parametrize(
    ("timeouts", "kind"),
    [
        ({"start_to_close_timeout": 0.15}, TimeoutType.START_TO_CLOSE),
        ({"schedule_to_close_timeout": 0.15}, TimeoutType.SCHEDULE_TO_CLOSE),
        ({"heartbeat_timeout": 0.15}, TimeoutType.HEARTBEAT),
    ],
    ids=["start-to-close", "schedule-to-close", "heartbeat"],
)
async def test_its_timeouts_run_on_though_the_worker_that_began_it_is_gone(
    client: Client, make_worker: MakeWorker, approvals: Approvals, timeouts: dict[str, float], kind: TimeoutType
) -> None:
    async with make_worker(ask, *approvals.all):
        handle = await asking(client, maximum_attempts=1, **timeouts)
        token = await approvals.begun.get()

    async with make_worker(ask):
        with pytest.raises(WorkflowFailureError) as caught:
            await handle.result()

    error = caught.value.cause
    assert isinstance(error, ActivityError) and isinstance(error.cause, TimeoutError) and error.cause.type == kind
    late = client.get_async_activity_handle(task_token=token)
    assert await refusal(late.complete("too late")) == RPCStatusCode.NOT_FOUND


async def test_its_timeouts_run_on_in_the_worker_that_began_it(
    client: Client, make_worker: MakeWorker, approvals: Approvals
) -> None:
    async with make_worker(ask, *approvals.all):
        handle = await asking(client, start_to_close_timeout=0.05, maximum_attempts=2)

        with pytest.raises(WorkflowFailureError):
            await handle.result()

        (started,) = of_type(await handle.fetch_history(), ActivityTaskStarted)
    assert started.attempt == 2


async def test_what_it_was_told_before_its_code_ended_reaches_the_next_attempt(
    client: Client, make_worker: MakeWorker, approvals: Approvals
) -> None:
    async with make_worker(ask, *approvals.all):
        handle = await asking(client, "half_done")
        token = await approvals.begun.get()
        await let_go(handle)
        await client.get_async_activity_handle(task_token=token).fail(ValueError("once more"))
        await approvals.begun.get()
        await by_ids(client).complete("done")
        await handle.result()

    assert approvals.heard == [[], ["half"]]


async def test_a_heartbeat_from_outside_moves_its_timeout_and_keeps_its_details(
    client: Client, make_worker: MakeWorker, approvals: Approvals
) -> None:
    async with make_worker(ask, *approvals.all):
        handle = await asking(client, heartbeat_timeout=1800)
        token = await approvals.begun.get()
        await let_go(handle)
        store, run_id = client.database.store, handle.result_run_id
        assert run_id is not None
        before = (await store.tasks(run_id))[0].deadline_us

        await client.get_async_activity_handle(task_token=token).heartbeat("page", 7)

        (task,) = await store.tasks(run_id)
        assert before is not None and task.deadline_us is not None and task.deadline_us > before
        assert client.data_converter.from_payloads(task.progress.heartbeat_details) == ["page", 7]
        await by_ids(client).complete()


# Cancelling. ----------------------------------------------------------------------------------------------------------


async def test_a_heartbeat_tells_of_a_cancellation_which_can_be_reported(
    client: Client, make_worker: MakeWorker, approvals: Approvals
) -> None:
    async with make_worker(ask_until_told, *approvals.all):
        handle = await client.start_workflow(ask_until_told, id="asking")
        token = await approvals.begun.get()
        outside = client.get_async_activity_handle(task_token=token)
        await outside.heartbeat("so far, so good")
        await handle.signal("enough", "enough")

        async def is_told() -> activity.ActivityCancellationDetails | None:
            try:
                await outside.heartbeat()
            except AsyncActivityCancelledError as error:
                return error.details
            return None

        assert await until(is_told) == activity.ActivityCancellationDetails(cancel_requested=True)
        await outside.report_cancellation("cleaned up")

        assert await handle.result() == "cancelled: ('cleaned up',)"


async def test_nothing_is_reported_as_cancelled_that_nobody_has_asked_to_end(
    client: Client, make_worker: MakeWorker, approvals: Approvals
) -> None:
    async with make_worker(ask, *approvals.all):
        handle = await asking(client)
        await approvals.begun.get()

        assert await refusal(by_ids(client).report_cancellation()) == RPCStatusCode.INVALID_ARGUMENT

        await by_ids(client).complete("all the same")
        assert await handle.result() == "all the same"


# An activity whose code is at work. -----------------------------------------------------------------------------------


async def test_an_activity_at_work_is_completed_by_its_ids_and_learns_it_by_its_heartbeat(
    client: Client, make_worker: MakeWorker, approvals: Approvals
) -> None:
    async with make_worker(ask, *approvals.all):
        handle = await asking(client, "at_work")
        await approvals.begun.get()

        await by_ids(client).complete("from outside")
        approvals.may_beat.set()

        assert await handle.result() == "from outside"
        assert (await approvals.ended.get()).not_found


# Of an activity without a workflow. -----------------------------------------------------------------------------------


async def test_an_activity_without_a_workflow_is_completed_by_its_ids(
    client: Client, make_worker: MakeWorker, approvals: Approvals
) -> None:
    async with make_worker(*approvals.all):
        first, second = [
            await client.start_activity(approvals.approval, id=id, task_queue="default", schedule_to_close_timeout=HOUR)
            for id in ("first", "second")
        ]
        for _ in range(2):
            await approvals.begun.get()
        outside = client.get_async_activity_handle(activity_id="second", run_id=second.run_id)
        await outside.heartbeat("half")
        described = await second.describe()
        await outside.complete("yes")

        assert await second.result() == "yes"
        assert (await described.heartbeat_details(), described.last_worker_identity) == (["half"], None)
        assert (await first.describe()).raw_outcome is None
        assert await refusal(outside.complete("again")) == RPCStatusCode.NOT_FOUND


async def test_an_activity_without_a_workflow_ends_as_cancelled_only_if_it_was_asked_to(
    client: Client, make_worker: MakeWorker, approvals: Approvals
) -> None:
    async with make_worker(*approvals.all):
        handle = await client.start_activity(
            approvals.approval, id="asked", task_queue="default", schedule_to_close_timeout=HOUR
        )
        await approvals.begun.get()
        outside = client.get_async_activity_handle(activity_id="asked", run_id=handle.run_id)
        with pytest.raises(RPCError, match=r"^activity 'asked' can't end as cancelled"):
            await outside.report_cancellation()
        await handle.cancel()

        async def is_asked() -> bool:
            try:
                await outside.heartbeat()
            except AsyncActivityCancelledError:
                return True
            return False

        await until(is_asked)
        await outside.report_cancellation("tidied up")
        with pytest.raises(ActivityFailureError) as caught:
            await handle.result()

    assert isinstance(caught.value.cause, CancelledError)


class Loud(DefaultPayloadConverter):
    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        return super().to_payloads([str(each).upper() for each in values])


async def test_a_handle_may_have_a_converter_of_its_own(
    client: Client, make_worker: MakeWorker, approvals: Approvals
) -> None:
    async with make_worker(ask, *approvals.all):
        handle = await asking(client)
        await AsyncActivityHandle(client, await approvals.begun.get(), DataConverter(Loud)).complete("yes")

        assert await handle.result() == "YES"


# What is refused. -----------------------------------------------------------------------------------------------------


async def test_the_token_of_an_earlier_attempt_is_refused(
    client: Client, make_worker: MakeWorker, approvals: Approvals
) -> None:
    async with make_worker(ask, *approvals.all):
        handle = await asking(client)
        first = client.get_async_activity_handle(task_token=await approvals.begun.get())
        await first.fail(ValueError("again"))
        await approvals.begun.get()

        assert await refusal(first.complete("late")) == RPCStatusCode.NOT_FOUND
        assert await refusal(first.heartbeat()) == RPCStatusCode.NOT_FOUND

        await by_ids(client).complete("second")
        assert await handle.result() == "second"
        assert await refusal(by_ids(client).complete("third")) == RPCStatusCode.NOT_FOUND


async def test_an_attempt_of_a_workflow_that_is_closed_is_not_found(
    client: Client, make_worker: MakeWorker, approvals: Approvals
) -> None:
    async with make_worker(ask, *approvals.all):
        handle = await asking(client)
        outside = client.get_async_activity_handle(task_token=await approvals.begun.get())
        await handle.terminate()

        assert await refusal(outside.complete("in vain")) == RPCStatusCode.NOT_FOUND


async def test_a_token_means_nothing_in_another_namespace(address: str, approvals: Approvals) -> None:
    async with await Client.connect(address) as ours, await Client.connect(address, namespace="theirs") as theirs:
        async with worker_for(ours, ask, *approvals.all):
            await asking(ours)
            token = await approvals.begun.get()

            outside = theirs.get_async_activity_handle(task_token=token)
            assert await refusal(outside.complete("stolen")) == RPCStatusCode.NOT_FOUND


async def test_a_database_that_takes_too_long_is_told_as_such(client: Client) -> None:
    waiting = by_ids(client).complete("late", rpc_timeout=timedelta(0))

    assert await refusal(waiting) == RPCStatusCode.DEADLINE_EXCEEDED


async def test_what_names_no_activity_is_refused(client: Client) -> None:
    assert await refusal(by_ids(client).complete()) == RPCStatusCode.NOT_FOUND
    garbage = client.get_async_activity_handle(task_token=b"garbage")
    assert await refusal(garbage.heartbeat()) == RPCStatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "names",
    [
        {},
        {"workflow_id": "w"},
        {"activity_id": "a"},
        {"workflow_id": "", "run_id": "r", "activity_id": "a"},
        {"run_id": "r"},
        {"workflow_id": "w", "run_id": "r"},
        {"task_token": b"t", "activity_id": "a"},
        {"task_token": b"t", "workflow_id": "w", "activity_id": "a"},
    ],
)
async def test_a_handle_is_by_token_or_by_ids(client: Client, names: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="task_token"):
        client.get_async_activity_handle(**names)


async def test_only_an_attempt_can_be_completed_from_outside() -> None:
    with pytest.raises(RuntimeError, match="Not in activity context"):
        activity.raise_complete_async()
