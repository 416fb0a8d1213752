"""Search attributes as payloads: Temporal's form, there and back."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
import temporalio.common
import temporalio.converter
from temporalio.api.common.v1 import SearchAttributes as TheirSearchAttributes

from durable.converter.search_attributes import (
    NULL,
    decode_search_attributes,
    decode_typed_search_attributes,
    encode_search_attribute_updates,
    encode_search_attributes,
    encode_typed_search_attribute_value,
)
from durable.history.values import Payload
from durable.search_attributes import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

MOMENT = datetime(2026, 5, 1, 12, 30, 15, 250_000, tzinfo=UTC)
VALUES: list[tuple[str, Any]] = [
    ("text", "two words"),
    ("keyword", "ü"),
    ("int", -7),
    ("float", 1.5),
    ("bool", True),
    ("datetime", MOMENT),
    ("keyword_list", ["a", "b"]),
]


def key(kind: str, name: str = "Name") -> SearchAttributeKey[Any]:
    made: SearchAttributeKey[Any] = getattr(SearchAttributeKey, f"for_{kind}")(name)
    return made


ALL = TypedSearchAttributes([SearchAttributePair(key(kind, f"The{kind}"), value) for kind, value in VALUES])


@pytest.mark.parametrize(("kind", "value"), VALUES)
def test_a_value_is_written_as_temporal_writes_it(kind: str, value: Any) -> None:
    theirs = temporalio.converter.encode_typed_search_attribute_value(
        getattr(temporalio.common.SearchAttributeKey, f"for_{kind}")("Name"), value
    )
    ours = encode_typed_search_attribute_value(key(kind), value)

    assert (ours.metadata, json.loads(ours.data)) == (dict(theirs.metadata), json.loads(theirs.data))


def test_attributes_come_back_with_their_types_and_temporal_reads_them() -> None:
    payloads = encode_search_attributes(ALL)

    assert decode_typed_search_attributes(payloads) == ALL
    assert decode_search_attributes(payloads)["Thekeyword_list"] == ["a", "b"]
    assert decode_search_attributes(payloads)["Thedatetime"] == [MOMENT]
    theirs = TheirSearchAttributes()
    for name, payload in payloads.items():
        theirs.indexed_fields[name].metadata.update(payload.metadata)
        theirs.indexed_fields[name].data = payload.data
    read = temporalio.converter.decode_typed_search_attributes(theirs)
    assert {pair.key.name: pair.value for pair in read} == {pair.key.name: pair.value for pair in ALL}


def test_the_untyped_form_gets_the_types_that_its_values_have() -> None:
    payloads = encode_search_attributes({"a": ["x"], "b": ["x", "y"], "c": [7], "d": [MOMENT], "e": [True], "f": [1.5]})

    typed = {
        pair.key.name: (pair.key.indexed_value_type.name, pair.value)
        for pair in decode_typed_search_attributes(payloads)
    }
    assert typed == {
        "a": ("KEYWORD", "x"),
        "b": ("KEYWORD_LIST", ["x", "y"]),
        "c": ("INT", 7),
        "d": ("DATETIME", MOMENT),
        "e": ("BOOL", True),
        "f": ("DOUBLE", 1.5),
    }


@pytest.mark.parametrize(
    ("kind", "value"),
    [("int", True), ("int", "7"), ("bool", 1), ("keyword", 7), ("keyword_list", "ab"), ("float", "x"), ("datetime", 7)],
)
def test_a_value_of_another_type_is_refused(kind: str, value: Any) -> None:
    with pytest.raises(TypeError, match="search attribute 'Name' takes"):
        encode_typed_search_attribute_value(key(kind), value)


@pytest.mark.parametrize("value", [datetime(2026, 5, 1), float("nan")])
def test_a_time_without_a_zone_and_what_is_no_number_are_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="search attribute"):
        encode_typed_search_attribute_value(key("datetime" if isinstance(value, datetime) else "float"), value)


@pytest.mark.parametrize("values", ["text", 7, [1, "x"], [None]])
def test_the_untyped_form_takes_lists_of_one_type(values: Any) -> None:
    with pytest.raises(TypeError, match="search attribute"):
        encode_search_attributes({"Name": values})


def test_what_is_removed_is_null_and_what_does_not_tell_its_type_has_none() -> None:
    assert encode_search_attribute_updates([key("int").value_unset()]) == {"Name": NULL}
    untyped = {"Name": Payload(metadata={"encoding": b"json/plain"}, data=b'["x"]'), "Gone": NULL}
    assert decode_typed_search_attributes(untyped) == TypedSearchAttributes.empty
    assert decode_search_attributes(untyped) == {"Name": ["x"], "Gone": []}
