"""Values to JSON by Python's own encoder, for converters with an encoder of their own."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any, cast
from uuid import UUID

import pydantic_core


class AdvancedJSONEncoder(json.JSONEncoder):
    """Dataclasses, dates, UUIDs, pydantic models, objects with a ``dict()`` method; iterables as lists. Subclass it,
    and override ``default`` for classes of your own.

    The default converter does not use it: it writes all this with pydantic, many times as fast.
    """

    def default(self, o: Any) -> Any:
        """What is written in place of an object that ``json`` does not know. TypeError for one that nobody knows."""
        if isinstance(o, datetime):
            return o.isoformat()
        if dataclasses.is_dataclass(o) and not isinstance(o, type):
            return {field.name: getattr(o, field.name) for field in dataclasses.fields(o)}
        if isinstance(o, UUID):
            return str(o)
        if not hasattr(cast("object", o), "__pydantic_serializer__"):
            if callable(as_dict := getattr(o, "dict", None)):
                return as_dict()
            if isinstance(o, Iterable) and not isinstance(o, type):
                return list(cast("Iterable[object]", o))
        try:
            return pydantic_core.to_jsonable_python(o)
        except pydantic_core.PydanticSerializationError:
            return super().default(o)
