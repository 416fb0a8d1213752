"""Locks and pools between workflows: one that lends things out, by signals, to whoever has asked first.

    python samples/resource_pool.py

makes pots in a studio with one wheel, which is a lock, and two kilns, which are a pool. Who waits, waits durably: no
process has to live meanwhile, and the lender begins a new run now and then, with all that it has lent and promised.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from durable import activity, workflow
from durable.client import Client, RPCError, RPCStatusCode
from durable.worker import Worker

TASK_QUEUE = "pottery"
TIMEOUT = timedelta(seconds=30)


@dataclass
class Stock:
    """What a lender hands on to its next run."""

    free: list[str]
    lent: dict[str, str] = field(default_factory=dict[str, str])
    """Thing by borrower."""
    waiting: list[str] = field(default_factory=list[str])


class Studio:
    """Effects of the workflows: signals to each other, and the work itself."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._at_the_wheel = 0
        self._both_kilns = asyncio.Barrier(2)  # gas is dear: they are lit together
        self.most_at_the_wheel = 0

    @activity.defn
    async def ask(self, lender: str, borrower: str) -> None:
        await self._client.get_workflow_handle_for(Lender.run, lender).signal(Lender.ask, borrower)

    @activity.defn
    async def give_back(self, lender: str, borrower: str) -> None:
        await self._client.get_workflow_handle_for(Lender.run, lender).signal(Lender.give_back, borrower)

    @activity.defn
    async def lend(self, borrower: str, thing: str) -> bool:
        """False: the borrower has ended, and will never give anything back."""
        try:
            await self._client.get_workflow_handle(borrower).signal("take", thing)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return False
            raise
        return True

    @activity.defn
    async def throw(self, pot: str) -> None:
        self._at_the_wheel += 1
        self.most_at_the_wheel = max(self.most_at_the_wheel, self._at_the_wheel)
        await asyncio.sleep(0.01)
        self._at_the_wheel -= 1

    @activity.defn
    async def fire(self, pot: str) -> None:
        await self._both_kilns.wait()


@workflow.defn
class Lender:
    @workflow.init
    def __init__(self, stock: Stock) -> None:
        self._stock = stock
        self._closed = False

    @workflow.run
    async def run(self, stock: Stock) -> None:
        for _ in range(3):  # a small number, so that this sample has more than one run
            await workflow.wait_condition(lambda: self._closed or bool(self._stock.free and self._stock.waiting))
            if self._closed:
                return
            borrower, thing = self._stock.waiting.pop(0), self._stock.free.pop(0)
            self._stock.lent[borrower] = thing
            if not await workflow.execute_activity(Studio.lend, args=[borrower, thing], start_to_close_timeout=TIMEOUT):
                self.give_back(borrower)
        workflow.continue_as_new(self._stock)

    @workflow.signal
    def ask(self, borrower: str) -> None:
        """The activity that asks may have been attempted twice: who has asked already has asked."""
        if borrower not in self._stock.lent and borrower not in self._stock.waiting:
            self._stock.waiting.append(borrower)

    @workflow.signal
    def give_back(self, borrower: str) -> None:
        """Also for who does not want to wait any longer."""
        if borrower in self._stock.waiting:
            self._stock.waiting.remove(borrower)
        if borrower in self._stock.lent:
            self._stock.free.append(self._stock.lent.pop(borrower))

    @workflow.signal
    def close(self) -> None:
        self._closed = True


@workflow.defn
class MakePot:
    def __init__(self) -> None:
        self._taken: list[str] = []

    @workflow.run
    async def run(self, wheel: str, kilns: str) -> str:
        pot = workflow.info().workflow_id
        async with self.borrowed(wheel):
            await workflow.execute_activity(Studio.throw, pot, start_to_close_timeout=TIMEOUT)
        async with self.borrowed(kilns) as kiln:
            await workflow.execute_activity(Studio.fire, pot, start_to_close_timeout=TIMEOUT)
        return kiln

    @workflow.signal
    def take(self, thing: str) -> None:
        self._taken.append(thing)

    @asynccontextmanager
    async def borrowed(self, lender: str) -> AsyncIterator[str]:
        """One of the lender's things, as soon as it is this workflow's turn; it goes back at the end, come what may."""
        me = [lender, workflow.info().workflow_id]
        try:
            await workflow.execute_activity(Studio.ask, args=me, start_to_close_timeout=TIMEOUT)
            await workflow.wait_condition(lambda: bool(self._taken))
            yield self._taken.pop()
        finally:
            await workflow.execute_activity(Studio.give_back, args=me, start_to_close_timeout=TIMEOUT)


async def main() -> None:
    batch = uuid.uuid4().hex[:8]
    wheel, kilns = f"wheel-{batch}", f"kilns-{batch}"
    async with await Client.connect() as client:
        studio = Studio(client)
        async with Worker(
            client,
            task_queue=TASK_QUEUE,
            workflows=[Lender, MakePot],
            activities=[studio.ask, studio.give_back, studio.lend, studio.throw, studio.fire],
        ):
            lenders = [
                await client.start_workflow(Lender.run, Stock(free=things), id=lender, task_queue=TASK_QUEUE)
                for lender, things in ((wheel, ["the wheel"]), (kilns, ["the red kiln", "the blue kiln"]))
            ]
            pots = [
                await client.start_workflow(
                    MakePot.run, args=[wheel, kilns], id=f"pot-{batch}-{number}", task_queue=TASK_QUEUE
                )
                for number in range(6)
            ]
            fired = await asyncio.gather(*[pot.result() for pot in pots])
            for kiln in sorted(set(fired)):
                print(f"{fired.count(kiln)} pots from {kiln}")
            print(f"{studio.most_at_the_wheel} at the wheel at once")
            for lender in lenders:
                await lender.signal(Lender.close)
                await lender.result()


if __name__ == "__main__":
    asyncio.run(main())
