"""Pure: Temporal's list filter, as far as it is understood here, read from text and applied to runs.

``WorkflowType = 'order' AND ExecutionStatus IN ('Running', 'Failed')``: conditions with ``=`` or ``IN``, joined by
``AND``. To understand an attribute is a line in `ATTRIBUTES`.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterator
from typing import NamedTuple, NoReturn

from msgspec import Struct

from durable.client.description import WorkflowExecution
from durable.history.values import RunStatus
from durable.service import RPCError, RPCStatusCode

STATUSES = {member.name.title().replace("_", ""): member for member in RunStatus}
"""By Temporal's names: ``Running``, ``ContinuedAsNew`` …"""

ATTRIBUTES: dict[str, Callable[[WorkflowExecution], Hashable]] = {
    "ExecutionStatus": lambda run: run.status,
    "RunId": lambda run: run.run_id,
    "TaskQueue": lambda run: run.task_queue,
    "WorkflowId": lambda run: run.id,
    "WorkflowType": lambda run: run.workflow_type,
}

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<text> '(?:[^'\\]|''|\\.)*' | "(?:[^"\\]|""|\\.)*" )
    | (?P<name> `[^`]+` | [^\W\d][\w.]* )
    | (?P<sign> [<>!]=? | [=(),] )
    | (?P<other> \S )
    )""",
    re.VERBOSE | re.DOTALL,
)


class Condition(Struct, frozen=True):
    """The attribute's value is one of these."""

    attribute: str
    values: frozenset[Hashable]


class Filter(Struct, frozen=True):
    """All conditions hold; without any, every run passes."""

    conditions: tuple[Condition, ...] = ()

    def passes(self, run: WorkflowExecution) -> bool:
        return all(ATTRIBUTES[each.attribute](run) in each.values for each in self.conditions)

    @property
    def status(self) -> RunStatus | None:
        """The one status that a run must have, if the filter names one: what a store can look for by itself."""
        for each in self.conditions:
            if each.attribute == "ExecutionStatus" and len(each.values) == 1:
                (status,) = each.values
                return status if isinstance(status, RunStatus) else None
        return None


def parse(query: str, attributes: Collection[str] = ATTRIBUTES.keys()) -> Filter:
    """The filter that ``query`` says; empty, every run passes. `RPCError` INVALID_ARGUMENT says what can't be read."""
    return _Parser(query, attributes).filter()


class _Token(NamedTuple):
    kind: str
    text: str


class _Parser:
    """Walks the tokens of one query."""

    def __init__(self, query: str, attributes: Collection[str]) -> None:
        self._query = query
        self._attributes = attributes
        self._left = deque(_tokens(query))

    def filter(self) -> Filter:
        if not self._left:
            return Filter()
        conditions = [self._condition()]
        while self._left:
            self._expect("AND")
            conditions.append(self._condition())
        return Filter(tuple(conditions))

    def _condition(self) -> Condition:
        token = self._take("the name of an attribute")
        attribute = token.text.strip("`")
        if token.kind != "name" or attribute not in self._attributes:
            self._refuse(f"{token.text} is none of its attributes")
        sign = self._take(f"= or IN after {attribute}")
        if sign.text == "=":
            return Condition(attribute, frozenset([self._value(attribute)]))
        if sign.text.upper() != "IN":
            self._refuse(f"{attribute} is followed by {sign.text}")
        self._expect("(")
        values = [self._value(attribute)]
        while self._left and self._left[0].text == ",":
            self._expect(",")
            values.append(self._value(attribute))
        self._expect(")")
        return Condition(attribute, frozenset(values))

    def _value(self, attribute: str) -> Hashable:
        token = self._take(f"a value for {attribute}")
        if token.text in ("'", '"'):
            self._refuse(f"a quote {token.text} is opened and not closed")
        if token.kind != "text":
            self._refuse(f"{token.text} is no value: write it in quotes, as '{token.text}'")
        text = _unquoted(token.text)
        if attribute == "ExecutionStatus":
            if text not in STATUSES:
                self._refuse(f"there is no status {text!r}, only {', '.join(STATUSES)}")
            return STATUSES[text]
        return text

    def _expect(self, word: str) -> None:
        token = self._take(word)
        if token.text.upper() != word:
            self._refuse(f"{token.text} stands where {word} should")

    def _take(self, expected: str) -> _Token:
        if not self._left:
            self._refuse(f"it ends where {expected} should stand")
        return self._left.popleft()

    def _refuse(self, why: str) -> NoReturn:
        raise RPCError(
            f"the query {self._query!r} can't be understood: {why}; understood are Attribute = 'value' and "
            f"Attribute IN ('one', 'other'), joined by AND, with the attributes {', '.join(self._attributes)}",
            RPCStatusCode.INVALID_ARGUMENT,
        )


def _tokens(query: str) -> Iterator[_Token]:
    for found in _TOKEN.finditer(query):
        kind = found.lastgroup
        assert kind is not None
        yield _Token(kind, found[kind])


def _unquoted(text: str) -> str:
    """As in SQL a doubled quote is one; as in MySQL, whose grammar Temporal's is, so is one after a backslash."""
    quote = text[0]
    return re.sub(rf"{quote}{quote}|\\(.)", lambda found: found[1] or quote, text[1:-1], flags=re.DOTALL)
