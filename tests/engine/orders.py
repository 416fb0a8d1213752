"""The order workflow of the kill tests, and the processes that run it: each may be told when to kill itself."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from durable import Client, RetryPolicy, Worker, activity, workflow
from durable.client import WorkflowFailureError
from durable.exceptions import ApplicationError
from durable.history.transition import Claim, Claimed, Outcome, Refused, Renewal, WorkerInfo, Write

LEASE = timedelta(seconds=0.3)
SOON = RetryPolicy(initial_interval=timedelta(milliseconds=5), backoff_coefficient=1.0)
ONCE = RetryPolicy(maximum_attempts=1)


def business(folder: Path) -> sqlite3.Connection:
    """The database of the activities, apart from the engine's."""
    db = sqlite3.connect(folder / "business.db", timeout=30, isolation_level=None)
    db.execute("CREATE TABLE IF NOT EXISTS effects (what TEXT, item TEXT, pid INTEGER)")
    return db


def effect(what: str, item: str) -> None:
    with closing(business(Path(os.environ["ORDERS_FOLDER"]))) as db:
        db.execute("INSERT INTO effects VALUES (?, ?, ?)", (what, item, os.getpid()))


@activity.defn(retry_policy=SOON)
async def reserve(item: str) -> str:
    effect("reserve", item)
    return f"reserved {item}"


@activity.defn(retry_policy=SOON)
async def charge(item: str) -> str:
    if activity.info().attempt == 1:
        raise ConnectionError("the bank is asleep")
    effect("charge", item)
    return f"charged {item}"


@activity.defn(retry_policy=SOON)
def ship(item: str) -> str:
    if item == "refused":
        raise ApplicationError("no such address", non_retryable=True)
    effect("ship", item)
    return f"shipped {item}"


@activity.defn(retry_policy=SOON)
async def refund(item: str) -> None:
    effect("refund", item)


@activity.defn(retry_policy=SOON)
async def release(item: str) -> None:
    effect("release", item)


@workflow.defn
async def order(item: str) -> list[str]:
    async with workflow.saga() as saga:
        done = [await reserve(item)]
        saga.compensate_with(release, item)
        charged, _ = await asyncio.gather(charge(item), workflow.sleep(0.02))
        saga.compensate_with(refund, item)
        done += [charged, await ship(item)]  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    return done


@activity.defn(retry_policy=SOON)
async def gate(item: str) -> int:
    """Waits until the test opens it; tells which process it was in."""
    effect("at the gate", item)
    opened = Path(os.environ["ORDERS_FOLDER"]) / "open"
    while not opened.exists():  # noqa: ASYNC110 (another process opens it)
        await asyncio.sleep(0.01)
    return os.getpid()


@activity.defn(retry_policy=ONCE)
async def fragile(item: str) -> None:
    effect("fragile", item)
    os.kill(os.getpid(), signal.SIGKILL)


@workflow.defn
class Gated:
    def __init__(self) -> None:
        self.told: list[str] = []

    @workflow.run
    async def run(self, item: str, signals: int) -> list[Any]:
        passed = await gate(item)
        await workflow.wait_condition(lambda: len(self.told) >= signals)
        return [passed, *self.told]

    @workflow.signal
    def tell(self, text: str) -> None:
        self.told.append(text)


@workflow.defn
async def once() -> None:
    await fragile("vase")


WORKFLOWS: Sequence[Any] = (order, Gated, once)
ACTIVITIES: Sequence[Any] = (reserve, charge, ship, refund, release, gate, fragile)


@dataclass(frozen=True)
class Death:
    """Kill the process right ``before`` or right after its ``number``-th boundary; 0 is never."""

    number: int = 0
    before: bool = False


class Boundaries:
    """The moments at which what is durable changes: commits, and claims that took something."""

    def __init__(self, client: Client, death: Death) -> None:
        self.passed = 0
        self._death = death
        store: Any = client.database.store
        self._commit, self._claim = store.commit, store.claim
        store.commit, store.claim = self.commit, self.claim

    async def commit(self, writes: Sequence[Write]) -> list[Outcome]:
        if self._death.before:
            self._pass()
        outcomes: list[Outcome] = await self._commit(writes)
        if not self._death.before:
            self._pass()
        return outcomes

    async def claim(self, claim: Claim) -> Claimed:
        claimed: Claimed = await self._claim(claim)
        if not self._death.before and (claimed.activities or claimed.runs):
            self._pass()
        return claimed

    def _pass(self) -> None:
        self.passed += 1
        if self.passed == self._death.number:
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Scene:
    """Where it happens: the engine's database, and a folder for what the processes do and tell."""

    address: str
    folder: Path


async def run_order(scene: Scene, item: str, death: Death) -> None:
    """Start the order (once, however often this is called), and work until it is over; then note how many
    boundaries there were."""
    async with await Client.connect(scene.address) as client:
        boundaries = Boundaries(client, death)
        async with Worker(client, workflows=WORKFLOWS, activities=ACTIVITIES, lease=LEASE):
            handle = await client.start_workflow(order, item, id="order", request_id="the-order")
            try:
                await handle.result()
            except WorkflowFailureError:
                pass
        (scene.folder / "passed").write_text(str(boundaries.passed))


async def serve(scene: Scene) -> None:
    """Work until killed, or until the tests are gone.

    While the folder has a file ``deaf`` in it, the worker neither renews its lease nor asks for work, so that it goes
    on for a while when it wakes up dead; each write of its that is refused leaves a line in ``refused``.
    """
    folder = scene.folder
    async with await Client.connect(scene.address) as client:
        store: Any = client.database.store
        commit, claim, renew = store.commit, store.claim, store.renew

        async def commit_and_tell(writes: Sequence[Write]) -> list[Outcome]:
            outcomes: list[Outcome] = await commit(writes)
            with (folder / "refused").open("a") as told:
                told.writelines(f"{each.reason.name}\n" for each in outcomes if isinstance(each, Refused))
            return outcomes

        async def hear() -> None:
            while (folder / "deaf").exists():  # noqa: ASYNC110 (another process makes it)
                await asyncio.sleep(0.01)

        async def renew_unless_deaf(worker: WorkerInfo) -> Renewal:
            await hear()
            renewal: Renewal = await renew(worker)
            return renewal

        async def claim_unless_deaf(wanted: Claim) -> Claimed:
            await hear()
            claimed: Claimed = await claim(wanted)
            return claimed

        store.commit, store.claim, store.renew = commit_and_tell, claim_unless_deaf, renew_unless_deaf
        async with Worker(client, workflows=WORKFLOWS, activities=ACTIVITIES, lease=LEASE):
            tests = multiprocessing.parent_process()
            assert tests is not None
            await asyncio.to_thread(tests.join)


def process(scene: Scene, item: str | None, death: Death) -> None:
    """The main function of a worker process; without an item it serves until it is killed."""
    logging.disable(logging.CRITICAL)
    os.environ["ORDERS_FOLDER"] = str(scene.folder)
    asyncio.run(serve(scene) if item is None else run_order(scene, item, death))
