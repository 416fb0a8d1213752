"""The wall clock of the simulated machine, which somebody sets now and then, forth and back."""

from __future__ import annotations

import random

from tests.simulation.scheduler import Scheduler

BEGINNING_US = 1_800_000_000 * 1_000_000
JUMP_MIN_US, JUMP_MAX_US = 10_000, 3_600_000_000


class Clock:
    """A process takes ``ahead_us`` over when it measures the time; until then it goes on from what it read before."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.ahead_us = 0
        self.highest_us = BEGINNING_US
        """The latest time that any process has been shown."""
        self._furthest_us = 0
        self._scheduler = scheduler

    def show(self, ahead_us: int) -> int:
        """What time it is for a process that has measured this."""
        now_us = BEGINNING_US + self._scheduler.now_us + ahead_us
        self.highest_us = max(self.highest_us, now_us)
        return now_us

    def jump(self, chance: random.Random) -> None:
        """By up to an hour, small jumps as likely as large ones."""
        by_us = int(JUMP_MIN_US * (JUMP_MAX_US / JUMP_MIN_US) ** chance.random())
        self.ahead_us += by_us if chance.random() < 0.5 else -by_us
        self._furthest_us = max(self._furthest_us, self.ahead_us)

    def catch_up(self) -> None:
        """Where it was furthest, it is again: nothing has to wait for an hour to come twice."""
        self.ahead_us = self._furthest_us
