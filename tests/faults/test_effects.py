"""A worker process is killed around the commit of effects in another database: they are there once, on each store."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete

from durable import Client, ledger
from tests.chaos.places import Place
from tests.engine.histories import until
from tests.engine.shops import Shop
from tests.faults.bookkeeping import LEASE, Books, Urls, booking, work_until_death, work_when_told
from tests.faults.conftest import MakeWorker
from tests.forkserver import processes
from tests.postgres import OTHERS_END, Server


@pytest.fixture
def urls(request: pytest.FixtureRequest, address: str, tmp_path: Path) -> Iterator[Urls]:
    """Of a database of the same kind as the engine's, and not the same."""
    if address.startswith("sqlite"):
        file = tmp_path / "shop.db"
        yield Urls(f"sqlite:///{file}", f"sqlite+aiosqlite:///{file}")
        return
    server: Server = request.getfixturevalue("postgres_server")
    name = server.lend()
    rest = server.url(name).removeprefix("postgresql")
    yield Urls(f"postgresql+psycopg{rest}", f"postgresql+asyncpg{rest}")
    server.run(OTHERS_END, name)
    Shop(f"postgresql+psycopg{rest}", f"postgresql+asyncpg{rest}").close()
    server.give_back(name)


@pytest.mark.parametrize("kind", ["async", pytest.param("sync", marks=pytest.mark.all)])
@pytest.mark.parametrize(("moment", "attempt"), [("block", 2), ("before", 2), ("after", 1)])
async def test_the_process_is_killed_around_the_commit_of_effects_and_they_are_there_once(
    client: Client, address: str, make_worker: MakeWorker, urls: Urls, kind: str, moment: str, attempt: int
) -> None:
    shop = Shop(*urls)
    shop.recorded()  # the first commit is the effects' own
    handle = await client.start_workflow(booking, args=[kind, "tea"], id="booking")
    killed = processes.Process(target=work_until_death, args=(address, urls, moment), daemon=True)
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL

    books = Books(shop)
    async with make_worker(client, booking, books.book, books.book_sync, lease=LEASE):
        assert await handle.result() == f"tea by attempt {attempt}"

    assert (shop.booked(), len(shop.recorded())) == (["tea"], 1)


async def test_a_process_that_was_frozen_before_its_block_changes_nothing_when_it_wakes_up_after_the_rows_removal(
    client: Client, place: Place, make_worker: MakeWorker, urls: Urls, tmp_path: Path
) -> None:
    shop = Shop(*urls)
    handle = await client.start_workflow(booking, args=["sync", "tea"], id="booking")
    frozen = processes.Process(target=work_when_told, args=(place.address, urls, tmp_path), daemon=True)
    frozen.start()
    assert frozen.pid is not None

    async def told(word: str) -> bool:
        return (tmp_path / word).exists()

    await until(lambda: told("reached"))
    place.freeze(frozen.pid)
    try:
        books = Books(shop)
        async with make_worker(client, booking, books.book_sync, lease=LEASE):
            assert await handle.result() == "tea by attempt 2"
        with shop.engine.begin() as connection:
            connection.execute(delete(ledger.effects))
        (tmp_path / "go").touch()
        os.kill(frozen.pid, signal.SIGCONT)
        await until(lambda: told("ended"))
    finally:
        frozen.kill()
        frozen.join()

    assert (tmp_path / "ended").read_text() == "AttemptSuperseded"
    assert (shop.booked(), shop.recorded()) == (["tea"], [])
