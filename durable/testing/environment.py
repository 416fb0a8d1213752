"""`WorkflowEnvironment`: a client on a database of its own, in this process, with real time or time that skips."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any

from durable.client import (
    Client,
    ClientConfig,
    ClientConnectConfig,
    ConnectConfig,
    RetryConfig,
    ServiceClient,
    TLSConfig,
    WorkflowHandle,
)
from durable.client.description import moment
from durable.common import QueryRejectCondition, SearchAttributeKey
from durable.context import current_activity
from durable.converter import DataConverter
from durable.history.database import Database
from durable.history.stores.sqlite import SqliteStore
from durable.history.visibility.attributes import AttributeType
from durable.runtime import Runtime
from durable.service.connection import add_search_attributes
from durable.testing.skipping import SkippingClient, SkippingHost, TimeSkipper


class SharingClient(Client):
    """A client on somebody else's connection."""

    async def close(self) -> None:
        """Nothing of its own is open."""


class SharingSkippingClient(SharingClient, SkippingClient):
    """The same, in whose tests time skips."""


class WorkflowEnvironment:
    """Where a test runs its workflows: ``async with await WorkflowEnvironment.start_time_skipping() as env:``.

    ``env.client`` is the client to start workflows and make workers with. In an environment that was started here, an
    `AssertionError` in a workflow fails the workflow, so that the test sees it (elsewhere it fails the workflow task).
    """

    def __init__(self, client: Client, *, owned: bool, skipper: TimeSkipper | None = None) -> None:
        self.skipper = skipper
        """What moves its time; None when its time is real."""
        self._client = client
        self._owned = owned
        self._skipping = asyncio.ensure_future(skipper.work()) if skipper is not None else None

    @staticmethod
    def from_client(client: Client) -> WorkflowEnvironment:
        """An environment around a client that somebody else connected, and closes."""
        return WorkflowEnvironment(client, owned=False)

    @staticmethod
    async def start_local(
        *,
        namespace: str = "default",
        data_converter: DataConverter = DataConverter.default,
        interceptors: Sequence[Any] = (),
        plugins: Sequence[Any] = (),
        default_workflow_query_reject_condition: QueryRejectCondition | None = None,
        retry_config: RetryConfig | None = None,
        rpc_metadata: Mapping[str, str | bytes] = {},
        identity: str | None = None,
        tls: bool | TLSConfig = False,
        ip: str = "127.0.0.1",
        port: int | None = None,
        download_dest_dir: str | None = None,
        ui: bool = False,
        runtime: Runtime | None = None,
        search_attributes: Sequence[SearchAttributeKey[Any]] = (),
        dev_server_existing_path: str | None = None,
        dev_server_database_filename: str | None = None,
        dev_server_log_format: str = "pretty",
        dev_server_log_level: str | None = "warn",
        dev_server_download_version: str = "default",
        dev_server_extra_args: Sequence[str] = (),
        dev_server_download_ttl: timedelta | None = None,
        dev_server_startup_timeout: timedelta | None = None,
        ui_port: int | None = None,
    ) -> WorkflowEnvironment:
        """A new database that is gone afterwards, and real time.

        ``dev_server_database_filename`` is a file to keep it in instead. A query may name ``search_attributes`` before
        a workflow has them. All else that speaks of a server is accepted,
        and ignored.
        """
        kept = dev_server_database_filename
        client = await Client.connect(
            f"sqlite:///{kept}" if kept else "sqlite://",
            namespace=namespace,
            data_converter=data_converter,
            interceptors=interceptors,
            plugins=plugins,
            default_workflow_query_reject_condition=default_workflow_query_reject_condition,
            rpc_metadata=rpc_metadata,
            identity=identity,
            failure_exception_types=(AssertionError,),
        )
        types = {each.name: AttributeType(each.indexed_value_type) for each in search_attributes}
        await add_search_attributes(client.database.store, namespace, types)
        return WorkflowEnvironment(client, owned=True)

    @staticmethod
    async def start_time_skipping(
        *,
        data_converter: DataConverter = DataConverter.default,
        interceptors: Sequence[Any] = (),
        plugins: Sequence[Any] = (),
        default_workflow_query_reject_condition: QueryRejectCondition | None = None,
        retry_config: RetryConfig | None = None,
        rpc_metadata: Mapping[str, str | bytes] = {},
        identity: str | None = None,
        port: int | None = None,
        download_dest_dir: str | None = None,
        runtime: Runtime | None = None,
        test_server_existing_path: str | None = None,
        test_server_download_version: str = "default",
        test_server_extra_args: Sequence[str] = (),
        test_server_download_ttl: timedelta | None = None,
        test_server_startup_timeout: timedelta | None = None,
    ) -> WorkflowEnvironment:
        """A new database that is gone afterwards, and time that skips.

        It skips while the result of a workflow that ``env.client`` started, or `sleep`, is awaited, whenever no
        workflow and no activity is at work: straight to the next timer, retry or timeout. Thirty days take
        milliseconds. What speaks of a server is accepted, and ignored.
        """
        host = SkippingHost()
        database = await Database(SqliteStore(None, host), host).open()
        client = SkippingClient(
            database,
            data_converter=data_converter,
            interceptors=interceptors,
            plugins=plugins,
            default_workflow_query_reject_condition=default_workflow_query_reject_condition,
            identity=identity,
            failure_exception_types=(AssertionError,),
        )
        client.rpc_metadata = rpc_metadata
        client.skipper = TimeSkipper(host)
        client.skipper.join(database)
        return WorkflowEnvironment(client, owned=True, skipper=client.skipper)

    @property
    def client(self) -> Client:
        """A client of the environment's database."""
        return self._client

    @property
    def supports_time_skipping(self) -> bool:
        """Whether time skips here."""
        return self.skipper is not None

    async def connect_client(
        self,
        *,
        namespace: str | None = None,
        data_converter: DataConverter | None = None,
        identity: str | None = None,
        **kwargs: Any,
    ) -> Client:
        """Another client on the same database and in the same time, by default like ``client``.

        It shares the environment's connection, and closing it leaves that open. ``kwargs`` are
        other parameters of `Client.connect`. TypeError for what is none.
        """
        unknown = kwargs.keys() - ClientConnectConfig.__annotations__.keys()
        if unknown:
            raise TypeError(f"connect_client has no parameter {', '.join(sorted(unknown))}")
        base = self._client
        given = {"namespace": namespace, "data_converter": data_converter, "identity": identity, **kwargs}
        given = {key: value for key, value in given.items() if value is not None}
        reached = {each.name: given[each.name] for each in dataclasses.fields(ConnectConfig) if each.name in given}
        connection = ServiceClient(dataclasses.replace(base.service_client.config, **reached), base.database)
        config = {**base.config(), **{key: given[key] for key in ClientConfig.__annotations__ if key in given}}
        kind = SharingSkippingClient if isinstance(base, SkippingClient) else SharingClient
        client = kind(**{**config, "service_client": connection})  # pyright: ignore[reportArgumentType]
        if isinstance(client, SkippingClient) and self.skipper is not None:
            client.skipper = self.skipper
        return client

    async def shutdown(self) -> None:
        """Close what was started here."""
        if self._skipping is not None:
            self._skipping.cancel()
            await asyncio.wait([self._skipping])
        if self._owned:
            await self._client.close()

    async def __aenter__(self) -> WorkflowEnvironment:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.shutdown()

    async def sleep(self, duration: timedelta | float) -> None:
        """Let time pass, in a test or in an activity: skipping if this environment can, else really."""
        seconds = duration.total_seconds() if isinstance(duration, timedelta) else duration
        if self.skipper is None:
            await asyncio.sleep(seconds)
            return
        activity = current_activity.get()
        with activity.asleep() if activity is not None else nullcontext():
            await self.skipper.sleep_until(self._client.database.store.now_us() + round(seconds * 1_000_000))

    async def get_current_time(self, handle: WorkflowHandle[Any, Any] | None = None) -> datetime:
        """The environment's time: aware, UTC. All its workflows share it, that of ``handle`` too."""
        return moment(self._client.database.store.now_us())

    def auto_time_skipping_disabled(self) -> AbstractContextManager[None]:
        """A block in which awaiting results does not skip time."""
        return self.skipper.disabled() if self.skipper is not None else nullcontext()
