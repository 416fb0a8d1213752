"""The simulation finds faults that are planted in the engine, each as what it is."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from tests.simulation import planted
from tests.simulation.world import Broken, lived, simulate

SEEDS = 1000
FOUND_AS: dict[Callable[[], AbstractContextManager[object]], str] = {
    planted.fence_not_checked: r"moved run #, which belonged to|which is dead, moved run",
    planted.messages_dropped: r"pending$|was acknowledged, and is nowhere",
    planted.messages_committed_twice: r"pending$",
    planted.leases_forgotten: r"did not get to the end",
    planted.acknowledged_before_the_commit: r"was acknowledged, and is nowhere",
    planted.closed_over_unread_messages: r"has vanished",
    planted.lost_replies_ignored: r"was acknowledged, and is nowhere|was acknowledged as run",
}
"""What each fault must violate."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("plant", FOUND_AS, ids=lambda plant: plant.__name__)
def test_a_planted_fault_is_found_for_what_it_is(plant: Callable[[], AbstractContextManager[object]]) -> None:
    with plant():
        seed = _first_seed_that_finds(FOUND_AS[plant])

    simulate(seed)  # without it nothing breaks


def _first_seed_that_finds(violation: str) -> int:
    others: Counter[str] = Counter()
    for seed in range(1, SEEDS + 1):
        found = lived(seed)
        if isinstance(found, Broken):
            if re.search(violation, found.kind):
                return seed
            others[found.kind] += 1
    pytest.fail(f"{SEEDS} seeds found no {violation!r}, but {others}")
