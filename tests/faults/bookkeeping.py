"""Activities with effects in another database, and worker processes that kill themselves around the commit there."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import insert

from durable import Client, RetryPolicy, Worker, activity, workflow
from tests.engine.shops import Commits, Shop, bookings

LEASE = timedelta(seconds=0.6)
SOON = RetryPolicy(initial_interval=timedelta(milliseconds=5), backoff_coefficient=1.0)


class Urls(NamedTuple):
    """Of the other database."""

    sync: str
    other: str


class Books:
    """``in_block`` is called at the end of each block."""

    def __init__(self, shop: Shop, in_block: Callable[[], None] = lambda: None) -> None:
        self._shop = shop
        self._in_block = in_block

    @activity.defn(name="async")
    async def book(self, what: str) -> str:
        async with activity.exactly_once(self._shop.async_engine) as session:
            await session.execute(insert(bookings).values(what=what))
            self._in_block()
        return f"{what} by attempt {activity.info().attempt}"

    @activity.defn(name="sync")
    def book_sync(self, what: str) -> str:
        with activity.exactly_once(self._shop.engine) as session:
            session.execute(insert(bookings).values(what=what))
            self._in_block()
        return f"{what} by attempt {activity.info().attempt}"


@workflow.defn
async def booking(kind: str, what: str) -> str:
    result: str = await workflow.execute_activity(
        kind, what, start_to_close_timeout=timedelta(minutes=1), retry_policy=SOON
    )
    return result


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def work_until_death(address: str, urls: Urls, moment: str) -> None:
    """A worker process that is killed in the ``block``, or ``before`` or ``after`` the commit of the effects."""
    logging.disable(logging.CRITICAL)
    shop = Shop(*urls)
    around: dict[str, Any] = {moment: die} if moment != "block" else {}
    for engine in (shop.engine, shop.async_engine.sync_engine):
        Commits(engine, **around)
    books = Books(shop, die if moment == "block" else lambda: None)
    asyncio.run(_serve(address, books.book, books.book_sync))


def work_when_told(address: str, urls: Urls, folder: Path) -> None:
    """A worker process whose attempt has ``reached`` a block, enters it when it may ``go``, and has ``ended`` then."""
    logging.disable(logging.CRITICAL)
    books = Books(Shop(*urls))

    @activity.defn(name="sync", no_thread_cancel_exception=True)
    def book(what: str) -> str:
        (folder / "reached").touch()
        while not (folder / "go").exists():
            time.sleep(0.01)
        try:
            return books.book_sync(what)
        except BaseException as error:
            (folder / "ended").write_text(type(error).__name__)
            raise

    asyncio.run(_serve(address, book))


async def _serve(address: str, *activities: Any) -> None:
    async with await Client.connect(address) as client:
        await Worker(client, workflows=[booking], activities=activities, lease=LEASE).run()
