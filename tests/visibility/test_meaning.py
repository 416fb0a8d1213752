"""A query means the same on every store, and what it says: random ones over random runs, and a second opinion."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durable.history.errors import InvalidQuery
from durable.history.store import Store
from durable.history.stores import open_store
from durable.history.visibility.attributes import RunKind
from durable.history.visibility.meaning import Meaning
from durable.history.visibility.parser import parse
from durable.history.visibility.search import Search, from_token, position, token
from tests.history.worlds import NAMESPACE, ClockedHost
from tests.visibility import crowd
from tests.visibility.crowd import FILTERS, ORDERS, Asked, Row, order_text, sorted_rows

CROWD = crowd.crowd(80, seed=7)


@pytest.fixture
async def stores(postgres: str) -> AsyncIterator[list[Store]]:
    async with open_store("sqlite://", ClockedHost()) as one, open_store(postgres, ClockedHost()) as other:
        for store in (one, other):
            await crowd.fill(store, CROWD.starts)
        yield [one, other]


async def ids(store: Store, text: str, limit: int = 1000) -> list[str]:
    """The runs that a query finds, page by page, as a client asks for them."""
    query = parse(text)
    types = await store.attribute_types(NAMESPACE)
    Meaning(query, RunKind.WORKFLOW, NAMESPACE, types).check()
    found: list[str] = []
    after = None
    while True:
        page = await store.list_runs(NAMESPACE, Search(query, types=types), limit=limit, after=after)
        found += [run.run_id for run in page]
        if len(page) < limit:
            return found
        told = token(position(page[-1]), query, RunKind.WORKFLOW, NAMESPACE)
        after = from_token(told, query, RunKind.WORKFLOW, NAMESPACE)


def passing(asked: Asked, order: list[tuple[str, bool]]) -> list[Row]:
    return sorted_rows([row for row in CROWD.rows if asked.passes(row) is True], order)


@pytest.mark.parametrize("examples", [30, pytest.param(500, marks=pytest.mark.all)])
async def test_a_query_finds_the_same_runs_in_the_same_order_on_both_stores(stores: list[Store], examples: int) -> None:
    questions: list[tuple[Asked, list[tuple[str, bool]], int]] = []

    @settings(max_examples=examples, database=None, derandomize=examples == 30)
    @given(FILTERS, ORDERS, st.sampled_from([13, 13, 1000]))
    def draw(asked: Asked, order: list[tuple[str, bool]], limit: int) -> None:
        questions.append((asked, order, limit))

    draw()
    for asked, order, limit in questions:
        text = asked.text + order_text(order)
        wanted = [row["RunId"] for row in passing(asked, order)]
        for store in stores:
            assert await ids(store, text, limit) == wanted, (type(store).__name__, text)


async def test_counts_are_those_of_the_lists(stores: list[Store]) -> None:
    for names in (["ExecutionStatus"], ["Kw"], ["WorkflowType", "Flag"], ["Int"], ["ParentWorkflowId"]):
        text = f"StartTime > '1970-01-01T00:00:00Z' GROUP BY {', '.join(names)}"
        wanted = Counter(tuple(row.get(name) for name in names) for row in CROWD.rows)
        for store in stores:
            types = await store.attribute_types(NAMESPACE)
            found = await store.count_runs(NAMESPACE, Search(parse(text), types=types))
            assert Counter({each.values: each.count for each in found}) == wanted


async def test_all_are_there_without_a_condition(stores: list[Store]) -> None:
    for store in stores:
        assert await ids(store, "", 3) == [row["RunId"] for row in sorted_rows(CROWD.rows, [])]
        assert await ids(store, "ORDER BY CloseTime", 3) == [
            row["RunId"] for row in sorted_rows(CROWD.rows, [("CloseTime", False)])
        ]


BITS = [
    "'",
    '"',
    "`",
    "\\",
    "(",
    ")",
    ",",
    "=",
    "<",
    " NOT ",
    " OR ",
    " AND ",
    " IN ",
    " ORDER BY ",
    " IS NULL",
    ";",
    "--",
]


@st.composite
def near_misses(draw: st.DrawFn) -> str:
    """A query with a few characters cut out, and others put in."""
    text = draw(FILTERS).text + order_text(draw(ORDERS))
    for _ in range(draw(st.integers(0, 3))):
        begin, end = sorted((draw(st.integers(0, len(text))), draw(st.integers(0, len(text)))))
        middle = draw(st.sampled_from(["", *BITS]) | st.text(max_size=3))
        text = text[:begin] + middle + text[min(end, begin + 3) :]
    return text


async def test_whatever_is_asked_it_is_refused_or_both_stores_find_the_same(stores: list[Store]) -> None:
    texts: list[str] = []

    @settings(max_examples=60, database=None, derandomize=True)
    @given(near_misses())
    def draw(text: str) -> None:
        texts.append(text)

    draw()
    understood = 0
    for text in texts:
        try:
            first = await ids(stores[0], text)
        except InvalidQuery:
            continue
        understood += 1
        assert await ids(stores[1], text) == first, text
    assert 10 < understood < len(texts) - 10
    for store in stores:
        assert len(await ids(store, "")) == len(CROWD.rows)
