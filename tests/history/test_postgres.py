"""What only PostgreSQL promises: writers that meet on two connections, what strangers lock, what is lost on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

import asyncpg
import pytest

from durable.history.errors import StoreUnavailable, UnknownOutcome
from durable.history.host import Machine
from durable.history.messages import Signal
from durable.history.stores import postgres_watch
from durable.history.stores.postgres import PostgresStore
from durable.history.stores.postgres_connection import BEGIN, STALLED_AFTER
from durable.history.stores.postgres_sql import statements
from durable.history.transition import Committed, Outcome, Refusal, Refused, Write
from durable.history.values import IdConflictPolicy, IdReusePolicy
from tests.history.breaking import (
    WRITES,
    break_at,
    either,
    end_sessions,
    lose_the_answer,
    lose_the_question,
)
from tests.history.worlds import (
    BEGINNING_US,
    NAMESPACE,
    QUEUE,
    SECOND_US,
    ClockedHost,
    claim,
    close,
    done,
    info,
    meanings,
    owned,
    send,
    signal,
    start,
    step,
    taken,
    task,
    worker,
)
from tests.postgres import Server

T = TypeVar("T")

RUN = "run of order-7"
HOLD = "SELECT 1 FROM durable_runs WHERE run_id = $1 FOR UPDATE"


@pytest.fixture
async def store(postgres: str, host: ClockedHost) -> AsyncIterator[PostgresStore]:
    async with PostgresStore(postgres, host) as opened:
        await opened.register(worker("w1"))
        await opened.register(worker("w2"))
        yield opened


@pytest.fixture
async def stranger(postgres: str) -> AsyncIterator[Any]:
    """A session of somebody else, in a transaction."""
    session = await asyncpg.connect(postgres)
    await session.execute("BEGIN")
    yield session
    session.terminate()


async def held_up(store: PostgresStore, write: Write) -> asyncio.Future[Outcome]:
    """The write waits for somebody else."""
    answer = (await store.commit([write]))[0]
    assert isinstance(answer, asyncio.Future)
    return answer


# Closing against sending. -----------------------------------------------------------------------------------------


async def begin_to_send(stranger: Any) -> None:
    """What a sender of another process does, up to its commit."""
    await stranger.fetch(statements().lock.runs_to_send, [RUN])
    message = signal("on its way", BEGINNING_US)
    row = (NAMESPACE, QUEUE, RUN, int(message.kind), 0, message.due_us, message.body)
    await stranger.execute(statements().commit.insert_message, *([value] for value in row))


async def test_a_message_that_is_committed_while_its_run_closes_is_not_lost(
    store: PostgresStore, stranger: Any
) -> None:
    run = await owned(store)
    await begin_to_send(stranger)

    closing = await held_up(store, close(run))
    await stranger.execute("COMMIT")

    outcome = await closing
    assert isinstance(outcome, Refused) and outcome.reason is Refusal.UNREAD
    assert meanings(await store.inbox(RUN)) == [Signal(name="on its way")]
    await done(store, close(run, await store.inbox(RUN)))


async def test_a_message_that_never_came_does_not_keep_a_run_open(store: PostgresStore, stranger: Any) -> None:
    run = await owned(store)
    await begin_to_send(stranger)

    closing = await held_up(store, close(run))
    await stranger.execute("ROLLBACK")

    assert await closing == Committed(run_id=RUN)


async def test_a_message_on_its_way_holds_up_no_step_of_its_run(store: PostgresStore, stranger: Any) -> None:
    run = await owned(store)
    await begin_to_send(stranger)

    await done(store, step(run))


@pytest.mark.parametrize("closes", [True, False])
async def test_a_message_for_a_run_that_is_being_closed_waits_for_the_verdict(
    store: PostgresStore, stranger: Any, closes: bool
) -> None:
    await owned(store)
    await stranger.fetch(statements().lock.runs_to_close, [RUN])
    await stranger.execute("UPDATE durable_runs SET status = 2, owner = NULL WHERE run_id = $1", RUN)

    sending = await held_up(store, send(signal("late", BEGINNING_US)))
    await stranger.execute("COMMIT" if closes else "ROLLBACK")

    outcome = await sending
    if closes:
        assert isinstance(outcome, Refused) and outcome.reason is Refusal.CLOSED
    assert len(await store.inbox(RUN)) == (0 if closes else 1)


async def test_a_message_that_comes_between_a_look_at_its_run_and_the_runs_lock_is_not_lost(
    store: PostgresStore, stranger: Any
) -> None:
    """Both are one statement, which sees only what was there when it began."""
    run = await owned(store)
    message = signal("in between", BEGINNING_US)
    row = (NAMESPACE, QUEUE, RUN, int(message.kind), 0, message.due_us, message.body)

    async def look_first(asked: Coroutine[Any, Any, Any]) -> Any:
        looked = await asked
        await stranger.execute(statements().commit.insert_message, *([value] for value in row))
        await stranger.execute("COMMIT")
        return looked

    await break_at(store, "WITH read_0", look_first)
    outcome = await either(store, close(run))

    assert isinstance(outcome, Refused) and outcome.reason is Refusal.UNREAD
    assert meanings(await store.inbox(RUN)) == [Signal(name="in between")]


async def test_an_outcome_that_is_reported_while_its_run_closes_leaves_nothing_behind(
    store: PostgresStore, stranger: Any
) -> None:
    run = await owned(store)
    await done(store, step(run, tasks=(task(RUN, 5),)))
    await stranger.fetch(statements().lock.tasks, [RUN], [5])
    await stranger.execute("DELETE FROM durable_activity_tasks WHERE run_id = $1", RUN)
    row = (NAMESPACE, QUEUE, RUN, 3, 0, BEGINNING_US, b"outcome")
    await stranger.execute(statements().commit.insert_message, *([value] for value in row))

    async def commit_first(asked: Coroutine[Any, Any, Any]) -> Any:
        await stranger.execute("COMMIT")
        return await asked

    await break_at(store, "DELETE FROM durable_activity_tasks", commit_first)
    await done(store, close(await info(store, RUN)))

    assert await store.tasks(RUN) == [] and await store.inbox(RUN) == []


# Strangers. -------------------------------------------------------------------------------------------------------


async def test_a_strangers_open_transaction_on_a_run_delays_nobody_else(store: PostgresStore, stranger: Any) -> None:
    """And all that waits for it is written when it ends."""
    run, other = await owned(store), await owned(store, workflow_id="other")
    await stranger.fetch(HOLD, RUN)

    answers = await store.commit([step(run), step(other), send(signal("a", 1)), send(signal("b", 1), "other")])
    assert answers[1] == answers[3] == Committed(run_id="run of other")
    await done(store, start("third"))
    assert taken(await store.claim(claim("w1"))) == ["run of other", "run of third"]
    assert (await store.renew(worker("w1"))).alive
    waiting = [answer for answer in answers if isinstance(answer, asyncio.Future)]
    assert len(waiting) == 2 and not any(answer.done() for answer in waiting)
    await stranger.execute("ROLLBACK")

    assert await asyncio.gather(*waiting) == [Committed(run_id=RUN)] * 2


async def test_who_waits_too_long_for_a_stranger_learns_of_what(
    postgres: str, host: ClockedHost, stranger: Any
) -> None:
    async with PostgresStore(postgres, host, patience_s=0.05) as store:
        await done(store, start())
        await stranger.fetch(HOLD, RUN)

        sending = await held_up(store, send(signal("a", 1), run_id=RUN))

        with pytest.raises(StoreUnavailable, match=f"locked.*a message for run {RUN}; nothing is written"):
            await sending


async def test_a_run_that_somebody_else_holds_is_not_claimed_now(store: PostgresStore, stranger: Any) -> None:
    await store.commit([start("a"), start("b")])
    await stranger.fetch(HOLD, "run of a")

    assert taken(await store.claim(claim("w1"))) == ["run of b"]
    await stranger.execute("ROLLBACK")
    assert taken(await store.claim(claim("w2"))) == ["run of a"]


async def test_what_a_stranger_held_of_a_dead_worker_is_found_later(
    store: PostgresStore, host: ClockedHost, stranger: Any
) -> None:
    await owned(store)
    await done(store, step(await info(store, RUN), tasks=(task(RUN, 5),)))
    await store.claim(claim("w1"))
    await stranger.execute("SELECT 1 FROM durable_activity_tasks FOR UPDATE")
    await stranger.fetch(HOLD, RUN)
    for _ in range(3):
        host.pass_time(2)
        died = (await store.renew(worker("w2"))).died
    held = await store.tasks(RUN)
    await stranger.execute("ROLLBACK")

    host.pass_time(1)
    await store.renew(worker("w2"))

    assert died == ["w1"] and not held[0].lost
    assert [each.lost for each in (await store.claim(claim("w2"))).overdue] == [True]


# Starts that meet. ------------------------------------------------------------------------------------------------


async def begin_to_start(stranger: Any, run_id: str) -> None:
    """What a start by another process does, up to its commit."""
    row = (run_id, NAMESPACE, "order-7", 1, "Order", QUEUE, 1, None, 0, 0, 1, None, run_id, "theirs", None, 0)
    values = (*row, 1, None, None, None, None, None, None, 0)
    assert await stranger.fetch(statements().own.new_runs, *([value] for value in values))


@pytest.mark.parametrize("request_id", ["ours", "theirs"])
@pytest.mark.parametrize("conflict", IdConflictPolicy)
async def test_a_start_that_meets_another_one_is_decided_by_its_policy(
    store: PostgresStore, stranger: Any, conflict: IdConflictPolicy, request_id: str
) -> None:
    await begin_to_start(stranger, "their run")

    starting = await held_up(store, start(request_id=request_id, conflict=conflict))
    await stranger.execute("COMMIT")

    outcome = await starting
    if request_id == "theirs" or conflict is IdConflictPolicy.USE_EXISTING:
        assert outcome == Committed(run_id="their run", existing=True)
    else:
        assert isinstance(outcome, Refused) and outcome.reason is Refusal.IN_USE
    assert [run.run_id for run in await store.list_runs(NAMESPACE)] == ["their run"]


async def test_a_start_that_meets_one_that_fails_begins(store: PostgresStore, stranger: Any) -> None:
    await begin_to_start(stranger, "their run")

    starting = await held_up(store, start(reuse=IdReusePolicy.REJECT_DUPLICATE))
    await stranger.execute("ROLLBACK")

    assert await starting == Committed(run_id=RUN)


async def test_many_who_start_the_same_workflow_start_one_run(postgres: str) -> None:
    """F56."""

    async def one(place: int) -> list[Outcome]:
        async with PostgresStore(postgres, Machine()) as store:
            answers = await asyncio.gather(
                *(either(store, start(run_id=f"run {place}.{number}")) for number in range(10))
            )
            return list(answers)

    outcomes = [outcome for some in await asyncio.gather(*(one(place) for place in range(5))) for outcome in some]

    begun = [outcome for outcome in outcomes if isinstance(outcome, Committed)]
    assert len(begun) == 1 and len(outcomes) == 50
    others = [outcome.run for outcome in outcomes if isinstance(outcome, Refused)]
    assert {None if run is None else run.run_id for run in others} == {begun[0].run_id}


# Claims that meet. ------------------------------------------------------------------------------------------------


async def test_claims_that_meet_share_the_work(postgres: str, host: ClockedHost, store: PostgresStore) -> None:
    await store.commit([start(f"order-{i}") for i in range(50)])
    run = await owned(store, workflow_id="tasks")
    await done(store, step(run, tasks=tuple(task(run.run_id, 5 + i) for i in range(50))))

    async with PostgresStore(postgres, host) as second:
        found = await asyncio.gather(
            *(by.claim(claim(name, max_runs=40, max_activities=40)) for by, name in ((store, "w1"), (second, "w2")))
        )
        rest = await store.claim(claim("w1"))

    runs = [run_id for each in (*found, rest) for run_id in taken(each)]
    assert set(runs) == {f"run of order-{i}" for i in range(50)}
    begun = [one.scheduled_event_id for each in (*found, rest) for one in each.activities]
    assert sorted(begun) == list(range(5, 55))


async def test_a_run_that_was_claimed_since_it_was_looked_at_stays_with_its_claimer(
    postgres: str, host: ClockedHost, store: PostgresStore
) -> None:
    await done(store, start())
    await done(store, start("other", tasks=(task("run of other", 5),)))
    async with PostgresStore(postgres, host) as second:

        async def claim_first(asked: Coroutine[Any, Any, Any]) -> Any:
            await second.claim(claim("w2"))
            return await asked

        await break_at(store, "WITH read_0.*UPDATE durable_runs AS r SET owner", claim_first)
        found = await store.claim(claim("w1"))

    assert (taken(found), found.activities) == ([], [])
    assert (await info(store, RUN)).owner == "w2"
    assert [(each.owner, each.attempt) for each in await store.tasks("run of other")] == [("w2", 1)]


# What is lost on the way. -----------------------------------------------------------------------------------------


def fail_to_write(store: PostgresStore, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """On every session."""
    db = store._db  # pyright: ignore[reportPrivateUsage]
    read = db.read

    async def fail(statement: str, *values: object) -> Any:
        if statement.startswith(WRITES):
            raise error
        return await read(statement, *values)

    monkeypatch.setattr(db, "read", fail)


@pytest.mark.parametrize("lose", [lose_the_answer, lose_the_question])
async def test_a_commit_that_breaks_before_its_end_is_made_on_another_session(store: PostgresStore, lose: Any) -> None:
    await break_at(store, WRITES, lose)

    assert await either(store, start()) == Committed(run_id=RUN)

    assert len(await store.history(RUN)) == 1


async def test_a_commit_that_breaks_on_a_new_session_too_writes_nothing(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_to_write(store, monkeypatch, ConnectionResetError("the line went dead"))

    with pytest.raises(StoreUnavailable, match=r"the line went dead.*look into|the line went dead.*does the server"):
        await store.commit([start()])

    assert await store.list_runs(NAMESPACE) == []


async def test_a_claim_whose_answer_is_lost_leaves_its_attempts_to_be_found(store: PostgresStore) -> None:
    await owned(store)
    await done(store, step(await info(store, RUN), tasks=(task(RUN, 5),)))
    await break_at(store, "COMMIT", lose_the_answer)

    with pytest.raises(UnknownOutcome):
        await store.claim(claim("w1"))

    assert [token.attempt for token in (await store.renew(worker("w1"))).attempts] == [1]


# A server that goes, and comes back otherwise. --------------------------------------------------------------------


async def test_sessions_that_the_server_ends_are_made_anew(
    store: PostgresStore, postgres: str, postgres_server: Server
) -> None:
    await done(store, start())
    end_sessions(postgres_server, postgres)

    await done(store, start("second"))
    assert (await store.renew(worker("w1"))).alive
    assert len(await store.list_runs(NAMESPACE)) == 2


# Time. ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hours", [-1, 1])
async def test_the_time_is_the_servers_whatever_the_clock_of_a_worker_shows(postgres: str, hours: int) -> None:
    """F8."""
    wrong, right = Machine(), Machine()
    wrong.adjust(wrong.now_us() + hours * 3600 * SECOND_US)

    async with PostgresStore(postgres, wrong) as first, PostgresStore(postgres, right) as second:
        assert abs(first.now_us() - second.now_us()) < SECOND_US
        await first.register(worker("w1"))
        await second.register(worker("w2"))
        for _ in range(3):
            renewals = await first.renew(worker("w1")), await second.renew(worker("w2"))
            assert [(each.alive, each.died) for each in renewals] == [(True, [])] * 2


async def test_a_clock_that_runs_away_is_set_again_at_the_next_renewal(postgres: str) -> None:
    machine = Machine()
    async with PostgresStore(postgres, machine) as store:
        await store.register(worker("w1"))
        before = store.now_us()
        machine.adjust(before + 3600 * SECOND_US)

        await store.renew(worker("w1"))

        assert store.now_us() - before < 60 * SECOND_US


# Death. -----------------------------------------------------------------------------------------------------------


async def renew_both(first: PostgresStore, second: PostgresStore, host: ClockedHost, seconds: float) -> list[str]:
    host.pass_time(seconds)
    await first.renew(worker("a"))
    return (await second.renew(worker("b"))).died


async def test_a_process_that_ends_is_dead_before_its_lease_is_over(postgres: str, host: ClockedHost) -> None:
    async with PostgresStore(postgres, host) as second:
        await second.register(worker("b"))
        first = await PostgresStore(postgres, host).__aenter__()
        await first.register(worker("a"))
        for _ in range(3):
            assert await renew_both(first, second, host, 1) == []

        await first.__aexit__()  # without a release: as when it is killed
        died: list[str] = []
        for _ in range(2):
            host.pass_time(1)
            died += (await second.renew(worker("b"))).died

        assert died == ["a"]


async def test_a_worker_that_connects_again_is_not_dead(
    postgres: str, host: ClockedHost, postgres_server: Server
) -> None:
    async with PostgresStore(postgres, host) as first, PostgresStore(postgres, host) as second:
        await first.register(worker("a"))
        await second.register(worker("b"))
        for _ in range(3):
            await renew_both(first, second, host, 1)
        host.pass_time(2)  # as long as a server takes to start again, and longer than who lives is quiet
        end_sessions(postgres_server, postgres)

        assert (await second.renew(worker("b"))).died == []
        assert (await first.renew(worker("a"))).alive
        for _ in range(5):
            assert await renew_both(first, second, host, 1) == []


async def test_a_worker_in_the_middle_of_a_commit_is_declared_dead_after_it(
    store: PostgresStore, host: ClockedHost, stranger: Any
) -> None:
    """And whoever would declare it lives on meanwhile."""
    await stranger.fetch(statements().lock.workers, ["w1"])
    for _ in range(3):
        host.pass_time(2)
        renewal = await store.renew(worker("w2"))
    assert renewal.alive and renewal.died == []
    await stranger.execute("ROLLBACK")

    host.pass_time(1)
    assert (await store.renew(worker("w2"))).died == ["w1"]


@pytest.mark.parametrize("prepared", [False, True], ids=["between statements", "with a statement prepared"])
async def test_a_process_that_is_stopped_in_a_commit_holds_others_up_for_a_while_only(
    store: PostgresStore, postgres: str, host: ClockedHost, monkeypatch: pytest.MonkeyPatch, prepared: bool
) -> None:
    module = "durable.history.stores.postgres_connection"
    if prepared:
        monkeypatch.setattr(f"{module}.LASTS_AT_MOST", "100ms")
    else:
        monkeypatch.setattr(f"{module}.BEGIN", BEGIN.replace(STALLED_AFTER, "100ms"))
    run = await owned(store)
    stopped, goes_on = asyncio.Event(), asyncio.Event()

    async def stop(asked: Coroutine[Any, Any, Any]) -> Any:
        if prepared:
            session: Any = store._db._raw  # pyright: ignore[reportPrivateUsage]
            await session.prepare("SELECT 1")
        stopped.set()
        await goes_on.wait()
        return await asked

    await break_at(store, WRITES, stop)
    late = asyncio.ensure_future(either(store, step(run)))
    await stopped.wait()

    async with PostgresStore(postgres, host) as other:
        assert await either(other, step(run)) == Committed(run_id=RUN)
    goes_on.set()
    outcome = await late

    assert isinstance(outcome, Refused) and outcome.reason is Refusal.FENCED


async def test_a_commit_for_a_worker_that_is_being_declared_dead_waits_for_the_verdict(
    store: PostgresStore, stranger: Any
) -> None:
    """A task that is handed to it after the declaration would be nobody's for ever."""
    run = await owned(store)
    await stranger.fetch(statements().lock.worker_to_end, ["w1"], None)

    stepping = await held_up(store, step(run))
    await stranger.execute("UPDATE durable_workers SET dead_us = 1 WHERE worker_id = 'w1'")
    await stranger.execute("COMMIT")

    outcome = await stepping
    assert isinstance(outcome, Refused) and outcome.reason is Refusal.FENCED


# Waking up. -------------------------------------------------------------------------------------------------------


async def heard(store: PostgresStore) -> None:
    while not store.changed():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


@pytest.fixture
async def pair(postgres: str, host: ClockedHost) -> AsyncIterator[tuple[PostgresStore, PostgresStore]]:
    """Two that have heard of each other, and of nothing since."""
    async with PostgresStore(postgres, host) as first:
        async with PostgresStore(postgres, host) as second:
            while not (first.watch.heard and second.watch.heard):  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            first.changed()
            second.changed()
            yield first, second


async def test_others_hear_of_commits(pair: tuple[PostgresStore, PostgresStore]) -> None:
    first, second = pair

    await done(first, start())

    await heard(second)


async def heard_more(store: PostgresStore, before: int) -> int:
    while store.watch.heard == before:  # noqa: ASYNC110
        await asyncio.sleep(0)
    return store.watch.heard


@pytest.mark.parametrize("pausing", [False, True])
async def test_others_hear_of_the_last_commit_of_who_goes(
    pair: tuple[PostgresStore, PostgresStore],
    postgres: str,
    host: ClockedHost,
    monkeypatch: pytest.MonkeyPatch,
    pausing: bool,
) -> None:
    """At once, and in the pause after they were told something else."""
    monkeypatch.setattr(postgres_watch, "LAST_WORD_WITHIN", 3600.0)
    _, other = pair
    count = other.watch.heard
    async with PostgresStore(postgres, host) as brief:
        count = await heard_more(other, count)
        if pausing:
            await done(brief, start("earlier"))
            count = await heard_more(other, count)

        await done(brief, start())

    await heard_more(other, count)
