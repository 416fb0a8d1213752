"""What the fixtures of the pytest plugin hold: environments, workers, and the check that what ran in a test replays."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from durable.activity import ActivityDefinition
from durable.activity import defn as activity_defn
from durable.client import Client, WorkflowHistory
from durable.testing.crash_sweep import TRIAL, Ran, chains, replay_wanted
from durable.testing.environment import WorkflowEnvironment
from durable.testing.fleet import Fleet
from durable.testing.plugin import StartWorker
from durable.worker import Interceptor, Replayer, Worker
from durable.worker.interceptor import Interceptors
from durable.workflow.definition import WorkflowDefinition


@asynccontextmanager
async def environment(item: pytest.Item) -> AsyncGenerator[WorkflowEnvironment]:
    """An environment whose time skips, on the event loop of this test."""
    mark = item.get_closest_marker("asyncio")
    scope = mark.kwargs.get("loop_scope") if mark is not None else None
    scope = scope or item.config.getini("asyncio_default_test_loop_scope") or "function"
    if scope != "function":
        pytest.fail(
            f"the durable fixtures are made on an event loop per test, and this test runs on that of its {scope}: "
            "leave loop_scope out, or make an environment with WorkflowEnvironment.start_time_skipping()",
            pytrace=False,
        )
    async with await WorkflowEnvironment.start_time_skipping() as env:
        yield env


@asynccontextmanager
async def workers(env: WorkflowEnvironment, item: pytest.Item) -> AsyncGenerator[StartWorker]:
    """The workers of a test. At the end they are stopped, and what ran on them is replayed."""
    known: dict[str, Ran] = {}
    trial = item.stash.get(TRIAL, None)
    async with AsyncExitStack() as running:
        fleet = None
        if trial is not None:
            fleet = await running.enter_async_context(Fleet(env, trial.recorder))

        async def start(
            *,
            workflows: Sequence[Any] = (),
            activities: Sequence[Callable[..., Any]] = (),
            replace: Mapping[Any, Callable[..., Any]] | None = None,
            **options: Any,
        ) -> Worker:
            of_client = env.client.config(active_config=True)["interceptors"]
            chain = Interceptors.of(options.get("interceptors", ()), of_client).instances
            known.update((WorkflowDefinition.must_be(each).name, Ran(each, chain)) for each in workflows)
            options = {"workflows": workflows, "activities": replaced(activities, replace or {}), **options}
            if fleet is not None:
                return await fleet.start(options)
            return await running.enter_async_context(Worker(env.client, **options))

        yield start
    if not known:
        return
    if trial is not None:
        await trial.note(env.client, known)
    if replay_wanted(item):
        for chain in chains(known):
            await _replay(env.client, [ran.workflow for ran in known.values() if ran.interceptors == chain], chain)


def replaced(
    activities: Sequence[Callable[..., Any]], replacements: Mapping[Any, Callable[..., Any]]
) -> list[Callable[..., Any]]:
    """The activities, with others in the place of those that ``replacements`` names."""
    fakes: dict[str, Callable[..., Any]] = {}
    for place, fake in replacements.items():
        name = place if isinstance(place, str) else ActivityDefinition.must_be(place).name
        definition = ActivityDefinition.of(fake)
        fakes[name] = activity_defn(name=name)(definition.fn if definition is not None else fake)
    return [each for each in activities if ActivityDefinition.must_be(each).name not in fakes] + list(fakes.values())


async def _replay(client: Client, workflows: Sequence[Any], interceptors: Sequence[Interceptor]) -> None:
    names = {WorkflowDefinition.must_be(each).name for each in workflows}

    async def histories() -> AsyncIterator[WorkflowHistory]:
        async for run in client.list_workflows():
            if run.workflow_type in names:
                yield await client.get_workflow_handle(run.id, run_id=run.run_id).fetch_history()

    replayer = Replayer(
        workflows=workflows,
        data_converter=client.data_converter,
        interceptors=interceptors,
        exact=True,
        workflow_failure_exception_types=client.failure_exception_types,
    )
    results = await replayer.replay_workflows(histories(), raise_on_replay_failure=False)
    if results.replay_failures:
        told = "\n".join(f"run {run_id}: {failure}" for run_id, failure in results.replay_failures.items())
        pytest.fail(f"what ran in this test does not replay:\n{told}", pytrace=False)
