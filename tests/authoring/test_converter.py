"""What values come back as, and what is refused, with which words."""

from __future__ import annotations

import dataclasses
import enum
import math
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, NewType
from uuid import UUID

import pytest
import typing_extensions
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from durable.converter import (
    CompositePayloadConverter,
    ConversionError,
    DataConverter,
    DefaultPayloadConverter,
    EncodingPayloadConverter,
    Payload,
    PayloadConverter,
)

CONVERTER = DataConverter.default


class Colour(enum.Enum):
    RED = 1
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Mood(enum.StrEnum):
    GOOD = "good"


class Point(NamedTuple):
    x: int
    y: float


class Options(typing.TypedDict):
    name: str
    blob: bytes
    limit: typing.NotRequired[int]


class NewOptions(typing_extensions.TypedDict):
    name: str


OrderId = NewType("OrderId", str)


@dataclass
class Line:
    sku: str
    price: Decimal
    blob: bytes = b""


@dataclass(frozen=True)
class Order:
    id: OrderId
    lines: list[Line]
    due: datetime | None = None
    weights: dict[int, float] = field(default_factory=dict)
    children: list[Order] = field(default_factory=list)


@dataclass(slots=True)
class Slotted:
    colour: Colour
    flags: frozenset[int]


class Customer(BaseModel):
    name: str
    born: date
    scores: dict[int, float] = {}


class Binary(BaseModel):
    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="constants")
    blob: bytes
    weight: float = 0.0


class Utf8(BaseModel):
    blob: bytes


class Foo:
    pass


def through(value: object, hint: Any = None) -> Any:
    payloads = CONVERTER.to_payloads([value])
    return CONVERTER.from_payloads(payloads, [hint])[0]


def same(a: object, b: object) -> bool:
    """Equal and of the same type, where NaN is NaN and a float zero has a sign."""
    if isinstance(a, float) and isinstance(b, float):
        return (a == b and math.copysign(1, a) == math.copysign(1, b)) or (math.isnan(a) and math.isnan(b))
    return type(a) is type(b) and a == b


ROUND_TRIPS: list[tuple[object, Any]] = [
    (None, int),
    (True, bool),
    (2**70, int),
    (-(2**70), int),
    (0.1, float),
    (-0.0, float),
    (math.nan, float),
    (math.inf, float),
    (-math.inf, float | None),
    ("a\u0000b", str),
    ("é🎈", str),
    (b"", bytes),
    (bytes(range(256)), bytes),
    ([bytes(range(256))], list[bytes]),
    ({"b": b"\xfb\xff\xfe"}, dict[str, bytes]),
    ({b"\xff\xfe": 1}, dict[bytes, int]),
    (bytearray(b"\xff"), bytearray),
    (datetime(2026, 1, 2, 3, 4, 5, 6), datetime),
    (datetime(1, 1, 1), datetime),
    (datetime(9999, 12, 31, 23, 59, 59, 999999), datetime),
    (datetime(2026, 1, 2, tzinfo=UTC), datetime),
    (datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=-5, minutes=-30))), datetime),
    (date(2026, 1, 2), date),
    (time(1, 2, 3, 4), time),
    (time(1, 2, 3, tzinfo=UTC), time),
    (timedelta.min, timedelta),
    (timedelta.max, timedelta),
    (timedelta(days=-3, microseconds=7), timedelta),
    (UUID(int=7), UUID),
    (Decimal("1.500"), Decimal),
    (Decimal("-Infinity"), Decimal),
    (Colour.RED, Colour),
    (Colour.BLUE, Colour),
    (Level.HIGH, Level),
    (Mood.GOOD, Mood),
    ({1, 2}, set[int]),
    (frozenset({"a"}), frozenset[str]),
    ((1, "a"), tuple[int, str]),
    ((1, 2, 3), tuple[int, ...]),
    (Point(1, 2.5), Point),
    ({"name": "a", "blob": b"\xff"}, Options),
    ([{"name": "a", "blob": b"\xff", "limit": 3}], list[Options] | None),
    ({"name": "a"}, NewOptions),
    ("x", Literal["x", "y"]),
    (Colour.RED, Literal[Colour.RED]),
    ([1, "1", 1.5], list[int | str | float]),
    ([None, 3], list[int | None]),
    ({1: "a"}, dict[int, str]),
    ({1.5: "a", math.inf: "b"}, dict[float, str]),
    ({True: 1, False: 2}, dict[bool, int]),
    ({None: 1, 2: 3}, dict[int | None, int]),
    ({Colour.RED: 1, Colour.BLUE: 2}, dict[Colour, int]),
    ({Level.LOW: 1}, dict[Level, int]),
    ({UUID(int=7): 1}, dict[UUID, int]),
    ({date(2026, 1, 2): 1}, dict[date, int]),
    ({timedelta(days=1): 1}, dict[timedelta, int]),
    ({Decimal("1.50"): 1}, dict[Decimal, int]),
    ({1: "a", "b": "c"}, dict[Literal[1, "b"], str]),
    (OrderId("a"), OrderId),
    (3, Annotated[int, Field(gt=2)]),
    (Line("a", Decimal("1.50"), b"\xff\x00"), Line),
    (
        Order(OrderId("a"), [Line("b", Decimal(1))], datetime(2026, 1, 2), {3: 0.5}, [Order(OrderId("c"), [])]),
        Order,
    ),
    ({"o": [Order(OrderId("a"), [])]}, dict[str, list[Order]]),
    (Slotted(Colour.RED, frozenset({1})), Slotted),
    (Customer(name="a", born=date(2000, 1, 1), scores={1: 2.0}), Customer),
    ([Customer(name="a", born=date(2000, 1, 1))], list[Customer]),
    (Binary(blob=b"\xff", weight=math.inf), Binary),
    ([Utf8(blob="é".encode())], list[Utf8]),
]


@pytest.mark.parametrize(("value", "hint"), ROUND_TRIPS, ids=lambda item: str(item)[:60])
def test_a_value_comes_back_as_its_hint_says(value: object, hint: Any) -> None:
    assert same(through(value, hint), value)


@pytest.mark.parametrize("value", [None, True, 2**70, 1.5, math.nan, math.inf, "a\u0000", b"\xff", [1, {"a": None}]])
def test_what_json_knows_comes_back_without_a_hint(value: object) -> None:
    assert same(through(value), value)
    assert same(through(value, Any), value)


_scalars: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (int, st.integers(-(2**200), 2**200)),
    (float, st.floats(allow_nan=False)),
    (bool, st.booleans()),
    (str, st.text(st.characters(exclude_categories=["Cs"]))),
    (bytes, st.binary()),
    (date, st.dates()),
    (datetime, st.datetimes() | st.datetimes(timezones=st.just(UTC))),
    (time, st.times()),
    (timedelta, st.timedeltas()),
    (UUID, st.uuids()),
    (Decimal, st.decimals(allow_nan=False)),
    (Colour, st.sampled_from(Colour)),
    (Level, st.sampled_from(Level)),
    (Mood, st.sampled_from(Mood)),
]
Case = tuple[Any, st.SearchStrategy[Any]]
_keys = [case for case in _scalars if case[0] is not float]


def _grown(inner: st.SearchStrategy[Case]) -> st.SearchStrategy[Case]:
    shapes: list[Callable[[Case], Case]] = [
        lambda case: (list[case[0]], st.lists(case[1], max_size=3)),  # type: ignore[name-defined,misc]
        lambda case: (tuple[case[0], ...], st.lists(case[1], max_size=3).map(tuple)),  # type: ignore[name-defined,misc]
        lambda case: (tuple[case[0], int], st.tuples(case[1], st.integers())),  # type: ignore[name-defined,misc]
        lambda case: (case[0] | None, st.none() | case[1]),
    ]
    return st.one_of(
        st.tuples(inner, st.sampled_from(shapes)).map(lambda pair: pair[1](pair[0])),
        st.tuples(inner, st.sampled_from(_keys)).map(
            lambda pair: (dict[pair[1][0], pair[0][0]], st.dictionaries(pair[1][1], pair[0][1], max_size=3))
        ),
        inner.map(_dataclass_of),
    )


def _dataclass_of(case: Case) -> Case:
    made = dataclasses.make_dataclass("Made", [("value", case[0]), ("n", int, 3)])
    return made, st.builds(made, case[1], st.integers())


_cases = st.recursive(st.sampled_from(_scalars), _grown, max_leaves=4)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_nesting_of_supported_types_comes_back_equal(data: st.DataObject) -> None:
    hint, values = data.draw(_cases)
    value = data.draw(values)
    assert through(value, hint) == value


def test_fields_that_a_dataclass_does_not_know_are_ignored() -> None:
    old = dataclasses.make_dataclass("Line", [("sku", str), ("price", int), ("gone", int)])
    assert through(old("a", 2, 3), Line) == Line("a", Decimal(2))


def test_whole_floats_and_integers_stand_for_each_other() -> None:
    assert same(through(2.0, int), 2)
    assert same(through(2, float), 2.0)
    assert through([2.0, 3], list[int]) == [2, 3]


@pytest.mark.parametrize(("value", "hint"), [("5", int), (5, str), ("yes", bool), (1, bool), (True, int), (2.5, int)])
def test_numbers_booleans_and_text_are_not_guessed_from_each_other(value: object, hint: Any) -> None:
    with pytest.raises(ConversionError):
        through(value, hint)


def refusal(value: object, converter: DataConverter = CONVERTER) -> str:
    with pytest.raises(ConversionError) as caught:
        converter.to_payloads(["fine", value], ["first", "order"])
    return str(caught.value)


def test_a_value_that_cannot_be_converted_is_named_by_its_path() -> None:
    bad: Any = Foo()
    order = Order(OrderId("a"), [Line("b", Decimal(1)), Line("c", Decimal(2)), Line("d", bad)])
    assert refusal(order).startswith("order.lines[2].price: object of type Foo can't be converted; use a dataclass")
    assert refusal({"a": [Point(1, bad)]}).startswith("order['a'][0].y: object of type Foo can't")
    assert refusal(Foo()).startswith("order: object of type Foo can't be converted")
    assert refusal({1, 2, Foo}).startswith("order{…}: object of type type can't")


def test_an_argument_without_a_name_is_counted() -> None:
    with pytest.raises(ConversionError, match=r"^argument 2\[0\]: object of type Foo"):
        CONVERTER.to_payloads([1, [Foo()]])


def test_lone_surrogates_are_refused_where_they_are() -> None:
    assert refusal({"a": ["x", "b\ud800"]}).startswith(
        "order['a'][1]: text with a lone surrogate ('\\ud800' at position 1)"
    )
    assert refusal({"a\udfff": 1}).startswith("order (a key): text with a lone surrogate")


def test_an_integer_too_long_for_json_is_refused() -> None:
    assert "integer of more than 4300 digits" in refusal([10**4301])


@pytest.mark.parametrize("depth", [201, 230, 254, 255, 1000, 100_000])
def test_what_is_nested_too_deep_to_be_read_is_refused_when_written(depth: int) -> None:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    assert "nested deeper than 200 levels" in refusal(value)


def test_many_brackets_are_not_many_levels() -> None:
    flat = [[{"a": "[[["}]] * 500
    assert through(flat) == flat


def test_an_integer_of_4300_digits_comes_back_wherever_it_stands() -> None:
    for before in (0, 1, 4100, 4300, 5000):
        value = ["x" * before, 10**4299]
        assert through(value, list[int | str]) == value
        assert refusal(["x" * before, 10**4300]).startswith("order[1]: an integer of more than 4300 digits")


def test_200_levels_come_back() -> None:
    value: Any = 1
    for _ in range(200):
        value = [value]
    assert through(value) == value


def test_a_value_that_contains_itself_is_refused() -> None:
    value: dict[str, Any] = {}
    value["me"] = [value]
    assert "contains itself" in refusal(value)


def test_a_payload_over_the_limit_is_refused_with_both_sizes_and_a_way_out() -> None:
    assert CONVERTER.to_payloads([b"x" * 2 * 1024 * 1024])
    said = refusal(b"x" * (2 * 1024 * 1024 + 1))
    assert said.startswith("order: 2,097,153 bytes are more than the 2,097,152 that a payload may have; store the data")
    assert "101 bytes are more than the 100" in refusal(b"x" * 101, DataConverter(payload_bytes_max=100))


def test_a_pydantic_model_that_would_turn_an_infinity_into_null_is_refused() -> None:
    said = refusal([{"c": Customer(name="a", born=date(2000, 1, 1), scores={7: math.nan})}])
    assert said.startswith("order[0]['c'].scores[7]: nan would be stored as null, because pydantic class Customer")
    assert "ser_json_inf_nan='constants'" in said


def test_a_pydantic_model_with_bytes_that_it_cannot_write_is_refused_with_the_remedy() -> None:
    said = refusal([Utf8(blob=b"\xff")])
    assert said.startswith("order[0]: pydantic class Utf8 writes its bytes as UTF-8")
    assert "ser_json_bytes='base64', val_json_bytes='base64'" in said


def test_a_value_that_cannot_be_read_is_named_with_what_was_expected_and_what_was_found() -> None:
    payloads = CONVERTER.to_payloads([1, {"id": "a", "lines": [{"sku": "b", "price": "abc"}]}])
    with pytest.raises(ConversionError) as caught:
        CONVERTER.from_payloads(payloads, [int, Order], ["n", "order"])
    said = str(caught.value)
    assert said.startswith("order.lines[0].price: can't be read as Order: Input should be a valid decimal")
    assert "'abc'" in said


def test_bytes_that_are_not_json_are_told_as_such() -> None:
    broken = Payload(metadata={"encoding": b"json/plain"}, data=b"{")
    with pytest.raises(ConversionError, match="argument 1: the payload is not JSON"):
        CONVERTER.from_payloads([broken])
    with pytest.raises(ConversionError, match="can't be read as int: Invalid JSON"):
        CONVERTER.from_payloads([broken], [int])


def test_an_encoding_that_nobody_reads_is_named() -> None:
    with pytest.raises(ConversionError, match="no payload converter reads the encoding 'json/alien'"):
        CONVERTER.from_payloads([Payload(metadata={"encoding": b"json/alien"})])


@pytest.mark.parametrize(
    ("hint", "said"),
    [
        (Foo, "values of type Foo can't be read back"),
        (dict[tuple[int, int], str], "a dict with keys of type tuple has no form in JSON"),
    ],
)
def test_a_hint_that_json_cannot_be_read_as_is_refused_by_name(hint: Any, said: str) -> None:
    with pytest.raises(ConversionError, match=said):
        through({}, hint)


def test_payloads_do_not_share_their_metadata() -> None:
    first, second = CONVERTER.to_payloads([None, None])
    first.metadata["mine"] = b"1"
    assert "mine" not in second.metadata


class FooConverter(EncodingPayloadConverter):
    @property
    def encoding(self) -> str:
        return "test/foo"

    def to_payload(self, value: Any) -> Payload | None:
        return Payload(metadata={"encoding": b"test/foo"}) if isinstance(value, Foo) else None

    def from_payload(self, payload: Payload, type_hint: Any = None) -> Any:
        return Foo()


class WithFoo(CompositePayloadConverter):
    def __init__(self) -> None:
        super().__init__(FooConverter(), *DefaultPayloadConverter.default_encoding_payload_converters)


def test_a_converter_of_ones_own_goes_first() -> None:
    converter = dataclasses.replace(CONVERTER, payload_converter_class=WithFoo)
    payloads = converter.to_payloads([Foo(), None, b"x", {"a": 1}])
    assert [p.metadata["encoding"] for p in payloads] == [b"test/foo", b"binary/null", b"binary/plain", b"json/plain"]
    values = converter.from_payloads(payloads)
    assert isinstance(values[0], Foo)
    assert values[1:] == [None, b"x", {"a": 1}]
    with pytest.raises(ConversionError, match=r"^argument 2\[0\]: object of type Foo can't"):
        converter.to_payloads([None, [Foo()]])


def test_the_list_of_converters_and_the_default_one_write_the_same() -> None:
    class Listed(CompositePayloadConverter):
        def __init__(self) -> None:
            super().__init__(*DefaultPayloadConverter.default_encoding_payload_converters)

    values = [value for value, _ in ROUND_TRIPS]
    assert Listed().to_payloads(values) == PayloadConverter.default.to_payloads(values)
