"""Pure: what the facts about a PostgreSQL mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from durable.history.upkeep.finding import Finding, bad, duration, ok, size, warning

SETTINGS = (
    "fsync",
    "full_page_writes",
    "synchronous_commit",
    "default_transaction_read_only",
    "idle_in_transaction_session_timeout",
)
TIMEOUT = SETTINGS[-1]
CONNECTIONS_FEW = 10
"""A worker's process takes up to eight, and its activities' sessions more."""

CLOCK_ERROR_US = 1_000_000
NAMED_MAX = 3


class Seen(NamedTuple):
    """The server's sessions that two connections were given at the same time, by their process ids."""

    one: int
    other: int


class Sessions(NamedTuple):
    """``greeted``: the process id that the first connection was told when it was made."""

    greeted: int
    seen: Sequence[Seen]


class Transaction(NamedTuple):
    """``id`` is its session's process id, or the name of a prepared one."""

    id: str
    role: str
    application: str
    state: str
    seconds: float


class Blocked(NamedTuple):
    """A session that waits for a lock, and those that it waits for; 0 is a prepared transaction."""

    pid: int
    application: str
    table: str
    blockers: Sequence[int]
    seconds: float


class Privileges(NamedTuple):
    table: str
    reads: bool
    writes: bool


def server(version: str, driver: str, length: int) -> Finding:
    return ok("PostgreSQL", f"{version}, asyncpg {driver}; the database has {size(length)}")


def pooler(sessions: Sessions, *, told: bool) -> Finding:
    """``told``: the URL says that there is a transaction pooler."""
    shared = any(seen.one == seen.other for seen in sessions.seen)
    moving = len({seen.one for seen in sessions.seen}) > 1
    if shared or moving:
        if told:
            return ok("pooler", "there is a transaction pooler, as the URL says")
        return bad(
            "pooler",
            "there is a transaction pooler in front: what is set in a session, and its locks, go to another client",
            "add pooler=transaction to the URL, or name the server itself",
        )
    if told:
        return ok("pooler", "the URL says that there is a transaction pooler; none shows just now")
    if sessions.greeted != sessions.seen[0].one:
        return ok("pooler", "something is in front of the server; a session stays one, as far as it can be seen")
    return ok("pooler", "none: connections go to the server itself")


def primary(replica: bool, settings: Mapping[str, str]) -> Finding:
    advice = "name the primary in the URL; of several hosts, durable takes the one that can be written"
    if replica:
        return bad("primary", "this server is a standby: nothing can be written", advice)
    if settings["default_transaction_read_only"] == "on":
        return bad(
            "primary", "default_transaction_read_only is on: nothing can be written", "turn it off for this role"
        )
    return ok("primary", "it can be written")


def settings(found: Mapping[str, str]) -> Finding:
    limit = int(found[TIMEOUT])
    durability = ", ".join(f"{name} {found[name]}" for name in ("fsync", "full_page_writes", "synchronous_commit"))
    told = f"{durability}, {TIMEOUT} {duration(limit * 1000) if limit else 'off'}"
    if "off" in (found["fsync"], found["full_page_writes"]):
        return bad("settings", f"{told}: a crash of the machine damages the database", "turn fsync and the like on")
    if found["synchronous_commit"] == "off":
        return warning(
            "settings",
            f"{told}: what was acknowledged may be gone after a crash of the server",
            "turn synchronous_commit on for the role that workers and clients use",
        )
    return ok("settings", told)


def connections(left: int) -> Finding:
    if left >= CONNECTIONS_FEW:
        return ok("connections", f"{left} left")
    return warning(
        "connections",
        f"{max(left, 0)} left",
        "raise max_connections, or put a pooler in between; a worker takes up to eight",
    )


def clock(offset_us: int, error_us: int) -> Finding:
    told = (
        f"the server's clock is {duration(abs(offset_us))} {'ahead of' if offset_us > 0 else 'behind'} this machine's"
    )
    if abs(offset_us) - error_us > CLOCK_ERROR_US:
        return warning("clock", told, "durable goes by the server's, logs by each machine's: keep both by NTP")
    return ok("clock", told)


def transactions(found: Sequence[Transaction], unseen: int) -> Finding:
    """``unseen``: how many sessions this role may not look at."""
    if found:
        return warning(
            "transactions",
            f"{len(found)} open for long: {'; '.join(map(_open, found[:NAMED_MAX]))}; what is deleted meanwhile can't "
            "be cleared away, and the queues get slower",
            f"end them (SELECT pg_terminate_backend(…), ROLLBACK PREPARED …), and set {TIMEOUT}",
        )
    if unseen:
        return ok("transactions", f"none open for long, but {unseen} sessions can't be seen: GRANT pg_read_all_stats")
    return ok("transactions", "none open for long")


def _open(found: Transaction) -> str:
    return f"{found.id}{_of(found.application)}, role {found.role}, {found.state} since {_seconds(found.seconds)}"


def blocked(found: Sequence[Blocked]) -> Finding:
    if not found:
        return ok("locks", "nobody waits for long")
    return warning(
        "locks",
        f"{len(found)} sessions wait for locks on durable's tables: {'; '.join(map(_wait, found[:NAMED_MAX]))}",
        "end the transactions that they wait for: SELECT pg_terminate_backend(…)",
    )


def _wait(found: Blocked) -> str:
    blockers = ", ".join(str(pid) if pid else "a prepared transaction" for pid in found.blockers)
    who = f"{found.pid}{_of(found.application)}"
    return f"{who} at {found.table} since {_seconds(found.seconds)}, for {blockers or 'one that is gone now'}"


def _of(application: str) -> str:
    return f" ({application})" if application else ""


def _seconds(number: float) -> str:
    return duration(round(number * 1_000_000))


def may_not_look() -> Finding:
    return bad("rights", "this role may not read durable's tables", GRANT)


GRANT = (
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO the role, and USAGE ON ALL SEQUENCES: "
    "workers need no more"
)


def rights(found: Sequence[Privileges], *, counts: bool) -> Finding:
    """``counts``: the inbox's sequence may be used."""
    lacking = [each.table for each in found if not (each.reads and each.writes)]
    if not counts:
        lacking.append("the sequence of durable_inbox")
    if lacking:
        return bad("rights", f"this role may not read and write {', '.join(lacking)}", GRANT)
    return ok("rights", "this role may do what workers do")
