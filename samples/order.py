"""Order processing with compensation: what a refused or cancelled order has done so far is undone, last step first.

    python samples/order.py

runs three orders: one is shipped, one is refused by the carrier, one is cancelled while it is being packed.
"""

import asyncio
import os
import random
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import shop
from durable import Client, RetryPolicy, Worker, activity, workflow
from durable.client import WorkflowFailureError, WorkflowHandle
from durable.exceptions import ApplicationError

COUNTRIES = ("Denmark", "France", "Ghana", "Japan", "Peru", "Samoa")  # where the carrier goes
FAILURE_RATE = float(os.environ.get("ORDER_FAILURE_RATE", "0"))  # how many attempts fail: 0 to 1


@dataclass(frozen=True)
class Order:
    item: str
    units: int
    cents: int
    country: str
    packing_seconds: float = 1.0


# -- activities: each books its step in the shop's own database, once, however often it is attempted

step = activity.defn(
    start_to_close_timeout=timedelta(seconds=30),
    retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=50), maximum_interval=timedelta(seconds=1)),
)


@step
async def reserve(order: Order) -> None:
    await in_the_books(shop.book, units=order.units)


@step
async def charge(order: Order) -> None:
    await in_the_books(shop.book, cents=order.cents)


@step
async def ship(order: Order) -> str:
    if order.country not in COUNTRIES:
        raise ApplicationError(f"nobody ships to {order.country}", type="ShipmentRefused", non_retryable=True)
    await in_the_books(shop.book, units=-order.units, cents=-order.cents)
    return f"{order.units} × {order.item} on the way to {order.country}"


@step
async def refund(order: Order) -> None:
    await in_the_books(shop.undo, undoes="charge")


@step
async def release(order: Order) -> None:
    await in_the_books(shop.undo, undoes="reserve")


async def in_the_books(write: Callable[..., None], **what: Any) -> None:
    """Write under the key (workflow id, step), over a line that fails now and then: before the effect, or after it."""
    me = activity.info()
    luck = random.random()
    if luck < FAILURE_RATE / 2:
        raise ConnectionError("the shop can't be reached")
    reply_lost = luck < FAILURE_RATE
    await asyncio.to_thread(write, me.workflow_id, me.activity_type, me.attempt, reply_lost=reply_lost, **what)
    if reply_lost:
        raise ConnectionError("the shop's reply was lost")


# -- the workflow


@workflow.defn
class ProcessOrder:
    def __init__(self) -> None:
        self._status = "new"

    @workflow.run
    async def run(self, order: Order) -> str:
        async with workflow.saga() as saga:
            # The inverse is registered before the step: one that fails or is cancelled may have happened all the same.
            self._status = "reserving"
            saga.compensate_with(release, order)
            await reserve(order)
            self._status = "charging"
            saga.compensate_with(refund, order)
            await charge(order)
            self._status = "packing"
            await workflow.sleep(order.packing_seconds)
            self._status = "shipping"
            shipment = await ship(order)
        self._status = "shipped"
        return shipment

    @workflow.query
    def status(self) -> str:
        """What the order is doing, or was doing when it came to its end."""
        return self._status


WORKFLOWS = [ProcessOrder]
ACTIVITIES = [reserve, charge, ship, refund, release]


async def main() -> None:
    async with await Client.connect() as client, Worker(client, workflows=WORKFLOWS, activities=ACTIVITIES):
        tea = Order(item="tea", units=3, cents=1200, country="Japan")
        batch = uuid.uuid4().hex[:8]

        def start(name: str, order: Order) -> Awaitable[WorkflowHandle[ProcessOrder, str]]:
            return client.start_workflow(ProcessOrder.run, order, id=f"order-{batch}-{name}")

        slow = await start("cancelled", replace(tea, packing_seconds=3600))
        refused = await start("refused", replace(tea, country="Atlantis"))
        shipped = await start("shipped", tea)
        await shipped.result()
        await slow.cancel(reason="the customer has changed their mind")
        for handle in (shipped, refused, slow):
            await show(handle)


async def show(handle: WorkflowHandle[ProcessOrder, str]) -> None:
    """How an order ended, and what it has left in the ledger."""
    try:
        end = await handle.result()
    except WorkflowFailureError as error:
        end = f"{error.cause.__cause__ or error.cause}, while {await handle.query(ProcessOrder.status)}"
    print(f"{handle.id}: {end}")
    with shop.transaction() as books:
        steps = "SELECT step, units, cents FROM ledger WHERE order_id = ? ORDER BY rowid"
        for row in books.execute(steps, (handle.id,)):
            print("    {:8} {:+3} units {:+6} cents".format(*row))


if __name__ == "__main__":
    asyncio.run(main())
