"""Pure: a type hint to the validator that reads JSON as a value of that type.

On top of pydantic: bytes are base64 in both directions; numbers, booleans and text are never guessed from each other;
NaN and the infinities are values; dict keys and literals find their way back from the text that JSON made of them.
Classes that bring their own rules (pydantic models and dataclasses) keep them.
"""

from __future__ import annotations

import sys
import types
import typing
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any, cast

import pydantic_core
import typing_extensions
from pydantic import ConfigDict, GetCoreSchemaHandler, TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic_core import CoreConfig, CoreSchema, SchemaValidator, core_schema

from durable.converter.errors import ConversionError

_CONTAINERS = frozenset(
    ("list", "tuple", "set", "frozenset", "dict", "dataclass", "model", "typed-dict", "named-tuple", "generator")
)


def validator(hint: Any) -> SchemaValidator:
    """The validator for a hint. Raises ConversionError for a hint that no JSON can be read as."""
    asked = _supported(hint)

    class Hint:
        """Stands for the hint, because TypeAdapter takes no config for a dataclass or a TypedDict itself."""

        @classmethod
        def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
            return handler.generate_schema(asked)

    try:
        schema = TypeAdapter(Hint, config=ConfigDict(strict=True, val_json_bytes="base64")).core_schema
        return SchemaValidator(_patched(schema), CoreConfig(strict=True, val_json_bytes="base64"))
    except (PydanticUserError, NameError, pydantic_core.SchemaError) as error:
        reason = str(error).partition("\n")[0]
        raise ConversionError(
            f"values of type {name_of(hint)} can't be read back from JSON: {reason} "
            "Use a dataclass, a pydantic model, or built-in types, defined where annotations can be resolved."
        ) from error


def name_of(hint: Any) -> str:
    """A hint as its author wrote it, about."""
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint).replace("typing.", "")


def _supported(hint: Any) -> Any:
    """The hint, with ``typing.TypedDict`` classes replaced by equal ones that pydantic reads before Python 3.12."""
    if sys.version_info >= (3, 12):
        return hint
    if typing.is_typeddict(hint):
        return _typed_dict(hint) if type(hint).__module__ == "typing" else hint
    before = typing.get_args(hint)
    after = tuple(_supported(arg) for arg in before)
    if all(a is b for a, b in zip(before, after, strict=True)):
        return hint
    origin: Any = typing.get_origin(hint)
    if origin is types.UnionType:
        origin = typing.Union
    return typing.Annotated[(after[0], *hint.__metadata__)] if origin is typing.Annotated else origin[after]


def _typed_dict(cls: Any) -> Any:
    required: frozenset[str] = cls.__required_keys__  # blind to Required and NotRequired in annotations that are text
    fields: dict[str, Any] = {}
    for key, hint in typing.get_type_hints(cls, include_extras=True).items():
        said = typing.get_origin(hint)
        if said in (typing.Required, typing.NotRequired):
            hint = typing.get_args(hint)[0]
        needed = said is typing.Required or (said is not typing.NotRequired and key in required)
        wrap: Any = typing_extensions.Required if needed else typing_extensions.NotRequired
        fields[key] = wrap[_supported(hint)]
    make = cast("Callable[[str, dict[str, Any]], Any]", typing_extensions.TypedDict)
    return make(cls.__name__, fields)


def _patched(schema: CoreSchema) -> CoreSchema:
    return cast(CoreSchema, _patch(schema))


def _patch(node: Any) -> Any:
    """A core schema with our rules; plain data, so walked as such."""
    if isinstance(node, list):
        return list(map(_patch, cast("Iterable[Any]", node)))
    if not isinstance(node, dict):
        return node
    schema = cast("dict[str, Any]", node)
    kind = schema.get("type")
    if kind == "model" or (kind == "dataclass" and "__pydantic_validator__" in vars(schema["cls"])):
        return schema
    if kind == "decimal":
        return {"allow_inf_nan": True, **schema}
    if kind == "literal":
        return _literal(schema)
    patched = {name: _patch(value) if name not in ("cls", "metadata") else value for name, value in schema.items()}
    if kind == "dict" and "keys_schema" in schema:
        patched["keys_schema"] = _key(schema["keys_schema"])
    return patched


def _literal(schema: dict[str, Any]) -> dict[str, Any]:
    expected = cast("list[Any]", schema["expected"])
    members = [value for value in expected if isinstance(value, Enum)]
    if not members:
        return schema
    return _either(_among(members, lambda member: pydantic_core.from_json(pydantic_core.to_json(member))), schema)


def _key(node: dict[str, Any]) -> dict[str, Any]:
    """The schema of a dict's keys, which JSON turned into text."""
    kind = node["type"]
    if kind in _CONTAINERS:
        raise ConversionError(
            f"a dict with keys of type {kind} has no form in JSON; use a list of pairs, or text as keys"
        )
    if kind == "nullable":
        return _either(_among([None], _key_text), _key(node["schema"]))
    if kind == "none":
        return _among([None], _key_text)
    if kind == "enum":
        return _either(_among(list(node["members"]), _key_text), node)
    if kind == "literal":
        return _either(_among(list(node["expected"]), _key_text), node)
    if kind == "union":
        return {**node, "choices": [_key(choice) for choice in node["choices"]]}
    return cast("dict[str, Any]", _patch(node))


def _key_text(value: Any) -> Any:
    """What pydantic_core writes for ``value`` as a key."""
    return next(iter(pydantic_core.from_json(pydantic_core.to_json({value: 0}, bytes_mode="base64"))))


def _either(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    return {"type": "union", "choices": [first, second], "mode": "left_to_right"}


def _among(values: list[Any], written: Callable[[Any], Any]) -> dict[str, Any]:
    """A schema for one of ``values``, told by what is written for it."""
    table = [(written(value), value) for value in values]

    def find(found: Any) -> Any:
        for text, value in table:
            if type(text) is type(found) and text == found:
                return value
        raise ValueError(f"not one of {', '.join(repr(value) for value in values)}")

    return cast("dict[str, Any]", core_schema.no_info_plain_validator_function(find))
