"""Sync activities in processes: what goes there and comes back, heartbeats, cancelling, and processes that die."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pickle
import warnings
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from datetime import timedelta
from multiprocessing.managers import SyncManager
from pathlib import Path
from typing import Any

import pytest

from durable import Client, RetryPolicy, Worker, activity, workflow
from durable.client import WorkflowFailureError
from durable.exceptions import ActivityError, ApplicationError
from durable.worker import SharedStateManager
from durable.workflow import ActivityCancellationType
from tests.engine import process_activities
from tests.engine.conftest import MakeWorker
from tests.engine.histories import until
from tests.engine.interceptors import Recording
from tests.engine.process_activities import Order, where
from tests.forkserver import processes

HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def manager() -> Iterator[SyncManager]:
    with processes.Manager() as manager:
        yield manager


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(2, processes) as pool:
        yield pool


@pytest.fixture
def options(pool: ProcessPoolExecutor, manager: SyncManager) -> dict[str, Any]:
    """A worker's, for its activities to run in processes."""
    return {
        "activity_executor": pool,
        "shared_state_manager": SharedStateManager.create_from_multiprocessing(manager),
    }


@workflow.defn
async def call(name: str, args: list[Any], attempts: int = 1, timeout: float = 3600.0) -> Any:
    return await workflow.execute_activity(
        name,
        args=args,
        start_to_close_timeout=timedelta(seconds=timeout),
        retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=5), maximum_attempts=attempts),
    )


@workflow.defn
async def orders(order: Order) -> tuple[int, Order]:
    return await workflow.execute_activity(where, order, start_to_close_timeout=HOUR)


async def error_of(client: Client, name: str, *args: Any, **more: Any) -> ApplicationError:
    with pytest.raises(WorkflowFailureError) as caught:
        await client.execute_workflow(call, args=[name, list(args)], kwargs=more, id=f"{name}-{args}")
    assert isinstance(caught.value.cause, ActivityError) and isinstance(caught.value.cause.cause, ApplicationError)
    return caught.value.cause.cause


async def begun(path: Path) -> None:
    async def is_there() -> bool:
        return await asyncio.to_thread(path.exists)

    await until(is_there)


# There and back. ------------------------------------------------------------------------------------------------------


async def test_a_sync_activity_runs_in_another_process_on_values_of_its_types(
    client: Client, make_worker: MakeWorker, options: dict[str, Any]
) -> None:
    async with make_worker(orders, *process_activities.ALL, **options):
        pid, order = await client.execute_workflow(orders, Order("a", 1), id="a")
    assert pid != os.getpid() and order == Order("a", 2)


async def test_a_method_runs_on_a_copy_of_its_object(
    client: Client, make_worker: MakeWorker, options: dict[str, Any]
) -> None:
    async with make_worker(call, *process_activities.ALL, **options):
        assert await client.execute_workflow(call, args=["print", ["ab"]], id="a") == "abab"


async def test_async_activities_stay_in_the_workers_own_process(
    client: Client, make_worker: MakeWorker, options: dict[str, Any]
) -> None:
    @activity.defn
    async def here() -> int:
        assert activity.client() is client
        return os.getpid()

    async with make_worker(call, here, where, **options):
        assert await client.execute_workflow(call, args=["here", []], id="a") == os.getpid()


async def test_interceptors_stand_before_process_activities_in_the_workers_own_process(
    client: Client, make_worker: MakeWorker, options: dict[str, Any]
) -> None:
    seen: list[tuple[str, Any]] = []

    def note(called: str, about: Any) -> None:
        if called.startswith("Activity") and not called.endswith("init"):
            seen.append((called.partition(".")[2], about))

    async with make_worker(call, *process_activities.ALL, interceptors=[Recording(note)], **options):
        found = await client.execute_workflow(call, args=["beats", [], 2], id="a")

    pages = [args for name, args in seen if name == "heartbeat"]
    assert pages == ["page"] * 5 and found == ["page", {"id": "a", "items": 4}]
    executed = [input for name, input in seen if name == "execute_activity"]
    assert [each.fn.__name__ for each in executed] == ["beats", "beats"]
    assert all(each.executor is options["activity_executor"] for each in executed)
    assert [info.attempt for name, info in seen if name == "info returned"] == [1, 2]


async def test_an_interceptor_that_fails_on_a_heartbeat_cancels_its_process_activity(
    client: Client, make_worker: MakeWorker, options: dict[str, Any]
) -> None:
    def note(called: str, about: Any) -> None:
        if called == "ActivityOutboundInterceptor.heartbeat":
            raise RuntimeError(f"no {about} for me")

    async with make_worker(call, *process_activities.ALL, interceptors=[Recording(note)], **options):
        error = await error_of(client, "beats_until_cancelled")
    assert (error.type, error.message) == ("RuntimeError", "no page for me")


async def test_a_process_activity_knows_its_attempt_and_what_it_has_not(
    client: Client, make_worker: MakeWorker, options: dict[str, Any]
) -> None:
    async with make_worker(call, *process_activities.ALL, **options):
        assert await client.execute_workflow(call, args=["knows", []], id="the-run") == [
            *("knows", 1, "the-run", True, "1"),
            *("No client available", "The metric meter is not available in a process activity"),
        ]


async def test_a_process_activity_has_no_effects_exactly_once_and_is_told_so(
    client: Client, make_worker: MakeWorker, options: dict[str, Any]
) -> None:
    async with make_worker(call, *process_activities.ALL, **options):
        error = await error_of(client, "books")
    assert "exactly_once is not for activities that run in a process pool" in error.message


async def test_a_process_activitys_log_tells_whose_it_is(
    client: Client, make_worker: MakeWorker, options: dict[str, Any]
) -> None:
    async with make_worker(call, *process_activities.ALL, **options):
        error = await error_of(client, "logs")
    assert error.message.startswith("hello ({'activity_id': '1', 'activity_type': 'logs', 'attempt': 1,")


async def test_an_error_comes_back_with_its_type_details_causes_and_lines(
    client: Client, make_worker: MakeWorker, options: dict[str, Any]
) -> None:
    async with make_worker(call, *process_activities.ALL, **options):
        error = await error_of(client, "fail", "cause", attempts=5)
    assert (error.type, error.message, error.details, error.non_retryable) == ("Mine", "not now", ({"a": 1},), True)
    assert isinstance(error.cause, ApplicationError) and error.cause.type == "KeyError"
    assert error.failure is not None and "process_activities.py" in error.failure.stack_trace


@pytest.mark.parametrize(
    ("name", "args", "told"),
    [
        ("fail", ["stubborn"], "Stubborn: one and other"),
        ("fail", ["stray"], "Stray: one and other"),
        ("fail", ["exit"], "SystemExit: leaving"),
        ("takes_hidden", [{"number": 1}], "ConversionError: value: the call can't be pickled for the process that "),
        ("unpicklable", [], "ConversionError: value: the result can't be pickled for the worker: "),
    ],
)
async def test_what_can_not_cross_fails_its_attempt_and_harms_no_other(
    client: Client, make_worker: MakeWorker, options: dict[str, Any], name: str, args: list[Any], told: str
) -> None:
    async with make_worker(call, orders, *process_activities.ALL, **options):
        assert str(await error_of(client, name, *args)).startswith(told)
        assert (await client.execute_workflow(orders, Order("a", 1), id="a"))[1].items == 2


# Heartbeats. ----------------------------------------------------------------------------------------------------------


async def test_the_next_attempt_finds_the_last_heartbeats_details(
    client: Client, make_worker: MakeWorker, options: dict[str, Any]
) -> None:
    async with make_worker(call, *process_activities.ALL, **options):
        found = await client.execute_workflow(call, args=["beats", [], 2], id="a")
    assert found == ["page", {"id": "a", "items": 4}]


async def test_a_heartbeat_that_can_not_be_converted_is_why_the_attempt_fails(
    client: Client, make_worker: MakeWorker, options: dict[str, Any]
) -> None:
    async with make_worker(call, *process_activities.ALL, **options):
        error = await error_of(client, "beats_wrongly")
    assert error.type == "ConversionError" and "object" in error.message


async def test_heartbeats_before_the_end_are_delivered_and_those_after_it_are_nobodys(manager: SyncManager) -> None:
    shared = SharedStateManager.create_from_multiprocessing(manager)
    heard: list[Any] = []
    sender = await shared.register_heartbeater(b"a", lambda *details: heard.append(details))
    sender = pickle.loads(pickle.dumps(sender))
    for number in range(20):
        sender.send_heartbeat(b"a", number, "of 20")
    await shared.unregister_heartbeater(b"a")
    assert heard == [(number, "of 20") for number in range(20)]

    sender.send_heartbeat(b"a", "late")
    await shared.register_heartbeater(b"b", lambda *details: heard.append(details))
    await shared.unregister_heartbeater(b"b")
    assert len(heard) == 20


async def test_a_heartbeat_that_can_not_be_taken_in_does_not_silence_the_next(manager: SyncManager) -> None:
    heard: list[Any] = []

    def hear(what: str) -> None:
        if what == "bad":
            raise RuntimeError("not this one")
        heard.append(what)

    with ThreadPoolExecutor(1) as poller:
        shared = SharedStateManager.create_from_multiprocessing(manager, poller)
        sender = await shared.register_heartbeater(b"a", hear)
        sender.send_heartbeat(b"a", "bad")
        sender.send_heartbeat(b"a", "good")
        await shared.unregister_heartbeater(b"a")
    assert heard == ["good"]


async def test_nobody_waits_for_a_manager_that_is_gone() -> None:
    with processes.Manager() as manager:
        shared = SharedStateManager.create_from_multiprocessing(manager)
        await shared.register_heartbeater(b"a", lambda *details: None)
        await shared.register_heartbeater(b"b", lambda *details: None)
    await asyncio.gather(shared.unregister_heartbeater(b"a"), shared.unregister_heartbeater(b"b"))


async def test_an_attempt_that_needs_a_manager_that_is_gone_says_so(
    client: Client, make_worker: MakeWorker, pool: ProcessPoolExecutor
) -> None:
    with processes.Manager() as manager:
        shared = SharedStateManager.create_from_multiprocessing(manager)
    async with make_worker(call, where, activity_executor=pool, shared_state_manager=shared):
        error = await error_of(client, "where", {"id": "a", "items": 1})
    assert error.message.startswith("the shared_state_manager makes no events any more")


# Cancelling. ----------------------------------------------------------------------------------------------------------


@workflow.defn
class Cancelling:
    def __init__(self) -> None:
        self.go = False

    @workflow.run
    async def run(self, path: str) -> list[str]:
        handle = workflow.start_activity(
            "waits",
            path,
            start_to_close_timeout=HOUR,
            cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )
        await workflow.wait_condition(lambda: self.go)
        handle.cancel()
        try:
            return ["result", str(await handle)]
        except ActivityError as error:
            return [type(error).__name__, type(error.cause).__name__]

    @workflow.signal
    def cancel_now(self) -> None:
        self.go = True


async def test_a_process_activity_that_is_cancelled_sees_it_and_ends_as_it_likes(
    client: Client, make_worker: MakeWorker, options: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "begun"
    async with make_worker(Cancelling, *process_activities.ALL, **options):
        handle = await client.start_workflow(Cancelling.run, str(path), id="c")
        await begun(path)
        await handle.signal(Cancelling.cancel_now)
        assert await handle.result() == ["ActivityError", "CancelledError"]


async def test_an_attempt_that_times_out_is_told_so_and_gives_its_process_back(
    client: Client, make_worker: MakeWorker, manager: SyncManager, tmp_path: Path
) -> None:
    with ProcessPoolExecutor(1, processes) as one:
        shared = SharedStateManager.create_from_multiprocessing(manager)
        async with make_worker(
            call, orders, *process_activities.ALL, activity_executor=one, shared_state_manager=shared
        ):
            with pytest.raises(WorkflowFailureError):
                await client.execute_workflow(call, args=["waits", [str(tmp_path / "a")], 1, 0.05], id="a")
            assert (await client.execute_workflow(orders, Order("a", 1), id="b"))[1].items == 2


async def test_a_stopping_worker_tells_its_process_activities_and_lets_them_end(
    client: Client, make_worker: MakeWorker, options: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "begun"
    async with make_worker(call, *process_activities.ALL, **options, graceful_shutdown_timeout=timedelta(seconds=30)):
        handle = await client.start_workflow(call, args=["waits", [str(path)]], id="a")
        await begun(path)
    async with make_worker(call, *process_activities.ALL, **options):
        assert await handle.result() == "told of the shutdown"


# Processes that die. --------------------------------------------------------------------------------------------------


async def test_the_death_of_a_process_ends_the_worker_with_a_word_and_another_one_takes_over(
    client: Client, make_worker: MakeWorker, manager: SyncManager
) -> None:
    told: list[BaseException] = []

    async def tell(error: BaseException) -> None:
        assert worker.is_running
        told.append(error)

    shared = SharedStateManager.create_from_multiprocessing(manager)
    with ProcessPoolExecutor(1, processes) as fragile:
        worker = make_worker(
            call,
            *process_activities.ALL,
            activity_executor=fragile,
            shared_state_manager=shared,
            on_fatal_error=tell,
        )
        handle = await client.start_workflow(call, args=["dies", ["now"], 2], id="a")
        with pytest.raises(RuntimeError, match=r"^Activity worker failed$") as caught:
            await worker.run()
    assert isinstance(caught.value.__cause__, BrokenProcessPool)
    assert told == [caught.value] and worker.is_shutdown

    asked: list[str] = []

    async def verify(path: str) -> None:
        asked.append(path)

    @activity.defn(after_crash=verify)
    async def dies(path: str) -> str:
        return f"attempt {activity.info().attempt} lives"

    async with make_worker(call, dies):
        assert await handle.result() == "attempt 2 lives"
    assert asked == ["now"]  # nobody knew how attempt 1 had ended


async def test_what_says_whether_an_effect_has_happened_is_asked_in_a_process_too(
    client: Client, make_worker: MakeWorker, options: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "begun"
    async with make_worker(call, *process_activities.ALL, **options):
        handle = await client.start_workflow(call, args=["cut_off", [str(path)]], kwargs={"attempts": 0}, id="a")
        await begun(path)
    async with make_worker(call, *process_activities.ALL, **options):
        pid, key = await handle.result()

    assert pid != os.getpid() and key == path.read_text()


async def test_a_result_that_the_worker_can_not_read_may_be_asked_for(
    client: Client, make_worker: MakeWorker, options: dict[str, Any]
) -> None:
    async with make_worker(call, *process_activities.ALL, **options):
        pid, _ = await client.execute_workflow(call, args=["lost_on_the_way", [""], 2], id="a")

    assert pid != os.getpid()


async def test_the_block_of_a_worker_whose_process_died_is_cancelled_and_raises_why(
    client: Client, make_worker: MakeWorker, manager: SyncManager
) -> None:
    async def fails_too(error: BaseException) -> None:
        raise ValueError("of on_fatal_error's own")

    async def body(**options: Any) -> None:
        async with make_worker(call, *process_activities.ALL, **options):
            await client.start_workflow(call, args=["dies", ["now"]], id="a")
            await asyncio.Event().wait()

    shared = SharedStateManager.create_from_multiprocessing(manager)
    with ProcessPoolExecutor(1, processes) as fragile, pytest.raises(RuntimeError, match="Activity worker failed"):
        await body(activity_executor=fragile, shared_state_manager=shared, on_fatal_error=fails_too)


async def test_a_pool_of_an_activitys_own_may_break_without_ending_the_worker(
    client: Client, make_worker: MakeWorker
) -> None:
    @activity.defn
    def breaks_its_own() -> None:
        raise BrokenProcessPool("somebody else's")

    async with make_worker(call, breaks_its_own) as worker:
        assert (await error_of(client, "breaks_its_own")).type == "BrokenProcessPool"
        assert worker.is_running


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
async def test_processes_that_are_forked_from_a_running_worker_do_their_work(
    client: Client, make_worker: MakeWorker, manager: SyncManager
) -> None:
    shared = SharedStateManager.create_from_multiprocessing(manager)
    with warnings.catch_warnings(), ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as forked:
        warnings.simplefilter("ignore", DeprecationWarning)  # since 3.12, for processes with threads
        async with make_worker(
            orders, call, *process_activities.ALL, activity_executor=forked, shared_state_manager=shared
        ):
            assert (await client.execute_workflow(orders, Order("a", 1), id="a"))[1].items == 2
            assert await client.execute_workflow(call, args=["beats", [], 2], id="b")


# What a worker refuses. -----------------------------------------------------------------------------------------------


async def test_what_can_not_run_in_processes_is_refused_when_the_worker_is_made(
    client: Client, pool: Executor, options: dict[str, Any]
) -> None:
    @activity.defn
    def local() -> None: ...

    @activity.defn
    async def local_async() -> None: ...

    with pytest.raises(ValueError, match=r"Activity where is not async .* the worker needs a shared_state_manager"):
        Worker(client, activities=[where], activity_executor=pool)
    with pytest.raises(TypeError, match="Activity local must be picklable to run in a process"):
        Worker(client, activities=[local], **options)
    with pytest.raises(TypeError, match="the after_crash of activity never_asked, must be picklable to run in a proc"):
        Worker(client, activities=[process_activities.never_asked], **options)
    Worker(client, activities=[process_activities.asked_in_the_worker], **options)
    Worker(client, activities=[local_async], **options)
    Worker(client, activities=[local_async], activity_executor=pool)
    Worker(client, activities=[local], activity_executor=ThreadPoolExecutor(2))


async def test_an_executor_that_is_smaller_than_the_slots_is_warned_of(client: Client, options: dict[str, Any]) -> None:
    with pytest.warns(
        UserWarning, match="max_concurrent_activities is 3 but activity_executor's max_workers is only 2"
    ):
        Worker(client, activities=[where], max_concurrent_activities=3, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Worker(client, activities=[where], max_concurrent_activities=2, **options)
        Worker(client, activities=[where], **options)


async def test_a_transactional_activity_is_refused_where_sync_ones_run_in_processes(
    client: Client, options: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match="its session does not reach a process of a pool"):
        Worker(client, activities=[process_activities.writes], **options)
