"""Faults of what is stored: rows that can't be read, code that kills its workers, many who start one workflow id."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, closing
from datetime import timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from durable import Client, activity, workflow
from durable.client import WorkflowFailureError
from durable.common import WorkflowIDConflictPolicy as Conflict
from durable.common import WorkflowIDReusePolicy as Reuse
from durable.exceptions import ActivityError, TerminatedError, TimeoutError, WorkflowAlreadyStartedError
from durable.history import attempts, beginning, rules
from durable.history.beginning import StartRequest
from durable.history.events import WorkflowTaskFailed
from durable.history.messages import MessageKind, WorkflowTaskDue
from durable.history.steps import Incoming
from durable.history.transition import Retry
from durable.history.values import Failure, RunStatus, TaskFailedCause
from durable.worker import runs
from tests.chaos.places import Place, PostgresPlace
from tests.engine.histories import assert_sound, of_type, types, until
from tests.faults.conftest import MakeWorker
from tests.faults.flows import Fatal, asks_for_death, harmless, notes
from tests.faults.processes import spawn
from tests.history.worlds import task


async def change(place: Place, statement: str) -> None:
    """Write to the database from outside; ``{broken}`` are bytes that nothing reads."""
    if isinstance(place, PostgresPlace):
        await place.ask(statement.format(broken="'\\xc1'::bytea"))
        return
    with closing(sqlite3.connect(place.address.removeprefix("sqlite:///"), timeout=30)) as db, db:
        db.execute(statement.format(broken="x'c1'"))


# F53 --------------------------------------------------------------------------------------------------------------


@workflow.defn
class Hearing:
    """Waits for a word."""

    def __init__(self) -> None:
        self.word = ""

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: bool(self.word))
        return self.word

    @workflow.signal
    def hear(self, word: str) -> None:
        self.word = word


@activity.defn
async def work(number: int) -> int:
    return number + 1


@workflow.defn
async def working(number: int) -> int:
    return await workflow.execute_activity(work, number, start_to_close_timeout=timedelta(seconds=60))


@pytest.fixture
def tried_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "SHUN_FIRST", 0.05)


async def test_f53_a_workflow_of_an_unknown_type_is_parked_and_the_others_go_on(
    client: Client, make_worker: MakeWorker
) -> None:
    unknown = await client.start_workflow("Unheard", id="unknown")
    others = [await client.start_workflow(harmless, id=f"known-{number}") for number in range(5)]
    async with make_worker(client, harmless):
        assert [await other.result() for other in others] == ["done"] * 5

        async def is_parked() -> str | None:
            return (await unknown.describe()).parked

        assert "Unheard" in str(await until(is_parked))
        assert (await unknown.describe()).status is RunStatus.RUNNING

    @workflow.defn(name="Unheard")
    async def known() -> str:
        return "known now"

    async with make_worker(client, known):
        assert await unknown.result() == "known now"


@pytest.mark.usefixtures("tried_again_soon")
@pytest.mark.parametrize("what", ["an event", "a message", "a message of a later version"])
async def test_f53_a_run_with_a_row_that_can_not_be_read_waits_and_the_others_go_on(
    place: Place, client: Client, make_worker: MakeWorker, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    broken = await client.start_workflow(Hearing.run, id="broken")
    others = [await client.start_workflow(harmless, id=f"sound-{number}") for number in range(5)]
    where = f"run_id = '{broken.result_run_id}'"
    ((data,),) = await place.ask(f"SELECT data FROM durable_history WHERE {where}")
    if what == "an event":
        await change(place, f"UPDATE durable_history SET data = {{broken}} WHERE {where}")
    else:
        await broken.signal(Hearing.hear, "sent")
        later = "99" if what == "a message of a later version" else "kind"
        signals = f"{where} AND kind = {int(MessageKind.SIGNAL)}"
        await change(place, f"UPDATE durable_inbox SET body = {{broken}}, kind = {later} WHERE {signals}")
    async with make_worker(client, Hearing, harmless):
        assert [await other.result() for other in others] == ["done"] * 5

        async def is_told() -> bool:
            return f"run {broken.result_run_id} can't be read" in caplog.text

        await until(is_told)
        assert (await broken.describe()).pending_messages
        later_ones = [await client.start_workflow(harmless, id=f"later-{number}") for number in range(5)]
        assert [await other.result() for other in later_ones] == ["done"] * 5

        if what == "an event":
            literal = f"'\\x{data.hex()}'::bytea" if isinstance(place, PostgresPlace) else f"x'{data.hex()}'"
            await change(place, f"UPDATE durable_history SET data = {literal} WHERE {where}")
        else:
            await change(place, f"DELETE FROM durable_inbox WHERE {where} AND kind NOT IN (1, 2)")
        await broken.signal(Hearing.hear, "mended")
        assert await broken.result() == "mended"
    assert_sound((await broken.fetch_history()).events)


@pytest.mark.parametrize("what", ["history", "inbox"])
async def test_f53_a_run_with_a_row_that_can_not_be_read_can_be_terminated(
    place: Place, client: Client, what: str
) -> None:
    broken = await client.start_workflow(Hearing.run, id="broken")
    await broken.signal(Hearing.hear, "sent")
    await change(place, f"UPDATE durable_{what} SET {'data' if what == 'history' else 'body'} = {{broken}}")

    await broken.terminate("nobody can read it")

    with pytest.raises(WorkflowFailureError) as ended:
        await broken.result()
    assert isinstance(ended.value.cause, TerminatedError)
    assert (await place.ask("SELECT count(*) FROM durable_inbox"))[0][0] == 0


async def test_f53_an_activity_that_can_not_be_read_is_put_off_and_the_others_go_on(
    place: Place, client: Client, make_worker: MakeWorker
) -> None:
    """With one slot: what can't be read must not keep it."""
    async with make_worker(client, working):
        handles = [await client.start_workflow(working, number, id=f"w-{number}") for number in range(5)]

        async def all_wait() -> bool:
            return (await place.ask("SELECT count(*) FROM durable_activity_tasks"))[0][0] == 5

        await until(all_wait)
    ((spec,),) = await place.ask(f"SELECT spec FROM durable_activity_tasks WHERE run_id = '{handles[0].result_run_id}'")
    where = f"WHERE run_id = '{handles[0].result_run_id}'"
    await change(place, f"UPDATE durable_activity_tasks SET spec = {{broken}}, due_us = 1 {where}")
    async with make_worker(client, working, work, max_concurrent_activities=1):
        assert [await handle.result() for handle in handles[1:]] == [2, 3, 4, 5]

        async def is_put_off() -> str | None:
            (pending,) = (await handles[0].describe()).pending_activities
            return pending.last_failure

        assert "stored activity can't be read" in str(await until(is_put_off))
        literal = f"'\\x{spec.hex()}'::bytea" if isinstance(place, PostgresPlace) else f"x'{spec.hex()}'"
        await change(place, f"UPDATE durable_activity_tasks SET spec = {literal} {where}")
        assert await handles[0].result() == 1


# F54 --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def fleet(place: Place, tmp_path: Path) -> Iterator[list[BaseProcess]]:
    """Four workers, one of which has to be left."""
    children = [spawn(place.address, tmp_path) for _ in range(4)]
    yield children
    for child in children:
        child.kill()
        child.join()


KNOW_EACH_OTHER = "SELECT count(*) = 4 AND min(renewed_us) - max(started_us) > 0.4 * max(lease_us) FROM durable_workers"


async def all_work(place: Place) -> None:
    async def they_do() -> bool:
        return bool((await place.ask(KNOW_EACH_OTHER))[0][0])

    await until(they_do)


async def alive(children: list[BaseProcess]) -> int:
    return sum(child.is_alive() for child in children)


async def test_f54_a_workflow_that_kills_its_workers_is_parked_before_the_last_one(
    place: Place, client: Client, fleet: list[BaseProcess], tmp_path: Path
) -> None:
    await all_work(place)
    handle = await client.start_workflow(Fatal.run, str(tmp_path), id="fatal")

    async def is_parked() -> str | None:
        return (await handle.describe()).parked

    assert "3 workers in a row died while they held this run" in str(await until(is_parked))
    assert await alive(fleet) == 1
    history = await handle.fetch_history()
    assert len(of_type(history, WorkflowTaskFailed)) == 1 and types(history)[-1] == "WorkflowTaskFailed"

    # Neither a message nor a worker that starts has it tried before its time; others are served meanwhile.
    due = await place.ask("SELECT due_us FROM durable_inbox")
    await handle.signal(Fatal.hello)
    fleet.append(spawn(place.address, tmp_path))

    async def is_read() -> bool:
        return "WorkflowExecutionSignaled" in types(await handle.fetch_history())

    async def has_begun() -> bool:
        begun = f"SELECT 1 FROM durable_workers WHERE pid = {fleet[-1].pid} AND renewed_us - started_us > lease_us / 2"
        return bool(await place.ask(begun))

    await until(is_read)
    await until(has_begun)
    assert await client.execute_workflow(harmless, id="harmless") == "done"
    assert await place.ask("SELECT due_us FROM durable_inbox") == due and await alive(fleet) == 2

    # When its time comes, it is tried; mended, it goes on by itself.
    (tmp_path / "mended").touch()
    await change(place, "UPDATE durable_inbox SET due_us = 1")
    await handle.signal(Fatal.hello)
    assert await handle.result() == "survived"
    assert_sound((await handle.fetch_history()).events)


async def test_f54_an_activity_that_kills_its_workers_is_not_begun_more_often_than_it_may(
    place: Place, client: Client, fleet: list[BaseProcess], tmp_path: Path
) -> None:
    await all_work(place)
    handle = await client.start_workflow(asks_for_death, args=[str(tmp_path), 2], id="fatal")

    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()

    assert isinstance(failed.value.cause, ActivityError) and isinstance(failed.value.cause.cause, TimeoutError)
    assert failed.value.cause.cause.message == "the worker that ran the activity died"
    assert len(notes(tmp_path, "fatal")) == 2 and await alive(fleet) == 2


async def test_f54_an_activity_that_may_kill_for_ever_is_tried_later_and_later(
    place: Place, client: Client, fleet: list[BaseProcess], tmp_path: Path
) -> None:
    await all_work(place)
    handle = await client.start_workflow(asks_for_death, args=[str(tmp_path), 0], id="fatal")

    async def has_killed_two() -> list[Any]:
        waits = "SELECT due_us, attempt FROM durable_activity_tasks WHERE owner IS NULL AND attempt = 2"
        return list(await place.ask(waits))

    ((due_us, _),) = await until(has_killed_two)
    ((died_us,),) = await place.ask("SELECT max(dead_us) FROM durable_workers")
    assert due_us - died_us >= 1_000_000  # its own policy says 1 ms
    (tmp_path / "mended").touch()
    assert await handle.result() == 3


def test_f54_an_attempt_waits_twice_as_long_after_each_death_until_one_ends_otherwise() -> None:
    waiting, waits = task("run", 5, owner="w", attempt=1, lost=True, deadline_us=0), list[float]()
    for _ in range(13):
        again = attempts.expired(waiting, 0)
        assert isinstance(again, Retry)
        waits.append(again.due_us / 1_000_000)
        waiting = task("run", 5, owner="w", attempt=1, lost=True, deadline_us=0, progress=again.progress)
    assert waits == [1, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]  # the first one is its policy's

    failed = attempts.failed(waiting, Failure(message="no"), "", 0)
    assert isinstance(failed, Retry) and failed.progress.losses == 0


def test_f54_runs_that_were_parked_together_are_tried_again_apart() -> None:
    dues: set[int] = set()
    for number in range(100):
        request = StartRequest(
            namespace="default",
            workflow_id=str(number),
            workflow_type="Fatal",
            task_queue="default",
            input=[],
            request_id=str(number),
        )
        begun = beginning.start(request, f"run {number}", 0).state
        read = rules.receive(begun, f"run {number}", "w", [Incoming(WorkflowTaskDue(), 0, 1)], 0)
        cause = TaskFailedCause.WORKFLOW_WORKER_UNHANDLED_FAILURE
        parked = rules.park(read, Failure(message="died"), cause, 0, kills=True).transition
        (retry,) = parked.messages
        dues.add(retry.due_us)
        assert parked.deaths == rules.DEATHS_MAX - 1
    assert len(dues) == 100 and 8_000_000 <= min(dues) < max(dues) < 16_000_000


# F56 --------------------------------------------------------------------------------------------------------------

CLIENTS, STARTS = 5, 20


@pytest.fixture
async def crowd(address: str) -> AsyncIterator[list[Client]]:
    """A hundred places to start from: twenty each on connections of their own."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(await Client.connect(address)) for _ in range(CLIENTS)] * STARTS


async def started(client: Client, **policies: Any) -> str | None:
    """The run that it is answered with; None when it is refused."""
    try:
        handle = await client.start_workflow(Hearing.run, id="the-one", **policies)
    except WorkflowAlreadyStartedError:
        return None
    return handle.result_run_id


async def all_runs(client: Client) -> Counter[RunStatus]:
    return Counter([run.status async for run in client.list_workflows()])


REUSES = (Reuse.ALLOW_DUPLICATE, Reuse.ALLOW_DUPLICATE_FAILED_ONLY, Reuse.REJECT_DUPLICATE)
OPEN_AND_CLOSED = pytest.mark.parametrize("before", ["nothing", "a terminated run", "a completed run"])


async def arrange(before: str, client: Client, make_worker: MakeWorker) -> int:
    """The closed run that there is before; how many."""
    if before == "nothing":
        return 0
    handle = await client.start_workflow(Hearing.run, id="the-one")
    if before == "a terminated run":
        await handle.terminate()
        return 1
    async with make_worker(client, Hearing):
        await handle.signal(Hearing.hear, "done")
        await handle.result()
    return 1


def may_begin(reuse: Reuse, before: str) -> bool:
    if reuse is Reuse.ALLOW_DUPLICATE_FAILED_ONLY:
        return before != "a completed run"
    return reuse is Reuse.ALLOW_DUPLICATE or before == "nothing"


@OPEN_AND_CLOSED
@pytest.mark.parametrize("reuse", REUSES)
async def test_f56_a_hundred_who_start_one_id_start_one_run(
    crowd: list[Client], make_worker: MakeWorker, reuse: Reuse, before: str
) -> None:
    closed = await arrange(before, crowd[0], make_worker)

    answers = Counter(await asyncio.gather(*(started(client, id_reuse_policy=reuse) for client in crowd)))

    begun = 1 if may_begin(reuse, before) else 0
    assert answers.pop(None) == 100 - begun and list(answers.values()) == [1] * begun
    there = await all_runs(crowd[0])
    assert there[RunStatus.RUNNING] == begun and there.total() == closed + begun


@OPEN_AND_CLOSED
@pytest.mark.parametrize("reuse", REUSES)
async def test_f56_a_hundred_who_would_join_the_open_run_of_an_id_share_one(
    crowd: list[Client], make_worker: MakeWorker, reuse: Reuse, before: str
) -> None:
    closed = await arrange(before, crowd[0], make_worker)
    joining = {"id_conflict_policy": Conflict.USE_EXISTING, "id_reuse_policy": reuse}

    answers = Counter(await asyncio.gather(*(started(client, **joining) for client in crowd)))

    if may_begin(reuse, before):
        ((run_id, count),) = answers.items()
        assert run_id is not None and count == 100
    else:
        assert answers == {None: 100}
    there = await all_runs(crowd[0])
    assert there[RunStatus.RUNNING] == may_begin(reuse, before) and there.total() - closed == there[RunStatus.RUNNING]


@pytest.mark.parametrize("many", [20, pytest.param(100, marks=pytest.mark.all)])
@pytest.mark.parametrize(
    "policies",
    [{"id_conflict_policy": Conflict.TERMINATE_EXISTING}, {"id_reuse_policy": Reuse.TERMINATE_IF_RUNNING}],
    ids=["conflict", "reuse"],
)
async def test_f56_of_many_who_replace_the_open_run_of_an_id_one_is_left(
    place: Place, crowd: list[Client], policies: dict[str, Any], many: int
) -> None:
    answers = await asyncio.gather(*(started(client, **policies) for client in crowd[:many]))

    assert None not in answers and len(set(answers)) == many
    assert await all_runs(crowd[0]) == {RunStatus.RUNNING: 1, RunStatus.TERMINATED: many - 1}
    generations = await place.ask("SELECT generation, status FROM durable_runs ORDER BY generation")
    assert [list(row) for row in generations] == [*([number, 5] for number in range(1, many)), [many, 1]]


async def test_f56_a_hundred_who_send_one_start_again_and_again_start_one_run(crowd: list[Client]) -> None:
    answers = await asyncio.gather(*(started(client, request_id="the-request") for client in crowd))

    assert None not in answers and len(set(answers)) == 1
    assert await all_runs(crowd[0]) == {RunStatus.RUNNING: 1}
