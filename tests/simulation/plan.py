"""Pure: what a seed decides, as a value, and what of it can be left out.

What can be left out has a name: ``w1`` is an errand, ``w1.t3`` one of its tasks, ``w1.s2.0`` a step of its program,
``limits`` the run timeouts, ``codec`` the payload codec,
``p2`` a worker, ``crash`` a kind of fault; ``fates``, ``cache`` and ``slots`` are what `Plan` calls so; a number is one
fault, in the order in which they happen.
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Iterable
from typing import Any

import msgspec

from tests.simulation.grammar import Author, Program, Step, signals_needed
from tests.simulation.host import Faults

Task = tuple[Any, ...]

ROOMY = 100
"""As many slots, or cached runs, as anybody needs."""
CHANCES = {
    "crash": [0.002, 0.01, 0.04],
    "pause": [0.01, 0.03, 0.1],
    "fail": [0.02, 0.2],
    "lose": [0.02, 0.2],
    "slow": [0.01, 0.1],
    "clock": [0.005, 0.03],
    "duplicate": [0.02, 0.2],
    "late": [0.01, 0.05],
}
"""How likely each kind of fault is in the seeds that have it."""
CODECS = 0.1
"""How many of the seeds have a payload codec."""
NAME = re.compile(r"[a-z_]+|[wp]\d+|w\d+\.(t\d+|s\d+(\.\d+)*)")


class Assignment(msgspec.Struct, kw_only=True):
    """What the client wants of one workflow.

    ``tasks`` are done in order: ("signal", n), ("update", n), ("query",), ("look",), ("cancel",), ("terminate",),
    ("pause", s). ``limit_ms`` is its run timeout; 0: none.
    """

    workflow_id: str
    program: Program
    tasks: list[Task]
    limit_ms: int = 0


class Life(msgspec.Struct, frozen=True, kw_only=True):
    """What lies ahead of a process: its ``fate``, if any, after so many ``steps``; the next comes ``gap_s`` later."""

    seed: int
    fate: str
    steps: int
    gap_s: float


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All that is decided before a simulation begins. ``workers`` are processes, by number; the client is number 1."""

    seed: int
    assignments: list[Assignment]
    workers: list[int]
    client_works: bool
    faults: Faults
    fates: float
    faulty_us: int
    cached_max: int
    slots: int
    grace_s: float
    codec: bool
    without: frozenset[str]
    parts: list[str]
    """What could be left out besides, large parts first."""

    @classmethod
    def of(cls, seed: int, without: Collection[str] = ()) -> Plan:
        """The plan of a seed, and of it all but ``without``."""
        plot, knife = random.Random(f"plot {seed}"), _Knife(without)
        # All is drawn, also what is left out: so the rest stays what it is.
        chances = {kind: plot.choice([0.0, 0.0, *CHANCES.get(kind, [0.01, 0.1])]) for kind in Faults.__struct_fields__}
        cached_max = plot.choice([0, 1, ROOMY, ROOMY])
        slots = plot.choice([1, 3, ROOMY, ROOMY])
        grace_s = plot.choice([0.0, 1.0])
        limits = random.Random(f"limits {seed}")  # apart, so that seeds that were there before them stay what they were
        fates = plot.choice([0.0, 0.3, 0.8])
        faulty_us = round(plot.uniform(1, 6) * 1e6)
        workers = range(2, 2 + plot.randint(1, 2))
        client_works = plot.random() < 0.6
        assignments = [_assignment(plot, f"w{number}") for number in range(plot.randint(1, 4))]
        for each in assignments:
            each.limit_ms = limits.choice([0, 0, 0, 0, 0, 50, 800, 3000])
        if any(each.limit_ms for each in assignments) and not knife.spares("limits"):
            for each in assignments:
                each.limit_ms = 0
        kept = [each for each in assignments if knife.spares(each.workflow_id)]
        plan = cls(
            seed=seed,
            workers=[number for number in workers if knife.spares(f"p{number}")],
            client_works=client_works,
            faults=Faults(**{kind: chance for kind, chance in chances.items() if chance and knife.spares(kind)}),
            fates=fates if fates and knife.spares("fates") else 0.0,
            faulty_us=faulty_us,
            cached_max=cached_max if cached_max < ROOMY and knife.spares("cache") else ROOMY,
            slots=slots if slots < ROOMY and knife.spares("slots") else ROOMY,
            grace_s=grace_s,
            codec=random.Random(f"codec {seed}").random() < CODECS and knife.spares("codec"),
            assignments=[knife.pare(each) for each in kept],
            without=knife.without,
            parts=knife.parts,
        )
        knife.check(seed)
        return plan

    def life(self, number: int, *, errands: bool) -> Life:
        """The life of the process of this number; the one with the ``errands`` does not stop by itself."""
        chance = random.Random(f"process {self.seed} {number}")
        seed, fated = chance.getrandbits(64), chance.random() < self.fates
        fate = chance.choice(["crash", "pause"] if errands else ["crash", "pause", "stop"])
        steps = int(10 ** chance.uniform(0.5, 3.5))
        return Life(seed=seed, fate=fate if fated else "", steps=steps, gap_s=chance.uniform(0, 1.5))

    @property
    def command(self) -> str:
        """What repeats it, on one line."""
        cut = f" --without {to_text(self.without)}" if self.without else ""
        return f"python -m tests.simulation {self.seed}{cut}"

    def lines(self) -> list[str]:
        """For a person."""
        faults = {kind: chance for kind, chance in msgspec.structs.asdict(self.faults).items() if chance}
        told = [
            f"workers: {self.workers}{', and the client' if self.client_works else ''}; {self.slots} slots each, "
            f"{'a codec, ' if self.codec else ''}"
            f"{self.cached_max} cached runs; for {self.faulty_us / 1e6:.1f} s faults {faults}, fates {self.fates}"
        ]
        for each in self.assignments:
            limit = f", within {each.limit_ms} ms" if each.limit_ms else ""
            told.append(f"{each.workflow_id}: {each.program.steps}, then {each.program.ending}{limit}")
            told.append(f"    asked for: {', '.join(' '.join(map(str, task)) for task in each.tasks)}")
        return told


class _Knife:
    """Leaves out what is in ``without``, and notes what else could have been."""

    def __init__(self, without: Collection[str]) -> None:
        self.without = frozenset(without)
        self.parts: list[str] = []
        self._known: set[str] = set()

    def spares(self, name: str, *, needed: bool = False) -> bool:
        """Does it stay? What is ``needed`` by something else that stays does."""
        self._known.add(name)
        if needed or name not in self.without:
            if not needed:
                self.parts.append(name)
            return True
        return False

    def pare(self, whole: Assignment) -> Assignment:
        """What is left to do: signals are counted anew, and none is left out that a step waits for."""
        steps = self._steps(whole.program.steps, f"{whole.workflow_id}.s")
        needed = max(map(signals_needed, steps), default=0)
        tasks: list[Task] = []
        signals = 0
        for place, task in enumerate(whole.tasks):
            is_signal = task[0] == "signal"
            if self.spares(f"{whole.workflow_id}.t{place}", needed=is_signal and signals < needed):
                tasks.append(("signal", signals) if is_signal else task)
                signals += is_signal
        program = msgspec.structs.replace(whole.program, steps=steps, signals_read=needed)
        return msgspec.structs.replace(whole, program=program, tasks=tasks)

    def _steps(self, steps: Iterable[Step], prefix: str) -> list[Step]:
        kept: list[Step] = []
        for place, step in enumerate(steps):
            if self.spares(f"{prefix}{place}"):
                kept.append([self._steps(part, f"{prefix}{place}.") if _are_steps(part) else part for part in step])
        return kept

    def check(self, seed: int) -> None:
        """Raises ValueError for what was never there."""
        names = [name for name in self.without if not name.isdecimal()]
        for name in names:
            if name not in self._known and not any(name.startswith(f"{whole}.") for whole in names):
                raise ValueError(f"seed {seed} has nothing named {name!r} that could be left out")


def _are_steps(part: Any) -> bool:
    return isinstance(part, list) and all(isinstance(each, list) and isinstance(each[0], str) for each in part)


def _assignment(plot: random.Random, workflow_id: str) -> Assignment:
    program = Author(random.Random(plot.getrandbits(64))).program()
    tasks: list[Task] = [("signal", n) for n in range(program.signals_read + plot.choice([0, 0, 1, 2]))]
    for extra in [("query",), ("look",), ("query",)]:
        if plot.random() < 0.5:
            tasks.insert(plot.randint(0, len(tasks)), extra)
    for number in range(plot.choice([0, 0, 1, 3])):
        tasks.insert(plot.randint(0, len(tasks)), ("update", number))
    end = plot.choices([None, ("cancel",), ("terminate",)], [6, 3, 1])[0]
    if program.ending == "clean":
        end = ("cancel",)
    if end is not None:
        tasks.insert(plot.randint(0, len(tasks)), end)
    with_pauses: list[Task] = []
    for task in tasks:
        with_pauses += [("pause", plot.choice([0, 0.01, 0.2, 1])), task]
    return Assignment(workflow_id=workflow_id, program=program, tasks=with_pauses)


# As text. -------------------------------------------------------------------------------------------------------------


def to_text(without: Collection[str]) -> str:
    """Names, then numbers, those in a row as ``first-last``; no blanks."""
    names = sorted((name for name in without if not name.isdecimal()), key=_natural)
    numbers = sorted(int(name) for name in without if name.isdecimal())
    firsts = [number for number in numbers if str(number - 1) not in without]
    lasts = [number for number in numbers if str(number + 1) not in without]
    spans = [f"{first}" if first == last else f"{first}-{last}" for first, last in zip(firsts, lasts, strict=True)]
    return ",".join([*names, *spans])


def from_text(text: str) -> frozenset[str]:
    """What `to_text` wrote; ValueError for anything else."""
    names: set[str] = set()
    for part in text.split(",") if text else []:
        first, dash, last = part.partition("-")
        if first.isdecimal() and (last.isdecimal() or not dash):
            names.update(map(str, range(int(first), int(last or first) + 1)))
        elif NAME.fullmatch(part):
            names.add(part)
        else:
            raise ValueError(f"{part!r} is not the name of anything that could be left out")
    return frozenset(names)


def _natural(name: str) -> list[str | int]:
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]
