"""What a run notes about itself: its memo, and its search attributes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from durable.context import this_workflow
from durable.converter.search_attributes import DEPRECATED, NULL, encode_search_attribute_updates
from durable.search_attributes import SearchAttributes, SearchAttributeUpdate
from durable.workflow.calls import UNSET
from durable.workflow.groups import EventGroup


def memo() -> Mapping[str, Any]:
    """The memo as it is now, every value converted without a type hint."""
    run = this_workflow()
    return {key: run.converter.from_payloads([payload])[0] for key, payload in run.memo().items()}


def memo_value(key: str, default: Any = UNSET, *, type_hint: Any = None) -> Any:
    """One value of the memo, as ``type_hint`` if that is given. KeyError when there is none, and no ``default``."""
    run = this_workflow()
    payload = run.memo().get(key)
    if payload is None:
        if default is UNSET:
            raise KeyError(f"Memo does not have a value for key {key}")
        return default
    return run.converter.from_payloads([payload], None if type_hint is None else [type_hint])[0]


def upsert_memo(updates: Mapping[str, Any], *, event_groups: Sequence[EventGroup] | None = None) -> None:
    """Set these values of the memo; None takes one away. Read by `memo`, and by `WorkflowHandle.describe`.

    ``event_groups`` are taken for compatibility.
    """
    run = this_workflow()
    run.upsert_memo(
        {key: NULL if value is None else run.converter.to_payloads([value])[0] for key, value in updates.items()}
    )


def upsert_search_attributes(
    attributes: Sequence[SearchAttributeUpdate[Any]] | SearchAttributes,
    *,
    event_groups: Sequence[EventGroup] | None = None,
) -> None:
    """Change search attributes: ``[key.value_set(7), other.value_unset()]``. `info` shows them at once.

    TypeError for a value that is not of its key's type. The untyped form (a dict of lists) is deprecated.
    ``event_groups`` are taken for compatibility.
    """
    if not attributes:
        return
    if isinstance(attributes, Mapping):
        warnings.warn(DEPRECATED, DeprecationWarning, stacklevel=2)
    this_workflow().upsert_search_attributes(encode_search_attribute_updates(attributes))
