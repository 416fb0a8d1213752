"""What a claim leaves to the other workers, as `durable.history.store` promises; every store has to keep it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from durable.history.store import Store
from durable.history.stores import open_store
from durable.history.stores.choice import Choice
from tests.history.worlds import BEGINNING_US, ClockedHost, claim, due, owned, start, store_url, taken, task, worker

WORKERS = ("w1", "w2", "w3")
ALL = [f"run of order-{number}" for number in range(9)]
LATER_US = BEGINNING_US + 1


@pytest.fixture(params=["sqlite-file", "postgres"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    async with open_store(store_url(request), ClockedHost()) as opened:
        for name in WORKERS:
            await opened.register(worker(name))
        yield opened


async def begin(store: Store, count: int = len(ALL)) -> None:
    """So many runs that nobody has, each with a message due."""
    await store.commit([start(f"order-{number}") for number in range(count)])


def parts(found: list[str], workers: tuple[str, ...] = WORKERS) -> list[list[str]]:
    """What each would take, all looking at the same time."""
    choices = [
        Choice(claim(name, shares_since_us=0), now_us=BEGINNING_US, alive={*workers}, steal_after_us=0)
        for name in workers
    ]
    return [choice.part_of(found, lambda _: BEGINNING_US) for choice in choices]


def test_workers_that_look_at_the_same_time_take_all_of_it_and_nothing_twice() -> None:
    assert parts(ALL) == [ALL[0::3], ALL[1::3], ALL[2::3]]


@pytest.mark.parametrize("count", range(1, 12))
def test_whoever_looks_first_takes_something_and_all_together_take_everything(count: int) -> None:
    found = [str(number) for number in range(count)]

    each = parts(found, tuple("abcde"))

    assert all(each)
    assert {one for part in each for one in part} == {*found}


async def test_a_claim_that_does_not_share_takes_all(store: Store) -> None:
    await begin(store)

    found = await store.claim(claim())

    assert taken(found) == ALL and not found.left


async def test_of_new_runs_a_worker_takes_one_in_so_many_and_says_that_it_left_some(store: Store) -> None:
    await begin(store)

    found = await store.claim(claim("w2", shares_since_us=BEGINNING_US))

    assert taken(found) == ALL[1::3]
    assert found.left and not found.more


async def test_what_the_others_have_not_come_for_is_taken_whole(store: Store) -> None:
    await begin(store)

    found = await store.claim(claim("w2", shares_since_us=LATER_US))

    assert taken(found) == ALL and not found.left


async def test_a_single_new_run_is_left_to_nobody(store: Store) -> None:
    await begin(store, 1)

    found = await store.claim(claim("w3", shares_since_us=0))

    assert taken(found) == ALL[:1] and not found.left


async def test_a_workers_own_runs_are_not_shared(store: Store) -> None:
    for number in range(4):
        await owned(store, workflow_id=f"order-{number}", messages=(due(BEGINNING_US),))

    found = await store.claim(claim(shares_since_us=0))

    assert taken(found) == ALL[:4] and not found.left


async def test_activity_tasks_are_shared_likewise(store: Store) -> None:
    run = await owned(store, tasks=tuple(task("run of order-7", event_id) for event_id in range(2, 11)))

    first = await store.claim(claim("w1", shares_since_us=0))
    rest = await store.claim(claim("w2", shares_since_us=LATER_US))

    assert [each.scheduled_event_id for each in first.activities] == [2, 5, 8] and first.left
    assert [each.scheduled_event_id for each in rest.activities] == [3, 4, 6, 7, 9, 10] and not rest.left
    assert run.owner == "w1"
