"""order: each order is shipped, or leaves nothing behind."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import shop
from approval import Approval
from durable.history.events import ActivityTaskStarted
from durable.workflow.definition import WorkflowDefinition
from durable.workflow.errors import NondeterminismError
from order import ProcessOrder
from tests.samples.conftest import Folder

SHIPPED = {"reserve": (3, 0), "charge": (0, 1200), "ship": (-3, -1200)}
UNDONE = {"reserve": (3, 0), "charge": (0, 1200), "refund": (0, -1200), "release": (-3, 0)}


def ledgers(path: Path) -> dict[str, dict[str, tuple[int, int]]]:
    """Per order, by the last part of its id: step to (units, cents), in the order in which they were booked."""
    found: dict[str, dict[str, tuple[int, int]]] = {}
    with closing(sqlite3.connect(path)) as db:
        for order_id, step, units, cents in db.execute("SELECT * FROM ledger ORDER BY rowid"):
            found.setdefault(order_id.rpartition("-")[2], {})[step] = (units, cents)
    return found


async def test_orders_are_shipped_or_undone_last_step_first(folder: Folder, replay: Callable[..., None]) -> None:
    said = await folder.run("order")

    assert re.search(r"-shipped: 3 × tea on the way to Japan", said)
    assert re.search(r"-refused: ShipmentRefused: nobody ships to Atlantis, while shipping", said)
    assert re.search(r"-cancelled: Workflow cancelled", said)
    books = ledgers(folder.path / "shop.db")
    assert books == {"shipped": SHIPPED, "refused": UNDONE, "cancelled": UNDONE}
    assert list(books["refused"]) == list(books["cancelled"]) == list(UNDONE)
    histories = await folder.histories()
    assert len(histories) == 3
    replay(histories, ProcessOrder)


async def test_orders_come_to_the_same_end_over_a_line_that_fails(folder: Folder) -> None:
    await folder.run("order", ORDER_FAILURE_RATE="0.5")

    books = ledgers(folder.path / "shop.db")
    assert books["shipped"] == SHIPPED
    assert books["refused"] == UNDONE
    assert {sum(cents for _, cents in book.values()) for book in books.values()} == {0}
    events = [event for history in await folder.histories() for event in history.events]
    assert max(event.attempt for event in events if isinstance(event, ActivityTaskStarted)) > 1


async def test_an_orders_history_does_not_replay_with_other_code(folder: Folder, replay: Callable[..., None]) -> None:
    await folder.run("order")
    edited = WorkflowDefinition.must_be(Approval)
    stranger = type("ProcessOrder", (), {})
    definition = WorkflowDefinition(
        WorkflowDefinition.must_be(ProcessOrder).name, edited.run, edited.signature, cls=edited.cls
    )
    setattr(stranger, "__temporal_workflow_definition", definition)

    with pytest.raises(NondeterminismError):
        replay(await folder.histories(), stranger)


@pytest.fixture
def shop_db(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(shop, "PATH", str(tmp_path / "shop.db"))
    return tmp_path / "shop.db"


def test_a_step_that_is_attempted_again_is_booked_once(shop_db: Path) -> None:
    shop.book("order-1", "charge", 1, cents=500, reply_lost=True)
    shop.book("order-1", "charge", 2, cents=500)

    assert ledgers(shop_db) == {"1": {"charge": (0, 500)}}
    with shop.transaction() as books:
        told = books.execute("SELECT attempt, effect, reply_lost FROM attempts ORDER BY rowid").fetchall()
    assert told == [(1, "done", 1), (2, "was there", 0)]


def test_a_step_that_was_undone_before_it_happened_can_not_happen_any_more(shop_db: Path) -> None:
    shop.undo("order-1", "refund", 1, undoes="charge")
    shop.book("order-1", "charge", 1, cents=500)

    assert ledgers(shop_db) == {"1": {"charge": (0, 0), "refund": (0, 0)}}
    with shop.transaction() as books:
        assert books.execute(shop.EFFECTS).fetchall() == [("order-1", "refund", 0, 0)]
