"""Pure: what the names and values of a list filter mean in a namespace, as what is stored is compared with."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from fractions import Fraction

from durable.history.values import RunStatus
from durable.history.visibility.attributes import (
    NAMES,
    RESERVED,
    STATUSES,
    SYSTEM,
    Attribute,
    AttributeType,
    RunKind,
    SystemType,
)
from durable.history.visibility.indexing import INT_MAX, INT_MIN, words
from durable.history.visibility.parser import refuse
from durable.history.visibility.query import (
    All,
    Any,
    Between,
    Comparison,
    Condition,
    IsNull,
    Literal,
    Name,
    Not,
    OneOf,
    Operator,
    Order,
    Query,
    StartsWith,
    named,
)
from durable.history.visibility.search import Position

Value = str | int | float
"""Times and durations in microseconds, a status by its number, false and true as 0 and 1."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS_NS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 86_400 * 10**9,
}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ns|us|µs|ms|s|m|h|d)")
_CLOCK = re.compile(r"([0-9]+):([0-5][0-9]):([0-5][0-9])")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)
_NEWEST = Order(Name("StartTime", 0), descending=True)
_KEYS: dict[AttributeType | SystemType, type] = {AttributeType.KEYWORD: str, AttributeType.DOUBLE: float}
_INCOMPARABLE = (AttributeType.TEXT, AttributeType.KEYWORD_LIST)


class Meaning:
    """For the runs of one kind; ``types`` are those of the namespace's search attributes, as far as they are asked for.

    What is not understood is refused as `InvalidQuery`.
    """

    def __init__(self, query: Query, kind: RunKind, namespace: str, types: Mapping[str, AttributeType]) -> None:
        self.query = query
        self.kind = kind
        self.namespace = namespace
        self._types = types

    def check(self) -> None:
        """Is all of it understood?"""
        if self.query.condition is not None:
            self._check(self.query.condition)
        for order in self.query.order:
            self._scalar(order.name, "ORDER BY")
        for name in self.query.groups:
            self._scalar(name, "GROUP BY")

    def check_system(self) -> None:
        """The same, as far as it names no search attributes: what can be told before a database is asked."""
        names = named(self.query)
        for name in names:
            if name.text in RESERVED:
                self.attribute(name)
        if all(name.text in RESERVED for name in names):
            self.check()

    def check_position(self, at: Position) -> None:
        """May a page of its list begin there?"""
        for order, key in zip(self.query.order, at.keys, strict=True) if self.query.order else [(_NEWEST, at.keys[0])]:
            attribute = self.attribute(order.name)
            if key is not None and not isinstance(key, _KEYS.get(attribute.type, int)):
                refuse(self.query.text, f"its next_page_token begins at {key!r}, which is no {attribute.name}")

    def attribute(self, name: Name) -> Attribute:
        known = SYSTEM[self.kind].get(name.text)
        if known is not None:
            return known
        if name.text not in self._types:
            others = ", ".join(sorted(self._types))
            refuse(
                self.query.text,
                f"namespace {self.namespace!r} has no mapping defined for search attribute {name.text!r}; there are "
                f"{', '.join(SYSTEM[self.kind])}" + (f", and the search attributes {others}" if others else ""),
                name.at,
            )
        return Attribute(name.text, self._types[name.text])

    def value(self, attribute: Attribute, literal: Literal) -> Value:
        """As it is compared with what is stored; that of a text are words (see `words`)."""
        match attribute.type:
            case AttributeType.KEYWORD | AttributeType.KEYWORD_LIST | AttributeType.TEXT:
                return attribute.prefix + self._text(attribute, literal)
            case AttributeType.INT:
                return self._int(attribute, literal)
            case AttributeType.DOUBLE:
                return self._double(attribute, literal)
            case AttributeType.BOOL:
                return self._bool(attribute, literal)
            case AttributeType.DATETIME:
                return self._instant(attribute, literal)
            case SystemType.STATUS:
                return self._status(literal)
            case SystemType.DURATION:
                return self._duration(attribute, literal)

    def words(self, literal: Literal, attribute: Attribute) -> list[str]:
        """Of what a text is asked for: any of them will do."""
        return sorted(words(self._text(attribute, literal)))

    # What may be asked of which. ----------------------------------------------------------------------------------

    def _check(self, condition: Condition) -> None:
        match condition:
            case All(conditions=parts) | Any(conditions=parts):
                for part in parts:
                    self._check(part)
            case Not(condition=inner):
                self._check(inner)
            case Comparison(name=name, operator=operator, value=value):
                attribute = self.attribute(name)
                is_order = operator not in (Operator.EQUAL, Operator.UNEQUAL)
                if is_order and attribute.type in (*_INCOMPARABLE, AttributeType.BOOL, SystemType.STATUS):
                    self._unfit(attribute, operator.value, name.at)
                self.value(attribute, value)
            case OneOf(name=name, values=values):
                for value in values:
                    self.value(self.attribute(name), value)
            case Between(name=name, low=low, high=high):
                attribute = self.attribute(name)
                if attribute.type in (*_INCOMPARABLE, AttributeType.BOOL, SystemType.STATUS):
                    self._unfit(attribute, "BETWEEN", name.at)
                self.value(attribute, low)
                self.value(attribute, high)
            case StartsWith(name=name, prefix=prefix):
                attribute = self.attribute(name)
                if attribute.type is not AttributeType.KEYWORD:
                    self._unfit(attribute, "STARTS_WITH", name.at)
                self.value(attribute, prefix)
            case IsNull(name=name):
                self.attribute(name)

    def _scalar(self, name: Name, what: str) -> None:
        attribute = self.attribute(name)
        if attribute.type in _INCOMPARABLE:
            self._unfit(attribute, what, name.at)

    def _unfit(self, attribute: Attribute, what: str, at: int) -> None:
        refuse(self.query.text, f"{what} is not for {attribute.name}, which is {_called(attribute)}", at)

    # Values. ------------------------------------------------------------------------------------------------------

    def _text(self, attribute: Attribute, literal: Literal) -> str:
        if not isinstance(literal.value, str):
            shown = str(literal.value).lower() if isinstance(literal.value, bool) else literal.value
            refuse(self.query.text, f"{shown} is no value for {attribute.name}: write '{shown}'", literal.at)
        return literal.value

    def _int(self, attribute: Attribute, literal: Literal) -> int:
        value = literal.value
        if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{1,20}", value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not INT_MIN <= value <= INT_MAX:
            refuse(self.query.text, f"{attribute.name} takes whole numbers of 64 bits, not {value!r}", literal.at)
        return value

    def _double(self, attribute: Attribute, literal: Literal) -> float:
        value: str | int | float | bool | None = literal.value
        if not isinstance(value, bool):
            try:
                number = float(literal.value)
            except (ValueError, OverflowError):
                number = math.nan
            if math.isfinite(number):
                return number
        refuse(self.query.text, f"{attribute.name} takes numbers, not {value!r}", literal.at)

    def _bool(self, attribute: Attribute, literal: Literal) -> int:
        value = literal.value
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return int(value.lower() == "true")
        if not isinstance(value, bool):
            refuse(self.query.text, f"{attribute.name} takes true or false, not {value!r}", literal.at)
        return int(value)

    def _status(self, literal: Literal) -> int:
        names = {name: status for name, status in STATUSES.items() if self._may_be(status)}
        value = literal.value
        if not isinstance(value, str) or value not in names:
            if not isinstance(value, str):
                refuse(self.query.text, f"{value} is no value for ExecutionStatus: {', '.join(names)} are", literal.at)
            refuse(self.query.text, f"there is no status {value!r}, only {', '.join(names)}", literal.at)
        return int(names[value])

    def _may_be(self, status: RunStatus) -> bool:
        return self.kind is RunKind.WORKFLOW or status is not RunStatus.CONTINUED_AS_NEW

    def _instant(self, attribute: Attribute, literal: Literal) -> int:
        """Down to the microsecond, as what is stored."""
        value = literal.value
        if isinstance(value, int) and not isinstance(value, bool):
            return self._in_range(attribute, value // 1000, literal)
        if isinstance(value, str) and _INSTANT.fullmatch(value):
            try:
                return (datetime.fromisoformat(value.upper()) - EPOCH) // timedelta(microseconds=1)
            except (ValueError, OverflowError):
                pass  # such as a 13th month
        refuse(
            self.query.text,
            f"{attribute.name} takes times as '2026-01-31T12:00:00Z' (RFC 3339, with an offset from UTC), or "
            f"nanoseconds since 1970; not {value!r}",
            literal.at,
        )

    def _duration(self, attribute: Attribute, literal: Literal) -> int:
        value = literal.value
        if isinstance(value, int) and not isinstance(value, bool):
            return self._in_range(attribute, value // 1000, literal)
        if isinstance(value, str):
            clock = _CLOCK.fullmatch(value)
            if clock:
                seconds = int(clock[1]) * 3600 + int(clock[2]) * 60 + int(clock[3])
                return self._in_range(attribute, seconds * 10**6, literal)
            parts = _DURATION.findall(value)
            if parts and "".join(number + unit for number, unit in parts) == value:
                ns = sum(Fraction(number) * _UNITS_NS[unit] for number, unit in parts)
                return self._in_range(attribute, int(ns // 1000), literal)
        refuse(
            self.query.text,
            f"{attribute.name} takes durations as '1h30m', '90s' or '01:30:00', or nanoseconds; not {value!r}",
            literal.at,
        )

    def _in_range(self, attribute: Attribute, value: int, literal: Literal) -> int:
        if not INT_MIN <= value <= INT_MAX:
            refuse(self.query.text, f"that is too much for {attribute.name}", literal.at)
        return value


def _called(attribute: Attribute) -> str:
    if isinstance(attribute.type, AttributeType):
        return f"of type {NAMES[attribute.type]}"
    return f"a {attribute.type.value}"
