"""Pure: what stands on the command line as JSON or as seconds, read."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NoReturn

import typer

SECONDS_MAX = 100 * 365 * 86400


def values(texts: Sequence[str] | None) -> list[Any]:
    """Each argument as the JSON that it is. `typer.BadParameter` says which one is none, and how to write text."""
    return [_value(place, text) for place, text in enumerate(texts or (), 1)]


def seconds(number: float) -> timedelta:
    """A number of seconds as a duration. `typer.BadParameter` for one that no duration has."""
    if not 0 <= number <= SECONDS_MAX:
        raise typer.BadParameter(f"{number:g} seconds are less than 0, or more than 100 years")
    return timedelta(seconds=number)


def _value(place: int, text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise typer.BadParameter(f"argument {place} is nested too deep") from None
    except ValueError as error:
        if text.startswith("-"):
            raise typer.BadParameter(f"there is no option {text}, and as argument {place} it is not JSON") from None
        if text[:1] in ("{", "[", '"'):
            raise typer.BadParameter(f"argument {place} is not JSON: {error}") from None
        quoted = shlex.quote(json.dumps(text, ensure_ascii=False))
        raise typer.BadParameter(f"argument {place}, {text!r}, is not JSON; as text, write {quoted}") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON value")
