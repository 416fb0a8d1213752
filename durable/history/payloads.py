"""Pure: the payloads inside an event, a command or a message, as lists to be transformed, and put back.

What a codec does with them is its caller's. Left alone are search attributes (a database reads them), headers unless
asked for, and the notes that the engine itself keeps in markers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar, cast

from msgspec import Struct, structs

from durable.history.values import Payload

T = TypeVar("T")

CLEAR_FIELDS = frozenset({"search_attributes"})
CLEAR_DETAILS = frozenset({"data", "patch-data"})
"""Details of the markers of local activities and patches that say which one it was."""


def payload_lists(value: object, *, headers: bool = False) -> list[list[Payload]]:
    """Every list of payloads within, in a fixed order. A payload that stands alone is a list of one."""
    found: list[list[Payload]] = []
    _walk(value, headers, found.append)
    return found


def with_payload_lists(value: T, lists: Sequence[list[Payload]], *, headers: bool = False) -> T:
    """The same value with these in their places, one for each list of `payload_lists`.

    ValueError when a payload that stands alone would become several, or none.
    """
    replaced = _rebuild(value, headers, iter(lists))
    return cast("T", replaced)


def _walk(value: object, headers: bool, found: Any) -> None:
    if isinstance(value, Payload):
        found([value])
    elif isinstance(value, Struct):
        for name in value.__struct_fields__:
            if _is_walked(name, headers):
                _walk(getattr(value, name), headers, found)
    elif isinstance(value, list | tuple):
        items = cast("Sequence[object]", value)
        if items and isinstance(items[0], Payload):
            found(list(cast("Sequence[Payload]", items)))
        else:
            for item in items:
                _walk(item, headers, found)
    elif isinstance(value, dict):
        for key, item in cast("dict[str, object]", value).items():
            if not _is_note(key, item):
                _walk(item, headers, found)


def _rebuild(value: object, headers: bool, lists: Iterator[list[Payload]]) -> object:
    if isinstance(value, Payload):
        return _alone(next(lists))
    if isinstance(value, Struct):
        changed: dict[str, object] = {}
        for name in value.__struct_fields__:
            if _is_walked(name, headers):
                before = getattr(value, name)
                after = _rebuild(before, headers, lists)
                if after is not before:
                    changed[name] = after
        return structs.replace(value, **changed) if changed else value
    if isinstance(value, list | tuple):
        items = cast("Sequence[object]", value)
        if items and isinstance(items[0], Payload):
            return next(lists)
        rebuilt = [_rebuild(item, headers, lists) for item in items]
        if all(after is before for after, before in zip(rebuilt, items, strict=True)):
            return items
        return rebuilt if isinstance(value, list) else tuple(rebuilt)
    if isinstance(value, dict):
        entries = cast("dict[str, object]", value)
        return {key: item if _is_note(key, item) else _rebuild(item, headers, lists) for key, item in entries.items()}
    return value


def _is_walked(name: str, headers: bool) -> bool:
    return name not in CLEAR_FIELDS and (headers or name != "header")


def _is_note(key: str, item: object) -> bool:
    return key in CLEAR_DETAILS and isinstance(item, list)


def _alone(payloads: list[Payload]) -> Payload:
    if len(payloads) != 1:
        raise ValueError(f"a codec made {len(payloads)} payloads of one that stands alone")
    return payloads[0]
