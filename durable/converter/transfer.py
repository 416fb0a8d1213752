"""Classes that are converted as values of another type: what a class can't say of itself, its transfer type says."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeVar

ValueT = TypeVar("ValueT")
TransferTypeT = TypeVar("TransferTypeT")
ClassT = TypeVar("ClassT", bound=type[Any])

ATTRIBUTE = "__durable_transfer_type_converter__"


class TransferTypeConverter(ABC, Generic[ValueT, TransferTypeT]):
    """Values of a class to values of a type that converters know, and back. Made without arguments."""

    transfer_type: ClassVar[Any] = None
    """The hint that payloads are read with; None: whatever the payload says."""

    @abstractmethod
    def to_transfer_type(self, value: ValueT) -> TransferTypeT:
        """What is converted in place of the value."""

    @abstractmethod
    def from_transfer_type(self, value: TransferTypeT, type_hint: type[ValueT]) -> ValueT:
        """The value again; ``type_hint`` is what was asked for, type arguments included."""


def transfer_type_convertible(converter_type: type[TransferTypeConverter[Any, Any]]) -> Callable[[ClassT], ClassT]:
    """A class decorator: its instances, as arguments and results, are converted by this converter.

    Instances of subclasses are not, nor is one inside another value: there its class has to be one that the payload
    converter knows.
    """

    def decorate(cls: ClassT) -> ClassT:
        setattr(cls, ATTRIBUTE, converter_type())
        return cls

    return decorate


def transfer_converter_of(hint: Any) -> TransferTypeConverter[Any, Any] | None:
    """The converter of a class, or of a hint that names one."""
    cls = hint if isinstance(hint, type) else getattr(hint, "__origin__", None)
    return cls.__dict__.get(ATTRIBUTE) if isinstance(cls, type) else None
