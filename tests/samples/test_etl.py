"""etl: every partition is loaded, by an activity of its own, and loading again replaces."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import etl
from durable.history.events import ActivityTaskScheduled
from tests.samples.conftest import Folder


def rows(path: Path) -> list[tuple[str, float]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT day, rain_mm FROM weather ORDER BY day").fetchall()


def published() -> list[tuple[str, float]]:
    return sorted((row["date"].replace("/", "-"), float(row["precipitation"])) for row in etl.source())


async def test_all_partitions_are_loaded_one_activity_each(folder: Folder, replay: Callable[..., None]) -> None:
    said = await folder.run("etl")

    assert said.startswith("48 partitions, 1461 rows; the wettest month was ")
    assert [line.split()[:3] for line in said.splitlines()[2:]] == [
        ["2012", "12", "366"],
        ["2013", "12", "365"],
        ["2014", "12", "365"],
        ["2015", "12", "365"],
    ]
    assert rows(folder.path / "weather.db") == published()
    histories = await folder.histories()
    scheduled = [event for event in histories[0].events if isinstance(event, ActivityTaskScheduled)]
    assert Counter(event.activity_type for event in scheduled) == {"partitions": 1, "load": 48}
    replay(histories, etl.load_weather)


async def test_a_second_load_leaves_the_same_rows(folder: Folder) -> None:
    await folder.run("etl")

    await folder.run("etl")

    assert rows(folder.path / "weather.db") == published()
    assert len(await folder.histories()) == 2


def test_a_partition_that_was_half_loaded_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(etl, "WAREHOUSE", str(tmp_path / "weather.db"))
    etl.replace_month("2012-01")
    with closing(sqlite3.connect(tmp_path / "weather.db")) as db, db:
        db.execute("DELETE FROM weather WHERE day > '2012-01-10'")
        db.execute("UPDATE weather SET rain_mm = -1")

    loaded = etl.replace_month("2012-01")

    january = [row for row in published() if row[0].startswith("2012-01")]
    assert rows(tmp_path / "weather.db") == january
    assert loaded.rows == len(january) == 31
