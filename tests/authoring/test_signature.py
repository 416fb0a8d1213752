"""A durable call takes what the function takes, and arrives as it was made."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable.converter import ConversionError, DataConverter
from durable.signature import PARAMETER_KEY, Signature

if TYPE_CHECKING:
    from fractions import Fraction

CONVERTER = DataConverter.default
NEVER: Any = None
"""What the functions here return: they are not called."""


@dataclass
class Order:
    id: str
    price: Decimal = Decimal(0)


def mixed(a: Order, b: int = 2, *, c: set[int], d: str = "d") -> dict[int, Order]:
    return NEVER


def variadic(a: int, *rest: Decimal, **extra: Order) -> None:
    return NEVER


def optional(a: int = 1, b: int = 2, c: int = 3) -> None:
    return NEVER


def positional_only(a: int, /, b: int = 5, **kw: int) -> None:
    return NEVER


def bare(a, b=1):  # type: ignore[no-untyped-def]
    return NEVER


def unresolved(a: Fraction) -> None:
    return NEVER


class Holder:
    def method(self, order: Order, n: int = 1) -> Order:
        return NEVER

    def __call__(self, order: Order) -> Order:
        return NEVER


def arrives(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[list[Any], dict[str, Any]]:
    signature = Signature.of(fn)
    return signature.decode(CONVERTER, signature.encode(CONVERTER, args, kwargs))


def test_positional_arguments_arrive_typed() -> None:
    assert arrives(mixed, Order("a", Decimal("1.5")), 3, c={1}) == ([Order("a", Decimal("1.5")), 3], {"c": {1}})


def test_keywords_for_positional_parameters_are_carried_by_position() -> None:
    payloads = Signature.of(optional).encode(CONVERTER, (), {"b": 5})
    assert [p.data for p in payloads] == [b"1", b"5"]
    assert arrives(optional, b=5) == ([1, 5], {})
    assert arrives(mixed, c=set(), a=Order("a")) == ([Order("a")], {"c": set()})


def test_keyword_only_parameters_are_carried_with_their_names() -> None:
    payloads = Signature.of(mixed).encode(CONVERTER, (Order("a"),), {"c": {1}, "d": "x"})
    assert [p.metadata.get(PARAMETER_KEY) for p in payloads] == [None, b"c", b"d"]


def test_defaults_at_the_end_are_left_to_the_function_that_is_called() -> None:
    assert Signature.of(optional).encode(CONVERTER, (), {}) == []
    assert arrives(optional, 7) == ([7], {})


def test_variadic_arguments_arrive_typed() -> None:
    assert arrives(variadic, 1, Decimal("1.5"), Decimal(2), x=Order("x"), a2=Order("y")) == (
        [1, Decimal("1.5"), Decimal(2)],
        {"x": Order("x"), "a2": Order("y")},
    )


def test_a_keyword_may_have_the_name_of_a_positional_only_parameter() -> None:
    assert arrives(positional_only, 1, a=2) == ([1], {"a": 2})


def test_a_function_without_annotations_takes_what_json_says() -> None:
    assert arrives(bare, [1], b={"a": None}) == ([[1], {"a": None}], {})


WRONG_CALLS: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = [
    (mixed, (), {"c": 1}),
    (mixed, (1,), {}),
    (mixed, (1, 2, 3), {"c": 1}),
    (mixed, (1,), {"c": 1, "e": 2}),
    (mixed, (1,), {"a": 1, "c": 1}),
    (optional, (1, 2, 3, 4), {}),
    (positional_only, (), {"a": 1}),
    (bare, (), {}),
]


@pytest.mark.parametrize(("fn", "args", "kwargs"), WRONG_CALLS)
def test_a_wrong_call_raises_type_error_at_the_call(
    fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    with pytest.raises(TypeError):
        fn(*args, **kwargs)
    with pytest.raises(TypeError, match=rf"^{fn.__name__}\(\) "):
        Signature.of(fn).encode(CONVERTER, args, kwargs)


def echo(a: int, b: int = 2, *rest: int, c: int, d: int = 4, **extra: int) -> tuple[Any, ...]:
    return a, b, rest, c, d, extra


_names = st.sampled_from(["a", "b", "c", "d", "e", "rest", "extra"])


@given(st.lists(st.integers(), max_size=4), st.dictionaries(_names, st.integers(), max_size=5))
def test_a_durable_call_means_what_the_call_means(args: list[int], kwargs: dict[str, int]) -> None:
    try:
        expected = echo(*args, **kwargs)
    except TypeError:
        with pytest.raises(TypeError):
            Signature.of(echo).encode(CONVERTER, args, kwargs)
        return
    got_args, got_kwargs = arrives(echo, *args, **kwargs)
    assert echo(*got_args, **got_kwargs) == expected
    bound = Signature.of(echo).bind(args, kwargs)
    assert echo(*(v for n, v in bound if n is None), **{n: v for n, v in bound if n is not None}) == expected


def test_a_value_that_cannot_be_converted_is_named_by_its_parameter() -> None:
    for call in [
        {"args": (Order("a"), object()), "kwargs": {"c": {1}}},
        {"args": (Order("a"),), "kwargs": {"b": object(), "c": 1}},
    ]:
        with pytest.raises(ConversionError, match=r"^b: object of type object"):
            Signature.of(mixed).encode(CONVERTER, **call)
    with pytest.raises(ConversionError, match=r"^c\[0\]: object of type object"):
        Signature.of(mixed).encode(CONVERTER, (Order("a"),), {"c": [object()]})
    with pytest.raises(ConversionError, match=r"^argument 3: object of type object"):
        Signature.of(variadic).encode(CONVERTER, (1, 2, object()), {})
    with pytest.raises(ConversionError, match=r"^rest\[1\]: object of type object"):
        Signature.of(variadic).encode(CONVERTER, (1, 2, object()), {"x": 1})


def test_a_value_that_cannot_be_read_is_named_by_its_parameter() -> None:
    signature = Signature.of(mixed)
    with pytest.raises(ConversionError, match=r"^a\.price: can't be read as Order"):
        signature.decode(CONVERTER, signature.encode(CONVERTER, ({"id": "a", "price": "x"},), {"c": {1}}))
    with pytest.raises(ConversionError, match=r"^c\[1\]: can't be read as set\[int\]"):
        signature.decode(CONVERTER, signature.encode(CONVERTER, (Order("a"),), {"c": [1, "x"]}))


def test_a_recorded_call_that_no_longer_fits_says_how() -> None:
    two = CONVERTER.to_payloads([1, 2])
    named = Signature.of(mixed).encode(CONVERTER, (Order("a"),), {"c": {1}})
    with pytest.raises(TypeError, match=r"mixed\(\) can't take the recorded call, which has no value for 'c'"):
        Signature.of(mixed).decode(CONVERTER, two)
    with pytest.raises(TypeError, match="no value for 'a'; a parameter that is new needs a default"):
        Signature.of(bare).decode(CONVERTER, [])
    with pytest.raises(TypeError, match="of 5 positional values; it takes 3"):
        Signature.of(optional).decode(CONVERTER, CONVERTER.to_payloads(range(5)))
    with pytest.raises(TypeError, match="'c' it does not take"):
        Signature.of(bare).decode(CONVERTER, named)


def test_a_keyword_only_parameter_may_become_positional_later() -> None:
    def later(a: Order, c: set[int]) -> None: ...

    recorded = Signature.of(mixed).encode(CONVERTER, (Order("a"),), {"c": {1}})
    later.__annotations__ = {"a": Order, "c": set[int]}
    assert Signature.of(later).decode(CONVERTER, recorded) == ([Order("a")], {"c": {1}})


def test_self_is_left_out() -> None:
    for signature in (Signature.of(Holder.method, skip_first=True), Signature.of(Holder().method)):
        args, _ = signature.decode(CONVERTER, signature.encode(CONVERTER, (Order("a"),), {"n": 2}))
        assert args == [Order("a"), 2]
        assert signature.return_hint is Order


def test_callable_objects_and_partials_have_signatures() -> None:
    assert arrives(Holder(), Order("a")) == ([Order("a")], {})
    assert arrives(functools.partial(mixed, Order("z")), 3, c={1}) == ([3], {"c": {1}})


def test_the_return_hint_is_what_the_function_says() -> None:
    assert Signature.of(mixed).return_hint == dict[int, Order]
    assert Signature.of(optional).return_hint is type(None)
    assert Signature.of(bare).return_hint is None


def test_a_signature_is_made_once_per_function() -> None:
    @functools.wraps(optional)
    def wrapper(*args: Any) -> None: ...

    assert Signature.of(optional) is Signature.of(optional)
    assert Signature.of(wrapper) is Signature.of(wrapper)
    wrapped = functools.wraps(optional)(lambda *args: None)
    assert Signature.of(wrapped) is not Signature.of(optional)
    assert Signature.of(wrapped).fn is wrapped
    assert Signature.of(optional).fn is optional


def test_annotations_that_cannot_be_resolved_are_told_when_they_are_needed() -> None:
    signature = Signature.of(unresolved)
    payloads = signature.encode(CONVERTER, (1,), {})
    with pytest.raises(TypeError, match="the annotations of unresolved can't be resolved: name 'Fraction'"):
        signature.decode(CONVERTER, payloads)


def test_what_has_no_signature_is_refused() -> None:
    with pytest.raises(TypeError, match="can't be called durably"):
        Signature.of(min)
