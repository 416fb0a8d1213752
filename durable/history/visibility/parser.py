"""Pure: the text of a list filter, read as a `Query`: tokens, then recursive descent. Nothing here knows attributes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, NoReturn, TypeVar

from durable.history.errors import InvalidQuery
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
)

T = TypeVar("T")

LENGTH_MAX = 100_000
DEPTH_MAX = 50
CONDITIONS_MAX = 200
VALUES_MAX = 1000
KEYS_MAX = 10
"""Characters, parentheses and NOTs in each other, comparisons, values, names in ORDER BY or GROUP BY: of one query.
PostgreSQL and SQLite take it, and it is understood in a moment."""
NUMBER_MAX = 400
SHOWN = 200

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<text> '(?:[^'\\]|''|\\.)*' | "(?:[^"\\]|""|\\.)*" )
    | (?P<name> `[^`]+` | [^\W\d][\w.]* )
    | (?P<number> [+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![\w.]) )
    | (?P<sign> <> | [<>!]=? | [=(),] )
    | (?P<other> \S )
    )""",
    re.VERBOSE | re.DOTALL,
)
_OPERATORS = {each.value: each for each in Operator} | {"<>": Operator.UNEQUAL}
_AFTER_NAME = "=, !=, <, <=, >, >=, IN, BETWEEN, STARTS_WITH, IS NULL, or NOT before one of these words"


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


def parse(text: str) -> Query:
    """The query that ``text`` says; empty, it finds all. `InvalidQuery` says what can't be read, and where."""
    return _Parser(text).query()


def refuse(text: str, why: str, at: int | None = None) -> NoReturn:
    """Raises `InvalidQuery`; ``at`` counts the characters before what is wrong."""
    shown = text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
    where = "" if at is None else f" (character {at + 1})"
    raise InvalidQuery(f"the query {shown!r} can't be understood: {why}{where}")


class _Parser:
    """Walks the tokens of one query."""

    def __init__(self, text: str) -> None:
        self._text = text
        if len(text) > LENGTH_MAX:
            self._refuse(f"it has {len(text)} characters, and may have {LENGTH_MAX}")
        if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
            self._refuse("it holds a NUL or a lone surrogate, which nothing stored holds")
        self._tokens = list(_tokens(text))
        self._next = 0
        self._depth = self._conditions = self._values = 0

    def query(self) -> Query:
        condition = None if self._is_over() or self._stands_by() else self._either()
        order: tuple[Order, ...] = ()
        groups: tuple[Name, ...] = ()
        while not self._is_over():
            word = self._stands_by()
            if word == "ORDER" and not order:
                self._next += 2
                order = self._list(self._order)
                self._check_keys("ORDER BY", [each.name for each in order])
            elif word == "GROUP" and not groups:
                self._next += 2
                groups = self._list(self._name)
                self._check_keys("GROUP BY", groups)
            else:
                token = self._peek("AND, OR, ORDER BY or GROUP BY")
                self._refuse(f"{token.text} stands where AND, OR, ORDER BY or GROUP BY should", token.at)
        return Query(text=self._text, condition=condition, order=order, groups=groups)

    def _check_keys(self, what: str, names: Sequence[Name]) -> None:
        if len(names) > KEYS_MAX:
            self._refuse(f"{what} names more than {KEYS_MAX} attributes", names[KEYS_MAX].at)
        seen: set[str] = set()
        for name in names:
            if name.text in seen:
                self._refuse(f"{what} names {name.text} twice", name.at)
            seen.add(name.text)

    # Conditions. --------------------------------------------------------------------------------------------------

    def _either(self) -> Condition:
        parts = [self._both()]
        while self._skip("OR"):
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else Any(tuple(parts))

    def _both(self) -> Condition:
        parts = [self._single()]
        while self._skip("AND"):
            parts.append(self._single())
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _single(self) -> Condition:
        token = self._peek("a condition")
        self._depth += 1
        if self._depth > DEPTH_MAX:
            self._refuse(f"parentheses and NOTs are in each other more than {DEPTH_MAX} deep", token.at)
        if self._skip("NOT"):
            condition: Condition = Not(self._single())
        elif self._skip("("):
            condition = self._either()
            self._expect(")")
        else:
            condition = self._predicate()
        self._depth -= 1
        return condition

    def _predicate(self) -> Condition:
        self._conditions += 1
        name = self._name()
        if self._conditions > CONDITIONS_MAX:
            self._refuse(f"it has more than {CONDITIONS_MAX} conditions", name.at)
        negated = self._skip("NOT")
        token = self._take(f"{_AFTER_NAME} after {name.text}")
        operator = None if negated else _OPERATORS.get(token.text)
        if operator is not None:
            return Comparison(name, operator, self._value(name))
        match token.text.upper():
            case "IN":
                self._expect("(")
                values = self._list(lambda: self._value(name))
                self._expect(")")
                return OneOf(name, values, negated)
            case "BETWEEN":
                low = self._value(name)
                self._expect("AND")
                return Between(name, low, self._value(name), negated)
            case "STARTS_WITH":
                return StartsWith(name, self._value(name), negated)
            case "IS" if not negated:
                negated = self._skip("NOT")
                self._expect("NULL")
                return IsNull(name, negated)
            case _:
                self._refuse(f"{name.text} is followed by {token.text}, and may be by {_AFTER_NAME}", token.at)

    def _name(self) -> Name:
        token = self._take("the name of an attribute")
        if token.kind != "name":
            self._refuse(f"{token.text} stands where the name of an attribute should", token.at)
        return Name(token.text.strip("`"), token.at)

    def _value(self, name: Name) -> Literal:
        token = self._take(f"a value for {name.text}")
        self._values += 1
        if self._values > VALUES_MAX:
            self._refuse(f"it has more than {VALUES_MAX} values", token.at)
        match token.kind:
            case "text":
                return Literal(_unquoted(token.text), token.at)
            case "number":
                if len(token.text) > NUMBER_MAX:
                    self._refuse(f"a number has at most {NUMBER_MAX} characters", token.at)
                is_whole = re.fullmatch(r"[+-]?[0-9]+", token.text) is not None
                return Literal(int(token.text) if is_whole else float(token.text), token.at)
            case "name" if token.text.lower() in ("true", "false"):
                return Literal(token.text.lower() == "true", token.at)
            case _:
                if token.text in ("'", '"'):
                    self._refuse(f"a quote {token.text} is opened and not closed", token.at)
                self._refuse(f"{token.text} is no value: write it in quotes, as '{token.text}'", token.at)

    def _order(self) -> Order:
        name = self._name()
        if self._skip("DESC"):
            return Order(name, descending=True)
        self._skip("ASC")
        return Order(name)

    def _list(self, one: Callable[[], T]) -> tuple[T, ...]:
        found = [one()]
        while self._skip(","):
            found.append(one())
        return tuple(found)

    # Tokens. ------------------------------------------------------------------------------------------------------

    def _is_over(self) -> bool:
        return self._next >= len(self._tokens)

    def _stands_by(self) -> str:
        """ORDER or GROUP, if that is next with BY after it; else ""."""
        words = [token.text.upper() for token in self._tokens[self._next : self._next + 2]]
        return words[0] if words in (["ORDER", "BY"], ["GROUP", "BY"]) else ""

    def _skip(self, word: str) -> bool:
        found = not self._is_over() and self._tokens[self._next].text.upper() == word
        self._next += found
        return found

    def _expect(self, word: str) -> None:
        token = self._take(word)
        if token.text.upper() != word:
            self._refuse(f"{token.text} stands where {word} should", token.at)

    def _take(self, expected: str) -> _Token:
        token = self._peek(expected)
        self._next += 1
        return token

    def _peek(self, expected: str) -> _Token:
        if self._is_over():
            self._refuse(f"it ends where {expected} should stand")
        return self._tokens[self._next]

    def _refuse(self, why: str, at: int | None = None) -> NoReturn:
        refuse(self._text, why, at)


def _tokens(text: str) -> Iterator[_Token]:
    for found in _TOKEN.finditer(text):
        kind = found.lastgroup
        assert kind is not None
        yield _Token(kind, found[kind], found.start(kind))
        if kind == "other":
            return  # whatever follows, this is an error; a quote that is not closed would be looked through again


def _unquoted(text: str) -> str:
    """As in SQL a doubled quote is one; as in MySQL, whose grammar Temporal's is, so is one after a backslash."""
    quote = text[0]
    return re.sub(rf"{quote}{quote}|\\(.)", lambda found: found[1] or quote, text[1:-1], flags=re.DOTALL)
