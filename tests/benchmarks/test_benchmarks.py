"""The benchmarks measure what they say, at sizes so small that the figures mean nothing."""

from __future__ import annotations

import asyncio
import json
import math
from pathlib import Path

import msgspec
import pytest

from tests.benchmarks import scale
from tests.benchmarks.__main__ import main
from tests.benchmarks.child import MEASURES
from tests.benchmarks.figures import FIGURES, TITLES, Sizes
from tests.benchmarks.floor import Event, Floor
from tests.benchmarks.meters import in_flight, percentile
from tests.benchmarks.report import summary, table

TINY = Sizes(
    rounds=1,
    w1_runs=3,
    w2_workflows=8,
    w2_in_flight=4,
    w3_activities=4,
    w4_activities=4,
    w5_workflows=2,
    w5_activities=1,
    w6_workflows=4,
    w6_sleep_s=0.05,
    replay_activities=10,
    parked_runs=4,
    idle_s=0.1,
    environments=2,
)


def test_every_benchmark_has_a_title_and_figures() -> None:
    assert list(FIGURES) == list(TITLES) == list(MEASURES)


@pytest.mark.parametrize("name", FIGURES)
async def test_a_benchmark_measures_all_its_figures(name: str, tmp_path: Path) -> None:
    figures = await MEASURES[name](TINY, tmp_path)

    assert set(figures) == {figure.key for figure in FIGURES[name]}
    assert all(math.isfinite(value) for value in figures.values())


async def test_a_workflow_on_the_floor_costs_two_commits_and_six_events(tmp_path: Path) -> None:
    async with Floor(tmp_path / "floor.db") as floor:
        assert await floor.run("one", 21) == {"number": 21, "double": 42}

        rows = floor.rows("SELECT data FROM history ORDER BY first_id")
        events = [event for (data,) in rows for event in msgspec.msgpack.decode(data, type=list[Event])]
        assert floor.commits == 2 and [event.id for event in events] == [1, 2, 3, 4, 5, 6]
        assert floor.rows("SELECT last_event_id, closed FROM runs") == [(6, 1)]
        assert floor.rows("SELECT * FROM tasks") == []


async def test_the_floor_is_as_durable_as_the_engine(tmp_path: Path) -> None:
    async with Floor(tmp_path / "floor.db") as floor:
        assert floor.rows("PRAGMA synchronous") == [(2,)]
        assert floor.rows("PRAGMA journal_mode") == [("wal",)]


async def test_a_floor_commits_in_groups(tmp_path: Path) -> None:
    async with Floor(tmp_path / "floor.db") as floor:
        await in_flight(lambda number: floor.run(f"many-{number}", number), 100, 50)

        assert floor.rows("SELECT count(*) FROM runs WHERE closed") == [(100,)]
        assert floor.commits < 100


async def test_no_more_than_the_asked_number_is_under_way_at_once() -> None:
    under_way, most, done = 0, 0, list[int]()

    async def work(number: int) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        done.append(number)

    await in_flight(work, 20, 3)

    assert most == 3 and sorted(done) == list(range(20))


@pytest.mark.parametrize(("percent", "value"), [(50, 50), (95, 95), (99, 99), (100, 100)])
def test_a_percentile_is_one_of_the_values(percent: int, value: int) -> None:
    assert percentile([float(number) for number in range(100, 0, -1)], percent) == value


def test_a_report_shows_medians_ranges_missed_targets_and_the_ratio_to_the_floor() -> None:
    def w2(per_s: float) -> dict[str, float]:
        return {figure.key: 1.0 for figure in FIGURES["W2"]} | {"per_s": per_s, "cpu_us": 900.0}

    floor = {"p50_ms": 1.0, "per_s": 5000.0, "cpu_us": 100.0, "peak_mib": 1.0}

    summed = summary({"floor": [floor], "W2": [w2(4000), w2(1000), w2(2000)]})["W2"]
    lines = table({"floor": [floor], "W2": [w2(4000), w2(1000), w2(2000)]}).splitlines()

    assert summed["per_s"] == {
        "median": 2000,
        "min": 1000,
        "max": 4000,
        "values": [4000, 1000, 2000],
        "unit": "/s",
        "target": 3000,
        "met": False,
        "of_floor": 0.4,
    }
    (row,) = [line for line in lines if "4,000" in line]
    assert row.split() == ["workflows", "2,000", "/s", "1,000", "–", "4,000", "≥", "3,000", "missed", "0.40"]


def test_the_command_line_prints_a_table_writes_json_and_tells_what_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """W1 without a run has no percentiles."""
    out = tmp_path / "figures.json"

    code = main(
        ["w3", "W1", "--json", str(out), "--directory", str(tmp_path)], msgspec.structs.replace(TINY, w1_runs=0)
    )

    said = capsys.readouterr()
    assert code == 1 and "W1 ended with exit code 1" in said.err and "IndexError" in said.err
    assert TITLES["W3"] in said.out and TITLES["W1"] not in said.out
    written = json.loads(out.read_text())
    assert list(written["results"]) == ["W3"]
    assert written["results"]["W3"]["per_s"]["median"] > 0
    assert written["sizes"]["w3_activities"] == 4
    assert "SQLite" in written["facts"]["python"] and "SQLite" in said.out
    assert list(tmp_path.iterdir()) == [out]


def test_benchmarks_run_in_turn_round_after_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, int]] = []

    def noted(name: str, sizes: Sizes, directory: Path) -> dict[str, float]:
        ran.append((name, sizes.w1_runs))
        return {figure.key: 1.0 for figure in FIGURES[name]}

    monkeypatch.setattr("tests.benchmarks.__main__.measure", noted)

    assert main(["W2", "floor", "--quick", "--rounds", "2", "--directory", str(tmp_path)]) == 0
    assert ran == [("floor", 50), ("W2", 50)] * 2


def test_a_benchmark_that_does_not_exist_is_refused_with_those_that_do(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["W9"], TINY)

    assert "no benchmark 'W9'; there are floor, W1, W2" in capsys.readouterr().err


async def test_what_worker_processes_bring_is_measured_and_told_in_a_table(
    postgres: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await scale.main(postgres, [0, 1], TINY)

    head, _, *rows, size = capsys.readouterr().out.splitlines()
    assert head == "| | one process | 1 workers |"
    assert [row.split(" | ")[0] for row in rows] == [
        "| W1 p50, ms",
        "| W1 p99, ms",
        "| W2, workflows/s",
        "| W3, activities/s",
        "| W4, activities/s",
        "| connections",
    ]
    assert size.endswith(f"of {2 * (scale.WARM_UP + TINY.w1_runs + TINY.w2_workflows + 2)}")
