"""Histories come page by page, as they are or as they grow; runs are counted; connections are shared."""

from __future__ import annotations

import inspect
import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from durable import Client, Worker, workflow
from durable.client import ClientConfig, ClientConnectConfig, WorkflowHistoryEventFilterType
from durable.common import QueryRejectCondition
from durable.converter import DataConverter
from durable.history.events import WorkflowExecutionCompleted, WorkflowExecutionSignaled
from durable.service import ConnectConfig, RPCError, RPCStatusCode, ServiceClient
from tests.engine.conftest import LONG_LEASE, MakeWorker
from tests.engine.histories import types

CLOSE = WorkflowHistoryEventFilterType.CLOSE_EVENT


@workflow.defn
class Gate:
    def __init__(self) -> None:
        self.passed = 0

    @workflow.run
    async def run(self, wanted: int) -> int:
        await workflow.wait_condition(lambda: self.passed >= wanted)
        return self.passed

    @workflow.signal
    def go(self) -> None:
        self.passed += 1


# Events. --------------------------------------------------------------------------------------------------------------


async def test_events_come_in_pages_and_go_on_from_a_token(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(Gate):
        handle = await client.start_workflow(Gate.run, 0, id="gate")
        await handle.result()
    whole = (await handle.fetch_history()).events
    events = handle.fetch_history_events(page_size=2)
    await events.fetch_next_page()
    assert events.current_page == whole[:2] and events.current_page_index == 0
    assert [event async for event in events] == whole
    first = handle.fetch_history_events(page_size=3)
    await first.fetch_next_page()
    assert [e async for e in handle.fetch_history_events(next_page_token=first.next_page_token)] == whole[3:]
    assert events.next_page_token is None
    with pytest.raises(RPCError, match="no next_page_token") as caught:
        handle.fetch_history_events(next_page_token=b"nonsense")
    assert caught.value.status is RPCStatusCode.INVALID_ARGUMENT


async def test_events_are_followed_until_the_run_is_closed(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(Gate):
        handle = await client.start_workflow(Gate.run, 2, id="gate")
        seen = []
        await handle.signal(Gate.go)
        async for event in handle.fetch_history_events(wait_new_event=True):
            seen.append(event)
            if (
                isinstance(event, WorkflowExecutionSignaled)
                and len([e for e in seen if isinstance(e, type(event))]) == 1
            ):
                await handle.signal(Gate.go)
    assert seen == (await handle.fetch_history()).events
    assert isinstance(seen[-1], WorkflowExecutionCompleted)


async def test_the_closing_event_alone_can_be_waited_for(client: Client, make_worker: MakeWorker) -> None:
    handle = await client.start_workflow(Gate.run, 1, id="gate")
    assert (await handle.fetch_history(event_filter_type=CLOSE)).events == []
    async with make_worker(Gate):
        await handle.signal(Gate.go)
        closing = [e async for e in handle.fetch_history_events(event_filter_type=CLOSE, wait_new_event=True)]
    assert [type(event) for event in closing] == [WorkflowExecutionCompleted]
    histories = [h async for h in client.list_workflows().map_histories(event_filter_type=CLOSE)]
    assert [types(history) for history in histories] == [["WorkflowExecutionCompleted"]]


# Counts. --------------------------------------------------------------------------------------------------------------


async def test_runs_are_counted_by_a_filter_and_by_status(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(Gate):
        await client.start_workflow(Gate.run, 1, id="open")
        for id in ("a", "b"):
            await client.execute_workflow(Gate.run, 0, id=id)
    assert (await client.count_workflows()).count == 3
    assert (await client.count_workflows("WorkflowId = 'a'")).count == 1
    grouped = await client.count_workflows("WorkflowType = 'Gate' group by ExecutionStatus")
    assert grouped.count == 3
    assert [(group.count, group.group_values) for group in grouped.groups] == [(1, ["Running"]), (2, ["Completed"])]
    assert (await client.count_workflows("WorkflowId = 'GROUP BY x'")).count == 0
    by_type = await client.count_workflows("GROUP BY WorkflowType, ExecutionStatus")
    assert [(group.count, group.group_values) for group in by_type.groups] == [
        (1, ["Gate", "Running"]),
        (2, ["Gate", "Completed"]),
    ]
    with pytest.raises(RPCError, match="'Nothing'; there are WorkflowId, WorkflowType") as caught:
        await client.count_workflows("GROUP BY Nothing")
    assert caught.value.status is RPCStatusCode.INVALID_ARGUMENT


# Connections. ---------------------------------------------------------------------------------------------------------


async def test_a_client_with_one_key_changed_shares_the_connection(client: Client, make_worker: MakeWorker) -> None:
    other = Client(**{**client.config(), "namespace": "other"})
    assert other.service_client is client.service_client and other.identity == client.identity
    async with Worker(other, workflows=[Gate], lease=LONG_LEASE):
        assert await other.execute_workflow(Gate.run, 0, id="gate") == 0
    assert (await client.count_workflows()).count == 0
    assert (await other.count_workflows()).count == 1


def test_the_config_dicts_have_the_keys_of_what_they_are_for() -> None:
    assert set(ClientConnectConfig.__annotations__) == set(inspect.signature(Client.connect).parameters)
    assert set(ClientConfig.__annotations__) == set(inspect.signature(Client).parameters)


async def test_a_client_tells_what_it_was_made_with() -> None:
    converter = DataConverter(payload_bytes_max=7)
    async with await Client.connect(
        "sqlite://",
        namespace="shop",
        identity="me",
        api_key="key",
        rpc_metadata={"a": "b"},
        data_converter=converter,
        default_workflow_query_reject_condition=QueryRejectCondition.NOT_OPEN,
        lazy=True,
        tls=True,
        connect_timeout=timedelta(seconds=9),
    ) as client:
        assert (client.namespace, client.identity, client.api_key) == ("shop", "me", "key")
        assert client.rpc_metadata == {"a": "b"} and client.data_converter is converter
        assert client.config(active_config=True) == client.config()
        assert client.config()["default_workflow_query_reject_condition"] is QueryRejectCondition.NOT_OPEN
        client.api_key = None
        client.rpc_metadata = {}
        assert client.service_client.config.api_key is None and client.rpc_metadata == {}
        assert client.service_client.worker_service_client is client.service_client


async def test_a_client_can_be_made_on_a_service_client(tmp_path: Path) -> None:
    service = await ServiceClient.connect(ConnectConfig(f"sqlite:///{tmp_path / 'a.db'}", identity="me"))
    async with Client(service, namespace="shop") as client:
        assert (client.identity, client.namespace) == ("me", "shop")
        assert await service.check_health(timeout=timedelta(seconds=20))


@pytest.mark.parametrize(
    "server", ["localhost:7233", "shop.a2dd6.tmprl.cloud:7233", "[::1]:7233", "http://10.0.0.1:80"]
)
async def test_a_servers_address_means_the_default_database(
    server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DURABLE_ADDRESS", f"sqlite:///{tmp_path / 'default.db'}")
    with caplog.at_level(logging.INFO, "durable.client"):
        async with await Client.connect(server):
            assert (tmp_path / "default.db").exists()
    (said,) = [record.getMessage() for record in caplog.records if server in record.getMessage()]
    assert "this program uses the default database" in said


async def test_what_is_no_interceptor_is_refused(client: Client) -> None:
    wrong: Any = {**client.config(), "interceptors": [object()]}
    with pytest.raises(TypeError, match=r"an interceptor of a client is a durable\.client\.Interceptor, not <object"):
        Client(**wrong)
