"""What an activity's definition says of a next attempt when nobody knows how the one before ended."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Verify:
    """A function that is asked whether the effect has happened. It takes what the activity takes, ``self`` included."""

    fn: Callable[..., Any]
    is_async: bool

    @property
    def name(self) -> str:
        return _name(self.fn)


AfterCrash = Literal["retry", "fail"] | Verify


def rule_of(given: object, activity: Callable[..., Any], activity_name: str) -> AfterCrash:
    """What ``@activity.defn(after_crash=given)`` means for the function ``activity``, as it was written.

    Raises ValueError for another word, TypeError for what is neither word nor function, and for a function that can't
    be called with all that the activity can.
    """
    if given == "retry":
        return "retry"
    if given == "fail":
        return "fail"
    if isinstance(given, str):
        raise ValueError(
            f'after_crash of activity {activity_name} is {given!r}: it may be "retry", "fail", or a function that '
            "says whether the effect has happened"
        )
    if not callable(given):
        raise TypeError(
            f'after_crash of activity {activity_name} is of type {type(given).__name__}: it may be "retry", "fail", or '
            "a function that says whether the effect has happened"
        )
    why = _why_unfit(given, activity)
    if why is not None:
        raise TypeError(
            f"{_name(given)} can't be after_crash of activity {activity_name}, for it must take the activity's own "
            f"arguments: {why}"
        )
    call = getattr(given, "__call__", None)  # noqa: B004 - of an object, it is what is async or not
    return Verify(given, inspect.iscoroutinefunction(given) or inspect.iscoroutinefunction(call))


def _why_unfit(verify: Callable[..., Any], activity: Callable[..., Any]) -> str | None:
    try:
        own = inspect.signature(verify)
    except ValueError as error:
        return str(error)
    parameters = list(inspect.signature(activity).parameters.values())
    positional = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    named = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    try:
        own.bind(*positional, **dict.fromkeys(named))
    except TypeError as error:
        return str(error)
    kinds = {p.kind for p in own.parameters.values()}
    unfit = [str(p) for p in parameters if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and p.kind not in kinds]
    return f"it has no {' and no '.join(unfit)}" if unfit else None


def _name(fn: object) -> str:
    return getattr(fn, "__qualname__", type(fn).__qualname__)
