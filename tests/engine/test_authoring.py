"""Writing workflows and activities: every promise holds with runs in memory and with runs rebuilt at each step."""

from __future__ import annotations

import asyncio
import enum
import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pydantic
import pytest

from durable import Client, activity, workflow
from durable.client import WorkflowFailureError
from durable.context import NotInWorkflowError
from durable.exceptions import ActivityError, ApplicationError
from durable.history.events import WorkflowExecutionStarted, WorkflowTaskStarted
from tests.engine.conftest import Execute, MakeWorker
from tests.engine.histories import assert_replays, of_type

TIMEOUT = timedelta(seconds=30)


@activity.defn
async def double(number: int) -> int:
    return number * 2


@activity.defn
def triple(number: int) -> int:
    return number * 3


@activity.defn
async def spread(first: int, second: int = 20, *, third: int = 300) -> list[int]:
    return [first, second, third]


@activity.defn(name="renamed")
async def unrenamed(text: str) -> str:
    return f"<{text}>"


class Shop:
    def __init__(self, owner: str) -> None:
        self.owner = owner

    @activity.defn
    async def sell(self, thing: str) -> str:
        return f"{self.owner} sells {thing}"


# Functions and classes. -----------------------------------------------------------------------------------------------


@workflow.defn
async def doubling(number: int) -> int:
    return await double(number)


async def test_a_plain_async_function_is_a_workflow(execute: Execute) -> None:
    assert await execute(doubling, 21, using=(double,)) == 42


@workflow.defn
class Doubling:
    def __init__(self) -> None:
        self.factor = 5

    @workflow.run
    async def run(self, number: int) -> int:
        return await double(number) * self.factor


async def test_a_class_with_a_run_method_is_a_workflow(execute: Execute) -> None:
    assert await execute(Doubling, 1, using=(double,)) == 10


async def test_an_activity_called_outside_of_a_workflow_is_the_plain_function() -> None:
    assert await double(4) == 8
    assert triple(4) == 12
    assert await Shop("Ann").sell("tea") == "Ann sells tea"


@workflow.defn
async def calling_sync() -> int:
    tripled: int = await triple(await double(2))  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    return tripled


async def test_a_sync_activity_is_awaited_in_a_workflow(execute: Execute) -> None:
    assert await execute(calling_sync, using=(double, triple)) == 12


@workflow.defn
async def spreading(first: int, second: int = 2, *, third: int = 3) -> list[list[int]]:
    return [await spread(first), await spread(first, third=third), await spread(second=second, first=first)]


async def test_defaults_and_keywords_reach_an_activity_as_in_a_plain_call(execute: Execute) -> None:
    assert await execute(spreading, 1, using=(spread,)) == [[1, 20, 300], [1, 20, 3], [1, 2, 300]]


async def test_a_workflow_takes_keyword_arguments(client: Client, make_worker: MakeWorker, max_cached: int) -> None:
    async with make_worker(spreading, spread, max_cached_workflows=max_cached):
        result = await client.execute_workflow(spreading, 7, kwargs={"third": 9, "second": 8}, id="k")
    assert result == [[7, 20, 300], [7, 20, 9], [7, 8, 300]]


@workflow.defn
async def shopping() -> list[str]:
    return [
        await workflow.execute_activity(Shop.sell, "milk", start_to_close_timeout=TIMEOUT),
        await workflow.execute_activity("sell", "salt", start_to_close_timeout=TIMEOUT),
    ]


async def test_a_method_is_an_activity_of_the_object_that_is_registered(execute: Execute) -> None:
    assert await execute(shopping, using=(Shop("Bo").sell,)) == ["Bo sells milk", "Bo sells salt"]


@workflow.defn
async def starting() -> list[object]:
    handles: list[workflow.ActivityHandle[Any]] = [
        workflow.start_activity(double, 1, start_to_close_timeout=TIMEOUT),
        workflow.start_activity("renamed", "x", schedule_to_close_timeout=TIMEOUT, result_type=str),
        workflow.start_activity(spread, args=[1, 2], start_to_close_timeout=TIMEOUT),
    ]
    return [await handle for handle in handles]


async def test_activities_are_started_by_function_or_by_name_and_awaited_later(execute: Execute) -> None:
    assert await execute(starting, using=(double, unrenamed, spread)) == [2, "<x>", [1, 2, 300]]


@workflow.defn
async def careless() -> list[str]:
    errors: list[str] = []
    try:
        workflow.start_activity(double, 1)
    except ValueError as error:
        errors.append(str(error))
    try:
        workflow.start_activity(double, 1, args=[2], start_to_close_timeout=TIMEOUT)
    except ValueError as error:
        errors.append(str(error))
    return errors


async def test_start_activity_needs_a_timeout_and_one_way_of_giving_arguments(execute: Execute) -> None:
    assert await execute(careless, using=(double,)) == [
        "Activity must have start_to_close_timeout or schedule_to_close_timeout",
        "Cannot have arg and args",
    ]


def test_workflow_functions_outside_of_a_workflow_say_so() -> None:
    for ask in (workflow.now, workflow.info, workflow.uuid4, workflow.random):
        with pytest.raises(NotInWorkflowError, match="Not in workflow event loop"):
            ask()
    assert not workflow.in_workflow()


# Values. --------------------------------------------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Line:
    sku: str
    price: Decimal


class Customer(pydantic.BaseModel):
    name: str
    since: datetime


@dataclass
class Basket:
    id: uuid.UUID
    lines: list[Line]
    customer: Customer
    colour: Colour
    blob: bytes
    wait: timedelta


@activity.defn
async def price(basket: Basket, discounts: dict[str, Decimal]) -> Basket:
    lines = [Line(line.sku, line.price - discounts[line.sku]) for line in basket.lines]
    return Basket(basket.id, lines, basket.customer, basket.colour, basket.blob, basket.wait)


@workflow.defn
async def pricing(basket: Basket) -> Basket:
    return await price(basket, {"tea": Decimal("0.10")})


async def test_values_keep_their_types_through_workflow_and_activity(execute: Execute) -> None:
    basket = Basket(
        id=uuid.UUID(int=7),
        lines=[Line("tea", Decimal("1.50"))],
        customer=Customer(name="Ann", since=datetime(2020, 2, 29, 12, tzinfo=UTC)),
        colour=Colour.RED,
        blob=b"\x00\xff",
        wait=timedelta(seconds=1.5),
    )
    priced = await execute(pricing, basket, using=(price,))
    basket.lines[0].price = Decimal("1.40")
    assert priced == basket


# Time, chance, identity. ----------------------------------------------------------------------------------------------

seen: list[object] = []


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    seen.clear()


@workflow.defn
async def dicing() -> list[str]:
    first = [str(workflow.uuid4()), str(workflow.random().random()), str(workflow.now()), str(workflow.time_ns())]
    seen.append(first)
    await double(1)
    return first


async def test_time_and_chance_are_the_same_in_every_replay(execute: Execute) -> None:
    result = await execute(dicing, using=(double,))
    assert len(seen) > 1, "nothing was replayed"
    assert all(each == result for each in seen)


@workflow.defn
async def clock() -> list[int]:
    times = [workflow.time_ns()]
    await double(1)
    times.append(workflow.time_ns())
    assert workflow.time() == pytest.approx(times[-1] / 1e9)
    assert workflow.now() == datetime.fromtimestamp(0, UTC) + timedelta(microseconds=times[-1] // 1000)
    assert asyncio.get_running_loop().time() * 1e9 == pytest.approx(times[-1])
    return times


async def test_the_time_is_that_of_the_workflow_task(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(clock, double):
        handle = await client.start_workflow(clock, id="c")
        times = await handle.result()
        started = of_type(await handle.fetch_history(), WorkflowTaskStarted)
    assert [event.time_us * 1000 for event in started] == times


async def test_two_runs_draw_different_chance(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(dicing, double):
        first, second = [await client.execute_workflow(dicing, id=id) for id in ("a", "b")]
    assert first[0] != second[0] and first[1] != second[1]


@workflow.defn(name="named")
async def introspective() -> list[object]:
    info = workflow.info()
    assert workflow.in_workflow()
    lengths = [info.get_current_history_length()]
    await double(1)
    lengths.append(workflow.info().get_current_history_length())
    return [
        info.workflow_id,
        info.run_id,
        info.workflow_type,
        info.task_queue,
        info.namespace,
        info.attempt,
        info.workflow_start_time.isoformat(),
        lengths,
    ]


async def test_a_run_knows_who_it_is(client: Client, make_worker: MakeWorker, max_cached: int) -> None:
    async with make_worker(introspective, double, task_queue="q", max_cached_workflows=max_cached):
        handle = await client.start_workflow(introspective, id="me", task_queue="q")
        result = await handle.result()
        history = await handle.fetch_history()
    (started,) = of_type(history, WorkflowExecutionStarted)
    start_time = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=started.time_us)
    assert result == ["me", handle.result_run_id, "named", "q", "default", 1, start_time.isoformat(), [3, 9]]


@workflow.defn
async def talkative() -> None:
    workflow.logger.info("one", extra={"own": 1})
    await double(1)
    workflow.logger.info("two")
    await double(2)
    workflow.logger.warning("three %d", 3)


async def test_each_logged_line_appears_once_and_not_in_replays(
    execute: Execute, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "temporalio.workflow")
    await execute(talkative, using=(double,))
    records = [record for record in caplog.records if record.name == "temporalio.workflow"]
    assert [record.getMessage().split(" (")[0] for record in records] == ["one", "two", "three 3"]
    assert records[0].__dict__["own"] == 1
    assert records[2].__dict__["temporal_workflow"]["workflow_id"] == "the-run"
    assert records[0].pathname == __file__ and records[0].funcName == "talkative"


@workflow.defn
async def replaying() -> None:
    seen.append(workflow.unsafe.is_replaying())
    await double(1)


async def test_code_knows_whether_it_replays(execute: Execute) -> None:
    await execute(replaying, using=(double,))
    assert seen[0] is False and seen[1:] and all(seen[1:])


# Signals and queries. -------------------------------------------------------------------------------------------------


@workflow.defn
class Inbox:
    def __init__(self) -> None:
        self.read: list[str] = []
        self.closed = False

    @workflow.run
    async def run(self, expected: int) -> list[str]:
        await workflow.wait_condition(lambda: len(self.read) >= expected)
        return self.read

    @workflow.signal
    def put(self, text: str, times: int = 1) -> None:
        self.read.extend([text] * times)

    @workflow.signal(name="put-slowly")
    async def slow(self, number: int) -> None:
        doubled = await double(number)
        self.read.append(str(doubled))

    @workflow.query
    def count(self) -> int:
        return len(self.read)

    @workflow.query(name="nth")
    def get(self, index: int) -> str:
        return self.read[index]


async def test_signals_and_queries_reach_their_handlers(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    async with make_worker(Inbox, double, max_cached_workflows=max_cached):
        handle = await client.start_workflow(Inbox.run, 4, id="i")
        await handle.signal(Inbox.put, args=["a", 2])
        assert await handle.query(Inbox.count) == 2
        await handle.signal("put", "b")
        assert await handle.query("nth", 2) == "b"
        await handle.signal(Inbox.slow, 4)
        assert await handle.result() == ["a", "a", "b", "8"]
        assert await handle.query(Inbox.get, 3) == "8"
        await assert_replays(Inbox, await handle.fetch_history())


async def test_signals_sent_before_the_first_task_are_handled_before_run_begins(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    handle = await client.start_workflow(Inbox.run, 1, id="i")
    await handle.signal(Inbox.put, "early")
    async with make_worker(Inbox, double, max_cached_workflows=max_cached):
        assert await handle.result() == ["early"]


async def test_many_signals_are_read_in_the_order_in_which_they_were_sent(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    texts = [str(number) for number in range(100)]
    async with make_worker(Inbox, double, max_cached_workflows=max_cached):
        handle = await client.start_workflow(Inbox.run, len(texts), id="i")
        for text in texts:
            await handle.signal(Inbox.put, text)
        assert await handle.result() == texts


async def test_an_undecodable_signal_is_dropped_and_logged(
    client: Client, make_worker: MakeWorker, max_cached: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with make_worker(Inbox, double, max_cached_workflows=max_cached):
        handle = await client.start_workflow(Inbox.run, 1, id="i")
        await handle.signal("put-slowly", "not a number")
        await handle.signal(Inbox.put, "ok")
        assert await handle.result() == ["ok"]
    assert "signal 'put-slowly' dropped" in caplog.text


async def test_a_signal_nobody_handles_does_no_harm(client: Client, make_worker: MakeWorker, max_cached: int) -> None:
    async with make_worker(Inbox, double, max_cached_workflows=max_cached):
        handle = await client.start_workflow(Inbox.run, 1, id="i")
        await handle.signal("unknown", 1)
        await handle.signal(Inbox.put, "ok")
        assert await handle.result() == ["ok"]


# Errors of activities, seen from a workflow. --------------------------------------------------------------------------


@activity.defn
async def refuse(kinds: Sequence[str]) -> None:
    raise ApplicationError("no", *kinds, type="Refused", non_retryable=True)


@workflow.defn
async def catching() -> list[str]:
    try:
        await refuse(["a", "b"])
    except ActivityError as error:
        details = error.cause.details if isinstance(error.cause, ApplicationError) else ()
        return [str(error.cause), *details, error.activity_type]
    return []


async def test_a_workflow_catches_what_an_activity_raised(execute: Execute) -> None:
    assert await execute(catching, using=(refuse,)) == ["Refused: no", "a", "b", "refuse"]


@workflow.defn
async def failing() -> None:
    await double(1)
    raise ApplicationError("enough", 7, type="Enough")


async def test_an_application_error_fails_the_workflow(execute: Execute) -> None:
    with pytest.raises(WorkflowFailureError) as caught:
        await execute(failing, using=(double,))
    assert isinstance(caught.value.cause, ApplicationError)
    assert (caught.value.cause.type, list(caught.value.cause.details)) == ("Enough", [7])
