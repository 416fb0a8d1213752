"""A payload codec that hangs, refuses a context or fails when it is given up harms its own run, and that gets a reason.

Local activities are here too, where what is encoded for one context was decoded for another.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Self

import pytest

from durable import Client, RetryPolicy, activity, workflow
from durable.converter import (
    ActivitySerializationContext,
    DefaultFailureConverterWithEncodedAttributes,
    Payload,
    PayloadCodec,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
)
from durable.exceptions import ApplicationError
from durable.history.events import WorkflowTaskFailed
from durable.history.transition import Outcome, Refusal, Refused
from durable.worker import activities, runs, step
from durable.worker.replay import Run
from tests.chaos.places import Place
from tests.engine.codecs import Gate, SealingFor, converter
from tests.engine.conftest import MakeWorker, worker_for
from tests.engine.histories import until
from tests.engine.test_payload_codec import events_of, joined, rows_of, sealing

TEN_S = timedelta(seconds=10)
SECRET = "marzipan"


async def parked(client: Client) -> str:
    async def reason() -> str | None:
        run = await client.database.store.find("default", "the-run")
        return run.parked if run is not None else None

    return str(await until(reason))


# -- one that hangs


class Once(Gate):
    """Holds up the first only, for ever."""

    async def __call__(self, what: str, payloads: Sequence[Payload]) -> None:
        if not self.reached.is_set():
            await super().__call__(what, payloads)


@pytest.mark.parametrize("what", ["encode", "decode"])
async def test_a_codec_that_never_returns_parks_its_run_which_is_tried_again(client: Client, what: str) -> None:
    sealed = sealing(client, converter(SealingFor(Once(b"once more" if what == "encode" else b"more", what))))
    async with worker_for(sealed, joined):
        handle = await sealed.start_workflow(joined, 2, id="the-run", task_timeout=timedelta(seconds=0.5))
        await handle.signal("word", "once")
        await handle.signal("word", "more")
        assert await handle.result() == "once more"
    failed = [event for event in await events_of(client, "the-run") if isinstance(event, WorkflowTaskFailed)]
    told = f"the payload codec SealingFor did not {what} within 0.5 s, which is the workflow task timeout"
    assert [event.failure.message for event in failed] == [told]


async def test_a_conversion_that_fails_when_it_is_given_up_leads_nowhere(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    class HangsUp(Gate):
        async def __call__(self, what: str, payloads: Sequence[Payload]) -> None:
            try:
                await super().__call__(what, payloads)
            except asyncio.CancelledError as error:
                hung_up.set()
                raise OSError("the key service has hung up") from error

    def landed(self: runs.Runs) -> None:
        was_landed(self)
        in_flight.append(self._in_flight)

    def limit(self: runs.Runs, task: Any, work: Any) -> None:
        if work.entry.run_id == given_up.first_execution_run_id:
            was_limit(self, task, work)

    hung_up, in_flight = asyncio.Event(), list[int]()
    was_landed, was_limit = runs.Runs._landed, runs.Runs._limit
    monkeypatch.setattr(runs, "LAST_CONVERSIONS", 0.01)
    monkeypatch.setattr(runs.Runs, "_limit", limit)
    monkeypatch.setattr(runs.Runs, "_landed", landed)
    hanging, slow = HangsUp(b"once more", "encode"), Gate(b"a b", "encode")

    async def meddle(what: str, payloads: Sequence[Payload]) -> None:
        await hanging(what, payloads)
        await slow(what, payloads)

    sealed = sealing(client, converter(SealingFor(meddle)))
    async with worker_for(sealed, joined) as worker:
        given_up = await sealed.start_workflow(joined, 2, id="the-run")
        other = await sealed.start_workflow(joined, 2, id="other")
        for handle, words in ((given_up, ("once", "more")), (other, ("a", "b"))):
            for word in words:
                await handle.signal("word", word)
        await hanging.reached.wait()
        await slow.reached.wait()
        stopping = asyncio.create_task(worker.shutdown())
        await hung_up.wait()
        for _ in range(20):  # time for what must not follow
            await other.describe()
        slow.open.set()
        await stopping

    assert min(in_flight) == 0
    async with worker_for(sealing(client), joined):
        assert [await given_up.result(), await other.result()] == ["once more", "a b"]
    assert not [event for event in await events_of(client, "the-run") if isinstance(event, WorkflowTaskFailed)]


# -- one that refuses a context


class Choosy(PayloadCodec, WithSerializationContext):
    """Has no key for some; changes nothing for the others."""

    def __init__(self, refused: type[SerializationContext]) -> None:
        self.refused: tuple[type[SerializationContext], ...] = (refused,)

    def with_context(self, context: SerializationContext) -> Self:
        if isinstance(context, self.refused):
            raise KeyError("no key for tenant")
        return self

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return list(payloads)

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return list(payloads)


@activity.defn
async def shout(text: str) -> str:
    return f"{text}!"


@workflow.defn
async def shouting(text: str) -> str:
    return await workflow.execute_activity(
        "shout", text, start_to_close_timeout=TEN_S, retry_policy=RetryPolicy(initial_interval=timedelta(hours=1))
    )


async def test_a_run_whose_context_is_refused_is_parked_with_the_reason_and_can_go_on(client: Client) -> None:
    choosy = Choosy(WorkflowSerializationContext)
    handle = await client.start_workflow(joined, 0, id="the-run")
    async with worker_for(sealing(client, converter(choosy)), joined):
        reason = await parked(client)
        choosy.refused = ()
        assert await handle.result() == ""
    assert "the data converter can't be had for WorkflowSerializationContext" in reason
    assert reason.endswith("its with_context raised KeyError: 'no key for tenant'")


async def test_an_attempt_whose_context_is_refused_fails_with_the_reason(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    choosy = Choosy(ActivitySerializationContext)
    with caplog.at_level(logging.WARNING, "durable.worker"):
        async with worker_for(client, shouting), worker_for(sealing(client, converter(choosy)), shout):
            handle = await client.start_workflow(shouting, "a", id="the-run")

            async def failure() -> str | None:
                pending = (await handle.describe()).pending_activities
                return pending[0].last_failure if pending else None

            told = str(await until(failure))
    assert "the data converter can't be had for ActivitySerializationContext" in told
    assert told in caplog.text


# -- what is cut short


async def test_a_failure_that_did_not_get_through_the_codec_is_not_stored_in_clear(
    new_place: Callable[[], Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activities, "LAST_WORDS", 0.01)
    hiding = DefaultFailureConverterWithEncodedAttributes
    gate = Gate(SECRET.encode())
    hanging = dataclasses.replace(converter(SealingFor(gate)), failure_converter_class=hiding)
    unconvertible = type(SECRET, (), {})

    @activity.defn(name="shout")
    async def beat(text: str) -> str:
        activity.heartbeat(unconvertible())
        await asyncio.Event().wait()
        return text

    place = new_place()
    async with await Client.connect(place.address, data_converter=hanging) as client:
        async with worker_for(client, shouting, beat):
            handle = await client.start_workflow(shouting, "a", id="the-run")
            await gate.reached.wait()
        (pending,) = (await handle.describe()).pending_activities
        rows = await rows_of(place)
    assert "was cut short before that was encoded" in str(pending.last_failure)
    assert SECRET.encode() not in rows


# -- local activities and their context


class Local:
    def __init__(self) -> None:
        self.tokens: asyncio.Queue[bytes] = asyncio.Queue()

    @activity.defn(task_queue="other", start_to_close_timeout=TEN_S)
    async def elsewhere(self, text: str) -> str:
        return f"{text}!"

    @activity.defn(start_to_close_timeout=TEN_S, retry_policy=RetryPolicy(initial_interval=timedelta(hours=1)))
    async def flaky(self, text: str) -> str:
        raise ApplicationError(f"not {text}", text)

    @activity.defn(start_to_close_timeout=TEN_S)
    async def outside(self, text: str) -> str:
        self.tokens.put_nowait(activity.info().task_token)
        activity.raise_complete_async()


@workflow.defn
class Calling:
    @workflow.run
    async def run(self, name: str) -> str:
        result: Any = await workflow.execute_local_activity(getattr(Local, name), "a")
        return str(result)


async def test_a_local_activity_leaves_the_task_queue_of_its_definition_alone(client: Client) -> None:
    sealed = sealing(client)
    async with worker_for(sealed, Calling, Local().elsewhere):
        assert await sealed.execute_workflow(Calling.run, "elsewhere", id="the-run") == "a!"


async def test_a_client_reads_the_failure_of_a_local_activity_that_waits(client: Client) -> None:
    sealed = sealing(
        client,
        dataclasses.replace(converter(), failure_converter_class=DefaultFailureConverterWithEncodedAttributes),
    )
    async with worker_for(sealed, Calling, Local().flaky):
        handle = await sealed.start_workflow(Calling.run, "flaky", id="the-run")

        async def failure() -> str | None:
            pending = (await handle.describe()).pending_activities
            return pending[0].last_failure if pending else None

        assert await until(failure) == "not a"


async def test_a_local_activity_is_completed_from_outside(client: Client) -> None:
    sealed, local = sealing(client), Local()
    async with worker_for(sealed, Calling, local.outside):
        handle = await sealed.start_workflow(Calling.run, "outside", id="the-run")
        await sealed.get_async_activity_handle(task_token=await local.tokens.get()).complete("done")
        assert await handle.result() == "done"


# -- runs that are left alone


async def test_a_step_that_fails_in_the_engine_leaves_no_copy_of_its_run(
    client: Client, make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    evicted = asyncio.Event()
    loop = asyncio.get_running_loop()
    was_evicted = Run.evict

    def evict(self: Run) -> None:
        was_evicted(self)
        loop.call_soon_threadsafe(evicted.set)

    def complete(*args: Any, **options: Any) -> Any:
        raise ZeroDivisionError

    handle = await client.start_workflow(joined, 1, id="the-run")
    with monkeypatch.context() as patch:
        patch.setattr(Run, "evict", evict)
        patch.setattr(step.rules, "complete", complete)
        patch.setattr(runs, "SHUN_FIRST", 0.01)
        async with make_worker(joined):
            await evicted.wait()
    async with make_worker(joined):
        await handle.signal("word", "a")
        assert await handle.result() == "a"


async def test_a_run_that_was_taken_over_is_not_remembered_for_ever(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    lives: list[runs.Runs] = []
    was_refused = runs.Runs._refused

    def refused(self: runs.Runs, work: Any, stepped: Any, outcome: Outcome | Exception) -> None:
        lives.append(self)
        was_refused(self, work, stepped, outcome)

    def committed(self: runs.Runs, work: Any, stepped: Any, transition: Any, outcome: Outcome | Exception) -> None:
        fenced = Refused(reason=Refusal.FENCED, detail="taken over")
        was_committed(self, work, stepped, transition, outcome if lives else fenced)

    was_committed = runs.Runs._committed
    monkeypatch.setattr(runs, "FORGIVEN", 0.01)
    monkeypatch.setattr(runs, "SHUN_FIRST", 0.01)
    monkeypatch.setattr(runs.Runs, "_refused", refused)
    monkeypatch.setattr(runs.Runs, "_committed", committed)
    sealed = sealing(client)
    async with worker_for(sealed, joined):
        await sealed.start_workflow(joined, 1, id="the-run", start_delay=timedelta(milliseconds=1))

        async def known() -> bool:
            return bool(lives and lives[0]._shunned)

        async def forgotten() -> bool:
            return not lives[0]._shunned

        await until(known)
        await until(forgotten)
