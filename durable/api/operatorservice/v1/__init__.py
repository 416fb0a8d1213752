"""Requests and answers about search attributes: the names of `temporalio.api.operatorservice.v1`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class AddSearchAttributesRequest:
    """``search_attributes`` are types by name: those of `SearchAttributeIndexedValueType`, or their numbers."""

    search_attributes: Mapping[str, int] = field(default_factory=dict[str, int])
    namespace: str = ""


@dataclass
class AddSearchAttributesResponse:
    """They are there."""


@dataclass
class ListSearchAttributesRequest:
    """Which search attributes there are."""

    namespace: str = ""


@dataclass
class ListSearchAttributesResponse:
    """Types by name: of the namespace's own search attributes, and of those that every workflow has."""

    custom_attributes: Mapping[str, int]
    system_attributes: Mapping[str, int]
    storage_schema: Mapping[str, str] = field(default_factory=dict[str, str])


__all__ = [
    "AddSearchAttributesRequest",
    "AddSearchAttributesResponse",
    "ListSearchAttributesRequest",
    "ListSearchAttributesResponse",
]
