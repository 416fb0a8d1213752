"""Plugins of workers and replayers: what changes how they are made, and what happens around them."""

from __future__ import annotations

import functools
import warnings
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from durable.client import Client, WorkflowHistory

if TYPE_CHECKING:
    from durable.worker.config import WorkerConfig
    from durable.worker.replayer import Replayer, ReplayerConfig, WorkflowReplayResult
    from durable.worker.worker import Worker

    RunWorker = Callable[[Worker], Awaitable[None]]
    Results = AbstractAsyncContextManager[AsyncIterator[WorkflowReplayResult]]
    RunReplayer = Callable[[Replayer, AsyncIterator[WorkflowHistory]], Results]


class Plugin(ABC):
    """Changes workers and replayers."""

    def name(self) -> str:
        """What it is called: by default its class, with the module."""
        return f"{type(self).__module__}.{type(self).__qualname__}"

    @abstractmethod
    def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
        """The config that the worker is to have; it may be the given one, changed."""

    @abstractmethod
    async def run_worker(self, worker: Worker, next: RunWorker) -> None:
        """Run it with ``await next(worker)``, and do around it what there is to do."""

    @abstractmethod
    def configure_replayer(self, config: ReplayerConfig) -> ReplayerConfig:
        """The config that the replayer is to have; it may be the given one, changed."""

    @abstractmethod
    def run_replayer(self, replayer: Replayer, histories: AsyncIterator[WorkflowHistory], next: RunReplayer) -> Results:
        """Replay with ``next(replayer, histories)``, and do around it what there is to do."""


class Applied(tuple[Plugin, ...]):
    """Plugins that have changed the config already that they stand in."""


def of_client(client: Client, plugins: Sequence[Plugin]) -> Sequence[Plugin]:
    """Those of the client that are for workers too, then the worker's own. A type that is in both is warned of."""
    inherited = [plugin for plugin in client.config()["plugins"] if isinstance(plugin, Plugin)]
    for twice in {type(plugin) for plugin in inherited} & {type(plugin) for plugin in plugins}:
        warnings.warn(
            f"plugin {twice.__name__} comes from the client and is given to the worker as well, so it works twice",
            stacklevel=3,
        )
    return [*inherited, *plugins]


async def run_worker(worker: Worker, plugins: Sequence[Plugin], run: RunWorker) -> None:
    """Run it through all plugins: the first is outermost."""
    for plugin in reversed(plugins):
        run = functools.partial(plugin.run_worker, next=run)
    await run(worker)


def run_replayer(
    replayer: Replayer, plugins: Sequence[Plugin], histories: AsyncIterator[WorkflowHistory], run: RunReplayer
) -> Results:
    """Replay through all plugins: the first is outermost."""
    for plugin in reversed(plugins):
        chained: Any = functools.partial(plugin.run_replayer, next=run)
        run = chained
    return run(replayer, histories)
