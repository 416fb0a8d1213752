"""The sweep: a worker process killed at each of its failpoints in turn, another one that goes on, and what they leave.

A scenario is a module with a ``SCENARIO``, whose activities write their `effects`. All its processes are forked from
one that has loaded it.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import logging
import multiprocessing
import signal
import threading
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import zip_longest
from multiprocessing.connection import Connection, wait
from typing import Any

from durable import Client, Worker
from tests.faults.effects import metadata
from tests.faults.failpoints import Failpoints, Kind, Point
from tests.faults.sweep_places import Places, forks
from tests.forkserver import processes
from tests.postgres import asked_once

LEASE = timedelta(seconds=0.3)
PATIENCE_S = 120
"""So long a process may take, which else takes less than a second: what hangs is found so."""

Plant = Callable[[], None]


@dataclass(frozen=True)
class Scenario:
    """``drive`` starts the workflows, unless that is done, and waits for their ends; ``judge`` says what is not as it
    must be then, `disagreements` first of all."""

    workflows: Sequence[Any]
    activities: Sequence[Any]
    drive: Callable[[Client], Awaitable[None]]
    judge: Callable[[Client], Awaitable[list[str]]]

    def worker(self, client: Client) -> Worker:
        return Worker(client, workflows=self.workflows, activities=self.activities, lease=LEASE)


@dataclass(frozen=True)
class Trial:
    """What became of a process that was to be killed at ``point``; None: at none, and then it tells all that it has
    passed. ``found`` is what was wrong when another one had seen all to its end."""

    point: Point | None
    exitcode: int | None
    passed: Sequence[Point]
    found: Sequence[str]


# The processes. -------------------------------------------------------------------------------------------------------


def work(tells: Connection, address: str, scenario: Scenario, deadly: Point | None, plant: Plant | None) -> None:
    """Work until it is killed, or all is over."""
    if plant is not None:
        plant()
    points = Failpoints(deadly)
    points.install()

    async def main() -> None:
        async with await Client.connect(address) as client, scenario.worker(client):
            await scenario.drive(client)
            points.end()

    asyncio.run(main())
    tells.send(points.passed if deadly is None else [])


def go_on(tells: Connection, address: str, scenario: Scenario) -> None:
    """See all to its end, and tell what is wrong then."""

    async def main() -> list[str]:
        async with await Client.connect(address) as client:
            async with scenario.worker(client):
                await scenario.drive(client)
            return await scenario.judge(client)

    tells.send(asyncio.run(main()))


class Child:
    """A forked process, and what it tells."""

    def __init__(self, main: Callable[..., None], *args: Any) -> None:
        self.hears, tells = multiprocessing.Pipe(duplex=False)
        self._process = forks.Process(target=_within_patience, args=(main, tells, *args), daemon=True)
        self._process.start()
        tells.close()

    def end(self) -> tuple[int | None, Any]:
        """Its exit code, and what it has told, or None; once ``hears`` has something, be it the end."""
        try:
            told = self.hears.recv()
        except EOFError:
            told = None
        self.hears.close()
        self._process.join()
        return self._process.exitcode, told


def _within_patience(main: Callable[..., None], tells: Connection, *args: Any) -> None:
    signal.alarm(PATIENCE_S)
    main(tells, *args)


def nursery(requests: Connection, module: str, places: Places, at_once: int, plant: Plant | None) -> None:
    """The main function of the process that forks the others: for each list of points that it gets, the trials."""
    logging.disable(logging.CRITICAL)
    scenario: Scenario = importlib.import_module(module).SCENARIO
    places.make(metadata)
    _warm_up(scenario, places)
    gc.freeze()  # a collection would copy all that its forks share
    try:
        while True:
            points: list[Point | None] = requests.recv()
            for each in _trials(points, scenario, places, at_once, plant):
                requests.send(each)
    except EOFError:
        places.close()


def _warm_up(scenario: Scenario, places: Places) -> None:
    """Load and compile what its forks need, which else takes each of them longer than its work."""
    from asyncpg import Connection as PostgresConnection

    raw: Any = PostgresConnection
    raw._introspect_types = asked_once(raw._introspect_types)
    address = places.lend()

    async def main() -> None:
        async with await Client.connect(address) as client, scenario.worker(client):
            await scenario.drive(client)

    asyncio.run(main())
    for thread in threading.enumerate():
        if thread is not threading.main_thread():
            thread.join()  # no fork may find a lock taken whose holder it does not have
    places.give_back(address)


def _trials(
    points: Sequence[Point | None], scenario: Scenario, places: Places, at_once: int, plant: Plant | None
) -> Generator[Trial]:
    """In the order in which they end."""
    waiting = list(reversed(points))
    under_way: dict[Connection, Generator[Child, None, Trial]] = {}
    while waiting or under_way:
        while waiting and len(under_way) < at_once:
            trial = _trial(waiting.pop(), scenario, places, plant)
            under_way[next(trial).hears] = trial
        for each in wait(list(under_way)):
            assert isinstance(each, Connection)
            trial = under_way.pop(each)
            try:
                under_way[next(trial).hears] = trial
            except StopIteration as end:
                yield end.value


def _trial(
    point: Point | None, scenario: Scenario, places: Places, plant: Plant | None
) -> Generator[Child, None, Trial]:
    """Yields each process that has to end before it goes on."""
    address = places.lend()
    child = Child(work, address, scenario, point, plant)
    yield child
    exitcode, passed = child.end()
    child = Child(go_on, address, scenario)
    yield child
    how, found = child.end()
    places.give_back(address)
    if exitcode not in (0, -signal.SIGKILL):
        found = [*(found or []), f"the process that was to be killed ended with {exitcode}"]
    return Trial(point, exitcode, passed or [], found if how == 0 else [f"nobody could go on: exit code {how}"])


# The sweep. ---------------------------------------------------------------------------------------------------------


@dataclass
class Report:
    """How many points were to be swept, how many of them were reached, and what was wrong after which."""

    points: Counter[Kind] = field(default_factory=Counter[Kind])
    reached: Counter[Kind] = field(default_factory=Counter[Kind])
    mismatches: dict[Point, Sequence[str]] = field(default_factory=dict[Point, Sequence[str]])

    def __str__(self) -> str:
        wrong = Counter(point.kind for point in self.mismatches)
        rows: list[tuple[object, ...]] = [("points of failure", "swept", "reached", "mismatches")]
        rows += [(kind, swept, self.reached[kind], wrong[kind]) for kind, swept in sorted(self.points.items())]
        rows.append(("all", self.points.total(), self.reached.total(), len(self.mismatches)))
        lines = [f"{name!s:<32}{swept:>8}{reached:>10}{wrong:>12}" for name, swept, reached, wrong in rows]
        lines += [f"{point}: {told}" for point, found in self.mismatches.items() for told in found]
        return "\n".join(lines)


class Sweep:
    """Of one scenario, given by its module, in databases of one kind; ``at_once`` points at a time.

    ``plant`` changes the processes that are to be killed. It is a block.
    """

    def __init__(self, module: str, places: Places, *, at_once: int = 4, plant: Plant | None = None) -> None:
        self._pipe, other = multiprocessing.Pipe()
        args = (other, module, places, at_once, plant)
        self._process = processes.Process(target=nursery, args=args)
        self._process.start()
        other.close()

    def __enter__(self) -> Sweep:
        return self

    def __exit__(self, *error: object) -> None:
        self._pipe.close()
        self._process.join()

    def points(self) -> list[Point]:
        """Those of a process that nothing happens to, in their order."""
        (trial,) = self._trials([None])
        assert trial.exitcode == 0 and not trial.found, f"undisturbed: {trial.exitcode}, {trial.found}"
        return list(trial.passed)

    def run(self, points: Sequence[Point]) -> Report:
        report = Report()
        for trial in self._trials(points):
            point = trial.point
            assert point is not None
            report.points[point.kind] += 1
            report.reached[point.kind] += trial.exitcode == -signal.SIGKILL
            if trial.found:
                report.mismatches[point] = trial.found
        return report

    def _trials(self, points: Sequence[Point | None]) -> Iterable[Trial]:
        self._pipe.send(points)
        for _ in points:
            yield self._pipe.recv()


def sample(points: Sequence[Point], size: int) -> list[Point]:
    """Some of them, in equal parts of each kind, spread over the time: the same ones of the same points."""
    kinds: defaultdict[Kind, list[Point]] = defaultdict(list)
    for point in points:
        kinds[point.kind].append(point)
    share = -(-size // len(kinds))
    spread = [_spread(kinds[kind], share) for kind in sorted(kinds)]
    return [point for each in zip_longest(*spread) for point in each if point is not None][:size]


def _spread(points: Sequence[Point], size: int) -> list[Point]:
    size = min(size, len(points))
    return [points[(2 * number + 1) * len(points) // (2 * size)] for number in range(size)]
