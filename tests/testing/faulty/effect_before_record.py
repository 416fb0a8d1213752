"""An effect before its record: workflow code writes an invoice itself, and writes it again when it is run again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from durable import Client, activity, workflow
from durable.testing.plugin import StartWorker

archive: list[str] = []
mails: set[str] = set()


@pytest.fixture(autouse=True)
def office() -> None:
    archive.clear()
    mails.clear()


@activity.defn(start_to_close_timeout=timedelta(seconds=30))
async def file_away(invoice: str) -> None:
    if invoice not in archive:
        archive.append(invoice)


@activity.defn(start_to_close_timeout=timedelta(seconds=30))
async def mail(invoice: str) -> None:
    mails.add(invoice)


@workflow.defn
async def faulty(order: str) -> None:
    invoice = f"invoice for {order}"
    archive.append(invoice)
    await mail(invoice)


@workflow.defn
async def mended(order: str) -> None:
    invoice = f"invoice for {order}"
    await file_away(invoice)
    await mail(invoice)


@pytest.mark.crash_sweep
@pytest.mark.parametrize("bill", [faulty, mended], ids=["faulty", "mended"])
async def test_an_order_has_one_invoice(bill: Any, durable_client: Client, durable_worker: StartWorker) -> None:
    await durable_worker(workflows=[bill], activities=[file_away, mail])

    await durable_client.execute_workflow(bill, "tea", id="bill")

    assert archive == ["invoice for tea"]
    assert mails == {"invoice for tea"}
