"""Pure: the handlers that are at work, and the warning when a run ends before them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable

from msgspec import Struct

from durable.workflow.handlers import (
    HandlerDefinition,
    HandlerUnfinishedPolicy,
    Kind,
    UnfinishedSignalHandlersWarning,
    UnfinishedUpdateHandlersWarning,
)


class Handled(Struct, eq=False):
    """A signal or an update that is being handled. ``definition`` None: not accepted yet."""

    kind: Kind
    name: str
    update_id: str
    definition: HandlerDefinition | None


def warn_unfinished(handled: Iterable[Handled]) -> None:
    """Tell of handlers that are still at work when their run ends, and that have not said that they don't mind."""
    unfinished = [
        each
        for each in handled
        if each.definition is not None and each.definition.unfinished_policy is HandlerUnfinishedPolicy.WARN_AND_ABANDON
    ]
    updates = sorted(({"name": each.name, "id": each.update_id} for each in unfinished if each.update_id), key=str)
    signals = sorted({each.name for each in unfinished if each.kind is Kind.SIGNAL})
    if updates:
        warnings.warn(
            "[TMPRL1102] Workflow finished while update handlers were still running: what they were doing is cut off, "
            f"and their callers get an error. {_ADVICE.format(kind='update')} Unfinished: {json.dumps(updates)}",
            UnfinishedUpdateHandlersWarning,
            stacklevel=1,
        )
    if signals:
        warnings.warn(
            "[TMPRL1102] Workflow finished while signal handlers were still running: what they were doing is cut off. "
            f"{_ADVICE.format(kind='signal')} Unfinished: {json.dumps(signals)}",
            UnfinishedSignalHandlersWarning,
            stacklevel=1,
        )


_ADVICE = (
    "Let the workflow wait for them with `await workflow.wait_condition(workflow.all_handlers_finished)`, or say that "
    "they may be cut off: `@workflow.{kind}(unfinished_policy=workflow.HandlerUnfinishedPolicy.ABANDON)`."
)
