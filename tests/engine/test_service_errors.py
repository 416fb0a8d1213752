"""What a client refuses has the status that programs written for Temporal look at."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from durable import Client, workflow
from durable.client import (
    BuildIdOpAddNewDefault,
    BuildIdVersionSet,
    WorkerBuildIdVersionSets,
    WorkflowHandle,
    WorkflowQueryRejectedError,
)
from durable.client import WorkflowExecutionStatus as Status
from durable.common import QueryRejectCondition
from durable.exceptions import ApplicationError
from durable.service import RPCError, RPCStatusCode
from tests.engine.conftest import MakeWorker

SHORT = timedelta(milliseconds=30)


@workflow.defn
class Door:
    def __init__(self) -> None:
        self.is_open = False

    @workflow.run
    async def run(self, broken: bool = False) -> str:
        await workflow.wait_condition(lambda: self.is_open)
        if broken:
            raise ApplicationError("the lock is broken")
        return "open"

    @workflow.signal
    def open(self) -> None:
        self.is_open = True

    @workflow.query
    def how(self) -> bool:
        return self.is_open

    @workflow.update
    def push(self) -> None:
        self.is_open = True


ASKED: dict[str, Callable[[WorkflowHandle[Any, Any]], Awaitable[Any]]] = {
    "result": lambda handle: handle.result(),
    "describe": lambda handle: handle.describe(),
    "history": lambda handle: handle.fetch_history(),
    "query": lambda handle: handle.query(Door.how),
    "signal": lambda handle: handle.signal(Door.open),
    "update": lambda handle: handle.execute_update(Door.push),
    "cancel": lambda handle: handle.cancel(),
    "terminate": lambda handle: handle.terminate(),
}


@pytest.mark.parametrize("what", ASKED)
async def test_what_is_asked_of_no_workflow_is_not_found(client: Client, what: str) -> None:
    with pytest.raises(RPCError, match="no workflow 'nobody'") as caught:
        await ASKED[what](client.get_workflow_handle("nobody"))
    assert caught.value.status is RPCStatusCode.NOT_FOUND
    assert (caught.value.raw_grpc_status, caught.value.grpc_status) == (b"", None)
    assert caught.value.message == str(caught.value)


@pytest.mark.parametrize("what", ["signal", "update", "terminate"])
async def test_a_closed_run_takes_nothing_more(client: Client, what: str) -> None:
    handle = await client.start_workflow(Door.run, id="door")
    await handle.terminate()
    with pytest.raises(RPCError, match="workflow execution already completed") as caught:
        await ASKED[what](handle)
    assert caught.value.status is RPCStatusCode.NOT_FOUND


async def follow(handle: WorkflowHandle[Any, Any]) -> None:
    async for _ in handle.fetch_history_events(wait_new_event=True, rpc_timeout=SHORT):
        pass


@pytest.mark.parametrize(
    "wait",
    [
        lambda handle: handle.result(rpc_timeout=SHORT),
        lambda handle: handle.query(Door.how, rpc_timeout=SHORT),
        follow,
    ],
    ids=["result", "query", "events"],
)
async def test_what_does_not_come_in_time_exceeds_its_deadline(
    client: Client, wait: Callable[[WorkflowHandle[Any, Any]], Awaitable[Any]]
) -> None:
    handle = await client.start_workflow(Door.run, id="door")  # and no worker
    with pytest.raises(RPCError, match=r"within 0\.03 s") as caught:
        await wait(handle)
    assert caught.value.status is RPCStatusCode.DEADLINE_EXCEEDED


async def test_rpc_metadata_is_accepted_everywhere(client: Client, make_worker: MakeWorker) -> None:
    metadata = {"trace": "1"}
    async with make_worker(Door):
        handle = await client.start_workflow(Door.run, id="door", rpc_metadata=metadata, rpc_timeout=timedelta(30))
        assert await handle.query(Door.how, rpc_metadata=metadata) is False
        await handle.execute_update(Door.push, rpc_metadata=metadata)
        assert await handle.result(rpc_metadata=metadata) == "open"
        await handle.describe(rpc_metadata=metadata)
        await handle.cancel(rpc_metadata=metadata)
        assert (await client.count_workflows(rpc_metadata=metadata)).count == 1


@pytest.mark.parametrize(
    ("condition", "refused"),
    [
        (QueryRejectCondition.NONE, []),
        (QueryRejectCondition.NOT_OPEN, [Status.COMPLETED, Status.FAILED]),
        (QueryRejectCondition.NOT_COMPLETED_CLEANLY, [Status.FAILED]),
    ],
)
@pytest.mark.parametrize("by_default", [False, True])
async def test_a_query_is_rejected_by_how_the_run_stands(
    client: Client, make_worker: MakeWorker, condition: QueryRejectCondition, refused: list[Status], by_default: bool
) -> None:
    asking = Client(**{**client.config(), "default_workflow_query_reject_condition": condition if by_default else None})
    found = []
    async with make_worker(Door):
        for id, broken in (("running", False), ("good", False), ("bad", True)):
            await client.start_workflow(Door.run, broken, id=id)
        for id in ("good", "bad"):
            await client.get_workflow_handle(id).signal(Door.open)
            await anext(client.get_workflow_handle(id).fetch_history_events(wait_new_event=True, event_filter_type=2))
        for id in ("running", "good", "bad"):
            handle = asking.get_workflow_handle(id)
            try:
                await handle.query(Door.how, reject_condition=None if by_default else condition)
            except WorkflowQueryRejectedError as error:
                found.append(error.status)
    assert found == refused


async def test_nothing_is_routed_by_build_id_and_that_is_said(client: Client) -> None:
    for call in (
        client.update_worker_build_id_compatibility("q", BuildIdOpAddNewDefault("1")),
        client.get_worker_build_id_compatibility("q"),
        client.get_worker_task_reachability(["1"]),
    ):
        with pytest.raises(RPCError, match="durable routes no work by build id") as caught:
            await call
        assert caught.value.status is RPCStatusCode.UNIMPLEMENTED
    sets = WorkerBuildIdVersionSets([BuildIdVersionSet(["1"]), BuildIdVersionSet(["2", "3"])])
    assert sets.default_build_id() == "3"


async def test_the_raw_calls_say_that_there_is_no_server(client: Client) -> None:
    for service in (client.workflow_service, client.operator_service, client.test_service):
        with pytest.raises(RPCError, match="durable has none") as caught:
            await service.get_system_info(object())
        assert caught.value.status is RPCStatusCode.UNIMPLEMENTED
    assert await client.service_client.check_health()
