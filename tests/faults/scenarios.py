"""A scenario of the sweep: money is moved between accounts by transactional activities of each kind.

One transfer that succeeds: an async debit, a sync credit, a fee whose first attempt fails after it has written, and two
that start and signal other workflows in their transactions. One that is refused, after writing, and compensated.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import Column, Integer, Table, Text, insert, select, update
from sqlalchemy.orm import Session

from durable import Client, RetryPolicy, activity, workflow
from durable.client import WorkflowFailureError
from durable.exceptions import ActivityError, ApplicationError
from durable.history.values import RunStatus
from tests.faults.effects import disagreements, effect, metadata, written
from tests.faults.sweep import Scenario

SOON = RetryPolicy(initial_interval=timedelta(milliseconds=5), backoff_coefficient=1.0)

accounts = Table(
    "accounts", metadata, Column("name", Text, primary_key=True), Column("balance", Integer, nullable=False)
)
BEFORE = {"anna": 100, "bert": 0, "bank": 0}
AFTER = {"anna": 89, "bert": 10, "bank": 1}


def move(name: str, amount: int) -> Any:
    return update(accounts).where(accounts.c.name == name).values(balance=accounts.c.balance + amount)


@activity.defn(transactional=True, retry_policy=SOON)
async def debit(name: str, amount: int) -> str:
    session = activity.session()
    await session.execute(move(name, -amount))
    statement, value = effect()
    await session.execute(statement)
    return value


@activity.defn(transactional=True, retry_policy=SOON)
def credit(name: str, amount: int) -> str:
    session = activity.session(Session)
    session.execute(move(name, amount))
    statement, value = effect()
    session.execute(statement)
    return value


@activity.defn(transactional=True, retry_policy=SOON)
async def take_fee(name: str) -> str:
    session = activity.session()
    await session.execute(move(name, -1))
    await session.execute(move("bank", 1))
    statement, value = effect()
    await session.execute(statement)
    if activity.info().attempt == 1:
        raise ConnectionError("after it has written")
    return value


@activity.defn(transactional=True, retry_policy=SOON)
async def announce() -> str:
    session = activity.session()
    statement, value = effect()
    await session.execute(statement)
    await activity.client().start_workflow(receipt, value, id="receipt", session=session)
    await activity.client().get_workflow_handle("book").signal(Book.enter, value, session=session)
    return value


@activity.defn(transactional=True, retry_policy=SOON)
async def close_book() -> str:
    session = activity.session()
    await activity.client().get_workflow_handle("book").signal(Book.close, session=session)
    statement, value = effect()
    await session.execute(statement)
    return value


@activity.defn(transactional=True, retry_policy=SOON)
def refuse(name: str, amount: int) -> str:
    session = activity.session(Session)
    session.execute(move(name, amount))
    statement, _ = effect()
    session.execute(statement)
    raise ApplicationError(f"{name} takes nothing", type="Refused", non_retryable=True)


@activity.defn(transactional=True, retry_policy=SOON)
async def write_down(_what: str) -> str:
    statement, value = effect()
    await activity.session().execute(statement)
    return value


@workflow.defn
async def transfer(source: str, target: str, amount: int) -> str:
    await debit(source, amount)
    await credit(target, amount)  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    await take_fee(source)
    announced = await announce()
    await close_book()
    return announced


@workflow.defn
async def refused_transfer(source: str, target: str, amount: int) -> None:
    async with workflow.saga() as saga:
        await debit(source, amount)
        saga.compensate_with(credit, source, amount)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        await refuse(target, amount)  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


@workflow.defn
async def receipt(of: str) -> str:
    await write_down(of)
    return of


@workflow.defn
class Book:
    """Ends when it is closed, with what was entered."""

    def __init__(self) -> None:
        self._entries: list[str] = []
        self._is_closed = False

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.wait_condition(lambda: self._is_closed)
        for entry in self._entries:
            await write_down(entry)
        return self._entries

    @workflow.signal
    def enter(self, entry: str) -> None:
        self._entries.append(entry)

    @workflow.signal
    def close(self) -> None:
        self._is_closed = True


async def drive(client: Client) -> None:
    """The accounts and the first workflows begin in one transaction; the refused transfer follows."""
    async with client.engine().begin() as connection:
        if not (await connection.execute(select(accounts))).all():
            await connection.execute(
                insert(accounts), [{"name": name, "balance": each} for name, each in BEFORE.items()]
            )
            await client.start_workflow(Book.run, id="book", session=connection)
            await client.start_workflow(transfer, args=["anna", "bert", 10], id="transfer", session=connection)
    await client.get_workflow_handle("transfer").result()
    refused = await client.start_workflow(
        refused_transfer, args=["anna", "bert", 5], id="refused", request_id="the refused one"
    )
    try:
        await refused.result()
    except WorkflowFailureError:
        pass
    for name in ("receipt", "book"):
        await client.get_workflow_handle(name).result()


async def judge(client: Client) -> list[str]:
    async with client.engine().connect() as connection:
        balances = {row.name: row.balance for row in await connection.execute(select(accounts))}
        rows = await written(connection)
    found = await disagreements(client, rows)
    if balances != AFTER:
        found.append(f"the balances are {balances}, and not {AFTER}")
    statuses = {run.id: run.status async for run in client.list_workflows()}
    expected = dict.fromkeys(("book", "receipt", "transfer"), RunStatus.COMPLETED) | {"refused": RunStatus.FAILED}
    if statuses != expected:
        found.append(f"the runs are {statuses}")
        return found
    announced = await client.get_workflow_handle("transfer").result()
    had = [await client.get_workflow_handle(name).result() for name in ("receipt", "book")]
    if had != [announced, [announced]]:
        found.append(f"announced was {announced}, receipt and book have {had}")
    try:
        await client.get_workflow_handle("refused").result()
    except WorkflowFailureError as error:
        why = error.cause.__cause__ if isinstance(error.cause, ActivityError) else None
        if not (isinstance(why, ApplicationError) and why.type == "Refused"):
            found.append(f"the refused transfer failed with {error.cause!r}")
    return found


SCENARIO = Scenario(
    workflows=(transfer, refused_transfer, receipt, Book),
    activities=(debit, credit, take_fee, announce, close_book, refuse, write_down),
    drive=drive,
    judge=judge,
)
