"""Pure: why a value can't become JSON, and where in it the reason sits. Slow, for errors only."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import cast

import pydantic_core
from pydantic import BaseModel

from durable.converter.errors import ConversionError

DEPTH_MAX = 200
"""Levels of nesting; the JSON parser reads no more (jiter's recursion limit)."""

DIGITS_MAX = 4300
"""Digits of an integer; the JSON parser reads no more, as Python itself reads no more from text."""

_LEAVES = frozenset((str, int, bool, float, type(None), bytes))


def explain(value: object, error: Exception) -> ConversionError:
    """The error for a value that could not be written as JSON, or not be read back, because of ``error``."""
    path = ""
    above: set[int] = set()
    while True:
        if id(value) in above:
            return ConversionError("the value contains itself; JSON has no form for that", path=_short(path))
        if len(above) > DEPTH_MAX:
            return _too_deep(path)
        above.add(id(value))
        for step, child in _children(value):
            reason = _refusal(child)
            if reason is not None:
                path, value, error = path + step, child, reason
                break
        else:
            text = str(error)
            if "recursion limit" in text or "depth exceeded" in text:
                return _too_deep(path)
            return ConversionError(_reason(value, error), path=path)


def _too_deep(path: str) -> ConversionError:
    return ConversionError(
        f"the value is nested deeper than {DEPTH_MAX} levels; make it flatter, for instance by references by id",
        path=_short(path),
    )


def refuse_lost_numbers(value: object) -> None:
    """Raise ConversionError where a pydantic model would write NaN or an infinity as null, which is another value."""
    stack: list[tuple[str, object, str]] = [("", value, "")]
    while stack:
        path, item, model = stack.pop()
        if isinstance(item, float):
            if model and not math.isfinite(item):
                raise ConversionError(
                    f"{item!r} would be stored as null, because pydantic class {model} says so; "
                    "give it model_config = ConfigDict(ser_json_inf_nan='constants')",
                    path=path,
                )
            continue
        if type(item) in _LEAVES:
            continue
        within = _nulling_class(item) if hasattr(type(item), "__pydantic_validator__") else model
        stack.extend((path + step, child, within) for step, child in _children(item) if type(child) not in _NUMBERLESS)


_NUMBERLESS = _LEAVES - {float}


def _nulling_class(item: object) -> str:
    config: Mapping[str, object] = getattr(type(item), "model_config", None) or getattr(
        type(item), "__pydantic_config__", {}
    )
    return type(item).__name__ if config.get("ser_json_inf_nan", "null") == "null" else ""


def _refusal(value: object) -> Exception | None:
    try:
        pydantic_core.from_json(pydantic_core.to_json(value, bytes_mode="base64"))
    except (ValueError, TypeError, RecursionError) as error:
        return error
    return None


def _children(value: object) -> Iterator[tuple[str, object]]:
    """The parts of a value, each with its step in the path."""
    if isinstance(value, BaseModel):
        for name, item in value.__dict__.items():
            yield f".{name}", item
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            if hasattr(value, field.name):
                yield f".{field.name}", getattr(value, field.name)
    elif isinstance(value, Mapping):
        for key, item in cast("Mapping[object, object]", value).items():
            if not isinstance(key, (int, float)):
                yield " (a key)", key
            yield f"[{_bounded(repr(key))}]", item
    elif isinstance(value, tuple) and (names := getattr(cast("object", value), "_fields", None)):
        yield from zip((f".{name}" for name in names), cast("tuple[object, ...]", value), strict=True)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for index, item in enumerate(cast("list[object]", value)):
            yield (f"[{index}]" if isinstance(value, (list, tuple)) else "{…}"), item


def _reason(value: object, error: Exception) -> str:
    if isinstance(value, str):
        bad = next(index for index, char in enumerate(value) if "\ud800" <= char <= "\udfff")
        return (
            f"text with a lone surrogate ({value[bad]!a} at position {bad}) can't be stored as UTF-8; "
            "replace it, or pass bytes"
        )
    if isinstance(value, int):
        return (
            f"an integer of more than {DIGITS_MAX} digits can't be stored; pass it as text in hexadecimal or as bytes"
        )
    name = type(value).__qualname__
    text = str(error).removeprefix("Error serializing to JSON: ")
    if "unknown type" in text:
        return (
            f"object of type {name} can't be converted; "
            "use a dataclass, a pydantic model, or built-in types, or give the DataConverter a payload converter for it"
        )
    if "utf-8" in text and hasattr(type(value), "__pydantic_validator__"):
        return (
            f"pydantic class {name} writes its bytes as UTF-8, and these are not ({text}); "
            "give it model_config = ConfigDict(ser_json_bytes='base64', val_json_bytes='base64')"
        )
    return f"object of type {name} can't be converted: {text}"


def _bounded(text: str) -> str:
    return text if len(text) <= 40 else text[:39] + "…"


def _short(path: str) -> str:
    return path if len(path) <= 60 else path[:60] + "…"
