"""Group commit: what gathers, what waits for the next commit, and what everybody is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from durable.history.committer import Committer
from durable.history.errors import StoreUnavailable, UnknownOutcome
from durable.history.stores import open_store
from durable.history.stores.sqlite import SqliteStore
from durable.history.transition import Committed, Outcome, Refusal, Refused, Write
from tests.history.worlds import (
    BEGINNING_US,
    ClockedHost,
    events,
    info,
    owned,
    send,
    signal,
    start,
    step,
    terminate,
    worker,
)


class GatedStore:
    """A real store whose commits wait until the test lets them pass, and fail when the test says so."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.gate = asyncio.Event()
        self.gate.set()
        self.begun = asyncio.Semaphore(0)
        self.batches: list[list[Write]] = []
        self.failure: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    async def commit(self, writes: Sequence[Write]) -> list[Outcome]:
        self.batches.append(list(writes))
        self.begun.release()
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return await self.store.commit(writes)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[GatedStore]:
    async with open_store(f"sqlite:///{tmp_path}/durable.db", ClockedHost()) as opened:
        assert isinstance(opened, SqliteStore)
        await opened.register(worker("w1"))
        yield GatedStore(opened)


@pytest.fixture
async def committer(store: GatedStore) -> AsyncIterator[Committer]:
    async with Committer(store) as opened:
        yield opened


class HeldUpStore:
    """A store that answers with the futures that it is given."""

    def __init__(self, *answers: Outcome | asyncio.Future[Outcome]) -> None:
        self._answers = list(answers)

    async def commit(self, writes: Sequence[Write]) -> list[Outcome | asyncio.Future[Outcome]]:
        return [self._answers.pop(0) for _ in writes]


async def test_a_write_that_is_held_up_delays_no_other() -> None:
    held_up: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    async with Committer(HeldUpStore(held_up, Committed(run_id="b"), Committed(run_id="c"))) as committer:  # type: ignore[arg-type]
        first = asyncio.create_task(committer.write(start("a")))
        await asyncio.sleep(0)

        assert await committer.write(start("b")) == Committed(run_id="b")
        assert await committer.write(start("c")) == Committed(run_id="c")
        assert not first.done() and not committer.is_idle
        held_up.set_result(Committed(run_id="a"))

        assert await first == Committed(run_id="a") and committer.is_idle


async def test_what_comes_of_a_write_that_was_held_up_is_told() -> None:
    futures: list[asyncio.Future[Outcome]] = [asyncio.get_running_loop().create_future() for _ in range(2)]
    async with Committer(HeldUpStore(*futures)) as committer:  # type: ignore[arg-type]
        writing = [asyncio.create_task(committer.write(start(name))) for name in ("a", "b")]
        futures[0].set_exception(StoreUnavailable("locked"))
        futures[1].cancel()
        told = await asyncio.gather(*writing, return_exceptions=True)

    assert [type(each) for each in told] == [StoreUnavailable, UnknownOutcome]


async def test_closing_waits_for_what_is_held_up() -> None:
    held_up: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    committer = await Committer(HeldUpStore(held_up)).__aenter__()  # type: ignore[arg-type]
    told: list[Outcome | Exception] = []
    committer.submit(start("a"), told.append)

    closing = asyncio.create_task(committer.__aexit__(None, None, None))
    asyncio.get_running_loop().call_soon(lambda: held_up.set_result(Committed(run_id="a")))
    await closing

    assert told == [Committed(run_id="a")]


async def test_a_write_is_committed_at_once_when_nothing_is_under_way(store: GatedStore, committer: Committer) -> None:
    assert await committer.write(start()) == Committed(run_id="run of order-7")
    assert [len(batch) for batch in store.batches] == [1]


async def test_what_is_submitted_during_a_commit_goes_into_the_next(store: GatedStore, committer: Committer) -> None:
    store.gate.clear()
    writes = [asyncio.create_task(committer.write(start("first")))]
    await store.begun.acquire()

    writes += [asyncio.create_task(committer.write(start(f"order-{i}"))) for i in range(50)]
    await asyncio.sleep(0)
    store.gate.set()

    assert all(isinstance(answer, Committed) for answer in await asyncio.gather(*writes))
    assert [len(batch) for batch in store.batches] == [1, 50]
    assert store.store.counters.commits == 2


async def test_everybody_is_told_the_outcome_of_their_own_write(store: GatedStore, committer: Committer) -> None:
    message = signal("a", BEGINNING_US)

    answers = await asyncio.gather(
        committer.write(start()), committer.write(send(message, "nowhere")), committer.write(start("other"))
    )

    refused = answers[1]
    assert isinstance(refused, Refused) and refused.reason is Refusal.NOT_FOUND
    assert [answers[0], answers[2]] == [Committed(run_id="run of order-7"), Committed(run_id="run of other")]


async def test_two_transitions_of_a_run_go_into_two_commits_in_order(store: GatedStore, committer: Committer) -> None:
    run = await owned(store.store)
    second = step(run, last_event_id=2, events=events(3))

    answers = await asyncio.gather(
        committer.write(step(run)),
        committer.write(second),
        committer.write(step(run)),
        committer.write(send(signal("a", BEGINNING_US))),
    )

    assert [len(batch) for batch in store.batches] == [2, 1, 1]
    assert [isinstance(answer, Committed) for answer in answers] == [True, True, False, True]
    assert isinstance(answers[2], Refused) and answers[2].reason is Refusal.FENCED
    assert (await info(store.store, run.run_id)).last_event_id == 3


async def test_two_starts_of_a_workflow_id_go_into_two_commits(store: GatedStore, committer: Committer) -> None:
    answers = await asyncio.gather(*(committer.write(start(run_id=f"run-{i}")) for i in range(3)))

    assert answers[0] == Committed(run_id="run-0")
    assert [answer.reason for answer in answers[1:] if isinstance(answer, Refused)] == [Refusal.IN_USE] * 2
    assert [len(batch) for batch in store.batches] == [1, 1, 1]


async def test_a_run_to_be_replaced_is_not_stepped_in_the_same_commit(store: GatedStore, committer: Committer) -> None:
    run = await owned(store.store)

    await asyncio.gather(committer.write(step(run)), committer.write(start(run_id="second", replaces=terminate(run))))

    assert [len(batch) for batch in store.batches] == [1, 1]


async def test_a_batch_has_a_limit(store: GatedStore) -> None:
    async with Committer(store, batch_max=10) as committer:
        await asyncio.gather(*(committer.write(start(f"order-{i}")) for i in range(25)))

    assert [len(batch) for batch in store.batches] == [10, 10, 5]


@pytest.mark.parametrize("failure", [UnknownOutcome("lost"), StoreUnavailable("disk full")])
async def test_when_a_commit_fails_everybody_in_it_is_told_and_the_next_goes_on(
    store: GatedStore, committer: Committer, failure: Exception
) -> None:
    store.failure = failure

    answers = await asyncio.gather(*(committer.write(start(f"order-{i}")) for i in range(3)), return_exceptions=True)

    assert answers == [failure] * 3
    store.failure = None
    assert isinstance(await committer.write(start()), Committed)


async def test_whoever_is_told_may_submit_the_next_write(committer: Committer) -> None:
    ended: asyncio.Future[Outcome | Exception] = asyncio.get_running_loop().create_future()

    committer.submit(start("a"), lambda _: committer.submit(start("b"), ended.set_result))

    assert await ended == Committed(run_id="run of b")


async def test_an_error_in_being_told_harms_nobody_else(committer: Committer) -> None:
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))

    def fail(_: Outcome | Exception) -> None:
        raise LookupError("oops")

    committer.submit(start("a"), fail)

    assert isinstance(await committer.write(start("b")), Committed)
    assert [str(context["exception"]) for context in reported] == ["oops"]


async def test_a_write_nobody_waits_for_any_more_is_still_written(store: GatedStore, committer: Committer) -> None:
    store.gate.clear()
    write = asyncio.create_task(committer.write(start()))
    await store.begun.acquire()

    write.cancel()
    await asyncio.wait([write])
    store.gate.set()
    await committer.write(start("other"))

    assert write.cancelled() and await store.store.find("default", "order-7") is not None


async def test_closing_commits_what_waits(store: GatedStore) -> None:
    told: list[Outcome | Exception] = []

    async with Committer(store) as committer:
        store.gate.clear()
        committer.submit(start("a"), told.append)
        await store.begun.acquire()
        committer.submit(start("b"), told.append)
        store.gate.set()

    assert told == [Committed(run_id="run of a"), Committed(run_id="run of b")]


async def test_a_closed_committer_takes_nothing(store: GatedStore) -> None:
    async with Committer(store) as committer:
        pass

    with pytest.raises(RuntimeError, match="closed"):
        committer.submit(start(), print)
    with pytest.raises(RuntimeError, match="closed"):
        await committer.write(start())
