"""What runs an attempt knows of its `activity.exactly_once` block; without SQLAlchemy, which takes long to load."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Protocol

from durable.history.values import Payload

ENDS_MORE = (SystemExit, KeyboardInterrupt, GeneratorExit)
"""Not an attempt ends with these, but its task, or the whole program."""

Age = tuple[int, str]
"""A row's place in a ledger's order by age: when it was made (microseconds since the epoch), and its key."""


class RecordedResult(BaseException):
    """An attempt before this one has committed the effects: what it has returned. Not to be caught, and no failure."""

    def __init__(self, result: list[Payload]) -> None:
        super().__init__("the effects are there already; the attempt ends with the result that was recorded with them")
        self.result = result


class AttemptSuperseded(BaseException):
    """Nobody waits for this attempt any more. Not to be caught, and no failure."""

    def __init__(self) -> None:
        super().__init__("the activity is over, or another attempt is under way: this one has no effects")


class Effect(Protocol):
    """A block that an attempt has entered."""

    keep: timedelta
    recorded: list[Payload] | None
    """What an attempt before this one has returned, if it has committed."""
    engine: Any

    @property
    def is_open(self) -> bool:
        """Is there anything to commit, or to roll back?"""
        ...

    async def commit(self, result: list[Payload]) -> None:
        """Commit the effects, and the result with them; when the code has ended."""
        ...

    async def rollback(self) -> None:
        """Roll back what is not committed. Raises nothing but CancelledError."""
        ...

    def settle(self, result: list[Payload]) -> None:
        """`commit` of a block of sync code, in any thread."""
        ...

    def discard(self) -> None:
        """`rollback` of a block of sync code, in any thread."""
        ...

    async def aged(self, before_us: int, after: Age | None, limit: int) -> list[Age]:
        """Rows of the ledger that were made before, the oldest first; those after that place."""
        ...

    async def remove(self, keys: Sequence[str]) -> None:
        """Take rows of the ledger away."""
        ...


def recorded_despite(error: BaseException, effect: Effect | None) -> list[Payload] | None:
    """The result that stands though the code has ended with this: `RecordedResult`, or what it, or a group of its
    tasks, has made of that. None when there is none."""
    return None if effect is None or isinstance(error, ENDS_MORE) else effect.recorded
