"""Search attributes to payloads and back by way of a message that holds them, as Temporal's functions do."""

from __future__ import annotations

from durable.converter import search_attributes
from durable.history.protobuf import Message
from durable.history.values import Payload
from durable.search_attributes import SearchAttributes as Untyped
from durable.search_attributes import TypedSearchAttributes


class SearchAttributes(Message, kw_only=True):
    """Search attributes as payloads, by name, as Temporal's message of the same name."""

    indexed_fields: dict[str, Payload] = {}  # noqa: RUF012 msgspec gives each its own


def encode_search_attributes(attributes: Untyped | TypedSearchAttributes, api: SearchAttributes) -> None:
    """Put them into the message. TypeError or ValueError for what is no value of its key's type."""
    api.indexed_fields.update(search_attributes.encode_search_attributes(attributes))


def decode_search_attributes(api: SearchAttributes) -> Untyped:
    """The untyped form: every value in a list."""
    return search_attributes.decode_search_attributes(api.indexed_fields)


def decode_typed_search_attributes(api: SearchAttributes) -> TypedSearchAttributes:
    """The typed form; what does not tell its type, or holds no value of it, is left out."""
    return search_attributes.decode_typed_search_attributes(api.indexed_fields)
