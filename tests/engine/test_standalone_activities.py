"""Activities that clients start by themselves: a job queue without workflows."""

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
from durable.client import (
    ActivityExecutionStatus,
    ActivityFailureError,
    PendingActivityState,
    RPCError,
    RPCStatusCode,
)
from durable.common import (
    ActivityIDConflictPolicy,
    ActivityIDReusePolicy,
    Priority,
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
)
from durable.exceptions import (
    ActivityAlreadyStartedError,
    ApplicationError,
    CancelledError,
    TerminatedError,
    TimeoutError,
    TimeoutType,
)
from tests.chaos.places import Place
from tests.engine.conftest import MakeWorker, worker_for
from tests.engine.histories import assert_sound, until
from tests.forkserver import processes

TEN_S = timedelta(seconds=10)
QUEUE: dict[str, Any] = {"task_queue": "default", "start_to_close_timeout": TEN_S}
ONCE = RetryPolicy(maximum_attempts=1)
QUICKLY = RetryPolicy(initial_interval=timedelta(milliseconds=5))
LEASE = timedelta(seconds=0.5)
CITY = SearchAttributeKey.for_keyword("City")


class Work:
    """Activities whose doings a test steers and sees."""

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
    async def join(self, first: str, second: bytes) -> dict[str, Any]:
        return {"first": first, "second": second.decode()}

    @activity.defn
    async def flaky(self, failures: int) -> int:
        self.infos.append(activity.info())
        if activity.info().attempt <= failures:
            raise ApplicationError("not yet", type="Flaky")
        return activity.info().attempt

    @activity.defn
    async def hang(self) -> str:
        self.infos.append(activity.info())
        self.begun.set()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return "released"


@pytest.fixture
def work() -> Work:
    return Work()


def all_of(work: Work) -> tuple[Any, ...]:
    return work.double, work.join, work.flaky, work.hang


@workflow.defn
async def ordinary() -> str:
    return "a workflow"


async def test_a_worker_without_workflows_runs_it(client: Client, make_worker: MakeWorker, work: Work) -> None:
    async with make_worker(*all_of(work)):
        assert await client.execute_activity(work.double, 21, id="job", **QUEUE) == 42


async def test_it_runs_beside_workflows_and_by_name_and_with_many_arguments(
    client: Client, make_worker: MakeWorker, work: Work
) -> None:
    async with make_worker(ordinary, *all_of(work)):
        assert await client.execute_workflow(ordinary, id="w") == "a workflow"
        joined = await client.execute_activity_method(Work.join, args=["a", b"b"], id="1", **QUEUE)
        assert joined == {"first": "a", "second": "b"}
        assert await client.execute_activity("double", 4, id="2", result_type=int, **QUEUE) == 8


async def test_the_client_may_be_elsewhere(address: str, work: Work) -> None:
    async with await Client.connect(address) as here, await Client.connect(address) as there:
        async with worker_for(there, *all_of(work)):
            assert await here.execute_activity(Work.double, 3, id="job", **QUEUE) == 6


async def test_it_waits_for_a_worker_that_has_it(client: Client, make_worker: MakeWorker, work: Work) -> None:
    handle = await client.start_activity(Work.double, 3, id="job", **QUEUE)
    described = await handle.describe()
    assert (described.status, described.run_state) == (ActivityExecutionStatus.RUNNING, PendingActivityState.SCHEDULED)

    async with make_worker(*all_of(work), max_cached_workflows=0):
        assert await handle.result() == 6


async def test_a_worker_without_workflows_leaves_workflows_alone(
    client: Client, make_worker: MakeWorker, work: Work
) -> None:
    handle = await client.start_workflow(ordinary, id="w")
    async with make_worker(*all_of(work)):
        assert await client.execute_activity(work.double, 1, id="job", **QUEUE) == 2

    described = await handle.describe()
    assert (described.parked, described.history_length) == (None, 2)


async def test_it_knows_that_no_workflow_has_called_it(client: Client, make_worker: MakeWorker, work: Work) -> None:
    async with make_worker(*all_of(work)):
        handle = await client.start_activity(work.double, 1, id="job", **QUEUE)
        await handle.result()

    (info,) = work.infos
    assert not info.in_workflow
    assert (info.workflow_id, info.workflow_run_id, info.workflow_type) == (None, None, None)
    assert (info.activity_id, info.activity_run_id, info.task_queue) == ("job", handle.run_id, "default")


async def test_it_is_retried_by_its_policy(client: Client, make_worker: MakeWorker, work: Work) -> None:
    policy = RetryPolicy(initial_interval=timedelta(milliseconds=5), maximum_attempts=3)
    async with make_worker(*all_of(work)):
        assert await client.execute_activity(work.flaky, 2, id="job", retry_policy=policy, **QUEUE) == 3


async def test_its_failure_is_the_callers(client: Client, make_worker: MakeWorker, work: Work) -> None:
    async with make_worker(*all_of(work)):
        handle = await client.start_activity(work.flaky, 9, id="job", retry_policy=ONCE, **QUEUE)
        with pytest.raises(ActivityFailureError) as caught:
            await handle.result()
        described = await handle.describe()

    assert isinstance(caught.value.cause, ApplicationError)
    assert caught.value.cause.type == "Flaky"
    assert described.status is ActivityExecutionStatus.FAILED
    assert isinstance(await described.last_failure(), ApplicationError)
    assert (described.attempt, described.run_state) == (1, None)


async def test_it_times_out_and_is_listed_so(client: Client, make_worker: MakeWorker, work: Work) -> None:
    async with make_worker(*all_of(work)):
        handle = await client.start_activity(
            work.hang,
            id="job",
            task_queue="default",
            start_to_close_timeout=timedelta(milliseconds=20),
            retry_policy=ONCE,
        )
        with pytest.raises(ActivityFailureError) as caught:
            await handle.result()

    assert isinstance(caught.value.cause, TimeoutError)
    assert caught.value.cause.type == TimeoutType.START_TO_CLOSE
    assert (await handle.describe()).status is ActivityExecutionStatus.TIMED_OUT
    listed = [each async for each in client.list_activities("ExecutionStatus = 'TimedOut'")]
    assert [each.activity_id for each in listed] == ["job"]
    assert [each async for each in client.list_activities("ExecutionStatus = 'Failed'")] == []


async def test_cancelling_asks_the_activity_and_waits_for_it(
    client: Client, make_worker: MakeWorker, work: Work
) -> None:
    async with make_worker(*all_of(work)):
        handle = await client.start_activity(work.hang, id="job", **QUEUE)
        await work.begun.wait()
        await handle.cancel(reason="enough")
        with pytest.raises(ActivityFailureError) as caught:
            await handle.result()
        await work.cancelled.wait()

    assert isinstance(caught.value.cause, CancelledError)
    described = await handle.describe()
    assert (described.status, described.canceled_reason) == (ActivityExecutionStatus.CANCELED, "enough")


async def test_terminating_ends_it_at_once(client: Client, work: Work) -> None:
    handle = await client.start_activity(work.hang, id="job", **QUEUE)
    await handle.terminate(reason="not needed")

    with pytest.raises(ActivityFailureError) as caught:
        await handle.result()

    assert isinstance(caught.value.cause, TerminatedError)
    assert caught.value.cause.message == "not needed"
    assert (await handle.describe()).status is ActivityExecutionStatus.TERMINATED
    with pytest.raises(RPCError, match="'job' is closed") as refused:
        await handle.terminate()
    assert refused.value.status is RPCStatusCode.NOT_FOUND


async def test_it_tells_how_it_stands_while_it_runs(client: Client, make_worker: MakeWorker, work: Work) -> None:
    async with make_worker(*all_of(work)):
        handle = await client.start_activity(
            work.hang, id="job", schedule_to_close_timeout=timedelta(hours=1), heartbeat_timeout=TEN_S, **QUEUE
        )
        await work.begun.wait()
        described = await handle.describe()
        work.release.set()
        assert await client.get_activity_handle("job").result() == "released"
        over = await handle.describe()

    assert (described.activity_id, described.activity_type, described.task_queue) == ("job", "hang", "default")
    assert (described.attempt, described.run_state) == (1, PendingActivityState.STARTED)
    assert described.expiration_time == described.schedule_time + timedelta(hours=1)
    assert (described.start_to_close_timeout, described.heartbeat_timeout) == (TEN_S, TEN_S)
    assert described.activity_run_id == handle.run_id
    assert (over.status, over.run_state) == (ActivityExecutionStatus.COMPLETED, None)
    assert over.execution_duration is not None and over.close_time is not None


async def test_it_tells_when_its_next_attempt_is_due(client: Client, make_worker: MakeWorker, work: Work) -> None:
    policy = RetryPolicy(initial_interval=timedelta(hours=1))
    async with make_worker(*all_of(work)):
        handle = await client.start_activity(work.flaky, 9, id="job", retry_policy=policy, **QUEUE)

        async def waits() -> bool:
            return (await handle.describe()).current_retry_interval is not None

        await until(waits)
        described = await handle.describe()

    assert described.current_retry_interval == timedelta(hours=1)
    assert described.next_attempt_schedule_time is not None
    assert isinstance(await described.last_failure(), ApplicationError)
    assert described.retry_policy.initial_interval == timedelta(hours=1)


async def test_it_keeps_what_its_start_says_about_it(client: Client, make_worker: MakeWorker, work: Work) -> None:
    async with make_worker(*all_of(work)):
        handle = await client.start_activity(
            work.double,
            1,
            id="job",
            search_attributes=TypedSearchAttributes([SearchAttributePair(CITY, "Rome")]),
            priority=Priority(priority_key=1, fairness_key="a tenant"),
            summary="twice one",
            **QUEUE,
        )
        await handle.result()
    described = await handle.describe()
    listed = [each async for each in client.list_activities()]

    assert (described.priority, described.summary) == (Priority(priority_key=1, fairness_key="a tenant"), "twice one")
    assert work.infos[0].priority == described.priority
    assert [each.typed_search_attributes.get(CITY) for each in (described, *listed)] == ["Rome", "Rome"]


async def test_its_description_tells_what_went_in_and_what_came_out(
    client: Client, make_worker: MakeWorker, work: Work
) -> None:
    async with make_worker(*all_of(work)):
        retried = await client.start_activity(work.flaky, 1, id="retried", retry_policy=QUICKLY, **QUEUE)
        failed = await client.start_activity(work.flaky, 9, id="failed", retry_policy=ONCE, **QUEUE)
        await retried.result()
        with pytest.raises(ActivityFailureError) as caught:
            await failed.result()
    good, bad = await retried.describe(), await failed.describe()

    assert (good.has_input(), await good.input([int])) == (True, [1])
    assert (good.has_result(), await good.result(float), good.has_outcome_failure()) == (True, 2.0, False)
    assert good.has_last_failure() and await good.outcome_failure() is None
    assert str(await good.last_failure()) == "Flaky: not yet"
    assert (bad.has_result(), await bad.result(), bad.has_outcome_failure()) == (False, None, True)
    assert repr(await bad.outcome_failure()) == repr(caught.value.cause)
    assert (good.last_deployment_version, bad.last_deployment_version) == (None, None)
    assert (good.has_heartbeat_details(), await good.heartbeat_details()) == (False, None)


@pytest.mark.parametrize("how", ["cancel", "terminate"])
async def test_its_description_tells_the_failure_that_its_end_is_to_its_caller(
    client: Client, make_worker: MakeWorker, work: Work, how: str
) -> None:
    async with make_worker(*all_of(work)):
        handle = await client.start_activity(work.hang, id="job", **QUEUE)
        await work.begun.wait()
        assert not (await handle.describe()).has_outcome_failure()
        await getattr(handle, how)(reason="enough")
        with pytest.raises(ActivityFailureError) as caught:
            await handle.result()

    assert repr(await (await handle.describe()).outcome_failure()) == repr(caught.value.cause)


async def test_it_is_paused_and_unpaused(client: Client, make_worker: MakeWorker, work: Work) -> None:
    policy = RetryPolicy(initial_interval=timedelta(hours=1))
    async with make_worker(*all_of(work)):
        handle = await client.start_activity(work.flaky, 1, id="job", retry_policy=policy, **QUEUE)

        async def has_failed() -> bool:
            return (await handle.describe()).has_last_failure()

        await until(has_failed)
        await handle.pause(reason="to look at it")
        paused = await handle.describe()
        await handle.unpause()
        unpaused = await handle.describe()
        await handle.terminate()

        assert (paused.status, paused.run_state) == (ActivityExecutionStatus.RUNNING, PendingActivityState.PAUSED)
        assert unpaused.run_state is PendingActivityState.SCHEDULED
        with pytest.raises(RPCError, match=r"^activity 'job' is over") as refused:
            await handle.pause()
    assert refused.value.status is RPCStatusCode.NOT_FOUND


async def test_what_no_worker_has_taken_up_cant_be_paused_yet(client: Client, work: Work) -> None:
    handle = await client.start_activity(work.hang, id="job", **QUEUE)

    with pytest.raises(RPCError, match=r"^activity 'job' has not been taken up by a worker") as refused:
        await handle.pause()

    assert refused.value.status is RPCStatusCode.FAILED_PRECONDITION


# Ids, policies, bad input ---------------------------------------------------------------------------------------------


async def test_an_id_in_use_is_refused_or_found_as_the_policy_says(client: Client, work: Work) -> None:
    first = await client.start_activity(work.hang, id="job", **QUEUE)

    with pytest.raises(ActivityAlreadyStartedError) as refused:
        await client.start_activity(work.hang, id="job", **QUEUE)
    again = await client.start_activity(
        work.hang, id="job", id_conflict_policy=ActivityIDConflictPolicy.USE_EXISTING, **QUEUE
    )

    assert (refused.value.activity_id, refused.value.activity_type) == ("job", "hang")
    assert refused.value.run_id == first.run_id == again.run_id
    await first.terminate()
    with pytest.raises(ActivityAlreadyStartedError):
        await client.start_activity(
            work.hang, id="job", id_reuse_policy=ActivityIDReusePolicy.REJECT_DUPLICATE, **QUEUE
        )
    second = await client.start_activity(work.hang, id="job", **QUEUE)
    assert second.run_id != first.run_id


async def test_the_same_request_starts_it_once(client: Client, work: Work) -> None:
    first = await client.start_activity(work.hang, id="job", request_id="r", **QUEUE)
    second = await client.start_activity(work.hang, id="job", request_id="r", **QUEUE)

    assert first.run_id == second.run_id


async def test_a_start_delay_is_waited_for(client: Client, make_worker: MakeWorker, work: Work) -> None:
    async with make_worker(*all_of(work)):
        handle = await client.start_activity(work.double, 1, id="job", start_delay=timedelta(milliseconds=100), **QUEUE)
        assert await handle.result() == 2
        described = await handle.describe()

    assert described.start_delay == timedelta(milliseconds=100)
    (info,) = work.infos
    assert info.started_time - described.schedule_time >= timedelta(milliseconds=100)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"task_queue": "default"}, "must have start_to_close_timeout or schedule_to_close_timeout"),
        ({**QUEUE, "start_delay": timedelta(seconds=-1)}, "start_delay can't be negative"),
        ({**QUEUE, "id": ""}, "1 to 900 characters"),
        ({**QUEUE, "id": "a\0b"}, "an activity id has neither NUL"),
        ({**QUEUE, "task_queue": ""}, "task_queue can't be empty"),
        ({**QUEUE, "task_queue": "q" * 2000}, "a task queue has at most 1980 bytes"),
    ],
)
async def test_what_makes_no_sense_is_refused_at_the_start(client: Client, options: Any, why: str) -> None:
    chosen: Any = {"id": "job", **options}

    with pytest.raises(ValueError, match=why):
        await client.start_activity(Work.double, 1, **chosen)


async def test_an_activity_that_is_not_there_is_not_found(client: Client) -> None:
    handle = client.get_activity_handle("nobody")
    for ask in (handle.describe(), handle.result(), handle.cancel(), handle.terminate()):
        with pytest.raises(RPCError, match="no activity 'nobody'") as refused:
            await ask
        assert refused.value.status is RPCStatusCode.NOT_FOUND


async def test_a_workflow_id_of_the_engines_own_kind_is_refused(client: Client) -> None:
    with pytest.raises(ValueError, match="are the engine's own"):
        await client.start_workflow(ordinary, id="__temporal_activity:job")


# Lists and counts -----------------------------------------------------------------------------------------------------


async def test_lists_show_either_workflows_or_activities(client: Client, make_worker: MakeWorker, work: Work) -> None:
    async with make_worker(ordinary, *all_of(work)):
        await client.execute_workflow(ordinary, id="w")
        for number in range(5):
            await client.execute_activity(work.double, number, id=f"double-{number}", **QUEUE)
        await client.start_activity(work.hang, id="hang", **QUEUE)
        workflows = [run.id async for run in client.list_workflows()]
        activities = [each.activity_id async for each in client.list_activities(page_size=2)]
        by_type = [each.activity_id async for each in client.list_activities("ActivityType = 'hang'")]
        running = await client.count_activities("ExecutionStatus = 'Running' AND TaskQueue = 'default'")
        grouped = await client.count_activities("GROUP BY ExecutionStatus")
        limited = [each.activity_id async for each in client.list_activities(limit=3)]

    assert workflows == ["w"]
    assert activities == ["hang", "double-4", "double-3", "double-2", "double-1", "double-0"]
    assert by_type == ["hang"]
    assert limited == activities[:3]
    assert (running.count, running.groups) == (1, [])
    assert grouped.count == 6
    assert [(group.count, list(group.group_values)) for group in grouped.groups] == [
        (1, ["Running"]),
        (5, ["Completed"]),
    ]


async def test_a_list_goes_on_from_a_token(client: Client, work: Work) -> None:
    for number in range(3):
        await client.start_activity(work.hang, id=f"job-{number}", **QUEUE)
    first = client.list_activities(page_size=2)
    await first.fetch_next_page()
    page, token = first.current_page, first.next_page_token

    rest = [each.activity_id async for each in client.list_activities(next_page_token=token)]

    assert page is not None
    assert [each.activity_id for each in page] == ["job-2", "job-1"]
    assert rest == ["job-0"]


async def test_a_query_that_names_what_activities_do_not_have_says_what_they_have(client: Client) -> None:
    with pytest.raises(
        RPCError,
        match=r"no mapping defined for search attribute 'WorkflowType'; there are ActivityId, Act",
    ):
        client.list_activities("WorkflowType = 'x'")


async def test_its_history_is_a_runs(client: Client, make_worker: MakeWorker, work: Work) -> None:
    async with make_worker(*all_of(work)):
        handle = await client.start_activity(work.double, 1, id="job", **QUEUE)
        await handle.result()
        history = await client.get_workflow_handle("__temporal_activity:job").fetch_history()

    assert_sound(history.events)


async def test_waiting_for_it_may_have_a_limit(client: Client, work: Work) -> None:
    handle = await client.start_activity(work.hang, id="job", rpc_timeout=TEN_S, **QUEUE)

    with pytest.raises(RPCError, match=r"activity 'job': its result did not come within 0\.01 s") as refused:
        await handle.result(rpc_timeout=timedelta(milliseconds=10))

    assert refused.value.status is RPCStatusCode.DEADLINE_EXCEEDED
    assert (await handle.describe(include_input=True, rpc_timeout=TEN_S)).scheduled_time is not None


@activity.defn
async def deadly() -> int:
    """Kills its process at the first attempt."""
    if activity.info().attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return activity.info().attempt


def serve(address: str) -> None:
    """The main function of a process that works until it dies."""
    logging.disable(logging.CRITICAL)

    async def work() -> None:
        async with await Client.connect(address) as client:
            await Worker(client, activities=[deadly], lease=LEASE).run()

    asyncio.run(work())


async def test_a_worker_that_is_killed_at_it_is_followed_by_another(new_place: Callable[[], Place]) -> None:
    place = new_place()
    async with await Client.connect(place.address) as client:
        handle = await client.start_activity(deadly, id="job", retry_policy=QUICKLY, **QUEUE)
        child = processes.Process(target=serve, args=(place.address,), daemon=True)
        child.start()
        await asyncio.to_thread(child.join)
        assert child.exitcode == -signal.SIGKILL
        async with worker_for(client, deadly, lease=LEASE):
            assert await handle.result() == 2


async def test_what_a_stopped_worker_hands_back_another_one_ends(
    client: Client, make_worker: MakeWorker, work: Work
) -> None:
    async with make_worker(*all_of(work)):
        handle = await client.start_activity(work.hang, id="job", **QUEUE)
        await work.begun.wait()
    work.release.set()
    async with make_worker(*all_of(work)):
        assert await handle.result() == "released"
    assert len(work.infos) == 2
