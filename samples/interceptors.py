"""Interceptors carry what belongs to a request, here its user, in headers: from client to workflow, activities, child.

    python samples/interceptors.py

has two people book a trip at the same time: nobody hands their names on, and all that is done for them knows them.
"""

import asyncio
import uuid
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, NoReturn

from durable import activity, client, worker, workflow
from durable.converter import DataConverter

TASK_QUEUE = "trips"

user: ContextVar[str] = ContextVar("user", default="nobody")


@activity.defn
async def book(what: str) -> str:
    return f"{what} booked for {user.get()}"


@workflow.defn
class Insure:
    @workflow.run
    async def run(self, where: str) -> str:
        return f"{where} insured for {user.get()}"


@workflow.defn
class Trip:
    def __init__(self) -> None:
        self._packed_by = ""

    @workflow.run
    async def run(self, where: str) -> list[str]:
        soon = timedelta(seconds=10)
        flight = await workflow.execute_activity(book, f"flight to {where}", start_to_close_timeout=soon)
        hotel = await workflow.execute_local_activity(book, f"hotel in {where}", start_to_close_timeout=soon)
        insured = await workflow.execute_child_workflow(Insure.run, where)
        await workflow.wait_condition(lambda: self._packed_by != "")
        return [flight, hotel, insured, f"packed by {self._packed_by}"]

    @workflow.signal
    def packed(self) -> None:
        self._packed_by = user.get()


# What follows is written once, for all workflows and activities that there are.

_payloads = DataConverter.default.payload_converter


def with_user(headers: Mapping[str, Any]) -> dict[str, Any]:
    return {**headers, "user": _payloads.to_payload(user.get())}


def take_user(headers: Mapping[str, Any]) -> None:
    """Each run, handler and attempt is a task of its own, so what is set here is set there alone."""
    if "user" in headers:
        user.set(_payloads.from_payload(headers["user"], str))


class CarryUser(client.Interceptor, worker.Interceptor):
    """A client's interceptor that is a worker's as well: given to the client, it goes to its workers by itself."""

    def intercept_client(self, next: client.OutboundInterceptor) -> client.OutboundInterceptor:
        return FromClient(next)

    def workflow_interceptor_class(
        self, input: worker.WorkflowInterceptorClassInput
    ) -> type[worker.WorkflowInboundInterceptor]:
        return IntoWorkflow

    def intercept_activity(self, next: worker.ActivityInboundInterceptor) -> worker.ActivityInboundInterceptor:
        return IntoActivity(next)


class FromClient(client.OutboundInterceptor):
    async def start_workflow(self, input: client.StartWorkflowInput) -> client.WorkflowHandle[Any, Any]:
        input.headers = with_user(input.headers)
        return await super().start_workflow(input)

    async def signal_workflow(self, input: client.SignalWorkflowInput) -> None:
        input.headers = with_user(input.headers)
        await super().signal_workflow(input)


class IntoWorkflow(worker.WorkflowInboundInterceptor):
    def init(self, outbound: worker.WorkflowOutboundInterceptor) -> None:
        super().init(FromWorkflow(outbound))

    async def execute_workflow(self, input: worker.ExecuteWorkflowInput) -> Any:
        take_user(input.headers)
        return await super().execute_workflow(input)

    async def handle_signal(self, input: worker.HandleSignalInput) -> None:
        take_user(input.headers)
        await super().handle_signal(input)


class FromWorkflow(worker.WorkflowOutboundInterceptor):
    def start_activity(self, input: worker.StartActivityInput) -> workflow.ActivityHandle[Any]:
        input.headers = with_user(input.headers)
        return super().start_activity(input)

    def start_local_activity(self, input: worker.StartLocalActivityInput) -> workflow.ActivityHandle[Any]:
        input.headers = with_user(input.headers)
        return super().start_local_activity(input)

    async def start_child_workflow(
        self, input: worker.StartChildWorkflowInput
    ) -> workflow.ChildWorkflowHandle[Any, Any]:
        input.headers = with_user(input.headers)
        return await super().start_child_workflow(input)

    def continue_as_new(self, input: worker.ContinueAsNewInput) -> NoReturn:
        input.headers = with_user(input.headers)
        super().continue_as_new(input)


class IntoActivity(worker.ActivityInboundInterceptor):
    async def execute_activity(self, input: worker.ExecuteActivityInput) -> Any:
        take_user(input.headers)
        return await super().execute_activity(input)


async def travel(at: client.Client, name: str, where: str) -> list[str]:
    user.set(name)
    trip = await at.start_workflow(Trip.run, where, id=f"trip-{uuid.uuid4()}", task_queue=TASK_QUEUE)
    await trip.signal(Trip.packed)
    return await trip.result()


async def main() -> None:
    async with await client.Client.connect(interceptors=[CarryUser()]) as at:
        async with worker.Worker(at, task_queue=TASK_QUEUE, workflows=[Trip, Insure], activities=[book]):
            for said in await asyncio.gather(travel(at, "Ada", "Oslo"), travel(at, "Grace", "Rome")):
                print("\n".join(said))


if __name__ == "__main__":
    asyncio.run(main())
