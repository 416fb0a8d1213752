"""A worker killed before and after every SQL statement and every await: what activities have written and what the
histories say of them are the same, whatever the moment."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.failpoints import Kind
from tests.faults.planted import report_beside
from tests.faults.sweep import Sweep, sample
from tests.faults.sweep_places import Places, PostgresPlaces, SqlitePlaces

TRANSFERS = "tests.faults.scenarios"
SCENARIOS = [TRANSFERS]
SAMPLE = 20
KINDS = {
    Kind(moment, whose, what)
    for moment in ("before", "after")
    for whose in ("engine", "activity")
    for what in ("statement", "commit", "await")
}


@pytest.fixture(params=["sqlite", "postgres"])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Places:
    if request.param == "sqlite":
        return SqlitePlaces(tmp_path)
    return PostgresPlaces(request.getfixturevalue("postgres_server").url("{}"))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_rows_and_histories_agree_after_a_death_at_some_points_of_each_kind(scenario: str, places: Places) -> None:
    with Sweep(scenario, places) as sweep:
        points = sample(sweep.points(), SAMPLE)
        report = sweep.run(points)
    assert {point.kind for point in points} == KINDS
    assert report.reached.total() > SAMPLE / 2, f"\n{report}"
    assert not report.mismatches, f"\n{report}"


@pytest.mark.all
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_rows_and_histories_agree_after_a_death_at_every_point(
    scenario: str, places: Places, capsys: pytest.CaptureFixture[str]
) -> None:
    with Sweep(scenario, places, at_once=8) as sweep:
        points = sweep.points()
        report = sweep.run(points)
    with capsys.disabled():
        print(f"\n{report}")
    assert report.points.total() == len(points) > 1000
    assert report.reached.total() > 0.8 * len(points)
    assert not report.mismatches


@pytest.mark.timeout(300)
def test_a_result_that_is_committed_beside_its_transaction_is_found(tmp_path: Path) -> None:
    with Sweep(TRANSFERS, SqlitePlaces(tmp_path), plant=report_beside) as sweep:
        points = sample(sweep.points(), SAMPLE)
        report = sweep.run([point for point in points if point.kind.what == "commit"])
    assert report.mismatches, f"\n{report}"
