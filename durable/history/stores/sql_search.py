"""A list filter as a statement with bound parameters, the same for all databases.

Every name in it is a column of `tables`, chosen by what the filter's name means; every value of the filter is a
parameter. What a run does not have is NULL, so that SQL's logic is the filter's.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any as AnyValue
from typing import NamedTuple

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Double,
    Select,
    Text,
    and_,
    bindparam,
    case,
    exists,
    false,
    func,
    literal_column,
    not_,
    or_,
    select,
    tuple_,
)
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.selectable import FromClause, Subquery
from sqlalchemy.types import TypeEngine

from durable.history.stores.sql import RUN_COLUMNS
from durable.history.stores.tables import runs, search_attributes
from durable.history.visibility.attributes import Attribute, AttributeType, Field
from durable.history.visibility.meaning import Meaning, Value
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
    StartsWith,
    conjuncts,
)
from durable.history.visibility.search import GROUPS_MAX, Position, Search

Truth = ColumnElement[bool]
Expression = ColumnElement[AnyValue]

_NEWEST_FIRST = (Order(Name("StartTime", 0), descending=True),)
_PINS = (Field.WORKFLOW_ID, Field.RUN_ID)
_PINNED = ("workflow_id", "run_id")
"""Few runs share one: they are looked up, and then sorted."""
_LISTED = (AttributeType.TEXT, AttributeType.KEYWORD_LIST)
_COLUMN = {
    AttributeType.INT: "number",
    AttributeType.BOOL: "number",
    AttributeType.DATETIME: "number",
    AttributeType.DOUBLE: "real",
}
_COMPARE: dict[Operator, Callable[[AnyValue, AnyValue], AnyValue]] = {
    Operator.EQUAL: operator.eq,
    Operator.UNEQUAL: operator.ne,
    Operator.LESS: operator.lt,
    Operator.LESS_OR_EQUAL: operator.le,
    Operator.GREATER: operator.gt,
    Operator.GREATER_OR_EQUAL: operator.ge,
}
WEIGHED_MAX = 1000
_ZERO = literal_column("0", BigInteger())
_ONE = literal_column("1", BigInteger())
_NO_TEXT = literal_column("''", Text())
_OWN = search_attributes.alias("own")
_FIRST = _OWN.c.ordinal == _ZERO
_TYPES: dict[type, TypeEngine[AnyValue]] = {str: Text(), int: BigInteger(), float: Double()}


class Asked(NamedTuple):
    """A statement's text, and its parameters."""

    text: str
    values: tuple[AnyValue, ...]


class Searches:
    """What a database is asked for a search."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect

    def weighing(self, namespace: str, search: Search) -> Asked | None:
        """One row: how many rows there are for each search attribute that could lead to the runs, up to a number that
        is soon counted. Statistics don't know it, where a few runs share one value and nearly all another one; None:
        there is nothing to choose."""
        builder = _Builder(namespace, search, self)
        return None if len(builder.drivers) < 2 else self._asked(builder.weighing())

    def listing(
        self, namespace: str, search: Search, limit: int, after: Position | None, weights: Sequence[int] = ()
    ) -> Asked:
        """Rows of `RUN_COLUMNS`; if the query has an order, with what it sorts by behind them. ``weights`` are those
        that `weighing` found."""
        return self._asked(_Builder(namespace, search, self, weights).listing(limit, after))

    def counting(self, namespace: str, search: Search, weights: Sequence[int] = ()) -> Asked:
        """One row with the count; with groups one for each, its values first."""
        return self._asked(_Builder(namespace, search, self, weights).counting())

    def in_order(self, rows: Select[AnyValue]) -> Subquery:
        """Rows of search attributes such that the database takes them as they come, and looks up the run of each."""
        return rows.order_by(None).subquery("found")

    def runs_of(self, found: Subquery) -> tuple[FromClause, Truth]:
        """The runs of these rows, and how they are joined; `runs` itself where its indexes could still be taken."""
        return runs, runs.c.run_id == found.c.run_id

    def _asked(self, statement: Select[AnyValue]) -> Asked:
        compiled = statement.compile(dialect=self._dialect, compile_kwargs={"render_postcompile": True})
        assert isinstance(compiled, SQLCompiler)
        return Asked(str(compiled), tuple(compiled.params[name] for name in compiled.positiontup or ()))


class _Key(NamedTuple):
    """What a list is sorted by."""

    expression: Expression
    descending: bool
    may_miss: bool


class _Builder:
    def __init__(self, namespace: str, search: Search, database: Searches, weights: Sequence[int] = ()) -> None:
        self._namespace = namespace
        self._kind = int(search.kind)
        self._query = search.query
        self._meaning = Meaning(search.query, search.kind, namespace, search.types)
        self._database = database
        self._runs: FromClause = runs
        self._all = [_simplest(each) for each in conjuncts(search.query.condition)]
        self._is_pinned = any(self._pins(each) for each in self._all)
        self.drivers = [] if self._is_pinned else [each for each in self._all if self._can_drive(each)]
        """Conditions of which the first leads to the runs."""
        if weights:
            self.drivers = [self.drivers[n] for n in sorted(range(len(weights)), key=weights.__getitem__)]

    # Statements. --------------------------------------------------------------------------------------------------

    def weighing(self) -> Select[AnyValue]:
        enough = literal_column(str(WEIGHED_MAX), BigInteger())
        counts: list[Expression] = []
        for each in self.drivers:
            rows = select(_ONE).select_from(search_attributes).where(*self._drives(each, search_attributes))
            counts.append(select(func.count()).select_from(rows.limit(enough).subquery()).scalar_subquery())
        return select(*counts)

    def listing(self, limit: int, after: Position | None) -> Select[AnyValue]:
        order = self._query.order or _NEWEST_FIRST
        if self.drivers and self._by_start():
            key = _Key(search_attributes.c.started_us, order[0].descending, may_miss=False)
            rows = _beyond(self._driven(), [key], search_attributes.c.run_id, after)
            found = self._database.in_order(_arranged(rows, [key], search_attributes.c.run_id))
            source = self._joined(found)
            run_id: Expression = found.c.run_id
            keys, after = [key._replace(expression=found.c.started_us)], None
        else:
            source = self._source()
            keys, run_id = [self._key(each) for each in order], self._aside(self._runs.c.run_id)
        columns = [self._runs.c[column.key] for column in RUN_COLUMNS]
        shown = [key.expression for key in keys] if self._query.order else []
        statement = self._passing(select(*columns, *shown).select_from(source))
        most = literal_column(str(int(limit)), BigInteger())
        return _arranged(_beyond(statement, keys, run_id, after), keys, run_id).limit(most).offset(_ZERO)

    def counting(self) -> Select[AnyValue]:
        source = self._source()
        groups = [
            self._scalar(self._meaning.attribute(name)).label(f"group_{n}") for n, name in enumerate(self._query.groups)
        ]
        statement = self._passing(select(*groups, func.count().label("runs")).select_from(source))
        if not groups:
            return statement
        places: list[Expression] = [literal_column(str(n + 1)) for n in range(len(groups))]
        most = literal_column(str(GROUPS_MAX + 1), BigInteger())
        return statement.group_by(*places).limit(most).offset(_ZERO)

    def _passing(self, statement: Select[AnyValue]) -> Select[AnyValue]:
        rest = [each for each in self._all if not (self.drivers and self._is_of_driver(each))]
        of_all = (self._runs.c.namespace == self._namespace, self._aside(self._runs.c.kind) == self._kind)
        return statement.where(*of_all, *map(self._truth, rest))

    # What leads to the rows. --------------------------------------------------------------------------------------

    def _can_drive(self, condition: Condition) -> bool:
        """Is it of a search attribute, whose index has the runs of a value in the order of their starts?"""
        if not isinstance(condition, Comparison) or condition.operator is not Operator.EQUAL:
            return False
        attribute = self._meaning.attribute(condition.name)
        return attribute.field is None and attribute.type is not AttributeType.TEXT

    def _is_of_driver(self, condition: Condition) -> bool:
        """Is it answered by the rows of the drivers alone?"""
        return condition in self.drivers or self._is_of_start(condition)

    def _is_of_start(self, condition: Condition) -> bool:
        if not isinstance(condition, Comparison | Between):
            return False
        return self._meaning.attribute(condition.name).field is Field.STARTED

    def _source(self) -> FromClause:
        """The runs; those of the drivers, if there are any."""
        if not self.drivers:
            return runs
        return self._joined(self._database.in_order(self._driven()))

    def _joined(self, found: Subquery) -> FromClause:
        self._runs, on = self._database.runs_of(found)
        return found.join(self._runs, on)

    def _driven(self) -> Select[AnyValue]:
        """The rows of the first driver whose runs pass the others and the bounds of their starts, each by an index."""
        first, *others = self.drivers
        own = search_attributes.c
        columns: list[Expression] = [own.run_id, own.started_us]
        statement = select(*columns).where(*self._drives(first, search_attributes))
        for n, each in enumerate(others):
            other = search_attributes.alias(f"other_{n}")
            same = (other.c.started_us == own.started_us, other.c.run_id == own.run_id)
            row = select(_ONE).where(*self._drives(each, other), *same).correlate(search_attributes)
            # With an offset it can't become a join, which would read all rows of the other for each of the first.
            statement = statement.where(exists(row.limit(_ONE).offset(_ZERO)))
        bounds = [self._truth_of(own.started_us, each) for each in self._all if self._is_of_start(each)]
        return statement.where(*bounds)

    def _drives(self, condition: Condition, table: FromClause) -> list[Truth]:
        assert isinstance(condition, Comparison)
        attribute = self._meaning.attribute(condition.name)
        return [
            table.c.namespace == self._namespace,
            table.c.kind == self._kind,
            table.c.name == attribute.name,
            _column(attribute, table) == self._given(attribute, condition.value),
        ]

    def _pins(self, condition: Condition) -> bool:
        match condition:
            case Comparison(name=name, operator=Operator.EQUAL) | OneOf(name=name, negated=False):
                return self._meaning.attribute(name).field in _PINS
            case _:
                return False

    def _by_start(self) -> bool:
        order = self._query.order
        return not order or (len(order) == 1 and order[0].name.text == "StartTime")

    def _aside(self, column: Expression) -> Expression:
        """A column of the runs, such that no index of it is taken where another one leads to the few that are sought:
        without statistics a database may well take the one that is in the order of the list."""
        is_free = self._runs is not runs or not (self.drivers or self._is_pinned)
        if is_free or (self._is_pinned and column.key in _PINNED):
            return column
        return column.concat(_NO_TEXT) if isinstance(column.type, Text) else column + _ZERO

    def _key(self, order: Order) -> _Key:
        attribute = self._meaning.attribute(order.name)
        if attribute.field is Field.STARTED:
            return _Key(self._aside(self._runs.c.started_us), order.descending, may_miss=False)
        expression = self._scalar(attribute)
        always = attribute.field is not None and not _is_nullable(attribute.field)
        return _Key(expression, order.descending, may_miss=not always and not self._is_there(attribute))

    def _is_there(self, attribute: Attribute) -> bool:
        """Does the filter pass only runs that have it? (To be compared with anything it has to be there.)"""
        return any(
            self._meaning.attribute(each.name) == attribute and (not isinstance(each, IsNull) or each.negated)
            for each in self._all
            if isinstance(each, Comparison | OneOf | Between | StartsWith | IsNull)
        )

    # Conditions. --------------------------------------------------------------------------------------------------

    def _truth(self, condition: Condition) -> Truth:
        match condition:
            case All(conditions=parts):
                return and_(*map(self._truth, parts))
            case Any(conditions=parts):
                return or_(*map(self._truth, parts))
            case Not(condition=inner):
                return not_(self._truth(inner).self_group())
            case IsNull(name=name, negated=negated):
                expression = self._scalar(self._meaning.attribute(name))
                return expression.is_not(None) if negated else expression.is_(None)
            case Comparison(name=name, operator=operator, value=value):
                attribute = self._meaning.attribute(name)
                if attribute.type in _LISTED:
                    return self._has(attribute, [value], operator is Operator.EQUAL)
                return self._truth_of(self._scalar(attribute), condition)
            case OneOf(name=name, values=values, negated=negated):
                return self._one_of(self._meaning.attribute(name), values, negated)
            case Between(name=name):
                return self._truth_of(self._scalar(self._meaning.attribute(name)), condition)
            case StartsWith(name=name, prefix=prefix, negated=negated):
                attribute = self._meaning.attribute(name)
                found = _starts_with(self._scalar(attribute), str(self._meaning.value(attribute, prefix)))
                return not_(found.self_group()) if negated else found

    def _truth_of(self, scalar: Expression, condition: Condition) -> Truth:
        """Of the value that it compares."""
        assert isinstance(condition, Comparison | Between)
        attribute = self._meaning.attribute(condition.name)
        if isinstance(condition, Comparison):
            found: Truth = _COMPARE[condition.operator](scalar, self._given(attribute, condition.value))
            return found
        between = scalar.between(self._given(attribute, condition.low), self._given(attribute, condition.high))
        return not_(between) if condition.negated else between

    def _one_of(self, attribute: Attribute, values: Sequence[Literal], negated: bool) -> Truth:
        if attribute.type in _LISTED:
            return self._has(attribute, values, not negated)
        scalar = self._scalar(attribute)
        if attribute.field is Field.STATUS and len(values) > 1:
            scalar = scalar + _ZERO  # the list's order is worth more than that index
        given = [self._given(attribute, each) for each in values]
        return scalar.not_in(given) if negated else scalar.in_(given)

    def _has(self, attribute: Attribute, values: Sequence[Literal], wanted: bool) -> Truth:
        """Does the list hold one of the members, or the text one of the words? Unknown where there is neither."""
        if attribute.type is AttributeType.TEXT:
            sought = sorted({word for each in values for word in self._meaning.words(each, attribute)})
        else:
            sought = sorted({str(self._meaning.value(attribute, each)) for each in values})
        given = [_parameter(each) for each in sought]
        hit = case((_OWN.c.keyword.in_(given) if given else false(), _ONE), else_=_ZERO)
        return self._of_run(func.max(hit), attribute.name) == (_ONE if wanted else _ZERO)

    def _given(self, attribute: Attribute, literal: Literal) -> Expression:
        return _parameter(self._meaning.value(attribute, literal))

    def _scalar(self, attribute: Attribute) -> Expression:
        """Its value; NULL where the run has none. Of a list or a text, only whether it is there."""
        match attribute.field:
            case None:
                return self._of_run(_column(attribute, _OWN), attribute.name, _FIRST)
            case Field.BEGINS:
                return func.coalesce(self._runs.c.execution_us, self._runs.c.started_us)
            case Field.DURATION:
                return self._runs.c.closed_us - func.coalesce(self._runs.c.execution_us, self._runs.c.started_us)
            case Field.ROOT_ID:
                return func.coalesce(self._runs.c.root_workflow_id, self._runs.c.workflow_id)
            case Field.ROOT_RUN:
                return func.coalesce(self._runs.c.root_run_id, self._runs.c.run_id)
            case field:
                return self._aside(self._runs.c[field.value])

    def _of_run(self, what: Expression, name: str, *more: Truth) -> Expression:
        """Of a run's own rows of one search attribute."""
        own = select(what).where(_OWN.c.run_id == self._runs.c.run_id, _OWN.c.name == name, *more)
        return own.correlate(self._runs).scalar_subquery()


def _simplest(condition: Condition) -> Condition:
    """One of a single value is that value."""
    match condition:
        case OneOf(name=name, values=(value,), negated=False):
            return Comparison(name, Operator.EQUAL, value)
        case _:
            return condition


def _parameter(value: Value) -> BindParameter[AnyValue]:
    return bindparam(None, value, type_=_TYPES[type(value)], unique=True)


def _column(attribute: Attribute, table: FromClause) -> Expression:
    assert isinstance(attribute.type, AttributeType)
    column: Expression = table.c[_COLUMN.get(attribute.type, "keyword")]
    return column


def _starts_with(expression: Expression, prefix: str) -> Truth:
    """As a range, which an index answers, and in which no character means anything else."""
    if not prefix:
        return expression >= _parameter("")
    found = expression >= _parameter(prefix)
    end = _next_text(prefix)
    return found if end is None else and_(found, expression < _parameter(end))


def _next_text(prefix: str) -> str | None:
    """The first text after all that begin so; None when there is none."""
    while prefix:
        last = ord(prefix[-1])
        if last < 0x10FFFF:
            return prefix[:-1] + chr(0xE000 if last == 0xD7FF else last + 1)
        prefix = prefix[:-1]
    return None


def _is_nullable(field: Field) -> bool:
    return field in (Field.CLOSED, Field.DURATION, Field.PARENT_ID, Field.PARENT_RUN, Field.PARKED)


def _arranged(statement: Select[AnyValue], keys: Sequence[_Key], run_id: Expression) -> Select[AnyValue]:
    for key in keys:
        if key.may_miss:
            statement = statement.order_by(key.expression.is_(None))
        statement = statement.order_by(key.expression.desc() if key.descending else key.expression.asc())
    return statement.order_by(run_id.desc() if keys[-1].descending else run_id.asc())


def _beyond(
    statement: Select[AnyValue], keys: Sequence[_Key], run_id: Expression, after: Position | None
) -> Select[AnyValue]:
    return statement if after is None else statement.where(_after(keys, run_id, after))


def _after(keys: Sequence[_Key], run_id: Expression, after: Position) -> Truth:
    """What comes after a position. What has no value comes last, whichever way the list is sorted."""
    given = [None if each is None else _parameter(each) for each in after.keys]
    last = _parameter(after.run_id)
    if len(keys) == 1 and not keys[0].may_miss and given[0] is not None:
        mine, theirs = tuple_(keys[0].expression, run_id), tuple_(given[0], last)
        return mine < theirs if keys[0].descending else mine > theirs
    ways: list[Truth] = []
    same: list[Truth] = []
    for key, value in zip(keys, given, strict=True):
        if value is not None:
            further = key.expression < value if key.descending else key.expression > value
            ways.append(and_(*same, or_(further, key.expression.is_(None)) if key.may_miss else further))
        same.append(key.expression.is_(None) if value is None else key.expression == value)
    ways.append(and_(*same, run_id < last if keys[-1].descending else run_id > last))
    return or_(*ways)
