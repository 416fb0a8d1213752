"""Plugins of clients: what changes how a client is made, and how it connects."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from durable.service import ConnectConfig, ServiceClient

if TYPE_CHECKING:
    from durable.client.config import ClientConfig

Connect = Callable[[ConnectConfig], Awaitable[ServiceClient]]


class Plugin(ABC):
    """Changes clients. One that is a `durable.worker.Plugin` too also changes the workers of its clients."""

    def name(self) -> str:
        """What it is called: by default its class, with the module."""
        return f"{type(self).__module__}.{type(self).__qualname__}"

    @abstractmethod
    def configure_client(self, config: ClientConfig) -> ClientConfig:
        """The config that the client is to have; it may be the given one, changed."""

    @abstractmethod
    async def connect_service_client(self, config: ConnectConfig, next: Connect) -> ServiceClient:
        """Connect with ``await next(config)``, and do around it what there is to do."""


def configured(config: ClientConfig, plugins: Sequence[Plugin]) -> ClientConfig:
    """The config as the plugins leave it, one after the other."""
    for plugin in plugins:
        config = plugin.configure_client(config.copy())
    return config


async def connected(config: ConnectConfig, plugins: Sequence[Plugin]) -> ServiceClient:
    """The connection, through all plugins: the first is outermost."""
    connect: Connect = ServiceClient.connect
    for plugin in reversed(plugins):
        connect = functools.partial(plugin.connect_service_client, next=connect)
    return await connect(config)
