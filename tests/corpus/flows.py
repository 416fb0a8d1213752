"""What the corpus was recorded with. NEVER CHANGE A DEFINITION IN HERE: recorded histories must replay on it for ever.

A new feature gets a new workflow, and a new activity if need be, at the end.
"""

from __future__ import annotations

import asyncio
import enum
import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import anyio
from pydantic import BaseModel, ConfigDict

from durable import RetryPolicy, activity, workflow
from durable.exceptions import ActivityError, ApplicationError, is_cancelled_exception

TICK = 0.02
LONG = 3600.0
QUICKLY = RetryPolicy(initial_interval=timedelta(milliseconds=10), backoff_coefficient=1.5)
ONCE = RetryPolicy(maximum_attempts=1)


# Activities. ----------------------------------------------------------------------------------------------------------


@activity.defn
async def double(number: int) -> int:
    return number * 2


@activity.defn
def triple(number: int, *, plus: int = 0) -> int:
    return number * 3 + plus


@activity.defn(retry_policy=QUICKLY)
async def third_time_lucky() -> int:
    if activity.info().attempt < 3:
        raise OSError("not yet")
    return activity.info().attempt


@activity.defn(retry_policy=QUICKLY)
async def decline(card: str) -> None:
    raise ApplicationError(f"card {card} is declined", {"card": card}, type="Declined", non_retryable=True)


@activity.defn
async def hang() -> None:
    await asyncio.Event().wait()


@activity.defn
async def hang_until_cancelled() -> str:
    try:
        while True:
            activity.heartbeat("still here")
            await asyncio.sleep(TICK)
    except asyncio.CancelledError:
        return "cleaned up"


@activity.defn(start_to_close_timeout=timedelta(milliseconds=30), retry_policy=ONCE)
async def too_slow() -> None:
    await asyncio.Event().wait()


@activity.defn(heartbeat_timeout=timedelta(milliseconds=30), retry_policy=ONCE)
async def silent() -> None:
    await asyncio.Event().wait()


@activity.defn
async def undo(step: str) -> str:
    return f"{step} undone"


# Activities and their ends. -------------------------------------------------------------------------------------------


@workflow.defn
async def corpus_sequence(number: int) -> int:
    first = await double(number)
    second = await triple(first, plus=1)
    return await workflow.execute_activity("double", second, start_to_close_timeout=timedelta(seconds=10))


@workflow.defn
async def corpus_retries() -> int:
    return await third_time_lucky()


@workflow.defn
async def corpus_failure() -> None:
    """An activity's failure, caught; another one, not caught."""
    try:
        await decline("1")
    except ActivityError as error:
        cause = error.cause
        await undo(str([cause.type, *cause.details]) if isinstance(cause, ApplicationError) else "nothing")
    try:
        await decline("2")
    except ActivityError as error:
        raise ApplicationError("no money", 42, type="NoMoney") from error


@workflow.defn
async def corpus_timeouts() -> list[str]:
    told = list[str]()
    for call in (too_slow, silent):
        try:
            await call()
        except ActivityError as error:
            told.append(type(error.cause).__name__)
    try:
        await workflow.execute_activity(
            "nobody_has_it",
            task_queue="nobody-serves-it",
            schedule_to_start_timeout=timedelta(milliseconds=30),
            start_to_close_timeout=timedelta(seconds=1),
        )
    except ActivityError as error:
        told.append(type(error.cause).__name__)
    try:
        async with asyncio.timeout(TICK):
            await hang()
    except TimeoutError:
        told.append("asyncio.timeout")
    try:
        await asyncio.wait_for(asyncio.Event().wait(), TICK)
    except TimeoutError:
        told.append("asyncio.wait_for")
    try:
        await workflow.wait_condition(lambda: False, timeout=TICK)
    except TimeoutError:
        told.append("wait_condition")
    return told


# Time. ----------------------------------------------------------------------------------------------------------------


@workflow.defn
async def corpus_timers() -> list[float]:
    begun = workflow.time()
    await asyncio.sleep(TICK)
    await workflow.sleep(timedelta(seconds=TICK))
    await asyncio.sleep(0)
    await asyncio.gather(*[asyncio.sleep(TICK * number) for number in range(1, 4)])
    return [round(workflow.time() - begun, 1), (workflow.now() - datetime(2024, 1, 1, tzinfo=UTC)).days]


# Signals and queries. -------------------------------------------------------------------------------------------------


@workflow.defn
class CorpusBox:
    """Signals that are handled at once, signals whose handlers wait, queries."""

    def __init__(self) -> None:
        self.contents = list[int]()
        self.closed = False

    @workflow.run
    async def run(self) -> list[int]:
        await workflow.wait_condition(lambda: self.closed)
        return sorted(self.contents)

    @workflow.signal
    def put(self, number: int) -> None:
        self.contents.append(number)

    @workflow.signal(name="put_double")
    async def put_doubled(self, number: int) -> None:
        self.contents.append(await double(number))

    @workflow.signal
    async def close(self, after: float) -> None:
        await asyncio.sleep(after)
        self.closed = True

    @workflow.query
    def so_far(self) -> list[int]:
        return self.contents


# Cancellation. --------------------------------------------------------------------------------------------------------


@workflow.defn
async def corpus_cancelled() -> None:
    """Cancelled as a whole; it cleans up."""
    try:
        await asyncio.sleep(LONG)
    finally:
        await undo("sleep")


@workflow.defn
async def corpus_not_cancelled() -> str:
    """Cancelled as a whole; it goes on."""
    try:
        await hang()
    except asyncio.CancelledError:
        return await undo("hang")
    return "it was done"


@workflow.defn
async def corpus_cancelled_parts() -> list[str]:
    """Tasks and activities are cancelled one by one; each kind of cancelling an activity."""
    told = list[str]()
    tasks = [asyncio.ensure_future(hang()), asyncio.ensure_future(asyncio.sleep(LONG))]
    await asyncio.sleep(TICK)
    for task in tasks:
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            told.append("cancelled")
    for kind in workflow.ActivityCancellationType:
        handle = workflow.start_activity(
            hang_until_cancelled,
            start_to_close_timeout=timedelta(seconds=LONG),
            heartbeat_timeout=timedelta(seconds=LONG),
            cancellation_type=kind,
        )
        await asyncio.sleep(TICK)
        handle.cancel()
        try:
            told.append(await handle)
        except ActivityError as error:
            told.append(kind.name if is_cancelled_exception(error) else "failed")
    return told


@workflow.defn
async def corpus_cancelled_together() -> list[str]:
    """Several activities and timers are cancelled at once, by asyncio's means and by anyio's."""
    told = list[str]()
    try:
        async with asyncio.timeout(TICK):
            await asyncio.gather(hang(), asyncio.sleep(LONG), hang(), asyncio.sleep(LONG))
    except TimeoutError:
        told.append("asyncio")
    with anyio.move_on_after(TICK):
        async with anyio.create_task_group() as outer, anyio.create_task_group() as inner:
            for group in (inner, outer, inner):
                group.start_soon(_as_task, hang())
                group.start_soon(asyncio.sleep, LONG)
        told.append("never")
    return [*told, "anyio"]


@workflow.defn
async def corpus_saga(cancel_me: bool) -> None:
    async with workflow.saga() as saga:
        await double(1)
        saga.compensate_with(undo, "one")
        await double(2)
        saga.compensate_with(undo, "two")
        if cancel_me:
            await asyncio.sleep(LONG)
        await decline("3")


# Tasks side by side. --------------------------------------------------------------------------------------------------


@workflow.defn
async def corpus_side_by_side() -> list[int]:
    gathered = await asyncio.gather(*[double(number) for number in range(5)])
    async with asyncio.TaskGroup() as group:
        grouped = [group.create_task(triple(number)) for number in gathered[:3]]
    done, left = await asyncio.wait(
        {asyncio.ensure_future(asyncio.sleep(TICK * number, number)) for number in (1, 500, 900)},
        return_when=asyncio.FIRST_COMPLETED,
    )
    for task in left:
        task.cancel()
    finished, _ = await workflow.wait([asyncio.ensure_future(double(7)), asyncio.ensure_future(double(8))])
    one_by_one = [await each for each in workflow.as_completed([double(9), triple(10)])]
    return [
        *gathered,
        *(task.result() for task in grouped),
        *(task.result() for task in done),
        *(task.result() for task in finished),
        *sorted(one_by_one),
    ]


@workflow.defn
async def corpus_fails_together() -> list[str]:
    """One task of a group fails: the others are cancelled, and clean up."""

    async def waiting(name: str) -> None:
        try:
            await asyncio.sleep(LONG)
        finally:
            await undo(name)

    failures = list[str]()
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(waiting("first"))
            group.create_task(waiting("second"))
            group.create_task(_as_task(decline("4")))
    except* ActivityError as errors:
        failures = [type(error).__name__ for error in errors.exceptions]
    return failures


async def _as_task(call: Any) -> None:
    await call


@workflow.defn
async def corpus_anyio() -> list[int]:
    results = list[int]()

    async def work(number: int) -> None:
        results.append(await double(number))

    async with anyio.create_task_group() as group:
        for number in range(3):
            group.start_soon(work, number)
    with anyio.move_on_after(TICK) as scope:
        await hang()
    assert scope.cancelled_caught
    send, receive = anyio.create_memory_object_stream[int](2)
    async with anyio.create_task_group() as group, send, receive:
        group.start_soon(send.send, 5)
        results.append(await receive.receive())
    return sorted(results)


@workflow.defn
async def corpus_coordination() -> list[int]:
    """A queue between tasks, a lock, a semaphore, an event."""
    queue, lock, two, ready = asyncio.Queue[int](1), asyncio.Lock(), asyncio.Semaphore(2), asyncio.Event()
    results = list[int]()

    async def produce() -> None:
        await ready.wait()
        for number in range(4):
            await queue.put(number)

    async def consume(count: int) -> None:
        for _ in range(count):
            number = await queue.get()
            async with two, lock:
                results.append(await double(number))

    async with asyncio.TaskGroup() as group:
        group.create_task(produce())
        group.create_task(consume(2))
        group.create_task(consume(2))
        await asyncio.sleep(TICK)
        ready.set()
    return results


# Chance, and values. --------------------------------------------------------------------------------------------------


@workflow.defn
async def corpus_chance() -> list[str]:
    """Ids of activities are compared in a replay: random numbers and UUIDs must come out as they did."""
    ids = [str(workflow.uuid4()), str(uuid.UUID(int=workflow.random().getrandbits(128))), workflow.info().run_id]
    for each in ids:
        await workflow.execute_activity(
            double, workflow.random().randrange(100), activity_id=each, start_to_close_timeout=timedelta(seconds=10)
        )
    return ids


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Line:
    article: str
    price: Decimal
    tags: frozenset[str] = frozenset()


class Order(BaseModel):
    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    id: uuid.UUID
    placed: datetime
    due: date
    lines: list[Line]
    colours: dict[Colour, int]
    weight: float | None
    sealed: bool
    wait: timedelta
    raw: bytes
    pair: tuple[int, str]


ORDER = Order(
    id=uuid.UUID(int=7),
    placed=datetime(2024, 2, 29, 12, 30, 0, 123456, tzinfo=UTC),
    due=date(2024, 3, 1),
    lines=[Line("päper", Decimal("1.10"), frozenset({"a"})), Line("ink", Decimal("1E+3"))],
    colours={Colour.RED: 1, Colour.BLUE: -(2**53)},
    weight=None,
    sealed=True,
    wait=timedelta(days=1, microseconds=1),
    raw=bytes(range(256)),
    pair=(1, "\u2028"),
)


@activity.defn
async def take(order: Order, raw: bytes, nothing: None, more: dict[str, Any]) -> Order:
    assert (order, raw, nothing, more) == (ORDER, ORDER.raw, None, {"deep": [{"er": 1.5}]})
    return order


@workflow.defn
async def corpus_values(order: Order, lines: list[Line], *, colour: Colour = Colour.RED) -> tuple[Order, list[Line]]:
    assert order == ORDER and lines == ORDER.lines and colour is Colour.BLUE
    assert await take(order, order.raw, None, {"deep": [{"er": 1.5}]}) == ORDER
    return order, lines


# Ends that the code does not choose. ----------------------------------------------------------------------------------


@workflow.defn
async def corpus_waiting() -> int:
    """Terminated, or left open."""
    return await double(await _patience())


async def _patience() -> int:
    await workflow.sleep(timedelta(days=365))
    return 1


@workflow.defn
async def corpus_mended(number: int) -> int:
    """Its first recorder's worker had other code, which raised: the run was parked until it had this."""
    await asyncio.sleep(TICK)
    return await double(number)


# Runs that are left open. ---------------------------------------------------------------------------------------------


@activity.defn(retry_policy=RetryPolicy(initial_interval=timedelta(minutes=1)))
async def second_time_lucky() -> int:
    if activity.info().attempt < 2:
        raise OSError("not yet")
    return activity.info().attempt


@workflow.defn
async def corpus_in_retry() -> int:
    """Left open while its activity waits to be tried again."""
    return await second_time_lucky()


@workflow.defn
async def corpus_in_sleep() -> int:
    """Left open in a timer that is due by now."""
    await asyncio.sleep(60)
    return await double(5)


@workflow.defn
async def corpus_elsewhere() -> int:
    """Left open while its activity waits for a worker."""
    return await workflow.execute_activity(
        double, 6, task_queue="elsewhere", start_to_close_timeout=timedelta(seconds=10)
    )


WORKFLOWS = [
    corpus_sequence,
    corpus_retries,
    corpus_failure,
    corpus_timeouts,
    corpus_timers,
    CorpusBox,
    corpus_cancelled,
    corpus_not_cancelled,
    corpus_cancelled_parts,
    corpus_cancelled_together,
    corpus_saga,
    corpus_side_by_side,
    corpus_fails_together,
    corpus_anyio,
    corpus_coordination,
    corpus_chance,
    corpus_values,
    corpus_waiting,
    corpus_mended,
    corpus_in_retry,
    corpus_in_sleep,
    corpus_elsewhere,
]
ACTIVITIES = [
    double,
    triple,
    third_time_lucky,
    decline,
    hang,
    hang_until_cancelled,
    too_slow,
    silent,
    undo,
    take,
    second_time_lucky,
]
