"""Pure: from where on, and how far, a claim looks, where an index is full of what is gone.

A transaction that stays open keeps a PostgreSQL from clearing away what was deleted since it began, and whoever walks
an index passes all of it. So a look at everything that took long is not made again at once. In between, claims look
from where the first was that is still there, and no further ahead than to the next look.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

FIRST_US = -(2**63)
LAST_US = 2**63 - 1

SLOW = 0.025
"""Seconds that a look at everything may take without being made less often."""
SHARE = 20
"""One part in so many of the time goes into slow looks at everything."""
AHEAD_US = 1_000_000
"""How far ahead a look goes that is not at everything; then another one comes."""
LATE_US = 1_000_000
"""What is written may be due for so long when it can be seen; later still, the next look at everything finds it."""

Walk = tuple[str, str, str]
"""An index, a namespace, a task queue."""


class Horizon:
    """What is known from one claim to the next; ``monotonic`` is a clock, in seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.monotonic = monotonic
        self.since_us: dict[Walk, int] = {}
        self.whole_at = 0.0
        """When everything is to be looked at again."""
        self.took = 0.0
        """How long the last look at everything took."""


class Look:
    """One claim's."""

    def __init__(self, horizon: Horizon, now_us: int) -> None:
        self._horizon = horizon
        self._now_us = now_us
        self._took = 0.0
        self._began = horizon.monotonic()
        self._is_whole = self._began >= horizon.whole_at
        self.until_us = LAST_US if self._is_whole else now_us + AHEAD_US
        """What falls due later makes no difference to this look: another one comes before."""

    @property
    def again_us(self) -> int | None:
        """When another look has to come, for this one is not at everything."""
        return None if self._is_whole else self.until_us

    def since_us(self, walk: Walk) -> int:
        return FIRST_US if self._is_whole else self._horizon.since_us.get(walk, FIRST_US)

    def found(self, walk: Walk, first_us: int | None) -> None:
        """The first that is still there is due then; None: nothing is due."""
        oldest_us = self._now_us if first_us is None else min(first_us, self._now_us)
        self._horizon.since_us[walk] = oldest_us - LATE_US

    @contextmanager
    def walking(self) -> Generator[None]:
        """What takes so long when there is much that is gone."""
        began = self._horizon.monotonic()
        try:
            yield
        finally:
            self._took += self._horizon.monotonic() - began

    def end(self) -> None:
        if self._is_whole:
            self._horizon.took = self._took
            self._horizon.whole_at = self._began + (SHARE * self._took if self._took > SLOW else 0.0)
