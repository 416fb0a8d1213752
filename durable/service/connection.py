"""`ServiceClient`: a connection to a database, which any number of clients share."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from durable.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    AddSearchAttributesResponse,
    ListSearchAttributesRequest,
    ListSearchAttributesResponse,
)
from durable.history.database import Database
from durable.history.errors import StoreUnavailable
from durable.history.host import Machine
from durable.history.store import Store
from durable.history.stores import open_store
from durable.history.visibility import indexing
from durable.history.visibility.attributes import NAMES, SYSTEM, AttributeType, RunKind, SystemType
from durable.runtime import Runtime
from durable.service.address import database_url
from durable.service.errors import RPCError, RPCStatusCode
from durable.service.settings import (
    DnsLoadBalancingConfig,
    GrpcCompression,
    HttpConnectProxyConfig,
    KeepAliveConfig,
    PayloadLimitsConfig,
    RetryConfig,
    TLSConfig,
)


@dataclass
class ConnectConfig:
    """What to connect to, and as whom. ``identity`` "" is ``pid@host``; all after it is for servers, and ignored."""

    target_host: str
    api_key: str | None = None
    tls: bool | TLSConfig | None = None
    retry_config: RetryConfig | None = None
    keep_alive_config: KeepAliveConfig | None = KeepAliveConfig.default
    rpc_metadata: Mapping[str, str | bytes] = field(default_factory=dict[str, str | bytes])
    identity: str = ""
    lazy: bool = False
    runtime: Runtime | None = None
    http_connect_proxy_config: HttpConnectProxyConfig | None = None
    dns_load_balancing_config: DnsLoadBalancingConfig | None = None
    grpc_compression: GrpcCompression = GrpcCompression.GZIP
    payload_limits: PayloadLimitsConfig = field(default_factory=PayloadLimitsConfig)
    connect_timeout: timedelta | None = None

    def __post_init__(self) -> None:
        self.identity = self.identity or f"{os.getpid()}@{socket.gethostname()}"


class ServiceClient:
    """A connection to a database. `connect` makes one; clients share it: ``Client(client.service_client)``."""

    def __init__(self, config: ConnectConfig, database: Database) -> None:
        self.config = config
        self._database = database
        self.workflow_service = WorkflowService(self)
        self.operator_service = OperatorService(self)
        self.cloud_service = CloudService(self)
        self.test_service = TestService(self)
        self.health_service = HealthService(self)

    @staticmethod
    async def connect(config: ConnectConfig) -> ServiceClient:
        """Open the database that ``config.target_host`` names: see `Client.connect`. Raises `StoreUnavailable`."""
        host = Machine()
        store = open_store(database_url(config.target_host), host)
        return ServiceClient(config, await Database(store, host).open())

    @property
    def database(self) -> Database:
        """What it speaks to. Raises `StoreUnavailable` in a process that was forked since it was connected."""
        self._database.check_process()
        return self._database

    async def close(self) -> None:
        """Commit what waits, and let go of the database."""
        await self.database.close()

    async def check_health(
        self,
        *,
        service: str = "temporal.api.workflowservice.v1.WorkflowService",
        retry: bool = False,
        metadata: Mapping[str, str | bytes] = {},
        timeout: timedelta | None = None,
    ) -> bool:
        """True when the database answers. `RPCError` UNAVAILABLE when it can't, DEADLINE_EXCEEDED when not in time.

        The other parameters are for servers.
        """
        try:
            async with asyncio.timeout(None if timeout is None else timeout.total_seconds()):
                await self.database.store.find("default", "")  # not a search, which waits for others
        except TimeoutError:
            raise RPCError(f"the database did not answer within {timeout}", RPCStatusCode.DEADLINE_EXCEEDED) from None
        except StoreUnavailable as error:
            raise RPCError(str(error), RPCStatusCode.UNAVAILABLE) from error
        return True

    @property
    def worker_service_client(self) -> ServiceClient:
        """What workers connect through: itself."""
        return self

    def update_rpc_metadata(self, metadata: Mapping[str, str | bytes]) -> None:
        """Kept in `config`; a database has no use for it."""
        self.config.rpc_metadata = metadata

    def update_api_key(self, api_key: str | None) -> None:
        """Kept in `config`; a database has no use for it."""
        self.config.api_key = api_key


class _Calls:
    """The calls of a server by their names. There is no server: each says so when it is made."""

    def __init__(self, client: ServiceClient) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        if name.startswith("_"):
            raise AttributeError(name)

        async def call(*args: object, **options: object) -> Any:
            raise RPCError(
                f"{type(self).__name__}.{name} asks a server, and durable has none: the methods of Client, or the "
                "command `durable`, do what a database can",
                RPCStatusCode.UNIMPLEMENTED,
            )

        return call


class WorkflowService(_Calls):
    """See `ServiceClient.workflow_service`: each call raises `RPCError` UNIMPLEMENTED."""


class OperatorService(_Calls):
    """See `ServiceClient.operator_service`: search attributes are known; other calls raise `RPCError` UNIMPLEMENTED.

    The requests are those of `durable.api.operatorservice.v1`; what has their attributes will do.
    """

    async def add_search_attributes(self, request: AddSearchAttributesRequest, **_: Any) -> AddSearchAttributesResponse:
        """From now on a query may name them, and their values are of these types.

        `RPCError` ALREADY_EXISTS for one that is there with another type, INVALID_ARGUMENT for what is no name or type.
        """
        try:
            types = {name: AttributeType(kind) for name, kind in request.search_attributes.items()}
        except ValueError as error:
            raise RPCError(f"a search attribute's type: {error}", RPCStatusCode.INVALID_ARGUMENT) from None
        await add_search_attributes(self._client.database.store, request.namespace or "default", types)
        return AddSearchAttributesResponse()

    async def list_search_attributes(
        self, request: ListSearchAttributesRequest, **_: Any
    ) -> ListSearchAttributesResponse:
        """Those that a namespace has: of an attribute that was not added, since its first value was given."""
        types = await self._client.database.store.attribute_types(request.namespace or "default")
        system = {each.name: int(_as_listed(each.type)) for each in SYSTEM[RunKind.WORKFLOW].values()}
        return ListSearchAttributesResponse({name: int(kind) for name, kind in types.items()}, system)


async def add_search_attributes(store: Store, namespace: str, types: Mapping[str, AttributeType]) -> None:
    """See `OperatorService.add_search_attributes`."""
    for name in types:
        if not indexing.is_name(name):
            raise RPCError(
                f"{name!a} is no name for a search attribute: {indexing.NAMES_ARE}", RPCStatusCode.INVALID_ARGUMENT
            )
    await store.add_attribute_types(namespace, types)
    there = await store.attribute_types(namespace)
    for name, kind in types.items():
        if there[name] is not kind:
            raise RPCError(
                f"search attribute {name!r} of namespace {namespace!r} is of type {NAMES[there[name]]}, and stays so",
                RPCStatusCode.ALREADY_EXISTS,
            )


def _as_listed(kind: AttributeType | SystemType) -> AttributeType:
    match kind:
        case SystemType.STATUS:
            return AttributeType.KEYWORD
        case SystemType.DURATION:
            return AttributeType.INT
        case _:
            return kind


class CloudService(_Calls):
    """See `ServiceClient.cloud_service`: each call raises `RPCError` UNIMPLEMENTED."""


class TestService(_Calls):
    """See `ServiceClient.test_service`: each call raises `RPCError` UNIMPLEMENTED."""

    __test__ = False  # its name is Temporal's; for pytest it is no test


class HealthService(_Calls):
    """See `ServiceClient.health_service`: `ServiceClient.check_health` is what works."""
