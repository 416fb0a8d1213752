"""Pure: what a claim takes, of the runs that have a message due and the tasks that may begin."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TypeVar

from durable.history.transition import Claim, ClaimedRun

T = TypeVar("T")


class Choice:
    """What a claim takes, as it looks through the due messages of its queues, oldest first."""

    def __init__(self, claim: Claim, *, now_us: int, alive: set[str], steal_after_us: int) -> None:
        self.now_us = now_us
        self.run_ids: dict[str, None] = {}
        """The runs to load, in order."""
        self.not_mine: list[str] = []
        """Those of them that have to be taken first."""
        self.busy: dict[str, None] = {}
        self.later_us: list[int] = []
        """When the runs of living owners may be stolen."""
        self.more = False
        self.left = False
        """Was something left to the other workers?"""
        self.decided: set[str] = set()
        """All runs that were looked at; what else is due for them makes no difference."""
        self._claim = claim
        self._alive = alive
        self._steal_after_us = steal_after_us
        self._due_us: dict[str, int] = {}

    def consider(self, run_id: str, due_us: int, owner: str | None) -> bool:
        """Decide about a run by its oldest due message. False: it would be taken, but there is no room for more."""
        if run_id in self._claim.busy:
            self.busy[run_id] = None
        elif self._is_left_to(owner) and due_us + self._steal_after_us > self.now_us:
            self.later_us.append(due_us + self._steal_after_us)
        elif len(self.run_ids) >= self._claim.max_runs:
            self.more = self._claim.max_runs > 0  # who has no room at all need not ask again at once
            return False
        else:
            self.run_ids[run_id] = None
            if owner != self._claim.worker_id:
                self.not_mine.append(run_id)
                self._due_us[run_id] = due_us
        self.decided.add(run_id)
        return True

    def leave_others_theirs(self) -> None:
        """Once all is considered: of the runs that nobody has, keep this worker's part."""
        kept = self.part_of(self.not_mine, self._due_us.__getitem__)
        for run_id in set(self.not_mine).difference(kept):
            del self.run_ids[run_id]
        self.not_mine = kept

    def part_of(self, found: Sequence[T], due_us: Callable[[T], int]) -> list[T]:
        """What a claim takes of what is anybody's, oldest first: all that is old, and one in so many of the rest.

        All workers count alike, each from another place: so those who look at the same time take different ones.
        """
        old = [each for each in found if due_us(each) < self._claim.shares_since_us]
        rest = [each for each in found if due_us(each) >= self._claim.shares_since_us]
        kept = [*old, *rest[self._place() % len(rest) :: len(self._alive)]] if rest else old
        self.left = self.left or len(kept) < len(found)
        return kept

    def waiting(self, runs: Sequence[ClaimedRun]) -> list[str]:
        """The busy runs, and those of which as many messages are taken as a claim takes: more may be there."""
        full = self._claim.max_messages_per_run
        return [*self.busy, *(each.run.run_id for each in runs if len(each.messages) >= full)]

    def parts_of(self, found: Sequence[T], priority: Callable[[T], int], due_us: Callable[[T], int]) -> list[T]:
        """As `part_of`, of each priority by itself: what is most urgent is nobody's to leave to others."""
        levels = itertools.groupby(found, priority)
        return [each for _, level in levels for each in self.part_of(list(level), due_us)]

    def _place(self) -> int:
        return sorted(self._alive).index(self._claim.worker_id)

    def _is_left_to(self, owner: str | None) -> bool:
        return owner is not None and owner != self._claim.worker_id and owner in self._alive
