"""The signs of life of a PostgreSQL's workers: advisory locks of the sessions that renew their leases.

The server drops them when a process ends, however it ends. But a server that starts again has none either, nor has a
standby that takes over; and a pooler or proxy that goes away takes those of all its clients along. So a worker's row
names the server that has its sign, and only while nothing is in between: then whoever comes later knows that a sign
which is missing there has been there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from durable.history.stores.postgres_address import Address
from durable.history.stores.postgres_connection import Connection, Raw, own_end
from durable.history.stores.postgres_errors import NOT_TOLD

TAKE = "SELECT pg_try_advisory_lock($1)"
DROP = "SELECT pg_advisory_unlock($1)"
# Shared, so that two who look don't see each other.
HELD = "SELECT key FROM unnest($1::bigint[]) AS key WHERE NOT pg_try_advisory_xact_lock_shared(key)"
# A server that recovers from the crash of a session keeps its start, and forgets its statistics as it does its locks.
SERVER = (
    "SELECT pg_backend_pid(), host(inet_client_addr()), inet_client_port(), (extract(epoch FROM "
    "greatest(pg_postmaster_start_time(), stats_reset)) * 1000000)::bigint FROM pg_stat_bgwriter"
)


class Signs:
    """Those of this process's workers, and how to look for those of others; on a connection that the caller holds."""

    def __init__(self, address: Address) -> None:
        self._pooled = address.pooled
        self._shown: set[str] = set()
        """Whose sign this session holds. That of the last one may still be there, where its end is not known yet."""
        self.server_us: int | None = None
        """The server that has this session's locks, named by the moment since when it has them (µs); None where
        somebody is in between."""

    async def show(self, raw: Raw, worker_ids: Iterable[str]) -> None:
        """In a new session."""
        self._shown.clear()
        self.server_us = None
        if self._pooled:
            return
        self.server_us = await _server(raw)
        for worker_id in tuple(worker_ids):  # one may come meanwhile
            if (await raw.fetch(TAKE, _key(worker_id)))[0][0]:
                self._shown.add(worker_id)

    async def keep(self, db: Connection, worker_id: str) -> int | None:
        """See that the worker's sign is there; what its row may say of that."""
        if self._pooled:
            return None
        if worker_id not in self._shown and await db.one(TAKE, _key(worker_id)):
            self._shown.add(worker_id)
        return self.server_us if worker_id in self._shown else None

    async def drop(self, db: Connection, worker_id: str) -> None:
        if worker_id in self._shown:
            self._shown.discard(worker_id)
            await db.read(DROP, _key(worker_id))

    async def held(self, db: Connection, worker_ids: Iterable[str]) -> set[str]:
        """Those of whom there is a sign, whoever's session has it."""
        keys = {_key(worker_id): worker_id for worker_id in worker_ids}
        return {keys[row[0]] for row in await db.read(HELD, list(keys))}


async def _server(raw: Raw) -> int | None:
    try:
        pid, host, port, since_us = (await raw.fetch(SERVER))[0]
    except NOT_TOLD:
        return None
    # A pooler makes up the process id that it tells its clients; any other proxy has an address of its own.
    is_direct = pid == raw.get_server_pid() and own_end(raw) == (None if host is None else (host, port))
    return int(since_us) if is_direct else None


def _key(worker_id: str) -> int:
    """The key of a worker's advisory lock."""
    digest = hashlib.blake2b(f"durable worker {worker_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
