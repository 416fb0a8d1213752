"""The benchmarks measure what they say, at sizes so small that the figures mean nothing."""

from __future__ import annotations

import asyncio
import json
import math
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import msgspec
import psutil
import pytest

from durable import Client
from tests.benchmarks import curves, page, peers, scale, server
from tests.benchmarks.__main__ import main
from tests.benchmarks.child import MEASURES
from tests.benchmarks.curves import CURVES
from tests.benchmarks.figures import FIGURES, STORES, TITLES, Sizes, measured
from tests.benchmarks.floor import Floor
from tests.benchmarks.meters import in_flight, percentile, server_s
from tests.benchmarks.report import summary, table
from tests.benchmarks.svg import picture
from tests.benchmarks.transitions import Event
from tests.postgres import Server

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
    claims=2,
    few_timers=20,
    many_timers=40,
    environments=2,
    curve_workflows=4,
    in_flight=(1, 3),
    events=(11, 17),
    closed=(0, 5),
    timers=(10, 30),
    signals=(1, 10),
    payload_kb=(1, 2),
    payload_workflows=2,
)
SLOW = ("W5", "postgres")
"""A new worker waits for the lease of one whose sign it has never seen."""
MEASURED = [
    pytest.param(name, store, marks=pytest.mark.all if (name, store) == SLOW else ())
    for store in STORES
    for name in FIGURES
    if name != "floor" and measured(name, store)
]


@pytest.fixture
def url(store: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """Of an empty database; that on PostgreSQL has today's tables."""
    return request.getfixturevalue("postgres") if store == "postgres" else f"sqlite:///{tmp_path / 'bench.db'}"


@pytest.fixture
def floor_url(store: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The floor leaves tables of its own."""
    if store == "sqlite":
        yield f"sqlite:///{tmp_path / 'floor.db'}"
        return
    server: Server = request.getfixturevalue("postgres_server")
    name = server.create()
    yield server.url(name)
    server.drop(name)


def test_every_benchmark_has_a_title_and_figures() -> None:
    assert list(FIGURES) == list(TITLES) == list(MEASURES)
    assert list(CURVES) == list(curves.MEASURES)


@pytest.mark.parametrize(("name", "store"), MEASURED)
async def test_a_benchmark_measures_all_its_figures(name: str, store: str, url: str) -> None:
    figures = await MEASURES[name](TINY, url)

    assert {figure.key for figure in measured(name, store)} <= set(figures)
    assert set(figures) <= {figure.key for figure in FIGURES[name]}
    assert all(math.isfinite(value) for value in figures.values())


@pytest.mark.parametrize("store", STORES)
async def test_the_floor_measures_all_its_figures(store: str, floor_url: str) -> None:
    figures = await MEASURES["floor"](TINY, floor_url)

    assert set(figures) == {figure.key for figure in FIGURES["floor"]}
    assert all(math.isfinite(value) for value in figures.values())


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("name", CURVES)
async def test_a_curve_has_a_point_for_each_size(name: str, store: str, url: str) -> None:
    points = await curves.MEASURES[name](TINY, url)

    asked = {
        "in-flight": TINY.in_flight,
        "history": TINY.events,
        "closed": TINY.closed,
        "timers": TINY.timers,
        "signals": TINY.signals,
        "payload": TINY.payload_kb,
    }
    assert [point["x"] for point in points] == list(asked[name])
    assert all(set(point) >= set(CURVES[name].lines) and min(point.values()) >= 0 for point in points)


@pytest.mark.parametrize("store", STORES)
async def test_a_table_is_filled_with_closed_runs_and_with_timers(store: str, url: str) -> None:
    await curves.MEASURES["closed"](TINY, url)
    await curves.MEASURES["timers"](TINY, url)

    async with await Client.connect(url) as client:
        copies = [run async for run in client.list_workflows("WorkflowId STARTS_WITH 'order-'")]
        told = await client.get_workflow_handle("order-3").result()
        (asleep,) = [run async for run in client.list_workflows("WorkflowId = 'asleep-0'")]
        inbox = await client.database.store.inbox(asleep.run_id)
    assert sorted(run.id for run in copies) == [f"order-{number}" for number in range(5)]
    assert told == {"number": 1, "double": 2}
    assert len(inbox) == max(TINY.timers) and len({message.key for message in inbox}) == len(inbox)


@pytest.mark.parametrize("store", STORES)
async def test_a_workflow_on_the_floor_costs_two_commits_and_six_events(store: str, floor_url: str) -> None:
    async with Floor(floor_url) as floor:
        assert await floor.run("one", [21]) == [{"number": 21, "double": 42}]

        rows = await floor.rows("SELECT data FROM history ORDER BY first_id")
        events = [event for (data,) in rows for event in msgspec.msgpack.decode(data, type=list[Event])]
        assert floor.commits == 2 and [event.id for event in events] == [1, 2, 3, 4, 5, 6]
        assert await floor.rows("SELECT last_event_id, CAST(closed AS integer) FROM runs") == [(6, 1)]
        assert await floor.rows("SELECT * FROM tasks") == []


@pytest.mark.parametrize("store", STORES)
async def test_steps_on_the_floor_cost_a_commit_each_and_one(store: str, floor_url: str) -> None:
    async with Floor(floor_url) as floor:
        assert await floor.run("steps", [1], [2, 3], [4]) == [{"number": 4, "double": 8}]

        rows = await floor.rows("SELECT data FROM history ORDER BY first_id")
        events = [event for (data,) in rows for event in msgspec.msgpack.decode(data, type=list[Event])]
        assert floor.commits == 4 and [event.id for event in events] == list(range(1, len(events) + 1))
        assert [event.type for event in events].count("ActivityTaskCompleted") == 4
        assert await floor.rows("SELECT * FROM tasks") == []


async def test_the_floor_is_as_durable_as_the_engine(tmp_path: Path) -> None:
    async with Floor(f"sqlite:///{tmp_path / 'floor.db'}") as floor:
        assert await floor.rows("PRAGMA synchronous") == [(2,)]
        assert await floor.rows("PRAGMA journal_mode") == [("wal",)]


@pytest.mark.parametrize("store", STORES)
async def test_a_floor_commits_in_groups(store: str, floor_url: str) -> None:
    async with Floor(floor_url) as floor:
        await in_flight(lambda number: floor.run(f"many-{number}", [number]), 100, 50)

        assert await floor.rows("SELECT count(*) FROM runs WHERE CAST(closed AS integer) = 1") == [(100,)]
        assert floor.commits < 100


def test_a_server_of_benchmarks_waits_for_the_disk_and_is_gone_at_the_end() -> None:
    # Not below pytest's own directory: every other session of pytest takes the server's user the right to get there.
    with tempfile.TemporaryDirectory(prefix="durable-bench-") as folder:
        with server.running(Path(folder)) as databases:
            with databases.one() as url:
                assert server_s(url) > 0
            assert "fsync on, synchronous_commit on" in databases.facts
            (own,) = Path(folder).iterdir()
            postmaster = int((own / "postmaster.pid").read_text().split()[0])
        assert list(Path(folder).iterdir()) == []
    with suppress(psutil.NoSuchProcess):  # else nobody has waited for it yet
        assert psutil.Process(postmaster).status() == psutil.STATUS_ZOMBIE


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


def results(w2: Sequence[float]) -> dict[str, Any]:
    def rounds(name: str, **figures: float) -> dict[str, float]:
        return {figure.key: 1.0 for figure in FIGURES[name]} | figures

    floor = rounds("floor", per_s=5000.0, cpu_us=100.0)
    ours = {"floor": [floor], "W2": [rounds("W2", per_s=each, cpu_us=900.0) for each in w2]}
    return {"sqlite": ours, "postgres": {"W2": [rounds("W2", per_s=4500)]}, "DBOS SQLite": {"W2": [{"per_s": 60.0}]}}


def test_a_report_shows_medians_ranges_missed_targets_the_ratio_to_the_floor_and_peers() -> None:
    summed = summary(results([4000, 1000, 2000]))

    assert summed["sqlite"]["W2"]["per_s"] == {
        "median": 2000,
        "min": 1000,
        "max": 4000,
        "values": [4000, 1000, 2000],
        "unit": "/s",
        "target": 3000,
        "met": False,
        "of_floor": 0.4,
    }
    assert "server_us" not in summed["sqlite"]["W2"] and "rows" not in summed["postgres"]["W2"]
    (row,) = [line for line in table(summed).splitlines() if "4,500" in line]
    assert re.split(r" {2,}", row.strip()) == [
        *("workflows", "2,000 /s", "1,000 – 4,000", "≥ 3,000 missed", "0.40"),
        *("4,500 /s", "4,500 – 4,500", "≥ 3,000", "60.0 /s"),
    ]


def test_the_page_is_filled_between_its_marks_with_a_picture_for_each_line(tmp_path: Path) -> None:
    written, figures = tmp_path / "performance.md", tmp_path / "figures.json"
    before = page.PAGE.read_text()
    written.write_text(before)
    points = [{"x": 0.0, "per_s": 1234.0, "p50_ms": 2.0}, {"x": 100.0, "per_s": 1000.0, "p50_ms": 3.0}]
    figures.write_text(
        json.dumps(
            {
                "facts": {"machine": "a small one"},
                "results": summary(results([2000.0])),
                "curves": {"sqlite": {"closed": points}, "postgres": {}},
            }
        )
    )

    page.write(figures, written)

    text = written.read_text()
    assert "- machine: a small one" in text
    assert "| W2 | workflows, /s | **2,000** | 2,000 – 2,000 | ≥ 3,000 missed | 0.40 | **4,500** |" in text
    assert "| closed runs | 0 | 100 |\n| --- | --- | --- |\n| W2, workflows/s, SQLite | 1,234 | 1,000 |" in text
    assert re.sub("(-->).*?(<!-- end)", r"\1\2", text, flags=re.S) == re.sub(
        "(-->).*?(<!-- end)", r"\1\2", before, flags=re.S
    )
    assert sorted(path.name for path in tmp_path.glob("*.svg")) == ["closed-p50_ms.svg", "closed-per_s.svg"]


def test_the_page_shows_a_picture_of_every_line_of_every_curve() -> None:
    shown = re.findall(r"\]\(performance/(.*)\.svg\)", page.PAGE.read_text())

    assert shown == [f"{name}-{key}" for name, curve in CURVES.items() for key in curve.lines]


def test_a_picture_has_logarithmic_axes_and_a_place_for_zero() -> None:
    drawn = ElementTree.fromstring(picture("Rate", "runs & more", {"SQLite": [(0, 10), (100, 100), (1000, 1000)]}))

    circles = [each for each in drawn if each.tag.endswith("circle")]
    xs, ys = ([float(each.attrib[name]) for each in circles] for name in ("cx", "cy"))
    assert xs[2] - xs[1] == pytest.approx(xs[1] - xs[0], abs=0.2)
    assert ys[0] - ys[1] == pytest.approx(ys[1] - ys[2], abs=0.2)
    texts = [each.text for each in drawn if each.tag.endswith("text")]
    assert {"0", "100", "1,000", "runs & more", "SQLite"} <= set(texts)


def test_the_command_line_prints_a_table_writes_json_and_tells_what_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """W1 without a run has no percentiles."""
    out = tmp_path / "figures.json"
    asked = ["w3", "W1", "signals", "--stores", "sqlite", "--json", str(out), "--directory", str(tmp_path)]

    code = main(asked, msgspec.structs.replace(TINY, w1_runs=0))

    said = capsys.readouterr()
    assert code == 1 and "W1 ended with exit code 1" in said.err and "IndexError" in said.err
    assert TITLES["W3"] in said.out and TITLES["W1"] not in said.out
    written = json.loads(out.read_text())
    assert list(written["results"]) == ["sqlite"] and list(written["results"]["sqlite"]) == ["W3"]
    assert written["results"]["sqlite"]["W3"]["per_s"]["median"] > 0
    assert [point["x"] for point in written["curves"]["sqlite"]["signals"]] == list(TINY.signals)
    assert written["sizes"]["w3_activities"] == 4
    assert "SQLite" in written["facts"]["python"] and "SQLite" in said.out
    assert list(tmp_path.iterdir()) == [out]


def test_benchmarks_run_in_turn_round_after_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, bool, int]] = []

    def noted(name: str, sizes: Sizes, directory: Path, databases: object, type: object) -> dict[str, float]:
        ran.append((name, databases is None, sizes.w1_runs))
        return {figure.key: 1.0 for figure in FIGURES[name]}

    monkeypatch.setattr("tests.benchmarks.__main__.measure", noted)
    monkeypatch.setattr(server, "running", lambda directory: nullcontext(SimpleNamespace(facts="")))

    assert main(["W2", "tests", "floor", "claim", "--quick", "--rounds", "2", "--directory", str(tmp_path)]) == 0
    each_round = [("floor", True), ("floor", False), ("W2", True), ("W2", False)]
    once = [("claim", True), ("claim", False)]
    assert ran == [(*each, 50) for each in [*each_round, *once, ("tests", True), *each_round, ("tests", True)]]


def test_a_peer_runs_right_after_us_in_each_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[str] = []

    def noted(name: str, *_: object) -> dict[str, float]:
        ran.append(f"ours {name}")
        return {figure.key: 1.0 for figure in FIGURES[name]}

    def peer(name: str, *_: object) -> dict[str, float]:
        ran.append(f"peer {name}")
        return {"per_s": 66.0}

    monkeypatch.setattr("tests.benchmarks.__main__.measure", noted)
    monkeypatch.setattr(peers, "measure", peer)
    monkeypatch.setattr(peers, "installed", lambda: "a peer")

    asked = ["W2", "W4", "W5", "--peers", "--stores", "sqlite", "--rounds", "2", "--directory", str(tmp_path)]
    assert main(asked, TINY) == 0

    assert ran == ["ours W2", "peer W2", "ours W4", "peer W4", "ours W5"] * 2
    assert "66.0 /s" in capsys.readouterr().out


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
