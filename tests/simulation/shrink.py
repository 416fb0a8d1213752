"""Delta debugging: a plan that breaks, with all left out without which it still breaks in the same way."""

from __future__ import annotations

from collections.abc import Callable, Collection

from tests.simulation.plan import Plan
from tests.simulation.world import Broken

BUDGET = 300


def shrink(broken: Broken, simulate: Callable[[Plan], object], budget: int = BUDGET) -> Broken:
    """What the smallest plan breaks with; unless the budget of simulations is spent, nothing of it can be left out."""
    return _Shrinking(broken, simulate, budget).smallest()


def _coarse(broken: Broken) -> list[str]:
    return [name for name in broken.plan.parts if "." not in name]


def _fine(broken: Broken) -> list[str]:
    return [name for name in broken.plan.parts if "." in name]


def _faults(broken: Broken) -> list[str]:
    """Those that have happened, by number."""
    return [name for name in map(str, range(1, broken.struck + 1)) if name not in broken.plan.without]


class _Shrinking:
    def __init__(self, broken: Broken, simulate: Callable[[Plan], object], budget: int) -> None:
        self._best = broken
        self._simulate = simulate
        self._left = budget
        self._tried = {broken.plan.without}

    def smallest(self) -> Broken:
        while True:
            before = self._best
            for candidates in (_coarse, _faults, _fine):
                self._leave_out(candidates)
            if self._best is before:
                break
        self._left = max(self._left, 1)
        self._breaks(self._tidy())
        return self._best

    def _leave_out(self, candidates: Callable[[Broken], list[str]]) -> None:
        """All of them, then halves, quarters …, each of them alone."""
        size = len(candidates(self._best))
        while size:
            place = 0
            while place < len(names := candidates(self._best)):
                if not self._breaks(self._best.plan.without.union(names[place : place + size])):
                    place += size
            size //= 2

    def _breaks(self, without: Collection[str]) -> bool:
        """Does it still break, and alike? Then this is the best so far."""
        without = frozenset(without)
        if without in self._tried or not self._left:
            return False
        self._tried.add(without)
        self._left -= 1
        try:
            self._simulate(Plan.of(self._best.plan.seed, without))
        except Broken as broken:
            if broken.kind == self._best.kind:
                self._best = broken
                return True
        return False

    def _tidy(self) -> frozenset[str]:
        """What was left out, without what goes with it or was never reached: the same life, in fewer words."""
        without, struck = self._best.plan.without, self._best.struck
        return frozenset(
            name
            for name in without
            if (int(name) <= struck if name.isdecimal() else not any(name.startswith(f"{other}.") for other in without))
        )
