"""What a client can do: start under policies, signal, query, describe, list, terminate."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from durable import Client, workflow
from durable.client import WorkflowFailureError, WorkflowQueryFailedError
from durable.common import WorkflowIDConflictPolicy as Conflict
from durable.common import WorkflowIDReusePolicy as Reuse
from durable.exceptions import ApplicationError, TerminatedError, WorkflowAlreadyStartedError
from durable.history import codec
from durable.history.events import WorkflowExecutionSignaled
from durable.history.messages import MessageKind, Signal
from durable.history.transition import Committed, Send
from durable.history.values import RunStatus
from durable.service import RPCError, RPCStatusCode
from tests.engine.conftest import MakeWorker, worker_for
from tests.engine.histories import of_type, types, until


@workflow.defn
class Counter:
    def __init__(self) -> None:
        self.total = 0
        self.ended = False

    @workflow.run
    async def run(self, start: int = 0) -> int:
        if start < 0:
            raise ApplicationError("negative")
        self.total += start
        await workflow.wait_condition(lambda: self.ended)
        return self.total

    @workflow.signal
    def add(self, number: int) -> None:
        self.total += number

    @workflow.signal
    def end(self) -> None:
        self.ended = True

    @workflow.query
    def now(self) -> int:
        return self.total

    @workflow.query
    def broken(self) -> int:
        raise LookupError("nothing there")

    @workflow.query
    def writing(self) -> int:
        return int(workflow.random().random())


# Starting. ------------------------------------------------------------------------------------------------------------


async def test_an_id_in_use_is_refused_and_the_open_run_goes_on(client: Client, make_worker: MakeWorker) -> None:
    first = await client.start_workflow(Counter.run, 1, id="c")
    with pytest.raises(WorkflowAlreadyStartedError) as caught:
        await client.start_workflow(Counter.run, 2, id="c")
    assert (caught.value.workflow_id, caught.value.run_id) == ("c", first.result_run_id)
    async with make_worker(Counter):
        with pytest.raises(WorkflowAlreadyStartedError):
            await client.start_workflow(Counter.run, 2, id="c")
        await first.signal(Counter.end)
        assert await first.result() == 1


@pytest.mark.parametrize("with_worker", [False, True])
async def test_a_start_may_join_the_open_run(client: Client, make_worker: MakeWorker, with_worker: bool) -> None:
    worker = make_worker(Counter)
    if with_worker:
        await worker.__aenter__()
    first = await client.start_workflow(Counter.run, 1, id="c")
    second = await client.start_workflow(Counter.run, 2, id="c", id_conflict_policy=Conflict.USE_EXISTING)
    assert second.result_run_id == first.result_run_id
    if with_worker:
        await worker.__aexit__(None, None, None)


@pytest.mark.parametrize("with_worker", [False, True])
@pytest.mark.parametrize(
    "options", [{"id_conflict_policy": Conflict.TERMINATE_EXISTING}, {"id_reuse_policy": Reuse.TERMINATE_IF_RUNNING}]
)
async def test_a_start_may_end_the_open_run(
    client: Client, make_worker: MakeWorker, options: dict[str, Any], with_worker: bool
) -> None:
    worker = make_worker(Counter)
    if with_worker:
        await worker.__aenter__()
    first = await client.start_workflow(Counter.run, 1, id="c")
    second = await client.start_workflow(Counter.run, 2, id="c", **options)
    assert second.result_run_id != first.result_run_id
    with pytest.raises(WorkflowFailureError) as caught:
        await first.result()
    assert isinstance(caught.value.cause, TerminatedError)
    if not with_worker:
        await worker.__aenter__()
    await second.signal(Counter.end)
    assert await second.result() == 2
    await worker.__aexit__(None, None, None)


@pytest.mark.parametrize(
    ("reuse", "after_success", "after_failure"),
    [
        (Reuse.ALLOW_DUPLICATE, True, True),
        (Reuse.ALLOW_DUPLICATE_FAILED_ONLY, False, True),
        (Reuse.REJECT_DUPLICATE, False, False),
        (Reuse.TERMINATE_IF_RUNNING, True, True),
    ],
)
async def test_a_closed_runs_id_is_used_again_as_the_policy_says(
    client: Client, make_worker: MakeWorker, reuse: Reuse, after_success: bool, after_failure: bool
) -> None:
    async with make_worker(Counter):
        good = await client.start_workflow(Counter.run, 1, id="good")
        await good.signal(Counter.end)
        await good.result()
        bad = await client.start_workflow(Counter.run, -1, id="bad")
        with pytest.raises(WorkflowFailureError):
            await bad.result()
        for id, allowed in (("good", after_success), ("bad", after_failure)):
            if allowed:
                again = await client.start_workflow(Counter.run, 5, id=id, id_reuse_policy=reuse)
                assert (await client.get_workflow_handle(id).describe()).run_id == again.result_run_id
            else:
                with pytest.raises(WorkflowAlreadyStartedError):
                    await client.start_workflow(Counter.run, 5, id=id, id_reuse_policy=reuse)


async def test_many_starts_at_once_of_one_id_make_one_run(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(Counter):
        outcomes = await asyncio.gather(
            *[client.start_workflow(Counter.run, n, id="c") for n in range(20)], return_exceptions=True
        )
        assert len([each for each in outcomes if isinstance(each, WorkflowAlreadyStartedError)]) == 19
        assert len([run async for run in client.list_workflows()]) == 1


@pytest.mark.parametrize("with_worker", [False, True])
async def test_a_start_repeated_with_its_request_id_happens_once(
    client: Client, make_worker: MakeWorker, with_worker: bool
) -> None:
    async def start() -> str | None:
        return (await client.start_workflow(Counter.run, 1, id="c", request_id="r")).result_run_id

    if with_worker:
        async with make_worker(Counter):
            first, second = await start(), await start()
    else:
        first, second = await start(), await start()
    assert first == second
    assert len([run async for run in client.list_workflows()]) == 1


async def test_a_delayed_start_waits_and_takes_signals_meanwhile(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(Counter):
        handle = await client.start_workflow(Counter.run, 1, id="c", start_delay=timedelta(seconds=0.1))
        started = datetime.now(UTC)
        await handle.signal(Counter.add, 10)
        await handle.signal(Counter.end)
        assert await handle.result() == 11
        history = await handle.fetch_history()
    assert len(of_type(history, WorkflowExecutionSignaled)) == 2
    assert datetime.now(UTC) >= started


async def test_a_handle_follows_the_run_it_started_and_a_bare_one_the_latest(
    client: Client, make_worker: MakeWorker
) -> None:
    async with make_worker(Counter):
        first = await client.start_workflow(Counter.run, 1, id="c")
        await first.signal(Counter.end)
        await first.result()
        second = await client.start_workflow(Counter.run, 2, id="c")
        await client.get_workflow_handle("c").signal(Counter.end)
        assert await second.result() == 2
        assert await first.result() == 1
        assert await client.get_workflow_handle("c").result() == 2
        assert await client.get_workflow_handle("c", run_id=first.result_run_id).result() == 1


# Signals. -------------------------------------------------------------------------------------------------------------


async def test_a_signal_repeated_with_its_request_id_is_read_once(client: Client, make_worker: MakeWorker) -> None:
    handle = await client.start_workflow(Counter.run, id="c")
    await handle.signal(Counter.add, 5, request_id="r")
    await handle.signal(Counter.add, 5, request_id="r")
    async with make_worker(Counter):
        assert await handle.query(Counter.now) == 5
        await handle.signal(Counter.add, 5, request_id="r")
        await handle.signal(Counter.end)
        assert await handle.result() == 5


async def test_signals_from_many_senders_are_all_read(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(Counter):
        handle = await client.start_workflow(Counter.run, id="c")
        await asyncio.gather(*[handle.signal(Counter.add, 1) for _ in range(200)])
        await handle.signal(Counter.end)
        assert await handle.result() == 200


async def test_a_signal_for_a_closed_or_unknown_run_is_refused(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(Counter):
        handle = await client.start_workflow(Counter.run, id="c")
        await handle.signal(Counter.end)
        await handle.result()
        with pytest.raises(RPCError, match="already completed") as caught:
            await handle.signal(Counter.add, 1)
        assert caught.value.status is RPCStatusCode.NOT_FOUND
        with pytest.raises(RPCError, match="no workflow 'nobody'") as caught:
            await client.get_workflow_handle("nobody").signal("add", 1)
        assert caught.value.status is RPCStatusCode.NOT_FOUND


async def test_a_run_cannot_complete_over_a_signal_it_has_not_read(client: Client, make_worker: MakeWorker) -> None:
    """The signal is acknowledged while the closing task runs: the run reads it before it closes."""
    raced = 0

    @workflow.defn(name="racing")
    class Racing:
        def __init__(self) -> None:
            self.total = 0

        @workflow.run
        async def run(self) -> int:
            nonlocal raced
            await workflow.sleep(0.01)
            if not workflow.unsafe.is_replaying() and not raced:
                raced += 1
                asyncio.run_coroutine_threadsafe(send(), loop).result()
            return self.total

        @workflow.signal
        def add(self, number: int) -> None:
            self.total += number

    loop = asyncio.get_running_loop()

    async def send() -> None:
        message = codec.pack(Signal(name="add", input=client.data_converter.to_payloads([7])), 0)
        sent = await client.database.write(Send(namespace="default", workflow_id="r", message=message))
        assert isinstance(sent, Committed)

    async with make_worker(Racing):
        assert await client.execute_workflow(Racing.run, id="r") == 7
    assert raced == 1


# Queries. -------------------------------------------------------------------------------------------------------------


async def test_a_query_is_answered_while_the_run_is_open_and_when_it_is_closed(
    client: Client, make_worker: MakeWorker
) -> None:
    async with make_worker(Counter):
        handle = await client.start_workflow(Counter.run, 3, id="c")
        assert await handle.query(Counter.now) == 3
        await handle.signal(Counter.end)
        await handle.result()
        assert await handle.query("now") == 3


async def test_a_query_sees_the_signals_sent_before_it(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    async with make_worker(Counter, max_cached_workflows=max_cached):
        handle = await client.start_workflow(Counter.run, id="c")
        for number in range(1, 100):
            await handle.signal(Counter.add, 1)
            assert await handle.query(Counter.now) == number


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("broken", "nothing there"),
        (
            "unheard",
            "Query handler for 'unheard' expected but not found, known queries: .*broken now writing",
        ),
        ("writing", "While in read-only function, action attempted: random"),
    ],
)
async def test_a_failing_query_tells_why_and_harms_nothing(
    client: Client, make_worker: MakeWorker, name: str, text: str
) -> None:
    async with make_worker(Counter):
        handle = await client.start_workflow(Counter.run, 2, id="c")
        with pytest.raises(WorkflowQueryFailedError, match=text):
            await handle.query(name)
        await handle.signal(Counter.end)
        assert await handle.result() == 2


async def test_a_query_without_a_worker_ends_with_its_timeout(client: Client) -> None:
    handle = await client.start_workflow(Counter.run, id="c")
    with pytest.raises(RPCError, match="does a worker of its task queue run") as caught:
        await handle.query(Counter.now, rpc_timeout=timedelta(seconds=0.05))
    assert caught.value.status is RPCStatusCode.DEADLINE_EXCEEDED


# Looking. -------------------------------------------------------------------------------------------------------------


async def test_describe_shows_the_row_and_what_is_unread(client: Client, make_worker: MakeWorker) -> None:
    handle = await client.start_workflow(Counter.run, 1, id="c", task_queue="q")
    await handle.signal(Counter.add, 1)
    description = await handle.describe()
    assert (description.id, description.run_id, description.namespace) == ("c", handle.result_run_id, "default")
    assert (description.workflow_type, description.task_queue) == ("Counter", "q")
    assert (description.status, description.history_length, description.close_time) == (RunStatus.RUNNING, 2, None)
    assert [(each.kind, each.name) for each in description.pending_messages] == [
        (MessageKind.TASK_DUE, ""),
        (MessageKind.SIGNAL, "add"),
    ]
    async with make_worker(Counter, task_queue="q"):
        await handle.signal(Counter.end)
        await handle.result()
        description = await handle.describe()
    assert description.status is RunStatus.COMPLETED and description.worker is None
    assert description.pending_messages == [] and description.parked is None
    assert description.close_time is not None and description.close_time >= description.start_time


async def test_asking_for_what_is_not_there_says_so(client: Client) -> None:
    handle = client.get_workflow_handle("nobody")
    for ask in (handle.describe, handle.fetch_history, handle.result, handle.terminate, handle.cancel):
        with pytest.raises(RPCError, match="no workflow 'nobody' in namespace 'default'") as caught:
            await ask()
        assert caught.value.status is RPCStatusCode.NOT_FOUND


async def test_a_result_may_be_waited_for_only_so_long(client: Client) -> None:
    handle = await client.start_workflow(Counter.run, id="c")
    with pytest.raises(RPCError) as caught:
        await handle.result(rpc_timeout=timedelta(seconds=0.02))
    assert caught.value.status is RPCStatusCode.DEADLINE_EXCEEDED


async def test_a_list_comes_newest_first_in_pages_without_gap_or_repeat(
    client: Client, make_worker: MakeWorker
) -> None:
    ids = [f"c-{number}" for number in range(7)]
    handles = [await client.start_workflow(Counter.run, id=id) for id in ids]
    listed = [run async for run in client.list_workflows(page_size=3)]
    assert sorted(run.id for run in listed) == ids
    # A run id tells the time of its start to the millisecond.
    milliseconds = [int(run.run_id.replace("-", "")[:12], 16) for run in listed]
    assert milliseconds == sorted(milliseconds, reverse=True)
    assert [run async for run in client.list_workflows(limit=4, page_size=3)] == listed[:4]
    await handles[2].terminate()
    terminated = [run.id async for run in client.list_workflows(status=RunStatus.TERMINATED)]
    assert terminated == ["c-2"]
    assert len([run async for run in client.list_workflows(status=RunStatus.RUNNING, page_size=2)]) == 6


async def test_namespaces_do_not_see_each_other(address: str) -> None:
    async with (
        await Client.connect(address, namespace="one") as one,
        await Client.connect(address, namespace="two") as two,
    ):
        first = await one.start_workflow(Counter.run, 1, id="c")
        await two.start_workflow(Counter.run, 2, id="c")
        async with worker_for(two, Counter):
            await two.get_workflow_handle("c").signal(Counter.end)
            assert await two.get_workflow_handle("c").result() == 2
        assert [run.run_id async for run in one.list_workflows()] == [first.result_run_id]
        assert (await first.describe()).history_length == 2


async def test_a_result_reaches_a_client_on_another_connection(address: str) -> None:
    async with await Client.connect(address) as one, await Client.connect(address) as two, worker_for(one, Counter):
        handle = await two.start_workflow(Counter.run, 4, id="c")
        waiting = asyncio.ensure_future(handle.result())
        await handle.signal(Counter.end)
        assert await waiting == 4
        assert await handle.query(Counter.now) == 4


# Terminating. ---------------------------------------------------------------------------------------------------------


async def test_terminating_turns_unread_signals_into_events(client: Client) -> None:
    handle = await client.start_workflow(Counter.run, id="c")
    await handle.signal(Counter.add, 1)
    await handle.signal("other")
    await handle.terminate("detail", reason="enough")
    history = await handle.fetch_history()
    assert types(history) == [
        "WorkflowExecutionStarted",
        "WorkflowTaskScheduled",
        "WorkflowExecutionSignaled",
        "WorkflowExecutionSignaled",
        "WorkflowExecutionTerminated",
    ]
    with pytest.raises(RPCError, match="already completed"):
        await handle.terminate()


async def test_terminating_a_run_in_a_workers_memory_is_final(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(Counter):
        handle = await client.start_workflow(Counter.run, id="c")
        assert await handle.query(Counter.now) == 0
        await handle.terminate(reason="enough")
        with pytest.raises(WorkflowFailureError) as caught:
            await handle.result()
        assert isinstance(caught.value.cause, TerminatedError) and str(caught.value.cause) == "enough"
        assert await handle.query(Counter.now) == 0
        length = (await handle.describe()).history_length
        again = await client.start_workflow(Counter.run, 9, id="c")
        await again.signal(Counter.end)
        assert await again.result() == 9
        assert (await client.get_workflow_handle("c", run_id=handle.result_run_id).describe()).history_length == length


async def test_first_execution_run_id_guards_against_ending_a_stranger(client: Client) -> None:
    first = await client.start_workflow(Counter.run, id="c")
    await first.terminate()
    second = await client.start_workflow(Counter.run, id="c")
    guarded = client.get_workflow_handle("c", first_execution_run_id=first.result_run_id)
    with pytest.raises(RPCError):
        await guarded.terminate()
    with pytest.raises(RPCError):
        await guarded.cancel()
    description = await second.describe()
    assert description.status is RunStatus.RUNNING
    assert all(message.kind is not MessageKind.CANCEL for message in description.pending_messages)


async def test_a_handle_of_a_start_signals_the_latest_run_of_its_id(client: Client) -> None:
    """As in Temporal: only ``result`` is bound to the run that the start began."""
    first = await client.start_workflow(Counter.run, id="c")
    await first.terminate()
    second = await client.start_workflow(Counter.run, id="c")
    await first.signal(Counter.add, 1)

    async def arrived() -> bool:
        return any(each.name == "add" for each in (await second.describe()).pending_messages)

    assert await until(arrived)
