"""`SimplePlugin`: a plugin made of values, for clients, workers and replayers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any, TypeAlias, TypeVar, cast

from durable.client import ClientConfig, WorkflowHistory
from durable.client.interceptor import Interceptor as ClientInterceptor
from durable.client.plugins import Plugin as ClientPlugin
from durable.converter import DataConverter
from durable.service import ConnectConfig, ServiceClient
from durable.worker import Replayer, ReplayerConfig, Worker, WorkerConfig, WorkflowReplayResult, WorkflowRunner
from durable.worker.plugins import Plugin as WorkerPlugin

__all__ = ["PluginParameter", "SimplePlugin"]

T = TypeVar("T")

PluginParameter: TypeAlias = T | Callable[[T | None], T] | None
"""None leaves alone what is there, a value adds to it or replaces it, a function makes the new one of the old one."""

Histories = AsyncIterator[WorkflowHistory]
Results = AbstractAsyncContextManager[AsyncIterator[WorkflowReplayResult]]


class SimplePlugin(ClientPlugin, WorkerPlugin):
    """What is given is put into the configs of the clients, workers and replayers that take it.

    ``activities``, ``workflows``, ``interceptors``, ``nexus_service_handlers`` and ``workflow_failure_exception_types``
    are added to what is there (a client takes those interceptors that are a client's); ``data_converter`` and
    ``workflow_runner`` replace it. ``run_context`` makes the context in which workers and replayers run.
    """

    def __init__(
        self,
        name: str,
        *,
        data_converter: PluginParameter[DataConverter] = None,
        interceptors: Sequence[Any] | None = None,
        activities: PluginParameter[Sequence[Callable[..., Any]]] = None,
        nexus_service_handlers: PluginParameter[Sequence[Any]] = None,
        workflows: PluginParameter[Sequence[Any]] = None,
        workflow_runner: PluginParameter[WorkflowRunner] = None,
        workflow_failure_exception_types: PluginParameter[Sequence[type[BaseException]]] = None,
        run_context: Callable[[], AbstractAsyncContextManager[None]] | None = None,
    ) -> None:
        self._name = name
        self._replaced: dict[str, Any] = {"data_converter": data_converter, "workflow_runner": workflow_runner}
        self._added: dict[str, Any] = {
            "interceptors": interceptors,
            "activities": activities,
            "nexus_service_handlers": nexus_service_handlers,
            "workflows": workflows,
            "workflow_failure_exception_types": workflow_failure_exception_types,
        }
        self._run_context = run_context or nullcontext

    def name(self) -> str:
        return self._name

    def configure_client(self, config: ClientConfig) -> ClientConfig:
        changed = self._changed(config, "data_converter", "interceptors")
        changed["interceptors"] = [each for each in changed["interceptors"] if isinstance(each, ClientInterceptor)]
        return cast("ClientConfig", changed)

    async def connect_service_client(
        self, config: ConnectConfig, next: Callable[[ConnectConfig], Awaitable[ServiceClient]]
    ) -> ServiceClient:
        return await next(config)

    def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
        return cast("WorkerConfig", self._changed(config, "workflow_runner", *self._added))

    def configure_replayer(self, config: ReplayerConfig) -> ReplayerConfig:
        names = ("data_converter", "workflow_runner", "interceptors", "workflows", "workflow_failure_exception_types")
        return cast("ReplayerConfig", self._changed(config, *names))

    async def run_worker(self, worker: Worker, next: Callable[[Worker], Awaitable[None]]) -> None:
        async with self._run_context():
            await next(worker)

    @asynccontextmanager
    async def run_replayer(
        self, replayer: Replayer, histories: Histories, next: Callable[[Replayer, Histories], Results]
    ) -> AsyncGenerator[AsyncIterator[WorkflowReplayResult]]:
        async with self._run_context(), next(replayer, histories) as results:
            yield results

    def _changed(self, config: Any, *names: str) -> dict[str, Any]:
        changed: dict[str, Any] = dict(config)
        for name in names:
            given = self._added.get(name) if name in self._added else self._replaced.get(name)
            if callable(given):
                changed[name] = given(changed.get(name))
            elif given is not None:
                changed[name] = [*changed.get(name, ()), *given] if name in self._added else given
        return changed
