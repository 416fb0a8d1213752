"""What a client writes goes through the payload codec, and what it reads comes out of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from durable import Client
from durable.client import (
    Interceptor,
    OutboundInterceptor,
    RPCError,
    StartActivityInput,
    StartWorkflowInput,
    WithStartWorkflowOperation,
)
from durable.common import HeaderCodecBehavior, WorkflowIDConflictPolicy
from durable.converter import (
    ActivitySerializationContext,
    ConversionError,
    DataConverter,
    Payload,
    WorkflowSerializationContext,
)
from durable.exceptions import ApplicationError
from durable.history.events import WorkflowExecutionSignaled, WorkflowExecutionStarted, WorkflowExecutionTerminated
from durable.history.standalone import PREFIX
from tests.chaos.places import SqlitePlace
from tests.engine import client_calls
from tests.engine.client_calls import HOUR, QUICKLY, Desk, Outside, echo
from tests.engine.conftest import MakeWorker, worker_for
from tests.engine.histories import of_type
from tests.engine.masking import MASKED, LostKey, Masking, Notes

MARK = "in-clear-text-for-all-to-see"
HEADER = Payload(metadata={"encoding": b"json/plain"}, data=b'"of an interceptor"')


def masked(client: Client, notes: Notes, **changed: Any) -> Client:
    converter = dataclasses.replace(DataConverter.default, payload_codec=Masking(notes))
    return Client(**{**client.config(), "data_converter": converter, **changed})


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def hidden(client: Client, notes: Notes) -> Client:
    """A client with the codec."""
    return masked(client, notes)


async def test_every_call_arrives_through_a_codec(hidden: Client, notes: Notes) -> None:
    await client_calls.every_call(hidden, _workers_of(hidden), MARK)

    assert notes.encoded
    assert notes.decoded


async def test_no_clear_text_is_in_the_database(tmp_path: Path, notes: Notes) -> None:
    place = SqlitePlace(tmp_path / "durable.db")
    async with await Client.connect(place.address) as client:
        await client_calls.every_call(client, _workers_of(client), "this-is-seen")
        hidden = masked(client, notes, namespace="hidden")
        await client_calls.every_call(hidden, _workers_of(hidden), MARK)
        stored = _files(tmp_path)

    assert b"this-is-seen" in stored
    assert MARK.encode() not in stored


def _files(directory: Path) -> bytes:
    """All that is in them: the database and its log."""
    return b"".join(path.read_bytes() for path in directory.iterdir() if path.is_file())


def _workers_of(client: Client) -> MakeWorker:
    def make(*definitions: Any, **options: Any) -> Any:
        return worker_for(client, *definitions, **options)

    return make


async def test_each_value_is_encoded_for_the_workflow_or_activity_that_it_belongs_to(
    hidden: Client, notes: Notes
) -> None:
    outside = Outside()
    async with worker_for(hidden, outside.ask):
        await hidden.start_activity(outside.ask, MARK, id="job", task_queue="default", start_to_close_timeout=HOUR)
        await outside.begun.get()
        run = await hidden.get_activity_handle("job").describe()
        notes.encoded.clear()
        await hidden.get_async_activity_handle(activity_id="job", run_id=run.activity_run_id).heartbeat(MARK)
    of_job = ActivitySerializationContext("default", "job", "ask", "default", None, None, False)
    assert [context for context, _ in notes.encoded] == [of_job]
    notes.encoded.clear()

    desk = await hidden.start_workflow(Desk.run, MARK, id="desk", memo={"m": MARK}, static_summary=MARK)
    await desk.signal(Desk.note, MARK)
    await desk.terminate(MARK)

    of_desk = WorkflowSerializationContext("default", "desk")
    assert [context for context, _ in notes.encoded] == [of_desk] * 5


async def test_an_activity_of_a_workflow_is_told_of_for_its_own_context_or_the_one_that_is_given(
    hidden: Client, notes: Notes
) -> None:
    outside = Outside()
    async with worker_for(hidden, Desk, outside.ask):
        await hidden.start_workflow(Desk.run, MARK, id="desk", start_signal="go_and_ask")
        await outside.begun.get()
        notes.encoded.clear()
        handle = hidden.get_async_activity_handle(workflow_id="desk", activity_id="ask")
        await handle.heartbeat(MARK)
        other = WorkflowSerializationContext("default", "another")
        await handle.with_context(other).heartbeat(MARK)

    own = ActivitySerializationContext("default", "ask", "ask", "default", "desk", "Desk", False)
    assert [context for context, _ in notes.encoded] == [own, other]


async def test_the_history_shows_what_is_stored(hidden: Client) -> None:
    desk = await hidden.start_workflow(Desk.run, MARK, id="desk")
    await desk.signal(Desk.note, MARK)
    await desk.terminate(MARK)

    history = await desk.fetch_history()

    (started,) = of_type(history, WorkflowExecutionStarted)
    (signaled,) = of_type(history, WorkflowExecutionSignaled)
    (ended,) = of_type(history, WorkflowExecutionTerminated)
    payloads = [*started.input, *signaled.input, *ended.details]
    assert [payload.metadata["encoding"] for payload in payloads] == [MASKED] * 3
    assert await hidden.data_converter.decode(payloads) == [MARK] * 3


class Heading(OutboundInterceptor):
    async def start_workflow(self, input: StartWorkflowInput) -> Any:
        input.headers = {"who": HEADER}
        return await super().start_workflow(input)

    async def start_activity(self, input: StartActivityInput) -> Any:
        input.headers = {"who": HEADER}
        return await super().start_activity(input)


class WithHeaders(Interceptor):
    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        return Heading(next)


@pytest.mark.parametrize("behavior", HeaderCodecBehavior)
async def test_headers_go_through_the_codec_only_where_the_client_says_so(
    client: Client, notes: Notes, behavior: HeaderCodecBehavior
) -> None:
    heading = masked(client, notes, interceptors=[WithHeaders()], header_codec_behavior=behavior)

    desk = await heading.start_workflow(Desk.run, MARK, id="desk")

    (started,) = of_type(await desk.fetch_history(), WorkflowExecutionStarted)
    assert (started.header["who"] == HEADER) is (behavior is not HeaderCodecBehavior.CODEC)
    assert await Masking().decode([started.header["who"]]) == [HEADER]


async def test_a_value_that_cannot_be_converted_is_refused_before_anything_is_encoded(
    hidden: Client, notes: Notes
) -> None:
    with pytest.raises(ConversionError):
        await hidden.start_workflow("any", object(), id="run")
    with pytest.raises(ConversionError):
        await hidden.get_workflow_handle("run").signal("any", object())

    assert notes.encoded == []


async def test_a_codec_that_fails_says_at_which_call_and_nothing_is_done(hidden: Client, notes: Notes) -> None:
    desk = await hidden.start_workflow(Desk.run, MARK, id="desk")
    operation = WithStartWorkflowOperation(
        Desk.run, MARK, id="new", id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING
    )
    notes.fails = True

    with pytest.raises(LostKey, match="the start of workflow 'new' can't be written"):
        await hidden.start_workflow(Desk.run, MARK, id="new")
    with pytest.raises(LostKey, match="signal 'note' of workflow 'new' can't be written"):
        await hidden.start_workflow(Desk.run, MARK, id="new", start_signal="note", start_signal_args=[MARK])
    with pytest.raises(LostKey, match="update 'add' of workflow 'new' can't be written"):
        await hidden.execute_update_with_start_workflow(Desk.add, MARK, start_workflow_operation=operation)
    with pytest.raises(LostKey, match="update 'add' of workflow 'new' can't be written"):
        await operation.workflow_handle()
    with pytest.raises(LostKey, match="the start of activity 'job' can't be written"):
        await hidden.start_activity(echo, MARK, id="job", task_queue="default", start_to_close_timeout=HOUR)
    with pytest.raises(LostKey, match="signal 'note' of workflow 'desk' can't be written"):
        await desk.signal(Desk.note, MARK)
    with pytest.raises(LostKey, match="query 'seen' of workflow 'desk' can't be written"):
        await desk.query(Desk.seen, MARK)
    with pytest.raises(LostKey, match="update 'add' of workflow 'desk' can't be written"):
        await desk.execute_update(Desk.add, MARK)
    with pytest.raises(LostKey, match="the end of workflow 'desk' can't be written"):
        await desk.terminate(MARK)

    with pytest.raises(RPCError, match="no workflow 'new'"):
        await hidden.get_workflow_handle("new").describe()
    with pytest.raises(RPCError, match="no activity 'job'"):
        await hidden.get_activity_handle("job").describe()
    description = await desk.describe()
    assert (description.status.name, [message.name for message in description.pending_messages]) == ("RUNNING", [""])


async def test_what_is_told_of_an_attempt_is_not_written_when_the_codec_fails(hidden: Client, notes: Notes) -> None:
    outside = Outside()
    async with worker_for(hidden, outside.ask):
        job = await hidden.start_activity(
            outside.ask, MARK, id="job", task_queue="default", start_to_close_timeout=HOUR, retry_policy=QUICKLY
        )
        await outside.begun.get()
        attempt = hidden.get_async_activity_handle(activity_id="job", run_id=job.run_id)
        notes.fails = True
        for call in (
            attempt.heartbeat(MARK),
            attempt.complete(MARK),
            attempt.fail(ApplicationError("no", MARK)),
            attempt.report_cancellation(MARK),
        ):
            with pytest.raises(LostKey, match="what is told of activity 'job' can't be written"):
                await call
        notes.fails = False
        assert await (await job.describe()).heartbeat_details() is None
        await attempt.complete(MARK)
        assert await job.result() == MARK


async def test_what_cannot_be_decoded_is_named(hidden: Client, notes: Notes) -> None:
    desk = await hidden.start_workflow(Desk.run, MARK, id="desk", memo={"m": MARK}, static_summary=MARK)
    await desk.terminate(MARK)
    description = await desk.describe()
    notes.fails = True

    with pytest.raises(LostKey, match="workflow 'desk': its result can't be read"):
        await desk.result()
    with pytest.raises(LostKey, match="workflow 'desk': its memo can't be read"):
        await description.memo()
    with pytest.raises(LostKey, match="workflow 'desk': its memo 'm' can't be read"):
        await description.memo_value("m")
    with pytest.raises(LostKey, match="workflow 'desk': its static summary can't be read"):
        await description.static_summary()


async def test_a_result_of_another_codec_is_named_with_its_encoding(client: Client, hidden: Client) -> None:
    async with worker_for(hidden, echo):
        job = await hidden.start_activity(echo, MARK, id="job", task_queue="default", start_to_close_timeout=HOUR)
        await job.result()

    with pytest.raises(ConversionError, match=r"activity 'job': its result can't be read: it is stored with .*masked"):
        await client.get_activity_handle("job").result()


async def test_the_parts_of_an_activity_by_itself_are_hidden_together(hidden: Client, client: Client) -> None:
    """Its type, its queue and its timeouts too: what a client asks for is one payload of its run."""
    await hidden.start_activity(echo, MARK, id="job", task_queue="default", start_to_close_timeout=HOUR)

    run = client.get_workflow_handle(PREFIX + "job")
    (started,) = of_type(await run.fetch_history(), WorkflowExecutionStarted)
    assert [payload.metadata["encoding"] for payload in started.input] == [MASKED]
    assert await (await hidden.get_activity_handle("job").describe()).input() == [MARK]
