"""Whether the code that runs has a transaction open, by itself, for the end of which all other writers wait."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

_is_open: ContextVar[Callable[[], bool] | None] = ContextVar("durable_turn", default=None)


def take_turn(is_open: Callable[[], bool]) -> None:
    """The code that runs has begun one; ``is_open`` tells until when."""
    _is_open.set(is_open)


def has_turn() -> bool:
    """Also in what it has spawned since."""
    is_open = _is_open.get()
    return is_open is not None and is_open()
