"""Charged twice: an activity without a key repeats its effect when its outcome was lost with the worker."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from durable import Client, activity, workflow
from durable.testing.plugin import StartWorker


class Bank:
    """A charge with a key that was seen before is the same charge."""

    def __init__(self) -> None:
        self.charges: list[int] = []
        self._keys: set[str] = set()

    def charge(self, cents: int, key: str | None = None) -> None:
        if key is None or key not in self._keys:
            self.charges.append(cents)
        if key is not None:
            self._keys.add(key)


bank = Bank()


@pytest.fixture(autouse=True)
def new_bank() -> None:
    bank.__init__()  # type: ignore[misc]


@activity.defn(name="charge", start_to_close_timeout=timedelta(seconds=30))
async def charge(cents: int) -> None:
    bank.charge(cents)


@activity.defn(name="charge", start_to_close_timeout=timedelta(seconds=30))
async def charge_with_key(cents: int) -> None:
    me = activity.info()
    bank.charge(cents, key=f"{me.workflow_run_id}/{me.activity_id}")


@workflow.defn
async def buy(cents: int) -> str:
    await charge(cents)
    return "paid"


@pytest.mark.crash_sweep
@pytest.mark.parametrize("how", [charge, charge_with_key], ids=["faulty", "mended"])
async def test_a_customer_pays_once(how: Any, durable_client: Client, durable_worker: StartWorker) -> None:
    await durable_worker(workflows=[buy], activities=[how])

    assert await durable_client.execute_workflow(buy, 995, id="buy") == "paid"

    assert bank.charges == [995]
