"""Where a PostgreSQL is, taken from its URL: how to connect to it, and how to name it without its password."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from msgspec import Struct

from durable.history.errors import StoreUnavailable

PRIMARY = ("read-write", "primary")
"""Of several hosts, the one that can be written: what a standby tells is late."""


class Address(Struct, frozen=True):
    """``dsn`` is for the driver, ``name`` for people; ``pooled``: a pooler gives each transaction another session;
    ``aims`` is the kind of server that it may lead to."""

    dsn: str
    name: str
    pooled: bool
    aims: str

    @property
    def is_primary(self) -> bool:
        """Does it lead to nothing but a server that can be written?"""
        return self.aims in PRIMARY


def address(url: str) -> Address:
    """What ``url`` means. Ours is ``?pooler=transaction``; all other options are the driver's (``sslmode`` …)."""
    parts = urlsplit(url)
    options = parse_qsl(parts.query, keep_blank_values=True)
    poolers = [value for key, value in options if key == "pooler"]
    if any(value not in ("transaction", "session") for value in poolers):
        raise StoreUnavailable(f"pooler={poolers[0]} is unknown: write pooler=transaction, or session (no difference)")
    rest = [(key, value) for key, value in options if key != "pooler"]
    if "target_session_attrs" not in dict(rest):
        rest.append(("target_session_attrs", PRIMARY[0]))
    where = parts.netloc.rpartition("@")[2] or dict(rest).get("host") or "the local server"
    database = unquote(parts.path.strip("/"))
    return Address(
        dsn=f"postgresql://{parts.netloc}{parts.path}?{urlencode(rest)}",
        name=f"PostgreSQL database {database!r} at {where}" if database else f"PostgreSQL at {where}",
        pooled="transaction" in poolers,
        aims=dict(rest)["target_session_attrs"],
    )
