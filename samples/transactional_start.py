"""A request writes its row and starts its workflow in one transaction: no order without its workflow, and none beside.

    python samples/transactional_start.py                     # then look at http://127.0.0.1:8000/docs

An outbox does this with a table, a poller and a deletion; here the workflow's own start is a row of the transaction.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI, HTTPException
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from durable import activity, workflow
from durable.contrib.fastapi import DurableClient, durable_lifespan


class Base(DeclarativeBase): ...


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    item: Mapped[str]
    state: Mapped[str] = mapped_column(default="ordered")


@activity.defn(transactional=True, start_to_close_timeout=timedelta(seconds=30))
async def ship(id: int) -> str:
    """The row changes when the activity's result is recorded, and never without it."""
    order = await activity.session().get_one(Order, id)
    order.state = "shipped"
    return order.item


@workflow.defn
class Fulfil:
    def __init__(self) -> None:
        self.paid = False

    @workflow.run
    async def run(self, id: int) -> str:
        await workflow.wait_condition(lambda: self.paid)
        return f"{await ship(id)} is on its way"

    @workflow.signal
    def pay(self) -> None:
        self.paid = True


@asynccontextmanager
async def with_tables(app: FastAPI) -> AsyncIterator[None]:
    async with app.state.durable.engine().begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield


app = FastAPI(
    lifespan=durable_lifespan("sqlite:///shop.db", lifespan=with_tables, workflows=[Fulfil], activities=[ship])
)


async def transaction(client: DurableClient) -> AsyncIterator[AsyncSession]:
    """One for each request: committed when the handler returns, rolled back when it raises."""
    async with AsyncSession(client.engine()) as session, session.begin():
        yield session


Transaction = Annotated[AsyncSession, Depends(transaction, scope="function")]
"""``scope="function"``: it is committed before the browser has its answer."""


@app.post("/orders", status_code=201)
async def order(item: str, session: Transaction, client: DurableClient) -> int:
    row = Order(item=item)
    session.add(row)
    await session.flush()
    await client.start_workflow(Fulfil.run, row.id, id=f"order-{row.id}", session=session)
    if item == "gold":
        raise HTTPException(422, "no gold today")  # no row, and no workflow
    if item == "lightning":
        os.kill(os.getpid(), signal.SIGKILL)  # the same
    return row.id


@app.post("/orders/{id}/payment", status_code=202)
async def pay(id: int, session: Transaction, client: DurableClient) -> None:
    if (row := await session.get(Order, id)) is None:
        raise HTTPException(404, f"no order {id}")
    row.state = "paid"
    await client.get_workflow_handle_for(Fulfil.run, f"order-{id}").signal(Fulfil.pay, session=session)


@app.get("/orders/{id}/parcel")
async def wait(id: int, client: DurableClient) -> str:
    """No transaction is open while it waits."""
    async with asyncio.timeout(20):
        return await client.get_workflow_handle_for(Fulfil.run, f"order-{id}").result()


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]) if sys.argv[1:] else 8000)
