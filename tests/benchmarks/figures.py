"""What each benchmark measures, in which units, how much of it, and where it should be."""

from __future__ import annotations

from msgspec import Struct

STORES = {"sqlite": "SQLite", "postgres": "PostgreSQL"}


class Figure(Struct, frozen=True):
    """One number of a benchmark; ``targets`` in its unit, on SQLite and on PostgreSQL, None where none are set.

    ``stores`` are those on which there is something to measure.
    """

    key: str
    label: str
    unit: str
    targets: tuple[float, float] | None = None
    more_is_better: bool = False
    stores: tuple[str, ...] = tuple(STORES)

    def target(self, store: str) -> float | None:
        return None if self.targets is None else self.targets[list(STORES).index(store)]

    def is_met(self, value: float, target: float) -> bool:
        return value >= target if self.more_is_better else value <= target


class Sizes(Struct, frozen=True, kw_only=True):
    """How much is done. ``rounds`` is how often each benchmark runs, each time in a process of its own."""

    rounds: int = 3
    w1_runs: int = 200
    w2_workflows: int = 2000
    w2_in_flight: int = 200
    w3_activities: int = 1000
    w4_activities: int = 1000
    w5_workflows: int = 500
    w5_activities: int = 10
    w6_workflows: int = 5000
    w6_sleep_s: float = 5.0
    replay_activities: int = 1500
    parked_runs: int = 10_000
    idle_s: float = 5.0
    claims: int = 100
    few_timers: int = 1000
    many_timers: int = 1_000_000
    environments: int = 50
    curve_workflows: int = 2000
    in_flight: tuple[int, ...] = (100, 1000, 10_000)
    events: tuple[int, ...] = (100, 1000, 10_000, 50_000)
    closed: tuple[int, ...] = (0, 10_000, 100_000, 1_000_000)
    timers: tuple[int, ...] = (1000, 10_000, 100_000, 1_000_000)
    signals: tuple[int, ...] = (100, 1000, 10_000)
    payload_kb: tuple[int, ...] = (1, 10, 100, 1000)
    payload_workflows: int = 200


FULL = Sizes()
QUICK = Sizes(
    rounds=1,
    w1_runs=50,
    w2_workflows=600,
    w3_activities=300,
    w4_activities=300,
    w5_workflows=50,
    w6_workflows=500,
    w6_sleep_s=1.0,
    replay_activities=500,
    parked_runs=1000,
    idle_s=3.0,
    claims=50,
    many_timers=50_000,
    environments=20,
    curve_workflows=500,
    in_flight=(100, 1000),
    events=(100, 1000, 5000),
    closed=(0, 10_000),
    timers=(1000, 10_000),
    signals=(100, 1000),
    payload_kb=(1, 100),
    payload_workflows=50,
)

_MEMORY = Figure("peak_mib", "peak memory", "MiB")
_SERVER = Figure("server_us", "CPU of the server, each", "µs", stores=("postgres",))
_SQLITE = ("sqlite",)

FIGURES: dict[str, tuple[Figure, ...]] = {
    "floor": (
        Figure("p50_ms", "one at a time, p50", "ms"),
        Figure("per_s", "workflows", "/s", more_is_better=True),
        Figure("cpu_us", "CPU a workflow", "µs"),
        Figure("w3_per_s", "activities one after another", "/s", more_is_better=True),
        Figure("w4_per_s", "activities at once", "/s", more_is_better=True),
        _MEMORY,
        _SERVER,
    ),
    "W1": (
        Figure("p50_ms", "p50", "ms", (2.5, 4)),
        Figure("p95_ms", "p95", "ms"),
        Figure("p99_ms", "p99", "ms"),
        Figure("cpu_us", "CPU a workflow", "µs"),
        _MEMORY,
        _SERVER,
    ),
    "W2": (
        Figure("per_s", "workflows", "/s", (3000, 3000), more_is_better=True),
        Figure("cpu_us", "CPU a workflow", "µs", (320, 320)),
        Figure("batch", "workflows a commit", "", more_is_better=True),
        Figure("statements", "statements a commit", ""),
        Figure("rows", "rows written a workflow", "", stores=_SQLITE),
        _MEMORY,
        _SERVER,
    ),
    "guard": (
        Figure("events", "audit events a workflow of W2", "", stores=_SQLITE),
        Figure("event_ns", "the hook, an event", "ns", stores=_SQLITE),
        Figure("percent", "of the CPU of W2", "%", (2, 2), stores=_SQLITE),
    ),
    "W3": (
        Figure("per_s", "activities", "/s", (1000, 600), more_is_better=True),
        Figure("cpu_us", "CPU an activity", "µs"),
        _MEMORY,
        _SERVER,
    ),
    "W4": (
        Figure("per_s", "activities", "/s", (5000, 3000), more_is_better=True),
        Figure("cpu_us", "CPU an activity", "µs"),
        _MEMORY,
        _SERVER,
    ),
    "W5": (
        Figure("from_kill_s", "all resumed, from the SIGKILL", "s", (1, 1)),
        Figure("from_ready_s", "from when the new worker is up", "s"),
    ),
    "W6": (
        Figure("beyond_s", "all ended, beyond the sleep", "s", (1, 1)),
        Figure("late_s", "after the last was due", "s"),
        Figure("cpu_us", "CPU a workflow", "µs"),
        _MEMORY,
        _SERVER,
    ),
    "replay": (
        Figure("per_s", "events of a long history", "/s", (100_000, 100_000), more_is_better=True),
        Figure("short_per_s", "of one a tenth as long", "/s", more_is_better=True),
    ),
    "parked": (
        Figure("kib", "memory of a cached run", "KiB", (20, 20)),
        Figure("cpu_percent", "CPU of the idle worker", "% of a core", (1, 1)),
        Figure("statements_per_s", "statements, data_version apart", "/s", (5, 5)),
    ),
    "claim": (
        Figure("few_ms", "a claim, few timers pending, p50", "ms"),
        Figure("many_ms", "a claim, many timers pending, p50", "ms"),
        Figure("ratio", "many ÷ few", "", (1.25, 1.25)),
    ),
    "tests": (
        Figure("start_ms", "environment and worker, p50", "ms", (100, 100), stores=_SQLITE),
        Figure("start_p95_ms", "environment and worker, p95", "ms", stores=_SQLITE),
        Figure("whole_ms", "a whole test, p50", "ms", stores=_SQLITE),
        Figure("first_ms", "the first environment of a process", "ms", stores=_SQLITE),
    ),
}

TITLES = {
    "floor": "the bare shape: six events and two commits a workflow, group commit, nothing else",
    "W1": "start to result, one at a time, one activity",
    "W2": "workflows of one activity, many in flight",
    "guard": "what the audit hook of workflow code costs W2",
    "W3": "one workflow, its activities one after another",
    "W4": "one workflow, its activities all at once",
    "W5": "workflows parked after some activities, their worker killed, another one started",
    "W6": "workflows of one durable sleep",
    "replay": "a history read and replayed",
    "parked": "a worker that holds parked runs",
    "claim": "what a claim costs, timers pending",
    "tests": "environments of tests whose time skips, each with a worker and a workflow of one activity",
}

ONCE = {"claim"}
"""These fill large tables, and run in the first round only; each is a median itself."""

AGAINST_THE_FLOOR = {
    ("W1", "p50_ms"): "p50_ms",
    ("W2", "per_s"): "per_s",
    ("W2", "cpu_us"): "cpu_us",
    ("W3", "per_s"): "w3_per_s",
    ("W4", "per_s"): "w4_per_s",
}
"""Which figures of ours have one of the floor to be compared with."""


def measured(name: str, store: str) -> list[Figure]:
    """What a benchmark measures on a store; nothing, where it has nothing to do with that store."""
    return [figure for figure in FIGURES[name] if store in figure.stores]
