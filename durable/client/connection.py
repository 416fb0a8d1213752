"""How a client is made: from a connection, or by connecting; what it was made with, and its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Self, cast

from durable.client.config import ClientConfig
from durable.client.interceptor import Interceptor, chained
from durable.client.plugins import Plugin, configured, connected
from durable.client.root import Root
from durable.common import HeaderCodecBehavior, QueryRejectCondition
from durable.converter import DataConverter
from durable.history.database import Database
from durable.runtime import Runtime
from durable.service import (
    ConnectConfig,
    DnsLoadBalancingConfig,
    GrpcCompression,
    HttpConnectProxyConfig,
    KeepAliveConfig,
    OperatorService,
    PayloadLimitsConfig,
    RetryConfig,
    ServiceClient,
    TestService,
    TLSConfig,
    WorkflowService,
)

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

    from durable.client.client import Client


class Connection:
    """The part of a `Client` that is about how it was made, and its connection."""

    def __init__(
        self,
        service_client: ServiceClient | Database,
        *,
        namespace: str = "default",
        data_converter: DataConverter = DataConverter.default,
        plugins: Sequence[Plugin] = (),
        interceptors: Sequence[Interceptor] = (),
        default_workflow_query_reject_condition: QueryRejectCondition | None = None,
        header_codec_behavior: HeaderCodecBehavior = HeaderCodecBehavior.NO_CODEC,
        identity: str | None = None,
        failure_exception_types: Sequence[type[BaseException]] = (),
    ) -> None:
        """A client on a connection that is there: a `ServiceClient`'s, or a `Database` that is open.

        ``identity`` None is the connection's. ``default_workflow_query_reject_condition`` is what
        `WorkflowHandle.query` refuses runs by. ``failure_exception_types`` are exceptions that fail a workflow, besides
        Temporal's, on every worker of this client. ``interceptors`` see every call, the first of them first (TypeError
        for what is none). ``header_codec_behavior``: does the converter's codec see headers too? By default, no.
        """
        if isinstance(service_client, Database):
            service_client = ServiceClient(ConnectConfig("", identity=identity or ""), service_client)
        self._given = ClientConfig(
            service_client=service_client,
            namespace=namespace,
            data_converter=data_converter,
            plugins=plugins,
            interceptors=interceptors,
            default_workflow_query_reject_condition=default_workflow_query_reject_condition,
            header_codec_behavior=header_codec_behavior,
            identity=identity,
            failure_exception_types=tuple(failure_exception_types),
        )
        self._config = configured(self._given, plugins)
        self.outbound = chained(self._config["interceptors"], Root(cast("Client", self)))
        """Where every call begins: the interceptors, and behind them what does it. For the client's own modules."""

    def config(self, *, active_config: bool = False) -> ClientConfig:
        """A new dict of what this client was made with, for another one that differs: ``Client(**client.config())``.

        With ``active_config`` as the plugins have left it.
        """
        return self._config.copy() if active_config else self._given.copy()

    @property
    def service_client(self) -> ServiceClient:
        """The connection."""
        return self._config["service_client"]

    @property
    def workflow_service(self) -> WorkflowService:
        """Temporal's raw calls; each of them raises `RPCError` UNIMPLEMENTED."""
        return self.service_client.workflow_service

    @property
    def operator_service(self) -> OperatorService:
        """Temporal's raw calls; each of them raises `RPCError` UNIMPLEMENTED."""
        return self.service_client.operator_service

    @property
    def test_service(self) -> TestService:
        """Temporal's raw calls; each of them raises `RPCError` UNIMPLEMENTED."""
        return self.service_client.test_service

    @property
    def namespace(self) -> str:
        return self._config["namespace"]

    @property
    def identity(self) -> str:
        """Who the histories say it was: ``pid@host`` by default."""
        return self._config["identity"] or self.service_client.config.identity

    @property
    def data_converter(self) -> DataConverter:
        return self._config["data_converter"]

    @property
    def failure_exception_types(self) -> tuple[type[BaseException], ...]:
        return tuple(self._config["failure_exception_types"])

    @property
    def default_workflow_query_reject_condition(self) -> QueryRejectCondition | None:
        return self._config["default_workflow_query_reject_condition"]

    @property
    def header_codec_behavior(self) -> HeaderCodecBehavior:
        return self._config["header_codec_behavior"]

    @property
    def rpc_metadata(self) -> Mapping[str, str | bytes]:
        """Kept with the connection; a database has no use for it."""
        return self.service_client.config.rpc_metadata

    @rpc_metadata.setter
    def rpc_metadata(self, value: Mapping[str, str | bytes]) -> None:
        self.service_client.update_rpc_metadata(value)

    @property
    def api_key(self) -> str | None:
        """Kept with the connection; a database has no use for it."""
        return self.service_client.config.api_key

    @api_key.setter
    def api_key(self, value: str | None) -> None:
        self.service_client.update_api_key(value)

    @property
    def database(self) -> Database:
        """What the client speaks to. Raises `StoreUnavailable` in a process that was forked since it was connected."""
        return self.service_client.database

    def engine(self) -> AsyncEngine:
        """SQLAlchemy's async engine on this database, for transactions of the program's own; closed with the client.

        What is written there and ``session=`` of `Client.start_workflow` are one transaction. On SQLite its
        transactions begin with the write lock and take turns with the engine's own, so that none finds the file locked;
        as long as one is open nobody else can write, so keep them short. On PostgreSQL it is a pool of 10.
        """
        return self.database.store.engine()

    def sync_engine(self) -> Engine:
        """The same for threads. On PostgreSQL it needs psycopg (in ``durable[postgres]``), else `StoreUnavailable`."""
        return self.database.store.sync_engine()

    @classmethod
    async def connect(
        cls,
        target_host: str | None = None,
        *,
        namespace: str = "default",
        api_key: str | None = None,
        data_converter: DataConverter = DataConverter.default,
        plugins: Sequence[Plugin] = (),
        interceptors: Sequence[Interceptor] = (),
        default_workflow_query_reject_condition: QueryRejectCondition | None = None,
        tls: bool | TLSConfig | None = None,
        retry_config: RetryConfig | None = None,
        keep_alive_config: KeepAliveConfig | None = KeepAliveConfig.default,
        connect_timeout: timedelta | None = None,
        rpc_metadata: Mapping[str, str | bytes] = {},
        identity: str | None = None,
        lazy: bool = False,
        runtime: Runtime | None = None,
        http_connect_proxy_config: HttpConnectProxyConfig | None = None,
        dns_load_balancing_config: DnsLoadBalancingConfig | None = None,
        grpc_compression: GrpcCompression = GrpcCompression.GZIP,
        payload_limits: PayloadLimitsConfig = PayloadLimitsConfig(),  # noqa: B008 - frozen
        header_codec_behavior: HeaderCodecBehavior = HeaderCodecBehavior.NO_CODEC,
        failure_exception_types: Sequence[type[BaseException]] = (),
    ) -> Self:
        """Open the database at ``target_host``, an URL; a new SQLite file gets its tables by itself.

        ``sqlite:///app.db`` is a file in the working directory, ``sqlite:////var/lib/app.db`` one by its full path,
        ``sqlite://`` one that is gone when the client is closed. The default is the environment's ``DURABLE_ADDRESS``,
        else ``sqlite:///durable.db``; it is also what the address of a Temporal server (``localhost:7233``) means, and
        the log says so. Raises `StoreUnavailable` with what is wrong and what to do.

        ``plugins`` may change all this: the first is outermost. For ``namespace``, ``data_converter``,
        ``interceptors``, ``identity``, ``default_workflow_query_reject_condition``, ``header_codec_behavior`` and
        ``failure_exception_types`` see `Client`. All else says how to reach a server; it is accepted, and ignored.
        """
        config = ConnectConfig(
            target_host or "",
            api_key=api_key,
            tls=tls,
            retry_config=retry_config,
            keep_alive_config=keep_alive_config,
            rpc_metadata=rpc_metadata,
            identity=identity or "",
            lazy=lazy,
            runtime=runtime,
            http_connect_proxy_config=http_connect_proxy_config,
            dns_load_balancing_config=dns_load_balancing_config,
            grpc_compression=grpc_compression,
            payload_limits=payload_limits,
            connect_timeout=connect_timeout,
        )
        return cls(
            await connected(config, plugins),
            namespace=namespace,
            data_converter=data_converter,
            plugins=plugins,
            interceptors=interceptors,
            default_workflow_query_reject_condition=default_workflow_query_reject_condition,
            header_codec_behavior=header_codec_behavior,
            failure_exception_types=failure_exception_types,
        )

    async def close(self) -> None:
        """Commit what waits, and let go of the database. Close workers first."""
        await self.service_client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
