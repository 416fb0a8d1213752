"""Exactly once: an activity's own rows are one commit with its result, so no kill books twice, or by half.

    python samples/transfer.py

keeps the accounts of a small bank in the engine's own database, and moves money: once well, once to an account that
does not exist, once without funds. What is between two accounts is in `transit`: all rows always sum up to the same.
"""

import asyncio
import uuid
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import BigInteger, Column, MetaData, String, Table, func, select

from durable import Client, Worker, activity, workflow
from durable.exceptions import ActivityError, ApplicationError

metadata = MetaData()
accounts = Table(
    "accounts", metadata, Column("name", String(100), primary_key=True), Column("cents", BigInteger, nullable=False)
)
transit = Table(
    "transit", metadata, Column("transfer", String(100), primary_key=True), Column("cents", BigInteger, nullable=False)
)


@dataclass(frozen=True)
class Transfer:
    source: str
    target: str
    cents: int


async def book(account: str, cents: int) -> int:
    """Add ``cents``, which may be negative; the new balance."""
    row = accounts.c.name == account
    added = accounts.update().where(row).values(cents=accounts.c.cents + cents).returning(accounts.c.cents)
    balance = (await activity.session().execute(added)).scalar()
    if balance is None:
        raise ApplicationError(f"nobody has the account {account!r}", type="NoAccount", non_retryable=True)
    return int(balance)


@activity.defn(transactional=True, start_to_close_timeout=timedelta(seconds=30))
async def debit(account: str, cents: int) -> int:
    """Out of the account, into transit. Whatever it raises, nothing is booked."""
    balance = await book(account, -cents)
    if balance < 0:
        raise ApplicationError(f"{account} has only {balance + cents}", type="NoFunds", non_retryable=True)
    underway = transit.insert().values(transfer=activity.info().workflow_id, cents=cents)
    await activity.session().execute(underway)
    return balance


@activity.defn(transactional=True, start_to_close_timeout=timedelta(seconds=30))
async def credit(account: str, cents: int) -> int:
    """Out of transit, into the account."""
    arrived = transit.delete().where(transit.c.transfer == activity.info().workflow_id)
    await activity.session().execute(arrived)
    return await book(account, cents)


@workflow.defn
async def transfer(order: Transfer) -> str:
    try:
        async with workflow.saga() as saga:
            await debit(order.source, order.cents)
            saga.compensate_with(credit, order.source, order.cents)  # after it: a debit that fails leaves nothing
            balance = await credit(order.target, order.cents)
    except ActivityError as error:
        if error.activity_type == "debit":
            return f"nothing was moved: {error.cause}"
        return f"{order.cents} went back to {order.source}: {error.cause}"
    return f"{order.target} has {balance} now"


async def open_bank(client: Client, **balances: int) -> None:
    """Its tables beside the engine's, and its accounts, if they are not there yet."""
    async with client.engine().begin() as connection:
        await connection.run_sync(metadata.create_all)
        if (await connection.execute(select(func.count()).select_from(accounts))).scalar() == 0:
            rows = [{"name": name, "cents": cents} for name, cents in balances.items()]
            await connection.execute(accounts.insert(), rows)


async def balances(client: Client) -> dict[str, int]:
    async with client.engine().connect() as connection:
        rows = await connection.execute(select(accounts).order_by(accounts.c.name))
        return {row.name: row.cents for row in rows}


async def main() -> None:
    async with await Client.connect() as client, Worker(client, workflows=[transfer], activities=[debit, credit]):
        await open_bank(client, ada=10_000, ben=0)
        orders = Transfer("ada", "ben", 2500), Transfer("ada", "zoe", 2500), Transfer("ben", "ada", 1_000_000)
        for order in orders:
            print(await client.execute_workflow(transfer, order, id=f"transfer-{uuid.uuid4().hex[:8]}"))
        print(await balances(client))


if __name__ == "__main__":
    asyncio.run(main())
