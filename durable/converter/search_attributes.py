"""Search attributes to payloads and back, as Temporal writes them: JSON with the type in the metadata.

No converter or codec of the user's is applied: whoever looks for runs has to read them.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from durable.converter.errors import ConversionError
from durable.history.values import Payload
from durable.history.visibility import indexing
from durable.history.visibility.attributes import AttributeType
from durable.search_attributes import (
    SearchAttributeIndexedValueType,
    SearchAttributeKey,
    SearchAttributePair,
    SearchAttributes,
    SearchAttributeUpdate,
    SearchAttributeValue,
    SearchAttributeValues,
    TypedSearchAttributes,
)

NULL = Payload(metadata={"encoding": b"binary/null"})
"""What an update writes to remove an attribute."""

DEPRECATED = "Dictionary-based search attributes are deprecated; use TypedSearchAttributes"

_UNTYPED = {bool: "Bool", int: "Int", float: "Double", datetime: "Datetime", str: "Keyword"}


def encode_search_attributes(attributes: TypedSearchAttributes | SearchAttributes) -> dict[str, Payload]:
    """By name. TypeError or ValueError for what is no value of its key's type."""
    if isinstance(attributes, TypedSearchAttributes):
        return {pair.key.name: encode_typed_search_attribute_value(pair.key, pair.value) for pair in attributes}
    payloads = {name: encode_search_attribute_values(values) for name, values in attributes.items()}
    for name, payload in payloads.items():
        if (found := indexing.read(payload)) is not None:
            _check(name, found.type, found.value)
    return payloads


def encode_search_attribute_updates(
    updates: Sequence[SearchAttributeUpdate[Any]] | SearchAttributes,
) -> dict[str, Payload]:
    """What an upsert records: values, and `NULL` or an empty list for what it removes."""
    if isinstance(updates, Mapping):
        return encode_search_attributes(updates)
    return {update.key.name: encode_typed_search_attribute_value(update.key, update.value) for update in updates}


def encode_typed_search_attribute_value(key: SearchAttributeKey[Any], value: SearchAttributeValue | None) -> Payload:
    """TypeError for a value that is not of the key's type; None removes the attribute."""
    if value is None:
        return NULL
    if not _is_of(key.indexed_value_type, value):
        expected = getattr(key.value_type, "__name__", str(key.value_type))
        raise TypeError(f"search attribute {key.name!r} takes {expected}, not {value!r}")
    shown = _json(value)
    _check(key.name, AttributeType(key.indexed_value_type), shown)
    return _payload(shown, key.indexed_value_type.metadata_type)


def encode_search_attribute_values(vals: SearchAttributeValues) -> Payload:
    """Of the untyped form: a list of values of one type. An empty one removes the attribute."""
    if isinstance(cast("object", vals), str) or not isinstance(cast("object", vals), Sequence):
        raise TypeError(f"an untyped search attribute is a list of values, not {vals!r}")
    kinds = {type(value) for value in vals}
    if len(kinds) > 1 or not kinds.issubset(_UNTYPED):
        raise TypeError(f"the values of a search attribute are of one type (str, int, float, bool, datetime): {vals!r}")
    kind = _UNTYPED[kinds.pop()] if kinds else ""
    if kind == "Keyword" and len(vals) != 1:
        kind = "KeywordList"
    return _payload([_json(value) for value in vals], kind)


def decode_search_attributes(payloads: Mapping[str, Payload]) -> SearchAttributes:
    """The untyped form: every value in a list."""
    return {name: _values(name, payload) for name, payload in payloads.items()}


def decode_typed_search_attributes(payloads: Mapping[str, Payload]) -> TypedSearchAttributes:
    """The typed form; what does not tell its type, or holds no value of it, is left out."""
    pairs: list[SearchAttributePair[Any]] = []
    for name, payload in payloads.items():
        kind = SearchAttributeIndexedValueType.from_metadata_type(payload.metadata.get("type", b"").decode())
        if kind is None:
            continue
        values = _values(name, payload)
        value: Any = values if kind is SearchAttributeIndexedValueType.KEYWORD_LIST else (values or [None])[0]
        if kind is SearchAttributeIndexedValueType.DOUBLE and type(value) is int:
            value = float(value)
        if value is not None and _is_of(kind, value):
            pairs.append(SearchAttributePair(SearchAttributeKey(name, kind), value))
    return TypedSearchAttributes(pairs)


def given_search_attributes(
    attributes: TypedSearchAttributes | SearchAttributes | None, stack_level: int
) -> dict[str, Payload]:
    """What a caller gives, encoded; the untyped form with a DeprecationWarning at so many frames above."""
    warn_of_untyped(attributes, stack_level + 1)
    return {} if attributes is None else encode_search_attributes(attributes)


def warn_of_untyped(attributes: TypedSearchAttributes | SearchAttributes | None, stack_level: int) -> None:
    """A DeprecationWarning for the untyped form, at so many frames above the caller of this."""
    if attributes and not isinstance(attributes, TypedSearchAttributes):
        warnings.warn(DEPRECATED, DeprecationWarning, stacklevel=stack_level + 1)


def _check(name: str, kind: AttributeType, value: Any) -> None:
    """ValueError for what no run could be found by. An empty list removes the attribute."""
    if value != [] and (why := indexing.refusal(name, kind, value)) is not None:
        raise ValueError(why)


def _payload(json_value: Any, kind: str) -> Payload:
    data = json.dumps(json_value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    return Payload(metadata={"encoding": b"json/plain"} | ({"type": kind.encode()} if kind else {}), data=data)


def _json(value: Any) -> Any:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"a search attribute's time needs a time zone: {value!r}")
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"a search attribute is a number, not {value!r}")
    return value if isinstance(value, str | int | float) else list(value)


def _values(name: str, payload: Payload) -> Any:
    if payload.metadata.get("encoding") == b"binary/null":
        return []
    try:
        found: Any = json.loads(payload.data)
        values: list[Any] = [] if found is None else found if isinstance(found, list) else [found]  # pyright: ignore[reportUnknownVariableType]
        if payload.metadata.get("type") == b"Datetime":
            values = [datetime.fromisoformat(value) for value in values]
    except (ValueError, TypeError) as error:
        raise ConversionError(f"search attribute {name!r} can't be read: {error}") from error
    return values


def _is_of(kind: SearchAttributeIndexedValueType, value: Any) -> bool:
    match kind:
        case SearchAttributeIndexedValueType.KEYWORD_LIST:
            is_list = isinstance(value, Sequence) and not isinstance(value, str | bytes)
            return is_list and all(isinstance(each, str) for each in cast("Sequence[Any]", value))
        case SearchAttributeIndexedValueType.BOOL:
            return isinstance(value, bool)
        case SearchAttributeIndexedValueType.INT:
            return isinstance(value, int) and not isinstance(value, bool)
        case SearchAttributeIndexedValueType.DOUBLE:
            return isinstance(value, int | float) and not isinstance(value, bool)
        case SearchAttributeIndexedValueType.DATETIME:
            return isinstance(value, datetime)
        case _:
            return isinstance(value, str)
