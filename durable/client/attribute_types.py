"""Search attributes that a client gives, held against the types that their namespace has them in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import structs

from durable.client.errors import InvalidArgument
from durable.history.values import Payload
from durable.history.visibility import indexing
from durable.history.visibility.attributes import NAMES

if TYPE_CHECKING:
    from durable.client.client import Client


async def fitting(client: Client, attributes: dict[str, Payload]) -> dict[str, Payload]:
    """The same as values of the types that the namespace knows; of one that it does not know, as they are.

    `InvalidArgument` for a value that is none of its attribute's type. The database is asked for what is not known yet.
    """
    if not attributes:
        return attributes
    database, namespace = client.database, client.namespace
    known = database.attribute_types.setdefault(namespace, {})
    if not attributes.keys() <= known.keys():
        known.update(await database.store.attribute_types(namespace))
    fitted: dict[str, Payload] = {}
    for name, payload in attributes.items():
        kind, found = known.get(name), indexing.read(payload)
        if kind is None or found is None or found.type is kind:
            fitted[name] = payload
            continue
        if (why := indexing.refusal(name, kind, found.value)) is not None:
            raise InvalidArgument(f"{why}; that is its type in namespace {namespace!r} since its first value was given")
        fitted[name] = structs.replace(payload, metadata={**payload.metadata, "type": NAMES[kind].encode()})
    return fitted
