"""Code that is changed while runs of it are open: old runs go the old way, new ones the new way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from durable import Client, activity, workflow
from durable.client import WorkflowQueryFailedError
from durable.history.events import MarkerRecorded
from tests.engine.conftest import MakeWorker
from tests.engine.histories import assert_replays, of_type, types, until


@activity.defn
async def old_way(place: str) -> str:
    return f"old {place}"


@activity.defn
async def new_way(place: str) -> str:
    return f"new {place}"


@workflow.defn(name="changing")
async def first_version() -> list[str]:
    done = [await old_way("one")]
    await workflow.receive("go")
    return [*done, await old_way("two")]


@workflow.defn(name="changing")
async def patched_version() -> list[str]:
    done = [await (new_way if workflow.patched("way") else old_way)("one")]
    await workflow.receive("go")
    return [*done, await (new_way if workflow.patched("way") else old_way)("two")]


@workflow.defn(name="changing")
async def deprecating_version() -> list[str]:
    workflow.deprecate_patch("way")
    done = [await new_way("one")]
    await workflow.receive("go")
    return [*done, await new_way("two")]


@workflow.defn(name="changing")
async def last_version() -> list[str]:
    done = [await new_way("one")]
    await workflow.receive("go")
    return [*done, await new_way("two")]


VERSIONS = [first_version, patched_version, deprecating_version, last_version]


async def begin(client: Client, make_worker: MakeWorker, version: Any, id: str) -> Any:
    """A run that waits in the middle, its worker gone."""
    async with make_worker(version, old_way, new_way):
        handle = await client.start_workflow("changing", id=id)
        await until(lambda: _has_done_one(handle))
    return handle


async def _has_done_one(handle: Any) -> bool:
    history = await handle.fetch_history()
    return "ActivityTaskCompleted" in types(history)


@pytest.mark.parametrize(
    ("begun", "ended", "done"),
    [
        (0, 1, ["old one", "old two"]),
        (1, 1, ["new one", "new two"]),
        (1, 2, ["new one", "new two"]),
        (2, 2, ["new one", "new two"]),
        (2, 1, ["new one", "new two"]),
        (2, 3, ["new one", "new two"]),
        (3, 3, ["new one", "new two"]),
    ],
)
async def test_a_run_that_began_with_one_version_ends_with_the_next(
    client: Client, make_worker: MakeWorker, begun: int, ended: int, done: list[str]
) -> None:
    handle = await begin(client, make_worker, VERSIONS[begun], "c")
    await handle.signal("go")
    async with make_worker(VERSIONS[ended], old_way, new_way):
        assert await handle.result() == done
    history = await handle.fetch_history()
    await assert_replays(VERSIONS[ended], history)
    assert len(of_type(history, MarkerRecorded)) == (begun in (1, 2))


async def test_a_patch_that_is_taken_out_too_early_parks_the_run_and_names_it(
    client: Client, make_worker: MakeWorker
) -> None:
    handle = await begin(client, make_worker, patched_version, "c")
    await handle.signal("go")
    async with make_worker(last_version, old_way, new_way):
        parked = await until(lambda: _parked(handle))
    assert "recorded MarkerRecorded (patch 'way')" in parked
    async with make_worker(deprecating_version, old_way, new_way):
        assert await handle.result() == ["new one", "new two"]


async def _parked(handle: Any) -> str | None:
    parked: str | None = (await handle.describe()).parked
    return parked


@workflow.defn
class Asking:
    @workflow.run
    async def run(self) -> list[bool]:
        asked = [workflow.patched("again") for _ in range(3)]
        await asyncio.sleep(0)
        return [*asked, workflow.patched("again"), workflow.patched("other")]

    @workflow.query
    def known(self) -> bool:
        return workflow.patched("again")

    @workflow.query
    def unknown(self) -> bool:
        return workflow.patched("never asked")


async def test_a_patch_is_recorded_once_however_often_it_is_asked_for(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    async with make_worker(Asking, max_cached_workflows=max_cached):
        handle = await client.start_workflow(Asking.run, id="a")
        assert await handle.result() == [True] * 5
        assert await handle.query(Asking.known) is True
        with pytest.raises(WorkflowQueryFailedError, match="read-only"):
            await handle.query(Asking.unknown)
    assert len(of_type(await handle.fetch_history(), MarkerRecorded)) == 2
