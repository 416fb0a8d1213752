"""Workflows that reach others: what they send arrives once, and what one worker has not sent, the next one sends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from durable import Client, workflow
from durable.client import WorkflowFailureError
from durable.exceptions import ApplicationError, CancelledError
from durable.history import errands
from durable.history.beginning import StartRequest
from durable.history.errands import Errand
from durable.history.events import WorkflowExecutionSignaled
from durable.history.messages import MessageKind
from durable.history.state import State
from durable.history.transition import Committed
from durable.worker.errands import Errands
from durable.workflow import ParentClosePolicy
from tests.engine.conftest import Execute, MakeWorker
from tests.engine.test_children import Sleeper, double, parent_of_one, running


@workflow.defn
class Caller:
    @workflow.run
    async def run(self, workflow_id: str, verb: str) -> str:
        other = workflow.get_external_workflow_handle_for(Sleeper.run, workflow_id)
        try:
            if verb == "signal":
                await other.signal(Sleeper.wake, "a neighbour")
            else:
                await other.cancel(reason="too loud")
        except ApplicationError as error:
            return str(error)
        return "done"


async def test_a_workflow_signals_another(client: Client, execute: Execute, make_worker: MakeWorker) -> None:
    sleeper = await client.start_workflow(Sleeper.run, id="sleeper")

    assert await execute(Caller, "sleeper", "signal", using=(Sleeper,)) == "done"

    async with make_worker(Sleeper):
        assert await sleeper.result() == ["a neighbour"]
    history = await sleeper.fetch_history()
    signaled = next(each for each in history.events if isinstance(each, WorkflowExecutionSignaled))
    assert signaled.external_workflow_execution is not None
    assert signaled.external_workflow_execution.workflow_id == "the-run"


async def test_a_workflow_cancels_another(client: Client, execute: Execute, make_worker: MakeWorker) -> None:
    sleeper = await client.start_workflow(Sleeper.run, id="sleeper")

    assert await execute(Caller, "sleeper", "cancel", using=(Sleeper,)) == "done"

    async with make_worker(Sleeper):
        with pytest.raises(WorkflowFailureError) as caught:
            await sleeper.result()
    assert isinstance(caught.value.cause, CancelledError)


@pytest.mark.parametrize("verb", ["signal", "cancel"])
async def test_a_workflow_that_is_not_there_can_not_be_reached(execute: Execute, verb: str) -> None:
    said = await execute(Caller, "nobody", verb)

    assert said == f"NotFoundError: Unable to {verb} external workflow because it was not found"


async def test_a_workflow_that_is_closed_can_not_be_signalled(client: Client, execute: Execute) -> None:
    closed = await client.start_workflow(Sleeper.run, id="closed")
    await closed.terminate()

    assert "because it was not found" in await execute(Caller, "closed", "signal")


@workflow.defn
async def signals_and_ends() -> None:
    """Nobody waits for the answer: the workflow is over before it can come."""
    other = workflow.get_external_workflow_handle("sleeper")
    telling = asyncio.create_task(other.signal(Sleeper.wake, "the departed"))
    await asyncio.sleep(0)
    assert not telling.done()


async def test_a_signal_that_the_closing_task_asked_for_is_sent(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(signals_and_ends, Sleeper):
        sleeper = await client.start_workflow(Sleeper.run, id="sleeper")
        await client.execute_workflow(signals_and_ends, id="the-run")

        assert await sleeper.result() == ["the departed"]


@workflow.defn
async def leaves_a_child() -> None:
    """It is over before its child can begin."""
    starting = asyncio.create_task(
        workflow.start_child_workflow(double, 3, id="left", parent_close_policy=ParentClosePolicy.ABANDON)
    )
    await asyncio.sleep(0)
    assert not starting.done()


async def test_an_abandoned_child_begins_though_its_parent_is_over(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(leaves_a_child, double):
        await client.execute_workflow(leaves_a_child, id="the-run")
        left = await running(client, "left")

        assert await left.result() == 6


class Forgetful:
    """A worker that dies after each commit, as far as errands go: the first time it is asked, it runs none."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.forgotten: list[Errand] = []
        self._seen: set[tuple[str, int]] = set()
        run = Errands.run

        def forget(this: Errands, run_id: str, state: State, asked: Sequence[Errand]) -> None:
            if (run_id, state.last_event_id) not in self._seen:
                self._seen.add((run_id, state.last_event_id))
                self.forgotten += asked
            else:
                run(this, run_id, state, asked)

        monkeypatch.setattr(Errands, "run", forget)
        monkeypatch.setattr(errands, "AGAIN_FIRST_US", 20_000)


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> Forgetful:
    return Forgetful(monkeypatch)


async def test_what_a_dead_worker_has_not_sent_is_sent_by_the_next(
    client: Client, execute: Execute, forgetful: Forgetful
) -> None:
    assert await execute(parent_of_one, 21, using=(double,)) == 42

    assert [type(each).__name__ for each in forgetful.forgotten] == ["StartChild", "Tell"]
    assert await left_to_do(client) == []


async def test_nothing_is_left_in_the_inboxes_when_all_is_done(client: Client, execute: Execute) -> None:
    assert await execute(parent_of_one, 21, using=(double,)) == 42

    assert await left_to_do(client) == []


async def left_to_do(client: Client) -> list[Any]:
    """The reminders that are there, once those that are about to go have gone."""
    for _ in range(400):
        runs = await client.database.store.list_runs(client.namespace)
        inboxes = [await client.database.store.inbox(run.run_id) for run in runs]
        left = [message for inbox in inboxes for message in inbox if message.kind is MessageKind.ERRANDS]
        if not left:
            break
        await asyncio.sleep(0.01)
    return left


async def test_an_errand_that_goes_wrong_is_tried_again_and_harms_nobody(
    execute: Execute, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errands, "AGAIN_FIRST_US", 20_000)
    begin, went_wrong = Client.begin, list[str]()

    async def begin_or_not(this: Client, request: StartRequest) -> Committed:
        if request.workflow_id == "the-child" and not went_wrong:
            went_wrong.append(request.workflow_id)
            raise ValueError("nobody has foreseen this")
        return await begin(this, request)

    monkeypatch.setattr(Client, "begin", begin_or_not)

    assert await execute(parent_of_one, 21, using=(double,)) == 42
    assert went_wrong == ["the-child"]
