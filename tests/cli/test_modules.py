"""What a module named on the command line gives a worker to run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest

from durable import Client, Worker, activity, workflow
from durable.cli.histories import Found
from durable.cli.modules import collect
from durable.cli.refusal import CommandRefused
from durable.cli.replay import from_files
from durable.cli.replay import replay as replay_all
from durable.common import RawValue
from durable.worker import (
    ExecuteWorkflowInput,
    Interceptor,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)


@activity.defn
class Shout:
    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __call__(self, text: str) -> str:
        return text.upper() + self.mark

    @activity.defn
    def whisper(self, text: str) -> str:
        return text.lower() + self.mark


@activity.defn(dynamic=True)
async def anything(args: Sequence[RawValue]) -> None: ...


@workflow.defn
async def hello() -> str:
    return "hello"


class Slow(Interceptor):
    """Waits a moment before each workflow."""

    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        class Inbound(WorkflowInboundInterceptor):
            async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
                await workflow.sleep(0.001)
                return await super().execute_workflow(input)

        return Inbound


class Answering:
    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"asked for {name}")


def module(**names: object) -> ModuleType:
    made = ModuleType("flows")
    vars(made).update(names)
    return made


def test_objects_of_callable_classes_and_bound_methods_are_activities() -> None:
    shout = Shout("!")
    flows = module(shout=shout, whisper=shout.whisper, Shout=Shout, anything=anything, other=Answering())
    assert collect([flows]).activities == {"Shout": shout, "whisper": shout.whisper, "": anything}


def test_a_class_alone_is_no_activity() -> None:
    with pytest.raises(CommandRefused, match="has no workflow and no activity"):
        collect([module(Shout=Shout)])


async def test_a_modules_interceptors_stand_before_all_each_once() -> None:
    first, second = Slow(), Slow()
    flows = module(shout=Shout("!"), interceptors=[first, second])
    others = module(shout=flows.shout, interceptors=(second,))
    assert collect([flows, others]).interceptors == (first, second)
    assert collect([module(shout=flows.shout, interceptors=["something else"])]).interceptors == ()


async def test_histories_are_replayed_with_the_modules_interceptors() -> None:
    definitions = collect([module(hello=hello, interceptors=[Slow()])])
    async with await Client.connect("sqlite://") as client:
        async with Worker(client, workflows=[hello], interceptors=definitions.interceptors):
            handle = await client.start_workflow(hello, id="h")
            assert await handle.result() == "hello"
        history = await handle.fetch_history()

    found = [Found("file", history)]
    report = await replay_all(from_files(found), definitions, "default", print)
    assert (report.replayed, report.failed) == (1, [])
    report = await replay_all(from_files(found), replace(definitions, interceptors=()), "default", lambda told: None)
    assert len(report.failed) == 1
