"""`ActivityEnvironment`: what a function run by itself finds, and how it is cancelled."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from durable import Client, activity
from durable.activity import ActivityCancellationDetails
from durable.common import RawValue
from durable.converter import DefaultPayloadConverter
from durable.exceptions import CancelledError
from durable.metrics import MetricAttributes, MetricCounter, MetricMeter
from durable.testing import ActivityEnvironment


@pytest.fixture
def env() -> ActivityEnvironment:
    return ActivityEnvironment()


def undecorated(number: int, plus: int = 0) -> tuple[int, str]:
    return number + plus, activity.info().workflow_id or ""


async def test_a_function_needs_no_decoration_and_finds_the_info_that_was_set(env: ActivityEnvironment) -> None:
    env.info = dataclasses.replace(env.default_info(), workflow_id="order-7", attempt=3)
    assert env.run(undecorated, 1, plus=2) == (3, "order-7")

    async def attempts() -> int:
        return activity.info().attempt

    assert await env.run(attempts) == 3


async def test_all_forms_of_activities_run(env: ActivityEnvironment) -> None:
    class Service:
        @activity.defn
        async def charge(self, amount: int) -> int:
            return amount + 1

    @activity.defn
    class Sync:
        def __call__(self, text: str) -> str:
            return f"{text} {activity.info().activity_type}"

    @activity.defn
    class Async:
        async def __call__(self, text: str) -> str:
            return f"{text} {activity.info().activity_type}"

    @activity.defn(dynamic=True)
    async def anything(args: Sequence[RawValue]) -> int:
        return len(args)

    assert await env.run(Service().charge, 1) == 2
    assert env.run(Sync(), "by") == "by Sync"
    assert await env.run(Async(), "by") == "by Async"
    assert await env.run(anything, [RawValue()]) == 1


async def test_an_async_activity_finds_the_client_that_was_given() -> None:
    async def looks() -> Client:
        return activity.client()

    async with await Client.connect("sqlite://") as client:
        assert await ActivityEnvironment(client).run(looks) is client
        with pytest.raises(RuntimeError, match="No client available"):
            ActivityEnvironment(client).run(lambda: activity.client())
    with pytest.raises(RuntimeError, match="No client available"):
        await ActivityEnvironment().run(looks)


class Loud(DefaultPayloadConverter): ...


class Counting(MetricMeter):
    """Notes the attributes that it is told."""

    def __init__(self) -> None:
        self.attributes: list[MetricAttributes] = []

    def create_counter(self, name: str, description: str | None = None, unit: str | None = None) -> MetricCounter:
        return MetricMeter.noop.create_counter(name, description, unit)

    def with_additional_attributes(self, additional_attributes: MetricAttributes) -> MetricMeter:
        self.attributes.append(additional_attributes)
        return self

    create_histogram: Any = None
    create_histogram_float: Any = None
    create_histogram_timedelta: Any = None
    create_gauge: Any = None
    create_gauge_float: Any = None


def test_the_converter_and_the_meter_are_those_that_were_set(env: ActivityEnvironment) -> None:
    env.payload_converter = Loud()
    env.metric_meter = meter = Counting()

    found, found_meter = env.run(lambda: (activity.payload_converter(), activity.metric_meter()))

    assert found is env.payload_converter and found_meter is meter
    assert meter.attributes == [{"namespace": "default", "task_queue": "test", "activity_type": "unknown"}]


async def test_a_coroutine_that_is_cancelled_learns_why(env: ActivityEnvironment) -> None:
    seen: list[Any] = []
    begun = asyncio.Event()

    async def waits() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            seen.append(activity.cancellation_details())

    running = asyncio.ensure_future(env.run(waits))
    await begun.wait()
    env.cancel(ActivityCancellationDetails(paused=True))
    with pytest.raises(asyncio.CancelledError):
        await running
    assert seen == [ActivityCancellationDetails(paused=True)]


def test_a_sync_function_is_cancelled_in_the_thread_that_called_it(env: ActivityEnvironment) -> None:
    begun = threading.Event()
    canceller = threading.Thread(target=lambda: (begun.wait(), env.cancel()))
    canceller.start()

    def blocks() -> None:
        begun.set()
        while True:
            threading.Event().wait(0.005)

    with pytest.raises(CancelledError):
        env.run(blocks)
    canceller.join()


def test_a_sync_activity_that_wants_no_exception_only_sees_that_it_is_cancelled(env: ActivityEnvironment) -> None:
    @activity.defn(no_thread_cancel_exception=True)
    def polite() -> ActivityCancellationDetails | None:
        activity.wait_for_cancelled_sync()
        return activity.cancellation_details()

    env.cancel()
    assert env.run(polite) == ActivityCancellationDetails(cancel_requested=True)


async def test_what_runs_learns_that_the_worker_stops(env: ActivityEnvironment) -> None:
    begun = asyncio.Event()

    async def waits() -> bool:
        begun.set()
        await activity.wait_for_worker_shutdown()
        return activity.is_worker_shutdown()

    running = asyncio.ensure_future(env.run(waits))
    await begun.wait()
    env.worker_shutdown()
    assert await running


# Transactional ones. --------------------------------------------------------------------------------------------------


@activity.defn(transactional=True)
async def write(how: str) -> str:
    session = activity.session()
    await session.execute(text("INSERT INTO written VALUES (:how)"), {"how": how})
    match how:
        case "fails":
            raise ValueError(how)
        case "commits":
            await session.commit()
        case "closes":
            await session.close()
        case "starts":
            await activity.client().start_workflow("any", id="any", task_queue="any")
    return activity.info().activity_type


@activity.defn(transactional=True)
def write_sync(how: str) -> str:
    session = activity.session(Session)
    session.execute(text("INSERT INTO written VALUES (:how)"), {"how": how})
    match how:
        case "fails":
            raise ValueError(how)
        case "commits":
            session.commit()
        case "closes":
            session.close()
    return activity.info().activity_type


async def test_what_a_transactional_one_writes_is_committed_when_it_returns_and_only_then() -> None:
    async with await Client.connect("sqlite://") as client:
        env = ActivityEnvironment(client)
        async with client.engine().begin() as connection:
            await connection.execute(text("CREATE TABLE written (how TEXT)"))
        assert await env.run(write, "async") == "write"
        assert env.run(write_sync, "sync") == "write_sync"
        assert await asyncio.to_thread(env.run, write_sync, "thread") == "write_sync"
        for how, error in (("fails", ValueError), ("commits", RuntimeError), ("closes", RuntimeError)):
            with pytest.raises(error):
                await env.run(write, how)
            with pytest.raises(error):
                env.run(write_sync, how)
        with pytest.raises(RuntimeError, match="session="):
            await env.run(write, "starts")
        async with client.engine().begin() as connection:
            found = await connection.execute(text("SELECT how FROM written"))
            assert [how for (how,) in found] == ["async", "sync", "thread"]


async def test_a_transactional_one_that_is_cancelled_is_rolled_back() -> None:
    written = asyncio.Event()

    @activity.defn(transactional=True)
    async def hangs() -> None:
        await activity.session().execute(text("INSERT INTO written VALUES ('hangs')"))
        written.set()
        await asyncio.Event().wait()

    async with await Client.connect("sqlite://") as client:
        env = ActivityEnvironment(client)
        async with client.engine().begin() as connection:
            await connection.execute(text("CREATE TABLE written (how TEXT)"))
        running = asyncio.ensure_future(env.run(hangs))
        await written.wait()
        env.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        async with client.engine().begin() as connection:
            assert (await connection.execute(text("SELECT count(*) FROM written"))).scalar_one() == 0


async def test_a_transactional_one_needs_a_client(env: ActivityEnvironment) -> None:
    with pytest.raises(RuntimeError, match="needs a database to work in"):
        await env.run(write, "async")
    with pytest.raises(RuntimeError, match="needs a database to work in"):
        env.run(write_sync, "sync")
