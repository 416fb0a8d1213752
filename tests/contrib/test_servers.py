"""The lifespan under real servers: several processes on one SQLite file, killed, stopped, forked and reloaded."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from pathlib import Path

import pytest

from durable import Worker, activity
from durable.history.events import ActivityTaskCompleted, ActivityTaskScheduled
from tests.contrib.conftest import Site
from tests.contrib.served import take_order

APP = "tests.contrib.served:app"


async def test_orders_outlive_the_process_that_has_begun_them(site: Site) -> None:
    server = await site.serve(APP, "--workers", "2")
    names = ["slow", *[f"quick-{number}" for number in range(20)]]
    orders = asyncio.gather(*[site.order(name) for name in names])

    killed, _ = await site.began("slow")
    os.kill(killed, signal.SIGKILL)

    assert await orders == [f"{name} is baked" for name in names]
    assert (await site.began("slow"))[0] != killed
    async with await site.client() as client:
        for name in names:
            history = await client.get_workflow_handle(name).fetch_history()
            kinds = [type(event) for event in history.events]
            assert (kinds.count(ActivityTaskScheduled), kinds.count(ActivityTaskCompleted)) == (1, 1)
    server.terminate()
    assert (await site.ended(server))[0] == 0


@pytest.mark.parametrize(
    ("workers", "code"),
    [pytest.param("2", 0, id="several"), pytest.param("1", -signal.SIGTERM, id="one", marks=pytest.mark.all)],
)
async def test_a_server_that_is_told_to_stop_hands_over_what_is_under_way(site: Site, workers: str, code: int) -> None:
    server = await site.serve(APP, "--workers", workers)
    await site.browser.post("/orders/slow")
    await site.began("slow")

    server.terminate()

    exit_code, said = await site.ended(server)
    assert (exit_code, "Traceback" in said, "Application shutdown complete" in said) == (code, False, True), said

    @activity.defn
    async def bake(order: str) -> str:
        return f"{order} is baked elsewhere"

    async with await site.client() as client:
        order = client.get_workflow_handle("slow")
        (pending,) = (await order.describe()).pending_activities
        assert (pending.started, pending.attempt) == (None, 0)
        async with Worker(client, workflows=[take_order], activities=[bake]):
            assert await order.result() == "slow is baked elsewhere"


async def test_an_app_that_is_imported_before_a_fork_opens_its_database_after_it(site: Site) -> None:
    parent = await site.serve("-m", "tests.contrib.preloaded")
    names = [f"order-{number}" for number in range(10)]

    assert await asyncio.gather(*map(site.order, names)) == [f"{name} is baked" for name in names]
    pids: set[str] = set()
    while len(pids) < 2:  # both of them serve
        pids |= {(await site.browser.get("/served-by")).text for _ in range(10)}

    parent.terminate()
    code, said = await site.ended(parent)
    assert (code, "Traceback" in said) == (0, False), said


@pytest.mark.all
async def test_a_reload_hands_over_to_the_new_code(site: Site) -> None:
    app = site.folder / "shop.py"
    shutil.copy(Path(__file__).with_name("served.py"), app)
    server = await site.serve(
        "shop:app", "--reload", "--reload-delay", "0.05", PYTHONDONTWRITEBYTECODE="1"
    )  # a .pyc would be taken for that of the new code, which is as long, and as old in seconds
    await site.browser.post("/orders/slow")
    assert (await site.began("slow"))[1] == 1

    app.write_text(app.read_text().replace("VERSION = 1", "VERSION = 2"))
    while not (await site.browser.get("/served-by")).text.endswith(" 2"):
        pass

    assert await site.order("slow") == "slow is baked"
    assert (await site.began("slow"))[1] == 2
    server.send_signal(signal.SIGINT)
    assert (await site.ended(server))[0] == 0


async def test_a_server_whose_database_can_not_be_opened_says_so_and_ends(site: Site) -> None:
    server = await site.serve(APP, SERVED_DB="sqlite:////nowhere/app.db")

    code, said = await site.ended(server)

    assert code == 3
    assert "StoreUnavailable" in said and "/nowhere" in said and "Application startup failed. Exiting." in said
