"""An ETL with one activity per partition: fanned out, each retried and reloaded by itself, never loaded twice.

    pip install 'durable[samples]' && python samples/etl.py

loads four years of Seattle's weather, one month an activity, from the package vega-datasets into a table.
"""

import asyncio
import csv
import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

from durable import Client, Worker, activity, workflow

WAREHOUSE = os.environ.get("ETL_DB", "weather.db")

SCHEMA = """
CREATE TABLE IF NOT EXISTS weather (
    day TEXT PRIMARY KEY, month TEXT NOT NULL, rain_mm REAL NOT NULL, max_celsius REAL NOT NULL, sky TEXT NOT NULL
)
"""
SUMMARY = """
SELECT substr(month, 1, 4) AS year, count(DISTINCT month), count(*), sum(rain_mm), max(max_celsius), sum(sky = 'sun')
FROM weather GROUP BY year ORDER BY year
"""


@dataclass(frozen=True)
class Loaded:
    month: str
    rows: int
    rain_mm: float


def source() -> list[dict[str, str]]:
    """The rows as they were published. Its place is looked up without importing the package, which imports pandas."""
    package = find_spec("vega_datasets")
    if package is None or package.origin is None:
        raise SystemExit("the data set comes with vega-datasets: pip install 'durable[samples]'")
    with (Path(package.origin).parent / "_data" / "seattle-weather.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def month_of(row: dict[str, str]) -> str:
    return row["date"][:7].replace("/", "-")


@activity.defn(start_to_close_timeout=timedelta(minutes=1))
async def partitions() -> list[str]:
    return sorted({month_of(row) for row in await asyncio.to_thread(source)})


@activity.defn(start_to_close_timeout=timedelta(minutes=1))
async def load(month: str) -> Loaded:
    return await asyncio.to_thread(replace_month, month)


def replace_month(month: str) -> Loaded:
    """All of a partition or nothing; and whatever an earlier attempt has left is replaced, so it can run again."""
    rows = [
        (row["date"].replace("/", "-"), month, float(row["precipitation"]), float(row["temp_max"]), row["weather"])
        for row in source()
        if month_of(row) == month
    ]
    with closing(sqlite3.connect(WAREHOUSE, timeout=60, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        with db:
            db.execute(SCHEMA)
            db.execute("DELETE FROM weather WHERE month = ?", (month,))
            db.executemany("INSERT INTO weather VALUES (?, ?, ?, ?, ?)", rows)
    return Loaded(month, len(rows), sum(row[2] for row in rows))


@workflow.defn
async def load_weather() -> list[Loaded]:
    return await asyncio.gather(*[load(month) for month in await partitions()])


async def main() -> None:
    source()
    async with (
        await Client.connect() as client,
        Worker(client, workflows=[load_weather], activities=[partitions, load], max_concurrent_activities=8),
    ):
        loaded = await client.execute_workflow(load_weather, id="load-weather")
    wettest = max(loaded, key=lambda each: each.rain_mm)
    print(f"{len(loaded)} partitions, {sum(each.rows for each in loaded)} rows; the wettest month was {wettest.month}")
    print("year  months  days  rain mm  hottest °C  sunny days")
    with closing(sqlite3.connect(WAREHOUSE)) as db:
        for row in db.execute(SUMMARY):
            print("{}  {:6}  {:4}  {:7.1f}  {:10.1f}  {:10}".format(*row))


if __name__ == "__main__":
    asyncio.run(main())
