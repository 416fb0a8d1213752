"""Pure: what a store is asked to find, and the place in a list from which it goes on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from durable.history.transition import RunInfo
from durable.history.visibility.attributes import AttributeType, RunKind
from durable.history.visibility.query import Query

EVERYTHING = Query()
GROUPS_MAX = 1000
SEARCH_S = 20.0
"""Seconds after which a database stops a list or a count, unless its store is told otherwise."""


class Search(Struct, frozen=True):
    """Runs of one kind that pass a query; ``types`` are those of the search attributes that it names."""

    query: Query = EVERYTHING
    kind: RunKind = RunKind.WORKFLOW
    types: Mapping[str, AttributeType] = {}


EVERY_WORKFLOW = Search()


class Position(Struct, frozen=True, array_like=True):
    """After which run a page begins: what the list is sorted by, of that run, and its id."""

    keys: tuple[str | int | float | None, ...]
    run_id: str


class Group(Struct, frozen=True):
    """So many runs share these values, as they are stored. Of more than `GROUPS_MAX` there is one too many."""

    count: int
    values: tuple[Any, ...]


class _Token(Struct, frozen=True, array_like=True):
    query: bytes
    position: Position


def position(run: RunInfo) -> Position:
    """That of a run which was read with the list."""
    return Position(run.sort_keys or (run.started_us,), run.run_id)


def token(at: Position, query: Query, kind: RunKind, namespace: str) -> bytes:
    """A position for whoever goes on with the same query."""
    return msgspec.msgpack.encode(_Token(_digest(query, kind, namespace), at))


def from_token(token: bytes, query: Query, kind: RunKind, namespace: str) -> Position:
    """ValueError for what is no token, or another query's."""
    try:
        read = msgspec.msgpack.decode(token, type=_Token)
        read.position.run_id.encode()
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise ValueError("it is none") from error
    if read.query != _digest(query, kind, namespace):
        raise ValueError("it is another query's")
    if len(read.position.keys) != max(1, len(query.order)) or "\0" in read.position.run_id:
        raise ValueError("it is none")
    return read.position


def _digest(query: Query, kind: RunKind, namespace: str) -> bytes:
    text = "\0".join((namespace, kind.name, query.text.strip()))
    return hashlib.blake2s(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
