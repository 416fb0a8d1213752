"""Local activities: attempts of the workflow's own workers, of which the history tells the outcome and nothing else."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from durable import Client, RetryPolicy, Worker, activity, workflow
from durable.client import WorkflowFailureError
from durable.exceptions import ActivityError, ApplicationError, RetryState, TimeoutError
from durable.history.events import MarkerRecorded, WorkflowTaskFailed
from durable.worker import Replayer
from durable.workflow import ActivityCancellationType, NondeterminismError
from tests.chaos.places import Place
from tests.engine.conftest import Execute, MakeWorker, worker_for
from tests.engine.histories import BEGIN, COMPLETED, TASK, assert_replays, of_type, types, until
from tests.forkserver import processes

SOON = RetryPolicy(initial_interval=timedelta(milliseconds=5), backoff_coefficient=1.0)
TEN_S = timedelta(seconds=10)
LEASE = timedelta(seconds=0.5)


class Work:
    """Local activities whose doings a test steers and sees."""

    def __init__(self) -> None:
        self.infos: list[activity.Info] = []
        self.begun = asyncio.Event()
        self.release = asyncio.Event()
        self.cancelled = asyncio.Event()

    @activity.defn
    async def double(self, number: int) -> int:
        self.infos.append(activity.info())
        return 2 * number

    @activity.defn
    async def flaky(self, failures: int) -> int:
        attempt = activity.info().attempt
        self.infos.append(activity.info())
        if attempt <= failures:
            raise ApplicationError(f"attempt {attempt}", type="Flaky")
        return attempt

    @activity.defn
    async def hang(self) -> str:
        self.infos.append(activity.info())
        activity.heartbeat("nobody hears it")
        self.begun.set()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return "released"

    @activity.defn
    def in_a_thread(self, number: int) -> int:
        return number + 1


@pytest.fixture
def work() -> Work:
    return Work()


def all_of(work: Work) -> tuple[Any, ...]:
    return work.double, work.flaky, work.hang, work.in_a_thread


@workflow.defn
async def doubled(number: int) -> int:
    return await workflow.execute_local_activity(Work.double, number, start_to_close_timeout=TEN_S)


@workflow.defn
async def all_kinds() -> list[Any]:
    first = await workflow.execute_local_activity_method(Work.in_a_thread, 1, start_to_close_timeout=TEN_S)
    both = await asyncio.gather(
        workflow.execute_local_activity("double", first, start_to_close_timeout=TEN_S),
        workflow.execute_activity(Work.double, 10, start_to_close_timeout=TEN_S),
    )
    named = workflow.start_local_activity(
        "double", args=[20], result_type=int, schedule_to_close_timeout=TEN_S, activity_id="mine"
    )
    await asyncio.sleep(0)
    return [first, *both, await named]


@workflow.defn
async def retried(failures: int, attempts: int) -> int:
    return await workflow.execute_local_activity(
        Work.flaky,
        failures,
        start_to_close_timeout=TEN_S,
        retry_policy=RetryPolicy(
            initial_interval=timedelta(milliseconds=5), backoff_coefficient=1.0, maximum_attempts=attempts
        ),
        local_retry_threshold=timedelta(milliseconds=1),
    )


@workflow.defn
async def overslept() -> str:
    return await workflow.execute_local_activity(
        Work.hang, start_to_close_timeout=timedelta(milliseconds=20), retry_policy=RetryPolicy(maximum_attempts=1)
    )


async def test_a_local_activity_leaves_its_outcome_in_one_marker_and_nothing_else(
    client: Client, execute: Execute, work: Work
) -> None:
    assert await execute(doubled, 21, using=all_of(work)) == 42

    history = await client.get_workflow_handle("the-run").fetch_history()
    assert types(history) == [*BEGIN, *TASK, "MarkerRecorded", COMPLETED]
    (marker,) = of_type(history, MarkerRecorded)
    assert marker.marker_name == "core_local_activity"
    assert [payload.data for payload in marker.details["result"]] == [b"42"]


async def test_it_knows_that_it_is_local_and_its_workflow(execute: Execute, work: Work) -> None:
    await execute(doubled, 21, using=all_of(work))

    (info,) = work.infos
    assert info.is_local
    assert (info.workflow_id, info.activity_id, info.attempt, info.task_queue) == ("the-run", "1", 1, "default")


async def test_methods_threads_names_and_ordinary_activities_beside_it(execute: Execute, work: Work) -> None:
    assert await execute(all_kinds, using=all_of(work)) == [2, 4, 20, 40]

    assert {(info.activity_id, info.is_local) for info in work.infos} == {("2", True), ("3", False), ("mine", True)}


async def test_it_is_retried_by_its_policy_and_only_the_end_is_recorded(
    client: Client, execute: Execute, work: Work
) -> None:
    assert await execute(retried, 2, 5, using=all_of(work)) == 3

    history = await client.get_workflow_handle("the-run").fetch_history()
    assert types(history) == [*BEGIN, *TASK, "MarkerRecorded", COMPLETED]


async def test_when_its_attempts_are_used_up_the_workflow_sees_temporals_failure(execute: Execute, work: Work) -> None:
    with pytest.raises(WorkflowFailureError) as caught:
        await execute(retried, 5, 2, using=all_of(work))

    error = caught.value.cause
    assert isinstance(error, ActivityError)
    assert (error.activity_type, error.activity_id) == ("flaky", "1")
    assert error.retry_state == RetryState.MAXIMUM_ATTEMPTS_REACHED
    assert isinstance(error.cause, ApplicationError) and error.cause.message == "attempt 2"
    assert len(work.infos) == 2


async def test_it_times_out(execute: Execute, work: Work) -> None:
    with pytest.raises(WorkflowFailureError) as caught:
        await execute(overslept, using=all_of(work))

    assert isinstance(caught.value.cause, ActivityError)
    assert isinstance(caught.value.cause.cause, TimeoutError)


def test_without_a_timeout_it_is_refused_where_it_is_called() -> None:
    with pytest.raises(Exception, match="Not in workflow event loop"):
        workflow.start_local_activity(Work.double, 1)


@workflow.defn
async def endless() -> str:
    try:
        await workflow.execute_local_activity(Work.double, 1)
    except ValueError as error:
        return str(error)
    return ""


async def test_a_timeout_is_needed(execute: Execute, work: Work) -> None:
    assert await execute(endless, using=all_of(work)) == (
        "Activity must have start_to_close_timeout or schedule_to_close_timeout"
    )


# Names that the worker does not have ----------------------------------------------------------------------------------


@workflow.defn
async def unknown() -> None:
    await workflow.execute_local_activity("nobody_has_it", start_to_close_timeout=TEN_S)


async def test_a_name_that_the_worker_does_not_have_fails_the_workflow_task(
    client: Client, make_worker: MakeWorker, work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    async with make_worker(unknown, work.double):
        handle = await client.start_workflow(unknown, id="w")

        async def is_parked() -> str | None:
            return (await handle.describe()).parked

        why = await until(is_parked)

    assert why == (
        "ValueError: Activity function nobody_has_it is not registered on this worker, available activities: double"
    )
    (failed,) = of_type(await handle.fetch_history(), WorkflowTaskFailed)
    assert failed.failure is not None


# Cancelling -----------------------------------------------------------------------------------------------------------


@workflow.defn
async def cancelling(kind: int) -> str:
    handle = workflow.start_local_activity(
        Work.hang, start_to_close_timeout=TEN_S, cancellation_type=ActivityCancellationType(kind)
    )
    await workflow.execute_activity("hang_has_begun", start_to_close_timeout=TEN_S)
    handle.cancel()
    try:
        return await handle
    except ActivityError as error:
        return f"{error.activity_type}: {type(error.cause).__name__}"


@pytest.mark.parametrize("kind", list(ActivityCancellationType), ids=lambda kind: kind.name)
async def test_cancelling_obeys_the_cancellation_type(
    client: Client, make_worker: MakeWorker, max_cached: int, work: Work, kind: ActivityCancellationType
) -> None:
    @activity.defn(name="hang_has_begun")
    async def hang_has_begun() -> None:
        await work.begun.wait()

    async with make_worker(cancelling, *all_of(work), hang_has_begun, max_cached_workflows=max_cached):
        handle = await client.start_workflow(cancelling, int(kind), id="w")
        assert await handle.result() == "hang: CancelledError"
        if kind is not ActivityCancellationType.ABANDON:
            await work.cancelled.wait()
        history = await handle.fetch_history()

    await assert_replays(cancelling, history)
    assert types(history).count("MarkerRecorded") == (0 if kind is ActivityCancellationType.ABANDON else 1)


@workflow.defn
async def never_begun(kind: int) -> str:
    handle = workflow.start_local_activity(
        Work.double, 4, start_to_close_timeout=TEN_S, cancellation_type=ActivityCancellationType(kind)
    )
    handle.cancel()
    try:
        return str(await handle)
    except ActivityError as error:
        return type(error.cause).__name__


@pytest.mark.parametrize("kind", list(ActivityCancellationType), ids=lambda kind: kind.name)
async def test_one_that_is_cancelled_in_the_breath_that_asks_for_it(
    execute: Execute, work: Work, kind: ActivityCancellationType
) -> None:
    assert await execute(never_begun, int(kind), using=all_of(work)) == "CancelledError"

    if kind is ActivityCancellationType.TRY_CANCEL:
        assert work.infos == []


@workflow.defn
async def hanging() -> str:
    return await workflow.execute_local_activity(Work.hang, start_to_close_timeout=TEN_S)


async def test_a_cancelled_workflow_cancels_its_local_activity_and_replays(
    client: Client, make_worker: MakeWorker, max_cached: int, work: Work
) -> None:
    async with make_worker(hanging, *all_of(work), max_cached_workflows=max_cached):
        handle = await client.start_workflow(hanging, id="w")
        await work.begun.wait()
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        await work.cancelled.wait()
        history = await handle.fetch_history()

    await assert_replays(hanging, history)
    assert types(history)[-2:] == ["MarkerRecorded", "WorkflowExecutionCanceled"]


@workflow.defn
async def hasty() -> str:
    workflow.start_local_activity(Work.hang, start_to_close_timeout=TEN_S)
    await workflow.execute_local_activity(Work.double, 1, start_to_close_timeout=TEN_S)
    return "done"


async def test_a_workflow_that_ends_before_its_local_activity_takes_it_along(
    client: Client, make_worker: MakeWorker, max_cached: int, work: Work
) -> None:
    async with make_worker(hasty, *all_of(work), max_cached_workflows=max_cached):
        handle = await client.start_workflow(hasty, id="w")
        assert await handle.result() == "done"
        await work.cancelled.wait()
        assert list((await handle.describe()).pending_activities) == []


async def test_a_terminated_workflow_leaves_no_task_behind(client: Client, make_worker: MakeWorker, work: Work) -> None:
    async with make_worker(hanging, *all_of(work)):
        handle = await client.start_workflow(hanging, id="w")
        await work.begun.wait()
        assert [each.activity_type for each in (await handle.describe()).pending_activities] == ["hang"]
        await handle.terminate()
        assert list((await handle.describe()).pending_activities) == []


# What is lost and found -----------------------------------------------------------------------------------------------


@workflow.defn
class Broken:
    """Its code fails once the local activity is over, until it is mended."""

    mended = False

    @workflow.run
    async def run(self) -> int:
        number = await workflow.execute_local_activity(Work.double, 1, start_to_close_timeout=TEN_S)
        if not Broken.mended:
            raise RuntimeError("not yet")
        return number


async def test_an_outcome_that_the_code_fails_on_is_kept_until_it_can_be_told_and_not_worked_out_again(
    client: Client, make_worker: MakeWorker, max_cached: int, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with make_worker(Broken, *all_of(work), max_cached_workflows=max_cached):
        handle = await client.start_workflow(Broken.run, id="w")

        async def is_parked() -> str | None:
            return (await handle.describe()).parked

        await until(is_parked)
        assert list((await handle.describe()).pending_activities) == []
    monkeypatch.setattr(Broken, "mended", True)
    async with make_worker(Broken, *all_of(work), max_cached_workflows=max_cached):
        assert await handle.result() == 2

    assert len(work.infos) == 1
    history = await handle.fetch_history()
    await assert_replays(Broken, history)
    assert types(history).count("WorkflowTaskFailed") == 1


@workflow.defn(name="Waiting")
class Waiting:
    """Waits for a word."""

    def __init__(self) -> None:
        self.words: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.wait_condition(lambda: bool(self.words))
        return self.words

    @workflow.signal
    def tell(self, word: str) -> None:
        self.words.append(word)


@workflow.defn(name="Waiting")
class LookingUpFirst(Waiting):
    """The same after a change: where it waits, it has a local activity before, which nobody has asked for."""

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.execute_local_activity(Work.double, 1, start_to_close_timeout=TEN_S)
        return await super().run()


async def test_code_that_asks_for_one_where_none_was_asked_for_is_told_so_and_does_not_wait_for_ever(
    client: Client, make_worker: MakeWorker, work: Work
) -> None:
    async with make_worker(Waiting, *all_of(work)):
        handle = await client.start_workflow(Waiting.run, id="w")
    async with make_worker(LookingUpFirst, *all_of(work)):
        await handle.signal(Waiting.tell, "hello")

        async def is_parked() -> str | None:
            return (await handle.describe()).parked

        assert await until(is_parked) == (
            "the code no longer fits the history: event 4 completed a workflow task that asked for no local activity, "
            "but the code now asks for local activity 'double' (number 1)"
        )
    async with make_worker(Waiting, *all_of(work)):
        assert await handle.result() == ["hello"]


async def test_a_replay_of_what_the_database_has_tells_so_beforehand(
    client: Client, make_worker: MakeWorker, work: Work
) -> None:
    async with make_worker(Waiting, *all_of(work)):
        handle = await client.start_workflow(Waiting.run, id="w")
        history = await handle.fetch_history()

    await Replayer(workflows=[Waiting]).replay_workflow(history)
    with pytest.raises(NondeterminismError, match="asked for no local activity, but the code now asks for local act"):
        await Replayer(workflows=[LookingUpFirst]).replay_workflow(history)


@workflow.defn
class Patient:
    """Waits for a word while its local activity is over long ago."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.number = 0

    @workflow.run
    async def run(self) -> list[Any]:
        self.number = await workflow.execute_local_activity(Work.double, 8, start_to_close_timeout=TEN_S)
        await workflow.wait_condition(lambda: bool(self.words))
        return [self.number, *self.words]

    @workflow.signal
    def tell(self, word: str) -> None:
        self.words.append(word)

    @workflow.query
    def so_far(self) -> int:
        return self.number


async def test_what_is_recorded_never_runs_again_however_often_the_run_moves(
    client: Client, make_worker: MakeWorker, work: Work
) -> None:
    async with make_worker(Patient, *all_of(work), max_cached_workflows=0):
        handle = await client.start_workflow(Patient.run, id="w")

        async def is_told() -> int:
            return await handle.query(Patient.so_far)

        assert await until(is_told) == 16
    async with make_worker(Patient, *all_of(work)):
        assert await handle.query(Patient.so_far) == 16
        await handle.signal(Patient.tell, "hello")
        assert await handle.result() == [16, "hello"]

    assert len(work.infos) == 1


async def test_what_a_stopping_worker_hands_back_runs_on_another(
    client: Client, make_worker: MakeWorker, max_cached: int, work: Work
) -> None:
    async with make_worker(hanging, *all_of(work), max_cached_workflows=max_cached):
        handle = await client.start_workflow(hanging, id="w")
        await work.begun.wait()
    work.release.set()
    async with make_worker(hanging, *all_of(work), max_cached_workflows=max_cached):
        assert await handle.result() == "released"

    assert [info.attempt for info in work.infos] == [1, 1]
    history = await handle.fetch_history()
    assert types(history).count("MarkerRecorded") == 1
    await assert_replays(hanging, history)


@activity.defn
async def deadly() -> int:
    """Kills its process at the first attempt."""
    if activity.info().attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return activity.info().attempt


@workflow.defn
async def mortal() -> int:
    return await workflow.execute_local_activity(deadly, start_to_close_timeout=TEN_S, retry_policy=SOON)


def serve(address: str) -> None:
    """The main function of a process that works until it dies."""
    logging.disable(logging.CRITICAL)

    async def work() -> None:
        async with await Client.connect(address) as client:
            await Worker(client, workflows=[mortal], activities=[deadly], lease=LEASE).run()

    asyncio.run(work())


async def test_a_worker_that_is_killed_in_a_local_activity_is_followed_by_another(
    new_place: Callable[[], Place],
) -> None:
    place = new_place()
    async with await Client.connect(place.address) as client:
        handle = await client.start_workflow(mortal, id="w")
        child = processes.Process(target=serve, args=(place.address,), daemon=True)
        child.start()
        await asyncio.to_thread(child.join)
        assert child.exitcode == -signal.SIGKILL
        async with worker_for(client, mortal, deadly, lease=LEASE):
            assert await handle.result() == 2

        history = await handle.fetch_history()
        assert types(history).count("MarkerRecorded") == 1
        await assert_replays(mortal, history)
