"""A dynamic workflow takes every type that no other workflow of its worker takes, and sets itself by the type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from durable import Client, workflow
from durable.client import WorkflowFailureError
from durable.common import RawValue
from durable.converter import DataConverter
from durable.exceptions import ApplicationError
from tests.engine.conftest import MakeWorker
from tests.engine.histories import assert_replays
from tests.engine.rules.runs import parked


@workflow.defn(dynamic=True)
class Anything:
    @workflow.init
    def __init__(self, args: Sequence[RawValue]) -> None:
        converter = DataConverter.default.payload_converter
        self.values = [converter.from_payload(each.payload, None) for each in args]

    @workflow.dynamic_config
    def config(self) -> workflow.DynamicWorkflowConfig:
        assert workflow.unsafe.is_read_only()
        match workflow.info().workflow_type:
            case "strict":
                return workflow.DynamicWorkflowConfig(failure_exception_types=[LookupError])
            case "broken":
                raise ApplicationError("no settings for it")
            case _:
                return workflow.DynamicWorkflowConfig()

    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> list[Any]:
        if len(args) != len(self.values):
            raise AssertionError(args)
        if self.values == ["look up"]:
            raise LookupError("not found")
        if self.values == ["again"]:
            workflow.continue_as_new(args=[1, "two"])
        return [workflow.info().workflow_type, *self.values]


@workflow.defn
async def known(text: str) -> str:
    return f"known {text}"


async def test_it_takes_every_type_that_is_not_registered_and_gets_raw_values(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    async with make_worker(Anything, known, max_cached_workflows=max_cached):
        handle = await client.start_workflow("whatever", args=[1, {"a": [None]}], id="w")
        assert await handle.result() == ["whatever", 1, {"a": [None]}]
        assert await client.execute_workflow("known", "text", id="k") == "known text"
        assert await client.execute_workflow("other", "again", id="c") == ["other", 1, "two"]
        metadata = await handle.query("__temporal_workflow_metadata")
        assert metadata["definition"]["type"] == "whatever"
        await assert_replays(Anything, await handle.fetch_history())


async def test_its_configuration_per_type_decides_which_exceptions_fail_the_workflow(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    async with make_worker(Anything, max_cached_workflows=max_cached):
        with pytest.raises(WorkflowFailureError) as failed:
            await client.execute_workflow("strict", "look up", id="s")
        lenient = await client.start_workflow("lenient", "look up", id="l")
        assert await parked(lenient) == "LookupError: not found"
    assert isinstance(failed.value.cause, ApplicationError) and failed.value.cause.type == "LookupError"


async def test_a_configuration_that_raises_fails_the_workflow_task_whatever_it_raises(
    client: Client, make_worker: MakeWorker
) -> None:
    async with make_worker(Anything):
        assert "no settings for it" in await parked(await client.start_workflow("broken", id="b"))


async def test_it_has_no_name_to_be_started_by(client: Client) -> None:
    with pytest.raises(ValueError, match="Cannot invoke dynamic workflow explicitly"):
        await client.start_workflow(Anything.run, [], id="a")
