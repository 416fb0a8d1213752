"""Search attributes are typed by their keys, sorted by name, and each is there once."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from datetime import datetime

import pytest

from durable.common import (
    SearchAttributeIndexedValueType,
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
)

CITY = SearchAttributeKey.for_keyword("City")
AGE = SearchAttributeKey.for_int("Age")


def test_a_key_knows_the_type_of_its_values() -> None:
    keys = [
        SearchAttributeKey.for_text("a"),
        SearchAttributeKey.for_keyword("a"),
        SearchAttributeKey.for_int("a"),
        SearchAttributeKey.for_float("a"),
        SearchAttributeKey.for_bool("a"),
        SearchAttributeKey.for_datetime("a"),
        SearchAttributeKey.for_keyword_list("a"),
    ]
    assert [key.value_type for key in keys] == [str, str, int, float, bool, datetime, Sequence[str]]
    assert [int(key.indexed_value_type) for key in keys] == [1, 2, 3, 4, 5, 6, 7]
    assert isinstance(["x"], keys[-1].origin_value_type)
    assert len(set(keys)) == 7


def test_a_payloads_metadata_name_the_type_and_are_understood() -> None:
    names = [each.metadata_type for each in SearchAttributeIndexedValueType]
    assert names == ["Text", "Keyword", "Int", "Double", "Bool", "Datetime", "KeywordList"]
    assert [SearchAttributeIndexedValueType.from_metadata_type(name) for name in names] == list(
        SearchAttributeIndexedValueType
    )
    assert SearchAttributeIndexedValueType.from_metadata_type("Colour") is None


def test_attributes_are_sorted_and_found_by_key() -> None:
    found = TypedSearchAttributes([SearchAttributePair(CITY, "Bern"), SearchAttributePair(AGE, 7)])
    assert [pair.key.name for pair in found] == ["Age", "City"]
    assert found[CITY] == "Bern" and found.get(AGE) == 7 and len(found) == 2
    assert CITY in found and SearchAttributeKey.for_text("City") not in found
    assert found.get(SearchAttributeKey.for_bool("Age"), "none") == "none"
    with pytest.raises(KeyError):
        found[SearchAttributeKey.for_bool("Age")]
    assert pickle.loads(pickle.dumps(found)) == found


def test_an_attribute_is_there_once() -> None:
    with pytest.raises(ValueError, match="Duplicate search attribute 'City'"):
        TypedSearchAttributes(
            [SearchAttributePair(CITY, "Bern"), SearchAttributePair(SearchAttributeKey.for_text("City"), "Ulm")]
        )


def test_updated_replaces_by_name_and_leaves_the_original() -> None:
    before = TypedSearchAttributes([SearchAttributePair(CITY, "Bern")])
    text = SearchAttributeKey.for_text("City")
    after = before.updated(SearchAttributePair(text, "Ulm"), SearchAttributePair(AGE, 7))
    assert [(pair.key, pair.value) for pair in after] == [(AGE, 7), (text, "Ulm")]
    assert [pair.value for pair in before] == ["Bern"]
    assert len(TypedSearchAttributes.empty) == 0


def test_an_update_sets_or_removes() -> None:
    assert (CITY.value_set("Bern").key, CITY.value_set("Bern").value) == (CITY, "Bern")
    assert CITY.value_unset().value is None
