"""Pure: what is kept of a run's search attributes so that it is found by them."""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from durable.history.values import Payload
from durable.history.visibility.attributes import NAMES, RESERVED, TYPES, AttributeType

NAME_BYTES_MAX = 250
KEYWORD_BYTES_MAX = 1500
"""An entry of an index holds a namespace, a name and a keyword; PostgreSQL's take 2,704 bytes."""
WORD_CHARACTERS_MAX = 200
NAMES_ARE = f"it has 1 to {NAME_BYTES_MAX} bytes, no backquote, no NUL, and is not one that every run has"
INT_MIN, INT_MAX = -(1 << 63), (1 << 63) - 1

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WORD = re.compile(r"\w+")

Entry = tuple[str | None, int | None, float | None]
"""(keyword, number, real): one of them is there."""


class Found(NamedTuple):
    """What a payload says: the type in its metadata, and the value of its JSON."""

    type: AttributeType
    value: Any


def read(payload: Payload) -> Found | None:
    """None for what says no type, or is no JSON."""
    kind = TYPES.get(payload.metadata.get("type", b"").decode(errors="replace"))
    if kind is None:
        return None
    try:
        return Found(kind, json.loads(payload.data))
    except (ValueError, RecursionError):
        return None


def is_name(name: str) -> bool:
    """May a search attribute that is looked for be called so?"""
    return name not in RESERVED and _is_storable(name, NAME_BYTES_MAX) and "`" not in name and name != ""


def refusal(name: str, kind: AttributeType, value: Any) -> str | None:
    """Why nobody could find a run by this value (of JSON); None: it can be found."""
    if not is_name(name):
        return f"{name!a} is no name for a search attribute: {NAMES_ARE}"
    members = _list(value)
    if kind in (AttributeType.KEYWORD, AttributeType.KEYWORD_LIST):
        if not all(isinstance(each, str) for each in members):
            return f"search attribute {name!r} is of type {NAMES[kind]}, which takes text, not {str(value)[:100]}"
        if any(_keyword(each) is None for each in members):
            return f"a keyword of search attribute {name!r} has at most {KEYWORD_BYTES_MAX} bytes in UTF-8, and no NUL"
    if not entries(value, kind):
        return f"invalid value for search attribute {name!r} of type {NAMES[kind]}: {str(value)[:100]!r}"
    return None


def entries(value: Any, kind: AttributeType) -> list[Entry]:
    """One for each word or member, or the one of a single value; none where the value is not of the type."""
    values = _list(value)
    match kind:
        case AttributeType.KEYWORD_LIST:
            members = [_keyword(each) for each in values]
            return [(each, None, None) for each in dict.fromkeys(members) if each is not None]
        case AttributeType.TEXT:
            text = _single(values)
            if not isinstance(text, str):
                return []
            return [(word, None, None) for word in sorted(words(text)) or [""]]
        case AttributeType.KEYWORD:
            keyword = _keyword(_single(values))
            return [] if keyword is None else [(keyword, None, None)]
        case AttributeType.DOUBLE:
            real = _real(_single(values))
            return [] if real is None else [(None, None, real)]
        case AttributeType.INT:
            number = _single(values)
            is_one = isinstance(number, int) and not isinstance(number, bool) and INT_MIN <= number <= INT_MAX
            return [(None, number, None)] if is_one else []
        case AttributeType.BOOL:
            truth = _single(values)
            return [(None, int(truth), None)] if isinstance(truth, bool) else []
        case AttributeType.DATETIME:
            instant = _instant(_single(values))
            return [] if instant is None else [(None, instant, None)]


def words(text: str) -> set[str]:
    """By which a text is found: letters and digits in a row, whatever their case."""
    found = {word.casefold()[:WORD_CHARACTERS_MAX] for word in _WORD.findall(text)}
    return {word for word in found if _is_storable(word, KEYWORD_BYTES_MAX)}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]  # pyright: ignore[reportUnknownVariableType]


def _single(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else None


def _keyword(value: Any) -> str | None:
    return value if isinstance(value, str) and _is_storable(value, KEYWORD_BYTES_MAX) else None


def _real(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return number if math.isfinite(number := float(value)) else None
    except OverflowError:
        return None


def _instant(value: Any) -> int | None:
    try:
        since = datetime.fromisoformat(value) - EPOCH
        _ = EPOCH + since  # a first or last hour of all, with an offset, may have no instant in UTC to be shown as
        return since // timedelta(microseconds=1)
    except (ValueError, TypeError, OverflowError):
        return None


def _is_storable(text: str, bytes_max: int) -> bool:
    try:
        return len(text.encode()) <= bytes_max and "\0" not in text
    except UnicodeEncodeError:
        return False
