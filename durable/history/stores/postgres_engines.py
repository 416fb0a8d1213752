"""SQLAlchemy's engines on the store's PostgreSQL database, for transactions of users."""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from typing import Any

import asyncpg  # pyright: ignore[reportMissingTypeStubs]
from sqlalchemy import Engine, create_engine
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import PoolProxiedConnection

from durable.history.errors import StoreUnavailable
from durable.history.stores.engines import Close, attend, nothing
from durable.history.stores.postgres_address import Address

POOL_SIZE = 10
WAIT_FOREVER_S = 1e6
CONNECT_TIMEOUT_S = 10
SETTINGS = {
    "application_name": "durable activity",
    # What a process holds that was stopped, or a machine that is gone, others get at after this time.
    "idle_in_transaction_session_timeout": "60s",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
}


class Engines:
    """Made when they are asked for. At most 10 transactions of each kind at a time; the others wait."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._options: dict[str, Any] = {
            "pool_size": POOL_SIZE,
            "max_overflow": 0,
            "pool_timeout": WAIT_FOREVER_S,
            "pool_pre_ping": True,
            # Whatever the server's default: what is read after a lock has to be what is there then.
            "isolation_level": "READ COMMITTED",
        }
        self._making = threading.Lock()
        self._async: AsyncEngine | None = None
        self._sync: Engine | None = None
        self._raw: list[Any] = []
        self._raw_sync: list[Any] = []
        self._closed = False

    def asynchronous(self) -> AsyncEngine:
        if self._async is None:
            options = dict(self._options)
            if self._address.pooled:
                # A pooler hands sessions on with the statements that others have prepared there.
                names: Callable[[], str] = lambda: f"durable_{uuid.uuid4().hex}"  # noqa: E731
                options["connect_args"] = {"prepared_statement_cache_size": 0, "prepared_statement_name_func": names}
            self._async = create_async_engine("postgresql+asyncpg://", async_creator=self._connect, **options)
            attend(self._async.sync_engine, lambda connection: partial(_cut_off, connection.connection, _terminate))
        return self._async

    def synchronous(self) -> Engine:
        """By psycopg 3. Raises `StoreUnavailable` where that is not installed."""
        with self._making:  # threads may come at once, and none may use it before it is arranged
            if self._sync is None:
                if find_spec("psycopg") is None:
                    raise StoreUnavailable(
                        "a sync session on PostgreSQL needs the driver psycopg: pip install 'durable[postgres]'; an "
                        "async activity needs none"
                    )
                engine = create_engine("postgresql+psycopg://", creator=self._connect_sync, **self._options)
                attend(engine, lambda connection: partial(_cut_off, connection.connection, _hang_up))
                self._sync = engine
            return self._sync

    async def close(self) -> None:
        self._closed = True
        if self._async is not None:
            await self._async.dispose()
        if self._sync is not None:
            self._sync.dispose()
        # Whoever has a transaction open still has lost it.
        for raw in self._raw:
            raw.terminate()
        for raw in self._raw_sync:
            _hang_up(raw)

    async def _connect(self) -> Any:
        self._check_open()
        driver: Any = asyncpg
        own: dict[str, Any] = {"statement_cache_size": 0} if self._address.pooled else {"server_settings": SETTINGS}
        raw = await driver.connect(self._address.dsn, timeout=CONNECT_TIMEOUT_S, **own)
        self._raw = [each for each in self._raw if not each.is_closed()] + [raw]
        return raw

    def _connect_sync(self) -> Any:
        import psycopg

        self._check_open()
        own: dict[str, Any] = {"prepare_threshold": None}
        if not self._address.pooled:
            said = " ".join(f"-c {name}={value}" for name, value in SETTINGS.items() if name != "application_name")
            own = {"application_name": SETTINGS["application_name"], "options": said}
        raw = psycopg.connect(self._address.dsn, connect_timeout=CONNECT_TIMEOUT_S, **own)
        with self._making:
            self._raw_sync = [each for each in self._raw_sync if not each.closed] + [raw]
        return raw

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable(f"the client of the {self._address.name} was closed; connect again")


def _cut_off(connection: PoolProxiedConnection, end: Callable[[Any], None]) -> Awaitable[Close]:
    raw = connection.driver_connection
    connection.detach()  # others get another one, for the code may keep this one for long

    async def rest() -> Close:
        end(raw)
        return nothing

    return rest()


def _terminate(raw: Any) -> None:
    raw.terminate()


def _hang_up(raw: Any) -> None:
    """Its thread may be in the middle of anything: the line is cut, and the server rolls back."""
    with suppress(OSError, raw.Error):  # its thread has closed it
        with socket.socket(fileno=os.dup(raw.fileno())) as line:
            line.shutdown(socket.SHUT_RDWR)
