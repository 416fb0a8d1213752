"""Pydantic models are values like others: checked where they come in, and read back as what the signature says.

    python samples/pydantic_models.py

takes an order. What the models refuse is refused where the order is made; what they normalise, a workflow sees so.
"""

import asyncio
import uuid
from datetime import date, timedelta
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, Field, ValidationError, field_validator

from durable import activity, workflow
from durable.client import Client
from durable.contrib.pydantic import pydantic_data_converter
from durable.worker import Worker

TASK_QUEUE = "orders"


class Card(BaseModel):
    kind: Literal["card"] = "card"
    number: str


class Invoice(BaseModel):
    kind: Literal["invoice"] = "invoice"
    due: date


class Order(BaseModel):
    item: str
    price: Decimal = Field(gt=0, decimal_places=2)
    payment: Annotated[Card | Invoice, Field(discriminator="kind")]

    @field_validator("item")
    @classmethod
    def tidy(cls, item: str) -> str:
        return item.strip().lower()


class Receipt(BaseModel):
    order: Order
    total: Decimal


@activity.defn
async def charge(order: Order) -> Receipt:
    assert isinstance(order.payment, Invoice)  # the model that it was, not a dict
    return Receipt(order=order, total=order.price * Decimal("1.19"))


@workflow.defn
class TakeOrder:
    @workflow.run
    async def run(self, order: Order) -> Receipt:
        return await workflow.execute_activity(charge, order, start_to_close_timeout=timedelta(seconds=10))


async def main() -> None:
    async with await Client.connect(data_converter=pydantic_data_converter) as client:
        async with Worker(client, task_queue=TASK_QUEUE, workflows=[TakeOrder], activities=[charge]):
            order = Order(item="  Lamp ", price=Decimal("20.00"), payment=Invoice(due=date(2026, 12, 1)))
            receipt = await client.execute_workflow(
                TakeOrder.run, order, id=f"order-{uuid.uuid4().hex[:8]}", task_queue=TASK_QUEUE
            )
            print(repr(receipt.order.item), receipt.total, receipt.order.payment)
    try:
        Order(item="lamp", price=Decimal("-1"), payment=Card(number="4711"))
    except ValidationError as error:
        print(error.errors()[0]["msg"])


if __name__ == "__main__":
    asyncio.run(main())
