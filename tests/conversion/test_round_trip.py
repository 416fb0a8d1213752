"""A property: any value of the supported types comes back equal, through each of the converters that there are."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import math
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from durable.contrib.pydantic import PydanticPayloadConverter, ToJsonOptions, pydantic_data_converter
from durable.converter import DataConverter, WorkflowSerializationContext
from samples.encryption import encrypting


class LeavingUnsetOut(PydanticPayloadConverter):
    def __init__(self) -> None:
        super().__init__(ToJsonOptions(exclude_unset=True))


CONVERTERS = {
    "default": DataConverter.default,
    "pydantic": pydantic_data_converter,
    "unset left out": DataConverter(payload_converter_class=LeavingUnsetOut),
    "encrypting": encrypting({"a": bytes(32)}, "a").with_context(WorkflowSerializationContext("default", "w")),
}


class Colour(enum.Enum):
    RED = "red"
    BLUE = 7


@dataclasses.dataclass
class Line:
    sku: str
    price: Decimal
    at: datetime | None = None
    tags: set[str] = dataclasses.field(default_factory=set)


class Order(BaseModel):
    model_config = ConfigDict(ser_json_inf_nan="constants", ser_json_bytes="base64", val_json_bytes="base64")

    number: int
    weight: float
    key: bytes


texts = st.text(st.characters(codec="utf-8"), max_size=20)
floats = st.floats(allow_nan=True, allow_infinity=True)
integers = st.integers(-(2**200), 2**200)
decimals = st.decimals(allow_nan=False, allow_infinity=False)
zones = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))])
moments = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=zones)
lines = st.builds(Line, texts, decimals, st.none() | moments, st.sets(texts, max_size=3))
orders = st.builds(Order, number=integers, weight=floats, key=st.binary(max_size=20))

leaves: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (None, st.none()),
    (bool, st.booleans()),
    (int, integers),
    (float, floats),
    (str, texts),
    (bytes, st.binary(max_size=40)),
    (datetime, moments),
    (date, st.dates()),
    (time, st.times()),
    (timedelta, st.timedeltas(timedelta(days=-100_000), timedelta(days=100_000))),
    (Decimal, decimals),
    (uuid.UUID, st.uuids()),
    (Colour, st.sampled_from(Colour)),
    (Line, lines),
    (Order, orders),
]
hinted = st.sampled_from(leaves)


def within(inner: tuple[Any, st.SearchStrategy[Any]]) -> list[tuple[Any, st.SearchStrategy[Any]]]:
    hint, values = inner
    return [
        (list[hint], st.lists(values, max_size=3)),  # type: ignore[valid-type]
        (tuple[hint, ...], st.lists(values, max_size=3).map(tuple)),  # type: ignore[valid-type]
        (dict[str, hint], st.dictionaries(texts, values, max_size=3)),  # type: ignore[valid-type]
        (dict[int, hint], st.dictionaries(integers, values, max_size=3)),  # type: ignore[valid-type]
        (tuple[str, hint], st.tuples(texts, values)),  # type: ignore[valid-type]
        (hint if hint is None else hint | None, st.none() | values),
    ]


kinds = st.recursive(hinted, lambda inner: inner.flatmap(lambda each: st.sampled_from(within(each))), max_leaves=3)
hints_and_values = kinds.flatmap(lambda kind: st.tuples(st.just(kind[0]), kind[1]))
json_values = st.recursive(
    st.none() | st.booleans() | integers | floats | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)


def flat(value: Any) -> Iterator[Any]:
    """The parts of a value, so that NaN is equal to itself and a zero has its sign."""
    if isinstance(value, float):
        yield "nan" if math.isnan(value) else (value, math.copysign(1, value))
    elif isinstance(value, list | tuple):
        yield type(value), len(value)
        for item in value:
            yield from flat(item)
    elif isinstance(value, dict):
        yield "dict", len(value)
        for key, item in value.items():
            yield key, type(key)
            yield from flat(item)
    elif isinstance(value, Order):
        yield value.number, value.key
        yield from flat(value.weight)
    else:
        yield type(value), value


@pytest.mark.parametrize("name", CONVERTERS)
def test_any_value_comes_back_equal(name: str) -> None:
    converter = CONVERTERS[name]
    with asyncio.Runner() as runner:

        @settings(max_examples=60)
        @given(hints_and_values)
        @example((list[float], [math.nan, math.inf, -math.inf]))  # rarely drawn
        def holds(hinted: tuple[Any, Any]) -> None:
            hint, value = hinted
            (back,) = runner.run(converter.decode(runner.run(converter.encode([value])), [hint]))
            assert list(flat(back)) == list(flat(value))

        holds()


@pytest.mark.parametrize("name", CONVERTERS)
def test_any_json_comes_back_equal_without_a_hint(name: str) -> None:
    converter = CONVERTERS[name]
    with asyncio.Runner() as runner:

        @settings(max_examples=60)
        @given(json_values)
        @example({"a": [math.nan, math.inf, -math.inf]})
        def holds(value: Any) -> None:
            (back,) = runner.run(converter.decode(runner.run(converter.encode([value]))))
            assert list(flat(back)) == list(flat(value))

        holds()
