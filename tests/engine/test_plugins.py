"""Plugins change clients, workers and replayers, and do something around their work: the first is outermost."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from durable import Client, Worker, workflow
from durable.client import ClientConfig, WorkflowHistory
from durable.client import Plugin as ClientPlugin
from durable.converter import DataConverter
from durable.plugin import SimplePlugin
from durable.service import ConnectConfig, ServiceClient
from durable.worker import Plugin as WorkerPlugin
from durable.worker import Replayer, ReplayerConfig, UnsandboxedWorkflowRunner, WorkerConfig, WorkflowReplayResult
from tests.engine.conftest import LONG_LEASE

Histories = AsyncIterator[WorkflowHistory]
Results = AbstractAsyncContextManager[AsyncIterator[WorkflowReplayResult]]


class Noting(ClientPlugin, WorkerPlugin):
    """Notes what is asked of it, and gives clients a namespace and workers a task queue."""

    def __init__(self, name: str, notes: list[str]) -> None:
        self._name = name
        self.notes = notes

    def configure_client(self, config: ClientConfig) -> ClientConfig:
        self.notes.append(f"{self._name} client {config['namespace']}")
        config["namespace"] = f"of-{self._name}"
        return config

    async def connect_service_client(
        self, config: ConnectConfig, next: Callable[[ConnectConfig], Awaitable[ServiceClient]]
    ) -> ServiceClient:
        self.notes.append(f"{self._name} connects")
        return await next(dataclasses.replace(config, identity=f"{config.identity}+{self._name}"))

    def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
        self.notes.append(f"{self._name} worker {config['task_queue']}")
        config["task_queue"] = f"of-{self._name}"
        return config

    async def run_worker(self, worker: Worker, next: Callable[[Worker], Awaitable[None]]) -> None:
        self.notes.append(f"{self._name} begins")
        await next(worker)
        self.notes.append(f"{self._name} ends")

    def configure_replayer(self, config: ReplayerConfig) -> ReplayerConfig:
        config["workflows"] = [Greeting]
        return config

    @asynccontextmanager
    async def run_replayer(
        self, replayer: Replayer, histories: Histories, next: Callable[[Replayer, Histories], Results]
    ) -> AsyncGenerator[AsyncIterator[WorkflowReplayResult]]:
        self.notes.append(f"{self._name} replays")
        async with next(replayer, histories) as results:
            yield results


@workflow.defn
class Greeting:
    @workflow.run
    async def run(self) -> str:
        return "hello"


async def test_plugins_change_and_wrap_in_their_order() -> None:
    notes: list[str] = []
    plugins = [Noting("a", notes), Noting("b", notes)]
    async with await Client.connect("sqlite://", identity="me", plugins=plugins) as client:
        assert (client.namespace, client.identity) == ("of-b", "me+a+b")
        assert client.config()["namespace"] == "default" and client.config(active_config=True)["namespace"] == "of-b"
        assert notes == ["a connects", "b connects", "a client default", "b client of-a"]
        notes.clear()
        async with Worker(client, task_queue="q", workflows=[Greeting], lease=LONG_LEASE) as worker:
            assert worker.task_queue == worker.config(active_config=True)["task_queue"] == "of-b"
            assert worker.config()["task_queue"] == "q"
            handle = await client.start_workflow(Greeting.run, id="g", task_queue="of-b")
            assert await handle.result() == "hello"
        assert notes == ["a worker q", "b worker of-a", "a begins", "b begins", "b ends", "a ends"]
        notes.clear()
        replayer = Replayer(workflows=[], plugins=plugins)
        assert (await replayer.replay_workflow(await handle.fetch_history())).replay_failure is None
        assert notes == ["a replays", "b replays"]
        assert replayer.config()["workflows"] == [] and replayer.config(active_config=True)["workflows"] == [Greeting]


async def test_a_plugin_that_comes_twice_is_warned_of(client: Client) -> None:
    noting = Noting("a", [])
    with pytest.warns(UserWarning, match="plugin Noting comes from the client and is given to the worker as well"):
        Worker(Client(**{**client.config(), "plugins": [noting]}), workflows=[Greeting], plugins=[noting])


async def test_a_plugin_that_does_not_end_is_cancelled_after_a_while(client: Client) -> None:
    ended = asyncio.Event()

    class Slow(Noting):
        async def run_worker(self, worker: Worker, next: Callable[[Worker], Awaitable[None]]) -> None:
            await next(worker)
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

    limits: dict[str, Any] = {"plugin_shutdown_timeout": timedelta(milliseconds=10), "lease": LONG_LEASE}
    async with Worker(client, workflows=[Greeting], plugins=[Slow("s", [])], **limits) as worker:
        pass
    assert ended.is_set() and worker.is_shutdown


def test_a_plugin_is_called_by_its_class() -> None:
    assert Noting("a", []).name() == f"{__name__}.Noting"


async def test_a_simple_plugin_adds_and_replaces() -> None:
    context: list[str] = []

    @asynccontextmanager
    async def around() -> AsyncGenerator[None]:
        context.append("in")
        yield
        context.append("out")

    converter = DataConverter(payload_bytes_max=77)
    runner = UnsandboxedWorkflowRunner()
    plugin = SimplePlugin(
        "simple",
        data_converter=lambda before: converter if before is DataConverter.default else DataConverter.default,
        workflows=[Greeting],
        workflow_runner=runner,
        workflow_failure_exception_types=lambda before: [*(before or ()), LookupError],
        run_context=around,
    )
    assert plugin.name() == "simple"
    async with await Client.connect("sqlite://", plugins=[plugin]) as client:
        assert client.data_converter is converter
        async with Worker(client, workflow_failure_exception_types=[KeyError], lease=LONG_LEASE) as worker:
            active = worker.config(active_config=True)
            assert active["workflow_failure_exception_types"] == [KeyError, LookupError]
            assert active["workflow_runner"] is runner
            handle = await client.start_workflow(Greeting.run, id="g")
            assert await handle.result() == "hello"
        assert context == ["in", "out"]
        await Replayer(workflows=[], plugins=[plugin]).replay_workflow(await handle.fetch_history())
        assert context == ["in", "out", "in", "out"]
