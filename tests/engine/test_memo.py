"""The memo and the search attributes of a workflow: given at the start, changed by its code, shown to whoever asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from durable import Client, workflow
from durable.history.events import UpsertWorkflowSearchAttributes, WorkflowExecutionStarted, WorkflowPropertiesModified
from durable.search_attributes import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from tests.engine.chains import chain
from tests.engine.conftest import MakeWorker
from tests.engine.histories import assert_replays, of_type, until

CUSTOMER = SearchAttributeKey.for_keyword("Customer")
AMOUNT = SearchAttributeKey.for_float("Amount")
TAGS = SearchAttributeKey.for_keyword_list("Tags")


@dataclass
class Note:
    text: str


def typed(*pairs: Any) -> TypedSearchAttributes:
    return TypedSearchAttributes([SearchAttributePair(key, value) for key, value in pairs])


@workflow.defn
class Noting:
    """Says what its memo and attributes are, and changes them when it is told."""

    def __init__(self) -> None:
        self.said: list[Any] = []

    @workflow.run
    async def run(self) -> list[Any]:
        info = workflow.info()
        self.said.append(dict(workflow.memo()))
        self.said.append(workflow.memo_value("note", type_hint=Note).text)
        self.said.append(workflow.memo_value("nothing", "instead"))
        with pytest.raises(KeyError):
            workflow.memo_value("nothing")
        await workflow.receive("change")
        workflow.upsert_memo({"note": None, "round": 1, "gone": "soon"})
        workflow.upsert_memo({"gone": None})
        workflow.upsert_search_attributes([CUSTOMER.value_set("c2"), AMOUNT.value_unset(), TAGS.value_set(["a", "b"])])
        workflow.upsert_search_attributes([])
        self.said.append(dict(workflow.memo()))
        self.said.append(sorted(info.raw_memo))
        assert info is workflow.info(), "it is told in place"
        self.said.append({pair.key.name: pair.value for pair in info.typed_search_attributes})
        self.said.append(info.search_attributes)
        await workflow.receive("end")
        return self.said


@workflow.defn
async def hands_on(left: int) -> list[Any]:
    if left:
        workflow.upsert_memo({"left": left})
        workflow.upsert_search_attributes([AMOUNT.value_set(float(left))])
        workflow.continue_as_new(left - 1)
    return [dict(workflow.memo()), workflow.info().typed_search_attributes.get(AMOUNT)]


@workflow.defn
async def begins_anew(left: int) -> list[Any]:
    if left:
        workflow.continue_as_new(left - 1, memo={"only": "this"}, search_attributes=typed((CUSTOMER, "c3")))
    return [dict(workflow.memo()), len(workflow.info().typed_search_attributes)]


async def test_a_workflow_reads_and_changes_them_and_others_see_it(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    async with make_worker(Noting, max_cached_workflows=max_cached):
        handle = await client.start_workflow(
            Noting.run,
            id="w",
            memo={"note": Note("hello"), "kept": [1, 2]},
            search_attributes=typed((CUSTOMER, "c1"), (AMOUNT, 1.5)),
        )
        before = await handle.describe()
        assert await before.memo() == {"note": {"text": "hello"}, "kept": [1, 2]}
        assert await before.memo_value("note", type_hint=Note) == Note("hello")
        assert await before.memo_value("nothing", 7) == 7
        with pytest.raises(KeyError, match="nothing"):
            await before.memo_value("nothing")
        assert before.typed_search_attributes == typed((CUSTOMER, "c1"), (AMOUNT, 1.5))
        await handle.signal("change")

        async def changed() -> Any:
            described = await handle.describe()
            return (
                described
                if CUSTOMER in described.typed_search_attributes and TAGS in described.typed_search_attributes
                else None
            )

        after = await until(changed)
        await handle.signal("end")
        first, text, instead, memo, names, attributes, untyped = await handle.result()

    assert (first, text, instead) == ({"note": {"text": "hello"}, "kept": [1, 2]}, "hello", "instead")
    assert (memo, names) == ({"kept": [1, 2], "round": 1}, ["kept", "round"])
    assert attributes == {"Customer": "c2", "Tags": ["a", "b"]}
    assert untyped == {"Customer": ["c2"], "Tags": ["a", "b"]}
    assert await after.memo() == memo
    assert after.typed_search_attributes == typed((CUSTOMER, "c2"), (TAGS, ["a", "b"]))
    listed = [run async for run in client.list_workflows()]
    assert await listed[0].memo() == memo and listed[0].search_attributes == untyped
    history = await handle.fetch_history()
    assert len(of_type(history, WorkflowPropertiesModified)) == 2
    assert len(of_type(history, UpsertWorkflowSearchAttributes)) == 1
    await assert_replays(Noting, history)


async def test_they_go_on_to_the_run_that_continues(client: Client, make_worker: MakeWorker, max_cached: int) -> None:
    async with make_worker(hands_on, max_cached_workflows=max_cached):
        handle = await client.start_workflow(hands_on, 2, id="w", memo={"a": 1}, search_attributes=typed((AMOUNT, 9.0)))
        assert await handle.result() == [{"a": 1, "left": 1}, 1.0]
    described = await client.get_workflow_handle("w").describe()
    assert await described.memo() == {"a": 1, "left": 1} and described.typed_search_attributes == typed((AMOUNT, 1.0))
    for history in await chain(client, handle):
        await assert_replays(hands_on, history)


async def test_a_run_that_continues_may_give_others(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(begins_anew):
        handle = await client.start_workflow(
            begins_anew, 1, id="w", memo={"a": 1}, search_attributes=typed((AMOUNT, 9.0))
        )
        assert await handle.result() == [{"only": "this"}, 1]
    described = await client.get_workflow_handle("w").describe()
    assert described.typed_search_attributes == typed((CUSTOMER, "c3"))


async def test_a_workflow_that_ends_in_its_first_task_shows_what_it_has_noted(
    client: Client, make_worker: MakeWorker
) -> None:
    @workflow.defn
    async def notes() -> None:
        workflow.upsert_memo({"was": "here"})

    async with make_worker(notes):
        handle = await client.start_workflow(notes, id="w", search_attributes=typed((CUSTOMER, "c1")))
        await handle.result()
    described = await handle.describe()
    assert await described.memo() == {"was": "here"}
    assert described.typed_search_attributes == typed((CUSTOMER, "c1"))


async def test_a_query_may_change_neither(client: Client, make_worker: MakeWorker) -> None:
    @workflow.defn
    class Asked:
        @workflow.run
        async def run(self) -> None: ...

        @workflow.query
        def memo(self) -> None:
            workflow.upsert_memo({"a": 1})

        @workflow.query
        def attributes(self) -> None:
            workflow.upsert_search_attributes([AMOUNT.value_set(1.0)])

    async with make_worker(Asked):
        handle = await client.start_workflow("Asked", id="w")
        for name in ("memo", "attributes"):
            with pytest.raises(Exception, match="read-only function, action attempted: upsert"):
                await handle.query(name)


async def test_a_value_of_another_type_parks_the_run_with_the_reason(client: Client, make_worker: MakeWorker) -> None:
    @workflow.defn
    async def wrong() -> None:
        workflow.upsert_search_attributes([AMOUNT.value_set("much")])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    async with make_worker(wrong):
        handle = await client.start_workflow(wrong, id="w")

        async def parked() -> str | None:
            return (await handle.describe()).parked

        assert "search attribute 'Amount' takes float, not 'much'" in await until(parked)


async def test_the_untyped_form_is_taken_with_a_warning_that_points_here(client: Client) -> None:
    with pytest.warns(DeprecationWarning, match="TypedSearchAttributes") as warned:
        handle = await client.start_workflow("w", id="w", search_attributes={"Customer": ["c1"], "Amount": [1.5]})
    assert warned[0].filename == __file__
    described = await handle.describe()
    assert described.typed_search_attributes == typed((CUSTOMER, "c1"), (AMOUNT, 1.5))
    started = of_type(await handle.fetch_history(), WorkflowExecutionStarted)[0]
    assert started.search_attributes["Amount"].metadata["type"] == b"Double"
