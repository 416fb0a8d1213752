"""The world for users' tests: its time, its clients, its activities alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from durable import Client, RetryPolicy, Worker, activity, workflow
from durable.client import RPCError, WorkflowFailureError
from durable.exceptions import ApplicationError
from durable.testing import ActivityEnvironment, WorkflowEnvironment

DAY = 86_400


@pytest.fixture
async def env() -> AsyncIterator[WorkflowEnvironment]:
    async with await WorkflowEnvironment.start_time_skipping() as environment:
        yield environment


@workflow.defn
async def wait_days(days: int) -> float:
    begun = workflow.time()
    await workflow.sleep(timedelta(days=days))
    return workflow.time() - begun


@activity.defn(retry_policy=RetryPolicy(initial_interval=timedelta(hours=1), maximum_attempts=4))
async def fails_thrice() -> int:
    attempt = activity.info().attempt
    if attempt < 4:
        raise ValueError(f"attempt {attempt}")
    return attempt


@workflow.defn
async def patient() -> int:
    return await fails_thrice()


@workflow.defn
async def wrong() -> None:
    assert 1 + 1 == 3, "sums"


@workflow.defn
async def forgets_to_wait() -> str:
    try:
        async with asyncio.timeout(DAY):
            await asyncio.Event().wait()
    except TimeoutError:
        return "timed out"
    return "?"


async def test_thirty_days_pass_while_a_result_is_awaited(env: WorkflowEnvironment) -> None:
    before = await env.get_current_time()
    async with Worker(env.client, workflows=[wait_days]):
        real = time.monotonic()
        waited = await env.client.execute_workflow(wait_days, 30, id="a")
        assert time.monotonic() - real < DAY
    assert 30 * DAY <= waited < 30 * DAY + 60
    assert await env.get_current_time() >= before + timedelta(days=30)


async def test_time_stands_still_while_nobody_awaits_a_result(env: WorkflowEnvironment) -> None:
    async with Worker(env.client, workflows=[wait_days]):
        handle = await env.client.start_workflow(wait_days, 1, id="a")
        await env.sleep(timedelta(hours=23))
        assert (await handle.describe()).close_time is None
        await env.sleep(timedelta(hours=2))
        assert await handle.result() >= DAY


async def test_time_stands_still_where_skipping_is_disabled(env: WorkflowEnvironment) -> None:
    async with Worker(env.client, workflows=[wait_days]):
        handle = await env.client.start_workflow(wait_days, 1, id="a")
        with env.auto_time_skipping_disabled(), pytest.raises(RPCError):
            await handle.result(rpc_timeout=timedelta(milliseconds=100))
        assert await handle.result() >= DAY


async def test_retries_are_skipped_to(env: WorkflowEnvironment) -> None:
    async with Worker(env.client, workflows=[patient], activities=[fails_thrice]):
        before = await env.get_current_time()
        assert await env.client.execute_workflow(patient, id="a") == 4
        assert await env.get_current_time() - before >= timedelta(hours=1 + 2 + 4)


async def test_an_activity_that_is_at_work_holds_real_time(env: WorkflowEnvironment) -> None:
    @activity.defn
    async def works() -> None:
        await asyncio.sleep(0.05)

    @workflow.defn
    async def flow() -> str:
        try:
            async with asyncio.timeout(DAY):
                await works()
        except TimeoutError:
            return "time was skipped over the activity"
        return "done"

    async with Worker(env.client, workflows=[flow], activities=[works]):
        assert await env.client.execute_workflow(flow, id="a") == "done"


async def test_an_activity_may_let_time_pass(env: WorkflowEnvironment) -> None:
    @activity.defn
    async def naps() -> None:
        await env.sleep(timedelta(hours=5))

    @workflow.defn
    async def flow() -> float:
        begun = workflow.time()
        await naps()
        return workflow.time() - begun

    async with Worker(env.client, workflows=[flow], activities=[naps]):
        assert await env.client.execute_workflow(flow, id="a") >= 5 * 3600


async def test_a_failed_assertion_fails_the_workflow(env: WorkflowEnvironment) -> None:
    async with Worker(env.client, workflows=[wrong]):
        with pytest.raises(WorkflowFailureError) as raised:
            await env.client.execute_workflow(wrong, id="a")
    assert isinstance(raised.value.cause, ApplicationError)
    assert raised.value.cause.type == "AssertionError"


async def test_a_timeout_in_a_workflow_is_skipped_to(env: WorkflowEnvironment) -> None:
    async with Worker(env.client, workflows=[forgets_to_wait]):
        assert await env.client.execute_workflow(forgets_to_wait, id="a") == "timed out"


async def test_a_local_environment_has_real_time() -> None:
    async with await WorkflowEnvironment.start_local() as env:
        assert not env.supports_time_skipping
        async with Worker(env.client, workflows=[wait_days]):
            assert await env.client.execute_workflow(wait_days, 0, id="a") < 60


async def test_a_clients_environment_leaves_the_client_open() -> None:
    async with await Client.connect("sqlite://") as client:
        async with WorkflowEnvironment.from_client(client) as env:
            assert env.client is client
        async with Worker(client, workflows=[wait_days]):
            await client.execute_workflow(wait_days, 0, id="a")


@activity.defn
async def hangs() -> None:
    activity.heartbeat("alive", 1)
    await asyncio.Event().wait()


@activity.defn
def double(number: int) -> int:
    return 2 * number


async def test_an_activity_runs_alone() -> None:
    env = ActivityEnvironment()
    beats: list[object] = []
    env.on_heartbeat = lambda *details: beats.append(details)
    running = asyncio.ensure_future(env.run(hangs))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    env.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert beats == [("alive", 1)]


def test_a_sync_activity_runs_alone_and_knows_its_name() -> None:
    @activity.defn(name="named")
    def named() -> str:
        return activity.info().activity_type

    assert ActivityEnvironment().run(double, 4) == 8
    assert ActivityEnvironment().run(named) == "named"


async def test_another_client_is_in_the_same_database_and_the_same_time(env: WorkflowEnvironment) -> None:
    other = await env.connect_client(identity="other")
    async with Worker(env.client, workflows=[wait_days]):
        assert await other.execute_workflow(wait_days, 30, id="a") >= 30 * DAY
    await other.close()
    assert (await env.client.get_workflow_handle("a").describe()).status is not None
    assert other.identity == "other"


async def test_a_client_of_another_namespace_sees_its_own(env: WorkflowEnvironment) -> None:
    other = await env.connect_client(namespace="other")
    async with Worker(env.client, workflows=[wait_days]), Worker(other, workflows=[wait_days]):
        await other.execute_workflow(wait_days, 1, id="a")
        assert [run.id async for run in other.list_workflows()] == ["a"]
        assert [run.id async for run in env.client.list_workflows()] == []


@workflow.defn
async def has_a_bug() -> None:
    raise KeyError("oops")


async def test_a_workflow_whose_code_cannot_go_on_tells_so_to_whoever_awaits_its_result(
    env: WorkflowEnvironment,
) -> None:
    async with Worker(env.client, workflows=[has_a_bug]):
        with pytest.raises(AssertionError, match=r"can't go on, however often it tries: .*oops"):
            await env.client.execute_workflow(has_a_bug, id="a")


@workflow.defn(name="mended in time")
async def broken_at_first() -> None:
    raise KeyError("oops")


@workflow.defn(name="mended in time")
async def mended_in_time() -> str:
    return "mended"


async def test_a_run_that_mended_code_takes_up_in_time_has_its_result(env: WorkflowEnvironment) -> None:
    async with Worker(env.client, workflows=[broken_at_first]):
        handle = await env.client.start_workflow("mended in time", id="a")
        while (await handle.describe()).parked is None:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    async with Worker(env.client, workflows=[mended_in_time]):
        assert await handle.result() == "mended"


async def test_another_client_takes_the_parameters_of_connect_and_keeps_the_rest() -> None:
    async with await WorkflowEnvironment.start_time_skipping(identity="me") as env:
        other = await env.connect_client(namespace="other", rpc_metadata={"a": "b"}, api_key="key", tls=True)
        assert (other.namespace, other.identity, other.api_key, other.rpc_metadata) == (
            "other",
            "me",
            "key",
            {"a": "b"},
        )
        assert other.database is env.client.database and env.client.api_key is None
        assert other.failure_exception_types == env.client.failure_exception_types
        assert (await env.connect_client(identity="you")).identity == "you"
        with pytest.raises(TypeError, match="has no parameter colour"):
            await env.connect_client(colour="red")


async def test_an_environment_takes_what_a_test_server_would_need() -> None:
    async with await WorkflowEnvironment.start_local(
        ip="0.0.0.0", port=7, ui=True, dev_server_extra_args=["--x"], rpc_metadata={"a": "b"}, tls=False
    ) as env:
        assert env.client.rpc_metadata == {"a": "b"} and env.client.namespace == "default"
