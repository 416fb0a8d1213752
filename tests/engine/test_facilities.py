"""What a run offers its code (chance, ids, details, converter, meter) is the same in every replay."""

from __future__ import annotations

import random
import uuid
from typing import Any

import pytest

from durable import Client, workflow
from durable.client import WorkflowQueryFailedError
from tests.engine.conftest import Execute, MakeWorker


@workflow.defn
class Chances:
    """Takes chance in all its forms, before and after a timer; a difference in a replay changes the timers' lengths."""

    @workflow.run
    async def run(self) -> list[Any]:
        workflow.register_random_seed_callback(lambda seed: None)
        plain = random.Random(workflow.random_seed()).random() == workflow.new_random().random()
        named, other = workflow.new_random("named"), workflow.new_random("other")
        first = workflow.random()
        same = workflow.new_random().random() == first.random()
        await workflow.sleep(named.random() / 1000)
        ids = [workflow.uuid7(), workflow.uuid7()]
        await workflow.sleep(int(ids[0].int % 1000) / 1_000_000)
        return [plain, same, named.random() != other.random(), *map(str, ids), workflow.time_ns() // 1_000_000]


async def test_chance_is_the_runs_own(execute: Execute) -> None:
    plain, same, differ, first, second, now = await execute(Chances)
    assert [plain, same, differ] == [True, True, True]
    for each in map(uuid.UUID, (first, second)):
        assert (each.version, each.variant) == (7, uuid.RFC_4122)
        assert now - 60_000 < each.int >> 80 <= now
    assert first != second


@workflow.defn
class Telling:
    def __init__(self) -> None:
        self.is_over = False

    @workflow.run
    async def run(self, number: int) -> list[Any]:
        before = workflow.get_current_details()
        workflow.set_current_details("waiting for **paint**")
        workflow.metric_meter().create_counter("paint").add(1)
        await workflow.wait_condition(lambda: self.is_over)
        converter = workflow.payload_converter()
        value = converter.from_payload(converter.to_payloads([number])[0], int)
        return [before, value, dict(workflow.extern_functions())]

    @workflow.signal
    def end(self) -> None:
        self.is_over = True

    @workflow.query
    def meddle(self) -> None:
        workflow.set_current_details("never")


async def test_current_details_are_told_by_the_metadata(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    async with make_worker(Telling, max_cached_workflows=max_cached):
        handle = await client.start_workflow(Telling.run, 7, id="t")
        told = await handle.query("__temporal_workflow_metadata")
        assert told["currentDetails"] == "waiting for **paint**"
        with pytest.raises(WorkflowQueryFailedError, match="action attempted: set current details"):
            await handle.query(Telling.meddle)
        await handle.signal(Telling.end)
        assert await handle.result() == ["", 7, {}]


def test_what_needs_nexus_says_that_there_is_none() -> None:
    with pytest.raises(RuntimeError, match="durable has no Nexus"):
        workflow.create_nexus_client(service="shop", endpoint="e")
    for module, name in (
        ("nexus", "workflow_run_operation"),
        ("client", "NexusOperationHandle"),
        ("worker", "StartNexusOperationInput"),
        ("workflow", "NexusClient"),
    ):
        with pytest.raises(ImportError, match=rf"durable has no Nexus.*\(there is no {name}\)"):
            exec(f"from durable.{module} import {name}")
    with pytest.raises(ImportError, match="cannot import name 'Typo'"):
        exec("from durable.client import Typo")
    assert not hasattr(workflow, "typo")


def test_an_event_group_has_an_id() -> None:
    with workflow.create_event_group("g", label="All of it").scope():
        pass
    for wrong in ({"id": ""}, {"id": "g", "label": ""}):
        with pytest.raises(ValueError, match="an event group has an id"):
            workflow.create_event_group(**wrong)
