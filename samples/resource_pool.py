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
from durable.client import Client
from durable.exceptions import ApplicationError
from durable.worker import Worker

TASK_QUEUE = "pottery"


@dataclass(frozen=True)
class Request:
    loan: str
    borrower: str


@dataclass
class Stock:
    """What a lender hands on to its next run."""

    free: list[str]
    lent: dict[str, str] = field(default_factory=dict[str, str])
    """Thing by loan."""
    waiting: list[Request] = field(default_factory=list[Request])


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
            request, thing = self._stock.waiting.pop(0), self._stock.free.pop(0)
            self._stock.lent[request.loan] = thing
            try:
                borrower = workflow.get_external_workflow_handle(request.borrower)
                await borrower.signal(MakePot.take, args=[request.loan, thing])
            except ApplicationError:  # it has ended, and will never give anything back
                self.give_back(request.loan)
        workflow.continue_as_new(self._stock)

    @workflow.signal
    def ask(self, request: Request) -> None:
        self._stock.waiting.append(request)

    @workflow.signal
    def give_back(self, loan: str) -> None:
        """Also for who does not want to wait any longer."""
        self._stock.waiting = [request for request in self._stock.waiting if request.loan != loan]
        if loan in self._stock.lent:
            self._stock.free.append(self._stock.lent.pop(loan))

    @workflow.signal
    def close(self) -> None:
        self._closed = True


@workflow.defn
class MakePot:
    def __init__(self) -> None:
        self._taken: dict[str, str] = {}
        self._loans = 0

    @workflow.run
    async def run(self, wheel: str, kilns: str) -> str:
        pot = workflow.info().workflow_id
        async with self.borrowed(wheel):
            await workflow.execute_activity_method(Studio.throw, pot, start_to_close_timeout=timedelta(minutes=1))
        async with self.borrowed(kilns) as kiln:
            await workflow.execute_activity_method(Studio.fire, pot, start_to_close_timeout=timedelta(minutes=1))
        return kiln

    @workflow.signal
    def take(self, loan: str, thing: str) -> None:
        self._taken[loan] = thing

    @asynccontextmanager
    async def borrowed(self, lender_id: str) -> AsyncIterator[str]:
        """One of the lender's things, as soon as it is this workflow's turn; it goes back at the end, come what may."""
        lender = workflow.get_external_workflow_handle_for(Lender.run, lender_id)
        self._loans += 1
        loan = f"{workflow.info().workflow_id} #{self._loans}"
        await lender.signal(Lender.ask, Request(loan, workflow.info().workflow_id))
        try:
            await workflow.wait_condition(lambda: loan in self._taken)
            yield self._taken[loan]
        finally:
            await lender.signal(Lender.give_back, loan)


class Studio:
    def __init__(self) -> None:
        self._at_the_wheel = 0
        self._both_kilns = asyncio.Barrier(2)  # gas is dear: they are lit together
        self.most_at_the_wheel = 0

    @activity.defn
    async def throw(self, pot: str) -> None:
        self._at_the_wheel += 1
        self.most_at_the_wheel = max(self.most_at_the_wheel, self._at_the_wheel)
        await asyncio.sleep(0.01)
        self._at_the_wheel -= 1

    @activity.defn
    async def fire(self, pot: str) -> None:
        await self._both_kilns.wait()


async def main() -> None:
    studio, batch = Studio(), uuid.uuid4().hex[:8]
    wheel, kilns = f"wheel-{batch}", f"kilns-{batch}"
    async with await Client.connect() as client:
        async with Worker(
            client, task_queue=TASK_QUEUE, workflows=[Lender, MakePot], activities=[studio.throw, studio.fire]
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
