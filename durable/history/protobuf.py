"""What programs expect of values that are protobuf messages elsewhere: methods by protobuf's names."""

from __future__ import annotations

from copy import deepcopy
from typing import ClassVar, Self

from msgspec import Struct


class Message(Struct):
    """A value whose fields may be assigned, copied and asked for as those of a protobuf message."""

    _presence: ClassVar[frozenset[str]] = frozenset()
    """Names of the fields that are there or not there, rather than empty."""

    def CopyFrom(self, other: Self) -> None:
        """Become a copy of another; the two share nothing afterwards."""
        for name in self.__struct_fields__:
            if hasattr(other, name):
                setattr(self, name, deepcopy(getattr(other, name)))

    def HasField(self, name: str) -> bool:
        """Is this message within there? ValueError for a name of another kind of field, or of none."""
        if name in self._presence:
            return getattr(self, name) is not None
        kind = type(self).__name__
        if name in self.__struct_fields__:
            raise ValueError(f"Field {kind}.{name} does not have presence.")
        raise ValueError(f'Protocol message {kind} has no "{name}" field.')
