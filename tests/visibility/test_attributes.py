"""What a run is found by is what it has: from its start, at each change, in every run of its chain; at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from durable import Client, workflow
from durable.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from durable.client import RPCError, RPCStatusCode
from durable.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from durable.history.visibility.attributes import RunKind
from durable.history.visibility.parser import parse
from durable.history.visibility.search import Position, token
from durable.testing import WorkflowEnvironment
from durable.worker import Worker
from tests.engine.conftest import LONG_LEASE

CUSTOMER = SearchAttributeKey.for_keyword("Customer")
STATE = SearchAttributeKey.for_keyword("State")
NOTE = SearchAttributeKey.for_text("Note")
EUROS = SearchAttributeKey.for_int("Euros")
RATE = SearchAttributeKey.for_float("Rate")
URGENT = SearchAttributeKey.for_bool("Urgent")
DUE = SearchAttributeKey.for_datetime("Due")
TAGS = SearchAttributeKey.for_keyword_list("Tags")


@pytest.fixture(params=["sqlite", "postgres"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    address = "sqlite://" if request.param == "sqlite" else request.getfixturevalue("postgres")
    async with await Client.connect(address) as client:
        yield client


BEFORE_ALL = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))
"""In UTC it is in no year that a datetime has."""


@workflow.defn
async def mistaken() -> None:
    workflow.upsert_search_attributes([SearchAttributeKey.for_keyword("Euros").value_set("much")])


@workflow.defn
class Repair:
    def __init__(self) -> None:
        self.is_done = False

    @workflow.run
    async def run(self, again: bool) -> None:
        workflow.upsert_search_attributes([STATE.value_set("waits"), TAGS.value_set(["a", "b"])])
        if again:
            await workflow.wait_condition(lambda: self.is_done)
        workflow.upsert_search_attributes([STATE.value_set("done"), TAGS.value_unset()])
        if again:
            workflow.continue_as_new(False)

    @workflow.signal
    def finish(self) -> None:
        self.is_done = True

    @workflow.query
    def begun(self) -> bool:
        return True


def having(**values: Any) -> TypedSearchAttributes:
    keys: dict[str, SearchAttributeKey[Any]] = {
        key.name: key for key in (CUSTOMER, STATE, NOTE, EUROS, RATE, URGENT, DUE, TAGS)
    }
    return TypedSearchAttributes([SearchAttributePair(keys[name], value) for name, value in values.items()])


async def begin(client: Client, id: str, attributes: Any) -> None:
    await client.start_workflow("nobody's", id=id, search_attributes=attributes)


async def ids(client: Client, query: str) -> list[str]:
    return sorted([run.id async for run in client.list_workflows(query)])


async def test_every_type_is_found_by_its_own_rules(client: Client) -> None:
    await begin(client, "a", having(Customer="c-7", Note="Chain is BROKEN.", Euros=40, Rate=0.5, Urgent=True))
    await begin(client, "b", having(Tags=["red", "blue"], Due=datetime(2026, 2, 1, tzinfo=UTC), Urgent=False))

    assert await ids(client, "Customer = 'c-7'") == ["a"]
    assert await ids(client, "Customer STARTS_WITH 'c-'") == ["a"]
    assert await ids(client, "Note = 'broken'") == ["a"]
    assert await ids(client, "Note = 'brok'") == []
    assert await ids(client, "Euros > 39 AND Rate <= 0.5") == ["a"]
    assert await ids(client, "Urgent = false") == ["b"]
    assert await ids(client, "Tags = 'red' AND Tags IN ('blue', 'green')") == ["b"]
    assert await ids(client, "Due < '2026-02-01T01:00:00+01:00'") == []
    assert await ids(client, "Due <= '2026-02-01T01:00:00+01:00'") == ["b"]
    assert await ids(client, "Customer IS NULL") == ["b"]
    assert await ids(client, "Customer != 'x'") == ["a"]
    assert await ids(client, "NOT Customer = 'c-7'") == []


async def test_what_a_client_is_told_is_in_its_next_list(client: Client) -> None:
    async with Worker(client, workflows=[Repair], lease=LONG_LEASE):
        handle = await client.start_workflow(Repair.run, True, id="r", search_attributes=having(Customer="c-7"))
        await handle.query(Repair.begun)
        assert await ids(client, "Customer = 'c-7' AND State = 'waits' AND Tags = 'b'") == ["r"]
        await handle.signal(Repair.finish)
        await handle.result()

    chain = [run async for run in client.list_workflows("Customer = 'c-7' AND State = 'done' AND Tags IS NULL")]

    assert [run.status.name for run in chain] == ["COMPLETED", "CONTINUED_AS_NEW"]
    assert (await client.count_workflows("State = 'waits' OR Tags IS NOT NULL")).count == 0


async def test_an_attribute_that_nobody_has_given_is_refused_unless_it_was_added(client: Client) -> None:
    with pytest.raises(
        RPCError, match=r"namespace 'default' has no mapping defined for search attribute 'Customer'"
    ) as no:
        await ids(client, "Customer = 'c-7'")
    assert no.value.status is RPCStatusCode.INVALID_ARGUMENT

    await client.operator_service.add_search_attributes(AddSearchAttributesRequest({"Customer": 2}))

    assert await ids(client, "Customer = 'c-7'") == []
    listed = await client.operator_service.list_search_attributes(ListSearchAttributesRequest(namespace="default"))
    assert listed.custom_attributes == {"Customer": 2} and listed.system_attributes["StartTime"] == 6
    assert (
        await client.operator_service.list_search_attributes(ListSearchAttributesRequest("x"))
    ).custom_attributes == {}
    with pytest.raises(RPCError, match="'Customer' of namespace 'default' is of type Keyword, and stays so"):
        await client.operator_service.add_search_attributes(AddSearchAttributesRequest({"Customer": 3}))
    for wrong in ({"WorkflowId": 2}, {"": 2}, {"x" * 251: 2}, {"x": 8}):
        with pytest.raises(RPCError, match=r"is no name for a search attribute|8 is not a valid") as caught:
            await client.operator_service.add_search_attributes(AddSearchAttributesRequest(wrong))
        assert caught.value.status is RPCStatusCode.INVALID_ARGUMENT


async def test_a_value_of_another_type_is_refused_and_one_that_can_be_read_so_is_taken(client: Client) -> None:
    await begin(client, "a", having(Euros=1, Note="x", Rate=0.5))

    with pytest.raises(
        RPCError, match=r"invalid value for search attribute 'Euros' of type Int: 'much'.* since its"
    ) as no:
        await begin(
            client, "b", TypedSearchAttributes([SearchAttributePair(SearchAttributeKey.for_keyword("Euros"), "much")])
        )
    with pytest.warns(DeprecationWarning, match="use TypedSearchAttributes"):
        await begin(client, "c", {"Note": ["y z"], "Rate": [2]})

    assert no.value.status is RPCStatusCode.INVALID_ARGUMENT
    assert await ids(client, "Note = 'z' AND Rate > 1") == ["c"]
    assert await ids(client, "") == ["a", "c"]
    described = await client.get_workflow_handle("c").describe()
    assert described.typed_search_attributes == having(Note="y z", Rate=2.0)


@pytest.mark.parametrize(("name", "kind"), [("Customer", "Keyword"), ("Tags", "KeywordList")])
async def test_a_number_for_a_keyword_is_refused_by_the_type_that_it_is_not(
    client: Client, name: str, kind: str
) -> None:
    await begin(client, "a", having(Customer="c-7", Tags=["new"]))
    number = TypedSearchAttributes([SearchAttributePair(SearchAttributeKey.for_int(name), 7)])

    with pytest.raises(RPCError, match=rf"'{name}' is of type {kind}, which takes text, not 7; that is its type in"):
        await begin(client, "b", number)


async def test_what_a_workflow_sets_in_another_type_is_shown_and_not_found(client: Client) -> None:
    await begin(client, "a", having(Euros=1))
    async with Worker(client, workflows=[mistaken], lease=LONG_LEASE):
        await client.execute_workflow(mistaken, id="b")

    assert await ids(client, "Euros IS NULL") == ["b"]
    described = await client.get_workflow_handle("b").describe()
    assert described.typed_search_attributes[SearchAttributeKey.for_keyword("Euros")] == "much"


async def test_activities_are_found_by_theirs(client: Client) -> None:
    for id, customer in (("a", "c-1"), ("b", "c-2")):
        await client.start_activity(
            "charge",
            id=id,
            task_queue="q",
            start_to_close_timeout=timedelta(seconds=9),
            search_attributes=having(Customer=customer),
        )
    await begin(client, "a", having(Customer="c-1"))

    found = [each.activity_id async for each in client.list_activities("Customer = 'c-1'")]
    in_order = [each.activity_id async for each in client.list_activities("TaskQueue = 'q' ORDER BY ActivityId")]
    counted = await client.count_activities("Customer STARTS_WITH 'c' GROUP BY ActivityType")

    assert (found, in_order) == (["a"], ["a", "b"])
    assert [(group.count, group.group_values) for group in counted.groups] == [(2, ["charge"])]
    assert await ids(client, "Customer STARTS_WITH 'c'") == ["a"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("Customer", "x" * 1501), ("Customer", "\0"), ("Tags", ["a", "\0"]), ("Euros", 2**63), ("Due", BEFORE_ALL)],
)
async def test_what_could_not_be_found_is_refused_by_name(client: Client, name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"search attribute '{name}'"):
        await begin(client, "a", having(**{name: value}))
    assert await ids(client, "") == []


async def test_the_environment_knows_the_attributes_that_it_is_given() -> None:
    async with await WorkflowEnvironment.start_local(search_attributes=[CUSTOMER, TAGS]) as env:
        assert await ids(env.client, "Customer = 'c-7' OR Tags = 'x'") == []


HOSTILE = [
    "'; DROP TABLE durable_runs; --",
    "%",
    "_",
    "\\",
    "'\\",
    '"',
    "x' OR '1'='1",
    "\U0001f600",
    "größe",
    "a" * 1000,
]


async def test_what_means_something_in_sql_is_found_as_it_is_and_nothing_else_with_it(client: Client) -> None:
    for number, text in enumerate(HOSTILE):
        await begin(client, f"{number}", having(Customer=text, Tags=[text, "all"]))

    for number, text in enumerate(HOSTILE):
        quoted = "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
        for condition in ("Customer =", "Customer STARTS_WITH", "Tags =", "Customer NOT BETWEEN '' AND '' AND Tags ="):
            assert await ids(client, f"{condition} {quoted}") == [f"{number}"], condition
        assert await ids(client, f"WorkflowId = {quoted} OR WorkflowId STARTS_WITH {quoted} ") == []
        assert (await client.count_workflows(f"Tags = 'all' AND Customer != {quoted}")).count == len(HOSTILE) - 1
    assert (await client.count_workflows()).count == len(HOSTILE)


@pytest.mark.parametrize("name", ["Kunden-Größe", "a b; --", "select", "x.y", "'"])
async def test_an_attribute_may_have_any_name_in_backquotes(client: Client, name: str) -> None:
    key = SearchAttributeKey.for_int(name)
    await begin(client, "a", TypedSearchAttributes([SearchAttributePair(key, 7)]))

    assert await ids(client, f"`{name}` > 6 ORDER BY `{name}` DESC") == ["a"]
    counted = await client.count_workflows(f"GROUP BY `{name}`")
    assert [(group.count, group.group_values) for group in counted.groups] == [(1, [7])]


async def test_groups_are_as_programs_have_their_values(client: Client) -> None:
    await begin(client, "a", having(Urgent=True, Due=datetime(2026, 2, 1, tzinfo=UTC)))
    await begin(client, "b", None)

    counted = await client.count_workflows("GROUP BY Urgent, Due, ExecutionStatus")

    assert counted.count == 2
    assert [(group.count, group.group_values) for group in counted.groups] == [
        (1, [True, datetime(2026, 2, 1, tzinfo=UTC), "Running"]),
        (1, [None, None, "Running"]),
    ]


async def test_a_token_is_for_its_own_query_and_namespace(client: Client) -> None:
    for number in range(3):
        await begin(client, f"{number}", None)
    first = client.list_workflows("TaskQueue = 'default'", page_size=2)
    await first.fetch_next_page()
    next_page = first.next_page_token
    assert next_page is not None

    other = Client(**{**client.config(), "namespace": "other"})
    for asked, query in ((client, ""), (client, "TaskQueue = 'other'"), (other, "TaskQueue = 'default'")):
        with pytest.raises(RPCError, match="another query's") as caught:
            asked.list_workflows(query, next_page_token=next_page)
        assert caught.value.status is RPCStatusCode.INVALID_ARGUMENT
    assert len([run async for run in client.list_workflows("TaskQueue = 'default'", next_page_token=next_page)]) == 1


@pytest.mark.parametrize(
    ("query", "key"),
    [
        ("", "x"),
        ("", 1.5),
        ("ORDER BY CloseTime", "x"),
        ("ORDER BY WorkflowId", 7),
        ("ORDER BY Customer", 7),
        ("ORDER BY Rate DESC", 7),
        ("ORDER BY Euros", "x"),
        ("ORDER BY Urgent, Euros", 0.5),
    ],
)
async def test_a_token_that_was_made_up_is_refused(client: Client, query: str, key: str | float) -> None:
    await begin(client, "a", having(Customer="c", Rate=0.5, Euros=1, Urgent=True))
    keys = (1, key) if "," in query else (key,)
    made_up = token(Position(keys, "a"), parse(query), RunKind.WORKFLOW, "default")

    with pytest.raises(RPCError, match=r"its next_page_token begins at .*, which is no ") as caught:
        await client.list_workflows(query, next_page_token=made_up).fetch_next_page()

    assert caught.value.status is RPCStatusCode.INVALID_ARGUMENT
