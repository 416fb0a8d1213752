"""Update-with-start: the first click makes the cart, every other one finds it, and no click knows which it is.

    python samples/shopping_cart.py

lets Ada buy something, and Ben forget what he has put into his cart.
"""

import asyncio
import uuid
from dataclasses import dataclass
from datetime import timedelta

from durable import activity, workflow
from durable.client import Client, WithStartWorkflowOperation
from durable.common import WorkflowIDConflictPolicy
from durable.worker import Worker

TASK_QUEUE = "carts"
PRICES = {"apple": 40, "tea": 320}


@dataclass(frozen=True)
class Customer:
    name: str
    patience_seconds: float = 24 * 3600
    """How long a cart stands there before its owner is reminded of it; after as long again it is emptied."""


@activity.defn
async def send_mail(name: str, text: str) -> None:
    print(f"mail to {name}: {text}", flush=True)


@workflow.defn
class Cart:
    def __init__(self) -> None:
        self._items: list[str] = []
        self._bought = False

    @workflow.run
    async def run(self, customer: Customer) -> str:
        reminded = False
        while not self._bought:
            before = len(self._items)
            try:
                await workflow.wait_condition(
                    lambda seen=before: self._bought or len(self._items) > seen, timeout=customer.patience_seconds
                )
            except TimeoutError:
                if reminded:
                    return f"{len(self._items)} forgotten"
                reminded = True
                await workflow.execute_activity(
                    send_mail,
                    args=[customer.name, f"your {self._items[-1]} waits for you"],
                    start_to_close_timeout=timedelta(minutes=1),
                )
        await workflow.wait_condition(workflow.all_handlers_finished)
        return f"bought for {self.total()}"

    @workflow.update
    def add(self, item: str) -> int:
        """The new total."""
        self._items.append(item)
        return self.total()

    @add.validator
    def is_sold_here(self, item: str) -> None:
        if item not in PRICES:
            raise ValueError(f"{item} is not sold here")

    @workflow.update
    def buy(self) -> int:
        self._bought = True
        return self.total()

    def total(self) -> int:
        return sum(PRICES[item] for item in self._items)


async def click(client: Client, customer: Customer, cart_id: str, item: str) -> None:
    """What a web server does for a click; `start.workflow_handle()` would tell which cart it was."""
    start = WithStartWorkflowOperation(
        Cart.run, customer, id=cart_id, task_queue=TASK_QUEUE, id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING
    )
    total = await client.execute_update_with_start_workflow(Cart.add, item, start_workflow_operation=start)
    print(f"{customer.name}: {total} in the cart")


async def main() -> None:
    async with await Client.connect() as client:
        async with Worker(client, task_queue=TASK_QUEUE, workflows=[Cart], activities=[send_mail]):
            ada, ben = Customer("Ada"), Customer("Ben", patience_seconds=0.2)
            carts = {customer: f"cart-{uuid.uuid4()}" for customer in (ada, ben)}
            for item in ("tea", "apple", "tea"):
                await click(client, ada, carts[ada], item)
            cart = client.get_workflow_handle_for(Cart.run, carts[ada])
            await cart.execute_update(Cart.buy)
            print(f"Ada: {await cart.result()}")
            await click(client, ada, carts[ada], "apple")  # a new cart: the one before is closed
            await cart.execute_update(Cart.buy)
            await click(client, ben, carts[ben], "apple")
            print(f"Ben: {await client.get_workflow_handle_for(Cart.run, carts[ben]).result()}")


if __name__ == "__main__":
    asyncio.run(main())
