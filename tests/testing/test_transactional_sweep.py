"""A crash sweep over transactional activities: wherever the worker dies, what they write happens once."""

from __future__ import annotations

from tests.testing.pytests import Pytest

FLOWS = """
from datetime import timedelta
from pathlib import Path

import pytest
from durable import activity, workflow
from sqlalchemy import text
from sqlalchemy.orm import Session

LOG = Path(__file__).with_name("log.txt")
MINUTE = timedelta(minutes=1)
ADD = text("UPDATE account SET balance = balance + :cents WHERE name = :name")

@activity.defn(transactional=MINUTE, start_to_close_timeout=MINUTE)
async def give(name: str, cents: int) -> int:
    await activity.session().execute(ADD, {"name": name, "cents": cents})
    activity.heartbeat("given")
    return cents

@activity.defn(transactional=MINUTE, start_to_close_timeout=MINUTE)
def take(name: str, cents: int) -> int:
    activity.session(Session).execute(ADD, {"name": name, "cents": -cents})
    return cents

@workflow.defn
async def move() -> list[int]:
    taken = await take("a", 30)
    given = await give("b", taken)
    local = await workflow.execute_local_activity(give, args=["c", 1], start_to_close_timeout=MINUTE)
    return [taken, given, local]

@pytest.mark.crash_sweep
async def test_money_is_moved_once(durable_client, durable_worker):
    async with durable_client.engine().begin() as connection:
        await connection.execute(text("DROP TABLE IF EXISTS account"))
        await connection.execute(text("CREATE TABLE account (name TEXT PRIMARY KEY, balance BIGINT NOT NULL)"))
        await connection.execute(text("INSERT INTO account VALUES ('a', 100), ('b', 0), ('c', 0)"))
    await durable_worker(workflows=[move], activities=[give, take])
    handle = await durable_client.start_workflow(move, id="move")
    assert await handle.result() == [30, 30, 1]
    async with durable_client.engine().begin() as connection:
        found = await connection.execute(text("SELECT name, balance FROM account ORDER BY name"))
        assert [tuple(row) for row in found] == [("a", 70), ("b", 30), ("c", 1)]
    with LOG.open("a") as log:
        print("whole", file=log)
"""

POINTS_MIN = 2 * (3 + 4)
"""Before and after the three outcomes and the workflow tasks around them."""


def test_what_transactional_activities_write_happens_once_wherever_their_worker_dies(users: Pytest) -> None:
    done = users.run(FLOWS)

    assert done.outcomes == {"test_money_is_moved_once": "passed"}, done.output
    ran = (users.folder / "log.txt").read_text().splitlines()
    assert len(ran) >= 1 + POINTS_MIN
