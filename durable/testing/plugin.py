"""The pytest plugin: fixtures for workflow tests, and the check that whatever ran in a test replays."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Protocol

import pytest

from durable.activity import ActivityDefinition
from durable.activity import defn as activity_defn
from durable.client import Client, WorkflowHistory
from durable.testing import crash_sweep
from durable.testing.environment import WorkflowEnvironment
from durable.testing.fleet import Fleet
from durable.worker import Replayer, Worker
from durable.workflow.definition import WorkflowDefinition

try:
    import pytest_asyncio
except ImportError:  # the fixtures are async: without it there are none, and nothing else changes
    pytest_asyncio = None  # type: ignore[assignment]


class StartWorker(Protocol):
    """What the fixture ``durable_worker`` is: call it for a running worker, which is stopped after the test."""

    async def __call__(
        self,
        *,
        workflows: Sequence[Any] = (),
        activities: Sequence[Callable[..., Any]] = (),
        replace: Mapping[Any, Callable[..., Any]] | None = None,
        **options: Any,
    ) -> Worker: ...


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "durable(replay=True): replay=False leaves out the check that what ran in this test replays"
    )
    config.addinivalue_line(
        "markers", "crash_sweep: run this test once for every durable point, with its worker dying there"
    )


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("durable", "durable workflows")
    group.addoption(
        "--durable-crash-at",
        metavar="POINT",
        help="let the worker die at this point of the tests marked crash_sweep, and nowhere else",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    if item.get_closest_marker("crash_sweep") is None:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in crash_sweep.run(item, nextitem):
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    crash_sweep.summarize(terminalreporter)


if pytest_asyncio is not None:

    @pytest_asyncio.fixture
    async def durable_env() -> AsyncGenerator[WorkflowEnvironment]:
        """An environment whose time skips, on a database of the test's own."""
        async with await WorkflowEnvironment.start_time_skipping() as env:
            yield env

    @pytest_asyncio.fixture
    async def durable_client(durable_env: WorkflowEnvironment) -> Client:
        """The client of ``durable_env``."""
        return durable_env.client

    @pytest_asyncio.fixture
    async def durable_worker(
        durable_env: WorkflowEnvironment, request: pytest.FixtureRequest
    ) -> AsyncGenerator[StartWorker]:
        """Start workers: ``await durable_worker(workflows=[…], activities=[…], replace={charge: fake})``.

        ``replace`` has other functions run in place of activities, which are given as their function or by name.
        After the test every workflow that ran in it is replayed; one that does not repeat itself fails the test
        (``@pytest.mark.durable(replay=False)`` leaves that out). Further options are those of `Worker`.
        """
        known: dict[str, Any] = {}
        trial = request.node.stash.get(crash_sweep.TRIAL, None)
        async with AsyncExitStack() as workers:
            fleet = None
            if trial is not None:
                fleet = await workers.enter_async_context(Fleet(durable_env, trial.recorder))

            async def start(
                *,
                workflows: Sequence[Any] = (),
                activities: Sequence[Callable[..., Any]] = (),
                replace: Mapping[Any, Callable[..., Any]] | None = None,
                **options: Any,
            ) -> Worker:
                known.update((WorkflowDefinition.must_be(each).name, each) for each in workflows)
                options = {"workflows": workflows, "activities": replaced(activities, replace or {}), **options}
                if fleet is not None:
                    return await fleet.start(options)
                return await workers.enter_async_context(Worker(durable_env.client, **options))

            yield start
        if not known:
            return
        if trial is not None:
            await trial.note(durable_env.client, known)
        mark = request.node.get_closest_marker("durable")
        if mark is None or mark.kwargs.get("replay", True):
            await _replay(durable_env.client, list(known.values()))


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


async def _replay(client: Client, workflows: Sequence[Any]) -> None:
    names = {WorkflowDefinition.must_be(each).name for each in workflows}

    async def histories() -> AsyncIterator[WorkflowHistory]:
        async for run in client.list_workflows():
            if run.workflow_type in names:
                yield await client.get_workflow_handle(run.id, run_id=run.run_id).fetch_history()

    replayer = Replayer(workflows=workflows, workflow_failure_exception_types=client.failure_exception_types)
    results = await replayer.replay_workflows(histories(), raise_on_replay_failure=False)
    if results.replay_failures:
        told = "\n".join(f"run {run_id}: {failure}" for run_id, failure in results.replay_failures.items())
        pytest.fail(f"what ran in this test does not replay:\n{told}", pytrace=False)
