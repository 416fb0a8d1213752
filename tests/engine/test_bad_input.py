"""What cannot work: one clear error each, nothing lost, nothing tried for ever."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from durable import Client, Worker, activity, workflow
from durable.client import WorkflowFailureError
from durable.converter import PAYLOAD_BYTES_MAX, ConversionError
from durable.exceptions import ActivityError, ApplicationError
from durable.history.errors import StoreUnavailable
from durable.history.events import WorkflowTaskFailed
from durable.history.values import RetryState, RunStatus
from tests.engine.conftest import MakeWorker, worker_for
from tests.engine.histories import of_type, until

attempts: list[int] = []


@pytest.fixture(autouse=True)
def no_attempts() -> None:
    attempts.clear()


@dataclass
class Line:
    sku: str
    extra: Any = None


@dataclass
class Order:
    lines: list[Line]


@activity.defn
async def take(order: Order) -> int:
    attempts.append(1)
    return len(order.lines)


@activity.defn
async def produce(kind: str) -> Any:
    attempts.append(1)
    return "x" * (PAYLOAD_BYTES_MAX + 1) if kind == "large" else {"a": [socket.socket]}


@workflow.defn
async def ordering(order: Order) -> int:
    return await take(order)


@workflow.defn
async def producing(kind: str) -> int:
    return len(await produce(kind))


@workflow.defn
async def handing_over() -> str:
    try:
        await take(Order([Line("a"), Line("b", extra={"handle": socket.socket})]))
    except ConversionError as error:
        return str(error)
    return "taken"


@workflow.defn
async def returning(kind: str) -> Any:
    return "x" * (PAYLOAD_BYTES_MAX + 1) if kind == "large" else socket.socket


async def test_an_argument_that_cannot_be_converted_fails_at_the_call_with_its_path(client: Client) -> None:
    bad = Order([Line("a"), Line("b", extra={"handle": socket.socket})])
    with pytest.raises(ConversionError) as caught:
        await client.start_workflow(ordering, bad, id="o")
    assert str(caught.value).startswith("order.lines[1].extra['handle']: ")
    assert [run async for run in client.list_workflows()] == []


async def test_an_activitys_argument_that_cannot_be_converted_is_an_error_in_the_workflow(
    client: Client, make_worker: MakeWorker
) -> None:
    async with make_worker(handing_over, take):
        told = await client.execute_workflow(handing_over, id="h")
    assert told.startswith("order.lines[1].extra['handle']: ")
    assert attempts == []


async def test_a_signal_or_query_argument_that_cannot_be_converted_is_not_sent(
    client: Client, make_worker: MakeWorker
) -> None:
    handle = await client.start_workflow(ordering, Order([]), id="o")
    for call in (handle.signal, handle.query):
        with pytest.raises(ConversionError):
            await call("name", socket.socket)
    assert len((await handle.describe()).pending_messages) == 1


async def test_a_payload_over_the_limit_fails_at_the_call(client: Client) -> None:
    with pytest.raises(ConversionError, match=r"order: 2,\d{3},\d{3} bytes are more than the 2,097,152 .* pass a ref"):
        await client.start_workflow(ordering, Order([Line("x" * PAYLOAD_BYTES_MAX)]), id="o")
    assert [run async for run in client.list_workflows()] == []


async def test_a_payload_at_the_limit_goes_through(client: Client, make_worker: MakeWorker) -> None:
    sku = "x" * (PAYLOAD_BYTES_MAX - 100)
    async with make_worker(ordering, take):
        assert await client.execute_workflow(ordering, Order([Line(sku)]), id="o") == 1


@pytest.mark.parametrize(
    ("kind", "text"), [("large", "bytes are more than the 2,097,152 that a payload may have"), ("odd", "['a'][0]")]
)
async def test_an_activity_result_that_cannot_be_kept_is_not_tried_for_ever(
    client: Client, make_worker: MakeWorker, kind: str, text: str
) -> None:
    async with make_worker(producing, produce):
        with pytest.raises(WorkflowFailureError) as caught:
            await client.execute_workflow(producing, kind, id="p")
    error = caught.value.cause
    assert isinstance(error, ActivityError) and error.retry_state == RetryState.NON_RETRYABLE_FAILURE
    assert isinstance(error.cause, ApplicationError) and text in error.cause.message
    assert attempts == [1]


@pytest.mark.parametrize(("kind", "text"), [("large", "2,097,152"), ("odd", "ConversionError")])
async def test_a_workflow_result_that_cannot_be_kept_parks_the_run_with_the_reason(
    client: Client, make_worker: MakeWorker, kind: str, text: str
) -> None:
    async with make_worker(returning):
        handle = await client.start_workflow(returning, kind, id="r")

        async def reason() -> str | None:
            return (await handle.describe()).parked

        assert text in str(await until(reason))
        assert (await handle.describe()).status is RunStatus.RUNNING


async def test_an_input_that_does_not_fit_the_parameters_parks_the_run(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(ordering, take):
        handle = await client.start_workflow("ordering", {"lines": "none"}, id="o")

        async def reason() -> str | None:
            return (await handle.describe()).parked

        assert "order" in str(await until(reason))
        assert await client.execute_workflow(ordering, Order([]), id="good") == 0


async def test_an_activitys_input_that_does_not_fit_is_not_tried_for_ever(
    client: Client, make_worker: MakeWorker
) -> None:
    async with make_worker(misusing, take):
        with pytest.raises(WorkflowFailureError) as caught:
            await client.execute_workflow(misusing, id="m")
    error = caught.value.cause
    assert isinstance(error, ActivityError) and error.retry_state == RetryState.NON_RETRYABLE_FAILURE
    assert "order" in str(error.cause)
    assert attempts == []


@workflow.defn
async def misusing() -> int:
    from datetime import timedelta

    return int(await workflow.execute_activity("take", {"lines": 7}, start_to_close_timeout=timedelta(seconds=30)))


@pytest.mark.parametrize("id", ["", "x" * 1001])
async def test_a_workflow_id_has_a_length(client: Client, id: str) -> None:
    with pytest.raises(ValueError, match="a workflow id has 1 to 1000 characters"):
        await client.start_workflow(ordering, Order([]), id=id)


@pytest.mark.parametrize("id", ["with space", "emoji \N{SNOWMAN}", "'; DROP TABLE durable_runs; --"])
async def test_any_other_text_is_a_workflow_id(client: Client, make_worker: MakeWorker, id: str) -> None:
    async with make_worker(ordering, take):
        assert await client.execute_workflow(ordering, Order([]), id=id) == 0
        assert (await client.get_workflow_handle(id).describe()).id == id


@pytest.mark.parametrize("id", ["lone \ud800 surrogate", "nul\x00inside"], ids=["surrogate", "nul"])
async def test_an_id_that_no_database_can_hold_is_refused_and_harms_nobody(
    client: Client, make_worker: MakeWorker, id: str
) -> None:
    async with make_worker(ordering, take):
        with pytest.raises(ValueError, match="NUL"):
            await client.start_workflow(ordering, Order([]), id=id)
        assert await client.execute_workflow(ordering, Order([]), id="good") == 0


async def test_wrong_arguments_are_refused_like_any_wrong_call(client: Client) -> None:
    with pytest.raises(TypeError, match="order"):
        await client.start_workflow(ordering, id="o")
    with pytest.raises(TypeError):
        await client.start_workflow(ordering, args=[Order([]), 1], id="o")
    with pytest.raises(ValueError, match="is not a workflow"):
        await client.start_workflow(take, Order([]), id="o")


def test_what_a_worker_cannot_run_is_refused_when_it_is_made(client: Client) -> None:
    with pytest.raises(ValueError, match="At least one activity or workflow must be specified"):
        Worker(client)
    with pytest.raises(ValueError, match="More than one workflow named ordering"):
        Worker(client, workflows=[ordering, ordering])
    with pytest.raises(ValueError, match="is not an activity"):
        Worker(client, activities=[len])
    with pytest.raises(ValueError, match="is not a workflow"):
        Worker(client, workflows=[take])


# Databases. -----------------------------------------------------------------------------------------------------------


async def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "letter.db"
    path.write_text("Dear Ann, " * 1000)
    with pytest.raises(StoreUnavailable, match=r"letter\.db"):
        await Client.connect(f"sqlite:///{path}")
    assert path.read_text().startswith("Dear Ann")


async def test_a_path_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="nowhere"):
        await Client.connect(f"sqlite:///{tmp_path / 'nowhere' / 'd.db'}")


async def test_an_address_that_is_none_is_an_error() -> None:
    with pytest.raises((ValueError, StoreUnavailable), match="nosuchdb"):
        await Client.connect("nosuchdb://host/name")


async def test_what_is_committed_survives_closing_and_opening(address: str) -> None:
    async with await Client.connect(address) as client:
        await client.start_workflow(ordering, Order([Line("a")]), id="o")
    async with await Client.connect(address) as client, worker_for(client, ordering, take):
        assert await client.get_workflow_handle("o").result() == 1


class Unspeakable(RuntimeError):
    def __str__(self) -> str:
        raise ValueError("no words")


@workflow.defn
async def unspeakable() -> None:
    raise Unspeakable


@workflow.defn
async def long_winded() -> None:
    raise RuntimeError("x" * 3_000_000)


@pytest.mark.parametrize(("flow", "told"), [(unspeakable, "Unspeakable"), (long_winded, "RuntimeError: xxx")])
async def test_an_error_whose_text_is_odd_parks_the_run_all_the_same(
    client: Client, make_worker: MakeWorker, flow: Any, told: str
) -> None:
    async with make_worker(flow):
        handle = await client.start_workflow(flow, id="odd")

        async def parked() -> bool:
            return (await handle.describe()).parked is not None

        await until(parked)
        reason = (await handle.describe()).parked
        assert reason is not None
        assert told in reason
        assert len(reason) < 100_000
        assert len(of_type(await handle.fetch_history(), WorkflowTaskFailed)) == 1
