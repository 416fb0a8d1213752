"""Runs of all sorts, the same in every store; and queries with what they mean, said once more in Python."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec
from hypothesis import strategies as st

from durable.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from durable.converter.search_attributes import encode_search_attributes
from durable.history.store import Store
from durable.history.transition import Committed, Shown, Transition
from durable.history.values import RunStatus, WorkflowExecution
from tests.history.worlds import BEGINNING_US, start

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NASTY = [
    "",
    "'",
    '"',
    "%",
    "_",
    "\\",
    "a'; DROP TABLE durable_runs; --",
    "größe",
    "\U0001f600",
    "\ud7ff",
    "\uffff",
    "`",
]
WORDS = ["a", "ab", "abc", "b", "B", *NASTY]
KEYWORDS = st.sampled_from(WORDS)
SECOND = 1_000_000

Row = dict[str, Any]
Truth = bool | None
"""None: unknown."""


class Crowd(NamedTuple):
    starts: list[Transition]
    rows: list[Row]
    """What each run has, by the names of attributes; what it has not is left out."""


def crowd(size: int, seed: int) -> Crowd:
    chance = random.Random(seed)
    pairs = [_one(chance, number) for number in range(size)]
    return Crowd([begun for begun, _ in pairs], [row for _, row in pairs])


async def fill(store: Store, starts: list[Transition]) -> None:
    assert all(isinstance(outcome, Committed) for outcome in await store.commit(starts))


def _maybe(chance: random.Random, value: Any) -> Any:
    return value if chance.random() < 0.7 else None


def _one(chance: random.Random, number: int) -> tuple[Transition, Row]:
    """Many share a start, so that pages end among equals."""
    run_id, workflow_id = f"run {number:04}", f"{chance.choice(WORDS)}-{number % 7}-{number}"
    started_us = BEGINNING_US + chance.randrange(5) * SECOND
    begins_us = started_us + chance.choice([0, SECOND])
    status = chance.choice(list(RunStatus))
    closed_us = None if status is RunStatus.RUNNING else begins_us + chance.choice([0, 90, 3600]) * SECOND
    parent = _maybe(chance, WorkflowExecution(workflow_id=chance.choice(WORDS[:3]), run_id="parent"))
    keys = SearchAttributeKey
    values: dict[SearchAttributeKey[Any], Any] = {
        keys.for_keyword("Kw"): _maybe(chance, chance.choice(WORDS)),
        keys.for_text("Words"): _maybe(chance, " ".join(chance.choices(["red", "Green", "blue!", "größe", "%"], k=2))),
        keys.for_keyword_list("List"): _maybe(chance, chance.choices(WORDS, k=2)),
        keys.for_int("Int"): _maybe(chance, chance.choice([-(2**63), -1, 0, 1, 2, 2**63 - 1])),
        keys.for_float("Real"): _maybe(chance, chance.choice([-1.5, 0.0, 0.1, 2.0, 1e300])),
        keys.for_bool("Flag"): _maybe(chance, chance.random() < 0.5),
        keys.for_datetime("When"): _maybe(chance, EPOCH + timedelta(seconds=chance.randrange(3), microseconds=1)),
    }
    given = {key: value for key, value in values.items() if value is not None}
    pairs = [SearchAttributePair(key, value) for key, value in given.items()]
    begun = start(workflow_id, run_id, messages=())
    assert begun.start is not None
    kind, queue = chance.choice(["Order", "Invoice"]), chance.choice(WORDS[:4])
    begun = msgspec.structs.replace(
        begun,
        start=msgspec.structs.replace(
            begun.start,
            workflow_type=kind,
            task_queue=queue,
            started_us=started_us,
            execution_us=begins_us,
            parent=parent,
            root=parent,
        ),
        status=status,
        closed_us=closed_us,
        shown=Shown(memo={}, search_attributes=encode_search_attributes(TypedSearchAttributes(pairs))),
    )
    row: Row = {
        "RunId": run_id,
        "WorkflowId": workflow_id,
        "WorkflowType": kind,
        "TaskQueue": queue,
        "ExecutionStatus": status,
        "StartTime": started_us,
        "ExecutionTime": begins_us,
        "CloseTime": closed_us,
        "ExecutionDuration": None if closed_us is None else closed_us - begins_us,
        "ParentWorkflowId": parent and parent.workflow_id,
        "RootWorkflowId": parent.workflow_id if parent else workflow_id,
        "HistoryLength": 1,
        **{key.name: value for key, value in given.items()},
    }
    if row.get("When") is not None:
        row["When"] = (row["When"] - EPOCH) // timedelta(microseconds=1)
    return begun, {name: value for name, value in row.items() if value is not None}


# Queries. -------------------------------------------------------------------------------------------------------------


class Asked(NamedTuple):
    """A condition as text, how tightly it binds (2: by itself, 1: AND, 0: OR), and whether a run passes."""

    text: str
    binds: int
    passes: Callable[[Row], Truth]


def quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def instant(us: int) -> str:
    return quoted((EPOCH + timedelta(microseconds=us)).isoformat().replace("+00:00", "Z"))


def _values(pairs: list[tuple[str, Any]]) -> st.SearchStrategy[tuple[str, Any]]:
    return st.sampled_from(pairs)


_texts = KEYWORDS.map(lambda text: (quoted(text), text))
_ids = _values([(quoted(text), text) for text in ("a-0-0", "run 0003", "run 0007", "'", "", "ab", *WORDS)])
_times = _values([(instant(us), us) for us in (BEGINNING_US, BEGINNING_US + SECOND, BEGINNING_US + 3601 * SECOND, 1)])
_whole = _values([(str(number), number) for number in (-(2**63), -1, 0, 1, 2, 2**63 - 1)])
SCALARS: dict[str, st.SearchStrategy[tuple[str, Any]]] = {
    "RunId": _ids,
    "WorkflowId": _ids,
    "WorkflowType": _values([("'Order'", "Order"), ("'Invoice'", "Invoice"), ("'x'", "x")]),
    "TaskQueue": _texts,
    "ParentWorkflowId": _texts,
    "RootWorkflowId": _ids,
    "Kw": _texts,
    "StartTime": _times,
    "CloseTime": _times,
    "ExecutionTime": _times,
    "When": _values([(instant(us), us) for us in (1, SECOND + 1, 5)]),
    "ExecutionDuration": _values(
        [("'90s'", 90 * SECOND), ("'01:00:00'", 3600 * SECOND), ("0", 0), ("'1h1ns'", 3600 * SECOND)]
    ),
    "HistoryLength": _whole,
    "Int": _whole,
    "Real": _values([("-1.5", -1.5), ("0", 0.0), ("0.1", 0.1), ("2", 2.0), ("1e300", 1e300)]),
}
EQUALS: dict[str, st.SearchStrategy[tuple[str, Any]]] = {
    **SCALARS,
    "ExecutionStatus": _values([(quoted(s.name.title().replace("_", "")), s) for s in RunStatus]),
    "Flag": _values([("true", True), ("'false'", False)]),
}
LISTS: dict[str, st.SearchStrategy[tuple[str, Any]]] = {
    "List": _texts,
    "Words": _values([(quoted(t), t) for t in ("red", "RED green", "blue", "größe", "%", "", "yellow")]),
}
PREFIXED = ["WorkflowId", "RunId", "TaskQueue", "Kw", "ParentWorkflowId"]
ORDERED = [
    "StartTime",
    "CloseTime",
    "ExecutionStatus",
    "WorkflowId",
    "Kw",
    "Int",
    "Real",
    "Flag",
    "When",
    "ExecutionDuration",
]
COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: bool(a == b),
    "!=": lambda a, b: bool(a != b),
    "<": lambda a, b: bool(a < b),
    "<=": lambda a, b: bool(a <= b),
    ">": lambda a, b: bool(a > b),
    ">=": lambda a, b: bool(a >= b),
}


def has(found: Any, sought: Any) -> bool:
    """A list its member; a text one of the words."""
    if isinstance(found, list):
        return sought in found
    words = set(found.replace("!", "").replace("%", "").casefold().split())
    return not words.isdisjoint(sought.replace("%", "").casefold().split())


def about(name: str, text: str, test: Callable[[Any], bool]) -> Asked:
    return Asked(text, 2, lambda row: test(row[name]) if name in row else None)


def negation(truth: Truth) -> Truth:
    return None if truth is None else not truth


@st.composite
def conditions(draw: st.DrawFn) -> Asked:
    kind = draw(st.sampled_from(["compare", "compare", "equal", "in", "between", "starts", "null", "list"]))
    negated = draw(st.booleans())
    word = " NOT" if negated else ""
    if kind == "null":
        name = draw(st.sampled_from([*EQUALS, *LISTS]))
        return Asked(f"{name} IS{word} NULL", 2, lambda row: (name in row) == negated)
    if kind == "starts":
        name, prefix = draw(st.sampled_from(PREFIXED)), draw(KEYWORDS)
        return about(name, f"`{name}`{word} starts_with {quoted(prefix)}", lambda v: v.startswith(prefix) != negated)
    if kind == "list":
        name = draw(st.sampled_from(list(LISTS)))
        values = draw(st.lists(LISTS[name], min_size=1, max_size=3))
        if len(values) == 1:
            sign = "!=" if negated else "="
            return about(name, f"{name} {sign} {values[0][0]}", lambda v: has(v, values[0][1]) != negated)
        listed = ", ".join(text for text, _ in values)
        return about(name, f"{name}{word} IN ({listed})", lambda v: any(has(v, each) for _, each in values) != negated)
    if kind == "in":
        name = draw(st.sampled_from(list(EQUALS)))
        values = draw(st.lists(EQUALS[name], min_size=1, max_size=4))
        listed = ",".join(text for text, _ in values)
        return about(name, f"{name}{word} in({listed})", lambda v: (v in [each for _, each in values]) != negated)
    if kind == "between":
        name = draw(st.sampled_from(list(SCALARS)))
        (low, least), (high, most) = draw(SCALARS[name]), draw(SCALARS[name])
        return about(name, f"{name}{word} BETWEEN {low} AND {high}", lambda v: (least <= v <= most) != negated)
    names = EQUALS if kind == "equal" else SCALARS
    name = draw(st.sampled_from(list(names)))
    sign = draw(st.sampled_from(["=", "!="] if kind == "equal" else list(COMPARE)))
    text, value = draw(names[name])
    return about(name, f"{name}{sign}{text}", lambda v: COMPARE[sign](v, value))


def _in_parentheses(asked: Asked, least: int) -> str:
    return asked.text if asked.binds >= least else f"({asked.text})"


def both(parts: list[Asked]) -> Asked:
    def passes(row: Row) -> Truth:
        truths = [each.passes(row) for each in parts]
        return False if False in truths else None if None in truths else True

    return Asked(" AND ".join(_in_parentheses(each, 2) for each in parts), 1, passes)


def either(parts: list[Asked]) -> Asked:
    def passes(row: Row) -> Truth:
        truths = [each.passes(row) for each in parts]
        return True if True in truths else None if None in truths else False

    return Asked(" or ".join(_in_parentheses(each, 1) for each in parts), 0, passes)


def opposite(asked: Asked) -> Asked:
    return Asked(f"NOT {_in_parentheses(asked, 2)}", 2, lambda row: negation(asked.passes(row)))


FILTERS = st.recursive(
    conditions(),
    lambda inner: (
        st.lists(inner, min_size=2, max_size=3).map(both)
        | st.lists(inner, min_size=2, max_size=3).map(either)
        | inner.map(opposite)
    ),
    max_leaves=6,
)
ORDERS = st.lists(st.tuples(st.sampled_from(ORDERED), st.booleans()), max_size=2, unique_by=lambda each: each[0])


def sorted_rows(rows: list[Row], order: list[tuple[str, bool]]) -> list[Row]:
    """By each attribute in turn, what has none last; then by run id, in the direction of the last."""
    order = order or [("StartTime", True)]
    found = sorted(rows, key=lambda row: str(row["RunId"]), reverse=order[-1][1])
    for name, descending in reversed(order):
        there = sorted((row for row in found if name in row), key=lambda row: row[name], reverse=descending)
        # sorted() keeps equals as they were, reversed or not.
        found = there + [row for row in found if name not in row]
    return found


def order_text(order: list[tuple[str, bool]]) -> str:
    listed = ", ".join(f"{name} {'DESC' if descending else 'asc'}" for name, descending in order)
    return f" ORDER BY {listed}" if order else ""
