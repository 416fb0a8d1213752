"""Whatever happens to workers and server: every workflow is completed once, as it must be, and nothing is left over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.audit import Report
from tests.chaos.chaos import chaos
from tests.chaos.director import Plan
from tests.chaos.places import PostgresPlace, SqlitePlace
from tests.postgres import Server

SHORT = Plan(workflows=60, kills=2, stops=1)
LONG = Plan(workflows=1000, kills=16, stops=6)
SHORT_WITH_RESTARTS = replace(SHORT, restarts=1, cuts=1)
LONG_WITH_RESTARTS = replace(LONG, restarts=5, cuts=5)


def assert_fine(report: Report, plan: Plan) -> None:
    print(*(f"{name}: {figure}" for name, figure in report.figures.items()), sep="\n")
    assert report.problems == []
    assert {fault: report.figures.get(fault, 0) for fault in ("kill", "stop", "restart", "cut")} == {
        "kill": plan.kills,
        "stop": plan.stops,
        "restart": plan.restarts,
        "cut": plan.cuts,
    }
    assert report.figures["runs taken over"] > 0, "no fault has met any work"


@pytest.mark.parametrize(
    "plan", [SHORT, pytest.param(LONG, marks=[pytest.mark.all, pytest.mark.timeout(600)])], ids=["short", "long"]
)
async def test_on_sqlite_whatever_happens_to_workers(tmp_path: Path, plan: Plan) -> None:
    assert_fine(await chaos(plan, SqlitePlace(tmp_path / "durable.db"), tmp_path), plan)


@pytest.mark.parametrize(
    "plan",
    [SHORT_WITH_RESTARTS, pytest.param(LONG_WITH_RESTARTS, marks=[pytest.mark.all, pytest.mark.timeout(900)])],
    ids=["short", "long"],
)
async def test_on_postgres_whatever_happens_to_workers_and_server(
    tmp_path: Path, own_postgres_server: Server, plan: Plan
) -> None:
    place = PostgresPlace(own_postgres_server.url(own_postgres_server.create()), own_postgres_server.restart)

    assert_fine(await chaos(plan, place, tmp_path), plan)
