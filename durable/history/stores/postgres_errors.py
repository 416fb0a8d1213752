"""What PostgreSQL's errors mean: for the data, for the transaction, for the connection; and what to do about them."""

from __future__ import annotations

import asyncpg  # pyright: ignore[reportMissingTypeStubs]

from durable.history.errors import StoreUnavailable
from durable.history.stores.postgres_address import Address

BAD_DATA = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    OverflowError,
    TypeError,
    ValueError,
)
"""A value is at fault, and not the database. (The driver's own errors of this kind are ValueErrors.)"""

TAKEN = asyncpg.UniqueViolationError
"""A row of that key is there already."""

NOT_ALLOWED = asyncpg.InsufficientPrivilegeError
"""The role lacks a right."""

NOT_TOLD = asyncpg.SyntaxOrAccessError
"""What was asked for is not there on this server, or not for this role."""

HELD_UP = asyncpg.LockNotAvailableError
"""Somebody else holds what was wanted."""

ROLLED_BACK = asyncpg.TransactionRollbackError
"""A deadlock, or a serialization failure: nothing is written, and it may well work now."""

BROKEN = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
"""Anything else that the driver raises."""

_POOLED = "a transaction pooler seems to be in between: add pooler=transaction to the URL"

_WAYS_OUT: tuple[tuple[type[BaseException], str], ...] = (
    (asyncpg.InvalidPasswordError, "look at the user and the password in the URL, or in PGPASSWORD"),
    (asyncpg.InvalidAuthorizationSpecificationError, "look at the user in the URL, and at the server's pg_hba.conf"),
    (asyncpg.InvalidCatalogNameError, "there is no such database: create it first (createdb NAME)"),
    (asyncpg.TooManyConnectionsError, "raise max_connections, or put a pooler in between"),
    (asyncpg.CannotConnectNowError, "it is starting up or shutting down: this is tried again"),
    (asyncpg.ReadOnlySQLTransactionError, "this server is a standby or read-only: name the primary in the URL"),
    (asyncpg.TargetServerAttributeNotMatched, "this server is a standby or read-only: name the primary in the URL"),
    (NOT_ALLOWED, "the role may not do that: grant it SELECT, INSERT, UPDATE, DELETE there"),
    (asyncpg.UndefinedTableError, "its tables are gone, though they were there when it was opened"),
    (asyncpg.DiskFullError, "free some disk space there"),
    (asyncpg.ProtocolViolationError, _POOLED),
    (asyncpg.DuplicatePreparedStatementError, _POOLED),
    (asyncpg.InvalidSQLStatementNameError, _POOLED),
    (asyncpg.InvalidCachedStatementError, "its tables were changed meanwhile: this is tried again"),
    (asyncpg.ClientConfigurationError, "look at the URL: postgresql://user:password@host:port/database?option=value"),
    (TimeoutError, "it does not answer: look at the network, and at the server's load"),
    (OSError, "does the server run, and may this machine reach it? Look at the host and the port in the URL"),
)
_OTHER = "the connection is made anew; if this goes on, look into the server's log"


def unavailable(error: BaseException, address: Address) -> StoreUnavailable:
    """What happened to whom, and what to do next."""
    way_out = next((text for kind, text in _WAYS_OUT if isinstance(error, kind)), _OTHER)
    told = str(error) or type(error).__name__
    return StoreUnavailable(f"the {address.name} can't be used: {told}; {way_out}")
