"""Pure: what a JSON parser found to a value of the type asked for, for converters with rules of their own."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import types
import typing
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, NewType, Union, cast, get_args, get_origin
from uuid import UUID

JSONTypeConverterUnhandled = NewType("JSONTypeConverterUnhandled", object)
"""The type of `JSONTypeConverter.Unhandled`."""


class JSONTypeConverter(ABC):
    """A rule for types that JSON has no form for. Subclass it for a `JSONPlainPayloadConverter`."""

    Unhandled: ClassVar[JSONTypeConverterUnhandled] = JSONTypeConverterUnhandled(object())
    """What `to_typed_value` returns for what is not its business."""

    @abstractmethod
    def to_typed_value(self, hint: type, value: Any) -> Any | JSONTypeConverterUnhandled | None:
        """The value of type ``hint`` for what ``json.loads`` returned, or ``Unhandled``.

        It is asked at every level, with the hint of that level: of a list, then of each of its items.
        """


Otherwise = Callable[[Any, Any], Any]


def value_to_type(hint: Any, value: Any, custom_converters: Sequence[JSONTypeConverter] = []) -> Any:
    """What ``json.loads`` returned, as a value of type ``hint``. TypeError where it is none.

    ``custom_converters`` go first, at each level. Then: ``Any`` takes everything; int and float take each other where
    nothing is lost; bool and str only themselves; datetime, UUID and enums what they are written as; bytes a list of
    numbers; a union the first member that fits; mappings, TypedDicts, dataclasses (fields unknown to them are left
    out), named tuples, classes with ``parse_obj``, lists, tuples, sets and deques what fits item by item. Keys of
    mappings may be numbers, booleans and None, read from text.
    """
    return typed(hint, value, custom_converters, _refused)


def typed(hint: Any, value: Any, converters: Sequence[JSONTypeConverter], otherwise: Otherwise) -> Any:
    """`value_to_type`, with ``otherwise`` for the types that it has no rule for."""
    for converter in converters:
        found = converter.to_typed_value(hint, value)
        if found is not JSONTypeConverter.Unhandled:
            return found
    inner = _Within(converters, otherwise)
    if hint in (Any, object):
        return value
    if isinstance(hint, NewType):
        return inner(hint.__supertype__, value)
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return inner(args[0], value)
    if origin is Literal:
        return _literal(hint, args, value)
    if origin in (Union, types.UnionType):
        return _member(hint, args, value, inner)
    if isinstance(hint, typing.TypeVar):
        return inner(hint.__bound__ or Any, value)
    if hint is None or hint in _LEAVES:
        return _LEAVES[hint or type(None)](hint, value)
    cls = origin or hint
    if not isinstance(cls, type) or (hasattr(cls, "__pydantic_validator__") and not dataclasses.is_dataclass(cls)):
        return otherwise(hint, value)
    return _of_class(hint, cls, args, value, inner)


def _of_class(hint: Any, cls: Any, args: tuple[Any, ...], value: Any, inner: _Within) -> Any:
    if _is_a(cls, enum.IntEnum) or (_is_a(cls, enum.Enum) and _is_a(cls, str)):
        return _enum(cls, value)
    if dataclasses.is_dataclass(cls):
        return _dataclass(cls, value, inner)
    if typing.is_typeddict(hint):
        return _typed_dict(hint, value, inner)
    if _is_a(cls, tuple) and hasattr(cls, "_fields"):
        return _named_tuple(cls, value, inner)
    if _is_a(cls, Mapping):
        return _mapping(hint, args or (Any, Any), value, inner)
    if callable(parse := getattr(cls, "parse_obj", None)):
        return parse(value)
    if cls in _MADE or (_is_a(cls, Iterable) and inspect.isabstract(cls)):
        return _items(hint, cls, args, value, inner)
    return inner.otherwise(hint, value)


def _is_a(cls: Any, base: type) -> bool:
    return issubclass(cls, base)


class _Within:
    """`typed` for the parts of a value."""

    def __init__(self, converters: Sequence[JSONTypeConverter], otherwise: Otherwise) -> None:
        self._converters = converters
        self.otherwise = otherwise

    def __call__(self, hint: Any, value: Any, where: object = None) -> Any:
        """TypeError that says ``where``."""
        try:
            return typed(hint, value, self._converters, self.otherwise)
        except (TypeError, ValueError) as error:
            if where is None:
                raise
            raise TypeError(f"{where}: {error}") from error


def _name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint)


def _refused(hint: Any, value: Any) -> Any:
    raise TypeError(f"{_short(value)} is no {_name(hint)}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"


def _null(hint: Any, value: Any) -> None:
    if value is not None:
        _refused(type(None), value)


def _int(hint: Any, value: Any) -> int:
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return int(value)
    return cast("int", _refused(hint, value))


def _float(hint: Any, value: Any) -> float:
    return float(value) if isinstance(value, int | float) else cast("float", _refused(hint, value))


def _itself(hint: Any, value: Any) -> Any:
    return value if isinstance(value, hint) else _refused(hint, value)


def _bytes(hint: Any, value: Any) -> Any:
    if isinstance(value, bytes):
        return value
    try:
        return hint(value) if isinstance(value, list) else _refused(hint, value)
    except ValueError as error:
        raise TypeError(f"{_short(value)} is no {_name(hint)}: {error}") from error


def _from_text(hint: Any, value: Any) -> Any:
    if isinstance(value, hint):
        return value
    if not isinstance(value, str):
        return _refused(hint, value)
    try:
        return datetime.fromisoformat(value) if hint is datetime else UUID(value)
    except ValueError as error:
        raise TypeError(f"{_short(value)} is no {_name(hint)}: {error}") from error


_LEAVES: dict[Any, Callable[[Any, Any], Any]] = {
    type(None): _null,
    int: _int,
    float: _float,
    bool: _itself,
    str: _itself,
    bytes: _bytes,
    bytearray: _bytes,
    datetime: _from_text,
    UUID: _from_text,
}


def _literal(hint: Any, args: tuple[Any, ...], value: Any) -> Any:
    for member in args:
        if type(member) is type(value) and member == value:
            return member
    return _refused(hint, value)


def _member(hint: Any, args: tuple[Any, ...], value: Any, inner: _Within) -> Any:
    for member in args:
        try:
            return inner(member, value)
        except (TypeError, ValueError):
            continue
    return _refused(hint, value)


def _enum(cls: type[enum.Enum], value: Any) -> enum.Enum:
    if not isinstance(value, int if issubclass(cls, int) else str):
        _refused(cls, value)
    try:
        return cls(value)
    except ValueError as error:
        raise TypeError(str(error)) from error


def _dataclass(cls: Any, value: Any, inner: _Within) -> Any:
    if not isinstance(value, dict):
        return _refused(cls, value)
    given = cast("dict[str, Any]", value)
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = [each.name for each in dataclasses.fields(cls) if each.init and each.name in given]
    return cls(**{name: inner(hints[name], given[name], f"{cls.__name__}.{name}") for name in fields})


def _typed_dict(cls: Any, value: Any, inner: _Within) -> Any:
    if not isinstance(value, dict):
        return _refused(cls, value)
    given = cast("dict[str, Any]", value)
    hints = typing.get_type_hints(cls)  # without Required and NotRequired
    return {key: inner(hints.get(key, Any), item, f"{cls.__name__}[{key!r}]") for key, item in given.items()}


def _named_tuple(cls: Any, value: Any, inner: _Within) -> Any:
    if not isinstance(value, list):
        return _refused(cls, value)
    items = cast("list[object]", value)
    names = cast("tuple[str, ...]", cls._fields)
    hints = typing.get_type_hints(cls)
    if len(items) > len(names):
        return _refused(cls, value)
    return cls(*[inner(hints.get(name, Any), item, f"{cls.__name__}.{name}") for name, item in zip(names, items)])  # noqa: B905 the rest has defaults


def _mapping(hint: Any, args: tuple[Any, ...], value: Any, inner: _Within) -> Any:
    if not isinstance(value, dict):
        return _refused(hint, value)
    entries = cast("dict[object, Any]", value)
    return {_key(args[0], key, inner): inner(args[1], item, f"at {key!r}") for key, item in entries.items()}


_KEY_TEXTS = {"true": True, "false": False, "null": None}


def _key(hint: Any, key: Any, inner: _Within) -> Any:
    """A key as itself, or as the number, boolean or None that JSON made text of."""
    try:
        return inner(hint, key)
    except (TypeError, ValueError):
        if not isinstance(key, str):
            raise
    for read in (_KEY_TEXTS.__getitem__, int, float):
        try:
            return inner(hint, read(key))
        except (KeyError, TypeError, ValueError):
            continue
    raise TypeError(f"the key {_short(key)} is no {_name(hint)}")


def _items(hint: Any, cls: Any, args: tuple[Any, ...], value: Any, inner: _Within) -> Any:
    if not isinstance(value, list):
        return _refused(hint, value)
    items = cast("list[object]", value)
    if cls is tuple and args and args[-1] is not Ellipsis:
        if len(items) != len(args):
            raise TypeError(f"{_name(hint)} has {len(args)} items, not {len(items)}")
        return tuple(inner(arg, item, f"at {at}") for at, (arg, item) in enumerate(zip(args, items, strict=True)))
    each = args[0] if args else Any
    made = [inner(each, item, f"at {at}") for at, item in enumerate(items)]
    return made if inspect.isabstract(cls) else _MADE[cls](made)


_MADE: dict[Any, Callable[[list[Any]], Any]] = {list: list, tuple: tuple, set: set, frozenset: frozenset, deque: deque}
