"""Search attributes: the typed keys and values by which runs are found."""

from __future__ import annotations

import itertools
import typing
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any, ClassVar, Generic, NamedTuple, TypeAlias, TypeVar

SearchAttributeValueType = TypeVar("SearchAttributeValueType", str, int, float, bool, datetime, Sequence[str])
"""One of the types that a search attribute may have."""

SearchAttributeValue: TypeAlias = str | int | float | bool | datetime | Sequence[str]
"""What one attribute may hold."""

SearchAttributeValues: TypeAlias = list[str] | list[int] | list[float] | list[bool] | list[datetime]
"""What one attribute holds in the untyped form."""

SearchAttributes: TypeAlias = typing.Mapping[str, SearchAttributeValues]
"""The untyped form, which Temporal has deprecated: use `TypedSearchAttributes`."""

V = TypeVar("V")


class SearchAttributeIndexedValueType(IntEnum):
    """How an attribute is indexed. Values are Temporal's.

    TEXT is found by its words, KEYWORD as a whole, KEYWORD_LIST by each of its members.
    """

    TEXT = 1
    KEYWORD = 2
    INT = 3
    DOUBLE = 4
    BOOL = 5
    DATETIME = 6
    KEYWORD_LIST = 7

    @property
    def metadata_type(self) -> str:
        """The name that the metadata of a payload give it: ``KeywordList``."""
        return "".join(word.capitalize() for word in self.name.split("_"))

    @classmethod
    def from_metadata_type(cls, name: str) -> SearchAttributeIndexedValueType | None:
        """The type that a payload's metadata name; None for an unknown name."""
        return next((each for each in cls if each.metadata_type == name), None)


_VALUE_TYPES: dict[SearchAttributeIndexedValueType, Any] = {
    SearchAttributeIndexedValueType.TEXT: str,
    SearchAttributeIndexedValueType.KEYWORD: str,
    SearchAttributeIndexedValueType.INT: int,
    SearchAttributeIndexedValueType.DOUBLE: float,
    SearchAttributeIndexedValueType.BOOL: bool,
    SearchAttributeIndexedValueType.DATETIME: datetime,
    SearchAttributeIndexedValueType.KEYWORD_LIST: Sequence[str],
}


@dataclass(frozen=True)
class SearchAttributeKey(Generic[V]):
    """The name of an attribute with its type: ``SearchAttributeKey.for_keyword("CustomerId")``."""

    name: str
    indexed_value_type: SearchAttributeIndexedValueType

    @property
    def value_type(self) -> type[V]:
        """The type of its values; ``Sequence[str]`` for a list of keywords."""
        return _VALUE_TYPES[self.indexed_value_type]  # type: ignore[no-any-return]

    @property
    def origin_value_type(self) -> type:
        """`value_type` as `isinstance` takes it."""
        return typing.get_origin(self.value_type) or self.value_type

    def value_set(self, value: V) -> SearchAttributeUpdate[V]:
        """The update that gives the attribute this value."""
        return SearchAttributeUpdate(self, value)

    def value_unset(self) -> SearchAttributeUpdate[V]:
        """The update that removes the attribute."""
        return SearchAttributeUpdate(self, None)

    @staticmethod
    def for_text(name: str) -> SearchAttributeKey[str]:
        """Found by its words."""
        return SearchAttributeKey(name, SearchAttributeIndexedValueType.TEXT)

    @staticmethod
    def for_keyword(name: str) -> SearchAttributeKey[str]:
        """Found as a whole."""
        return SearchAttributeKey(name, SearchAttributeIndexedValueType.KEYWORD)

    @staticmethod
    def for_int(name: str) -> SearchAttributeKey[int]:
        """A key for integers."""
        return SearchAttributeKey(name, SearchAttributeIndexedValueType.INT)

    @staticmethod
    def for_float(name: str) -> SearchAttributeKey[float]:
        """A key for floats."""
        return SearchAttributeKey(name, SearchAttributeIndexedValueType.DOUBLE)

    @staticmethod
    def for_bool(name: str) -> SearchAttributeKey[bool]:
        """A key for True and False."""
        return SearchAttributeKey(name, SearchAttributeIndexedValueType.BOOL)

    @staticmethod
    def for_datetime(name: str) -> SearchAttributeKey[datetime]:
        """A key for instants."""
        return SearchAttributeKey(name, SearchAttributeIndexedValueType.DATETIME)

    @staticmethod
    def for_keyword_list(name: str) -> SearchAttributeKey[Sequence[str]]:
        """Found by each of its members."""
        return SearchAttributeKey(name, SearchAttributeIndexedValueType.KEYWORD_LIST)


class SearchAttributePair(NamedTuple, Generic[V]):
    """An attribute with its value."""

    key: SearchAttributeKey[V]
    value: V


@dataclass(frozen=True)
class SearchAttributeUpdate(Generic[V]):
    """A change of one attribute, made by its key's `value_set` or `value_unset`. ``value`` None removes it."""

    key: SearchAttributeKey[V]
    value: V | None


@dataclass(frozen=True)
class TypedSearchAttributes(Collection[SearchAttributePair[Any]]):
    """Attributes with their values, sorted by name; each name once (ValueError)."""

    search_attributes: Sequence[SearchAttributePair[Any]]

    empty: ClassVar[TypedSearchAttributes]

    def __post_init__(self) -> None:
        pairs = sorted(self.search_attributes, key=lambda pair: pair.key.name)
        for before, after in itertools.pairwise(pairs):
            if before.key.name == after.key.name:
                raise ValueError(f"Duplicate search attribute {before.key.name!r}: give each one value")
        object.__setattr__(self, "search_attributes", pairs)

    def __len__(self) -> int:
        return len(self.search_attributes)

    def __iter__(self) -> Iterator[SearchAttributePair[Any]]:
        return iter(self.search_attributes)

    def __contains__(self, key: object) -> bool:
        """Has an attribute of this key: name and type?"""
        return any(pair.key == key for pair in self)

    def __getitem__(self, key: SearchAttributeKey[V]) -> V:
        """The value of the key. KeyError when there is none."""
        for pair in self:
            if pair.key == key:
                return pair.value  # type: ignore[no-any-return]
        raise KeyError(key)

    def get(self, key: SearchAttributeKey[V], default: Any | None = None) -> Any:
        """The value of the key, else ``default``."""
        return next((pair.value for pair in self if pair.key == key), default)

    def updated(self, *search_attributes: SearchAttributePair[Any]) -> TypedSearchAttributes:
        """These attributes with others put in; one of the same name is replaced."""
        names = {pair.key.name for pair in search_attributes}
        kept = [pair for pair in self if pair.key.name not in names]
        return TypedSearchAttributes([*kept, *search_attributes])


TypedSearchAttributes.empty = TypedSearchAttributes([])
