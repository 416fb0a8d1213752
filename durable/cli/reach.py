"""From an address to a client: what a command may open, and what it may create."""

from __future__ import annotations

from pathlib import Path

from durable.cli.refusal import CommandRefused
from durable.client import Client
from durable.converter import DataConverter
from durable.history.stores.place import File, place


async def connect(
    address: str,
    namespace: str,
    *,
    create: bool = False,
    identity: str | None = None,
    data_converter: DataConverter = DataConverter.default,
) -> Client:
    """A client of the database at ``address``. Raises as `check` does, `StoreUnavailable` for what can't be used."""
    check(address, create=create)
    return await Client.connect(address, namespace=namespace, identity=identity, data_converter=data_converter)


def check(address: str, *, create: bool) -> None:
    """``create``: a SQLite file that is missing is made; otherwise it is a mistake, and `CommandRefused`. So is a
    temporary database, which nobody else could ever see."""
    where = place(address)
    if where is None:
        raise CommandRefused(f"{address} is a database that ends with this command: name a file, as sqlite:///app.db")
    if isinstance(where, File) and not create:
        _must_exist(address, where.path)


def _must_exist(address: str, path: Path) -> None:
    if not path.exists():
        raise CommandRefused(
            f"there is no database file {path.absolute()} ({address}): "
            "name another one with --address or DURABLE_ADDRESS; `durable worker` and `durable start` make one"
        )
