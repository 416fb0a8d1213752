"""The demo: orders outlive the deaths of their workers, and a wrong account is not passed over."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
from argparse import Namespace
from collections.abc import Callable
from contextlib import closing, nullcontext
from pathlib import Path

import pytest

import demo
import demo_audit
import demo_postgres
from order import ProcessOrder
from tests.samples.conftest import Folder


async def test_the_demo_kills_three_workers_and_loses_nothing(folder: Folder, replay: Callable[..., None]) -> None:
    said = await folder.run("demo", "--orders", "40")

    assert len(re.findall(r"worker \d+ is killed \(SIGKILL\), with [1-9]\d* orders open", said)) == 3
    assert "worker deaths: 3 by SIGKILL" in said
    assert "All is right" in said
    assert figures(said, "orders completed") == [37, 37]
    assert figures(said, "orders compensated") == [3, 3]
    assert figures(said, "… of which the other side knows nothing") == [0, 0]
    assert "40 of 40" in said
    assert {path.name for path in (folder.path / "demo").iterdir()} >= {"durable.db", "shop.db", "worker.log"}
    histories = await folder.histories("demo/durable.db")
    assert len(histories) == 40
    replay(histories, ProcessOrder)


async def test_on_postgres_four_workers_share_the_orders(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "PLACING_SECONDS", 1)
    monkeypatch.setattr(demo_postgres, "running", lambda: nullcontext(postgres))

    code = await demo.main(Namespace(db="postgres", orders=40, kills=0, folder=tmp_path / "demo"))

    said = capsys.readouterr().out
    assert code == 0, said
    shares = re.search(r"attempts of each of the 4 workers: (\d+), (\d+), (\d+), (\d+)\n", said)
    assert shares and sum(int(share) > 0 for share in shares.groups()) > 1
    assert figures(said, "orders completed") == [37, 37]
    assert figures(said, "… of which the other side knows nothing") == [0, 0]
    assert len(list((tmp_path / "demo" / "histories").glob("order-*.json"))) == 40


@pytest.mark.all
async def test_on_postgres_the_demo_kills_twelve_workers_and_loses_nothing(folder: Folder) -> None:
    """With a server of its own, of which nothing is left."""
    said = await folder.run("demo", "--db", "postgres", "--orders", "60", TMPDIR=str(folder.path))

    assert len(re.findall(r"worker \d+ is killed \(SIGKILL\), with [1-9]\d* orders open", said)) == 12
    assert "worker deaths: 12 by SIGKILL" in said
    assert "All is right" in said
    assert list(folder.path.glob("durable-*")) == []


async def test_the_demo_ends_with_1_when_the_books_were_tampered_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    honest = demo_audit.read_books

    def tampered(path: str) -> demo_audit.Books:
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("DELETE FROM ledger WHERE order_id = 'order-001' AND step = 'charge'")
        return honest(path)

    monkeypatch.setattr(demo_audit, "read_books", tampered)
    monkeypatch.setattr(demo, "PLACING_SECONDS", 1)

    code = await demo.main(Namespace(db="sqlite", orders=5, kills=0, folder=tmp_path / "demo"))

    said = capsys.readouterr().out
    assert code == 1
    assert "order-001: charge completed without an effect" in said
    assert "All is right" not in said


async def test_the_demo_ends_with_1_when_too_few_workers_died(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "PLACING_SECONDS", 1)
    monkeypatch.setattr(demo, "kill_marks", lambda orders, kills: set())

    assert await demo.main(Namespace(db="sqlite", orders=5, kills=1, folder=tmp_path / "demo")) == 1
    assert "0 workers were killed instead of 1" in capsys.readouterr().out


async def test_the_demo_says_so_when_its_worker_dies_by_itself(folder: Folder) -> None:
    process = await folder.start("demo", "--orders", "300")
    assert process.stdout is not None
    first = (await process.stdout.readline()).decode()
    match = re.fullmatch(r"worker (\d+) is at work\n", first)
    assert match

    os.kill(int(match[1]), signal.SIGKILL)

    code, said, errors = await folder.end(process)
    assert code == 1
    assert "the worker ended by itself (exit code -9): see demo/worker.log" in errors
    assert "All is right" not in said


async def test_the_demo_leaves_a_folder_alone_that_is_not_its_own(folder: Folder) -> None:
    (folder.path / "demo").mkdir()
    precious = folder.path / "demo" / "thesis.txt"
    precious.write_text("years of work")

    code, _, errors = await folder.end(await folder.start("demo"))

    assert code == 1
    assert "the folder demo holds something else than an earlier demo" in errors
    assert precious.read_text() == "years of work"


@pytest.mark.parametrize(("orders", "kills"), [(300, 3), (40, 3), (15, 3), (300, 12)])
def test_workers_are_killed_in_the_middle_of_the_work(orders: int, kills: int) -> None:
    marks = demo.kill_marks(orders, kills)

    assert len(marks) == kills
    assert all(0 < mark <= orders * 2 / 3 for mark in marks)


def figures(said: str, row: str) -> list[int]:
    """The numbers in a row of the table."""
    (line,) = (line for line in said.splitlines() if row in line)
    return [int(cell) for cell in line.split("│") if cell.strip().isdigit()]
