"""fastapi_app, transactional_start and starlette_app: served as by hand, and used by a browser."""

from __future__ import annotations

import asyncio
import re
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing

import httpx
import pytest

from fastapi_app import Order
from starlette_app import Report
from tests.samples.conftest import Folder
from transactional_start import Fulfil


async def browser_of(server: asyncio.subprocess.Process) -> httpx.AsyncClient:
    """For a server on port 0, as soon as it has said which it has got."""
    assert server.stderr is not None
    async for line in server.stderr:
        if (running := re.search(r"running on (http://[\d.:]+)", line.decode())) is not None:
            return httpx.AsyncClient(base_url=running[1], timeout=None)
    raise AssertionError("the server has ended")


async def test_an_order_outlives_the_server(folder: Folder, replay: Callable[..., None]) -> None:
    server = await folder.start("fastapi_app", "0")
    async with await browser_of(server) as browser:
        assert (await browser.get("/orders/1")).status_code == 404
        assert (await browser.post("/orders/1?item=tea")).status_code == 201
        assert (await browser.post("/orders/1?item=tea")).status_code == 409
        assert (await browser.post("/orders/1/items?item=cake")).json() == 2
        assert (await browser.get("/orders/1/meal?seconds=0")).status_code == 202
    server.send_signal(signal.SIGINT)
    assert (await folder.end(server))[0] == 0

    server = await folder.start("fastapi_app", "0")
    async with await browser_of(server) as browser:
        refused = await browser.post("/orders/1/items?item=gold")
        assert (refused.status_code, refused.json()) == (422, {"detail": "no gold today"})
        assert (await browser.get("/orders/1")).json() == {"items": ["tea", "cake"], "paid": False}
        assert (await browser.post("/orders/1/payment")).status_code == 202
        assert (await browser.get("/orders/1/meal")).json() == "tea and cake, for 750 cents"
        assert (await browser.post("/orders/1?item=tea")).status_code == 409
        assert (await browser.get("/health")).json() == {"status": "ok"}
    server.send_signal(signal.SIGINT)
    assert (await folder.end(server))[0] == 0
    replay(await folder.histories(), Order)


async def test_the_app_orders_and_a_worker_beside_it_does_the_work(folder: Folder, replay: Callable[..., None]) -> None:
    server = await folder.start("starlette_app", "0")
    async with await browser_of(server) as browser:
        async with browser.stream("POST", "/reports/tea") as response:
            lines = response.aiter_lines()
            assert [await anext(lines) for _ in range(3)] == ["event: ordered", "data: report-tea", ""]

            worker = await folder.start("starlette_app", "worker")

            assert [await anext(lines) for _ in range(3)] == ["event: done", "data: tea: 30 sold", ""]
        again = await browser.post("/reports/tea")
        assert again.text.splitlines() == [
            "event: ordered",
            "data: report-tea",
            "",
            "event: done",
            "data: tea: 30 sold",
            "",
        ]
    for process in (server, worker):
        process.send_signal(signal.SIGINT)
        assert (await folder.end(process))[0] == 0
    histories = await folder.histories()
    assert len(histories) == 1  # whoever asks again gets the run that is over
    replay(histories, Report)


async def test_no_order_is_without_its_workflow_and_no_workflow_without_its_order(
    folder: Folder, replay: Callable[..., None]
) -> None:
    server = await folder.start("transactional_start", "0")
    async with await browser_of(server) as browser:
        assert (await browser.post("/orders?item=tea")).json() == 1
        assert (await browser.post("/orders?item=gold")).status_code == 422
        assert (await browser.post("/orders/7/payment")).status_code == 404
        with pytest.raises(httpx.TransportError):
            await browser.post("/orders?item=lightning")
    assert (await folder.end(server))[0] == -signal.SIGKILL

    server = await folder.start("transactional_start", "0")
    async with await browser_of(server) as browser:
        assert (await browser.post("/orders?item=cake")).json() == 2
        for id, item in ((1, "tea"), (2, "cake")):
            assert (await browser.post(f"/orders/{id}/payment")).status_code == 202
            assert (await browser.get(f"/orders/{id}/parcel")).json() == f"{item} is on its way"
    server.send_signal(signal.SIGINT)
    assert (await folder.end(server))[0] == 0

    with closing(sqlite3.connect(folder.path / "shop.db")) as db:
        orders = db.execute("SELECT id, item, state FROM orders ORDER BY id").fetchall()
    assert orders == [(1, "tea", "shipped"), (2, "cake", "shipped")]
    histories = await folder.histories("shop.db")
    assert [each.workflow_id for each in histories] == ["order-1", "order-2"]
    replay(histories, Fulfil)
