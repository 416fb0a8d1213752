"""The contract of one encoding: what a composite converter's parts keep."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from durable.history.values import Payload


class EncodingPayloadConverter(ABC):
    """One encoding: what it can write, and how it reads that."""

    @property
    @abstractmethod
    def encoding(self) -> str:
        """The value of the payload's ``encoding`` metadata."""

    @abstractmethod
    def to_payload(self, value: Any) -> Payload | None:
        """The payload, or None when values of this kind belong to another encoding."""

    @abstractmethod
    def from_payload(self, payload: Payload, type_hint: Any = None) -> Any:
        """The value. Raises ConversionError when the payload is not one of the type asked for."""
