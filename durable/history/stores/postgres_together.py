"""Pure: several statements as one, so that they cost one round trip.

All of them see what was there when the one began; only what they lock they see as it is once they hold it. They come in
no order, so no row may be written by two of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

PARAMETER = re.compile(r"\$(\d+)")


@cache
def read_together(questions: tuple[str, ...]) -> str:
    """One row, with an array of rows for each of them."""
    parts = _parts("read", questions)
    answers = ", ".join(f"ARRAY(SELECT {name} FROM {name})" for name in parts)
    return f"WITH {', '.join(parts.values())} SELECT {answers}"


@cache
def write_together(writes: tuple[str, ...]) -> str:
    """One value: how many rows those of them have that answer with rows."""
    parts = _parts("write", writes)
    answering = [name for name, text in zip(parts, writes, strict=True) if _answers(text)]
    counts = ", ".join(f"(SELECT count(*) FROM {name})" for name in answering)
    return f"WITH {', '.join(parts.values())} SELECT ARRAY[{counts}]::bigint[]"


def _answers(text: str) -> bool:
    return text.startswith("SELECT ") or " RETURNING " in text


def _parts(kind: str, texts: Sequence[str]) -> dict[str, str]:
    """Each by its name, as a part of one whose parameters come after those of the parts before."""
    parts: dict[str, str] = {}
    before = 0
    for number, text in enumerate(texts):
        name = f"{kind}_{number}"
        parts[name] = f"{name} AS ({_moved(text, before)})"
        before += max((int(found) for found in PARAMETER.findall(text)), default=0)
    return parts


def _moved(text: str, by: int) -> str:
    return PARAMETER.sub(lambda found: f"${int(found[1]) + by}", text)
