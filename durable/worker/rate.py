"""Pure: how many may begin now, when no more than so many may begin in a second."""

from __future__ import annotations

BURST_SECONDS = 0.1


class Rate:
    """``per_second`` begin in a second, evenly; what was not used in the last tenth of a second may begin at once.

    Times are seconds of any one clock.
    """

    def __init__(self, per_second: float) -> None:
        self._interval = 1.0 / per_second
        self._burst = max(1.0, per_second * BURST_SECONDS)
        self._next = 0.0
        """When the next would begin if each waited for its turn."""

    def free(self, now: float) -> int:
        """How many may begin at ``now``; negative when more have begun than may."""
        saved = min(self._burst, (now - self._next) / self._interval + 1.0)
        return int(saved // 1)

    def take(self, now: float) -> None:
        """One begins."""
        self._next = max(self._next, now - (self._burst - 1.0) * self._interval) + self._interval

    def wait(self, now: float) -> float:
        """Seconds until one more may begin; 0.0 when it may now."""
        return max(0.0, self._next - now)
