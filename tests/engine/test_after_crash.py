"""What the next attempt does when nobody knows how the one before ended; and the key that all attempts share."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from durable import Client, RetryPolicy, Worker, activity, workflow
from durable.activity import Happened
from durable.client import WorkflowFailureError, WorkflowHandle
from durable.client.description import PendingActivityInfo
from durable.exceptions import ActivityError, ApplicationError, RetryState
from durable.history import attempts
from durable.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor
from tests.chaos.places import Place
from tests.engine.conftest import MakeWorker, worker_for
from tests.engine.histories import until
from tests.engine.interceptors import Carrying, word
from tests.forkserver import processes

HOUR = timedelta(hours=1)
LEASE = timedelta(seconds=0.3)
SOON = RetryPolicy(initial_interval=timedelta(milliseconds=5), backoff_coefficient=1.0)
LATER = RetryPolicy(initial_interval=HOUR)


class Asked:
    """Who was called with what, and what the verify function is to say, one answer after the other."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.keys: set[str] = set()
        self.answers: list[Any] = []
        self.running = asyncio.Event()
        self.ends = asyncio.Event()
        self.threads: dict[str, str] = {}

    def note(self, *call: Any) -> None:
        self.calls.append(call)
        self.keys.add(activity.info().idempotency_key)
        self.threads[call[0]] = threading.current_thread().name

    def answer(self) -> Any:
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer


def refund_with(asked: Asked, after_crash: Any, **options: Any) -> Any:
    """An activity whose first attempt does not end by itself."""

    @activity.defn(name="refund", after_crash=after_crash, **{"start_to_close_timeout": HOUR, **options})
    async def refund(order: str, cents: int = 100, *, note: str = "") -> str:
        first = not any(call[0] == "code" for call in asked.calls)
        asked.note("code", order, cents, note)
        asked.running.set()
        if first:
            await asked.ends.wait()
        return f"refunded {order}"

    return refund


def verify_with(asked: Asked) -> Any:
    async def verify(order: str, cents: int, *, note: str) -> Any:
        asked.note("verify", order, cents, note)
        return asked.answer()

    return verify


@workflow.defn
async def refunding(order: str) -> Any:
    return await workflow.execute_activity("refund", order, start_to_close_timeout=HOUR, retry_policy=SOON)


@pytest.fixture
def asked() -> Asked:
    return Asked()


async def cut_off(client: Client, make_worker: MakeWorker, asked: Asked, refund: Any) -> WorkflowHandle[Any, Any]:
    """The worker stops while the code runs, and hands the activity back."""
    async with make_worker(refunding, refund):
        handle = await client.start_workflow(refunding, "tea", id="refunding")
        await asked.running.wait()
    return handle


async def pending(handle: WorkflowHandle[Any, Any]) -> PendingActivityInfo:
    description = await handle.describe()
    (shown,), (raw,) = description.pending_activities, description.raw_description.pending_activities
    assert raw.ambiguous is shown.ambiguous
    return shown


async def error_of(handle: WorkflowHandle[Any, Any]) -> ApplicationError:
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert isinstance(caught.value.cause, ActivityError) and isinstance(caught.value.cause.cause, ApplicationError)
    return caught.value.cause.cause


# Whom the next attempt asks


async def test_by_default_the_code_runs_again(client: Client, make_worker: MakeWorker, asked: Asked) -> None:
    refund = refund_with(asked, "retry")
    handle = await cut_off(client, make_worker, asked, refund)
    assert (await pending(handle)).ambiguous

    async with make_worker(refunding, refund):
        assert await handle.result() == "refunded tea"

    assert [call[0] for call in asked.calls] == ["code", "code"] and len(asked.keys) == 1


async def test_what_must_not_run_again_fails_and_says_what_to_look_for(
    client: Client, make_worker: MakeWorker, asked: Asked
) -> None:
    refund = refund_with(asked, "fail")
    handle = await cut_off(client, make_worker, asked, refund)

    async with make_worker(refunding, refund):
        error = await error_of(handle)

    assert (error.type, error.non_retryable) == ("OutcomeUnknown", True)
    (key,) = asked.keys
    for word_ in ("activity refund", "workflow refunding", "attempt 1", key, "find out whether its effect"):
        assert word_ in error.message
    assert len(asked.calls) == 1


async def test_the_result_of_an_effect_that_has_happened_is_the_activitys_and_its_code_does_not_run_again(
    client: Client, make_worker: MakeWorker, asked: Asked
) -> None:
    refund = refund_with(asked, verify_with(asked))
    asked.answers = [Happened({"id": "r-1"})]
    handle = await cut_off(client, make_worker, asked, refund)

    async with make_worker(refunding, refund):
        assert await handle.result() == {"id": "r-1"}

    # The verify function gets the activity's defaults too, not its own.
    assert asked.calls == [("code", "tea", 100, ""), ("verify", "tea", 100, "")]
    assert len(asked.keys) == 1


async def test_an_effect_that_has_not_happened_is_brought_about_in_the_same_attempt_and_nobody_is_in_doubt_any_more(
    client: Client, make_worker: MakeWorker, asked: Asked
) -> None:
    asked.answers = [None]
    numbers: list[int] = []

    @activity.defn(name="refund", after_crash=verify_with(asked), start_to_close_timeout=HOUR)
    async def refund(order: str, cents: int = 100, *, note: str = "") -> int:
        asked.note("code", order)
        numbers.append(activity.info().attempt)
        asked.running.set()
        await asked.ends.wait()
        return activity.info().attempt

    handle = await cut_off(client, make_worker, asked, refund)
    assert (await pending(handle)).ambiguous
    asked.running.clear()

    async with make_worker(refunding, refund):
        await asked.running.wait()

        async def is_known() -> bool:
            return not (await pending(handle)).ambiguous

        await until(is_known)  # while the code runs
        asked.ends.set()
        assert await handle.result() == 1

    assert [call[0] for call in asked.calls] == ["code", "verify", "code"]
    assert numbers == [1, 1]  # what is handed back does not count


async def test_a_verify_function_that_fails_is_asked_again_by_the_next_attempt(
    client: Client, make_worker: MakeWorker, asked: Asked
) -> None:
    refund = refund_with(asked, verify_with(asked))
    asked.answers = [ConnectionError("the bank is asleep"), "yes", Happened("it was")]
    handle = await cut_off(client, make_worker, asked, refund)
    failures: list[str] = []

    class Watching(Interceptor):
        def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
            class Inbound(ActivityInboundInterceptor):
                async def execute_activity(self, input: ExecuteActivityInput) -> Any:
                    try:
                        return await super().execute_activity(input)
                    except Exception as error:
                        failures.append(str(error))
                        raise

            return Inbound(next)

    async with make_worker(refunding, refund, interceptors=[Watching()]):
        assert await handle.result() == "it was"

    assert [call[0] for call in asked.calls] == ["code", "verify", "verify", "verify"]
    assert failures[0] == "the bank is asleep"
    assert failures[1].endswith(
        "activity refund, has returned str: it must return activity.Happened(result) if the effect has happened, and "
        "None if it has not"
    )


async def test_a_verify_function_that_may_not_be_asked_again_ends_the_activity(
    client: Client, make_worker: MakeWorker, asked: Asked
) -> None:
    refund = refund_with(asked, verify_with(asked))
    asked.answers = [ApplicationError("two refunds have one key", non_retryable=True)]
    handle = await cut_off(client, make_worker, asked, refund)

    async with make_worker(refunding, refund):
        assert (await error_of(handle)).message == "two refunds have one key"


async def test_the_worker_of_the_next_attempt_decides(client: Client, make_worker: MakeWorker, asked: Asked) -> None:
    handle = await cut_off(client, make_worker, asked, refund_with(asked, "retry"))

    async with make_worker(refunding, refund_with(asked, "fail")):
        assert (await error_of(handle)).type == "OutcomeUnknown"


async def test_interceptors_stand_before_the_verify_function_too(asked: Asked) -> None:
    seen: list[str] = []

    async def verify(order: str, cents: int, *, note: str) -> Happened:
        seen.append(word.get())
        return Happened("it was")

    refund = refund_with(asked, verify)
    async with await Client.connect("sqlite://", interceptors=[Carrying()]) as client:

        def make(*definitions: Any, **options: Any) -> Worker:
            return worker_for(client, *definitions, **options)

        word.set("hello")
        handle = await cut_off(client, make, asked, refund)
        word.set("")
        async with make(refunding, refund):
            assert await handle.result() == "it was"

    assert seen == ["hello"]  # as the header has it


@pytest.mark.parametrize("is_async", [True, False], ids=["async activity", "sync activity"])
@pytest.mark.parametrize("happened", [True, False])
async def test_a_sync_verify_function_is_asked_in_a_thread_with_the_object_of_its_activity(
    client: Client, make_worker: MakeWorker, is_async: bool, happened: bool
) -> None:
    asked, first = Asked(), threading.Event()
    asked.answers = [Happened("it was")] if happened else [None]
    loop = asyncio.get_running_loop()

    class Bank:
        def __init__(self, name: str) -> None:
            self.name = name

        def verify(self, order: str) -> Any:
            activity.heartbeat("asking")
            asked.note("verify", self.name, order)
            return asked.answer()

        async def on_the_loop(self, order: str) -> str:
            asked.note("code", self.name, order)
            if len(asked.calls) == 1:
                asked.running.set()
                await asked.ends.wait()
            return "refunded"

        def in_a_thread(self, order: str) -> str:
            asked.note("code", self.name, order)
            if len(asked.calls) == 1:
                loop.call_soon_threadsafe(asked.running.set)
                while not first.wait(0.001):  # so that the exception of its being cancelled can be raised
                    pass
            return "refunded"

        code: Any = on_the_loop if is_async else in_a_thread
        refund: Any = activity.defn(name="refund", after_crash=verify)(code)

    bank = Bank("the bank")
    handle = await cut_off(client, make_worker, asked, bank.refund)

    async with make_worker(refunding, bank.refund):
        assert await handle.result() == ("it was" if happened else "refunded")

    again = [] if happened else [("code", "the bank", "tea")]
    assert asked.calls == [("code", "the bank", "tea"), ("verify", "the bank", "tea"), *again]
    assert asked.threads["verify"] != threading.current_thread().name
    assert (asked.threads["code"] == threading.current_thread().name) is is_async


async def test_an_object_that_is_an_activity_is_given_to_its_verify_function(
    client: Client, make_worker: MakeWorker, asked: Asked
) -> None:
    async def verify(bank: Any, order: str) -> Happened:
        return Happened([bank.name, order])

    @activity.defn(name="refund", after_crash=verify)
    class Refund:
        name = "the bank"

        async def __call__(self, order: str) -> Any:
            asked.running.set()
            await asked.ends.wait()

    handle = await cut_off(client, make_worker, asked, Refund())

    async with make_worker(refunding, Refund()):
        assert await handle.result() == ["the bank", "tea"]


# When the end of an attempt is unknown, and when it is known


@pytest.mark.parametrize("error", [ConnectionError("asleep"), BaseExceptionGroup("asleep", [GeneratorExit()])])
async def test_an_error_of_the_codes_own_leaves_no_doubt(
    client: Client, make_worker: MakeWorker, asked: Asked, error: BaseException
) -> None:
    @activity.defn(after_crash=verify_with(asked), name="refund")
    async def refund(order: str, cents: int = 100, *, note: str = "") -> str:
        asked.note("code")
        if len(asked.calls) < 3:
            raise error
        return "refunded"

    async with make_worker(refunding, refund):
        assert await client.execute_workflow(refunding, "tea", id="refunding") == "refunded"

    assert [call[0] for call in asked.calls] == ["code", "code", "code"]


async def test_an_attempt_that_has_timed_out_leaves_doubt_which_describe_shows(
    client: Client, make_worker: MakeWorker, asked: Asked
) -> None:
    @activity.defn
    async def stuck() -> None:
        await asyncio.Event().wait()

    @workflow.defn
    async def calling() -> None:
        await workflow.execute_activity(
            stuck, start_to_close_timeout=timedelta(milliseconds=20), retry_policy=LATER, activity_id="stuck"
        )

    async with make_worker(calling, stuck):
        handle = await client.start_workflow(calling, id="calling")

        async def waits_again() -> PendingActivityInfo | None:
            shown = (await handle.describe()).pending_activities
            return shown[0] if shown and shown[0].last_failure else None

        waiting = await until(waits_again)
        assert waiting is not None and waiting.ambiguous
        await handle.reset_activity("stuck", keep_paused=True)
        assert (await pending(handle)).ambiguous  # what has happened has, though counting begins anew
        await handle.terminate()


async def test_an_attempt_that_a_pause_has_cut_off_leaves_doubt(
    client: Client, make_worker: MakeWorker, asked: Asked
) -> None:
    asked.answers = [Happened("it was")]
    beats = threading.Event()

    async def verify(order: str) -> Any:
        return asked.answer()

    @activity.defn(name="refund", after_crash=verify, heartbeat_timeout=timedelta(seconds=60))
    async def refund(order: str) -> None:
        asked.running.set()
        while True:
            if beats.is_set():
                activity.heartbeat()
            await asyncio.sleep(0.005)

    async with make_worker(refunding, refund):
        handle = await client.start_workflow(refunding, "tea", id="refunding")
        await asked.running.wait()
        assert not (await pending(handle)).ambiguous  # the attempt lives
        await handle.pause_activity("1")
        beats.set()

        async def is_paused() -> bool:
            return (await pending(handle)).started is None

        await until(is_paused)
        assert (await pending(handle)).ambiguous
        await handle.unpause_activity("1")
        assert await handle.result() == "it was"


async def test_a_result_that_got_lost_on_its_way_to_the_record_leaves_doubt(
    client: Client, make_worker: MakeWorker, asked: Asked
) -> None:
    asked.answers = [Happened("it was")]
    asked.ends.set()

    class Losing(Interceptor):
        def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
            class Inbound(ActivityInboundInterceptor):
                async def execute_activity(self, input: ExecuteActivityInput) -> Any:
                    result = await super().execute_activity(input)
                    if result == "refunded tea":
                        raise ConnectionError("the log is full")
                    return result

            return Inbound(next)

    async with make_worker(refunding, refund_with(asked, verify_with(asked)), interceptors=[Losing()]):
        assert await client.execute_workflow(refunding, "tea", id="refunding") == "it was"

    assert [call[0] for call in asked.calls] == ["code", "verify"]


async def test_what_is_handed_back_before_its_code_began_is_known_not_to_have_happened(
    client: Client, make_worker: MakeWorker, asked: Asked
) -> None:
    before, goes_on = asyncio.Event(), asyncio.Event()

    class Slow(Interceptor):
        def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
            class Inbound(ActivityInboundInterceptor):
                async def execute_activity(self, input: ExecuteActivityInput) -> Any:
                    before.set()
                    await goes_on.wait()
                    return await super().execute_activity(input)

            return Inbound(next)

    refund = refund_with(asked, "fail")
    asked.ends.set()
    async with make_worker(refunding, refund, interceptors=[Slow()]):
        handle = await client.start_workflow(refunding, "tea", id="refunding")
        await before.wait()
    assert not (await pending(handle)).ambiguous

    async with make_worker(refunding, refund):
        assert await handle.result() == "refunded tea"


async def test_an_attempt_that_is_cancelled_while_it_is_asked_in_a_thread_does_not_begin_the_code(
    client: Client, make_worker: MakeWorker, asked: Asked
) -> None:
    loop, asking = asyncio.get_running_loop(), asyncio.Event()

    def verify(order: str, cents: int, *, note: str) -> None:
        loop.call_soon_threadsafe(asking.set)
        activity.wait_for_cancelled_sync()

    refund = refund_with(asked, verify, no_thread_cancel_exception=True)
    await cut_off(client, make_worker, asked, refund)

    async with make_worker(refunding, refund):
        await asking.wait()

    assert len(asked.calls) == 1


# The forms of activities


async def test_a_local_activity_asks_too(client: Client, make_worker: MakeWorker, asked: Asked) -> None:
    asked.answers = [Happened("it was")]
    infos: list[activity.Info] = []

    async def verify(order: str) -> Any:
        infos.append(activity.info())
        return asked.answer()

    @activity.defn(after_crash=verify)
    async def refund(order: str) -> str:
        infos.append(activity.info())
        asked.running.set()
        await asked.ends.wait()
        return "refunded"

    @workflow.defn
    async def locally(order: str) -> str:
        return await workflow.execute_local_activity(refund, order, start_to_close_timeout=HOUR)

    async with make_worker(locally, refund):
        handle = await client.start_workflow(locally, "tea", id="locally")
        await asked.running.wait()
    assert (await pending(handle)).ambiguous

    async with make_worker(locally, refund):
        assert await handle.result() == "it was"

    assert [info.is_local for info in infos] == [True, True]
    assert len({info.idempotency_key for info in infos}) == 1


async def test_an_activity_without_a_workflow_asks_too_and_shows_that_it_is_in_doubt(
    client: Client, make_worker: MakeWorker, asked: Asked
) -> None:
    refund = refund_with(asked, verify_with(asked))
    asked.answers = [Happened("it was")]

    async with make_worker(refund):
        handle = await client.start_activity(refund, "tea", id="refund-7", task_queue="default")
        await asked.running.wait()
        assert not (await handle.describe()).ambiguous
    assert (await handle.describe()).ambiguous

    async with make_worker(refund):
        assert await handle.result() == "it was"

    assert not (await handle.describe()).ambiguous
    assert [call[0] for call in asked.calls] == ["code", "verify"] and len(asked.keys) == 1


async def test_all_activities_of_all_runs_have_keys_of_their_own(client: Client, make_worker: MakeWorker) -> None:
    keys: list[str] = []

    @activity.defn
    async def note() -> None:
        keys.append(activity.info().idempotency_key)

    @workflow.defn
    class Twice:
        @workflow.run
        async def run(self, again: bool) -> None:
            await asyncio.gather(*(workflow.execute_activity(note, start_to_close_timeout=HOUR) for _ in range(2)))
            await workflow.execute_local_activity(note, start_to_close_timeout=HOUR)
            if again:
                workflow.continue_as_new(False)

    async with make_worker(Twice, note):
        await client.execute_workflow(Twice.run, True, id="twice")
        await client.execute_workflow(Twice.run, False, id="twice")
        for _ in range(2):
            await client.execute_activity(note, id="note", task_queue="default", start_to_close_timeout=HOUR)

    assert len(keys) == 11 == len(set(keys))


# A process that is killed


def dying(address: str, folder: Path, where: str) -> None:
    """The main function of a process that kills itself in the code, or while it is asked."""
    logging.disable(logging.CRITICAL)
    asyncio.run(serve(address, folder, where))


def activity_in(folder: Path, where: str) -> Callable[..., Any]:
    def passed(what: str) -> None:
        with (folder / "passed").open("a") as file:
            file.write(f"{what} {activity.info().idempotency_key}\n")
        if what == where:
            os.kill(os.getpid(), signal.SIGKILL)

    async def verify(order: str) -> Happened:
        passed("verify")
        return Happened("it was")

    @activity.defn(name="refund", after_crash=verify, retry_policy=SOON)
    async def refund(order: str) -> str:
        passed("code")
        return "refunded"

    return refund


async def serve(address: str, folder: Path, where: str) -> None:
    async with await Client.connect(address) as client:
        worker = Worker(client, workflows=[refunding], activities=[activity_in(folder, where)], lease=LEASE)
        await worker.run()


async def test_a_killed_worker_leaves_doubt_until_somebody_lives_to_ask(
    new_place: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "LOST_RETRY_FIRST_US", 1)  # after the second death in a row
    place: Place = new_place()
    async with await Client.connect(place.address) as client:
        handle = await client.start_workflow(refunding, "tea", id="refunding")
        for where in ("code", "verify"):
            child = processes.Process(target=dying, args=(place.address, tmp_path, where), daemon=True)
            child.start()
            await asyncio.to_thread(child.join)
            assert child.exitcode == -signal.SIGKILL

        async with worker_for(client, refunding, activity_in(tmp_path, "nowhere"), lease=LEASE):
            assert await handle.result() == "it was"

    passed = (tmp_path / "passed").read_text().splitlines()
    assert [line.split()[0] for line in passed] == ["code", "verify", "verify"]
    assert len({line.split()[1] for line in passed}) == 1


async def test_a_lost_attempt_that_was_the_last_one_allowed_is_over_without_a_question(
    client: Client, make_worker: MakeWorker, asked: Asked
) -> None:
    @activity.defn(name="refund", after_crash=verify_with(asked))
    async def refund(order: str, cents: int = 100, *, note: str = "") -> None:
        await asked.ends.wait()

    @workflow.defn
    async def once() -> None:
        await workflow.execute_activity(
            "refund",
            "tea",
            start_to_close_timeout=timedelta(milliseconds=20),
            retry_policy=RetryPolicy(maximum_attempts=1),
        )

    async with make_worker(once, refund):
        with pytest.raises(WorkflowFailureError) as caught:
            await client.execute_workflow(once, id="once")

    assert isinstance(caught.value.cause, ActivityError)
    assert caught.value.cause.retry_state is RetryState.MAXIMUM_ATTEMPTS_REACHED
    assert asked.calls == []
