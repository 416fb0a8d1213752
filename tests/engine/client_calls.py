"""Every public call of a client and its handles once, with one text as every value that a caller can give."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from durable import Client, RetryPolicy, activity, workflow
from durable.client import (
    ActivityFailureError,
    ActivityHandle,
    AsyncActivityCancelledError,
    BuildIdOpAddNewDefault,
    RPCError,
    WithStartWorkflowOperation,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateStage,
)
from durable.common import WorkflowIDConflictPolicy
from durable.exceptions import ApplicationError, CancelledError, TerminatedError
from tests.engine.conftest import MakeWorker

HOUR = timedelta(hours=1)
QUICKLY = RetryPolicy(initial_interval=timedelta(milliseconds=1))


class Outside:
    """An activity that somebody outside ends."""

    def __init__(self) -> None:
        self.begun: asyncio.Queue[list[Any]] = asyncio.Queue()

    @activity.defn
    async def ask(self, question: str) -> str:
        self.begun.put_nowait([question, *activity.info().heartbeat_details])
        activity.raise_complete_async()


@activity.defn
async def echo(text: str) -> str:
    return text


@workflow.defn
class Desk:
    """Takes notes until it is told to ask, and ends with the answer."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.asks = False

    @workflow.run
    async def run(self, text: str) -> str:
        self.notes.append(text)
        await workflow.wait_condition(lambda: self.asks)
        answer: str = await workflow.execute_activity(
            "ask", text, activity_id="ask", start_to_close_timeout=HOUR, retry_policy=QUICKLY, result_type=str
        )
        return answer

    @workflow.signal
    def note(self, text: str) -> None:
        self.notes.append(text)

    @workflow.signal
    def go_and_ask(self) -> None:
        self.asks = True

    @workflow.query
    def seen(self, text: str) -> bool:
        return set(self.notes) == {text}

    @workflow.query
    def refuse(self, text: str) -> None:
        raise ApplicationError("refused", text)

    @workflow.update
    async def add(self, text: str) -> str:
        self.notes.append(text)
        return text

    @add.validator
    def check(self, text: str) -> None:
        if not text:
            raise ApplicationError("there is no text", "nothing")


async def every_call(client: Client, make_worker: MakeWorker, text: str) -> None:
    """Each is asked for what it is to tell, so what it is given has arrived."""
    outside = Outside()
    async with make_worker(Desk, outside.ask, echo):
        desk = await client.start_workflow(
            Desk.run, text, id="desk", memo={"memo": text}, static_summary=text, static_details=text
        )
        await _messages(desk, text)
        await _with_start(client, text)
        await _learned(client, desk, text)
        await _asked(client, desk, outside, text)
        await _ended(client, text)
        await _activities(client, outside, text)
    await _build_ids(client)


async def _messages(desk: WorkflowHandle[Any, str], text: str) -> None:
    await desk.signal(Desk.note, text)
    assert await desk.query(Desk.seen, text)
    with pytest.raises(Exception, match="refused") as refused:
        await desk.query(Desk.refuse, text)
    assert _details(refused.value.__cause__) == (text,)
    assert await desk.execute_update(Desk.add, text) == text
    later = await desk.start_update(Desk.add, text, wait_for_stage=WorkflowUpdateStage.ACCEPTED, id="later")
    assert await later.result() == text
    assert await desk.get_update_handle_for(Desk.add, "later").result() == text
    with pytest.raises(WorkflowUpdateFailedError) as rejected:
        await desk.execute_update(Desk.add, "")
    assert _details(rejected.value.cause) == ("nothing",)


async def _with_start(client: Client, text: str) -> None:
    signalled = await client.start_workflow(
        Desk.run, text, id="signalled", start_signal="note", start_signal_args=[text]
    )
    assert await signalled.query(Desk.seen, text)
    operation = WithStartWorkflowOperation(
        Desk.run, text, id="updated", id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING
    )
    assert await client.execute_update_with_start_workflow(Desk.add, text, start_workflow_operation=operation) == text
    assert await (await operation.workflow_handle()).query(Desk.seen, text)


async def _learned(client: Client, desk: WorkflowHandle[Any, str], text: str) -> None:
    description = await desk.describe()
    assert await description.memo() == {"memo": text}
    assert (await description.static_summary(), await description.static_details()) == (text, text)
    listed = {run.id: run async for run in client.list_workflows()}
    assert listed.keys() == {"desk", "signalled", "updated"}
    assert await listed["desk"].memo_value("memo") == text
    assert (await client.count_workflows()).count == 3
    assert (await desk.fetch_history()).events
    assert [event async for event in desk.fetch_history_events()]


async def _asked(client: Client, desk: WorkflowHandle[Any, str], outside: Outside, text: str) -> None:
    await desk.signal(Desk.go_and_ask)
    assert await outside.begun.get() == [text]
    attempt = client.get_async_activity_handle(workflow_id="desk", activity_id="ask")
    await attempt.heartbeat(text)
    (pending,) = (await desk.describe()).raw_description.pending_activities
    assert client.data_converter.from_payloads(pending.heartbeat_details.payloads) == [text]
    await attempt.fail(ApplicationError("again", text), last_heartbeat_details=[text])
    assert await outside.begun.get() == [text, text]
    (pending,) = (await desk.describe()).raw_description.pending_activities
    assert pending.last_failure is not None
    assert _details(client.data_converter.from_failure(pending.last_failure)) == (text,)
    await desk.pause_activity("ask")
    await desk.unpause_activity("ask")
    await desk.reset_activity("ask")
    await attempt.complete(text)
    assert await desk.result() == text


async def _ended(client: Client, text: str) -> None:
    terminated = client.get_workflow_handle("signalled")
    await terminated.terminate(text, reason="enough")
    with pytest.raises(WorkflowFailureError) as ended:
        await terminated.result()
    assert isinstance(ended.value.cause, TerminatedError)
    assert ended.value.cause.details == (text,)
    cancelled = client.get_workflow_handle("updated")
    await cancelled.cancel()
    with pytest.raises(WorkflowFailureError):
        await cancelled.result()


async def _activities(client: Client, outside: Outside, text: str) -> None:
    done: ActivityHandle[str] = await client.start_activity(
        echo, text, id="echo", task_queue="default", start_to_close_timeout=HOUR, summary=text
    )
    assert await done.result() == text
    description = await done.describe()
    assert (await description.input(), await description.result(), description.summary) == ([text], text, text)
    asked: ActivityHandle[str] = await client.start_activity(
        outside.ask, text, id="asked", task_queue="default", start_to_close_timeout=HOUR
    )
    assert await outside.begun.get() == [text]
    await asked.pause()
    await asked.unpause()
    attempt = client.get_async_activity_handle(activity_id="asked", run_id=asked.run_id)
    await attempt.heartbeat(text)
    assert await (await asked.describe()).heartbeat_details() == [text]
    await asked.cancel()
    await _until_it_is_cancelled(attempt)
    await attempt.report_cancellation(text)
    with pytest.raises(ActivityFailureError) as ended:
        await asked.result()
    assert isinstance(ended.value.cause, CancelledError)
    failing: ActivityHandle[str] = await client.start_activity(
        outside.ask, text, id="failing", task_queue="default", start_to_close_timeout=HOUR
    )
    await outside.begun.get()
    error = ApplicationError("no", text, non_retryable=True)
    await client.get_async_activity_handle(activity_id="failing", run_id=failing.run_id).fail(error)
    with pytest.raises(ActivityFailureError) as failed:
        await failing.result()
    assert _details(failed.value.cause) == (text,)
    assert _details(await (await failing.describe()).outcome_failure()) == (text,)
    stuck = await client.start_activity(
        outside.ask, text, id="stuck", task_queue="default", start_to_close_timeout=HOUR
    )
    await stuck.terminate()
    assert {each.activity_id async for each in client.list_activities()} == {"echo", "asked", "failing", "stuck"}
    assert (await client.count_activities()).count == 4


async def _until_it_is_cancelled(attempt: Any) -> None:
    """The run behind it passes the request on, in its own time."""
    while True:
        try:
            await attempt.heartbeat()
        except AsyncActivityCancelledError:
            return


async def _build_ids(client: Client) -> None:
    with pytest.raises(RPCError):
        await client.update_worker_build_id_compatibility("default", BuildIdOpAddNewDefault("1"))
    with pytest.raises(RPCError):
        await client.get_worker_build_id_compatibility("default")
    with pytest.raises(RPCError):
        await client.get_worker_task_reachability(["1"])


def _details(error: BaseException | None) -> Any:
    assert isinstance(error, ApplicationError)
    return error.details
