"""JSON with rules of one's own: encoders, decoders, type converters, and `value_to_type`, held against Temporal's."""

from __future__ import annotations

import collections
import dataclasses
import enum
import ipaddress
import json
import typing
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, NewType, Optional, TypedDict

import pytest
from pydantic import BaseModel
from temporalio import converter as theirs

from durable.converter import (
    AdvancedJSONEncoder,
    CompositePayloadConverter,
    ConversionError,
    DataConverter,
    DefaultPayloadConverter,
    JSONPlainPayloadConverter,
    JSONTypeConverter,
    JSONTypeConverterUnhandled,
    Payload,
    value_to_type,
)


class Level(enum.IntEnum):
    LOW = 1


class Colour(enum.StrEnum):
    RED = "red"


class Size(enum.Enum):
    BIG = "big"


@dataclasses.dataclass
class Node:
    number: int
    text: str = "x"
    child: Optional[Node] = None  # noqa: UP045 as programs write it


class Keys(TypedDict):
    one: int


class Pair(NamedTuple):
    one: int
    two: str = "b"


class Old:
    """As pydantic 1 makes them, about."""

    def __init__(self, found: Any) -> None:
        self.found = found

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Old) and other.found == self.found

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def parse_obj(cls, found: Any) -> Old:
        return cls(found)

    def dict(self) -> Any:
        return self.found


class Model(BaseModel):
    price: Decimal


Number = NewType("Number", int)
ID = uuid.UUID(int=7)

AS_TEMPORAL: list[tuple[Any, Any]] = [
    (Any, {"a": [1]}),
    (datetime, "2020-01-02T03:04:05+00:00"),
    (datetime, "no"),
    (datetime, 5),
    (int, 1),
    (int, 1.0),
    (int, "1"),
    (float, 1),
    (float, "1"),
    (bool, True),
    (bool, 1),
    (str, "a"),
    (str, 1),
    (bytes, [1, 2]),
    (bytes, "ab"),
    (type(None), None),
    (type(None), 1),
    (Number, 3),
    (Literal["a", 1], "a"),
    (Literal["a"], "b"),
    (int | None, None),
    (int | str, "a"),
    (str | None, 5),
    (Node | int, {"number": 1}),
    (dict, {"a": 1}),
    (dict[str, int], {"a": "x"}),
    (dict[str, int], [1]),
    (dict[int, str], {"1": "x"}),
    (dict[float, str], {"1.5": "x"}),
    (dict[bool, str], {"true": "x"}),
    (dict[bool, str], {"yes": "x"}),
    (dict[type(None), str], {"null": "x"}),  # type: ignore[misc]
    (dict[Level, str], {"1": "x"}),
    (dict[uuid.UUID, int], {str(ID): 1}),
    (Mapping[str, Node], {"a": {"number": 1}}),
    (Keys, {"one": 1, "more": 2}),
    (Keys, {"one": "x"}),
    (Keys, 5),
    (Node, {"number": 1, "unknown": 2, "child": {"number": 3}}),
    (Node, {"number": "x"}),
    (Node, {}),
    (Node, None),
    (Level, 1),
    (Level, "1"),
    (Colour, "red"),
    (Size, "big"),
    (uuid.UUID, str(ID)),
    (list[int], [1]),
    (list[int], ["a"]),
    (list[int], 5),
    (list[Node], [{"number": 1}]),
    (tuple[int, str], [1, "a"]),
    (tuple[int, ...], [1, 2]),
    (tuple[int, str], [1, "a", 2]),
    (set[int], [1, 1]),
    (frozenset[int], [1]),
    (collections.deque[int], [1]),
    (Sequence[int], [1]),
    (typing.Iterable[int], [1]),
    (list, [1]),
    (object.__class__, 1),
]


@pytest.mark.parametrize(("hint", "value"), AS_TEMPORAL)
def test_a_value_becomes_what_temporal_makes_of_it(hint: Any, value: Any) -> None:
    try:
        expected = theirs.value_to_type(hint, value)
    except TypeError:
        with pytest.raises(TypeError):
            value_to_type(hint, value)
    else:
        made = value_to_type(hint, value)
        assert made == expected and type(made) is type(expected)


@pytest.mark.parametrize(
    ("hint", "value", "expected"),
    [
        (int | float, 1.5, 1.5),
        (Pair, [1, "a"], Pair(1, "a")),
        (Pair, [1], Pair(1)),
        (Annotated[int, "of something"], 1, 1),
        (None, None, None),
        (object, "a", "a"),
        (dict[Number, int], {"1": 1}, {1: 1}),
        (dict[int | None, int], {"1": 1, "null": 2}, {1: 1, None: 2}),
        (Old, {"a": 1}, Old({"a": 1})),
        (bytearray, [1], bytearray(b"\1")),
    ],
)
def test_a_value_becomes_what_temporal_refuses_or_spoils(hint: Any, value: Any, expected: Any) -> None:
    made = value_to_type(hint, value)
    assert made == expected and type(made) is type(expected)


@pytest.mark.parametrize(
    ("hint", "value", "said"),
    [
        (int, 1.5, "1.5 is no int"),
        (Literal[1], True, "True is no"),
        (tuple[int, str], [1], "has 2 items, not 1"),
        (Level, 9, "9 is not a valid Level"),
        (uuid.UUID, "x", "'x' is no UUID"),
        (bytes, [300], "is no bytes"),
        (list[Node], [{"number": 1, "child": {"number": "x"}}], "at 0: Node.child: "),
        (dict[int, int], {"x": 1}, "the key 'x' is no int"),
        (Pair, [1, "a", 2], "is no Pair"),
        (Decimal, "1.5", "'1.5' is no Decimal"),
    ],
)
def test_what_fits_not_is_refused_with_its_place(hint: Any, value: Any, said: str) -> None:
    with pytest.raises(TypeError) as caught:
        value_to_type(hint, value)
    assert said in str(caught.value)


class Addresses(JSONTypeConverter):
    def to_typed_value(self, hint: type, value: Any) -> Any | JSONTypeConverterUnhandled | None:
        return ipaddress.ip_address(value) if hint is ipaddress.IPv4Address else JSONTypeConverter.Unhandled


class AddressEncoder(AdvancedJSONEncoder):
    def default(self, o: Any) -> Any:
        return str(o) if isinstance(o, ipaddress.IPv4Address) else super().default(o)


class Own(CompositePayloadConverter):
    def __init__(self) -> None:
        mine = JSONPlainPayloadConverter(encoder=AddressEncoder, custom_type_converters=[Addresses()])
        theirs = DefaultPayloadConverter.default_encoding_payload_converters
        super().__init__(*[mine if isinstance(each, JSONPlainPayloadConverter) else each for each in theirs])


@dataclasses.dataclass
class Host:
    address: ipaddress.IPv4Address
    price: Decimal
    others: list[ipaddress.IPv4Address] = dataclasses.field(default_factory=list)
    model: Model | None = None
    key: bytes = b"\xff\0"


def test_encoder_and_type_converter_serve_at_every_level_and_pydantic_the_rest() -> None:
    converter = DataConverter(payload_converter_class=Own)
    first, second = ipaddress.IPv4Address("10.0.0.1"), ipaddress.IPv4Address("10.0.0.2")
    values = [first, [second], Host(first, Decimal("1.50"), [second], Model(price=Decimal(2)))]
    payloads = converter.to_payloads(values)
    assert payloads[0].data == b'"10.0.0.1"'
    assert converter.from_payloads(payloads, [ipaddress.IPv4Address, list[ipaddress.IPv4Address], Host]) == values
    assert value_to_type(ipaddress.IPv4Address, "10.0.0.1", [Addresses()]) == first
    assert converter.from_payloads(payloads) == ["10.0.0.1", ["10.0.0.2"], json.loads(payloads[2].data)]


def test_an_encoder_of_ones_own_writes_the_bytes_that_temporals_would() -> None:
    class Encoder(AdvancedJSONEncoder):
        pass

    value = {
        "b": Node(1, "é", Node(2)),
        "a": datetime(2020, 1, 2, tzinfo=UTC),
        "c": (1, {2}, b"ab", ID, float("nan")),
        "d": Level.LOW,
    }
    (written,) = [JSONPlainPayloadConverter(encoder=Encoder).to_payload(value)]
    expected = theirs.JSONPlainPayloadConverter(encoder=theirs.AdvancedJSONEncoder).to_payload(value)
    assert written is not None and expected is not None and written.data == expected.data


def test_the_advanced_encoder_takes_what_pydantic_takes_and_refuses_the_rest() -> None:
    assert json.dumps(Old([1]), cls=AdvancedJSONEncoder) == "[1]"
    assert json.loads(json.dumps([Model(price=Decimal("1.5")), timedelta(1)], cls=AdvancedJSONEncoder)) == [
        {"price": "1.5"},
        "P1D",
    ]
    with pytest.raises(TypeError, match="object is not JSON serializable"):
        json.dumps(object(), cls=AdvancedJSONEncoder)


def test_a_decoder_and_an_encoding_of_ones_own_are_used() -> None:
    class Decoder(json.JSONDecoder):
        def decode(self, s: str, *rest: Any) -> Any:  # type: ignore[override]
            return {"decoded": super().decode(s)}

    converter = JSONPlainPayloadConverter(decoder=Decoder, encoding="json/mine", encoder=None)
    payload = converter.to_payload([1])
    assert payload == Payload(metadata={"encoding": b"json/mine"}, data=b"[1]")
    assert converter.from_payload(payload, dict[str, list[int]]) == {"decoded": [1]}
    renamed = JSONPlainPayloadConverter(encoding="json/mine")
    assert renamed.encoding == "json/mine" and renamed.from_payload(payload, list[int]) == [1]


def test_what_the_options_can_not_convert_is_refused_by_name() -> None:
    converter = DataConverter(payload_converter_class=Own)
    loop: list[Any] = []
    loop.append(loop)
    for value, said in ((object(), "argument 2: object of type object can't be converted"), (loop, "Circular")):
        with pytest.raises(ConversionError, match=said):
            converter.to_payloads([1, value])
    broken = Payload(metadata={"encoding": b"json/plain"}, data=b"{")
    with pytest.raises(ConversionError, match="argument 1: the payload is not JSON"):
        converter.from_payloads([broken])
    with pytest.raises(ConversionError, match=r"argument 1: can't be read as Host: Host\.address: "):
        converter.from_payloads(converter.to_payloads([{"address": "nowhere"}]), [Host])


def test_a_subclass_of_the_default_may_put_in_a_converter_of_its_own() -> None:
    class Replaced(DefaultPayloadConverter):
        def __init__(self) -> None:
            super().__init__()
            self.converters[b"json/plain"] = JSONPlainPayloadConverter(encoder=AddressEncoder)

    (payload,) = DataConverter(payload_converter_class=Replaced).to_payloads([ipaddress.IPv4Address("10.0.0.1")])
    assert payload.data == b'"10.0.0.1"'
