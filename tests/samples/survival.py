"""The samples' workflows as a user's tests, which crash sweep and replay check watch; `test_survival` runs them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

import etl
import hello
import interceptors
import order
import shop
from approval import Approval, Decision, Expense, Post
from durable import Client
from durable.client import RPCError, WorkflowFailureError
from durable.exceptions import CancelledError
from durable.testing import WorkflowEnvironment
from durable.testing.plugin import StartWorker
from tests.samples.test_order import SHIPPED, UNDONE, ledgers
from transfer import Transfer, balances, credit, debit, open_bank, transfer

TEA = order.Order(item="tea", units=3, cents=1200, country="Japan")

pytestmark = pytest.mark.crash_sweep


@pytest.fixture
def books(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(shop, "PATH", str(tmp_path / "shop.db"))
    return tmp_path / "shop.db"


async def test_hello_says_goodbye(durable_client: Client, durable_worker: StartWorker) -> None:
    await durable_worker(workflows=[hello.hello], activities=[hello.say])

    assert await durable_client.execute_workflow(hello.hello, "world", id="hello") == "Goodbye, world."


async def test_a_user_is_known_to_all_that_is_done_for_her(durable_client: Client, durable_worker: StartWorker) -> None:
    carrying = [interceptors.CarryUser()]
    workflows = [interceptors.Trip, interceptors.Insure]
    await durable_worker(workflows=workflows, activities=[interceptors.book], interceptors=carrying)
    client = Client(**{**durable_client.config(), "interceptors": carrying})
    interceptors.user.set("Ada")

    trip = await client.start_workflow(interceptors.Trip.run, "Oslo", id="trip")
    await trip.signal(interceptors.Trip.packed)

    assert await trip.result() == [
        *("flight to Oslo booked for Ada", "hotel in Oslo booked for Ada", "Oslo insured for Ada", "packed by Ada")
    ]


async def test_an_order_is_shipped(durable_client: Client, durable_worker: StartWorker, books: Path) -> None:
    await durable_worker(workflows=order.WORKFLOWS, activities=order.ACTIVITIES)

    result = await durable_client.execute_workflow(order.ProcessOrder.run, TEA, id="order-shipped")

    assert result == "3 × tea on the way to Japan"
    assert ledgers(books) == {"shipped": SHIPPED}


async def test_a_refused_order_is_undone(durable_client: Client, durable_worker: StartWorker, books: Path) -> None:
    await durable_worker(workflows=order.WORKFLOWS, activities=order.ACTIVITIES)
    handle = await durable_client.start_workflow(
        order.ProcessOrder.run, replace(TEA, country="Atlantis"), id="order-refused"
    )

    with pytest.raises(WorkflowFailureError) as failure:
        await handle.result()

    assert str(failure.value.cause.__cause__) == "ShipmentRefused: nobody ships to Atlantis"
    assert await handle.query(order.ProcessOrder.status) == "shipping"
    assert ledgers(books) == {"refused": UNDONE}
    assert list(ledgers(books)["refused"]) == list(UNDONE)


async def test_an_order_that_is_cancelled_while_it_is_packed_is_undone(
    durable_env: WorkflowEnvironment, durable_client: Client, durable_worker: StartWorker, books: Path
) -> None:
    await durable_worker(workflows=order.WORKFLOWS, activities=order.ACTIVITIES)
    handle = await durable_client.start_workflow(
        order.ProcessOrder.run, replace(TEA, packing_seconds=36000), id="order-cancelled"
    )
    await durable_env.sleep(timedelta(hours=1))

    await handle.cancel()

    with pytest.raises(WorkflowFailureError) as failure:
        await handle.result()

    assert isinstance(failure.value.cause, CancelledError)
    assert ledgers(books) == {"cancelled": UNDONE}


@pytest.mark.parametrize(("approved", "said"), [(True, "approved by Ada"), (False, "rejected by Ada")])
async def test_the_first_decision_counts(
    durable_client: Client, durable_worker: StartWorker, approved: bool, said: str
) -> None:
    await durable_worker(workflows=[Approval], activities=[Post().write])
    handle = await durable_client.start_workflow(Approval.run, Expense("train", 8900), id="train")

    assert await handle.query(Approval.state) == "waiting"
    await handle.signal(Approval.decide, Decision(approved=approved, by="Ada"))
    with suppress(RPCError):  # the first one may have ended it
        await handle.signal(Approval.decide, Decision(approved=not approved, by="Zoe"))

    assert await handle.result() == f"train: {said}"


async def test_an_expense_that_nobody_decides_is_handed_in_again(
    durable_client: Client, durable_worker: StartWorker
) -> None:
    await durable_worker(workflows=[Approval], activities=[Post().write])

    result = await durable_client.execute_workflow(Approval.run, Expense("lunch", 1900), id="lunch")

    assert result == "lunch: nobody decided; handed in again to somebody else"


@pytest.mark.parametrize(
    ("target", "result", "accounts"),
    [
        ("ben", "ben has 2500 now", {"ada": 7500, "ben": 2500}),
        ("zoe", "2500 went back to ada: NoAccount: nobody has the account 'zoe'", {"ada": 10000, "ben": 0}),
    ],
)
async def test_money_arrives_or_goes_back(
    durable_client: Client, durable_worker: StartWorker, target: str, result: str, accounts: dict[str, int]
) -> None:
    await open_bank(durable_client, ada=10_000, ben=0)
    await durable_worker(workflows=[transfer], activities=[debit, credit])

    assert await durable_client.execute_workflow(transfer, Transfer("ada", target, 2500), id="transfer") == result

    assert await balances(durable_client) == accounts


async def test_partitions_are_loaded_once(
    durable_client: Client, durable_worker: StartWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    months = ("2012-01", "2012-02", "2012-03")
    rows = [row for row in etl.source() if etl.month_of(row) in months]
    monkeypatch.setattr(etl, "WAREHOUSE", str(tmp_path / "weather.db"))
    monkeypatch.setattr(etl, "source", lambda: rows)
    await durable_worker(workflows=[etl.load_weather], activities=[etl.partitions, etl.load])

    loaded = await durable_client.execute_workflow(etl.load_weather, id="load")

    assert [(each.month, each.rows) for each in loaded] == [("2012-01", 31), ("2012-02", 29), ("2012-03", 31)]
