"""Effects in another SQL database, exactly once: they commit there together with the activity's result, in its ledger.

    python samples/other_database.py

books a payment in the database of a shop. Right after the commit the line breaks: nobody hears that it is done. The
next attempt does not pay again; it finds what the first one has returned.
"""

import asyncio
import uuid
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from durable import Client, RetryPolicy, Worker, activity, workflow

engine = create_async_engine("sqlite+aiosqlite:///shop.db")


class Base(DeclarativeBase): ...


class Payment(Base):
    __tablename__ = "payments"
    number: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[str]
    cents: Mapped[int]


@dataclass(frozen=True)
class Receipt:
    number: int
    attempt: int


@activity.defn(
    start_to_close_timeout=timedelta(seconds=10), retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=10))
)
async def pay(order_id: str, cents: int) -> Receipt:
    attempt = activity.info().attempt
    print(f"attempt {attempt} begins")
    async with activity.exactly_once(engine) as session:
        payment = Payment(order_id=order_id, cents=cents)
        session.add(payment)
        await session.flush()
        if attempt == 1:
            break_the_line()
    return Receipt(payment.number, attempt)


@workflow.defn
async def order(order_id: str, cents: int) -> Receipt:
    return await pay(order_id, cents)


def break_the_line() -> None:
    """After the next commit, the connection is gone before it has said so."""
    dialect = engine.sync_engine.dialect
    commit = dialect.do_commit

    def commit_and_break(connection) -> None:
        dialect.do_commit = commit
        commit(connection)
        raise ConnectionError("the line broke")

    dialect.do_commit = commit_and_break


async def main() -> None:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    order_id = f"order-{uuid.uuid4().hex[:8]}"
    async with await Client.connect() as client, Worker(client, workflows=[order], activities=[pay]):
        receipt = await client.execute_workflow(order, args=[order_id, 2500], id=order_id)
    print(f"the receipt is that of attempt {receipt.attempt}")
    async with engine.connect() as connection:
        paid = select(func.count(), func.sum(Payment.cents)).where(Payment.order_id == order_id)
        count, cents = (await connection.execute(paid)).one()
    print(f"payments: {count}, cents: {cents}")
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(main())
