"""A payload codec on the worker's side: code sees values, the database what the codec makes of them."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from copy import copy
from datetime import timedelta
from typing import Any, Self

import pytest

from durable import Client, RetryPolicy, activity, workflow
from durable.client import (
    ActivityFailureError,
    Interceptor,
    OutboundInterceptor,
    StartWorkflowInput,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
)
from durable.common import HeaderCodecBehavior
from durable.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultPayloadConverter,
    Payload,
    SerializationContext,
    WithSerializationContext,
)
from durable.exceptions import ActivityError, ApplicationError, ChildWorkflowError
from durable.history import codec
from durable.history.events import (
    ActivityTaskScheduled,
    HistoryEvent,
    WorkflowExecutionStarted,
    WorkflowTaskFailed,
)
from durable.worker import Replayer, SharedStateManager, activities, runs
from tests.chaos.places import Place
from tests.engine.codecs import Failing, Gate, SealingFor, converter
from tests.engine.conftest import worker_for
from tests.engine.histories import until
from tests.engine.process_activities import Order, where
from tests.forkserver import processes

TEN_S = timedelta(seconds=10)
SOON = RetryPolicy(initial_interval=timedelta(milliseconds=1))
SECRET = "marzipan"


@activity.defn
async def shout(text: str) -> str:
    return f"{text}!"


@activity.defn(name="shout_in_thread")
def shout_in_thread(text: str) -> str:
    activity.heartbeat(text)
    return f"{text}!"


@activity.defn
async def refuse(text: str) -> None:
    raise ApplicationError("refused", text, non_retryable=True)


class Stubborn:
    """Fails once, after heartbeats; ``looked`` is what the database holds of that during the second attempt."""

    def __init__(self, look: Callable[[], Any] | None = None) -> None:
        self._look = look
        self.looked: bytes = b""

    @activity.defn
    async def insist(self, text: str) -> list[str]:
        details = activity.info().heartbeat_details
        if activity.info().attempt == 1:
            activity.heartbeat("one", text)
            activity.heartbeat("two", text)
            raise ApplicationError("not yet", text)
        if self._look is not None:
            self.looked = await self._look()
        return [str(each) for each in details]


def details_of(error: ActivityError | ChildWorkflowError | None) -> list[str]:
    cause = error.cause if error is not None else None
    return list(cause.details) if isinstance(cause, ApplicationError) else []


@workflow.defn
async def echo(text: str) -> str:
    return text


@workflow.defn
async def give_up(text: str) -> None:
    raise ApplicationError("gave up", text)


@workflow.defn
class Everything:
    def __init__(self) -> None:
        self.heard: list[str] = []

    @workflow.run
    async def run(self, text: str, last: str = "") -> list[str]:
        if last:
            assert workflow.memo_value("note") == text and "gone" not in workflow.memo()
            return [last, *self.heard]
        seen = [await shout(text)]
        seen.append(await workflow.execute_local_activity(shout, text, start_to_close_timeout=TEN_S))
        seen.append(
            await workflow.execute_activity(
                "shout_in_thread", text, activity_id="named", start_to_close_timeout=TEN_S, summary=text
            )
        )
        seen += await workflow.execute_activity(
            "insist", text, start_to_close_timeout=TEN_S, retry_policy=SOON, result_type=list[str]
        )
        try:
            await workflow.execute_activity(refuse, text, start_to_close_timeout=TEN_S)
        except ActivityError as error:
            seen += details_of(error)
        seen.append(await workflow.execute_child_workflow(echo, text, id="child", memo={"of": text}))
        try:
            await workflow.execute_child_workflow(give_up, text, id="other")
        except ChildWorkflowError as error:
            seen += details_of(error)
        workflow.upsert_memo({"note": text, "gone": text})
        workflow.upsert_memo({"gone": None})
        await workflow.sleep(0.001, summary=text)
        assert workflow.patched("a patch")
        await workflow.wait_condition(lambda: len(self.heard) == 2)
        workflow.continue_as_new(args=[text, " ".join([*seen, *self.heard])])

    @workflow.signal
    async def hear(self, text: str) -> None:
        self.heard.append(text)

    @workflow.update
    async def add(self, text: str) -> str:
        self.heard.append(text)
        return f"added {text}"

    @add.validator
    def check(self, text: str) -> None:
        if text.startswith("no"):
            raise ApplicationError("rejected", text)

    @workflow.query
    def so_far(self, text: str) -> list[str]:
        return [text, *self.heard]


@activity.defn
async def refuse_in_detail() -> None:
    raise ApplicationError("refused", f"in the details: {SECRET}")


@workflow.defn
class Refused:
    @workflow.run
    async def run(self) -> str:
        try:
            await workflow.execute_activity(
                refuse_in_detail, start_to_close_timeout=TEN_S, retry_policy=RetryPolicy(maximum_attempts=1)
            )
        except ActivityError as error:
            return str(error.cause)
        return ""


@workflow.defn
class Shouting:
    @workflow.run
    async def run(self, text: str) -> str:
        return await workflow.execute_activity(shout, text, start_to_close_timeout=TEN_S, retry_policy=SOON)


@workflow.defn
async def joined(count: int) -> str:
    return " ".join([await workflow.receive("word", str) for _ in range(count)])


@workflow.defn
async def ordering(order: Order) -> Order:
    _, same = await workflow.execute_activity(where, order, start_to_close_timeout=TEN_S)
    return same


@workflow.defn
async def heading() -> str:
    return workflow.info().headers["from"].data.decode()


@workflow.defn
class Sender:
    @workflow.run
    async def run(self, to: str, text: str) -> None:
        await workflow.get_external_workflow_handle(to).signal("hear", text)


def sealing(client: Client, data_converter: DataConverter | None = None) -> Client:
    """Another client on the same connection, with a codec."""
    return Client(client.database, data_converter=data_converter or converter())


async def events_of(client: Client, id: str, run_id: str | None = None) -> list[HistoryEvent]:
    run = await client.database.store.find("default", id, run_id)
    assert run is not None
    return codec.decode_history(await client.database.store.history(run.run_id))


async def rows_of(place: Place) -> bytes:
    """Every row of every table, as bytes."""
    tables = ("runs", "history", "inbox", "activity_tasks", "workers", "replies")
    found = [row for table in tables for row in await place.ask(f"SELECT * FROM durable_{table}")]
    return b"\n".join(b" ".join(v if isinstance(v, bytes) else repr(v).encode() for v in row) for row in found)


async def test_all_that_code_reads_and_asks_for_is_encoded_in_every_table_and_decoded_for_the_code(
    new_place: Callable[[], Place], max_cached: int
) -> None:
    place = new_place()
    stubborn = Stubborn(lambda: rows_of(place))
    definitions = (Everything, Sender, echo, give_up, shout, shout_in_thread, refuse, stubborn.insist)
    async with await Client.connect(place.address, data_converter=converter()) as client:
        async with worker_for(client, *definitions, max_cached_workflows=max_cached):
            first = await client.start_workflow(Everything.run, SECRET, id="all", memo={"start": SECRET})
            with pytest.raises(WorkflowUpdateFailedError) as rejected:
                await first.execute_update(Everything.add, f"no {SECRET}")
            assert rejected.value.__cause__.details == (f"no {SECRET}",)  # type: ignore[union-attr]
            assert await first.query(Everything.so_far, SECRET) == [SECRET]
            await client.execute_workflow(Sender.run, args=["all", f"signal {SECRET}"], id="sender")
            assert await first.execute_update(Everything.add, f"update {SECRET}") == f"added update {SECRET}"
            seen, *_ = await first.result()
            rows = await rows_of(place)

            words = [f"{SECRET}!"] * 3 + ["two", SECRET, SECRET, SECRET, SECRET]
            assert seen == " ".join([*words, f"signal {SECRET}", f"update {SECRET}"])
            assert b"insist" in stubborn.looked and SECRET.encode() not in stubborn.looked
            assert b"ActivityTaskScheduled" in rows  # the rows can be read
            assert SECRET.encode() not in rows

            run_ids = [first.first_execution_run_id, (await first.describe()).run_id]
            replayer = Replayer(
                workflows=[Everything], namespace="default", data_converter=client.data_converter, exact=True
            )
            for run_id in run_ids:
                await replayer.replay_workflow(await client.get_workflow_handle("all", run_id=run_id).fetch_history())


async def test_a_replay_with_another_converter_says_that_the_history_cant_be_read(client: Client) -> None:
    sealed = sealing(client)
    async with worker_for(sealed, echo):
        handle = await sealed.start_workflow(echo, SECRET, id="the-run")
        await handle.result()
    history = await handle.fetch_history()

    other = Replayer(workflows=[echo], namespace="elsewhere", data_converter=sealed.data_converter)
    with pytest.raises(
        RuntimeError, match=r"'the-run' can't be read: the payload codec SealingFor can't decode.*opened"
    ):
        await other.replay_workflow(history)


async def test_a_run_that_was_never_in_memory_here_goes_on_with_decoded_values(client: Client) -> None:
    sealed = sealing(client)
    async with worker_for(sealed, Everything, Sender):
        handle = await sealed.start_workflow(Everything.run, args=[SECRET, ""], id="the-run", task_queue="elsewhere")
        await handle.signal(Everything.hear, "early")
    kept = Stubborn()
    definitions = (Everything, echo, give_up, shout, shout_in_thread, refuse, kept.insist)
    async with worker_for(sealed, *definitions, task_queue="elsewhere"):
        await handle.query(Everything.so_far, "x")
    async with worker_for(sealed, *definitions, task_queue="elsewhere"):
        await handle.signal(Everything.hear, "late")
        assert "early late" in (await handle.result())[0]


@workflow.defn
class Doubling:
    """Retried after a failure; by schedule it is told what the run before has returned."""

    @workflow.run
    async def run(self, text: str) -> str:
        if workflow.info().attempt == 1:
            raise ApplicationError("again", text)
        failure = workflow.get_last_failure()
        assert isinstance(failure, ApplicationError)
        return f"{text} after {failure.details[0]}"


async def test_a_retried_run_knows_its_input_and_the_failure_before(client: Client) -> None:
    sealed = sealing(client)
    async with worker_for(sealed, Doubling):
        told = await sealed.execute_workflow(Doubling.run, SECRET, id="the-run", retry_policy=SOON)
    assert told == f"{SECRET} after {SECRET}"


async def test_an_activity_that_a_client_starts_by_itself_gets_its_values_through_the_codec(client: Client) -> None:
    sealed = sealing(client)
    async with worker_for(sealed, shout, refuse):
        options: dict[str, Any] = {"task_queue": "default", "start_to_close_timeout": TEN_S}
        assert await sealed.execute_activity(shout, SECRET, id="one", **options) == f"{SECRET}!"
        with pytest.raises(ActivityFailureError) as failed:
            await sealed.execute_activity(refuse, SECRET, id="two", **options)
    assert failed.value.__cause__.details == (SECRET,)  # type: ignore[union-attr]


async def test_process_activities_have_their_codec_in_the_worker(client: Client) -> None:
    sealed = sealing(client)
    with processes.Manager() as manager, ProcessPoolExecutor(1, processes) as pool:
        shared = SharedStateManager.create_from_multiprocessing(manager)
        async with worker_for(sealed, ordering, where, activity_executor=pool, shared_state_manager=shared):
            assert await sealed.execute_workflow(ordering, Order(SECRET, 2), id="the-run") == Order(SECRET, 3)


async def test_headers_go_through_the_codec_if_the_client_says_so(client: Client) -> None:
    class Heading(Interceptor):
        def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
            return HeadingOutbound(next)

    class HeadingOutbound(OutboundInterceptor):
        async def start_workflow(self, input: StartWorkflowInput) -> Any:
            input.headers = {"from": DataConverter.default.to_payloads([SECRET])[0]}
            return await super().start_workflow(input)

    for behaviour, is_sealed in ((HeaderCodecBehavior.NO_CODEC, False), (HeaderCodecBehavior.CODEC, True)):
        sealed = Client(
            client.database, data_converter=converter(), header_codec_behavior=behaviour, interceptors=[Heading()]
        )
        async with worker_for(sealed, heading):
            assert await sealed.execute_workflow(heading, id=behaviour.name) == f'"{SECRET}"'
        started = (await events_of(client, behaviour.name))[0]
        assert isinstance(started, WorkflowExecutionStarted)
        assert (started.header["from"].metadata["encoding"] == b"binary/sealed") is is_sealed


async def test_converters_are_told_the_same_of_a_value_by_whoever_writes_and_whoever_reads_it(
    client: Client, max_cached: int
) -> None:
    class Told(CompositePayloadConverter, WithSerializationContext):
        """Writes for what a value is, and reads it for nothing else."""

        told = ""

        def __init__(self) -> None:
            super().__init__(*DefaultPayloadConverter.default_encoding_payload_converters)

        def with_context(self, context: SerializationContext) -> Self:
            made = copy(self)
            made.told = repr(context)
            return made

        def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
            made = super().to_payloads(values)
            return [Payload(metadata={**each.metadata, "for": self.told.encode()}, data=each.data) for each in made]

        def from_payloads(self, payloads: Sequence[Payload], type_hints: Sequence[Any] | None = None) -> list[Any]:
            for payload in payloads:
                assert payload.metadata["for"].decode() == self.told
            return super().from_payloads(payloads, type_hints)

    told = sealing(client, DataConverter(payload_converter_class=Told))
    definitions = (Everything, Sender, echo, give_up, shout, shout_in_thread, refuse, Stubborn().insist)
    async with worker_for(told, *definitions, max_cached_workflows=max_cached):
        first = await told.start_workflow(Everything.run, SECRET, id="all")
        assert await first.query(Everything.so_far, SECRET) == [SECRET]
        await told.execute_workflow(Sender.run, args=["all", "signal"], id="sender")
        assert await first.execute_update(Everything.add, "update") == "added update"
        assert (await first.result())[0].endswith("signal update")


# -- when the codec takes its time


async def test_a_slow_codec_holds_up_its_own_run_and_no_other(client: Client, max_cached: int) -> None:
    gate = Gate(b"one two", "encode")
    sealed = sealing(client, converter(SealingFor(gate)))
    async with worker_for(sealed, joined, max_cached_workflows=max_cached):
        slow = await sealed.start_workflow(joined, 2, id="slow", start_delay=timedelta(milliseconds=1))
        await slow.signal("word", "one")
        await slow.signal("word", "two")
        await gate.reached.wait()
        other = await sealed.start_workflow(joined, 2, id="other")
        await other.signal("word", "a")
        await other.signal("word", "b")
        assert await other.result() == "a b"
        assert (await slow.describe()).status is WorkflowExecutionStatus.RUNNING
        gate.open.set()
        assert await slow.result() == "one two"


async def test_what_comes_while_the_codec_reads_is_read_after_it_in_its_order(client: Client, max_cached: int) -> None:
    gate = Gate(b"first", "decode")
    sealed = sealing(client, converter(SealingFor(gate)))
    async with worker_for(sealed, joined, max_cached_workflows=max_cached):
        handle = await sealed.start_workflow(joined, 4, id="the-run")
        await handle.signal("word", "first")
        await gate.reached.wait()
        for word in ("second", "third", "fourth"):
            await handle.signal("word", word)
        gate.open.set()
        assert await handle.result() == "first second third fourth"


async def test_a_worker_stops_though_a_codec_hangs_and_the_next_one_goes_on(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "LAST_CONVERSIONS", 0.01)
    monkeypatch.setattr(activities, "LAST_WORDS", 0.01)
    gate = Gate(b"once more", "encode")
    hanging = sealing(client, converter(SealingFor(gate)))
    async with worker_for(hanging, joined):
        handle = await hanging.start_workflow(joined, 2, id="the-run")
        await handle.signal("word", "once")
        await handle.signal("word", "more")
        await gate.reached.wait()
    of_activity = Gate(SECRET.encode() + b"!", "encode")
    second: dict[str, Any] = {"task_queue": "second"}
    async with worker_for(sealing(client, converter(SealingFor(of_activity))), Shouting, shout, **second):
        shouting = await hanging.start_workflow(Shouting.run, SECRET, id="shouting", **second)
        await of_activity.reached.wait()

    good = sealing(client)
    async with worker_for(good, joined), worker_for(good, Shouting, shout, **second):
        assert await handle.result() == "once more"
        assert await shouting.result() == f"{SECRET}!"
    assert not [event for event in await events_of(client, "the-run") if isinstance(event, WorkflowTaskFailed)]


# -- when the codec fails


@pytest.mark.parametrize("what", ["encode", "decode"])
async def test_a_run_whose_codec_fails_is_parked_with_the_reason_and_goes_on_by_itself(
    client: Client, max_cached: int, what: str
) -> None:
    failing = Failing(b"one two" if what == "encode" else b"two", 1, what)
    sealed = sealing(client, converter(SealingFor(failing)))
    async with worker_for(sealed, joined, max_cached_workflows=max_cached):
        handle = await sealed.start_workflow(joined, 2, id="the-run")
        await handle.signal("word", "one")
        await handle.signal("word", "two")
        other = await sealed.start_workflow(joined, 1, id="other")
        await other.signal("word", "x")
        assert await other.result() == "x"
        assert await handle.result() == "one two"
    failed = [event for event in await events_of(client, "the-run") if isinstance(event, WorkflowTaskFailed)]
    told = f"the payload codec SealingFor can't {what}: ConnectionError: the key service is away"
    assert [event.failure.message for event in failed] == [told]


async def test_a_run_whose_codec_always_fails_is_parked_and_can_be_terminated(client: Client) -> None:
    failing = Failing(b"one", math.inf, "decode")
    sealed = sealing(client, converter(SealingFor(failing)))
    async with worker_for(sealed, joined):
        handle = await sealed.start_workflow(joined, 2, id="the-run")
        await handle.signal("word", "one")

        async def parked() -> str | None:
            run = await client.database.store.find("default", "the-run")
            return run.parked if run is not None else None

        assert "the key service is away" in str(await until(parked))
        await handle.terminate()
        with pytest.raises(WorkflowFailureError):
            await handle.result()


async def test_a_question_that_the_codec_cant_read_is_refused_and_harms_nobody(client: Client) -> None:
    sealed = sealing(client)
    async with worker_for(sealed, Everything):
        handle = await sealed.start_workflow(Everything.run, args=["x", ""], id="the-run", task_queue="nobody")
        async with worker_for(sealed, Everything, task_queue="nobody"):
            in_the_clear = client.get_workflow_handle("the-run")
            with pytest.raises(WorkflowQueryFailedError, match=r"can't decode: ValueError: .* was not sealed"):
                await in_the_clear.query(Everything.so_far, "y")
            assert await handle.query(Everything.so_far, "y") == ["y"]
    assert not [event for event in await events_of(client, "the-run") if isinstance(event, WorkflowTaskFailed)]


@pytest.mark.parametrize("what", ["encode", "decode"])
async def test_an_attempt_whose_codec_fails_is_tried_again(
    client: Client, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    failing = Failing(SECRET.encode() + (b"!" if what == "encode" else b""), 0, what)
    sealed = sealing(client, converter(SealingFor(failing)))
    async with worker_for(sealed, Shouting):  # decodes its input before the activity's worker is there
        handle = await sealed.start_workflow(Shouting.run, SECRET, id="the-run", task_queue="default")
        await until(lambda: scheduled(client))
    failing.left = 1
    with caplog.at_level(logging.WARNING, "durable.worker"):
        async with worker_for(sealed, shout):
            await until(lambda: ended(client))
    async with worker_for(sealing(client), Shouting):
        assert await handle.result() == f"{SECRET}!"
    assert f"failed at attempt 1 (it is tried again): the payload codec SealingFor can't {what}" in caplog.text


async def test_a_failure_that_cant_be_encoded_is_told_as_the_codecs(client: Client) -> None:
    sealed = sealing(client, converter(SealingFor(Failing(b"in the details", math.inf, "encode"))))
    async with worker_for(sealed, Refused, refuse_in_detail):
        told = await sealed.execute_workflow(Refused.run, id="the-run")
    assert (
        told == "ConnectionError: the payload codec SealingFor can't encode: ConnectionError: the key service is away"
    )


async def scheduled(client: Client) -> bool:
    return any(isinstance(event, ActivityTaskScheduled) for event in await events_of(client, "the-run"))


async def ended(client: Client) -> bool:
    run = await client.database.store.find("default", "the-run")
    return run is not None and not await client.database.store.tasks(run.run_id)
