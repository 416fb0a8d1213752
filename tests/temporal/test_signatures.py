"""Our public face is that of the published `temporalio`, but for what the documentation's tables own up to."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Generic, TypedDict, TypeVar

import pytest

from tests.temporal.signatures import MODULES, against_the_table, compared, tabled


def test_what_differs_from_temporal_is_in_the_table_and_nothing_else_is() -> None:
    unowned, stale = against_the_table()
    assert not unowned, "these differ from temporalio: mend them, or say why in docs/temporal.md"
    assert not stale, "these differ no more: `python -m tests.temporal.signatures` takes them out of docs/temporal.md"


def test_each_entry_of_the_table_has_a_reason() -> None:
    assert {difference.module for difference in tabled()} <= set(MODULES)
    assert all(len(reason) > 5 for reason in tabled().values())


S = TypeVar("S")
T = TypeVar("T")

# The judge itself: it sees what it must. ------------------------------------------------------------------------------


def fn(one: int, two: str = "x", *, three: list[int] = [], **rest: Any) -> None: ...  # noqa: B006


async def later(one: int) -> None: ...


class Colour(enum.IntEnum):
    RED = 1
    BLUE = 2


class Keys(TypedDict):
    one: int
    two: int


class Pair(Generic[S, T]): ...


class One(Generic[S]): ...


@dataclass
class Data:
    one: int

    @property
    def settable(self) -> int:
        return 1

    @settable.setter
    def settable(self, value: int) -> None: ...

    @classmethod
    def make(cls) -> None: ...

    def method(self, one: int) -> None: ...


Data.__module__ = "temporalio.made_up"


def other_colour() -> Any:
    return enum.IntEnum("Colour", {"RED": 1, "BLUE": 3})


def other_data() -> type:
    class Data:
        def __init__(self, one: int, two: int) -> None: ...

        @property
        def settable(self) -> int:
            return 1

        def make(self) -> None: ...

    return Data


@pytest.mark.parametrize(
    ("theirs", "ours", "found"),
    [
        (fn, fn, []),
        (fn, lambda one, two="x", *, three=(), new=1, **rest: 1, []),
        (fn, lambda one=1, two="x", *, three=(), **rest: 1, []),
        (fn, lambda one, two="y", *, three=(), **rest: 1, ["other default: two = 'y'"]),
        (fn, lambda one, *, two="x", three=(), **rest: 1, ["keyword-only: two"]),
        (fn, lambda two="x", one=1, *, three=(), **rest: 1, ["other place: one, two"]),
        (fn, lambda one, two="x", **rest: 1, ["no parameter three"]),
        (fn, lambda one, two="x", new=1, *, three=(), **rest: 1, ["positional besides: new"]),
        (fn, lambda one, two="x", *, three=(), new, **rest: 1, ["required besides: new"]),
        (later, later, []),
        (later, lambda one: 1, ["not async"]),
        (Colour, Colour, []),
        (Colour, other_colour(), ["no BLUE = 2"]),
        (Keys, Keys, []),
        (Keys, TypedDict("Keys", {"one": int}), ["no key two"]),
        (Data, Data, []),
        (
            Data,
            other_data(),
            [
                "constructor: positional besides: two",
                "make needs an instance",
                "method missing",
                "one missing",
                "settable can't be set",
            ],
        ),
        (Pair, Pair, []),
        (Pair, One, ["does not take 2 type parameters"]),
        (type("Wrong", (ValueError,), {}), type("Wrong", (Exception,), {}), ["is no ValueError"]),
        (Data, SimpleNamespace(), ["no class"]),
    ],
)
def test_the_judge_sees_what_differs(theirs: Any, ours: Callable[..., Any], found: list[str]) -> None:
    assert [f"{path.lstrip('.')} {what}".strip() for path, what in compared(theirs, ours)] == found
