"""F20–F29 without F27, F52, F55: faults of messages, cancellation, replay and growth, as workflow code meets them."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from durable import Client, activity, workflow
from durable.client import RPCError, RPCStatusCode, WorkflowFailureError
from durable.client.handle import WorkflowHandle
from durable.converter import PAYLOAD_BYTES_MAX, PayloadTooLarge
from durable.exceptions import ActivityError, RetryState, TerminatedError
from durable.history import ending
from durable.history.events import (
    ActivityTaskScheduled,
    WorkflowExecutionSignaled,
    WorkflowTaskFailed,
)
from durable.history.values import RunStatus, TaskFailedCause
from durable.testing import elsewhere
from durable.worker import watchdog, worker
from tests.engine.histories import assert_replays, assert_sound, of_type, types, until
from tests.engine.rules.runs import parked, sent
from tests.faults.conftest import MakeWorker
from tests.faults.long_histories import LONG, calls_of_a_replay, history_of, replay
from tests.forkserver import processes

HOUR = timedelta(hours=1)


@activity.defn
async def echo(text: str) -> str:
    return text


# F20–F22: signals and continue-as-new -----------------------------------------------------------------------------


@workflow.defn
class Flooded:
    """Continues as new after every few signals; ``end`` brings what all of its runs have got."""

    @workflow.init
    def __init__(self, got: list[str]) -> None:
        self.got = got
        self.until = len(got) + 20
        self.ended = False

    @workflow.run
    async def run(self, got: list[str]) -> list[str]:
        await workflow.wait_condition(lambda: self.ended or len(self.got) >= self.until)
        if not self.ended:
            workflow.continue_as_new(self.got)
        return self.got

    @workflow.signal
    def tell(self, what: str) -> None:
        self.got.append(what)

    @workflow.signal
    def end(self) -> None:
        self.ended = True


async def test_f20_a_thousand_signals_to_a_run_that_continues_as_new_all_arrive_once_and_in_order(
    client: Client, make_worker: MakeWorker
) -> None:
    async with make_worker(client, Flooded):
        first = await client.start_workflow(Flooded.run, [], id="f")
        handle = client.get_workflow_handle("f")

        async def send(sender: int) -> None:
            for number in range(100):
                await handle.signal(Flooded.tell, f"{sender}:{number}")

        await asyncio.gather(*map(send, range(10)))
        await handle.signal(Flooded.end)
        got = await first.result()
    assert Counter(got) == Counter(f"{sender}:{number}" for sender in range(10) for number in range(100))
    for sender in range(10):
        assert [each for each in got if each.startswith(f"{sender}:")] == [f"{sender}:{n}" for n in range(100)]
    assert (await handle.describe()).run_id != first.result_run_id


@workflow.defn
async def one_each(got: list[str], pause: float) -> list[str]:
    """Each run takes one signal, however many it has been told of."""
    got.append(await workflow.receive("tell", str))
    if len(got) < 4:
        workflow.continue_as_new(args=[got, pause], backoff_start_interval=timedelta(seconds=pause))
    return got


@workflow.defn(name="one_each")
class OneEach:
    """As `one_each`; what nobody ever asks for stays behind."""

    @workflow.run
    async def run(self, got: list[str], pause: float) -> list[str]:
        return await one_each(got, pause)


@pytest.mark.parametrize("pause", [0, 0.01])
@pytest.mark.parametrize("definition", [one_each, OneEach])
async def test_f20_signals_that_a_run_was_told_of_and_has_not_taken_are_told_to_the_next_run_first(
    client: Client, make_worker: MakeWorker, definition: Any, pause: float
) -> None:
    first = await client.start_workflow("one_each", args=[[], pause], id="o")
    handle = client.get_workflow_handle("o")
    for text in ("one", "two", "three"):
        await handle.signal("tell", text)
        await handle.signal("noise")
    async with make_worker(client, definition):
        last = asyncio.ensure_future(first.result())

        async def has_continued() -> bool:
            return (await handle.describe()).run_id != first.result_run_id

        await until(has_continued)
        await handle.signal("tell", "four")
        assert await last == ["one", "two", "three", "four"]
    history = await handle.fetch_history()
    assert_sound(history.events)
    await assert_replays(definition, history)
    signals = {event.signal_name for event in of_type(history, WorkflowExecutionSignaled)}
    assert signals == ({"tell", "noise"} if definition is one_each else {"tell"})


async def test_f21_a_signal_at_the_instant_of_closing_is_read_or_refused_aloud(
    client: Client, make_worker: MakeWorker
) -> None:
    @workflow.defn
    async def until_one_comes() -> list[str]:
        got: list[str] = [await workflow.receive("tell", str)]

        @workflow.signal
        def tell(text: str) -> None:
            got.append(text)

        await workflow.wait_condition(workflow.all_handlers_finished)
        return got

    async def tell(handle: WorkflowHandle[Any, Any], text: str) -> str | None:
        try:
            await handle.signal("tell", text)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return None
        return text

    async with make_worker(client, until_one_comes):
        for round in range(10):
            handle = await client.start_workflow(until_one_comes, id=f"u-{round}")
            told = await asyncio.gather(*(tell(handle, str(number)) for number in range(8)))
            acknowledged = [each for each in told if each is not None]
            got = await handle.result()
            signaled = of_type(await handle.fetch_history(), WorkflowExecutionSignaled)
            assert len(signaled) == len(acknowledged) and sorted(got) == sorted(acknowledged)


async def test_f22_while_runs_follow_each_other_the_workflow_is_found_at_every_moment(
    client: Client, make_worker: MakeWorker
) -> None:
    @workflow.defn
    async def relay(left: int) -> str:
        while left:
            await workflow.receive("next")
            left -= 1
            if left % 2:
                workflow.continue_as_new(left)
        return "over"

    async with make_worker(client, relay):
        first = await client.start_workflow(relay, 30, id="r")
        handle = client.get_workflow_handle("r")
        seen: list[tuple[str, RunStatus]] = []

        async def look() -> None:
            while True:
                found = await handle.describe()
                seen.append((found.run_id, found.status))

        looking = asyncio.create_task(look())
        for _ in range(29):
            await handle.signal("next")  # raises RPCError at a moment without an open run
        looking.cancel()
        await asyncio.wait([looking])
        await handle.signal("next")
        assert await first.result() == "over"
    assert looking.cancelled()
    assert len({run_id for run_id, _ in seen}) > 1 and {status for _, status in seen} == {RunStatus.RUNNING}


# F23: cancellation ------------------------------------------------------------------------------------------------


@workflow.defn
class CancelledAt:
    """Waits at the place that it is told, and counts the cancellations that it gets."""

    @workflow.run
    async def run(self, place: str) -> int:
        self.count = 0
        match place:
            case "wait_for":
                await self.counted(asyncio.wait_for(asyncio.Event().wait(), 3600))
            case "shield":
                await self.counted(asyncio.shield(asyncio.ensure_future(asyncio.Event().wait())))
            case "gather":
                await self.counted(asyncio.gather(asyncio.Event().wait(), workflow.sleep(3600)))
            case "finally":
                try:
                    await workflow.sleep(0.001)
                finally:
                    await self.counted(asyncio.Event().wait())
            case "catching":
                try:
                    await asyncio.wait_for(asyncio.Event().wait(), 0.001)
                except TimeoutError:
                    await self.counted(asyncio.Event().wait())
            case _:
                await self.counted(asyncio.Event().wait())
        await workflow.sleep(0.001)  # a second delivery would come here
        return self.count

    async def counted(self, what: Any) -> None:
        self.at_it = True
        try:
            await what
        except asyncio.CancelledError:
            self.count += 1

    at_it = False

    @workflow.query
    def is_at_it(self) -> bool:
        return self.at_it


@pytest.mark.parametrize("max_cached", [1000, 0], ids=["cached", "uncached"])
async def test_f23_a_cancel_request_is_delivered_once_wherever_the_code_waits(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    unbegun = await client.start_workflow(CancelledAt.run, "before the first task", id="unbegun")
    await unbegun.cancel()
    async with make_worker(client, CancelledAt, max_cached_workflows=max_cached):
        assert await unbegun.result() == 1
        for place in ("awaiting", "wait_for", "shield", "gather", "finally", "catching"):
            handle = await client.start_workflow(CancelledAt.run, place, id=place)
            await until(lambda handle=handle: handle.query(CancelledAt.is_at_it))  # type: ignore[misc]
            await handle.cancel()
            assert await handle.result() == 1, place
            await assert_replays(CancelledAt, await handle.fetch_history())


# F24: evicted coroutines ------------------------------------------------------------------------------------------

strays: list[tuple[str, str]] = []


@workflow.defn
class Littering:
    """Leaves cycles that hold its coroutines, and does things in ``finally``."""

    @workflow.run
    async def run(self, name: str) -> str:
        self.me: Any = self
        self.task = asyncio.create_task(self.linger(name))
        await workflow.receive("go")
        gc.collect()  # finds what others have left, in the midst of this run
        self.task.cancel()
        return await workflow.execute_activity(echo, name, start_to_close_timeout=HOUR)

    async def linger(self, name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            if workflow.in_workflow() and workflow.info().workflow_id != name:
                strays.append((name, workflow.info().workflow_id))
            workflow.start_activity(echo, f"from {name}", start_to_close_timeout=HOUR)


async def test_f24_an_evicted_runs_finally_does_nothing_to_another_run(
    client: Client, make_worker: MakeWorker, caplog: pytest.LogCaptureFixture
) -> None:
    strays.clear()
    names = [f"run-{number}" for number in range(2)]
    async with make_worker(client, Littering, echo, max_cached_workflows=0):
        handles = [await client.start_workflow(Littering.run, name, id=name) for name in names]
        for handle in handles:
            await handle.signal("go")
        assert await asyncio.gather(*(handle.result() for handle in handles)) == names
    gc.collect()
    assert strays == []
    for handle in handles:
        history = await handle.fetch_history()
        inputs = [event.input[0].data.decode() for event in of_type(history, ActivityTaskScheduled)]
        # Its own two, in one task: the one of the cancelled task is asked for in the same go.
        assert set(inputs) <= {f'"{handle.id}"', f'"from {handle.id}"'}
        await assert_replays(Littering, history)
    assert "never retrieved" not in caplog.text and "was destroyed" not in caplog.text


# F25, F26: order --------------------------------------------------------------------------------------------------


@workflow.defn
class Sets:
    """Walks sets of tasks, whose order is that of their hashes."""

    @workflow.run
    async def run(self) -> list[str]:
        order: list[str] = []

        async def step(name: str) -> str:
            await workflow.sleep(0.001)
            order.append(await workflow.execute_activity(echo, name, start_to_close_timeout=HOUR))
            return name

        tasks = {asyncio.create_task(step(f"task {number}"), name=f"{number}") for number in range(8)}
        done, _ = await asyncio.wait(tasks)
        order += [task.result() for task in done]
        for next_one in asyncio.as_completed({asyncio.create_task(step(f"more {number}")) for number in range(8)}):
            order.append(await next_one)
        for task in {asyncio.create_task(step(f"last {number}")) for number in range(8)}:
            order.append(await task)
        return order


async def test_f25_sets_of_tasks_are_walked_alike_in_a_process_that_hashes_otherwise(
    make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elsewhere, "HASH_SEEDS", ("1",))  # one process is enough here: they take their time to begin
    async with await Client.connect("sqlite://") as client:
        async with make_worker(client, Sets, echo, max_cached_workflows=0):
            handle = await client.start_workflow(Sets.run, id="s")
            await handle.result()
        history = await handle.fetch_history()
    others = elsewhere.Elsewhere()
    try:
        finding = await asyncio.to_thread(others.replay, {"Sets": Sets}, [history])
    finally:
        others.close()
    assert (finding.difference, finding.unchecked) == ("", "")


@workflow.defn
class Together:
    """Gets a signal, an update and the result of an activity in one workflow task."""

    def __init__(self) -> None:
        self.trace: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        self.trace.append(await workflow.execute_activity(echo, "result", start_to_close_timeout=HOUR))
        await workflow.wait_condition(lambda: len(self.trace) >= 9)
        return self.trace

    @workflow.signal(unfinished_policy=workflow.HandlerUnfinishedPolicy.ABANDON)
    async def tell(self, what: str) -> None:
        await self.take(what)

    @workflow.update(unfinished_policy=workflow.HandlerUnfinishedPolicy.ABANDON)
    async def change(self, what: str) -> None:
        await self.take(what)

    async def take(self, what: str) -> None:
        self.trace.append(f"{what} begins")
        await asyncio.sleep(0)
        self.trace.append(what)
        await workflow.execute_activity(echo, what, start_to_close_timeout=HOUR)


@pytest.mark.parametrize("max_cached", [1000, 0], ids=["cached", "uncached"])
async def test_f26_a_signal_an_update_and_a_result_of_one_task_come_in_the_same_order_on_every_replay(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    async with make_worker(client, Together, max_cached_workflows=max_cached):
        handle = await client.start_workflow(Together.run, id="t")

        async def waits() -> bool:
            return "ActivityTaskScheduled" in types(await handle.fetch_history())

        await until(waits)
    async with make_worker(client, echo):

        async def is_done() -> bool:
            return "ACTIVITY" in {each.kind.name for each in (await handle.describe()).pending_messages}

        await until(is_done)
    update = asyncio.ensure_future(handle.execute_update(Together.change, "update"))
    await sent(handle, 1)
    for what in ("one", "two"):
        await handle.signal(Together.tell, what)
    async with make_worker(client, Together, echo, max_cached_workflows=max_cached):
        await update
        await handle.signal(Together.tell, "three")
        trace = await handle.result()
    # Signals first, then the update, then the rest; the result of the activity after all of their first steps.
    assert trace[:7] == ["one begins", "two begins", "update begins", "one", "two", "update", "result"]
    await assert_replays(Together, await handle.fetch_history())


# F28, F29: code that blocks, code that has changed ----------------------------------------------------------------


def block(how: str) -> None:
    match how:
        case "loop":
            while True:
                pass
        case "sleep":
            time.sleep(1.5)
        case _:
            lock = threading.Lock()
            lock.acquire()
            lock.acquire(timeout=1.5)


@workflow.defn(sandboxed=False)
async def blocking(how: str) -> None:
    block(how)


@workflow.defn
async def harmless() -> str:
    return await workflow.execute_activity(echo, "unharmed", start_to_close_timeout=HOUR)


@pytest.mark.parametrize(("how", "line"), [("loop", "pass"), ("sleep", "time.sleep(1.5)"), ("lock", "timeout=1.5")])
async def test_f28_the_line_that_blocks_is_named_and_the_worker_lives(
    client: Client,
    make_worker: MakeWorker,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    line: str,
) -> None:
    monkeypatch.setattr(worker, "DEADLOCK_TIMEOUT", 0.2)
    monkeypatch.setattr(watchdog, "GRACE", 0.1)
    async with make_worker(client, blocking, harmless, echo):
        stuck = asyncio.ensure_future(client.start_workflow(blocking, how, id="stuck"))
        assert await client.execute_workflow(harmless, id="other") == "unharmed"
        assert "[TMPRL1101] Potential deadlock detected" in await parked(await stuck)
    assert line in caplog.text or "while True" in caplog.text
    assert "in block" in caplog.text


def deployed(version: int) -> Any:
    @workflow.defn(name="deployed")
    async def run() -> str:
        if version == 2 and workflow.patched("greet-first"):
            await workflow.execute_activity(echo, "hello", start_to_close_timeout=HOUR)
        await workflow.receive("go")
        return await workflow.execute_activity(echo, "done", start_to_close_timeout=HOUR)

    return run


async def test_f29_a_rolled_back_patch_parks_its_runs_with_a_diff_and_they_recover_with_the_next_deploy(
    client: Client, make_worker: MakeWorker
) -> None:
    old = await client.start_workflow("deployed", id="old")
    async with make_worker(client, deployed(1), harmless, echo):

        async def begun() -> bool:
            return "WorkflowTaskCompleted" in types(await old.fetch_history())

        await until(begun)
    async with make_worker(client, deployed(2), harmless, echo):
        new = await client.start_workflow("deployed", id="new")

        async def greeted() -> bool:
            return "ActivityTaskCompleted" in types(await new.fetch_history())

        await until(greeted)
    async with make_worker(client, deployed(1), harmless, echo):
        for handle in (old, new):
            await handle.signal("go")
        assert await old.result() == "done"
        reason = await parked(new)
        assert "MarkerRecorded" in reason and "greet-first" in reason
        assert await client.execute_workflow(harmless, id="other") == "unharmed"
        (failed,) = of_type(await new.fetch_history(), WorkflowTaskFailed)
        assert failed.cause is TaskFailedCause.NON_DETERMINISTIC_ERROR
    async with make_worker(client, deployed(2), harmless, echo):
        assert await new.result() == "done"
        assert (await new.describe()).parked is None
        assert_sound((await new.fetch_history()).events)


# F52: what is too large -------------------------------------------------------------------------------------------

LARGE = 3 * 1024 * 1024
attempts: list[str] = []


@activity.defn
async def produce(size: int) -> str:
    attempts.append("produce")
    return "x" * size


@activity.defn
async def consume(text: str) -> int:
    attempts.append("consume")
    return len(text)


@workflow.defn
async def moving(size: int) -> list[Any]:
    got: list[Any] = []
    try:
        got.append(len(await workflow.execute_activity(produce, size, start_to_close_timeout=HOUR)))
    except ActivityError as error:
        cause: Any = error.cause
        got.append([cause.type, cause.non_retryable, error.retry_state is RetryState.NON_RETRYABLE_FAILURE])
    try:
        got.append(await workflow.execute_activity(consume, "x" * size, start_to_close_timeout=HOUR))
    except PayloadTooLarge as error:
        got.append(str(error))
    return got


async def test_f52_a_result_of_3_mb_fails_its_activity_at_once_and_an_argument_of_3_mb_its_call(
    client: Client, make_worker: MakeWorker
) -> None:
    attempts.clear()
    async with make_worker(client, moving, produce, consume):
        result, argument = await client.execute_workflow(moving, LARGE, id="m")
        assert result == ["PayloadTooLarge", True, True]
        assert argument == (
            f"text: {LARGE + 2:,} bytes are more than the {PAYLOAD_BYTES_MAX:,} that a payload may have; "
            "store the data elsewhere and pass a reference, or split it"
        )
        assert attempts == ["produce"]
        assert await client.execute_workflow(moving, 1000, id="n") == [1000, 1000]
        with pytest.raises(PayloadTooLarge):
            await client.start_workflow("moving", "x" * LARGE, id="o")


# F55: long histories ----------------------------------------------------------------------------------------------


@workflow.defn
class Growing:
    got = 0

    @workflow.run
    async def run(self) -> int:
        await workflow.wait_condition(lambda: self.got >= 1000)
        return self.got

    @workflow.signal
    def tell(self) -> None:
        self.got += 1

    @workflow.query
    def count(self) -> int:
        return self.got


@pytest.mark.parametrize("max_cached", [1000, 0], ids=["cached", "uncached"])
async def test_f55_a_history_that_grows_warns_once_and_is_terminated_at_its_limit_with_the_reason(
    client: Client,
    make_worker: MakeWorker,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    max_cached: int,
) -> None:
    monkeypatch.setattr(ending, "HISTORY_EVENTS_WARNED", 12)
    monkeypatch.setattr(ending, "HISTORY_EVENTS_MAX", 24)
    async with make_worker(client, Growing, max_cached_workflows=max_cached):
        handle = await client.start_workflow(Growing.run, id="g")
        for sent_so_far in range(1, 6):  # four events each
            await handle.signal(Growing.tell)
            assert await handle.query(Growing.count) == sent_so_far
        with caplog.at_level(logging.WARNING):
            await handle.signal(Growing.tell)
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
        assert isinstance(failed.value.cause, TerminatedError)
        assert str(failed.value.cause) == ("its history has 24 events, and may have 24: continue as new before that")
        history = await handle.fetch_history()
        assert types(history)[-2:] == ["WorkflowExecutionSignaled", "WorkflowExecutionTerminated"]
        assert_sound(history.events)
        # It can still be asked, of what its code has read.
        assert await handle.query(Growing.count) == 5
    warnings = [record.getMessage() for record in caplog.records if "continue as new" in record.getMessage()]
    assert len(warnings) == 1 and "workflow 'g'" in warnings[0] and "has 12 events" in warnings[0]


@pytest.mark.parametrize("of", LONG)
def test_f55_a_replay_of_twice_the_history_takes_twice_the_steps(of: str) -> None:
    # In a process of its own: after PyThreadState_SetAsyncExc (F28), CPython 3.11 hangs in the next profiled call.
    with processes.Pool(1) as pool:
        _, one, two = pool.starmap(calls_of_a_replay, [(of, 10), (of, 200), (of, 400)])
    assert 1.9 * one < two < 2.1 * one


def test_f55_a_history_of_50_000_events_replays() -> None:
    events = history_of("timers", 10_000)
    assert len(events) > 50_000
    replay("timers", events)
