"""What `@activity.defn` takes as after_crash, and what it says to what it does not take."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from durable import activity
from durable.activity import ActivityDefinition, Happened
from durable.after_crash import Verify
from durable.common import RawValue


def rule(fn: Any) -> Any:
    return ActivityDefinition.must_be(fn).after_crash


async def asks(order: str, cents: int = 1) -> Happened | None: ...


def asks_in_a_thread(order: str, cents: int) -> Happened | None: ...


class Asks:
    async def __call__(self, order: str, cents: int) -> Happened | None: ...


def refund(order: str, cents: int = 100) -> None: ...


def test_the_default_is_to_try_again() -> None:
    assert rule(activity.defn(refund)) == "retry"
    assert rule(activity.defn(after_crash="retry")(refund)) == "retry"
    assert rule(activity.defn(after_crash="fail")(refund)) == "fail"


@pytest.mark.parametrize(
    ("verify", "is_async"),
    [(asks, True), (asks_in_a_thread, False), (Asks(), True), (functools.partial(asks), True)],
    ids=["async", "sync", "object", "partial"],
)
def test_a_function_may_be_asked_whatever_it_is(verify: Callable[..., Any], is_async: bool) -> None:
    assert rule(activity.defn(after_crash=verify)(refund)) == Verify(verify, is_async)


def test_all_kinds_of_parameters_are_carried() -> None:
    def pay(order: str, /, *items: str, note: str, **more: Any) -> None: ...

    def asks(order: str, *items: str, **all: Any) -> None: ...

    def dynamic(args: Sequence[RawValue]) -> None: ...

    assert rule(activity.defn(after_crash=asks)(pay)) == Verify(asks, False)
    assert rule(activity.defn(dynamic=True, after_crash=dynamic)(dynamic)) == Verify(dynamic, False)


def test_a_word_that_means_nothing_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"after_crash of activity refund is 'ask': it may be \"retry\", \"fail\", or a"
    ):
        activity.defn(after_crash="ask")(refund)  # type: ignore[call-overload]  # pyright: ignore


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(TypeError, match="after_crash of activity refund is of type int"):
        activity.defn(after_crash=3)(refund)  # type: ignore[call-overload]  # pyright: ignore


def _without_arguments() -> None: ...


def _with_too_many(order: str, cents: int, key: str) -> None: ...


def _with_a_name_of_its_own(order: str, cents: int, *, key: str) -> None: ...


@pytest.mark.parametrize(
    ("verify", "why"),
    [
        (_without_arguments, "too many positional arguments"),
        (_with_too_many, "missing a required argument: 'key'"),
        (_with_a_name_of_its_own, "missing a required .*argument: 'key'"),
        (refund.__get__("an object"), "too many positional arguments"),
    ],
)
def test_a_function_that_can_not_take_the_activitys_arguments_is_refused(verify: Callable[..., Any], why: str) -> None:
    with pytest.raises(TypeError, match=f"can't be after_crash of activity refund, .* own arguments: {why}"):
        activity.defn(after_crash=verify)(refund)


def test_a_function_that_can_not_take_any_number_of_arguments_is_refused() -> None:
    def pay(*items: str, **more: str) -> None: ...

    def asks() -> None: ...

    with pytest.raises(TypeError, match=r"it has no \*items: .* and no \*\*more"):
        activity.defn(after_crash=asks)(pay)


def test_what_a_method_asks_takes_the_object_first() -> None:
    def asks(order: str, cents: int) -> None: ...

    with pytest.raises(TypeError, match="too many positional arguments"):

        class Bank:
            @activity.defn(after_crash=asks)
            def refund(self, order: str, cents: int) -> None: ...

    class Good:
        def asks(self, order: str, cents: int) -> None: ...

        @activity.defn(after_crash=asks)
        def refund(self, order: str, cents: int) -> None: ...

    assert rule(Good().refund) == Verify(Good.asks, False)


def test_an_answer_needs_no_result() -> None:
    assert Happened() == Happened(None)
