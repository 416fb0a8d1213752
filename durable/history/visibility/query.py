"""Pure: a list filter as values, whatever its names mean."""

from __future__ import annotations

from enum import Enum

from msgspec import Struct


class Operator(Enum):
    """How an attribute is compared with a value."""

    EQUAL = "="
    UNEQUAL = "!="
    LESS = "<"
    LESS_OR_EQUAL = "<="
    GREATER = ">"
    GREATER_OR_EQUAL = ">="


class Name(Struct, frozen=True):
    """An attribute's name, and where it stands in the text."""

    text: str
    at: int


class Literal(Struct, frozen=True):
    """A value as it is written: a text is quoted, a number or a truth is not."""

    value: str | int | float | bool
    at: int


class Comparison(Struct, frozen=True):
    name: Name
    operator: Operator
    value: Literal


class OneOf(Struct, frozen=True):
    name: Name
    values: tuple[Literal, ...]
    negated: bool = False


class Between(Struct, frozen=True):
    """Both ends belong to it."""

    name: Name
    low: Literal
    high: Literal
    negated: bool = False


class StartsWith(Struct, frozen=True):
    name: Name
    prefix: Literal
    negated: bool = False


class IsNull(Struct, frozen=True):
    name: Name
    negated: bool = False


class All(Struct, frozen=True):
    conditions: tuple[Condition, ...]


class Any(Struct, frozen=True):
    conditions: tuple[Condition, ...]


class Not(Struct, frozen=True):
    condition: Condition


Condition = Comparison | OneOf | Between | StartsWith | IsNull | All | Any | Not
"""True, false, or unknown, as in SQL: what is compared with an attribute that a run does not have is unknown, and so is
NOT of it; a run is found when it is true."""


class Order(Struct, frozen=True):
    name: Name
    descending: bool = False


class Query(Struct, frozen=True):
    """Without a condition all are found. Without an order the newest come first."""

    text: str = ""
    condition: Condition | None = None
    order: tuple[Order, ...] = ()
    groups: tuple[Name, ...] = ()


def conjuncts(condition: Condition | None) -> list[Condition]:
    """The conditions all of which must hold."""
    if isinstance(condition, All):
        return [each for part in condition.conditions for each in conjuncts(part)]
    return [] if condition is None else [condition]


def named(query: Query) -> list[Name]:
    """All attributes that it names, as often as it does."""
    found = [each.name for each in query.order] + list(query.groups)
    return found + ([] if query.condition is None else _named(query.condition))


def _named(condition: Condition) -> list[Name]:
    match condition:
        case All(conditions=parts) | Any(conditions=parts):
            return [name for part in parts for name in _named(part)]
        case Not(condition=inner):
            return _named(inner)
        case _:
            return [condition.name]
