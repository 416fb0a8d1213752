"""What the corpus was recorded with. NEVER CHANGE A DEFINITION IN HERE: recorded histories must replay on it for ever.

A new feature gets a new workflow, and a new activity if need be, at the end.
"""

from __future__ import annotations

import asyncio
import enum
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import anyio
from pydantic import BaseModel, ConfigDict

from durable import RetryPolicy, activity, workflow
from durable.common import Priority, RawValue, SearchAttributeKey
from durable.exceptions import ActivityError, ApplicationError, ChildWorkflowError, is_cancelled_exception
from durable.workflow import LocalActivityConfig

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


# Messages, versions, and other runs. ---------------------------------------------------------------------------------


@workflow.defn
class CorpusCounter:
    """Counts by updates; one that is too much is refused. Goes on as a new run in between."""

    @workflow.init
    def __init__(self, count: int, runs: int) -> None:
        self.count = count
        self.told: list[int] = []

    @workflow.run
    async def run(self, count: int, runs: int) -> int:
        await workflow.wait_condition(lambda: self.count >= 3 * runs and workflow.all_handlers_finished())
        if runs < 2:
            workflow.continue_as_new(args=[self.count, runs + 1])
        return self.count

    @workflow.update
    async def add(self, number: int) -> int:
        self.count += await double(number)
        return self.count

    @add.validator
    def not_too_much(self, number: int) -> None:
        if number > 100:
            raise ValueError("too much")


@workflow.defn
async def corpus_patched() -> int:
    """Recorded with the newer of two patches; the older one is no more asked for."""
    workflow.deprecate_patch("older")
    return await double(4 if workflow.patched("newer") else 3)


@workflow.defn
async def corpus_received() -> str:
    """A child, or whoever somebody signals."""
    return await workflow.receive("word", str)


@workflow.defn
async def corpus_family() -> list[str]:
    """Children that complete, fail and are cancelled; a signal to one, and to nobody."""
    child = await workflow.start_child_workflow(corpus_received, id="corpus-child")
    await child.signal("word", "hello")
    told = [await child]
    for flow, arguments in ((corpus_failure, []), (corpus_sequence, [1])):
        try:
            told.append(str(await workflow.execute_child_workflow(flow, args=arguments, id=f"corpus-{len(told)}")))
        except ChildWorkflowError as error:
            told.append(type(error.cause).__name__)
    unheard = await workflow.start_child_workflow(corpus_received, id="corpus-unheard")
    unheard.cancel("for the record")
    try:
        await unheard
    except ChildWorkflowError as error:
        told.append(type(error.cause).__name__)
    try:
        await workflow.get_external_workflow_handle("corpus-nobody").signal("word", "hello")
    except ApplicationError as error:
        told.append(error.message)
    return told


@workflow.defn
async def corpus_left() -> str:
    """Left open while its child waits; the child hears of its end when it comes."""
    return await workflow.execute_child_workflow(corpus_received, id="open-child")


@workflow.defn
async def corpus_carried(done: list[str]) -> list[str]:
    """A run for each word: the words that are not read yet go over to the next run."""
    done = [*done, await workflow.receive("word", str)]
    if len(done) < 3:
        workflow.continue_as_new(done)
    return done


# Runs by policies and options. ----------------------------------------------------------------------------------------


@workflow.defn
async def corpus_tried_again(number: int) -> list[Any]:
    """Fails at first; the run that follows it knows why."""
    attempt = workflow.info().attempt
    doubled = await double(number)
    if attempt < 2:
        raise ApplicationError("not yet", doubled, type="Passing")
    return [attempt, doubled, str(workflow.get_last_failure())]


@workflow.defn
async def corpus_scheduled() -> int:
    """By a cron schedule: each run adds to what the one before has returned."""
    before = workflow.get_last_completion_result(int) if workflow.has_last_completion_result() else 0
    return before + await double(1)


STATE = SearchAttributeKey.for_keyword("CorpusState")
WEIGHT = SearchAttributeKey.for_float("CorpusWeight")
PLACES = SearchAttributeKey.for_keyword_list("CorpusPlaces")


@workflow.defn
async def corpus_described() -> str:
    """Begun with a memo and search attributes, and changes both; says what its steps are for."""
    workflow.upsert_search_attributes([STATE.value_set("under way"), WEIGHT.value_unset()])
    workflow.upsert_memo({"owner": None, "parts": [1, 2]})
    workflow.set_current_details("half-way")
    await workflow.sleep(TICK, summary="a pause")
    number = await workflow.execute_activity(
        double, 5, start_to_close_timeout=timedelta(seconds=10), summary="a step", priority=Priority(priority_key=1)
    )
    workflow.upsert_search_attributes([STATE.value_set("done"), PLACES.value_set(["here", "there"])])
    return f"{number}, {workflow.memo_value('parts', type_hint=list[int])}"


@workflow.defn(dynamic=True)
class CorpusAnything:
    """Takes every type that has no workflow of its own."""

    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> str:
        number = workflow.payload_converter().from_payload(args[0].payload, int)
        return f"{workflow.info().workflow_type} {await double(number)}"


# Activities of other kinds. -------------------------------------------------------------------------------------------


@workflow.defn
async def corpus_local() -> list[Any]:
    """Local activities: one after the other, side by side, beside a timer, failed, and tried again after a timer."""
    soon: LocalActivityConfig = {"start_to_close_timeout": timedelta(seconds=10)}
    told: list[Any] = [await workflow.execute_local_activity(double, 1, **soon)]
    told += await asyncio.gather(
        workflow.execute_local_activity(double, 2, **soon),
        workflow.execute_local_activity(double, 3, **soon),
        workflow.sleep(TICK),
    )
    try:
        await workflow.execute_local_activity(decline, "5", **soon)
    except ActivityError as error:
        told.append(type(error.cause).__name__)
    told.append(
        await workflow.execute_local_activity(
            third_time_lucky, retry_policy=QUICKLY, local_retry_threshold=timedelta(milliseconds=12), **soon
        )
    )
    return told


@activity.defn(start_to_close_timeout=timedelta(days=36500))
async def ask_outside(question: str) -> str:
    """Whoever knows the ids completes it."""
    activity.raise_complete_async()


@workflow.defn
async def corpus_outside(question: str) -> str:
    """Waits for an answer from outside; closed, or left open."""
    return await ask_outside(question)


@workflow.defn
async def corpus_local_left() -> int:
    """Left open while its local activity waits to be tried again."""
    return await workflow.execute_local_activity(
        second_time_lucky, start_to_close_timeout=timedelta(seconds=10), local_retry_threshold=timedelta(hours=1)
    )


@workflow.defn
class CorpusAsked:
    """Left open with an update that is accepted, and waits for a signal."""

    def __init__(self) -> None:
        self.answer = ""
        self.asked = False

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: self.asked and workflow.all_handlers_finished())
        return self.answer

    @workflow.update
    async def ask(self, question: str) -> str:
        self.asked = True
        await workflow.wait_condition(lambda: self.answer != "")
        return f"{question} {self.answer}"

    @workflow.signal
    def say(self, answer: str) -> None:
        self.answer = answer


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
    CorpusCounter,
    corpus_patched,
    corpus_received,
    corpus_family,
    corpus_left,
    corpus_carried,
    corpus_tried_again,
    corpus_scheduled,
    corpus_described,
    CorpusAnything,
    corpus_local,
    corpus_outside,
    corpus_local_left,
    CorpusAsked,
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
    ask_outside,
]
