"""`workflow.saga`: what is undone, when, in which order, whatever comes in between, and what is told of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from durable import Client, RetryPolicy, activity, workflow
from durable.activity import ActivityCancellationType
from durable.client import WorkflowFailureError
from durable.client.handle import WorkflowHandle
from durable.context import NotInWorkflowError
from durable.converter import DataConverter
from durable.exceptions import ActivityError, ApplicationError, CancelledError, CompensationError
from durable.history.events import (
    ActivityTaskCancelRequested,
    ActivityTaskScheduled,
    TimerFired,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionFailed,
    WorkflowTaskCompleted,
)
from durable.history.values import RunStatus
from durable.worker import Replayer
from durable.worker.rebuild import rebuild
from durable.worker.replay import Environment
from durable.workflow import Saga
from durable.workflow.definition import WorkflowDefinition
from tests.engine.conftest import Execute, MakeWorker
from tests.engine.histories import assert_replays, assert_sound, of_type, until
from tests.testing.pytests import Pytest

ONCE = RetryPolicy(maximum_attempts=1)
MINUTE = timedelta(minutes=1)
done: list[str] = []
gates: dict[str, asyncio.Event] = {}


@pytest.fixture(autouse=True)
def nothing_done() -> None:
    done.clear()
    gates.clear()


@activity.defn
async def do(what: str) -> str:
    done.append(what)
    return what


@activity.defn(retry_policy=ONCE)
async def undo(what: str) -> None:
    """Waits at the gate of that name, if there is one."""
    done.append(f"undo {what}")
    if what in gates:
        await gates[what].wait()
    if what.startswith("stuck"):
        raise ApplicationError(f"{what} can't be undone", type="Stuck")


@activity.defn(retry_policy=ONCE)
async def refuse() -> None:
    raise ApplicationError("out of stock", type="Refused")


ACTIVITIES = (do, undo, refuse)


async def failure_of(handle: WorkflowHandle[Any, Any]) -> BaseException:
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    return caught.value.cause


async def has_done(what: str) -> None:
    async def seen() -> bool:
        return what in done

    await until(seen)


async def has_happened(handle: WorkflowHandle[Any, Any], kind: type[Any], count: int = 1) -> None:
    """The history has this many events of the kind."""

    async def seen() -> bool:
        return len(of_type(await handle.fetch_history(), kind)) >= count

    await until(seen)


def scheduled(history: Any, kind: str) -> list[ActivityTaskScheduled]:
    return [event for event in of_type(history, ActivityTaskScheduled) if event.activity_type == kind]


# What runs, and in which order. ---------------------------------------------------------------------------------------


@workflow.defn
async def order(items: list[str], end: str, parallel: bool = False) -> str:
    async with workflow.saga(parallel=parallel) as saga:
        for item in items:
            await do(item)
            saga.compensate_with(undo, item)
        if end == "fail":
            await refuse()
        if end == "wait":
            await workflow.sleep(3600)
    return "sold"


async def test_a_block_that_ends_well_compensates_nothing(execute: Execute) -> None:
    assert await execute(order, ["a", "b"], "", using=ACTIVITIES) == "sold"
    assert done == ["a", "b"]


async def test_a_block_that_fails_compensates_in_reverse_order(execute: Execute) -> None:
    with pytest.raises(WorkflowFailureError) as caught:
        await execute(order, ["a", "b", "c"], "fail", using=ACTIVITIES)
    assert done == ["a", "b", "c", "undo c", "undo b", "undo a"]
    assert str(caught.value.cause.__cause__) == "Refused: out of stock"


async def test_parallel_compensations_are_scheduled_in_one_workflow_task(execute: Execute, client: Client) -> None:
    with pytest.raises(WorkflowFailureError):
        await execute(order, ["a", "b", "c"], "fail", True, using=ACTIVITIES)
    events = scheduled(await client.get_workflow_handle("the-run").fetch_history(), "undo")
    assert len({event.workflow_task_completed_event_id for event in events}) == 1
    assert [event.input[0].data for event in events] == [b'"c"', b'"b"', b'"a"']


@workflow.defn
async def unchanged() -> list[str]:
    error = ApplicationError("mine")
    try:
        async with workflow.saga() as saga:
            saga.compensate_with(undo, "a")
            raise error
    except ApplicationError as caught:
        return [str(caught is error), str(caught.__cause__)]


async def test_the_error_goes_on_as_it_is_when_all_compensations_succeed(execute: Execute) -> None:
    assert await execute(unchanged, using=ACTIVITIES) == ["True", "None"]
    assert done == ["undo a"]


@workflow.defn
async def nested() -> None:
    async with workflow.saga() as outer:
        outer.compensate_with(undo, "outer")
        async with workflow.saga() as inner:
            inner.compensate_with(undo, "inner 1")
            inner.compensate_with(undo, "inner 2")
            await refuse()


async def test_an_inner_saga_compensates_before_the_outer_one(execute: Execute) -> None:
    with pytest.raises(WorkflowFailureError):
        await execute(nested, using=ACTIVITIES)
    assert done == ["undo inner 2", "undo inner 1", "undo outer"]


class Bank:
    @activity.defn
    async def give_back(self, what: str, *, cents: int = 0) -> None:
        done.append(f"{what} {cents}")

    @activity.defn(name="sync-undo")
    def release(self, what: str) -> None:
        done.append(what)


@activity.defn
def sync_undo(what: str) -> None:
    done.append(what)


@workflow.defn
async def child(what: str) -> str:
    await do(what)
    return what


@workflow.defn
class AnyStep:
    def __init__(self) -> None:
        self.bank = Bank()

    async def forget(self, what: str) -> None:
        await do(what)

    @workflow.run
    async def run(self) -> None:
        async def inner(what: str, /, *rest: str, step: str) -> None:
            await do(" ".join([what, *rest, step]))

        async with workflow.saga() as saga:
            saga.compensate_with(self.bank.give_back, "bound", cents=3)
            saga.compensate_with(self.bank.release, "bound sync")
            saga.compensate_with(sync_undo, "sync")
            saga.compensate_with(self.forget, "method")
            saga.compensate_with(inner, "inner", "function", step="as keyword")
            saga.compensate_with(partial(sync_undo, "partial"))
            saga.compensate_with(
                workflow.execute_activity, do, "options", start_to_close_timeout=MINUTE, summary="a line"
            )
            saga.compensate_with(workflow.execute_local_activity, do, "local", start_to_close_timeout=MINUTE)
            saga.compensate_with(workflow.execute_child_workflow, child, "child", id="undoing-child")
            await workflow.execute_child_workflow(child, "done by a child", id="doing-child")
            await refuse()


async def test_a_step_is_an_activity_of_any_form_or_any_async_callable(client: Client, make_worker: MakeWorker) -> None:
    bank = Bank()
    methods: tuple[Any, ...] = (bank.give_back, bank.release)
    async with make_worker(AnyStep, child, *ACTIVITIES, sync_undo, *methods):
        handle = await client.start_workflow(AnyStep.run, id="any")
        error = await failure_of(handle)
        await Replayer(workflows=[AnyStep]).replay_workflow(await handle.fetch_history())
    assert isinstance(error, ActivityError)
    assert done == [
        *("done by a child", "child", "local", "options", "partial"),
        *("inner function as keyword", "method", "sync", "bound sync", "bound 3"),
    ]


# What goes wrong in them. ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parallel", [False, True], ids=["in turn", "parallel"])
async def test_errors_of_compensations_stop_no_other_and_are_all_reported(
    execute: Execute, client: Client, parallel: bool
) -> None:
    with pytest.raises(WorkflowFailureError) as caught:
        await execute(order, ["stuck 1", "b", "stuck 2"], "fail", parallel, using=ACTIVITIES)
    assert sorted(done[3:]) == ["undo b", "undo stuck 1", "undo stuck 2"]
    error = caught.value.cause
    assert isinstance(error, ApplicationError) and error.type == "CompensationError" and error.non_retryable
    assert error.message == (
        "2 of 3 compensations failed: undo (step 3): Stuck: stuck 2 can't be undone; "
        "undo (step 1): Stuck: stuck 1 can't be undone"
    )
    assert list(error.details) == [
        {"number": 3, "step": "undo", "error": "Stuck: stuck 2 can't be undone"},
        {"number": 1, "step": "undo", "error": "Stuck: stuck 1 can't be undone"},
    ]
    assert isinstance(error.cause, ActivityError) and str(error.cause.cause) == "Refused: out of stock"
    (failed,) = of_type(await client.get_workflow_handle("the-run").fetch_history(), WorkflowExecutionFailed)
    assert failed.failure.message == error.message


@workflow.defn
async def inspecting() -> list[Any]:
    async def interrupted() -> None:
        raise asyncio.CancelledError

    original = ApplicationError("mine")
    try:
        async with workflow.saga() as saga:
            saga.compensate_with(undo, "stuck")
            saga.compensate_with(interrupted)
            saga.compensate_with(workflow.execute_child_workflow, child, "x", id="the-run")
            raise original
    except CompensationError as error:
        return [error.__cause__ is original, [[n, step, type(each).__name__] for n, step, each in error.errors]]


async def test_the_workflow_can_catch_what_its_compensations_raised(execute: Execute) -> None:
    assert await execute(inspecting, using=(*ACTIVITIES,)) == [
        True,
        [
            [3, "execute_child_workflow", "WorkflowAlreadyStartedError"],
            [2, "inspecting.<locals>.interrupted", "CancelledError"],
            [1, "undo", "ActivityError"],
        ],
    ]


async def test_failed_compensations_of_a_cancelled_run_fail_it(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(order, *ACTIVITIES):
        handle = await client.start_workflow(order, args=[["stuck"], "wait"], id="o")
        await has_done("stuck")
        await handle.cancel()
        error = await failure_of(handle)
    assert isinstance(error, ApplicationError) and error.type == "CompensationError"
    assert isinstance(error.cause, CancelledError)


def paying(where: str, *, mended: bool, parallel: bool) -> Any:
    async def faulty_step() -> None:
        await do("looked up")
        if where == "step" and not mended:
            raise LookupError("a bug")

    @workflow.defn(name="paying")
    async def run() -> None:
        async with workflow.saga(parallel=parallel) as saga:
            saga.compensate_with(undo, "a")
            saga.compensate_with(faulty_step)
            saga.compensate_with(undo, "c")
            await do("paid")
            if where == "block" and not mended:
                raise LookupError("a bug")
            await refuse()

    return run


@pytest.mark.parametrize("parallel", [False, True], ids=["in turn", "parallel"])
@pytest.mark.parametrize("where", ["block", "step"])
async def test_a_bug_compensates_nothing_but_parks_the_run_until_mended_code_goes_on(
    client: Client, make_worker: MakeWorker, where: str, parallel: bool
) -> None:
    def is_parked(handle: WorkflowHandle[Any, Any]) -> Callable[[], Awaitable[str | None]]:
        async def reason() -> str | None:
            return (await handle.describe()).parked

        return reason

    async with make_worker(paying(where, mended=False, parallel=parallel), *ACTIVITIES):
        handle = await client.start_workflow("paying", id="p")
        assert await until(is_parked(handle)) == "LookupError: a bug"
        if where == "block":
            assert done == ["paid"]
    mended = paying(where, mended=True, parallel=parallel)
    async with make_worker(mended, *ACTIVITIES):
        assert isinstance(await failure_of(handle), ActivityError)
        history = await handle.fetch_history()
    assert sorted(done) == ["looked up", "paid", "undo a", "undo c"]
    if not parallel:
        assert done == ["paid", "undo c", "looked up", "undo a"]
    assert_sound(history.events)
    await assert_replays(mended, history)


class OutOfStock(Exception):
    pass


class Broken(BaseException):
    pass


@workflow.defn(failure_exception_types=[BaseException])
async def told_to_fail(how: str) -> str:
    async with workflow.saga() as saga:
        saga.compensate_with(undo, "a")
        match how:
            case "exception":
                raise OutOfStock
            case "base exception":
                raise Broken
            case "continued":
                workflow.continue_as_new("")
            case _:
                return "the next run"
    raise AssertionError


@pytest.mark.parametrize("how", ["exception", "base exception"])
async def test_a_type_that_fails_the_workflow_compensates(execute: Execute, how: str) -> None:
    with pytest.raises(WorkflowFailureError):
        await execute(told_to_fail, how, using=ACTIVITIES)
    assert done == ["undo a"]


async def test_continuing_as_new_compensates_nothing(client: Client, make_worker: MakeWorker, max_cached: int) -> None:
    async with make_worker(told_to_fail, *ACTIVITIES, max_cached_workflows=max_cached):
        assert await client.execute_workflow(told_to_fail, "continued", id="c") == "the next run"
    assert done == []


@workflow.defn
async def caught_outside() -> str:
    try:
        async with workflow.saga() as saga:
            saga.compensate_with(undo, "a")
            raise OutOfStock
    except OutOfStock:
        return "caught"


async def test_an_exception_that_fails_no_workflow_compensates_nothing_and_is_logged(
    execute: Execute, caplog: pytest.LogCaptureFixture
) -> None:
    assert await execute(caught_outside, using=ACTIVITIES) == "caught"
    assert done == []
    assert caplog.text.count("left by OutOfStock, which is not what fails a workflow: 1 compensations") == 1


@workflow.defn
async def kept_waiting() -> None:
    async def note() -> None:
        done.append("compensated")

    try:
        async with workflow.saga() as saga:
            saga.compensate_with(note)
            try:
                await workflow.wait_condition(lambda: False)
            except BaseException as error:
                raise ApplicationError("made of an eviction") from error
    finally:
        done.append("left")


async def test_eviction_runs_nothing(client: Client, make_worker: MakeWorker, max_cached: int) -> None:
    async with make_worker(kept_waiting, max_cached_workflows=max_cached):
        handle = await client.start_workflow(kept_waiting, id="k")
        await has_happened(handle, WorkflowTaskCompleted)
    await has_done("left")
    assert set(done) == {"left"}
    assert (await handle.describe()).status is RunStatus.RUNNING


@pytest.mark.parametrize("where", ["block", "compensation"])
async def test_what_the_garbage_collector_closes_runs_nothing(
    client: Client, make_worker: MakeWorker, where: str
) -> None:
    code, args = (kept_waiting, []) if where == "block" else (order, [["a"], "fail"])
    gates["a"] = asyncio.Event()
    async with make_worker(code, *ACTIVITIES):
        handle = await client.start_workflow(code, args=args, id="k")
        await (has_happened(handle, WorkflowTaskCompleted) if where == "block" else has_done("undo a"))
        history = await handle.fetch_history()
        gates["a"].set()
    environment = Environment(namespace="default", converter=DataConverter.default)
    run = rebuild(WorkflowDefinition.must_be(code), history.run_id, history.events, environment).run
    done.clear()

    for task in run.loop.unfinished_tasks():
        coroutine = task.get_coro()
        assert coroutine is not None
        coroutine.close()  # as the collector does, outside of any step
    await asyncio.sleep(0)  # what it has begun would run now

    assert done == (["left"] if where == "block" else [])
    run.evict()


# Cancelling. ----------------------------------------------------------------------------------------------------------


@workflow.defn
async def cancelled_first() -> None:
    async with workflow.saga() as saga:
        saga.compensate_with(undo, "a")
        await do("never")


async def test_a_run_that_is_cancelled_before_it_begins_compensates_what_it_registered(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    handle = await client.start_workflow(cancelled_first, id="c")
    await handle.cancel()
    async with make_worker(cancelled_first, *ACTIVITIES, max_cached_workflows=max_cached):
        assert isinstance(await failure_of(handle), CancelledError)
        assert (await handle.describe()).status is RunStatus.CANCELED
    assert "undo a" in done


async def test_neither_a_cancellation_nor_a_second_one_cuts_compensation_short(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    gates["b"] = asyncio.Event()
    async with make_worker(order, *ACTIVITIES, max_cached_workflows=max_cached):
        handle = await client.start_workflow(order, args=[["a", "b"], "wait"], id="o")
        await has_done("b")
        await handle.cancel()
        await has_done("undo b")
        await handle.cancel()
        await has_happened(handle, WorkflowExecutionCancelRequested, 2)
        gates["b"].set()
        assert isinstance(await failure_of(handle), CancelledError)
        assert (await handle.describe()).status is RunStatus.CANCELED
        history = await handle.fetch_history()
    assert done == ["a", "b", "undo b", "undo a"]
    assert_sound(history.events)
    await assert_replays(order, history)


@activity.defn(cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED, retry_policy=ONCE)
async def slow() -> None:
    done.append("begun")
    try:
        await asyncio.Event().wait()
    finally:
        await gates["slow"].wait()
        done.append("done all the same")


@workflow.defn
async def waited_for() -> None:
    async with workflow.saga() as saga:
        saga.compensate_with(undo, "slow step")
        await slow()


async def test_a_cancelled_step_that_is_waited_for_is_over_before_it_is_compensated(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    gates["slow"] = asyncio.Event()
    async with make_worker(waited_for, slow, *ACTIVITIES, max_cached_workflows=max_cached):
        handle = await client.start_workflow(waited_for, id="w")
        await has_done("begun")
        await handle.cancel()
        await has_happened(handle, ActivityTaskCancelRequested)
        gates["slow"].set()
        assert isinstance(await failure_of(handle), CancelledError)
        await assert_replays(waited_for, await handle.fetch_history())
    assert done == ["begun", "done all the same", "undo slow step"]


@workflow.defn
async def failed_before() -> str:
    try:
        async with workflow.saga() as outer:
            outer.compensate_with(undo, "outer")
            async with workflow.saga() as saga:
                saga.compensate_with(undo, "inner")
                await refuse()
    except ActivityError:
        done.append("the error goes on")
    await workflow.sleep(3600)
    return "not cancelled"


@pytest.mark.parametrize("during", ["inner", "outer"])
async def test_a_cancellation_while_a_failed_block_compensates_takes_effect_afterwards(
    client: Client, make_worker: MakeWorker, during: str
) -> None:
    gates[during] = asyncio.Event()
    async with make_worker(failed_before, *ACTIVITIES):
        handle = await client.start_workflow(failed_before, id="f")
        await has_done(f"undo {during}")
        await handle.cancel()
        await has_happened(handle, WorkflowExecutionCancelRequested)
        gates[during].set()
        assert isinstance(await failure_of(handle), CancelledError)
        await assert_replays(failed_before, await handle.fetch_history())
    assert done[:3] == ["undo inner", "undo outer", "the error goes on"]


@workflow.defn
async def undone_badly(how: str) -> None:
    saga = workflow.saga()
    try:
        async with saga:
            saga.compensate_with(undo, "stuck")
            if how == "by hand":
                await saga.compensate()
            raise ApplicationError("mine")
    except CompensationError:
        done.append("told")
    await workflow.sleep(3600)


@pytest.mark.parametrize("how", ["by hand", "on leaving"])
async def test_a_cancellation_takes_effect_after_compensations_that_fail_too(
    client: Client, make_worker: MakeWorker, how: str
) -> None:
    gates["stuck"] = asyncio.Event()
    async with make_worker(undone_badly, *ACTIVITIES):
        handle = await client.start_workflow(undone_badly, how, id="u")
        await has_done("undo stuck")
        await handle.cancel()
        await has_happened(handle, WorkflowExecutionCancelRequested)
        gates["stuck"].set()
        assert isinstance(await failure_of(handle), CancelledError)
    assert done == ["undo stuck", "told"]


@workflow.defn
async def tidying() -> str:
    try:
        async with workflow.saga() as saga:
            saga.compensate_with(undo, "a")
            await do("waiting")
            await workflow.sleep(3600)
    except asyncio.CancelledError:
        await do("tidied up")
    return "tidy"


async def test_two_cancellations_of_a_block_are_one_for_what_comes_after_it(
    client: Client, make_worker: MakeWorker
) -> None:
    gates["a"] = asyncio.Event()
    async with make_worker(tidying, *ACTIVITIES):
        handle = await client.start_workflow(tidying, id="t")
        await has_done("waiting")
        await handle.cancel()
        await has_done("undo a")
        await handle.cancel()
        await has_happened(handle, WorkflowExecutionCancelRequested, 2)
        gates["a"].set()
        assert await handle.result() == "tidy"
    assert done == ["waiting", "undo a", "tidied up"]


@workflow.defn
async def in_time(how: str) -> list[Any]:
    said: list[Any] = []

    async def block() -> None:
        async with workflow.saga() as saga:
            saga.compensate_with(undo, "a")
            saga.compensate_with(undo, "b")
            await workflow.sleep(3600)

    match how:
        case "timeout":
            try:
                async with asyncio.timeout(0.01):
                    await block()
            except TimeoutError:
                said.append("TimeoutError")
        case "wait_for":
            try:
                await asyncio.wait_for(block(), 0.01)
            except TimeoutError:
                said.append("TimeoutError")
        case "anyio":
            with anyio.move_on_after(0.01) as scope:
                await block()
            said.append(scope.cancelled_caught)
        case _:
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(block())
                    await workflow.sleep(0.01)
                    await refuse()
            except* ActivityError as errors:
                said.append(len(errors.exceptions))
    task = asyncio.current_task()
    assert task is not None
    await workflow.sleep(0.001)  # nothing of it is left
    return [*said, task.cancelling()]


@pytest.mark.parametrize(
    ("how", "result"),
    [
        ("timeout", ["TimeoutError", 0]),
        ("wait_for", ["TimeoutError", 0]),
        ("anyio", [True, 0]),
        ("group", [1, 0]),
    ],
)
async def test_what_cancels_an_enclosing_block_compensates_and_is_then_what_it_is_without_a_saga(
    execute: Execute, how: str, result: list[Any]
) -> None:
    assert await execute(in_time, how, using=ACTIVITIES) == result
    assert done == ["undo b", "undo a"]


@workflow.defn
async def out_of_time(how: str) -> list[Any]:
    """The time runs out while the block compensates."""

    loop = asyncio.get_running_loop()

    async def block(end: Callable[[], Awaitable[Any]]) -> None:
        async with workflow.saga() as saga:
            saga.compensate_with(undo, "a first")
            saga.compensate_with(undo, "a")
            await end()

    async def for_ever() -> None:
        await workflow.sleep(3600)

    async def soon_over() -> None:
        if isinstance(scope, asyncio.Timeout):
            scope.reschedule(loop.time() + 0.01)
        else:
            scope.deadline = loop.time() + 0.01
        raise ApplicationError("mine")

    said: list[Any] = []
    scope: asyncio.Timeout | anyio.CancelScope
    try:
        match how:
            case "caught outside":
                async with asyncio.timeout(None) as scope:
                    await block(soon_over)
            case "caught inside":
                async with asyncio.timeout(None) as scope:
                    try:
                        await block(soon_over)
                    except ApplicationError:
                        await for_ever()
            case "caught outside of anyio's":
                with anyio.fail_after(None) as scope:
                    await block(soon_over)
            case "caught inside of anyio's":
                with anyio.fail_after(None) as scope:
                    try:
                        await block(soon_over)
                    except ApplicationError:
                        await for_ever()
            case _:
                async with asyncio.timeout(0.02):
                    try:
                        async with asyncio.timeout(0.01):
                            await block(for_ever)
                    except TimeoutError:
                        said.append("the inner one")
    except (ApplicationError, TimeoutError) as error:
        said.append(type(error).__name__)
    task = asyncio.current_task()
    assert task is not None
    await workflow.sleep(0.001)  # nothing of it is left
    return [*said, task.cancelling()]


@pytest.mark.parametrize(
    ("how", "result"),
    [
        ("caught outside", ["ApplicationError", 0]),
        ("caught inside", ["TimeoutError", 0]),
        ("caught outside of anyio's", ["ApplicationError", 0]),
        ("caught inside of anyio's", ["TimeoutError", 0]),
        ("the outer of two", ["TimeoutError", 0]),
    ],
)
async def test_time_that_runs_out_while_a_block_compensates_takes_effect_afterwards(
    client: Client, make_worker: MakeWorker, max_cached: int, how: str, result: list[Any]
) -> None:
    gates["a"] = asyncio.Event()
    async with make_worker(out_of_time, *ACTIVITIES, max_cached_workflows=max_cached):
        handle = await client.start_workflow(out_of_time, how, id="t")
        await has_happened(handle, TimerFired, 2 if how == "the outer of two" else 1)
        gates["a"].set()
        assert await handle.result() == result
        history = await handle.fetch_history()
    assert done == ["undo a", "undo a first"]
    assert_sound(history.events)
    await assert_replays(out_of_time, history)


# By hand. -------------------------------------------------------------------------------------------------------------


@workflow.defn
async def by_hand() -> str:
    saga = workflow.saga()
    try:
        saga.compensate_with(undo, "a")
        await refuse()
    except ActivityError:
        await saga.compensate()
    await saga.compensate()
    async with saga:
        saga.compensate_with(undo, "b")
        await saga.compensate()
        saga.compensate_with(undo, "stuck")
        try:
            await saga.compensate()
        except CompensationError as error:
            return error.errors[0].reason
    raise AssertionError


async def test_compensating_by_hand_runs_each_step_once(execute: Execute) -> None:
    assert await execute(by_hand, using=ACTIVITIES) == "Stuck: stuck can't be undone"
    assert done == ["undo a", "undo b", "undo stuck"]


@workflow.defn
async def by_hand_cancelled() -> None:
    async with workflow.saga() as saga:
        saga.compensate_with(undo, "a")
        saga.compensate_with(undo, "b")
        await saga.compensate()
        await do("never")


async def test_a_cancellation_while_compensating_by_hand_is_raised_when_it_is_done(
    client: Client, make_worker: MakeWorker
) -> None:
    gates["b"] = asyncio.Event()
    async with make_worker(by_hand_cancelled, *ACTIVITIES):
        handle = await client.start_workflow(by_hand_cancelled, id="b")
        await has_done("undo b")
        await handle.cancel()
        await has_happened(handle, WorkflowExecutionCancelRequested)
        gates["b"].set()
        assert isinstance(await failure_of(handle), CancelledError)
    assert done == ["undo b", "undo a"]


# Across crashes (`test_kill` has processes that are killed). ----------------------------------------------------------


@pytest.mark.all
@pytest.mark.parametrize("end", ["refused", "jammed", "cancelled"])
def test_sagas_survive_the_death_of_their_worker_at_each_durable_point(tmp_path: Path, end: str) -> None:
    survival = Path(__file__).with_name("saga_survival.py")
    done = Pytest(tmp_path).again(str(survival), "-k", end, "-o", f"pythonpath={survival.parents[2]}")
    assert done.code == 0, done.output
    assert done.output.count("survived the death of its worker at each of") == 2, done.output


# Used wrongly. --------------------------------------------------------------------------------------------------------


def plain(what: str) -> None: ...


@workflow.defn
async def wrong() -> list[str]:
    said: list[str] = []

    async def registering() -> None:
        told(saga.compensate_with, undo, "x")

    def told(call: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        try:
            call(*args, **kwargs)
        except (TypeError, RuntimeError) as error:
            said.append(f"{type(error).__name__}: {error}")

    saga: Any = workflow.saga()
    told(saga.compensate_with, undo)
    told(saga.compensate_with, undo, "x", "y")
    told(saga.compensate_with, sync_undo, who="x")
    told(saga.compensate_with, registering, 1)
    told(saga.compensate_with, plain, "x")
    told(saga.compensate_with, "undo", "x")
    told(saga.compensate_with, Bank)
    async with saga:
        saga.compensate_with(registering)
        compensating = asyncio.ensure_future(saga.compensate())
        await asyncio.sleep(0)
        told(saga.compensate_with, undo, "x")
        await compensating
    told(saga.compensate_with, undo, "x")
    for again in (saga.compensate, saga.__aenter__):
        try:
            await again()
        except RuntimeError as error:
            said.append(str(error))
    return said


async def test_wrong_uses_are_told_at_once(execute: Execute) -> None:
    takes = "TypeError: compensate_with takes an activity or an async function"
    compensating = "RuntimeError: compensate_with: this saga is compensating already"
    left = "the block of this saga has been left; begin another one"
    assert await execute(wrong, using=ACTIVITIES) == [
        "TypeError: undo() missing a required argument: 'what'",
        "TypeError: undo() too many positional arguments",
        "TypeError: sync_undo() missing a required argument: 'what'",
        "TypeError: wrong.<locals>.registering() too many positional arguments",
        f"{takes}, and plain is neither: make it async, or decorate it with @activity.defn",
        f"{takes}, and its arguments apart, not a str: compensate_with(refund, receipt)",
        f"{takes}, and its arguments apart, not Bank: compensate_with(refund, receipt)",
        *(compensating, compensating),
        *(f"RuntimeError: compensate_with: {left}", f"compensate: {left}", f"async with: {left}"),
    ]
    assert done == []


@workflow.defn
async def leaking() -> None:
    sagas.append(workflow.saga())


sagas: list[Saga] = []


async def test_a_saga_is_made_and_used_in_workflow_code_only(execute: Execute) -> None:
    with pytest.raises(NotInWorkflowError, match="Not in workflow event loop"):
        workflow.saga()
    await execute(leaking)
    with pytest.raises(NotInWorkflowError, match="compensate_with: not in the workflow that made this saga"):
        sagas[-1].compensate_with(undo, "a")
