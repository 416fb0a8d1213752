"""Pure: text from a database made safe for a terminal. What would move a cursor or forge a line is shown instead."""

from __future__ import annotations

import json
from typing import Any


def text(value: str) -> str:
    """One line in which every character is printable: control characters (and bidi marks …) become their escapes."""
    return value if value.isprintable() else "".join(map(_shown, value))


def lines(value: str) -> list[str]:
    """Text of several lines, each of them as `text` shows it."""
    return [text(line) for line in value.split("\n")]


def as_json(value: Any) -> str:
    """The value as indented JSON that is safe to print. TypeError or ValueError for what JSON has no form for."""
    return json_text(json.dumps(value, ensure_ascii=False, indent=2))


def json_text(document: str) -> str:
    """The same JSON document without raw control characters, which JSON allows above U+001F."""
    return "".join(char if char.isprintable() or char == "\n" else _json_escape(char) for char in document)


def _shown(char: str) -> str:
    return char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode("ascii")


def _json_escape(char: str) -> str:
    # Outside strings, JSON has only printable characters and the newlines of its indentation.
    return json.dumps(char)[1:-1] if ord(char) > 0x7F else f"\\u{ord(char):04x}"
