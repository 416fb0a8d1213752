"""Lists of runs: filtered, in pages, and with their histories."""

from __future__ import annotations

import pytest

from durable import Client, workflow
from durable.client import RPCError, RPCStatusCode, WorkflowExecutionStatus, WorkflowHistory
from tests.engine.conftest import MakeWorker


@workflow.defn
async def odd(number: int) -> int:
    return number


@workflow.defn
async def even(number: int) -> int:
    return number


@pytest.fixture
async def nine(client: Client, make_worker: MakeWorker) -> list[str]:
    """Nine runs of two types, completed, but for the last two; their ids, newest first."""
    async with make_worker(odd, even):
        for number in range(7):
            await client.execute_workflow(odd if number % 2 else even, number, id=f"w-{number}")
    for number in (7, 8):
        await client.start_workflow(odd if number % 2 else even, number, id=f"w-{number}", task_queue="nobody's")
    return [run.id async for run in client.list_workflows()]


async def test_a_query_selects_runs(client: Client, nine: list[str]) -> None:
    async def ids(query: str) -> set[str]:
        return {run.id async for run in client.list_workflows(query)}

    assert set(nine) == {f"w-{number}" for number in range(9)}
    assert await ids("WorkflowType = 'odd'") == {"w-1", "w-3", "w-5", "w-7"}
    assert await ids("WorkflowType = 'odd' AND ExecutionStatus = 'Running'") == {"w-7"}
    assert await ids("ExecutionStatus IN ('Running', 'Failed')") == {"w-7", "w-8"}
    assert await ids("WorkflowId IN ('w-2', 'w-8', 'w-99') AND TaskQueue = 'default'") == {"w-2"}
    assert await ids("WorkflowType = 'neither'") == set()


@pytest.mark.parametrize("page_size", [1, 2, 3, 4, 100])
async def test_pages_of_a_query_have_no_gap_no_repeat_and_the_order_of_the_list(
    client: Client, nine: list[str], page_size: int
) -> None:
    wanted = [id for id in nine if int(id[-1]) % 2]
    found = [run.id async for run in client.list_workflows("WorkflowType = 'odd'", page_size=page_size)]
    first_three = [run.id async for run in client.list_workflows("WorkflowType = 'odd'", page_size=page_size, limit=3)]

    assert (found, first_three) == (wanted, wanted[:3])


async def test_a_token_goes_on_where_a_page_ended(client: Client, nine: list[str]) -> None:
    first = client.list_workflows("WorkflowType = 'even'", page_size=2)
    assert first.current_page is None and first.next_page_token is None
    await first.fetch_next_page()
    assert first.current_page is not None and first.next_page_token is not None

    rest = client.list_workflows("WorkflowType = 'even'", next_page_token=first.next_page_token)

    evens = [id for id in nine if int(id[-1]) % 2 == 0]
    assert [run.id for run in first.current_page] == evens[:2]
    assert [run.id async for run in rest] == evens[2:]
    assert rest.next_page_token is None


async def test_walking_a_list_moves_the_index_in_the_page(client: Client, nine: list[str]) -> None:
    runs = client.list_workflows(page_size=4)
    assert (await anext(runs)).id == nine[0]
    assert (await anext(runs)).id == nine[1]

    assert runs.current_page_index == 2
    assert runs.current_page is not None and [run.id for run in runs.current_page] == nine[:4]


async def test_a_status_and_a_query_hold_together(client: Client, nine: list[str]) -> None:
    runs = client.list_workflows("ExecutionStatus IN ('Running', 'Failed')", status=WorkflowExecutionStatus.COMPLETED)

    assert [run async for run in runs] == []


async def test_histories_of_a_list_are_fetched_as_they_are_asked_for(
    client: Client, nine: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = list[str]()
    history = client.database.store.history

    async def spy(run_id: str, after: int = 0) -> list[bytes]:
        fetched.append(run_id)
        return await history(run_id, after)

    monkeypatch.setattr(client.database.store, "history", spy)
    found = list[WorkflowHistory]()
    async for each in client.list_workflows("WorkflowType = 'even'", page_size=2).map_histories():
        found.append(each)
        assert len(fetched) == len(found)

    assert [each.workflow_id for each in found] == [id for id in nine if int(id[-1]) % 2 == 0]
    assert [each.run_id for each in found] == fetched


async def test_a_query_that_is_not_understood_is_refused_at_once(client: Client) -> None:
    with pytest.raises(RPCError, match=r"StartTime takes times as .*; not 'now' \(character 13\)") as caught:
        client.list_workflows("StartTime = 'now'")

    assert caught.value.status is RPCStatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("token", [b"\xff\xfe", b"the next page", b"0" * 5000, b"nul\0"])
async def test_a_token_that_is_none_is_refused_at_once(client: Client, token: bytes) -> None:
    with pytest.raises(RPCError, match=r"is no next_page_token here \(.*\): take it from an earlier list") as caught:
        client.list_workflows(next_page_token=token)

    assert caught.value.status is RPCStatusCode.INVALID_ARGUMENT


async def test_a_page_has_a_run_at_least(client: Client) -> None:
    with pytest.raises(ValueError, match="a page has 1 run or more, not 0"):
        client.list_workflows(page_size=0)
