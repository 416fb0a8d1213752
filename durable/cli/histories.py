"""Histories from files of exported JSON: one, many in a list, one a line, or the bare events of one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

import msgspec

from durable.client import WorkflowHistory
from durable.history import export
from durable.history.errors import CorruptHistory
from durable.history.events import WorkflowExecutionStarted

SUFFIXES = (".json", ".jsonl", ".ndjson")


class Found(NamedTuple):
    """A history, and where it was found; or why what is there can't be read as one."""

    place: str
    history: WorkflowHistory | Exception


class _Item(NamedTuple):
    """A JSON value, and where in its file it stands ("": it is all of it); an error is a text that is no JSON."""

    place: str
    value: Any


def find(paths: Iterable[Path]) -> Iterator[Found]:
    """The histories of these files, and of the JSON files in these directories."""
    for path in paths:
        empty = True
        for file in _files(path):
            for found in _of_file(file):
                empty = False
                yield found
        if empty:
            what = f"no file in it ends in {', '.join(SUFFIXES)}, or all are empty" if path.is_dir() else "it is empty"
            yield Found(str(path), CorruptHistory(f"there is no history here: {what}"))


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES and file.is_file())


def _of_file(path: Path) -> Iterator[Found]:
    try:
        for place, value in _gathered(_items(path)):
            yield Found(f"{path}, {place}" if place else str(path), _history(value))
    except OSError as error:
        yield Found(str(path), CorruptHistory(f"this file can't be read: {error.strerror or error}"))


def _texts(path: Path) -> Iterator[tuple[str, bytes]]:
    """The lines of the file, if the first one is JSON by itself; else all of it."""
    with path.open("rb") as file:
        lines = ((f"line {number}", line) for number, line in enumerate(file, 1) if line.strip())
        place, first = next(lines, ("", b""))
        if not first:
            return
        if isinstance(_decoded(first), CorruptHistory):
            yield "", first + file.read()
            return
        second = next(lines, None)
        yield (place if second else ""), first
        if second:
            yield second
            yield from lines


def _items(path: Path) -> Iterator[_Item]:
    """The JSON values of the file, lists taken apart."""
    for place, text in _texts(path):
        value = _decoded(text)
        if _is_list(value):
            yield from (_Item(f"entry {number}", each) for number, each in enumerate(value, 1))
        else:
            yield _Item(place, value)


def _gathered(items: Iterable[_Item]) -> Iterator[_Item]:
    """Bare events put together to histories: a new one begins with the event 1."""
    begun, events = "", list[Any]()
    for item in items:
        event = item.value if _is_object(item.value) and "eventType" in item.value else None
        if events and (event is None or str(event.get("eventId")) == "1"):
            yield _Item(begun, {"events": events})
            events = []
        if event is None:
            yield item
            continue
        begun = begun if events else item.place
        events.append(event)
    if events:
        yield _Item(begun, {"events": events})


def _decoded(text: bytes) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        return CorruptHistory(f"this is no history: it can't be read as JSON ({error})")


def _is_list(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _history(value: Any) -> WorkflowHistory | Exception:
    if isinstance(value, CorruptHistory):
        return value
    if _is_object(value) and "events" not in value:
        value = value.get("history", value)  # the answer of Temporal's service, which wraps it
    try:
        events = export.from_json(value)
    except CorruptHistory as error:
        return error
    started = events[0] if events else None
    if not isinstance(started, WorkflowExecutionStarted):
        return CorruptHistory("this is no whole history: it does not begin with WorkflowExecutionStarted")
    return WorkflowHistory(started.workflow_id, events)
