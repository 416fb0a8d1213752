"""The pytest plugin: its options, marks and fixtures.

It is part of every pytest session, of other projects too: the engine is loaded when a test asks for it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from durable.client import Client
    from durable.testing.environment import WorkflowEnvironment
    from durable.worker import Worker

try:
    import pytest_asyncio
except ImportError:  # the fixtures are async: without it there are none, and nothing else changes
    pytest_asyncio = None  # type: ignore[assignment]


SWEPT = "crash sweep"
"""The property of a report that tells how a crash sweep went."""


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
    from durable.testing import crash_sweep

    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in crash_sweep.run(item, nextitem):
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A line for each crash sweep that went well: how many deaths its test survived."""
    lines = [
        f"{report.nodeid}: {told}"
        for report in terminalreporter.getreports("passed")
        if report.when == "call"
        for name, told in report.user_properties
        if name == SWEPT
    ]
    if lines:
        terminalreporter.section("crash sweep")
        for line in lines:
            terminalreporter.line(line)


if pytest_asyncio is not None:

    @pytest_asyncio.fixture
    async def durable_env(request: pytest.FixtureRequest) -> AsyncGenerator[WorkflowEnvironment]:
        """An environment whose time skips, on a database of the test's own."""
        from durable.testing.fixtures import environment

        async with environment(request.node) as env:
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
        from durable.testing.fixtures import workers

        async with workers(durable_env, request.node) as start:
            yield start
