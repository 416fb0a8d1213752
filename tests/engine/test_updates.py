"""Updates: calls of a workflow's handlers that answer, and that a validator may turn away."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from durable import Client, activity, workflow
from durable.client import (
    RPCError,
    RPCStatusCode,
    WorkflowFailureError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
    WorkflowUpdateStage,
)
from durable.exceptions import ApplicationError
from tests.engine.conftest import MakeWorker
from tests.engine.histories import BEGIN, TASK, assert_replays, assert_sound, types, until

SHORT = timedelta(milliseconds=100)


@activity.defn
async def double(number: int) -> int:
    return 2 * number


@workflow.defn
class Account:
    def __init__(self) -> None:
        self.balance = 0
        self.closed = False
        self.seen: list[str] = []

    @workflow.run
    async def run(self) -> int:
        self.seen.append("run")
        await workflow.wait_condition(lambda: self.closed)
        return self.balance

    @workflow.update
    async def deposit(self, amount: int) -> int:
        self.seen.append(f"deposit {amount}")
        self.balance += amount
        return self.balance

    @deposit.validator
    def no_debt(self, amount: int) -> None:
        if amount < 0:
            raise ValueError("a deposit is not negative")
        if amount == 13:
            workflow.random()

    @workflow.update
    async def deposit_twice(self, amount: int) -> int:
        self.balance += await double(amount)
        return self.balance

    @workflow.update
    async def wait_for(self, balance: int) -> int:
        await workflow.wait_condition(lambda: self.balance >= balance)
        return self.balance

    @workflow.update
    def refuse(self) -> None:
        raise ApplicationError("not today", type="Holiday")

    @workflow.update
    def forget_key(self) -> None:
        raise KeyError("broken")

    @workflow.update
    def close_now(self) -> str:
        self.closed = True
        return "closing"

    @workflow.update(unfinished_policy=workflow.HandlerUnfinishedPolicy.ABANDON)
    async def hang(self) -> None:
        info = workflow.current_update_info()
        assert info is not None
        self.seen.append(f"hang {info.id} {info.name}")
        await asyncio.get_running_loop().create_future()

    @workflow.signal
    def close(self) -> None:
        self.closed = True

    @workflow.query
    def so_far(self) -> list[str]:
        return self.seen


async def test_an_update_is_answered_with_what_its_handler_returns(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    async with make_worker(Account, double, max_cached_workflows=max_cached):
        handle = await client.start_workflow(Account.run, id="a")

        assert await handle.execute_update(Account.deposit, 3) == 3
        assert await handle.execute_update(Account.deposit_twice, 2) == 7
        assert await handle.execute_update("deposit", 1) == 8
        await handle.signal(Account.close)
        assert await handle.result() == 8

    history = await handle.fetch_history()
    assert_sound(history.events)
    await assert_replays(Account, history)
    assert types(history)[4:9] == [*TASK, "WorkflowExecutionUpdateAccepted", "WorkflowExecutionUpdateCompleted"]


async def test_a_rejected_update_leaves_no_trace(client: Client, make_worker: MakeWorker, max_cached: int) -> None:
    async with make_worker(Account, max_cached_workflows=max_cached):
        handle = await client.start_workflow(Account.run, id="a")

        with pytest.raises(WorkflowUpdateFailedError) as rejected:
            await handle.execute_update(Account.deposit, -1)
        unknown = await handle.start_update("withdraw", 1, wait_for_stage=WorkflowUpdateStage.ACCEPTED)
        with pytest.raises(WorkflowUpdateFailedError) as not_there:
            await unknown.result()
        with pytest.raises(WorkflowUpdateFailedError) as not_readable:
            await handle.execute_update("deposit", "much")

        assert types(await handle.fetch_history()) == BEGIN
        assert await handle.query(Account.so_far) == ["run"]
        assert await handle.execute_update(Account.deposit, 1) == 1

    cause = rejected.value.cause
    assert isinstance(cause, ApplicationError) and (cause.type, cause.message) == (
        "ValueError",
        "a deposit is not negative",
    )
    assert "known updates: [close_now deposit deposit_twice forget_key hang refuse wait_for]" in str(
        not_there.value.cause
    )
    assert "much" in str(not_readable.value.cause)


async def test_the_same_update_id_happens_once_in_a_run_and_on_a_closed_one(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    async with make_worker(Account, max_cached_workflows=max_cached):
        handle = await client.start_workflow(Account.run, id="a")
        together = [handle.execute_update(Account.deposit, 3, id="once") for _ in range(3)]
        assert await asyncio.gather(*together) == [3, 3, 3]
        assert await handle.execute_update(Account.deposit, 4, id="once") == 3
        await handle.signal(Account.close)
        assert await handle.result() == 3

        assert await handle.execute_update(Account.deposit, 5, id="once") == 3
        assert await handle.get_update_handle_for(Account.deposit, "once").result() == 3
        with pytest.raises(RPCError, match="workflow execution already completed") as closed:
            await handle.execute_update(Account.deposit, 5, id="another")
        with pytest.raises(RPCError) as unknown:
            await handle.get_update_handle("another").result()
    assert closed.value.status is unknown.value.status is RPCStatusCode.NOT_FOUND


async def test_a_rejected_update_may_be_sent_again_with_its_id(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(Account):
        handle = await client.start_workflow(Account.run, id="a")
        with pytest.raises(WorkflowUpdateFailedError):
            await handle.execute_update(Account.deposit, -1, id="again")
        assert await handle.execute_update(Account.deposit, 1, id="again") == 1


async def test_an_update_that_takes_long_is_waited_for_by_whoever_has_its_id(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    async with make_worker(Account, max_cached_workflows=max_cached):
        handle = await client.start_workflow(Account.run, id="a")
        waiting = await handle.start_update(Account.wait_for, 5, wait_for_stage=WorkflowUpdateStage.ACCEPTED, id="wait")
        assert (waiting.id, waiting.workflow_id, waiting.workflow_run_id) == ("wait", "a", handle.result_run_id)
        results = [
            asyncio.ensure_future(waiting.result()),
            asyncio.ensure_future(handle.get_update_handle("wait").result()),
            asyncio.ensure_future(handle.execute_update(Account.wait_for, 9, id="wait")),
        ]
        with pytest.raises(WorkflowUpdateRPCTimeoutOrCancelledError):
            await handle.get_update_handle("wait").result(rpc_timeout=SHORT)

        await handle.execute_update(Account.deposit, 5)

        assert await asyncio.gather(*results) == [5, 5, 5]


async def test_a_failed_update_is_told_and_the_workflow_goes_on(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(Account):
        handle = await client.start_workflow(Account.run, id="a")
        with pytest.raises(WorkflowUpdateFailedError) as failed:
            await handle.execute_update(Account.refuse)
        assert await handle.execute_update(Account.deposit, 1) == 1

    assert isinstance(failed.value.cause, ApplicationError) and failed.value.cause.type == "Holiday"


async def test_without_a_worker_an_update_waits(client: Client, make_worker: MakeWorker) -> None:
    handle = await client.start_workflow(Account.run, id="a")
    with pytest.raises(WorkflowUpdateRPCTimeoutOrCancelledError):
        await handle.execute_update(Account.deposit, 1, rpc_timeout=SHORT)
    await until(lambda: _has_message(handle, "deposit"))
    async with make_worker(Account):
        assert await handle.execute_update(Account.deposit, 1) == 2, "the first one has happened, too"


async def test_an_update_in_the_first_task_runs_after_init_and_before_run(
    client: Client, make_worker: MakeWorker
) -> None:
    handle = await client.start_workflow(Account.run, id="a")
    update = asyncio.ensure_future(handle.execute_update(Account.deposit, 1))
    await until(lambda: _has_message(handle, "deposit"))
    async with make_worker(Account):
        assert await update == 1
        assert await handle.query(Account.so_far) == ["deposit 1", "run"]
        await handle.signal(Account.close)
        await handle.result()
    await assert_replays(Account, await handle.fetch_history())


async def _has_message(handle: Any, name: str) -> bool:
    return name in [message.name for message in (await handle.describe()).pending_messages]


async def test_an_update_that_ends_in_the_closing_task_is_delivered(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(Account):
        handle = await client.start_workflow(Account.run, id="a")
        assert await handle.execute_update(Account.close_now) == "closing"
        assert await handle.result() == 0
    history = await handle.fetch_history()
    assert types(history)[-3:] == [
        "WorkflowExecutionUpdateAccepted",
        "WorkflowExecutionUpdateCompleted",
        "WorkflowExecutionCompleted",
    ]
    await assert_replays(Account, history)


@pytest.mark.parametrize("end", ["completes", "is terminated"])
async def test_an_update_that_is_not_over_when_its_run_is_fails(
    client: Client, make_worker: MakeWorker, end: str
) -> None:
    async with make_worker(Account):
        handle = await client.start_workflow(Account.run, id="a")
        hanging = await handle.start_update(Account.hang, wait_for_stage=WorkflowUpdateStage.ACCEPTED, id="h")
        assert await handle.query(Account.so_far) == ["run", "hang h hang"]
        waiting = asyncio.ensure_future(hanging.result())
        await asyncio.sleep(0)
        if end == "completes":
            await handle.signal(Account.close)
        else:
            await handle.terminate()
        with pytest.raises(WorkflowUpdateFailedError) as cut_short:
            await waiting
        with pytest.raises(WorkflowUpdateFailedError) as told_later:
            await handle.execute_update(Account.hang, id="h")
    for caught in (cut_short, told_later):
        cause = caught.value.cause
        assert isinstance(cause, ApplicationError) and cause.type == "AcceptedUpdateCompletedWorkflow"


async def test_an_update_that_nobody_has_read_when_its_run_is_terminated_is_not_found(client: Client) -> None:
    handle = await client.start_workflow(Account.run, id="a")
    update = asyncio.ensure_future(handle.execute_update(Account.deposit, 1))
    await until(lambda: _has_message(handle, "deposit"))
    await handle.terminate()
    with pytest.raises(RPCError, match="workflow execution already completed") as closed:
        await update
    assert closed.value.status is RPCStatusCode.NOT_FOUND


@pytest.mark.parametrize("update", ["forget_key", "deposit"])
async def test_an_update_that_fails_the_task_waits_for_code_that_can_take_it(
    client: Client, make_worker: MakeWorker, update: str
) -> None:
    """A KeyError in the handler; a validator that draws chance."""
    arguments = [13] if update == "deposit" else []
    async with make_worker(Account):
        handle = await client.start_workflow(Account.run, id="a")
        asked = asyncio.ensure_future(handle.execute_update(update, args=arguments, id="u"))
        parked = await until(lambda: _parked(handle))
        assert ("random" if arguments else "broken") in parked
        again = asyncio.ensure_future(handle.execute_update(update, args=arguments, id="u"))
        await asyncio.sleep(0)

    @workflow.defn(name="Account")
    class Mended(Account):
        @workflow.run
        async def run(self) -> int:
            return await super().run()

        @workflow.update
        def forget_key(self) -> str:  # type: ignore[override]
            return "mended"

        @workflow.update
        def deposit(self, amount: int) -> str:  # type: ignore[override]
            return "mended"

    async with make_worker(Mended):
        assert await asyncio.gather(asked, again) == ["mended", "mended"]
        await handle.signal("close")
        await handle.result()
    history = await handle.fetch_history()
    assert_sound(history.events)
    assert "WorkflowExecutionUpdateAdmitted" in types(history)
    await assert_replays(Mended, history)


async def _parked(handle: Any) -> str | None:
    parked: str | None = (await handle.describe()).parked
    return parked


async def test_an_admitted_update_may_be_rejected_by_the_code_that_can_judge_it(
    client: Client, make_worker: MakeWorker
) -> None:
    async with make_worker(Account):
        handle = await client.start_workflow(Account.run, id="a")
        asked = asyncio.ensure_future(handle.execute_update("deposit", 13, id="u"))
        await until(lambda: _parked(handle))

    @workflow.defn(name="Account")
    class Stern(Account):
        @workflow.run
        async def run(self) -> int:
            return await super().run()

        @workflow.update
        async def deposit(self, amount: int) -> int:  # type: ignore[override]
            return amount

        @deposit.validator
        def never(self, amount: int) -> None:
            if amount == 13:
                raise ValueError("never")

    async with make_worker(Stern):
        with pytest.raises(WorkflowUpdateFailedError) as rejected:
            await asked
        assert await handle.execute_update("deposit", 1, id="u") == 1, "its id is free again"
        await handle.signal("close")
        await handle.result()
    assert "never" in str(rejected.value.cause)
    history = await handle.fetch_history()
    assert "WorkflowExecutionUpdateRejected" in types(history)
    await assert_replays(Stern, history)


async def test_updates_and_signals_of_one_task_run_signals_first_on_every_replay(
    client: Client, make_worker: MakeWorker
) -> None:
    handle = await client.start_workflow(Account.run, id="a")
    updates = [asyncio.ensure_future(handle.execute_update(Account.deposit, number)) for number in (1, 2)]
    await until(lambda: _has_message(handle, "deposit"))
    await handle.signal(Account.close)
    async with make_worker(Account):
        assert sorted(await asyncio.gather(*updates)) in ([1, 3], [2, 3])
        assert await handle.result() == 3
    await assert_replays(Account, await handle.fetch_history())


async def test_a_stage_that_can_not_be_waited_for_is_refused(client: Client) -> None:
    handle = client.get_workflow_handle("a")
    with pytest.raises(ValueError, match="ADMITTED"):
        await handle.start_update(Account.deposit, 1, wait_for_stage=WorkflowUpdateStage.ADMITTED)


async def test_an_update_of_a_workflow_that_does_not_exist_is_not_found(client: Client) -> None:
    with pytest.raises(RPCError) as missing:
        await client.get_workflow_handle("nobody").execute_update(Account.deposit, 1)
    assert missing.value.status is RPCStatusCode.NOT_FOUND


async def test_a_cancelled_handler_fails_its_update_as_cancelled(client: Client, make_worker: MakeWorker) -> None:
    @workflow.defn
    class Cancels:
        def __init__(self) -> None:
            self.task: asyncio.Task[Any] | None = None

        @workflow.run
        async def run(self) -> None:
            await workflow.wait_condition(lambda: self.task is not None)
            assert self.task is not None
            self.task.cancel()
            await workflow.wait_condition(workflow.all_handlers_finished)

        @workflow.update
        async def hang(self) -> None:
            self.task = asyncio.current_task()
            await asyncio.get_running_loop().create_future()

    async with make_worker(Cancels):
        handle = await client.start_workflow(Cancels.run, id="c")
        with pytest.raises(WorkflowUpdateFailedError) as failed:
            await handle.execute_update(Cancels.hang)
        await handle.result()
    assert "Cancellation raised within update" in str(failed.value.cause)


async def test_a_workflow_failure_of_a_handlers_makes_no_failure_of_the_workflow(
    client: Client, make_worker: MakeWorker
) -> None:
    async with make_worker(Account):
        handle = await client.start_workflow(Account.run, id="a")
        with pytest.raises(WorkflowUpdateFailedError):
            await handle.execute_update(Account.refuse)
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await handle.result()


async def test_a_rejected_update_that_wakes_a_parked_run_lets_it_go_on_for_good(
    client: Client, make_worker: MakeWorker
) -> None:
    """The task that it makes has read what the failed one had: so it is one, though the update leaves no trace."""

    @workflow.defn(name="Account")
    class Broken(Account):
        @workflow.run
        async def run(self) -> int:
            raise KeyError("broken")

    async with make_worker(Broken):
        handle = await client.start_workflow("Account", id="a")
        await until(lambda: _parked(handle))
    update = asyncio.ensure_future(handle.execute_update("deposit", -1))
    await until(lambda: _has_message(handle, "deposit"))
    async with make_worker(Account):
        with pytest.raises(WorkflowUpdateFailedError):
            await update
        await until(lambda: _is_not_parked(handle))
        assert await handle.query("so_far") == ["run"]
        await handle.signal("close")
        await handle.result()
    history = await handle.fetch_history()
    assert_sound(history.events)
    await assert_replays(Account, history)


async def _is_not_parked(handle: Any) -> bool:
    return await _parked(handle) is None


async def test_an_admitted_update_of_a_run_that_is_terminated_is_not_found(
    client: Client, make_worker: MakeWorker
) -> None:
    async with make_worker(Account):
        handle = await client.start_workflow(Account.run, id="a")
        asked = asyncio.ensure_future(handle.execute_update(Account.forget_key, id="u"))
        await until(lambda: _parked(handle))
        await handle.terminate()
        with pytest.raises(RPCError, match="workflow execution already completed"):
            await asked


@pytest.mark.parametrize("id", ["nul\x00inside", "lone \ud800 surrogate", "x" * 2001], ids=["nul", "surrogate", "long"])
async def test_an_update_id_that_some_database_refuses_is_refused_at_once(
    client: Client, make_worker: MakeWorker, id: str
) -> None:
    async with make_worker(Account):
        handle = await client.start_workflow(Account.run, id="a")
        with pytest.raises(ValueError, match="an update id has"):
            await handle.execute_update(Account.deposit, 1, id=id)
        assert await handle.execute_update(Account.deposit, 1) == 1
