"""Money moved by transactional activities while workers are killed: its sum is the same whenever it is read."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from durable import Client
from tests.chaos.places import Place
from tests.faults.transfers import spawn
from transfer import Transfer, balances, open_bank, transfer

SUM = "SELECT (SELECT sum(cents) FROM accounts) + (SELECT coalesce(sum(cents), 0) FROM transit)"
OPENING = {"ada": 50_000, "ben": 20_000, "cleo": 0, "dan": 1_000}


async def test_money_is_neither_made_nor_lost_while_workers_are_killed(client: Client, place: Place) -> None:
    await move_money(client, place, transfers=20, workers=2, kills=3, risk=0.08)


@pytest.mark.all
@pytest.mark.timeout(600)
async def test_money_is_neither_made_nor_lost_while_many_workers_are_killed(client: Client, place: Place) -> None:
    await move_money(client, place, transfers=600, workers=3, kills=120, risk=0.04)


async def move_money(client: Client, place: Place, *, transfers: int, workers: int, kills: int, risk: float) -> None:
    chance = random.Random(7)
    orders = [order(chance) for _ in range(transfers)]
    try:
        await open_bank(client, **OPENING)
        async with reader(place) as sums, killed_workers(place.address, workers, kills, risk) as killed:
            handles = [
                await client.start_workflow(transfer, each, id=f"transfer-{number}")
                for number, each in enumerate(orders)
            ]
            results = await asyncio.gather(*(handle.result() for handle in handles))
            while killed[-signal.SIGKILL] < kills:  # those who came late get something to do
                order_ = order(chance)
                orders.append(order_)
                results.append(await client.execute_workflow(transfer, order_, id=f"transfer-{len(orders)}"))

        kinds = Counter(map(kind, results))
        print(f"\n{len(orders)} transfers ({dict(kinds)}), {dict(killed)} ends of workers, {sums.total()} reads")
        assert set(sums) == {sum(OPENING.values())}
        assert await place.ask("SELECT * FROM transit") == []
        assert await balances(client) == expected(orders, results)
        assert set(kinds) == {"moved", "went back", "nothing"}
    finally:
        for table in ("transit", "accounts"):  # the database is lent
            await place.ask(f"DROP TABLE {table}")


def order(chance: random.Random) -> Transfer:
    """Some to nobody, some by nobody, some of more than anybody has."""
    source, target = chance.sample([*OPENING, "zoe"], 2)
    return Transfer(source, target, chance.choice([1, 250, 999, 1_000_000]))


def kind(result: str) -> str:
    return "nothing" if result.startswith("nothing") else "went back" if "went back" in result else "moved"


def expected(orders: list[Transfer], results: list[str]) -> dict[str, int]:
    accounts = dict(OPENING)
    for each, result in zip(orders, results, strict=True):
        if kind(result) == "moved":
            accounts[each.source] -= each.cents
            accounts[each.target] += each.cents
    return accounts


@asynccontextmanager
async def reader(place: Place) -> AsyncIterator[Counter[int]]:
    """Reads all the while what all money sums up to; how often it was what."""
    sums: Counter[int] = Counter()

    async def read() -> None:
        while True:
            sums[int((await place.ask(SUM))[0][0])] += 1
            await asyncio.sleep(0.002)

    reading = asyncio.create_task(read())
    try:
        yield sums
    finally:
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading


@asynccontextmanager
async def killed_workers(address: str, workers: int, kills: int, risk: float) -> AsyncIterator[Counter[int]]:
    """So many processes at a time, of which so many are killed, each followed by another one; how they have ended."""
    ends: Counter[int] = Counter()
    alive = set()

    async def keep(place: int) -> None:
        number = 0
        while True:
            number += 1
            child = spawn(address, f"{place}-{number}", risk if ends[-signal.SIGKILL] < kills else 0.0)
            alive.add(child)
            await asyncio.to_thread(child.join)
            alive.discard(child)
            ends[child.exitcode or 0] += 1

    keeping = [asyncio.create_task(keep(place)) for place in range(workers)]
    try:
        yield ends
    finally:
        for task in keeping:
            task.cancel()
        for child in alive:
            child.kill()
            child.join()
        await asyncio.wait(keeping)
